//! What is kept per task: a thread, in the words of the manual, as ptrace and the kernel see it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use super::events::Tree;
use super::fold::ExecutableId;
use super::identity::AtExit;
use super::names::Name;
use super::open_files::OpenFiles;
use super::resolve::End;

/// Where a task comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is the supervisor.
    Supervisor,
    /// The supervisor made it.
    Spawned,
    /// Another task made it.
    Descendant,
}

/// The current and the root directory: of one task, or of several that were made with CLONE_FS.
#[derive(Debug, Default)]
pub struct Directories {
    /// `None`: to be read.
    pub root: Option<Name>,
    /// `None`: to be read.
    pub current: Option<Name>,
    /// How many calls that change one of them are under way.
    pub unsettled: u32,
    /// The renames of directories that were known when these were read.
    pub renames: u64,
}

/// What the call that a task is in changes; done with when the task stops again.
#[derive(Debug, Default)]
pub struct Changing {
    /// Whether there is anything.
    pub any: bool,
    /// Names that may change.
    pub names: [Option<Name>; 2],
    /// Whether one of them is a directory or a link.
    pub structure: bool,
    /// Its directories may change.
    pub directories: bool,
    /// Mounts may change.
    pub mounts: bool,
    /// Any number may be that of another directory.
    pub files: bool,
    /// A number may be that of another file.
    pub opening: bool,
}

/// The call whose result is waited for.
#[derive(Debug)]
pub enum Awaited {
    /// `listen`.
    Listen {
        /// The descriptor.
        socket: i32,
    },
    /// `bind` to an internet address.
    Bind {
        /// The descriptor.
        socket: i32,
        /// As asked.
        address: SocketAddr,
    },
    /// One whose result shows ids, or is a file whose owner counts.
    Identity(AtExit),
    /// One that must not see the leash, whatever it returns.
    Affinity,
    /// One after which files may have other names: `mount`, `move_mount`, `pivot_root`.
    Mount,
    /// `ptrace`.
    Ptrace,
    /// `seccomp`, with a listener.
    Listener,
    /// `connect` of a unix socket.
    Connect,
    /// One after which the task has a table of descriptors of its own.
    Unshare,
}

/// A task.
#[derive(Debug)]
pub struct Task {
    /// Whose it is.
    pub tree: Tree,
    /// Where it comes from.
    pub origin: Origin,
    /// What its process runs.
    pub executable: ExecutableId,
    /// Its directories, which other tasks may share.
    pub directories: Rc<RefCell<Directories>>,
    /// Its descriptors, which other tasks may share.
    pub files: Rc<RefCell<OpenFiles>>,
    /// What its call changes.
    pub changing: Changing,
    /// The result it is waited for.
    pub awaited: Option<Awaited>,
    /// Where the program is that it is about to execute.
    pub executing: Option<End>,
}

impl Task {
    /// A task that nothing is known of yet.
    pub fn new(tree: Tree, origin: Origin) -> Self {
        Task {
            tree,
            origin,
            executable: ExecutableId::UNKNOWN,
            directories: Rc::default(),
            files: Rc::new(RefCell::new(OpenFiles::unknown())),
            changing: Changing::default(),
            awaited: None,
            executing: None,
        }
    }

    /// A child of this task, which may share its directories (CLONE_FS) and its descriptors (CLONE_FILES).
    pub fn child(&self, shares_directories: bool, shares_files: bool) -> Self {
        let files = match shares_files {
            true => Rc::clone(&self.files),
            false => Rc::new(RefCell::new(self.files.borrow().copied())),
        };
        let directories = if shares_directories {
            Rc::clone(&self.directories)
        } else {
            let own = self.directories.borrow();
            let known = own.unsettled == 0;
            Rc::new(RefCell::new(Directories {
                root: own.root.filter(|_| known),
                current: own.current.filter(|_| known),
                unsettled: 0,
                renames: own.renames,
            }))
        };
        Task { executable: self.executable, directories, files, ..Task::new(self.tree, Origin::Descendant) }
    }
}
