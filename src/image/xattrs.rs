//! Which extended attributes belong to an image.

use std::collections::BTreeMap;

use crate::image::capability;

/// Whether an attribute belongs to the file rather than to the machine that it lies on: the labels of a security
/// module, the access lists of an NFS server and the bookkeeping of an overlay mount do not.
pub fn belongs(name: &str) -> bool {
    const FOREIGN: [&str; 6] =
        ["security.selinux", "system.nfs4_acl", "trusted.overlay.", "user.overlay.", "security.ima", "security.evm"];
    !FOREIGN.iter().any(|foreign| match foreign.strip_suffix('.') {
        Some(_) => name.starts_with(foreign),
        None => name == *foreign,
    })
}

/// The attributes that an image keeps, in the form in which an image holds them.
pub(super) fn normalise(xattrs: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let kept = xattrs.into_iter().filter(|(name, _)| belongs(name));
    kept.map(|(name, value)| {
        let value = if name == capability::XATTR { capability::to_version_2(&value) } else { value };
        (name, value)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::belongs;

    #[test]
    fn attributes_of_the_machine_do_not_belong() {
        for (name, expected) in [
            ("user.a", true),
            ("security.capability", true),
            ("system.posix_acl_access", true),
            ("security.selinux", false),
            ("user.overlay.redirect", false),
            ("trusted.overlay.opaque", false),
            ("user.overlayed", true),
        ] {
            assert_eq!(belongs(name), expected, "{name}");
        }
    }
}
