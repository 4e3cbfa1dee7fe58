//! What a person or a CI job reads: one model, one file per format.

mod account;
mod contents;
mod json;
mod size;
mod text;

use serde::Serialize;

pub use account::{ApplicationSummary, ListedSummary, SecretsSummary};
pub use contents::{Contents, write_contents};
pub use json::write_json;
pub use size::human_bytes;
pub use text::write_text;

use crate::base::Digest;

/// The version of the object that `slim --format json` prints.
pub const SCHEMA_VERSION: u32 = 1;

/// What a run of scrimp came to. The field names are those of the JSON object and a promise.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The size of the source; `None` for a lazy rootfs that was not measured.
    pub source: Option<Size>,
    /// The small image; `None` when there is none.
    pub image: Option<ImageSummary>,
    /// How the probes went on the source.
    pub probes: ProbeTally,
    /// How each of several runs went.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunSummary>,
    /// How the small image did under the same probes.
    pub verify: Verification,
    /// What the application ran in.
    pub sandbox: SandboxSummary,
    /// How long each phase took, in the order in which they ran.
    pub phases: Vec<Phase>,
    /// What was written.
    pub outputs: Vec<Output>,
    /// What deserves attention; not an error.
    pub warnings: Vec<String>,
    /// The application's own files that are there though the run did not use them; `None` below level `app`.
    pub application: Option<ApplicationSummary>,
    /// What the application could see in directories that it listed, and what is left out; `None` when no image was
    /// made.
    pub listed: Option<ListedSummary>,
    /// Files that others may not read and that a rule keeps though the run did not read them; `None` when no image was
    /// made.
    pub secrets: Option<SecretsSummary>,
    /// What the run gives reason to do, a sentence each.
    pub advice: Vec<String>,
}

/// The regular files of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// The sum of their lengths, hardlinks once.
    pub bytes: u64,
    /// How many there are, hardlinks once.
    pub files: u64,
}

/// The small image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageSummary {
    /// Its regular files; `None` for a directory that was not walked.
    #[serde(flatten)]
    pub size: Option<Size>,
    /// How much of that is package data and licences; `None` for an image that was not made here.
    pub package_data: Option<Size>,
    /// The digest of its config, which container tools call the image ID.
    pub digest: Option<Digest>,
    /// The digest of its layer, uncompressed; `None` for an image that was not made here.
    pub diff_id: Option<Digest>,
}

/// Probes that satisfied their expectations, and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProbeTally {
    /// As expected.
    pub passed: usize,
    /// Not as expected.
    pub failed: usize,
}

/// One of several ways in which the image was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunSummary {
    /// How the user calls it.
    pub name: String,
    /// What was started.
    pub command: Vec<String>,
    /// How its probes went on the source.
    pub probes: ProbeTally,
}

/// The comparison of the small image with its source.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verification {
    /// How it ended.
    pub status: VerificationStatus,
    /// How many paths it added.
    pub repaired: usize,
    /// Why it failed or was not made.
    pub reason: Option<String>,
}

/// How a verification ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerificationStatus {
    /// The small image did as its source.
    Passed,
    /// It did not.
    Failed,
    /// It was not tried.
    #[default]
    Skipped,
}

/// What the application ran in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SandboxSummary {
    /// `a` to `e`; empty when nothing ran.
    pub rung: String,
    /// What that is, for people.
    #[serde(skip)]
    pub description: String,
}

/// A step of the work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// `unpack`, `trace`, `exercise`, `select`, `assemble`, `verify`, `publish`.
    pub name: &'static str,
    /// Wall-clock time.
    pub seconds: f64,
}

/// A destination that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// As the user named it.
    pub destination: String,
    /// The digest of the manifest, or of the config for formats without one; `None` for a directory.
    pub digest: Option<Digest>,
    /// How many bytes were written.
    pub bytes: u64,
}
