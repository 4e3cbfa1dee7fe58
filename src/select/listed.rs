//! Directories that the application opened, and so may have listed: it could see the names of all that was in them, and
//! what it did not use of that is left out, unless something else asks for it.

use std::cmp::Reverse;

use crate::base::{ImagePath, unescape_bytes};
use crate::image::{EntryKind, Rootfs};
use crate::observation::Observation;
use crate::select::{Manifest, Packages, SelectError};

/// What the application could see in directories that it listed, and what the image does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unused {
    /// How many directories were listed.
    pub directories: u64,
    /// How many entries of these directories are left out.
    pub entries: u64,
    /// The sum of the sizes of the regular files among them.
    pub bytes: u64,
    /// The directories with files among them that no package owns, which somebody may have put there for the
    /// application; most bytes first.
    pub of_nobody: Vec<UnusedIn>,
}

/// The part of one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedIn {
    /// The directory.
    pub directory: ImagePath,
    /// How many files.
    pub files: u64,
    /// The sum of their sizes.
    pub bytes: u64,
}

/// Each directory that the application listed, with the paths of all that the base had in it.
pub(super) fn directories(observation: &Observation) -> impl Iterator<Item = (&ImagePath, Vec<ImagePath>)> {
    let listed = observation.paths.iter().filter(|(_, record)| !record.listed.is_empty() && !record.probe_tool);
    listed.map(|(directory, record)| {
        // A name that no escape makes sense in is none of the base's: traces are edited by people.
        let names = record.listed.iter().filter_map(|name| unescape_bytes(name));
        (directory, names.filter_map(|name| directory.child(&name).ok()).collect())
    })
}

/// What of the listed directories `manifest` does not have.
pub(super) fn unused(
    rootfs: &Rootfs,
    observation: &Observation,
    packages: &Packages,
    manifest: &Manifest,
) -> Result<Unused, SelectError> {
    let mut unused = Unused::default();
    for (directory, paths) in directories(observation) {
        unused.directories += 1;
        let mut here = UnusedIn { directory: directory.clone(), files: 0, bytes: 0 };
        for path in paths.into_iter().filter(|path| !manifest.entries.contains(path)) {
            let Some(entry) = rootfs.lookup(&path)?.filter(|entry| entry.kind != EntryKind::Socket) else { continue };
            unused.entries += 1;
            if let EntryKind::File { size, .. } = entry.kind {
                unused.bytes += size;
                if packages.owner(&path).is_none() {
                    here.files += 1;
                    here.bytes += size;
                }
            }
        }
        if here.files > 0 {
            unused.of_nobody.push(here);
        }
    }
    unused.of_nobody.sort_by_key(|here| (Reverse(here.bytes), Reverse(here.files), here.directory.clone()));
    Ok(unused)
}
