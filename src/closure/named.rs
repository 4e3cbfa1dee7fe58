//! What settings and programs name by its absolute path: the directory that a share leads to, the table of aliases, a program that
//! is started for one kind of request only. A run whose probes do not come by leaves no trace of it, and the name is
//! written down all the same:
//!
//! 1. In a text that the run read as settings: not a program, not a page, in `/etc` or where applications are; and in the command.
//!    Lines that are comments say what is not so.
//! 2. In a program that ran, or in a library that only such a program has: where it has been built to look. In a library that lies
//!    where others do, only what is of a program that the run used files of: `/usr/libexec/NAME` beside modules in `/usr/lib/NAME`,
//!    `/usr/share/NAME` beside settings in `/etc/NAME`.
//!
//! 3. In both, and in the sources of the application and of scripts that ran, programs by the names under which PATH finds
//!    them: see [`invoked`].
//! 4. In a source of the application that was loaded, files and fonts: see [`literals`].
//!
//! A file that is named so is required, unless it is a shell: one stays where it is run. A directory is required with what is in it, unless many share it or it is
//! emptied now and then. What only says how the system is set up (accounts, the loader, log-ins) names much that nobody asks for.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ImagePath;
use crate::closure::contents::{Content, Contents};
use crate::closure::execution::Execution;
use crate::closure::kept::Kept;
use crate::closure::{ClosureError, Reason, gconv, invoked, literals, path_texts, resources, script, settings, state};
use crate::image::{Entry, EntryKind, Rootfs};
use crate::observation::{Found, Observation, Operation, PathRecord};

/// Longer settings are data.
const MOST_OF_TEXT: u64 = 256 << 10;
/// Longer programs carry so much that a name in them says little of what they do.
const MOST_OF_PROGRAM: u64 = 32 << 20;
/// A file of more, or a directory of more or with more entries, is not kept for its name alone.
const MOST: u64 = 64 << 20;
const MOST_ENTRIES: usize = 20_000;
/// After so many names in all no further one is looked up.
const MOST_OF_ALL_NAMES: usize = 1 << 19;
/// After so many entries no further directory is looked into: names can be many, and each too much.
const MOST_LOOKED_AT: usize = 1 << 20;
/// A larger program is an application of its own.
const MOST_OF_INVOKED: u64 = 4 << 20;

/// Where programs and their data are: what is read there is code or data, and names what its builders had.
const NO_SETTINGS: [&str; 16] = [
    "/bin",
    "/dev",
    "/lib",
    "/lib64",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr/bin",
    "/usr/lib",
    "/usr/libexec",
    "/usr/sbin",
    "/usr/share",
    "/var/cache",
    "/var/log",
];

/// How the system is set up. Rules of their own read what counts of it.
pub(super) const OF_THE_SYSTEM: [&str; 31] = [
    "/etc/adduser.conf",
    "/etc/alternatives",
    "/etc/apt",
    "/etc/bash.bashrc",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/deluser.conf",
    "/etc/dpkg",
    "/etc/environment",
    "/etc/fonts",
    "/etc/fstab",
    "/etc/group",
    "/etc/gshadow",
    "/etc/init.d",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/login.defs",
    "/etc/logrotate.d",
    "/etc/mtab",
    "/etc/nsswitch.conf",
    "/etc/pam.conf",
    "/etc/pam.d",
    "/etc/passwd",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/security",
    "/etc/shadow",
    "/etc/shells",
    "/etc/skel",
    "/etc/systemd",
];

/// The endings of sources and pages, which name paths of addresses and of other machines.
const NO_SETTINGS_ENDINGS: [&[u8]; 20] = [
    b".c", b".css", b".go", b".htm", b".html", b".java", b".js", b".lua", b".md", b".mjs", b".pem", b".php", b".pl",
    b".pm", b".py", b".rb", b".sh", b".sql", b".svg", b".ts",
];

/// The endings of sources in languages that start programs.
const SOURCES: [&[u8]; 9] = [b".cgi", b".js", b".mjs", b".php", b".pl", b".pm", b".py", b".rb", b".ts"];

/// Many share these, further to what no application has as a whole.
const SHARED: [&str; 6] = ["/etc/ssl", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/var/www"];

/// What is named: files and empty directories, each with where its name stands, and directories of programs, whose resources others know.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) paths: Vec<(ImagePath, ImagePath)>,
    /// What is in directories that are named, each with where the name of the directory stands.
    pub(super) contents: Vec<(ImagePath, ImagePath)>,
    /// Each with the program that names it, unless settings do.
    pub(super) resources: BTreeMap<ImagePath, Option<ImagePath>>,
}

