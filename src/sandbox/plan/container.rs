//! What every container gets besides its root: `/proc`, `/sys`, `/dev`, the generated files of `/etc`, and the paths
//! that are hidden or read-only, as Docker has them (`oci/defaults.go`; OCI runtime-spec 1.1, config-linux.md).

use crate::base::ImagePath;
use crate::sandbox::plan::{Choices, Mount, Network, Rung, What};

/// Devices that are bound from the host: in a user namespace none can be made. Read-only, which they can be written to
/// all the same, because their modes, owners and times are the host's, and real root's to change.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The size of `/dev/shm` in bytes, Docker's.
const SHM_SIZE: u64 = 64 << 20;

/// The mounts, in order.
pub fn mounts(choices: &Choices) -> Vec<Mount> {
    let mut mounts = Vec::new();
    let mut put = |at: &str, what: What, required: bool| mounts.push(fixed(at, what, required));
    let existing = |at: &str, read_only| What::Bind { source: at.into(), read_only };
    match choices.rung {
        Rung::A | Rung::B => put("/proc", What::Proc, true),
        Rung::C => put("/proc", existing("/proc", false), true),
        // Nothing can be mounted.
        Rung::D | Rung::E => put("/proc", What::Tmpfs { mode: 0o555, size: None, exec: false }, true),
    }
    let bounds = &choices.bounds;
    put("/dev", What::Tmpfs { mode: 0o755, size: bounds.tmpfs(Some(64 << 20)), exec: true }, true);
    for device in DEVICES {
        let at = format!("/dev/{device}");
        put(&at, What::Bind { source: (&at).into(), read_only: true }, device == "null");
    }
    for (at, target) in LINKS {
        put(at, What::Symlink { target: target.into() }, true);
    }
    put("/dev/pts", What::Devpts, false);
    put("/dev/shm", What::Tmpfs { mode: 0o1777, size: bounds.tmpfs(Some(SHM_SIZE)), exec: false }, true);
    put("/dev/mqueue", What::Mqueue, false);
    match (choices.network, choices.rung) {
        // A fresh sysfs shows a network namespace, and the caller's is not ours to show; and where a fresh proc is
        // refused a fresh sysfs is too.
        (_, Rung::D | Rung::E) => put("/sys", What::Tmpfs { mode: 0o555, size: None, exec: false }, true),
        (Network::Host, _) | (_, Rung::C) => put("/sys", existing("/sys", true), true),
        (Network::Private | Network::Shared, _) => {
            put("/sys", What::Sysfs, true);
            put("/sys/fs/cgroup", What::Cgroup, false);
        }
    }
    for at in MASKED {
        put(at, What::Mask, true);
    }
    for at in READ_ONLY {
        put(at, What::ReadOnly, true);
    }
    // A directory of another user may lack them, and then there is no place to put them: few programs mind.
    put("/etc/hosts", What::File { content: hosts(choices).into() }, false);
    put("/etc/hostname", What::File { content: format!("{}\n", choices.hostname).into() }, false);
    put("/etc/resolv.conf", What::File { content: choices.resolv_conf.clone() }, false);
    for volume in &choices.volumes {
        let what = What::Bind { source: volume.source.clone(), read_only: volume.read_only };
        mounts.push(Mount { at: volume.target.clone(), what, required: true, of_base: false });
    }
    for at in &choices.tmpfs {
        let what = What::Tmpfs { mode: 0o1777, size: bounds.disk(), exec: false };
        mounts.push(Mount { at: at.clone(), what, required: true, of_base: false });
    }
    mounts
}

fn fixed(at: &str, what: What, required: bool) -> Mount {
    let at = ImagePath::parse(at).expect("the paths of this file are absolute");
    Mount { at, what, required, of_base: false }
}

fn hosts(choices: &Choices) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    text.push_str(&format!("127.0.0.1\t{}\n", choices.hostname));
    for (address, name) in &choices.hosts {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::plan::{SandboxPlan, Upper, Volume};
    use std::path::Path;

    #[test]
    fn a_plan_is_data_and_survives_being_sent() {
        let mut choices = Choices::new(Upper::Dir("/store/run \u{7}".into()));
        let target = ImagePath::parse("/data").unwrap();
        choices.volumes.push(Volume { source: "/srv/data".into(), target, read_only: true });
        choices.tmpfs.push(ImagePath::parse("/scratch").unwrap());
        let plan = SandboxPlan::for_tree(Path::new("/store/tree"), &choices);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<SandboxPlan>(&text).unwrap(), plan);
        assert_eq!(plan.rung.to_string(), "a");
        let inside: Vec<String> = plan.inside_mounts().map(|m| m.at.to_string()).collect();
        assert_eq!(inside[..2], ["/proc", "/proc/asound"]);
        assert!(inside.iter().all(|at| at.starts_with("/proc")));
        let own: Vec<String> = plan.mount_points().iter().map(|p| p.to_string()).collect();
        for expected in ["/data", "/dev", "/dev/null", "/etc/hosts", "/proc", "/scratch", "/sys"] {
            assert!(own.iter().any(|p| p == expected), "{expected} is missing from {own:?}");
        }
    }

    #[test]
    fn the_hosts_file_names_this_machine_and_its_neighbours() {
        let mut choices = Choices::new(Upper::Tmpfs);
        choices.hosts.push(([10, 0, 0, 2].into(), "db".into()));
        let text = hosts(&choices);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("127.0.0.1\tscrimp\n10.0.0.2\tdb\n"));
    }
}
