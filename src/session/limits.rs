//! What the application may use at most, and what holds it to that.
//!
//! Memory is counted by a control group where one is delegated, otherwise each process is limited by itself and so is
//! each file system in memory. Tasks are counted by the tracer. What is written goes to one file system in memory of
//! the size allowed. Whatever holds less than it says is a warning.

use std::path::Path;

use crate::sandbox::confine::cgroup::{self, Group, GroupLimits};
use crate::sandbox::{Bounds, Limit, Namespace, SandboxPlan};

/// What the application, with all its processes and those of probes, may use at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u32>,
    /// What it writes, in bytes.
    pub disk: Option<u64>,
    /// Of each process.
    pub resources: Vec<Limit>,
}

/// The limits of one run, held as well as this machine allows.
#[derive(Debug)]
pub struct Hold<'a> {
    limits: &'a Limits,
    group: Option<Group>,
    resources: Vec<Limit>,
    warnings: Vec<String>,
}

impl<'a> Hold<'a> {
    /// Makes ready what holds `limits`, and removes what runs that were killed have left of theirs.
    pub fn new(limits: &'a Limits) -> Self {
        cgroup::sweep(Path::new("/"));
        let mut hold = Hold { limits, group: None, resources: vec![Limit::open_files()], warnings: Vec::new() };
        for limit in &limits.resources {
            hold.limit_resource(*limit);
        }
        if let Some(memory) = limits.memory {
            match Group::make(Path::new("/"), GroupLimits { memory, tasks: limits.tasks }) {
                Ok(group) => hold.group = Some(group),
                Err(cause) => {
                    hold.warnings.push(format!(
                        "--memory {} holds for each process and each tmpfs by itself, not for all together, and not \
                         for shared memory: {cause}",
                        shown(memory)
                    ));
                    hold.limit_data(memory);
                }
            }
        }
        hold
    }

    /// What the sandbox is held to.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            disk: self.limits.disk,
            memory: self.limits.memory.filter(|_| self.group.is_none()),
            group: self.group.as_ref().and_then(|group| group.dir().to_str()).map(String::from),
        }
    }

    /// What each process is held to.
    pub fn resources(&self) -> Vec<Limit> {
        self.resources.clone()
    }

    /// What holds less than it says in the sandbox of `plan`, each a sentence.
    pub fn warnings(&self, plan: &SandboxPlan) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        if let Some(disk) = self.limits.disk
            && !plan.namespaces.contains(&Namespace::Mount)
        {
            warnings.push(format!(
                "--disk-limit {} is not held: sandbox {} has no file systems of its own",
                shown(disk),
                plan.rung
            ));
        }
        warnings
    }

    /// What was exceeded, a sentence. To be asked when everything in the sandbox has ended.
    pub fn exceeded(&self) -> Option<String> {
        let short = self.group.as_ref().is_some_and(Group::was_short_of_memory);
        let memory = self.limits.memory.filter(|_| short)?;
        Some(format!("the application was killed: it exceeded --memory {}", shown(memory)))
    }

    fn limit_resource(&mut self, limit: Limit) {
        let reachable = match limit.reachable() {
            Ok(reachable) => reachable,
            Err(cause) => {
                self.warnings.push(format!("--ulimit {limit} is not held: {}", cause.desc()));
                return;
            }
        };
        if reachable != limit {
            self.warnings.push(format!("--ulimit {limit} is out of reach, so it is {reachable}"));
        }
        self.resources.retain(|known| known.resource != limit.resource);
        self.resources.push(reachable);
    }

    /// Private memory that can be written, which is what a program that eats memory takes. Not the address space: much
    /// of that is only reserved by the runtimes of Java, Go and JavaScript.
    fn limit_data(&mut self, bytes: u64) {
        let resource = libc::RLIMIT_DATA;
        match self.resources.iter_mut().find(|limit| limit.resource == resource) {
            Some(limit) => (limit.soft, limit.hard) = (limit.soft.min(bytes), limit.hard.min(bytes)),
            None => self.resources.push(Limit { resource, soft: bytes, hard: bytes }),
        }
    }
}

/// A size as it is typed.
fn shown(bytes: u64) -> String {
    for (shift, unit) in [(30, 'g'), (20, 'm'), (10, 'k')] {
        if bytes >> shift << shift == bytes && bytes > 0 {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}b")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(memory: Option<u64>, resources: &[&str]) -> (Vec<String>, usize) {
        let resources = resources.iter().map(|text| text.parse().unwrap()).collect();
        let limits = Limits { memory, resources, ..Limits::default() };
        let mut hold =
            Hold { limits: &limits, group: None, resources: vec![Limit::open_files()], warnings: Vec::new() };
        for limit in &limits.resources {
            hold.limit_resource(*limit);
        }
        if let Some(memory) = memory {
            hold.limit_data(memory);
        }
        (hold.resources().iter().map(Limit::to_string).collect(), hold.warnings.len())
    }

    #[test]
    fn resources_replace_the_defaults_and_one_another() {
        assert_eq!(held(None, &[]), (vec!["nofile=1048576:1048576".into()], 0));
        assert_eq!(
            held(None, &["core=0", "nofile=10:20", "core=0:0"]),
            (vec!["nofile=10:20".into(), "core=0:0".into()], 0)
        );
    }

    #[test]
    fn memory_without_a_group_is_data_and_the_smaller_limit_counts() {
        let data = |resources: &[&str]| held(Some(64 << 20), resources).0.pop().unwrap();
        assert_eq!(data(&[]), "data=67108864:67108864");
        assert_eq!(data(&["data=4096:8192"]), "data=4096:8192");
        assert_eq!(data(&["data=4096:-1"]), "data=4096:67108864");
    }

    #[test]
    fn sizes_are_shown_as_they_are_typed() {
        for (bytes, expected) in [(0, "0b"), (1000, "1000b"), (1024, "1k"), (64 << 20, "64m"), (3 << 30, "3g")] {
            assert_eq!(shown(bytes), expected);
        }
    }
}
