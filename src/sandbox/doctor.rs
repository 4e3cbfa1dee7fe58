//! What this machine allows, found out by doing it: one function per capability, each in a process of its own.
//!
//! Nothing is inferred from a setting. Settings are read only afterwards, to word the hint of something that failed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use serde::Serialize;

use crate::sandbox::attempt::attempt;
use crate::sandbox::identity::{self, IdentityKind};
use crate::sandbox::plan::Upper;
use crate::sandbox::process::FilterInstruction;
use crate::sandbox::{build, network, spawn};

const USER_NAMESPACE: &str = "user namespace";
const OVERLAY_IN_STORE: &str = "overlay in the store";
const OVERLAY_IN_MEMORY: &str = "overlay in memory";
const FRESH_PROC: &str = "process ids of its own";
const TRACING: &str = "tracing";

/// What was found about one capability of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The capability, in a few words.
    pub name: &'static str,
    /// Whether it is there.
    pub ok: bool,
    /// What that means for a run, and, when it is not there, why it is not.
    pub meaning: String,
    /// What to do about it; nothing when it is there.
    pub hint: Option<String>,
}

/// Tries everything. `store` is where unpacked images are to live: its nearest existing parent counts. The process
/// should have one thread only.
pub fn doctor(store: &Path) -> Vec<Finding> {
    let exists = |dir: &&Path| dir.is_dir();
    let store = store.ancestors().find(exists).unwrap_or(Path::new("/tmp")).to_owned();
    vec![
        user_namespace(),
        subordinate_ids(),
        overlay_in_store(&store),
        overlay_in_memory(),
        private_network(),
        fresh_proc(),
        filter_without_no_new_privs(),
        tracing(),
    ]
}

/// Whether any source can be run on a machine with these findings: the two overlays stand in for each other, and the
/// host's network for a private one.
pub fn can_run(findings: &[Finding]) -> bool {
    let has = |name: &str| findings.iter().any(|finding| finding.name == name && finding.ok);
    let overlay = has(OVERLAY_IN_STORE) || has(OVERLAY_IN_MEMORY);
    overlay && [USER_NAMESPACE, FRESH_PROC, TRACING].into_iter().all(has)
}

fn user_namespace() -> Finding {
    let tried = attempt(|| enter().map(drop));
    finding(USER_NAMESPACE, tried, "scrimp is root of a namespace of its own", || {
        let mut hint = String::from("allow user namespaces to this user");
        for (name, bad, advice) in [
            ("kernel/apparmor_restrict_unprivileged_userns", "1", "add an AppArmor profile for scrimp, or set it to 0"),
            ("kernel/unprivileged_userns_clone", "0", "set it to 1"),
            ("user/max_user_namespaces", "0", "raise it"),
        ] {
            if sysctl(name).is_some_and(|value| value == bad) {
                hint = format!("the sysctl {} is {bad}: {advice}", name.replace('/', "."));
            }
        }
        hint
    })
}

fn subordinate_ids() -> Finding {
    let tried = attempt(|| {
        let identity = enter()?;
        match identity.kind {
            IdentityKind::Single => Err(identity.notes.join("; ")),
            // Root of somebody else's namespace has what that has.
            _ if !identity.map.has_uid(1) => Err("only one id is mapped here".into()),
            _ => Ok(()),
        }
    });
    finding("several user ids", tried, "images whose files or processes belong to other users than root work", || {
        "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME, and install newuidmap (package uidmap)"
            .into()
    })
}

fn overlay_in_store(store: &Path) -> Finding {
    let tried = attempt(|| {
        enter()?;
        let dir = store.join(format!(".doctor-{}", std::process::id()));
        let lower = dir.join("lower");
        std::fs::create_dir_all(&lower).map_err(|e| format!("cannot make {}: {e}", lower.display()))?;
        let tried = build::try_overlay(&lower, &Upper::Dir(dir.clone()));
        let removed = remove(&dir);
        tried.map_err(|e| e.to_string()).and(removed)
    });
    finding(OVERLAY_IN_STORE, tried, "what the application writes goes to disk (rung a)", || {
        format!("put the store ({}) on ext4, xfs or btrfs; without it, what is written goes to memory", store.display())
    })
}

