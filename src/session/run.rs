//! One run: what goes in, what comes out, what is made ready for it.

use std::io;

use crate::base::Digest;
use crate::image::{self, Base, ImageConfig, Platform, Rootfs, RootfsError, Store};
use crate::observation::{Header, Observation, Redactor, SCHEMA_VERSION, Transcript};
use crate::probe::{self, ProbeError};
use crate::sandbox::{Footing, ProcessSpec, Rung, SandboxError, SpawnError};
use crate::session::arrange::{self, Neighbourhood, Task};
use crate::session::launch::LaunchError;
use crate::session::limits::Hold;
use crate::session::services::Services;
use crate::session::stage::Stage;
use crate::session::unseen::Unseen;
use crate::session::watch::Watch;
use crate::session::{Choice, Exercised, Service, ServiceError, Settings, UnknownSignal, record, unmounted};
use crate::tracer::TracerError;

/// What is run.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// As the user named it.
    pub source: &'a str,
    /// The digest of its config.
    pub digest: Option<Digest>,
    /// How it wants to be run.
    pub config: &'a ImageConfig,
    /// What it runs in.
    pub rootfs: &'a Rootfs,
    /// What observers see, where it is not the same: that from which a small image was made.
    pub observed_from: Option<&'a Rootfs>,
}

/// How the application is exercised.
#[derive(Clone, Copy)]
pub enum Exercise<'a> {
    /// As the user chose; what that comes to depends on what the application does.
    Choose(&'a Choice),
    /// Exactly as in another run.
    Replay(&'a Script),
}

impl Exercise<'_> {
    /// Whether it is known to have probes whose files are not the application's.
    fn has_observers(self) -> bool {
        matches!(self, Exercise::Replay(Script::Probes(plan)) if plan.has_observers())
    }
}

/// How an application was exercised, to do the same again.
#[derive(Clone, Debug)]
pub enum Script {
    /// It ended by itself: that is its probe.
    Own,
    /// By these probes.
    Probes(Box<probe::Plan>),
    /// Not at all: it was started and stopped.
    Start(Start),
}

/// What an application that is not probed came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It listens.
    Serves,
    /// It runs and does not listen.
    Runs,
    /// It ended, with this code.
    Ended(i32),
}

impl std::fmt::Display for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Start::Serves => f.write_str("it listens"),
            Start::Runs => f.write_str("it runs and does not listen"),
            Start::Ended(code) => write!(f, "it ended with exit code {code}"),
        }
    }
}

/// What came of a run.
pub struct Run {
    /// What was seen.
    pub observation: Observation,
    /// How the application was exercised.
    pub script: Script,
    /// The end of what the application wrote, for messages; secrets are taken out.
    pub last_output: String,
    /// The limit for whose sake it was killed, a sentence.
    pub exceeded: Option<String>,
    /// What exercisers did afterwards.
    pub exercised: Vec<Exercised>,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nothing can be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The image's user cannot be used.
    #[error(transparent)]
    User(#[from] image::UserError),
    /// The stop signal is none.
    #[error("the image's stop signal cannot be used: {0}")]
    Signal(#[from] UnknownSignal),
    /// The only sandbox here is none for an image.
    #[error(
        "only the source `host` can be run here, in place: {0}\nhint: `scrimp doctor` says what would help; with \
         --no-verify the result is not tried"
    )]
    NoSandbox(String),
    /// The command is one for another machine.
    #[error(
        "{cause}; the image is for {image}, and this machine is {machine}\nhint: where the source has several images, \
         --platform {machine} takes the one for it; others run with an emulator that binfmt_misc knows"
    )]
    Foreign {
        /// What came of trying.
        cause: Box<SpawnError>,
        /// The platform that the image is for.
        image: String,
        /// The one that it was tried on.
        machine: String,
    },
    /// The sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The tracer failed.
    #[error(transparent)]
    Tracer(#[from] TracerError),
    /// What runs beside the application is of no use.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The probes cannot be run.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A file of the rootfs could not be read.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] image::ImageError),
    /// Anything else that the system refused.
    #[error("cannot {operation}: {cause}")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// Why it failed.
        cause: io::Error,
    },
}

impl SessionError {
    /// Whether it says that the subject cannot be started, not that nobody could try.
    pub fn is_of_subject(&self) -> bool {
        use crate::sandbox::SpawnError::{NotExecutable, NotFound};
        match self {
            SessionError::Launch(_) | SessionError::User(_) => true,
            SessionError::Sandbox(SandboxError::Spawn(cause)) => {
                matches!(cause, NotFound { .. } | NotExecutable { .. })
            }
            _ => false,
        }
    }
}

