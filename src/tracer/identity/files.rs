//! Whose each file is, as far as the application knows: bound to the file itself when the application made it or
//! changed that, else as the base has it.
//!
//! A file is its device and inode number, as the sandbox sees them. On an overlay those of a file of the base may
//! change when it is copied up; so whoever binds a file of the base copies it up first ([`Spot::copy_up`]). A file that
//! a call is about to make is bound as soon as it is there: when its maker stops again, and before anything is
//! answered.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, stat};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};

use super::super::names::{Name, Names};
use super::VirtualOwners;
use super::credentials::Credentials;
use super::file::FileIdentity;
use crate::base::ImagePath;

/// What the kernel shows for an id that does not exist in its user namespace.
const OVERFLOW: u32 = 65534;

/// Where a file is to be had.
#[derive(Debug)]
pub enum Spot {
    /// At a name.
    Named(Arc<OwnedFd>, Box<[u8]>, Name),
    /// At a name that nobody knows yet.
    Fresh(Arc<OwnedFd>, Box<[u8]>),
    /// Behind a link in the sandbox's `/proc`: it has no name.
    Behind(Arc<OwnedFd>, Box<[u8]>),
    /// Behind a link in `/proc`, of a descriptor; with its name, as far as it has one.
    Open(String, Option<Name>),
}

impl Spot {
    /// The file at `name` itself.
    pub fn at(names: &mut Names, name: Name) -> Result<Spot, Errno> {
        let (dir, component) = names.place(name)?;
        Ok(Spot::Named(dir, component, name))
    }

    /// Its name.
    pub fn name(&self) -> Option<Name> {
        match self {
            Spot::Named(_, _, name) => Some(*name),
            Spot::Fresh(..) | Spot::Behind(..) => None,
            Spot::Open(_, name) => *name,
        }
    }

    /// Its metadata as they really are.
    pub fn stat(&self) -> Result<FileStat, Errno> {
        match self {
            Spot::Named(dir, component, _) | Spot::Fresh(dir, component) => status(dir, component),
            Spot::Behind(dir, component) => fstatat(dir.as_fd(), &**component, AtFlags::AT_NO_AUTOMOUNT),
            Spot::Open(link, _) => stat(link.as_str()),
        }
    }

    /// The same by `statx`, with the flags and the mask that the application gave.
    pub fn statx(&self, flags: u32, mask: u32) -> Result<libc::statx, Errno> {
        // AT_STATX_SYNC_TYPE is all of the flags that does not say where to look.
        let flags = flags & 0x6000;
        let (dir, path, flags) = match self {
            Spot::Named(dir, component, _) | Spot::Fresh(dir, component) => {
                (dir.as_raw_fd(), &**component, flags | libc::AT_SYMLINK_NOFOLLOW as u32)
            }
            Spot::Behind(dir, component) => (dir.as_raw_fd(), &**component, flags),
            Spot::Open(link, _) => (libc::AT_FDCWD, link.as_bytes(), flags),
        };
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut out: libc::statx = unsafe { std::mem::zeroed() };
        let flags = flags | libc::AT_NO_AUTOMOUNT as u32;
        // SAFETY: the path ends in NUL, the kernel writes one structure to `out`, and both outlive the call.
        Errno::result(unsafe { libc::statx(dir, path.as_ptr(), flags as i32, mask, &mut out) })?;
        Ok(out)
    }

    /// The file as an O_PATH descriptor.
    pub fn handle(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        match self {
            Spot::Named(dir, component, _) | Spot::Fresh(dir, component) => {
                openat(dir.as_fd(), &**component, flags | OFlag::O_NOFOLLOW, Mode::empty())
            }
            Spot::Behind(dir, component) => openat(dir.as_fd(), &**component, flags, Mode::empty()),
            Spot::Open(link, _) => open(link.as_str(), flags, Mode::empty()),
        }
    }

    /// The names of its extended attributes as they really are.
    pub fn attributes(&self) -> io::Result<xattr::XAttrs> {
        let handle = self.handle()?;
        // An O_PATH descriptor lists nothing by itself.
        xattr::list_deref(format!("/proc/self/fd/{}", handle.as_raw_fd()))
    }

    /// Makes the file one of the upper layer, where it keeps its number, by a change that changes nothing. Returns what
    /// it then is.
    ///
    /// # Errors
    /// What `chown` itself would meet: a file system that is read-only, or full.
    pub fn copy_up(&self) -> Result<FileStat, Errno> {
        let (handle, stat) = (self.handle()?, self.stat()?);
        match stat.st_mode & libc::S_IFMT {
            // A link has no mode to set, and nothing that a change of its owner would take away.
            libc::S_IFLNK => set_owner(&handle, u32::MAX, u32::MAX)?,
            _ => set_bits(&handle, stat.st_mode & 0o7777)?,
        }
        fstat(&handle)
    }

