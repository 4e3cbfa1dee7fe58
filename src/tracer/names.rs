//! What is known of the application's tree of names, so that most look-ups need no system call.
//!
//! A node is a name in a directory, by its canonical path from the sandbox's root. Directories that were entered keep
//! an O_PATH descriptor, so a new name costs one look-up of its last component; links keep their targets; absences are
//! remembered, too. What the application changes is *unsettled* from the moment its call begins until its task stops
//! again: never answered from memory meanwhile, and forgotten at both ends. Nothing is remembered of file systems
//! that change by themselves, `/proc` above all.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::statfs::{FsType, fstatfs};

use super::Map;
use super::fold::{Fold, PathId};
use crate::base::ImagePath;

/// A name that may have been forgotten since, and its number used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    id: u32,
    generation: u32,
}

/// What is at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// A directory.
    Dir,
    /// A link with this target.
    Link(Rc<[u8]>),
    /// Anything else.
    Other,
}

/// What a file system promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names change only through calls of the application.
    Ordinary,
    /// Names come and go by themselves.
    Live,
    /// The same, and some links are magic.
    Proc,
}

struct Node {
    parent: u32,
    name: Rc<[u8]>,
    /// Changes when the node is given to another name.
    generation: u32,
    /// Changes when what is at the name is forgotten.
    version: u32,
    /// How many calls that change this name are under way.
    unsettled: u32,
    seen: Option<Seen>,
    /// Of a directory that was entered.
    descriptor: Option<Rc<OwnedFd>>,
    kind: Kind,
    /// The device of a directory that was seen.
    device: u64,
    children: Map<Rc<[u8]>, u32>,
    path: Option<PathId>,
}

/// The tree of names.
pub struct Names {
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Changes when a directory or a link may have become something else.
    epoch: u64,
    /// How many calls that change mounts are under way.
    disturbed: u32,
    open: usize,
    limit: usize,
}

/// When an answer that was derived from names is still right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    name: Name,
    version: u32,
    epoch: u64,
}

const ROOT: u32 = 0;

impl Names {
    /// The tree below the directory `root`.
    pub fn new(root: OwnedFd) -> io::Result<Self> {
        let kind = kind(root.as_fd())?;
        let device = fstat(root.as_fd())?.st_dev;
        let soft = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?.0;
        let node = Node {
            parent: ROOT,
            name: Rc::default(),
            generation: 0,
            version: 0,
            unsettled: 0,
            seen: Some(Seen::Dir),
            descriptor: Some(Rc::new(root)),
            kind,
            device,
            children: Map::default(),
            path: None,
        };
        let limit = (soft / 4).clamp(64, 4096) as usize;
        Ok(Names { nodes: vec![node], free: Vec::new(), epoch: 0, disturbed: 0, open: 0, limit })
    }

    /// The sandbox's root.
    pub fn root(&self) -> Name {
        self.name(ROOT)
    }

    fn name(&self, id: u32) -> Name {
        Name { id, generation: self.nodes[id as usize].generation }
    }

    fn node(&self, name: Name) -> Option<&Node> {
        self.nodes.get(name.id as usize).filter(|node| node.generation == name.generation)
    }

    fn node_mut(&mut self, name: Name) -> Option<&mut Node> {
        self.nodes.get_mut(name.id as usize).filter(|node| node.generation == name.generation)
    }

    /// Whether `name` is still the name it was.
    pub fn is_valid(&self, name: Name) -> bool {
        self.node(name).is_some()
    }

    /// The number pair that tells `name` from all others, ever.
    pub fn identity(name: Name) -> [u32; 2] {
        [name.id, name.generation]
    }

    /// The name above; the root's is the root.
    pub fn parent(&self, name: Name) -> Name {
        self.node(name).map_or_else(|| self.root(), |node| self.name(node.parent))
    }

    /// The last component; empty for the root.
    pub fn last(&self, name: Name) -> &[u8] {
        self.node(name).map_or(&[], |node| &node.name)
    }

