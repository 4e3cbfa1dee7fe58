//! The tools of a service: the one that adds an account, that reloads the settings, that shows what goes on. No probe
//! runs them; whoever looks after the container does, with `podman exec`, and they come in the package of the server.
//!
//! Which of the programs that ran is a service, the distribution says: a unit of systemd, or a script of another init
//! system, starts it. By that a shell, or `chown` in an entry point, is none, and brings nothing of its package.
//!
//! Distributions cut tools off, into packages that the server's asks for and that have the same source. Of these come
//! the tools that make do with the libraries of the run.

use std::collections::BTreeSet;
use std::io::{self, Read};

use crate::base::ImagePath;
use crate::closure;
use crate::image::{EntryKind, Rootfs, RootfsError};
use crate::observation::{Found, Observation, Operation};
use crate::select::{Package, Packages, SelectError};

/// Where distributions put units, and scripts of other init systems.
const STARTS: [&str; 3] = ["/usr/lib/systemd/system", "/lib/systemd/system", "/etc/init.d"];
/// Larger files in these places, in bytes, are neither.
const MOST_OF_TEXT: u64 = 64 << 10;
/// So many files are looked at in each of them.
const MOST_TEXTS: usize = 2000;
/// In which directories of PATH there are tools.
const PROGRAMS: [&str; 4] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
/// Of a tool, and of what a package has in all, in bytes: larger ones are programs of their own, and not worth their
/// room in an image that nobody may ever look into.
const MOST_OF_TOOL: u64 = 256 << 10;
const MOST_OF_TOOLS: u64 = 1 << 20;
/// How an executable begins that needs no interpreter of its own kind (`elf(5)`).
const ELF: [u8; 4] = *b"\x7fELF";

/// The tools in the packages of the services that ran, each with the name of its package.
///
/// # Errors
/// When the rootfs cannot be looked at.
pub(super) fn find(
    rootfs: &Rootfs,
    observation: &Observation,
    packages: &Packages,
) -> Result<Vec<(ImagePath, String)>, SelectError> {
    let mut started = BTreeSet::new();
    for place in STARTS {
        started.extend(started_in(rootfs, place)?);
    }
    let mut found = Vec::new();
    let services = packages_of(rootfs, observation, packages, &started)?;
    let loaded = loaded(observation);
    for &package in &services {
        let tools = tools_of(rootfs, observation, packages, package)?;
        found.extend(tools.into_iter().map(|tool| (tool, package.name.clone())));
        for part in packages.parts(package).into_iter().filter(|part| !services.contains(part)) {
            for tool in tools_of(rootfs, observation, packages, part)? {
                let needed = closure::needed_by(rootfs, &tool)?;
                if needed.iter().all(|library| loaded.contains(library.as_slice())) {
                    found.push((tool, part.name.clone()));
                }
            }
        }
    }
    Ok(found)
}

/// The names of the files that the run opened, libraries among them.
fn loaded(observation: &Observation) -> BTreeSet<&[u8]> {
    let opened = observation.paths.iter().filter(|(_, record)| {
        !record.probe_tool && record.operations.contains(&Operation::Open) && record.found != Found::Absent
    });
    opened.filter_map(|(path, _)| path.file_name()).collect()
}

/// The programs that units and scripts in a directory start, where links lead.
fn started_in(rootfs: &Rootfs, place: &str) -> Result<BTreeSet<ImagePath>, SelectError> {
    let mut started = BTreeSet::new();
    let walk = rootfs.resolve(place.as_bytes(), true)?;
    for name in rootfs.list(&walk.end)?.into_iter().take(MOST_TEXTS) {
        let Ok(path) = walk.end.child(&name) else { continue };
        let Some(EntryKind::File { size, .. }) = rootfs.lookup(&path)?.map(|entry| entry.kind) else { continue };
        if size > MOST_OF_TEXT {
            continue;
        }
        let text = unless_closed(rootfs.read(&path))?.unwrap_or_default();
        for program in programs_in(&text) {
            started.insert(rootfs.resolve(&program, true)?.end);
        }
    }
    Ok(started)
}

/// The programs that a text starts for good: `ExecStart=` of a unit (`systemd.service(5)`) that is not done at once,
/// `DAEMON=` of the scripts of System V, `command=` of OpenRC.
fn programs_in(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = || text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    if lines().any(|line| line == b"Type=oneshot") {
        return Vec::new();
    }
    let program = |line: &[u8]| {
        let value = [&b"ExecStart="[..], b"DAEMON=", b"command="].iter().find_map(|key| line.strip_prefix(*key))?;
        let begin = value.iter().position(|b| !b"-@:+!\"'".contains(b))?;
        let value = &value[begin..];
        let end = value.iter().position(|b| b.is_ascii_whitespace() || b"\"';".contains(b)).unwrap_or(value.len());
        (value[..end].starts_with(b"/")).then(|| value[..end].to_vec())
    };
    lines().filter_map(program).collect()
}

