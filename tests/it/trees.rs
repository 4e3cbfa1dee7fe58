//! Small bases for tests, and trees as text: `/dir/file: file 0644 1:2 5 cc55e2ec`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use scrimp::base::{Digest, FileTree, ImagePath, escape_bytes};
use scrimp::closure::{Reason, Requirements};
use scrimp::image::{Entry, EntryKind, Rootfs};
use scrimp::observation::{Header, Observation, Operation, Transcript};

pub fn path(text: &str) -> ImagePath {
    ImagePath::from_text(text).unwrap()
}

/// A base that is made for one test.
pub struct Base {
    pub dir: tempfile::TempDir,
    pub entries: FileTree<Entry>,
}

impl Base {
    pub fn new() -> Self {
        let mut base = Base { dir: tempfile::tempdir().unwrap(), entries: FileTree::new() };
        base.entries.insert(ImagePath::root(), entry(EntryKind::Dir, 0o755));
        base
    }

    pub fn put(mut self, text: &str, entry: Entry) -> Self {
        self.entries.insert(path(text), entry);
        self
    }

    pub fn dir(self, text: &str, mode: u32) -> Self {
        fs::create_dir_all(path(text).on_host(self.dir.path())).unwrap();
        self.put(text, entry(EntryKind::Dir, mode))
    }

    pub fn link(self, text: &str, target: &str) -> Self {
        self.put(text, entry(EntryKind::Symlink { target: target.as_bytes().to_vec() }, 0o777))
    }

    pub fn file(self, text: &str, mode: u32, content: &[u8]) -> Self {
        let on_host = path(text).on_host(self.dir.path());
        fs::create_dir_all(on_host.parent().unwrap()).unwrap();
        fs::write(on_host, content).unwrap();
        let kind = EntryKind::File { size: content.len() as u64, digest: Some(Digest::of(content)), link_group: None };
        self.put(text, entry(kind, mode))
    }

    /// Changes the entry that was put last at `text`.
    pub fn with(mut self, text: &str, change: impl FnOnce(&mut Entry)) -> Self {
        change(self.entries.get_mut(&path(text)).unwrap());
        self
    }

    /// Makes the files at `names` one file.
    pub fn hardlinked(mut self, group: u64, names: &[&str]) -> Self {
        for name in names {
            if let EntryKind::File { link_group, .. } = &mut self.entries.get_mut(&path(name)).unwrap().kind {
                *link_group = Some(group);
            }
        }
        self
    }

    pub fn rootfs(&self) -> Rootfs {
        Rootfs::full(self.dir.path(), self.entries.clone()).unwrap()
    }
}

pub fn entry(kind: EntryKind, mode: u32) -> Entry {
    Entry { kind, mode, uid: 0, gid: 0, mtime: 1_000_000_000, nanos: 0, xattrs: BTreeMap::new() }
}

/// Requirements of paths that were opened.
pub fn opened(paths: &[&str]) -> Requirements {
    let reasons = BTreeSet::from([Reason::Access(Operation::Open)]);
    Requirements { paths: paths.iter().map(|text| (path(text), reasons.clone())).collect(), ..Requirements::default() }
}

/// Requirements of everything in the base.
pub fn everything(base: &Base) -> Requirements {
    let reasons = BTreeSet::from([Reason::Access(Operation::Open)]);
    Requirements {
        paths: base.entries.iter().map(|(path, _)| (path.clone(), reasons.clone())).collect(),
        ..Requirements::default()
    }
}

/// An observation in which nothing happened.
pub fn quiet() -> Observation {
    let header = Header {
        schema_version: 1,
        tool: "scrimp 0.1.0".into(),
        source: "docker-archive:app.tar".into(),
        source_digest: Some(Digest::of(b"config")),
        command: vec!["/bin/app".into()],
        overrides: Default::default(),
        env_names: Vec::new(),
        runs: vec![],
        rung: "a".into(),
        gaps: Vec::new(),
        warnings: Vec::new(),
        transcript: Transcript::default(),
    };
    Observation { header, paths: FileTree::new() }
}

