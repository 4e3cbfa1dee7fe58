//! One run: what goes in, what comes out, what is made ready for it.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, io};

use crate::base::{Digest, ImagePath};
use crate::image::{self, Base, Credentials, ImageConfig, Rootfs, RootfsError, ScratchDir, Store};
use crate::observation::{Header, Observation, Overrides, Redactor, SCHEMA_VERSION};
use crate::probe::{self, ProbeError};
use crate::sandbox::{
    self, Bounds, Choices, FilterInstruction, Footing, Ids, Network, ProcessSpec, Rung, Sandbox, SandboxError,
    SandboxPlan, Upper,
};
use crate::session::launch::{Launch, LaunchError};
use crate::session::limits::Hold;
use crate::session::owners;
use crate::session::stage::Stage;
use crate::session::unseen::Unseen;
use crate::session::{Choice, Keeper, Settings, StopSignal, UnknownSignal, record, unmounted};
use crate::tracer::{self, TracerError};

/// The host name inside the sandbox.
const HOSTNAME: &str = "scrimp";

/// How long the death of a process may take to be seen.
const DYING: Duration = Duration::from_secs(1);

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
    Choose(&'a Choice),
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
    /// The sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
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
        let failed = self.observation.header.transcript.probes.iter().filter(|p| !p.passed());
        let mut out: Vec<String> =
            failed.map(|p| format!("{}: {}", p.name, p.failure.as_deref().unwrap_or_default())).collect();
        if !out.is_empty() {
            out.extend(self.exceeded.clone());
        }
        if !out.is_empty() && !self.last_output.is_empty() {
            out.push(format!("the last output of the application:\n{}", self.last_output));
        }
        out
    }

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

/// Where runs happen.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// For scratch space.
    pub store: &'a Store,
    /// Which sandbox this machine allows.
    pub footing: &'a Footing,
}

impl Place<'_> {
    /// The rung for a subject.
    fn rung(&self, rootfs: &Rootfs) -> Result<Rung, SessionError> {
        match is_host(rootfs) {
            true => Ok(self.footing.host),
            false => self.footing.trees.ok_or_else(|| SessionError::NoSandbox(self.footing.why_not())),
        }
    }
}

/// Whether a rootfs is the machine that scrimp runs on.
fn is_host(rootfs: &Rootfs) -> bool {
    rootfs.entries().is_none() && rootfs.location() == Path::new("/")
}

