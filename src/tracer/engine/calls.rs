//! What a stopped call asks for, and how it goes on.

use std::io;

use crate::observation::Operation;
use crate::tracer::decode::{Address, Named, address, bpf_object, leaves, named, of_descriptor, uprobe};
use crate::tracer::engine::descriptors;
use crate::tracer::engine::lineage::is_zombie;
use crate::tracer::engine::{CLONE_FS, CLONE_NEWNS, Engine, Next};
use crate::tracer::filter::{TRACE_DATA, X32_BIT};
use crate::tracer::identity::{Caller, Verdict};
use crate::tracer::memory::{is_closed, read_exact, read_path, read_word, write_word};
use crate::tracer::record::{Ask, From};
use crate::tracer::stop::{Entry, SeccompStop};
use crate::tracer::syscalls::{Action, Architecture, CLONE_UNTRACED, Call, Effect, Place};
use crate::tracer::tasks::Awaited;

const CLOSED_HINT: &str =
    "hint: run scrimp as root: only root may trace a program that forbids it, or that its user may not read";

impl Engine {
    pub(super) fn call(&mut self, id: i32, stop: &mut SeccompStop, entry: &Entry) -> io::Result<Next> {
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
                Verdict::Await(at_exit) => {
                    self.unawaited(id, &next);
                    Next::GoToExit(Awaited::Identity(at_exit))
                }
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
                let next = self.address(id, *operation, arguments[0] as i32, address, length)?;
                // What sends gets no peer by it.
                return Ok(match call.name {
                    "sendto" => next,
                    _ => self.joins(id, *operation == Operation::Bind, address, next),
                });
            }
            Action::Number => self.renumber(id),
            Action::Receive => self.may_receive(id, call, arguments),
            Action::CloseRange => return Ok(self.unshares(id)),
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
                let flags = read_word(id, arguments[0]);
                if flags.is_none() {
                    self.unread(id, arguments[0], Effect::None)?;
                }
                if let Some(flags) = flags.filter(|flags| flags & CLONE_UNTRACED != 0)
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
                    task.directories = task.child(false, true).directories;
                }
                if descriptors::unshares(call, arguments) {
                    return Ok(self.unshares(id));
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
            Action::Bpf => {
                let named = bpf_object(arguments, |address| read_word(id, address));
                self.structure(id, named, arguments[1])?;
            }
            Action::PerfEvent => {
                let named = uprobe(arguments, |address| read_word(id, address));
                self.structure(id, named, arguments[0])?;
            }
            Action::Ptrace => {
                // PTRACE_TRACEME, PTRACE_ATTACH and PTRACE_SEIZE.
                if matches!(arguments[0], 0 | 16 | 0x4206) {
                    return Ok(Next::GoToExit(Awaited::Ptrace));
                }
            }
            Action::Seccomp => {
                // Until it has failed.
                self.recorder.listeners += 1;
                return Ok(Next::GoToExit(Awaited::Listener));
            }
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
                self.renumber(id);
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

    pub(super) fn path(&mut self, id: i32, place: &Place, arguments: &[u64; 6]) -> io::Result<()> {
        let Some(named) = named(place, arguments, |address| read_word(id, address)) else {
            return self.unread(id, arguments[usize::from(place.path)], place.effect);
        };
        self.record_at(id, &named.ask, named.address, named.only_absolute)
    }

    /// A path whose address is in the structure at `at`, if that has one and can be read.
    fn structure(&mut self, id: i32, named: Option<Named>, at: u64) -> io::Result<()> {
        match named {
            Some(Named { ask, address, only_absolute }) => self.record_at(id, &ask, address, only_absolute),
            None => self.unread(id, at, Effect::None),
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
        // Which may be a directory that it opens.
        self.renumber(id);
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

    pub(super) fn record(&mut self, id: i32, ask: &Ask, path: &[u8]) -> io::Result<()> {
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

    pub(super) fn address(
        &mut self,
        id: i32,
        operation: Operation,
        socket: i32,
        at: u64,
        len: u64,
    ) -> io::Result<Next> {
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
                self.recorder.unreached.add(address);
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
            8 => 16,
            11 => 24,
            14 => 20,
            _ => return Ok(Next::Go),
        };
        if read_exact(id, arguments[1], &mut bytes[..wanted]).is_none() {
            let effect = if arguments[0] == 2 { Effect::Create } else { Effect::None };
            self.receive(id);
            return self.unread(id, arguments[1], effect).map(|()| Next::Go);
        }
        let at = |n: usize| {
            u64::from(u32::from_le_bytes([bytes[4 * n], bytes[4 * n + 1], bytes[4 * n + 2], bytes[4 * n + 3]]))
        };
        let socket = at(0) as i32;
        match arguments[0] {
            2 | 3 => {
                let bind = arguments[0] == 2;
                let operation = if bind { Operation::Bind } else { Operation::Connect };
                let next = self.address(id, operation, socket, at(1), at(2))?;
                Ok(self.joins(id, bind, at(1), next))
            }
            8 => {
                if at(0) == libc::AF_UNIX as u64 {
                    self.receive(id);
                }
                Ok(Next::Go)
            }
            14 => {
                self.socket_option(id, at(1), at(2));
                Ok(Next::Go)
            }
            11 => self.address(id, Operation::Connect, socket, at(4), at(5)),
            _ => Ok(Next::GoToExit(Awaited::Listen { socket })),
        }
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
