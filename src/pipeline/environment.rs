//! Where the work happens: the user namespace and the store.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use crate::image::{self, Base, Limits, OpenOptions, Owners, Platform, Source, Store};
use crate::pipeline::PipelineError;
use crate::sandbox::identity::{self, Identity};

/// A user namespace that this process is root of, and a store in it. There is one in a process.
pub struct Environment {
    identity: Arc<Identity>,
    store: Store,
}

impl Environment {
    /// Enters a user namespace and opens the store in `dir`, or in the user's cache directory. The process must have
    /// one thread only.
    pub fn enter(dir: Option<&Path>) -> Result<Self, PipelineError> {
        let dir = match dir {
            Some(dir) => dir.to_owned(),
            None => Store::default_dir().ok_or(PipelineError::NoStore)?,
        };
        let identity = Arc::new(identity::enter()?);
        let store = Store::open(&dir)?;
        Ok(Environment { identity, store })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Opens a source: its config, and its rootfs in the store where that is needed.
    pub fn open(&self, source: &Source, platform: Option<&Platform>) -> Result<Base, PipelineError> {
        let options = OpenOptions {
            platform: platform.cloned(),
            owners: match source {
                Source::Host => Arc::new(AsOutside(self.identity.clone())),
                _ => Arc::new(AsInside(self.identity.clone())),
            },
            id_map_key: self.identity.map_key(),
            limits: Limits::default(),
        };
        Ok(image::open(source, &self.store, &options)?)
    }
}

/// Owners on the host's own filesystem: as its users know them.
struct AsOutside(Arc<Identity>);

impl Owners for AsOutside {
    fn owner(&self, file: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
        self.0.owner_outside(file)
    }
}

/// Owners in a directory that holds a rootfs: as its container would know them.
struct AsInside(Arc<Identity>);

impl Owners for AsInside {
    fn owner(&self, file: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
        self.0.owner(file)
    }
}
