//! What can break; a gate that fails is not among it.

use std::io;

use crate::assemble::{AssembleError, DestinationError};
use crate::closure::ClosureError;
use crate::image::{ImageError, RootfsError};
use crate::observation::MergeError;
use crate::runtime::{RuntimeError, TakeInError};
use crate::sandbox::{LadderError, Rung};
use crate::select::SelectError;
use crate::session::SessionError;

/// The work could not be done.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// There is no sandbox to work in.
    #[error(transparent)]
    Ladder(#[from] LadderError),
    /// The only sandbox is none for this source.
    #[error(
        "{source_name} cannot be run in place: that is for the source `host` alone: {causes}\nhint: `scrimp doctor` says \
         which sandboxes this machine allows, and what would allow more"
    )]
    InPlace {
        /// What was to be run.
        source_name: String,
        /// Why there is no other sandbox.
        causes: String,
    },
    /// A service cannot be run beside the application.
    #[error("the service {name}: {cause}")]
    Service {
        /// Its name.
        name: String,
        /// What is wrong.
        cause: Box<PipelineError>,
    },
    /// This process cannot take care of what a killed helper leaves behind.
    #[error("cannot inherit the children of helper processes: {0}")]
    Orphans(#[source] io::Error),
    /// The result could be made but not tried.
    #[error(
        "the small image could not be tried: {0}\nhint: --no-verify makes it all the same; it can be tried with \
         `scrimp verify` where a sandbox is allowed, or with `scrimp verify --runtime podman|docker` where one of these runs"
    )]
    CannotVerify(String),
    /// A probe cannot be repeated on the small image.
    #[error(
        "the probe `{probe}` only asks (keep = false), so the small image does not have it; in sandbox {rung} nothing can \
         be mounted that would show it the source instead\nhint: use sandbox a, b or c (`scrimp doctor` says what they \
         need), let the command be kept, or do without verification (--no-verify)"
    )]
    BlindObserver {
        /// Its name.
        probe: String,
        /// Where the small image would be tried.
        rung: Rung,
    },
    /// The source could not be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file of the source could not be read.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// Runs of one image have no union.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The application could not be run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A runtime could not be asked.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// An image could not be given to a runtime.
    #[error(transparent)]
    TakeIn(#[from] TakeInError),
    /// What a kept file needs could not be found out.
    #[error(transparent)]
    Closure(#[from] ClosureError),
    /// The entries could not be chosen.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The image could not be encoded.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// A destination cannot be used.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// Neither a home directory nor a cache directory is known.
    #[error("there is no place for the store: neither HOME nor XDG_CACHE_HOME is set\nhint: give one with --store DIR")]
    NoStore,
    /// A trace was made from something else.
    #[error(
        "the trace was made from another image: {trace}, not {source_name}\nhint: trace {source_name} and build from that trace"
    )]
    OtherSource {
        /// What was traced.
        trace: String,
        /// What was to be built from.
        source_name: String,
    },
    /// A trace or a lock file could not be written.
    #[error("cannot write {path}: {cause}")]
    SideFile {
        /// The file.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// A file would be written twice, or read and written.
    #[error("{first} and {second} are the same place\nhint: give each file a path of its own")]
    SamePlace {
        /// What it is.
        first: String,
        /// What else it is.
        second: String,
    },
    /// Publishing failed after something had been published.
    #[error("{cause}\nalready published, and still there: {}", published.join(", "))]
    HalfPublished {
        /// The destinations that were published.
        published: Vec<String>,
        /// Why the next one was not.
        cause: String,
    },
}

impl PipelineError {
    /// Whether something was published before it failed: the one case that is not "nothing was written".
    pub fn is_half_published(&self) -> bool {
        matches!(self, PipelineError::HalfPublished { .. })
    }
}
