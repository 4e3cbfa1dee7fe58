//! What programs look up by a name that no run has to say: what lies in directories of theirs, what settings name, what a
//! log-in asks for, and what scripts start that nobody has started yet.

use std::collections::BTreeSet;

use super::Rules;
use crate::base::ImagePath;
use crate::closure::{
    ClosureError, Level, Reason, bundled, gconv, languages, log_in, named, own_scripts, pam, resources, script,
};
use crate::image::{Entry, EntryKind};

/// The libraries, in bytes, that a module may bring which no run has loaded.
const MOST_FOR_A_MODULE: u64 = 32 << 20;

impl Rules<'_> {
    /// What the scripts need that nobody has started and somebody will: see [`own_scripts`].
    pub(super) fn own_scripts(&mut self) -> Result<(), ClosureError> {
        let scripts: Vec<ImagePath> =
            self.kept.paths().iter().map(|(path, _)| path).filter(|path| self.is_in_passing(path)).cloned().collect();
        let (kept, contents) = (&self.kept, &mut self.contents);
        for (path, shebang) in own_scripts::started(self.rootfs, self.execution, kept, contents, &scripts)? {
            self.script(&path, &shebang)?;
        }
        self.settle()
    }

    /// What the programs of the run look up by name: see [`resources`].
    pub(super) fn resources(&mut self) -> Result<(), ClosureError> {
        let mut known = gconv::directories(self.rootfs, self.observation, &self.kept, &mut self.contents)?;
        known.extend(self.named()?);
        let kept = || self.kept.paths().iter().map(|(path, _)| path);
        for place in languages::asked(self.observation, kept()) {
            known.insert(self.rootfs.resolve(place.as_bytes(), true)?.end);
        }
        let libraries = languages::find(self.rootfs, self.observation, kept())?;
        let found = resources::find(self.rootfs, self.observation, known)?;
        let bundled = bundled::find(self.rootfs, self.observation)?;
        self.warnings.extend([found.warnings, bundled.warnings, libraries.warnings].into_iter().flatten());
        self.require_areas(found.areas.into_iter().chain(bundled.packages).chain(libraries.units))
    }

    /// What interpreters need that come as libraries of modules which nobody has loaded: see [`languages`].
    pub(super) fn embedded(&mut self) -> Result<(), ClosureError> {
        let kept = self.kept.paths().iter().map(|(path, _)| path);
        let libraries = languages::embedded(self.rootfs, self.observation, kept)?;
        self.warnings.extend(libraries.warnings);
        self.require_areas(libraries.units.into_iter())
    }

    fn require_areas(
        &mut self,
        areas: impl Iterator<Item = (ImagePath, Vec<(ImagePath, Entry)>)>,
    ) -> Result<(), ClosureError> {
        for (area, files) in areas {
            for (path, entry) in files {
                // A link brings what it leads to.
                let libraries = if entry.is_dir() { 0 } else { self.weight_of_needs(&path)? };
                if libraries <= MOST_FOR_A_MODULE {
                    self.kept.require(path.as_bytes(), Reason::Resource(area.clone()))?;
                } else {
                    self.warnings.insert(format!(
                        "{path} was not used and needs libraries of {} MB: it is left out\nhint: --keep {path} keeps both",
                        libraries / 1_000_000
                    ));
                }
            }
        }
        Ok(())
    }

    /// What settings and programs name: see [`named`]. Returns the directories of programs among it.
    fn named(&mut self) -> Result<BTreeSet<ImagePath>, ClosureError> {
        // A machine's own settings name what all that runs there needs.
        if self.level < Level::App || self.rootfs.is_host() {
            return Ok(BTreeSet::new());
        }
        self.perl_in_settings()?;
        let found = named::find(self.rootfs, self.execution, self.observation, &self.kept, &mut self.contents)?;
        let by_themselves: BTreeSet<&ImagePath> = found.paths.iter().map(|(path, _)| path).collect();
        let contents = found.contents.iter().map(|(path, _)| path);
        self.in_named = contents.filter(|path| !by_themselves.contains(path)).cloned().collect();
        for (path, source) in found.paths.into_iter().chain(found.contents) {
            self.kept.require(path.as_bytes(), Reason::Named(source))?;
        }
        self.settle()?;
        Ok(found.resources)
    }

    /// What Perl in settings names: servers that have the interpreter as a library have such code among the directives.
    fn perl_in_settings(&mut self) -> Result<(), ClosureError> {
        if self.runs_perl {
            for path in named::settings(self.rootfs, self.observation)? {
                self.modules(&path)?;
            }
        }
        self.settle()
    }

    /// What a log-in needs, when the run has loaded the library for that: see [`pam`].
    pub(super) fn authentication(&mut self) -> Result<(), ClosureError> {
        let is_loaded = |path: &&ImagePath| {
            let record = self.observation.paths.get(path);
            path.file_name() == Some(pam::LIBRARY) && record.is_some_and(|record| !record.probe_tool)
        };
        let libraries: Vec<ImagePath> =
            self.kept.paths().iter().map(|(path, _)| path).filter(is_loaded).cloned().collect();
        for library in libraries {
            let real = self.rootfs.resolve(library.as_bytes(), true)?.end;
            let Some(directory) = real.parent() else { continue };
            for need in pam::needs(self.rootfs, &directory)? {
                self.kept.require(need.as_bytes(), Reason::Dlopen(library.clone()))?;
            }
            if self.level >= Level::App && !self.rootfs.is_host() {
                let accounts = pam::accounts(self.rootfs)?;
                let is_shell = |need: &ImagePath| need.file_name().is_some_and(script::is_shell_name);
                if accounts.iter().any(is_shell) {
                    self.utilities()?;
                }
                for need in accounts {
                    self.kept.require(need.as_bytes(), Reason::Dlopen(library.clone()))?;
                }
            }
        }
        Ok(())
    }

    /// What people find in a shell that they log in to: see [`log_in`].
    fn utilities(&mut self) -> Result<(), ClosureError> {
        let Some(starter) = log_in::starter(self.rootfs, self.observation)? else { return Ok(()) };
        for name in log_in::UTILITIES {
            if let Some(program) = self.execution.find_program(self.rootfs, name.as_bytes())?
                && log_in::is_utility(self.rootfs, &program)?
            {
                self.kept.require(&program, Reason::Named(starter.clone()))?;
            }
        }
        Ok(())
    }

    /// The bytes of the libraries that come with a module that is not kept so far.
    fn weight_of_needs(&mut self, path: &ImagePath) -> Result<u64, ClosureError> {
        let walk = self.rootfs.resolve(path.as_bytes(), true)?;
        if !walk.entry.is_some_and(|entry| entry.is_file()) {
            return Ok(0);
        }
        let path = &walk.end;
        let is_module = self.contents.elf(path)?.is_some_and(|elf| elf.interpreter.is_none());
        if !is_module || self.kept.paths().contains(path) {
            return Ok(0);
        }
        let Some(process) = self.loader.open(&mut self.contents, None, path, path)? else { return Ok(0) };
        let mut bytes = 0;
        for file in process.files().filter(|file| *file != path && !self.kept.paths().contains(file)) {
            if let Some(EntryKind::File { size, .. }) = self.rootfs.lookup(file)?.map(|entry| entry.kind) {
                bytes += size;
            }
        }
        Ok(bytes)
    }
}
