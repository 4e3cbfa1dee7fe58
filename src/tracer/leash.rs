//! Keeps busy tracees on the tracer's CPU.
//!
//! A stop costs several times more when tracer and tracee are on different CPUs, because each wakes the other there. So
//! where stops come thick (see [`pace`](super::pace)) who stops may only run where the tracer runs, until it is quiet;
//! the tracer stays where it is as long as any task is leashed. A stop of a leashed task takes no lock and reads no
//! clock.
//!
//! The application does not see it. The calls that read or change the CPUs of a task are in the table of calls: while
//! one of them is under way no task is leashed, so it sees, and changes, what there would be without a tracer. The mask
//! of a task is read each time it is leashed. A child inherits the mask of its parent, and with it the leash; it is
//! told to the leash before it first runs. (`Cpus_allowed` in `/proc/PID/status` shows the leash.)
//!
//! Quiet, and tasks in each other's way, are noticed by a second thread, which sleeps unless a task is leashed or the
//! leash is off for a while, because the tracer's own thread is in `waitpid` then. It uses ids of tasks that may just
//! have been reaped: for such an id to belong to another process the kernel would have to give away all other ids
//! between the end of `waitpid` and that of the call that follows.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::{Pid, gettid};

use super::Map;
use super::pace::{Rate, Strain, TICK, waited};

/// Ticks without a stop after which a task is quiet: at least one whole.
const QUIET: u32 = 2;
/// Where the kernel does not tell how long tasks wait, so many are too many.
const CROWD: usize = 3;

/// The leash of one tracer; all methods are for its thread.
pub struct Leash(Option<Running>);

struct Running {
    shared: Arc<Shared>,
    /// The thread that lets quiet tasks go; `None` once it has been joined.
    thread: Option<JoinHandle<()>>,
    start: Instant,
    rate: Rate,
    /// Tasks that have been leashed once.
    known: Map<i32, Known>,
    /// Tasks in a call that must not see the leash.
    asking: BTreeSet<i32>,
    /// The mask of a task that was leashed once and has ended.
    bequest: Option<CpuSet>,
}

struct Known {
    /// Where the task may run; `None` if the application may have changed that since it was read.
    mask: Option<CpuSet>,
    mark: Arc<Mark>,
}

/// What both threads know of a task without waiting for each other.
#[derive(Debug, Default)]
struct Mark {
    leashed: AtomicBool,
    /// The tick of its last stop.
    last: AtomicU32,
    /// It could not be let go, because it did not have this id any more.
    lost: AtomicBool,
}

struct Shared {
    state: Mutex<State>,
    /// The first task has been leashed, or all is over.
    changed: Condvar,
    tick: AtomicU32,
    /// Nothing may be leashed now.
    off: AtomicBool,
}

struct State {
    leashed: Vec<Leashed>,
    strain: Strain,
    /// Until when the leash is off because tasks were in each other's way.
    paused: Option<Instant>,
    tracer: Pid,
    /// Where the tracer may run.
    tracer_mask: CpuSet,
    /// Where it has to run, while any task is leashed.
    cpu: Option<usize>,
    /// Something failed: never again.
    failed: bool,
    over: bool,
}

struct Leashed {
    task: i32,
    /// Where it may run otherwise.
    mask: CpuSet,
    mark: Arc<Mark>,
    /// How long it had waited for a CPU at the last tick, in nanoseconds.
    waited: Option<u64>,
}

