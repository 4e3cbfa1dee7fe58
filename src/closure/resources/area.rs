//! What a directory of resources holds: its files, without what only readers and compilers look at, and up to a limit.

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::closure::own_scripts::is_run_by_servers;
use crate::closure::resources::{DATA, below, is_left_out, is_libtool};
use crate::closure::{ClosureError, installed, settings};
use crate::image::{Entry, EntryKind, Rootfs};
use crate::observation::Observation;

/// How much of what was not used is kept with what was.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    bytes: u64,
    entries: usize,
}

/// Of a program that used little of it.
pub(super) const OF_A_PROGRAM: Limit = Limit { bytes: 64 << 20, entries: 20_000 };
/// Of an application, of which no run uses all.
pub(super) const OF_AN_APPLICATION: Limit = Limit { bytes: 1 << 30, entries: 200_000 };

/// What stands in the names of machine code that only Python loads.
const PYTHONS: &[u8] = b".cpython-";

/// A directory that is being walked.
pub(super) struct Area<'a> {
    pub(super) rootfs: &'a Rootfs,
    pub(super) observation: &'a Observation,
    pub(super) root: &'a ImagePath,
    pub(super) limit: Limit,
    /// Whether the run reads descriptions of modules that libtool has made.
    pub(super) reads_libtool: bool,
}

/// What was found in a directory.
#[derive(Default)]
struct Held {
    files: Vec<(ImagePath, Entry)>,
    /// Bytes of the files that the run did not use.
    unused: u64,
    /// How many files, links and directories it did not use.
    unused_entries: usize,
}

impl Area<'_> {
    /// Takes what is in the directory, and where it leads with links, until it is too much: then that, in the words of
    /// a warning.
    pub(super) fn walk(&self) -> Result<Result<Vec<(ImagePath, Entry)>, String>, ClosureError> {
        let mut held = Held::default();
        // Many links may lead into one directory.
        let mut entered = BTreeSet::new();
        let mut pending = vec![self.root.clone()];
        while let Some(directory) = pending.pop() {
            if !entered.insert(directory.clone()) {
                continue;
            }
            for name in self.rootfs.list(&directory)? {
                let Ok(path) = directory.child(&name) else { continue };
                let Some(entry) = self.rootfs.lookup(&path)? else { continue };
                let is_unused = !self.observation.paths.contains(&path);
                held.unused_entries += usize::from(is_unused);
                match &entry.kind {
                    EntryKind::Dir if installed::is_data(&path) || !is_left_out(&name) => pending.push(path),
                    EntryKind::File { size, .. } if self.is_wanted(&path, &name, &entry) => {
                        held.unused += if is_unused { *size } else { 0 };
                        held.files.push((path, entry));
                    }
                    EntryKind::Symlink { .. } => {
                        let end = self.rootfs.resolve(path.as_bytes(), true)?;
                        if end.entry.is_some_and(|entry| entry.is_dir()) && installed::leads_on(&end.end) {
                            pending.push(end.end);
                        }
                        held.files.push((path, entry));
                    }
                    _ => {}
                }
                if let Some(excess) = held.excess(self.limit) {
                    return Ok(Err(excess));
                }
            }
        }
        Ok(Ok(held.files))
    }

    fn is_wanted(&self, path: &ImagePath, name: &[u8], entry: &Entry) -> bool {
        if is_libtool(path) {
            return self.reads_libtool;
        }
        settings::may_be_kept(self.root, entry) && (!is_for_building(path, name) || is_run_by_servers(path))
    }
}

impl Held {
    fn excess(&self, limit: Limit) -> Option<String> {
        match (self.unused > limit.bytes, self.unused_entries > limit.entries) {
            (true, _) => Some(format!("{} MB that was", limit.bytes >> 20)),
            (false, true) => Some(format!("{} files and directories that were", limit.entries)),
            (false, false) => None,
        }
    }
}

/// What only compilers and debuggers read, what only Python loads (its modules, and the libraries of such modules,
/// which have its name and version in theirs: PEP 3149), and the memory images of a Java machine (`.jsa`), one for each
/// layout of its heap: it starts without them, only slower, and the one for the layout of the run was used. Among data
/// a program can have texts of its own that are called as headers are.
fn is_for_building(path: &ImagePath, name: &[u8]) -> bool {
    let ends = [&b".a"[..], b".o", b".debug", b".jsa", b".py", b".pyc"];
    ends.iter().any(|end| name.ends_with(end))
        || name.windows(PYTHONS.len()).any(|part| part == PYTHONS)
        || matches!(name, b"ct.sym" | b"src.zip")
        || name.ends_with(b".h") && below(&DATA, path, false).is_none()
}
