//! Encodes a manifest into an artifact: one layer, a config, and one file per format that puts them where the user
//! wants them.
//!
//! The same manifest and base give the same bytes on any machine, for any user, umask and time zone. Everything is
//! staged first and published last: until [`publish_all`], dropping what was staged leaves nothing behind.

mod config;
mod destination;
mod docker_archive;
mod dockerfile;
mod error;
mod gzip;
mod layer;
mod oci;
mod rootfs_dir;
mod staging;
mod tarball;
mod times;

pub use config::{add_home, created, slim_config};
pub use destination::{Destination, DestinationError, check_all, real_path};
pub use docker_archive::write_packed;
pub use error::AssembleError;
pub use layer::{Layer, LayerReader, write_layer};
pub use staging::{StagedFile, parent_of, sweep_around};

use std::collections::BTreeMap;

use crate::base::Digest;
use crate::image::ImageConfig;
use crate::select::Manifest;

/// An artifact that is complete but not yet where the user wants it. Dropping it leaves nothing.
#[must_use = "what is staged is gone unless it is published"]
pub struct Staged {
    destination: Destination,
    form: Form,
    digest: Option<Digest>,
    bytes: u64,
    warnings: Vec<String>,
}

enum Form {
    File(staging::StagedFile),
    Dir(staging::StagedDir),
    Layout(oci::StagedLayout),
}

/// An artifact that is where the user wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where that is.
    pub destination: Destination,
    /// What names the image there: the manifest's digest in an OCI layout, the config's (the image ID) in a Docker
    /// archive; `None` for directories.
    pub digest: Option<Digest>,
    /// Bytes written: the archive, the blobs, or the content of the files.
    pub bytes: u64,
    /// What could not be done as it should, each a sentence with its cause.
    pub warnings: Vec<String>,
}

/// Publishing failed after some destinations had been published.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct PublishError {
    /// What is published already, and stays.
    pub published: Vec<Published>,
    /// Why the next one failed; the remaining ones were not tried.
    pub cause: Box<AssembleError>,
}

/// Writes the artifact beside its destination, under no name that anybody sees. `tags` are the names of `-t`; they
/// hold where the destination itself names none. `annotations` go where the format has a manifest.
pub fn stage(
    destination: &Destination,
    layer: &Layer,
    config: &ImageConfig,
    manifest: &Manifest,
    annotations: &BTreeMap<String, String>,
    tags: &[String],
) -> Result<Staged, AssembleError> {
    destination.check()?;
    let (form, digest, bytes, warnings) = match destination {
        Destination::DockerArchive { file, reference } => {
            let names = own_or_common(reference, tags);
            let (staged, bytes) = docker_archive::stage(file, layer, config, &names)?;
            (Form::File(staged), Some(Digest::of(&config.to_bytes())), bytes, Vec::new())
        }
        Destination::OciDir { dir, tag } => {
            let (staged, digest, bytes) = oci::stage_dir(dir, layer, config, annotations, &own_or_common(tag, tags))?;
            (Form::Layout(staged), Some(digest), bytes, Vec::new())
        }
        Destination::OciArchive { file, tag } => {
            let (staged, digest, bytes) =
                oci::stage_archive(file, layer, config, annotations, &own_or_common(tag, tags))?;
            (Form::File(staged), Some(digest), bytes, Vec::new())
        }
        Destination::Rootfs { dir } => {
            let (staged, warnings) = rootfs_dir::stage(dir, layer)?;
            (Form::Dir(staged), None, manifest.totals().bytes, warnings)
        }
        Destination::Dockerfile { dir } => {
            let (staged, bytes, warnings) = dockerfile::stage(dir, layer, config)?;
            (Form::Dir(staged), None, bytes, warnings)
        }
    };
    Ok(Staged { destination: destination.clone(), form, digest, bytes, warnings })
}

/// [`stage`] for each destination; when one fails, nothing is left of the others.
pub fn stage_all(
    destinations: &[Destination],
    layer: &Layer,
    config: &ImageConfig,
    manifest: &Manifest,
    annotations: &BTreeMap<String, String>,
    tags: &[String],
) -> Result<Vec<Staged>, AssembleError> {
    check_all(destinations, tags)?;
    destinations.iter().map(|destination| stage(destination, layer, config, manifest, annotations, tags)).collect()
}

/// Publishes everything, in order, up to the first failure.
pub fn publish_all(staged: Vec<Staged>) -> Result<Vec<Published>, PublishError> {
    let mut published = Vec::new();
    for one in staged {
        match one.publish() {
            Ok(done) => published.push(done),
            Err(cause) => return Err(PublishError { published, cause: Box::new(cause) }),
        }
    }
    Ok(published)
}

impl Staged {
    /// Puts the artifact where the user wants it, by a rename or a link. What exists there is never overwritten; an
    /// OCI layout gains a name.
    pub fn publish(self) -> Result<Published, AssembleError> {
        match self.form {
            Form::File(file) => file.publish()?,
            Form::Dir(dir) => dir.publish()?,
            Form::Layout(layout) => layout.publish()?,
        }
        Ok(Published { destination: self.destination, digest: self.digest, bytes: self.bytes, warnings: self.warnings })
    }
}

fn own_or_common(own: &Option<String>, common: &[String]) -> Vec<String> {
    own.as_ref().map_or_else(|| common.to_vec(), |own| vec![own.clone()])
}
