//! What is in an image, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use crate::base::{Digest, ImagePath};
use crate::image::{Entry, EntryKind, ImageConfig};
use crate::report::human_bytes;

/// How deep directories are told apart: `/usr/lib/x86_64-linux-gnu`.
const DEPTH: usize = 3;

/// The content of an image, counted.
pub struct Contents {
    config: Vec<(&'static str, String)>,
    kinds: BTreeMap<&'static str, u64>,
    bytes: u64,
    directories: BTreeMap<ImagePath, u64>,
    files: Vec<(u64, ImagePath)>,
    setuid: Vec<ImagePath>,
    link_groups: BTreeSet<u64>,
}

impl Contents {
    /// Nothing counted yet.
    pub fn new(config: &ImageConfig, digest: Option<Digest>) -> Self {
        let list = |items: Vec<String>| (!items.is_empty()).then(|| items.join(" "));
        let volumes = config.volumes().iter().map(ImagePath::to_string).collect();
        let facts = [
            ("image id", digest.map(|d| d.to_string())),
            ("entrypoint", list(config.entrypoint())),
            ("cmd", list(config.cmd())),
            ("user", config.user().map(String::from)),
            ("workdir", config.working_dir().map(String::from)),
            ("ports", list(config.exposed_ports())),
            ("volumes", list(volumes)),
            ("healthcheck", config.healthcheck().map(|h| h.command.join(" "))),
        ];
        Contents {
            config: facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            kinds: BTreeMap::new(),
            bytes: 0,
            directories: BTreeMap::new(),
            files: Vec::new(),
            setuid: Vec::new(),
            link_groups: BTreeSet::new(),
        }
    }

    /// Counts one entry.
    pub fn add(&mut self, path: &ImagePath, entry: &Entry) {
        let kind = match entry.kind {
            EntryKind::File { link_group: Some(group), .. } if !self.link_groups.insert(group) => "further hardlinks",
            EntryKind::File { size, .. } => {
                self.count_file(path, size);
                "files"
            }
            EntryKind::Dir => "directories",
            EntryKind::Symlink { .. } => "links",
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => "devices",
            EntryKind::Fifo => "FIFOs",
            EntryKind::Socket => "sockets",
        };
        *self.kinds.entry(kind).or_default() += 1;
        if entry.is_file() && entry.mode & 0o6000 != 0 {
            self.setuid.push(path.clone());
        }
    }

    fn count_file(&mut self, path: &ImagePath, size: u64) {
        self.bytes += size;
        self.files.push((size, path.clone()));
        let mut directories: Vec<ImagePath> = path.ancestors().filter(|d| !d.is_root()).collect();
        directories.reverse();
        for directory in directories.into_iter().take(DEPTH) {
            *self.directories.entry(directory).or_default() += size;
        }
    }
}

/// Writes a page: the config, the sums, the `top` largest directories and files.
pub fn write_contents(out: &mut dyn Write, source: &str, contents: &Contents, top: usize) -> io::Result<()> {
    writeln!(out, "{source}")?;
    for (name, value) in &contents.config {
        writeln!(out, "  {name:<12} {value}")?;
    }
    let kinds: Vec<String> = contents.kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    writeln!(
        out,
        "  {:<12} {} ({} bytes): {}",
        "content",
        human_bytes(contents.bytes),
        contents.bytes,
        kinds.join(", ")
    )?;
    for path in &contents.setuid {
        writeln!(out, "  {:<12} {path}", "setuid")?;
    }
    let mut directories: Vec<(u64, &ImagePath)> = contents.directories.iter().map(|(p, &b)| (b, p)).collect();
    directories.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    section(out, "largest directories", directories.into_iter().take(top))?;
    let mut files: Vec<(u64, &ImagePath)> = contents.files.iter().map(|(b, p)| (*b, p)).collect();
    files.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    section(out, "largest files", files.into_iter().take(top))
}

fn section<'a>(out: &mut dyn Write, title: &str, rows: impl Iterator<Item = (u64, &'a ImagePath)>) -> io::Result<()> {
    writeln!(out, "\n{title}")?;
    for (bytes, path) in rows {
        writeln!(out, "  {:>8}  {path}", human_bytes(bytes))?;
    }
    Ok(())
}
