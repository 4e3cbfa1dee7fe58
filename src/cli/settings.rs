//! From what was typed to what is meant: values are parsed, and where the meaning depends on the caller's environment
//! it is looked at here and nowhere else.

use std::env::{self, VarError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::base::{Epoch, ImagePath, env_vars};
use crate::cli::args::{Net, OutputArgs, ProbeArgs, RunArgs, SelectArgs};
use crate::cli::{interrupt, services, terminal};
use crate::image::{Source, SourceError};
use crate::observation::Overrides;
use crate::pipeline::{Environment, Input, NamedTrial, Order, Outputs, RuntimeEnvironment, SideFiles, Trial, Trials};
use crate::probe::{Exercisers, Spec};
use crate::runtime::{Engine, Kind};
use crate::sandbox::{CapabilitySet, Network, Rung, Volume};
use crate::select::{Asked, Rules};
use crate::session::{Choice, Limits, Settings};

/// The least memory that a process can be given, in bytes: with less none starts.
const MIN_MEMORY: u64 = 6 << 20;

/// What holds for all commands.
pub struct Context {
    /// `--store`.
    pub store: Option<PathBuf>,
    /// `--quiet`.
    pub quiet: bool,
    /// Whether it is shown what is going on.
    pub moves: bool,
}

impl Context {
    /// Finds a sandbox and opens the store. To be called once, before any thread is started.
    pub fn enter(&self, run: &RunArgs) -> Result<Environment> {
        let wanted = run.sandbox.as_deref().map(str::parse::<Rung>).transpose()?;
        let services = services::services(run)?;
        let environment = Environment::enter(self.store.as_deref(), wanted)?;
        interrupt::exit_on_signals()?;
        Ok(self.shown(environment).beside(&services)?)
    }

    /// Opens the store, without a sandbox. To be called once, before any thread is started.
    pub fn enter_for_files(&self) -> Result<Environment> {
        let environment = Environment::enter_for_files(self.store.as_deref())?;
        interrupt::exit_on_signals()?;
        Ok(self.shown(environment))
    }

    /// Finds a container runtime and opens the store. To be called once, before any thread is started.
    pub fn enter_for_runtime(&self, kind: Kind) -> Result<RuntimeEnvironment> {
        let engine = Engine::find(kind)?;
        interrupt::exit_on_signals()?;
        let tell = self.moves.then_some(terminal::show as fn(&'static str));
        Ok(RuntimeEnvironment::new(engine, self.store.as_deref(), tell)?)
    }

    fn shown(&self, environment: Environment) -> Environment {
        if !self.moves {
            return environment;
        }
        terminal::show("starting");
        environment.telling(terminal::show)
    }
}

/// What is opened, by its name.
pub fn input(source: &str, platform: Option<&str>) -> Result<Input> {
    let parsed = source.parse().or_else(|cause: SourceError| match untold(source) {
        Some(hint) => bail!("{source:?} has no transport\nhint: write {hint}"),
        None => Err(cause.into()),
    })?;
    Ok(Input { source: parsed, platform: platform.map(str::parse).transpose()? })
}

/// How a file or a directory that stands there without its transport is written.
fn untold(source: &str) -> Option<String> {
    let found = std::fs::metadata(source).ok()?;
    Some(match found.is_dir() {
        true if Path::new(source).join("oci-layout").exists() => format!("oci:{source}"),
        true => format!("rootfs:{source}"),
        false => format!("docker-archive:{source}, or oci-archive:{source}"),
    })
}

/// The source that was typed, or that the project file names.
pub fn source(given: Option<String>) -> Result<String> {
    given.context(
        "there is no source\nhint: name an image or a root filesystem, as docker-archive:FILE, or write [image] source in \
         scrimp.toml",
    )
}

/// How the application in `input` is run and exercised, once or in several ways. `command` is what stands after the two
/// dashes.
pub fn trials(args: &RunArgs, probe_args: &ProbeArgs, input: &Input, command: Vec<String>) -> Result<Trials> {
    let trial = |run_args: &RunArgs, probe_args: &ProbeArgs, command: Vec<String>| -> Result<Trial> {
        Ok(Trial {
            run: run(run_args, probe_args, &input.source, command)?,
            probes: probes(probe_args, run_args)?,
            exercisers: Exercisers::named(&probe_args.exercise)?,
        })
    };
    let mut runs = Vec::new();
    for text in &args.runs {
        let (name, command) = named_command(text)?;
        runs.push(NamedTrial { name, is_default: false, trial: trial(args, probe_args, command)? });
    }
    if args.runs.is_empty() {
        for choice in &args.project.runs {
            check_run_name(&choice.name)?;
            let one = trial(&choice.run, &choice.probe, choice.command.clone())
                .with_context(|| format!("the run {}", choice.name))?;
            runs.push(NamedTrial { name: choice.name.clone(), is_default: choice.is_default, trial: one });
        }
    }
    for (at, run) in runs.iter().enumerate() {
        if runs[..at].iter().any(|other| other.name == run.name) {
            bail!("--run {}: there are two runs of this name", run.name);
        }
    }
    if runs.len() > 1 {
        runs.iter_mut().for_each(|run| run.trial.probes.share_port());
    }
    let plain = trial(args, probe_args, command)?;
    Ok(match runs.is_empty() {
        true => Trials::One(Box::new(plain)),
        false => Trials::Several { runs, image: plain.run.overrides },
    })
}

/// `NAME=COMMAND`, the command split into words as a shell does it.
pub(super) fn named_command(text: &str) -> Result<(String, Vec<String>)> {
    let Some((name, command)) = text.split_once('=') else {
        bail!(
            "--run {text:?} is not NAME=COMMAND\nhint: as in --run worker='celery worker'; nothing after the '=' stands for the image's own command"
        );
    };
    check_run_name(name)?;
    let words = shlex::split(command);
    let words = words.with_context(|| {
        format!(
            "--run {text:?}: a quote is not closed, or a backslash ends it\nhint: the words are split as a shell does it, but \
             no shell runs them; a quote that is meant is written \\' or \\\""
        )
    })?;
    Ok((name.into(), words))
}

fn check_run_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(good) {
        bail!(
            "{name:?} is no name for a run\nhint: letters, digits, '-', '_' and '.', as in --run worker='celery worker'"
        );
    }
    Ok(())
}

/// What image is made, and where it goes.
pub fn order(select: &SelectArgs, output: &OutputArgs) -> Result<Order> {
    Ok(Order {
        level: select.level.parse()?,
        rules: Rules {
            keep: select.keep.iter().map(|g| g.parse()).collect::<Result<_, _>>()?,
            asked: Asked {
                packages: select.keep_package.clone(),
                executables: select.keep_exe.clone(),
                shell: select.keep_shell,
                certs: select.keep_certs,
                zoneinfo: select.keep_zoneinfo,
                locales: select.keep_locale.clone(),
                listed: select.keep_listed.iter().map(|g| g.parse()).collect::<Result<_, _>>()?,
            },
            drop: select.drop.iter().map(|g| g.parse()).collect::<Result<_, _>>()?,
            force_drop: select.force_drop,
            package_data: !select.no_package_db,
        },
        outputs: Outputs {
            destinations: output.output.iter().map(|d| d.parse()).collect::<Result<_, _>>()?,
            tags: output.tag.clone(),
        },
        side_files: SideFiles { lock: output.lock.clone(), ..SideFiles::default() },
        epoch: epoch()?,
        measure_source: false,
    })
}

pub(super) fn run(args: &RunArgs, probes: &ProbeArgs, source: &Source, command: Vec<String>) -> Result<Settings> {
    let working_dir = match (&args.workdir, source) {
        (Some(dir), _) => Some(dir.clone()),
        (None, Source::Host) => Some(current_dir()?),
        (None, _) => None,
    };
    Ok(Settings {
        overrides: Overrides {
            entrypoint: args.entrypoint.as_deref().map(entrypoint),
            cmd: (!command.is_empty()).then_some(command),
            user: args.user.clone(),
            working_dir,
            set_env: args.set_env.iter().map(|v| image_variable(v)).collect::<Result<_>>()?,
        },
        env: args.env.iter().filter_map(|v| run_variable(v).transpose()).collect::<Result<_>>()?,
        volumes: args.volume.iter().map(|v| volume(v)).collect::<Result<_>>()?,
        tmpfs: args.tmpfs.iter().map(|p| mount_point("--tmpfs", p)).collect::<Result<_>>()?,
        capabilities: CapabilitySet::with_changes(&args.cap_add, &args.cap_drop)?,
        network: network(args.net),
        limits: limits(args)?,
        timeout: args.timeout,
        stop_timeout: args.stop_timeout,
        stop_signal: args.stop_signal.as_deref().map(str::parse).transpose()?,
        expect_exit: probes.expect_exit,
        exact: args.exact,
    })
}

/// The network that `--net` names.
pub(super) fn network(net: Net) -> Network {
    match net {
        Net::None => Network::Private,
        Net::Host => Network::Host,
    }
}

/// What the application may use at most; 0 is no limit, and podman's -1 neither.
fn limits(args: &RunArgs) -> Result<Limits> {
    let memory = args.memory.filter(|&bytes| bytes > 0);
    if memory.is_some_and(|bytes| bytes < MIN_MEMORY) {
        bail!("--memory is too small for any process\nhint: 6m is the least, as for podman");
    }
    Ok(Limits {
        memory,
        tasks: u32::try_from(args.pids_limit).ok().filter(|&n| n > 0),
        disk: args.disk_limit.filter(|&bytes| bytes > 0),
        resources: args.ulimit.iter().map(|u| u.parse().context("--ulimit")).collect::<Result<_>>()?,
    })
}

/// How the application is exercised: the probes of `--probe`, `--http`, `--exec`, `--crawl`, `--openapi`, `--script`
/// and `--while`, in this order.
fn probes(args: &ProbeArgs, run: &RunArgs) -> Result<Choice> {
    if args.no_probe {
        return Ok(Choice::Nothing);
    }
    let specs = args.probe.iter().map(|p| Spec::from_probe_argument(p));
    let specs = specs.chain(args.http.iter().map(|h| Spec::from_http_argument(h)));
    let specs = specs.chain(args.exec.iter().map(|e| Spec::from_exec_argument(e)));
    let specs = specs.chain(args.crawl.then(|| Ok(Spec::from_crawl_arguments(args.crawl_depth, args.crawl_pages))));
    let specs = specs.chain(args.openapi.iter().map(|o| Spec::from_openapi_argument(o)));
    let specs = specs.chain(args.script.iter().map(|s| Spec::from_script_argument(s)));
    let specs = specs.chain(args.during.iter().map(|w| Spec::from_while_argument(w)));
    let port = run.port.as_deref().map(str::parse).transpose()?;
    Ok(Choice::Probes { specs: specs.collect::<Result<_, _>>()?, port, is_shared: false })
}

/// SOURCE_DATE_EPOCH, when it is set.
fn epoch() -> Result<Option<Epoch>> {
    match env::var(env_vars::SOURCE_DATE_EPOCH) {
        Ok(text) if !text.is_empty() => {
            let parsed = text.parse().with_context(|| format!("{} cannot be used", env_vars::SOURCE_DATE_EPOCH))?;
            Ok(Some(parsed))
        }
        Err(VarError::NotUnicode(_)) => bail!("{} is not a number of seconds", env_vars::SOURCE_DATE_EPOCH),
        _ => Ok(None),
    }
}

/// How a variable for the run is written.
const RUN_VARIABLE: &str = "write NAME=VALUE, or NAME alone for the value that the caller has";

/// What `--set-env` says. The messages of this and the next function show no value: it may be a secret.
fn image_variable(text: &str) -> Result<String> {
    match text.split_once('=') {
        Some(("", _)) => bail!("--set-env: there is no name before the '='\nhint: write NAME=VALUE"),
        Some(_) => Ok(text.to_owned()),
        None => bail!("--set-env {text:?} is not NAME=VALUE\nhint: only -e takes the caller's value for a name alone"),
    }
}

/// `NAME=VALUE` as it is; `NAME` with the caller's value, or nothing when the caller has none, as podman does.
fn run_variable(text: &str) -> Result<Option<String>> {
    match text.split_once('=') {
        Some(("", _)) => bail!("-e: there is no name before the '='\nhint: {RUN_VARIABLE}"),
        Some(_) => return Ok(Some(text.to_owned())),
        None if text.is_empty() => bail!("-e: there is no name\nhint: {RUN_VARIABLE}"),
        None => {}
    }
    match env::var(text) {
        Ok(value) => Ok(Some(format!("{text}={value}"))),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => bail!("-e {text}: the caller's value is not UTF-8\nhint: {RUN_VARIABLE}"),
    }
}

/// `--entrypoint` as podman takes it: a command, a JSON list of a command and its arguments, or nothing at all, which
/// leaves the whole command to what follows the two dashes.
fn entrypoint(text: &str) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(list) => list,
        Err(_) if text.is_empty() => Vec::new(),
        Err(_) => vec![text.to_owned()],
    }
}

