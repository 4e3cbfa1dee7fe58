//! The application's own files: what lies under a directory from which the run used a file that no package owns. No
//! probe asks for every page, template and translation, and whoever put them beside those that were used wants them in
//! the image. The rule is told in `docs/keeping.md`.

mod places;
mod runtime;

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{FileTree, ImagePath};
use crate::closure::{Execution, Reason, source_of};
use crate::image::{Entry, Rootfs};
use crate::observation::{Found, Observation, Operation};
use crate::select::{Manager, SelectError};

/// How much of a lazy base is looked at for one application. More than this in one directory is hardly an
/// application, and nobody asked to have it walked.
const MOST_ENTRIES: usize = 20_000;

/// Whose a file is: what manages the package that owns it.
pub(super) type Owner<'a> = &'a dyn Fn(&ImagePath) -> Option<Manager>;

/// What an application has beside what it used.
#[derive(Debug, Default)]
pub(super) struct Application {
    /// Its files, each with the directory of the application as the reason.
    pub(super) paths: FileTree<BTreeSet<Reason>>,
    /// What was not looked at.
    pub(super) warnings: Vec<String>,
}

/// Finds the application's own files in `rootfs`.
///
/// # Errors
/// When the rootfs cannot be looked at.
pub(super) fn find(
    rootfs: &Rootfs,
    execution: &Execution,
    observation: &Observation,
    owner: Owner<'_>,
) -> Result<Application, SelectError> {
    find_up_to(MOST_ENTRIES, rootfs, execution, observation, owner)
}

fn find_up_to(
    most: usize,
    rootfs: &Rootfs,
    execution: &Execution,
    observation: &Observation,
    owner: Owner<'_>,
) -> Result<Application, SelectError> {
    let mut directories = Directories::new(rootfs, execution, observation, owner, most)?;
    let mut roots = BTreeSet::new();
    for (path, record) in observation.paths.iter() {
        let is_file = matches!(record.found, Found::File { .. });
        if is_file && !record.probe_tool && is_content_used(&record.operations) && owner(path).is_none() {
            roots.extend(directories.of(path)?);
        }
    }
    roots.extend(directories.of_start()?);
    roots.extend(directories.of_services()?);
    let mut application = Application::default();
    for root in &roots {
        // One below another comes with that one.
        if root.ancestors().any(|above| roots.contains(&above)) {
            continue;
        }
        match directories.own_files(root)? {
            Some(files) => {
                for path in files {
                    application.paths.insert(path, BTreeSet::from([Reason::Application(root.clone())]));
                }
            }
            None => application.warnings.push(format!(
                "{root} has more than {most} files: those that the application did not use are left out\n\
                 hint: --keep {root} keeps them all, --level closure looks for none"
            )),
        }
    }
    Ok(application)
}

/// Whether a file was read, run or written, and not only looked for.
fn is_content_used(operations: &BTreeSet<Operation>) -> bool {
    use Operation::{Create, Exec, Load, Open, Truncate, Write};
    operations.iter().any(|operation| matches!(operation, Create | Exec | Load | Open | Truncate | Write))
}

/// Which directories are the application's.
struct Directories<'a> {
    rootfs: &'a Rootfs,
    owner: Owner<'a>,
    /// The directory in which the command starts, without links.
    working: Option<ImagePath>,
    /// The directories of the files that the command names.
    named: BTreeSet<ImagePath>,
    /// Whether a distribution's package manager says what is its own.
    has_database: bool,
    /// Whether the base is the machine's own filesystem.
    is_host: bool,
    /// What one walk over a lazy base may see.
    most: usize,
    judged: BTreeMap<ImagePath, Judgement>,
}

/// What a directory is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judgement {
    /// The application's, with all below it.
    Own,
    /// Others' too; a directory in it may be the application's.
    Shared,
    /// Nothing in it is the application's.
    Foreign,
}

