//! Which tasks stop so often that it pays to keep them on the tracer's CPU.
//!
//! Pure: the caller says what happens and when, in nanoseconds of any clock that only goes forward. A task is busy when
//! it stops often; a busy task is leashed, and let go once it is quiet. One CPU serves one busy task and the tracer
//! better than two CPUs, because neither has to be woken elsewhere. It serves two if they do little between their stops.
//! With more there is always something to do on every CPU, waking costs nothing, and the leash would only take CPUs
//! away: then it is off for a while.

use super::Map;

/// So many stops ...
const STOPS: u32 = 8;
/// ... in this time make a task busy, ...
const WINDOW: u64 = 2_000_000;
/// ... and two tasks may share the leash if each needs no more than this for them.
const SHARED_WINDOW: u64 = 1_000_000;
/// Without a stop for so long, a task is let go.
pub const QUIET: u64 = 5_000_000;
/// How long the leash is off when there are too many busy tasks.
const PAUSE: u64 = 50_000_000;

/// What to do about a task that has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Leave,
    /// Leash it.
    Leash,
    /// Let all tasks go.
    ReleaseAll,
}

#[derive(Debug, Default)]
struct Pace {
    /// Where the window begins, and the stops in it.
    since: u64,
    stops: u32,
    last: u64,
    leashed: bool,
}

#[derive(Debug)]
struct Busy {
    task: i32,
    at: u64,
    /// How long its last `STOPS` stops took.
    took: u64,
}

/// The pace of all tasks.
#[derive(Debug, Default)]
pub struct Paces {
    tasks: Map<i32, Pace>,
    busy: Vec<Busy>,
    leashed: usize,
    paused_until: u64,
}

impl Paces {
    /// `task` has stopped for a call.
    pub fn stopped(&mut self, task: i32, now: u64) -> Verdict {
        let pace = self.tasks.entry(task).or_default();
        pace.last = now;
        if pace.stops == 0 || now - pace.since > WINDOW {
            (pace.since, pace.stops) = (now, 1);
            return Verdict::Leave;
        }
        pace.stops += 1;
        if pace.stops < STOPS {
            return Verdict::Leave;
        }
        pace.stops = 0;
        let (took, leashed) = (now - pace.since, pace.leashed);
        self.busy.retain(|busy| busy.task != task && now - busy.at <= QUIET);
        self.busy.push(Busy { task, at: now, took });
        let crowded = match self.busy.len() {
            1 => false,
            2 => self.busy.iter().any(|busy| busy.took > SHARED_WINDOW),
            _ => true,
        };
        if crowded {
            self.paused_until = now + PAUSE;
            return if self.leashed > 0 { Verdict::ReleaseAll } else { Verdict::Leave };
        }
        if leashed || now < self.paused_until { Verdict::Leave } else { Verdict::Leash }
    }

    /// `task` has been leashed.
    pub fn leashed(&mut self, task: i32, now: u64) {
        let pace = self.tasks.entry(task).or_default();
        pace.last = now;
        self.leashed += usize::from(!std::mem::replace(&mut pace.leashed, true));
    }

    /// `task` has been let go.
    pub fn released(&mut self, task: i32) {
        if let Some(pace) = self.tasks.get_mut(&task) {
            self.leashed -= usize::from(std::mem::take(&mut pace.leashed));
        }
    }

    /// `task` is no more.
    pub fn ended(&mut self, task: i32) {
        self.released(task);
        self.tasks.remove(&task);
        self.busy.retain(|busy| busy.task != task);
    }

    /// The task `former` goes on under the id `task`.
    pub fn renamed(&mut self, former: i32, task: i32) {
        self.ended(task);
        if let Some(pace) = self.tasks.remove(&former) {
            self.tasks.insert(task, pace);
        }
        for busy in self.busy.iter_mut().filter(|busy| busy.task == former) {
            busy.task = task;
        }
    }

    /// Whether `task` is leashed.
    pub fn is_leashed(&self, task: i32) -> bool {
        self.tasks.get(&task).is_some_and(|pace| pace.leashed)
    }

