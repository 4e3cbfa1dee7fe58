//! Layers are written as text, one entry per line, and so is what comes of them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::*;
use crate::base::Digest;
use crate::image::layer::Opener;

/// `NAME TYPE [ARGUMENT] [@MODE[:UID:GID]]`, where TYPE is one of file (with its content), dir, link, hard, fifo, char.
fn layer(text: &str) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words: Vec<&str> = line.split(' ').collect();
        let mut header = ::tar::Header::new_gnu();
        header.set_mode(if words[1] == "dir" { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        if let Some(owner) = words.last().and_then(|word| word.strip_prefix('@')) {
            let mut parts = owner.split(':');
            header.set_mode(u32::from_str_radix(parts.next().unwrap(), 8).unwrap());
            header.set_uid(parts.next().unwrap_or("0").parse().unwrap());
            header.set_gid(parts.next().unwrap_or("0").parse().unwrap());
            words.pop();
        }
        let argument = words.get(2).copied().unwrap_or_default();
        let (kind, content, target) = match words[1] {
            "file" => (::tar::EntryType::Regular, argument, ""),
            "dir" => (::tar::EntryType::Directory, "", ""),
            "link" => (::tar::EntryType::Symlink, "", argument),
            "hard" => (::tar::EntryType::Link, "", argument),
            "fifo" => (::tar::EntryType::Fifo, "", ""),
            "char" => (::tar::EntryType::Char, "", ""),
            other => panic!("unknown type {other}"),
        };
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..words[0].len()].copy_from_slice(words[0].as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn input(data: Vec<u8>, diff_id: Option<Digest>) -> LayerInput<'static> {
    let open: Opener<'static> = Box::new(move || Ok(Box::new(io::Cursor::new(data))));
    LayerInput { name: "the layer".into(), blob: None, diff_id, open }
}

/// Unpacks into `canary/root` of a new directory; nothing else of `canary` may change.
fn unpack(layers: Vec<Vec<u8>>, limits: &Limits) -> (tempfile::TempDir, Result<FileTree<Entry>, ImageError>) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(dir.path().join("outside"), "untouched").unwrap();
    let layers = layers.into_iter().map(|data| input(data, None)).collect();
    let result = unpack_layers(layers, &root, limits);
    let around: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(around.len(), 2, "{around:?}");
    assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"untouched");
    (dir, result)
}

fn show(entry: &Entry) -> String {
    let what = match &entry.kind {
        EntryKind::File { digest, link_group, .. } => {
            let group = link_group.map(|group| format!(" link{group}")).unwrap_or_default();
            format!("file {}{group}", &digest.unwrap().hex()[..8])
        }
        EntryKind::Dir => "dir".into(),
        EntryKind::Symlink { target } => format!("-> {}", escape_bytes(target)),
        EntryKind::CharDevice { major, minor } => format!("char {major}:{minor}"),
        other => format!("{other:?}").to_lowercase(),
    };
    match entry.mode {
        0o644 | 0o755 if entry.uid == 0 => what,
        mode => format!("{what} {mode:04o} {}:{}", entry.uid, entry.gid),
    }
}

/// Everything but the root, and checks that the disk holds what the index says.
fn tree(layers: &[&str]) -> Vec<String> {
    let (dir, result) = unpack(layers.iter().map(|text| layer(text)).collect(), &Limits::default());
    let entries = result.unwrap_or_else(|error| panic!("{layers:?}: {error}"));
    agrees_with_disk(&entries, &dir.path().join("root"));
    let lines = entries.iter().filter(|(path, _)| !path.is_root());
    lines.map(|(path, entry)| format!("{path}: {}", show(entry))).collect()
}

fn agrees_with_disk(entries: &FileTree<Entry>, root: &Path) {
    let mut on_disk = 0;
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap().map(|e| e.unwrap()) {
            on_disk += 1;
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
        }
    }
    assert_eq!(on_disk + 1, entries.len());
    for (path, entry) in entries.iter() {
        let found = fs::symlink_metadata(path.on_host(root)).unwrap();
        match &entry.kind {
            EntryKind::File { digest, size, link_group } => {
                assert_eq!(Digest::of(&fs::read(path.on_host(root)).unwrap()), digest.unwrap(), "{path}");
                assert_eq!((found.len(), found.nlink() > 1), (*size, link_group.is_some()), "{path}");
            }
            EntryKind::Dir => assert!(found.is_dir(), "{path}"),
            EntryKind::Symlink { .. } => assert!(found.is_symlink(), "{path}"),
            _ => {}
        }
        if !found.is_symlink() {
            assert_eq!((found.mode() & 0o7777, found.mtime()), (entry.mode, entry.mtime), "{path}");
        }
    }
}