    /// Gives the real file an owner and a group; `u32::MAX` leaves one as it is.
    ///
    /// # Errors
    /// As above; an id that does not exist is none.
    pub fn set_owner(&self, uid: u32, gid: u32) -> Result<FileStat, Errno> {
        let handle = self.handle()?;
        match set_owner(&handle, uid, gid) {
            Err(Errno::EINVAL) => {}
            other => other?,
        }
        fstat(&handle)
    }

    /// Gives the real file the permission bits of `mode`, but never so few that this sandbox's only user cannot use it,
    /// and no others: what a setuid bit means here only the model knows.
    ///
    /// # Errors
    /// As above.
    pub fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        let usable = if mode & libc::S_IFMT == libc::S_IFDIR { 0o700 } else { 0o600 };
        set_bits(&self.handle()?, mode & 0o777 | usable)
    }

    /// Gives the real file all bits of `mode`.
    ///
    /// # Errors
    /// As above.
    pub fn set_whole_mode(&self, mode: u32) -> Result<(), Errno> {
        set_bits(&self.handle()?, mode & 0o7777)
    }
}

/// Sets the mode of an open file; what is somebody else's in a volume stays as it is.
fn set_bits(handle: &OwnedFd, mode: u32) -> Result<(), Errno> {
    let link = CString::new(format!("/proc/self/fd/{}", handle.as_raw_fd())).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the path ends in NUL and outlives the call.
    unless_foreign(unsafe { libc::chmod(link.as_ptr(), mode) })
}

/// The same for the owner.
fn set_owner(handle: &OwnedFd, uid: u32, gid: u32) -> Result<(), Errno> {
    // SAFETY: the empty path ends in NUL and outlives the call.
    unless_foreign(unsafe { libc::fchownat(handle.as_raw_fd(), c"".as_ptr(), uid, gid, libc::AT_EMPTY_PATH) })
}

