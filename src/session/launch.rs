//! What is started: the image's config, with what the command line put in its place.

use std::collections::BTreeMap;

use crate::base::{ImagePath, escape_bytes};
use crate::image::{DEFAULT_PATH, ImageConfig};
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
        "{0} names no command to run: it has neither Entrypoint nor Cmd\nhint: give one after two dashes: scrimp slim {0} -- COMMAND"
    )]
    NoCommand(String),
    /// WorkingDir is not an absolute path.
    #[error("the working directory {path:?} cannot be used: {cause}")]
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
        let entrypoint = overrides.entrypoint.clone().unwrap_or_else(|| config.entrypoint());
        let cmd = match (&overrides.cmd, &overrides.entrypoint) {
            (Some(cmd), _) => cmd.clone(),
            // An image's Cmd is the arguments of its own Entrypoint, not of another one.
            (None, Some(_)) => Vec::new(),
            (None, None) => config.cmd(),
        };
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
    fn an_image_without_a_command_is_refused() {
        let empty = ImageConfig::parse(b"{}").unwrap();
        let error = Launch::new(&empty, &Overrides::default(), &[], "oci:x").unwrap_err();
        assert!(error.to_string().contains("hint: "), "{error}");
    }
}
