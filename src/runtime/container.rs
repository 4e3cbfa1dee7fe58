//! A container: made, started with its output in our hands, found among the processes of this machine, stopped,
//! removed.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::image::Store;
use crate::probe::{Exit, Target};
use crate::runtime::engine::{Reach, plain};
use crate::runtime::error::system;
use crate::runtime::options::creation;
use crate::runtime::{Engine, Image, Kind, RuntimeError};
use crate::sandbox::{self, Network, Stdio};
use crate::session::{REST_LOOK, Rest, Settings, StopSignal};

/// How long the runtime may take to start a container, or to notice its end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// A container of an image.
pub struct Container<'a> {
    pub(super) engine: &'a Engine,
    settings: &'a Settings,
    /// Once it is known.
    found: Mutex<Option<Found>>,
    state: Mutex<State>,
    pub(super) changed: Condvar,
    pub(super) rest: Rest,
    is_removed: Mutex<bool>,
}

/// Where it is on this machine.
#[derive(Debug)]
pub struct Found {
    /// Its first process.
    pub pid: i32,
    /// Its network, where a thread can enter it.
    pub network: Option<File>,
    /// Where it answers on the runtime's bridge.
    pub address: Option<IpAddr>,
}

/// What has become of it.
#[derive(Clone, Debug)]
enum State {
    Runs,
    Ended(Exit),
    /// The runtime could not start it; why, it said on standard error.
    NotStarted,
    /// The runtime let go of it, or says nothing that can be understood.
    Lost(String),
}

impl<'a> Container<'a> {
    /// Makes one that is not started yet.
    pub fn create(
        engine: &'a Engine,
        image: &Image<'_>,
        settings: &'a Settings,
        store: &Store,
    ) -> Result<Self, RuntimeError> {
        let made = creation(engine.kind(), engine.reach(), &image.config, settings)?;
        let fixed = ["create", "--pull=never", "--no-healthcheck", "--name", engine.name()];
        let options = made.options.iter().map(String::as_str);
        let words = made.words.iter().map(String::as_str);
        let arguments: Vec<&str> = fixed.into_iter().chain(options).chain([image.name.as_str()]).chain(words).collect();
        let mut variables = store.temp_file().map_err(|cause| system("make a file")(std::io::Error::other(cause)))?;
        let written = variables.write_all(made.variables.as_bytes()).and_then(|()| variables.rewind());
        written.map_err(system("write the variables of the container"))?;
        let mut command = engine.command(&arguments);
        command.stdin(variables).envs(made.inherited);
        let name = engine.name();
        engine.owe(name, &[&["kill", "--signal", "KILL", name], &["rm", "--force", "--volumes", name]])?;
        engine.ask("make a container", command)?;
        Ok(Container {
            engine,
            settings,
            found: Mutex::new(None),
            state: Mutex::new(State::Runs),
            changed: Condvar::new(),
            rest: Rest::default(),
            is_removed: Mutex::new(false),
        })
    }

    /// Starts it. What it writes goes to `stdio`; the process that is returned lives as long as it runs.
    pub fn start(&self, stdio: Stdio) -> Result<Child, RuntimeError> {
        let mut command: Command = self.engine.command(&["start", "--attach", self.engine.name()]);
        command.stdin(stdio.stdin).stdout(stdio.stdout).stderr(stdio.stderr);
        command.spawn().map_err(system("run a command of the runtime"))
    }

    /// Waits for the end of the process that [`Container::start`] returned, and finds out what it means.
    pub fn follow(&self, mut client: Child) {
        let state = match client.wait() {
            Ok(_) => self.outcome(),
            Err(cause) => State::Lost(cause.to_string()),
        };
        *lock(&self.state) = state;
        self.changed.notify_all();
    }

