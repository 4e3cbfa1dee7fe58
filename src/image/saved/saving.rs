//! Saving: what is told of a change, and what is done before it is made.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, fstat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{AccessFlags, access};

use super::{Known, Saved, State};
use crate::base::ImagePath;
use crate::image::rootfs::{list_names, open_in, read_entry};
use crate::image::{Entry, EntryKind};

/// How much of what is at a path has to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Metadata,
    Content,
    /// The content, and that a directory is empty.
    Name,
}

/// What is at a path now.
struct Found {
    file: OwnedFd,
    stat: FileStat,
}

impl Found {
    fn inode(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    fn is(&self, kind: libc::mode_t) -> bool {
        self.stat.st_mode & libc::S_IFMT == kind
    }

    fn may_write(&self) -> bool {
        access(&itself(self.file.as_fd()), AccessFlags::W_OK).is_ok()
    }
}

impl Saved {
    /// The content of the file at `path` may change, and its metadata.
    ///
    /// # Errors
    /// When it cannot be saved, here as in the other methods: the change must not be made then.
    pub fn content(&self, path: &ImagePath) -> io::Result<()> {
        self.save(&mut self.write(), path, Extent::Content).map_err(with_hint)
    }

    /// The metadata of what is at `path` may change.
    pub fn metadata(&self, path: &ImagePath) -> io::Result<()> {
        self.save(&mut self.write(), path, Extent::Metadata).map_err(with_hint)
    }

    /// What is at `path` may lose this name, or another file may get it; or there is nothing and may be something
    /// after. A directory that is not empty stays.
    pub fn name(&self, path: &ImagePath) -> io::Result<()> {
        let known = &mut *self.write();
        match self.save_parent(known, path)? {
            true => self.save(known, path, Extent::Name).map_err(with_hint),
            false => Ok(()),
        }
    }

    /// The same for a directory with everything below it that is on its file system.
    pub fn tree(&self, path: &ImagePath) -> io::Result<()> {
        let known = &mut *self.write();
        if !self.save_parent(known, path)? {
            return Ok(());
        }
        let mut pending = vec![path.clone()];
        let (mut device, mut listed) = (None, Vec::new());
        while let Some(path) = pending.pop() {
            let children = self.save_level(known, &path, &mut device).map_err(|cause| named(&path, cause))?;
            if let Some(children) = children {
                pending.extend(children);
                listed.push(path);
            }
        }
        // Only now: what a closed directory is not known to have is absent.
        for path in &listed {
            if let Some(State::Kept { closed, .. }) = known.states.get_mut(path) {
                *closed = true;
            }
        }
        Ok(())
    }

    /// Saves what is at `path`; of a directory that was not saved with all it has returns what is in it.
    fn save_level(
        &self,
        known: &mut Known,
        path: &ImagePath,
        device: &mut Option<libc::dev_t>,
    ) -> io::Result<Option<Vec<ImagePath>>> {
        self.save(known, path, Extent::Name)?;
        let Some(State::Kept { file, closed: false }) = known.states.get(path).copied() else { return Ok(None) };
        let Some(found) = self.find(path)?.filter(|found| found.is(libc::S_IFDIR)) else { return Ok(None) };
        if !known.files[file].entry.is_dir() {
            return Ok(None);
        }
        if *device.get_or_insert(found.stat.st_dev) != found.stat.st_dev {
            known
                .notes
                .push(format!("{path} is mounted in a directory that was renamed: what is below it was not saved"));
            return Ok(None);
        }
        Ok(Some(list_names(&self.root, path)?.iter().filter_map(|name| path.child(name).ok()).collect()))
    }

    /// The directory that holds `path` gets other times with any change in it. Returns whether such a change is
    /// possible at all.
    fn save_parent(&self, known: &mut Known, path: &ImagePath) -> io::Result<bool> {
        let Some(parent) = path.parent() else { return Ok(true) };
        match self.find(&parent)? {
            Some(dir) if dir.may_write() => {
                self.save(known, &parent, Extent::Metadata).map(|()| true).map_err(|cause| named(&parent, cause))
            }
            _ => Ok(false),
        }
    }

