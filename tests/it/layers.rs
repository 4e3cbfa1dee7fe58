//! From a manifest to the bytes of a layer.

use std::fs;

use proptest::prelude::*;
use scrimp::assemble::{AssembleError, write_layer};
use scrimp::base::{Digest, Epoch};
use scrimp::image::EntryKind;

use crate::assemble::{ZOO, layer_of, manifest_of, run, zoo};
use crate::trees::{Base, entry, path, tar_as_text};

#[test]
fn a_layer_has_everything_as_the_base_has_it() {
    let layer = layer_of(&zoo(), None);
    assert_eq!(tar_as_text(layer.reader()), ZOO);
    assert_eq!(Digest::of_reader(layer.reader()).unwrap(), layer.diff_id);
    assert_eq!(std::io::copy(&mut layer.reader(), &mut std::io::sink()).unwrap(), layer.bytes);
}

#[test]
fn a_layer_is_the_same_bytes_for_ever() {
    let diff_id = layer_of(&zoo(), None).diff_id.to_string();
    assert_eq!(diff_id, "sha256:a775a2212dcd0b8b9397de264bf2dbe950fedd95397289f74dfa247c19764537");
}

#[test]
fn times_are_the_bases_and_never_later_than_the_epoch() {
    let pyc = |time: u32| [&[0xcb, 0x0d, 0x0d, 0x0a, 0, 0, 0, 0][..], &time.to_le_bytes(), &[1, 0, 0, 0]].concat();
    let base = Base::new()
        .file("/old", 0o644, b"")
        .with("/old", |entry| entry.mtime = -5)
        .file("/half", 0o644, b"")
        .with("/half", |entry| entry.nanos = 500_000_000)
        .file("/halfold", 0o644, b"")
        .with("/halfold", |entry| (entry.mtime, entry.nanos) = (-2, 750_000_000))
        .file("/last", 0o644, b"")
        .with("/last", |entry| (entry.mtime, entry.nanos) = (1_500_000_000, 1))
        .file("/new", 0o644, b"")
        .with("/new", |entry| entry.mtime = 2_000_000_000)
        .file("/m.py", 0o644, b"")
        .with("/m.py", |entry| entry.mtime = 2_000_000_000)
        .file("/n.py", 0o644, b"")
        .with("/n.py", |entry| entry.mtime = 2_000_000_000)
        .dir("/__pycache__", 0o755)
        .file("/__pycache__/m.cpython-313.pyc", 0o644, &pyc(2_000_000_000))
        .file("/__pycache__/n.cpython-313.pyc", 0o644, &pyc(1_999_999_999));
    let layer = layer_of(&base, Some(Epoch(1_500_000_000)));
    let mut archive = tar::Archive::new(layer.reader());
    let mut times = Vec::new();
    for member in archive.entries().unwrap() {
        let mut member = member.unwrap();
        let mut time = member.header().mtime().unwrap().to_string();
        if let Some(extensions) = member.pax_extensions().unwrap() {
            for extension in extensions.map(Result::unwrap) {
                time = format!("{}={}", extension.key().unwrap(), extension.value().unwrap());
            }
        }
        times.push(format!("{} {time}", member.path().unwrap().display()));
    }
    assert_eq!(
        times,
        [
            "__pycache__/ 1000000000",
            "__pycache__/m.cpython-313.pyc 1000000000",
            "__pycache__/n.cpython-313.pyc 1000000000",
            "half mtime=1000000000.5",
            "halfold mtime=-1.25",
            "last 1500000000",
            "m.py 2000000000",
            "n.py 1500000000",
            "new 1500000000",
            "old mtime=-5",
        ]
    );
}

#[test]
fn long_odd_and_huge_values_survive() {
    let long = format!("/{}/{}", "d".repeat(120), "f".repeat(120));
    let longer = format!("{long}{}", "g".repeat(80));
    let base = Base::new()
        .dir(&format!("/{}", "d".repeat(120)), 0o755)
        .file(&long, 0o644, b"long")
        .file(&longer, 0o644, b"longer")
        .link("/link", &"t".repeat(150))
        .file("/odd\\xff\\xfe", 0o644, b"odd")
        .file("/id", 0o644, b"id")
        .with("/id", |entry| (entry.uid, entry.gid) = (4_000_000_000, 2_097_152))
        .put("/dev/big", entry(EntryKind::BlockDevice { major: 259, minor: 1_048_575 }, 0o660))
        .dir("/dev", 0o755)
        .with("/", |entry| entry.mode = 0o700);
    let layer = layer_of(&base, None);
    let text = tar_as_text(layer.reader());
    let d = "d".repeat(120);
    let expected = [
        "./: dir 0700 0:0".into(),
        format!("{d}/: dir 0755 0:0"),
        format!("{d}/{}: file 0644 0:0 4 {}", "f".repeat(120), &Digest::of(b"long").hex()[..8]),
        format!("{d}/{}{}: file 0644 0:0 6 {}", "f".repeat(120), "g".repeat(80), &Digest::of(b"longer").hex()[..8]),
        "dev/: dir 0755 0:0".into(),
        "dev/big: block-device 0660 0:0 259:1048575".into(),
        format!("id: file 0644 4000000000:2097152 2 {}", &Digest::of(b"id").hex()[..8]),
        format!("link: symlink 0777 0:0 -> {}", "t".repeat(150)),
        format!("odd\\xff\\xfe: file 0644 0:0 3 {}", &Digest::of(b"odd").hex()[..8]),
    ];
    assert_eq!(text, expected);
    // The other reader that matters.
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("layer.tar");
    std::io::copy(&mut layer.reader(), &mut fs::File::create(&tar).unwrap()).unwrap();
    let listed = run("tar", &["--numeric-owner", "-tvf", tar.to_str().unwrap()]);
    assert!(
        listed.contains("4000000000/2097152") && listed.contains("259,1048575") && listed.contains("odd\\377\\376")
    );
}

