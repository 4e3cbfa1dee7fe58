//! What a run gives reason to think about: what its application seems to be about to need and the image does not have,
//! and what it has that could be done without. It is advice because a trace shows what happened and not what will.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ImagePath;
use crate::closure::{Execution, NSSWITCH_CONF, Reason, is_shell_name, name_service_modules};
use crate::observation::{Found, Operation, PathRecord};
use crate::select::asked::{LOCAL, ZONES, has_bundle, is_bundle};
use crate::select::{Manifest, Scope, SelectError};

/// How the names of the libraries begin that check certificates (OpenSSL, GnuTLS, NSS, mbed TLS, wolfSSL).
const TLS_LIBRARIES: [&str; 5] = ["libssl.so", "libgnutls.so", "libssl3.so", "libmbedtls.so", "libwolfssl.so"];

/// Where distributions have fonts.
const FONTS: [&str; 2] = ["/usr/share/fonts", "/usr/local/share/fonts"];

/// Name services that glibc has inside since 2.34, when their modules became empty; and an older one loads them or does
/// not need them.
const INSIDE: [&[u8]; 2] = [b"libnss_dns.so.2", b"libnss_files.so.2"];

/// All that can be said of `manifest`.
pub(super) fn give(scope: &Scope<'_>, execution: &Execution, manifest: &Manifest) -> Result<Vec<String>, SelectError> {
    let mut advice = Vec::new();
    advice.extend(certificates(scope, manifest)?);
    advice.extend(fonts(scope, manifest)?);
    advice.extend(time_zones(scope, execution, manifest)?);
    advice.extend(name_services(scope, manifest)?);
    advice.extend(shells(scope, execution, manifest)?);
    Ok(advice)
}

/// What the application itself used and the base has, by name.
fn used<'a>(scope: &Scope<'a>) -> impl Iterator<Item = (&'a ImagePath, &'a PathRecord)> {
    scope.observation.paths.iter().filter(|(_, record)| !record.probe_tool && record.found != Found::Absent)
}

fn certificates(scope: &Scope<'_>, manifest: &Manifest) -> Result<Option<String>, SelectError> {
    let is_library = |path: &ImagePath| {
        let name = path.file_name().unwrap_or_default();
        TLS_LIBRARIES.iter().any(|library| name.starts_with(library.as_bytes()))
    };
    let mut loaded = used(scope).filter(|(_, record)| record.operations.contains(&Operation::Open));
    let Some((library, _)) = loaded.find(|(path, _)| is_library(path)) else { return Ok(None) };
    let has_some = manifest.entries.iter().any(|(path, chosen)| !chosen.entry.is_dir() && is_bundle(path));
    if has_some || !has_bundle(scope.rootfs)? {
        return Ok(None);
    }
    Ok(Some(format!(
        "the application loaded {library} and read no certificates of authorities: if it is to connect to others by \
         TLS, --keep-certs keeps them"
    )))
}

/// Who draws text asks fontconfig for a font, and a run that drew none has loaded it all the same.
fn fonts(scope: &Scope<'_>, manifest: &Manifest) -> Result<Option<String>, SelectError> {
    let is_library = |path: &ImagePath| path.file_name().is_some_and(|name| name.starts_with(b"libfontconfig.so"));
    let mut loaded = used(scope).filter(|(_, record)| record.operations.contains(&Operation::Open));
    let Some((library, _)) = loaded.find(|(path, _)| is_library(path)) else { return Ok(None) };
    for directory in FONTS {
        let Ok(directory) = ImagePath::parse(directory) else { continue };
        let end = scope.rootfs.resolve(directory.as_bytes(), true)?;
        let has_some = manifest.entries.iter().any(|(path, _)| path != &end.end && path.is_within(&end.end));
        if !has_some && end.entry.is_some_and(|entry| entry.is_dir()) && !scope.rootfs.list(&end.end)?.is_empty() {
            return Ok(Some(format!(
                "the application loaded {library}, and the image has no fonts: if it is to draw text, --keep /etc/fonts \
                 --keep {directory} keeps them"
            )));
        }
    }
    Ok(None)
}

