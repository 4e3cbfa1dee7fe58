//! The supervisor: scrimp re-executed, one thread, the parent of every process that is started in a sandbox.
//!
//! It makes the sandbox around itself (except for the PID namespace, which its children are in), forks processes as
//! asked, and reports how they end. It lives until scrimp closes the control socket, which also happens when scrimp is
//! killed; then it kills what is left. Where there is no PID namespace it does what process 1 of one would: it inherits
//! orphans, and when the application ends everything else is killed.

pub(super) mod channel;
pub(super) mod orphans;
pub(super) mod protocol;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::sandbox::build::observatory::Observatory;
use crate::sandbox::build::{self, Built};
use crate::sandbox::confine::cgroup::Seat;
use crate::sandbox::confine::scope;
use crate::sandbox::failure::{During, Failure};
use crate::sandbox::plan::{Namespace, Rung, SandboxPlan};
use crate::sandbox::process::spawn::{self, Report};
use crate::sandbox::process::{Exit, ProcessSpec, SpawnError, Spawned};
use crate::sandbox::supervisor::orphans::Orphans;
use crate::sandbox::supervisor::protocol::{Message, Request};

/// The name under which scrimp executes itself as supervisor (`argv[0]`).
pub const NAME: &str = "scrimp-supervisor";

/// How often a new process is waited for, a second each, until it executes its command. Seconds in which this process
/// was stopped itself do not count. The application can stop what it sees, also a process that is about to join it.
const PATIENCE: u32 = 15;

/// Runs the supervisor; the control socket is descriptor 0.
pub fn main() -> io::Result<()> {
    let control = take_control_socket()?;
    // Away from the terminal, so that an interrupt there reaches scrimp alone.
    nix::unistd::setsid()?;
    nix::unistd::chdir("/")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block()?;
    let ended = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    raise_open_files()?;

    let Some((Request::Start(plan), network)) = channel::receive(&control)? else { return Ok(()) };
    let orphans = match plan.namespaces.contains(&Namespace::Pid) {
        true => None,
        false => Some(Orphans::inherit()?),
    };
    if plan.namespaces.contains(&Namespace::Mount) {
        keep_apart()?;
    }
    let group = plan.bounds.group.as_deref();
    let seat = group.map(|dir| Seat::take(Path::new("/"), Path::new(dir)).during("enter the control group", dir));
    let seat = match seat.transpose() {
        Ok(seat) => seat,
        Err(failure) => return channel::send(&control, &Message::Failed(failure), &[]),
    };
    let observatory = match build::build(&plan, network.first()) {
        Ok(Built { mut warnings, observatory }) => {
            if !plan.namespaces.contains(&Namespace::Pid)
                && plan.rung != Rung::E
                && let Err(errno) = scope::keep_signals_inside()
            {
                warnings.push(format!(
                    "cannot keep the signals of the application inside ({errno}): it can end processes of its caller"
                ));
            }
            channel::send(&control, &Message::Ready(warnings), &[])?;
            observatory
        }
        Err(failure) => return channel::send(&control, &Message::Failed(failure), &[]),
    };
    drop(network);
    if let Some(seat) = &seat {
        seat.leave();
    }
    let mut supervisor = Supervisor {
        control,
        plan,
        observatory,
        seat,
        orphans,
        first: None,
        running: BTreeSet::new(),
        failed: BTreeSet::new(),
    };
    let result = supervisor.serve(&ended);
    supervisor.kill_all();
    result
}

