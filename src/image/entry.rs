//! What a rootfs has at a path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::Digest;

/// A file of any type, with its metadata, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Permission, set-id and sticky bits: the lower 12 bits of `st_mode`.
    pub mode: u32,
    /// The numeric owner inside the image.
    pub uid: u32,
    /// The numeric group inside the image.
    pub gid: u32,
    /// Modification time in seconds since 1970, rounded down.
    pub mtime: i64,
    /// The nanoseconds since then, below a thousand million.
    #[serde(default)]
    pub nanos: u32,
    /// Extended attributes as the layer had them; `security.capability` that was read from disk is in its version 2
    /// form.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// The type of a file and what belongs to the type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Length of the content in bytes.
        size: u64,
        /// Of the content; `None` in a lazy rootfs, where nobody has read it yet.
        digest: Option<Digest>,
        /// Names that share one file share this number; `None` when the file has one name only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link_group: Option<u64>,
    },
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink {
        /// Where it points, as it is written in the link.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major device number.
        major: u32,
        /// Minor device number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major device number.
        major: u32,
        /// Minor device number.
        minor: u32,
    },
    /// A FIFO.
    Fifo,
    /// A socket: it exists in a directory, never in a layer.
    Socket,
}

impl Entry {
    /// A directory that no layer has an entry for: the one above a file that one has.
    pub fn implied_directory() -> Self {
        Entry { kind: EntryKind::Dir, mode: 0o755, uid: 0, gid: 0, mtime: 0, nanos: 0, xattrs: BTreeMap::new() }
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, EntryKind::Dir)
    }

    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, EntryKind::File { .. })
    }

    /// Where a symbolic link points; `None` for anything else.
    pub fn link_target(&self) -> Option<&[u8]> {
        match &self.kind {
            EntryKind::Symlink { target } => Some(target),
            _ => None,
        }
    }
}
