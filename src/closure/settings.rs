//! The settings of one program: a directory `/etc/NAME` (Filesystem Hierarchy Standard 3.0, 3.7.4) of which the run
//! read a file. What it read is what its input asked for; another format, another host, another virtual site asks for
//! the file beside it. They are small, so they are kept whole, as data in `/usr/share/NAME` is.
//!
//! Not what only some may read, which are secrets of the machine on which the image was built, nor programs; and
//! nothing of what is set up for the system as a whole, or for the tools that administrate it.

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::closure::resources;
use crate::image::{Entry, Rootfs};
use crate::observation::{Found, Observation, Operation};

const PLACE: &str = "/etc";

/// What belongs to the system, or to many programs: names in [`PLACE`], or how they begin (with a `*`).
const OF_THE_SYSTEM: [&str; 44] = [
    "NetworkManager",
    "X11",
    "alternatives",
    "apk",
    "apparmor*",
    "apt",
    "audit",
    "bash_completion.d",
    "binfmt.d",
    "ca-certificates*",
    "conf.d",
    "cron*",
    "crypto-policies",
    "default",
    "dhcp",
    "dnf",
    "dpkg",
    "gss",
    "init*",
    "kernel",
    "ld.so.conf.d",
    "logrotate.d",
    "modprobe.d",
    "modules-load.d",
    "network*",
    "opt",
    "pam.d",
    "periodic",
    "pki",
    "profile.d",
    "rc*",
    "runlevels",
    "security",
    "selinux",
    "skel",
    "ssl",
    "sudoers*",
    "sysconfig",
    "sysctl.d",
    "tmpfiles.d",
    "udev",
    "update-motd.d",
    "xdg",
    "yum*",
];

/// The directories of settings of which the run read a file. A machine of somebody's has more there than one program's.
pub(super) fn directories(rootfs: &Rootfs, observation: &Observation) -> BTreeSet<ImagePath> {
    if rootfs.is_host() {
        return BTreeSet::new();
    }
    let was_read = observation.paths.iter().filter(|(_, record)| {
        !record.probe_tool
            && matches!(record.found, Found::File { .. })
            && record.operations.contains(&Operation::Open)
            && !record.operations.contains(&Operation::Exec)
    });
    was_read.filter_map(|(path, _)| of_one_program(path)).collect()
}

/// The directory of one program's settings in which the file at `path` lies.
fn of_one_program(path: &ImagePath) -> Option<ImagePath> {
    let is_in_place =
        |directory: &ImagePath| directory.parent().is_some_and(|above| above.as_bytes() == PLACE.as_bytes());
    let directory = path.ancestors().find(is_in_place)?;
    let name = directory.file_name().filter(|name| resources::is_one_programs(name))?;
    let is_systems = OF_THE_SYSTEM.iter().any(|system| match system.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == system.as_bytes(),
    });
    (!is_systems).then_some(directory)
}

/// Whether what lies at `path` may be kept with the directory `root` for lying there: what is not in [`PLACE`] may, and
/// of that what everybody may read and nobody runs.
pub(super) fn may_be_kept(root: &ImagePath, entry: &Entry) -> bool {
    of_one_program(&root.child(b"x").unwrap_or_else(|_| root.clone())).is_none() || entry.mode & 0o115 == 0o004
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_one_program_are_told_from_those_of_the_system() {
        for (path, expected) in [
            ("/etc/ImageMagick-6/policy.xml", "/etc/ImageMagick-6"),
            ("/etc/web/sites/a/b.conf", "/etc/web"),
            ("/etc/web.conf", ""),
            ("/etc/ssl/openssl.cnf", ""),
            ("/etc/cron.d/x", ""),
            ("/etc/fonts/fonts.conf", ""),
            ("/etc/python3.11/sitecustomize.py", ""),
            ("/opt/etc/web/x", ""),
        ] {
            let found = of_one_program(&ImagePath::parse(path).unwrap()).map_or(String::new(), |path| path.to_string());
            assert_eq!(found, expected, "{path}");
        }
    }
}
