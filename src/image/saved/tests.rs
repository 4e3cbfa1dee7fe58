use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::mkfifo;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::image::EntryKind;
use crate::image::saved::saving::with_hint;
use crate::image::{OwnersAsSeen, Rootfs, Store};

/// A directory with an application that changes it, and a rootfs that is to notice nothing. Each change is told first,
/// as a tracer would.
struct Place {
    dir: TempDir,
    saved: Arc<Saved>,
    rootfs: Rootfs,
    _store: TempDir,
}

impl Place {
    fn new() -> Self {
        let (dir, store_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("d/sub")).unwrap();
        fs::create_dir(at("empty")).unwrap();
        for name in ["a", "b", "d/x", "d/sub/deep"] {
            fs::write(at(name), format!("content of {name}")).unwrap();
        }
        fs::hard_link(at("a"), at("d/twin")).unwrap();
        symlink("d/x", at("link")).unwrap();
        symlink("d", at("dirlink")).unwrap();
        mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        // Attributes and a time that nothing made now can have.
        xattr::set(at("b"), "user.note", b"kept").unwrap();
        let time = TimeSpec::new(981_173_106, 0);
        for name in ["a", "b", "d/x", "d/sub/deep", "d/sub", "d", "empty", "link", "dirlink", "fifo", "."] {
            utimensat(AT_FDCWD, &at(name), &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
        }
        let store = Store::open(store_dir.path()).unwrap();
        let rootfs = Rootfs::lazy(dir.path(), Arc::new(OwnersAsSeen)).unwrap();
        let saved = rootfs.keep(&store).unwrap().unwrap();
        Place { dir, saved, rootfs, _store: store_dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name.trim_start_matches('/'))
    }

    /// The path that `name` really is; `None` when its directory does not exist.
    fn real(&self, name: &str) -> Option<ImagePath> {
        let root = self.dir.path().canonicalize().unwrap();
        let path = self.at(name);
        let real = path.parent()?.canonicalize().ok()?.join(path.file_name()?);
        ImagePath::from_relative(real.strip_prefix(&root).ok()?.as_os_str().as_encoded_bytes()).ok()
    }

    /// The same with a link at its end followed.
    fn followed(&self, name: &str) -> Option<ImagePath> {
        match fs::read_link(self.at(name)) {
            Ok(target) => self.real(Path::new(name).parent()?.join(target).to_str()?),
            Err(_) => self.real(name),
        }
    }

    fn is_there(&self, path: &ImagePath) -> bool {
        path.on_host(self.dir.path()).symlink_metadata().is_ok()
    }

    // The calls: what they change is told, and what becomes of them is their own affair.

    fn write(&self, name: &str, text: &str) {
        let Some(path) = self.followed(name) else { return };
        if self.at(name).is_dir() || name == "fifo" {
            return;
        }
        if self.is_there(&path) { self.saved.content(&path) } else { self.saved.name(&path) }.unwrap();
        drop(fs::write(self.at(name), text));
    }

    fn chmod(&self, name: &str, mode: u32) {
        let Some(path) = self.followed(name).filter(|path| self.is_there(path)) else { return };
        self.saved.metadata(&path).unwrap();
        fs::set_permissions(self.at(name), Permissions::from_mode(mode)).unwrap();
    }

    fn unlink(&self, name: &str) {
        let Some(path) = self.real(name).filter(|path| self.is_there(path)) else { return };
        self.saved.name(&path).unwrap();
        drop(fs::remove_file(self.at(name)));
    }

    fn rmdir(&self, name: &str) {
        let Some(path) = self.real(name).filter(|path| self.is_there(path)) else { return };
        self.saved.name(&path).unwrap();
        drop(fs::remove_dir(self.at(name)));
    }

    fn create(&self, name: &str, make: impl FnOnce(&Path) -> io::Result<()>) {
        let Some(path) = self.real(name).filter(|path| !self.is_there(path)) else { return };
        self.saved.name(&path).unwrap();
        drop(make(&self.at(name)));
    }

    fn mkdir(&self, name: &str) {
        self.create(name, |at| fs::create_dir(at));
    }

    fn link(&self, from: &str, to: &str) {
        if let Some(path) = self.real(from).filter(|path| self.is_there(path)) {
            self.saved.metadata(&path).unwrap();
        }
        self.create(to, |at| fs::hard_link(self.at(from), at));
    }

    fn rename(&self, from: &str, to: &str) {
        let (Some(source), Some(target)) = (self.real(from), self.real(to)) else { return };
        if !self.is_there(&source) {
            return;
        }
        let is_dir = source.on_host(self.dir.path()).symlink_metadata().unwrap().is_dir();
        if is_dir { self.saved.tree(&source) } else { self.saved.name(&source) }.unwrap();
        self.saved.name(&target).unwrap();
        drop(fs::rename(self.at(from), self.at(to)));
    }

    /// All that the rootfs has, one line per path; names of one file have the same letter.
    fn tree(&self) -> Vec<String> {
        let mut groups = BTreeMap::new();
        let mut out = Vec::new();
        let mut pending = vec![ImagePath::root()];
        while let Some(path) = pending.pop() {
            let Some(entry) = self.rootfs.lookup(&path).unwrap() else {
                out.push(format!("{path} is listed and not there"));
                continue;
            };
            let what = match &entry.kind {
                EntryKind::File { size, link_group, .. } => {
                    let content = String::from_utf8(self.rootfs.read(&path).unwrap()).unwrap();
                    assert_eq!(*size, content.len() as u64, "{path}");
                    let next = (b'A' + groups.len() as u8) as char;
                    let group = link_group.map(|group| *groups.entry(group).or_insert(next));
                    format!("file {content:?} {}", group.map(String::from).unwrap_or_default())
                }
                EntryKind::Symlink { target } => {
                    format!("link {}", OsString::from_vec(target.clone()).to_str().unwrap())
                }
                other => format!("{other:?}"),
            };
            out.push(format!("{path} {what} {:o} {} {:?}", entry.mode, entry.mtime, entry.xattrs));
            let names = self.rootfs.list(&path).unwrap();
            pending.extend(names.iter().rev().map(|name| path.child(name).unwrap()));
        }
        out
    }
}

#[test]
fn nothing_that_is_done_is_seen() {
    type Steps = fn(&Place);
    let cases: &[(&str, Steps)] = &[
        ("nothing", |_| {}),
        ("rewritten", |p| p.write("b", "other, and longer than before")),
        ("rewritten behind a link", |p| p.write("link", "x")),
        ("rewritten behind a directory link", |p| p.write("dirlink/x", "x")),
        ("rewritten under another name", |p| p.write("d/twin", "x")),
        ("created", |p| p.write("d/new", "x")),
        ("created and changed", |p| {
            p.write("d/new", "x");
            p.chmod("d/new", 0o600);
            p.write("d/new", "y");
        }),
        ("modes", |p| {
            for name in ["a", "d", "empty", "fifo", "d/sub/deep"] {
                p.chmod(name, 0o700);
            }
        }),
        ("unlinked and made again", |p| {
            for name in ["a", "link", "fifo", "d/x"] {
                p.unlink(name);
                p.write(name, "another file");
            }
        }),
        ("both names unlinked", |p| {
            p.unlink("a");
            p.unlink("d/twin");
            p.write("d/twin", "x");
        }),
        ("one name unlinked, the other written", |p| {
            p.unlink("a");
            p.write("d/twin", "x");
        }),
        ("a new name of an old file written", |p| {
            p.link("b", "c");
            p.write("c", "x");
        }),
        ("an old file moved and written", |p| {
            p.rename("b", "c");
            p.write("c", "x");
            p.chmod("c", 0o600);
        }),
        ("a file that was moved under one name, read under the other", |p| {
            p.rename("a", "c");
            p.write("c", "x");
        }),
        ("replaced", |p| {
            p.write("new", "x");
            p.rename("new", "b");
        }),
        ("a directory moved", |p| {
            p.rename("d", "e");
            p.write("e/x", "y");
            p.unlink("e/sub/deep");
            p.write("e/new", "y");
        }),
        ("a directory moved and made again", |p| {
            p.rename("d", "e");
            p.mkdir("d");
            p.write("d/x", "y");
            p.write("d/new", "y");
        }),
        ("a directory moved there and back", |p| {
            p.write("d/new", "x");
            p.rename("d", "e");
            p.write("e/newer", "y");
            p.rename("e", "d");
            p.write("d/x", "y");
        }),
        ("a directory moved over an empty one", |p| p.rename("d", "empty")),
        ("a directory moved over one that is not empty", |p| p.rename("empty", "d")),
        ("moved, then what is above it", |p| {
            p.rename("d/sub", "sub");
            p.rename("d", "e");
        }),
        ("a directory removed", |p| {
            p.unlink("d/sub/deep");
            p.rmdir("d/sub");
            p.write("d/sub", "a file now");
        }),
        ("a directory that is not empty, not removed", |p| p.rmdir("d")),
        ("a link that becomes a directory", |p| {
            p.unlink("dirlink");
            p.mkdir("dirlink");
            p.write("dirlink/x", "y");
        }),
    ];
    for (name, steps) in cases {
        let place = Place::new();
        let before = place.tree();
        steps(&place);
        let after = place.tree();
        assert_eq!(before, after, "{name}");
    }
}

#[test]
fn what_was_created_is_absent_whatever_happens_later() {
    let place = Place::new();
    place.mkdir("made");
    place.write("made/file", "x");
    place.rename("made", "moved");
    place.rename("b", "made");
    for path in ["/made", "/made/file", "/moved", "/moved/file"] {
        let path = ImagePath::parse(path).unwrap();
        assert_eq!(place.rootfs.lookup(&path).unwrap(), None, "{path}");
        assert!(place.rootfs.open(&path).is_err(), "{path}");
        assert_eq!(place.rootfs.list(&path).unwrap(), Vec::<Vec<u8>>::new(), "{path}");
    }
}

#[test]
fn links_lead_where_they_led() {
    let place = Place::new();
    place.unlink("link");
    place.create("link", |at| symlink("b", at));
    let found = place.rootfs.resolve(b"/link", true).unwrap();
    assert_eq!((found.end.to_string().as_str(), found.links.len()), ("/d/x", 1));
    assert_eq!(place.rootfs.read_resolved(&ImagePath::parse("/link").unwrap()).unwrap().unwrap(), b"content of d/x");
}

#[test]
fn a_second_run_finds_what_the_first_one_found() {
    let place = Place::new();
    let before = place.tree();
    place.write("b", "first");
    let store = tempfile::tempdir().unwrap();
    let again = place.rootfs.keep(&Store::open(store.path()).unwrap()).unwrap().unwrap();
    again.content(&ImagePath::parse("/b").unwrap()).unwrap();
    fs::write(place.at("b"), "second").unwrap();
    assert_eq!(place.tree(), before);
}

#[test]
fn what_cannot_be_saved_is_an_error_with_its_name() {
    let place = Place::new();
    fs::remove_dir_all(place.saved.scratch.path()).unwrap();
    let error = place.saved.content(&ImagePath::parse("/b").unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let error = place.saved.tree(&ImagePath::parse("/d").unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("/d/"), "{error}");
    assert!(with_hint(io::Error::from_raw_os_error(libc::ENOSPC)).to_string().contains("\nhint: "));
}

#[test]
fn what_the_kernel_makes_is_not_read() {
    let (rootfs, store) = (Rootfs::lazy(Path::new("/"), Arc::new(OwnersAsSeen)).unwrap(), tempfile::tempdir().unwrap());
    let saved = rootfs.keep(&Store::open(store.path()).unwrap()).unwrap().unwrap();
    // Reading this one waits.
    saved.content(&ImagePath::parse("/proc/kmsg").unwrap()).unwrap();
    assert!(saved.read().states.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Write(&'static str),
    Chmod(&'static str),
    Unlink(&'static str),
    Rmdir(&'static str),
    Mkdir(&'static str),
    Link(&'static str, &'static str),
    Rename(&'static str, &'static str),
}

fn step() -> impl Strategy<Value = Step> {
    const NAMES: [&str; 14] = [
        "a",
        "b",
        "c",
        "d",
        "e",
        "empty",
        "d/x",
        "d/twin",
        "d/sub",
        "d/sub/deep",
        "e/x",
        "empty/y",
        "link",
        "dirlink/x",
    ];
    let name = || proptest::sample::select(&NAMES[..]);
    prop_oneof![
        3 => name().prop_map(Step::Write),
        1 => name().prop_map(Step::Chmod),
        2 => name().prop_map(Step::Unlink),
        1 => name().prop_map(Step::Rmdir),
        1 => name().prop_map(Step::Mkdir),
        2 => (name(), name()).prop_map(|(from, to)| Step::Link(from, to)),
        4 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_done_at_random_is_seen(steps in proptest::collection::vec(step(), 1..20)) {
        let place = Place::new();
        let before = place.tree();
        for step in &steps {
            match step {
                Step::Write(name) => place.write(name, "written"),
                Step::Chmod(name) => place.chmod(name, 0o711),
                Step::Unlink(name) => place.unlink(name),
                Step::Rmdir(name) => place.rmdir(name),
                Step::Mkdir(name) => place.mkdir(name),
                Step::Link(from, to) => place.link(from, to),
                Step::Rename(from, to) => place.rename(from, to),
            }
        }
        prop_assert_eq!(before, place.tree());
    }
}
