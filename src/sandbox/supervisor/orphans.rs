//! What process 1 of a PID namespace does where there is none: it takes those whose parents have ended.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// The descendants of this process whose parents have ended.
pub struct Orphans {
    /// `/proc`, opened while it was in sight.
    proc: OwnedFd,
}

impl Orphans {
    /// From now on they become children of this process (`PR_SET_CHILD_SUBREAPER`).
    pub fn inherit() -> io::Result<Self> {
        // SAFETY: takes numbers only.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
        Ok(Orphans { proc: File::open("/proc")?.into() })
    }

    /// All children of this process.
    pub fn children(&self) -> Vec<i32> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut listing) = Dir::openat(&self.proc, c".", flags, Mode::empty()) else { return Vec::new() };
        let own = std::process::id();
        let pids = listing.iter().flatten().filter_map(|entry| entry.file_name().to_str().ok()?.parse::<i32>().ok());
        pids.filter(|pid| self.parent_of(*pid) == Some(own)).collect()
    }

    fn parent_of(&self, pid: i32) -> Option<u32> {
        let file =
            openat(&self.proc, format!("{pid}/stat").as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let mut stat = Vec::new();
        File::from(file.ok()?).read_to_end(&mut stat).ok()?;
        // The name of the program, in parentheses, may hold anything (`proc_pid_stat(5)`).
        let after = stat.iter().rposition(|&b| b == b')')?;
        std::str::from_utf8(&stat[after + 1..]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
    }
}