impl Leash {
    /// A leash for tasks that the calling thread traces, if it is `wanted` and there is more than one CPU.
    ///
    /// # Errors
    /// When its thread cannot be made.
    pub fn new(wanted: bool) -> io::Result<Self> {
        let Some(tracer_mask) = sched_getaffinity(Pid::from_raw(0)).ok().filter(|mask| wanted && cpus(mask) > 1) else {
            return Ok(Leash(None));
        };
        let state = State {
            leashed: Vec::new(),
            strain: Strain::default(),
            paused: None,
            tracer: gettid(),
            tracer_mask,
            cpu: None,
            failed: false,
            over: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            tick: AtomicU32::new(0),
            off: AtomicBool::new(false),
        });
        let watching = Arc::clone(&shared);
        let thread = thread::Builder::new().name("leash".into()).spawn(move || watching.watch())?;
        Ok(Leash(Some(Running {
            shared,
            thread: Some(thread),
            start: Instant::now(),
            rate: Rate::default(),
            known: Map::default(),
            asking: BTreeSet::new(),
            bequest: None,
        })))
    }

    /// `task` has stopped, for whatever reason: no call of it is under way.
    pub fn settle(&mut self, task: i32) {
        if let Some(running) = &mut self.0
            && !running.asking.is_empty()
        {
            running.asking.remove(&task);
        }
    }

    /// `task` stands still at the beginning of a call.
    pub fn stopped(&mut self, task: i32) {
        let Some(running) = self.0.as_mut().filter(|running| running.asking.is_empty()) else { return };
        if let Some(known) = running.known.get(&task)
            && known.mark.leashed.load(Ordering::Relaxed)
        {
            known.mark.last.store(running.shared.tick.load(Ordering::Relaxed), Ordering::Relaxed);
            return;
        }
        let now = running.start.elapsed().as_nanos() as u64;
        if running.rate.stopped(now) && !running.shared.off.load(Ordering::Relaxed) {
            running.leash(task);
        }
    }

    /// A call of `task` begins that reads CPU masks, or `changes` them. Whether its end must be waited for, by
    /// [`settle`](Self::settle).
    pub fn ask(&mut self, task: i32, changes: bool) -> bool {
        let Some(running) = &mut self.0 else { return false };
        let mut state = running.shared.lock();
        state.release_all();
        if changes {
            running.known.values_mut().for_each(|known| known.mask = None);
        }
        let again = !state.failed;
        drop(state);
        if again {
            running.asking.insert(task);
        }
        again
    }

    /// `parent`, which stands still, has made `child`, which has not run yet.
    pub fn child(&mut self, parent: i32, child: i32) {
        let Some(running) = &mut self.0 else { return };
        let Some(known) = running.known.get(&parent) else { return };
        let mut state = running.shared.lock();
        if known.mark.leashed.load(Ordering::Relaxed)
            && let Some(mask) = known.mask
        {
            let mark = running.shared.mark();
            state.hold(child, mask, &mark);
            running.known.insert(child, Known { mask: Some(mask), mark });
        } else if let Some(mask) = mask_of(parent).or(known.mask) {
            // The parent may have been let go after it made the child, which then is not.
            state.free(child, &mask);
        }
    }

    /// `child` has not run yet, and its parent was killed before it could tell of it.
    pub fn orphan(&mut self, child: i32) {
        let Some(running) = &self.0 else { return };
        if let Some(mask) = running.bequest
            && mask_of(child).is_some_and(|own| cpus(&own) == 1)
        {
            running.shared.lock().free(child, &mask);
        }
    }

    /// The thread `former` has executed a program and has the id `task` now.
    pub fn renamed(&mut self, former: i32, task: i32) {
        let Some(running) = &mut self.0 else { return };
        running.asking.remove(&former);
        running.forget(task);
        let Some(known) = running.known.remove(&former) else { return };
        let mut state = running.shared.lock();
        for leashed in state.leashed.iter_mut().filter(|leashed| leashed.task == former) {
            leashed.task = task;
        }
        if known.mark.lost.swap(false, Ordering::Relaxed)
            && let Some(mask) = known.mask
        {
            state.free(task, &mask);
        }
        running.known.insert(task, known);
    }

    /// `task` has ended.
    pub fn ended(&mut self, task: i32) {
        let Some(running) = &mut self.0 else { return };
        running.asking.remove(&task);
        running.forget(task);
    }
}

impl Running {
    /// Leashes `task`, which stands still. Where that fails for another reason than its end, never again.
    fn leash(&mut self, task: i32) {
        let mut state = self.shared.lock();
        if state.failed {
            self.shared.off.store(true, Ordering::Relaxed);
            return;
        }
        // Not before: it may just be let go.
        let Some(mask) = mask_of(task) else { return };
        let first = state.leashed.is_empty();
        let Some(cpu) = state.choose_cpu(&mask) else { return };
        match set(Pid::from_raw(task), &mask_with([cpu])) {
            Ok(()) => {
                let mark = self.shared.mark();
                state.hold(task, mask, &mark);
                self.known.insert(task, Known { mask: Some(mask), mark });
                if first {
                    self.shared.changed.notify_one();
                }
            }
            Err(Errno::ESRCH) => state.rest(),
            Err(_) => {
                state.failed = true;
                state.release_all();
            }
        }
    }