impl Run {
    /// The probes that failed, each with why, and then what the application said last; empty when none failed.
    pub fn failures(&self) -> Vec<String> {
        failures(&self.observation.header.transcript, self.exceeded.as_deref(), &self.last_output)
    }

    /// The same exercise once more.
    pub fn replay(&self) -> Exercise<'_> {
        Exercise::Replay(&self.script)
    }
}

/// The probes of `transcript` that failed, each with why, then the limit that was `exceeded` and what the application
/// said last; empty when none failed.
pub fn failures(transcript: &Transcript, exceeded: Option<&str>, last_output: &str) -> Vec<String> {
    let failed = transcript.probes.iter().filter(|p| !p.passed());
    let mut out: Vec<String> =
        failed.map(|p| format!("{}: {}", p.name, p.failure.as_deref().unwrap_or_default())).collect();
    if !out.is_empty() {
        out.extend(exceeded.map(String::from));
    }
    if !out.is_empty() && !last_output.is_empty() {
        out.push(format!("the last output of the application:\n{last_output}"));
    }
    out
}

/// `cause`, and why, if the command could not be executed because the image is for another machine.
fn foreign(cause: SessionError, config: &ImageConfig) -> SessionError {
    let machine = Platform::of_this_machine();
    match (cause, config.platform()) {
        (SessionError::Sandbox(SandboxError::Spawn(cause)), Some(image))
            if cause.is_no_program() && !machine.runs(&image) =>
        {
            SessionError::Foreign { cause: cause.into(), image: image.to_string(), machine: machine.to_string() }
        }
        (cause, _) => cause,
    }
}

impl Script {
    /// `redactor`, and what takes the secrets of the probes' requests out as well.
    pub fn redactor(&self, redactor: &Redactor) -> Redactor {
        match self {
            Script::Probes(plan) => redactor.with(plan.secrets()),
            Script::Own | Script::Start(_) => redactor.clone(),
        }
    }
}

impl<'a> Subject<'a> {
    /// An opened source as it is.
    pub fn of(base: &'a Base) -> Self {
        Subject {
            source: &base.reference,
            digest: base.digest,
            config: &base.config,
            rootfs: &base.rootfs,
            observed_from: None,
        }
    }
}

/// Where runs happen.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// For scratch space.
    pub store: &'a Store,
    /// Which sandbox this machine allows.
    pub footing: &'a Footing,
    /// What runs beside the application, in this order.
    pub services: &'a [Service],
}

impl Place<'_> {
    /// The rung for a subject.
    pub(super) fn rung(&self, rootfs: &Rootfs) -> Result<Rung, SessionError> {
        match rootfs.is_host() {
            true => Ok(self.footing.host),
            false => self.footing.trees.ok_or_else(|| SessionError::NoSandbox(self.footing.why_not())),
        }
    }
}

