//! What the user asks for by what it is, not by its path: packages, programs, a shell, certificates, time zones,
//! locales and what the application listed. Each becomes paths with a reason, whose own needs closure finds.

mod certificates;
mod locale;
mod zoneinfo;

use std::collections::BTreeSet;

use crate::base::{FileTree, ImagePath};
use crate::closure::{Execution, Reason};
use crate::image::{EntryKind, Rootfs};
use crate::observation::Observation;
use crate::select::rules::{Match, Matching, nothing_matches};
use crate::select::{Packages, Pattern, SelectError, listed};

pub(super) use certificates::{has_bundle, is_bundle};
pub(super) use locale::Locale;
pub(super) use zoneinfo::{LOCAL, ZONES};

/// Where programs look for a shell (`system(3)`).
pub(super) const SHELL: &str = "/bin/sh";

/// What the user asks for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Packages by name, each with all its files.
    pub packages: Vec<String>,
    /// Programs, each a name that PATH finds or a path, with what they need.
    pub executables: Vec<String>,
    /// `/bin/sh`.
    pub shell: bool,
    /// The certificates of authorities, in each form that a TLS library reads.
    pub certs: bool,
    /// The time zones.
    pub zoneinfo: bool,
    /// Locales by name: `de_DE.UTF-8`.
    pub locales: Vec<String>,
    /// Directories of which all that was listed is kept.
    pub listed: Vec<Pattern>,
}

/// The base in which it is looked for, and the run.
pub(super) struct Place<'a> {
    pub(super) rootfs: &'a Rootfs,
    pub(super) execution: &'a Execution,
    pub(super) observation: &'a Observation,
    pub(super) packages: &'a Packages,
}

/// Paths with the reasons for them, as they are put together.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) paths: FileTree<BTreeSet<Reason>>,
    pub(super) warnings: Vec<String>,
}

impl Wanted {
    /// Adds one path.
    pub(super) fn add(&mut self, path: ImagePath, reason: Reason) {
        self.paths.get_or_insert_with(path, BTreeSet::new).insert(reason);
    }

    /// Adds what is at `paths`. Returns whether there is anything; that there is nothing of `what` is a warning.
    fn add_kind(
        &mut self,
        flag: &str,
        what: &str,
        rootfs: &Rootfs,
        paths: &[String],
        reason: &Reason,
    ) -> Result<bool, SelectError> {
        let mut any = false;
        for path in paths {
            any |= self.add_all(rootfs, path, reason)?;
        }
        if !any {
            self.warnings.push(format!("{flag}: the base has {what}"));
        }
        Ok(any)
    }

    /// Adds what is at the end of `path`, links followed; a directory with all that is below. Each link on the way is
    /// found by closure. Returns whether there is anything.
    fn add_all(&mut self, rootfs: &Rootfs, path: &str, reason: &Reason) -> Result<bool, SelectError> {
        let Ok(path) = ImagePath::parse(path) else { return Ok(false) };
        let walk = rootfs.resolve(path.as_bytes(), true)?;
        let Some(entry) = walk.entry else { return Ok(false) };
        self.add(path, reason.clone());
        self.add(walk.end.clone(), reason.clone());
        if !entry.is_dir() {
            return Ok(true);
        }
        let mut is_empty = true;
        super::walk(rootfs, &walk.end, &mut |path, entry| {
            is_empty &= entry.is_dir();
            if entry.kind != EntryKind::Socket {
                self.add(path.clone(), reason.clone());
            }
            Ok(())
        })?;
        Ok(!is_empty)
    }
}

/// What of `asked` the base has, as paths; locales are found by [`Locale`], because some of what belongs
/// to them depends on what else is kept.
///
/// # Errors
/// When there is no package or program of a name that the user gave, and when the base cannot be read. That the
/// base has nothing of a kind is a warning.
pub(super) fn find(asked: &Asked, place: &Place<'_>) -> Result<Wanted, SelectError> {
    let mut wanted = Wanted::default();
    for name in &asked.packages {
        let packages = place.packages.named(name);
        if packages.is_empty() {
            return Err(SelectError::NoPackage { name: name.clone() });
        }
        for file in packages.into_iter().flat_map(|package| place.packages.files(package)) {
            wanted.add(file, Reason::KeepPackage(name.clone()));
        }
    }
    for name in &asked.executables {
        let reason = Reason::KeepExe(name.clone());
        let found = place.execution.find_program(place.rootfs, name.as_bytes())?;
        match found.as_deref().map(|path| resolved_directory(place.rootfs, path)).transpose()?.flatten() {
            Some(path) => wanted.add(path, reason),
            None => return Err(SelectError::NoProgram { name: name.clone() }),
        }
    }
    if asked.shell {
        wanted.add_kind("--keep-shell", "no /bin/sh", place.rootfs, &[SHELL.to_owned()], &Reason::KeepShell)?;
    }
    if asked.certs {
        let (flag, paths) = ("--keep-certs", certificates::paths(place)?);
        let what = "no certificates of authorities";
        if wanted.add_kind(flag, what, place.rootfs, &paths, &Reason::KeepCerts)? {
            for path in certificates::CONFIGURATION {
                wanted.add_all(place.rootfs, path, &Reason::KeepCerts)?;
            }
        }
    }
    if asked.zoneinfo {
        let paths = zoneinfo::paths(place.execution);
        wanted.add_kind("--keep-zoneinfo", "no time zones", place.rootfs, &paths, &Reason::KeepZoneinfo)?;
    }
    for pattern in &asked.listed {
        keep_listed(&mut wanted, pattern, place)?;
    }
    Ok(wanted)
}

/// `path`, whose directories may be links, as the path of a tree.
fn resolved_directory(rootfs: &Rootfs, path: &[u8]) -> Result<Option<ImagePath>, SelectError> {
    let walk = rootfs.resolve(path, false)?;
    Ok(walk.entry.map(|_| walk.end))
}

/// Adds all that was in the listed directories that match, or that lie below one that does.
fn keep_listed(wanted: &mut Wanted, pattern: &Pattern, place: &Place<'_>) -> Result<(), SelectError> {
    let anchored = pattern.anchor(place.rootfs)?;
    let mut matching = Matching::default();
    let mut any = false;
    for (directory, names) in listed::directories(place.observation) {
        if matching.next(&anchored, directory) == Match::No {
            continue;
        }
        any = true;
        for path in names {
            wanted.add(path, Reason::KeepListed(directory.clone()));
        }
    }
    if !any {
        let text = nothing_matches("--keep-listed", pattern);
        wanted
            .warnings
            .push(text.replace("the base has nothing that matches", "the application listed no such directory"));
    }
    Ok(())
}