    fn save(&self, known: &mut Known, path: &ImagePath, extent: Extent) -> io::Result<()> {
        let state = known.before(path);
        if state.is_some() && extent == Extent::Metadata {
            return Ok(());
        }
        let Some(found) = self.find(path)? else {
            if state.is_none() {
                known.states.insert(path.clone(), State::Absent);
            }
            return Ok(());
        };
        if found.is(libc::S_IFDIR) {
            return self.save_dir(known, path, &found, extent, state);
        }
        // What is at a name that was changed before may be a file of the base all the same, which had another name.
        let file = match (state, known.by_inode.get(&found.inode())) {
            (_, Some(&file)) => file,
            (Some(_), None) => return Ok(()),
            (None, None) if is_made_by_kernel(found.file.as_fd())? => return Ok(()),
            // Whoever may not write the file gets no further; neither do we, perhaps, when we read it.
            (None, None) if extent == Extent::Content && found.is(libc::S_IFREG) && !found.may_write() => return Ok(()),
            (None, None) => known.add(self.entry(&found)?),
        };
        if extent != Extent::Metadata && !known.files[file].is_complete() {
            let (content, length) = self.copy(&found, file)?;
            let kept = &mut known.files[file];
            kept.content = Some(content);
            if let EntryKind::File { size, .. } = &mut kept.entry.kind {
                *size = length;
            }
        }
        if extent == Extent::Name && found.stat.st_nlink == 1 {
            // With its last name the number of an inode becomes free for another file.
            known.by_inode.remove(&found.inode());
        } else {
            known.by_inode.insert(found.inode(), file);
        }
        if state.is_none() {
            known.states.insert(path.clone(), State::Kept { file, closed: false });
        }
        Ok(())
    }

    /// Of a directory there is only one name, and what is in it is saved by itself.
    fn save_dir(
        &self,
        known: &mut Known,
        path: &ImagePath,
        found: &Found,
        extent: Extent,
        state: Option<State>,
    ) -> io::Result<()> {
        let file = match state {
            Some(State::Kept { file, closed: false }) if known.files[file].entry.is_dir() => file,
            Some(_) => return Ok(()),
            None if is_made_by_kernel(found.file.as_fd())? => return Ok(()),
            None => known.add(self.entry(found)?),
        };
        // One that is not empty keeps its name: only a rename takes it away, with all it has.
        let closed = extent == Extent::Name && self.is_empty(path)?;
        known.states.insert(path.clone(), State::Kept { file, closed });
        Ok(())
    }

    fn is_empty(&self, path: &ImagePath) -> io::Result<bool> {
        match list_names(&self.root, path) {
            Ok(names) => Ok(names.is_empty()),
            // Not for this user to see, nor to use: nothing of what is in there can be looked up later either.
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    fn entry(&self, found: &Found) -> io::Result<Entry> {
        read_entry(found.file.try_clone()?, self.owners.as_ref())
    }

    /// Copies the content of a regular file into scratch space; returns where it is, and its length.
    fn copy(&self, found: &Found, number: usize) -> io::Result<(PathBuf, u64)> {
        let mut options = OpenOptions::new();
        let mut from =
            options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(itself(found.file.as_fd()))?;
        let path = self.scratch.path().join(number.to_string());
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let copied = match rustix::fs::ioctl_ficlone(&to, &from) {
            Ok(()) => to.metadata().map(|meta| meta.len()),
            Err(_) => io::copy(&mut from, &mut to),
        };
        match copied {
            Ok(length) => Ok((path, length)),
            Err(cause) => {
                // The next attempt may have more room. That this was half of it counts more than that it stays.
                drop(std::fs::remove_file(&path));
                Err(cause)
            }
        }
    }

    fn find(&self, path: &ImagePath) -> io::Result<Option<Found>> {
        match open_in(&self.root, path, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
            Ok(file) => Ok(Some(Found { stat: fstat(&file)?, file })),
            Err(cause) if matches!(cause.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES)) => Ok(None),
            // One of a link above it has taken its place since: the call will not find it either, or again.
            Err(cause) if cause.raw_os_error() == Some(libc::ELOOP) => Ok(None),
            Err(cause) => Err(cause),
        }
    }
}

/// A path through which an open file can be opened again, looked at and asked for rights.
fn itself(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Whether a file is in a file system that has no files of its own: what is written there is a word to the kernel, and
/// reading may wait for an answer.
fn is_made_by_kernel(file: BorrowedFd<'_>) -> io::Result<bool> {
    // linux/magic.h: proc, sysfs, cgroup, cgroup2, devpts, debugfs, tracefs, securityfs, configfs, efivarfs, pstore,
    // selinux, smack, binfmt_misc, mqueue, bpf, fusectl, nsfs.
    const MAGIC: [i64; 18] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0x6265_6570,
        0xde5e_81e4,
        0x6165_676c,
        0xf97c_ff8c,
        0x4341_5d53,
        0x4249_4e4d,
        0x1980_0202,
        0xcafe_4a11,
        0x6573_5543,
        0x6e73_6673,
    ];
    Ok(MAGIC.contains(&fstatfs(file)?.filesystem_type().0))
}

/// Says which file it was, where the caller names another.
fn named(path: &ImagePath, cause: io::Error) -> io::Error {
    let cause = with_hint(cause);
    io::Error::new(cause.kind(), format!("{path}: {cause}"))
}

pub(super) fn with_hint(cause: io::Error) -> io::Error {
    match cause.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => io::Error::new(
            cause.kind(),
            format!("{cause}\nhint: make room, or give the store another place with --store DIR (or SCRIMP_STORE)"),
        ),
        _ => cause,
    }
}
