//! Why an artifact could not be made.

use std::io;
use std::path::Path;

use crate::assemble::DestinationError;
use crate::base::{Digest, ImagePath};
use crate::image::RootfsError;

/// An artifact that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The base could not be read.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The destination cannot be written.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// An operation on a file of the host failed.
    #[error("cannot {operation} {path}: {cause}{}", hint(cause))]
    File {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The file or directory on the host, or what it is for.
        path: String,
        /// Why it failed.
        cause: io::Error,
    },
    /// A file of the base is not what the manifest says.
    #[error("{path} changed while the image was made: the manifest has {expected}, the base has {found}")]
    Changed {
        /// The file in the base.
        path: ImagePath,
        /// Size and digest in the manifest.
        expected: Content,
        /// Size and digest that were read.
        found: Content,
    },
    /// A file of the manifest has no digest.
    #[error("the manifest has no digest for {0}")]
    NoDigest(ImagePath),
    /// An entry lies below something that is not a directory.
    #[error("the manifest has {path} below {parent}, which is not a directory")]
    NotADirectory {
        /// The entry.
        path: ImagePath,
        /// What it lies in.
        parent: ImagePath,
    },
    /// A name given for the image is not one that Docker accepts.
    #[error(
        "{name:?} is not an image name: {cause}\nhint: names look like 'app:1.0' or 'registry.example.com/team/app:1.0'"
    )]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The index of an OCI layout cannot be read.
    #[error("{path} is not the index of an OCI layout: {cause}")]
    Index {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => "\nhint: make room there, or choose another place (-o, --store DIR)",
        _ => "",
    }
}

/// Size and digest of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// Of the content.
    pub digest: Digest,
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes with {}", self.size, self.digest)
    }
}

impl AssembleError {
    /// Makes the error of an operation on `path`.
    pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |cause| AssembleError::File { operation, path, cause }
    }
}
