//! What the tracer tells of changes, told to the rootfs that is to stay what it was.

use std::io;
use std::sync::Arc;

use crate::base::ImagePath;
use crate::image::Saved;
use crate::tracer::{Change, Witness};

/// Saves what an application that runs in place is about to change.
pub struct Keeper(pub Arc<Saved>);

impl Witness for Keeper {
    fn about_to_change(&mut self, path: &ImagePath, what: Change) -> io::Result<()> {
        match what {
            Change::Content => self.0.content(path),
            Change::Metadata => self.0.metadata(path),
            Change::Name | Change::Created => self.0.name(path),
            Change::Tree => self.0.tree(path),
        }
    }
}
