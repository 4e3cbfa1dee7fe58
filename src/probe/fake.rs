//! A target for tests: the sockets are the test's own on the loopback of this machine, commands are answered from a
//! table, and events are what the test makes happen.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::base::ImagePath;
use crate::probe::target::{ExecFailure, ExecOutcome, ExecRequest, Exit, Listener, Protocol, ScriptRequest, Target};

/// Answers to a command, one after the other; the last one stays.
pub type Answers = Vec<Result<ExecOutcome, String>>;

#[derive(Default)]
pub struct FakeTarget {
    pub listeners: Mutex<Vec<Listener>>,
    /// Added one at each `wait`, as an application that takes its time would.
    pub later: Mutex<Vec<Listener>>,
    pub changed: Condvar,
    pub exit: Mutex<Option<Exit>>,
    pub commands: Mutex<BTreeMap<String, Answers>>,
    pub executables: Vec<ImagePath>,
    /// Whether it does nothing but wait.
    pub rests: bool,
    /// What was told to the target: `begin LABEL`, `end`, `exec COMMAND`, `enter`.
    pub log: Mutex<Vec<String>>,
}

impl From<Exit> for Mutex<Option<Exit>> {
    fn from(exit: Exit) -> Self {
        Mutex::new(Some(exit))
    }
}

pub fn tcp(address: SocketAddr) -> Listener {
    Listener { protocol: Protocol::Tcp, address: address.ip(), port: address.port() }
}

pub fn udp(address: SocketAddr) -> Listener {
    Listener { protocol: Protocol::Udp, ..tcp(address) }
}

impl FakeTarget {
    pub fn listening(addresses: &[SocketAddr]) -> Self {
        let listeners = addresses.iter().copied().map(tcp).collect();
        FakeTarget { listeners: Mutex::new(listeners), ..FakeTarget::default() }
    }

    pub fn with_command(self, command: &str, answers: Answers) -> Self {
        self.commands.lock().unwrap().insert(command.into(), answers);
        self
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn note(&self, text: String) {
        self.log.lock().unwrap().push(text);
    }
}

pub fn output(code: i32, stdout: &str, stderr: &str) -> Result<ExecOutcome, String> {
    Ok(ExecOutcome { code, stdout: stdout.into(), stderr: stderr.into() })
}

impl Target for FakeTarget {
    fn enter_network(&self) -> io::Result<()> {
        self.note("enter".into());
        Ok(())
    }

    fn listeners(&self) -> Vec<Listener> {
        self.listeners.lock().unwrap().clone()
    }

    fn rests(&self) -> bool {
        self.rests
    }

    fn executables(&self) -> Vec<ImagePath> {
        self.executables.clone()
    }

    fn wait(&self, known: &[Listener], timeout: Duration) {
        let mut listeners = self.listeners.lock().unwrap();
        if let Some(listener) = self.later.lock().unwrap().pop() {
            listeners.push(listener);
            return;
        }
        let same = |listeners: &mut Vec<Listener>| listeners.as_slice() == known && self.exited().is_none();
        drop(self.changed.wait_timeout_while(listeners, timeout, same).unwrap());
    }

    fn exec(&self, request: &ExecRequest) -> Result<ExecOutcome, ExecFailure> {
        let command = request.argv.join(" ");
        let user = request.user.as_ref().map(|user| format!(" as {user}")).unwrap_or_default();
        let observer = if request.keep { "" } else { " (observer)" };
        self.note(format!("exec {command}{user}{observer}"));
        let mut commands = self.commands.lock().unwrap();
        let answers = commands.get_mut(&command).ok_or(ExecFailure::NotStarted("not found in PATH".into()))?;
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        answer.map_err(|message| match message.as_str() {
            "timeout" => ExecFailure::TimedOut,
            _ => ExecFailure::Broken(io::Error::other(message)),
        })
    }

    fn script(&self, request: &ScriptRequest) -> Result<ExecOutcome, ExecFailure> {
        let variables: Vec<String> = request.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let ScriptRequest { argv, timeout, .. } = request;
        self.note(format!("script {}", variables.join(" ")));
        self.exec(&ExecRequest { argv: argv.clone(), user: None, timeout: *timeout, keep: false })
    }

    fn begin(&self, label: &str) {
        self.note(format!("begin {label}"));
    }

    fn end(&self) {
        self.note("end".into());
    }

    fn exited(&self) -> Option<Exit> {
        *self.exit.lock().unwrap()
    }
}
