//! From requirements and rules to a manifest.

use std::collections::BTreeSet;

use crate::base::{FileTree, ImagePath};
use crate::closure::{Reason, Requirements};
use crate::image::{self, Entry, EntryKind, Rootfs};
use crate::observation::{Observation, Operation};
use crate::select::rules::{Match, Matching, nothing_matches};
use crate::select::walk::walk;
use crate::select::{Header, Manifest, ManifestEntry, Packages, Rules, SelectError, content, package_data};

/// [`select_from`] with the packages of the base, which are read for it.
pub fn select(
    rootfs: &Rootfs,
    requirements: &Requirements,
    rules: &Rules,
    observation: &Observation,
) -> Result<Manifest, SelectError> {
    select_from(rootfs, &mut Packages::read(rootfs)?, requirements, rules, observation)
}

/// Chooses what the image gets: every requirement, the parents of each with the base's metadata, and what the rules
/// add or remove, and the data of the packages of all that. Sockets are left out. `observation` is what a lazy base is
/// checked against.
///
/// # Errors
/// When the base lacks a path that the application used, when a file of a lazy base is not what was traced, and when
/// the rules drop what the application used.
pub fn select_from(
    rootfs: &Rootfs,
    packages: &mut Packages,
    requirements: &Requirements,
    rules: &Rules,
    observation: &Observation,
) -> Result<Manifest, SelectError> {
    let mut manifest = Manifest::new(Header::of(observation));
    let mut missing = Vec::new();
    for (path, reasons) in requirements.paths.iter() {
        if !require(&mut manifest.entries, rootfs, path, reasons)? && reasons.iter().any(is_use) {
            missing.push(path.clone());
        }
    }
    if !missing.is_empty() {
        return Err(SelectError::Missing { paths: missing });
    }
    for pattern in &rules.keep {
        let anchored = pattern.anchor(rootfs)?;
        let before = manifest.entries.len();
        let mut any = false;
        let mut matching = Matching::default();
        let mut found = Vec::new();
        walk(rootfs, &anchored.start, &mut |path, entry| {
            match matching.next(&anchored, path) {
                Match::No => {}
                kind => found.push((path.clone(), entry.link_target().is_some(), kind == Match::Itself)),
            }
            Ok(())
        })?;
        for (path, is_link, itself) in found {
            any |= add_with_links(&mut manifest.entries, rootfs, &path, Reason::Keep)?;
            if is_link && itself {
                keep_linked_directory(&mut manifest.entries, rootfs, &path)?;
            }
        }
        if let Some(through) = anchored.through.filter(|_| any) {
            add_with_links(&mut manifest.entries, rootfs, &through, Reason::Keep)?;
        }
        if !any && manifest.entries.len() == before {
            manifest.warnings.push(nothing_matches("--keep", pattern));
        }
    }
    apply_drops(&mut manifest, rootfs, rules)?;
    packages.near(rootfs, manifest.entries.iter().map(|(path, _)| path))?;
    if rules.package_data {
        package_data::add(&mut manifest, rootfs, packages)?;
        apply_drops(&mut manifest, rootfs, rules)?;
    }
    for (path, chosen) in manifest.entries.iter_mut() {
        // What was generated is of no package: none would know it.
        if !chosen.entry.is_dir() && !manifest.generated.contains_key(path) {
            chosen.package = packages.owner(path).map(ToString::to_string);
        }
    }
    manifest.warnings.extend(packages.warnings().iter().cloned());
    content::complete(rootfs, &mut manifest.entries, rootfs.entries().is_none().then_some(observation))?;
    Ok(manifest)
}

/// Adds what is at `path`, not following a link there, with its parents. Returns whether there is something.
fn require(
    entries: &mut FileTree<ManifestEntry>,
    rootfs: &Rootfs,
    path: &ImagePath,
    reasons: &BTreeSet<Reason>,
) -> Result<bool, SelectError> {
    if let Some(entry) = rootfs.lookup(path)? {
        put(entries, rootfs, path, entry, reasons)?;
        return Ok(true);
    }
    // A directory above it may be a link.
    let way = rootfs.resolve(path.as_bytes(), false)?;
    for link in &way.links {
        if let Some(entry) = rootfs.lookup(link)? {
            put(entries, rootfs, link, entry, reasons)?;
        }
    }
    match way.entry {
        Some(entry) => put(entries, rootfs, &way.end, entry, reasons).map(|()| true),
        None => Ok(false),
    }
}

