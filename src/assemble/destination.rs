//! Where the user wants the result: `TRANSPORT:PATH[:NAME]`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::unistd::{AccessFlags, access};

use crate::assemble::staging::{is_hidden_name, parent_of};
use crate::assemble::{docker_archive, oci};

/// A place for the result, and its format. The text form is that of skopeo and podman.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `docker-archive:FILE[:REF]`: what `docker save` writes and `docker load` reads.
    DockerArchive {
        /// A file that does not exist.
        file: PathBuf,
        /// The name that the image gets when it is loaded.
        reference: Option<String>,
    },
    /// `oci:DIR[:TAG]`: an OCI image layout.
    OciDir {
        /// A directory: a layout, empty, or not there yet.
        dir: PathBuf,
        /// The name in the index; an image of that name is replaced.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: an OCI image layout in a tar file.
    OciArchive {
        /// A file that does not exist.
        file: PathBuf,
        /// The name in the index.
        tag: Option<String>,
    },
    /// `rootfs:DIR`: the files themselves.
    Rootfs {
        /// A directory that is empty or does not exist.
        dir: PathBuf,
    },
    /// `dockerfile:DIR`: a build context that makes the image.
    Dockerfile {
        /// A directory that is empty or does not exist.
        dir: PathBuf,
    },
}

/// A destination that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DestinationError {
    /// The text has no transport, or one that nobody knows.
    #[error(
        "{text:?} is not a destination\nhint: use docker-archive:FILE[:REF], oci:DIR[:TAG], oci-archive:FILE[:TAG], \
         rootfs:DIR or dockerfile:DIR"
    )]
    Unknown {
        /// As the user wrote it.
        text: String,
    },
    /// A transport that is known, and not written to by this version.
    #[error(
        "{text:?}: writing to {transport} is not supported by this version\nhint: write docker-archive:image.tar and \
         run `skopeo copy docker-archive:image.tar {text}`"
    )]
    NotSupported {
        /// As the user wrote it.
        text: String,
        /// Its transport.
        transport: &'static str,
    },
    /// The transport is followed by nothing.
    #[error("{text:?} names no {what}")]
    Empty {
        /// As the user wrote it.
        text: String,
        /// What is missing.
        what: &'static str,
    },
    /// The target is there already.
    #[error("{path} exists already\nhint: remove it first, or choose another name")]
    Exists {
        /// The target.
        path: String,
    },
    /// A directory that would have to be empty is not.
    #[error(
        "{path} exists already and is not an empty directory{or_what}\nhint: remove it first, or choose another name"
    )]
    NotEmpty {
        /// The target.
        path: String,
        /// What else it might have been.
        or_what: &'static str,
    },
    /// The directory that is to hold the target is not there or cannot be written to.
    #[error("cannot write to {dir}: {cause}{hint}")]
    Parent {
        /// The directory.
        dir: String,
        /// Why not.
        cause: String,
        /// A last line, or nothing.
        hint: &'static str,
    },
    /// Two destinations are the same file or directory.
    #[error("{first} and {second} are the same place\nhint: give each destination a path of its own")]
    Twice {
        /// As the user wrote it.
        first: String,
        /// As the user wrote it.
        second: String,
    },
    /// An image name that cannot be used.
    #[error("{0}")]
    Name(String),
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let unknown = || DestinationError::Unknown { text: text.into() };
        let (transport, rest) = text.split_once(':').ok_or_else(unknown)?;
        let not_supported = |transport| Err(DestinationError::NotSupported { text: text.into(), transport });
        let path = |path: &str, what| match path {
            "" => Err(DestinationError::Empty { text: text.into(), what }),
            path => Ok(PathBuf::from(path)),
        };
        let with_name = |what| {
            let (file, name) = match rest.split_once(':') {
                Some((_, "")) => {
                    return Err(DestinationError::Empty { text: text.into(), what: "name after the last colon" });
                }
                Some((file, name)) => (file, Some(name.to_owned())),
                None => (rest, None),
            };
            Ok((path(file, what)?, name))
        };
        match transport {
            "docker-archive" => {
                with_name("file").map(|(file, reference)| Destination::DockerArchive { file, reference })
            }
            "oci" => with_name("directory").map(|(dir, tag)| Destination::OciDir { dir, tag }),
            "oci-archive" => with_name("file").map(|(file, tag)| Destination::OciArchive { file, tag }),
            "rootfs" => Ok(Destination::Rootfs { dir: path(rest, "directory")? }),
            "dockerfile" => Ok(Destination::Dockerfile { dir: path(rest, "directory")? }),
            "docker" => not_supported("a registry"),
            "docker-daemon" => not_supported("a Docker daemon"),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, name) = match self {
            Destination::DockerArchive { reference, .. } => ("docker-archive", reference.as_ref()),
            Destination::OciDir { tag, .. } => ("oci", tag.as_ref()),
            Destination::OciArchive { tag, .. } => ("oci-archive", tag.as_ref()),
            Destination::Rootfs { .. } => ("rootfs", None),
            Destination::Dockerfile { .. } => ("dockerfile", None),
        };
        write!(f, "{transport}:{}", self.path().display())?;
        name.map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

