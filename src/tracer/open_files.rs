//! What is known of a table of descriptors (`files_struct`), so that a directory's number need not be asked for at each
//! use.
//!
//! A number that leads to a directory can be used again for another without a stop: `close` passes. But every call that
//! puts a directory at a number does stop: those that open one, those that copy a descriptor, and those that make it
//! possible that descriptors arrive by message. So what was read of a number holds until such a call begins. From then
//! until its task stops again nothing is believed and nothing learned, and what was known is forgotten at both ends.
//!
//! What is known may be out of date in one way only: the number is closed, or that of something else than a directory.
//! A relative path that begins there leads nowhere then (EBADF, ENOTDIR). It is recorded as if it had been asked for
//! in the directory that was there, which keeps a name too many and loses none; to see it, each `close` would have to
//! stop. An empty path means the descriptor itself, whatever it is: for that the kernel is always asked.
//!
//! Descriptors arrive by message in unix sockets that have a name or a peer, as events of fanotify, and from who
//! listens to a seccomp filter. Who may hold one of the first two is known by descent: a table and those that were
//! copied from it have [`Peers`] in common, and the first socket of any of them ends belief for all, because they may
//! hold it, too.

use std::cell::Cell;
use std::rc::Rc;

use super::names::Name;
use super::tasks::Changing;

/// How many numbers are remembered: a walk through a tree has one or two directories open.
const NUMBERS: usize = 8;
/// Standard streams are never believed, so that redirecting them need not stop.
pub const FIRST_KNOWN: i32 = 3;

/// Whether descriptors may arrive by message in any of the tables that descend from one.
#[derive(Clone, Debug, Default)]
pub struct Peers(Rc<Cell<bool>>);

impl Peers {
    /// From now on they may.
    pub fn receive(&self) {
        self.0.set(true);
    }

    /// Whether they may.
    pub fn may_receive(&self) -> bool {
        self.0.get()
    }
}

/// A table of descriptors: of one task, or of several that were made with CLONE_FILES.
#[derive(Debug, Default)]
pub struct OpenFiles {
    known: Vec<(i32, Name)>,
    /// Which one is replaced by the next new number.
    oldest: usize,
    /// The renames of directories that were known when these were learned.
    renames: u64,
    /// How many calls are under way that may put a directory at a number.
    unsettled: u32,
    /// How many calls are under way that open what was not a directory when they began ...
    opening: u32,
    /// ... and the state of the names when the first of them did.
    since: u64,
    /// Whether it is known who shares the table, and every call that changes it is seen.
    certain: bool,
    peers: Peers,
}

impl OpenFiles {
    /// A table of which nothing is known but that it is there.
    pub fn unknown() -> Self {
        let files = OpenFiles::default();
        files.peers.receive();
        files
    }

    /// The table that a task has which has just been made, or which has stopped sharing one: a copy of this one.
    pub fn copied(&self) -> Self {
        // What the numbers were when the copy was made is not known: others may have changed them since.
        OpenFiles { certain: self.certain, peers: self.peers.clone(), ..OpenFiles::default() }
    }

    /// The table that a task has which nobody can share, and whose descriptors are those of this one. `alone`: none of
    /// them can bring another.
    pub fn own(&self, alone: bool) -> Self {
        let peers = if alone { Peers::default() } else { self.peers.clone() };
        OpenFiles { certain: true, peers, ..OpenFiles::default() }
    }

    /// Whether it is known who shares the table.
    pub fn is_certain(&self) -> bool {
        self.certain
    }

    /// Who may receive descriptors if this table may.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Whether what is known holds while the names are in `state`, after so many `renames`. Forgets what does not.
    pub fn is_steady(&mut self, state: u64, renames: u64) -> bool {
        if self.renames != renames {
            self.known.clear();
            self.renames = renames;
        }
        let opening = self.opening > 0 && self.since != state;
        self.certain && self.unsettled == 0 && !opening && !self.peers.may_receive()
    }

    /// Where `number` leads, as far as that is known.
    pub fn known(&self, number: i32) -> Option<Name> {
        self.known.iter().find(|known| known.0 == number).map(|known| known.1)
    }

    /// From now on `number` is known to lead to `name`. To be called only when the table is steady.
    pub fn learn(&mut self, number: i32, name: Name) {
        if number < FIRST_KNOWN {
            return;
        }
        match self.known.iter().position(|known| known.0 == number) {
            Some(at) => self.known[at].1 = name,
            None if self.known.len() < NUMBERS => self.known.push((number, name)),
            None => {
                self.known[self.oldest] = (number, name);
                self.oldest = (self.oldest + 1) % NUMBERS;
            }
        }
    }