    /// How many tasks are leashed.
    pub fn count(&self) -> usize {
        self.leashed
    }

    /// All tasks that are leashed and have not stopped since `before`, in order.
    pub fn quiet_since(&self, before: u64) -> Vec<i32> {
        let quiet = self.tasks.iter().filter(|(_, pace)| pace.leashed && pace.last <= before);
        let mut tasks: Vec<i32> = quiet.map(|(&task, _)| task).collect();
        tasks.sort_unstable();
        tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    /// Plays rounds in which each of `tasks` stops once, all of them spread over `round` microseconds, and obeys.
    fn play(paces: &mut Paces, tasks: &[i32], rounds: u64, round: u64, start: u64) -> u64 {
        let step = round * US / tasks.len() as u64;
        let mut now = start;
        for _ in 0..rounds {
            for &task in tasks {
                now += step;
                match paces.stopped(task, now) {
                    Verdict::Leave => {}
                    Verdict::Leash => paces.leashed(task, now),
                    Verdict::ReleaseAll => {
                        for task in paces.quiet_since(now) {
                            paces.released(task);
                        }
                    }
                }
            }
        }
        now
    }

    #[test]
    fn who_is_leashed() {
        // (what, tasks, rounds, microseconds per round, leashed at the end)
        for (what, tasks, rounds, round, expected) in [
            ("not often enough yet", &[1][..], 7, 20, &[][..] as &[i32]),
            ("often", &[1], 8, 20, &[1]),
            ("just often enough", &[1], 8, 285, &[1]),
            ("too slowly", &[1], 1000, 300, &[]),
            ("two that do little else", &[1, 2], 100, 60, &[1, 2]),
            ("two that compute", &[1, 2], 100, 200, &[]),
            ("a crowd", &[1, 2, 3, 4], 100, 60, &[]),
            ("a crowd, for long", &[1, 2, 3], 10_000, 60, &[]),
            ("one of many", &[1], 10_000, 20, &[1]),
        ] {
            let mut paces = Paces::default();
            let now = play(&mut paces, tasks, rounds, round, 0);
            assert_eq!(paces.quiet_since(now), expected, "{what}");
            assert_eq!(paces.count(), expected.len(), "{what}");
        }
    }

    #[test]
    fn the_quiet_are_found() {
        let mut paces = Paces::default();
        let first = play(&mut paces, &[1], 8, 20, 0);
        let second = play(&mut paces, &[2], 8, 20, first + 3_000 * US);
        assert_eq!(paces.quiet_since(second), [1, 2]);
        assert_eq!(paces.quiet_since(first), [1]);
        assert_eq!(paces.quiet_since(first - 1), [0; 0]);
        paces.released(1);
        paces.released(1);
        assert_eq!((paces.quiet_since(second), paces.count()), (vec![2], 1));
    }

    #[test]
    fn after_a_crowd_one_is_leashed_again() {
        let mut paces = Paces::default();
        let now = play(&mut paces, &[1, 2, 3], 100, 60, 0);
        // Those that are gone do not count; but the leash waits before it is tried again.
        paces.ended(2);
        paces.ended(3);
        let now = play(&mut paces, &[1], 100, 20, now);
        assert_eq!(paces.count(), 0);
        let now = play(&mut paces, &[1], 100, 20, now + PAUSE);
        assert_eq!(paces.quiet_since(now), [1]);
    }

    #[test]
    fn a_name_goes_and_comes() {
        let mut paces = Paces::default();
        let now = play(&mut paces, &[1, 2], 8, 60, 0);
        // Thread 2 of process 1 executes.
        paces.renamed(2, 1);
        assert_eq!((paces.quiet_since(now), paces.count(), paces.busy.len()), (vec![1], 1, 1));
        paces.ended(1);
        assert_eq!((paces.count(), paces.busy.len(), paces.tasks.len()), (0, 0, 0));
        // A leader that was leashed, and a thread that was not.
        let now = play(&mut paces, &[1], 8, 20, now);
        paces.stopped(2, now);
        paces.renamed(2, 1);
        assert_eq!((paces.is_leashed(1), paces.count()), (false, 0));
    }
}
