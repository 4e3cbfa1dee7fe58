//! The sandbox as the rest of scrimp sees it: start it, start processes in it, look into it, end it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio as CommandStdio;
use std::sync::mpsc::{Receiver, Sender, channel as queue};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;

use crate::sandbox::build::network::{self, Listener};
use crate::sandbox::failure::Failure;
use crate::sandbox::plan::{Network, SandboxPlan};
use crate::sandbox::process::activity::{self, Activity};
use crate::sandbox::process::family::descendants;
use crate::sandbox::process::{Exit, ProcessSpec, SpawnError, Spawned};
use crate::sandbox::supervisor::NAME;
use crate::sandbox::supervisor::protocol::{Message, Request};
use crate::sandbox::{sealed, supervisor, supervisor::channel};

/// How long a supervisor that was asked to end may take before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A sandbox could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The supervisor could not be started.
    #[error("cannot start the supervisor of the sandbox, {exe}: {cause}")]
    Start {
        /// The program that was to run.
        exe: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The supervisor could not carry out the plan.
    #[error("cannot make the sandbox: {0}\nhint: {hint}", hint = build_hint(.0))]
    Build(Failure),
    /// A process could not be started in it.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The supervisor has ended before its time.
    #[error("the supervisor of the sandbox has ended before its time")]
    Gone,
    /// Somebody killed the supervisor.
    #[error(
        "the supervisor of the sandbox, {NAME}, was killed by signal {signal}\nhint: when nobody did that, memory was short: see `dmesg`"
    )]
    Killed {
        /// By what.
        signal: i32,
    },
    /// The supervisor cannot be reached.
    #[error("cannot reach the supervisor of the sandbox: {0}")]
    Channel(#[source] io::Error),
    /// Something of the sandbox could not be looked at.
    #[error("cannot {operation} {path}: {cause}")]
    Look {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The file under `/proc`.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

fn build_hint(failure: &Failure) -> &'static str {
    match failure.errno() {
        Errno::ENOSPC | Errno::EDQUOT => {
            "make room, or give the store another place with --store DIR (or SCRIMP_STORE)"
        }
        _ => "`scrimp doctor` says what this machine allows",
    }
}

/// The standard streams of a process to start.
pub struct Stdio {
    /// Descriptor 0.
    pub stdin: OwnedFd,
    /// Descriptor 1.
    pub stdout: OwnedFd,
    /// Descriptor 2.
    pub stderr: OwnedFd,
}

impl Stdio {
    /// `/dev/null` for all three.
    pub fn null() -> io::Result<Self> {
        let null = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        Ok(Stdio { stdin: null()?, stdout: null()?, stderr: null()? })
    }
}

/// A running sandbox. Dropping it kills what is in it; nothing stays.
pub struct Sandbox {
    plan: SandboxPlan,
    warnings: Vec<String>,
    supervisor: i32,
    pidfd: OwnedFd,
    control: Mutex<Control>,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

struct Control {
    socket: UnixStream,
    answers: Receiver<Message>,
    /// Process 1, by a descriptor: its id may be another's once the supervisor is gone.
    application: Option<OwnedFd>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    exits: BTreeMap<i32, Exit>,
    subscribers: Vec<Sender<(i32, Exit)>>,
    gone: bool,
}

impl Sandbox {
    /// Makes the sandbox of a plan, with nothing in it yet. The process must be root of its user namespace
    /// ([`crate::sandbox::identity::enter`]).
    pub fn start(plan: SandboxPlan) -> Result<Self, SandboxError> {
        Self::start_in(plan, None)
    }

    /// The same for a plan with [`Network::Shared`]: in `network`, which another sandbox has made.
    pub fn start_beside(plan: SandboxPlan, network: &OwnedFd) -> Result<Self, SandboxError> {
        Self::start_in(plan, Some(network))
    }

    fn start_in(plan: SandboxPlan, network: Option<&OwnedFd>) -> Result<Self, SandboxError> {
        let failed = |cause: io::Error| SandboxError::Start { exe: sealed::OWN.into(), cause };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let (child, reachable) = sealed::start(|command| {
            let control = OwnedFd::from(theirs.try_clone()?);
            command.arg0(supervisor::NAME).env_clear().stdin(control).stdout(CommandStdio::null());
            Ok(())
        })
        .map_err(failed)?;
        // While this process holds the other end of the socket the supervisor's end could not be noticed.
        drop(theirs);
        let supervisor = child.id() as i32;
        let pidfd = open_pidfd(supervisor).map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let (sender, answers) = queue();
        let reader = {
            let (socket, shared) = (ours.try_clone().map_err(failed)?, shared.clone());
            std::thread::spawn(move || read_messages(&socket, &shared, &sender))
        };
        let control = Mutex::new(Control { socket: ours, answers, application: None });
        let mut sandbox =
            Sandbox { plan, warnings: Vec::new(), supervisor, pidfd, control, shared, reader: Some(reader) };
        let network = network.map(|network| network as &dyn AsFd);
        match sandbox.ask(&Request::Start(sandbox.plan.clone()), network.as_slice()) {
            Ok(Message::Ready(warnings)) => sandbox.warnings = reachable.into_iter().chain(warnings).collect(),
            Ok(Message::Failed(failure)) => return Err(SandboxError::Build(failure)),
            Err(SandboxError::Gone) => return Err(sandbox.why_gone()),
            Err(error) => return Err(error),
            Ok(_) => return Err(SandboxError::Gone),
        }
        Ok(sandbox)
    }

    fn ask(&self, request: &Request, descriptors: &[&dyn AsFd]) -> Result<Message, SandboxError> {
        let control = lock(&self.control);
        channel::send(&control.socket, request, descriptors).map_err(|cause| match cause.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => SandboxError::Gone,
            _ => SandboxError::Channel(cause),
        })?;
        control.answers.recv().map_err(|_| SandboxError::Gone)
    }

    /// How the supervisor has ended that is gone, while nobody traces it and it is not reaped.
    fn why_gone(&self) -> SandboxError {
        // SAFETY: an all-zero `siginfo_t` is valid.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOWAIT;
        let ended = self.supervisor_ended(PATIENCE)
            // SAFETY: the structure outlives the call.
            && unsafe { libc::waitid(libc::P_PID, self.supervisor as u32, &raw mut info, flags) } == 0;
        // SAFETY: `waitid` has filled in the fields that a report about a child has.
        match ended.then(|| (info.si_code, unsafe { info.si_status() })) {
            Some((libc::CLD_KILLED | libc::CLD_DUMPED, signal)) => SandboxError::Killed { signal },
            _ => SandboxError::Gone,
        }
    }

    /// The plan that was carried out.
    pub fn plan(&self) -> &SandboxPlan {
        &self.plan
    }

    /// What could not be done as planned, each a sentence.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The id of the supervisor, the parent of every process that is started in the sandbox. It is a child of this
    /// process: a tracer seizes it before the first process is started.
    pub fn supervisor(&self) -> i32 {
        self.supervisor
    }

    /// Starts a process and returns once it executes. The first is process 1 of the sandbox: when it ends, everything
    /// else in there is killed; when it cannot be started, the sandbox is of no further use.
    pub fn spawn(&self, spec: &ProcessSpec, stdio: Stdio) -> Result<Spawned, SandboxError> {
        let descriptors: [&dyn AsFd; 3] = [&stdio.stdin, &stdio.stdout, &stdio.stderr];
        match self.ask(&Request::Spawn(spec.clone()), &descriptors)? {
            Message::Spawned(spawned) => {
                let mut control = lock(&self.control);
                if control.application.is_none() {
                    control.application = still_there(open_pidfd(spawned.pid)).map_err(|cause| {
                        let path = PathBuf::from(format!("/proc/{}", spawned.pid));
                        SandboxError::Look { operation: "hold on to", path, cause }
                    })?;
                }
                Ok(spawned)
            }
            Message::NotSpawned(error) => Err(error.into()),
            _ => Err(SandboxError::Gone),
        }
    }

    /// How a process ended; waits for it as long as `timeout`. `None` when it still runs then. A process whose end
    /// can no longer be known, because the supervisor was killed, counts as killed.
    pub fn wait_exit(&self, pid: i32, timeout: Duration) -> Option<Exit> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(exit) = state.exits.get(&pid) {
                return Some(*exit);
            }
            if state.gone {
                return Some(Exit::Signal(libc::SIGKILL));
            }
            let left = deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// The ends of all processes started in the sandbox, those from before this call first. The channel closes with
    /// the sandbox.
    pub fn exits(&self) -> Receiver<(i32, Exit)> {
        let (sender, receiver) = queue();
        let mut state = lock(&self.shared.state);
        let all_sent = state.exits.iter().all(|(&pid, &exit)| sender.send((pid, exit)).is_ok());
        if all_sent && !state.gone {
            state.subscribers.push(sender);
        }
        receiver
    }

    /// Sends a signal to a process that was started in the sandbox, or with a negative id to its process group; `ESRCH`
    /// when it has ended. The supervisor sends it: it is the parent, so the id is that process's until it says
    /// otherwise.
    pub fn signal(&self, pid: i32, signal: i32) -> io::Result<()> {
        match self.ask(&Request::Signal(pid, signal), &[]) {
            Ok(Message::Signalled(0)) => Ok(()),
            Ok(Message::Signalled(errno)) => Err(io::Error::from_raw_os_error(errno)),
            // With the supervisor goes all that it has started.
            Ok(_) | Err(SandboxError::Gone) => Err(io::Error::from_raw_os_error(libc::ESRCH)),
            Err(cause) => Err(io::Error::other(cause.to_string())),
        }
    }

    /// The network namespace of the sandbox.
    pub fn network_namespace(&self) -> Result<OwnedFd, SandboxError> {
        self.open_of_supervisor("ns/net", OFlag::O_RDONLY)
    }

    /// Moves the calling thread into the network of the sandbox; threads that it starts are there too.
    pub fn enter_network(&self) -> Result<(), SandboxError> {
        if self.plan.network == Network::Host {
            // Every thread is there already, and the way in is barred from a user namespace.
            return Ok(());
        }
        let namespace = self.network_namespace()?;
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| SandboxError::Look {
            operation: "enter",
            path: self.proc().join("ns/net"),
            cause: errno.into(),
        })
    }

    /// The root of the sandbox, an `O_PATH` descriptor. Look below it with `RESOLVE_IN_ROOT` only.
    pub fn root(&self) -> Result<OwnedFd, SandboxError> {
        self.open_of_supervisor("root", OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    /// The sockets that wait for somebody. On the host's network only those that one of `pids` has open, on one that is
    /// shared with other sandboxes only those of this one.
    pub fn listeners(&self, pids: &[i32]) -> Result<Vec<Listener>, SandboxError> {
        match self.plan.network {
            Network::Private => self.listeners_among(None),
            Network::Shared => self.listeners_of(&self.processes()),
            Network::Host => self.listeners_of(pids),
        }
    }

    /// Those of them that one of `pids` has open, whatever the network.
    pub fn listeners_of(&self, pids: &[i32]) -> Result<Vec<Listener>, SandboxError> {
        self.listeners_among(Some(network::socket_inodes(Path::new("/proc"), pids)))
    }

    fn listeners_among(&self, inodes: Option<BTreeSet<u64>>) -> Result<Vec<Listener>, SandboxError> {
        network::listeners(&self.proc(), inodes.as_ref()).map_err(|cause| SandboxError::Look {
            operation: "read",
            path: self.proc().join("net"),
            cause,
        })
    }

    /// What the processes in the sandbox are doing at this moment.
    pub fn activity(&self) -> io::Result<Activity> {
        activity::of_descendants(Path::new("/proc"), self.supervisor)
    }

    /// All processes in the sandbox, as scrimp sees them: whatever its parent is, each of them descends from the
    /// supervisor, because orphans are taken in by process 1 or by the supervisor itself.
    pub fn processes(&self) -> Vec<i32> {
        descendants(self.supervisor)
    }

    /// Kills what is in the sandbox and returns once it is gone. The supervisor is not reaped before the drop, so a
    /// tracer has seen its end by then if it looks in between.
    pub fn finish(&self) {
        let asked = lock(&self.control).socket.shutdown(std::net::Shutdown::Write);
        if asked.is_ok() && self.supervisor_ended(PATIENCE) {
            return;
        }
        if let Some(application) = &lock(&self.control).application {
            // SAFETY: takes numbers and a null pointer, which stands for no further information.
            unsafe {
                let nothing = std::ptr::null::<libc::siginfo_t>();
                libc::syscall(libc::SYS_pidfd_send_signal, application.as_raw_fd(), libc::SIGKILL, nothing, 0)
            };
        }
        // SAFETY: takes numbers only. The supervisor is a child that nobody has reaped yet.
        unsafe { libc::kill(self.supervisor, libc::SIGKILL) };
        self.supervisor_ended(PATIENCE);
    }

    /// Whether the supervisor, and with it what was in the sandbox, ends within `patience`: a process that was killed
    /// is no use before that can be seen.
    pub fn ends_within(&self, patience: Duration) -> bool {
        self.supervisor_ended(patience)
    }

    fn supervisor_ended(&self, patience: Duration) -> bool {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        loop {
            let mut ready = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, timeout) {
                Err(Errno::EINTR) => {}
                Ok(count) => return count > 0,
                Err(_) => return false,
            }
        }
    }

    fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.supervisor))
    }

    fn open_of_supervisor(&self, name: &str, flags: OFlag) -> Result<OwnedFd, SandboxError> {
        let path = self.proc().join(name);
        open(&path, flags | OFlag::O_CLOEXEC, Mode::empty()).map_err(|errno| SandboxError::Look {
            operation: "open",
            path,
            cause: errno.into(),
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.finish();
        // Only now, when it is a zombie for certain: a wait for anything else could swallow a stop that a tracer in
        // another thread has to see. That the tracer has reaped it is no error.
        // SAFETY: the structure outlives the call.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, self.supervisor as u32, &raw mut info, libc::WEXITED | libc::WNOHANG);
        }
        if let Some(reader) = self.reader.take() {
            // It ends with the socket; that it has panicked leaves nothing to be done here.
            drop(reader.join());
        }
    }
}

fn read_messages(socket: &UnixStream, shared: &Shared, answers: &Sender<Message>) {
    while let Ok(Some((message, _))) = channel::receive::<Message>(socket) {
        match message {
            Message::Exited(pid, exit) => {
                let mut state = lock(&shared.state);
                state.exits.insert(pid, exit);
                state.subscribers.retain(|subscriber| subscriber.send((pid, exit)).is_ok());
                shared.changed.notify_all();
            }
            answer => {
                if answers.send(answer).is_err() {
                    break;
                }
            }
        }
    }
    let mut state = lock(&shared.state);
    state.gone = true;
    state.subscribers.clear();
    shared.changed.notify_all();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// One that has ended already needs no killing.
fn still_there(process: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match process {
        Err(cause) if cause.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        other => other.map(Some),
    }
}

fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let number = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_matter_of_what_the_machine_allows() {
        for (errno, expected) in [(Errno::ENOSPC, "make room"), (Errno::EDQUOT, "make room"), (Errno::EPERM, "doctor")]
        {
            let text = SandboxError::Build(Failure::new("copy", "/srv/big", errno)).to_string();
            let hint = text.lines().last().unwrap();
            assert!(hint.starts_with("hint: ") && hint.contains(expected), "{text}");
        }
    }
}
