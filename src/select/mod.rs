//! Which entries of the base an image gets: requirements, parents, links and the user's own rules become a sorted
//! [`Manifest`], and the manifest becomes a lock file that people read.
//!
//! Metadata always comes from the base. Nothing here writes a file: [`Lock`] is given a writer.

mod account;
mod advice;
mod application;
mod asked;
mod content;
mod error;
mod listed;
mod lock;
mod manifest;
mod package_data;
mod packages;
mod rules;
mod scope;
mod secrets;
mod selection;
mod service_tools;
#[cfg(test)]
mod tests;
mod walk;

pub use account::{Account, Application, account};
pub use asked::Asked;
pub use error::SelectError;
pub use listed::{Unused, UnusedIn};
pub use lock::{Lock, LockEntry, LockError, LockKind};
pub use manifest::{Header, Manifest, ManifestEntry, Totals};
pub use packages::{Manager, Package, Packages};
pub use rules::{Pattern, Rules};
pub use scope::Scope;
pub use selection::{select, select_from};
pub use walk::{measure, walk};