/// Starts the application of `subject` in a sandbox under a tracer, exercises it, stops it, and returns what was seen.
/// Nothing of the run is left but what is returned. A probe that fails is no error: it is in the transcript.
pub fn run(
    place: Place<'_>,
    subject: &Subject<'_>,
    settings: &Settings,
    exercise: Exercise<'_>,
) -> Result<Run, SessionError> {
    let mut overrides = settings.overrides.clone();
    let rung = place.rung(subject.rootfs)?;
    let (launch, user) = prepare(subject, settings, rung, &mut overrides)?;
    let stop_signal = match settings.stop_signal {
        Some(signal) => signal,
        None => launch.stop_signal.parse::<StopSignal>()?,
    };
    let unseen = Unseen::default();
    let hold = Hold::new(&settings.limits);
    let (plan, scratch) = plan(place, rung, subject, settings, hold.bounds(), &unseen)?;
    let sandbox = Sandbox::start(plan)?;
    let (sender, events) = mpsc::channel();
    let options = tracer::Options {
        exact: settings.exact,
        tasks: settings.limits.tasks,
        open_network: network(rung, settings) == Network::Host,
        ..tracer::Options::default()
    };
    // In place the application changes the very files that are read afterwards.
    let saved = if rung == Rung::E { subject.rootfs.keep(place.store)? } else { None };
    let ids = place.footing.ids;
    let identity = match ids {
        Ids::Own => None,
        Ids::Virtual | Ids::Named => {
            let own = own_paths(place.store, subject.rootfs, sandbox.plan())?;
            Some(owners::identity(subject.rootfs, own, rung == Rung::E)?)
        }
    };
    let options = tracer::Options { witnessed: saved.is_some(), identity, ..options };
    let tracer = match &saved {
        Some(saved) => {
            let keeper = Box::new(Keeper(saved.clone()));
            tracer::start_with_witness(sandbox.supervisor(), options.clone(), keeper, sender)
        }
        None => tracer::start(sandbox.supervisor(), options.clone(), sender),
    };
    let tracer = match tracer {
        // What has just been killed cannot be traced, and that is the cause then.
        Err(TracerError::Attach { .. }) if sandbox.ends_within(DYING) => return Err(SandboxError::Gone.into()),
        other => other?,
    };
    let refusals = rung != Rung::E;
    let process =
        ProcessSpec { ids, refusals, limits: hold.resources(), ..process(&launch, &user, settings, &options) };
    let stage =
        Stage { sandbox: &sandbox, tracer: &tracer, subject, settings, stop_signal, redactor: redactor(settings) };
    let played = stage.play(process, exercise, events);
    sandbox.finish();
    // The tracer ends with the sandbox. When it fails everything in there is killed, so that comes first: what fails on
    // the stage then follows from it.
    let recording = tracer.join()?;
    if let Some(tracer::End::Killed(signal)) = recording.supervisor {
        return Err(SandboxError::Killed { signal }.into());
    }
    let played = played?;
    let plan = sandbox.plan();
    let held = hold.warnings(plan);
    let notes = saved.map(|saved| saved.notes()).unwrap_or_default();
    let unseen = unseen.warnings(subject.rootfs.location(), &recording.accesses);
    let unmounted = if rung == Rung::D { unmounted::warnings(&recording.accesses) } else { Vec::new() };
    // Among those of the sandbox are those of its plan.
    let warnings = [sandbox.warnings(), &held, &unseen, &unmounted, &recording.warnings, &played.warnings, &notes];
    let mut observation = Observation {
        header: Header {
            schema_version: SCHEMA_VERSION,
            tool: concat!("scrimp ", env!("CARGO_PKG_VERSION")).into(),
            source: subject.source.into(),
            source_digest: subject.digest,
            command: launch.command(),
            overrides,
            env_names: settings.env.iter().map(|v| v.split('=').next().unwrap_or_default().into()).collect(),
            rung: plan.rung.to_string(),
            gaps: recording.gaps.into_iter().chain(played.gaps).collect(),
            warnings: warnings.into_iter().flatten().cloned().collect(),
            transcript: played.transcript,
        },
        paths: record::records(recording.accesses, subject.rootfs, &own_paths(place.store, subject.rootfs, plan)?)?,
    };
    match exercise {
        Exercise::Choose(_) => played.redactor.observation(&mut observation),
        // It is compared and not written. Its paths stay as they are: what is absent in a small image may be in the
        // base, and there a name that happens to hold the value of a variable has to be found.
        Exercise::Replay(_) => played.redactor.transcript(&mut observation.header.transcript),
    }
    let exceeded = hold.exceeded();
    observation.header.warnings.extend(exceeded.clone());
    drop(sandbox);
    scratch.remove()?;
    Ok(Run { observation, script: played.script, last_output: played.last_output, exceeded })
}

/// What is not the base's: where the sandbox put something, as it is written and where links lead, and the store when
/// it lies in a directory that is run.
fn own_paths(store: &Store, rootfs: &Rootfs, plan: &SandboxPlan) -> Result<Vec<ImagePath>, RootfsError> {
    let mut own = plan.mount_points();
    for point in plan.mount_points() {
        own.push(rootfs.resolve(point.as_bytes(), true)?.end);
    }
    if rootfs.entries().is_none()
        && let Ok(below) = store.dir().strip_prefix(rootfs.location())
        && let Ok(path) = ImagePath::from_relative(below.as_os_str().as_encoded_bytes())
    {
        own.push(path);
    }
    own.retain(|path| !path.is_root());
    own.sort();
    own.dedup();
    Ok(own)
}