impl Destination {
    /// The file or directory on the host.
    pub fn path(&self) -> &Path {
        match self {
            Destination::DockerArchive { file, .. } | Destination::OciArchive { file, .. } => file,
            Destination::OciDir { dir, .. } | Destination::Rootfs { dir } | Destination::Dockerfile { dir } => dir,
        }
    }

    /// Whether the destination can be written, as far as that can be known without writing. Meant to be asked before
    /// anything else is done.
    pub fn check(&self) -> Result<(), DestinationError> {
        if let Destination::DockerArchive { reference: Some(reference), .. } = self {
            check_name(reference)?;
        }
        let path = self.path();
        let shown = || path.display().to_string();
        let exists = fs::symlink_metadata(path).is_ok();
        match self {
            _ if !exists => writable(&parent_of(path)),
            Destination::DockerArchive { .. } | Destination::OciArchive { .. } => {
                Err(DestinationError::Exists { path: shown() })
            }
            Destination::OciDir { dir, .. } if oci::is_layout(dir) => writable(dir),
            Destination::OciDir { .. } | Destination::Rootfs { .. } | Destination::Dockerfile { .. } => {
                if !is_empty_dir(path) {
                    let is_oci = matches!(self, Destination::OciDir { .. });
                    let or_what = if is_oci { ", nor an OCI layout" } else { "" };
                    return Err(DestinationError::NotEmpty { path: shown(), or_what });
                }
                writable(path)
            }
        }
    }
}

/// [`Destination::check`] for all of them, and whether two are the same place. `tags` are the names of `-t`.
pub fn check_all(destinations: &[Destination], tags: &[String]) -> Result<(), DestinationError> {
    let mut seen: BTreeMap<PathBuf, &Destination> = BTreeMap::new();
    for destination in destinations {
        destination.check()?;
        if let Destination::DockerArchive { reference: None, .. } = destination {
            tags.iter().try_for_each(|tag| check_name(tag))?;
        }
        if let Some(first) = seen.insert(real_path(destination.path()), destination) {
            return Err(DestinationError::Twice { first: first.to_string(), second: destination.to_string() });
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), DestinationError> {
    docker_archive::repo_tag(name).map(drop).map_err(|error| DestinationError::Name(error.to_string()))
}

/// The path without links, of a file that need not exist.
pub fn real_path(path: &Path) -> PathBuf {
    fs::canonicalize(path)
        .or_else(|_| fs::canonicalize(parent_of(path)).map(|parent| parent.join(path.file_name().unwrap_or_default())))
        .unwrap_or_else(|_| path.to_owned())
}

fn writable(dir: &Path) -> Result<(), DestinationError> {
    let cannot = |cause: String, hint| DestinationError::Parent { dir: dir.display().to_string(), cause, hint };
    match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => access(dir, AccessFlags::W_OK | AccessFlags::X_OK)
            .map_err(|errno| cannot(std::io::Error::from(errno).to_string(), "")),
        Ok(_) => Err(cannot("it is not a directory".into(), "")),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            Err(cannot("there is no such directory".into(), "\nhint: create it first"))
        }
        Err(cause) => Err(cannot(cause.to_string(), "")),
    }
}

/// Whether there is nothing in the directory but what an earlier run may have left.
fn is_empty_dir(path: &Path) -> bool {
    let is_ours = |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|entry| is_hidden_name(&entry.file_name()));
    fs::read_dir(path).is_ok_and(|mut entries| entries.all(is_ours))
}