fn unless_foreign(result: i32) -> Result<(), Errno> {
    match Errno::result(result) {
        Ok(_) | Err(Errno::EPERM | Errno::EACCES) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The metadata of what is at a name, links not followed.
pub fn status(dir: &Arc<OwnedFd>, component: &[u8]) -> Result<FileStat, Errno> {
    fstatat(dir.as_fd(), component, AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT)
}

/// How many answers of the base are kept; more than this and all are forgotten.
const MAX_KNOWN: usize = 1 << 20;

/// Device and inode number, as the sandbox sees them.
type Key = (u64, u64);

/// A name that a call is making.
struct Making {
    task: i32,
    dir: Arc<OwnedFd>,
    component: Box<[u8]>,
    what: Made,
}

/// What a name is made for.
pub enum Made {
    /// A new file in the directory of `parent`.
    File { maker: Rc<Credentials>, parent: FileIdentity },
    /// Another name of this file. An overlay whose layers are on several file systems gives it another number there.
    Link(FileStat),
}

/// Whose each file is.
pub struct Files {
    owners: Arc<dyn VirtualOwners + Send + Sync>,
    /// What it said: a name has the same path as long as it is that name, and the base never changes.
    base: HashMap<Name, Option<FileIdentity>>,
    bound: HashMap<Key, FileIdentity>,
    /// By path, beside the number.
    changed: HashMap<Box<[u8]>, FileIdentity>,
    changing: Vec<(Name, FileIdentity)>,
    /// Other numbers of the same file.
    aliases: HashMap<Key, Key>,
    making: Vec<Making>,
    /// Directories that are bound, so that they stay in the kernel's memory: an overlay whose layers are on several
    /// file systems gives a directory another number when it has forgotten it.
    held: HashMap<Key, OwnedFd>,
    limit: usize,
}

impl Files {
    /// With what the base says.
    pub fn new(owners: Arc<dyn VirtualOwners + Send + Sync>) -> Self {
        let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        Files {
            owners,
            base: HashMap::new(),
            bound: HashMap::new(),
            changed: HashMap::new(),
            changing: Vec::new(),
            aliases: HashMap::new(),
            making: Vec::new(),
            held: HashMap::new(),
            limit: (soft / 4).min(4096) as usize,
        }
    }

    /// Whose the file with this metadata is, if that is bound to it.
    pub fn bound(&self, stat: &FileStat) -> Option<FileIdentity> {
        self.bound.get(&self.key(stat)).map(|identity| with_type(*identity, stat))
    }

    /// Whose the file with this metadata is, which is at `name`, if the base has one there.
    pub fn base(&mut self, names: &Names, name: Name, stat: &FileStat) -> Option<FileIdentity> {
        if self.base.len() >= MAX_KNOWN {
            self.base.clear();
        }
        // Something else may have been put in its place.
        let is_it = |base: &FileIdentity| [0, stat.st_mode & libc::S_IFMT].contains(&(base.mode & libc::S_IFMT));
        if !self.changed.is_empty()
            && let Some(changed) = self.changed.get(&*names.path(name)).copied().filter(is_it)
        {
            return Some(with_type(changed, stat));
        }
        let owners = &self.owners;
        let base = *self.base.entry(name).or_insert_with(|| owners.base(&ImagePath::parse(names.path(name)).ok()?));
        base.filter(is_it).map(|base| with_type(base, stat))
    }

    /// From now on what is at `name`, and nobody knows better, is whose `identity` says: a file of the base that was
    /// changed, whose number an overlay may change once more when it has forgotten it.
    pub fn change(&mut self, name: Name, identity: FileIdentity) {
        if identity.mode & libc::S_IFMT != libc::S_IFDIR {
            self.changing.push((name, identity));
        }
    }

    /// Takes in what was said by [`Files::change`].
    pub fn take_changes(&mut self, names: &Names) {
        for (name, identity) in self.changing.drain(..) {
            self.changed.insert(names.path(name).into(), identity);
        }
    }

    /// Whether there is anything to take in.
    pub fn has_changes(&self) -> bool {
        !self.changing.is_empty()
    }

    /// From now on the file is whose `identity` says.
    pub fn bind(&mut self, spot: &Spot, stat: &FileStat, identity: FileIdentity) {
        let key = self.key(stat);
        self.bound.insert(key, identity);
        if let Some(name) = spot.name() {
            self.change(name, identity);
        }
        if stat.st_mode & libc::S_IFMT == libc::S_IFDIR
            && self.held.len() < self.limit
            && !self.held.contains_key(&key)
            && let Ok(handle) = spot.handle()
            && fstatfs(&handle).is_ok_and(|fs| fs.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
        {
            self.held.insert(key, handle);
        }
    }

    /// The number by which the file is known here.
    fn key(&self, stat: &FileStat) -> Key {
        let key = (stat.st_dev, stat.st_ino);
        self.aliases.get(&key).copied().unwrap_or(key)
    }

    /// Whether the file's identity is already its own.
    pub fn is_bound(&self, stat: &FileStat) -> bool {
        self.bound.contains_key(&self.key(stat))
    }

    /// `task` is about to make the name `component` in `dir`, where there is none.
    pub fn make(&mut self, task: i32, (dir, component): (Arc<OwnedFd>, Box<[u8]>), what: Made) {
        self.making.push(Making { task, dir, component, what });
    }

    /// Binds what has been made. `stopped` has stopped again: what it has not made now it never will.
    pub fn settle(&mut self, stopped: Option<i32>) {
        if self.making.is_empty() {
            return;
        }
        for making in std::mem::take(&mut self.making) {
            match status(&making.dir, &making.component) {
                Ok(stat) => match &making.what {
                    Made::File { maker, parent } => {
                        // The number may have been another file's.
                        self.aliases.remove(&(stat.st_dev, stat.st_ino));
                        self.held.remove(&(stat.st_dev, stat.st_ino));
                        let identity = made(maker, parent, &stat);
                        self.bind(&Spot::Fresh(Arc::clone(&making.dir), making.component.clone()), &stat, identity);
                    }
                    Made::Link(file) => {
                        let key = self.key(file);
                        if key != (stat.st_dev, stat.st_ino) {
                            self.aliases.insert((stat.st_dev, stat.st_ino), key);
                        }
                    }
                },
                Err(_) if stopped == Some(making.task) => {}
                Err(_) => self.making.push(making),
            }
        }
    }
}

/// Whose a new file is.
pub fn made(maker: &Credentials, parent: &FileIdentity, stat: &FileStat) -> FileIdentity {
    maker.new_file(parent, stat.st_mode)
}

fn with_type(identity: FileIdentity, stat: &FileStat) -> FileIdentity {
    FileIdentity { mode: stat.st_mode & libc::S_IFMT | identity.mode & 0o7777, ..identity }
}

/// Whose a file is that nobody knows: what the caller owns belongs to root, as in a rootless container; what the
/// machine mounts or makes, too, and what belongs to others of the machine to nobody.
pub fn unknown(stat: &FileStat, path: Option<&ImagePath>) -> FileIdentity {
    let machine = path.is_some_and(|path| matches!(path.components().next(), Some(b"proc" | b"sys" | b"dev")));
    let id = |id: u32| if machine && id == OVERFLOW { 0 } else { id };
    FileIdentity::new(id(stat.st_uid), id(stat.st_gid), stat.st_mode)
}

/// A copy of the descriptor `number` of a task of `process`.
pub fn copy_descriptor(process: i32, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: returns a new descriptor or an error.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) } as i32;
    let pidfd = Errno::result(pidfd)?;
    // SAFETY: a descriptor that nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // SAFETY: returns a new descriptor or an error.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) } as i32;
    let copy = Errno::result(copy)?;
    // SAFETY: a descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
