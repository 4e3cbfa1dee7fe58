//! The index of an unpacked root on disk: a compact binary form that loads in a few milliseconds.
//!
//! All numbers are little-endian. It begins with [`MAGIC`] and ends with the digest of everything before, so a file
//! that was cut off or damaged is noticed; one entry follows the other in between, in the order of their paths.

use std::collections::BTreeMap;

use crate::base::{Digest, FileTree, ImagePath};
use crate::image::{Entry, EntryKind};

/// The first bytes. The number changes whenever the form does.
const MAGIC: &[u8] = b"scrimp index 2\n";

/// The index as bytes.
pub(super) fn encode(tree: &FileTree<Entry>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend((tree.len() as u64).to_le_bytes());
    for (path, entry) in tree.iter() {
        put_bytes(&mut out, path.relative());
        out.push(tag(&entry.kind));
        out.extend(entry.mode.to_le_bytes());
        out.extend(entry.uid.to_le_bytes());
        out.extend(entry.gid.to_le_bytes());
        out.extend(entry.mtime.to_le_bytes());
        out.extend(entry.nanos.to_le_bytes());
        match &entry.kind {
            EntryKind::File { size, digest, link_group } => {
                out.extend(size.to_le_bytes());
                out.extend(link_group.unwrap_or(0).to_le_bytes());
                out.push(u8::from(digest.is_some()));
                out.extend(digest.iter().flat_map(Digest::as_bytes));
            }
            EntryKind::Symlink { target } => put_bytes(&mut out, target),
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                out.extend(major.to_le_bytes());
                out.extend(minor.to_le_bytes());
            }
            EntryKind::Dir | EntryKind::Fifo | EntryKind::Socket => {}
        }
        out.extend((entry.xattrs.len() as u32).to_le_bytes());
        for (name, value) in &entry.xattrs {
            put_bytes(&mut out, name.as_bytes());
            put_bytes(&mut out, value);
        }
    }
    let digest = Digest::of(&out);
    out.extend(digest.as_bytes());
    out
}

/// The index from bytes; `None` when they are damaged or of another version.
pub(super) fn decode(bytes: &[u8]) -> Option<FileTree<Entry>> {
    let (body, digest) = bytes.split_last_chunk::<32>()?;
    let mut input = Input(body.strip_prefix(MAGIC)?);
    if Digest::of(body).as_bytes() != digest {
        return None;
    }
    let count = input.u64()?;
    let mut entries = Vec::with_capacity(usize::try_from(count).ok()?.min(body.len()));
    for _ in 0..count {
        let path = ImagePath::from_relative(input.bytes()?).ok()?;
        let kind = input.array::<1>()?[0];
        let (mode, uid, gid) = (input.u32()?, input.u32()?, input.u32()?);
        let (mtime, nanos) = (input.u64()? as i64, input.u32()?);
        let kind = match kind {
            0 => {
                let (size, group) = (input.u64()?, input.u64()?);
                let digest = match input.array::<1>()?[0] {
                    0 => None,
                    _ => Some(Digest::from_bytes(*input.array()?)),
                };
                EntryKind::File { size, digest, link_group: (group != 0).then_some(group) }
            }
            1 => EntryKind::Dir,
            2 => EntryKind::Symlink { target: input.bytes()?.to_vec() },
            3 => EntryKind::CharDevice { major: input.u32()?, minor: input.u32()? },
            4 => EntryKind::BlockDevice { major: input.u32()?, minor: input.u32()? },
            5 => EntryKind::Fifo,
            6 => EntryKind::Socket,
            _ => return None,
        };
        let mut xattrs = BTreeMap::new();
        for _ in 0..input.u32()? {
            let name = std::str::from_utf8(input.bytes()?).ok()?.to_owned();
            xattrs.insert(name, input.bytes()?.to_vec());
        }
        entries.push((path, Entry { kind, mode, uid, gid, mtime, nanos, xattrs }));
    }
    input.0.is_empty().then(|| entries.into_iter().collect())
}

fn tag(kind: &EntryKind) -> u8 {
    match kind {
        EntryKind::File { .. } => 0,
        EntryKind::Dir => 1,
        EntryKind::Symlink { .. } => 2,
        EntryKind::CharDevice { .. } => 3,
        EntryKind::BlockDevice { .. } => 4,
        EntryKind::Fifo => 5,
        EntryKind::Socket => 6,
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(|b| u32::from_le_bytes(*b))
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(|b| u64::from_le_bytes(*b))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FileTree<Entry> {
        let digest = Some(Digest::of(b"x"));
        let kinds = [
            ("/", EntryKind::Dir),
            ("/a", EntryKind::File { size: 1, digest, link_group: Some(7) }),
            ("/b", EntryKind::File { size: u64::MAX, digest: None, link_group: None }),
            ("/c", EntryKind::Symlink { target: b"\xff/..".to_vec() }),
            ("/d", EntryKind::CharDevice { major: 1, minor: u32::MAX }),
            ("/e", EntryKind::BlockDevice { major: u32::MAX, minor: 3 }),
            ("/f", EntryKind::Fifo),
            ("/g", EntryKind::Socket),
        ];
        let xattrs: BTreeMap<_, _> = [("user.a".to_string(), b"\0\n".to_vec())].into();
        let entry =
            |kind| Entry { kind, mode: 0o4755, uid: 1, gid: u32::MAX, mtime: -5, nanos: 7, xattrs: xattrs.clone() };
        kinds.into_iter().map(|(path, kind)| (ImagePath::parse(path).unwrap(), entry(kind))).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(decode(&encode(&sample())).unwrap(), sample());
        assert_eq!(decode(&encode(&FileTree::new())).unwrap(), FileTree::new());
    }

    #[test]
    fn damage_is_noticed() {
        let good = encode(&sample());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            assert!(decode(&bad).is_none(), "byte {at}");
            assert!(decode(&good[..at]).is_none(), "cut at {at}");
        }
    }
}