/// The process to start, and as whom.
fn prepare(
    subject: &Subject<'_>,
    settings: &Settings,
    rung: Rung,
    overrides: &mut Overrides,
) -> Result<(Launch, Credentials), SessionError> {
    let mut launch = Launch::new(subject.config, overrides, &settings.env, subject.source)?;
    if subject.digest.is_none() {
        launch.make_absolute(subject.rootfs, overrides)?;
    }
    let caller = (rung == Rung::E && launch.user.is_empty()).then(|| nix::unistd::geteuid().to_string());
    let mut user = image::user(subject.rootfs, caller.as_deref().unwrap_or(&launch.user))?;
    if rung == Rung::E && !nix::unistd::geteuid().is_root() {
        // Nobody but root can have other groups than he has.
        user.groups = nix::unistd::getgroups().unwrap_or_default().into_iter().map(|g| g.as_raw()).collect();
    }
    launch.default_variable("HOME", &user.home);
    launch.default_variable("HOSTNAME", HOSTNAME);
    Ok((launch, user))
}

/// The network that the application has.
fn network(rung: Rung, settings: &Settings) -> Network {
    if rung.has_namespaces() { settings.network } else { Network::Host }
}

/// The sandbox for a subject, and the scratch space it needs.
fn plan(
    place: Place<'_>,
    rung: Rung,
    subject: &Subject<'_>,
    settings: &Settings,
    bounds: Bounds,
    unseen: &Unseen,
) -> Result<(SandboxPlan, ScratchDir), SessionError> {
    let scratch = place.store.scratch_dir()?;
    // No quota of the store's filesystem is ours to set.
    let rung = if rung == Rung::A && bounds.disk.is_some() { Rung::B } else { rung };
    let upper = match place.footing.upper_in_store && rung != Rung::B && bounds.disk.is_none() {
        true => Upper::Dir(scratch.path().to_owned()),
        false => Upper::Tmpfs,
    };
    let defaults = Choices::new(upper);
    let network = network(rung, settings);
    let resolv_conf = match network {
        Network::Private => defaults.resolv_conf.clone(),
        Network::Host => read_resolv_conf()?,
    };
    let choices = Choices {
        rung,
        network,
        resolv_conf,
        hostname: HOSTNAME.into(),
        volumes: settings.volumes.clone(),
        tmpfs: settings.tmpfs.clone(),
        bounds,
        ..defaults
    };
    let location = subject.rootfs.location();
    let mut plan = match (rung, subject.rootfs.entries()) {
        (Rung::E, _) => SandboxPlan::in_place(choices.bounds),
        (Rung::D, entries) => {
            let without = match entries {
                Some(_) => Vec::new(),
                None => [vec![place.store.dir().to_owned()], sandbox::pseudo_mounts(&mount_table()?)].concat(),
            };
            SandboxPlan::for_copy(location, scratch.path(), without, &choices)
        }
        (_, Some(_)) => SandboxPlan::for_tree(location, &choices),
        (_, None) => SandboxPlan::for_lazy(location, &mount_table()?, &|dir| unseen.list(dir), &choices),
    };
    if settings.network == Network::Private && network == Network::Host {
        plan.warnings.push(format!("the application shares the network of this machine (sandbox {rung})"));
    }
    Ok((plan, scratch))
}

fn mount_table() -> Result<Vec<u8>, SessionError> {
    fs::read("/proc/self/mountinfo").map_err(|cause| SessionError::System { operation: "read the mount table", cause })
}

/// How names are resolved on the machine's network; nothing when the machine has no file for it.
fn read_resolv_conf() -> Result<Vec<u8>, SessionError> {
    match fs::read("/etc/resolv.conf") {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|cause| SessionError::System { operation: "read /etc/resolv.conf", cause }),
    }
}

fn process(launch: &Launch, user: &Credentials, settings: &Settings, options: &tracer::Options) -> ProcessSpec {
    let bytes = |items: &[String]| -> Vec<Vec<u8>> { items.iter().map(|s| s.clone().into_bytes()).collect() };
    let instruction = |i: tracer::Instruction| FilterInstruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
    ProcessSpec {
        env: bytes(&launch.env),
        cwd: launch.working_dir.as_bytes().to_vec(),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        capabilities: settings.capabilities,
        filter: Some(tracer::filter(options).into_iter().map(instruction).collect()),
        ..ProcessSpec::new(bytes(&launch.argv))
    }
}

/// Takes the values of `-e` out of whatever is written or shown.
fn redactor(settings: &Settings) -> Redactor {
    Redactor::new(settings.env.iter().filter_map(|v| v.split_once('=').map(|(_, value)| value)))
}
