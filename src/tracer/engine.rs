//! The tracer's thread: it waits, records what a stop shows, and lets the tracee go on.

use std::collections::HashSet;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use nix::sys::socket::{SockType, getsockopt, sockopt};

use super::decode::{Address, Named, address, bpf_object, leaves, named, of_descriptor, uprobe};
use super::events::{End, Event, Tree};
use super::filter::{TRACE_DATA, X32_BIT};
use super::identity::{Caller, Identity, Verdict, Virtual};
use super::leash::Leash;
use super::memory::{is_closed, read_exact, read_path, read_word, write_word};
use super::population::Population;
use super::record::{Ask, From, Recorder};
use super::stop::{AttachedStop, ChildStop, Entry, ExecStop, ExitStop, SeccompStop, Stop};
use super::syscalls::{Action, Architecture, CLONE_UNTRACED, Call, Effect, Index, Place};
use super::tasks::{Awaited, Origin, Task};
use super::wait::{self, Report};
use super::{Map, Recording, Shared, TracerError, Witness};
use crate::observation::Operation;

/// Whoever is not root may listen on ports from here on (`net.ipv4.ip_unprivileged_port_start`, as it is by default).
const FIRST_FREE_PORT: u16 = 1024;
const CLONE_FS: u64 = 0x200;
const CLONE_NEWNS: u64 = 0x2_0000;
const CLOSED_HINT: &str =
    "hint: run scrimp as root: only root may trace a program that forbids it, or that its user may not read";