const X: &str = "2d711642"; // the digest of "x" begins so
const Y: &str = "a1fce436"; // and that of "y" so

#[test]
fn layers_are_applied_in_order() {
    for (layers, expected) in [
        // A lower file is replaced, whatever it was.
        (&["a file x", "a file y"][..], vec![format!("/a: file {Y}")]),
        (&["a dir\n a/b file x", "a file y"], vec![format!("/a: file {Y}")]),
        (&["a file x", "a dir\n a/b file y"], vec!["/a: dir".into(), format!("/a/b: file {Y}")]),
        (&["a link b", "a file y"], vec![format!("/a: file {Y}")]),
        (
            &["d dir\n a link d\n d/x file x", "a dir\n a/y file y"],
            vec!["/a: dir".into(), format!("/a/y: file {Y}"), "/d: dir".into(), format!("/d/x: file {X}")],
        ),
        // A directory over a directory changes its metadata and keeps its content.
        (&["a dir\n a/b file x", "a dir @1770:0:0"], vec!["/a: dir 1770 0:0".into(), format!("/a/b: file {X}")]),
        // Directories that no entry is for.
        (&["a/b/c file x"], vec!["/a: dir".into(), "/a/b: dir".into(), format!("/a/b/c: file {X}")]),
        // Nodes.
        (&["p fifo @0600:0:0\n n char"], vec!["/n: char 0:0".into(), "/p: fifo 0600 0:0".into()]),
        (
            &["./a file x\n/b file x\n c/../d file x"],
            vec![format!("/a: file {X}"), format!("/b: file {X}"), format!("/d: file {X}")],
        ),
    ] {
        assert_eq!(tree(layers), expected, "{layers:?}");
    }
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let lower = "d dir\n d/a file x\n d/b file x\n d/e dir\n d/e/f file x\n k file x";
    for (upper, expected) in [
        ("d/.wh.a file", "/d /d/b /d/e /d/e/f /k"),
        ("d/.wh.e file", "/d /d/a /d/b /k"),
        (".wh.d file", "/k"),
        (".wh.none file", "/d /d/a /d/b /d/e /d/e/f /k"),
        // In either order, what this layer has stays.
        (".wh.d file\n d dir\n d/n file y", "/d /d/n /k"),
        ("d dir\n d/n file y\n .wh.d file", "/d /d/n /k"),
        ("d/n file y\n .wh.d file", "/d /d/n /k"),
        ("d/a file y\n d/.wh.a file", "/d /d/a /d/b /d/e /d/e/f /k"),
        // Opaque directories.
        ("d/.wh..wh..opq file\n d/n file y", "/d /d/n /k"),
        ("d/n file y\n d/.wh..wh..opq file", "/d /d/n /k"),
        ("d/e/n file y\n d/.wh..wh..opq file", "/d /d/e /d/e/n /k"),
        (".wh..wh..opq file\n n file y", "/n"),
        // What AUFS left behind is nothing.
        (".wh..wh.plnk dir\n .wh..wh.plnk/1.2 file x\n .wh..wh.aufs file", "/d /d/a /d/b /d/e /d/e/f /k"),
    ] {
        let lines = tree(&[lower, upper]);
        let paths: Vec<&str> = lines.iter().filter_map(|line| line.split_once(": ").map(|(p, _)| p)).collect();
        assert_eq!(paths.join(" "), expected, "{upper}");
    }
    // In the lowest layer there is nothing to hide.
    assert_eq!(tree(&["a file x\n .wh.a file\n d dir\n d/b file x\n d/.wh..wh..opq file"]).len(), 3);
}

