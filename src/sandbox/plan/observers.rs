//! What observers see: commands that are run beside an application to ask it something, and whose files are not its
//! own. In a small image they are not there, so they are run on another tree, usually that from which the image was
//! made.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sandbox::plan::lazy::list;
use crate::sandbox::plan::{Choices, Mount, RootPlan, SandboxPlan, Upper};

/// Where the application can be met besides its network: what is there in its own tree, observers see instead of what
/// theirs has. Everything that a plan mounts is seen as well.
pub const MEETING_PLACES: [&str; 4] = ["/run", "/var/run", "/tmp", "/var/tmp"];

/// The tree of observers. What they write there is thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserverTree {
    /// What is mounted as `/`.
    pub root: RootPlan,
    /// What of the tree is mounted into it, in this order.
    pub mounts: Vec<Mount>,
}

impl ObserverTree {
    /// That of an unpacked image: `lower` is its tree, without mounts below it.
    pub fn of_tree(lower: &Path) -> Self {
        ObserverTree { root: RootPlan::Overlay { lower: lower.into(), upper: Upper::Tmpfs }, mounts: Vec::new() }
    }

    /// That of a directory of the host; the arguments are those of [`SandboxPlan::for_lazy`].
    pub fn of_directory(root: &Path, mountinfo: &[u8]) -> Self {
        let plan = SandboxPlan::for_lazy(root, mountinfo, &list, &Choices::new(Upper::Tmpfs));
        ObserverTree { root: plan.root, mounts: plan.mounts.into_iter().filter(|mount| mount.of_base).collect() }
    }
}
