//! One function per capability.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};

use crate::sandbox::attempt::attempt;
use crate::sandbox::cgroup::{Group, GroupLimits};
use crate::sandbox::doctor::surroundings::Surroundings;
use crate::sandbox::doctor::{Finding, in_scratch};
use crate::sandbox::identity::{self, IdentityKind};
use crate::sandbox::plan::Upper;
use crate::sandbox::process::FilterInstruction;
use crate::sandbox::{build, ladder, network, spawn};

/// All, in the order in which a sandbox needs them.
pub fn all(store: &Path, here: &Surroundings) -> Vec<Finding> {
    let mut findings = vec![
        files_in_store(store),
        tracing(here),
        user_namespace(here),
        several_ids(),
        overlay_in_store(store),
        overlay_in_memory(),
        fresh_proc(here),
        private_network(),
        low_ports(),
        filter(),
        control_group(here),
        tun(here),
    ];
    if nix::unistd::geteuid().is_root() {
        findings.push(other_users(here));
    }
    findings
}

fn files_in_store(store: &Path) -> Finding {
    let tried = in_scratch(store, |dir| {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(dir);
        file.map(drop).map_err(|cause| format!("no file without a name in {}: {cause}", store.display()))
    });
    finding(
        "files in the store",
        tried,
        ["nothing half-written is left there, whatever happens", "a kill can leave a file there until the next run"],
        || format!("put the store on a local file system with --store DIR; {} is none", store.display()),
    )
}

fn tracing(here: &Surroundings) -> Finding {
    let tried = attempt(ladder::try_tracing);
    finding("tracing", tried, ["scrimp sees which files the application uses", "nothing can be run"], || here.tracing())
}

fn user_namespace(here: &Surroundings) -> Finding {
    let tried = attempt(|| enter().map(drop));
    let good = "scrimp is root of a namespace of its own, which sandboxes a, b and c need";
    finding("user namespace", tried, [good, "sandbox e is left, and for root d"], || here.user_namespace())
}

fn several_ids() -> Finding {
    let tried = attempt(|| {
        let identity = enter()?;
        match identity.kind {
            IdentityKind::Single => Err(identity.notes.join("; ")),
            // Root of somebody else's namespace has what that has.
            _ if !identity.map.has_uid(1) => Err("only one id is mapped here".into()),
            _ => Ok(()),
        }
    });
    let good = "the kernel knows every user of an image";
    finding("several user ids", tried, [good, "the tracer answers in the name of users that do not exist here"], || {
        "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME, and install newuidmap (package uidmap)"
            .into()
    })
}

/// Only root without a user namespace depends on it.
fn other_users(here: &Surroundings) -> Finding {
    let tried = attempt(ladder::look_into_another_user);
    let good = "processes that change their user are traced like others";
    finding(
        "tracing of other users",
        tried,
        [good, "in sandboxes d and e processes change their user in appearance only"],
        || here.tracing(),
    )
}

fn overlay_in_store(store: &Path) -> Finding {
    let tried = in_scratch(store, |dir| {
        attempt(|| {
            enter()?;
            let lower = dir.join("lower");
            std::fs::create_dir(&lower).map_err(|e| format!("cannot make {}: {e}", lower.display()))?;
            build::try_overlay(&lower, &Upper::Dir(dir.to_owned())).map_err(|e| e.to_string())
        })
    });
    finding(
        "overlay in the store",
        tried,
        ["what the application writes goes to disk", "what the application writes goes to memory"],
        || {
            format!(
                "put the store ({}) on ext4, xfs or btrfs; without it, what is written goes to memory",
                store.display()
            )
        },
    )
}

fn overlay_in_memory() -> Finding {
    let tried = attempt(|| {
        enter()?;
        build::try_overlay(Path::new("/usr"), &Upper::Tmpfs).map_err(|e| e.to_string())
    });
    finding(
        "overlay in memory",
        tried,
        ["what the application writes goes to memory", "an overlay needs a store that can hold what is written"],
        || {
            "Linux 5.11 or later lets user namespaces mount overlays, unless a container's seccomp profile forbids mounts"
            .into()
        },
    )
}

