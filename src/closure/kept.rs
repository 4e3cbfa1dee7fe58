//! The growing set of required paths. Whatever is put in brings its directories and the links on the way with it, so
//! at every moment each path of the set can be reached through the set.

use std::collections::{BTreeSet, VecDeque};

use crate::base::{FileTree, ImagePath};
use crate::closure::{ClosureError, Reason};
use crate::image::{Entry, EntryKind, Resolution, Rootfs};
use crate::observation::Operation;

/// Required paths with their reasons, and those of them whose own needs nobody has looked at yet.
pub(super) struct Kept<'a> {
    rootfs: &'a Rootfs,
    paths: FileTree<BTreeSet<Reason>>,
    pending: VecDeque<(ImagePath, Entry)>,
}

impl<'a> Kept<'a> {
    pub(super) fn new(rootfs: &'a Rootfs) -> Self {
        Kept { rootfs, paths: FileTree::new(), pending: VecDeque::new() }
    }

    /// Requires what is at the absolute `path`; a link there is required as a link. Returns where that is without
    /// directory links; `None`, and nothing is required, when the rootfs has nothing there that an image can hold.
    pub(super) fn require(&mut self, path: &[u8], reason: Reason) -> Result<Option<ImagePath>, ClosureError> {
        if let Some((known, reasons)) = ImagePath::parse(path).ok().and_then(|path| {
            let reasons = self.paths.get_mut(&path)?;
            Some((path, reasons))
        }) {
            reasons.insert(reason);
            return Ok(Some(known));
        }
        let walk = self.rootfs.resolve(path, false)?;
        let is_present = walk.entry.as_ref().is_some_and(can_ship);
        // A dangling link stays as it is, with what exists of its way: the application may create the rest.
        if !is_present && !matches!(reason, Reason::Link(_)) {
            return Ok(None);
        }
        let way = match &reason {
            Reason::Access(_) => Reason::Access(Operation::Traverse),
            Reason::ProbeTool | Reason::Exercise(_) | Reason::Link(_) => reason.clone(),
            _ => Reason::Parent,
        };
        for left in directories_left(path) {
            let walk = self.rootfs.resolve(left, false)?;
            self.take(walk, &way, way.clone())?;
        }
        self.take(walk, &way, reason)
    }

    /// Puts in the links of a walk with the reason `way`, and its end.
    fn take(&mut self, walk: Resolution, way: &Reason, reason: Reason) -> Result<Option<ImagePath>, ClosureError> {
        for link in walk.links {
            if let Some(entry) = self.rootfs.lookup(&link)? {
                self.insert(link, entry, way.clone());
            }
        }
        let Some(entry) = walk.entry.filter(can_ship) else { return Ok(None) };
        self.insert(walk.end.clone(), entry, reason);
        Ok(Some(walk.end))
    }

    /// Requires what the kept link at `link` points at, if that exists.
    pub(super) fn follow(&mut self, link: &ImagePath, target: &[u8]) -> Result<(), ClosureError> {
        let mut directory = link.parent().filter(|_| !target.starts_with(b"/")).unwrap_or_else(ImagePath::root);
        // The link's own directories are in the set, so going up from them needs nothing else.
        let mut rest = target;
        while let Some(after) = rest.strip_prefix(b"..").filter(|after| after.is_empty() || after[0] == b'/') {
            directory = directory.parent().unwrap_or_else(ImagePath::root);
            rest = after.iter().position(|&b| b != b'/').map_or(&[], |start| &after[start..]);
        }
        let path = [directory.as_bytes(), b"/", rest].concat();
        self.require(&path, Reason::Link(link.clone())).map(drop)
    }

    /// The next link or regular file whose needs are to be looked at; each comes once, in the order of being required.
    pub(super) fn next(&mut self) -> Option<(ImagePath, Entry)> {
        self.pending.pop_front()
    }

    /// Whether all needs were looked at.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// The paths required so far.
    pub(super) fn paths(&self) -> &FileTree<BTreeSet<Reason>> {
        &self.paths
    }

    /// The finished set.
    pub(super) fn into_paths(self) -> FileTree<BTreeSet<Reason>> {
        self.paths
    }

    fn insert(&mut self, path: ImagePath, entry: Entry, reason: Reason) {
        if let Some(reasons) = self.paths.get_mut(&path) {
            reasons.insert(reason);
            // A directory can have been here as a parent only; its own parents are present either way.
            return;
        }
        for directory in path.ancestors() {
            let reasons = self.paths.get_or_insert_with(directory, BTreeSet::new);
            // Whoever was a parent before has all its parents.
            if !reasons.insert(Reason::Parent) {
                break;
            }
        }
        self.paths.insert(path.clone(), BTreeSet::from([reason]));
        if entry.is_file() || entry.link_target().is_some() {
            self.pending.push_back((path, entry));
        }
    }
}

/// Whether a layer can hold it.
fn can_ship(entry: &Entry) -> bool {
    !matches!(entry.kind, EntryKind::Socket)
}

/// The parts of `path` before each `..` in it: directories that are entered only to be left again, but without which
/// the kernel does not find the path.
fn directories_left(path: &[u8]) -> Vec<&[u8]> {
    let mut start = 0;
    let mut left = Vec::new();
    for component in path.split(|&b| b == b'/') {
        if component == b".." && start > 1 {
            left.push(&path[..start]);
        }
        start += component.len() + 1;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_before_dots_are_part_of_the_way() {
        for (path, expected) in
            [("/a/b", vec![]), ("/../a", vec![]), ("/a/../b/c/../d", vec!["/a/", "/a/../b/c/"]), ("/..", vec![])]
        {
            let left: Vec<_> =
                directories_left(path.as_bytes()).iter().map(|p| std::str::from_utf8(p).unwrap()).collect();
            assert_eq!(left, expected, "{path}");
        }
    }
}