    /// `task` is no more.
    fn forget(&mut self, task: i32) {
        let Some(known) = self.known.remove(&task) else { return };
        if known.mark.leashed.load(Ordering::Relaxed) {
            let mut state = self.shared.lock();
            state.leashed.retain(|leashed| leashed.task != task);
            state.rest();
        }
        self.bequest = known.mask.or(self.bequest);
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(running) = &mut self.0 {
            let mut state = running.shared.lock();
            state.release_all();
            state.over = true;
            drop(state);
            running.shared.changed.notify_one();
            // A panic has been told on standard error, and tasks are let go above.
            if let Some(thread) = running.thread.take() {
                drop(thread.join());
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of a task that has just stopped.
    fn mark(&self) -> Arc<Mark> {
        let last = AtomicU32::new(self.tick.load(Ordering::Relaxed));
        Arc::new(Mark { last, ..Mark::default() })
    }

    /// Lets tasks go that are quiet, and all when they are in each other's way, until all is over.
    fn watch(&self) {
        let mut state = self.lock();
        let mut before = Instant::now();
        while !state.over {
            if state.leashed.is_empty() && state.paused.is_none() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                before = Instant::now();
                continue;
            }
            let wait = Duration::from_nanos(TICK).saturating_sub(before.elapsed());
            if !wait.is_zero() {
                state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let elapsed = before.elapsed().as_nanos() as u64;
            before = Instant::now();
            let tick = self.tick.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if state.paused.is_some_and(|until| before >= until) {
                state.paused = None;
                self.off.store(state.failed, Ordering::Relaxed);
            }
            state.release_quiet(tick);
            if let Some(pause) = state.pause(elapsed) {
                self.off.store(true, Ordering::Relaxed);
                state.paused = Some(before + Duration::from_nanos(pause));
                state.release_all();
            }
            state.rest();
        }
    }
}

impl State {
    /// Where tracer and tasks run from now on: tasks with this `mask` must be able to.
    fn choose_cpu(&mut self, mask: &CpuSet) -> Option<usize> {
        if let Some(cpu) = self.cpu {
            return has(mask, cpu).then_some(cpu);
        }
        // Where the tracer is now, if it may be; or another where both may run.
        let mut candidates = sched_getcpu().into_iter().chain(0..CpuSet::count());
        let cpu = candidates.find(|&cpu| has(mask, cpu) && has(&self.tracer_mask, cpu))?;
        if set(self.tracer, &mask_with([cpu])).is_err() {
            self.failed = true;
            return None;
        }
        self.cpu = Some(cpu);
        self.cpu
    }

    /// `task` is leashed, and may run on `mask` otherwise.
    fn hold(&mut self, task: i32, mask: CpuSet, mark: &Arc<Mark>) {
        mark.leashed.store(true, Ordering::Relaxed);
        self.leashed.push(Leashed { task, mask, mark: Arc::clone(mark), waited: None });
    }

    fn release(&mut self, leashed: &Leashed) {
        leashed.mark.leashed.store(false, Ordering::Relaxed);
        let lost = !self.free(leashed.task, &leashed.mask);
        leashed.mark.lost.store(lost, Ordering::Relaxed);
    }

    fn release_all(&mut self) {
        for leashed in std::mem::take(&mut self.leashed) {
            self.release(&leashed);
        }
        self.rest();
    }

    fn release_quiet(&mut self, tick: u32) {
        let quiet = |leashed: &mut Leashed| tick.wrapping_sub(leashed.mark.last.load(Ordering::Relaxed)) >= QUIET;
        let quiet: Vec<Leashed> = self.leashed.extract_if(.., quiet).collect();
        for leashed in quiet {
            self.release(&leashed);
        }
    }

    /// For how many nanoseconds the leash has to be off, if it has to, after a tick that took `elapsed`.
    fn pause(&mut self, elapsed: u64) -> Option<u64> {
        let mut sum = 0;
        for leashed in &mut self.leashed {
            let text = std::fs::read_to_string(format!("/proc/{}/schedstat", leashed.task)).ok();
            let now = text.as_deref().and_then(waited);
            sum += leashed.waited.zip(now).map_or(0, |(before, now)| now.saturating_sub(before));
            leashed.waited = now;
        }
        if self.leashed.len() >= CROWD && self.leashed.iter().all(|leashed| leashed.waited.is_none()) {
            sum = elapsed;
        }
        self.strain.pause(elapsed, sum)
    }

    /// Lets `task` run on `mask`. Whether it is there.
    fn free(&mut self, task: i32, mask: &CpuSet) -> bool {
        match set(Pid::from_raw(task), mask) {
            Ok(()) => true,
            Err(Errno::ESRCH) => false,
            Err(_) => {
                // None of these CPUs is left to its cpuset: all that are, then, as the kernel does in this case.
                self.failed = true;
                set(Pid::from_raw(task), &mask_with(0..CpuSet::count())) != Err(Errno::ESRCH)
            }
        }
    }

    /// Lets the tracer itself go when no task is leashed.
    fn rest(&mut self) {
        if self.leashed.is_empty() && self.cpu.take().is_some() && set(self.tracer, &self.tracer_mask).is_err() {
            self.failed = true;
        }
    }
}

fn set(task: Pid, mask: &CpuSet) -> Result<(), Errno> {
    sched_setaffinity(task, mask)
}

/// `None` when the task is gone, or there are more CPUs than a mask can have.
fn mask_of(task: i32) -> Option<CpuSet> {
    sched_getaffinity(Pid::from_raw(task)).ok()
}

fn has(mask: &CpuSet, cpu: usize) -> bool {
    mask.is_set(cpu).unwrap_or(false)
}

fn cpus(mask: &CpuSet) -> usize {
    (0..CpuSet::count()).filter(|&cpu| has(mask, cpu)).count()
}

fn mask_with(cpus: impl IntoIterator<Item = usize>) -> CpuSet {
    let mut mask = CpuSet::new();
    for cpu in cpus {
        // They come out of other masks, or of their common range.
        let in_range = mask.set(cpu).is_ok();
        debug_assert!(in_range);
    }
    mask
}
