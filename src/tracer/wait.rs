//! What the kernel reports about tracees.
//!
//! `waitpid` is called directly: wrappers that turn the signal into an enum fail on real-time signals. `__WALL`
//! because threads and `clone` children without SIGCHLD are to be seen, `__WNOTHREAD` because what other threads of
//! scrimp have started is theirs to wait for.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::stop::Stop;

/// One report.
#[derive(Debug)]
pub enum Report {
    /// A task stands still.
    Stopped(Stop),
    /// A task has ended.
    Ended(i32, End),
    /// Nothing for as long as was asked for.
    Silence,
}

/// How a process or thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// How often the CPU is only handed on before a wait that may end without a report begins to sleep.
const YIELDS: u32 = 200;
/// How long it sleeps at a time.
const NAP: Duration = Duration::from_micros(200);

/// Waits for the next report, at most for `patience` if there is one; `None` when nothing is traced any more.
pub fn next(patience: Option<Duration>) -> io::Result<Option<Report>> {
    let start = patience.map(|_| Instant::now());
    let flags = libc::__WALL | libc::__WNOTHREAD | patience.map_or(0, |_| libc::WNOHANG);
    let mut tries = 0;
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int to `status`.
        let pid = unsafe { libc::waitpid(-1, &mut status, flags) };
        if pid == 0 {
            if start.zip(patience).is_some_and(|(start, patience)| start.elapsed() >= patience) {
                return Ok(Some(Report::Silence));
            }
            tries += 1;
            match tries {
                ..YIELDS => thread::yield_now(),
                _ => thread::sleep(NAP),
            }
            continue;
        }
        if pid < 0 {
            match io::Error::last_os_error() {
                e if e.raw_os_error() == Some(libc::EINTR) => continue,
                e if e.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
                e => return Err(e),
            }
        }
        return Ok(Some(if libc::WIFEXITED(status) {
            Report::Ended(pid, End::Exited(libc::WEXITSTATUS(status)))
        } else if libc::WIFSIGNALED(status) {
            Report::Ended(pid, End::Killed(libc::WTERMSIG(status)))
        } else {
            Report::Stopped(Stop::from_status(pid, status))
        }));
    }
}

/// Kills a tracee that has not been reaped; that it has ended by itself is no matter.
pub fn kill(task: i32) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(task, libc::SIGKILL) };
}