/// Finds what the settings and the programs of the run name, and the settings of `tools`, which somebody will start.
pub(super) fn find(
    rootfs: &Rootfs,
    execution: &Execution,
    observation: &Observation,
    kept: &Kept<'_>,
    tools: &[ImagePath],
    contents: &mut Contents<'_>,
) -> Result<Named, ClosureError> {
    let mut search = Search::new(rootfs, execution);
    let programs = programs_of(rootfs, observation);
    for (path, record) in observation.paths.iter() {
        let Found::File { .. } = record.found else { continue };
        let did = |operation| !record.probe_tool && record.operations.contains(&operation);
        let is_of_run = did(Operation::Exec) || did(Operation::Open) && record.exerciser().is_none();
        let walk = rootfs.resolve(path.as_bytes(), true)?;
        let Some(EntryKind::File { size, .. }) = walk.entry.map(|entry| entry.kind) else {
            continue;
        };
        // A source that only an exerciser has loaded is one that a request may load.
        if did(Operation::Open) && size <= script::MOST && is_own_source(&walk.end, kept) {
            let source = rootfs.read(&walk.end)?;
            for name in literals::paths(&source) {
                search.add_from_source(&name, path, contents)?;
            }
            for name in invoked::by_source(&source) {
                search.add_invoked(&name, path, contents)?;
            }
            for font in literals::find_fonts(rootfs, &literals::fonts(&source))? {
                search.named.paths.push((font, path.clone()));
            }
        }
        if !is_of_run {
            continue;
        }
        if size <= MOST_OF_TEXT && may_be_settings(path, record) {
            for name in path_texts::in_settings(&rootfs.read(&walk.end)?) {
                search.add_from_settings(&name, path)?;
            }
        } else if size <= MOST_OF_PROGRAM && is_programs(&walk.end, record) && contents.elf(&walk.end)?.is_some() {
            let program = rootfs.read(&walk.end)?;
            for name in path_texts::in_program(&program) {
                search.add_from_program(&name, path)?;
            }
            for name in invoked::by_program(&program) {
                search.add_invoked(&name, path, contents)?;
            }
        } else if size <= MOST_OF_PROGRAM && is_library(&walk.end) && contents.elf(&walk.end)?.is_some() {
            for name in path_texts::in_program(&rootfs.read(&walk.end)?) {
                search.add_from_library(&name, path, &programs)?;
            }
        }
        if size <= script::MOST && !is_own_source(&walk.end, kept) && may_start_programs(&walk.end, record, contents)? {
            for name in invoked::by_source(&rootfs.read(&walk.end)?) {
                search.add_invoked(&name, path, contents)?;
            }
        }
    }
    for tool in tools {
        let walk = rootfs.resolve(tool.as_bytes(), true)?;
        let is_small = |kind: EntryKind| matches!(kind, EntryKind::File { size, .. } if size <= MOST_OF_INVOKED);
        if walk.entry.is_some_and(|entry| is_small(entry.kind)) {
            let program = rootfs.read(&walk.end)?;
            let names =
                if program.starts_with(b"\x7fELF") { path_texts::in_program(&program) } else { Default::default() };
            for name in names {
                search.add_from_tool(&name, tool)?;
            }
        }
    }
    if let Some(program) =
        execution.command.first().and_then(|program| ImagePath::parse(execution.absolute(program)).ok())
    {
        for name in execution.command.iter().flat_map(|word| path_texts::in_settings(word)) {
            search.add_from_settings(&name, &program)?;
        }
    }
    Ok(search.named)
}

/// The texts that the run read as settings, where links lead.
pub(super) fn settings(rootfs: &Rootfs, observation: &Observation) -> Result<Vec<ImagePath>, ClosureError> {
    let mut texts = Vec::new();
    for (path, record) in observation.paths.iter() {
        let is_read = record.operations.contains(&Operation::Open) && matches!(record.found, Found::File { .. });
        if !is_read || record.probe_tool || record.exerciser().is_some() || !may_be_settings(path, record) {
            continue;
        }
        let walk = rootfs.resolve(path.as_bytes(), true)?;
        let kind = walk.entry.map(|entry| entry.kind);
        if matches!(kind, Some(EntryKind::File { size, .. }) if size <= MOST_OF_TEXT) {
            texts.push(walk.end);
        }
    }
    Ok(texts)
}