fn time_zones(scope: &Scope<'_>, execution: &Execution, manifest: &Manifest) -> Result<Option<String>, SelectError> {
    let local = |path: &&&str| ImagePath::parse(path).is_ok_and(|path| scope.observation.paths.contains(&path));
    let is_in = |path: &ImagePath, directory: &str| ImagePath::parse(directory).is_ok_and(|d| path.is_within(&d));
    let mut zones = used(scope).filter(|(path, record)| {
        record.operations.contains(&Operation::Open) && ZONES.iter().any(|directory| is_in(path, directory))
    });
    let cause = if execution.variable("TZ").is_some() || scope.observation.header.env_names.iter().any(|n| n == "TZ") {
        "TZ is set".to_owned()
    } else if let Some(path) = LOCAL.iter().find(local) {
        format!("the application looked at {path}")
    } else if let Some((path, _)) = zones.next() {
        format!("the application read {path}")
    } else {
        return Ok(None);
    };
    for directory in ZONES {
        let Ok(path) = ImagePath::parse(directory) else { continue };
        let end = scope.rootfs.resolve(path.as_bytes(), true)?.end;
        // Zones lie in directories of continents and beside them; one level shows whether all are there.
        for name in scope.rootfs.list(&end)? {
            let Ok(zone) = end.child(&name) else { continue };
            if !manifest.entries.contains(&zone) {
                return Ok(Some(format!(
                    "{cause}, and the image has no time zones but those that were used: if users choose zones, \
                     --keep-zoneinfo keeps all"
                )));
            }
        }
    }
    Ok(None)
}

fn name_services(scope: &Scope<'_>, manifest: &Manifest) -> Result<Vec<String>, SelectError> {
    let Ok(conf) = ImagePath::parse(NSSWITCH_CONF) else { return Ok(Vec::new()) };
    let was_read = scope.observation.paths.get(&conf).is_some_and(|record| record.found != Found::Absent);
    let Some(text) = scope.rootfs.read_resolved(&conf)?.filter(|_| was_read) else { return Ok(Vec::new()) };
    let is_libc = |path: &&ImagePath| path.file_name() == Some(b"libc.so.6");
    let libraries = manifest.entries.iter().map(|(path, _)| path).filter(is_libc).filter_map(ImagePath::parent);
    let libraries: BTreeSet<ImagePath> = libraries.collect();
    let mut advice = Vec::new();
    for module in name_service_modules(&text) {
        let was_loaded = used(scope).any(|(path, _)| path.file_name() == Some(&module));
        if was_loaded || INSIDE.contains(&module.as_slice()) {
            continue;
        }
        for path in libraries.iter().filter_map(|directory| directory.child(&module).ok()) {
            let walk = scope.rootfs.resolve(path.as_bytes(), false)?;
            if walk.entry.is_none() {
                continue;
            }
            advice.push(match manifest.entries.contains(&walk.end) {
                true => format!(
                    "{conf} names {path}, which the run did not load: it is kept, because another look-up may; --drop \
                     {path} leaves it out"
                ),
                false => format!(
                    "{conf} names {path}, which the run did not load and the image does not have: if look-ups are to \
                     ask it, --level closure or --keep {path} keeps it"
                ),
            });
        }
    }
    Ok(advice)
}

/// Which shells are there, why, and how to do without. Those that the user asked for are no matter.
fn shells(scope: &Scope<'_>, execution: &Execution, manifest: &Manifest) -> Result<Vec<String>, SelectError> {
    let mut names: BTreeMap<ImagePath, BTreeSet<ImagePath>> = BTreeMap::new();
    for (path, _) in manifest.entries.iter().filter(|(path, chosen)| !chosen.entry.is_dir() && is_shell(path)) {
        let walk = scope.rootfs.resolve(path.as_bytes(), true)?;
        // A link called `sh` to something that is not.
        if walk.entry.is_some_and(|entry| entry.is_file()) && is_shell(&walk.end) {
            names.entry(walk.end).or_default().insert(path.clone());
        }
    }
    let mut advice = Vec::new();
    // Of all tools that are one program, nobody calls it by its own name for the shell.
    let calls_shell = |name: &ImagePath| name.file_name() != Some(b"busybox");
    for (shell, names) in names.into_iter().filter(|(_, names)| names.iter().any(calls_shell)) {
        let reasons: BTreeSet<&Reason> =
            names.iter().filter_map(|name| manifest.entries.get(name)).flat_map(|chosen| &chosen.reasons).collect();
        if !reasons.iter().any(|reason| is_asked_for(reason)) {
            advice.extend(why_shell(scope, execution, &shell, &names, &reasons)?);
        }
    }
    Ok(advice)
}