/// How long a new task waits for what its maker tells of it. Who is alive needs far less than a millisecond.
const CLAIM: Duration = Duration::from_millis(20);
/// How long ago a task may have been killed to be taken for the maker of one that nobody has told of.
const RECENT: Duration = Duration::from_secs(1);

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
        let Recorder { fold, gaps, warnings, .. } = self.recorder;
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
            Stop::Signal(stop) => stop.deliver(),
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

    fn ended(&mut self, id: i32, end: End) -> io::Result<()> {
        self.held.remove(&id);
        self.leash.ended(id);
        if let Some(identity) = &mut self.identity {
            identity.settle(id);
        }
        self.population.ended(id);
        self.guessed.remove(&id);
        let Some(mut task) = self.tasks.remove(&id) else {
            self.stillborn.insert(id);
            return Ok(());
        };
        self.recorder.settle(&mut task);
        if task.origin == Origin::Supervisor {
            self.supervisor = Some(end);
            // Nobody is left who could end them. Each is still ours to reap, so the ids are theirs.
            self.tasks.keys().chain(self.held.keys()).for_each(|&task| wait::kill(task));
        }
        if task.origin == Origin::Spawned {
            self.send(Event::Exited { pid: id, tree: task.tree, end });
        }
        if end == End::Killed(libc::SIGKILL) {
            // What it was about to make may be there already.
            if let Some((before, ..)) = self.killed.replace((id, task.child(false), Instant::now())) {
                self.forget_person(before);
            }
        } else {
            self.forget_person(id);
        }
        Ok(())
    }

    /// Forgets who `id` was, if it is no more.
    fn forget_person(&mut self, id: i32) {
        if let Some(identity) = &mut self.identity
            && !self.tasks.contains_key(&id)
        {
            identity.people.ended(id);
        }
    }

    /// Lets new tasks go of which nobody has told: their makers were killed before they could. What they inherit is a
    /// guess, and [`correct`](Self::correct) puts it right should the maker be only slow.
    fn adopt_unclaimed(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let overdue =
            |(&child, (_, since)): (&i32, &(AttachedStop, Instant))| (since.elapsed() >= CLAIM).then_some(child);
        let unclaimed: Vec<i32> = self.held.iter().filter_map(overdue).collect();
        for child in unclaimed {
            self.leash.orphan(child);
            let killed = self.killed.as_ref().filter(|(.., when)| when.elapsed() < RECENT);
            let (maker, task) = match killed {
                Some((maker, heir, _)) => (*maker, heir.child(false)),
                None => {
                    let parent = parent_of(child).unwrap_or_default();
                    (parent, self.newborn(parent, 0))
                }
            };
            self.introduce(maker, child, task.origin);
            self.guessed.insert(child, maker);
            self.adopt(child, task)?;
        }
        Ok(())
    }

    /// What is made by `maker` with these clone flags.
    fn newborn(&self, maker: i32, flags: u64) -> Task {
        match self.tasks.get(&maker) {
            Some(maker) if maker.origin == Origin::Supervisor => Task::new(self.shared.tree(), Origin::Spawned),
            Some(maker) => maker.child(flags & CLONE_FS != 0),
            None => Task::new(Tree::Application, Origin::Descendant),
        }
    }

    /// Tells the virtual identity of a new task.
    fn introduce(&mut self, maker: i32, child: i32, origin: Origin) {
        let Some(identity) = &mut self.identity else { return };
        match origin {
            Origin::Spawned => identity.people.spawned(child, self.shared.credentials()),
            _ => identity.people.forked(maker, child),
        }
    }

    fn adopt(&mut self, child: i32, task: Task) -> io::Result<()> {
        self.tasks.insert(child, task);
        match self.held.remove(&child) {
            Some((stop, _)) => stop.resume(),
            None => Ok(()),
        }
    }

    fn child(&mut self, id: i32, stop: ChildStop) -> io::Result<()> {
        let Some(child) = stop.child()? else { return stop.resume() };
        let flags = match stop.origin()? {
            Some((architecture, number, argument)) => {
                match self.index.get(architecture, number).map(|call| &call.action) {
                    Some(Action::Clone) => argument,
                    Some(Action::Clone3) => read_word(id, argument).unwrap_or(0),
                    _ => 0,
                }
            }
            None => 0,
        };
        if flags & CLONE_NEWNS != 0 && self.tasks.get(&id).is_some_and(|maker| maker.origin != Origin::Supervisor) {
            self.recorder.gap("mount_namespace");
        }
        if self.stillborn.remove(&child) {
            return stop.resume();
        }
        let task = self.newborn(id, flags);
        match self.guessed.remove(&child) {
            Some(guess) => self.correct(child, task, id, guess, flags),
            None => {
                self.leash.child(id, child);
                self.introduce(id, child, task.origin);
                self.adopt(child, task)?;
            }
        }
        stop.resume()
    }

    /// `maker` tells of a child that was let go as one of `guess`.
    fn correct(&mut self, id: i32, certain: Task, maker: i32, guess: i32, flags: u64) {
        if guess != maker {
            self.introduce(maker, id, certain.origin);
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if flags & CLONE_FS != 0 {
            certain.directories.borrow_mut().unsettled += u32::from(task.changing.directories);
            task.directories = certain.directories;
        }
        (task.tree, task.origin) = (certain.tree, certain.origin);
        if guess != maker {
            task.executable = certain.executable;
        }
    }

    fn executed(&mut self, id: i32, stop: ExecStop) -> io::Result<()> {
        // A thread that executes takes the id of its process; its own id is never heard of again.
        if let Some(former) = stop.former_task()?.filter(|&former| former != id) {
            self.leash.renamed(former, id);
            if let Some(identity) = &mut self.identity {
                identity.people.renamed(former, id);
            }
            if let Some(mut task) = self.tasks.remove(&former) {
                self.recorder.settle(&mut task);
                task.origin = self.tasks.get(&id).map_or(task.origin, |leader| leader.origin);
                self.tasks.insert(id, task);
            }
        }
        if let Some(task) = self.tasks.get_mut(&id)
            && task.origin != Origin::Supervisor
        {
            self.recorder.probe = self.shared.probe();
            task.awaited = None;
            let tree = task.tree;
            let executable = self.recorder.executed(id, task)?;
            if let Some(identity) = &mut self.identity
                && let Some(stack) = stop.stack()?
            {
                identity.executed(&mut Caller { id, task, recorder: &mut self.recorder }, stack)?;
            }
            if let Some(executable) = executable {
                self.send(Event::Exec { pid: id, tree, executable });
            }
        }
        stop.resume()
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

    fn call(&mut self, id: i32, stop: &mut SeccompStop, entry: &Entry) -> io::Result<Next> {
        if entry.data != TRACE_DATA {
            // The application's own filter: without a tracer of its own the call fails.
            return Ok(Next::Refuse);
        }
        let Some(architecture) = entry.architecture else {
            self.recorder.gap("architecture");
            return Ok(Next::Refuse);
        };
        if architecture == Architecture::X86_64 && entry.number & u64::from(X32_BIT) != 0 {
            self.recorder.gap("x32");
            self.recorder.warn("a program uses the x32 interface, which is refused while tracing".into());
            return Ok(Next::Refuse);
        }
        let Some(call) = self.index.get(architecture, entry.number) else { return Ok(Next::Go) };
        self.recorder.probe = self.shared.probe();
        // What is refused to the user is recorded all the same: a look-up says that the file has to be there. And the
        // verdict may be to make the change here and now.
        match self.act(id, call, stop, entry, architecture)? {
            Next::Refuse => Ok(Next::Refuse),
            next => Ok(match self.verdict(id, call, entry, architecture)? {
                Verdict::Pass => next,
                Verdict::Answer(result) => Next::Answer(result),
                Verdict::Await(at_exit) => Next::GoToExit(Awaited::Identity(at_exit)),
            }),
        }
    }

    /// What the virtual identity makes of a call.
    fn verdict(&mut self, id: i32, call: &Call, entry: &Entry, architecture: Architecture) -> io::Result<Verdict> {
        let (Some(identity), Some(task)) = (&mut self.identity, self.tasks.get(&id)) else { return Ok(Verdict::Pass) };
        let mut caller = Caller { id, task, recorder: &mut self.recorder };
        identity.call(&mut caller, call, &entry.arguments, architecture)
    }

    fn act(
        &mut self,
        id: i32,
        call: &'static Call,
        stop: &mut SeccompStop,
        entry: &Entry,
        architecture: Architecture,
    ) -> io::Result<Next> {
        let arguments = &entry.arguments;
        match &call.action {
            Action::Paths(places) => {
                for place in *places {
                    self.path(id, place, arguments)?;
                }
                if hides(call, arguments) {
                    return Ok(Next::GoToExit(Awaited::Mount));
                }
            }
            Action::Exec(place) => self.exec(id, place, arguments)?,
            Action::Fchdir => {
                let ask = of_descriptor(Operation::Chdir, arguments[0] as i32, Effect::Directory);
                self.record(id, &ask, &[])?;
            }
            Action::Descriptor { operation, effect } => {
                self.record(id, &of_descriptor(*operation, arguments[0] as i32, *effect), &[])?;
            }
            Action::Address { operation, address, length } => {
                let (address, length) = (arguments[usize::from(*address)], arguments[usize::from(*length)]);
                return self.address(id, *operation, arguments[0] as i32, address, length);
            }
            Action::Listen => return Ok(Next::GoToExit(Awaited::Listen { socket: arguments[0] as i32 })),
            Action::Message => self.messages(id, call, arguments, architecture)?,
            Action::SocketCall => return self.socketcall(id, arguments),
            Action::Fork => return Ok(self.one_more(id)),
            Action::Clone => {
                let flags = arguments[0] & !CLONE_UNTRACED;
                match architecture {
                    _ if flags == arguments[0] => {}
                    Architecture::X86_64 | Architecture::Aarch64 => stop.set_first_argument(flags)?,
                    Architecture::I386 => stop.set_first_argument_i386(flags)?,
                }
                return Ok(self.one_more(id));
            }
            Action::Clone3 => {
                if let Some(flags) = read_word(id, arguments[0]).filter(|flags| flags & CLONE_UNTRACED != 0)
                    && write_word(id, arguments[0], flags & !CLONE_UNTRACED).is_none()
                {
                    self.recorder.gap("clone_untraced");
                    return Ok(Next::Refuse);
                }
                return Ok(self.one_more(id));
            }
            Action::Unshare => {
                if arguments[0] & CLONE_NEWNS != 0 {
                    self.recorder.gap("mount_namespace");
                }
                if let Some(task) = self.tasks.get_mut(&id)
                    && arguments[0] & (CLONE_FS | CLONE_NEWNS) != 0
                {
                    task.directories = task.child(false).directories;
                }
            }
            Action::Setns => {
                // Into which namespace, only the descriptor knows, or the flags when it is a process; all but mount
                // namespaces are harmless.
                let link = std::fs::read_link(format!("/proc/{id}/fd/{}", arguments[0] as i32));
                let link = link.map(|l| l.to_string_lossy().into_owned()).unwrap_or_default();
                if link.starts_with("mnt:") || link.ends_with("[pidfd]") && arguments[1] & CLONE_NEWNS != 0 {
                    self.recorder.gap("mount_namespace");
                }
                if let Some(task) = self.tasks.get_mut(&id) {
                    self.recorder.change(task, Effect::Directory, None);
                }
            }
            Action::Fsconfig => {
                // FSCONFIG_SET_PATH and FSCONFIG_SET_PATH_EMPTY.
                if matches!(arguments[1], 3 | 4) {
                    let ask = Ask {
                        operation: Operation::Mount,
                        from: From::Descriptor(arguments[4] as i32),
                        follow: true,
                        empty: arguments[1] == 4,
                        rooted: false,
                        effect: Effect::None,
                    };
                    self.record_at(id, &ask, arguments[3], false)?;
                }
            }
            Action::Bpf => self.structure(id, bpf_object(arguments, |address| read_word(id, address)))?,
            Action::PerfEvent => self.structure(id, uprobe(arguments, |address| read_word(id, address)))?,
            Action::Ptrace => {
                // PTRACE_TRACEME, PTRACE_ATTACH and PTRACE_SEIZE.
                if matches!(arguments[0], 0 | 16 | 0x4206) {
                    return Ok(Next::GoToExit(Awaited::Ptrace));
                }
            }
            Action::Seccomp => return Ok(Next::GoToExit(Awaited::Listener)),
            Action::Affinity | Action::SetAffinity => {
                if self.leash.ask(id, matches!(call.action, Action::SetAffinity)) {
                    return Ok(Next::GoToExit(Awaited::Affinity));
                }
            }
            Action::Refuse(gap) => {
                self.recorder.gap(gap);
                return Ok(Next::Refuse);
            }
            Action::Blind(gap) => {
                self.recorder.gap(gap);
                if self.recorder.witness.is_some() {
                    return Ok(Next::Refuse);
                }
            }
            Action::Identity => {}
        }
        Ok(Next::Go)
    }

    /// How a call goes on that makes a task.
    fn one_more(&mut self, id: i32) -> Next {
        // The supervisor is none of the application's.
        let alive = self.tasks.len().saturating_sub(1);
        if self.population.admit(id, alive, is_zombie) {
            return Next::Go;
        }
        let limit = self.population.limit();
        self.recorder.warn(format!(
            "the application was refused processes or threads: it had the {limit} that --pids-limit allows"
        ));
        Next::Answer(-i64::from(libc::EAGAIN))
    }

    fn path(&mut self, id: i32, place: &Place, arguments: &[u64; 6]) -> io::Result<()> {
        let Some(named) = named(place, arguments, |address| read_word(id, address)) else {
            return self.unread(id, arguments[usize::from(place.path)], place.effect);
        };
        self.record_at(id, &named.ask, named.address, named.only_absolute)
    }

    /// A path whose address is in a structure.
    fn structure(&mut self, id: i32, named: Option<Named>) -> io::Result<()> {
        match named {
            Some(Named { ask, address, only_absolute }) => self.record_at(id, &ask, address, only_absolute),
            None => Ok(()),
        }
    }

    fn record_at(&mut self, id: i32, ask: &Ask, address: u64, only_absolute: bool) -> io::Result<()> {
        // Since Linux 6.11 NULL is an empty path, where that is allowed; before it fails.
        let readable = match address {
            0 if ask.empty => {
                self.path.clear();
                true
            }
            0 => false,
            _ => read_path(id, address, &mut self.path).is_some(),
        };
        if !readable {
            return self.unread(id, address, ask.effect);
        }
        if only_absolute && !self.path.starts_with(b"/") {
            return Ok(());
        }
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(()) };
        self.recorder.access(id, task, ask, &self.path)
    }

    /// Notes that what a call names at `address` could not be read, unless the kernel cannot read it either.
    fn unread(&mut self, id: i32, address: u64, effect: Effect) -> io::Result<()> {
        if address == 0 || !is_closed(id, address) {
            return Ok(());
        }
        let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        let what = format!("{:?} (process {id}) is closed to its tracer", name.trim_end());
        // What it changes could not be saved first.
        if self.recorder.witness.is_some() && !matches!(effect, Effect::None | Effect::Directory) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{what}\n{CLOSED_HINT}")));
        }
        self.recorder.gap("closed_process");
        self.recorder.warn(format!("{what}, so which files it uses is not known\n{CLOSED_HINT}"));
        Ok(())
    }

    fn record(&mut self, id: i32, ask: &Ask, path: &[u8]) -> io::Result<()> {
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(()) };
        self.recorder.access(id, task, ask, path)
    }

    fn exec(&mut self, id: i32, place: &Place, arguments: &[u64; 6]) -> io::Result<()> {
        let Some(named) = named(place, arguments, |address| read_word(id, address)) else { return Ok(()) };
        if read_path(id, named.address, &mut self.path).is_none() {
            return self.unread(id, named.address, Effect::None);
        }
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(()) };
        self.recorder.exec(id, task, &named.ask, &self.path)
    }

    fn address(&mut self, id: i32, operation: Operation, socket: i32, at: u64, len: u64) -> io::Result<Next> {
        // The longest that matters is that of a unix socket.
        let mut bytes = [0; 110];
        let Some(bytes) = bytes.get_mut(..(len as usize).min(110)) else { return Ok(Next::Go) };
        if read_exact(id, at, bytes).is_none() {
            let effect = if operation == Operation::Bind { Effect::Create } else { Effect::None };
            return self.unread(id, at, effect).map(|()| Next::Go);
        }
        match address(bytes) {
            Some(Address::Path(path)) => {
                let bind = operation == Operation::Bind;
                let effect = if bind { Effect::Create } else { Effect::None };
                let ask = Ask { operation, from: From::Current, follow: !bind, empty: false, rooted: false, effect };
                self.record(id, &ask, &path)?;
            }
            Some(Address::Internet(address)) if operation == Operation::Bind => {
                return Ok(Next::GoToExit(Awaited::Bind { socket, address }));
            }
            Some(Address::Internet(address)) if !self.open_network && leaves(&address) => {
                self.recorder.warn(format!("connect to {address}: it cannot leave the sandbox"));
            }
            Some(Address::Internet(_)) | None => {}
        }
        Ok(Next::Go)
    }

    /// `sendmsg` and `sendmmsg`: the address is in a structure in memory.
    fn messages(&mut self, id: i32, call: &Call, arguments: &[u64; 6], architecture: Architecture) -> io::Result<()> {
        // struct msghdr begins with the address and its length; struct mmsghdr appends a length, padded.
        let (word, size) = match architecture {
            Architecture::X86_64 | Architecture::Aarch64 => (8, 64),
            Architecture::I386 => (4, 32),
        };
        let count = if call.name == "sendmmsg" { (arguments[2] as u32).min(1024) } else { 1 };
        for n in 0..u64::from(count) {
            let Some(header) = arguments[1].checked_add(n * size) else { break };
            let mask = if word == 4 { u64::from(u32::MAX) } else { u64::MAX };
            let Some(name) = read_word(id, header).map(|name| name & mask) else {
                self.unread(id, header, Effect::None)?;
                break;
            };
            let Some(len) = read_word(id, header + word).map(|len| len & u64::from(u32::MAX)) else { break };
            if name != 0 {
                self.address(id, Operation::Connect, arguments[0] as i32, name, len)?;
            }
        }
        Ok(())
    }

    /// The socket calls of old i386 programs: a number, and an array of 32-bit arguments in memory.
    fn socketcall(&mut self, id: i32, arguments: &[u64; 6]) -> io::Result<Next> {
        let mut bytes = [0; 24];
        let wanted = match arguments[0] {
            2 | 3 => 12,
            4 => 8,
            11 => 24,
            _ => return Ok(Next::Go),
        };
        if read_exact(id, arguments[1], &mut bytes[..wanted]).is_none() {
            let effect = if arguments[0] == 2 { Effect::Create } else { Effect::None };
            return self.unread(id, arguments[1], effect).map(|()| Next::Go);
        }
        let at = |n: usize| {
            u64::from(u32::from_le_bytes([bytes[4 * n], bytes[4 * n + 1], bytes[4 * n + 2], bytes[4 * n + 3]]))
        };
        let socket = at(0) as i32;
        match arguments[0] {
            2 => self.address(id, Operation::Bind, socket, at(1), at(2)),
            3 => self.address(id, Operation::Connect, socket, at(1), at(2)),
            11 => self.address(id, Operation::Connect, socket, at(4), at(5)),
            _ => Ok(Next::GoToExit(Awaited::Listen { socket })),
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
            Awaited::Listener if result >= 0 => {
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

/// Whether after the call files may have names that the base does not know.
fn hides(call: &Call, arguments: &[u64; 6]) -> bool {
    const REMOUNT: u64 = 0x20;
    const PROPAGATION: u64 = 0x1e_0000; // MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED
    match call.name {
        "mount" => arguments[3] & (REMOUNT | PROPAGATION) == 0,
        "move_mount" | "pivot_root" => true,
        _ => false,
    }
}

/// The process that made `task`: for a thread that of which it is one.
fn parent_of(task: i32) -> Option<i32> {
    match status_field(task, "Tgid:")? {
        process if process != task => Some(process),
        _ => status_field(task, "PPid:"),
    }
}

/// Whether a process has ended that its parent has not waited for.
fn is_zombie(task: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{task}/stat")).unwrap_or_default();
    // The name before the state may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
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