fn overlay_in_memory() -> Finding {
    let tried = attempt(|| {
        enter()?;
        build::try_overlay(Path::new("/usr"), &Upper::Tmpfs).map_err(|e| e.to_string())
    });
    finding(OVERLAY_IN_MEMORY, tried, "what the application writes goes to memory (rung b)", || {
        "Linux 5.11 or later lets user namespaces mount overlays, unless a container's seccomp profile forbids mounts"
            .into()
    })
}

fn private_network() -> Finding {
    let tried = attempt(|| {
        enter()?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("cannot make a network namespace: {}", e.desc()))?;
        network::set_up(&mut Vec::new()).map_err(|e| e.to_string())
    });
    finding("private network", tried, "ports do not clash, and the application reaches nothing outside", || {
        "`--net host` does without".into()
    })
}

fn fresh_proc() -> Finding {
    let tried = attempt(|| {
        enter()?;
        unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
            .map_err(|e| format!("cannot make a PID namespace: {}", e.desc()))?;
        attempt(|| build::try_proc().map_err(|e| e.to_string()))
    });
    finding(FRESH_PROC, tried, "the application is process 1 and sees no other process", || {
        "in a container, run it with an unmasked /proc: podman --security-opt unmask=ALL, docker --security-opt \
         systempaths=unconfined"
            .into()
    })
}

fn filter_without_no_new_privs() -> Finding {
    let tried = attempt(|| {
        enter()?;
        let allow = FilterInstruction { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
        match spawn::install_filter(&[allow]) {
            Ok(false) => Ok(()),
            Ok(true) => Err("the kernel demands NO_NEW_PRIVS".into()),
            Err(errno) => Err(format!("cannot install a seccomp filter: {}", errno.desc())),
        }
    });
    finding("seccomp filter", tried, "tracing is fast, and setuid programs of the image keep their rights", || {
        "the kernel needs CONFIG_SECCOMP_FILTER, and a container's seccomp profile must allow seccomp(2)".into()
    })
}

fn tracing() -> Finding {
    let tried = attempt(|| {
        enter()?;
        crate::sandbox::ladder::try_tracing()
    });
    finding(TRACING, tried, "scrimp sees which files the application uses", || {
        match sysctl("kernel/yama/ptrace_scope") {
            Some(value) if value == "3" => "the sysctl kernel.yama.ptrace_scope is 3: no process may trace".into(),
            _ => "in a container, allow ptrace: --cap-add SYS_PTRACE".into(),
        }
    })
}

fn enter() -> Result<identity::Identity, String> {
    identity::enter().map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

fn finding(name: &'static str, tried: Result<(), String>, good: &str, hint: impl FnOnce() -> String) -> Finding {
    match tried {
        Ok(()) => Finding { name, ok: true, meaning: good.into(), hint: None },
        Err(cause) => Finding { name, ok: false, meaning: format!("not so: {good} ({cause})"), hint: Some(hint()) },
    }
}

/// A setting of the kernel, without white space around it.
fn sysctl(name: &str) -> Option<String> {
    Some(std::fs::read_to_string(PathBuf::from("/proc/sys").join(name)).ok()?.trim().to_owned())
}

/// Removes a directory in which an overlay has worked: it leaves one behind that nobody may list.
fn remove(dir: &Path) -> Result<(), String> {
    let inner = dir.join("work/work");
    if inner.is_dir() {
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o700)).map_err(|e| e.to_string())?;
    }
    std::fs::remove_dir_all(dir).map_err(|cause| format!("cannot remove {}: {cause}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_its_reason_and_its_hint() {
        let found = finding("x", Err("no such luck".into()), "it works", || "try harder".into());
        assert_eq!(found.meaning, "not so: it works (no such luck)");
        assert_eq!(found.hint.as_deref(), Some("try harder"));
        assert!(finding("x", Ok(()), "it works", String::new).hint.is_none());
    }
}
