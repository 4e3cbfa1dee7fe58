//! Files that others may not read, and that the run did not read either: a key that a setting names, the passwords that
//! a log-in would ask for. They are there because a rule wants them, which cannot know whether they are meant to leave
//! the machine; so somebody is told.

use crate::base::ImagePath;
use crate::closure::Reason;
use crate::image::EntryKind;
use crate::observation::Operation;
use crate::select::{Manifest, ManifestEntry};

/// The paths of these files in `manifest`, in order.
pub(super) fn unread(manifest: &Manifest) -> Vec<ImagePath> {
    let unread = manifest.entries.iter().filter(|(_, chosen)| is_closed(chosen) && is_kept_by_rule(chosen));
    unread.map(|(path, _)| path.clone()).collect()
}

/// Whether it is data that only its owner, and perhaps a group, may read.
fn is_closed(chosen: &ManifestEntry) -> bool {
    let has_content = matches!(chosen.entry.kind, EntryKind::File { size, .. } if size > 0);
    has_content && chosen.entry.mode & 0o115 == 0
}

/// Whether neither the run nor the user asked for what is in it. State is not looked into: a database closes all of its
/// files, and is nothing without them.
fn is_kept_by_rule(chosen: &ManifestEntry) -> bool {
    chosen.reasons.iter().all(|reason| match reason {
        Reason::Access(Operation::Stat | Operation::Access) => true,
        Reason::Access(_)
        | Reason::ProbeTool
        | Reason::Exercise(_)
        | Reason::Repair(..)
        | Reason::State(_)
        | Reason::Keep
        | Reason::KeepPackage(_)
        | Reason::KeepExe(_)
        | Reason::KeepShell
        | Reason::KeepCerts
        | Reason::KeepZoneinfo
        | Reason::KeepLocale(_)
        | Reason::KeepListed(_) => false,
        _ => true,
    }) && chosen.reasons.iter().any(|reason| !matches!(reason, Reason::Access(_)))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::image::Entry;
    use crate::select::Header;

    #[test]
    fn what_a_rule_keeps_and_nobody_read_is_told() {
        let header = serde_json::json!({
            "schema_version": 1, "tool": "scrimp", "source": "x", "source_digest": null, "command": []
        });
        let mut manifest = Manifest::new(serde_json::from_value::<Header>(header).unwrap());
        for (path, mode, size, reasons) in [
            ("/app/.env", 0o600, 1, "application:/app"),
            ("/app/open", 0o644, 1, "application:/app"),
            ("/app/empty", 0o600, 0, "application:/app"),
            ("/app/tool", 0o700, 1, "application:/app"),
            ("/etc/asked.key", 0o600, 1, "keep named:/etc/x.conf"),
            ("/etc/read.key", 0o600, 1, "open named:/etc/x.conf"),
            ("/etc/seen.key", 0o640, 1, "stat named:/etc/x.conf"),
            ("/etc/only-seen.key", 0o640, 1, "stat"),
            ("/etc/shadow", 0o640, 1, "dlopen:/lib/libpam.so.0 parent"),
            ("/var/lib/db/1", 0o600, 1, "state:/var/lib/db"),
        ] {
            let kind = EntryKind::File { size, digest: None, link_group: None };
            let entry = Entry { kind, mode, uid: 0, gid: 0, mtime: 0, nanos: 0, xattrs: BTreeMap::new() };
            let reasons: BTreeSet<Reason> = reasons.split(' ').map(|reason| reason.parse().unwrap()).collect();
            manifest.entries.insert(ImagePath::parse(path).unwrap(), ManifestEntry { entry, package: None, reasons });
        }
        let told: Vec<String> = unread(&manifest).iter().map(ToString::to_string).collect();
        assert_eq!(told.join(" "), "/app/.env /etc/seen.key /etc/shadow");
    }
}
