//! What a process does with a signal, read from `/proc` (`proc_pid_status(5)`).

use std::io;
use std::path::{Path, PathBuf};

/// Whether a process has a handler for a signal, or blocks it: if not, a process 1 never sees it. `ESRCH` when it has
/// ended, whether or not somebody has taken note of that.
pub fn handles_signal(pid: i32, signal: i32) -> io::Result<bool> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let status = std::fs::read_to_string(process.join("status"))?;
    if is_zombie(&status) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(has_bit(&status, "SigCgt:", signal) || has_bit(&status, "SigBlk:", signal) || waits_for_signals(&process))
}

/// Whether a thread of the process is in `sigwait(3)`. What it waits for is not in SigBlk then, though it was blocked
/// before and arrives (`do_sigtimedwait`); small inits spend their lives there.
fn waits_for_signals(process: &Path) -> bool {
    let Ok(threads) = std::fs::read_dir(process.join("task")) else { return false };
    let calls = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("syscall")).ok());
    let wait = libc::SYS_rt_sigtimedwait.to_string();
    calls.into_iter().any(|call| call.split(' ').next() == Some(&wait))
}

/// Whether all of a process has ended: its first thread may end before the others.
fn is_zombie(status: &str) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    field("State:").starts_with(['Z', 'X']) && field("Threads:") == "1"
}

/// Reads a set of signals from `/proc/PID/status` (`proc_pid_status(5)`): bit N-1 stands for signal N.
fn has_bit(status: &str, field: &str, signal: i32) -> bool {
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let bits = value.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    (1..=64).contains(&signal) && bits & (1 << (signal - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_ends_with_its_last_thread() {
        assert!(is_zombie("Name:\tsh\nState:\tZ (zombie)\nThreads:\t1\n"));
        assert!(!is_zombie("Name:\tsh\nState:\tZ (zombie)\nThreads:\t2\n"));
        assert!(!is_zombie("Name:\tsh\nState:\tS (sleeping)\nThreads:\t1\n"));
    }

    #[test]
    fn signal_sets_count_from_one() {
        let status = "Name:\tsh\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000004000\nSigCgt:\t0000000100004001\n";
        for (field, signal, expected) in [
            ("SigBlk:", 2, true),
            ("SigBlk:", 1, false),
            ("SigCgt:", 1, true),
            ("SigCgt:", 15, true),
            ("SigCgt:", 33, true),
            ("SigCgt:", 0, false),
            ("SigCgt:", 65, false),
        ] {
            assert_eq!(has_bit(status, field, signal), expected, "{field} {signal}");
        }
    }
}
