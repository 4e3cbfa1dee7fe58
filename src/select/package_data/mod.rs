//! What tells a scanner which packages an image has, and under which terms they may be passed on: the entries of the
//! packages that own a file of the manifest, in a form that scanners read, cut to what is there; the distribution's
//! name; the licences. A scanner sees the packages that are there, and no others.
//!
//! What the application used itself is left as it is: then that is what scanners read.

mod apk;
mod dpkg;
mod language;
mod rpm;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::base::{Digest, ImagePath};
use crate::closure::Reason;
use crate::image::{Entry, EntryKind, Rootfs, RootfsError};
use crate::select::packages::reader::{Reader, constant};
use crate::select::packages::{Installed, Packages, Record};
use crate::select::selection::{add_with_links, put};
use crate::select::{Manifest, SelectError};

/// By these files scanners know a distribution; each has a line or a few.
const RELEASES: [&str; 11] = [
    "/etc/os-release",
    "/usr/lib/os-release",
    "/etc/debian_version",
    "/etc/lsb-release",
    "/etc/alpine-release",
    "/etc/redhat-release",
    "/etc/system-release",
    "/etc/centos-release",
    "/etc/fedora-release",
    "/etc/mariner-release",
    "/etc/SuSE-release",
];

/// The packages of which the manifest has files, as places in [`Packages::installed`], each with these files.
type Kept = BTreeMap<usize, BTreeSet<ImagePath>>;

/// Adds the data of all packages of which `manifest` has a file.
///
/// # Errors
/// When the base cannot be looked at. What is missing or broken in it is left out, with a warning where it matters.
pub(super) fn add(manifest: &mut Manifest, rootfs: &Rootfs, packages: &Packages) -> Result<(), SelectError> {
    if packages.installed().is_empty() {
        return Ok(());
    }
    let mut data = Data { manifest, rootfs, reader: Reader::new(rootfs) };
    for release in RELEASES {
        data.keep(&constant(release))?;
    }
    let mut seen = BTreeSet::new();
    loop {
        let kept = data.kept(packages);
        let new: Vec<usize> = kept.keys().copied().filter(|at| seen.insert(*at)).collect();
        if new.is_empty() {
            break;
        }
        // A licence can be a file of another package, whose licence then is needed too.
        for installed in new.into_iter().filter_map(|at| packages.installed().get(at)) {
            match &installed.record {
                Record::Dpkg(_) => dpkg::keep_license(&mut data, &installed.package.name)?,
                Record::Rpm(rpm) => rpm.licenses.iter().try_for_each(|path| data.keep(path))?,
                Record::Language { metadata } | Record::Composer { metadata, .. } => {
                    metadata.iter().try_for_each(|path| data.keep(path))?;
                }
                Record::Apk(_) | Record::Listed => {}
            }
        }
    }
    let kept = data.kept(packages);
    let kept: Vec<(&Installed, &BTreeSet<ImagePath>)> =
        kept.iter().filter_map(|(&at, files)| Some((packages.installed().get(at)?, files))).collect();
    dpkg::generate(&mut data, &kept)?;
    apk::generate(&mut data, &kept)?;
    rpm::generate(&mut data, &kept)?;
    language::generate(&mut data, &kept)?;
    if packages.installed().iter().any(|installed| matches!(installed.record, Record::Listed)) {
        data.keep(&constant(crate::select::packages::RPM_MANIFEST))?;
    }
    let warnings = data.reader.warnings;
    manifest.warnings.extend(warnings);
    Ok(())
}

/// A manifest that gets package data.
struct Data<'a> {
    manifest: &'a mut Manifest,
    rootfs: &'a Rootfs,
    reader: Reader<'a>,
}

impl Data<'_> {
    /// The packages of which there are files, which the manifest always has where links to directories lead.
    fn kept(&self, packages: &Packages) -> Kept {
        let mut kept = Kept::new();
        for (path, _) in self.manifest.entries.iter().filter(|(_, chosen)| !chosen.entry.is_dir()) {
            for &at in packages.owners(path) {
                kept.entry(at).or_default().insert(path.clone());
            }
        }
        kept
    }

    /// Whether what `path` leads to is in the manifest.
    fn has(&self, path: &ImagePath) -> Result<bool, SelectError> {
        Ok(self.manifest.entries.contains(&self.rootfs.resolve(path.as_bytes(), true)?.end))
    }

    /// Keeps the file that `path` leads to, as the base has it, with the links; nothing when there is none, or when
    /// this user may not read it.
    fn keep(&mut self, path: &ImagePath) -> Result<(), SelectError> {
        let way = self.rootfs.resolve(path.as_bytes(), true)?;
        let Some(entry) = way.entry.filter(Entry::is_file) else { return Ok(()) };
        match self.rootfs.open(&way.end) {
            Ok(_) => {}
            Err(RootfsError::File { cause, .. }) if cause.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            Err(cause) => return Err(cause.into()),
        }
        add_with_links(&mut self.manifest.entries, self.rootfs, path, Reason::PackageData)?;
        put(&mut self.manifest.entries, self.rootfs, &way.end, entry, &BTreeSet::from([Reason::PackageData]))
    }

    /// Adds a file of this content where `path` leads, unless the image has something there.
    fn generate(&mut self, path: &ImagePath, content: Vec<u8>) -> Result<(), SelectError> {
        let way = self.rootfs.resolve(path.as_bytes(), true)?;
        if self.manifest.entries.contains(&way.end) {
            return Ok(());
        }
        if !self.is_possible(&way.end, way.entry.as_ref())? {
            self.manifest
                .warnings
                .push(format!("there is no package data at {path}: the base has something else there"));
            return Ok(());
        }
        for link in &way.links {
            if let Some(entry) = self.rootfs.lookup(link)? {
                let reasons = BTreeSet::from([Reason::PackageData]);
                put(&mut self.manifest.entries, self.rootfs, link, entry, &reasons)?;
            }
        }
        let entry = Entry {
            kind: EntryKind::File { size: content.len() as u64, digest: Some(Digest::of(&content)), link_group: None },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            nanos: 0,
            xattrs: BTreeMap::new(),
        };
        let reasons = BTreeSet::from([Reason::PackageData]);
        put(&mut self.manifest.entries, self.rootfs, &way.end, entry, &reasons)?;
        self.manifest.generated.insert(way.end, content);
        Ok(())
    }

    /// Whether there can be a file at `path`, where the base has `present`.
    fn is_possible(&self, path: &ImagePath, present: Option<&Entry>) -> Result<bool, SelectError> {
        if let Some(present) = present {
            return Ok(present.is_file());
        }
        for above in path.ancestors() {
            if let Some(entry) = self.rootfs.lookup(&above)? {
                return Ok(entry.is_dir());
            }
        }
        Ok(true)
    }
}
