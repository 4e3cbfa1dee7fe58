//! Whose the files of a base are, for a tracer that answers in the name of users that do not exist.

use std::sync::Arc;

use crate::base::ImagePath;
use crate::image::{Entry, EntryKind, Rootfs, RootfsError};
use crate::sandbox::ProcessSpec;
use crate::tracer::{Credentials, FileCapabilities, FileIdentity, Identity, VirtualOwners};

/// The owners of `rootfs`, which is run `in_place` or not, but for what lies at or below the paths of the sandbox's
/// `own`.
pub fn identity(rootfs: &Rootfs, own: Vec<ImagePath>, in_place: bool) -> Result<Identity, RootfsError> {
    Ok(Identity { owners: Arc::new(BaseOwners { rootfs: rootfs.again()?, own }), in_place })
}

/// Who `process` is to be.
pub fn credentials(process: &ProcessSpec) -> Credentials {
    Credentials::new(process.uid, process.gid, process.groups.clone(), process.capabilities.bits())
}

struct BaseOwners {
    rootfs: Rootfs,
    own: Vec<ImagePath>,
}

impl VirtualOwners for BaseOwners {
    fn base(&self, path: &ImagePath) -> Option<FileIdentity> {
        if self.own.iter().any(|own| path.is_within(own)) {
            return None;
        }
        match self.rootfs.entries() {
            Some(entries) => entries.get(path).map(identity_of),
            // What cannot be read is treated as what is not there: the tracer then shows what the kernel says.
            None => self.rootfs.lookup(path).ok().flatten().as_ref().map(identity_of),
        }
    }
}

fn identity_of(entry: &Entry) -> FileIdentity {
    let kind = match entry.kind {
        EntryKind::File { .. } => libc::S_IFREG,
        EntryKind::Dir => libc::S_IFDIR,
        EntryKind::Symlink { .. } => libc::S_IFLNK,
        EntryKind::CharDevice { .. } => libc::S_IFCHR,
        EntryKind::BlockDevice { .. } => libc::S_IFBLK,
        EntryKind::Fifo => libc::S_IFIFO,
        EntryKind::Socket => libc::S_IFSOCK,
    };
    let capabilities = entry.xattrs.get("security.capability").and_then(|value| FileCapabilities::parse(value));
    FileIdentity { capabilities, ..FileIdentity::new(entry.uid, entry.gid, kind | entry.mode) }
}
