//! Pluggable authentication: what libpam reads and loads when somebody logs in, `pam.conf(5)`. A run in which nobody
//! did shows the library and neither its configuration nor one of the modules that this names.
//!
//! Whoever logs in finds a home, too, and the shell that `passwd(5)` names: those of accounts that have a password or
//! keys.

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::closure::{ClosureError, path_texts};
use crate::image::{Entry, EntryKind, Rootfs};

/// The library that a program loads which may ask.
pub(super) const LIBRARY: &[u8] = b"libpam.so.0";

/// Where the services are described, a file each.
const SERVICES: &str = "/etc/pam.d";
/// What modules read beside; there or not.
const SETTINGS: [&str; 7] =
    ["/etc/group", "/etc/login.defs", "/etc/nologin", "/etc/pam.conf", "/etc/passwd", "/etc/security", "/etc/shadow"];
/// What is longer describes no service.
const MOST: u64 = 64 << 10;
/// A module, in bytes, is smaller.
const MOST_OF_MODULE: u64 = 4 << 20;
/// A longer list of accounts is no list of accounts.
const MOST_OF_ACCOUNTS: u64 = 1 << 20;
/// A home with more, in bytes or entries, is kept without what is in it.
const MOST_OF_A_HOME: u64 = 64 << 20;
const MOST_IN_A_HOME: usize = 20_000;

/// The files that describe services, what modules read, and the modules that are named, as they are found beside the
/// library in `directory`.
pub(super) fn needs(rootfs: &Rootfs, directory: &ImagePath) -> Result<BTreeSet<ImagePath>, ClosureError> {
    let mut needs = BTreeSet::new();
    let Ok(services) = ImagePath::parse(SERVICES) else { return Ok(needs) };
    if !rootfs.lookup(&services)?.is_some_and(|entry| entry.is_dir()) {
        return Ok(needs);
    }
    let mut modules = BTreeSet::new();
    for name in rootfs.list(&services)? {
        let Ok(path) = services.child(&name) else { continue };
        let is_text = |kind: &EntryKind| matches!(kind, EntryKind::File { size, .. } if *size <= MOST);
        let walk = rootfs.resolve(path.as_bytes(), true)?;
        if walk.entry.is_some_and(|entry| is_text(&entry.kind)) {
            let text = rootfs.read(&walk.end)?;
            modules.extend(named(&text));
            for name in path_texts::in_settings(&text) {
                needs.extend(settings_or_helper(rootfs, &name)?);
            }
            needs.insert(path);
        }
    }
    // Many names may lead to one module.
    let mut read = BTreeSet::new();
    for module in modules {
        let path = match module.starts_with(b"/") {
            true => ImagePath::parse(&module).ok(),
            false => directory.child(b"security").ok().and_then(|place| place.child(&module).ok()),
        };
        let Some(path) = path else { continue };
        let walk = rootfs.resolve(path.as_bytes(), true)?;
        let is_small =
            matches!(walk.entry.map(|entry| entry.kind), Some(EntryKind::File { size, .. }) if size <= MOST_OF_MODULE);
        if is_small && read.insert(walk.end.clone()) {
            for name in path_texts::in_program(&rootfs.read(&walk.end)?) {
                needs.extend(settings_or_helper(rootfs, &name)?);
            }
        }
        needs.insert(path);
    }
    for settings in SETTINGS.iter().filter_map(|path| ImagePath::parse(path).ok()) {
        if rootfs.lookup(&settings)?.is_some_and(|entry| entry.is_dir()) {
            for name in rootfs.list(&settings)? {
                let Ok(path) = settings.child(&name) else { continue };
                // A script comes with the module that starts it, and so has a name there.
                let starts = |entry: Entry| entry.is_file() && entry.mode & 0o111 != 0;
                if !rootfs.lookup(&path)?.is_some_and(starts) {
                    needs.insert(path);
                }
            }
        }
        needs.insert(settings);
    }
    Ok(needs)
}

/// What a module or its description names, if it is a file of settings or a program that does what the module may not.
fn settings_or_helper(rootfs: &Rootfs, name: &[u8]) -> Result<Option<ImagePath>, ClosureError> {
    let Ok(path) = ImagePath::parse(name) else { return Ok(None) };
    let is_in = |place: &str| is_within(&path, place);
    if !["/etc", "/sbin", "/usr/sbin"].into_iter().any(is_in) {
        return Ok(None);
    }
    let entry = rootfs.resolve(name, true)?.entry;
    Ok(matches!(entry.map(|entry| entry.kind), Some(EntryKind::File { size, .. }) if size <= MOST).then_some(path))
}

/// The shells and homes of the accounts that somebody can log in to, each home with what is in it; and the homes in
/// `/home` of the others.
pub(super) fn accounts(rootfs: &Rootfs) -> Result<BTreeSet<ImagePath>, ClosureError> {
    let mut needs = BTreeSet::new();
    let text = |path: &str| -> Result<Vec<u8>, ClosureError> {
        let Ok(path) = ImagePath::parse(path) else { return Ok(Vec::new()) };
        let is_text = |kind: &EntryKind| matches!(kind, EntryKind::File { size, .. } if *size <= MOST_OF_ACCOUNTS);
        let walk = rootfs.resolve(path.as_bytes(), true)?;
        Ok(if walk.entry.is_some_and(|entry| is_text(&entry.kind)) { rootfs.read(&walk.end)? } else { Vec::new() })
    };
    let passwords = with_passwords(&text("/etc/shadow")?);
    // Many accounts may have one home.
    let mut homes = BTreeSet::new();
    for (name, home, shell) in homes_and_shells(&text("/etc/passwd")?) {
        // A home too long for a path to lie below it has no keys.
        let keys = home.child(b".ssh").and_then(|directory| directory.child(b"authorized_keys")).ok();
        let has_keys = match &keys {
            Some(keys) => rootfs.resolve(keys.as_bytes(), true)?.entry.is_some_and(|entry| entry.is_file()),
            None => false,
        };
        if !has_keys && !passwords.contains(&name) {
            // A service with passwords of its own serves the homes of people all the same.
            if is_within(&home, "/home") {
                homes.insert(home);
            }
            continue;
        }
        needs.extend(keys.filter(|_| has_keys));
        needs.insert(shell);
        homes.insert(home);
    }
    for home in homes {
        needs.extend(in_home(rootfs, &home)?);
    }
    Ok(needs)
}