/// Adds what `path` leads to: the links on the way to it, what is there, and if that is a link the links and the file
/// it leads to; and the parents of all these. Returns whether there is something at `path` itself.
pub fn add_with_links(
    entries: &mut FileTree<ManifestEntry>,
    rootfs: &Rootfs,
    path: &ImagePath,
    reason: Reason,
) -> Result<bool, SelectError> {
    if !require(entries, rootfs, path, &BTreeSet::from([reason]))? {
        return Ok(false);
    }
    let own = rootfs.resolve(path.as_bytes(), false)?;
    if own.entry.is_some_and(|entry| entry.link_target().is_some()) {
        let way = rootfs.resolve(own.end.as_bytes(), true)?;
        let mut previous = own.end;
        for link in way.links.iter().skip(1) {
            if let Some(entry) = rootfs.lookup(link)? {
                put(entries, rootfs, link, entry, &BTreeSet::from([Reason::Link(previous)]))?;
            }
            previous = link.clone();
        }
        if let Some(entry) = way.entry {
            put(entries, rootfs, &way.end, entry, &BTreeSet::from([Reason::Link(previous)]))?;
        }
    }
    Ok(true)
}

/// Adds all below the directory that the link at `path` leads to, if it is one.
fn keep_linked_directory(
    entries: &mut FileTree<ManifestEntry>,
    rootfs: &Rootfs,
    path: &ImagePath,
) -> Result<(), SelectError> {
    let way = rootfs.resolve(path.as_bytes(), true)?;
    // A link to a directory above itself would bring in everything that happens to lie beside it.
    if !way.entry.is_some_and(|entry| entry.is_dir()) || path.is_within(&way.end) {
        return Ok(());
    }
    let mut below = Vec::new();
    walk(rootfs, &way.end, &mut |path, _| {
        below.push(path.clone());
        Ok(())
    })?;
    below.iter().try_for_each(|path| add_with_links(entries, rootfs, path, Reason::Keep).map(drop))
}

pub(super) fn put(
    entries: &mut FileTree<ManifestEntry>,
    rootfs: &Rootfs,
    path: &ImagePath,
    entry: Entry,
    reasons: &BTreeSet<Reason>,
) -> Result<(), SelectError> {
    if entry.kind == EntryKind::Socket {
        return Ok(());
    }
    for parent in path.ancestors() {
        if entries.contains(&parent) {
            break;
        }
        let entry = rootfs.lookup(&parent)?.unwrap_or_else(Entry::implied_directory);
        insert(entries, parent, entry, &BTreeSet::from([Reason::Parent]));
    }
    insert(entries, path.clone(), entry, reasons);
    Ok(())
}

fn insert(entries: &mut FileTree<ManifestEntry>, path: ImagePath, mut entry: Entry, reasons: &BTreeSet<Reason>) {
    if let Some(present) = entries.get_mut(&path) {
        // The same reason twice, or any reason besides "it is a parent": the better one says more.
        present.reasons.remove(&Reason::Parent);
        present.reasons.extend(reasons.iter().cloned());
        return;
    }
    entry.xattrs.retain(|name, _| image::belongs_to_file(name));
    entries.insert(path, ManifestEntry { entry, package: None, reasons: reasons.clone() });
}

fn apply_drops(manifest: &mut Manifest, rootfs: &Rootfs, rules: &Rules) -> Result<(), SelectError> {
    let mut dropped = BTreeSet::new();
    for pattern in &rules.drop {
        let anchored = pattern.anchor(rootfs)?;
        let mut matching = Matching::default();
        for (path, _) in manifest.entries.subtree(&anchored.start) {
            if matching.next(&anchored, path) != Match::No {
                dropped.insert(path.clone());
            }
        }
    }
    if !rules.force_drop {
        let used = |path: &&ImagePath| manifest.entries.get(path).is_some_and(is_used);
        let paths: Vec<ImagePath> = dropped.iter().filter(used).cloned().collect();
        if !paths.is_empty() {
            return Err(SelectError::DropContradicted { paths });
        }
    }
    for path in dropped {
        manifest.entries.remove(&path);
        manifest.generated.remove(&path);
    }
    Ok(())
}

/// Whether the application needs the entry, in the base or in a small image that was tried. A directory that was only
/// passed on the way to something is not needed for its own sake: without it that something is absent, and if it was
/// there it is in the manifest by itself.
fn is_used(chosen: &ManifestEntry) -> bool {
    let passed = |reason: &Reason| chosen.entry.is_dir() && *reason == Reason::Access(Operation::Traverse);
    chosen.reasons.iter().any(|reason| is_use(reason) && !passed(reason))
}

fn is_use(reason: &Reason) -> bool {
    matches!(reason, Reason::Access(_) | Reason::ProbeTool | Reason::Repair(..))
}
