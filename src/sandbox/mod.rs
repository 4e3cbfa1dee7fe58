//! The sandbox: an unprivileged place in which an application runs as it would in a container.
//!
//! [`SandboxPlan`] says what the place is made of and does nothing; [`Sandbox`] carries a plan out. Three processes
//! take part besides the application: scrimp itself, root of a user namespace ([`identity`]) but otherwise in the
//! namespaces of its caller; one that stays outside and tells owners of files; and the supervisor, scrimp re-executed,
//! which is in the sandbox's namespaces and is the parent of all that runs there.
//!
//! This module knows nothing of tracing: it installs the filter it is given, and tells whom to trace.
//!
//! In the order in which things happen: `ladder` finds out what this machine allows, `identity` makes scrimp root of a
//! user namespace, `plan` says what a sandbox is made of, `handle` starts the `supervisor` from a `sealed` copy of
//! scrimp, which `build`s it, and starts each `process` in it, which `confine` keeps from what a container is kept
//! from. `beside` runs what talks to it from outside. `caretaker` does what is to be done when scrimp has been killed.
//! `doctor` tries all of it and tells.

mod attempt;
mod beside;
mod build;
mod caretaker;
pub mod confine;
mod doctor;
mod failure;
mod handle;
pub mod identity;
mod ladder;
mod plan;
mod process;
mod sealed;
mod supervisor;

use std::process::ExitCode;

pub use beside::{HostCommand, HostEnd, run_beside};
pub use build::network::{Listener, Protocol, listeners, socket_inodes};
pub use caretaker::{Caretaker, with_all_signals};
pub use confine::capability::CapabilitySet;
pub use confine::limits::{BadLimit, Bounds};
pub use doctor::{Allowed, Finding, allowed, doctor};
pub use failure::Failure;
pub use handle::{Sandbox, SandboxError, Stdio};
pub use identity::idmap::{Extent, IdMap};
pub use ladder::{Footing, LadderError, climb, settle};
pub use plan::lazy::{Listed, ListedKind, list, pseudo_mounts, replaced};
pub use plan::observers::ObserverTree;
pub use plan::{Choices, Mount, Namespace, Network, RootPlan, Rung, SandboxPlan, UnknownRung, Upper, Volume, What};
pub use process::activity::{Activity, of_descendants as activity_below};
pub use process::family::{descendants, parent_of};
pub use process::signals::handles_signal;
pub use process::{Exit, FilterInstruction, Ids, Limit, ProcessSpec, SpawnError, Spawned};

/// Runs a helper process of scrimp when this process was started as one: then its exit code, and `main` is to return
/// it at once. Must be the first thing that `main` does.
pub fn reexec() -> Option<ExitCode> {
    let ended = match () {
        () if supervisor::is_called_for() => supervisor::main(),
        () if beside::is_called_for() => beside::main(),
        () if caretaker::is_called_for() => caretaker::main(),
        () => return None,
    };
    Some(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}
