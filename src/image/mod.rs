//! Images and root filesystems: where they come from and what is in them.
//!
//! What an image holds is untrusted: nothing in one reads or writes outside its own tree in the store.

mod archive;
mod blobs;
pub mod capability;
mod compression;
mod concealed;
mod config;
mod disk;
mod docker_archive;
mod entry;
mod error;
mod layer;
mod names;
mod oci;
mod open;
mod packed;
mod placement;
mod platform;
mod rootfs;
mod saved;
mod source;
mod store;
mod stored_index;
pub mod tar;
mod unpack;
mod user;
mod xattrs;

pub use concealed::OwnFiles;
pub use config::{ConfigError, DEFAULT_PATH, Healthcheck, ImageConfig};
pub use entry::{Entry, EntryKind};
pub use error::{EntryProblem, ImageError};
pub use open::{Base, LayerInfo, Limits, OpenOptions, open, totals, unpack_staged};
pub use packed::{Packed, PackedLayer, packed};
pub use platform::{Platform, PlatformError};
pub use rootfs::{Owners, OwnersAsSeen, Resolution, Rootfs, RootfsError};
pub use saved::Saved;
pub use source::{Source, SourceError};
pub use store::{About, RootGuard, ScratchDir, Store, StoredRoot};
pub use user::{Credentials, UserError, user};
pub use xattrs::belongs as belongs_to_file;
