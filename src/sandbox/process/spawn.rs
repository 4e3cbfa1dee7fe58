//! From a freshly forked child of the supervisor to the application: everything between `fork` and `execve`.
//!
//! The order matters. What needs a path comes before the filter, because the filter may stop such calls; the filter
//! comes before the ids are dropped, because without CAP_SYS_ADMIN it would need NO_NEW_PRIVS, which takes the rights
//! of setuid programs away; and the descriptors of the supervisor are closed before the first name is looked up.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::sandbox::build;
use crate::sandbox::build::observatory::{Observatory, View};
use crate::sandbox::build::place;
use crate::sandbox::confine::cgroup::Seat;
use crate::sandbox::confine::refusals;
use crate::sandbox::failure::{During, Failure};
use crate::sandbox::plan::SandboxPlan;
use crate::sandbox::process::{FilterInstruction, Ids, Limit, ProcessSpec, SpawnError, command, rights};

/// What the child tells the supervisor before it becomes the application, one line of JSON each; no more lines and the
/// end of the pipe mean that `execve` has worked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The filter could only be installed with NO_NEW_PRIVS.
    NoNewPrivs,
    /// The supplementary groups could not be set.
    GroupsKept,
    /// It will not become the application.
    Failed(SpawnError),
}

/// Becomes the application. `seat` is in the control group, where there is one. `inside` is the plan when this process
/// is to be process 1 of the sandbox; `seen` is another tree than the application's, when it is to see one. Never
/// returns.
pub fn run(
    spec: &ProcessSpec,
    stdio: &[OwnedFd],
    seat: Option<&Seat>,
    inside: Option<&SandboxPlan>,
    seen: Option<(&Observatory, View)>,
    report: File,
) -> ! {
    let mut reporter = Reporter(report);
    let error = match become_application(spec, stdio, seat, inside, seen, &mut reporter) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    reporter.say(&Report::Failed(error));
    // SAFETY: ends this process without running handlers that belong to the supervisor.
    unsafe { libc::_exit(127) }
}

struct Reporter(File);

impl Reporter {
    fn say(&mut self, report: &Report) {
        let mut line = serde_json::to_vec(report).unwrap_or_default();
        line.push(b'\n');
        if self.0.write_all(&line).is_err() {
            // The supervisor is gone, and nobody is left who could use this process.
            // SAFETY: as in `run`.
            unsafe { libc::_exit(127) }
        }
    }
}

fn become_application(
    spec: &ProcessSpec,
    stdio: &[OwnedFd],
    seat: Option<&Seat>,
    inside: Option<&SandboxPlan>,
    seen: Option<(&Observatory, View)>,
    reporter: &mut Reporter,
) -> Result<std::convert::Infallible, SpawnError> {
    let strings = |list: &[Vec<u8>]| -> Result<Vec<CString>, SpawnError> {
        let convert = |bytes: &Vec<u8>| {
            CString::new(bytes.as_slice())
                .map_err(|_| SpawnError::Step(Failure::new("pass on a NUL byte in", bytes, Errno::EINVAL)))
        };
        list.iter().map(convert).collect()
    };
    let (argv, env) = (strings(&spec.argv)?, strings(&spec.env)?);

    default_signals();
    if let Some(seat) = seat {
        seat.join().step("enter the control group", "")?;
    }
    nix::unistd::setsid().during("start a session", "").map_err(SpawnError::Step)?;
    if let Some(plan) = inside {
        build::build_inside(plan).map_err(SpawnError::Step)?;
    }
    if let Some((observatory, view)) = seen {
        observatory.enter(view).map_err(SpawnError::Step)?;
    }
    for (number, file) in (0..).zip(stdio) {
        // SAFETY: the supervisor keeps its own descriptors above 2 and holds no object for 0 to 2 in this process.
        check(unsafe { libc::dup2(file.as_raw_fd(), number) }.into()).step("connect standard streams", "")?;
    }
    close_the_rest(&reporter.0).step("close descriptors", "")?;
    for limit in &spec.limits {
        set_limit(limit).step("set resource limit", limit.resource.to_string())?;
    }
    if rights::set_groups(spec)? {
        reporter.say(&Report::GroupsKept);
    }
    enter_directory(&spec.cwd).step("enter the working directory", &spec.cwd)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(spec.umask));
    let executable = rights::as_user(spec, || command::find_executable(spec))??;
    let path = CString::new(executable.as_os_str().as_bytes())
        .map_err(|_| SpawnError::Step(Failure::new("execute", executable.as_os_str().as_bytes(), Errno::EINVAL)))?;
    let is_named = spec.ids == Ids::Named && rights::take_name(spec)?;
    let capabilities = rights::real_capabilities(spec);
    rights::limit_capabilities(capabilities).step("drop capabilities", "")?;
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv_pointers, env_pointers) = (pointers(&argv), pointers(&env));

    let refusals = spec.refusals.then(|| refusals::program(spec.capabilities));
    let mut no_new_privs = false;
    for filter in [refusals.as_deref(), spec.filter.as_deref()].into_iter().flatten() {
        no_new_privs |= install_filter(filter).step("install the seccomp filter", "")?;
    }
    if no_new_privs {
        reporter.say(&Report::NoNewPrivs);
    }
    rights::take_ids(spec)?;
    if is_named {
        rights::keep_capabilities(capabilities).step("keep capabilities", "")?;
    }
    die_with_supervisor(reporter).step("ask to end with the supervisor", "")?;
    // SAFETY: the path is NUL-terminated, both arrays end in a null pointer, and all of it outlives the call.
    unsafe { libc::execve(path.as_ptr(), argv_pointers.as_ptr(), env_pointers.as_ptr()) };
    let mut failure = Failure::new("execute", executable.as_os_str().as_bytes(), Errno::last());
    failure.detail = match failure.errno() {
        Errno::ENOENT => "the file is there; the interpreter or loader that it names is not".into(),
        Errno::ENOEXEC => "neither an executable for this machine nor a script that begins with #!".into(),
        _ => String::new(),
    };
    Err(SpawnError::Step(failure))
}

