//! What is started: the image's config, with what the command line put in its place.

use std::collections::BTreeMap;

use crate::base::{ImagePath, escape_bytes};
use crate::image::{DEFAULT_PATH, ImageConfig, Rootfs, RootfsError};
use crate::observation::Overrides;

/// The process that a container runtime would start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Entrypoint and Cmd in one list, never empty.
    pub argv: Vec<String>,
    /// Each `NAME=VALUE`: the image's, then `--set-env`, then `-e`; a later one replaces an earlier one in its place.
    pub env: Vec<String>,
    /// The working directory.
    pub working_dir: ImagePath,
    /// The user as it is written in the config; empty for root.
    pub user: String,
    /// The name of the signal that asks the application to stop.
    pub stop_signal: String,
}

/// Why nothing can be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Neither Entrypoint nor Cmd.
    #[error(
        "{0} names no command to run: it has neither Entrypoint nor Cmd\nhint: give one at the end of the line, after two dashes: -- COMMAND [ARG]..."
    )]
    NoCommand(String),
    /// WorkingDir is not an absolute path.
    #[error(
        "the working directory {path:?} cannot be used: {cause}\nhint: -w takes a path in the image that begins with a slash"
    )]
    WorkingDir {
        /// As written.
        path: String,
        /// What is wrong with it.
        cause: crate::base::PathError,
    },
}

impl Launch {
    /// What `config` with `overrides` starts, with `run_env` (each `NAME=VALUE`) for this run only. `source` is for
    /// messages.
    pub fn new(
        config: &ImageConfig,
        overrides: &Overrides,
        run_env: &[String],
        source: &str,
    ) -> Result<Self, LaunchError> {
        let (entrypoint, cmd) = overrides.words(config.entrypoint(), config.cmd());
        let argv: Vec<String> = entrypoint.into_iter().chain(cmd).collect();
        if argv.first().is_none_or(String::is_empty) {
            return Err(LaunchError::NoCommand(source.into()));
        }
        let path = overrides.working_dir.as_deref().or(config.working_dir()).unwrap_or("/");
        let working_dir =
            ImagePath::parse(path).map_err(|cause| LaunchError::WorkingDir { path: path.into(), cause })?;
        Ok(Launch {
            argv,
            env: merge_env(config.env().iter().chain(&overrides.set_env).chain(run_env)),
            working_dir,
            user: overrides.user.as_deref().or(config.user()).unwrap_or_default().to_owned(),
            stop_signal: config.stop_signal().unwrap_or("SIGTERM").to_owned(),
        })
    }

    /// Replaces a command that is looked up along PATH, or from the working directory, by its absolute path, here and in
    /// `overrides`: a directory or the host has no config of its own, and the result is to start the same file
    /// whatever its PATH. A command that is not there stays as it is; starting it tells.
    pub fn make_absolute(&mut self, rootfs: &Rootfs, overrides: &mut Overrides) -> Result<(), RootfsError> {
        let command = self.argv[0].as_str();
        if command.starts_with('/') {
            return Ok(());
        }
        let candidates: Vec<String> = if command.contains('/') {
            vec![format!("{}/{command}", self.working_dir)]
        } else {
            let path = self.variable("PATH").unwrap_or_default();
            path.split(':').map(|directory| format!("{directory}/{command}")).collect()
        };
        for candidate in candidates {
            let Ok(path) = ImagePath::parse(&candidate) else { continue };
            let entry = rootfs.resolve(path.as_bytes(), true)?.entry;
            if entry.is_some_and(|entry| entry.is_file() && entry.mode & 0o111 != 0) {
                self.argv[0] = path.to_string();
                let list = overrides.entrypoint.as_mut().filter(|e| !e.is_empty()).or(overrides.cmd.as_mut());
                if let Some(first) = list.and_then(|list| list.first_mut()) {
                    first.clone_from(&self.argv[0]);
                }
                break;
            }
        }
        Ok(())
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|v| v.strip_prefix(name)?.strip_prefix('='))
    }

    /// Sets a variable unless it is set.
    pub fn default_variable(&mut self, name: &str, value: &str) {
        if self.variable(name).is_none() {
            self.env.push(format!("{name}={value}"));
        }
    }

    /// The command as it goes into the trace.
    pub fn command(&self) -> Vec<String> {
        self.argv.iter().map(|a| escape_bytes(a.as_bytes()).into_owned()).collect()
    }
}