    /// A call begins that may put a directory at any number.
    pub fn unsettle(&mut self) {
        self.unsettled += 1;
        self.known.clear();
    }

    /// That call is over.
    pub fn settle(&mut self) {
        self.unsettled = self.unsettled.saturating_sub(1);
        self.known.clear();
    }

    /// A task turns out to have this table that is in a call which changes these.
    pub fn join(&mut self, changing: &Changing) {
        self.known.clear();
        self.unsettled += u32::from(changing.files);
        if changing.opening {
            // What names were when it began, nobody knows.
            self.opening += 1;
            self.since = u64::MAX;
        }
    }

    /// A call begins that opens something else than a directory, if there is nothing else at its path before it does.
    pub fn open(&mut self, state: u64) {
        if self.opening == 0 {
            self.since = state;
        }
        self.opening += 1;
    }

    /// That call is over.
    pub fn opened(&mut self, state: u64) {
        self.opening = self.opening.saturating_sub(1);
        if self.since != state {
            self.known.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::Names;
    use super::*;

    /// A table with one known number, and two names.
    fn table() -> (OpenFiles, [Name; 2]) {
        let mut names = Names::new(std::fs::File::open("/").unwrap().into()).unwrap();
        let both = [names.at(b"/a"), names.at(b"/b")];
        let mut files = OpenFiles::unknown().own(true);
        assert!(files.is_steady(0, 0));
        files.learn(5, both[0]);
        (files, both)
    }

    /// What is believed of number 5.
    fn believed(files: &mut OpenFiles, state: u64, renames: u64) -> Option<Name> {
        files.is_steady(state, renames).then(|| files.known(5)).flatten()
    }

    #[test]
    fn a_call_that_may_change_numbers_ends_belief_from_its_begin() {
        let (mut files, [a, b]) = table();
        assert_eq!(believed(&mut files, 0, 0), Some(a));
        files.unsettle();
        files.unsettle();
        files.settle();
        assert!(!files.is_steady(0, 0), "one is still under way");
        files.settle();
        assert!(files.is_steady(0, 0));
        assert_eq!(files.known(5), None);
        files.learn(5, b);
        assert_eq!(believed(&mut files, 0, 0), Some(b));
    }

    #[test]
    fn opening_a_file_ends_belief_only_if_names_change_meanwhile() {
        let (mut files, [a, _]) = table();
        files.open(7);
        assert_eq!(believed(&mut files, 7, 0), Some(a));
        files.opened(7);
        assert_eq!(believed(&mut files, 8, 0), Some(a), "it was over");
        files.open(8);
        assert!(!files.is_steady(9, 0), "there may be a directory by now");
        files.open(9);
        assert!(!files.is_steady(9, 0), "the first is still under way");
        files.opened(9);
        files.opened(9);
        assert!(files.is_steady(9, 0));
        assert_eq!(files.known(5), None);
    }

    #[test]
    fn a_renamed_directory_ends_belief() {
        let (mut files, _) = table();
        assert!(files.is_steady(0, 1));
        assert_eq!(files.known(5), None);
    }

    #[test]
    fn what_one_of_a_family_may_receive_all_may() {
        let (files, _) = table();
        let mut child = files.copied();
        let mut other = files.own(true);
        assert!(child.is_steady(0, 0) && child.known(5).is_none());
        files.peers().receive();
        assert!(!child.is_steady(0, 0));
        assert!(other.is_steady(0, 0), "it had no socket");
        assert!(!child.own(false).is_steady(0, 0));
    }

    #[test]
    fn nothing_is_believed_of_a_table_that_others_may_share() {
        let mut unknown = OpenFiles::unknown();
        assert!(!unknown.is_steady(0, 0));
        assert!(!unknown.copied().is_steady(0, 0));
        assert!(!unknown.own(false).is_steady(0, 0), "descriptors may arrive");
        assert!(unknown.own(true).is_steady(0, 0));
    }

    #[test]
    fn standard_streams_are_not_remembered_and_others_in_turn() {
        let (mut files, [a, b]) = table();
        for number in 0..=2 {
            files.learn(number, a);
            assert_eq!(files.known(number), None);
        }
        for number in 10..40 {
            files.learn(number, b);
            assert_eq!(files.known(number), Some(b));
        }
        assert_eq!(files.known.len(), NUMBERS);
        assert_eq!(files.known(5), None);
    }
}
