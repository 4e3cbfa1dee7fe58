//! Programs of the caller's that talk to the application from outside: with the caller's files, in the sandbox's
//! network.
//!
//! Each runs under a helper, scrimp re-executed, which is in the network of the thread that asks for it. What the
//! program starts and leaves behind becomes a child of the helper; when the program ends, when nobody wants to wait for
//! it any longer, or when scrimp ends, however that happens, the helper kills all of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::{Deserialize, Serialize};

use crate::sandbox::Stdio;
use crate::sandbox::process::Exit;
use crate::sandbox::supervisor::orphans::Orphans;
use crate::sandbox::supervisor::{channel, is_started_as, take_control_socket, wait_any};

/// The name under which scrimp executes itself as helper (`argv[0]`).
const NAME: &str = "scrimp-beside";

/// How long the helper may take to end everything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program to run.
pub struct HostCommand {
    /// The program and its arguments; without a slash it is looked for along the caller's PATH.
    pub argv: Vec<String>,
    /// Variables beside the caller's.
    pub env: Vec<(String, String)>,
}

/// What the helper tells.
#[derive(Debug, Serialize, Deserialize)]
enum News {
    /// The program could not be started, for this reason.
    NotStarted(String),
    /// It has ended.
    Ended(Exit),
}

/// How a program ended, or why it did not.
#[derive(Debug, PartialEq, Eq)]
pub enum HostEnd {
    /// It ran.
    Ended(Exit),
    /// It could not be started, for this reason.
    NotStarted(String),
    /// It took too long.
    TimedOut,
}

/// Runs a program in the network of the calling thread and waits for its end, `timeout` at most. When this returns, the
/// program and whatever it has started are gone. Standard input is not used: a program gets `/dev/null`.
pub fn run_beside(command: &HostCommand, stdio: Stdio, timeout: Duration) -> io::Result<HostEnd> {
    let deadline = Instant::now() + timeout;
    let (ours, theirs) = UnixStream::pair()?;
    let mut helper = Command::new("/proc/self/exe");
    helper.arg0(NAME).args(&command.argv).envs(command.env.iter().map(|(name, value)| (name, value)));
    helper.stdin(OwnedFd::from(theirs)).stdout(stdio.stdout).stderr(stdio.stderr);
    let child = helper.spawn()?;
    // It holds the other ends of the socket and of the program's output.
    drop(helper);
    let end = match readable(&ours, deadline)? {
        false => HostEnd::TimedOut,
        true => match channel::receive::<News>(&ours)? {
            Some((News::Ended(exit), _)) => HostEnd::Ended(exit),
            Some((News::NotStarted(why), _)) => HostEnd::NotStarted(why),
            None => return Err(io::Error::other("the process that was to run it has ended before its time")),
        },
    };
    ours.shutdown(std::net::Shutdown::Write)?;
    // Its end of the socket closes when nothing is left.
    if !readable(&ours, Instant::now() + PATIENCE)? {
        return Err(io::Error::other(format!("what it started could not be killed (helper {})", child.id())));
    }
    // Nobody waits for the helper: children of scrimp go without that.
    drop(child);
    Ok(end)
}

/// Waits until there is something to read or the peer has gone; false when the time is over before.
fn readable(socket: &UnixStream, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Err(Errno::EINTR) => {}
            // The kernel counts milliseconds, and a day is more of them than it takes.
            Ok(0) if deadline > Instant::now() => {}
            Ok(count) => return Ok(count > 0),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether this process was started as a helper.
pub fn is_called_for() -> bool {
    is_started_as(NAME)
}

/// The helper; the control socket is descriptor 0, and what follows the name is the program.
pub fn main() -> io::Result<()> {
    let control = take_control_socket()?;
    // Away from the terminal, so that an interrupt there reaches scrimp alone.
    nix::unistd::setsid()?;
    let orphans = Orphans::inherit()?;
    // The program is not to find signals blocked because scrimp has blocked them.
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    let mut argv = std::env::args_os().skip(1);
    let program = argv.next().ok_or(io::ErrorKind::InvalidInput)?;
    // A group of its own: a program that signals its group does not mean the helper.
    let started = Command::new(&program).args(argv).process_group(0).spawn();
    let child = match started {
        Ok(child) => child.id() as i32,
        Err(cause) => return channel::send(&control, &News::NotStarted(cause.to_string()), &[]),
    };
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block()?;
    let ended = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let result = attend(&control, &ended, child);
    kill_all(&orphans);
    result
}

/// Waits for the end of the program, or of whoever asked for it.
fn attend(control: &UnixStream, ended: &SignalFd, child: i32) -> io::Result<()> {
    loop {
        while ended.read_signal()?.is_some() {}
        while let Some((pid, exit)) = wait_any(libc::WNOHANG) {
            if pid == child {
                return channel::send(control, &News::Ended(exit), &[]);
            }
        }
        let mut ready =
            [PollFd::new(control.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        if ready[0].any() == Some(true) {
            return Ok(());
        }
    }
}

/// Kills all children; their children become children of this process and are killed in their turn.
fn kill_all(orphans: &Orphans) {
    loop {
        for pid in orphans.children() {
            // SAFETY: takes numbers only; the children are not reaped yet, so the ids are still theirs.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        if wait_any(0).is_none() {
            return;
        }
        while wait_any(libc::WNOHANG).is_some() {}
    }
}
