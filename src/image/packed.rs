//! An image as it is packed: its config byte for byte and its layers as plain archives, checked, not unpacked. For
//! handing it on to somebody else.

use std::fs::File;
use std::io;

use crate::base::Digest;
use crate::image::error::ImageError;
use crate::image::layer::for_each_layer;
use crate::image::open::{checked, with_located};
use crate::image::{ImageConfig, OpenOptions, Source, Store};

/// An image that was not unpacked.
pub struct Packed {
    /// What it is called: the name of the image in its archive, or else the source as it was written.
    pub reference: String,
    /// The digest of the config, the image's id.
    pub digest: Digest,
    /// The config as it was read.
    pub config: ImageConfig,
    /// The config, byte for byte.
    pub config_bytes: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<PackedLayer>,
}

/// A layer, plain and checked.
pub struct PackedLayer {
    /// The digest of the plain archive.
    pub diff_id: Digest,
    /// The plain archive, in a file without a name.
    pub file: File,
    /// Its length.
    pub bytes: u64,
}

/// Reads an image into files without names in the store.
///
/// # Errors
/// When it cannot be read, or its bytes are not what its digests promise; for a directory and the host, which are no
/// images.
pub fn packed(source: &Source, store: &Store, options: &OpenOptions) -> Result<Packed, ImageError> {
    with_located(source, store, options, |located| {
        let config_bytes = located.config.clone();
        let checked = checked(source, located, options)?;
        let mut layers: Vec<PackedLayer> = Vec::new();
        for_each_layer(checked.inputs, &options.limits, |index, plain| {
            let mut file = store.temp_file()?;
            let bytes = io::copy(plain, &mut file).map_err(|cause| ImageError::Layer {
                layer: format!("the layer {}", checked.diff_ids[index]),
                cause,
            })?;
            layers.push(PackedLayer { diff_id: checked.diff_ids[index], file, bytes });
            Ok(())
        })?;
        let digest = Digest::of(&config_bytes);
        Ok(Packed { reference: checked.reference, digest, config: checked.config, config_bytes, layers })
    })
}
