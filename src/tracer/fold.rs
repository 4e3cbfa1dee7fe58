//! Accesses, folded per path.
//!
//! Everything has a number, so that one more use of a known path by a known program allocates nothing. Paths are kept
//! as names below each other: to a new name in a known directory no path is written before all is over.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Map;
use super::events::Tree;
use crate::base::{FileTree, ImagePath};
use crate::observation::Operation;

/// All uses of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// What was done with it.
    pub operations: BTreeSet<Operation>,
    /// The executables of the processes that did it.
    pub executables: BTreeSet<ImagePath>,
    /// The probe that was running at the first use; `None` outside of all probes.
    pub first_probe: Option<String>,
    /// Whether a process of the application used it.
    pub application: bool,
    /// Whether there was something at the path at some use, before the call did its work: also when the application had
    /// no right to reach or use it. EACCES and ENOENT are different answers, so the file has to be there all the same.
    pub resolved: bool,
    /// How many calls named it or passed it.
    pub count: u64,
}

/// The number of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathId(u32);

/// The number of an executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutableId(u32);

impl PathId {
    /// That of `/`.
    pub const ROOT: PathId = PathId(0);
}

impl ExecutableId {
    /// That of a process that has not executed anything yet.
    pub const UNKNOWN: ExecutableId = ExecutableId(u32::MAX);
}

/// Who uses a path.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// Whose process.
    pub tree: Tree,
    /// What it runs.
    pub executable: ExecutableId,
    /// The number of the probe; 0 for none.
    pub probe: u32,
}

#[derive(Default)]
struct Row {
    operations: u32,
    executable: Option<ExecutableId>,
    other_executables: Vec<ExecutableId>,
    first_probe: u32,
    application: bool,
    resolved: bool,
    count: u64,
}

/// All uses of all paths.
pub struct Fold {
    /// The first is that of `/`; all others come after that of the directory in which they are.
    rows: Vec<Row>,
    /// The rows of names, each by the directory in which it is.
    names: Map<(PathId, Arc<[u8]>), PathId>,
    executables: Vec<ImagePath>,
    executable_ids: Map<ImagePath, ExecutableId>,
}

const OPERATIONS: [Operation; 25] = [
    Operation::Open,
    Operation::Stat,
    Operation::Access,
    Operation::Exec,
    Operation::Load,
    Operation::Readlink,
    Operation::Chdir,
    Operation::Xattr,
    Operation::Watch,
    Operation::Truncate,
    Operation::Chmod,
    Operation::Chown,
    Operation::Utime,
    Operation::Bind,
    Operation::Connect,
    Operation::Rename,
    Operation::Link,
    Operation::Symlink,
    Operation::Unlink,
    Operation::Mkdir,
    Operation::Mknod,
    Operation::Mount,
    Operation::Traverse,
    Operation::Create,
    Operation::Write,
];

impl Default for Fold {
    fn default() -> Self {
        let rows = vec![Row::default()];
        Fold { rows, names: Map::default(), executables: Vec::new(), executable_ids: Map::default() }
    }
}

impl Fold {
    /// The number of `path`, new or known.
    pub fn path(&mut self, path: &ImagePath) -> PathId {
        path.components().fold(PathId::ROOT, |directory, name| self.name(directory, name.into()))
    }

    /// The number of `name` in `directory`, new or known: a component, so neither empty nor `.` nor `..`, and without a
    /// slash or a NUL.
    pub fn name(&mut self, directory: PathId, name: Arc<[u8]>) -> PathId {
        let next = PathId(self.rows.len() as u32);
        *self.names.entry((directory, name)).or_insert_with(|| {
            self.rows.push(Row::default());
            next
        })
    }

    /// The number of an executable, new or known.
    pub fn executable(&mut self, path: &ImagePath) -> ExecutableId {
        if let Some(&id) = self.executable_ids.get(path) {
            return id;
        }
        let id = ExecutableId(self.executables.len() as u32);
        self.executables.push(path.clone());
        self.executable_ids.insert(path.clone(), id);
        id
    }

    /// One use.
    pub fn add(&mut self, path: PathId, operation: Operation, resolved: bool, user: &User) {
        if user.tree == Tree::Observer {
            return;
        }
        let row = &mut self.rows[path.0 as usize];
        if row.count == 0 {
            row.first_probe = user.probe;
        }
        row.count += 1;
        row.operations |= 1 << operation as u32;
        row.resolved |= resolved;
        row.application |= user.tree == Tree::Application;
        if *row.executable.get_or_insert(user.executable) != user.executable
            && !row.other_executables.contains(&user.executable)
        {
            row.other_executables.push(user.executable);
        }
    }

    /// All of it; `probes[n - 1]` is the label of probe `n`.
    pub fn finish(self, probes: &[String]) -> FileTree<Folded> {
        let Fold { rows, names, executables, .. } = self;
        let mut places = vec![(PathId::ROOT, Arc::default()); rows.len()];
        names.into_iter().for_each(|(place, id)| places[id.0 as usize] = place);
        let folded = |row: &Row| Folded {
            operations: OPERATIONS.into_iter().filter(|&o| row.operations & 1 << o as u32 != 0).collect(),
            executables: (row.executable.iter().chain(&row.other_executables))
                .filter_map(|id| executables.get(id.0 as usize).cloned())
                .collect(),
            first_probe: (row.first_probe as usize).checked_sub(1).and_then(|n| probes.get(n).cloned()),
            application: row.application,
            resolved: row.resolved,
            count: row.count,
        };
        let mut path = Vec::new();
        let used = (0..).zip(&rows).filter(|(_, row)| row.count > 0);
        used.filter_map(|(id, row)| {
            write_path(&places, PathId(id), &mut path);
            // Made of components, so it is one.
            Some((ImagePath::parse(&path).ok()?, folded(row)))
        })
        .collect()
    }
}

/// Writes the path with the number `id` to `path`.
fn write_path(places: &[(PathId, Arc<[u8]>)], id: PathId, path: &mut Vec<u8>) {
    let up = |id: &PathId| Some(places[id.0 as usize].0);
    let chain: Vec<PathId> = std::iter::successors(Some(id), up).take_while(|&id| id != PathId::ROOT).collect();
    path.clear();
    path.push(b'/');
    for id in chain.into_iter().rev() {
        path.extend_from_slice(&places[id.0 as usize].1);
        path.push(b'/');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_of_a_path_are_one_record() {
        let mut fold = Fold::default();
        let shell = fold.executable(&ImagePath::parse("/bin/sh").unwrap());
        let path = fold.path(&ImagePath::parse("/etc/x").unwrap());
        fold.add(path, Operation::Stat, false, &User { tree: Tree::Probe, executable: shell, probe: 2 });
        assert_eq!(fold.path(&ImagePath::parse("/etc/x").unwrap()), path);
        let user = User { tree: Tree::Application, executable: ExecutableId::UNKNOWN, probe: 0 };
        fold.add(path, Operation::Traverse, true, &user);
        let tree = fold.finish(&["a".into(), "b".into()]);
        let folded = tree.get(&ImagePath::parse("/etc/x").unwrap()).unwrap();
        assert_eq!(
            *folded,
            Folded {
                operations: [Operation::Stat, Operation::Traverse].into(),
                executables: [ImagePath::parse("/bin/sh").unwrap()].into(),
                first_probe: Some("b".into()),
                application: true,
                resolved: true,
                count: 2,
            }
        );
    }

    #[test]
    fn operations_are_at_their_bits() {
        for (bit, operation) in OPERATIONS.into_iter().enumerate() {
            assert_eq!(operation as usize, bit);
        }
    }
}
