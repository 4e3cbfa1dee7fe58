//! Where the scout goes: into the directories that it is asked to look into, and from there on to those below.
//!
//! Who walks a tree comes to the directories below mostly in the order in which they are listed, each with all that is
//! below it before the next. So does the scout, and is through with a directory before the application comes there: its
//! list is read by one at a time. It never leaves the file system of what it was asked for.

use std::collections::HashSet;
use std::mem::{MaybeUninit, replace, take};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use rustix::fs::RawDir;

use super::{Place, Request, Shared, Told};
use crate::tracer::sight::{Kind, Seen, kind, look};

/// How many names are told at a time in the end: the first ones are wanted at once.
const BATCH: usize = 64;
/// How many directories are held open to go on with.
const MOST_LEVELS: usize = 64;
/// How many directories are held open that the tracer was told of and has not heard of yet.
const MOST_TOLD: usize = 64;
/// Below a longer path from where it began nothing is looked at, in bytes.
const LONGEST: usize = 4096;
/// Of how many directories it is remembered that they were looked into.
const MOST_DONE: usize = 1 << 16;

/// The scout's way.
pub struct Walk {
    shared: Arc<Shared>,
    teller: Sender<Told>,
    /// The state of the tree in which all that follows was asked for.
    state: u64,
    /// How many names may still be looked at.
    left: usize,
    /// Where it goes on, the last one first.
    levels: Vec<Level>,
    /// Device and inode of the directories that all was told of.
    done: HashSet<(u64, u64)>,
    /// How many requests these directories are held open for.
    held: usize,
}

/// A directory that was looked into.
struct Level {
    place: Place,
    descriptor: Arc<OwnedFd>,
    /// The directories in it that were not yet looked into, the next one last.
    left: Vec<Box<[u8]>>,
}

impl Walk {
    pub fn new(shared: Arc<Shared>, teller: Sender<Told>) -> Self {
        Walk { shared, teller, state: 0, left: 0, levels: Vec::new(), done: HashSet::new(), held: 0 }
    }

    /// Looks into a directory that was asked for.
    pub fn begin(&mut self, request: &Request) {
        if request.state != self.state || self.done.len() > MOST_DONE {
            self.done.clear();
            self.levels.clear();
        }
        (self.state, self.left) = (request.state, request.most);
        self.held += 1;
        let place = Place { start: request.directory, below: Arc::default() };
        let level = self.enter(place, &request.parent, &request.component, 1);
        self.go_below(level.filter(|_| request.deep));
    }

    /// Goes on with what is left in a directory. What is above a deep one is given up.
    fn go_below(&mut self, level: Option<Level>) {
        self.levels.extend(level.filter(|level| !level.left.is_empty()));
        if self.levels.len() > MOST_LEVELS {
            self.levels.remove(0);
        }
    }

    /// Looks into the next one of the directories below; `false` when there is none, and no directory is held open.
    pub fn go_on(&mut self) -> bool {
        while self.left > 0
            && self.is_wanted()
            && let Some(mut level) = self.levels.pop()
        {
            let Some(component) = level.left.pop() else { continue };
            let place = Place { below: [&*level.place.below, b"/", &component].concat().into(), ..level.place };
            let parent = Arc::clone(&level.descriptor);
            self.go_below(Some(level));
            if place.below.len() > LONGEST {
                continue;
            }
            let level = self.enter(place, &parent, &component, BATCH);
            self.go_below(level);
            return true;
        }
        self.levels.clear();
        self.shared.pending.fetch_sub(take(&mut self.held), Ordering::Release);
        false
    }

    fn is_wanted(&self) -> bool {
        self.shared.state.load(Ordering::Relaxed) == self.state
    }

    /// Looks into a directory and tells what is there, the first `batch` names at once. What cannot be looked at here,
    /// the tracer will look at itself.
    fn enter(&mut self, place: Place, parent: &OwnedFd, component: &[u8], batch: usize) -> Option<Level> {
        let level = self.explore(&place, parent, component, batch);
        self.tell(Told { is_all: true, ..Told::new(&place, self.state) })?;
        level
    }

    /// `None` when nobody listens any more: all is over.
    fn tell(&self, told: Told) -> Option<()> {
        self.shared.told.fetch_add(usize::from(told.descriptor.is_some()), Ordering::Relaxed);
        self.teller.send(told).ok()
    }

