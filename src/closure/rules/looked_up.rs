//! What programs look up by a name that no run has to say: what lies in directories of theirs, what settings name, what
//! a log-in asks for, and what scripts start that nobody has started yet.

use std::collections::{BTreeMap, BTreeSet};

use super::Rules;
use crate::base::ImagePath;
use crate::closure::{
    ClosureError, Level, Reason, bundled, gconv, languages, log_in, named, own_scripts, pam, resources, script,
    settings,
};
use crate::image::{Entry, EntryKind};
use crate::observation::{Found, Operation};

/// The programs with their libraries, in bytes, that come because a program names their directory and nobody has used
/// it.
const MOST_FOR_A_NAME: u64 = 16 << 20;

/// The libraries, in bytes, that a module may bring which no run has loaded.
const MOST_FOR_A_MODULE: u64 = 32 << 20;

impl Rules<'_> {
    /// What the scripts need that nobody has started and somebody will: see [`own_scripts`].
    pub(super) fn own_scripts(&mut self) -> Result<(), ClosureError> {
        let is_candidate = |path: &&ImagePath| self.is_in_passing(path) || self.was_read_only(path);
        let scripts: Vec<ImagePath> =
            self.kept.paths().iter().map(|(path, _)| path).filter(is_candidate).cloned().collect();
        let (kept, contents) = (&self.kept, &mut self.contents);
        for (path, shebang) in own_scripts::started(self.rootfs, self.execution, kept, contents, &scripts)? {
            self.script(&path, &shebang)?;
        }
        self.settle()
    }

    /// What the programs of the run look up by name: see [`resources`].
    pub(super) fn resources(&mut self) -> Result<(), ClosureError> {
        let mut known = gconv::directories(self.rootfs, self.observation, &self.kept, &mut self.contents)?;
        let named = self.named()?;
        known.extend(named.keys().cloned());
        known.extend(settings::directories(self.rootfs, self.observation));
        let kept = || self.kept.paths().iter().map(|(path, _)| path);
        for place in languages::asked(self.observation, kept()) {
            known.insert(self.rootfs.resolve(place.as_bytes(), true)?.end);
        }
        let libraries = languages::find(self.rootfs, self.observation, kept())?;
        let found = resources::find(self.rootfs, self.observation, &self.kept, known)?;
        let bundled = bundled::find(self.rootfs, self.observation)?;
        self.warnings.extend([found.warnings, bundled.warnings, libraries.warnings].into_iter().flatten());
        let mut left_out = BTreeSet::new();
        for (area, files) in found.areas.into_iter().chain(bundled.packages).chain(libraries.units) {
            let namer = named.get(&area).and_then(Option::as_ref);
            let idle = namer.map_or(Ok(BTreeSet::new()), |program| self.idle_programs(&area, program, &files))?;
            self.require_area(&area, files.into_iter().filter(|(path, _)| !idle.contains(path)), &mut left_out)?;
        }
        Ok(())
    }

    /// What interpreters need that come as libraries of modules which nobody has loaded: see [`languages`].
    pub(super) fn embedded(&mut self) -> Result<(), ClosureError> {
        let kept = self.kept.paths().iter().map(|(path, _)| path);
        let libraries = languages::embedded(self.rootfs, self.observation, kept)?;
        self.warnings.extend(libraries.warnings);
        let mut left_out = BTreeSet::new();
        for (area, files) in libraries.units {
            self.require_area(&area, files, &mut left_out)?;
        }
        Ok(())
    }

    /// Requires `files`, those that lie in `area`, but for modules whose libraries are too large for a guess. These
    /// join `left_out`, and are told of once, by the name under which they are looked up: a link comes before what it
    /// leads to.
    fn require_area(
        &mut self,
        area: &ImagePath,
        files: impl IntoIterator<Item = (ImagePath, Entry)>,
        left_out: &mut BTreeSet<ImagePath>,
    ) -> Result<(), ClosureError> {
        for (path, entry) in files {
            // A link brings what it leads to.
            let libraries = if entry.is_dir() { 0 } else { self.weight_of_needs(&path)? };
            if libraries <= MOST_FOR_A_MODULE {
                self.kept.require(path.as_bytes(), Reason::Resource(area.clone()))?;
            } else if left_out.insert(self.rootfs.resolve(path.as_bytes(), true)?.end) {
                self.warnings.insert(format!(
                    "{path} was not used and needs libraries of {} MB: it is left out\nhint: --keep {path} keeps both",
                    libraries / 1_000_000
                ));
            }
        }
        Ok(())
    }

    /// The programs in `directory`, of which the run used nothing and only the program `namer` has the name, if they
    /// are many or large, and the links that lead to them. What is called as the namer itself is its own.
    fn idle_programs(
        &mut self,
        directory: &ImagePath,
        namer: &ImagePath,
        files: &[(ImagePath, Entry)],
    ) -> Result<BTreeSet<ImagePath>, ClosureError> {
        let mut idle = BTreeSet::new();
        let is_used = self.observation.paths.iter().any(|(path, record)| {
            let did = |operation: &Operation| matches!(operation, Operation::Open | Operation::Exec | Operation::Load);
            !record.probe_tool
                && matches!(record.found, Found::File { .. })
                && record.operations.iter().any(did)
                && path.is_within(directory)
        });
        if is_used {
            return Ok(idle);
        }
        let mut weighed = BTreeSet::new();
        let mut bytes = 0;
        for (path, _) in files {
            let walk = self.rootfs.resolve(path.as_bytes(), true)?;
            let program = walk.end;
            let is_file = walk.entry.is_some_and(|entry| entry.is_file());
            let is_own = program.file_name() == namer.file_name();
            if !is_file || is_own || self.kept.paths().contains(&program) {
                continue;
            }
            if self.contents.elf(&program)?.is_none_or(|elf| elf.interpreter.is_none()) {
                continue;
            }
            idle.insert(path.clone());
            let needs: Vec<ImagePath> =
                self.process(&program)?.iter().flat_map(|process| process.files()).cloned().collect();
            for file in needs.into_iter().chain([program]) {
                if !self.kept.paths().contains(&file) && weighed.insert(file.clone()) {
                    let kind = self.rootfs.lookup(&file)?.map(|entry| entry.kind);
                    bytes += if let Some(EntryKind::File { size, .. }) = kind { size } else { 0 };
                }
            }
        }
        if bytes <= MOST_FOR_A_NAME {
            return Ok(BTreeSet::new());
        }
        self.warnings.insert(format!(
            "{namer} names {directory}, of which nothing was used: programs there of {} MB with their libraries are left out\nhint: --keep '{directory}/**' keeps them",
            bytes / 1_000_000
        ));
        Ok(idle)
    }

    /// What settings and programs name: see [`named`]. Returns the directories of programs among it, each with the
    /// program that names it, unless settings do.
    fn named(&mut self) -> Result<BTreeMap<ImagePath, Option<ImagePath>>, ClosureError> {
        // A machine's own settings name what all that runs there needs.
        if self.level < Level::App || self.rootfs.is_host() {
            return Ok(BTreeMap::new());
        }
        self.perl_in_settings()?;
        // Beyond this level programs come because their package does, and nobody calls them.
        let is_tool = |reasons: &BTreeSet<Reason>| reasons.iter().any(|reason| matches!(reason, Reason::Package(_)));
        let tools = self.kept.paths().iter().filter(|(_, reasons)| self.level == Level::App && is_tool(reasons));
        let tools: Vec<ImagePath> = tools.map(|(path, _)| path.clone()).collect();
        let found = named::find(self.rootfs, self.execution, self.observation, &self.kept, &tools, &mut self.contents)?;
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
        for name in log_in::UTILITIES.split(' ') {
            if let Some(program) = self.execution.find_program(self.rootfs, name.as_bytes())?
                && log_in::is_utility(self.rootfs, &program)?
            {
                self.kept.require(&program, Reason::Named(starter.clone()))?;
            }
        }
        for terminal in log_in::terminals(self.rootfs)? {
            self.kept.require(terminal.as_bytes(), Reason::Named(starter.clone()))?;
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