impl<'a> Directories<'a> {
    fn new(
        rootfs: &'a Rootfs,
        execution: &Execution,
        observation: &Observation,
        owner: Owner<'a>,
        most: usize,
    ) -> Result<Self, SelectError> {
        let working = rootfs.resolve(&execution.working_dir, true)?;
        let mut named = BTreeSet::new();
        for word in &execution.command {
            // A word can be long and no path at all.
            let walk = rootfs.resolve(&execution.absolute(word), true)?;
            if walk.entry.is_some_and(|entry| entry.is_file()) && owner(&walk.end).is_none() {
                named.extend(walk.end.parent());
            }
        }
        let is_distributed = |path| owner(path).is_some_and(Manager::is_distribution);
        Ok(Directories {
            rootfs,
            owner,
            working: working.entry.is_some_and(|entry| entry.is_dir()).then_some(working.end),
            named,
            has_database: observation.paths.iter().any(|(path, _)| is_distributed(path)),
            is_host: rootfs.is_host(),
            most,
            judged: BTreeMap::new(),
        })
    }

    /// The application's directory to which the file at `path` belongs.
    fn of(&mut self, path: &ImagePath) -> Result<Option<ImagePath>, SelectError> {
        let walk = self.rootfs.resolve(path.as_bytes(), false)?;
        match walk.end.parent() {
            Some(directory) => self.topmost(&directory),
            None => Ok(None),
        }
    }

    /// The directory in which the command starts: an image that names one has put its application there. The directory
    /// from which somebody calls scrimp on a machine says nothing.
    fn of_start(&mut self) -> Result<Option<ImagePath>, SelectError> {
        match self.working.clone().filter(|_| !self.is_host) {
            Some(directory) => self.topmost(&directory),
            None => Ok(None),
        }
    }

    /// The directories in `/srv`, which is for nothing but what services of this image serve (Filesystem Hierarchy Standard
    /// 3.0, 3.17): whoever filled them named them in settings, or a client names them. A machine may serve from there what
    /// another application has.
    fn of_services(&mut self) -> Result<Vec<ImagePath>, SelectError> {
        let mut own = Vec::new();
        if let Some(place) = ImagePath::parse(places::SERVICES).ok().filter(|_| self.rootfs.entries().is_some()) {
            for (path, entry) in self.children(&place)? {
                if entry.is_dir() && self.judge(&path)? == Judgement::Own {
                    own.push(path);
                }
            }
        }
        Ok(own)
    }

    /// The highest directory above `directory`, or itself, that is the application's. On a machine, where anything can
    /// lie beside the application, it is the directory in which the command starts, or else only `directory`.
    fn topmost(&mut self, directory: &ImagePath) -> Result<Option<ImagePath>, SelectError> {
        let mut way: Vec<ImagePath> = std::iter::once(directory.clone()).chain(directory.ancestors()).collect();
        way.reverse();
        let mut own = None;
        for above in way {
            match self.judge(&above)? {
                Judgement::Foreign => return Ok(None),
                Judgement::Own if own.is_none() => own = Some(above),
                // Further down something may be a runtime's or hold packages.
                Judgement::Own | Judgement::Shared => {}
            }
        }
        if self.is_host && own.is_some() {
            for near in self.working.clone().into_iter().chain([directory.clone()]) {
                if directory.is_within(&near) && self.judge(&near)? == Judgement::Own {
                    return Ok(Some(near));
                }
            }
            return Ok(None);
        }
        Ok(own)
    }

    fn judge(&mut self, directory: &ImagePath) -> Result<Judgement, SelectError> {
        if let Some(known) = self.judged.get(directory) {
            return Ok(*known);
        }
        let judgement = self.look(directory)?;
        self.judged.insert(directory.clone(), judgement);
        Ok(judgement)
    }

