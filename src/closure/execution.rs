//! How the result will be started: the image's config with what the command line replaced in it.

use crate::base::{ImagePath, unescape_bytes};
use crate::closure::ClosureError;
use crate::image::{DEFAULT_PATH, ImageConfig, Rootfs};
use crate::observation::Observation;

/// The execution parameters of the result.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(Default))]
pub struct Execution {
    env: Vec<String>,
    /// User as it is written; `None` means root.
    pub(super) user: Option<String>,
    /// As whom the image was run besides.
    pub(super) other_users: Vec<String>,
    /// The directory in which the command starts, an absolute path.
    pub working_dir: Vec<u8>,
    /// The command that was run, with its arguments.
    pub command: Vec<Vec<u8>>,
    /// The declared volumes.
    pub(super) volumes: Vec<ImagePath>,
    /// The command of HEALTHCHECK; empty when there is none.
    pub healthcheck: Vec<String>,
}

impl Execution {
    /// Those of the image with `config`, with what the command line replaced in it for the observed run.
    pub fn new(config: &ImageConfig, observation: &Observation) -> Self {
        let header = &observation.header;
        let replaced = &header.overrides;
        let mut env = config.env();
        env.extend(replaced.set_env.iter().cloned());
        let directory = replaced.working_dir.as_deref().or(config.working_dir()).unwrap_or("/");
        Execution {
            env,
            user: replaced.user.clone().or(config.user().map(String::from)).filter(|user| !user.is_empty()),
            other_users: header.runs.iter().filter_map(|run| run.overrides.user.clone()).collect(),
            working_dir: [b"/", directory.as_bytes()].concat(),
            command: header.command.iter().map(|word| bytes_of(word)).collect(),
            volumes: config.volumes(),
            healthcheck: config.healthcheck().map(|check| check.command).unwrap_or_default(),
        }
    }

    /// The same for another user.
    pub(super) fn as_user(&self, user: &str) -> Self {
        Execution { user: Some(user.to_owned()).filter(|user| !user.is_empty()), ..self.clone() }
    }

    /// The value of an environment variable; the last setting holds.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find_map(|setting| setting.strip_prefix(name)?.strip_prefix('='))
    }

    /// `path` as seen from the working directory, absolute.
    pub fn absolute(&self, path: &[u8]) -> Vec<u8> {
        if path.starts_with(b"/") { path.to_vec() } else { [&self.working_dir, &b"/"[..], path].concat() }
    }

    /// The path at which `execvp` finds `program`; `None` when no directory of PATH has an executable of that name.
    pub fn find_program(&self, rootfs: &Rootfs, program: &[u8]) -> Result<Option<Vec<u8>>, ClosureError> {
        if program.is_empty() {
            return Ok(None);
        }
        if program.contains(&b'/') {
            let path = self.absolute(program);
            return Ok(is_executable(rootfs, &path)?.then_some(path));
        }
        let default = DEFAULT_PATH.strip_prefix("PATH=").unwrap_or_default();
        for directory in self.variable("PATH").unwrap_or(default).split(':') {
            let path = self.absolute(&[directory.as_bytes(), b"/", program].concat());
            // An empty directory is the working directory, not the root.
            let path = if directory.is_empty() { self.absolute(program) } else { path };
            if is_executable(rootfs, &path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

fn is_executable(rootfs: &Rootfs, path: &[u8]) -> Result<bool, ClosureError> {
    Ok(rootfs.resolve(path, true)?.entry.is_some_and(|entry| entry.is_file() && entry.mode & 0o111 != 0))
}

/// A word that no escape makes sense in is what it looks like: traces are edited by people.
fn bytes_of(text: &str) -> Vec<u8> {
    unescape_bytes(text).map_or_else(|| text.as_bytes().to_vec(), |bytes| bytes.into_owned())
}
