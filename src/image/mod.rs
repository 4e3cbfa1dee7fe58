//! Images and root filesystems: where they come from and what is in them.
//!
//! What an image holds is untrusted: nothing in one reads or writes outside its own tree in the store.

pub mod capability;
mod config;
mod entry;
mod rootfs;

pub use config::{ConfigError, DEFAULT_PATH, Healthcheck, ImageConfig};
pub use entry::{Entry, EntryKind};
pub use rootfs::{Owners, OwnersAsSeen, Resolution, Rootfs, RootfsError};