    fn look(&self, directory: &ImagePath) -> Result<Judgement, SelectError> {
        let name = directory.file_name().unwrap_or_default();
        if places::is_never(directory) || places::is_nobodys(name, true) || places::holds_packages(directory) {
            return Ok(Judgement::Foreign);
        }
        if places::is_shared(directory) {
            return Ok(Judgement::Shared);
        }
        let parent = directory.parent().unwrap_or_else(ImagePath::root);
        if places::is_home(&parent) && name.starts_with(b".") {
            return Ok(Judgement::Foreign);
        }
        if places::is_of_distributions(&parent) && !self.has_database {
            return Ok(Judgement::Foreign);
        }
        if runtime::is_installation(self.rootfs, directory)? {
            return Ok(Judgement::Foreign);
        }
        if places::is_home(directory) {
            let is_named = self.working.as_ref() == Some(directory) || self.named.contains(directory);
            let is_used = is_named && self.rootfs.entries().is_some();
            return Ok(if is_used { Judgement::Own } else { Judgement::Shared });
        }
        if self.is_distributed(directory)? && !places::is_served(directory) {
            return Ok(Judgement::Shared);
        }
        Ok(Judgement::Own)
    }

    /// Whether a package of the distribution has a file in `directory` or below, as far as that can be looked at.
    fn is_distributed(&self, directory: &ImagePath) -> Result<bool, SelectError> {
        let mut seen = 0;
        let mut pending = vec![directory.clone()];
        while let Some(directory) = pending.pop() {
            for (path, entry) in self.children(&directory)? {
                seen += 1;
                if seen > self.most && self.rootfs.entries().is_none() {
                    return Ok(false);
                }
                if entry.is_dir() {
                    pending.push(path);
                } else if (self.owner)(&path).is_some_and(Manager::is_distribution) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// What is the application's own in its directory `root`; `None` when that is too much to look at.
    fn own_files(&self, root: &ImagePath) -> Result<Option<Vec<ImagePath>>, SelectError> {
        let is_home = places::is_home(root);
        let mut files = vec![root.clone()];
        let mut seen = 0;
        let mut pending = vec![root.clone()];
        while let Some(directory) = pending.pop() {
            for (path, entry) in self.children(&directory)? {
                seen += 1;
                if seen > self.most && self.rootfs.entries().is_none() {
                    return Ok(None);
                }
                let name = path.file_name().unwrap_or_default();
                let is_settings = is_home && directory == *root && matches!(name, b".config" | b".local");
                if places::is_nobodys(name, entry.is_dir()) || is_settings {
                    continue;
                }
                if !entry.is_dir() {
                    if (self.owner)(&path).is_none() && self.is_worth_keeping(&path)? {
                        files.push(path);
                    }
                } else if !places::holds_packages(&path) && !runtime::is_installation(self.rootfs, &path)? {
                    if self.rootfs.list(&path)?.is_empty() {
                        files.push(path);
                    } else {
                        pending.push(path);
                    }
                }
            }
        }
        Ok(Some(files))
    }

    /// Whether a file is more than bytecode of which there is no source: Python takes none from `__pycache__` without.
    fn is_worth_keeping(&self, path: &ImagePath) -> Result<bool, SelectError> {
        let is_cached = path.parent().is_some_and(|directory| directory.file_name() == Some(b"__pycache__"));
        if !is_cached {
            return Ok(true);
        }
        match source_of(path) {
            Some(source) => {
                let is_there = self.rootfs.lookup(&source)?.is_some_and(|entry| entry.is_file());
                Ok(is_there && (self.owner)(&source).is_none())
            }
            None => Ok(false),
        }
    }

    fn children(&self, directory: &ImagePath) -> Result<Vec<(ImagePath, Entry)>, SelectError> {
        let mut children = Vec::new();
        for name in self.rootfs.list(directory)? {
            let Ok(child) = directory.child(&name) else { continue };
            // What is gone between the listing and now was never there.
            if let Some(entry) = self.rootfs.lookup(&child)? {
                children.push((child, entry));
            }
        }
        Ok(children)
    }
}

#[cfg(test)]
mod tests;
