//! References: what a user writes to name an image or a root filesystem.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where an image or a root filesystem comes from. Its text form is `TRANSPORT:DETAILS`, as in
/// containers-transports(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `docker-archive:FILE[:REF]`: what `docker save` writes, compressed or not.
    DockerArchive {
        /// The archive.
        file: PathBuf,
        /// Which image of it: a name with or without tag, or `@N` for the Nth, counted from 0.
        reference: Option<String>,
    },
    /// `oci:DIR[:TAG]`: an OCI image layout.
    OciDir {
        /// The directory.
        dir: PathBuf,
        /// Which image of it.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: an OCI image layout in a tar archive.
    OciArchive {
        /// The archive.
        file: PathBuf,
        /// Which image of it.
        tag: Option<String>,
    },
    /// `rootfs:DIR`: a directory.
    Rootfs {
        /// The directory.
        dir: PathBuf,
    },
    /// `host`: the filesystem that this program runs on.
    Host,
}

/// Why a text is not a [`Source`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SourceError {
    /// The transport needs a path.
    #[error("{0:?} names no file\nhint: write {0}PATH")]
    NoPath(String),
    /// A transport that is known, and not read.
    #[error(
        "cannot read {text:?}: images of the transport '{transport}' are not supported yet\n\
         hint: `skopeo copy {text} oci-archive:image.tar` makes a file of it; then use oci-archive:image.tar"
    )]
    NotYet {
        /// What was written.
        text: String,
        /// Its transport.
        transport: String,
    },
    /// A bare reference.
    #[error(
        "cannot read {0:?}: images of a registry are not supported yet\n\
         hint: `skopeo copy docker://{0} oci-archive:image.tar` makes a file of it; the transports that can be read are \
         docker-archive:, oci-archive:, oci:, rootfs: and host"
    )]
    BareReference(String),
    /// It looks like a path.
    #[error("{0:?} has no transport\nhint: write docker-archive:{0}, oci-archive:{0}, oci:{0} or rootfs:{0}")]
    BarePath(String),
    /// Nothing known.
    #[error(
        "{0:?} is not a source\n\
         hint: write docker-archive:FILE[:REF], oci-archive:FILE[:TAG], oci:DIR[:TAG], rootfs:DIR or host"
    )]
    Unknown(String),
}

/// Transports of other tools that name images this program does not read by itself.
const NOT_YET: [&str; 8] =
    ["docker", "docker-daemon", "dir", "containers-storage", "ostree", "sif", "tarball", "docker-registry"];

impl Source {
    /// The file or directory that it is read from; `None` for the host.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Source::DockerArchive { file, .. } | Source::OciArchive { file, .. } => Some(file),
            Source::OciDir { dir, .. } | Source::Rootfs { dir } => Some(dir),
            Source::Host => None,
        }
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        if text == "host" {
            return Ok(Source::Host);
        }
        let (transport, details) = match text.split_once(':') {
            Some((transport, details)) if !transport.contains('/') => (transport, details),
            _ => ("", text),
        };
        let path = |details: &str| match details {
            "" => Err(SourceError::NoPath(text.into())),
            path => Ok(PathBuf::from(path)),
        };
        // The first colon ends the path: a reference has colons of its own.
        let path_and_name = || -> Result<(PathBuf, Option<String>), SourceError> {
            let (file, name) = details.split_once(':').map_or((details, ""), |split| split);
            Ok((path(file)?, (!name.is_empty()).then(|| name.to_owned())))
        };
        match transport {
            "docker-archive" => path_and_name().map(|(file, reference)| Source::DockerArchive { file, reference }),
            "oci" => path_and_name().map(|(dir, tag)| Source::OciDir { dir, tag }),
            "oci-archive" => path_and_name().map(|(file, tag)| Source::OciArchive { file, tag }),
            "rootfs" => path(details).map(|dir| Source::Rootfs { dir }),
            other if NOT_YET.contains(&other) => {
                Err(SourceError::NotYet { text: text.into(), transport: other.into() })
            }
            _ if text.starts_with(['/', '.', '~']) => Err(SourceError::BarePath(text.into())),
            _ if is_reference(text) => Err(SourceError::BareReference(text.into())),
            _ => Err(SourceError::Unknown(text.into())),
        }
    }
}

/// Whether this could be the name of an image in a registry.
fn is_reference(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b);
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(allowed)
        && text.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        && !text.ends_with(".tar")
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, name) = match self {
            Source::DockerArchive { file, reference } => ("docker-archive", file, reference),
            Source::OciDir { dir, tag } => ("oci", dir, tag),
            Source::OciArchive { file, tag } => ("oci-archive", file, tag),
            Source::Rootfs { dir } => ("rootfs", dir, &None),
            Source::Host => return f.write_str("host"),
        };
        write!(f, "{transport}:{}", path.display())?;
        match name {
            Some(name) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip() {
        for text in [
            "docker-archive:a.tar",
            "docker-archive:/x/a.tar:localhost:5000/app:1",
            "docker-archive:a.tar:@0",
            "oci:dir",
            "oci:dir:v1",
            "oci-archive:a.tar:latest",
            "rootfs:/srv/a:b",
            "host",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        let Source::DockerArchive { file, reference } = "docker-archive:/x/a.tar:app:1".parse().unwrap() else {
            panic!("not a docker-archive")
        };
        assert_eq!((file, reference.as_deref()), (PathBuf::from("/x/a.tar"), Some("app:1")));
    }

    #[test]
    fn what_cannot_be_read_says_what_to_do_instead() {
        for (text, expected) in [
            ("docker://nginx:1", "hint: `skopeo copy docker://nginx:1 oci-archive:image.tar` makes a file of it"),
            ("docker-daemon:nginx:1", "hint: `skopeo copy docker-daemon:nginx:1 oci-archive:image.tar` makes"),
            ("nginx", "hint: `skopeo copy docker://nginx oci-archive:image.tar` makes a file of it"),
            ("ghcr.io/a/b:1", "hint: `skopeo copy docker://ghcr.io/a/b:1 oci-archive:image.tar` makes"),
            ("./a.tar", "hint: write docker-archive:./a.tar, oci-archive:./a.tar, oci:./a.tar or rootfs:./a.tar"),
            ("docker-archve:a.tar", "hint: write docker-archive:FILE[:REF], oci-archive:FILE[:TAG]"),
            ("docker-archive:", "hint: write docker-archive:PATH"),
            ("rootfs:", "hint: write rootfs:PATH"),
            ("", "hint: write docker-archive:FILE[:REF]"),
            ("host:/", "hint: write docker-archive:FILE[:REF]"),
        ] {
            let message = text.parse::<Source>().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
