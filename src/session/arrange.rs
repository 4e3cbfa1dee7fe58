//! What is made ready before anything runs: the process to start and as whom, the sandbox for it, and its scratch
//! space.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::base::ImagePath;
use crate::image::{self, Credentials, Rootfs, RootfsError, ScratchDir, Store};
use crate::observation::Overrides;
use crate::sandbox::{
    self, Bounds, Choices, FilterInstruction, Network, ObserverTree, ProcessSpec, Rung, Sandbox, SandboxPlan, Upper,
};
use crate::session::launch::Launch;
use crate::session::unseen::Unseen;
use crate::session::{Place, SessionError, Settings, StopSignal, Subject};
use crate::tracer;

/// The host name inside the sandbox.
pub const HOSTNAME: &str = "scrimp";

/// What is to be started, as whom, and what asks it to stop.
pub struct Task {
    /// The command and what surrounds it.
    pub launch: Launch,
    /// Whose it is.
    pub user: Credentials,
    /// What of it is not the image's.
    pub overrides: Overrides,
    /// What asks it to stop.
    pub stop_signal: StopSignal,
}

impl Task {
    /// As the subject and the settings have it, on `rung`, on a machine called `hostname`.
    pub fn new(subject: &Subject<'_>, settings: &Settings, rung: Rung, hostname: &str) -> Result<Self, SessionError> {
        let mut overrides = settings.overrides.clone();
        let mut launch = Launch::new(subject.config, &overrides, &settings.env, subject.source)?;
        if subject.digest.is_none() {
            launch.make_absolute(subject.rootfs, &mut overrides)?;
        }
        let user = user(subject.rootfs, &launch.user, rung)?;
        launch.default_variable("HOME", &user.home);
        launch.default_variable("HOSTNAME", hostname);
        let stop_signal = match settings.stop_signal {
            Some(signal) => signal,
            None => launch.stop_signal.parse::<StopSignal>()?,
        };
        Ok(Task { launch, user, overrides, stop_signal })
    }

    /// The process, under the filter that `options` ask for.
    pub fn process(&self, settings: &Settings, options: &tracer::Options) -> ProcessSpec {
        let bytes = |items: &[String]| -> Vec<Vec<u8>> { items.iter().map(|s| s.clone().into_bytes()).collect() };
        let instruction = |i: tracer::Instruction| FilterInstruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
        ProcessSpec {
            env: bytes(&self.launch.env),
            cwd: self.launch.working_dir.as_bytes().to_vec(),
            uid: self.user.uid,
            gid: self.user.gid,
            groups: self.user.groups.clone(),
            capabilities: settings.capabilities,
            filter: Some(tracer::filter(options).into_iter().map(instruction).collect()),
            ..ProcessSpec::new(bytes(&self.launch.argv))
        }
    }
}

/// The user called `name`; in place the caller, where there is no name.
fn user(rootfs: &Rootfs, name: &str, rung: Rung) -> Result<Credentials, SessionError> {
    let caller = (rung == Rung::E && name.is_empty()).then(|| nix::unistd::geteuid().to_string());
    let mut user = image::user(rootfs, caller.as_deref().unwrap_or(name))?;
    if rung == Rung::E && !nix::unistd::geteuid().is_root() {
        // Nobody but root can have other groups than he has.
        user.groups = nix::unistd::getgroups().unwrap_or_default().into_iter().map(|g| g.as_raw()).collect();
    }
    Ok(user)
}

/// What is around a sandbox.
#[derive(Clone, Copy)]
pub struct Neighbourhood<'a> {
    /// The name of the machine inside.
    pub hostname: &'a str,
    /// The names of the services, all of them on the loopback interface.
    pub names: &'a [&'a str],
    /// The network that is there already.
    pub network: Option<&'a OwnedFd>,
    /// What observers see, where it is not what the application runs in.
    pub observed_from: Option<&'a Rootfs>,
}

