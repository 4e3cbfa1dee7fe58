//! The tree of files that a command runs in, and walks over it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use crate::base::{FileTree, ImagePath};
use crate::image::concealed::{Concealed, OwnFiles};
use crate::image::saved::{Before, Saved};
use crate::image::{Entry, EntryKind, ImageError, Store, xattrs};

/// How many symbolic links one look-up may follow, as in the kernel (`path_resolution(7)`).
const MAX_LINKS: usize = 40;
/// How many look-ups of a lazy rootfs are remembered, absent names included: those above a file are asked for again
/// with each file.
const MOST_KNOWN: usize = 1 << 17;
/// The largest file that is read whole, in bytes.
pub const MOST_READ: u64 = 64 << 20;

/// A tree of files on the host, seen as the root of a container. It is *full* when all its entries are known beforehand
/// (an unpacked image: the index, not the disk, says who owns what), and *lazy* when they are looked up as they are
/// asked for (a directory or the host itself), mostly once. It is never written; what an application writes that runs
/// in place is not seen once [`Rootfs::keep`] was called.
pub struct Rootfs {
    location: PathBuf,
    root: OwnedFd,
    content: Content,
    concealed: Concealed,
    saved: OnceLock<Arc<Saved>>,
    /// What was looked up in a lazy rootfs. Before the application changes anything it is what [`Saved`] would say.
    known: Mutex<HashMap<ImagePath, Option<Entry>>>,
}

enum Content {
    Full(FileTree<Entry>),
    Lazy(Arc<dyn Owners>),
}

/// Who owns a file in the eyes of the user that started scrimp. Inside a user namespace `fstat` shows every owner
/// that is not mapped as the overflow id, so somebody outside has to look.
pub trait Owners: Send + Sync {
    /// The owner and group of an open file (an `O_PATH` descriptor will do), as they are to appear in an image.
    fn owner(&self, file: BorrowedFd<'_>) -> io::Result<(u32, u32)>;
}

/// Owners as `fstat` shows them to this process.
pub struct OwnersAsSeen;

impl Owners for OwnersAsSeen {
    fn owner(&self, file: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
        let stat = nix::sys::stat::fstat(file)?;
        Ok((stat.st_uid, stat.st_gid))
    }
}

/// A file of a rootfs could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// An operation on a file failed.
    #[error("cannot {operation} {path} in {root}: {cause}")]
    File {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The file.
        path: ImagePath,
        /// Where the rootfs is on the host.
        root: String,
        /// Why it failed.
        cause: io::Error,
    },
    /// The root itself could not be opened.
    #[error("cannot open the rootfs {root}: {cause}")]
    Root {
        /// Where it was to be on the host.
        root: String,
        /// Why it failed.
        cause: io::Error,
    },
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The symbolic links that were followed, in order, each by its own real path.
    pub links: Vec<ImagePath>,
    /// The path without links at which the walk ended: the file itself when `entry` is some, otherwise the first name
    /// that does not exist with the rest of the path below it.
    pub end: ImagePath,
    /// What is there; `None` when the path leads nowhere (or in circles).
    pub entry: Option<Entry>,
}

impl Rootfs {
    /// A rootfs whose entries are all known. `location` holds the content of the regular files at their paths.
    pub fn full(location: &Path, entries: FileTree<Entry>) -> Result<Self, RootfsError> {
        Self::new(location, Content::Full(entries))
    }

    /// A directory of the host, looked up as needed.
    pub fn lazy(location: &Path, owners: Arc<dyn Owners>) -> Result<Self, RootfsError> {
        Self::new(location, Content::Lazy(owners))
    }

    fn new(location: &Path, content: Content) -> Result<Self, RootfsError> {
        let root =
            File::open(location).map_err(|cause| RootfsError::Root { root: location.display().to_string(), cause })?;
        Ok(Rootfs {
            location: location.to_owned(),
            root: root.into(),
            content,
            concealed: Concealed::default(),
            saved: OnceLock::new(),
            known: Mutex::default(),
        })
    }

    /// Leaves files of the host out of a lazy rootfs. An image has none of them.
    pub fn conceal(&mut self, files: &OwnFiles) {
        if self.entries().is_none() {
            self.concealed = Concealed::below(&self.location, files);
        }
    }

