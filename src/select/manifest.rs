//! The sorted list of entries chosen for an image.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Epoch, FileTree, ImagePath};
use crate::closure::Reason;
use crate::image::{Entry, EntryKind, Rootfs};
use crate::observation::Observation;
use crate::select::{SelectError, content, selection};

/// What goes into an image, in the order in which it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Where it came from.
    pub header: Header,
    /// What is in it. Every parent of an entry is an entry; there is never a socket.
    pub entries: FileTree<ManifestEntry>,
    /// The content of those entries that are not the base's; in the entry is its digest.
    pub generated: BTreeMap<ImagePath, Vec<u8>>,
    /// Things worth telling the user that are no errors; not written to files.
    pub warnings: Vec<String>,
}

/// Where a manifest came from: the first line of a lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the lock format.
    pub schema_version: u32,
    /// The name and version of the program that made it, `scrimp 0.1.0`.
    pub tool: String,
    /// The base, as the user named it.
    pub source: String,
    /// The digest of the base's config; `None` for a directory or the host.
    pub source_digest: Option<Digest>,
    /// The command that was traced, in the text form of [`crate::base::escape_bytes`].
    pub command: Vec<String>,
}

/// One entry of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// What is there, as the base has it unless it was generated. A regular file always has its digest.
    pub entry: Entry,
    /// The package that owns it; `None` when no package does, or nobody looked.
    pub package: Option<String>,
    /// Why it is there; never empty.
    pub reasons: BTreeSet<Reason>,
}

/// How large a tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// The sum of the sizes of the regular files in bytes, hardlinks counted once.
    pub bytes: u64,
    /// The number of regular files, hardlinks counted once.
    pub files: u64,
}

impl Header {
    /// The version of the lock format that this scrimp writes.
    pub const SCHEMA_VERSION: u32 = 1;

    /// The header of a manifest that is made from `observation`.
    pub fn of(observation: &Observation) -> Self {
        Header {
            schema_version: Self::SCHEMA_VERSION,
            tool: concat!("scrimp ", env!("CARGO_PKG_VERSION")).to_owned(),
            source: observation.header.source.clone(),
            source_digest: observation.header.source_digest,
            command: observation.header.command.clone(),
        }
    }
}

impl Manifest {
    /// An empty manifest.
    pub fn new(header: Header) -> Self {
        Manifest { header, entries: FileTree::new(), generated: BTreeMap::new(), warnings: Vec::new() }
    }

    /// Adds what the base has at `path`, with the parents of everything and the chain of links that `path` leads
    /// through. Returns whether the base has something there; links on the way to nothing are added all the same.
    pub fn add(&mut self, rootfs: &Rootfs, path: &ImagePath, reason: Reason) -> Result<bool, SelectError> {
        let found = selection::add_with_links(&mut self.entries, rootfs, path, reason)?;
        content::complete(rootfs, &mut self.entries, None)?;
        Ok(found)
    }

    /// Gives what was generated its time.
    pub fn date_generated(&mut self, time: Epoch) {
        for path in self.generated.keys() {
            if let Some(chosen) = self.entries.get_mut(path) {
                chosen.entry.mtime = time.0;
            }
        }
    }

    /// How much of the image is there for scanners and lawyers alone: package data and licences.
    pub fn package_data(&self) -> Totals {
        let is_part = |reason: &Reason| matches!(reason, Reason::PackageData | Reason::Link(_) | Reason::Parent);
        let is_data = |chosen: &&ManifestEntry| {
            chosen.reasons.contains(&Reason::PackageData) && chosen.reasons.iter().all(is_part)
        };
        Totals::of(self.entries.iter().map(|(_, chosen)| chosen).filter(is_data).map(|chosen| &chosen.entry))
    }

    /// How large the image will be.
    pub fn totals(&self) -> Totals {
        Totals::of(self.entries.iter().map(|(_, chosen)| &chosen.entry))
    }

    /// The later names of files with several names, each with the first name in order, which carries the content.
    pub fn hardlinks(&self) -> BTreeMap<ImagePath, ImagePath> {
        let mut first_names: BTreeMap<u64, &ImagePath> = BTreeMap::new();
        let mut later = BTreeMap::new();
        for (path, chosen) in self.entries.iter() {
            if let EntryKind::File { link_group: Some(group), .. } = chosen.entry.kind {
                match first_names.get(&group) {
                    Some(first) => drop(later.insert(path.clone(), (*first).clone())),
                    None => drop(first_names.insert(group, path)),
                }
            }
        }
        later
    }
}

impl Totals {
    /// The totals of `entries`.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut groups = BTreeSet::new();
        let mut totals = Totals::default();
        for entry in entries {
            if let EntryKind::File { size, link_group, .. } = entry.kind
                && link_group.is_none_or(|group| groups.insert(group))
            {
                totals.bytes += size;
                totals.files += 1;
            }
        }
        totals
    }
}