fn may_be_settings(path: &ImagePath, record: &PathRecord) -> bool {
    let runs = |operation: &Operation| matches!(operation, Operation::Exec | Operation::Load);
    let name = path.file_name().unwrap_or_default();
    !record.operations.iter().any(runs)
        && !NO_SETTINGS.iter().chain(&OF_THE_SYSTEM).any(|place| is_within(path, place))
        && !NO_SETTINGS_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether the file is a program that ran and is no shell, or a library of such a program's own.
fn is_programs(path: &ImagePath, record: &PathRecord) -> bool {
    if record.operations.contains(&Operation::Exec) {
        return !path.file_name().is_some_and(script::is_shell_name);
    }
    is_library(path) && !gconv::is_shared(path) && resources::of_program(path, false).is_some()
}

fn is_library(path: &ImagePath) -> bool {
    path.file_name().is_some_and(|name| name.windows(3).any(|part| part == b".so"))
}

/// The directories of single programs, those with their settings among them, in which the run used a file.
fn programs_of(rootfs: &Rootfs, observation: &Observation) -> BTreeSet<ImagePath> {
    let is_used = |record: &PathRecord| matches!(record.found, Found::File { .. }) && !record.probe_tool;
    let used = observation.paths.iter().filter(|(_, record)| is_used(record)).map(|(path, _)| path);
    let of_program = used.filter_map(|path| resources::of_program(path, false));
    of_program.chain(settings::directories(rootfs, observation)).collect()
}

/// Whether the file is one of the application's sources, in a language that starts programs.
fn is_own_source(path: &ImagePath, kept: &Kept<'_>) -> bool {
    let is_own = |reasons: &BTreeSet<Reason>| reasons.iter().any(|reason| matches!(reason, Reason::Application(_)));
    let name = path.file_name().unwrap_or_default();
    SOURCES.iter().any(|ending| name.ends_with(ending)) && kept.paths().get(path).is_some_and(is_own)
}

/// Whether the file is a script that ran, of another language than a shell's, which has a rule of its own.
fn may_start_programs(
    path: &ImagePath,
    record: &PathRecord,
    contents: &mut Contents<'_>,
) -> Result<bool, ClosureError> {
    let ran = record.operations.contains(&Operation::Exec);
    Ok(ran && matches!(contents.of(path)?, Content::Script(shebang) if !script::is_shell(&shebang)))
}

struct Search<'a> {
    rootfs: &'a Rootfs,
    execution: &'a Execution,
    named: Named,
    seen: BTreeSet<ImagePath>,
    /// Directories that are taken with what is in them: many names may lead into one.
    taken: BTreeSet<ImagePath>,
    /// How many entries of directories may still be looked at.
    left: usize,
}

impl<'a> Search<'a> {
    fn new(rootfs: &'a Rootfs, execution: &'a Execution) -> Self {
        let (named, seen, taken) = <(Named, BTreeSet<_>, BTreeSet<_>)>::default();
        Search { rootfs, execution, named, seen, taken, left: MOST_LOOKED_AT }
    }

    fn add_from_settings(&mut self, name: &[u8], source: &ImagePath) -> Result<(), ClosureError> {
        let Some((path, entry)) = self.look(name)? else { return Ok(()) };
        let is_shell = path.file_name().is_some_and(script::is_shell_name);
        match entry.kind {
            EntryKind::File { size, .. } if size <= MOST && !is_shell => self.named.paths.push((path, source.clone())),
            EntryKind::Dir if is_of_programs(&path) => self.add_resources(path, None),
            EntryKind::Dir if may_be_kept_whole(&path) => self.add_directory(path, source)?,
            EntryKind::Dir if !is_shared(&path) => self.named.paths.push((path, source.clone())),
            _ => {}
        }
        Ok(())
    }

