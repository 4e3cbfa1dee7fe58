//! Digests of files that nobody has read yet, and the check that a lazy base is still what was traced.

use std::collections::BTreeMap;
use std::io;

use rayon::prelude::*;

use crate::base::{Digest, FileTree, HashingReader, ImagePath, escape_bytes};
use crate::image::{Entry, EntryKind, Rootfs, RootfsError};
use crate::observation::{Found, Observation};
use crate::select::error::{Change, Unreadable};
use crate::select::{ManifestEntry, SelectError};

/// Reads every regular file of `entries` that has no digest, names of one file once, and puts the digests there. With
/// an `observation`, what it says of a file at the moment of tracing must still hold.
pub fn complete(
    rootfs: &Rootfs,
    entries: &mut FileTree<ManifestEntry>,
    observation: Option<&Observation>,
) -> Result<(), SelectError> {
    let mut unread: BTreeMap<Result<u64, ImagePath>, (ImagePath, u64)> = BTreeMap::new();
    for (path, chosen) in entries.iter() {
        if let EntryKind::File { digest: None, size, link_group } = chosen.entry.kind {
            unread.entry(link_group.ok_or_else(|| path.clone())).or_insert_with(|| (path.clone(), size));
        }
    }
    let read: Vec<_> = unread.into_par_iter().map(|(key, (path, size))| (key, digest(rootfs, &path, size))).collect();
    let mut digests = BTreeMap::new();
    let mut changes = Vec::new();
    let mut unreadable = Vec::new();
    for (key, result) in read {
        match result {
            Ok(Ok(digest)) => drop(digests.insert(key, digest)),
            Ok(Err(change)) => changes.push(change),
            // There may be many: whoever is to do something about them needs to know all.
            Err(RootfsError::File { path, cause, .. }) if cause.kind() == io::ErrorKind::PermissionDenied => {
                unreadable.push(Unreadable { path, cause: cause.to_string() });
            }
            Err(cause) => return Err(cause.into()),
        }
    }
    if !unreadable.is_empty() {
        unreadable.sort_by(|a, b| a.path.cmp(&b.path));
        return Err(SelectError::Unreadable { unreadable });
    }
    for (path, chosen) in entries.iter_mut() {
        if let EntryKind::File { digest: digest @ None, link_group, .. } = &mut chosen.entry.kind {
            *digest = digests.get(&link_group.ok_or_else(|| path.clone())).copied();
        }
    }
    if let Some(observation) = observation {
        for (path, chosen) in entries.iter() {
            if let Some(record) = observation.paths.get(path)
                && let Some(difference) = difference(&record.found, &chosen.entry)
            {
                changes.push(Change { path: path.clone(), difference });
            }
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes.dedup_by(|a, b| a.path == b.path);
    Err(SelectError::Changed { changes })
}

/// The digest of the file at `path`, which is `size` bytes long.
fn digest(rootfs: &Rootfs, path: &ImagePath, size: u64) -> Result<Result<Digest, Change>, RootfsError> {
    let mut reader = HashingReader::new(rootfs.open(path)?);
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match io::Read::read(&mut reader, &mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => {
                let root = rootfs.location().display().to_string();
                return Err(RootfsError::File { operation: "read", path: path.clone(), root, cause });
            }
        }
    }
    let (digest, bytes) = reader.finish();
    if bytes != size {
        let difference = format!("its size was {size} and is {bytes}");
        return Ok(Err(Change { path: path.clone(), difference }));
    }
    Ok(Ok(digest))
}

/// How `entry` differs from what was found when it was traced; `None` when it does not, or nothing can be said.
fn difference(found: &Found, entry: &Entry) -> Option<String> {
    let was_and_is = |what: &str, was: &dyn std::fmt::Display, is: &dyn std::fmt::Display| {
        Some(format!("its {what} was {was} and is {is}"))
    };
    match (found, &entry.kind) {
        (Found::File { fingerprint: None }, EntryKind::File { .. }) => None,
        (Found::File { fingerprint: Some(was) }, EntryKind::File { size, digest, .. }) => {
            if was.size != *size {
                was_and_is("size", &was.size, size)
            } else if Some(was.sha256) != *digest {
                Some("its content is another".into())
            } else if was.mtime != entry.mtime {
                was_and_is("time", &was.mtime, &entry.mtime)
            } else {
                None
            }
        }
        (Found::Symlink { target: was }, EntryKind::Symlink { target }) => {
            let target = escape_bytes(target);
            if *was == target { None } else { was_and_is("target", was, &target) }
        }
        (Found::Dir, EntryKind::Dir)
        | (Found::CharDevice, EntryKind::CharDevice { .. })
        | (Found::BlockDevice, EntryKind::BlockDevice { .. })
        | (Found::Fifo, EntryKind::Fifo)
        | (Found::Socket, EntryKind::Socket) => None,
        (Found::Absent, _) => None,
        _ => Some("its type is another".into()),
    }
}
