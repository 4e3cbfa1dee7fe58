//! How a container is made, as arguments: what the settings say, in the words of podman and docker. Pure.

use crate::image::ImageConfig;
use crate::runtime::engine::Reach;
use crate::runtime::image::STDIN;
use crate::runtime::{Kind, RuntimeError};
use crate::sandbox::{CapabilitySet, Network};
use crate::session::{HOSTNAME, Settings};

/// How many processes a container may have when nobody says anything, here and in podman.
const USUAL_TASKS: u32 = 2048;

/// What the runtime's own program goes by: a variable of such a name is never put into its environment.
const ITS_OWN: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "TMPDIR",
    "TERM",
    "LD_",
    "XDG_",
    "DOCKER_",
    "CONTAINER",
    "PODMAN",
    "STORAGE_",
    "BUILD",
    "GO",
    "DBUS_",
    "_CONTAINERS",
    "NOTIFY_SOCKET",
];

/// What `create` is given.
#[derive(Debug, PartialEq, Eq)]
pub struct Creation {
    /// Its arguments, the image's name left out.
    pub options: Vec<String>,
    /// What follows the image's name.
    pub words: Vec<String>,
    /// Variables, a line each, for its standard input.
    pub variables: String,
    /// Variables that no line can hold, for its environment.
    pub inherited: Vec<(String, String)>,
}

/// How a container of the image with `config` is made.
pub fn creation(kind: Kind, reach: Reach, config: &ImageConfig, settings: &Settings) -> Result<Creation, RuntimeError> {
    let (variables, inherited) = variables(settings)?;
    let mut options: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| options.extend([option.to_owned(), value]);
    add("--hostname", HOSTNAME.into());
    add("--log-driver", "none".into());
    let network = match (settings.network, reach) {
        (Network::Host, Reach::Join) => "host",
        (Network::Host, Reach::Bridge) => {
            return Err(RuntimeError::Unsupported {
                what: "--net host without root".into(),
                hint: "run as root: what the application listens on could not be told from other programs",
            });
        }
        (_, Reach::Join) => "none",
        (_, Reach::Bridge) => "bridge",
    };
    add("--network", network.into());
    add("--env-file", STDIN.into());
    for (name, _) in &inherited {
        add("--env", name.clone());
    }
    for volume in &settings.volumes {
        let (source, target) = (volume.source.to_str(), volume.target.to_string());
        let Some(source) = source.filter(|source| !source.contains(':') && !target.contains(':')) else {
            return Err(RuntimeError::Unsupported {
                what: format!("-v {}:{target}", volume.source.display()),
                hint: "paths in UTF-8 and without a colon can be given to a runtime",
            });
        };
        let end = if volume.read_only { ":ro" } else { "" };
        add("--volume", format!("{source}:{target}{end}"));
    }
    if !settings.volumes.is_empty() {
        // Otherwise SELinux would keep the application from files of the user's, or they would have to be labelled anew.
        add("--security-opt", "label=disable".into());
    }
    for path in &settings.tmpfs {
        // Podman would copy into it what the image has there.
        let end = if kind == Kind::Podman { ":notmpcopyup" } else { "" };
        add("--tmpfs", format!("{path}{end}"));
    }
    let overrides = &settings.overrides;
    if let Some(user) = &overrides.user {
        add("--user", user.clone());
    }
    if let Some(dir) = &overrides.working_dir {
        add("--workdir", dir.clone());
    }
    let usual = CapabilitySet::docker().names();
    let wanted = settings.capabilities.names();
    for name in wanted.iter().filter(|name| !usual.contains(name)) {
        add("--cap-add", name.clone());
    }
    for name in usual.iter().filter(|name| !wanted.contains(name)) {
        add("--cap-drop", name.clone());
    }
    let limits = &settings.limits;
    for limit in &limits.resources {
        add("--ulimit", limit.to_string());
    }
    if let Some(memory) = limits.memory {
        add("--memory", memory.to_string());
    }
    if limits.tasks != Some(USUAL_TASKS) {
        add("--pids-limit", limits.tasks.map_or("-1".into(), |tasks| tasks.to_string()));
    }
    if limits.disk.is_some() {
        return Err(RuntimeError::Unsupported {
            what: "--disk-limit".into(),
            hint: "leave it out, or verify without --runtime",
        });
    }
    // The first word of an entrypoint is an option, the others stand before the command: docker takes no list.
    let mut words = Vec::new();
    let (entrypoint, cmd) = overrides.words(config.entrypoint(), config.cmd());
    if overrides.entrypoint.is_some() {
        add("--entrypoint", entrypoint.first().cloned().unwrap_or_default());
        words.extend(entrypoint.into_iter().skip(1));
    }
    if overrides.entrypoint.is_some() || overrides.cmd.is_some() {
        words.extend(cmd);
    }
    Ok(Creation { options, words, variables, inherited })
}