fn why_shell(
    scope: &Scope<'_>,
    execution: &Execution,
    shell: &ImagePath,
    names: &BTreeSet<ImagePath>,
    reasons: &BTreeSet<&Reason>,
) -> Result<Option<String>, SelectError> {
    let find = |program: &[u8]| -> Result<Option<ImagePath>, SelectError> {
        let Some(path) = execution.find_program(scope.rootfs, program)? else { return Ok(None) };
        Ok(Some(scope.rootfs.resolve(&path, true)?.end))
    };
    let mut causes = Vec::new();
    let mut remedies = Vec::new();
    let command: Vec<&[u8]> = execution.command.iter().map(Vec::as_slice).collect();
    let program = match command.first() {
        Some(program) => find(program)?,
        None => None,
    };
    if program.as_ref() == Some(shell) && is_shell_form(&command) {
        causes.push("the command (ENTRYPOINT and CMD) is in shell form".to_owned());
        remedies.push("CMD [\"PROGRAM\", \"ARGUMENT\"] starts the program without".to_owned());
    } else if program.as_ref() == Some(shell) {
        causes.push("it is the command".to_owned());
    }
    let healthcheck: Vec<&[u8]> = execution.healthcheck.iter().map(String::as_bytes).collect();
    if is_shell_form(&healthcheck) && find(healthcheck[0])?.as_ref() == Some(shell) {
        causes.push("HEALTHCHECK is in shell form".to_owned());
        remedies.push("HEALTHCHECK CMD [\"PROGRAM\", \"ARGUMENT\"] checks without".to_owned());
    }
    let scripts: BTreeSet<&ImagePath> = reasons
        .iter()
        .filter_map(|reason| match reason {
            Reason::Interpreter(script) => Some(script),
            _ => None,
        })
        .collect();
    for script in &scripts {
        if program.as_ref() == Some(*script) {
            causes.push(format!("the command is the script {script}"));
            remedies.push("--entrypoint with the program that it ends in starts that without".to_owned());
        }
    }
    let callers: BTreeSet<&ImagePath> = names
        .iter()
        .filter_map(|name| scope.observation.paths.get(name))
        .filter(|record| record.operations.contains(&Operation::Exec) && !record.probe_tool)
        .flat_map(|record| &record.executables)
        .filter(|caller| *caller != shell && !names.contains(caller))
        .collect();
    if let Some(caller) = callers.first() {
        causes.push(format!("{caller} ran it"));
    }
    if causes.is_empty() {
        let was_run =
            reasons.contains(&Reason::Access(Operation::Exec)) || reasons.contains(&Reason::Access(Operation::Load));
        match scripts.first() {
            _ if was_run => causes.push("the application ran it".to_owned()),
            Some(script) => {
                causes.push(format!("the script {script} is kept and needs it"));
                remedies.push("--drop leaves it out".to_owned());
            }
            None if reasons.contains(&Reason::ProbeTool) => causes.push("a probe ran it in the image".to_owned()),
            None => return Ok(None),
        }
    }
    let remedies = if remedies.is_empty() { String::new() } else { format!("; {}", remedies.join("; ")) };
    Ok(Some(format!("a shell is in the image, {shell}: {}{remedies}", causes.join(", and "))))
}

fn is_shell(path: &ImagePath) -> bool {
    path.file_name().is_some_and(is_shell_name)
}

/// Whether a command is a line for a shell: `/bin/sh -c LINE`.
fn is_shell_form(command: &[&[u8]]) -> bool {
    match command {
        [program, option, _, ..] => {
            let name = program.rsplit(|&b| b == b'/').next().unwrap_or_default();
            is_shell_name(name) && option.starts_with(b"-") && option.contains(&b'c')
        }
        _ => false,
    }
}

fn is_asked_for(reason: &Reason) -> bool {
    use Reason::{Keep, KeepExe, KeepListed, KeepPackage, KeepShell};
    matches!(reason, Keep | KeepExe(_) | KeepListed(_) | KeepPackage(_) | KeepShell)
}
