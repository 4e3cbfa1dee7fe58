//! An image in a runtime: taken in for a while, unless it is there already.

use std::io::Seek;

use crate::assemble;
use crate::base::Digest;
use crate::image::{self, ImageConfig, OpenOptions, Source, Store};
use crate::runtime::error::system;
use crate::runtime::{Engine, RuntimeError};

/// The standard input of a command, by a name under which it can be opened.
pub(super) const STDIN: &str = "/proc/self/fd/0";

/// An image that the runtime has. Dropping it removes it where it was taken in.
pub struct Image<'a> {
    engine: &'a Engine,
    /// As the user named it, for messages.
    pub reference: String,
    /// The digest of its config.
    pub digest: Digest,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// What the runtime calls it.
    pub(super) name: String,
    /// Whether it was taken in by scrimp and has to go again.
    is_owed: bool,
}

impl<'a> Image<'a> {
    /// Takes an image into the runtime; one that it has already is used as it is. `role` tells the images of this process
    /// apart.
    pub fn take_in(
        engine: &'a Engine,
        role: &str,
        source: &Source,
        store: &Store,
        options: &OpenOptions,
    ) -> Result<Self, TakeInError> {
        let packed = image::packed(source, store, options)?;
        let (reference, digest) = (packed.reference.clone(), packed.digest);
        let config = packed.config.clone();
        let image = |name, is_owed| Image { engine, reference, digest, config, name, is_owed };
        let id = digest.to_string();
        let known = engine.output(engine.command(&["image", "inspect", "--format", "{{.Id}}", &id]));
        if known.map_err(system("run a command of the runtime"))?.status.success() {
            return Ok(image(id, false));
        }
        let name = format!("localhost/{}:{role}", engine.name());
        let mut archive = store.temp_file()?;
        let copy = archive.try_clone().map_err(system("write an image's archive"))?;
        assemble::write_packed(&packed, &name, copy).map_err(system("write an image's archive"))?;
        archive.rewind().map_err(system("write an image's archive"))?;
        engine.owe(&name, &[&["rmi", &name]])?;
        let image = image(name, true);
        let mut load = engine.command(&["load", "--quiet", "--input", STDIN]);
        load.stdin(archive);
        engine.ask("load the image", load)?;
        Ok(image)
    }

    /// Removes it where it was taken in. It is called by its name: should somebody have given it another one meanwhile, it
    /// stays under that.
    pub fn remove(mut self) -> Result<(), RuntimeError> {
        self.go()
    }

    fn go(&mut self) -> Result<(), RuntimeError> {
        if std::mem::take(&mut self.is_owed) {
            self.engine.ask("remove the image", self.engine.command(&["rmi", &self.name]))?;
            self.engine.paid(&self.name)?;
        }
        Ok(())
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // After an error, which is told already; what cannot be removed now is tried once more when scrimp ends.
        drop(self.go());
    }
}

/// An image could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum TakeInError {
    /// It could not be read.
    #[error(transparent)]
    Image(#[from] image::ImageError),
    /// The runtime would not have it.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}