    /// What became of it, once nothing is attached to it any more.
    fn outcome(&self) -> State {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, fields) = match self.inspect("{{.State.Status}} {{.State.ExitCode}}") {
                Ok(said) => match said.split_once(' ') {
                    Some((status, code)) => (status.to_owned(), code.parse().ok()),
                    None => (said, None),
                },
                Err(_) if *lock(&self.is_removed) => return State::Ended(Exit::Signal(libc::SIGKILL)),
                Err(cause) => return State::Lost(cause.to_string()),
            };
            match (status.as_str(), fields) {
                ("exited" | "dead" | "removing", Some(code)) => return State::Ended(Exit::Code(code)),
                ("created" | "configured" | "initialized", _) => return State::NotStarted,
                // Its end is noticed by others first.
                ("running" | "stopping" | "stopped", _) if Instant::now() < deadline => thread::sleep(LOOK),
                _ => return State::Lost(format!("the container is {status}, and nothing is attached to it")),
            }
        }
    }

    /// Waits until its first process is known, or it has ended already.
    pub fn find(&self) -> Result<(), RuntimeError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.state() {
                State::Ended(_) => return Ok(()),
                State::NotStarted => return Err(RuntimeError::NotStarted { kind: self.kind(), cause: String::new() }),
                State::Lost(cause) => return Err(self.lost(cause)),
                State::Runs => {}
            }
            let format = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
            let said = self.inspect(format)?;
            let mut words = said.split_ascii_whitespace();
            if let Some(pid) = words.next().and_then(|pid| pid.parse().ok()).filter(|&pid| pid > 0) {
                return self.take_note(pid, words.find_map(|address| address.parse().ok()));
            }
            if Instant::now() > deadline {
                return Err(self.lost("it has not started within a minute".into()));
            }
            let state = lock(&self.state);
            drop(self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn take_note(&self, pid: i32, address: Option<IpAddr>) -> Result<(), RuntimeError> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        // A daemon may be on another machine, or count its processes from another root of them.
        if self.kind() == Kind::Docker {
            let groups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
            let id = self.inspect("{{.Id}}")?;
            if !groups.contains(&id) && matches!(self.state(), State::Runs) {
                return Err(RuntimeError::Elsewhere(self.kind()));
            }
        }
        let enters = self.engine.reach() == Reach::Join && self.settings.network != Network::Host;
        // It may have ended meanwhile.
        let network = if enters { File::open(process.join("ns/net")).ok() } else { None };
        let address = address.filter(|_| self.engine.reach() == Reach::Bridge);
        *lock(&self.found) = Some(Found { pid, network, address });
        Ok(())
    }

    /// Asks it to stop, waits, and kills it when it does not. Returns what deserves a warning.
    pub fn stop(&self, signal: StopSignal, timeout: Duration) -> Result<Option<String>, RuntimeError> {
        let Some(pid) = self.pid().filter(|_| self.exited().is_none()) else { return Ok(None) };
        let mut warning = None;
        // The kernel keeps signals without a handler from process 1 of a PID namespace, so asking would be in vain. One
        // that has just ended cannot be looked at.
        if matches!(sandbox::handles_signal(pid, signal.0), Ok(true)) {
            self.signal(&signal.0.to_string())?;
            if !self.wait_stopped(pid, signal, Instant::now() + timeout) {
                warning = Some(format!(
                    "the application did not stop within {} s after {signal} and was killed",
                    timeout.as_secs_f32()
                ));
            }
        } else if self.exited().is_none() {
            warning = Some(format!(
                "the application does not handle {signal}, which process 1 of a container has to, and was killed"
            ));
        }
        if self.exited().is_none() {
            self.signal("KILL")?;
            self.wait_end(PATIENCE);
        }
        Ok(warning)
    }

    fn wait_stopped(&self, pid: i32, signal: StopSignal, deadline: Instant) -> bool {
        self.rest.forget();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            self.wait_end(left.min(REST_LOOK));
            if self.exited().is_some() {
                return true;
            }
            // Some give the signal back its default action and send it to themselves, which the kernel keeps from
            // process 1.
            let is_deaf = matches!(sandbox::handles_signal(pid, signal.0), Ok(false));
            if left.is_zero() || (self.rests() && is_deaf) {
                return false;
            }
        }
    }

    fn signal(&self, signal: &str) -> Result<(), RuntimeError> {
        match self
            .engine
            .ask("stop the container", self.engine.command(&["kill", "--signal", signal, self.engine.name()]))
        {
            // It ends by itself at any moment.
            Err(cause) => {
                self.wait_end(Duration::from_secs(1));
                if self.exited().is_some() { Ok(()) } else { Err(cause) }
            }
            Ok(_) => Ok(()),
        }
    }

    /// Removes it, whatever it does.
    pub fn remove(&self) -> Result<(), RuntimeError> {
        let mut is_removed = lock(&self.is_removed);
        if *is_removed {
            return Ok(());
        }
        *is_removed = true;
        drop(is_removed);
        let name = self.engine.name();
        if matches!(self.state(), State::Runs) {
            // One that does not run cannot be killed; what counts is whether it can be removed.
            let killed = self.engine.output(self.engine.command(&["kill", "--signal", "KILL", name]));
            killed.map_err(system("run a command of the runtime"))?;
        }
        self.engine.ask("remove the container", self.engine.command(&["rm", "--force", "--volumes", name]))?;
        self.engine.paid(name)
    }

    /// Its first process, where it was found.
    pub(super) fn pid(&self) -> Option<i32> {
        lock(&self.found).as_ref().map(|found| found.pid)
    }

    /// Does something with what is known of where it is.
    pub(super) fn with_found<T>(&self, look: impl FnOnce(&Found) -> T) -> Option<T> {
        lock(&self.found).as_ref().map(look)
    }

    /// Whether it has the network of the machine.
    pub(super) fn is_on_host(&self) -> bool {
        self.settings.network == Network::Host
    }

    /// How it ended.
    pub(super) fn ending(&self) -> Option<Exit> {
        match self.state() {
            State::Runs => None,
            State::Ended(exit) => Some(exit),
            State::NotStarted | State::Lost(_) => Some(Exit::Signal(libc::SIGKILL)),
        }
    }

    /// Fails where it did not end by itself, nor was ended here.
    pub fn check(&self, stderr: &[u8]) -> Result<(), RuntimeError> {
        match self.state() {
            State::Lost(cause) => Err(self.lost(cause)),
            State::NotStarted => Err(self.not_started(stderr)),
            State::Runs | State::Ended(_) => Ok(()),
        }
    }

    /// That it could not be started, for the reason that the runtime gave.
    pub fn not_started(&self, stderr: &[u8]) -> RuntimeError {
        let said = String::from_utf8_lossy(stderr);
        RuntimeError::NotStarted { kind: self.kind(), cause: plain(&without_id(&said)).to_owned() }
    }

    fn lost(&self, cause: String) -> RuntimeError {
        RuntimeError::Command { kind: self.kind(), operation: "run the container", cause }
    }

    fn kind(&self) -> Kind {
        self.engine.kind()
    }

    fn state(&self) -> State {
        lock(&self.state).clone()
    }

    /// Waits for news at most until `deadline`, and no longer than [`LOOK`].
    pub(super) fn look_again(&self, deadline: Instant) {
        let state = lock(&self.state);
        let left = deadline.saturating_duration_since(Instant::now()).min(LOOK);
        if matches!(*state, State::Runs) {
            drop(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn inspect(&self, format: &str) -> Result<String, RuntimeError> {
        let arguments = ["container", "inspect", "--format", format, self.engine.name()];
        self.engine.ask("look at the container", self.engine.command(&arguments))
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // After an error, which is told already; what cannot be removed now is tried once more when scrimp ends.
        drop(self.remove());
    }
}

/// A message without the long number by which the runtime calls the container, which says nothing to anybody.
fn without_id(message: &str) -> String {
    let is_id = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = message.trim().split(' ').filter(|word| !is_id(word.trim_end_matches(':')));
    words.collect::<Vec<_>>().join(" ")
}

/// What the lock guards is valid between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_left_out() {
        let id = "b0".repeat(32);
        assert_eq!(without_id(&format!("unable to start container {id}: no")), "unable to start container no");
        assert_eq!(without_id("no such file\n"), "no such file");
    }
}