/// Whether a rootfs is the machine that scrimp runs on.
/// Starts the application of `subject` in a sandbox under a tracer, exercises it, stops it, and returns what was seen.
/// Nothing of the run is left but what is returned. A probe that fails is no error: it is in the transcript.
pub fn run(
    place: Place<'_>,
    subject: &Subject<'_>,
    settings: &Settings,
    exercise: Exercise<'_>,
) -> Result<Run, SessionError> {
    let rung = place.rung(subject.rootfs)?;
    let task = Task::new(subject, settings, rung, arrange::HOSTNAME)?;
    let (hold, unseen) = (Hold::new(&settings.limits), Unseen::default());
    let services = Services::start(place, rung, settings)?;
    let observed_from = subject.observed_from.filter(|_| rung.has_namespaces() && exercise.has_observers());
    let around = Neighbourhood { observed_from, ..services.neighbourhood(arrange::HOSTNAME) };
    let (sandbox, scratch) = arrange::sandbox(place, rung, subject, settings, &hold.bounds(), &unseen, &around)?;
    let (watch, events) = Watch::start(place, subject, settings, &sandbox)?;

    let process = ProcessSpec {
        ids: place.footing.ids,
        refusals: rung != Rung::E,
        limits: hold.resources(),
        ..task.process(settings, watch.options())
    };
    let (stop_signal, redactor) = (task.stop_signal, redactor(settings, place.services));
    let stage = Stage { sandbox: &sandbox, tracer: watch.tracer(), subject, settings, stop_signal, redactor };
    let taken = services.taken();
    let played = services.beside(&sandbox, || stage.play(process, exercise, events));
    sandbox.finish();
    let watched = watch.finish();
    // What fails on the stage follows from what ended the sandbox, and that from the end of a service: so these come
    // first.
    services.finish()?;
    let (recording, notes) = watched?;
    let played = played.map_err(|cause| foreign(cause, subject.config))?;

    let (held, exceeded) = (hold.warnings(sandbox.plan()), hold.exceeded());
    let unseen = unseen.warnings(subject.rootfs.location(), &recording.accesses);
    let clash: Vec<String> = port_clash(&taken, &played.last_output).into_iter().collect();
    let unmounted = if rung == Rung::D { unmounted::warnings(&recording.accesses) } else { Vec::new() };
    // Among those of the sandbox are those of its plan.
    let warnings =
        [sandbox.warnings(), &held, &unseen, &unmounted, &recording.warnings, &played.warnings, &notes, &clash];
    let own = arrange::own_paths(place.store, subject.rootfs, sandbox.plan())?;
    let mut observation = Observation {
        header: Header {
            schema_version: SCHEMA_VERSION,
            tool: concat!("scrimp ", env!("CARGO_PKG_VERSION")).into(),
            source: subject.source.into(),
            source_digest: subject.digest,
            command: task.launch.command(),
            overrides: task.overrides,
            runs: Vec::new(),
            env_names: settings.env.iter().map(|v| v.split('=').next().unwrap_or_default().into()).collect(),
            rung: sandbox.plan().rung.to_string(),
            gaps: recording.gaps.into_iter().chain(played.gaps).collect(),
            warnings: warnings.into_iter().flatten().cloned().collect(),
            transcript: played.transcript,
        },
        paths: record::records(recording.accesses, subject.rootfs, &own)?,
    };
    match exercise {
        Exercise::Choose(_) => played.redactor.observation(&mut observation),
        // It is compared and not written. Its paths stay as they are: what is absent in a small image may be in the
        // base, and there a name that happens to hold the value of a variable has to be found.
        Exercise::Replay(_) => played.redactor.transcript(&mut observation.header.transcript),
    }
    observation.header.warnings.extend(exceeded.clone());
    drop(sandbox);
    scratch.remove()?;
    Ok(Run { observation, script: played.script, last_output: played.last_output, exceeded, exercised: Vec::new() })
}

/// What to do when the application says of its port what the system says (EADDRINUSE, in glibc's and musl's words), and
/// services listen.
fn port_clash(taken: &[String], said: &str) -> Option<String> {
    let in_use = ["ddress already in use", "ddress in use", "EADDRINUSE"];
    (!taken.is_empty() && in_use.iter().any(|text| said.contains(text))).then(|| {
        format!(
            "the application found a port taken: it shares one network with its services, and {} listens already\nhint: give \
             that service another port, by a command or env in a table [[service]] of scrimp.toml",
            taken.join(" and ")
        )
    })
}

/// Takes the values of `-e`, for the application and its services, out of whatever is written or shown.
fn redactor(settings: &Settings, services: &[Service]) -> Redactor {
    let variables = services.iter().flat_map(|service| &service.settings.env).chain(&settings.env);
    Redactor::of_variables(variables)
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::sandbox::Failure;

    #[test]
    fn a_program_for_another_machine_is_told_from_what_is_no_program() {
        let said = |architecture: &str, errno| {
            let config = format!(r#"{{"os":"linux","architecture":"{architecture}"}}"#);
            let cause = SpawnError::Step(Failure::new("execute", "/bin/app", errno));
            foreign(SandboxError::Spawn(cause).into(), &ImageConfig::parse(config.as_bytes()).unwrap()).to_string()
        };
        let text = said("s390x", Errno::ENOEXEC);
        let place = text.find("; the image is for linux/s390x, and this machine is linux/");
        assert!(text.starts_with("cannot execute /bin/app") && place.is_some() && text.contains("\nhint: "), "{text}");
        let own = Platform::of_this_machine().architecture;
        for text in [said(&own, Errno::ENOEXEC), said("s390x", Errno::EACCES)] {
            assert!(text.starts_with("cannot execute /bin/app") && !text.contains("machine is"), "{text}");
        }
    }
}
