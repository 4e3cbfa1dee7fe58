//! Where scrimp runs: the hints for a container differ from those for a workstation. Files and variables are looked at
//! here, after something has failed; nothing is concluded from them but how to word a hint.

use std::path::{Path, PathBuf};

/// What is around this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    root: PathBuf,
    container: Option<Container>,
    is_root: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Docker,
    Podman,
    Kubernetes,
}

impl Surroundings {
    /// Looks at the machine whose root directory is `root`.
    pub fn look(root: &Path) -> Self {
        let there = |name: &str| root.join(name).exists();
        let container = if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            Some(Container::Kubernetes)
        } else if there(".dockerenv") {
            Some(Container::Docker)
        } else if there("run/.containerenv") {
            Some(Container::Podman)
        } else {
            None
        };
        Surroundings { root: root.into(), container, is_root: nix::unistd::geteuid().is_root() }
    }

    /// What allows user namespaces.
    pub fn user_namespace(&self) -> String {
        for (name, bad, advice) in [
            (
                "kernel/apparmor_restrict_unprivileged_userns",
                "1",
                "give scrimp an AppArmor profile with `userns,`, or: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
            ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
        ] {
            if self.sysctl(name).is_some_and(|value| value == bad) {
                return advice.into();
            }
        }
        match self.container {
            Some(Container::Docker) => {
                "Docker's seccomp profile refuses unshare: docker run --security-opt seccomp=unconfined, or a profile \
                 that allows unshare, mount and pivot_root"
            }
            Some(Container::Kubernetes) => {
                "in the pod's spec `hostUsers: false`, and a seccompProfile that allows unshare, mount and pivot_root"
            }
            Some(Container::Podman) if !self.is_root => {
                "podman run --security-opt seccomp=unconfined; in a `RUN` step, be root"
            }
            Some(Container::Podman) => "podman run --security-opt seccomp=unconfined",
            // The kernel refuses it to a process whose root directory is not that of its mount namespace.
            None if self.is_root => "run scrimp outside of chroot, as any user; in a `RUN` step nothing can be done",
            None => "allow user namespaces to this user; in a chroot or a `RUN` step, be root",
        }
        .into()
    }

    /// What allows a fresh `/proc`.
    pub fn fresh_proc(&self) -> String {
        match self.container {
            Some(Container::Kubernetes) => {
                "in the container's securityContext `procMount: Unmasked`, with hostUsers: false"
            }
            Some(Container::Docker) => "docker run --security-opt systempaths=unconfined",
            Some(Container::Podman) => "podman run --security-opt unmask=ALL",
            None => "a /proc on which nothing is mounted: see `grep /proc/ /proc/self/mountinfo`",
        }
        .into()
    }

    /// What allows tracing.
    pub fn tracing(&self) -> String {
        match (self.sysctl("kernel/yama/ptrace_scope").as_deref(), self.container) {
            (Some("3"), _) => "kernel.yama.ptrace_scope is 3, which lasts until the next boot: no process may trace",
            (_, Some(Container::Docker)) => "docker run --cap-add SYS_PTRACE",
            (_, Some(Container::Podman)) => "podman run --cap-add SYS_PTRACE",
            (_, Some(Container::Kubernetes)) => {
                "in the container's securityContext `capabilities: {add: [SYS_PTRACE]}`"
            }
            _ => "another tracer, or a seccomp profile around scrimp, forbids ptrace",
        }
        .into()
    }

    /// What delegates a control group.
    pub fn control_groups(&self) -> String {
        match self.container {
            Some(Container::Podman) => "podman run --cgroups=split --security-opt unmask=/sys/fs/cgroup",
            Some(_) => "limit the container itself, as its runtime can",
            None => "under systemd: systemd-run --user --scope -p Delegate=yes scrimp ...",
        }
        .into()
    }

    /// What allows `/dev/net/tun`.
    pub fn tun(&self) -> String {
        match self.container {
            Some(Container::Docker) => "docker run --device /dev/net/tun",
            Some(Container::Podman) => "podman run --device /dev/net/tun",
            Some(Container::Kubernetes) => "a device plugin that offers /dev/net/tun to the pod",
            None => "modprobe tun",
        }
        .into()
    }

    fn sysctl(&self, name: &str) -> Option<String> {
        let file = self.root.join("proc/sys").join(name);
        Some(std::fs::read_to_string(file).ok()?.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_follow_from_what_is_there() {
        let machine = |files: &[(&str, &str)]| {
            let root = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let file = root.path().join(name);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, text).unwrap();
            }
            let here = Surroundings { is_root: false, ..Surroundings::look(root.path()) };
            [here.user_namespace(), here.fresh_proc(), here.tracing()].join("\n")
        };
        for (files, expected) in [
            (&[][..], ["allow user namespaces", "/proc on which nothing", "another tracer"]),
            (
                &[("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")],
                ["apparmor_restrict_unprivileged_userns=0", "mountinfo", "another tracer"],
            ),
            (
                &[("proc/sys/kernel/unprivileged_userns_clone", "0\n")],
                ["unprivileged_userns_clone=1", "mountinfo", "another tracer"],
            ),
            (
                &[("proc/sys/kernel/yama/ptrace_scope", "3\n"), ("run/.containerenv", "")],
                ["seccomp=unconfined; in a `RUN` step, be root", "unmask=ALL", "ptrace_scope is 3"],
            ),
            (&[(".dockerenv", "")], ["docker run --security-opt seccomp", "systempaths", "--cap-add SYS_PTRACE"]),
        ] {
            let hints = machine(files);
            for part in expected {
                assert!(hints.contains(part), "{files:?}: {part} is not in {hints}");
            }
        }
    }
}
