//! What is known of the application's tree of names, so that most look-ups need no system call.
//!
//! A node is a name in a directory, by its canonical path from the sandbox's root. Directories that were entered keep
//! an O_PATH descriptor, so a new name costs one look-up of its last component; links keep their targets; absences are
//! remembered, too. What the application changes is *unsettled* from the moment its call begins until its task stops
//! again: never answered from memory meanwhile, and forgotten at both ends. Nothing is remembered of file systems
//! that change by themselves, `/proc` above all.

mod ahead;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::Map;
use super::fold::{Fold, PathId};
use super::scout::Scout;
pub use super::sight::{Kind, Seen, open_root};
use super::sight::{absent_unless_broken, kind, kind_of, look, stat};
use crate::tracer::names::ahead::FIRST_CREDIT;

/// A name that may have been forgotten since, and its number used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    id: u32,
    generation: u32,
}

struct Node {
    parent: u32,
    name: Arc<[u8]>,
    /// Changes when the node is given to another name.
    generation: u32,
    /// Changes when what is at the name is forgotten.
    version: u32,
    /// How many calls that change this name are under way.
    unsettled: u32,
    seen: Option<Seen>,
    /// Of a directory that was entered.
    descriptor: Option<Arc<OwnedFd>>,
    kind: Kind,
    /// The device of a directory that was seen.
    device: u64,
    /// The application has opened this directory.
    opened: bool,
    /// What is in it is being looked at.
    scouted: bool,
    /// What is seen here was seen before the application asked for it.
    told: bool,
    children: Map<Arc<[u8]>, u32>,
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
    /// Changes with every change that begins or ends.
    state: u64,
    /// How many calls that change anything are under way.
    changing: u32,
    scout: Option<Scout>,
    /// How many names may be looked at before they are asked for; less than none: it is not worth it here.
    credit: i64,
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
            name: Arc::default(),
            generation: 0,
            version: 0,
            unsettled: 0,
            seen: Some(Seen::Dir),
            descriptor: Some(Arc::new(root)),
            kind,
            device,
            opened: false,
            scouted: false,
            told: false,
            children: Map::default(),
            path: None,
        };
        let limit = (soft / 4).clamp(64, 4096) as usize;
        // With one CPU there is none that is free.
        let alone = thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1);
        Ok(Names {
            nodes: vec![node],
            free: Vec::new(),
            epoch: 0,
            disturbed: 0,
            open: 0,
            limit,
            state: 0,
            changing: 0,
            scout: None,
            credit: if alone { i64::MIN } else { FIRST_CREDIT },
        })
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
        let component: Arc<[u8]> = component.into();
        let name = Arc::clone(&component);
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
                    opened: false,
                    scouted: false,
                    told: false,
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
        // Mostly the directory has a number, or the name itself.
        let mut unknown = Vec::new();
        let mut at = self.node(name).map_or(ROOT, |_| name.id);
        let mut path = loop {
            match self.nodes[at as usize].path {
                Some(path) => break path,
                None if at == ROOT => break PathId::ROOT,
                None => unknown.push(at),
            }
            at = self.nodes[at as usize].parent;
        };
        for id in unknown.into_iter().rev() {
            let node = &mut self.nodes[id as usize];
            // Components come from calls and from links: they hold no NUL, no slash, and are never `..`.
            path = fold.name(path, Arc::clone(&node.name));
            node.path = Some(path);
        }
        path
    }

    /// What is at `name`, and whether that may be remembered.
    pub fn look(&mut self, name: Name) -> io::Result<(Seen, bool)> {
        if name.id == ROOT {
            return Ok((Seen::Dir, self.disturbed == 0));
        }
        if let Some(seen) = self.remembered(name) {
            return Ok((seen, true));
        }
        if let Some(seen) = self.awaited(name) {
            return Ok((seen, true));
        }
        let Some(node) = self.node(name) else { return Ok((Seen::Absent, false)) };
        let (parent, mut lasting) = (node.parent, node.unsettled == 0 && self.disturbed == 0);
        let opened = self.nodes[parent as usize].opened;
        if opened {
            self.earn(1);
        }
        let dir = match self.descriptor(parent) {
            Ok(dir) => dir,
            Err(e) => return absent_unless_broken(e).map(|seen| (seen, lasting && is_absence(e))),
        };
        lasting &= self.nodes[parent as usize].kind == Kind::Ordinary;
        let seen = match look(dir.as_fd(), &self.nodes[name.id as usize].name) {
            Ok((seen, device)) => {
                self.nodes[name.id as usize].device = device;
                seen
            }
            Err(e) => {
                lasting &= is_absence(e);
                absent_unless_broken(e)?
            }
        };
        let node = &mut self.nodes[name.id as usize];
        node.seen = Some(seen.clone());
        if !matches!(seen, Seen::Dir) {
            self.open -= usize::from(self.nodes[name.id as usize].descriptor.take().is_some());
        }
        if opened {
            self.explore(parent);
        }
        Ok((seen, lasting))
    }

    /// What is known to be at `name`.
    fn remembered(&mut self, name: Name) -> Option<Seen> {
        let settled = self.disturbed == 0;
        let node = self.node_mut(name).filter(|node| settled && node.unsettled == 0)?;
        let seen = node.seen.clone()?;
        if std::mem::take(&mut node.told) {
            self.earn(2);
        }
        Some(seen)
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
    pub fn place(&mut self, name: Name) -> Result<(Arc<OwnedFd>, Box<[u8]>), Errno> {
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
    fn descriptor(&mut self, id: u32) -> Result<Arc<OwnedFd>, Errno> {
        let node = &self.nodes[id as usize];
        if let Some(descriptor) = &node.descriptor {
            return Ok(Arc::clone(descriptor));
        }
        let parent = self.descriptor(node.parent)?;
        let node = &self.nodes[id as usize];
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let descriptor = Arc::new(openat(parent.as_fd(), &*node.name, flags, Mode::empty())?);
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
            node.descriptor = Some(Arc::clone(&descriptor));
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
        self.alter();
        self.changing += 1;
        let Some(node) = self.node_mut(name) else { return false };
        node.unsettled += 1;
        let structural = matches!(node.seen, Some(Seen::Dir | Seen::Link(_)));
        self.forget(name);
        self.epoch += u64::from(structural);
        structural
    }

    /// That call is over.
    pub fn settle(&mut self, name: Name) {
        self.alter();
        self.changing = self.changing.saturating_sub(1);
        let Some(node) = self.node_mut(name) else { return };
        node.unsettled = node.unsettled.saturating_sub(1);
        let structural = matches!(node.seen, Some(Seen::Dir | Seen::Link(_)));
        self.forget(name);
        self.epoch += u64::from(structural);
    }

    /// A call that may change mounts begins. Descriptors must be closed, or unmounting fails.
    pub fn disturb(&mut self) {
        self.disturbed += 1;
        self.changing += 1;
        self.forget_all();
        if let Some(scout) = &self.scout {
            scout.rest();
            self.hear();
        }
    }

    /// That call is over.
    pub fn calm(&mut self) {
        self.disturbed = self.disturbed.saturating_sub(1);
        self.changing = self.changing.saturating_sub(1);
        self.forget_all();
    }

    fn forget_all(&mut self) {
        self.alter();
        self.close_all();
        for node in self.nodes.iter_mut().skip(1) {
            node.seen = None;
            node.version += 1;
            (node.opened, node.scouted, node.told) = (false, false, false);
        }
        self.epoch += 1;
    }

    fn forget(&mut self, name: Name) {
        let mut below: Vec<u32> = Vec::new();
        let node = &mut self.nodes[name.id as usize];
        node.seen = None;
        node.version += 1;
        (node.opened, node.scouted, node.told) = (false, false, false);
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
            (node.opened, node.scouted, node.told) = (false, false, false);
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

/// Whether there is nothing, rather than something that cannot be looked at.
fn is_absence(error: Errno) -> bool {
    matches!(error, Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG)
}