#[test]
fn a_base_that_changes_meanwhile_is_an_error() {
    for (content, found) in [("other", "5 bytes"), ("longer content", "14 bytes"), ("", "0 bytes")] {
        let base = Base::new().file("/f", 0o644, b"first");
        let manifest = manifest_of(&base);
        fs::write(base.dir.path().join("f"), content).unwrap();
        let error = write_layer(&manifest, &base.rootfs(), None, tempfile::tempfile().unwrap()).err().unwrap();
        assert!(matches!(error, AssembleError::Changed { .. }));
        assert!(error.to_string().starts_with("/f changed while the image was made"), "{error}");
        assert!(error.to_string().contains(found), "{error}");
    }
}

#[test]
fn nothing_lies_below_a_link() {
    let base = Base::new().link("/lib", "usr/lib");
    let mut manifest = manifest_of(&base);
    let chosen = manifest.entries.get(&path("/lib")).unwrap().clone();
    manifest.entries.insert(path("/lib/x"), chosen);
    let error = write_layer(&manifest, &base.rootfs(), None, tempfile::tempfile().unwrap()).err().unwrap();
    assert_eq!(error.to_string(), "the manifest has /lib/x below /lib, which is not a directory");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_manifest_reads_back(
        members in proptest::collection::btree_map(
            "[a-d]{1,3}(/[a-d\u{e9}]{1,60}){0,4}",
            (0u32..5, 0u32..0o10000, any::<u32>(), any::<i32>(), proptest::collection::vec(any::<u8>(), 0..2000)),
            0..30,
        )
    ) {
        let mut base = Base::new();
        for (name, (kind, mode, id, mtime, content)) in &members {
            let name = format!("/{name}");
            // A name below something that is no directory cannot be.
            let has_file_above = path(&name).ancestors().any(|p| base.entries.get(&p).is_some_and(|e| !e.is_dir()));
            if has_file_above {
                continue;
            }
            base = match kind {
                0 => base.dir(&name, *mode),
                1 => base.link(&name, "somewhere/else"),
                2 => base.put(&name, entry(EntryKind::Fifo, *mode)),
                _ => base.file(&name, *mode, content),
            };
            base = base.with(&name, |entry| {
                (entry.uid, entry.gid, entry.mtime) = (*id, id.rotate_left(7), i64::from(*mtime));
                if kind % 2 == 0 {
                    entry.xattrs.insert("user.x".into(), content.clone());
                }
            });
        }
        let manifest = manifest_of(&base);
        let layer = write_layer(&manifest, &base.rootfs(), None, tempfile::tempfile().unwrap()).unwrap();
        let mut expected = Vec::new();
        for (path, chosen) in manifest.entries.iter().filter(|(path, _)| !path.is_root()) {
            let e = &chosen.entry;
            let (kind, rest) = match &e.kind {
                EntryKind::File { size, digest, .. } => ("file", format!(" {size} {}", &digest.unwrap().hex()[..8])),
                EntryKind::Dir => ("dir", String::new()),
                EntryKind::Symlink { target } => ("symlink", format!(" -> {}", String::from_utf8_lossy(target))),
                _ => ("fifo", String::new()),
            };
            let xattrs: String =
                e.xattrs.iter().map(|(k, v)| format!(" {k}={}", scrimp::base::escape_bytes(v))).collect();
            let slash = if e.is_dir() { "/" } else { "" };
            let name = scrimp::base::escape_bytes(path.relative()).into_owned();
            expected.push(format!("{name}{slash}: {kind} {:04o} {}:{}{rest}{xattrs}", e.mode, e.uid, e.gid));
        }
        prop_assert_eq!(tar_as_text(layer.reader()), expected);
    }
}
