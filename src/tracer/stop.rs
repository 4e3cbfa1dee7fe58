//! The kinds of ptrace stop, one type each.
//!
//! A value of these types is a tracee that stands still. Every request that needs a stopped tracee is a method here,
//! and resuming consumes the value, so that a tracee can neither be resumed twice nor be asked while it runs.
//!
//! A stopped tracee leaves its stop in one way that is not ours: SIGKILL, from anyone. Requests then fail with ESRCH.
//! As the value proves that the tracee was ours and stopped, ESRCH means nothing else than this death, which `wait`
//! will report; methods answer `None`, and resuming succeeds.

use std::io;

use super::syscalls::Architecture;

// linux/ptrace.h; some of these are in no version of libc.
const PTRACE_GET_SYSCALL_INFO: u32 = 0x420e;
const PTRACE_SYSCALL_INFO_NONE: u8 = 0;
const PTRACE_SYSCALL_INFO_EXIT: u8 = 2;
const PTRACE_SYSCALL_INFO_SECCOMP: u8 = 3;
// Where registers are in `struct user` (`sys/user.h`).
const OFFSET_RBX: usize = 5 * 8;
const OFFSET_RAX: usize = 10 * 8;
const OFFSET_RDI: usize = 14 * 8;
const OFFSET_ORIG_RAX: usize = 15 * 8;
const OFFSET_CS: usize = 17 * 8;
const OFFSET_RSP: usize = 19 * 8;
/// The code segment of 32-bit programs (`__USER32_CS`).
const CS_32: u64 = 0x23;

/// What every kind of stop is made of.
#[derive(Debug)]
struct Stopped(i32);

/// A call of the table, about to be made.
#[derive(Debug)]
pub struct SeccompStop(Stopped);
/// The end of a call whose result was asked for.
#[derive(Debug)]
pub struct ExitStop(Stopped);
/// `fork`, `vfork` or `clone` has made a child, which is traced already.
#[derive(Debug)]
pub struct ChildStop(Stopped);
/// `execve` has succeeded.
#[derive(Debug)]
pub struct ExecStop(Stopped);
/// A job control signal has stopped the process.
#[derive(Debug)]
pub struct GroupStop(Stopped);
/// The first stop of a new task, or the end of a group stop.
#[derive(Debug)]
pub struct AttachedStop(Stopped);
/// A signal is about to be delivered.
#[derive(Debug)]
pub struct SignalStop(Stopped, i32);

/// Any stop.
#[derive(Debug)]
pub enum Stop {
    /// See [`SeccompStop`].
    Seccomp(SeccompStop),
    /// See [`ExitStop`].
    Exit(ExitStop),
    /// See [`ChildStop`].
    Child(ChildStop),
    /// See [`ExecStop`].
    Exec(ExecStop),
    /// See [`GroupStop`].
    Group(GroupStop),
    /// See [`AttachedStop`].
    Attached(AttachedStop),
    /// See [`SignalStop`].
    Signal(SignalStop),
}

impl Stop {
    /// The stop that a status of `waitpid` tells of. The caller has just been given it for `pid`.
    pub(super) fn from_status(pid: i32, status: i32) -> Stop {
        let stopped = Stopped(pid);
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            libc::PTRACE_EVENT_SECCOMP => Stop::Seccomp(SeccompStop(stopped)),
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                Stop::Child(ChildStop(stopped))
            }
            libc::PTRACE_EVENT_EXEC => Stop::Exec(ExecStop(stopped)),
            libc::PTRACE_EVENT_STOP
                if matches!(signal, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) =>
            {
                Stop::Group(GroupStop(stopped))
            }
            libc::PTRACE_EVENT_STOP => Stop::Attached(AttachedStop(stopped)),
            _ if signal == libc::SIGTRAP | 0x80 => Stop::Exit(ExitStop(stopped)),
            _ => Stop::Signal(SignalStop(stopped, signal)),
        }
    }

    /// The id of the task, in the tracer's PID namespace.
    pub fn task(&self) -> i32 {
        match self {
            Stop::Seccomp(SeccompStop(s))
            | Stop::Exit(ExitStop(s))
            | Stop::Child(ChildStop(s))
            | Stop::Exec(ExecStop(s))
            | Stop::Group(GroupStop(s))
            | Stop::Attached(AttachedStop(s))
            | Stop::Signal(SignalStop(s, _)) => s.0,
        }
    }
}

/// A call as it is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// `None` for one that the table does not know.
    pub architecture: Option<Architecture>,
    /// The number.
    pub number: u64,
    /// The arguments.
    pub arguments: [u64; 6],
    /// What the filter said, to tell ours from another.
    pub data: u16,
}