#[test]
fn a_directory_that_was_hidden_is_not_the_one_that_comes_after() {
    let lines = tree(&["d dir @0700:5:5\n d/a file x", ".wh.d file\n d/n file y"]);
    assert_eq!(lines, ["/d: dir".to_string(), format!("/d/n: file {Y}")]);
    let lines = tree(&["d dir @0700:5:5\n d/a file x", "d/n file y\n .wh.d file"]);
    assert_eq!(lines, ["/d: dir".to_string(), format!("/d/n: file {Y}")]);
    let lines = tree(&["d dir @0700:5:5\n d/a file x", "d/n file y"]);
    assert_eq!(lines[0], "/d: dir 0700 5:5");
}

#[test]
fn hard_links_share_what_they_name() {
    for (layers, expected) in [
        (&["b file x\n a hard b"][..], vec![format!("/a: file {X} link1"), format!("/b: file {X} link1")]),
        (&["b file x", "a hard /b"], vec![format!("/a: file {X} link1"), format!("/b: file {X} link1")]),
        // A name that is replaced leaves the others as they were.
        (&["b file x\n a hard b", "b file y"], vec![format!("/a: file {X}"), format!("/b: file {Y}")]),
        (
            &["b file x\n a hard b\n c hard a", ".wh.a file"],
            vec![format!("/b: file {X} link1"), format!("/c: file {X} link1")],
        ),
        // The target as it stands: this layer's, not the lower one's.
        (&["b file x", "b file y\n a hard b"], vec![format!("/a: file {Y} link1"), format!("/b: file {Y} link1")]),
        // The metadata of the last entry are those of the file.
        (
            &["b file x\n a hard b @0600:7:7"],
            vec![format!("/a: file {X} link1 0600 7:7"), format!("/b: file {X} link1 0600 7:7")],
        ),
        (&["l link to\n a hard l @0777:0:0"], vec!["/a: -> to 0777 0:0".into(), "/l: -> to".into()]),
        (
            &["b file x\n a hard b\n a hard b\n b hard b"],
            vec![format!("/a: file {X} link1"), format!("/b: file {X} link1")],
        ),
        (
            &["d dir\n d/b file x\n s link d\n a hard s/b"],
            vec![format!("/a: file {X} link1"), "/d: dir".into(), format!("/d/b: file {X} link1"), "/s: -> d".into()],
        ),
    ] {
        assert_eq!(tree(layers), expected, "{layers:?}");
    }
}

#[test]
fn links_on_the_way_are_followed_inside_the_root() {
    for (layers, expected) in [
        (&["usr/bin dir\n bin link usr/bin\n bin/sh file x"][..], "/bin /usr /usr/bin /usr/bin/sh"),
        (&["usr/bin dir\n bin link /usr/bin", "bin/sh file x"], "/bin /usr /usr/bin /usr/bin/sh"),
        (&["a link ../../../../outside\n a/f file x"], "/a /outside /outside/f"),
        (&["a link /\n a/a2 link ..\n a/a2/f file x"], "/a /a2 /f"),
        (&["a link b\n b link c\n a/f file x"], "/a /b /c /c/f"),
        (&["usr/bin dir\n usr/bin/sh file x\n bin link usr/bin", "bin/.wh.sh file"], "/bin /usr /usr/bin"),
        (&["d dir\n d/x file x\n s link d", "s/.wh..wh..opq file"], "/d /s"),
    ] {
        let lines = tree(layers);
        let paths: Vec<&str> = lines.iter().filter_map(|line| line.split_once(": ").map(|(p, _)| p)).collect();
        assert_eq!(paths.join(" "), expected, "{layers:?}");
    }
}

