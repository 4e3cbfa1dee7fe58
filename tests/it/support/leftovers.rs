//! Processes and mounts that a run should not leave.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// How long what has been told to end may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at meanwhile.
const INTERVAL: Duration = Duration::from_millis(5);

/// From now on orphans of this process's children become its own, so that they can be told from those of others.
pub fn adopt_orphans() {
    nix::sys::prctl::set_child_subreaper(true).expect("a subreaper");
}

/// Those that are still there when their time is over: each process whose arguments, environment or mount table names
/// the directory, and each orphan of a sandbox.
pub fn processes_and_mounts(dir: &Path) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look(dir);
        if found.is_empty() || Instant::now() > deadline {
            return found;
        }
        thread::sleep(INTERVAL);
    }
}

/// Waits until a process of this name runs below a scrimp, and returns its id.
pub fn sandboxed(scrimp: &Child, name: &str) -> i32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut family = vec![i32::try_from(scrimp.id()).expect("a process id")];
        let all = processes();
        for index in 0.. {
            let Some(parent) = family.get(index).copied() else { break };
            family.extend(all.iter().copied().filter(|pid| parent_of(*pid) == Some(parent)));
        }
        let is_wanted = |pid: &&i32| content(**pid, "cmdline").split(|b| *b == 0).next() == Some(name.as_bytes());
        if let Some(pid) = family.iter().skip(1).find(is_wanted) {
            return *pid;
        }
        assert!(Instant::now() < deadline, "no {name} runs below {}: {family:?}", scrimp.id());
        thread::sleep(INTERVAL);
    }
}

/// The children of a process, each with its arguments as `/proc` has them; those that have ended are left out.
pub fn children(parent: i32) -> Vec<(i32, Vec<u8>)> {
    let mine = processes().into_iter().filter(|pid| parent_of(*pid) == Some(parent));
    mine.map(|pid| (pid, content(pid, "cmdline"))).filter(|(_, arguments)| !arguments.is_empty()).collect()
}

fn look(dir: &Path) -> Vec<String> {
    let needle = dir.to_str().expect("a path in UTF-8").as_bytes();
    let names_it = |pid, file: &&str| contains(&content(pid, file), needle);
    let mut found = Vec::new();
    for pid in processes() {
        let what = match ["cmdline", "environ", "mountinfo"].into_iter().find(|file| names_it(pid, file)) {
            Some(file) => file,
            None if is_orphan_of_a_sandbox(pid) => "orphan",
            None => continue,
        };
        let command = content(pid, "cmdline");
        found.push(format!("{what} {pid}, {}", String::from_utf8_lossy(&command).replace('\0', " ")));
    }
    found
}

/// Whether a process was adopted, lives in a user namespace of its own, and has not ended. One that has ended is
/// reaped, for the first process of a PID namespace ends only when all others of it have been.
fn is_orphan_of_a_sandbox(pid: i32) -> bool {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    let own = namespace("self");
    let is_adopted = parent_of(pid) == i32::try_from(std::process::id()).ok()
        && namespace(&pid.to_string()).is_some_and(|other| Some(other) != own)
        // Under cargo test, the scrimp of another test is a child of this process too, and somebody waits for it.
        && content(pid, "comm") != b"scrimp\n";
    if is_adopted && contains(&content(pid, "status"), b"\nState:\tZ") {
        waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).expect("the end of an orphan");
        return false;
    }
    is_adopted
}

fn contains(content: &[u8], needle: &[u8]) -> bool {
    content.windows(needle.len()).any(|window| window == needle)
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|entry| entry.expect("an entry of /proc").file_name().to_str()?.parse().ok()).collect()
}

/// Empty for a process that is gone.
fn content(pid: i32, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

fn parent_of(pid: i32) -> Option<i32> {
    let status = String::from_utf8(content(pid, "status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
