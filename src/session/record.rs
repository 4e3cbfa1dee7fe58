//! From what the tracer saw to what the base has.

use std::collections::BTreeSet;
use std::io;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::base::{FileTree, HashingReader, ImagePath, escape_bytes};
use crate::image::{Entry, EntryKind, Rootfs, RootfsError};
use crate::observation::{Fingerprint, Found, Operation, PathRecord};
use crate::tracer::Folded;

/// Turns what was used into records of the base. What the sandbox itself put there (`own`, each with all below it) says
/// nothing about the base and is left out; only the mount points themselves stay, where the base has them. Nor does
/// what the base conceals, and what it does not list counts when it was executed or read.
pub fn records(
    accesses: FileTree<Folded>,
    rootfs: &Rootfs,
    own: &[ImagePath],
) -> Result<FileTree<PathRecord>, RootfsError> {
    let relevant: Vec<(ImagePath, Folded)> = accesses
        .into_iter()
        .filter(|(path, _)| !own.iter().any(|point| path != point && path.is_within(point)))
        .filter(|(path, folded)| !rootfs.is_concealed(path) && (!rootfs.is_unlisted(path) || is_read(folded)))
        .collect();
    let records: Result<Vec<_>, RootfsError> = relevant
        .into_par_iter()
        .map(|(path, folded)| {
            let found = found(rootfs, &path)?;
            let listed = match found {
                Found::Dir if folded.operations.contains(&Operation::Open) => names(rootfs, &path)?,
                _ => BTreeSet::new(),
            };
            let record = PathRecord {
                found,
                operations: folded.operations,
                executables: folded.executables,
                first_probe: folded.first_probe,
                probe_tool: !folded.application,
                resolved: folded.resolved,
                count: folded.count,
                listed,
            };
            Ok((path, record))
        })
        .collect();
    Ok(records?.into_iter().collect())
}

/// What the base has in the directory at `path`, as text. Views of the kernel are left out: what is in them is no file
/// of anybody's.
fn names(rootfs: &Rootfs, path: &ImagePath) -> Result<BTreeSet<String>, RootfsError> {
    const VIEWS: [&[u8]; 3] = [b"dev", b"proc", b"sys"];
    if path.components().next().is_some_and(|top| VIEWS.contains(&top)) {
        return Ok(BTreeSet::new());
    }
    match rootfs.list(path) {
        Ok(names) => Ok(names.iter().map(|name| escape_bytes(name).into_owned()).collect()),
        // One that could be opened for something else than its list.
        Err(RootfsError::File { cause, .. }) if cause.kind() == io::ErrorKind::PermissionDenied => Ok(BTreeSet::new()),
        Err(cause) => Err(cause),
    }
}

fn is_read(folded: &Folded) -> bool {
    use Operation::{Exec, Load, Open};
    folded.operations.iter().any(|operation| matches!(operation, Exec | Load | Open))
}

fn found(rootfs: &Rootfs, path: &ImagePath) -> Result<Found, RootfsError> {
    Ok(match rootfs.lookup(path)? {
        None => Found::Absent,
        Some(entry) => match &entry.kind {
            EntryKind::File { .. } => Found::File { fingerprint: fingerprint(rootfs, path, &entry) },
            EntryKind::Dir => Found::Dir,
            EntryKind::Symlink { target } => Found::Symlink { target: escape_bytes(target).into_owned() },
            EntryKind::CharDevice { .. } => Found::CharDevice,
            EntryKind::BlockDevice { .. } => Found::BlockDevice,
            EntryKind::Fifo => Found::Fifo,
            EntryKind::Socket => Found::Socket,
        },
    })
}

/// What a file of a lazy rootfs is now, so that `build` can tell whether it has changed since. A file that was only
/// looked at and that nobody here may read has none.
fn fingerprint(rootfs: &Rootfs, path: &ImagePath, entry: &Entry) -> Option<Fingerprint> {
    let EntryKind::File { digest: None, .. } = entry.kind else { return None };
    let mut content = HashingReader::new(rootfs.open(path).ok()?);
    std::io::copy(&mut content, &mut std::io::sink()).ok()?;
    let (sha256, size) = content.finish();
    Some(Fingerprint { size, mtime: entry.mtime, sha256 })
}
