//! The running application as probes see it.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::ImagePath;
use crate::image::Rootfs;
use crate::probe::{ExecFailure, ExecOutcome, ExecRequest, Exit, Listener, Port, ScriptRequest, Target};
use crate::sandbox::{self, HostCommand, HostEnd, ProcessSpec, Sandbox};
use crate::session::command;
use crate::session::output::{CapturedOutput, capture_whole};
use crate::session::owners;
use crate::session::rest::{REST_LOOK, Rest};
use crate::tracer::{End, Event, Tracer, Tree};

/// A sandbox with a tracer on it and the application running in it.
pub struct Application<'a> {
    sandbox: &'a Sandbox,
    tracer: &'a Tracer,
    /// What the application was started as: probes are started likewise.
    process: ProcessSpec,
    rootfs: &'a Rootfs,
    /// What observers are to see, where it is not the same.
    observed_from: Option<&'a Rootfs>,
    pid: i32,
    state: Mutex<State>,
    changed: Condvar,
    rest: Rest,
}

/// What came of asking the application to stop.
enum Stopped {
    Ended,
    /// It still runs.
    Not,
    /// It still runs and will, for it does not handle the signal any more.
    Deaf,
}

/// What the tracer's events have told so far.
#[derive(Default)]
struct State {
    /// Grows with each event that could matter to somebody who waits.
    generation: u64,
    /// What it was when a probe's wait ended last.
    seen: u64,
    listening: Vec<i32>,
    /// What they listen on, in the order in which they began to.
    appeared: Vec<Port>,
    ends: BTreeMap<i32, Exit>,
    /// The tracer has ended, and with it everything that it traced: there is nothing to wait for any more.
    over: bool,
}

impl<'a> Application<'a> {
    /// The application has been started as `process` and is `pid`.
    pub fn new(sandbox: &'a Sandbox, tracer: &'a Tracer, process: ProcessSpec, rootfs: &'a Rootfs, pid: i32) -> Self {
        Application {
            sandbox,
            tracer,
            process,
            rootfs,
            observed_from: None,
            pid,
            state: Mutex::default(),
            changed: Condvar::new(),
            rest: Rest::default(),
        }
    }

    /// Observers are to see `rootfs`, where there is one: the application's own does not have what they use.
    pub fn observed_from(self, rootfs: Option<&'a Rootfs>) -> Self {
        Application { observed_from: rootfs, ..self }
    }

    /// Takes in the tracer's events until it has no more to tell.
    pub fn follow(&self, events: Receiver<Event>) {
        for event in events {
            let mut state = lock(&self.state);
            match event {
                Event::Listening { pid, tree: Tree::Application, address } => {
                    state.listening.push(pid);
                    state.appeared.extend(address.map(|address| Port::tcp(address.port())));
                }
                Event::Exited { pid, end, .. } => {
                    let exit = match end {
                        End::Exited(code) => Exit::Code(code),
                        End::Killed(signal) => Exit::Signal(signal),
                    };
                    state.ends.insert(pid, exit);
                }
                Event::Bound { pid, tree: Tree::Application, datagram: true, address } => {
                    state.listening.push(pid);
                    state.appeared.push(Port::udp(address.port()));
                }
                _ => continue,
            }
            state.generation += 1;
            self.changed.notify_all();
        }
        let mut state = lock(&self.state);
        state.over = true;
        state.generation += 1;
        self.changed.notify_all();
    }