/// The variables of the run: those that a line can hold, and the others.
fn variables(settings: &Settings) -> Result<(String, Vec<(String, String)>), RuntimeError> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for variable in settings.overrides.set_env.iter().chain(&settings.env) {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
    }
    let (mut lines, mut inherited) = (String::new(), Vec::new());
    for (name, value) in all {
        if is_one_line(value) {
            lines.push_str(&format!("{name}={value}\n"));
        } else if ITS_OWN.iter().any(|own| name.starts_with(own)) || name.ends_with('*') {
            return Err(RuntimeError::Unsupported {
                what: format!("the value of the variable {name}"),
                hint: "a value of this name can have neither line breaks nor quotes or spaces at its ends",
            });
        } else {
            inherited.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok((lines, inherited))
}

/// Whether every version reads the value from a line as it is: some take quotes away, or spaces.
fn is_one_line(value: &str) -> bool {
    let quoted = value.starts_with(['"', '\'', '`']);
    !quoted && value.trim() == value && !value.contains(['\n', '\r', '\0'])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observation::Overrides;
    use crate::sandbox::Volume;
    use crate::session::Limits;

    fn settings() -> Settings {
        Settings {
            overrides: Overrides::default(),
            env: Vec::new(),
            volumes: Vec::new(),
            tmpfs: Vec::new(),
            capabilities: CapabilitySet::docker(),
            network: Network::Private,
            limits: Limits { memory: None, tasks: Some(USUAL_TASKS), disk: None, resources: Vec::new() },
            timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
            stop_signal: None,
            expect_exit: 0,
            exact: false,
        }
    }

    fn made(kind: Kind, reach: Reach, settings: &Settings) -> String {
        let config = ImageConfig::parse(br#"{"config":{"Entrypoint":["/init"],"Cmd":["serve"]}}"#).unwrap();
        match creation(kind, reach, &config, settings) {
            Ok(made) => format!("{} | {}", made.options.join(" "), made.words.join(" ")),
            Err(cause) => cause.to_string().lines().next().unwrap_or_default().into(),
        }
    }

    #[test]
    fn settings_become_options() {
        let always = "--hostname scrimp --log-driver none --network none --env-file /proc/self/fd/0";
        let strings = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let plain = settings();
        assert_eq!(made(Kind::Podman, Reach::Join, &plain), format!("{always} | "));
        let overridden = |entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| Settings {
            overrides: Overrides { entrypoint: entrypoint.map(strings), cmd: cmd.map(strings), ..Default::default() },
            ..settings()
        };
        for (entrypoint, cmd, expected) in [
            (None, Some(&["a", "b"][..]), " | a b"),
            (Some(&["/x", "-y"][..]), None, " --entrypoint /x | -y"),
            (Some(&["/x", "-y"]), Some(&["z"]), " --entrypoint /x | -y z"),
            (Some(&[]), Some(&["z"]), " --entrypoint  | z"),
        ] {
            assert_eq!(made(Kind::Docker, Reach::Join, &overridden(entrypoint, cmd)), format!("{always}{expected}"));
        }
        let path = |text: &str| crate::base::ImagePath::parse(text).unwrap();
        let volume = |source: &str| Volume { source: source.into(), target: path("/srv"), read_only: true };
        let much = Settings {
            volumes: vec![volume("/data")],
            tmpfs: vec![path("/run")],
            capabilities: CapabilitySet::with_changes(&["sys_nice"], &["mknod"]).unwrap(),
            limits: Limits { tasks: None, resources: vec!["nofile=10:20".parse().unwrap()], ..settings().limits },
            overrides: Overrides { user: Some("7".into()), working_dir: Some("/w".into()), ..Default::default() },
            ..settings()
        };
        let expected = "--volume /data:/srv:ro --security-opt label=disable --tmpfs /run:notmpcopyup --user 7 --workdir /w \
                        --cap-add CAP_SYS_NICE --cap-drop CAP_MKNOD --ulimit nofile=10:20 --pids-limit -1 | ";
        assert_eq!(made(Kind::Podman, Reach::Join, &much), format!("{always} {expected}"));
        let colon = Settings { volumes: vec![volume("/a:b")], ..settings() };
        assert_eq!(made(Kind::Podman, Reach::Join, &colon), "-v /a:b:/srv cannot be had with --runtime");
        let host = Settings { network: Network::Host, ..settings() };
        assert!(made(Kind::Podman, Reach::Join, &host).contains("--network host"));
        assert!(made(Kind::Docker, Reach::Bridge, &host).contains("without root"));
        assert!(made(Kind::Docker, Reach::Bridge, &settings()).contains("--network bridge"));
    }

    #[test]
    fn no_value_is_an_argument() {
        let env = ["A=1", "B=one\ntwo", "C= x", "D='x'", "A=2", "E=", "F=a\"b#c"].map(String::from).to_vec();
        let settings = Settings { env, ..settings() };
        let config = ImageConfig::bare();
        let made = creation(Kind::Podman, Reach::Join, &config, &settings).unwrap();
        assert_eq!(made.variables, "A=2\nE=\nF=a\"b#c\n");
        let inherited: Vec<String> = made.inherited.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(inherited, ["B=one\ntwo", "C= x", "D='x'"]);
        assert!(made.options.windows(2).any(|pair| pair == ["--env", "B"]), "{made:?}");
        assert!(!made.options.iter().any(|option| option.contains("one\n")), "{made:?}");
        for name in ["PATH", "HOME", "LD_PRELOAD", "DOCKER_HOST"] {
            let settings = Settings { env: vec![format!("{name}=a\nb")], ..settings.clone() };
            let refused = creation(Kind::Podman, Reach::Join, &config, &settings).unwrap_err().to_string();
            assert!(refused.contains(name) && !refused.contains("a\nb"), "{refused}");
        }
    }
}
