//! Directories of the host that this user may not list, so that they are empty in the sandbox. Only those that the
//! application looked into deserve a word.

use std::cell::RefCell;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::{FileTree, ImagePath, escape_bytes};
use crate::observation::Operation;
use crate::sandbox::{self, Listed};
use crate::tracer::Folded;

/// The directories that could not be listed while a plan was made.
#[derive(Default)]
pub struct Unseen(RefCell<Vec<PathBuf>>);

impl Unseen {
    /// Lists a directory of the host; one that this user may not list is empty.
    pub fn list(&self, directory: &Path) -> io::Result<Vec<Listed>> {
        match sandbox::list(directory) {
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                self.0.borrow_mut().push(directory.to_owned());
                Ok(Vec::new())
            }
            other => other,
        }
    }

    /// What to say about those of them that were listed or entered by what was traced, in one sentence. `root` is where the
    /// tree of the accesses is on the host.
    pub fn warnings(&self, root: &Path, accesses: &FileTree<Folded>) -> Vec<String> {
        let shown = |path: &Path| escape_bytes(path.as_os_str().as_bytes()).into_owned();
        let directories = self.0.borrow();
        let missed: Vec<String> =
            directories.iter().filter(|dir| looked_into(dir, root, accesses)).map(|d| shown(d)).collect();
        match missed.is_empty() {
            true => Vec::new(),
            false => vec![format!(
                "this user may not list {}, where the application looked: it was empty in the sandbox",
                missed.join(" and ")
            )],
        }
    }
}

fn looked_into(directory: &Path, root: &Path, accesses: &FileTree<Folded>) -> bool {
    let below = directory.strip_prefix(root).map(|below| ImagePath::from_relative(below.as_os_str().as_bytes()));
    let Ok(Ok(directory)) = below else { return false };
    let lists = |folded: &Folded| folded.operations.contains(&Operation::Open);
    accesses.subtree(&directory).any(|(path, folded)| *path != directory || lists(folded))
}
