//! The files of an OCI image layout, in a directory or in an archive, behind one reader.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::image::archive::Archive;
use crate::image::error::ImageError;

/// The content of one file of a layout.
pub(super) type Blob = Box<dyn Read + Send>;

/// Where the files of a layout are.
pub(super) enum Blobs {
    /// In a directory.
    Dir(PathBuf),
    /// In a tar archive.
    Archive(Archive),
}

impl Blobs {
    /// How messages call the place.
    pub(super) fn name(&self) -> String {
        match self {
            Blobs::Dir(dir) => dir.display().to_string(),
            Blobs::Archive(archive) => archive.name().to_owned(),
        }
    }

    /// The file `name`, relative to the layout, and its length in bytes; `None` when there is no such file.
    pub(super) fn open(&self, name: &str) -> Result<Option<(Blob, u64)>, ImageError> {
        match self {
            Blobs::Archive(archive) => Ok(archive.read(name).map(|(section, size)| (Box::new(section) as Blob, size))),
            Blobs::Dir(dir) => {
                let path = dir.join(name);
                // Without waiting for the writer of a FIFO.
                let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
                let checked = opened.and_then(|file| Ok((file.metadata()?, file)));
                match checked {
                    Ok((metadata, file)) if metadata.is_file() => Ok(Some((Box::new(file), metadata.len()))),
                    Ok(_) => Ok(None),
                    Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(cause) => Err(ImageError::File { operation: "open", path, cause }),
                }
            }
        }
    }
}

/// All that `reader` yields, unless that is more than `limit` bytes.
pub(super) fn read_bounded(reader: impl Read, what: &str, limit: u64) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let read = reader.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|cause| ImageError::File { operation: "read", path: what.into(), cause })?;
    if bytes.len() as u64 > limit {
        return Err(ImageError::TooLarge { what: what.into(), limit: format!("{limit} bytes"), hint: None });
    }
    Ok(bytes)
}
