//! Which extended attributes belong to an image.

use std::collections::BTreeMap;

use crate::image::capability;

/// Attributes of the machine that a file lies on: exact names, or prefixes that end in a dot.
const FOREIGN: [&str; 8] = [
    "security.evm",
    "security.ima",
    "security.selinux",
    "system.nfs4_acl",
    "system.nfs4_dacl",
    "system.nfs4_sacl",
    "trusted.overlay.",
    "user.overlay.",
];

/// Whether an attribute belongs to the file rather than to the machine that it lies on: the labels of a security
/// module, the access lists of an NFS server and the bookkeeping of an overlay mount do not.
pub fn belongs(name: &str) -> bool {
    !FOREIGN.iter().any(|&foreign| name == foreign || foreign.ends_with('.') && name.starts_with(foreign))
}

/// The attributes that an entry of a layer has, as they are: file capabilities of version 3 name the root of a user
/// namespace in which they hold, and in version 2 they would hold everywhere.
pub(super) fn of_layer(xattrs: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    xattrs.into_iter().filter(|(name, _)| belongs(name)).collect()
}

/// The attributes that were read from a file on disk, in the form in which a layer holds them: there the version of
/// file capabilities says in which user namespace somebody wrote or reads them.
pub(super) fn of_disk(xattrs: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let kept = of_layer(xattrs).into_iter();
    kept.map(|(name, value)| {
        let value = if name == capability::XATTR { capability::to_version_2(&value) } else { value };
        (name, value)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{belongs, of_disk, of_layer};

    #[test]
    fn attributes_of_the_machine_do_not_belong() {
        for (name, expected) in [
            ("user.a", true),
            ("security.capability", true),
            ("system.posix_acl_access", true),
            ("security.selinux", false),
            ("security.selinux.own", true),
            ("security.ima", false),
            ("system.nfs4_dacl", false),
            ("user.overlay.redirect", false),
            ("trusted.overlay.opaque", false),
            ("user.overlayed", true),
        ] {
            assert_eq!(belongs(name), expected, "{name}");
        }
    }

    #[test]
    fn capabilities_of_a_layer_stay_in_their_namespace() {
        let version_3 = [&[1, 0, 0, 3][..], &[9; 16], &1000u32.to_le_bytes()].concat();
        let xattrs = BTreeMap::from([("security.capability".to_owned(), version_3)]);
        assert_eq!(of_layer(xattrs.clone()), xattrs);
        assert_eq!(of_disk(xattrs)["security.capability"], [&[1, 0, 0, 2][..], &[9; 16]].concat());
    }
}