/// What a tar file holds, one line per entry in its order, times left out.
pub fn tar_as_text(tar: impl Read) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let mut lines = Vec::new();
    let mut pax = BTreeMap::new();
    for entry in archive.entries().unwrap().raw(true) {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let kind = match header.entry_type() {
            tar::EntryType::XHeader => {
                pax = pax_records(&content);
                continue;
            }
            tar::EntryType::Regular => "file",
            tar::EntryType::Directory => "dir",
            tar::EntryType::Symlink => "symlink",
            tar::EntryType::Link => "hardlink",
            tar::EntryType::Char => "char-device",
            tar::EntryType::Block => "block-device",
            tar::EntryType::Fifo => "fifo",
            other => panic!("{other:?}"),
        };
        let text = |key: &str, otherwise: Vec<u8>| escape_bytes(pax.get(key).unwrap_or(&otherwise)).into_owned();
        let name = text("path", header.path_bytes().into_owned());
        let uid = text("uid", header.uid().unwrap().to_string().into());
        let gid = text("gid", header.gid().unwrap().to_string().into());
        let target = text("linkpath", header.link_name_bytes().unwrap_or_default().into_owned());
        let device = || (header.device_major().unwrap().unwrap(), header.device_minor().unwrap().unwrap());
        let rest = match kind {
            "file" => format!(" {} {}", content.len(), &Digest::of(&content).hex()[..8]),
            "symlink" | "hardlink" => format!(" -> {target}"),
            "char-device" | "block-device" => format!(" {}:{}", device().0, device().1),
            _ => String::new(),
        };
        let xattrs: String = pax
            .iter()
            .filter_map(|(key, value)| Some(format!(" {}={}", key.strip_prefix("SCHILY.xattr.")?, escape_bytes(value))))
            .collect();
        // Some writers put the type of the file there too.
        let mode = header.mode().unwrap() & 0o7777;
        lines.push(format!("{name}: {kind} {mode:04o} {uid}:{gid}{rest}{xattrs}"));
        pax.clear();
    }
    lines
}

/// The records of a pax header by their lengths: a value may hold a newline.
pub fn pax_records(mut bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut records = BTreeMap::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|&b| b == b' ').unwrap();
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let (record, rest) = bytes.split_at(length);
        let record = record[space + 1..].strip_suffix(b"\n").unwrap();
        let equals = record.iter().position(|&b| b == b'=').unwrap();
        let key = String::from_utf8(record[..equals].to_vec()).unwrap();
        assert!(records.insert(key, record[equals + 1..].to_vec()).is_none());
        bytes = rest;
    }
    records
}

/// What a directory holds, all levels, as [`tar_as_text`] has it; owners left out.
pub fn dir_as_text(root: &Path) -> Vec<String> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let mut lines = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(at) = pending.pop() {
        let meta = fs::symlink_metadata(&at).unwrap();
        let name = escape_bytes(at.strip_prefix(root).unwrap().as_os_str().as_bytes()).into_owned();
        let mode = meta.mode() & 0o7777;
        if meta.is_dir() {
            pending.extend(fs::read_dir(&at).unwrap().map(|e| e.unwrap().path()));
            lines.push(format!("{name}/: dir {mode:04o}"));
        } else if meta.file_type().is_symlink() {
            lines.push(format!("{name}: symlink -> {}", fs::read_link(&at).unwrap().display()));
        } else if meta.file_type().is_fifo() {
            lines.push(format!("{name}: fifo {mode:04o}"));
        } else {
            let content = fs::read(&at).unwrap();
            let links = if meta.nlink() > 1 { format!(" {} names", meta.nlink()) } else { String::new() };
            lines.push(format!(
                "{name}: file {mode:04o} {} {}{links}",
                content.len(),
                &Digest::of(&content).hex()[..8]
            ));
        }
    }
    lines.sort();
    lines
}
