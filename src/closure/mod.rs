//! From what a run used to what an image must have.
//!
//! [`requirements`] looks at a [`Rootfs`] and an [`Observation`] and at nothing else: no process runs, and nothing is
//! written. It may assume that the rootfs does not change; it never trusts what is in it.

mod bundled;
mod bytecode;
mod contents;
mod dlopen_note;
mod elf;
mod execution;
mod gconv;
mod installed;
mod invoked;
mod kept;
mod languages;
mod ld_cache;
mod literals;
mod loader;
mod log_in;
mod named;
mod nss;
mod own_scripts;
mod pam;
mod path_texts;
mod perl;
mod prepared;
mod reason;
mod resources;
mod rules;
mod runtime;
mod script;
mod settings;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::str::FromStr;

pub use bytecode::source_of;
pub use contents::needed_by;
pub use execution::Execution;
pub use nss::{CONF as NSSWITCH_CONF, modules as name_service_modules};
pub use reason::{Reason, ReasonError};
pub use runtime::home;
pub use script::is_shell_name;

use crate::base::{FileTree, ImagePath};
use crate::image::{ImageConfig, Rootfs, RootfsError};
use crate::observation::Observation;

/// How much is kept beyond what was used; each level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What was used, where its links lead and the directories above; what a runtime needs to start the command.
    Observed,
    /// Also what the files that are kept need: libraries, interpreters, name service modules, sources, HEALTHCHECK;
    /// and the application's state as the base has it: VOLUME directories, and those that the run wrote in.
    Closure,
    /// Also the application's own files that the run did not use, and the directories that were prepared for it to
    /// write in.
    App,
    /// Also every file of each package of which a file is kept.
    Package,
}

impl Level {
    /// All of them, each before those that include it.
    pub const ALL: [Level; 4] = [Level::Observed, Level::Closure, Level::App, Level::Package];
}

/// A text is not the name of a [`Level`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a level\nhint: the levels are observed, closure, app and package")]
pub struct LevelError(String);

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Observed => "observed",
            Level::Closure => "closure",
            Level::App => "app",
            Level::Package => "package",
        })
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        Level::ALL.into_iter().find(|level| level.to_string() == text).ok_or_else(|| LevelError(text.into()))
    }
}

/// What an image must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Each path, which the rootfs has and an image can hold, with the reasons for it. Directories on the way are paths
    /// of their own; a path below a link to a directory stands where the link leads.
    pub paths: FileTree<BTreeSet<Reason>>,
    /// What the base itself lacks or has in a form that nobody can use, sorted.
    pub warnings: Vec<String>,
}

/// The requirements could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum ClosureError {
    /// The rootfs could not be looked at.
    #[error("cannot find out what the image needs: {0}")]
    Rootfs(#[from] RootfsError),
    /// A file could be opened and not be read.
    #[error("cannot find out what {path} needs: cannot read it: {cause}")]
    Read {
        /// The file.
        path: ImagePath,
        /// Why not.
        cause: io::Error,
    },
}

/// What an image must have so that the observed run can happen in it. Of what the levels beyond [`Level::Closure`] add,
/// prepared directories and scripts that somebody starts are found here; the application's own files and those of
/// packages are for the caller to find, as part of `wanted`. `config` is the base's own; what the command line replaced
/// in it stands in the observation. `wanted` are further paths with the reasons for them, as far as the base has them;
/// what they need is required like what others need, except that nobody is known to run the scripts among those that
/// are there for their directory or their package alone.
///
/// # Errors
/// When something that must be looked at cannot be read; a need that the base cannot meet is a warning instead.
pub fn requirements(
    rootfs: &Rootfs,
    config: &ImageConfig,
    observation: &Observation,
    level: Level,
    wanted: &FileTree<BTreeSet<Reason>>,
) -> Result<Requirements, ClosureError> {
    let execution = execution::Execution::new(config, observation);
    rules::Rules::new(rootfs, &execution, observation, level).apply(wanted)
}