#[test]
fn what_cannot_be_unpacked_is_named() {
    for (text, expected) in [
        ("../outside file x", "cannot unpack \"../outside\" of the layer: its name leads out of the image"),
        ("a/../../outside file x", "its name leads out of the image"),
        ("h hard ../outside", "its name leads out of the image"),
        ("h hard none", "it is a hard link to \"none\", which does not exist"),
        ("d dir\n h hard d", "it is a hard link to the directory /d"),
        ("h hard /", "it is a hard link to the directory /"),
        ("d dir\n d/b file x\n d hard d/b", "it is a hard link to \"d/b\", which does not exist"),
        ("f file x\n f/a file x", "/f is not a directory"),
        ("a link b\n b link a\n a/f file x", "the symbolic links on the way to it lead in circles"),
        ("./ file x", "the root of an image must be a directory"),
        ("d/.wh. file", "it is a whiteout of nothing"),
        ("d/.wh... file", "it is a whiteout of nothing"),
    ] {
        let error = unpack(vec![layer(text)], &Limits::default()).1.unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn the_root_keeps_its_metadata() {
    let (dir, result) = unpack(vec![layer("./ dir @0711:0:0\n a file x")], &Limits::default());
    assert_eq!(result.unwrap().get(&ImagePath::root()).unwrap().mode, 0o711);
    assert_eq!(fs::metadata(dir.path().join("root")).unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn bombs_are_stopped() {
    let gzip = |data: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    };
    let limits = Limits { unpacked_bytes: 1 << 20, entries: 20, json_bytes: 1 << 20 };
    let mut header = ::tar::Header::new_gnu();
    header.set_size(64 << 20);
    header.set_path("f").unwrap();
    header.set_cksum();
    let zeros = [header.as_bytes().to_vec(), vec![0; 64 << 20]].concat();
    let many = layer(&(0..30).map(|n| format!("f{n} dir\n")).collect::<String>());
    let deep = layer(&format!("{}x dir\n", "a/".repeat(25)));
    let trailing = [layer("a file x"), vec![0; 4 << 20]].concat();
    for bomb in [gzip(&zeros), zeros, many, deep, gzip(&trailing)] {
        let error = unpack(vec![bomb], &limits).1.unwrap_err().to_string();
        assert!(error.starts_with("the image is larger than 1048576 bytes or 20 files\nhint: "), "{error}");
    }
}

#[test]
fn damaged_layers_are_named() {
    let data = layer("a file x");
    let diff_id = Digest::of(&data);
    let run = |data: Vec<u8>| {
        let dir = tempfile::tempdir().unwrap();
        unpack_layers(vec![input(data, Some(diff_id))], dir.path(), &Limits::default())
    };
    run(data.clone()).unwrap();
    let found = Digest::of(&layer("a file y"));
    let error = run(layer("a file y")).unwrap_err().to_string();
    assert_eq!(error, format!("the layer is damaged: its digest is {found}, not {diff_id}"));
    // Also where the difference lies behind the end of the archive.
    let error = run([data.clone(), vec![0; 512]].concat()).unwrap_err().to_string();
    assert!(error.starts_with("the layer is damaged: "), "{error}");
    // What made the archive unreadable matters less than that it is not the promised one.
    let error = run(data[..700].to_vec()).unwrap_err().to_string();
    assert!(error.starts_with("the layer is damaged: "), "{error}");
    let error = unpack(vec![data[..700].to_vec()], &Limits::default()).1.unwrap_err().to_string();
    assert!(error.starts_with("cannot read the layer: the archive ends in the middle"), "{error}");
    let error = run(b"BZh91AY&SY".to_vec()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the layer: bzip2 is not supported\nhint: "), "{error}");
}

#[test]
fn attributes_are_in_the_index_and_those_of_the_machine_are_not() {
    let mut builder = ::tar::Builder::new(Vec::new());
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let records = [
        ("SCHILY.xattr.security.capability", &capability[..]),
        ("SCHILY.xattr.user.a", b"b"),
        ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.security.selinux", b"label"),
    ];
    builder.append_pax_extensions(records).unwrap();
    let mut header = ::tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(0);
    builder.append_data(&mut header, "f", &b""[..]).unwrap();
    let (dir, result) = unpack(vec![builder.into_inner().unwrap()], &Limits::default());
    let entries = result.unwrap();
    let entry = entries.get(&ImagePath::parse("/f").unwrap()).unwrap();
    assert_eq!(entry.xattrs.keys().collect::<Vec<_>>(), ["security.capability", "user.a"]);
    assert_eq!(xattr::get(dir.path().join("root/f"), "user.a").unwrap().unwrap(), b"b");
    assert!(xattr::get(dir.path().join("root/f"), "user.overlay.redirect").unwrap().is_none());
}

#[test]
fn a_full_disk_is_said_to_be_full() {
    let dir = tempfile::tempdir().unwrap();
    let limit = |cause: i32| {
        let path = ImagePath::parse("/a").unwrap();
        ImageError::Unpack { operation: "write", path, cause: io::Error::from_raw_os_error(cause) }.to_string()
    };
    assert!(limit(libc::ENOSPC).contains("No space left on device"), "{}", limit(libc::ENOSPC));
    assert!(limit(libc::ENOSPC).ends_with("give the store another place with --store DIR (or SCRIMP_STORE)"));
    assert!(!limit(libc::EIO).contains("hint"));
    drop(dir);
}

fn names() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        4 => "[ab]", 1 => Just("..".to_string()), 1 => Just(".".to_string()), 1 => Just(".wh.a".to_string()),
        1 => Just(".wh.b".to_string()), 1 => Just(".wh..wh..opq".to_string()), 1 => Just(String::new()),
    ];
    proptest::collection::vec(component, 1..4).prop_map(|parts| parts.join("/"))
}

fn lines() -> impl Strategy<Value = String> {
    let kind = prop_oneof![
        3 => Just("file x".to_string()), 3 => Just("dir".to_string()), 1 => Just("fifo".to_string()),
        3 => names().prop_map(|to| format!("link {to}")), 2 => names().prop_map(|to| format!("hard {to}")),
        1 => Just("link /".to_string()), 1 => Just("link ../../..".to_string()),
    ];
    (names(), kind).prop_map(|(name, kind)| format!("{} {kind}", if name.is_empty() { "." } else { &name }))
}

/// A file that ends in a hole once had its whole length in the index and less on disk.
#[test]
fn a_hole_at_the_end_is_part_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for (name, data) in [("hole", &b""[..]), ("tail", b"data")] {
        let mut file = File::create(dir.path().join(name)).unwrap();
        file.write_all(data).unwrap();
        file.set_len(3 << 20).unwrap();
    }
    for format in
        [&["--format=gnu"][..], &["--format=pax", "--sparse-version=0.1"], &["--format=pax", "--sparse-version=1.0"]]
    {
        let command = ["--sparse", "--hole-detection=raw", "-cf", "-", "hole", "tail"];
        let tar = std::process::Command::new("tar").args(format).args(command).current_dir(dir.path()).output();
        let tar = tar.expect("tar\nhint: install GNU tar");
        assert!(tar.status.success() && tar.stdout.len() < 1 << 20);
        let (place, result) = unpack(vec![tar.stdout], &Limits::default());
        let entries = result.unwrap();
        agrees_with_disk(&entries, &place.path().join("root"));
        for name in ["hole", "tail"] {
            assert_eq!(fs::metadata(place.path().join("root").join(name)).unwrap().len(), 3 << 20, "{format:?} {name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Random entries over few names meet in every way there is. Each that is refused alone is left out, so that the
    /// others go on.
    #[test]
    fn whatever_is_unpacked_stays_inside_and_agrees_with_the_index(
        layers in proptest::collection::vec(proptest::collection::vec(lines(), 1..8), 1..4)
    ) {
        let mut good: Vec<Vec<u8>> = Vec::new();
        for lines in layers {
            let mut text = String::new();
            for line in lines {
                let more = format!("{text}{line}\n");
                let mut all = good.clone();
                all.push(layer(&more));
                let (dir, result) = unpack(all, &Limits::default());
                if let Ok(entries) = result {
                    agrees_with_disk(&entries, &dir.path().join("root"));
                    text = more;
                }
            }
            good.push(layer(&text));
        }
    }

    #[test]
    fn damaged_archives_never_panic_and_stay_inside(
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        compress in any::<bool>(),
    ) {
        let mut data = layer("d dir\n d/a file x\n s link ../d\n s/b file y\n h hard d/a\n p fifo\n d/.wh.a file");
        for (at, byte) in &flips {
            let at = at.index(data.len());
            data[at] = *byte;
        }
        for block in data.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        if compress {
            data = zstd::encode_all(data.as_slice(), 1).unwrap();
            if let Some((at, byte)) = flips.first() {
                let at = at.index(data.len());
                data[at] ^= byte;
            }
        }
        if let Some(cut) = cut {
            data.truncate(cut.index(data.len()));
        }
        let limits = Limits { unpacked_bytes: 1 << 20, ..Limits::default() };
        let (dir, result) = unpack(vec![data], &limits);
        if let Ok(entries) = result {
            prop_assert!(entries.len() < 100);
            drop(dir);
        }
    }
}