/// Later values replace earlier ones of the same name, in their place; PATH is never missing.
fn merge_env<'a>(variables: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    let mut out: Vec<String> = Vec::new();
    for variable in variables {
        let name = variable.split('=').next().unwrap_or_default();
        match at.get(name) {
            Some(&index) => out[index] = variable.clone(),
            None => {
                at.insert(name, out.len());
                out.push(variable.clone());
            }
        }
    }
    if !at.contains_key("PATH") {
        out.insert(0, DEFAULT_PATH.to_owned());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|s| s.to_string()).collect()
    }

    fn config() -> ImageConfig {
        ImageConfig::parse(
            br#"{"config":{"Entrypoint":["/e","-x"],"Cmd":["c"],"Env":["PATH=/bin","A=1"],"User":"app"}}"#,
        )
        .unwrap()
    }

    fn argv(overrides: Overrides) -> Vec<String> {
        Launch::new(&config(), &overrides, &[], "image").unwrap().argv
    }

    #[test]
    fn a_command_replaces_cmd_and_an_entrypoint_replaces_both() {
        let entrypoint = Some(strings(&["/other"]));
        let cmd = Some(strings(&["d", "e"]));
        assert_eq!(argv(Overrides::default()), ["/e", "-x", "c"]);
        assert_eq!(argv(Overrides { cmd: cmd.clone(), ..Default::default() }), ["/e", "-x", "d", "e"]);
        assert_eq!(argv(Overrides { entrypoint: entrypoint.clone(), ..Default::default() }), ["/other"]);
        assert_eq!(argv(Overrides { entrypoint, cmd, ..Default::default() }), ["/other", "d", "e"]);
    }

    #[test]
    fn variables_are_replaced_where_they_stand() {
        let overrides = Overrides { set_env: strings(&["B=2"]), ..Default::default() };
        let launch = Launch::new(&config(), &overrides, &strings(&["A=9", "C=3"]), "image").unwrap();
        assert_eq!(launch.env, ["PATH=/bin", "A=9", "B=2", "C=3"]);
        assert_eq!(launch.variable("A"), Some("9"));
        assert_eq!((launch.user.as_str(), launch.stop_signal.as_str()), ("app", "SIGTERM"));
    }

    #[test]
    fn a_command_of_a_directory_becomes_absolute() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("bin")).unwrap();
        for (name, mode) in [("bin/tool", 0o755), ("run.sh", 0o755), ("bin/data", 0o644)] {
            std::fs::write(dir.path().join(name), "").unwrap();
            std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let rootfs = Rootfs::lazy(dir.path(), std::sync::Arc::new(crate::image::OwnersAsSeen)).unwrap();
        for (command, expected) in
            [("tool", "/bin/tool"), ("./run.sh", "/run.sh"), ("data", "data"), ("none", "none"), ("/x", "/x")]
        {
            let mut overrides = Overrides { cmd: Some(strings(&[command, "-x"])), ..Default::default() };
            let mut launch = Launch::new(&ImageConfig::bare(), &overrides, &[], "rootfs:x").unwrap();
            launch.make_absolute(&rootfs, &mut overrides).unwrap();
            assert_eq!(launch.argv, [expected, "-x"]);
            assert_eq!(overrides.cmd, Some(strings(&[expected, "-x"])));
        }
    }

    #[test]
    fn an_image_without_a_command_is_refused() {
        let empty = ImageConfig::parse(b"{}").unwrap();
        let error = Launch::new(&empty, &Overrides::default(), &[], "oci:x").unwrap_err();
        assert!(error.to_string().contains("hint: "), "{error}");
    }
}
