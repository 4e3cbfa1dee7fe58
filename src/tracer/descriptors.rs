//! Which directories the descriptors of tasks lead to.
//!
//! Where [`OpenFiles`](super::open_files::OpenFiles) does not know, the kernel has to be asked what a number stands for
//! now. This takes one call: `/proc/TASK/fd` stays open for the tasks that used descriptors last, and what the kernel
//! prints is compared with what it printed before. As long as that is the same, nothing is allocated and no name is
//! looked up.

use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rustix::fs::readlinkat_raw;
use rustix::path::DecInt;

use super::names::Name;

/// Longest text the kernel prints (`PATH_MAX`).
const LONGEST: usize = 4096;
/// How many tasks are remembered, each with an open directory; busy ones are few.
const TASKS: usize = 8;
/// How many numbers are remembered of each: a walk through a tree has one or two directories open.
const NUMBERS: usize = 8;

/// What the descriptors of tasks led to the last time.
#[derive(Debug, Default)]
pub struct Descriptors {
    tables: Vec<Table>,
    /// Which one is replaced by the next new task.
    oldest: usize,
}

#[derive(Debug)]
struct Table {
    task: i32,
    /// `/proc/TASK/fd`: of this task and no later one with the same id.
    directory: OwnedFd,
    known: Vec<Known>,
    oldest: usize,
}

#[derive(Debug)]
struct Known {
    number: i32,
    text: Box<[u8]>,
    name: Name,
}

impl Descriptors {
    /// Reads into `text` what the kernel prints for the descriptor `number` of `task`. Returns the name that was
    /// learned with this text, if there is one: it may have been forgotten by [`Names`](super::names::Names) since.
    ///
    /// # Errors
    /// ENOENT when no such descriptor is open, or the task is gone.
    pub fn read(&mut self, task: i32, number: i32, text: &mut Vec<u8>) -> io::Result<Option<Name>> {
        text.clear();
        text.reserve(LONGEST);
        let at = match self.tables.iter().position(|table| table.task == task) {
            Some(at) => match self.tables[at].read(number, text) {
                // Not open; or an earlier task had this id.
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    self.tables.swap_remove(at);
                    self.open(task)?
                }
                Err(e) => return Err(e),
                Ok(()) => return Ok(self.tables[at].known(number, text)),
            },
            None => self.open(task)?,
        };
        self.tables[at].read(number, text).map(|()| None)
    }

    /// From now on the descriptor `number` of `task` is known to lead to `name` when the kernel prints `text` for it.
    pub fn learn(&mut self, task: i32, number: i32, text: &[u8], name: Name) {
        let Some(table) = self.tables.iter_mut().find(|table| table.task == task) else { return };
        let known = Known { number, text: text.into(), name };
        match table.known.iter().position(|known| known.number == number) {
            Some(at) => table.known[at] = known,
            None if table.known.len() < NUMBERS => table.known.push(known),
            None => {
                table.known[table.oldest] = known;
                table.oldest = (table.oldest + 1) % NUMBERS;
            }
        }
    }

    /// Where the new table of `task` is.
    fn open(&mut self, task: i32) -> io::Result<usize> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(format!("/proc/{task}/fd").as_str(), flags, Mode::empty())?;
        let table = Table { task, directory, known: Vec::new(), oldest: 0 };
        if self.tables.len() < TASKS {
            self.tables.push(table);
            return Ok(self.tables.len() - 1);
        }
        let at = self.oldest % TASKS;
        self.oldest = at + 1;
        self.tables[at] = table;
        Ok(at)
    }
}

impl Table {
    fn read(&self, number: i32, text: &mut Vec<u8>) -> io::Result<()> {
        text.clear();
        readlinkat_raw(&self.directory, DecInt::new(number), rustix::buffer::spare_capacity(text))?;
        Ok(())
    }

    fn known(&self, number: i32, text: &[u8]) -> Option<Name> {
        self.known.iter().find(|known| known.number == number && *known.text == *text).map(|known| known.name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::tracer::names::Names;

    #[test]
    fn a_number_that_is_used_again_leads_elsewhere() {
        let this = std::process::id() as i32;
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut names = Names::new(std::fs::File::open("/").unwrap().into()).unwrap();
        let mut descriptors = Descriptors::default();
        let mut text = Vec::new();
        let first = std::fs::File::open(dirs[0].path()).unwrap();
        // A number that no other test comes to.
        let mut first = rustix::io::fcntl_dupfd_cloexec(&first, 700).unwrap();
        let number = first.as_raw_fd();
        assert_eq!(descriptors.read(this, number, &mut text).unwrap(), None);
        assert_eq!(text, dirs[0].path().as_os_str().as_encoded_bytes());
        let name = names.at(&text);
        descriptors.learn(this, number, &text, name);
        assert_eq!(descriptors.read(this, number, &mut text).unwrap(), Some(name));
        let second = std::fs::File::open(dirs[1].path()).unwrap();
        rustix::io::dup2(&second, &mut first).unwrap();
        assert_eq!(descriptors.read(this, number, &mut text).unwrap(), None, "another directory");
        assert_eq!(text, dirs[1].path().as_os_str().as_encoded_bytes());
        drop(first);
        let closed = descriptors.read(this, number, &mut text).unwrap_err();
        assert_eq!(closed.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(descriptors.read(this, second.as_raw_fd(), &mut text).unwrap(), None, "and still readable");
    }

    #[test]
    fn tasks_and_numbers_are_forgotten_in_turn() {
        let this = std::process::id() as i32;
        let mut names = Names::new(std::fs::File::open("/").unwrap().into()).unwrap();
        let name = names.at(b"/x");
        let mut descriptors = Descriptors::default();
        let mut text = Vec::new();
        descriptors.open(this).unwrap();
        for number in 100..150 {
            descriptors.learn(this, number, b"/x", name);
        }
        assert_eq!(descriptors.tables[0].known.len(), NUMBERS);
        for _ in 0..2 * TASKS {
            descriptors.open(this).unwrap();
        }
        assert_eq!(descriptors.tables.len(), TASKS);
        assert!(descriptors.read(i32::MAX, 0, &mut text).is_err(), "no such task");
    }
}
