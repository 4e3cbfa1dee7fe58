//! The tracer's thread: it waits, records what a stop shows, and lets the tracee go on.

mod calls;
mod descriptors;
mod lineage;

use std::collections::HashSet;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use nix::sys::socket::{SockType, getsockopt, sockopt};

use crate::tracer::events::{End, Event, Tree};
use crate::tracer::identity::{Caller, Identity, Virtual};
use crate::tracer::leash::Leash;
use crate::tracer::population::Population;
use crate::tracer::record::Recorder;
use crate::tracer::stop::{AttachedStop, ExitStop, SeccompStop, Stop};
use crate::tracer::syscalls::Index;
use crate::tracer::tasks::{Awaited, Origin, Task};
use crate::tracer::wait::Report;
use crate::tracer::{Map, Recording, Shared, TracerError, Witness, wait};

/// Whoever is not root may listen on ports from here on (`net.ipv4.ip_unprivileged_port_start`, as it is by default).
const FIRST_FREE_PORT: u16 = 1024;
const CLONE_FS: u64 = 0x200;
const CLONE_FILES: u64 = 0x400;
const CLONE_NEWNS: u64 = 0x2_0000;

/// How long a new task waits for what its maker tells of it. Who is alive needs far less than a millisecond.
const CLAIM: Duration = Duration::from_millis(20);

/// The state of the tracer's thread.
pub struct Engine {
    tasks: Map<i32, Task>,
    /// New tasks that stopped before their maker told of them, and since when they stand there.
    held: Map<i32, (AttachedStop, Instant)>,
    /// The last task that was killed, and when: it may have been about to tell of a child.
    killed: Option<(i32, Task, Instant)>,
    /// Tasks that were let go before anybody told of them, with whom they were taken for a child of.
    guessed: Map<i32, i32>,
    /// Tasks that ended before their makers told of them.
    stillborn: HashSet<i32>,
    index: Index,
    recorder: Recorder,
    leash: Leash,
    /// Who everybody is, where that is not real.
    identity: Option<Virtual>,
    /// Connections may leave the sandbox.
    open_network: bool,
    population: Population,
    path: Vec<u8>,
    shared: Arc<Shared>,
    events: Sender<Event>,
    /// How the supervisor ended, once it has.
    supervisor: Option<End>,
    /// The process that had to be killed because it is traced, and the signal by which it would have ended otherwise.
    faulted: Option<(i32, i32)>,
}

/// How a stopped call goes on.
enum Next {
    Go,
    GoToExit(Awaited),
    Refuse,
    /// It is not made and returns this.
    Answer(i64),
}

impl Engine {
    /// The application has the machine's network.
    pub fn open_network(&mut self) {
        self.open_network = true;
    }

    /// For the sandbox of `supervisor`, which this thread has seized.
    pub fn new(
        supervisor: i32,
        gaps: &[&str],
        tasks: Option<u32>,
        leash: Leash,
        identity: Option<&Identity>,
        shared: Arc<Shared>,
        events: Sender<Event>,
    ) -> Self {
        let mut recorder = Recorder::default();
        for gap in gaps {
            recorder.gap(gap);
        }
        if identity.is_some() {
            recorder.gap("virtual_identity");
        }
        let identity = identity.map(Virtual::new);
        let population = Population::new(tasks);
        let tasks = Map::from_iter([(supervisor, Task::new(Tree::Application, Origin::Supervisor))]);
        Engine {
            tasks,
            held: Map::default(),
            killed: None,
            guessed: Map::default(),
            stillborn: HashSet::new(),
            index: Index::new(),
            recorder,
            leash,
            identity,
            open_network: false,
            population,
            path: Vec::new(),
            shared,
            events,
            supervisor: None,
            faulted: None,
        }
    }

    /// From now on `witness` is told of changes before they are made.
    pub fn tell(&mut self, witness: Box<dyn Witness>) {
        // What a descriptor that was not opened for writing can do to its file besides what the table has.
        self.recorder.gap("ioctl");
        self.recorder.witness = Some(witness);
    }

    /// Traces until the supervisor and all other tasks are gone.
    pub fn run(mut self) -> Result<Recording, TracerError> {
        loop {
            let patience = (!self.held.is_empty()).then_some(CLAIM);
            let Some(report) = wait::next(patience).map_err(TracerError::Wait)? else { break };
            let (task, result) = match report {
                Report::Stopped(stop) => (stop.task(), self.stopped(stop)),
                Report::Ended(task, end) => (task, self.ended(task, end)),
                Report::Silence => (0, Ok(())),
            };
            let result = result.and_then(|()| self.adopt_unclaimed());
            result.map_err(|source| match self.recorder.unsaved.take() {
                Some((path, operation)) => TracerError::Unsaved { path, operation, source },
                None => TracerError::Follow { task, source },
            })?;
        }
        let Recorder { fold, gaps, mut warnings, unreached, .. } = self.recorder;
        warnings.extend(unreached.warning());
        let accesses = fold.finish(&self.shared.labels());
        Ok(Recording { accesses, gaps: gaps.into_iter().collect(), warnings, supervisor: self.supervisor })
    }

