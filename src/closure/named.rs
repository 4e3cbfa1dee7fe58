//! What settings and programs name by its absolute path: the directory that a share leads to, the table of aliases, a program that
//! is started for one kind of request only. A run whose probes do not come by leaves no trace of it, and the name is
//! written down all the same:
//!
//! 1. In a text that the run read as settings: not a program, not a page, in `/etc` or where applications are; and in the command.
//!    Lines that are comments say what is not so.
//! 2. In a program that ran, or in a library that only such a program has: where it has been built to look.
//!
//! 3. In both, and in the sources of the application and of scripts that ran, programs by the names under which PATH finds
//!    them: see [`invoked`].
//!
//! A file that is named so is required, unless it is a shell: one stays where it is run. A directory is required with what is in it, unless many share it or it is
//! emptied now and then. What only says how the system is set up (accounts, the loader, log-ins) names much that nobody asks for.

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::closure::contents::{Content, Contents};
use crate::closure::execution::Execution;
use crate::closure::kept::Kept;
use crate::closure::{ClosureError, Reason, gconv, invoked, resources, script, state};
use crate::image::{Entry, EntryKind, Rootfs};
use crate::observation::{Found, Observation, Operation, PathRecord};

/// Longer settings are data.
const MOST_OF_TEXT: u64 = 256 << 10;
/// Longer programs carry so much that a name in them says little of what they do.
const MOST_OF_PROGRAM: u64 = 32 << 20;
/// A file of more, or a directory of more or with more entries, is not kept for its name alone.
const MOST: u64 = 64 << 20;
const MOST_ENTRIES: usize = 20_000;
/// A larger program is an application of its own.
const MOST_OF_INVOKED: u64 = 4 << 20;
/// No name that means a path is longer, and no text means more of them.
const LONGEST: usize = 512;
const MOST_NAMES: usize = 4096;

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
const OF_THE_SYSTEM: [&str; 31] = [
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
    pub(super) resources: BTreeSet<ImagePath>,
}

/// Finds what the settings and the programs of the run name.
pub(super) fn find(
    rootfs: &Rootfs,
    execution: &Execution,
    observation: &Observation,
    kept: &Kept<'_>,
    contents: &mut Contents<'_>,
) -> Result<Named, ClosureError> {
    let mut search = Search { rootfs, execution, named: Named::default(), seen: BTreeSet::new() };
    for (path, record) in observation.paths.iter() {
        let Found::File { .. } = record.found else { continue };
        let is_own = !record.probe_tool && record.exerciser().is_none() && record.operations.contains(&Operation::Open)
            || record.operations.contains(&Operation::Exec) && !record.probe_tool;
        let walk = rootfs.resolve(path.as_bytes(), true)?;
        let Some(EntryKind::File { size, .. }) = walk.entry.map(|entry| entry.kind).filter(|_| is_own) else {
            continue;
        };
        if size <= MOST_OF_TEXT && may_be_settings(path, record) {
            for name in paths_of_settings(&rootfs.read(&walk.end)?) {
                search.add_from_settings(&name, path)?;
            }
        } else if size <= MOST_OF_PROGRAM && is_programs(&walk.end, record) && contents.elf(&walk.end)?.is_some() {
            let program = rootfs.read(&walk.end)?;
            for name in paths_of_program(&program) {
                search.add_from_program(&name, path)?;
            }
            for name in invoked::by_program(&program) {
                search.add_invoked(&name, path, contents)?;
            }
        }
        if size <= script::MOST && may_start_programs(&walk.end, record, kept, contents)? {
            for name in invoked::by_source(&rootfs.read(&walk.end)?) {
                search.add_invoked(&name, path, contents)?;
            }
        }
    }
    if let Some(program) =
        execution.command.first().and_then(|program| ImagePath::parse(execution.absolute(program)).ok())
    {
        for name in execution.command.iter().flat_map(|word| paths_of_settings(word)) {
            search.add_from_settings(&name, &program)?;
        }
    }
    Ok(search.named)
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
    path.file_name().is_some_and(|name| name.windows(3).any(|part| part == b".so"))
        && !gconv::is_shared(path)
        && resources::of_program(path, false).is_some()
}