    /// Whether `path` is, or lies in, a file that is no part of this rootfs wherever it is met.
    pub fn is_concealed(&self, path: &ImagePath) -> bool {
        self.concealed.hides(path)
    }

    /// Whether `path` is part of this rootfs only where it is executed or read.
    pub fn is_unlisted(&self, path: &ImagePath) -> bool {
        self.concealed.leaves_out(path)
    }

    /// Keeps a lazy rootfs what it is now, as far as changes are told to what is returned before they are made. Asked
    /// again, it is the same: the state before the first change of all. `None` for a full rootfs, which is in the
    /// store.
    pub fn keep(&self, store: &Store) -> Result<Option<Arc<Saved>>, ImageError> {
        let Content::Lazy(owners) = &self.content else { return Ok(None) };
        if let Some(saved) = self.saved.get() {
            return Ok(Some(saved.clone()));
        }
        let root = self.root.try_clone().map_err(|cause| self.error("open", &ImagePath::root(), cause))?;
        let saved = Saved::new(root, owners.clone(), store.scratch_dir()?);
        Ok(Some(self.saved.get_or_init(|| Arc::new(saved)).clone()))
    }

    /// The same tree once more, to be looked at from elsewhere; nothing of it is kept ([`Rootfs::keep`]).
    pub fn again(&self) -> Result<Self, RootfsError> {
        let content = match &self.content {
            Content::Full(entries) => Content::Full(entries.clone()),
            Content::Lazy(owners) => Content::Lazy(owners.clone()),
        };
        Self::new(&self.location, content)
    }

    /// Where the tree is on the host.
    pub fn location(&self) -> &Path {
        &self.location
    }

    /// Whether it is the filesystem that scrimp runs on.
    pub fn is_host(&self) -> bool {
        self.entries().is_none() && self.location() == Path::new("/")
    }

    /// All entries of a full rootfs; `None` for a lazy one.
    pub fn entries(&self) -> Option<&FileTree<Entry>> {
        match &self.content {
            Content::Full(entries) => Some(entries),
            Content::Lazy(_) => None,
        }
    }