fn volume(text: &str) -> Result<Volume> {
    let mut parts = text.splitn(3, ':');
    let (Some(host), Some(container)) = (parts.next(), parts.next()) else {
        bail!("-v {text:?} is not HOST:CONTAINER[:ro]\nhint: as in -v ./data:/srv/data:ro");
    };
    let read_only = match parts.next() {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(option) => bail!("-v {text:?}: {option:?} is no option\nhint: ro or rw"),
    };
    let source = std::fs::canonicalize(host).with_context(|| match host {
        "" => format!("-v {text:?} names nothing of this machine\nhint: as in -v ./data:/srv/data:ro"),
        host => format!(
            "-v {text:?}: there is no {host:?} on this machine\nhint: make it first; named volumes, as engines have them, \
             there are none"
        ),
    })?;
    Ok(Volume { source, target: mount_point("-v", container)?, read_only })
}

/// Where something is to be mounted. `/proc` is mounted last, because only process 1 can, and would hide it.
fn mount_point(flag: &str, text: &str) -> Result<ImagePath> {
    let path = image_path(flag, text)?;
    let proc = ImagePath::parse("/proc").context("/proc")?;
    if path == proc || path.is_within(&proc) {
        bail!(
            "{flag} {text:?}: nothing can be mounted in /proc, which shows the container's processes\nhint: another place"
        );
    }
    Ok(path)
}