impl SeccompStop {
    /// The call.
    pub fn entry(&self) -> io::Result<Option<Entry>> {
        let Some(info) = self.0.syscall_info(PTRACE_SYSCALL_INFO_SECCOMP)? else { return Ok(None) };
        let audit = (info[0] >> 32) as u32;
        let architecture = Architecture::HERE.iter().copied().find(|a| a.audit() == audit);
        let mut arguments = [0; 6];
        arguments.copy_from_slice(&info[4..10]);
        Ok(Some(Entry { architecture, number: info[3], arguments, data: info[10] as u16 }))
    }

    /// Makes the call return ENOSYS instead, which is what the result is until something replaces it.
    pub fn refuse(&mut self) -> io::Result<()> {
        self.0.poke_user(OFFSET_ORIG_RAX, u64::MAX)
    }

    /// Makes the call return `result` instead: a value, or an error number below 0.
    pub fn answer(&mut self, result: i64) -> io::Result<()> {
        self.0.poke_user(OFFSET_ORIG_RAX, u64::MAX)?;
        self.0.poke_user(OFFSET_RAX, result as u64)
    }

    /// Replaces the first argument of an x86_64 call.
    pub fn set_first_argument(&mut self, value: u64) -> io::Result<()> {
        self.0.poke_user(OFFSET_RDI, value)
    }

    /// Replaces the first argument of an i386 call.
    pub fn set_first_argument_i386(&mut self, value: u64) -> io::Result<()> {
        self.0.poke_user(OFFSET_RBX, value)
    }

    /// Lets the call happen.
    pub fn resume(self) -> io::Result<()> {
        self.0.resume(libc::PTRACE_CONT, 0)
    }

    /// Lets the call happen and stops again with its result.
    pub fn resume_to_exit(self) -> io::Result<()> {
        self.0.resume(libc::PTRACE_SYSCALL, 0)
    }
}

impl ExitStop {
    /// What the call returns: a value, or an error number below 0.
    pub fn result(&self) -> io::Result<Option<i64>> {
        Ok(self.0.syscall_info(PTRACE_SYSCALL_INFO_EXIT)?.map(|info| info[3] as i64))
    }

    /// Goes on.
    pub fn resume(self) -> io::Result<()> {
        self.0.resume(libc::PTRACE_CONT, 0)
    }
}

impl ChildStop {
    /// The id of the child.
    pub fn child(&self) -> io::Result<Option<i32>> {
        self.0.message()
    }

    /// The number and the first argument of the call that made it, for the clone flags, and its architecture.
    pub fn origin(&self) -> io::Result<Option<(Architecture, u64, u64)>> {
        // The code segment would not tell: `int 0x80` is a call of i386 in any program.
        let Some(info) = self.0.syscall_info(PTRACE_SYSCALL_INFO_NONE)? else { return Ok(None) };
        let audit = (info[0] >> 32) as u32;
        let architecture = Architecture::HERE.iter().copied().find(|a| a.audit() == audit);
        let Some(architecture) = architecture else { return Ok(None) };
        let Some(number) = self.0.peek_user(OFFSET_ORIG_RAX)? else { return Ok(None) };
        let (offset, mask) = match architecture {
            Architecture::I386 => (OFFSET_RBX, u64::from(u32::MAX)),
            _ => (OFFSET_RDI, u64::MAX),
        };
        Ok(self.0.peek_user(offset)?.map(|argument| (architecture, number, argument & mask)))
    }

    /// Goes on.
    pub fn resume(self) -> io::Result<()> {
        self.0.resume(libc::PTRACE_CONT, 0)
    }
}

impl ExecStop {
    /// The id that the task had before: another than now when it was not the leader of its process.
    pub fn former_task(&self) -> io::Result<Option<i32>> {
        self.0.message()
    }

    /// Where the stack of the new program begins, and whether its words are those of a 32-bit program.
    pub fn stack(&self) -> io::Result<Option<(u64, bool)>> {
        let Some(segment) = self.0.peek_user(OFFSET_CS)? else { return Ok(None) };
        Ok(self.0.peek_user(OFFSET_RSP)?.map(|pointer| (pointer, segment == CS_32)))
    }

    /// Goes on.
    pub fn resume(self) -> io::Result<()> {
        self.0.resume(libc::PTRACE_CONT, 0)
    }
}

impl GroupStop {
    /// Leaves the task stopped, as the application wants it, and still lets SIGCONT and the debugger interface work.
    pub fn listen(self) -> io::Result<()> {
        self.0.resume(libc::PTRACE_LISTEN, 0)
    }
}

impl AttachedStop {
    /// Goes on.
    pub fn resume(self) -> io::Result<()> {
        self.0.resume(libc::PTRACE_CONT, 0)
    }
}

/// What the kernel sends a task for what it does itself: an address that is not there, an instruction that is none, a
/// system call that its own filter does not like.
const FAULTS: [i32; 6] = [libc::SIGILL, libc::SIGTRAP, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];

