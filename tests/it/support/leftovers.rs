//! Processes and mounts that have to do with a directory.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long what has been told to end may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at meanwhile.
const INTERVAL: Duration = Duration::from_millis(5);

/// Those that are still there when their time is over: each process whose arguments, environment or mount table names the
/// directory.
pub fn processes_and_mounts(dir: &Path) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look(dir, &["cmdline", "environ", "mountinfo"]);
        if found.is_empty() || Instant::now() > deadline {
            return found.into_iter().map(|(_, text)| text).collect();
        }
        thread::sleep(INTERVAL);
    }
}

/// Waits until a process of this name runs in a sandbox whose tree is in the directory, and returns its id.
pub fn sandboxed(dir: &Path, name: &str) -> i32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look(dir, &["mountinfo"]);
        let wanted = |(pid, _): &(i32, String)| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.split(|b| *b == 0).next() == Some(name.as_bytes()))
        };
        if let Some((pid, _)) = found.iter().find(|process| wanted(process)) {
            return *pid;
        }
        assert!(Instant::now() < deadline, "no {name} runs in a sandbox: {found:?}");
        thread::sleep(INTERVAL);
    }
}

fn look(dir: &Path, files: &[&str]) -> Vec<(i32, String)> {
    let needle = dir.to_str().expect("a path in UTF-8").as_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc") {
        let Ok(name) = entry.expect("an entry of /proc").file_name().into_string() else { continue };
        let Ok(pid) = name.parse() else { continue };
        for file in files {
            // It may be gone by now.
            let Ok(content) = fs::read(format!("/proc/{pid}/{file}")) else { continue };
            if content.windows(needle.len()).any(|window| window == needle) {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                found.push((pid, format!("{file} of {pid}, {}", String::from_utf8_lossy(&command).replace('\0', " "))));
                break;
            }
        }
    }
    found
}