/// The socket to scrimp, which is descriptor 0 until now; `/dev/null` takes its place.
pub(super) fn take_control_socket() -> io::Result<UnixStream> {
    let control = nix::fcntl::fcntl(io::stdin(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    let null = File::open("/dev/null")?;
    // SAFETY: `dup2` onto descriptor 0, which only `io::stdin` refers to, and that never closes it.
    if unsafe { libc::dup2(null.as_raw_fd(), 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made two lines above and belongs to nobody else.
    Ok(unsafe { UnixStream::from_raw_fd(control) })
}

/// Nothing of this process is the application's to look at, and nothing of whoever started scrimp is its children's.
/// Each child is this program until it executes, in sight of the application and with the same ids: without this its
/// descriptors, its memory and, by `/proc/PID/exe`, the binary of scrimp could be opened. `execve` takes it back.
fn keep_apart() -> nix::Result<()> {
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?;
    // Keys are in no namespace: a new session keyring leads to none of the caller's.
    // SAFETY: takes a number and a null pointer, for a keyring without a name.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
    match Errno::result(joined) {
        // There are no keys in this kernel, a container around scrimp refuses, or the quota is used up: then it is the
        // filter alone that keeps the application from them.
        Ok(_) | Err(Errno::ENOSYS | Errno::EPERM | Errno::EDQUOT | Errno::ENOMEM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// A plan for the host can have a mount, and so for a while a descriptor, for each file of a directory.
fn raise_open_files() -> nix::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

struct Supervisor {
    control: UnixStream,
    plan: SandboxPlan,
    /// What makes the trees of observers, where the plan has them.
    observatory: Option<Observatory>,
    /// The way to descendants whose parents ended, where no process 1 takes them.
    orphans: Option<Orphans>,
    /// The first child: process 1, where there is a PID namespace.
    first: Option<i32>,
    /// The way into the control group, where there is one.
    seat: Option<Seat>,
    running: BTreeSet<i32>,
    /// Children that never became what was asked for: their end is no news.
    failed: BTreeSet<i32>,
}

impl Supervisor {
    fn serve(&mut self, ended: &SignalFd) -> io::Result<()> {
        loop {
            let mut ready =
                [PollFd::new(self.control.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            let [asked, child_ended] = [0, 1].map(|at| ready[at].any() == Some(true));
            if child_ended {
                while ended.read_signal()?.is_some() {}
                self.reap()?;
            }
            if asked {
                match channel::receive(&self.control)? {
                    Some((Request::Spawn(spec), stdio)) => {
                        let answer = match self.spawn(&spec, &stdio) {
                            Ok(spawned) => Message::Spawned(spawned),
                            Err(error) => Message::NotSpawned(error),
                        };
                        channel::send(&self.control, &answer, &[])?;
                    }
                    Some((Request::Signal(pid, signal), _)) => {
                        channel::send(&self.control, &Message::Signalled(self.signal(pid, signal)), &[])?;
                    }
                    Some((Request::Start(_), _)) => return Err(io::Error::other("a second plan")),
                    None => return Ok(()),
                }
            }
        }
    }

    fn spawn(&mut self, spec: &ProcessSpec, stdio: &[OwnedFd]) -> Result<Spawned, SpawnError> {
        let failed = |operation: &str, errno| SpawnError::Step(Failure::new(operation, "", errno));
        if self.orphans.is_some() && self.first.is_some_and(|first| !self.running.contains(&first)) {
            return Err(SpawnError::ApplicationEnded);
        }
        let seen = match (spec.observer, &self.observatory) {
            (false, _) => None,
            (true, None) => return Err(failed("show an observer another tree than the application's", Errno::ENOTSUP)),
            (true, Some(observatory)) => Some((observatory, observatory.view().map_err(SpawnError::Step)?)),
        };
        let (read, write) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|errno| failed("make a pipe", errno))?;
        // SAFETY: this process has one thread, so the child may do whatever any process may; it never returns.
        let pid = match Errno::result(unsafe { libc::fork() }) {
            Ok(0) => {
                drop(read);
                let is_init = self.first.is_none() && self.plan.namespaces.contains(&Namespace::Pid);
                let inside = is_init.then_some(&self.plan);
                spawn::run(spec, stdio, self.seat.as_ref(), inside, seen, File::from(write))
            }
            Ok(pid) => pid,
            // The kernel's answer to a fork into a PID namespace whose process 1 is gone.
            Err(Errno::ENOMEM) if self.first.is_some() => return Err(SpawnError::ApplicationEnded),
            Err(errno) => return Err(failed("fork", errno)),
        };
        drop(write);
        self.first.get_or_insert(pid);
        self.running.insert(pid);
        let mut spawned = Spawned { pid, no_new_privs: false, groups_kept: false };
        let reports = match self.read_reports(read.as_fd()) {
            Ok(reports) => reports,
            Err(cause) => {
                self.failed.insert(pid);
                // SAFETY: takes numbers only; the child is not reaped yet, so the id is still its.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                let errno = cause.raw_os_error().map_or(Errno::EPIPE, Errno::from_raw);
                let mut failure = Failure::new("hear from the new process", "", errno);
                if errno == Errno::ETIMEDOUT {
                    failure.detail = "something has stopped it; the application can".into();
                }
                return Err(SpawnError::Step(failure));
            }
        };
        for report in reports {
            match report {
                Report::NoNewPrivs => spawned.no_new_privs = true,
                Report::GroupsKept => spawned.groups_kept = true,
                Report::Failed(error) => {
                    self.failed.insert(pid);
                    return Err(error);
                }
            }
        }
        Ok(spawned)
    }

    /// Sends a signal. A child that has not been reaped here still has its id, so nobody else is hit.
    fn signal(&self, pid: i32, signal: i32) -> i32 {
        if !self.running.contains(&pid.abs()) {
            return libc::ESRCH;
        }
        // SAFETY: takes numbers only.
        Errno::result(unsafe { libc::kill(pid, signal) }).map_or_else(|errno| errno as i32, |_| 0)
    }

    /// All that the child has to say, until it executes or ends. Scrimp's end is watched too: the child could be
    /// waiting for something that never comes.
    fn read_reports(&self, pipe: BorrowedFd<'_>) -> io::Result<Vec<Report>> {
        let mut text = Vec::new();
        let mut waited = 0;
        loop {
            let hung_up = PollFlags::from_bits_retain(libc::POLLRDHUP);
            let mut ready = [PollFd::new(pipe, PollFlags::POLLIN), PollFd::new(self.control.as_fd(), hung_up)];
            match poll(&mut ready, PollTimeout::from(1000u16)) {
                Err(Errno::EINTR) => continue,
                Ok(0) if waited == PATIENCE => return Err(Errno::ETIMEDOUT.into()),
                Ok(0) => {
                    waited += 1;
                    continue;
                }
                other => other?,
            };
            // nix has no name for the flag and so says `None` when it is set.
            if ready[1].any() != Some(false) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let mut buffer = [0; 4096];
            match nix::unistd::read(pipe, &mut buffer) {
                Err(Errno::EINTR) => {}
                Ok(0) => break,
                other => text.extend_from_slice(&buffer[..other?]),
            }
        }
        let mut reports = Vec::new();
        for line in text.as_slice().split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            reports.push(serde_json::from_slice(line)?);
        }
        Ok(reports)
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some((pid, exit)) = wait_any(libc::WNOHANG) {
            let first = self.first == Some(pid);
            self.ended(pid, exit)?;
            if first && self.orphans.is_some() {
                self.kill_all();
            }
        }
        Ok(())
    }

    /// Tells of a child that has ended, unless it is an orphan or never became what was asked for.
    fn ended(&mut self, pid: i32, exit: Exit) -> io::Result<()> {
        let asked_for = self.running.remove(&pid);
        match !self.failed.remove(&pid) && asked_for {
            true => channel::send(&self.control, &Message::Exited(pid, exit), &[]),
            false => Ok(()),
        }
    }

    /// Ends everything: with process 1 its whole PID namespace goes; where there is none, the children of what is
    /// killed become children of this process and are killed in their turn.
    fn kill_all(&mut self) {
        loop {
            let orphans = self.orphans.as_ref().map(Orphans::children).unwrap_or_default();
            for pid in self.running.iter().copied().chain(orphans) {
                // SAFETY: takes numbers only; the children are not reaped yet, so the ids are still theirs.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            let Some((pid, exit)) = wait_any(0) else { return };
            let mut ended = Some((pid, exit));
            while let Some((pid, exit)) = ended {
                // That nobody listens any more is no matter: the children still have to go.
                drop(self.ended(pid, exit));
                ended = wait_any(libc::WNOHANG);
            }
        }
    }
}

/// Reaps one child; `None` when none has ended (with WNOHANG) or there is none.
pub(super) fn wait_any(flags: i32) -> Option<(i32, Exit)> {
    loop {
        let mut status = 0;
        // SAFETY: the status outlives the call. nix's wrapper fails on real-time signals.
        match unsafe { libc::waitpid(-1, &raw mut status, flags | libc::__WALL) } {
            -1 if Errno::last() == Errno::EINTR => {}
            pid if pid > 0 && libc::WIFEXITED(status) => return Some((pid, Exit::Code(libc::WEXITSTATUS(status)))),
            pid if pid > 0 && libc::WIFSIGNALED(status) => return Some((pid, Exit::Signal(libc::WTERMSIG(status)))),
            pid if pid > 0 => {}
            _ => return None,
        }
    }
}

/// Whether this process was started as a supervisor: by its name, and by what descriptor 0 is.
pub fn is_called_for() -> bool {
    is_started_as(NAME)
}

/// Whether this process is a helper of scrimp of that name.
pub(super) fn is_started_as(helper: &str) -> bool {
    let named = std::env::args_os().next().is_some_and(|name| name == helper);
    named && nix::sys::socket::getsockopt(&io::stdin(), nix::sys::socket::sockopt::SockType).is_ok()
}