impl SignalStop {
    /// The id of the task, in the tracer's PID namespace.
    pub fn task(&self) -> i32 {
        self.0.0
    }

    /// The signal, if the task itself has brought it about: a process that sends one (`si_code` is not positive then,
    /// `sigaction(2)`) means no fault.
    pub fn fault(&self) -> io::Result<Option<i32>> {
        if !FAULTS.contains(&self.1) {
            return Ok(None);
        }
        // SAFETY: an all-zero `siginfo_t` is a valid value of that plain C structure.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one `siginfo_t` to `info`.
        let r = unsafe { libc::ptrace(libc::PTRACE_GETSIGINFO, self.0.0, 0, &raw mut info) };
        Ok(unless_dead(r)?.filter(|_| info.si_code > 0).map(|_| self.1))
    }

    /// Goes on and delivers the signal.
    pub fn deliver(self) -> io::Result<()> {
        self.0.resume(libc::PTRACE_CONT, self.1)
    }
}

impl Stopped {
    /// The eleven words of `struct ptrace_syscall_info`, if it is of this kind.
    fn syscall_info(&self, kind: u8) -> io::Result<Option<[u64; 11]>> {
        let mut info = [0_u64; 11];
        // SAFETY: the kernel writes at most the size that is passed, into `info`.
        let r = unsafe { libc::ptrace(PTRACE_GET_SYSCALL_INFO as _, self.0, size_of_val(&info), info.as_mut_ptr()) };
        Ok(unless_dead(r)?.filter(|_| info[0] as u8 == kind).map(|_| info))
    }

    fn message(&self) -> io::Result<Option<i32>> {
        let mut message: libc::c_ulong = 0;
        // SAFETY: the kernel writes one unsigned long to `message`.
        let r = unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, self.0, 0, &mut message) };
        Ok(unless_dead(r)?.map(|_| message as i32))
    }

    fn peek_user(&self, offset: usize) -> io::Result<Option<u64>> {
        // The library's PEEKUSER returns the word, so that only errno tells -1 from an error.
        // SAFETY: errno is this thread's own.
        unsafe { *libc::__errno_location() = 0 };
        // SAFETY: reads a register of the tracee; no memory of ours is involved.
        let word = unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, self.0, offset, 0) };
        match io::Error::last_os_error().raw_os_error() {
            Some(0) | None => Ok(Some(word as u64)),
            Some(libc::ESRCH) => Ok(None),
            Some(error) => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn poke_user(&mut self, offset: usize, value: u64) -> io::Result<()> {
        // SAFETY: writes a register of the tracee; no memory of ours is involved.
        let r = unsafe { libc::ptrace(libc::PTRACE_POKEUSER, self.0, offset, value) };
        unless_dead(r).map(drop)
    }

    fn resume(self, request: libc::c_uint, signal: i32) -> io::Result<()> {
        // SAFETY: resuming touches no memory of ours.
        let r = unsafe { libc::ptrace(request, self.0, 0, signal as libc::c_long) };
        unless_dead(r).map(drop)
    }
}

fn unless_dead(result: libc::c_long) -> io::Result<Option<libc::c_long>> {
    if result >= 0 {
        return Ok(Some(result));
    }
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        e => Err(e),
    }
}

/// Makes the calling thread the tracer of `pid` and of all its future children, without stopping it. They are killed
/// when the tracer dies.
pub(super) fn seize(pid: i32) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_EXITKILL;
    // SAFETY: attaching touches no memory of ours.
    match unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, options as libc::c_long) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_stops() {
        let stopped = |event: i32, signal: i32| event << 16 | signal << 8 | 0x7f;
        for (status, expected) in [
            (stopped(libc::PTRACE_EVENT_SECCOMP, libc::SIGTRAP), "Seccomp"),
            (stopped(libc::PTRACE_EVENT_VFORK, libc::SIGTRAP), "Child"),
            (stopped(libc::PTRACE_EVENT_EXEC, libc::SIGTRAP), "Exec"),
            (stopped(libc::PTRACE_EVENT_STOP, libc::SIGTRAP), "Attached"),
            (stopped(libc::PTRACE_EVENT_STOP, libc::SIGTSTP), "Group"),
            (stopped(0, libc::SIGTRAP | 0x80), "Exit"),
            (stopped(0, libc::SIGTRAP), "Signal"),
            (stopped(0, libc::SIGSTOP), "Signal"),
            (stopped(0, 40), "Signal"),
        ] {
            let stop = Stop::from_status(7, status);
            assert_eq!(stop.task(), 7);
            assert!(format!("{stop:?}").starts_with(expected), "{status:#x}: {stop:?}");
        }
    }
}
