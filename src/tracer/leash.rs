//! Keeps busy tracees on the tracer's CPU.
//!
//! A stop costs several times more when tracer and tracee are on different CPUs, because each wakes the other there.
//! So a busy task (see [`pace`](super::pace)) may only run where the tracer runs, until it is quiet; the tracer stays
//! where it is as long as any task is leashed.
//!
//! The application does not see it. The calls that read or change the CPUs of a task are in the table of calls: while
//! one of them is under way no task is leashed, so it sees, and changes, what there would be without a tracer. The mask
//! of a task is read each time it is leashed. A child inherits the mask of its parent, and with it the leash; it is
//! told to the leash before it first runs. (`Cpus_allowed` in `/proc/PID/status` shows the leash.)
//!
//! Quiet is noticed by a second thread, which sleeps unless a task is leashed, because the tracer's own thread is in
//! `waitpid` then. It uses ids of tasks that may just have been reaped: for such an id to belong to another process the
//! kernel would have to give away all other ids between the end of `waitpid` and that of the call that follows.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::{Pid, gettid};

use super::Map;
use super::pace::{Paces, QUIET, Verdict};

/// The leash of one tracer; all methods are for its thread.
pub struct Leash(Option<Running>);

struct Running {
    shared: Arc<Shared>,
    /// The thread that lets quiet tasks go; `None` once it has been joined.
    thread: Option<JoinHandle<()>>,
    start: Instant,
    /// Tasks in a call that must not see the leash.
    asking: BTreeSet<i32>,
}

struct Shared {
    state: Mutex<State>,
    /// The first task has been leashed, or all is over.
    changed: Condvar,
}

struct State {
    paces: Paces,
    /// Tasks that have been leashed once.
    known: Map<i32, Known>,
    tracer: Pid,
    /// Where the tracer may run.
    tracer_mask: CpuSet,
    /// Where it has to run, while any task is leashed.
    cpu: Option<usize>,
    /// The mask of a task that was leashed once and has ended.
    bequest: Option<CpuSet>,
    /// Something failed: never again.
    failed: bool,
    over: bool,
}

