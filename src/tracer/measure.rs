//! The work of a stop without the stop, for `benches/tracer.rs`.
//!
//! The benchmark uses paths as if it were traced by itself. It is no part of what the library is for.

use super::decode::named;
use super::fold::{ExecutableId, Fold, User};
use super::record::{Ask, From, Recorder};
use super::syscalls::{Action, Architecture, Effect, Index};
use super::tasks::{Origin, Task};
use super::{Recording, Tree};
use crate::base::ImagePath;
use crate::observation::Operation;

/// A tracer whose only tracee is this process, which never stops.
pub struct Measured {
    index: Index,
    recorder: Recorder,
    task: Task,
    id: i32,
}

impl Default for Measured {
    fn default() -> Self {
        let (recorder, task) = (Recorder::default(), Task::new(Tree::Application, Origin::Spawned));
        // Nobody changes what the numbers lead to.
        task.files.replace_with(|files| files.own(true));
        Measured { index: Index::new(), recorder, task, id: std::process::id() as i32 }
    }
}

impl Measured {
    /// What the x86_64 call `number` names first: the address, and whether a link there is followed.
    pub fn decode(&self, number: u64, arguments: &[u64; 6]) -> Option<(u64, bool)> {
        let Action::Paths([place, ..]) = self.index.get(Architecture::X86_64, number)?.action else { return None };
        named(place, arguments, |_| None).map(|named| (named.address, named.ask.follow))
    }

    /// Records a `stat` of `path`, which begins at the descriptor `directory`, or in the current directory.
    ///
    /// # Errors
    /// As for a stop.
    pub fn stat(&mut self, directory: Option<i32>, path: &[u8]) -> std::io::Result<()> {
        let ask = Ask {
            operation: Operation::Stat,
            from: directory.map_or(From::Current, From::Descriptor),
            follow: true,
            empty: false,
            rooted: false,
            effect: Effect::None,
        };
        self.recorder.access(self.id, &mut self.task, &ask, path)
    }

    /// What was seen.
    pub fn finish(self) -> Recording {
        Recording { accesses: self.recorder.fold.finish(&[]), ..Recording::default() }
    }
}

/// Counts the use of one path `times` times. Returns the count.
pub fn fold(path: &ImagePath, times: u64) -> u64 {
    let mut fold = Fold::default();
    let user = User { tree: Tree::Application, executable: ExecutableId::UNKNOWN, probe: 0 };
    let id = fold.path(path);
    for _ in 0..times {
        fold.add(id, Operation::Stat, true, &user);
    }
    fold.finish(&[]).get(path).map_or(0, |folded| folded.count)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    /// Names that were asked for, from a number that leads to the first of two directories and then to the other.
    fn asked(tell: impl Fn(&mut Measured)) -> Vec<String> {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [first, second] = dirs.each_ref().map(|dir| File::open(dir.path()).unwrap());
        // A number that no other test comes to.
        let mut first = rustix::io::fcntl_dupfd_cloexec(&first, 900).unwrap();
        let mut tracer = Measured::default();
        tracer.stat(Some(first.as_raw_fd()), b"before").unwrap();
        rustix::io::dup2(&second, &mut first).unwrap();
        tell(&mut tracer);
        tracer.stat(Some(first.as_raw_fd()), b"after").unwrap();
        let paths: Vec<String> = tracer.finish().accesses.iter().map(|(path, _)| path.to_string()).collect();
        let place = |path: &str| dirs.iter().position(|dir| path.starts_with(dir.path().to_str().unwrap())).unwrap();
        let mut asked: Vec<String> =
            paths.iter().map(|path| format!("{} {}", place(path), path.rsplit('/').next().unwrap())).collect();
        asked.sort();
        asked
    }

    #[test]
    fn what_is_known_of_a_number_is_not_asked_for_until_a_call_may_have_changed_it() {
        assert_eq!(asked(|_| {}), ["0 after", "0 before"], "the kernel was asked");
        let changed = |tracer: &mut Measured| {
            tracer.recorder.renumber(&mut tracer.task);
            tracer.recorder.settle(&mut tracer.task);
        };
        assert_eq!(asked(changed), ["0 before", "1 after"]);
        let under_way = |tracer: &mut Measured| tracer.recorder.renumber(&mut tracer.task);
        assert_eq!(asked(under_way), ["0 before", "1 after"]);
        let listener = |tracer: &mut Measured| tracer.recorder.listeners += 1;
        assert_eq!(asked(listener), ["0 before", "1 after"]);
        let stray = |tracer: &mut Measured| {
            let other = Task::new(Tree::Application, Origin::Descendant);
            tracer.recorder.stray(&other.files);
        };
        assert_eq!(asked(stray), ["0 before", "1 after"], "also when it is gone: it may have changed the number");
    }
}
