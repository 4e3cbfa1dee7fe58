//! What lies in a directory that is run, or on the host, and yet is no part of it: scrimp's own files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::base::ImagePath;

/// Files of the host that do not count.
#[derive(Clone, Debug, Default)]
pub struct OwnFiles {
    /// As if they were not there, with all below them: the store, and what the run writes.
    pub absent: Vec<PathBuf>,
    /// There for those who execute or read them, and in no list: scrimp itself.
    pub unlisted: Vec<PathBuf>,
}

/// [`OwnFiles`] as paths of one rootfs.
#[derive(Default)]
pub(super) struct Concealed {
    absent: BTreeSet<ImagePath>,
    unlisted: BTreeSet<ImagePath>,
}

impl Concealed {
    /// Those of `files` that lie below `location`, a path without links.
    pub(super) fn below(location: &Path, files: &OwnFiles) -> Self {
        let inside = |path: &PathBuf| {
            let below = real(path).strip_prefix(location).ok()?.as_os_str().as_encoded_bytes().to_vec();
            ImagePath::from_relative(&below).ok().filter(|path| !path.is_root())
        };
        Concealed {
            absent: files.absent.iter().filter_map(inside).collect(),
            unlisted: files.unlisted.iter().filter_map(inside).collect(),
        }
    }

    /// Whether nothing is to be found at `path`.
    pub(super) fn hides(&self, path: &ImagePath) -> bool {
        // There are a few of them at most.
        self.absent.iter().any(|absent| path.is_within(absent))
    }

    /// Whether `path` counts only where it is used by its name.
    pub(super) fn leaves_out(&self, path: &ImagePath) -> bool {
        self.unlisted.contains(path)
    }
}

/// A path without links, of a file that need not exist yet.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(real) = std::fs::canonicalize(&absolute) {
        return real;
    }
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => absolute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_elsewhere_conceal_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir_all(root.join("srv/store")).unwrap();
        std::os::unix::fs::symlink("srv", root.join("link")).unwrap();
        let files = OwnFiles {
            absent: vec![root.join("link/store"), root.join("srv/new/out.tar"), "/elsewhere".into(), root.clone()],
            unlisted: vec![root.join("srv/scrimp")],
        };
        let concealed = Concealed::below(&root, &files);
        let path = |text: &str| ImagePath::parse(text).unwrap();
        for (text, hidden, left_out) in [
            ("/", false, false),
            ("/srv", false, false),
            ("/srv/store", true, false),
            ("/srv/store/v1/roots", true, false),
            ("/srv/stores", false, false),
            ("/srv/new", false, false),
            ("/srv/new/out.tar", true, false),
            ("/elsewhere", false, false),
            ("/srv/scrimp", false, true),
        ] {
            assert_eq!((concealed.hides(&path(text)), concealed.leaves_out(&path(text))), (hidden, left_out), "{text}");
        }
        assert!(!Concealed::below(Path::new("/"), &OwnFiles::default()).hides(&path("/srv")));
    }
}
