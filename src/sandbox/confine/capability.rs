//! Linux capabilities as sets with names (`capabilities(7)`), and the set that Docker gives a container.

use serde::{Deserialize, Serialize};

/// The names in the order of their numbers (`linux/capability.h`), without the prefix `CAP_`.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// What Docker gives a container that asks for nothing.
const DOCKER: [&str; 14] = [
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "net_bind_service",
    "net_raw",
    "sys_chroot",
    "mknod",
    "audit_write",
    "setfcap",
];

/// A set of capabilities: bit N is the capability with number N, as in `/proc/PID/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySet(u64);

/// A text is not the name of a capability.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a capability\nhint: {near}a name as in capabilities(7), for example NET_ADMIN, or ALL", near = near(.0))]
pub struct UnknownCapability(String);

/// Which one was probably meant.
fn near(name: &str) -> String {
    let bare = |name: &str| {
        let name = name.to_ascii_uppercase();
        name.strip_prefix("CAP_").map_or(name.clone(), str::to_owned)
    };
    let scored = NAMES.iter().map(|known| (strsim::jaro_winkler(&bare(name), &bare(known)), bare(known)));
    let best = scored.filter(|(score, _)| *score > 0.85).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, known)| format!("did you mean {known}? ")).unwrap_or_default()
}

impl CapabilitySet {
    /// No capability at all.
    pub const EMPTY: CapabilitySet = CapabilitySet(0);

    /// Every capability this program knows.
    pub fn all() -> Self {
        CapabilitySet((1 << NAMES.len()) - 1)
    }

    /// What Docker gives a container that asks for nothing.
    pub fn docker() -> Self {
        DOCKER.iter().filter_map(|name| bits(name)).fold(Self::EMPTY, |set, bits| CapabilitySet(set.0 | bits))
    }

    /// Docker's set changed by `--cap-add` and `--cap-drop`. As in Docker, `ALL` is applied first and single names
    /// then change what it left.
    pub fn with_changes<S: AsRef<str>>(add: &[S], drop: &[S]) -> Result<Self, UnknownCapability> {
        let parse = |names: &[S]| -> Result<Vec<u64>, UnknownCapability> {
            names
                .iter()
                .map(|name| bits(name.as_ref()).ok_or_else(|| UnknownCapability(name.as_ref().into())))
                .collect()
        };
        let (add, drop) = (parse(add)?, parse(drop)?);
        let all = Self::all().0;
        let mut set = Self::docker().0;
        if add.contains(&all) {
            set = all;
        } else if drop.contains(&all) {
            set = 0;
        }
        for bits in drop.iter().filter(|&&bits| bits != all) {
            set &= !bits;
        }
        for bits in add.iter().filter(|&&bits| bits != all) {
            set |= bits;
        }
        Ok(CapabilitySet(set))
    }

    /// What one or the other has.
    pub fn union(self, other: Self) -> Self {
        CapabilitySet(self.0 | other.0)
    }

    /// Whether the capability with this number is in the set.
    pub fn contains(self, number: u32) -> bool {
        number < 64 && self.0 & (1 << number) != 0
    }

    /// One bit per capability number.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The names in the order of their numbers, as `CAP_NET_RAW`.
    pub fn names(self) -> Vec<String> {
        let numbered = (0u32..).zip(NAMES);
        numbered.filter(|&(n, _)| self.contains(n)).map(|(_, name)| format!("CAP_{}", name.to_uppercase())).collect()
    }
}

/// The bits that `name` stands for: `ALL` for all, otherwise one, with or without `CAP_`, in any case.
fn bits(name: &str) -> Option<u64> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("cap_").unwrap_or(&name);
    if name == "all" {
        return Some(CapabilitySet::all().0);
    }
    NAMES.iter().position(|&known| known == name).map(|number| 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_default_is_the_mask_a_container_shows() {
        assert_eq!(format!("{:016x}", CapabilitySet::docker().bits()), "00000000a80425fb");
    }

    #[test]
    fn additions_and_removals() {
        let cases: [(&[&str], &[&str], &str); 7] = [
            (&[], &[], "a80425fb"),
            (&["NET_ADMIN"], &[], "a80435fb"),
            (&["cap_net_admin"], &["Chown"], "a80435fa"),
            (&[], &["ALL"], "0"),
            (&["KILL"], &["ALL"], "20"),
            (&["ALL"], &[], "1ffffffffff"),
            (&["ALL"], &["CAP_CHOWN"], "1fffffffffe"),
        ];
        for (add, drop, expected) in cases {
            let set = CapabilitySet::with_changes(add, drop).unwrap();
            assert_eq!(format!("{:x}", set.bits()), expected, "+{add:?} -{drop:?}");
        }
        assert!(CapabilitySet::with_changes(&["NET_ADMINS"], &[]).is_err());
    }

    #[test]
    fn names_are_as_other_tools_write_them() {
        let set = CapabilitySet::with_changes(&["checkpoint_restore", "chown"], &["all"]).unwrap();
        assert_eq!(set.names(), ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]);
    }
}
