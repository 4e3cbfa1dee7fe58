//! The rules that make requirements out of requirements, applied until nothing new comes.

mod libraries;
mod looked_up;
mod observed;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{FileTree, ImagePath, Shebang};
use crate::closure::contents::{Content, Contents};
use crate::closure::execution::Execution;
use crate::closure::kept::Kept;
use crate::closure::loader::{Loader, Process};
use crate::closure::perl::Perl;
use crate::closure::script;
use crate::closure::{
    ClosureError, Level, Reason, Requirements, bytecode, nss, own_scripts, perl, prepared, resources, runtime, state,
};
use crate::image::{Entry, Rootfs};
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

    /// Whether nothing asks for the file at `path` but that it lies beside others, belongs to the same package, or is
    /// the source of such a file: nobody is known to run it.
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

    /// Whether the file at `path` is there because its directory is kept whole, and for nothing else: a shell for such
    /// a file would be one that nobody has asked for.
    fn is_in_passing(&self, path: &ImagePath) -> bool {
        let is_such = |reason: &Reason| match reason {
            Reason::Named(_) => self.in_named.contains(path),
            Reason::Application(_) => self.level >= Level::App,
            reason => matches!(reason, Reason::Resource(_)),
        };
        self.kept.paths().get(path).is_some_and(|reasons| reasons.iter().all(is_such))
    }

    /// Whether the file at `path` is there because the directory of a program is kept whole. What such a script may
    /// start is a guess; one among the application's own somebody wrote for it.
    fn is_bystander(&self, path: &ImagePath) -> bool {
        let is_own = |reason: &Reason| matches!(reason, Reason::Application(_));
        self.is_in_passing(path) && !self.kept.paths().get(path).is_some_and(|reasons| reasons.iter().any(is_own))
    }

    /// Whether only an exerciser asked for the file at `path`, which reads what sources name: a tool of another
    /// language that lies in a package is not of use without that, and the language not without its libraries.
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

    /// Whether a process that used `library` used another by the name that it needs: a process that has loaded a
    /// library, from wherever, does not look for it again.
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

    fn is_probe_tool(&self, path: &ImagePath) -> bool {
        self.observation.paths.get(path).is_some_and(|record| record.probe_tool)
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
