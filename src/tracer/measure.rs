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
    for _ in 0..times {
        let id = fold.path(path.clone());
        fold.add(id, Operation::Stat, true, &user);
    }
    fold.finish(&[]).get(path).map_or(0, |folded| folded.count)
}
