//! The rules that make requirements out of requirements, applied until nothing new comes.

mod looked_up;

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{FileTree, ImagePath, Shebang, escape_bytes};
use crate::closure::contents::{Content, Contents};
use crate::closure::execution::Execution;
use crate::closure::kept::Kept;
use crate::closure::loader::{self, Flavor, Loader, Process};
use crate::closure::perl::Perl;
use crate::closure::script::{self, shell_programs};
use crate::closure::{
    ClosureError, Level, Reason, Requirements, bytecode, named, nss, own_scripts, perl, prepared, resources, runtime,
    state,
};
use crate::image::{Entry, EntryKind, Rootfs};
use crate::observation::{Found, Observation, Operation};

/// One application of the rules.
pub(super) struct Rules<'a> {
    rootfs: &'a Rootfs,
    execution: &'a Execution,
    observation: &'a Observation,
    level: Level,
    kept: Kept<'a>,
    contents: Contents<'a>,
    loader: Loader<'a>,
    perl: Perl<'a>,
    /// Whether the run has started, or loaded, what interprets Perl.
    runs_perl: bool,
    /// The processes that executables become; `None` for what is not loaded dynamically.
    processes: BTreeMap<ImagePath, Option<Process>>,
    /// Libraries that some process has loaded, so that their needs are known.
    loaded: BTreeSet<ImagePath>,
    warnings: BTreeSet<String>,
    /// Shell scripts whose commands are known, and whether only as those of a bystander.
    scripts: BTreeSet<(ImagePath, bool)>,
    /// What is kept because it lies in a directory that settings or programs name.
    in_named: BTreeSet<ImagePath>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(
        rootfs: &'a Rootfs,
        execution: &'a Execution,
        observation: &'a Observation,
        level: Level,
    ) -> Self {
        Rules {
            rootfs,
            execution,
            observation,
            level,
            kept: Kept::new(rootfs),
            contents: Contents::new(rootfs),
            loader: Loader::new(rootfs, execution),
            perl: Perl::new(rootfs),
            runs_perl: observation.paths.iter().any(|(path, record)| !record.probe_tool && perl::was_run(path, record)),
            processes: BTreeMap::new(),
            loaded: BTreeSet::new(),
            warnings: BTreeSet::new(),
            scripts: BTreeSet::new(),
            in_named: BTreeSet::new(),
        }
    }

    pub(super) fn apply(mut self, wanted: &FileTree<BTreeSet<Reason>>) -> Result<Requirements, ClosureError> {
        self.observed()?;
        runtime::require(&mut self.kept, self.rootfs, self.execution, self.level)?;
        if self.level >= Level::Closure {
            self.healthcheck()?;
            state::require(&mut self.kept, self.rootfs, self.execution, self.observation)?;
        }
        for (path, reasons) in wanted.iter() {
            for reason in reasons {
                self.kept.require(path.as_bytes(), reason.clone())?;
            }
        }
        self.settle()?;
        if self.level >= Level::App {
            // Who works on a machine has prepared them for other programs as well.
            if !self.rootfs.is_host() {
                prepared::require(&mut self.kept, self.rootfs)?;
            }
            self.own_scripts()?;
        }
        if self.level >= Level::Closure {
            self.authentication()?;
            self.settle()?;
            // What they need is counted against what is there without them.
            self.resources()?;
            self.settle()?;
            self.embedded()?;
            self.settle()?;
            self.own_scripts()?;
        }
        self.warnings.extend(
            self.loader
                .warnings(|library, name| self.is_there_for_others(library) || self.was_loaded_before(library, name)),
        );
        Ok(Requirements { paths: self.kept.into_paths(), warnings: self.warnings.into_iter().collect() })
    }

    /// Looks at the needs of what is kept until nothing new comes.
    fn settle(&mut self) -> Result<(), ClosureError> {
        loop {
            while let Some((path, entry)) = self.kept.next() {
                if let Some(target) = entry.link_target() {
                    self.kept.follow(&path, target)?;
                }
                if self.level >= Level::Closure {
                    self.needs_of(&path, &entry)?;
                }
            }
            if self.level >= Level::Closure {
                self.name_services()?;
            }
            if self.kept.is_settled() {
                return Ok(());
            }
        }
    }

    /// What the run used, and the command itself.
    fn observed(&mut self) -> Result<(), ClosureError> {
        for (path, record) in self.observation.paths.iter() {
            if record.found == Found::Absent {
                if record.operations.iter().any(|operation| operation.creates()) {
                    self.directory_to_write_in(path)?;
                }
                continue;
            }
            if record.probe_tool {
                self.kept.require(path.as_bytes(), Reason::ProbeTool)?;
                continue;
            }
            if let Some(language) = record.exerciser() {
                self.kept.require(path.as_bytes(), Reason::Exercise(language.into()))?;
                continue;
            }
            for &operation in &record.operations {
                self.kept.require(path.as_bytes(), Reason::Access(operation))?;
            }
            if record.operations.contains(&Operation::Rename) {
                self.moved(path)?;
            }
        }
        if let Some(program) = self.execution.command.first() {
            match self.execution.find_program(self.rootfs, program)? {
                Some(path) => {
                    self.kept.require(&path, Reason::Access(Operation::Exec))?;
                }
                None => {
                    // Of what is looked up by PATH nobody knows where it should have been.
                    let hint = if program.contains(&b'/') {
                        "\nhint: a volume that brings it has to be there at every start; of the programs that it names the image has \
                         those that the run started: --keep-exe NAME keeps others"
                    } else {
                        ""
                    };
                    let name = escape_bytes(program);
                    self.warnings.insert(format!("the command {name} is not in the base{hint}"));
                }
            }
        }
        Ok(())
    }

    /// What lay in a directory that got another name was used under that one, which the base does not have.
    fn moved(&mut self, path: &ImagePath) -> Result<(), ClosureError> {
        self.kept.require(path.as_bytes(), Reason::Access(Operation::Rename))?;
        if self.rootfs.lookup(path)?.is_some_and(|entry| entry.is_dir()) {
            for name in self.rootfs.list(path)? {
                if let Ok(child) = path.child(&name) {
                    self.moved(&child)?;
                }
            }
        }
        Ok(())
    }

    /// What the application made, it made in a directory that has to be there next time.
    fn directory_to_write_in(&mut self, made: &ImagePath) -> Result<(), ClosureError> {
        for directory in made.ancestors() {
            if self.kept.require(directory.as_bytes(), Reason::Written(made.clone()))?.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// What HEALTHCHECK runs: the program, and the programs that a shell line names.
    fn healthcheck(&mut self) -> Result<(), ClosureError> {
        let Some((program, arguments)) = self.execution.healthcheck.split_first() else { return Ok(()) };
        let is_shell = arguments.len() > 1 && arguments[0].starts_with('-');
        let inner = arguments.last().filter(|_| is_shell).map(|line| shell_programs(line)).unwrap_or_default();
        for name in [program.clone()].iter().chain(&inner) {
            match self.execution.find_program(self.rootfs, name.as_bytes())? {
                Some(path) => {
                    self.kept.require(&path, Reason::Healthcheck)?;
                }
                None if name == program => {
                    self.warnings.insert(format!("HEALTHCHECK runs {name}, which is not in the base"));
                }
                // What looks like a program in a shell line need not be one.
                None => {}
            }
        }
        Ok(())
    }

    fn needs_of(&mut self, path: &ImagePath, entry: &Entry) -> Result<(), ClosureError> {
        if entry.link_target().is_some() {
            let walk = self.rootfs.resolve(path.as_bytes(), true)?;
            // A library that is loaded through a link has its `$ORIGIN` beside the link.
            if walk.entry.is_some_and(|entry| entry.is_file()) && walk.end.parent() != path.parent() {
                self.shared_library(path, &walk.end)?;
            }
            return Ok(());
        }
        match self.contents.of(path)? {
            Content::Elf(elf) if elf.interpreter.is_some() => self.executable(path)?,
            Content::Elf(_) => self.shared_library(path, path)?,
            Content::Script(_) if self.is_there_for_others(path) || self.is_module_in_passing(path) => {}
            Content::Script(shebang) if script::is_shell(&shebang) && self.is_in_passing(path) => {}
            Content::Script(shebang) if self.was_read_only(path) && is_of_language(&shebang) => {}
            Content::Script(shebang) if entry.mode & 0o111 != 0 || self.was_executed(path) => {
                self.script(path, &shebang)?;
            }
            Content::Malformed(problem) if !self.is_there_for_others(path) => {
                self.warnings.insert(format!("cannot find out what {path} needs: {problem}"));
            }
            Content::Script(_) | Content::Malformed(_) | Content::Other => {}
        }
        if perl::is_source(path) && (!self.is_there_for_others(path) || self.is_own_perl(path)) {
            self.modules(path)?;
        }
        if let Some(source) = bytecode::source_of(path) {
            self.kept.require(source.as_bytes(), Reason::Source(path.clone()))?;
        }
        Ok(())
    }

    /// Whether nothing asks for the file at `path` but that it lies beside others, belongs to the same package, or is the
    /// source of such a file: nobody is known to run it.
    fn is_there_for_others(&self, path: &ImagePath) -> bool {
        let is_such =
            |reason: &Reason| matches!(reason, Reason::Application(_) | Reason::Package(_) | Reason::Source(_));
        self.kept.paths().get(path).is_some_and(|reasons| reasons.iter().all(is_such))
    }

    /// Whether the file at `path` is a source of the application's own that one of those that ran may load.
    fn is_own_perl(&self, path: &ImagePath) -> bool {
        let is_own = |reason: &Reason| matches!(reason, Reason::Application(_));
        self.runs_perl && self.kept.paths().get(path).is_some_and(|reasons| reasons.iter().any(is_own))
    }

    /// Whether the file at `path` is there because its directory is kept whole, and for nothing else: a shell for such a
    /// file would be one that nobody has asked for.
    fn is_in_passing(&self, path: &ImagePath) -> bool {
        let is_such = |reason: &Reason| match reason {
            Reason::Named(_) => self.in_named.contains(path),
            Reason::Application(_) => self.level >= Level::App,
            reason => matches!(reason, Reason::Resource(_)),
        };
        self.kept.paths().get(path).is_some_and(|reasons| reasons.iter().all(is_such))
    }

    /// Whether the file at `path` is there because the directory of a program is kept whole. What such a script may start is
    /// a guess; one among the application's own somebody wrote for it.
    fn is_bystander(&self, path: &ImagePath) -> bool {
        let is_own = |reason: &Reason| matches!(reason, Reason::Application(_));
        self.is_in_passing(path) && !self.kept.paths().get(path).is_some_and(|reasons| reasons.iter().any(is_own))
    }

    /// Whether only an exerciser asked for the file at `path`, which reads what sources name: a tool of another language
    /// that lies in a package is not of use without that, and the language not without its libraries.
    pub(super) fn was_read_only(&self, path: &ImagePath) -> bool {
        let is_such = |reason: &Reason| matches!(reason, Reason::Exercise(_) | Reason::Link(_));
        self.kept.paths().get(path).is_some_and(|reasons| reasons.iter().all(is_such))
            && self.observation.paths.get(path).is_some_and(|record| record.exerciser().is_some())
            && !self.was_executed(path)
    }

    /// Whether the file at `path` is a module of a library that is kept whole: its `#!` is for those who try it out.
    fn is_module_in_passing(&self, path: &ImagePath) -> bool {
        let is_module = path.file_name().is_some_and(|name| name.ends_with(b".py") || name.ends_with(b".pm"));
        is_module && self.is_in_passing(path) && !own_scripts::is_run_by_servers(path)
    }

    fn was_executed(&self, path: &ImagePath) -> bool {
        self.observation.paths.get(path).is_some_and(|record| record.operations.contains(&Operation::Exec))
    }

    /// Whether a process that used `library` used another by the name that it needs: a process that has loaded a library,
    /// from wherever, does not look for it again.
    fn was_loaded_before(&self, library: &ImagePath, name: &[u8]) -> bool {
        let paths = &self.observation.paths;
        // Who will load what nobody has loaded is not known; a runtime loads its modules into itself.
        let users = paths.get(library).map(|record| &record.executables);
        paths.iter().any(|(path, record)| {
            path.file_name() == Some(name)
                && record.found != Found::Absent
                && record.operations.contains(&Operation::Open)
                && users.is_none_or(|users| !record.executables.is_disjoint(users))
        })
    }

    fn script(&mut self, path: &ImagePath, shebang: &Shebang) -> Result<(), ClosureError> {
        let reason = Reason::Interpreter(path.clone());
        let interpreter = self.execution.absolute(&shebang.interpreter);
        // What nobody has started, nobody starts in the base either, if that has nothing to start it with.
        let is_missed = !self.is_in_passing(path);
        if self.kept.require(&interpreter, reason.clone())?.is_none() && is_missed {
            let name = escape_bytes(&shebang.interpreter);
            self.warnings.insert(format!("{path} needs {name}, which is not in the base"));
        }
        if let Some(program) = shebang.env_program() {
            match self.execution.find_program(self.rootfs, &program)? {
                Some(program) => {
                    self.kept.require(&program, reason)?;
                }
                None if !is_missed => {}
                None => {
                    let name = escape_bytes(&program);
                    self.warnings.insert(format!("{path} needs {name}, which is not in the base"));
                }
            }
        }
        if script::is_shell(shebang) && !self.is_probe_tool(path) {
            self.commands(path)?;
        }
        if script::is_interpreted_by(shebang, perl::is_interpreter) {
            self.modules(path)?;
        }
        Ok(())
    }

    /// What a Perl source names: see [`perl`].
    fn modules(&mut self, path: &ImagePath) -> Result<(), ClosureError> {
        if !self.is_probe_tool(path) {
            for module in self.perl.needs_of(path)? {
                self.kept.require(module.as_bytes(), Reason::Script(path.clone()))?;
            }
        }
        Ok(())
    }

    /// The programs that a shell script names, and the files that it reads into itself, with what these name: which of
    /// its branches are taken, the next start decides.
    fn commands(&mut self, path: &ImagePath) -> Result<(), ClosureError> {
        let is_bystander = self.is_bystander(path);
        let mut pending = vec![path.clone()];
        while let Some(path) = pending.pop() {
            let is_text = |entry: Entry| matches!(entry.kind, EntryKind::File { size, .. } if size <= script::MOST);
            if !self.rootfs.lookup(&path)?.is_some_and(is_text) || !self.scripts.insert((path.clone(), is_bystander)) {
                continue;
            }
            let text = self.rootfs.read(&path)?;
            let text = String::from_utf8_lossy(&text);
            for name in script::commands(&text) {
                if let Some(program) = self.execution.find_program(self.rootfs, name.as_bytes())? {
                    if is_bystander && !named::is_small_tool(self.rootfs, &program)? {
                        continue;
                    }
                    self.kept.require(&program, Reason::Script(path.clone()))?;
                }
            }
            for name in script::included(&text) {
                // A `#!` line in it counts for nothing: the shell that reads it is there.
                pending.extend(self.included(&path, &name)?);
            }
        }
        Ok(())
    }

    /// The file that the shell script at `path` reads into itself by `name`: from the root, from where the script lies, or
    /// from the directory above.
    fn included(&mut self, path: &ImagePath, name: &str) -> Result<Option<ImagePath>, ClosureError> {
        for directory in path.ancestors().take(2) {
            let beside = [directory.as_bytes(), name.as_bytes()].join(&b'/');
            let written = if name.starts_with('/') { name.as_bytes() } else { &beside };
            let walk = self.rootfs.resolve(written, true)?;
            if walk.entry.is_some_and(|entry| entry.is_file()) {
                self.kept.require(written, Reason::Script(path.clone()))?;
                return Ok(Some(walk.end));
            }
        }
        Ok(None)
    }

    fn is_probe_tool(&self, path: &ImagePath) -> bool {
        self.observation.paths.get(path).is_some_and(|record| record.probe_tool)
    }

    fn executable(&mut self, path: &ImagePath) -> Result<(), ClosureError> {
        let Some(mut process) = self.process(path)? else { return Ok(()) };
        self.require_uses(&mut process)?;
        // Whoever uses the loader reads these, if they are there.
        let mut files = match process.flavor() {
            Flavor::Glibc => vec![loader::CACHE.to_owned(), loader::PRELOAD.to_owned()],
            Flavor::Musl => Vec::new(),
        };
        let interpreter = self.contents.elf(path)?.and_then(|elf| elf.interpreter.clone());
        files.extend(interpreter.and_then(|interpreter| loader::path_file(&interpreter)));
        for file in files {
            self.kept.require(file.as_bytes(), Reason::Runtime)?;
        }
        Ok(())
    }

    /// What the library at `real`, loaded by the name `path`, needs: in each process that used it, or by itself when
    /// nobody knows who loads it.
    fn shared_library(&mut self, path: &ImagePath, real: &ImagePath) -> Result<(), ClosureError> {
        let Some(elf) = self.contents.elf(real)? else { return Ok(()) };
        if elf.interpreter.is_some() || elf.needed.is_empty() && elf.dlopens.is_empty() {
            return Ok(());
        }
        let observation = self.observation;
        let users = observation.paths.get(path).map(|record| &record.executables);
        let mut is_known = false;
        for user in users.into_iter().flatten() {
            let user = self.rootfs.resolve(user.as_bytes(), true)?;
            if !user.entry.is_some_and(|entry| entry.is_file()) {
                continue;
            }
            let Some(process) = self.process(&user.end)?.filter(|process| process.arch() == elf.arch) else { continue };
            is_known = true;
            if !process.has(real) {
                self.open(Some(process), path, real)?;
            }
        }
        if !is_known && !self.loaded.contains(real) {
            self.open(None, path, real)?;
        }
        Ok(())
    }

    fn open(&mut self, process: Option<Process>, path: &ImagePath, real: &ImagePath) -> Result<(), ClosureError> {
        match self.loader.open(&mut self.contents, process, path, real)? {
            Some(mut process) => self.require_uses(&mut process),
            None => Ok(()),
        }
    }

    fn require_uses(&mut self, process: &mut Process) -> Result<(), ClosureError> {
        self.loaded.extend(process.files().cloned());
        for (path, reason) in process.take_uses() {
            self.kept.require(&path, reason)?;
        }
        Ok(())
    }

    fn process(&mut self, main: &ImagePath) -> Result<Option<Process>, ClosureError> {
        if let Some(process) = self.processes.get(main) {
            return Ok(process.clone());
        }
        let process = self.loader.start(&mut self.contents, main)?;
        self.processes.insert(main.clone(), process.clone());
        Ok(process)
    }

    /// The modules of glibc's name service switch, when libc is kept and something was looked up.
    fn name_services(&mut self) -> Result<(), ClosureError> {
        let was_used = |file: &&str| {
            let record = ImagePath::parse(file).ok().and_then(|path| self.observation.paths.get(&path));
            // That nsswitch.conf was looked for and not there shows as much as that it was read.
            record.is_some_and(|record| record.found != Found::Absent || **file == *nss::CONF)
        };
        if !nss::EVIDENCE.iter().any(was_used) {
            return Ok(());
        }
        let is_libc = |path: &&ImagePath| path.file_name() == Some(b"libc.so.6");
        let libraries: Vec<ImagePath> =
            self.kept.paths().iter().map(|(path, _)| path).filter(is_libc).cloned().collect();
        for libc in libraries {
            let walk = self.rootfs.resolve(libc.as_bytes(), true)?;
            if !walk.entry.is_some_and(|entry| entry.is_file()) {
                continue;
            }
            let conf = self.kept.require(nss::CONF.as_bytes(), Reason::Nss(libc.clone()))?;
            let text = match ImagePath::parse(nss::CONF) {
                Ok(path) => self.rootfs.read_resolved(&path)?,
                Err(_) => None,
            };
            let modules = text.map_or_else(nss::default_modules, |text| nss::modules(&text));
            for module in modules {
                for path in self.loader.find_from(&mut self.contents, &walk.end, &module)? {
                    self.kept.require(&path, Reason::Nss(conf.clone().unwrap_or_else(|| libc.clone())))?;
                }
            }
        }
        Ok(())
    }
}

fn is_of_language(shebang: &Shebang) -> bool {
    script::is_interpreted_by(shebang, resources::is_language)
}