    fn add_from_program(&mut self, name: &[u8], source: &ImagePath) -> Result<(), ClosureError> {
        let Some((path, entry)) = self.look(name)? else { return Ok(()) };
        let is_system = OF_THE_SYSTEM.iter().any(|place| is_within(&path, place));
        let is_etc = is_within(&path, "/etc") && !is_system;
        let is_shell = path.file_name().is_some_and(script::is_shell_name);
        match entry.kind {
            EntryKind::File { size, .. } if size <= MOST && !is_shell => {
                let is_program = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|place| is_within(&path, place));
                if is_etc || is_program && size <= MOST_OF_INVOKED || resources::of_program(&path, false).is_some() {
                    self.named.paths.push((path, source.clone()));
                }
            }
            EntryKind::Dir if is_within(&path, "/usr") => self.add_resources(path, Some(source)),
            EntryKind::Dir if is_etc && may_be_kept_whole(&path) => self.add_directory(path, source)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes a file of settings: a tool of a service reads what the service has read, and a table of its own.
    fn add_from_tool(&mut self, name: &[u8], source: &ImagePath) -> Result<(), ClosureError> {
        let is_settings =
            |path: &ImagePath| is_within(path, "/etc") && !OF_THE_SYSTEM.iter().any(|place| is_within(path, place));
        if ImagePath::parse(name).is_ok_and(|path| is_settings(&path))
            && let Some((path, entry)) = self.look(name)?
            && matches!(entry.kind, EntryKind::File { size, .. } if size <= MOST_OF_TEXT)
        {
            self.named.paths.push((path, source.clone()));
        }
        Ok(())
    }

    /// Takes a directory of one of the `programs`, or a file in one.
    fn add_from_library(
        &mut self,
        name: &[u8],
        source: &ImagePath,
        programs: &BTreeSet<ImagePath>,
    ) -> Result<(), ClosureError> {
        // Of a directory that was used itself other rules know what comes of that.
        let is_known = |path: &ImagePath, is_dir| {
            let Some(directory) = resources::of_program(path, is_dir) else { return false };
            programs.iter().any(|used| *used != directory && used.file_name() == directory.file_name())
                && !programs.contains(&directory)
        };
        // Whether it is there is asked only of what could count.
        if !ImagePath::parse(name).is_ok_and(|path| is_known(&path, true)) {
            return Ok(());
        }
        match self.look(name)? {
            Some((path, entry)) if entry.is_dir() && is_known(&path, true) => self.add_resources(path, Some(source)),
            Some((path, entry)) if entry.is_file() && is_known(&path, false) => {
                self.named.paths.push((path, source.clone()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a file, or a directory among data, that the application's own source has as a text of its own.
    fn add_from_source(
        &mut self,
        name: &[u8],
        source: &ImagePath,
        contents: &mut Contents<'_>,
    ) -> Result<(), ClosureError> {
        let Some((path, entry)) = self.look(name)? else { return Ok(()) };
        let real = self.rootfs.resolve(path.as_bytes(), true)?.end;
        let is_system = [&path, &real].iter().any(|path| OF_THE_SYSTEM.iter().any(|place| is_within(path, place)));
        if is_system || state::is_never(&real) {
            return Ok(());
        }
        match entry.kind {
            EntryKind::File { size, .. } => {
                let is_worth_it = match entry.mode & 0o111 {
                    0 => size <= MOST,
                    _ => is_small_tool(self.rootfs, path.as_bytes())? && contents.elf(&real)?.is_some(),
                };
                if is_worth_it {
                    self.named.paths.push((path, source.clone()));
                }
            }
            EntryKind::Dir if is_data(&path) && may_be_kept_whole(&path) => self.add_directory(path, source)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes the program that PATH finds by `name`. One that is a script, or a language's, says nothing of what it is to run.
    fn add_invoked(
        &mut self,
        name: &[u8],
        source: &ImagePath,
        contents: &mut Contents<'_>,
    ) -> Result<(), ClosureError> {
        let Some(path) = self.execution.find_program(self.rootfs, name)? else { return Ok(()) };
        let Some((path, entry)) = self.look(&path)? else { return Ok(()) };
        if entry.is_file() && is_small_tool(self.rootfs, path.as_bytes())? {
            let real = self.rootfs.resolve(path.as_bytes(), true)?.end;
            if contents.elf(&real)?.is_some() {
                self.named.paths.push((path, source.clone()));
            }
        }
        Ok(())
    }

    /// What is at `name`, if nobody has looked before.
    fn look(&mut self, name: &[u8]) -> Result<Option<(ImagePath, Entry)>, ClosureError> {
        let Ok(path) = ImagePath::parse(name) else { return Ok(None) };
        if self.seen.len() == MOST_OF_ALL_NAMES || !self.seen.insert(path.clone()) {
            return Ok(None);
        }
        // A link on the way comes with what it leads to when the name itself is required.
        let walk = self.rootfs.resolve(path.as_bytes(), true)?;
        let Some(entry) = walk.entry else { return Ok(None) };
        Ok(Some((if entry.is_dir() { walk.end } else { path }, entry)))
    }

    fn add_resources(&mut self, directory: ImagePath, program: Option<&ImagePath>) {
        // Where programs are is named to find one of them; which, nobody knows.
        let is_of_programs = directory.file_name().is_some_and(|name| matches!(name, b"bin" | b"sbin"));
        if !is_of_programs && resources::of_program(&directory, true).is_some() {
            let namer = self.named.resources.entry(directory).or_insert_with(|| program.cloned());
            *namer = namer.take().filter(|_| program.is_some());
        }
    }

    /// Takes a directory with what is in it, unless that is too much.
    fn add_directory(&mut self, directory: ImagePath, source: &ImagePath) -> Result<(), ClosureError> {
        let mut found = Vec::new();
        let mut taken = BTreeSet::new();
        let mut pending = vec![directory.clone()];
        let (mut bytes, mut seen) = (0, 0);
        while let Some(inner) = pending.pop() {
            if self.taken.contains(&inner) {
                continue;
            }
            if inner != directory {
                found.push((inner.clone(), source.clone()));
            }
            for name in self.rootfs.list(&inner)? {
                let Ok(path) = inner.child(&name) else { continue };
                let Some(entry) = self.rootfs.lookup(&path)? else { continue };
                seen += 1;
                match entry.kind {
                    EntryKind::Dir if state::is_left_out(&name) => continue,
                    EntryKind::Dir => pending.push(path.clone()),
                    EntryKind::File { size, .. } => bytes += size,
                    _ => {}
                }
                if bytes > MOST || seen > MOST_ENTRIES || self.left == 0 {
                    return Ok(());
                }
                self.left -= 1;
                if !matches!(entry.kind, EntryKind::Dir) {
                    found.push((path, source.clone()));
                }
            }
            taken.insert(inner);
        }
        self.taken.extend(taken);
        self.named.paths.push((directory, source.clone()));
        self.named.contents.extend(found);
        Ok(())
    }
}

/// Whether what is at `path` is a program that can come for its name alone: no language, and no application of its own.
pub(super) fn is_small_tool(rootfs: &Rootfs, path: &[u8]) -> Result<bool, ClosureError> {
    let walk = rootfs.resolve(path, true)?;
    let is_language =
        walk.end.file_name().is_some_and(|name| script::is_shell_name(name) || resources::is_language(name));
    let is_small = |entry: Entry| matches!(entry.kind, EntryKind::File { size, .. } if size <= MOST_OF_INVOKED);
    Ok(!is_language && walk.entry.is_some_and(is_small))
}

fn is_within(path: &ImagePath, above: &str) -> bool {
    ImagePath::parse(above).is_ok_and(|above| path.is_within(&above))
}

/// Whether a directory is in a place for programs, of which a part is for compilers. What settings name among data is data.
fn is_of_programs(directory: &ImagePath) -> bool {
    is_within(directory, "/usr") && !["/usr/local", "/usr/share"].iter().any(|place| is_within(directory, place))
}

fn is_data(directory: &ImagePath) -> bool {
    resources::DATA.iter().any(|place| is_within(directory, place))
}

fn is_shared(directory: &ImagePath) -> bool {
    let is_listed = SHARED.iter().any(|&shared| directory.as_bytes() == shared.as_bytes());
    state::is_shared(directory) || is_listed || resources::is_data_of_many(directory)
}

fn may_be_kept_whole(directory: &ImagePath) -> bool {
    let is_home = directory.parent().is_some_and(|parent| parent.as_bytes() == b"/home");
    !is_shared(directory) && !is_home && !state::is_never(directory) && !is_within(directory, "/root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_that_lead_into_one_directory_take_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let deep = "/d".repeat(50);
        std::fs::create_dir_all(dir.path().join(format!("data{deep}"))).unwrap();
        std::fs::write(dir.path().join(format!("data{deep}/file")), "").unwrap();
        let rootfs = Rootfs::lazy(dir.path(), std::sync::Arc::new(crate::image::OwnersAsSeen)).unwrap();
        let source = ImagePath::parse("/etc/x").unwrap();
        for deepest_first in [false, true] {
            let execution = Execution::default();
            let mut search = Search::new(&rootfs, &execution);
            for depth in 1..=50 {
                let depth = if deepest_first { 51 - depth } else { depth };
                let name = format!("/data{}", "/d".repeat(depth));
                search.add_from_settings(name.as_bytes(), &source).unwrap();
            }
            let Named { paths, contents, .. } = search.named;
            assert!(paths.len() == 50 && contents.len() <= 50, "{} {}", paths.len(), contents.len());
            assert_eq!(paths.into_iter().chain(contents).collect::<BTreeSet<_>>().len(), 51);
        }
    }
}