    /// What the file system of a directory that was entered promises.
    pub fn kind(&self, name: Name) -> Kind {
        self.node(name).map_or(Kind::Live, |node| node.kind)
    }

    /// `component` in `dir`, whether there is something or not.
    pub fn child(&mut self, dir: Name, component: &[u8]) -> Name {
        let Some(node) = self.node(dir) else { return self.root() };
        if let Some(&id) = node.children.get(component) {
            return self.name(id);
        }
        let component: Rc<[u8]> = component.into();
        let name = Rc::clone(&component);
        let id = match self.free.pop() {
            Some(id) => {
                let node = &mut self.nodes[id as usize];
                (node.parent, node.name) = (dir.id, name);
                id
            }
            None => {
                self.nodes.push(Node {
                    parent: dir.id,
                    name,
                    generation: 0,
                    version: 0,
                    unsettled: 0,
                    seen: None,
                    descriptor: None,
                    kind: Kind::Ordinary,
                    device: 0,
                    children: Map::default(),
                    path: None,
                });
                self.nodes.len() as u32 - 1
            }
        };
        self.nodes[dir.id as usize].children.insert(component, id);
        self.name(id)
    }

    /// The name with this canonical absolute path: no links, no `..`.
    pub fn at(&mut self, path: &[u8]) -> Name {
        let components = path.split(|&b| b == b'/').filter(|c| !c.is_empty());
        components.fold(self.root(), |dir, component| self.child(dir, component))
    }

    /// The canonical path.
    pub fn path(&self, name: Name) -> Vec<u8> {
        let up = |id: &u32| Some(self.nodes[*id as usize].parent);
        let chain = || std::iter::successors(Some(name.id), up).take_while(|&id| id != ROOT);
        let names = || chain().map(|id| &*self.nodes[id as usize].name);
        let mut path = vec![b'/'; names().map(|name| 1 + name.len()).sum::<usize>().max(1)];
        let mut end = path.len();
        for name in names() {
            path[end - name.len()..end].copy_from_slice(name);
            end -= name.len() + 1;
        }
        path
    }

    /// The number under which uses of the name are counted.
    pub fn path_id(&mut self, name: Name, fold: &mut Fold) -> PathId {
        if let Some(id) = self.node(name).and_then(|node| node.path) {
            return id;
        }
        // Components come from calls and from links: they hold no NUL, no slash, and are never `..`.
        let path = ImagePath::parse(self.path(name)).unwrap_or_else(|_| ImagePath::root());
        let id = fold.path(path);
        if let Some(node) = self.node_mut(name) {
            node.path = Some(id);
        }
        id
    }

    /// What is at `name`, and whether that may be remembered.
    pub fn look(&mut self, name: Name) -> io::Result<(Seen, bool)> {
        if name.id == ROOT {
            return Ok((Seen::Dir, self.disturbed == 0));
        }
        let Some(node) = self.node(name) else { return Ok((Seen::Absent, false)) };
        let (parent, mut lasting) = (node.parent, node.unsettled == 0 && self.disturbed == 0);
        if lasting && let Some(seen) = &node.seen {
            return Ok((seen.clone(), true));
        }
        let dir = match self.descriptor(parent) {
            Ok(dir) => dir,
            Err(e) => return absent_unless_broken(e).map(|seen| (seen, lasting)),
        };
        lasting &= self.nodes[parent as usize].kind == Kind::Ordinary;
        let seen = match look(dir.as_fd(), &self.nodes[name.id as usize].name) {
            Ok((seen, device)) => {
                self.nodes[name.id as usize].device = device;
                seen
            }
            Err(e) => {
                lasting &= matches!(e, Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG);
                absent_unless_broken(e)?
            }
        };
        let node = &mut self.nodes[name.id as usize];
        node.seen = Some(seen.clone());
        if !matches!(seen, Seen::Dir) {
            self.open -= usize::from(self.nodes[name.id as usize].descriptor.take().is_some());
        }
        Ok((seen, lasting))
    }

