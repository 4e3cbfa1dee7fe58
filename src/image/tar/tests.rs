use std::process::Command;

use proptest::prelude::*;

use super::*;

/// One entry as text: name, type, mode, owner, size and the extents of a sparse file.
fn describe(header: &Header, data: &[u8]) -> String {
    let kind = match &header.kind {
        Kind::File => format!("file {}", header.size),
        Kind::HardLink(to) => format!("link {}", escape_bytes(to)),
        Kind::Symlink(to) => format!("symlink {}", escape_bytes(to)),
        Kind::CharDevice(major, minor) => format!("char {major}:{minor}"),
        Kind::BlockDevice(major, minor) => format!("block {major}:{minor}"),
        Kind::Dir => "dir".into(),
        Kind::Fifo => "fifo".into(),
    };
    let mut line = format!(
        "{} {kind} {:04o} {}:{} {}",
        escape_bytes(&header.name),
        header.mode,
        header.uid,
        header.gid,
        header.mtime
    );
    if !data.is_empty() && data.len() < 20 {
        line += &format!(" {:?}", escape_bytes(data));
    }
    for (name, value) in &header.xattrs {
        line += &format!(" {name}={}", escape_bytes(value));
    }
    line
}

fn list(archive: &[u8]) -> Result<Vec<String>, TarError> {
    let mut reader = Reader::new(archive);
    let mut lines = Vec::new();
    while let Some(header) = reader.next_entry()? {
        let mut data = Vec::new();
        loop {
            let piece = reader.data()?.to_vec();
            if piece.is_empty() {
                break;
            }
            reader.consume(piece.len());
            data.extend(piece);
        }
        lines.push(describe(&header, &data));
    }
    Ok(lines)
}

/// Runs GNU tar in a directory that holds what `prepare` puts there, and returns the archive.
fn gnu_tar(prepare: &str, arguments: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let done = Command::new("sh").args(["-ec", prepare]).current_dir(dir.path()).status().unwrap();
    assert!(done.success(), "{prepare}");
    let output = Command::new("tar")
        .args(["--sort=name", "--owner=7", "--group=8", "--numeric-owner", "--mtime=@100.5", "-c"])
        .args(arguments)
        .arg(".")
        .current_dir(dir.path())
        .output()
        .expect("GNU tar is needed: apt-get install tar");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn every_format_of_gnu_tar_reads_the_same() {
    let long = "l".repeat(90);
    let prepare = format!(
        "mkdir -p d/{long}; printf hello > d/{long}/{long}; ln -s {long}/{long} d/s; ln d/{long}/{long} h; mkfifo p; \
         chmod 640 d/{long}/{long}; chmod 755 . d d/{long}; chmod 4711 p"
    );
    let expected = [
        "./ dir 0755 7:8 100".to_string(),
        "./d/ dir 0755 7:8 100".to_string(),
        format!("./d/{long}/ dir 0755 7:8 100"),
        format!("./d/{long}/{long} file 5 0640 7:8 100 \"hello\""),
        format!("./d/s symlink {long}/{long} 0777 7:8 100"),
        format!("./h link ./d/{long}/{long} 0640 7:8 100"),
        "./p fifo 4711 7:8 100".to_string(),
    ];
    for format in ["--format=gnu", "--format=pax"] {
        assert_eq!(list(&gnu_tar(&prepare, &[format])).unwrap(), expected, "{format}");
    }
}

#[test]
fn sparse_files_keep_their_holes_in_every_format() {
    let prepare = "truncate -s 3M f; for at in 0 1000000 2000000; do printf data | dd of=f bs=1 seek=$at conv=notrunc \
                   status=none; done";
    for format in ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"] {
        let pax = if format.starts_with("--sparse") { "--format=pax" } else { "--sparse" };
        let archive = gnu_tar(prepare, &["--sparse", "--hole-detection=raw", pax, format]);
        let mut reader = Reader::new(archive.as_slice());
        let header = std::iter::from_fn(|| reader.next_entry().unwrap()).find(|h| h.kind == Kind::File).unwrap();
        assert_eq!((&*escape_bytes(&header.name), header.size), ("./f", 3 << 20), "{format}");
        let mut content = vec![0; 3 << 20];
        for extent in header.extents.expect("it has holes") {
            let (mut at, mut left) = (extent.offset as usize, extent.length as usize);
            while left > 0 {
                let piece = reader.data().unwrap();
                let step = piece.len().min(left);
                content[at..at + step].copy_from_slice(&piece[..step]);
                reader.consume(step);
                (at, left) = (at + step, left - step);
            }
        }
        let places: Vec<usize> = (0..content.len() - 3).filter(|&at| &content[at..at + 4] == b"data").collect();
        assert_eq!(places, [0, 1_000_000, 2_000_000], "{format}");
        assert!(reader.next_entry().unwrap().is_none());
    }
}

#[test]
fn attributes_with_line_breaks_survive() {
    let mut builder = ::tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("SCHILY.xattr.security.capability", &b"\x01\0\0\x02\n\0 7 x=y\n"[..])]).unwrap();
    let mut header = ::tar::Header::new_ustar();
    header.set_size(0);
    builder.append_data(&mut header, "f", &b""[..]).unwrap();
    let lines = list(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(lines, [r"f file 0 0000 0:0 0 security.capability=\x01\x00\x00\x02\x0a\x00 7 x=y\x0a"]);
}

#[test]
fn archives_that_lie_are_refused() {
    let entry = |size: u64, kind: u8| {
        let mut header = ::tar::Header::new_gnu();
        header.set_path("f").unwrap();
        header.set_size(size);
        header.set_entry_type(::tar::EntryType::new(kind));
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    for (archive, expected) in [
        (entry(5000, b'0'), "the archive ends in the middle of an entry (at byte 512)"),
        (entry(0, b'0')[..300].to_vec(), "the archive ends in the middle of an entry (at byte 300)"),
        (vec![1; 512], "this is no tar header: its checksum is wrong (at byte 512)"),
        (
            entry(8 << 30, b'x'),
            "an extended tar header of 8589934592 bytes, more than the 1048576 that are allowed (at byte 512)",
        ),
        (
            entry(8 << 30, b'L'),
            "an extended tar header of 8589934592 bytes, more than the 1048576 that are allowed (at byte 512)",
        ),
        (entry(3, b'L'), "the archive ends in the middle of an entry (at byte 512)"),
        (entry(0, b'L'), "the archive ends in the middle of an entry (at byte 512)"),
        (entry(0, b'V'), "an entry of the unknown type 'V' (at byte 512)"),
    ] {
        assert_eq!(list(&archive).unwrap_err().to_string(), expected);
    }
    assert_eq!(list(b"").unwrap(), Vec::<String>::new());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        flips in proptest::collection::vec((0usize..20_480, any::<u8>()), 1..12),
        end in 0usize..20_480,
        fix_checksums in any::<bool>(),
    ) {
        let mut archive = sample();
        for (at, byte) in flips {
            let at = at % archive.len();
            archive[at] = byte;
        }
        archive.truncate(end);
        if fix_checksums {
            for block in archive.chunks_exact_mut(512) {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        if let Err(error) = list(&archive) {
            prop_assert!(error.offset <= archive.len() as u64);
        }
    }
}

fn sample() -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    builder.append_data(&mut header, "a".repeat(200), &b"data"[..]).unwrap();
    builder.append_pax_extensions([("GNU.sparse.map", &b"0,4,8,0"[..]), ("GNU.sparse.size", b"8")]).unwrap();
    builder.append_data(&mut header, "b", &b"data"[..]).unwrap();
    builder.into_inner().unwrap()
}