/// The packages of the programs among `started` that ran.
fn packages_of<'a>(
    rootfs: &Rootfs,
    observation: &Observation,
    packages: &'a Packages,
    started: &BTreeSet<ImagePath>,
) -> Result<BTreeSet<&'a Package>, SelectError> {
    let mut found = BTreeSet::new();
    for (path, record) in observation.paths.iter() {
        let is_run = matches!(record.found, Found::File { .. }) && record.operations.contains(&Operation::Exec);
        if !is_run || record.probe_tool || record.exerciser().is_some() {
            continue;
        }
        let program = rootfs.resolve(path.as_bytes(), true)?.end;
        // A shell that runs the script of a service is none.
        if started.contains(&program) && is_program(rootfs, &program)? {
            found.extend(packages.owner(&program).filter(|package| package.manager.is_distribution()));
        }
    }
    Ok(found)
}

/// The small programs of a package in PATH, and the links by which it has more names for them; none if they are many.
fn tools_of(
    rootfs: &Rootfs,
    observation: &Observation,
    packages: &Packages,
    package: &Package,
) -> Result<Vec<ImagePath>, SelectError> {
    let mut tools = Vec::new();
    let mut bytes = 0;
    for file in packages.files(package) {
        let is_in = |place: &&str| file.parent().is_some_and(|parent| parent.as_bytes() == place.as_bytes());
        if !PROGRAMS.iter().any(is_in) {
            continue;
        }
        let walk = rootfs.resolve(file.as_bytes(), true)?;
        let Some(EntryKind::File { size, .. }) = walk.entry.map(|entry| entry.kind) else { continue };
        // A further name for what is there costs nothing.
        let is_there = observation.paths.contains(&walk.end);
        if (size > MOST_OF_TOOL && !is_there)
            || packages.owner(&walk.end) != Some(package)
            || !is_program(rootfs, &walk.end)?
        {
            continue;
        }
        bytes += if walk.links.is_empty() && !is_there { size } else { 0 };
        tools.push(file);
    }
    Ok(if bytes > MOST_OF_TOOLS { Vec::new() } else { tools })
}

/// Whether a file can be executed, and is no script: its interpreter would be one that nobody asked for.
fn is_program(rootfs: &Rootfs, path: &ImagePath) -> Result<bool, SelectError> {
    let Some(entry) = rootfs.lookup(path)? else { return Ok(false) };
    if !entry.is_file() || entry.mode & 0o111 == 0 {
        return Ok(false);
    }
    let Some(file) = unless_closed(rootfs.open(path))? else { return Ok(false) };
    let mut head = Vec::new();
    let read = file.take(ELF.len() as u64).read_to_end(&mut head);
    read.map_err(|cause| SelectError::Read { path: path.clone(), cause })?;
    Ok(head == ELF)
}

/// `None` for what this user may not read, as a unit with a password in it: nobody has asked for it.
fn unless_closed<T>(found: Result<T, RootfsError>) -> Result<Option<T>, RootfsError> {
    match found {
        Err(RootfsError::File { cause, .. }) if cause.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_what_is_started_for_good() {
        for (text, expected) in [
            ("[Service]\nExecStartPre=/bin/mkdir -p /x\nExecStart=/usr/sbin/brokerd -c /etc/b\n", "/usr/sbin/brokerd"),
            ("ExecStart=-/usr/sbin/a\nExecReload=/bin/kill -HUP $MAINPID", "/usr/sbin/a"),
            ("ExecStart=@/usr/sbin/b b -x", "/usr/sbin/b"),
            ("Type=oneshot\nExecStart=/usr/bin/find /tmp", ""),
            ("#!/bin/sh\nDAEMON=/usr/sbin/c\nDAEMON_OPTS=/etc/c\n", "/usr/sbin/c"),
            ("#!/sbin/openrc-run\ncommand=\"/usr/sbin/d\"\ncommand_args=\"/x\"", "/usr/sbin/d"),
            ("DAEMON='/usr/sbin/e'; x", "/usr/sbin/e"),
            ("ExecStart=\nExecStart=e\nDAEMON=$X\n# DAEMON=/usr/sbin/f", ""),
        ] {
            let found: Vec<String> =
                programs_in(text.as_bytes()).iter().map(|p| String::from_utf8_lossy(p).into()).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }
}