    /// Opens the regular file at `name` for reading; `None` when there is none.
    pub fn open(&mut self, name: Name) -> io::Result<Option<fs::File>> {
        let Some(node) = self.node(name) else { return Ok(None) };
        let dir = match self.descriptor(node.parent) {
            Ok(dir) => dir,
            Err(e) => return absent_unless_broken(e).map(|_| None),
        };
        let component = &*self.nodes[name.id as usize].name;
        match stat(dir.as_fd(), component) {
            Ok(stat) if kind_of(&stat) == SFlag::S_IFREG => {}
            _ => return Ok(None),
        }
        // The file may have become a FIFO by now: do not wait for its other end.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        Ok(openat(dir.as_fd(), component, flags, Mode::empty()).ok().map(fs::File::from))
    }

    /// Where the file at `name` itself is to be had: its directory, and its name there.
    pub fn place(&mut self, name: Name) -> Result<(Rc<OwnedFd>, Box<[u8]>), Errno> {
        let node = self.node(name).ok_or(Errno::ENOENT)?;
        if name.id == ROOT {
            return Ok((self.descriptor(ROOT)?, b"."[..].into()));
        }
        let component = (*node.name).into();
        let parent = node.parent;
        Ok((self.descriptor(parent)?, component))
    }

    /// Reads the magic link at `name` in `/proc`, as it is now.
    pub fn read_magic_link(&mut self, name: Name) -> Option<Vec<u8>> {
        let parent = self.node(name)?.parent;
        let dir = self.descriptor(parent).ok()?;
        let component = &*self.nodes[name.id as usize].name;
        readlinkat(dir.as_fd(), component).ok().map(OsStringExt::into_vec)
    }

    /// The O_PATH descriptor of a directory.
    fn descriptor(&mut self, id: u32) -> Result<Rc<OwnedFd>, Errno> {
        let node = &self.nodes[id as usize];
        if let Some(descriptor) = &node.descriptor {
            return Ok(Rc::clone(descriptor));
        }
        let parent = self.descriptor(node.parent)?;
        let node = &self.nodes[id as usize];
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let descriptor = Rc::new(openat(parent.as_fd(), &*node.name, flags, Mode::empty())?);
        // Within one file system nothing else is promised; a device is known of what was looked at.
        let above = &self.nodes[node.parent as usize];
        let kind = match node.seen == Some(Seen::Dir) && node.device == above.device {
            true => above.kind,
            false => kind(descriptor.as_fd())?,
        };
        // Where such a file system is mounted stays, whatever happens below.
        let steady = kind == Kind::Ordinary || self.nodes[node.parent as usize].kind == Kind::Ordinary;
        let node = &mut self.nodes[id as usize];
        node.kind = kind;
        if steady && node.unsettled == 0 && self.disturbed == 0 {
            node.descriptor = Some(Rc::clone(&descriptor));
            self.open += 1;
        }
        Ok(descriptor)
    }

    /// Closes descriptors when there are many. To be called between walks.
    pub fn tidy(&mut self) {
        if self.open > self.limit {
            self.close_all();
        }
    }

    fn close_all(&mut self) {
        for node in self.nodes.iter_mut().skip(1) {
            node.descriptor = None;
        }
        self.open = 0;
    }

    /// A call that may change what is at `name` begins. Returns whether a directory or a link may change.
    pub fn unsettle(&mut self, name: Name) -> bool {
        let Some(node) = self.node_mut(name) else { return false };
        node.unsettled += 1;
        let structural = matches!(node.seen, Some(Seen::Dir | Seen::Link(_)));
        self.forget(name);
        self.epoch += u64::from(structural);
        structural
    }

    /// That call is over.
    pub fn settle(&mut self, name: Name) {
        let Some(node) = self.node_mut(name) else { return };
        node.unsettled = node.unsettled.saturating_sub(1);
        let structural = matches!(node.seen, Some(Seen::Dir | Seen::Link(_)));
        self.forget(name);
        self.epoch += u64::from(structural);
    }

    /// A call that may change mounts begins. Descriptors must be closed, or unmounting fails.
    pub fn disturb(&mut self) {
        self.disturbed += 1;
        self.forget_all();
    }

