//! What the package managers of languages leave beside what they install. Each has a sign by which it is found: in a
//! base that is all known by its index, in one that is looked up as needed in the directories of paths that are of
//! interest.

mod composer;
mod maven;
mod node;
mod python;
mod ruby;

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::image::Entry;
use crate::select::SelectError;
use crate::select::packages::Found;
use crate::select::packages::reader::Reader;

pub(in crate::select) use composer::cut as cut_composer;

/// Where packages of a language are described.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    /// The directory of a package in `node_modules`.
    Node(ImagePath),
    /// A `*.dist-info` or `*.egg-info`.
    Python(ImagePath),
    /// A `*.gemspec` in `specifications`.
    Ruby(ImagePath),
    /// An `installed.json` in `vendor/composer`.
    Composer(ImagePath),
    /// A Java archive.
    Maven(ImagePath),
}

impl Sign {
    /// What the file or directory at `path` is a sign of.
    pub(super) fn of(path: &ImagePath, entry: &Entry) -> Option<Sign> {
        let name = path.file_name()?;
        if name.ends_with(b".dist-info") && entry.is_dir() || name.ends_with(b".egg-info") {
            return Some(Sign::Python(path.clone()));
        }
        if !entry.is_file() {
            return None;
        }
        if name == b"package.json" {
            return path.parent().filter(is_node_package).map(Sign::Node);
        }
        if name.ends_with(b".gemspec") && ruby::home(path).is_some() {
            return Some(Sign::Ruby(path.clone()));
        }
        if name == b"installed.json" && path.parent()?.file_name() == Some(b"composer") {
            return Some(Sign::Composer(path.clone()));
        }
        (name.ends_with(b".jar")).then(|| Sign::Maven(path.clone()))
    }

    /// The packages that it stands for.
    pub(super) fn read(&self, reader: &mut Reader<'_>) -> Result<Vec<Found>, SelectError> {
        match self {
            Sign::Node(dir) => node::read(reader, dir),
            Sign::Python(info) => python::read(reader, info),
            Sign::Ruby(specification) => ruby::read(reader, specification),
            Sign::Composer(installed) => composer::read(reader, installed),
            Sign::Maven(archive) => maven::read(reader, archive),
        }
    }
}

/// Whether `dir` is where a package lies in `node_modules`: `node_modules/NAME` or `node_modules/@SCOPE/NAME`.
fn is_node_package(dir: &ImagePath) -> bool {
    let mut above = dir.ancestors();
    let is_modules = |dir: &ImagePath| dir.file_name() == Some(b"node_modules");
    match above.next() {
        Some(scope) if scope.file_name().is_some_and(|name| name.starts_with(b"@")) => {
            above.next().is_some_and(|dir| is_modules(&dir))
        }
        Some(parent) => is_modules(&parent) && dir.file_name().is_some_and(|name| !name.starts_with(b"@")),
        None => false,
    }
}

/// The signs in the directory `dir`, which has no links on its way, and in those beside it that belong to what it has.
pub(super) fn signs_in(reader: &mut Reader<'_>, dir: &ImagePath) -> Result<BTreeSet<Sign>, SelectError> {
    let mut signs = BTreeSet::new();
    let mut look = |reader: &mut Reader<'_>, path: ImagePath| -> Result<(), SelectError> {
        if let Some(entry) = reader.lookup(&path)? {
            signs.extend(Sign::of(&path, &entry));
        }
        Ok(())
    };
    for name in reader.names(dir)? {
        let Ok(path) = dir.child(&name) else { continue };
        match name.as_slice() {
            b"specifications" => {
                for name in reader.names(&path)? {
                    if let Ok(path) = path.child(&name) {
                        look(reader, path)?;
                    }
                }
            }
            b"composer" => {
                if let Ok(path) = path.child(b"installed.json") {
                    look(reader, path)?;
                }
            }
            b"package.json" => look(reader, path)?,
            name if [&b".dist-info"[..], b".egg-info"].iter().any(|end| name.ends_with(end)) => look(reader, path)?,
            _ => {}
        }
    }
    Ok(signs)
}

/// `path` as a description has it, relative to `dir`, which has no links on its way; `..` goes up.
fn join(dir: &ImagePath, path: &[u8]) -> Option<ImagePath> {
    let mut at = if path.starts_with(b"/") { ImagePath::root() } else { dir.clone() };
    for component in path.split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".") {
        at = if component == b".." { at.parent()? } else { at.child(component).ok()? };
    }
    Some(at)
}

/// Whether a file at the top of a package says under which terms it may be given away.
fn is_license(path: &ImagePath) -> bool {
    let name = path.file_name().unwrap_or_default().to_ascii_uppercase();
    [&b"LICENSE"[..], b"LICENCE", b"COPYING", b"COPYRIGHT", b"NOTICE", b"MIT-LICENSE", b"UNLICENSE"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Whether `path` lies directly in `dir`.
fn is_directly_in(path: &ImagePath, dir: &ImagePath) -> bool {
    path.parent().is_some_and(|parent| parent == *dir)
}
