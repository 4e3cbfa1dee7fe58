//! Uses of paths.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{Digest, ImagePath};

/// What an application did with a path. The names are those of the trace file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// open, openat, openat2 for reading, name_to_handle_at: content or a directory's list may have been read.
    Open,
    /// The stat family, statfs.
    Stat,
    /// The access family.
    Access,
    /// execve, execveat.
    Exec,
    /// Opened by the kernel because of an `exec`: an `#!` interpreter or PT_INTERP.
    Load,
    /// readlink, readlinkat.
    Readlink,
    /// chdir, chroot, pivot_root.
    Chdir,
    /// The extended attribute families.
    Xattr,
    /// inotify_add_watch, fanotify_mark.
    Watch,
    /// truncate.
    Truncate,
    /// The chmod family.
    Chmod,
    /// The chown family.
    Chown,
    /// The utime family.
    Utime,
    /// bind to an AF_UNIX path.
    Bind,
    /// connect or send to an AF_UNIX path.
    Connect,
    /// rename: either side.
    Rename,
    /// link: either side.
    Link,
    /// symlink: the new name.
    Symlink,
    /// unlink, rmdir.
    Unlink,
    /// mkdir.
    Mkdir,
    /// mknod.
    Mknod,
    /// mount and its relatives, swapon, acct, quotactl.
    Mount,
    /// Part of the way to another path: a directory that was passed or a link that was followed.
    Traverse,
    /// open with O_CREAT, creat: the file is made when there is none.
    Create,
    /// open without O_CREAT, for writing: the content may have been changed.
    Write,
}

impl Operation {
    /// Whether it can make a new name, and so needs a directory to make it in.
    pub fn creates(self) -> bool {
        use Operation::{Bind, Create, Link, Mkdir, Mknod, Rename, Symlink};
        matches!(self, Bind | Create | Link | Mkdir | Mknod | Rename | Symlink)
    }

    /// Whether it can change what a regular file holds, or put another file in its place.
    pub fn changes(self) -> bool {
        use Operation::{Create, Rename, Truncate, Unlink, Write};
        matches!(self, Create | Rename | Truncate | Unlink | Write)
    }
}

/// What the base has at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Found {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// What the file was when it was traced: only for a rootfs that could change afterwards.
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<Fingerprint>,
    },
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink {
        /// Where it points, as it is written in the link, in the text form of [`crate::base::escape_bytes`].
        target: String,
    },
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

/// A file of a lazy rootfs at the moment of tracing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Of the content.
    pub sha256: Digest,
}

/// How `first_probe` begins where only an exerciser has used a path; the language follows.
pub const EXERCISE: &str = "exercise:";

/// All uses of one path in a run, folded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRecord {
    /// What the base has there.
    #[serde(flatten)]
    pub found: Found,
    /// What was done with it.
    pub operations: BTreeSet<Operation>,
    /// The executables of the processes that did it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub executables: BTreeSet<ImagePath>,
    /// The probe that was running at the first use; `None` before and after all probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_probe: Option<String>,
    /// Whether only processes that an exec probe started used it, never the application's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probe_tool: bool,
    /// Whether, for the application, there was something at the path at some use. It differs from `found` when the
    /// application created or deleted files.
    pub resolved: bool,
    /// How many system calls named it or passed it.
    pub count: u64,
    /// What the base has in it, by name, of a directory that was opened, and so may have been listed: names that the
    /// application could see, in the text form of [`crate::base::escape_bytes`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub listed: BTreeSet<String>,
}

/// A look-up, as far as people want to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// What was to be done.
    pub operation: Operation,
    /// The executable of the process that did it.
    pub executable: Option<ImagePath>,
    /// During which probe.
    pub probe: Option<String>,
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.operation)?;
        if let Some(executable) = &self.executable {
            write!(f, " by {executable}")?;
        }
        self.probe.as_ref().map_or(Ok(()), |probe| write!(f, " during {probe}"))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl PathRecord {
    /// One of the look-ups that it is made of, the same for equal records.
    pub fn lookup(&self) -> Lookup {
        Lookup {
            // Whatever is recorded was at least passed.
            operation: self.operations.first().copied().unwrap_or(Operation::Traverse),
            executable: self.executables.first().cloned(),
            probe: self.first_probe.clone(),
        }
    }

    /// The exerciser (`python`, ...) that used it and without which nothing would have.
    pub fn exerciser(&self) -> Option<&str> {
        self.first_probe.as_deref()?.strip_prefix(EXERCISE)
    }
}
