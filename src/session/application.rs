//! The running application as probes see it.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::ImagePath;
use crate::image::{self, Rootfs};
use crate::probe::{ExecFailure, ExecOutcome, ExecRequest, Exit, Listener, Protocol, Target};
use crate::sandbox::{self, ProcessSpec, Sandbox, SpawnError};
use crate::session::output::{CapturedOutput, capture_whole};
use crate::tracer::{End, Event, Tracer, Tree};

/// How long to wait for what a command has still to say after it ended: a child of it may hold its output open.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// A sandbox with a tracer on it and the application running in it.
pub struct Application<'a> {
    sandbox: Mutex<Sandbox>,
    tracer: &'a Tracer,
    /// What the application was started as: probes are started likewise.
    process: ProcessSpec,
    rootfs: &'a Rootfs,
    pid: i32,
    state: Mutex<State>,
    changed: Condvar,
}

/// What the tracer's events have told so far.
#[derive(Default)]
struct State {
    /// Grows with each event that could matter to somebody who waits.
    generation: u64,
    listening: Vec<i32>,
    ends: BTreeMap<i32, Exit>,
}

impl<'a> Application<'a> {
    /// The application has been started as `process` and is `pid`.
    pub fn new(sandbox: Sandbox, tracer: &'a Tracer, process: ProcessSpec, rootfs: &'a Rootfs, pid: i32) -> Self {
        Application {
            sandbox: Mutex::new(sandbox),
            tracer,
            process,
            rootfs,
            pid,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Takes in the tracer's events until it has no more to tell.
    pub fn follow(&self, events: Receiver<Event>) {
        for event in events {
            let mut state = lock(&self.state);
            match event {
                Event::Listening { pid, tree: Tree::Application } => state.listening.push(pid),
                Event::Exited { pid, end, .. } => {
                    let exit = match end {
                        End::Code(code) => Exit::Code(code),
                        End::Signal(signal) => Exit::Signal(signal),
                    };
                    state.ends.insert(pid, exit);
                }
                Event::Bound { tree: Tree::Application, .. } => {}
                _ => continue,
            }
            state.generation += 1;
            self.changed.notify_all();
        }
    }

    /// Waits until `done` says so, at most until `deadline`; returns whether it did.
    fn wait_until(&self, deadline: Instant, mut done: impl FnMut(&State) -> bool) -> bool {
        let mut state = lock(&self.state);
        loop {
            if done(&state) {
                return true;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end of the application.
    pub fn wait_end(&self, timeout: Duration) -> Option<Exit> {
        self.wait_until(Instant::now() + timeout, |state| state.ends.contains_key(&self.pid));
        self.exited()
    }

    /// Waits until the application serves or has ended; returns whether either happened.
    pub fn wait_serving_or_end(&self, timeout: Duration) -> bool {
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

    /// Asks the application to stop and waits for it; kills it when it does not. Returns what deserves a warning.
    pub fn stop(&self, signal: super::StopSignal, timeout: Duration) -> io::Result<Option<String>> {
        if self.exited().is_some() {
            return Ok(None);
        }
        // The kernel keeps signals without a handler from process 1 of a PID namespace, so asking would be in vain.
        let warning = if !sandbox::handles_signal(self.pid, signal.0)? {
            format!("the application ignores {signal}, as process 1 does without a handler, and was killed")
        } else {
            sandbox::signal(self.pid, signal.0)?;
            if self.wait_end(timeout).is_some() {
                return Ok(None);
            }
            format!("the application did not stop within {} s after {signal} and was killed", timeout.as_secs_f32())
        };
        sandbox::signal(self.pid, libc::SIGKILL)?;
        Ok(Some(warning))
    }

    /// Ends the sandbox: nothing of it is left when this returns.
    pub fn finish(self) -> Result<(), crate::sandbox::SandboxError> {
        self.sandbox.into_inner().unwrap_or_else(PoisonError::into_inner).finish()
    }

    fn start_command(&self, request: &ExecRequest) -> Result<(i32, CapturedOutput), ExecFailure> {
        let mut process = self.process.clone();
        process.argv = request.argv.iter().map(|a| a.clone().into_bytes()).collect();
        if let Some(user) = &request.user {
            let user = image::credentials(self.rootfs, user).map_err(|e| ExecFailure::NotStarted(e.to_string()))?;
            (process.uid, process.gid, process.groups) = (user.uid, user.gid, user.groups);
        }
        let (stdio, capture) = capture_whole().map_err(ExecFailure::Broken)?;
        self.tracer.next_tree(if request.keep { Tree::Probe } else { Tree::Observer });
        let spawned = lock(&self.sandbox).spawn(&process, stdio);
        match spawned {
            Ok(spawned) => Ok((spawned.pid, capture)),
            Err(SpawnError::Broken(cause)) => Err(ExecFailure::Broken(io::Error::other(cause.to_string()))),
            Err(cause) => Err(ExecFailure::NotStarted(cause.to_string())),
        }
    }
}

impl Target for Application<'_> {
    fn enter_network(&self) -> io::Result<()> {
        lock(&self.sandbox).enter_network()
    }

    fn listeners(&self) -> Vec<Listener> {
        let found = lock(&self.sandbox).listeners().unwrap_or_default();
        let protocol = |p| match p {
            sandbox::Protocol::Tcp => Protocol::Tcp,
            sandbox::Protocol::Udp => Protocol::Udp,
        };
        let mut listeners: Vec<Listener> = found
            .into_iter()
            .map(|l| Listener { protocol: protocol(l.protocol), address: l.address, port: l.port })
            .collect();
        listeners.sort();
        listeners
    }

    fn serves(&self) -> bool {
        !lock(&self.state).listening.is_empty() || !self.listeners().is_empty()
    }

    fn executables(&self) -> Vec<ImagePath> {
        let listening = lock(&self.state).listening.clone();
        let mut paths: Vec<ImagePath> = listening.into_iter().filter_map(|pid| sandbox::executable(pid)).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    fn wait(&self, known: &[Listener], timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut known = known.to_vec();
        known.sort();
        loop {
            let generation = lock(&self.state).generation;
            if self.exited().is_some() || self.listeners() != known {
                return;
            }
            if !self.wait_until(deadline, |state| state.generation != generation) {
                return;
            }
        }
    }

    fn exec(&self, request: &ExecRequest) -> Result<ExecOutcome, ExecFailure> {
        let deadline = Instant::now() + request.timeout;
        let (pid, capture) = self.start_command(request)?;
        if !self.wait_until(deadline, |state| state.ends.contains_key(&pid)) {
            // Its own children are in its session and process group unless they left it.
            for whom in [-pid, pid] {
                match sandbox::signal(whom, libc::SIGKILL) {
                    Err(cause) if cause.raw_os_error() != Some(libc::ESRCH) => return Err(ExecFailure::Broken(cause)),
                    _ => {}
                }
            }
            return Err(ExecFailure::TimedOut);
        }
        let exit = lock(&self.state).ends[&pid];
        let (stdout, stderr) = capture.collect(OUTPUT_GRACE);
        Ok(ExecOutcome { code: exit.code(), stdout: stdout.tail, stderr: stderr.tail })
    }

    fn begin(&self, label: &str) {
        self.tracer.enter_probe(Some(label));
    }

    fn end(&self) {
        self.tracer.enter_probe(None);
    }

    fn exited(&self) -> Option<Exit> {
        lock(&self.state).ends.get(&self.pid).copied()
    }
}

/// What the lock guards is valid between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