/// How often a sandbox of the machine's own files is made anew because its mounts have changed meanwhile.
const MAX_CHANGES: usize = 3;

/// A sandbox for a subject, and the scratch space it needs. What the machine's own files are is planned by its mount
/// table, and where a mount has come or gone before the plan was carried out, part of it would be missing or read-only.
pub fn sandbox(
    place: Place<'_>,
    rung: Rung,
    subject: &Subject<'_>,
    settings: &Settings,
    bounds: &Bounds,
    unseen: &Unseen,
    around: &Neighbourhood<'_>,
) -> Result<(Sandbox, ScratchDir), SessionError> {
    let is_lazy = subject.rootfs.entries().is_none();
    for changes in 0.. {
        let before = if is_lazy { mount_table()? } else { Vec::new() };
        let (plan, scratch) = plan(place, rung, subject, settings, bounds.clone(), unseen, around)?;
        let started = match around.network.filter(|_| plan.network == Network::Shared) {
            Some(network) => Sandbox::start_beside(plan, network),
            None => Sandbox::start(plan),
        };
        if !is_lazy || changes == MAX_CHANGES || mount_table()? == before {
            return Ok((started?, scratch));
        }
    }
    unreachable!("the last change returns")
}

/// Makes the directory for throw-away layers.
fn layers_in(scratch: &Path) -> Result<PathBuf, SessionError> {
    let layers = scratch.join("layers");
    match DirBuilder::new().mode(0o700).create(&layers) {
        Ok(()) => Ok(layers),
        Err(cause) => Err(SessionError::System { operation: "make a directory for throw-away layers", cause }),
    }
}

/// The sandbox for a subject, and the scratch space it needs.
fn plan(
    place: Place<'_>,
    rung: Rung,
    subject: &Subject<'_>,
    settings: &Settings,
    bounds: Bounds,
    unseen: &Unseen,
    around: &Neighbourhood<'_>,
) -> Result<(SandboxPlan, ScratchDir), SessionError> {
    let scratch = place.store.scratch_dir()?;
    // No quota of the store's filesystem is ours to set.
    let rung = if rung == Rung::A && bounds.disk.is_some() { Rung::B } else { rung };
    let upper = match place.footing.upper_in_store && rung != Rung::B && bounds.disk.is_none() {
        true => Upper::Dir(layers_in(scratch.path())?),
        false => Upper::Tmpfs,
    };
    let defaults = Choices::new(upper);
    let network = match settings.network {
        _ if !rung.has_namespaces() => Network::Host,
        Network::Private if around.network.is_some() => Network::Shared,
        other => other,
    };
    let resolv_conf = match network {
        Network::Private | Network::Shared => defaults.resolv_conf.clone(),
        Network::Host => read_resolv_conf()?,
    };
    let choices = Choices {
        rung,
        network,
        resolv_conf,
        hostname: around.hostname.into(),
        hosts: around.names.iter().map(|name| (Ipv4Addr::LOCALHOST.into(), (*name).to_owned())).collect(),
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
    plan.observers = around.observed_from.map(observer_tree).transpose()?;
    if settings.network == Network::Private && network == Network::Host {
        plan.warnings.push(format!("the application shares the network of this machine (sandbox {rung})"));
    }
    Ok((plan, scratch))
}

fn observer_tree(rootfs: &Rootfs) -> Result<ObserverTree, SessionError> {
    Ok(match rootfs.entries() {
        Some(_) => ObserverTree::of_tree(rootfs.location()),
        None => ObserverTree::of_directory(rootfs.location(), &mount_table()?),
    })
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

/// What is not the base's: where the sandbox put something, as it is written and where links lead, and the store when
/// it lies in a directory that is run.
pub fn own_paths(store: &Store, rootfs: &Rootfs, plan: &SandboxPlan) -> Result<Vec<ImagePath>, RootfsError> {
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
