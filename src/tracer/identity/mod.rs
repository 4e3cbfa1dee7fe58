//! Who a process is and what the kernel would let it do: a model, without a kernel.
//!
//! Where a sandbox has only one real id, the tracer answers the calls that ask for or change an identity itself. This
//! is what it answers from: the [`Credentials`] of a process, the [`FileIdentity`] of a file (owner, mode, file
//! capabilities), and the decisions that Linux 6.18 takes over them. All ids are those of the application's world, and
//! that world is an initial user namespace, as in a container that has none of its own: every id but `u32::MAX` exists.
//!
//! Nothing here asks or tells a kernel anything. The tests hold every decision against the one they run on, as root.
//!
//! Left to the caller, because it is no matter of identity: read-only and `nosuid` mounts (give [`Credentials::exec`] a
//! file without its setuid and setgid bits and capabilities there), immutable files, quotas. Not modelled: POSIX access
//! control lists, security modules, keyrings, RLIMIT_NPROC, and of the `fs.protected_*` settings all but hardlinks.

mod capability;
mod change;
mod credentials;
mod exec;
mod file;
mod permission;
mod privilege;
#[cfg(test)]
mod tests;
mod wire;

pub use capability::*;
pub use credentials::{Credentials, Ids};
pub use file::{FileCapabilities, FileIdentity};
pub use permission::Want;
pub use wire::*;
