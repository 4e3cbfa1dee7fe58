//! Pluggable authentication: what libpam reads and loads when somebody logs in, `pam.conf(5)`. A run in which nobody did
//! shows the library and neither its configuration nor one of the modules that this names.

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::closure::ClosureError;
use crate::image::{EntryKind, Rootfs};

/// The library that a program loads which may ask.
pub(super) const LIBRARY: &[u8] = b"libpam.so.0";

/// Where the services are described, a file each.
const SERVICES: &str = "/etc/pam.d";
/// What modules read beside; there or not.
const SETTINGS: [&str; 5] = ["/etc/login.defs", "/etc/nologin", "/etc/pam.conf", "/etc/security", "/etc/shadow"];
/// What is longer describes no service.
const MOST: u64 = 64 << 10;

/// The files that describe services, what modules read, and the modules that are named, as they are found beside the library
/// in `directory`.
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
            modules.extend(named(&rootfs.read(&walk.end)?));
            needs.insert(path);
        }
    }
    for module in modules {
        let path = match module.starts_with(b"/") {
            true => ImagePath::parse(&module).ok(),
            false => directory.child(b"security").ok().and_then(|place| place.child(&module).ok()),
        };
        needs.extend(path);
    }
    for settings in SETTINGS.iter().filter_map(|path| ImagePath::parse(path).ok()) {
        if rootfs.lookup(&settings)?.is_some_and(|entry| entry.is_dir()) {
            for name in rootfs.list(&settings)? {
                needs.extend(settings.child(&name).ok());
            }
        }
        needs.insert(settings);
    }
    Ok(needs)
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
    fn services_name_modules() {
        let text = b"# auth required pam_never.so\nauth [success=1 default=ignore] pam_unix.so nullok # pam_no.so\n\
            @include common-account\nsession optional /lib/security/pam_own.so\nauth required ../../evil.so\n";
        let names: Vec<_> = named(text).into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
        assert_eq!(names, ["/lib/security/pam_own.so", "pam_unix.so"]);
    }
}
