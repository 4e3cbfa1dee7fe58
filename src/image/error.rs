//! What can go wrong between a reference and a rootfs.

use std::io;
use std::path::PathBuf;

use crate::base::{Digest, ImagePath};
use crate::image::tar::TarError;
use crate::image::{ConfigError, Platform, RootfsError};

/// An image could not be found, read or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of the host could not be used.
    #[error("cannot {operation} {}: {cause}{}", path.display(), system_hint(cause))]
    File {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// A file or directory is not what its transport says.
    #[error("{source_name} is not {expected}: {problem}{}", hint_line(hint))]
    NotAnImage {
        /// The source.
        source_name: String,
        /// What it was taken for.
        expected: &'static str,
        /// What is wrong or missing.
        problem: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The tar archive that holds images is damaged.
    #[error(
        "cannot read the archive {file}: {cause}\nhint: `docker save` and `skopeo copy` make archives that can be read; \
         a directory is oci:DIR or rootfs:DIR"
    )]
    Archive {
        /// The archive.
        file: String,
        /// What is wrong.
        cause: TarError,
    },
    /// A JSON document of an image cannot be read.
    #[error("cannot read {what}: {cause}")]
    Json {
        /// Which document.
        what: String,
        /// What is wrong.
        cause: serde_json::Error,
    },
    /// A limit was passed.
    #[error("{what} is larger than {limit}{}", hint_line(hint))]
    TooLarge {
        /// What is too large.
        what: String,
        /// How much is allowed, with its unit.
        limit: String,
        /// What to do.
        hint: Option<String>,
    },
    /// There is no image of that name.
    #[error("{source_name} has no image {wanted:?}\nhint: it has {}", list(available))]
    NoSuchImage {
        /// Where it was looked for.
        source_name: String,
        /// The name.
        wanted: String,
        /// The names that are there.
        available: Vec<String>,
    },
    /// There are several images, and none was named.
    #[error("{source_name} holds several images\nhint: name one of them: {}", list(available))]
    Ambiguous {
        /// Where they are.
        source_name: String,
        /// Their names.
        available: Vec<String>,
    },
    /// There is no image for the platform.
    #[error("{source_name} has no image for {wanted}\nhint: choose with --platform among {}", list(available))]
    NoPlatform {
        /// Where it was looked for.
        source_name: String,
        /// The platform.
        wanted: Platform,
        /// The platforms that are there.
        available: Vec<String>,
    },
    /// Content is not what its digest says.
    #[error("{what} is damaged: its digest is {found}, not {expected}")]
    Digest {
        /// Which content.
        what: String,
        /// What was promised.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// Something that a document of the image names is not there.
    #[error("{source_name} names {what}, but does not hold it")]
    Missing {
        /// The image's source.
        source_name: String,
        /// The name.
        what: String,
    },
    /// A document of the image says something that cannot be.
    #[error("{what}: {problem}{}", hint_line(hint))]
    Invalid {
        /// Which document.
        what: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The config cannot be used.
    #[error("{source_name}: {cause}")]
    Config {
        /// The image's source.
        source_name: String,
        /// What is wrong.
        cause: ConfigError,
    },
    /// A layer could not be decompressed or read.
    #[error("cannot read {layer}: {cause}")]
    Layer {
        /// Which layer.
        layer: String,
        /// Why.
        cause: io::Error,
    },
    /// A layer is no proper tar archive.
    #[error("cannot read {layer}: {cause}")]
    LayerArchive {
        /// Which layer.
        layer: String,
        /// Why.
        cause: TarError,
    },
    /// An entry of a layer cannot be unpacked.
    #[error("cannot unpack {name:?} of {layer}: {problem}")]
    LayerEntry {
        /// Which layer.
        layer: String,
        /// The name of the entry as the layer has it, escaped.
        name: String,
        /// Why.
        problem: EntryProblem,
    },
    /// A file could not be written while unpacking.
    #[error("cannot {operation} {path} while unpacking: {cause}{}", system_hint(cause))]
    Unpack {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The file, as it is called in the image.
        path: ImagePath,
        /// Why it failed.
        cause: io::Error,
    },
    /// The store could not be used.
    #[error("cannot {operation} {} in the store: {cause}{}", path.display(), system_hint(cause))]
    Store {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The file of the store.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// The rootfs could not be opened.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
}

/// Why one entry of a layer cannot be unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// Its name has more `..` than directories.
    #[error("its name leads out of the image")]
    Escapes,
    /// Links lead in circles on the way to it.
    #[error("the symbolic links on the way to it lead in circles")]
    LinkLoop,
    /// What should be a directory above it is something else.
    #[error("{0} is not a directory")]
    ParentNotDirectory(ImagePath),
    /// A hard link names what is not there.
    #[error("it is a hard link to {0:?}, which does not exist")]
    LinkTargetMissing(String),
    /// A hard link names a directory.
    #[error("it is a hard link to the directory {0}")]
    LinkToDirectory(ImagePath),
    /// The root of the image is to be something that is no directory.
    #[error("the root of an image must be a directory")]
    RootNotDirectory,
    /// A whiteout that names nothing.
    #[error("it is a whiteout of nothing")]
    EmptyWhiteout,
}

fn hint_line(hint: &Option<String>) -> String {
    hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none with a name".into() } else { names.join(", ") }
}

fn system_hint(cause: &io::Error) -> &'static str {
    match cause.raw_os_error() {
        // Only what is written can run out of space, and all of that is in the store.
        Some(libc::ENOSPC | libc::EDQUOT) => {
            "\nhint: make room, or give the store another place with --store DIR (or SCRIMP_STORE)"
        }
        Some(libc::EROFS) => "\nhint: give the store a place where you may write, with --store DIR (or SCRIMP_STORE)",
        Some(libc::ENOTDIR) => "\nhint: what stands before a slash has to be a directory, and here something is a file",
        Some(libc::EACCES) => {
            "\nhint: its owner, or root, can give you the rights: chmod a+r FILE, and a+x its directories"
        }
        Some(libc::ENOENT) => "\nhint: a relative path is looked for in the current directory",
        _ => "",
    }
}
