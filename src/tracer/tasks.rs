//! What is kept per task: a thread, in the words of the manual, as ptrace and the kernel see it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use super::events::Tree;
use super::fold::ExecutableId;
use super::identity::AtExit;
use super::names::Name;
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
            changing: Changing::default(),
            awaited: None,
            executing: None,
        }
    }

    /// A child of this task; `shares` its directories (CLONE_FS).
    pub fn child(&self, shares: bool) -> Self {
        let directories = if shares {
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
        Task { executable: self.executable, directories, ..Task::new(self.tree, Origin::Descendant) }
    }
}