    /// That call is over.
    pub fn calm(&mut self) {
        self.disturbed = self.disturbed.saturating_sub(1);
        self.forget_all();
    }

    fn forget_all(&mut self) {
        self.close_all();
        for node in self.nodes.iter_mut().skip(1) {
            node.seen = None;
            node.version += 1;
        }
        self.epoch += 1;
    }

    fn forget(&mut self, name: Name) {
        let mut below: Vec<u32> = Vec::new();
        let node = &mut self.nodes[name.id as usize];
        node.seen = None;
        node.version += 1;
        self.open -= usize::from(node.descriptor.take().is_some() && name.id != ROOT);
        // A name that is itself unsettled must stay known as such, and with it what leads there.
        if self.has_unsettled_below(name.id) {
            let children: Vec<u32> = self.nodes[name.id as usize].children.values().copied().collect();
            for id in children {
                self.forget(self.name(id));
            }
            return;
        }
        below.extend(std::mem::take(&mut self.nodes[name.id as usize].children).into_values());
        while let Some(id) = below.pop() {
            let node = &mut self.nodes[id as usize];
            node.generation += 1;
            node.version += 1;
            node.unsettled = 0;
            node.seen = None;
            node.kind = Kind::Ordinary;
            node.device = 0;
            node.path = None;
            below.extend(std::mem::take(&mut node.children).into_values());
            self.open -= usize::from(node.descriptor.take().is_some());
            self.free.push(id);
        }
    }

    fn has_unsettled_below(&self, id: u32) -> bool {
        self.nodes[id as usize]
            .children
            .values()
            .any(|&child| self.nodes[child as usize].unsettled > 0 || self.has_unsettled_below(child))
    }

    /// What an answer that ended at `name` depends on.
    pub fn stamp(&self, name: Name) -> Stamp {
        Stamp { name, version: self.node(name).map_or(0, |node| node.version), epoch: self.epoch }
    }

    /// Whether nothing has changed that an answer depends on.
    pub fn is_current(&self, stamp: &Stamp) -> bool {
        stamp.epoch == self.epoch && self.node(stamp.name).is_some_and(|node| node.version == stamp.version)
    }
}

/// Opens the root directory that `task` has.
pub fn open_root(task: i32) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open(format!("/proc/{task}/root").as_str(), flags, Mode::empty())?)
}

fn stat(dir: BorrowedFd, name: &[u8]) -> Result<FileStat, Errno> {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT)
}

fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// What is there, and on which device.
fn look(dir: BorrowedFd, name: &[u8]) -> Result<(Seen, u64), Errno> {
    let stat = stat(dir, name)?;
    let seen = match kind_of(&stat) {
        SFlag::S_IFDIR => Seen::Dir,
        SFlag::S_IFLNK => {
            // Links of `/proc/PID` may refuse to be read; what they are they are all the same.
            let target = readlinkat(dir, name).map(OsStringExt::into_vec).unwrap_or_default();
            Seen::Link(target.into())
        }
        _ => Seen::Other,
    };
    Ok((seen, stat.st_dev))
}

/// Running out of something is our own trouble and must not look like an absence.
fn absent_unless_broken(error: Errno) -> io::Result<Seen> {
    match error {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EBADF => Err(error.into()),
        _ => Ok(Seen::Absent),
    }
}

fn kind(dir: BorrowedFd) -> Result<Kind, Errno> {
    // linux/magic.h: sysfs, cgroup, cgroup2, devpts, debugfs, tracefs, FUSE, NFS, autofs, binfmt_misc, mqueue.
    const LIVE: [i64; 11] = [
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0x6462_6720,
        0x7472_6163,
        0x6573_5546,
        0x6969,
        0x0187,
        0x4249_4e4d,
        0x1980_0202,
    ];
    const PROC: FsType = FsType(0x9fa0);
    let magic = fstatfs(dir)?.filesystem_type();
    Ok(match magic {
        PROC => Kind::Proc,
        FsType(magic) if LIVE.contains(&magic) => Kind::Live,
        _ => Kind::Ordinary,
    })
}