    /// `None` when something failed, or it is not wanted any more.
    fn explore(&mut self, place: &Place, parent: &OwnedFd, component: &[u8], mut batch: usize) -> Option<Level> {
        let directory = Arc::new(open(parent, component).ok()?);
        let stat = fstat(&directory).ok()?;
        if self.done.contains(&(stat.st_dev, stat.st_ino)) || kind(directory.as_fd()).ok()? != Kind::Ordinary {
            return None;
        }
        let mut level = Level { place: place.clone(), descriptor: Arc::clone(&directory), left: Vec::new() };
        // Without it the tracer opens the directory itself when somebody comes there.
        let descriptor = (self.shared.told.load(Ordering::Relaxed) < MOST_TOLD).then(|| Arc::clone(&directory));
        let mut told = Told { descriptor, ..Told::new(place, self.state) };
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut list = RawDir::new(&directory, &mut buffer);
        while let Some(entry) = list.next() {
            let entry = entry.ok()?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if self.left == 0 || !self.is_wanted() {
                self.tell(told)?;
                return None;
            }
            let (seen, device) = look(directory.as_fd(), name).ok()?;
            if seen == Seen::Dir && device == stat.st_dev {
                level.left.push(name.into());
            }
            told.push(name, seen, device);
            self.left -= 1;
            if told.len() == batch {
                batch = (2 * batch).min(BATCH);
                self.tell(replace(&mut told, Told::new(place, self.state)))?;
            }
        }
        self.tell(told)?;
        self.done.insert((stat.st_dev, stat.st_ino));
        level.left.reverse();
        Some(level)
    }
}

/// Opens a directory to list it, without a trace where that is possible.
fn open(parent: &OwnedFd, component: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    match openat(parent, component, flags | OFlag::O_NOATIME, Mode::empty()) {
        // Only its owner may ask for this.
        Err(Errno::EPERM) => openat(parent, component, flags, Mode::empty()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize};
    use std::sync::mpsc;

    use super::*;
    use crate::tracer::names::Names;

    /// Follows a walk through all that is below `d` in `root` and returns the most directories that it held open, those
    /// that it told of, and how many of these came open.
    fn walk(root: &std::path::Path) -> (usize, usize, usize) {
        let shared =
            Arc::new(Shared { state: AtomicU64::new(0), pending: AtomicUsize::new(1), told: AtomicUsize::new(0) });
        let (teller, told) = mpsc::channel();
        let mut walk = Walk::new(shared, teller);
        let parent = Arc::new(OwnedFd::from(std::fs::File::open(root).unwrap()));
        let directory = Names::new(parent.try_clone().unwrap()).unwrap().at(b"/d");
        let component = b"d"[..].into();
        walk.begin(&Request { directory, parent, component, state: 0, most: 1 << 15, deep: true, busy: None });
        let mut held = 0;
        while walk.go_on() {
            held = held.max(walk.levels.len());
        }
        let told: Vec<Told> = told.try_iter().collect();
        let count = |is: fn(&Told) -> bool| told.iter().filter(|told| is(told)).count();
        (held, count(|told| told.is_all), count(|told| told.descriptor.is_some()))
    }

    #[test]
    fn of_a_deep_tree_few_directories_are_held_open() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("d").join("a/".repeat(400))).unwrap();
        assert_eq!(walk(root.path()), (1, 401, MOST_TOLD));
        // In each there is more to come back for.
        for depth in 0..400 {
            std::fs::create_dir(root.path().join("d").join("a/".repeat(depth)).join("b")).unwrap();
        }
        let (held, told, open) = walk(root.path());
        assert!(held <= MOST_LEVELS && told >= 401 && open == MOST_TOLD, "{held} {told} {open}");
    }

    #[test]
    fn of_a_wide_tree_few_directories_are_open_that_nobody_heard_of() {
        let root = tempfile::tempdir().unwrap();
        (0..400).for_each(|n| std::fs::create_dir_all(root.path().join(format!("d/{n}"))).unwrap());
        assert_eq!(walk(root.path()), (1, 401, MOST_TOLD));
    }

    #[test]
    fn a_path_that_grows_without_end_is_left() {
        let root = tempfile::tempdir().unwrap();
        let name = "n".repeat(255);
        let mut at = root.path().join("d");
        std::fs::create_dir(&at).unwrap();
        std::env::set_current_dir(&at).unwrap();
        for _ in 0..24 {
            at.push(&name);
            std::fs::create_dir(&name).unwrap();
            std::env::set_current_dir(&name).unwrap();
        }
        std::env::set_current_dir("/").unwrap();
        let (_, told, _) = walk(root.path());
        assert_eq!(told, 1 + LONGEST / 256);
    }
}
