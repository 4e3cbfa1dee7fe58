//! What settings and programs name by its absolute path: the directory that a share leads to, the table of aliases, a
//! program that is started for one kind of request only. A run whose probes do not come by leaves no trace of it, and
//! the name is written down all the same:
//!
//! 1. In a text that the run read as settings: not a program, not a page, in `/etc` or where applications are; and in
//!    the command. Lines that are comments say what is not so.
//! 2. In a program that ran, or in a library that only such a program has: where it has been built to look. In a
//!    library that lies where others do, only what is of a program that the run used files of: `/usr/libexec/NAME`
//!    beside modules in `/usr/lib/NAME`, `/usr/share/NAME` beside settings in `/etc/NAME`.
//!
//! 3. In both, and in the sources of the application and of scripts that ran, programs by the names under which PATH
//!    finds them: see [`invoked`].
//! 4. In a source of the application that was loaded, files and fonts: see [`literals`].
//!
//! A file that is named so is required, unless it is a shell: one stays where it is run. A directory is required with
//! what is in it, unless many share it or it is emptied now and then. What only says how the system is set up
//! (accounts, the loader, log-ins) names much that nobody asks for.

mod search;

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ImagePath;
use crate::closure::contents::{Content, Contents};
use crate::closure::execution::Execution;
use crate::closure::kept::Kept;
use crate::closure::named::search::Search;
use crate::closure::{ClosureError, Reason, gconv, invoked, literals, path_texts, resources, script, settings};
use crate::image::{Entry, EntryKind, Rootfs};
use crate::observation::{Found, Observation, Operation, PathRecord};

/// Longer settings are data.
const MOST_OF_TEXT: u64 = 256 << 10;
/// Longer programs carry so much that a name in them says little of what they do.
const MOST_OF_PROGRAM: u64 = 32 << 20;
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

/// What is named: files and empty directories, each with where its name stands, and directories of programs, whose
/// resources others know.
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