    fn stopped(&mut self, stop: Stop) -> io::Result<()> {
        let id = stop.task();
        if self.supervisor.is_some() {
            // Born too late to be among those that were killed.
            wait::kill(id);
        }
        self.leash.settle(id);
        if let Some(identity) = &mut self.identity {
            identity.settle(id);
        }
        self.population.settle(id);
        if let Some(task) = self.tasks.get_mut(&id) {
            self.recorder.settle(task);
        }
        match stop {
            Stop::Seccomp(stop) => self.seccomp(id, stop),
            Stop::Exit(stop) => self.exit(id, stop),
            Stop::Child(stop) => self.child(id, stop),
            Stop::Exec(stop) => self.executed(id, stop),
            Stop::Group(stop) => stop.listen(),
            Stop::Signal(stop) => self.signal(stop),
            Stop::Attached(stop) => {
                if self.tasks.contains_key(&id) {
                    return stop.resume();
                }
                // Whose child it is, and whether it shares directories, only its maker's report tells.
                self.stillborn.remove(&id);
                self.held.insert(id, (stop, Instant::now()));
                Ok(())
            }
        }
    }

    fn seccomp(&mut self, id: i32, mut stop: SeccompStop) -> io::Result<()> {
        let Some(entry) = stop.entry()? else { return stop.resume() };
        self.leash.stopped(id);
        match self.call(id, &mut stop, &entry)? {
            Next::Go => stop.resume(),
            Next::Refuse => {
                stop.refuse()?;
                stop.resume()
            }
            Next::Answer(result) => {
                stop.answer(result)?;
                stop.resume()
            }
            Next::GoToExit(awaited) => {
                if let Some(task) = self.tasks.get_mut(&id) {
                    task.awaited = Some(awaited);
                }
                stop.resume_to_exit()
            }
        }
    }

    fn exit(&mut self, id: i32, stop: ExitStop) -> io::Result<()> {
        let mut awaited = self.tasks.get_mut(&id).and_then(|task| task.awaited.take());
        if let Some(Awaited::Identity(at_exit)) = &awaited {
            if let Some(result) = stop.result()?
                && let (Some(identity), Some(task)) = (&mut self.identity, self.tasks.get(&id))
            {
                identity.returned(&mut Caller { id, task, recorder: &mut self.recorder }, at_exit, result)?;
            }
            awaited = None;
        }
        if let Some(Awaited::Bind { address, .. }) = &awaited
            && (1..FIRST_FREE_PORT).contains(&address.port())
            && stop.result()? == Some(-i64::from(libc::EACCES))
        {
            self.recorder.warn(format!(
                "bind to {address}: whoever started scrimp may not listen on ports below {FIRST_FREE_PORT} of this \
                 machine, whose network the application has here"
            ));
        }
        if let Some(awaited @ (Awaited::Mount | Awaited::Ptrace | Awaited::Listener)) = &awaited {
            if let Some(result) = stop.result()? {
                self.conclude(awaited, result);
            }
            return stop.resume();
        }
        if let Some(awaited @ (Awaited::Connect | Awaited::Unshare)) = &awaited {
            let result = stop.result()?;
            self.conclude_files(id, awaited, result);
            return stop.resume();
        }
        if let Some(task) = self.tasks.get(&id)
            && let Some(awaited) = awaited
            && stop.result()? == Some(0)
        {
            let tree = task.tree;
            let event = match awaited {
                Awaited::Listen { socket } => {
                    let address =
                        take_socket(id, socket).and_then(|s| std::net::TcpListener::from(s).local_addr().ok());
                    Event::Listening { pid: id, tree, address }
                }
                Awaited::Bind { socket, address } => {
                    let socket = take_socket(id, socket);
                    let datagram =
                        socket.as_ref().is_some_and(|s| getsockopt(s, sockopt::SockType) == Ok(SockType::Datagram));
                    let address =
                        socket.and_then(|s| std::net::UdpSocket::from(s).local_addr().ok()).unwrap_or(address);
                    Event::Bound { pid: id, tree, address, datagram }
                }
                _ => return stop.resume(),
            };
            self.send(event);
        }
        stop.resume()
    }

    /// What a result means for all that follows.
    fn conclude(&mut self, awaited: &Awaited, result: i64) {
        match awaited {
            // What is used below may be a file of the base under another name.
            Awaited::Mount if result == 0 => self.recorder.gap("mounts"),
            Awaited::Ptrace if result == -i64::from(libc::EPERM) => {
                self.recorder.gap("ptrace");
                let text =
                    "a program asked to trace another or to be traced, which failed: the application is traced already";
                self.recorder.warn(text.into());
            }
            Awaited::Listener if result < 0 => self.recorder.listeners = self.recorder.listeners.saturating_sub(1),
            Awaited::Listener => {
                self.recorder.gap("user_notification");
                let text = "a program has another answer its system calls (SECCOMP_RET_USER_NOTIF): what these use is not seen";
                self.recorder.warn(text.into());
            }
            _ => {}
        }
    }

    fn send(&self, event: Event) {
        // Nobody listens any more: the recording counts all the same.
        drop(self.events.send(event));
    }
}

fn status_field(task: i32, field: &str) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{task}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok())
}

/// A copy of a descriptor of a stopped task.
fn take_socket(task: i32, number: i32) -> Option<OwnedFd> {
    let process = status_field(task, "Tgid:")?;
    // SAFETY: returns a new descriptor or an error.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) } as i32;
    // SAFETY: a non-negative result is a descriptor that nothing else owns.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) })?;
    // SAFETY: returns a new descriptor or an error.
    let copy =
        unsafe { libc::syscall(libc::SYS_pidfd_getfd, std::os::fd::AsRawFd::as_raw_fd(&pidfd), number, 0) } as i32;
    // SAFETY: a non-negative result is a descriptor that nothing else owns.
    (copy >= 0).then(|| unsafe { OwnedFd::from_raw_fd(copy) })
}
