//! What can go wrong with a runtime, and whose fault it is.

use std::io;

use crate::probe::ProbeError;
use crate::runtime::Kind;
use crate::session::{LaunchError, UnknownSignal};

/// An image could not be asked in a runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No such program.
    #[error(
        "there is no {0} in PATH\nhint: install it, or name the other one (--runtime podman|docker); without --runtime the \
         images are tried in scrimp's own sandbox"
    )]
    Missing(Kind),
    /// The program is there, and does not work.
    #[error("{kind} cannot be used: {cause}\nhint: {hint}")]
    Unusable {
        /// Which.
        kind: Kind,
        /// What it says.
        cause: String,
        /// What may help.
        hint: &'static str,
    },
    /// It lacks what is needed.
    #[error("{kind} {version} is too old\nhint: {kind} {least} is the oldest that can be asked")]
    TooOld {
        /// Which.
        kind: Kind,
        /// What there is.
        version: String,
        /// What there has to be.
        least: String,
    },
    /// Its containers are on another machine, or as good as.
    #[error(
        "{0} runs containers elsewhere, where probes cannot reach them\nhint: unset DOCKER_HOST and CONTAINER_HOST, or run \
         scrimp on the machine, and outside of the container, where it runs them"
    )]
    Elsewhere(Kind),
    /// Something that scrimp's own sandbox can and a runtime cannot.
    #[error("{what} cannot be had with --runtime\nhint: {hint}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// What can be done instead.
        hint: &'static str,
    },
    /// One of its commands failed.
    #[error("{kind} cannot {operation}: {cause}")]
    Command {
        /// Which.
        kind: Kind,
        /// What it was to do.
        operation: &'static str,
        /// What it says.
        cause: String,
    },
    /// The image has nothing that can be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The runtime could not start it.
    #[error("{kind} cannot start it: {cause}")]
    NotStarted {
        /// Which.
        kind: Kind,
        /// What it says.
        cause: String,
    },
    /// The stop signal is none.
    #[error("the image's stop signal cannot be used: {0}")]
    Signal(#[from] UnknownSignal),
    /// The probes cannot be run.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Anything else that the system refused.
    #[error("cannot {operation}: {cause}")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// Why it failed.
        cause: io::Error,
    },
}

impl RuntimeError {
    /// Whether it says that the image cannot be started, not that nobody could try.
    pub fn is_of_image(&self) -> bool {
        matches!(self, RuntimeError::Launch(_) | RuntimeError::NotStarted { .. })
    }
}

/// For `map_err`: what the system refused.
pub fn system(operation: &'static str) -> impl FnOnce(io::Error) -> RuntimeError {
    move |cause| RuntimeError::System { operation, cause }
}
