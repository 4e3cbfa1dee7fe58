//! The same rules on a rootfs whose index is known beforehand, and on ones that are not well.

use std::collections::BTreeMap;

use super::{Case, path};
use crate::base::FileTree;
use crate::closure::Level;
use crate::image::{Entry, EntryKind};
use crate::observation::{Found, Operation};

impl Case {
    /// Makes the rootfs a full one with everything that is there now.
    pub(super) fn indexed(mut self) -> Self {
        let rootfs = self.rootfs();
        let mut index = FileTree::new();
        let mut pending = vec![path("/")];
        while let Some(at) = pending.pop() {
            index.insert(at.clone(), rootfs.lookup(&at).unwrap().unwrap());
            pending.extend(rootfs.list(&at).unwrap().iter().map(|name| at.child(name).unwrap()));
        }
        self.index = Some(index);
        self
    }
}

#[test]
fn an_index_and_a_directory_give_the_same() {
    let case = Case::new()
        .executable("/usr/bin/app", &["libx.so"], &[])
        .shared_library("/usr/lib/libx.so.1", &[], &["-Wl,-soname,libx.so"])
        .link("/usr/lib/libx.so", "libx.so.1")
        .link("/bin", "usr/bin")
        .program("/start", "#!/bin/app\n")
        .used("/start", &[Operation::Exec]);
    let from_directory = case.require(Level::Closure);
    assert!(from_directory.paths.contains(&path("/usr/lib/libx.so.1")));
    assert_eq!(case.indexed().require(Level::Closure), from_directory);
}

#[test]
#[should_panic(expected = "operation: \"open\", path: /lost")]
fn a_file_that_cannot_be_read_is_an_error_with_its_name() {
    let mut case = Case::new().indexed();
    let kind = EntryKind::File { size: 1, digest: None, link_group: None };
    let entry = Entry { kind, mode: 0o644, uid: 0, gid: 0, mtime: 0, nanos: 0, xattrs: BTreeMap::new() };
    case.index.as_mut().unwrap().insert(path("/lost"), entry);
    case.used("/lost", &[Operation::Open])
        .found_in_base("/lost", Found::File { fingerprint: None })
        .require(Level::Closure);
}

#[test]
fn a_link_that_goes_up_and_down_all_the_time_is_walked_once() {
    let case = Case::new().file("/d/file", "").link("/d/link", &format!("{}file", "../d/".repeat(800)));
    case.used("/d/link", &[Operation::Open]).gives(
        Level::Observed,
        "/ parent
         /d parent link:/d/link
         /d/file link:/d/link
         /d/link open",
    );
}
