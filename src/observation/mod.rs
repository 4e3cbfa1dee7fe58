//! What a run showed: every path that was used, folded per path, and what the probes were answered.
//!
//! An [`Observation`] is the only thing that leaves a session, and it is a file (`*.trace.jsonl`): everything after it
//! works without a sandbox. It speaks of the *base*: a path that only came into being during the run is absent here.

mod access;
mod evidence;
#[cfg(test)]
mod made;
mod merge;
mod redact;
mod runs;
mod trace_file;
mod transcript;

pub use access::{EXERCISE, Fingerprint, Found, Lookup, Operation, PathRecord};
pub use evidence::{Content, Evidence};
pub use merge::MergeError;
pub use redact::{REDACTED, Redactor};
pub use runs::RunHeader;
pub use trace_file::{TraceFileError, read_trace, read_trace_file, write_trace};
pub use transcript::{Answer, ProbeResult, Transcript, covers};

use serde::{Deserialize, Serialize};

use crate::base::{Digest, FileTree};

/// The version of the trace format that this scrimp writes.
pub const SCHEMA_VERSION: u32 = 1;

/// All accesses of a run, folded per path, with the probe transcript and the circumstances of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The circumstances.
    pub header: Header,
    /// One record per path that was asked for, every link on the way included.
    pub paths: FileTree<PathRecord>,
}

/// The circumstances of a run: the first line of a trace file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA_VERSION`] of the scrimp that wrote it.
    pub schema_version: u32,
    /// The name and version of the program that wrote it, `scrimp 0.1.0`.
    pub tool: String,
    /// What was run, as the user named it.
    pub source: String,
    /// The digest of the image's config (its image ID); `None` for a directory or the host.
    pub source_digest: Option<Digest>,
    /// The command that was run: entrypoint and arguments, in the text form of [`crate::base::escape_bytes`].
    pub command: Vec<String>,
    /// What the command replaced in the image's config, so that `build` writes the same config as `slim`.
    pub overrides: Overrides,
    /// The runs, where the image was started in several ways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunHeader>,
    /// The names (never the values) of the variables that were set for the run only.
    pub env_names: Vec<String>,
    /// The rung of the sandbox, `a` to `e`.
    pub rung: String,
    /// What this run could not see, by name: `at_empty_path`, `io_uring`, `no_new_privs`, ...
    pub gaps: Vec<String>,
    /// Things worth a warning, in the order in which they were seen.
    pub warnings: Vec<String>,
    /// What the probes did and were answered.
    pub transcript: Transcript,
}

/// The parts of an image's config that the command line replaced for the run and that the result keeps.
/// `None` means that the image's own value holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Replaces Entrypoint (and clears Cmd, unless that is given too).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces Cmd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Replaces User.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Replaces WorkingDir.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Variables added to Env, each `NAME=VALUE` (`--set-env`: they are meant to be in the image).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set_env: Vec<String>,
}

impl Overrides {
    /// Entrypoint and Cmd of an image that has `entrypoint` and `cmd` of its own. An image's Cmd is the arguments of
    /// its own Entrypoint, not of another one.
    pub fn words(&self, entrypoint: Vec<String>, cmd: Vec<String>) -> (Vec<String>, Vec<String>) {
        match (&self.entrypoint, &self.cmd) {
            (Some(entrypoint), cmd) => (entrypoint.clone(), cmd.clone().unwrap_or_default()),
            (None, Some(cmd)) => (entrypoint, cmd.clone()),
            (None, None) => (entrypoint, cmd),
        }
    }
}
