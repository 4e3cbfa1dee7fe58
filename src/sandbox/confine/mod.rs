//! What keeps an application from what a container is kept from, besides namespaces and mounts: capabilities, refused
//! system calls, the reach of its signals, and how much it may use.

pub mod capability;
pub mod cgroup;
pub(super) mod limits;
pub(super) mod refusals;
pub(super) mod scope;
