//! What the tracer tells of changes before they are made: one small program per way to change a file, and a rootfs that
//! has to stay what it was.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock};

use scrimp::base::ImagePath;
use scrimp::image::{EntryKind, OwnersAsSeen, Rootfs, Store};
use scrimp::session::Keeper;
use scrimp::tracer::{self, Change, Options, Recording, TracerError, Tree, Witness};
use tempfile::TempDir;

use crate::in_place::{SCRIPT, make};
use crate::tracer::{compile, link_program, root, supervise};

static CHANGES: LazyLock<std::path::PathBuf> = LazyLock::new(|| compile("changes", &["-static"]));

/// Writes down what it is told, with what is there at that moment, and refuses one path.
struct Notebook {
    root: std::path::PathBuf,
    told: Sender<String>,
    refused: &'static str,
}

impl Witness for Notebook {
    fn about_to_change(&mut self, path: &ImagePath, what: Change) -> io::Result<()> {
        if path.to_string() == self.refused {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        // Nothing has happened yet.
        let is_there = path.on_host(&self.root).symlink_metadata().is_ok();
        assert_eq!(is_there, what != Change::Created, "{path} {what:?}");
        self.told.send(format!("{path} {}\n", format!("{what:?}").to_lowercase())).map_err(io::Error::other)
    }
}

fn place() -> TempDir {
    let place = root();
    link_program(&CHANGES, &place.path().join("bin/changes"));
    place
}

fn run(place: &Path, name: &str, witness: Box<dyn Witness>) -> (Vec<u8>, Result<Recording, TracerError>) {
    trace("chroot", place, &["/bin/changes", name], witness)
}

fn trace(
    mode: &str,
    root: &Path,
    argv: &[&str],
    witness: Box<dyn Witness>,
) -> (Vec<u8>, Result<Recording, TracerError>) {
    let options = Options { witnessed: true, ..Options::default() };
    let traced = options.clone();
    let start = |supervisor, events| tracer::start_with_witness(supervisor, traced, witness, events);
    let (codes, recording, _) = supervise(mode, root, argv, options, &[(Tree::Application, None)], start);
    (codes, recording)
}

const WAYS: &[(&str, &str)] = &[
    (
        "opened",
        "/dir/file content\n/dir/other content\n/dir/sub/deep content\n/dir/mark content\n/dir/mark.bak content\n\
         /dir/newest created\n",
    ),
    ("only_read", ""),
    (
        "created",
        "/dir/new created\n/dir/new content\n/dir/made created\n/dir/made/below created\n/dir/fifo created\n\
         /dir/soft created\n/dir/softer created\n/dir/socket created\n",
    ),
    (
        "behind_links",
        "/dir/file content\n/dir/nothing created\n/dir/other metadata\n/link metadata\n/dir/sub/deep name\n/link name\n",
    ),
    (
        "relative",
        "/dir/file content\n/dir/sub/new created\n/dir/other content\n/dir/sub/deep content\n/dir/mark name\n\
         /jail/inside content\n",
    ),
    ("sized", "/dir/file content\n/dir/other content\n"),
    (
        "metadata",
        "/dir/file metadata\n/dir/other metadata\n/dir/sub metadata\n/dir/mark metadata\n/dir/mark.bak metadata\n\
         /dir/sub/deep metadata\n/link metadata\n/jail/inside metadata\n/jail/abs metadata\n",
    ),
    (
        "by_descriptor",
        "/dir/file metadata\n/dir/other metadata\n/dir/sub metadata\n/dir/sub/deep metadata\n/dir/mark metadata\n\
         /dir/mark.bak metadata\n/link metadata\n/dir/file name\n/dir/moved created\n/dir/moved metadata\n",
    ),
    ("i386", "/dir/file metadata\n"),
    (
        "named",
        "/dir/file content\n/dir/hard created\n/dir/hard content\n/dir/file name\n/dir/other content\n\
         /dir/twin created\n/jail/etc name\n/dir/sub name\n/dir/mark name\n",
    ),
    (
        "renamed",
        "/dir/file name\n/dir/new created\n/dir/new name\n/dir/other name\n/dir/sub tree\n/jail/etc name\n\
         /dir/mark name\n/dir/mark.bak name\n/dir tree\n/jail tree\n/link name\n/chain name\n",
    ),
    ("by_child", "/dir/file content\n/dir/other content\n"),
    ("by_handle", ""),
    ("mounted", ""),
];

#[test]
fn every_way_to_change_a_file_is_told() {
    let mut wrong = String::new();
    for (name, expected) in WAYS {
        let place = place();
        let (told, list) = channel();
        let witness = Notebook { root: place.path().into(), told, refused: "" };
        let (codes, recording) = run(place.path(), name, Box::new(witness));
        assert_eq!(codes, [0], "{name} failed");
        let recording = recording.unwrap();
        assert!(recording.gaps.contains(&"ioctl".to_string()), "{:?}", recording.gaps);
        assert_eq!(recording.warnings.len(), usize::from(*name == "mounted"), "{name}: {:?}", recording.warnings);
        let found: String = list.iter().collect();
        if found != *expected {
            wrong.push_str(&format!("--- {name}, expected:\n{expected}--- found:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_change_that_cannot_be_saved_is_not_made() {
    for (name, refused) in [("sized", "/dir/file"), ("by_descriptor", "/dir/file"), ("renamed", "/dir/new")] {
        let place = place();
        let before = fs::metadata(place.path().join("dir/file"));
        let (told, _list) = channel();
        let witness = Notebook { root: place.path().into(), told, refused };
        let (codes, recording) = run(place.path(), name, Box::new(witness));
        assert!(codes.iter().all(|&code| code != 0), "{name} went on");
        let error = recording.unwrap_err().to_string();
        assert!(error.starts_with(&format!("save {refused} before")), "{error}");
        assert_eq!(fs::read(place.path().join("dir/file")).unwrap(), b"content", "{name}");
        let after = fs::metadata(place.path().join("dir/file"));
        assert_eq!(before.unwrap().permissions(), after.unwrap().permissions(), "{name}");
    }
}

/// All that a rootfs has from `top` on, one line per path.
fn tree(rootfs: &Rootfs, top: &ImagePath) -> Vec<String> {
    let (mut out, mut pending) = (Vec::new(), vec![top.clone()]);
    while let Some(path) = pending.pop() {
        let entry = rootfs.lookup(&path).unwrap().unwrap_or_else(|| panic!("{path} is listed and not there"));
        let content = entry.is_file().then(|| rootfs.read(&path).unwrap().len());
        let what = match &entry.kind {
            // A file of which a name was made by the application is not known as one with several.
            EntryKind::File { size, .. } => format!("file of {size}"),
            other => format!("{other:?}"),
        };
        out.push(format!("{path} {what} {content:?} {:o} {} {:?}", entry.mode, entry.mtime, entry.xattrs));
        pending.extend(rootfs.list(&path).unwrap().iter().map(|name| path.child(name).unwrap()));
    }
    out
}

#[test]
fn the_rootfs_stays_what_it_was() {
    for (name, _) in WAYS {
        let (place, store) = (place(), tempfile::tempdir().unwrap());
        let rootfs = Rootfs::lazy(place.path(), Arc::new(OwnersAsSeen)).unwrap();
        let saved = rootfs.keep(&Store::open(store.path()).unwrap()).unwrap().unwrap();
        let before = tree(&rootfs, &ImagePath::root());
        let (codes, recording) = run(place.path(), name, Box::new(Keeper(saved)));
        assert_eq!(codes, [0], "{name} failed: {:?}", recording.err().map(|e| e.to_string()));
        assert_eq!(before, tree(&rootfs, &ImagePath::root()), "{name}");
    }
}

#[test]
fn what_a_script_does_to_this_machine_is_not_seen() {
    let (place, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = place.path().canonicalize().unwrap().join("files");
    make(&files);
    let rootfs = Rootfs::lazy(Path::new("/"), Arc::new(OwnersAsSeen)).unwrap();
    let saved = rootfs.keep(&Store::open(store.path()).unwrap()).unwrap().unwrap();
    let top = ImagePath::parse(files.as_os_str().as_encoded_bytes()).unwrap();
    let before = tree(&rootfs, &top);
    let argv = ["/bin/sh", "-c", SCRIPT, "sh", files.to_str().unwrap()];
    let (codes, recording) = trace("host", Path::new("/"), &argv, Box::new(Keeper(saved.clone())));
    assert_eq!(codes, [0], "{:?}", recording.err().map(|e| e.to_string()));
    assert_eq!(fs::read_to_string(files.join("rewritten")).unwrap(), "rewritten\n");
    assert_eq!(before, tree(&rootfs, &top));
    assert_eq!(saved.notes(), Vec::<String>::new());
}
