//! A service that the application needs, running beside it in a sandbox of its own: another image, untraced, on the
//! same network. What it uses says nothing about the application.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::base::ImagePath;
use crate::image::{Base, ScratchDir};
use crate::observation::Redactor;
use crate::probe::{self, ExecFailure, ExecOutcome, ExecRequest, Listener, ScriptRequest, Target};
use crate::sandbox::{self, ProcessSpec, Sandbox};
use crate::session::command::{self, OUTPUT_GRACE};
use crate::session::output::{CapturedOutput, capture_whole};
use crate::session::stage::last_output;
use crate::session::watch::Watch;
use crate::session::{Settings, StopSignal, owners};
use crate::tracer::Tree;

/// How often an untraced service is looked at that is to become ready: at first, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(25));

/// A service as it is wanted.
pub struct Service {
    /// The host name at which the application reaches it.
    pub name: String,
    /// What it runs on.
    pub base: Base,
    /// How it is run. The network is the application's.
    pub settings: Settings,
    /// What has to come about before the next one starts.
    pub until: Until,
}

/// When a service is as it has to be.
#[derive(Clone, Debug)]
pub enum Until {
    /// It listens and answers, as this says; or as its HEALTHCHECK or the shipped spec for it does.
    Ready(Option<Box<probe::Ready>>),
    /// It was started.
    Started,
    /// It has ended by itself, with exit code 0: a job that prepares something.
    Ended,
}

/// Why a service is of no use. The application was not at fault, nor was it judged.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It cannot be started.
    #[error("the service {name} cannot be started: {cause}")]
    NotStarted {
        /// Its name.
        name: String,
        /// Why.
        cause: String,
    },
    /// It runs, and is not ready in time.
    #[error("the service {name} is not ready: {why}{}\nhint: {HINT_LATE}", said(.output))]
    Late {
        /// Its name.
        name: String,
        /// What it lacks.
        why: String,
        /// What it wrote last.
        output: String,
    },
    /// It has ended before its time.
    #[error("the service {name} ended with {exit} {when}{}\nhint: {}", said(.output), .hint)]
    Ended {
        /// Its name.
        name: String,
        /// How.
        exit: probe::Exit,
        /// `before it was ready`, `while the application ran`.
        when: &'static str,
        /// What it wrote last.
        output: String,
        /// What to do about it.
        hint: Box<str>,
    },
    /// The application has no files of its own, so none of them can name the service.
    #[error(
        "the application runs in place (sandbox e), where it would not find the service {0} by its name\nhint: `scrimp doctor` \
         says what would allow another sandbox"
    )]
    InPlace(String),
}

const HINT_LATE: &str = "give it longer (timeout), or say when it is ready, in a table [[service]] of scrimp.toml";

/// What to write in scrimp.toml for a service that has ended.
fn ended_hint(name: &str, command: &[String], taken: &[String]) -> Box<str> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    let share = match taken {
        [] => "all services and the application share one network, where a port can be taken once".to_owned(),
        taken => format!(
            "all services and the application share one network, where a port can be taken once, and {} listens already; \
             if that is it, let this one listen on another",
            taken.join(" and ")
        ),
    };
    format!(
        "{share}; its command, env and user are set in scrimp.toml, now they are as\n  [[service]]\n  name = {}\n  entrypoint = \
         []\n  command = [{}]",
        quoted(name),
        words.join(", ")
    )
    .into()
}

fn said(output: &str) -> String {
    match output.is_empty() {
        true => "; it has written nothing".into(),
        false => format!("; it wrote last:\n{output}"),
    }
}

/// A service that was started.
pub struct Running<'a> {
    pub(super) service: &'a Service,
    pub(super) sandbox: Sandbox,
    /// Where other ids than the caller's exist only in what a tracer answers, one is needed; what it records is thrown
    /// away.
    pub(super) watch: Option<Watch>,
    pub(super) process: ProcessSpec,
    pub(super) pid: i32,
    pub(super) stop_signal: StopSignal,
    pub(super) captured: Mutex<CapturedOutput>,
    pub(super) redactor: Redactor,
    pub(super) scratch: ScratchDir,
    /// Its end is no news any more.
    pub(super) stopping: AtomicBool,
    pub(super) died: OnceLock<probe::Exit>,
}