#[derive(Clone, Copy)]
struct Known {
    /// Where the task may run; `None` if the application may have changed that since it was read.
    mask: Option<CpuSet>,
    /// It could not be let go, because it did not have this id any more.
    lost: bool,
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
            paces: Paces::default(),
            known: Map::default(),
            tracer: gettid(),
            tracer_mask,
            cpu: None,
            bequest: None,
            failed: false,
            over: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let start = Instant::now();
        let released = Arc::clone(&shared);
        let thread = thread::Builder::new().name("leash".into()).spawn(move || released.release_quiet(start))?;
        Ok(Leash(Some(Running { shared, thread: Some(thread), start, asking: BTreeSet::new() })))
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
        let Some(running) = self.0.as_ref().filter(|running| running.asking.is_empty()) else { return };
        let now = since(running.start);
        let mut state = running.shared.lock();
        if state.failed {
            return;
        }
        match state.paces.stopped(task, now) {
            Verdict::Leave => {}
            Verdict::Leash => {
                let first = state.paces.count() == 0;
                state.leash(task, now);
                if first && state.paces.count() > 0 {
                    running.shared.changed.notify_one();
                }
            }
            Verdict::ReleaseAll => state.release_all(),
        }
    }

    /// A call of `task` begins that reads CPU masks, or `changes` them. Whether its end must be waited for, by
    /// [`settle`](Self::settle).
    pub fn ask(&mut self, task: i32, changes: bool) -> bool {
        let Some(running) = &mut self.0 else { return false };
        let mut state = running.shared.lock();
        state.release_all();
        if changes {
            state.known.values_mut().for_each(|known| known.mask = None);
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
        let Some(running) = &self.0 else { return };
        let mut state = running.shared.lock();
        let Some(known) = state.known.get(&parent).copied() else { return };
        if state.paces.is_leashed(parent) {
            state.paces.leashed(child, since(running.start));
            state.known.insert(child, known);
        } else if let Some(mask) = mask_of(parent).or(known.mask) {
            // The parent may have been let go after it made the child, which then is not.
            state.free(child, &mask);
        }
    }

    /// `child` has not run yet, and its parent was killed before it could tell of it.
    pub fn orphan(&mut self, child: i32) {
        let Some(running) = &self.0 else { return };
        let mut state = running.shared.lock();
        if let Some(mask) = state.bequest
            && mask_of(child).is_some_and(|own| cpus(&own) == 1)
        {
            state.free(child, &mask);
        }
    }

    /// The thread `former` has executed a program and has the id `task` now.
    pub fn renamed(&mut self, former: i32, task: i32) {
        let Some(running) = &mut self.0 else { return };
        running.asking.remove(&former);
        let mut state = running.shared.lock();
        state.paces.renamed(former, task);
        state.known.remove(&task);
        if let Some(known) = state.known.remove(&former) {
            if known.lost
                && let Some(mask) = known.mask
            {
                state.free(task, &mask);
            }
            state.known.insert(task, Known { lost: false, ..known });
        }
        state.rest();
    }

    /// `task` has ended.
    pub fn ended(&mut self, task: i32) {
        let Some(running) = &mut self.0 else { return };
        running.asking.remove(&task);
        let mut state = running.shared.lock();
        state.paces.ended(task);
        if let Some(Known { mask: Some(mask), .. }) = state.known.remove(&task) {
            state.bequest = Some(mask);
        }
        state.rest();
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

    /// Lets quiet tasks go until all is over.
    fn release_quiet(&self, start: Instant) {
        let mut state = self.lock();
        while !state.over {
            if state.paces.count() == 0 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let wait = Duration::from_nanos(QUIET);
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            let Some(before) = since(start).checked_sub(QUIET) else { continue };
            for task in state.paces.quiet_since(before) {
                state.release(task);
            }
            state.rest();
        }
    }
}

impl State {
    /// Leashes `task`, which stands still. Where that fails for another reason than its end, never again.
    fn leash(&mut self, task: i32, now: u64) {
        let Some(mask) = mask_of(task) else { return };
        let cpu = match self.cpu {
            Some(cpu) if has(&mask, cpu) => cpu,
            Some(_) => return,
            None => {
                let Some(cpu) = self.common_cpu(&mask) else { return };
                if set(self.tracer, &mask_with([cpu])).is_err() {
                    self.failed = true;
                    return;
                }
                self.cpu = Some(cpu);
                cpu
            }
        };
        match set(Pid::from_raw(task), &mask_with([cpu])) {
            Ok(()) => {
                self.known.insert(task, Known { mask: Some(mask), lost: false });
                self.paces.leashed(task, now);
            }
            Err(Errno::ESRCH) => self.rest(),
            Err(_) => {
                self.failed = true;
                self.release_all();
            }
        }
    }

    /// The CPU on which the tracer runs if `mask` has it, or another where both may run.
    fn common_cpu(&self, mask: &CpuSet) -> Option<usize> {
        let mut candidates = sched_getcpu().into_iter().chain(0..CpuSet::count());
        candidates.find(|&cpu| has(mask, cpu) && has(&self.tracer_mask, cpu))
    }

    fn release(&mut self, task: i32) {
        self.paces.released(task);
        let Some(mut known) = self.known.get(&task).copied() else { return };
        if let Some(mask) = &known.mask {
            known.lost = !self.free(task, mask);
            self.known.insert(task, known);
        }
    }

    fn release_all(&mut self) {
        for task in self.paces.quiet_since(u64::MAX) {
            self.release(task);
        }
        self.rest();
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
        if self.paces.count() == 0 && self.cpu.take().is_some() && set(self.tracer, &self.tracer_mask).is_err() {
            self.failed = true;
        }
    }
}

fn since(start: Instant) -> u64 {
    start.elapsed().as_nanos() as u64
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
