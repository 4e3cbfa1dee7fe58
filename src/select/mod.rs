//! Which entries of the base an image gets: requirements, parents, links and the user's own rules become a sorted
//! [`Manifest`], and the manifest becomes a lock file that people read.
//!
//! Metadata always comes from the base. Nothing here writes a file: [`Lock`] is given a writer.

mod content;
mod error;
mod lock;
mod manifest;
mod package_data;
mod packages;
mod rules;
mod selection;
mod walk;

pub use error::SelectError;
pub use lock::{Lock, LockEntry, LockError, LockKind};
pub use manifest::{Header, Manifest, ManifestEntry, Totals};
pub use packages::{Manager, Package, Packages};
pub use rules::{Pattern, Rules};
pub use selection::{select, select_from};
pub use walk::{measure, walk};