fn fresh_proc(here: &Surroundings) -> Finding {
    let tried = attempt(|| {
        enter()?;
        unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
            .map_err(|e| format!("cannot make a PID namespace: {}", e.desc()))?;
        attempt(|| build::try_proc().map_err(|e| e.to_string()))
    });
    let good = "the application is process 1 and sees no other process";
    finding("process ids of its own", tried, [good, "the application sees the processes around scrimp"], || {
        here.fresh_proc()
    })
}

fn private_network() -> Finding {
    let tried = attempt(|| {
        enter()?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("cannot make a network namespace: {}", e.desc()))?;
        network::set_up(&mut Vec::new()).map_err(|e| e.to_string())
    });
    let good = "ports do not clash, and the application reaches nothing outside";
    finding("private network", tried, [good, "the application shares the network of the caller"], || {
        "`--net host` does without".into()
    })
}

fn low_ports() -> Finding {
    let tried = attempt(|| {
        enter()?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("cannot make a network namespace: {}", e.desc()))?;
        let mut warnings = Vec::new();
        network::set_up(&mut warnings).map_err(|e| e.to_string())?;
        warnings.first().map_or(Ok(()), |warning| Err(warning.clone()))
    });
    let good = "a user other than root may listen on ports below 1024, as in a container";
    finding("ports below 1024", tried, [good, "a user other than root has to listen on a higher port"], || {
        "a /proc/sys that is not read-only; or a higher port".into()
    })
}

fn filter() -> Finding {
    let tried = attempt(|| {
        enter()?;
        let allow = FilterInstruction { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
        match spawn::install_filter(&[allow]) {
            Ok(false) => Ok(()),
            Ok(true) => Err("the kernel demands NO_NEW_PRIVS".into()),
            Err(errno) => Err(format!("cannot install a seccomp filter: {}", errno.desc())),
        }
    });
    finding(
        "seccomp filter",
        tried,
        [
            "tracing is fast, and setuid programs of the image keep their rights",
            "setuid programs of the image do not gain rights, which the trace says",
        ],
        || {
            "the kernel needs CONFIG_SECCOMP_FILTER, a container's seccomp profile must allow seccomp(2), and without \
         NO_NEW_PRIVS it takes a user namespace"
                .into()
        },
    )
}

fn control_group(here: &Surroundings) -> Finding {
    let limits = GroupLimits { memory: 64 << 20, tasks: Some(64) };
    let tried = Group::make(Path::new("/"), limits).map(drop).map_err(|cause| cause.to_string());
    let meaning = ["--memory holds for all processes together", "--memory holds for each process by itself"];
    finding("limits for all processes together", tried, meaning, || here.control_groups())
}

/// `TUNSETIFF` of `linux/if_tun.h`.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;

fn tun(here: &Surroundings) -> Finding {
    let tried = attempt(|| {
        enter()?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("cannot make a network namespace: {}", e.desc()))?;
        let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
        let device = device.map_err(|e| format!("cannot open /dev/net/tun: {e}"))?;
        // SAFETY: an all-zero `ifreq` is a valid value of that plain C structure.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the request is a filled `ifreq` that outlives the call.
        let made = unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) };
        nix::errno::Errno::result(made).map(drop).map_err(|e| format!("cannot make an interface: {}", e.desc()))
    });
    let good = "a private network could be given a way out; sandboxes are closed unless `--net host` is given";
    finding(
        "network interfaces (/dev/net/tun)",
        tried,
        [good, "no way out of a private network can be made; nothing else needs it"],
        || here.tun(),
    )
}

fn enter() -> Result<identity::Identity, String> {
    identity::enter().map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

/// `with` and `without` say what a run has of it, or has to do without.
fn finding(
    name: &str,
    tried: Result<(), String>,
    [with, without]: [&str; 2],
    hint: impl FnOnce() -> String,
) -> Finding {
    let (ok, meaning, hint) = match tried {
        Ok(()) => (true, with.into(), None),
        Err(cause) => (false, format!("{without} ({cause})"), Some(hint())),
    };
    Finding { name: name.into(), ok, meaning, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_its_reason_and_its_hint() {
        let meaning = ["it works", "it does not"];
        let found = finding("x", Err("no such luck".into()), meaning, || "try harder".into());
        assert_eq!(found.meaning, "it does not (no such luck)");
        assert_eq!(found.hint.as_deref(), Some("try harder"));
        let found = finding("x", Ok(()), meaning, String::new);
        assert_eq!((found.meaning.as_str(), found.hint), ("it works", None));
    }
}
