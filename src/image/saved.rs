//! What a lazy rootfs had where an application that runs in place has changed it since.
//!
//! Whoever watches the application tells of each change before it is made, and what is there is saved: the entry, and
//! the content where that may change or go away. From then on [`Rootfs`](super::Rootfs) answers from here for these
//! paths, so that it stays what it was when the first change was told. A path that nothing was at then has nothing,
//! whatever is there now. Only scratch space of the store is written.
//!
//! Files are known by their inode, not by their name alone, because what is written under one name of a file is read
//! under all others, and an application may give a file of the base a new name and write it there.

mod saving;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::base::{FileTree, ImagePath};
use crate::image::{Entry, Owners, ScratchDir};

/// What was changed, as it was before.
pub struct Saved {
    root: OwnedFd,
    owners: Arc<dyn Owners>,
    scratch: ScratchDir,
    known: RwLock<Known>,
}

/// What the rootfs had at a path.
pub(super) enum Before {
    /// What the disk has.
    Unchanged,
    /// Nothing.
    Absent,
    /// This.
    Kept(Entry),
}

#[derive(Default)]
struct Known {
    states: FileTree<State>,
    files: Vec<Kept>,
    /// Files that can be met under another name, by device and inode.
    by_inode: HashMap<(u64, u64), usize>,
    notes: Vec<String>,
}

#[derive(Clone, Copy)]
enum State {
    Absent,
    /// The number of the file. When it is `closed`, nothing was below it but what has a state.
    Kept {
        file: usize,
        closed: bool,
    },
}

struct Kept {
    entry: Entry,
    /// Where the content is, unless the disk still has it at the path.
    content: Option<PathBuf>,
}

impl Known {
    fn before(&self, path: &ImagePath) -> Option<State> {
        if let Some(&state) = self.states.get(path) {
            return Some(state);
        }
        if self.states.is_empty() {
            return None;
        }
        let is_open = |above: ImagePath| match self.states.get(&above) {
            None => true,
            Some(State::Absent | State::Kept { closed: true, .. }) => false,
            Some(State::Kept { file, .. }) => self.files[*file].entry.is_dir(),
        };
        (!path.ancestors().all(is_open)).then_some(State::Absent)
    }

    fn add(&mut self, entry: Entry) -> usize {
        self.files.push(Kept { entry, content: None });
        self.files.len() - 1
    }
}

impl Kept {
    fn is_complete(&self) -> bool {
        self.content.is_some() || !self.entry.is_file()
    }

    fn open(&self) -> io::Result<Option<File>> {
        self.content.as_ref().map(File::open).transpose()
    }
}

impl Saved {
    pub(super) fn new(root: OwnedFd, owners: Arc<dyn Owners>, scratch: ScratchDir) -> Self {
        Saved { root, owners, scratch, known: RwLock::default() }
    }

    /// What could not be saved and did not have to be, for the user.
    pub fn notes(&self) -> Vec<String> {
        self.read().notes.clone()
    }

    /// What the rootfs had at `path`.
    pub(super) fn before(&self, path: &ImagePath) -> Before {
        let known = self.read();
        match known.before(path) {
            None => Before::Unchanged,
            Some(State::Absent) => Before::Absent,
            Some(State::Kept { file, .. }) => Before::Kept(known.files[file].entry.clone()),
        }
    }

    /// The entry of an open file that was changed under another name.
    pub(super) fn other_name(&self, file: BorrowedFd<'_>) -> io::Result<Option<Entry>> {
        Ok(self.known_inode(file)?.map(|(known, number)| known.files[number].entry.clone()))
    }

    /// The saved content of the file at `path`, which is no directory; `None` when the disk has it.
    pub(super) fn open(&self, path: &ImagePath) -> io::Result<Option<File>> {
        let known = self.read();
        match known.before(path) {
            None => Ok(None),
            Some(State::Absent) => Err(Errno::ENOENT.into()),
            Some(State::Kept { file, .. }) => known.files[file].open(),
        }
    }

    /// The same for a file that is open, by any of its names.
    pub(super) fn open_other_name(&self, file: BorrowedFd<'_>) -> io::Result<Option<File>> {
        match self.known_inode(file)? {
            Some((known, number)) => known.files[number].open(),
            None => Ok(None),
        }
    }

    /// The names in the directory at `path`, from those that the disk has.
    pub(super) fn list(
        &self,
        path: &ImagePath,
        disk: impl FnOnce() -> io::Result<Vec<Vec<u8>>>,
    ) -> io::Result<Vec<Vec<u8>>> {
        let known = self.read();
        let is_open = match known.before(path) {
            None => true,
            Some(State::Absent) => return Ok(Vec::new()),
            Some(State::Kept { file, closed }) if known.files[file].entry.is_dir() => !closed,
            Some(State::Kept { .. }) => return Ok(Vec::new()),
        };
        let mut names = if is_open { disk()? } else { Vec::new() };
        for (child, state) in known.states.children(path) {
            let Some(name) = child.file_name() else { continue };
            names.retain(|listed| listed != name);
            if let State::Kept { .. } = state {
                names.push(name.to_vec());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether something above `path` was changed: that it cannot be reached may come from there.
    pub(super) fn is_below_change(&self, path: &ImagePath) -> bool {
        let known = self.read();
        path.ancestors().any(|above| known.states.contains(&above))
    }

    fn known_inode(&self, file: BorrowedFd<'_>) -> io::Result<Option<(RwLockReadGuard<'_, Known>, usize)>> {
        let known = self.read();
        if known.by_inode.is_empty() {
            return Ok(None);
        }
        let stat = fstat(file)?;
        let number = known.by_inode.get(&(stat.st_dev, stat.st_ino)).copied();
        Ok(number.map(|number| (known, number)))
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