fn image_path(flag: &str, text: &str) -> Result<ImagePath> {
    ImagePath::parse(text).with_context(|| {
        format!("{flag} {text:?} cannot be used\nhint: a path in the container begins with a slash, as /srv/data")
    })
}

fn current_dir() -> Result<String> {
    let dir = env::current_dir().context("cannot find the current directory\nhint: give one with -w")?;
    dir.into_os_string().into_string().map_err(|d| anyhow::anyhow!("the current directory {d:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entrypoint_is_a_command_a_list_or_nothing() {
        assert_eq!(entrypoint("/bin/sh"), ["/bin/sh"]);
        assert_eq!(entrypoint(r#"["/bin/sh", "-c"]"#), ["/bin/sh", "-c"]);
        assert_eq!(entrypoint(""), [""; 0]);
        assert_eq!(entrypoint("[not json"), ["[not json"]);
    }

    /// Such a mount was once made and then hidden, without a word.
    #[test]
    fn nothing_is_mounted_in_proc() {
        for text in ["/proc", "/proc/foo", "//proc/./sys/kernel"] {
            for error in [mount_point("--tmpfs", text).unwrap_err(), volume(&format!("/:{text}:ro")).unwrap_err()] {
                assert!(error.to_string().contains("nothing can be mounted in /proc"), "{error}");
            }
        }
        assert_eq!(volume("/:/processes").unwrap().target.to_string(), "/processes");
    }

    #[test]
    fn no_message_shows_a_value() {
        for wrong in [run_variable("=hunter22").unwrap_err(), image_variable("=hunter22").unwrap_err()] {
            assert!(!wrong.to_string().contains("hunter22"), "{wrong}");
        }
        assert_eq!(run_variable("A=b=c").unwrap().as_deref(), Some("A=b=c"));
    }
}