/// Whether the file is a script that ran, of another language than a shell's, which has a rule of its own; or one of the
/// application's sources.
fn may_start_programs(
    path: &ImagePath,
    record: &PathRecord,
    kept: &Kept<'_>,
    contents: &mut Contents<'_>,
) -> Result<bool, ClosureError> {
    let is_own = |reasons: &BTreeSet<Reason>| reasons.iter().any(|reason| matches!(reason, Reason::Application(_)));
    if kept.paths().get(path).is_some_and(is_own) {
        let name = path.file_name().unwrap_or_default();
        return Ok(SOURCES.iter().any(|ending| name.ends_with(ending)));
    }
    let ran = record.operations.contains(&Operation::Exec);
    Ok(ran && matches!(contents.of(path)?, Content::Script(shebang) if !script::is_shell(&shebang)))
}

struct Search<'a> {
    rootfs: &'a Rootfs,
    execution: &'a Execution,
    named: Named,
    seen: BTreeSet<ImagePath>,
}

impl Search<'_> {
    fn add_from_settings(&mut self, name: &[u8], source: &ImagePath) -> Result<(), ClosureError> {
        let Some((path, entry)) = self.look(name)? else { return Ok(()) };
        let is_shell = path.file_name().is_some_and(script::is_shell_name);
        match entry.kind {
            EntryKind::File { size, .. } if size <= MOST && !is_shell => self.named.paths.push((path, source.clone())),
            EntryKind::Dir if is_of_programs(&path) => self.add_resources(path),
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
            EntryKind::Dir if is_within(&path, "/usr") => self.add_resources(path),
            EntryKind::Dir if is_etc && may_be_kept_whole(&path) => self.add_directory(path, source)?,
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
        let real = self.rootfs.resolve(path.as_bytes(), true)?.end;
        let is_language =
            real.file_name().is_some_and(|name| script::is_shell_name(name) || resources::is_language(name));
        let is_small = matches!(entry.kind, EntryKind::File { size, .. } if size <= MOST_OF_INVOKED);
        if is_small && !is_language && contents.elf(&real)?.is_some() {
            self.named.paths.push((path, source.clone()));
        }
        Ok(())
    }

    /// What is at `name`, if nobody has looked before.
    fn look(&mut self, name: &[u8]) -> Result<Option<(ImagePath, Entry)>, ClosureError> {
        let Ok(path) = ImagePath::parse(name) else { return Ok(None) };
        if !self.seen.insert(path.clone()) {
            return Ok(None);
        }
        // A link on the way comes with what it leads to when the name itself is required.
        let walk = self.rootfs.resolve(path.as_bytes(), true)?;
        let Some(entry) = walk.entry else { return Ok(None) };
        Ok(Some((if entry.is_dir() { walk.end } else { path }, entry)))
    }

    fn add_resources(&mut self, directory: ImagePath) {
        if resources::of_program(&directory, true).is_some() {
            self.named.resources.insert(directory);
        }
    }

    /// Takes a directory with what is in it, unless that is too much.
    fn add_directory(&mut self, directory: ImagePath, source: &ImagePath) -> Result<(), ClosureError> {
        let mut found = Vec::new();
        let mut pending = vec![directory.clone()];
        let (mut bytes, mut seen) = (0, 0);
        while let Some(directory) = pending.pop() {
            for name in self.rootfs.list(&directory)? {
                let Ok(path) = directory.child(&name) else { continue };
                let Some(entry) = self.rootfs.lookup(&path)? else { continue };
                seen += 1;
                match entry.kind {
                    EntryKind::Dir if state::is_left_out(&name) => continue,
                    EntryKind::Dir => pending.push(path.clone()),
                    EntryKind::File { size, .. } => bytes += size,
                    _ => {}
                }
                if bytes > MOST || seen > MOST_ENTRIES {
                    return Ok(());
                }
                found.push((path, source.clone()));
            }
        }
        self.named.paths.push((directory, source.clone()));
        self.named.contents.extend(found);
        Ok(())
    }
}

fn is_within(path: &ImagePath, above: &str) -> bool {
    ImagePath::parse(above).is_ok_and(|above| path.is_within(&above))
}

