//! An ordered map from paths to anything, with the operations a tree needs.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::base::ImagePath;

/// A tree of `T`, one per path, in the order of [`ImagePath`]: a directory is followed at once by all that lies below
/// it. Nothing demands that parents are present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTree<T>(BTreeMap<ImagePath, T>);

impl<T> Default for FileTree<T> {
    fn default() -> Self {
        FileTree(BTreeMap::new())
    }
}

impl<T> FileTree<T> {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `value` at `path` and returns what was there.
    pub fn insert(&mut self, path: ImagePath, value: T) -> Option<T> {
        self.0.insert(path, value)
    }

    /// What is at `path`.
    pub fn get(&self, path: &ImagePath) -> Option<&T> {
        self.0.get(path)
    }

    /// What is at `path`, to change.
    pub fn get_mut(&mut self, path: &ImagePath) -> Option<&mut T> {
        self.0.get_mut(path)
    }

    /// What is at `path`, put there first when nothing was.
    pub fn get_or_insert_with(&mut self, path: ImagePath, value: impl FnOnce() -> T) -> &mut T {
        self.0.entry(path).or_insert_with(value)
    }

    /// Whether there is something at `path`.
    pub fn contains(&self, path: &ImagePath) -> bool {
        self.0.contains_key(path)
    }

    /// Removes what is at `path`, not what is below it.
    pub fn remove(&mut self, path: &ImagePath) -> Option<T> {
        self.0.remove(path)
    }

    /// Removes all that lies below `dir`, and `dir` itself when `inclusive`. Returns what was removed, in order.
    pub fn remove_subtree(&mut self, dir: &ImagePath, inclusive: bool) -> Vec<(ImagePath, T)> {
        let paths: Vec<ImagePath> = self.subtree(dir).map(|(path, _)| path.clone()).collect();
        paths
            .into_iter()
            .filter(|path| inclusive || path != dir)
            .filter_map(|path| self.0.remove_entry(&path))
            .collect()
    }

    /// `dir` and all that lies below it, in order.
    pub fn subtree<'a>(&'a self, dir: &'a ImagePath) -> impl Iterator<Item = (&'a ImagePath, &'a T)> {
        self.0.range((Bound::Included(dir), Bound::Unbounded)).take_while(move |(path, _)| path.is_within(dir))
    }

    /// What lies directly in `dir`, in order. What lies deeper is not walked over, so this costs what it yields.
    pub fn children<'a>(&'a self, dir: &'a ImagePath) -> impl Iterator<Item = (&'a ImagePath, &'a T)> {
        let depth = dir.components().count() + 1;
        let mut range = self.0.range((Bound::Excluded(dir), Bound::Unbounded));
        std::iter::from_fn(move || {
            loop {
                let (path, value) = range.next().filter(|(path, _)| path.is_within(dir))?;
                let excess = path.components().count() - depth;
                if excess == 0 {
                    return Some((path, value));
                }
                // The first path below a child: go on behind all of them.
                let child = path.ancestors().nth(excess - 1)?;
                range = self.0.range(child.after_subtree()..);
            }
        })
    }

    /// All of it, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&ImagePath, &T)> {
        self.0.iter()
    }

    /// All values in the order of their paths, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&ImagePath, &mut T)> {
        self.0.iter_mut()
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> FromIterator<(ImagePath, T)> for FileTree<T> {
    fn from_iter<I: IntoIterator<Item = (ImagePath, T)>>(items: I) -> Self {
        FileTree(items.into_iter().collect())
    }
}

impl<T> IntoIterator for FileTree<T> {
    type Item = (ImagePath, T);
    type IntoIter = std::collections::btree_map::IntoIter<ImagePath, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text).unwrap()
    }

    fn tree(paths: &[&str]) -> FileTree<()> {
        paths.iter().map(|p| (path(p), ())).collect()
    }

    #[test]
    fn subtrees_end_at_the_component() {
        let tree = tree(&["/", "/a", "/a/x", "/a/x/y", "/a.b", "/a.b/z"]);
        let below: Vec<_> = tree.subtree(&path("/a")).map(|(p, ())| p.to_string()).collect();
        assert_eq!(below, ["/a", "/a/x", "/a/x/y"]);
        let children: Vec<_> = tree.children(&ImagePath::root()).map(|(p, ())| p.to_string()).collect();
        assert_eq!(children, ["/a", "/a.b"]);
    }

    #[test]
    fn children_are_found_behind_subtrees_and_below_missing_directories() {
        let tree = tree(&[
            "/a",
            "/a/b",
            "/a/b/c",
            "/a/b/d/e",
            "/a/b\u{1}",
            "/a/b\u{1}/x",
            "/a/b.c",
            "/a/no/entry",
            "/a/z",
            "/b",
        ]);
        let dir = path("/a");
        let children: Vec<_> = tree.children(&dir).map(|(p, ())| p.to_string()).collect();
        assert_eq!(children, ["/a/b", "/a/b\\x01", "/a/b.c", "/a/z"]);
    }

    #[test]
    fn removing_a_subtree_can_leave_its_root() {
        let mut tree = tree(&["/a", "/a/x", "/b"]);
        assert_eq!(tree.remove_subtree(&path("/a"), false).len(), 1);
        assert!(tree.contains(&path("/a")) && tree.contains(&path("/b")) && !tree.contains(&path("/a/x")));
    }
}
