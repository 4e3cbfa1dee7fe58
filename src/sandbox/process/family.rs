//! Who descends from whom, read from `/proc` (`proc_pid_stat(5)`).

use std::collections::BTreeMap;

/// The descendants of a process at this moment, by generation. A process that comes or goes meanwhile may be missing.
pub fn descendants(ancestor: i32) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    for pid in processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.remove(&ancestor).unwrap_or_default();
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// The parent of a process; `None` when it is gone.
pub fn parent_of(pid: i32) -> Option<i32> {
    parent(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The parent in the text of `/proc/PID/stat`. The name of the program, in parentheses, may hold anything.
fn parent(stat: &[u8]) -> Option<i32> {
    let after = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let text = std::str::from_utf8(&stat[after..]).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_rest() {
        assert_eq!(parent(b"7 (sh) S 1 7 7 0 -1 4194560"), Some(1));
        assert_eq!(parent(b"7 (a) R 9 (b)) S 42 7 7 0 -1"), Some(42));
        assert_eq!(parent(b"7 (\xff) S 3 7"), Some(3));
        assert_eq!(parent(b""), None);
    }

    #[test]
    fn children_of_children_are_found() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = shell.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        let sleep: i32 = line.trim().parse().unwrap();
        let family = descendants(std::process::id() as i32);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(sleep), nix::sys::signal::Signal::SIGKILL).unwrap();
        shell.wait().unwrap();
        let place = |pid: i32| family.iter().position(|&found| found == pid).unwrap();
        assert!(place(shell.id() as i32) < place(sleep), "{family:?}");
    }
}