/// What programs keep in a home for its owner alone: keys, passwords and tokens, and what can be made again.
const PRIVATE: [&[u8]; 16] = [
    b".aws",
    b".azure",
    b".cache",
    b".cargo",
    b".config",
    b".docker",
    b".git",
    b".git-credentials",
    b".gnupg",
    b".kube",
    b".my.cnf",
    b".netrc",
    b".npmrc",
    b".pgpass",
    b".pypirc",
    b".ssh",
];

/// What is in a home that is one, up to a limit; what is private and histories are not for whoever logs in to a copy.
fn in_home(rootfs: &Rootfs, home: &ImagePath) -> Result<BTreeSet<ImagePath>, ClosureError> {
    let mut found = BTreeSet::from([home.clone()]);
    if !["/home", "/srv", "/var", "/opt"].iter().any(|place| is_within(home, place)) {
        return Ok(found);
    }
    let mut pending = vec![home.clone()];
    let mut bytes = 0;
    while let Some(directory) = pending.pop() {
        for name in rootfs.list(&directory)? {
            let is_private = name.ends_with(b"_history") || PRIVATE.contains(&&*name);
            let Some(path) = directory.child(&name).ok().filter(|_| !is_private) else { continue };
            let Some(entry) = rootfs.lookup(&path)? else { continue };
            match entry.kind {
                EntryKind::Dir => pending.push(path.clone()),
                EntryKind::File { size, .. } => bytes += size,
                _ => {}
            }
            found.insert(path);
            if bytes > MOST_OF_A_HOME || found.len() > MOST_IN_A_HOME {
                return Ok(BTreeSet::from([home.clone()]));
            }
        }
    }
    Ok(found)
}

fn is_within(home: &ImagePath, place: &str) -> bool {
    ImagePath::parse(place).is_ok_and(|place| home.is_within(&place) && *home != place)
}

/// The names in `shadow(5)` of those who have a password: an empty one, or a hash that nobody has locked.
fn with_passwords(shadow: &[u8]) -> BTreeSet<Vec<u8>> {
    let fields = shadow.split(|&b| b == b'\n').map(|line| line.split(|&b| b == b':').collect::<Vec<_>>());
    let has = |fields: &Vec<&[u8]>| fields.len() > 1 && !fields[1].starts_with(b"!") && !fields[1].starts_with(b"*");
    fields.filter(has).map(|fields| fields[0].to_vec()).collect()
}

/// Name, home and shell of each account in `passwd(5)`.
fn homes_and_shells(passwd: &[u8]) -> Vec<(Vec<u8>, ImagePath, ImagePath)> {
    let fields = passwd.split(|&b| b == b'\n').map(|line| line.split(|&b| b == b':').collect::<Vec<_>>());
    let account = |fields: Vec<&[u8]>| {
        let shell = fields.get(6).filter(|shell| !shell.is_empty()).copied().unwrap_or(b"/bin/sh");
        Some((fields[0].to_vec(), ImagePath::parse(fields.get(5)?).ok()?, ImagePath::parse(shell).ok()?))
    };
    fields.filter_map(account).collect()
}

/// The modules that the description of a service names: file names, or absolute paths.
fn named(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let lines = text.split(|&b| b == b'\n').map(|line| line.split(|&b| b == b'#').next().unwrap_or_default());
    let words = lines.flat_map(|line| line.split(u8::is_ascii_whitespace));
    words
        .filter(|word| word.ends_with(b".so") && (word.starts_with(b"/") || !word.contains(&b'/')))
        .map(Into::into)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_with_a_password_have_a_home_and_a_shell() {
        let shadow = b"root:*:1::\njoe:$y$x:1::\nlocked:!$y$x:1::\nopen::1::\nbroken\n\n";
        let names: Vec<_> = with_passwords(shadow).into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
        assert_eq!(names, ["joe", "open"]);
        let passwd = b"joe:x:1000:1000:J,,:/home/joe:/bin/bash\nftp:x:1:1::/srv/ftp:\nbad:x:1:1::relative:/bin/sh\n\n";
        let accounts = homes_and_shells(passwd).into_iter();
        let accounts: Vec<_> = accounts.map(|(_, home, shell)| format!("{home} {shell}")).collect();
        assert_eq!(accounts, ["/home/joe /bin/bash", "/srv/ftp /bin/sh"]);
    }

    #[test]
    fn services_name_modules() {
        let text = b"# auth required pam_never.so\nauth [success=1 default=ignore] pam_unix.so nullok # pam_no.so\n\
            @include common-account\nsession optional /lib/security/pam_own.so\nauth required ../../evil.so\n";
        let names: Vec<_> = named(text).into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
        assert_eq!(names, ["/lib/security/pam_own.so", "pam_unix.so"]);
    }
}