/// Names the step that failed.
pub(super) trait Step<T> {
    /// Turns an error into one that says so.
    fn step(self, operation: &str, subject: impl AsRef<[u8]>) -> Result<T, SpawnError>;
}

impl<T, R: During<T>> Step<T> for R {
    fn step(self, operation: &str, subject: impl AsRef<[u8]>) -> Result<T, SpawnError> {
        self.during(operation, subject).map_err(SpawnError::Step)
    }
}

/// What a system call has returned.
pub(super) fn check(result: libc::c_long) -> nix::Result<()> {
    Errno::result(result).map(drop)
}

/// Every signal does what it does by default, and none is blocked.
fn default_signals() {
    // SAFETY: all-zero is a valid `sigaction` (default action, no flags, empty mask) and `sigset_t`. Some signals
    // cannot be set, which is as it should be. The system call is used directly because the C library keeps two
    // real-time signals to itself, and an application would see what is left of theirs.
    unsafe {
        let default: [u64; 4] = [0; 4];
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8usize);
        }
        let none: u64 = 0;
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, std::ptr::null::<u64>(), 8usize);
    }
}

fn set_limit(limit: &Limit) -> nix::Result<()> {
    let wanted = libc::rlimit { rlim_cur: limit.soft.min(limit.hard), rlim_max: limit.hard };
    // SAFETY: the structure outlives the call.
    match check(unsafe { libc::setrlimit(limit.resource, &wanted) }.into()) {
        Err(Errno::EPERM) => {}
        other => return other,
    }
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::getrlimit(limit.resource, &mut now) }.into())?;
    let hard = limit.hard.min(now.rlim_max);
    let reachable = libc::rlimit { rlim_cur: limit.soft.min(hard), rlim_max: hard };
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::setrlimit(limit.resource, &reachable) }.into())
}

/// Closes all descriptors but the standard streams and the pipe to the supervisor, which the `execve` closes. From here
/// on names are looked up that the image or the user gave, and what the supervisor has open leads out of the sandbox.
fn close_the_rest(pipe: &File) -> nix::Result<()> {
    let pipe = pipe.as_raw_fd() as u32;
    for (first, last) in [(3, pipe.saturating_sub(1)), (pipe.saturating_add(1), u32::MAX)] {
        if first <= last {
            // SAFETY: takes numbers only. Whatever object still holds one of these descriptors is the supervisor's;
            // this process uses none of them any more, and ends without dropping them.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) })?;
        }
    }
    Ok(())
}

fn enter_directory(path: &[u8]) -> std::io::Result<()> {
    let path = Path::new(std::ffi::OsStr::from_bytes(if path.is_empty() { b"/" } else { path }));
    let found = match place::find(path) {
        Err(Errno::ENOENT) => place::mount_point(path, true)?,
        other => other?,
    };
    Ok(nix::unistd::fchdir(found)?)
}

/// Installs the filter; true when that took NO_NEW_PRIVS.
pub(in crate::sandbox) fn install_filter(filter: &[FilterInstruction]) -> nix::Result<bool> {
    let mut instructions: Vec<libc::sock_filter> =
        filter.iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
    let length = u16::try_from(instructions.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_mut_ptr() };
    let install = || {
        // Without SPEC_ALLOW, kernels before 5.16 slow a filtered process down against attacks on itself.
        let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
        // SAFETY: the program points to `len` instructions, and both outlive the call.
        check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) })
    };
    match install() {
        Err(Errno::EACCES) => {
            // SAFETY: takes numbers only.
            check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
            install().map(|()| true)
        }
        other => other.map(|()| false),
    }
}

/// Dies when the supervisor does. Asked for last, because a change of ids withdraws it.
fn die_with_supervisor(reporter: &Reporter) -> nix::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }.into())?;
    // The supervisor is in another PID namespace, so its id says nothing here; but the other end of the pipe is its.
    let mut poll = libc::pollfd { fd: reporter.0.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one structure is passed and outlives the call.
    check(unsafe { libc::poll(&raw mut poll, 1, 0) }.into())?;
    if poll.revents & libc::POLLERR != 0 { Err(Errno::ESRCH) } else { Ok(()) }
}