    /// Waits until `done` says so, at most until `deadline` or the end of tracing; returns whether it did.
    fn wait_until(&self, deadline: Instant, mut done: impl FnMut(&State) -> bool) -> bool {
        let mut state = lock(&self.state);
        loop {
            if done(&state) {
                return true;
            }
            if state.over {
                return false;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks the application to stop and waits for it; kills it when it does not. Returns what deserves a warning.
    pub fn stop(&self, signal: super::StopSignal, timeout: Duration) -> io::Result<Option<String>> {
        if self.exited().is_some() {
            return Ok(None);
        }
        // The kernel keeps signals without a handler from process 1 of a PID namespace, so asking would be in vain.
        let is_init = self.sandbox.plan().rung.has_pid_namespace();
        let handled = if is_init { sandbox::handles_signal(self.pid, signal.0) } else { Ok(true) };
        let warning = match handled {
            Ok(true) => {
                self.send(self.pid, signal.0)?;
                match self.wait_stopped(signal.0, Instant::now() + timeout, is_init) {
                    Stopped::Ended => return Ok(None),
                    Stopped::Not => {
                        let seconds = timeout.as_secs_f32();
                        format!("the application did not stop within {seconds} s after {signal} and was killed")
                    }
                    Stopped::Deaf => format!(
                        "the application left {signal} to its default action, which process 1 of a container has none \
                         of, and was killed"
                    ),
                }
            }
            Ok(false) => {
                format!(
                    "the application does not handle {signal}, which process 1 of a container has to, and was killed"
                )
            }
            // It has just ended by itself.
            Err(cause) if is_gone(&cause) => return Ok(None),
            Err(cause) => return Err(cause),
        };
        self.send(self.pid, libc::SIGKILL)?;
        Ok(Some(warning))
    }

    /// Waits for the end of an application that was asked to stop, until `deadline`. Some handle the signal by giving
    /// it back its default action and sending it to themselves again, which the kernel keeps from process 1: one that
    /// has no handler any more and rests will not stop.
    fn wait_stopped(&self, signal: i32, deadline: Instant, is_init: bool) -> Stopped {
        self.rest.forget();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            self.wait_end(left.min(REST_LOOK));
            if self.exited().is_some() {
                return Stopped::Ended;
            }
            if left.is_zero() {
                return Stopped::Not;
            }
            let deaf = is_init && matches!(sandbox::handles_signal(self.pid, signal), Ok(false));
            if self.rests() && deaf {
                return Stopped::Deaf;
            }
        }
    }

    /// Sends a signal to a process, or with a negative number to a process group; it may be gone already.
    fn send(&self, pid: i32, signal: i32) -> io::Result<()> {
        match self.sandbox.signal(pid, signal) {
            Err(cause) if is_gone(&cause) => Ok(()),
            other => other,
        }
    }

    fn start_command(&self, request: &ExecRequest) -> Result<(i32, CapturedOutput), ExecFailure> {
        let observed_from = self.observed_from.filter(|_| !request.keep && self.sandbox.plan().observers.is_some());
        let mut process = command::beside(&self.process, observed_from.unwrap_or(self.rootfs), request)?;
        process.observer = observed_from.is_some();
        let (stdio, captured) = capture_whole().map_err(ExecFailure::Broken)?;
        self.tracer.next_tree(if request.keep { Tree::Probe } else { Tree::Observer });
        self.tracer.next_credentials(owners::credentials(&process));
        Ok((command::spawn(self.sandbox, &process, stdio)?, captured))
    }
}

impl Target for Application<'_> {
    fn enter_network(&self) -> io::Result<()> {
        self.sandbox.enter_network().map_err(|cause| io::Error::other(cause.to_string()))
    }

    fn listeners(&self) -> Vec<Listener> {
        let listening = lock(&self.state).listening.clone();
        // A table that cannot be read at this moment shows nothing; whoever asks, asks again.
        let found = self.sandbox.listeners(&listening).unwrap_or_default();
        command::listeners(found)
    }

    fn serves(&self) -> bool {
        !lock(&self.state).listening.is_empty() || !self.listeners().is_empty()
    }

    fn appeared(&self) -> Vec<Port> {
        let mut ports = lock(&self.state).appeared.clone();
        let mut seen = std::collections::BTreeSet::new();
        ports.retain(|port| seen.insert(*port));
        ports
    }

    fn executables(&self) -> Vec<ImagePath> {
        let listening = lock(&self.state).listening.clone();
        command::executables(listening)
    }

    fn wait(&self, known: &[Listener], timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut known = known.to_vec();
        known.sort();
        // What happened since the last wait, the caller may have looked too early to see.
        let seen = lock(&self.state).seen;
        if self.exited().is_none() && self.listeners() == known {
            self.wait_until(deadline, |state| state.generation != seen);
        }
        let mut state = lock(&self.state);
        state.seen = state.generation;
    }

    fn wait_end(&self, timeout: Duration) {
        self.wait_until(Instant::now() + timeout, |state| state.ends.contains_key(&self.pid));
    }

    fn wait_serving_or_end(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let generation = lock(&self.state).generation;
            if self.exited().is_some() || self.serves() {
                return true;
            }
            if !self.wait_until(deadline, |state| state.generation != generation) {
                return false;
            }
        }
    }

    fn exec(&self, request: &ExecRequest) -> Result<ExecOutcome, ExecFailure> {
        let deadline = Instant::now() + request.timeout;
        let (pid, captured) = self.start_command(request)?;
        if !self.wait_until(deadline, |state| state.ends.contains_key(&pid)) {
            if lock(&self.state).over {
                return Err(ExecFailure::Broken(io::Error::other("the tracer has ended")));
            }
            // Its own children are in its session and process group unless they left it.
            for whom in [-pid, pid] {
                self.send(whom, libc::SIGKILL).map_err(ExecFailure::Broken)?;
            }
            return Err(ExecFailure::TimedOut);
        }
        let exit = lock(&self.state).ends[&pid];
        Ok(command::outcome(exit.code(), captured))
    }

    fn script(&self, request: &ScriptRequest) -> Result<ExecOutcome, ExecFailure> {
        run_script(request)
    }

    fn begin(&self, label: &str) {
        self.tracer.enter_probe(Some(label.to_owned()));
    }

    fn end(&self) {
        self.tracer.enter_probe(None);
    }

    fn rests(&self) -> bool {
        self.rest.lasts(self.sandbox.activity())
    }

    fn exited(&self) -> Option<Exit> {
        let state = lock(&self.state);
        let killed = state.over.then_some(Exit::Signal(libc::SIGKILL));
        state.ends.get(&self.pid).copied().or(killed)
    }
}

/// Runs a program of the caller's in the network of the calling thread, and waits for its end.
pub fn run_script(request: &ScriptRequest) -> Result<ExecOutcome, ExecFailure> {
    let (stdio, captured) = capture_whole().map_err(ExecFailure::Broken)?;
    let command = HostCommand { argv: request.argv.clone(), env: request.env.clone() };
    match sandbox::run_beside(&command, stdio, request.timeout).map_err(ExecFailure::Broken)? {
        HostEnd::NotStarted(cause) => Err(ExecFailure::NotStarted(cause)),
        HostEnd::TimedOut => Err(ExecFailure::TimedOut),
        HostEnd::Ended(exit) => Ok(command::outcome(exit.shell_code(), captured)),
    }
}

/// Whether an error says that a process has ended: no entry in `/proc`, or one that could be opened just in time but
/// not read any more.
fn is_gone(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// What the lock guards is valid between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