impl Running<'_> {
    /// Waits until it is as it has to be.
    pub fn wait(&self) -> Result<Result<(), probe::Unready>, probe::ProbeError> {
        let timeout = self.service.settings.timeout;
        match &self.service.until {
            Until::Started => Ok(Ok(())),
            Until::Ended => Ok(match self.sandbox.wait_exit(self.pid, timeout).map(exit) {
                Some(probe::Exit::Code(0)) => Ok(()),
                Some(exit) => Err(probe::Unready::Ended(exit)),
                None => Err(probe::Unready::Late(format!("it has not ended after {} s", timeout.as_secs_f32()))),
            }),
            Until::Ready(given) => {
                let command = self.process.argv.first().map(Vec::as_slice);
                let circumstances = super::examine::circumstances(&self.service.base.config, command, None);
                probe::wait_ready(given.as_deref(), &circumstances, timeout, self, &self.redactor)
            }
        }
    }

    /// Waits for its end, and does `action` when nobody asked for that.
    pub fn on_death(&self, action: impl FnOnce()) {
        let end = self.sandbox.exits().into_iter().find(|(pid, _)| *pid == self.pid);
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        // Without word of it, its supervisor was killed.
        let exit = end.map_or(probe::Exit::Signal(libc::SIGKILL), |(_, end)| exit(end));
        if self.died.set(exit).is_ok() {
            action();
        }
    }

    /// Asks it to stop and waits for it; what is left of it then is killed.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // Process 1 of a PID namespace gets no signal that it does not handle.
        let is_init = self.sandbox.plan().rung.has_pid_namespace();
        let handled = !is_init || sandbox::handles_signal(self.pid, self.stop_signal.0).unwrap_or(false);
        if self.exited().is_none() && handled && self.sandbox.signal(self.pid, self.stop_signal.0).is_ok() {
            self.sandbox.wait_exit(self.pid, self.service.settings.stop_timeout);
        }
        self.sandbox.finish();
    }

    /// What to do when it has ended, where others listen as `taken` says.
    pub fn hint(&self, taken: &[String]) -> Box<str> {
        let word = |word: &Vec<u8>| self.redactor.text(&String::from_utf8_lossy(word)).into_owned();
        let command: Vec<String> = self.process.argv.iter().map(word).collect();
        ended_hint(&self.service.name, &command, taken)
    }

    /// The error of a service that is of no use; others listened where `taken` says.
    pub fn failure(self, unready: probe::Unready, taken: Vec<String>) -> ServiceError {
        let name = self.service.name.clone();
        match unready {
            probe::Unready::Late(why) => ServiceError::Late { name, why, output: self.last_words() },
            probe::Unready::Ended(exit) => {
                let (hint, when) = (self.hint(&taken), "before it was ready");
                ServiceError::Ended { name, exit, when, output: self.last_words(), hint }
            }
        }
    }

    /// What it wrote last. It ends with this.
    pub fn last_words(self) -> String {
        self.stopping.store(true, Ordering::Release);
        self.sandbox.finish();
        let captured = self.captured.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (stdout, stderr) = captured.collect(OUTPUT_GRACE);
        last_output(&stdout, &stderr, &self.redactor)
    }

    fn start_command(&self, request: &ExecRequest) -> Result<(i32, CapturedOutput), ExecFailure> {
        let process = command::beside(&self.process, &self.service.base.rootfs, request)?;
        let (stdio, captured) = capture_whole().map_err(ExecFailure::Broken)?;
        if let Some(watch) = &self.watch {
            watch.tracer().next_tree(Tree::Observer);
            watch.tracer().next_credentials(owners::credentials(&process));
        }
        Ok((command::spawn(&self.sandbox, &process, stdio)?, captured))
    }
}

impl Target for Running<'_> {
    fn enter_network(&self) -> io::Result<()> {
        self.sandbox.enter_network().map_err(|cause| io::Error::other(cause.to_string()))
    }

    fn listeners(&self) -> Vec<Listener> {
        // A table that cannot be read at this moment shows nothing; whoever asks, asks again.
        let found = self.sandbox.listeners_of(&self.sandbox.processes()).unwrap_or_default();
        command::listeners(found)
    }

    fn executables(&self) -> Vec<ImagePath> {
        command::executables(self.sandbox.processes())
    }

    fn wait(&self, known: &[Listener], timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut pause = LOOK.0;
        while self.exited().is_none() && self.listeners() == known {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.sandbox.wait_exit(self.pid, pause.min(left));
            pause = (pause * 2).min(LOOK.1);
        }
    }

    fn exec(&self, request: &ExecRequest) -> Result<ExecOutcome, ExecFailure> {
        let (pid, captured) = self.start_command(request)?;
        let Some(end) = self.sandbox.wait_exit(pid, request.timeout) else {
            for whom in [-pid, pid] {
                match self.sandbox.signal(whom, libc::SIGKILL) {
                    Err(cause) if cause.raw_os_error() != Some(libc::ESRCH) => return Err(ExecFailure::Broken(cause)),
                    _ => {}
                }
            }
            return Err(ExecFailure::TimedOut);
        };
        Ok(command::outcome(end.shell_code(), captured))
    }

    fn script(&self, _: &ScriptRequest) -> Result<ExecOutcome, ExecFailure> {
        // Only the specs that come with scrimp are asked, and none of them has a program of the user's.
        Err(ExecFailure::NotStarted("programs of this machine are for the application only".into()))
    }

    fn begin(&self, _: &str) {}

    fn end(&self) {}

    fn exited(&self) -> Option<probe::Exit> {
        self.sandbox.wait_exit(self.pid, Duration::ZERO).map(exit)
    }
}

fn exit(end: sandbox::Exit) -> probe::Exit {
    match end {
        sandbox::Exit::Code(code) => probe::Exit::Code(code),
        sandbox::Exit::Signal(signal) => probe::Exit::Signal(signal),
    }
}
