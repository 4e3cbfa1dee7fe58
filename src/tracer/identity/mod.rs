//! Who a process is and what the kernel would let it do: a model, without a kernel.
//!
//! Where a sandbox has only one real id, the tracer answers the calls that ask for or change an identity itself. This
//! is what it answers from: the [`Credentials`] of a process, the [`FileIdentity`] of a file (owner, mode, file
//! capabilities), and the decisions that Linux 6.18 takes over them. All ids are those of the application's world, and
//! that world is an initial user namespace, as in a container that has none of its own: every id but `u32::MAX` exists.
//!
//! Nothing in the model asks or tells a kernel anything. The tests hold every decision against the one they run on, as
//! root.
//!
//! Left to the caller, because it is no matter of identity: read-only and `nosuid` mounts (give [`Credentials::exec`] a
//! file without its setuid and setgid bits and capabilities there), immutable files, quotas. Not modelled: POSIX access
//! control lists, security modules, keyrings, RLIMIT_NPROC, and of the `fs.protected_*` settings all but hardlinks.

//!
//! Beside the model is what asks it: [`Virtual`] keeps who each task is and whose each file is, and says what becomes
//! of a stopped call ([`Verdict`]).

mod answer;
mod calls;
mod capability;
mod change;
mod credentials;
mod exec;
mod file;
mod files;
mod ids;
mod paths;
mod people;
mod permission;
mod privilege;
mod signals;
mod sockets;
mod start;
mod stat;
#[cfg(test)]
mod tests;
mod verdict;
mod wire;

use std::fmt;
use std::sync::Arc;

pub use capability::*;
pub use credentials::{Credentials, Ids};
pub use file::{FileCapabilities, FileIdentity};
pub use permission::Want;
pub(super) use verdict::{AtExit, Caller, Verdict, Virtual};
pub use wire::*;

use crate::base::ImagePath;

/// Who owns what the sandbox starts with, where only one id really exists.
#[derive(Clone)]
pub struct Identity {
    /// What the base says.
    pub owners: Arc<dyn VirtualOwners + Send + Sync>,
    /// The files are the machine's own, not a throw-away copy: owners and modes are changed really, too, as far as the
    /// kernel lets.
    pub in_place: bool,
}

/// The owners, modes and capabilities of a base.
pub trait VirtualOwners {
    /// Whose the file at `path` is, which has no links on the way; `None` when the base has none there, or the sandbox
    /// has put something else in its place. The type in `mode` may be left out.
    fn base(&self, path: &ImagePath) -> Option<FileIdentity>;
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}
