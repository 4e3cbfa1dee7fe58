//! One run: start, exercise, stop, fold.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;

use crate::base::{Digest, ImagePath};
use crate::image::{self, Base, Credentials, ImageConfig, Rootfs, RootfsError, ScratchDir, Store};
use crate::observation::{Answer, Header, Observation, ProbeResult, Redactor, SCHEMA_VERSION, Transcript};
use crate::probe::{self, Exit, ProbeError, Target};
use crate::sandbox::{Choices, ProcessSpec, Sandbox, SandboxError, SandboxPlan, SpawnError, Upper};
use crate::session::application::Application;
use crate::session::launch::{Launch, LaunchError};
use crate::session::output::{Stream, capture};
use crate::session::{Settings, StopSignal, UnknownSignal, record};
use crate::tracer::{self, Tracer, TracerError, Tree};

/// How much of the application's last output is kept for messages, in bytes per stream.
const OUTPUT_KEPT: usize = 4096;
/// The name of the probe that a command is of itself.
const OWN_PROBE: &str = "run";
/// The host name inside the sandbox.
const HOSTNAME: &str = "scrimp";

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
}

/// How the application is exercised.
#[derive(Clone, Copy)]
pub enum Exercise<'a> {
    /// As the user chose; what that comes to depends on what the application does.
    Choose(&'a probe::Choice),
    /// Exactly as in another run.
    Replay(&'a Script),
}

/// How an application was exercised, to do the same again.
#[derive(Clone, Debug)]
pub enum Script {
    /// It ended by itself: that is its probe.
    Own,
    /// By these probes.
    Probes(probe::Plan),
    /// Not at all: it was started and stopped.
    Start,
}

/// What came of a run.
pub struct Run {
    /// What was seen.
    pub observation: Observation,
    /// How the application was exercised.
    pub script: Script,
    /// The end of what the application wrote, for messages; secrets are taken out.
    pub last_output: String,
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
    /// The sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The command could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The tracer failed.
    #[error(transparent)]
    Tracer(#[from] TracerError),
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

impl Run {
    /// The same exercise once more.
    pub fn replay(&self) -> Exercise<'_> {
        Exercise::Replay(&self.script)
    }
}

impl<'a> Subject<'a> {
    /// An opened source as it is.
    pub fn of(base: &'a Base) -> Self {
        Subject { source: &base.reference, digest: base.digest, config: &base.config, rootfs: &base.rootfs }
    }
}

/// Starts the application of `subject` in a sandbox under a tracer, exercises it, stops it, and returns what was seen.
/// Nothing of the run is left but what is returned. A probe that fails is no error: it is in the transcript.
pub fn run(
    store: &Store,
    subject: &Subject<'_>,
    settings: &Settings,
    exercise: Exercise<'_>,
) -> Result<Run, SessionError> {
    let (launch, user) = prepare(subject, settings)?;
    let stop_signal = match settings.stop_signal {
        Some(signal) => signal,
        None => launch.stop_signal.parse::<StopSignal>()?,
    };
    let (plan, scratch) = plan(store, subject, settings)?;
    let sandbox = Sandbox::start(&plan)?;
    let (sender, events) = mpsc::channel();
    let options = tracer::Options { exact: settings.exact };
    let tracer = Tracer::start(sandbox.supervisor(), &options, sender)?;
    let process = process(&launch, &user, settings, &options);
    let driven = drive(sandbox, &tracer, process, subject, settings, exercise, stop_signal, events);
    // The tracer ends with the sandbox; a failure in driving it is told before one that follows from it.
    let recording = tracer.join();
    let driven = driven?;
    let recording = recording?;
    drop(scratch);

    let mut warnings = plan.warnings.clone();
    warnings.extend(recording.warnings);
    warnings.extend(driven.warnings);
    let mut observation = Observation {
        header: Header {
            schema_version: SCHEMA_VERSION,
            tool: concat!("scrimp ", env!("CARGO_PKG_VERSION")).into(),
            source: subject.source.into(),
            source_digest: subject.digest,
            command: launch.command(),
            overrides: settings.overrides.clone(),
            env_names: settings.env.iter().map(|v| v.split('=').next().unwrap_or_default().into()).collect(),
            rung: plan.rung.to_string(),
            gaps: recording.gaps,
            warnings,
            transcript: driven.transcript,
        },
        paths: record::records(recording.accesses, subject.rootfs, &plan.mount_points())?,
    };
    let redactor = redactor(settings);
    redactor.observation(&mut observation);
    let last_output = redactor.text(&driven.last_output).into_owned();
    Ok(Run { observation, script: driven.script, last_output })
}

/// What driving the application came to.
struct Driven {
    transcript: Transcript,
    script: Script,
    warnings: Vec<String>,
    last_output: String,
}

/// The process to start, and as whom.
fn prepare(subject: &Subject<'_>, settings: &Settings) -> Result<(Launch, Credentials), SessionError> {
    let mut launch = Launch::new(subject.config, &settings.overrides, &settings.env, subject.source)?;
    let user = image::credentials(subject.rootfs, &launch.user)?;
    launch.default_variable("HOME", &user.home);
    launch.default_variable("HOSTNAME", HOSTNAME);
    Ok((launch, user))
}

fn plan(store: &Store, subject: &Subject<'_>, settings: &Settings) -> Result<(SandboxPlan, ScratchDir), SessionError> {
    let scratch = store.scratch_dir()?;
    let upper = if store.is_on_overlay()? { Upper::Tmpfs } else { Upper::Dir(scratch.path().to_owned()) };
    let choices = Choices {
        network: settings.network,
        hostname: HOSTNAME.into(),
        volumes: settings.volumes.clone(),
        tmpfs: settings.tmpfs.clone(),
        ..Choices::new(upper)
    };
    let location = subject.rootfs.location();
    let plan = match subject.rootfs.entries() {
        Some(_) => SandboxPlan::for_tree(location, &choices),
        None => SandboxPlan::for_lazy(location, &choices)?,
    };
    Ok((plan, scratch))
}

fn process(launch: &Launch, user: &Credentials, settings: &Settings, options: &tracer::Options) -> ProcessSpec {
    let bytes = |items: &[String]| items.iter().map(|s| s.clone().into_bytes()).collect();
    ProcessSpec {
        argv: bytes(&launch.argv),
        env: bytes(&launch.env),
        cwd: launch.working_dir.as_bytes().to_vec(),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        capabilities: settings.capabilities,
        filter: Some(tracer::filter(options)),
    }
}

#[allow(clippy::too_many_arguments)]
fn drive(
    mut sandbox: Sandbox,
    tracer: &Tracer,
    process: ProcessSpec,
    subject: &Subject<'_>,
    settings: &Settings,
    exercise: Exercise<'_>,
    stop_signal: StopSignal,
    events: mpsc::Receiver<tracer::Event>,
) -> Result<Driven, SessionError> {
    let (stdio, captured) = capture(OUTPUT_KEPT)
        .map_err(|cause| SessionError::System { operation: "make pipes for the application's output", cause })?;
    tracer.next_tree(Tree::Application);
    let spawned = sandbox.spawn(&process, stdio)?;
    let application = Application::new(sandbox, tracer, process, subject.rootfs, spawned.pid);
    thread::scope(|scope| {
        scope.spawn(|| application.follow(events));
        let exercised = exercise_with(&application, subject, settings, exercise);
        let stopped = application
            .stop(stop_signal, settings.stop_timeout)
            .map_err(|cause| SessionError::System { operation: "stop the application", cause });
        let ended = application.end_sandbox();
        let (mut transcript, script) = exercised?;
        let warnings = stopped?.into_iter().collect();
        ended?;
        // The application and all its children are gone, so its output has come to its end.
        let (stdout, stderr) = captured.collect(settings.stop_timeout);
        if let Script::Own = script {
            transcript.probes.push(own_probe(application.exited(), settings, &stdout, &stderr));
        }
        let last_output = last_output(&stdout, &stderr);
        Ok(Driven { transcript, script, warnings, last_output })
    })
}

fn exercise_with(
    application: &Application<'_>,
    subject: &Subject<'_>,
    settings: &Settings,
    exercise: Exercise<'_>,
) -> Result<(Transcript, Script), SessionError> {
    let script = match exercise {
        Exercise::Replay(script) => script.clone(),
        Exercise::Choose(choice) if choice.no_probe => {
            application.wait_serving_or_end(settings.timeout);
            Script::Start
        }
        Exercise::Choose(choice) if choice.is_empty() => {
            application.wait_serving_or_end(settings.timeout);
            if application.serves() {
                Script::Probes(probe::plan(choice, subject.config, application)?)
            } else {
                Script::Own
            }
        }
        Exercise::Choose(choice) => Script::Probes(probe::plan(choice, subject.config, application)?),
    };
    let transcript = match &script {
        Script::Own => {
            application.wait_end(settings.timeout);
            Transcript::default()
        }
        Script::Start => {
            application.wait_serving_or_end(settings.timeout);
            Transcript::default()
        }
        Script::Probes(plan) => probe::run(plan, application)?,
    };
    Ok((transcript, script))
}

/// The result of a command that is its own probe.
fn own_probe(exit: Option<Exit>, settings: &Settings, stdout: &Stream, stderr: &Stream) -> ProbeResult {
    let (answer, failure) = match exit {
        None => (
            Answer::None,
            Some(format!(
                "it neither ended nor listened on a port within {} s\nhint: give it longer (--timeout), a probe (--exec, --probe) or none (--no-probe)",
                settings.timeout.as_secs_f32()
            )),
        ),
        Some(exit) => {
            let answer = Answer::Exit {
                code: exit.code(),
                stdout_digest: stdout.digest,
                stdout_bytes: stdout.bytes,
                stderr_digest: stderr.digest,
                stderr_bytes: stderr.bytes,
            };
            let failure = (exit.code() != settings.expect_exit)
                .then(|| format!("it ended with {exit}, expected exit code {}", settings.expect_exit));
            (answer, failure)
        }
    };
    ProbeResult { name: OWN_PROBE.into(), answer, failure, ignore: Vec::new() }
}

fn last_output(stdout: &Stream, stderr: &Stream) -> String {
    let mut text = String::from_utf8_lossy(&stdout.tail).into_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&String::from_utf8_lossy(&stderr.tail));
    text.trim_end().to_owned()
}

fn redactor(settings: &Settings) -> Redactor {
    let values = settings.env.iter().filter_map(|v| v.split_once('=').map(|(_, value)| value));
    Redactor::new(values.chain(settings.secrets.iter().map(String::as_str)))
}
