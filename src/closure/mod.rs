//! What an image must have, and why.

mod reason;

pub use reason::Reason;

use std::collections::BTreeSet;

use crate::base::FileTree;

/// The paths that the image must have, each with its reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Real paths of the base.
    pub paths: FileTree<BTreeSet<Reason>>,
    /// What could not be decided.
    pub warnings: Vec<String>,
}
