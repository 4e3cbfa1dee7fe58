//! The lock file: JSON Lines, a header and then one entry per line in the order of the paths. It is made to be
//! committed and read in a pull request, so it has no times, and nothing in it depends on the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::{Digest, FileTree, ImagePath, escape_bytes};
use crate::closure::Reason;
use crate::image::EntryKind;
use crate::select::{Header, Manifest, ManifestEntry, Totals};

/// A lock file.
#[derive(Clone, Debug, PartialEq)]
pub struct Lock {
    /// The first line, without the totals.
    pub header: Header,
    /// How large the image is; part of the first line.
    pub totals: Totals,
    /// The other lines.
    pub entries: FileTree<LockEntry>,
}

/// One entry of a lock file, without its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockEntry {
    /// The type of the file.
    pub kind: LockKind,
    /// Permission, set-id and sticky bits; in the file four octal digits.
    #[serde(serialize_with = "write_octal", deserialize_with = "read_octal")]
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of a regular file in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of the content of a regular file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Where a symbolic link points, the first name of a hardlink, `MAJOR:MINOR` of a device; in the text form of
    /// [`crate::base::escape_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Extended attributes, the values in hexadecimal digits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
    /// The package that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Why it is there.
    #[serde(serialize_with = "write_reasons", deserialize_with = "read_reasons")]
    pub reasons: BTreeSet<Reason>,
}

/// The type of a file in a lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockKind {
    /// A regular file, or the first name of one with several.
    File,
    /// A later name of a regular file; `target` is the first.
    Hardlink,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A FIFO.
    Fifo,
    /// A socket; no manifest has one.
    Socket,
}

/// A lock file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Reading failed.
    #[error("cannot read the lock file: {0}")]
    Read(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the lock file: {cause}")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: String,
    },
    /// There is no header.
    #[error("the lock file is empty")]
    Empty,
    /// It was written by a later version.
    #[error("the lock file has schema version {0}, this scrimp reads {known}\nhint: use a newer scrimp", known = Header::SCHEMA_VERSION)]
    Schema(u32),
}

#[derive(Serialize, Deserialize)]
struct HeaderLine {
    #[serde(flatten)]
    header: Header,
    #[serde(flatten)]
    totals: Totals,
}

#[derive(Serialize)]
struct EntryLine<'a> {
    path: &'a ImagePath,
    #[serde(flatten)]
    entry: &'a LockEntry,
}

impl Lock {
    /// The lock of a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        let hardlinks = manifest.hardlinks();
        let entries = manifest.entries.iter();
        Lock {
            header: manifest.header.clone(),
            totals: manifest.totals(),
            entries: entries.map(|(path, e)| (path.clone(), LockEntry::of(e, hardlinks.get(path)))).collect(),
        }
    }

    /// Writes the file.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut out, &HeaderLine { header: self.header.clone(), totals: self.totals })?;
        out.write_all(b"\n")?;
        for (path, entry) in self.entries.iter() {
            serde_json::to_writer(&mut out, &EntryLine { path, entry })?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Reads the file; empty lines are passed over.
    pub fn read(input: impl BufRead) -> Result<Self, LockError> {
        let mut header: Option<HeaderLine> = None;
        let mut entries = FileTree::new();
        for (index, text) in input.lines().enumerate() {
            let (line, text) = (index + 1, text?);
            let bad = |cause: String| LockError::Line { line, cause };
            if text.trim().is_empty() {
                continue;
            }
            let mut value: serde_json::Value = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
            if header.is_none() {
                if let Some(version) =
                    value["schema_version"].as_u64().filter(|&v| v != u64::from(Header::SCHEMA_VERSION))
                {
                    return Err(LockError::Schema(version.try_into().unwrap_or(u32::MAX)));
                }
                header = Some(serde_json::from_value(value).map_err(|e| bad(format!("bad header: {e}")))?);
                continue;
            }
            let path = value.as_object_mut().and_then(|object| object.shift_remove("path"));
            let path = path.ok_or_else(|| bad("it has no path".into()))?;
            let path: ImagePath = serde_json::from_value(path).map_err(|e| bad(e.to_string()))?;
            let entry: LockEntry = serde_json::from_value(value).map_err(|e| bad(format!("{path}: {e}")))?;
            if entries.insert(path.clone(), entry).is_some() {
                return Err(bad(format!("{path} is there twice")));
            }
        }
        let HeaderLine { header, totals } = header.ok_or(LockError::Empty)?;
        Ok(Lock { header, totals, entries })
    }
}

impl LockEntry {
    fn of(chosen: &ManifestEntry, first_name: Option<&ImagePath>) -> Self {
        let entry = &chosen.entry;
        let device = |major: &u32, minor: &u32| Some(format!("{major}:{minor}"));
        let (kind, size, sha256, target) = match &entry.kind {
            EntryKind::File { size, digest, .. } => {
                let kind = if first_name.is_some() { LockKind::Hardlink } else { LockKind::File };
                (kind, Some(*size), *digest, first_name.map(ImagePath::to_string))
            }
            EntryKind::Dir => (LockKind::Dir, None, None, None),
            EntryKind::Symlink { target } => (LockKind::Symlink, None, None, Some(escape_bytes(target).into_owned())),
            EntryKind::CharDevice { major, minor } => (LockKind::CharDevice, None, None, device(major, minor)),
            EntryKind::BlockDevice { major, minor } => (LockKind::BlockDevice, None, None, device(major, minor)),
            EntryKind::Fifo => (LockKind::Fifo, None, None, None),
            EntryKind::Socket => (LockKind::Socket, None, None, None),
        };
        let hex = |value: &[u8]| value.iter().map(|b| format!("{b:02x}")).collect::<String>();
        LockEntry {
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size,
            sha256,
            target,
            xattrs: entry.xattrs.iter().map(|(name, value)| (name.clone(), hex(value))).collect(),
            package: chosen.package.clone(),
            reasons: chosen.reasons.clone(),
        }
    }
}

fn write_octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}

fn read_octal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(serde::de::Error::custom(format!("{text:?} is not a mode: expected up to four octal digits"))),
    }
}

fn write_reasons<S: Serializer>(reasons: &BTreeSet<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(reasons.iter().map(Reason::to_string))
}

fn read_reasons<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Reason>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}