    /// What is at `path`, without following a link: `None` when nothing is, when a parent is not a directory, or when
    /// this user may not enter a parent: the application, which runs with the same rights, finds nothing there either.
    pub fn lookup(&self, path: &ImagePath) -> Result<Option<Entry>, RootfsError> {
        match &self.content {
            Content::Full(entries) => Ok(entries.get(path).cloned()),
            Content::Lazy(_) if self.is_concealed(path) => Ok(None),
            Content::Lazy(owners) => {
                if let Some(known) = self.known().get(path) {
                    return Ok(known.clone());
                }
                // What is said to be unchanged after the look was unchanged when it was taken.
                let found = self.look(path, owners.as_ref());
                let entry = match self.saved.get().map(|saved| saved.before(path)) {
                    None | Some(Before::Unchanged) => found?,
                    Some(Before::Absent) => None,
                    Some(Before::Kept(entry)) => Some(entry),
                };
                let mut known = self.known();
                if known.len() >= MOST_KNOWN {
                    known.clear();
                }
                known.insert(path.clone(), entry.clone());
                Ok(entry)
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ImagePath, Option<Entry>>> {
        // Whoever panicked while holding it has put in a whole entry, or none.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, path: &ImagePath, owners: &dyn Owners) -> Result<Option<Entry>, RootfsError> {
        let saved = self.saved.get();
        match open_in(&self.root, path, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
            Ok(file) => saved
                .map_or(Ok(None), |saved| saved.other_name(file.as_fd()))
                .and_then(|other| other.map_or_else(|| read_entry(file, owners), Ok))
                .map(Some)
                .map_err(|e| self.error("look at", path, e)),
            // A directory above it that this user could enter before.
            Err(cause) if is_locked(&cause) && saved.is_some_and(|saved| saved.is_below_change(path)) => {
                Err(self.error("look up", path, cause))
            }
            Err(cause) if leads_nowhere(&cause) => Ok(None),
            Err(cause) => Err(self.error("look up", path, cause)),
        }
    }

    /// Opens the content of the regular file at `path`, without following links.
    pub fn open(&self, path: &ImagePath) -> Result<File, RootfsError> {
        self.open_content(path).map_err(|cause| self.error("open", path, cause))
    }

    fn open_content(&self, path: &ImagePath) -> io::Result<File> {
        let on_disk = || open_in(&self.root, path, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK);
        let Some(saved) = self.saved.get() else { return on_disk().map(File::from) };
        if let Some(file) = saved.open(path)? {
            return Ok(file);
        }
        let file = on_disk()?;
        Ok(saved.open_other_name(file.as_fd())?.unwrap_or_else(|| file.into()))
    }

    /// The whole content of the regular file at `path`, without following links.
    ///
    /// # Errors
    /// Also when it has more than [`MOST_READ`]: what is read whole is settings, tables and programs, and an image that
    /// has more of them than memory is made to be one.
    pub fn read(&self, path: &ImagePath) -> Result<Vec<u8>, RootfsError> {
        let mut content = Vec::new();
        let mut file = self.open(path)?.take(MOST_READ + 1);
        file.read_to_end(&mut content).map_err(|cause| self.error("read", path, cause))?;
        if content.len() as u64 > MOST_READ {
            let cause = io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {} MB, and no file of its kind has", MOST_READ >> 20),
            );
            return Err(self.error("read", path, cause));
        }
        Ok(content)
    }

    /// The content of the file that `path` leads to, links followed; `None` when there is no regular file.
    pub fn read_resolved(&self, path: &ImagePath) -> Result<Option<Vec<u8>>, RootfsError> {
        let resolution = self.resolve(path.as_bytes(), true)?;
        match resolution.entry {
            Some(entry) if entry.is_file() => self.read(&resolution.end).map(Some),
            _ => Ok(None),
        }
    }

    /// The names in the directory at `path`, sorted; none when it is not a directory.
    pub fn list(&self, path: &ImagePath) -> Result<Vec<Vec<u8>>, RootfsError> {
        if let Content::Full(entries) = &self.content {
            return Ok(entries.children(path).filter_map(|(child, _)| child.file_name().map(Into::into)).collect());
        }
        let on_disk = || match list_names(&self.root, path) {
            Err(cause) if leads_nowhere(&cause) => Ok(Vec::new()),
            other => other,
        };
        let names = match self.saved.get() {
            Some(saved) => saved.list(path, on_disk),
            None => on_disk(),
        };
        let counts = |name: &Vec<u8>| {
            path.child(name).is_ok_and(|child| !self.is_concealed(&child) && !self.is_unlisted(&child))
        };
        let mut names = names.map_err(|cause| self.error("list", path, cause))?;
        names.retain(counts);
        Ok(names)
    }

    /// Walks `path` as the kernel would for a process whose root this is: links are followed link by link (the last
    /// one only when `follow_last`), `..` goes up and stops at the root. `path` is taken as absolute.
    pub fn resolve(&self, path: &[u8], follow_last: bool) -> Result<Resolution, RootfsError> {
        let mut pending: Vec<Vec<u8>> = components_reversed(path);
        let mut at = ImagePath::root();
        let mut entry = self.lookup(&at)?;
        let mut links = Vec::new();
        while let Some(name) = pending.pop() {
            if name == b".." {
                at = at.parent().unwrap_or_else(ImagePath::root);
                entry = self.lookup(&at)?;
                continue;
            }
            let Ok(next) = at.child(&name) else {
                entry = None;
                break;
            };
            let found = match entry {
                Some(ref dir) if dir.is_dir() => self.lookup(&next)?,
                _ => None,
            };
            let is_last = pending.is_empty();
            match found.as_ref().and_then(Entry::link_target) {
                Some(target) if !is_last || follow_last => {
                    links.push(next.clone());
                    if links.len() > MAX_LINKS {
                        return Ok(Resolution { links, end: next, entry: None });
                    }
                    pending.extend(components_reversed(target));
                    if target.starts_with(b"/") {
                        at = ImagePath::root();
                        entry = self.lookup(&at)?;
                    }
                }
                _ => {
                    at = next;
                    entry = found;
                    if entry.is_none() {
                        break;
                    }
                }
            }
        }
        // Past a name that does not exist only names can follow; `..` there is an error for the kernel too.
        while let Some(name) = pending.pop() {
            match at.child(&name) {
                Ok(next) => at = next,
                Err(_) => break,
            }
        }
        Ok(Resolution { links, end: at, entry })
    }

    fn error(&self, operation: &'static str, path: &ImagePath, cause: io::Error) -> RootfsError {
        RootfsError::File { operation, path: path.clone(), root: self.location.display().to_string(), cause }
    }
}

/// Whether a walk ended for a reason that a process in the tree would meet too. A directory that this user may not
/// enter is one: the application ran as the same user.
fn leads_nowhere(cause: &io::Error) -> bool {
    matches!(
        cause.raw_os_error().map(Errno::from_raw),
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG | Errno::EACCES)
    )
}

/// Whether a walk ended at a directory that this user may not enter.
fn is_locked(cause: &io::Error) -> bool {
    cause.raw_os_error() == Some(libc::EACCES)
}

/// Opens what is at `path` below `root`, without following links.
pub(super) fn open_in(root: &OwnedFd, path: &ImagePath, flags: OFlag) -> io::Result<OwnedFd> {
    let relative = if path.is_root() { b"." } else { path.relative() };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(Mode::empty())
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
    loop {
        match openat2(root.as_fd(), Path::new(OsStr::from_bytes(relative)), how) {
            // A rename elsewhere on the machine can make the kernel unsure that the walk stayed inside.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// The names in the directory at `path` below `root`, sorted.
pub(super) fn list_names(root: &OwnedFd, path: &ImagePath) -> io::Result<Vec<Vec<u8>>> {
    let dir = open_in(root, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(dir)?.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn components_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&b| b == b'/').filter(|c| !c.is_empty() && c != b".").rev().map(<[u8]>::to_vec).collect()
}

/// What an open file (an `O_PATH` descriptor will do) is.
pub(super) fn read_entry(file: OwnedFd, owners: &dyn Owners) -> io::Result<Entry> {
    let (uid, gid) = owners.owner(file.as_fd())?;
    let itself = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let file = File::from(file);
    let meta = file.metadata()?;
    let (major, minor) = (nix::sys::stat::major(meta.rdev()) as u32, nix::sys::stat::minor(meta.rdev()) as u32);
    let kind = match meta.mode() & libc::S_IFMT {
        libc::S_IFREG => EntryKind::File {
            size: meta.len(),
            digest: None,
            link_group: (meta.nlink() > 1).then(|| meta.ino() ^ meta.dev().rotate_left(32)),
        },
        libc::S_IFDIR => EntryKind::Dir,
        libc::S_IFLNK => {
            let target = nix::fcntl::readlinkat(&file, "")?;
            EntryKind::Symlink { target: target.as_bytes().to_vec() }
        }
        libc::S_IFCHR => EntryKind::CharDevice { major, minor },
        libc::S_IFBLK => EntryKind::BlockDevice { major, minor },
        libc::S_IFIFO => EntryKind::Fifo,
        _ => EntryKind::Socket,
    };
    let mut found = std::collections::BTreeMap::new();
    if !matches!(kind, EntryKind::Symlink { .. } | EntryKind::Socket) {
        let names: Vec<_> = match xattr::list_deref(&itself) {
            Ok(names) => names.collect(),
            Err(cause) if cause.raw_os_error() == Some(libc::ENOTSUP) => Vec::new(),
            Err(cause) => return Err(cause),
        };
        for name in names {
            // An attribute can be listed and yet not be readable by this user (`trusted.*`): it is not ours to ship.
            let (Some(text), Ok(Some(value))) = (name.to_str(), xattr::get_deref(&itself, &name)) else { continue };
            found.insert(text.to_owned(), value);
        }
    }
    let (mode, nanos) = (meta.mode() & 0o7777, meta.mtime_nsec() as u32);
    Ok(Entry { kind, mode, uid, gid, mtime: meta.mtime(), nanos, xattrs: xattrs::of_disk(found) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::OwnersAsSeen;

    #[test]
    fn a_file_that_would_fill_the_memory_is_not_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let file = File::create(dir.path().join("etc/passwd")).unwrap();
        let rootfs = Rootfs::lazy(dir.path(), Arc::new(OwnersAsSeen)).unwrap();
        let path = ImagePath::parse("/etc/passwd").unwrap();
        file.set_len(MOST_READ).unwrap();
        assert_eq!(rootfs.read(&path).unwrap().len() as u64, MOST_READ);
        file.set_len(1 << 40).unwrap();
        let error = rootfs.read_resolved(&path).unwrap_err().to_string();
        assert!(error.contains("/etc/passwd") && error.contains("it has more than 64 MB"), "{error}");
    }
}