/// Whether a directory is in a place for programs, of which a part is for compilers. What settings name among data is data.
fn is_of_programs(directory: &ImagePath) -> bool {
    is_within(directory, "/usr") && !["/usr/local", "/usr/share"].iter().any(|place| is_within(directory, place))
}

fn is_shared(directory: &ImagePath) -> bool {
    let is_listed = SHARED.iter().any(|&shared| directory.as_bytes() == shared.as_bytes());
    state::is_shared(directory) || is_listed || resources::is_data_of_many(directory)
}

fn may_be_kept_whole(directory: &ImagePath) -> bool {
    let is_home = directory.parent().is_some_and(|parent| parent.as_bytes() == b"/home");
    !is_shared(directory) && !is_home && !state::is_never(directory) && !is_within(directory, "/root")
}

/// The absolute paths that a text names in lines that are no comments; patterns are none.
fn paths_of_settings(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut names = BTreeSet::new();
    if text.contains(&0) || text.starts_with(b"#!") {
        return names;
    }
    for line in text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii_start) {
        if [&b"#"[..], b";", b"//", b"<!--", b"--"].iter().any(|mark| line.starts_with(mark)) {
            continue;
        }
        let mut before = b' ';
        let mut at = 0;
        while at < line.len() {
            if line[at] != b'/' || is_of_path(before) {
                before = line[at];
                at += 1;
                continue;
            }
            let length = line[at..].iter().position(|&b| !is_of_path(b)).unwrap_or(line.len() - at);
            let end = line.get(at + length).copied().unwrap_or(b' ');
            let name = &line[at..at + length];
            if !is_pattern(end) && is_meant(name) && names.len() < MOST_NAMES {
                names.insert(name.strip_suffix(b".").unwrap_or(name).to_vec());
            }
            at += length;
            before = b'/';
        }
    }
    names
}

/// The texts of a program, each ended by a NUL, that are absolute paths as a whole.
fn paths_of_program(program: &[u8]) -> BTreeSet<Vec<u8>> {
    let texts = program.split(|&b| b == 0).filter(|text| text.starts_with(b"/") && is_meant(text));
    texts.filter(|text| text.iter().all(|&b| is_of_path(b))).take(MOST_NAMES).map(<[u8]>::to_vec).collect()
}

fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'+' | b'@' | b'~')
}

fn is_pattern(end: u8) -> bool {
    matches!(end, b'*' | b'?' | b'$' | b'%' | b'{' | b'[' | b'\\')
}

/// Whether a text that begins with a slash can be meant as a path: an address goes on with another, and a path in the root says little.
fn is_meant(name: &[u8]) -> bool {
    name.len() <= LONGEST && name.get(1).is_some_and(|&b| b != b'/') && name[1..].contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: BTreeSet<Vec<u8>>) -> String {
        found.into_iter().map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn settings_name_paths() {
        for (text, expected) in [
            ("path = /srv/share\n", "/srv/share"),
            ("Subsystem sftp /usr/lib/x/sftp-server -f", "/usr/lib/x/sftp-server"),
            ("a=\"/etc/a\";b='/etc/b',c:/etc/c", "/etc/a /etc/b /etc/c"),
            ("lookup{$x}lsearch{/etc/aliases}}", "/etc/aliases"),
            ("<dir>/usr/share/web</dir>", "/usr/share/web"),
            ("# /etc/no\n ; /etc/no\n// /etc/no\n<!-- /etc/no -->", ""),
            ("http://host/a/b //x/y relative/a/b ~/a/b", ""),
            ("include /etc/x/*.conf; /var/log/%m.log; /srv/$user/x", ""),
            ("See /etc/thing.", "/etc/thing"),
            ("See /etc/thing/x.", "/etc/thing/x"),
            ("/a\0/b/c", ""),
            ("#!/bin/sh\n/usr/bin/x", ""),
        ] {
            assert_eq!(names(paths_of_settings(text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn programs_name_paths_in_texts_of_their_own() {
        let program = b"\x7fELF\0/usr/libexec/d\0see /usr/lib/no\0/etc/d.conf\0/usr/%s/x\0/x\0//a/b\0";
        assert_eq!(names(paths_of_program(program)), "/etc/d.conf /usr/libexec/d");
    }
}
