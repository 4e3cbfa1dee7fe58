//! Writes the files of a tree on disk, each at its path without links on the way and never outside the tree.
//!
//! What an index says about a file is what counts; the disk follows as far as this process may: owners that its user
//! namespace does not map stay with its root, and devices, which nobody may make in a user namespace (and which would
//! be a way to the host's outside of one), are empty files.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, mkfifoat, symlinkat, unlinkat};
use xattr::FileExt;

use crate::base::ImagePath;
use crate::image::{Entry, EntryKind};

/// The root of a tree that is being written, and the directory that was used last.
pub(super) struct Disk {
    root: OwnedFd,
    last: Option<(ImagePath, OwnedFd)>,
}

impl Disk {
    /// Writes below `root`, a directory that nothing else changes.
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        Ok(Disk { root: File::open(root)?.into(), last: None })
    }

    /// Creates an empty regular file, to be written.
    pub(super) fn create(&mut self, path: &ImagePath) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let (dir, name) = self.parent(path)?;
        Ok(openat(dir, name, flags, Mode::from_bits_truncate(0o600))?.into())
    }

    /// Makes a directory that only this process can use until its metadata are applied.
    pub(super) fn make_dir(&mut self, path: &ImagePath) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        Ok(mkdirat(dir, name, Mode::S_IRWXU)?)
    }

    /// Makes anything but a regular file and a directory.
    pub(super) fn make_node(&mut self, path: &ImagePath, kind: &EntryKind) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        match kind {
            EntryKind::Symlink { target } => symlinkat(OsStr::from_bytes(target), dir, name)?,
            EntryKind::Fifo => mkfifoat(dir, name, Mode::from_bits_truncate(0o600))?,
            _ => drop(self.create(path)?),
        }
        Ok(())
    }

    /// Gives the file at `target` another name.
    pub(super) fn link(&mut self, target: &ImagePath, path: &ImagePath) -> io::Result<()> {
        let (dir, name) = split(target)?;
        let from = self.open_dir(&dir)?;
        let (to, new_name) = self.parent(path)?;
        Ok(linkat(&from, name, to, new_name, AtFlags::empty())?)
    }

    /// Removes a name; a directory has to be empty.
    pub(super) fn remove(&mut self, path: &ImagePath, is_dir: bool) -> io::Result<()> {
        let flag = if is_dir { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
        let (dir, name) = self.parent(path)?;
        Ok(unlinkat(dir, name, flag)?)
    }

    /// Gives a regular file that was just written its metadata.
    pub(super) fn finish_file(file: &File, entry: &Entry) -> io::Result<()> {
        let is_owned = owned(entry, fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))))?;
        fchmod(file, mode(entry, is_owned))?;
        set_xattrs(file, entry)?;
        let time = TimeSpec::new(entry.mtime, entry.nanos.into());
        tolerate_time(futimens(file, &time, &time))
    }

    /// Gives a file of any type its metadata. Directories come last, after all that is in them.
    pub(super) fn finish(&mut self, path: &ImagePath, entry: &Entry) -> io::Result<()> {
        if entry.is_dir() {
            let dir = self.open_for(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            return Self::finish_file(&dir.into(), entry);
        }
        let takes_xattrs = entry.is_file() && !entry.xattrs.is_empty();
        let (dir, name) = self.parent(path)?;
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        let is_owned = owned(entry, fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW))?;
        if entry.link_target().is_none() {
            fchmodat(dir, name, mode(entry, is_owned), FchmodatFlags::FollowSymlink)?;
        }
        if takes_xattrs {
            let file = File::from(self.open_for(path, OFlag::O_RDONLY)?);
            set_xattrs(&file, entry)?;
        }
        let time = TimeSpec::new(entry.mtime, entry.nanos.into());
        let (dir, name) = self.parent(path)?;
        tolerate_time(utimensat(dir, name, &time, &time, UtimensatFlags::NoFollowSymlink))
    }

    /// The directory that holds `path`, open, and the last component of `path`.
    fn parent<'a>(&'a mut self, path: &'a ImagePath) -> io::Result<(BorrowedFd<'a>, &'a OsStr)> {
        let (dir, name) = split(path)?;
        if self.last.as_ref().is_none_or(|(last, _)| *last != dir) {
            let open = self.open_dir(&dir)?;
            self.last = Some((dir, open));
        }
        match &self.last {
            Some((_, open)) => Ok((open.as_fd(), name)),
            None => Err(Errno::ENOENT.into()),
        }
    }

    fn open_dir(&self, path: &ImagePath) -> io::Result<OwnedFd> {
        self.open_for(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    fn open_for(&self, path: &ImagePath, flags: OFlag) -> io::Result<OwnedFd> {
        let relative = if path.is_root() { b"." } else { path.relative() };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        loop {
            match openat2(&self.root, OsStr::from_bytes(relative), how) {
                // A rename elsewhere on the machine can make the kernel unsure that the walk stayed inside.
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

fn split(path: &ImagePath) -> io::Result<(ImagePath, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) => Ok((dir, OsStr::from_bytes(name))),
        _ => Err(Errno::EBUSY.into()),
    }
}

/// Whether the file now has its owner. An id that is not mapped here is no error.
fn owned(entry: &Entry, result: nix::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::EPERM | Errno::EINVAL) => Ok((entry.uid, entry.gid) == (0, 0)),
        Err(cause) => Err(cause.into()),
    }
}

/// The mode, without the bits that would lend the rights of an owner that the file does not have.
fn mode(entry: &Entry, is_owned: bool) -> Mode {
    Mode::from_bits_truncate(if is_owned { entry.mode } else { entry.mode & 0o1777 })
}

fn set_xattrs(file: &File, entry: &Entry) -> io::Result<()> {
    for (name, value) in &entry.xattrs {
        match file.set_xattr(name, value) {
            Ok(()) => {}
            // Not every file system stores every attribute, and not every namespace may be written by this user.
            Err(cause) if cannot_be_stored(&cause) => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

/// Whether an attribute was refused for what it is. `ENOSPC` is among these: ext4 says so when an inode is full.
fn cannot_be_stored(cause: &io::Error) -> bool {
    let refusals = [libc::EPERM, libc::EACCES, libc::ENOTSUP, libc::EINVAL, libc::ERANGE, libc::E2BIG, libc::ENOSPC];
    cause.raw_os_error().is_some_and(|errno| refusals.contains(&errno))
}

/// A time that the file system cannot hold is no error.
fn tolerate_time(result: nix::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::EINVAL | Errno::EOVERFLOW) => Ok(()),
        Err(cause) => Err(cause.into()),
    }
}
