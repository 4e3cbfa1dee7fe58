//! From a freshly forked child of the supervisor to the application: everything between `fork` and `execve`.
//!
//! The order matters. What needs a path comes before the filter, because the filter may stop such calls; the filter
//! comes before the ids are dropped, because without CAP_SYS_ADMIN it would need NO_NEW_PRIVS, which takes the rights
//! of setuid programs away; and the descriptors are closed by the `execve` itself.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::base::escape_bytes;
use crate::sandbox::build;
use crate::sandbox::capability::CapabilitySet;
use crate::sandbox::cgroup::Seat;
use crate::sandbox::failure::{During, Failure};
use crate::sandbox::place;
use crate::sandbox::plan::SandboxPlan;
use crate::sandbox::process::{FilterInstruction, Ids, Limit, ProcessSpec, SpawnError};
use crate::sandbox::refusals;

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

/// Becomes the application. `seat` is in the control group, where there is one. `inside` is the plan when this process is to be process 1 of the sandbox. Never returns.
pub fn run(
    spec: &ProcessSpec,
    stdio: &[OwnedFd],
    seat: Option<&Seat>,
    inside: Option<&SandboxPlan>,
    report: File,
) -> ! {
    let mut reporter = Reporter(report);
    let error = match become_application(spec, stdio, seat, inside, &mut reporter) {
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
    for (number, file) in (0..).zip(stdio) {
        // SAFETY: the supervisor keeps its own descriptors above 2 and holds no object for 0 to 2 in this process.
        check(unsafe { libc::dup2(file.as_raw_fd(), number) }.into()).step("connect standard streams", "")?;
    }
    for limit in &spec.limits {
        set_limit(limit).step("set resource limit", limit.resource.to_string())?;
    }
    set_groups(spec, reporter)?;
    enter_directory(&spec.cwd).step("enter the working directory", &spec.cwd)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(spec.umask));
    let executable = as_user(spec, || find_executable(spec))??;
    let path = CString::new(executable.as_os_str().as_bytes())
        .map_err(|_| SpawnError::Step(Failure::new("execute", executable.as_os_str().as_bytes(), Errno::EINVAL)))?;
    let is_named = spec.ids == Ids::Named && take_name(spec)?;
    let capabilities = real_capabilities(spec);
    limit_capabilities(capabilities).step("drop capabilities", "")?;
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
    take_ids(spec)?;
    if is_named {
        keep_capabilities(capabilities).step("keep capabilities", "")?;
    }
    die_with_supervisor(reporter).step("ask to end with the supervisor", "")?;
    // SAFETY: marks every descriptor but the standard streams close-on-exec; takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .step("close descriptors", "")?;
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

trait Step<T> {
    fn step(self, operation: &str, subject: impl AsRef<[u8]>) -> Result<T, SpawnError>;
}

impl<T, R: During<T>> Step<T> for R {
    fn step(self, operation: &str, subject: impl AsRef<[u8]>) -> Result<T, SpawnError> {
        self.during(operation, subject).map_err(SpawnError::Step)
    }
}

fn check(result: libc::c_long) -> nix::Result<()> {
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

fn set_groups(spec: &ProcessSpec, reporter: &mut Reporter) -> Result<(), SpawnError> {
    if spec.ids != Ids::Own {
        return Ok(());
    }
    // SAFETY: the pointer and the length describe one slice, which outlives the call.
    match check(unsafe { libc::syscall(libc::SYS_setgroups, spec.groups.len(), spec.groups.as_ptr()) }) {
        // In place nobody but root may set groups, and need not.
        Err(Errno::EPERM) if has_groups(&spec.groups) => Ok(()),
        // Where a single id is mapped, groups cannot be changed (`user_namespaces(7)`).
        Err(Errno::EPERM) => {
            reporter.say(&Report::GroupsKept);
            Ok(())
        }
        Err(Errno::EINVAL) => {
            let list: Vec<String> = spec.groups.iter().map(u32::to_string).collect();
            Err(SpawnError::Step(Failure::new("set the groups", list.join(","), Errno::EINVAL)))
        }
        other => other.step("set the groups", ""),
    }
}

/// Whether this process is in exactly these groups.
fn has_groups(wanted: &[u32]) -> bool {
    let set = |groups: &mut dyn Iterator<Item = u32>| groups.collect::<std::collections::BTreeSet<u32>>();
    nix::unistd::getgroups()
        .is_ok_and(|now| set(&mut now.into_iter().map(|group| group.as_raw())) == set(&mut wanted.iter().copied()))
}

fn enter_directory(path: &[u8]) -> std::io::Result<()> {
    let path = Path::new(std::ffi::OsStr::from_bytes(if path.is_empty() { b"/" } else { path }));
    match nix::unistd::chdir(path) {
        Err(Errno::ENOENT) => {
            place::mount_point(path, true)?;
            Ok(nix::unistd::chdir(path)?)
        }
        other => Ok(other?),
    }
}

/// Does something with the rights of the application's user, and comes back.
fn as_user<T>(spec: &ProcessSpec, action: impl FnOnce() -> T) -> Result<T, SpawnError> {
    if spec.ids != Ids::Own {
        return Ok(action());
    }
    let (user, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    effective_ids(spec.uid, spec.gid)?;
    let result = action();
    // Becoming effective user 0 again brings the capabilities back (`capabilities(7)`); the user comes first.
    set_ids(libc::SYS_setresuid, u32::MAX, user).step("become", format!("user {user}"))?;
    set_ids(libc::SYS_setresgid, u32::MAX, group).step("become", format!("group {group}"))?;
    Ok(result)
}

fn effective_ids(uid: u32, gid: u32) -> Result<(), SpawnError> {
    for (what, call, id) in [("group", libc::SYS_setresgid, gid), ("user", libc::SYS_setresuid, uid)] {
        id_result(what, id, set_ids(call, u32::MAX, id))?;
    }
    Ok(())
}

/// Takes the application's ids for good and leaves root the capabilities of the specification.
fn take_ids(spec: &ProcessSpec) -> Result<(), SpawnError> {
    if spec.ids != Ids::Own {
        return set_capabilities(real_capabilities(spec)).step("set capabilities", "");
    }
    for (what, call, id) in [("group", libc::SYS_setresgid, spec.gid), ("user", libc::SYS_setresuid, spec.uid)] {
        id_result(what, id, set_ids(call, id, id))?;
    }
    // Leaving user 0 has emptied the sets already.
    let kept = if spec.uid == 0 { spec.capabilities } else { CapabilitySet::EMPTY };
    set_capabilities(kept).step("set capabilities", "")
}

/// Where there is one id only, gives it the name of the application's user, in a user namespace below: then the kernel
/// itself says so in `/proc/PID/status` and to the other end of a socket. Returns false, and nothing has changed, where
/// the user is root anyway or there is no `/proc` to do it.
fn take_name(spec: &ProcessSpec) -> Result<bool, SpawnError> {
    let write = |file: &str, text: String| std::fs::write(Path::new("/proc/self").join(file), text).step("write", file);
    if (spec.uid, spec.gid) == (0, 0) || !Path::new("/proc/self/uid_map").exists() {
        return Ok(false);
    }
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).is_err() {
        return Ok(false);
    }
    write("setgroups", "deny".into())?;
    write("gid_map", format!("{} 0 1", spec.gid))?;
    write("uid_map", format!("{} 0 1", spec.uid))?;
    Ok(true)
}

/// What a process may really do. Where a tracer decides that in its stead, no decision must fail afterwards for want of
/// the rights over files that the user has in appearance.
fn real_capabilities(spec: &ProcessSpec) -> CapabilitySet {
    match spec.ids {
        Ids::Own => spec.capabilities,
        Ids::Virtual | Ids::Named => spec.capabilities.union(CapabilitySet::docker()),
    }
}

/// Lets a process that is not user 0 have `kept` across `execve`: whether it may do something its tracer decides.
fn keep_capabilities(kept: CapabilitySet) -> nix::Result<()> {
    change_capabilities(kept, kept)?;
    for number in (0..64).filter(|&number| kept.contains(number)) {
        // SAFETY: takes numbers only.
        match check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0) }.into()) {
            // Not permitted, or not known to this kernel.
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn id_result(what: &str, id: u32, result: nix::Result<()>) -> Result<(), SpawnError> {
    match result {
        Err(Errno::EINVAL) => Err(SpawnError::NoSuchId { what: what.into(), id }),
        other => other.step("become", format!("{what} {id}")),
    }
}

/// The system call itself: the C library's wrapper looks for other threads, and this process has none.
fn set_ids(call: libc::c_long, real_and_saved: u32, effective: u32) -> nix::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(call, real_and_saved, effective, real_and_saved) })
}

/// The file to execute, by the name it was asked for under: the command itself when it has a slash, otherwise the
/// first match along PATH.
fn find_executable(spec: &ProcessSpec) -> Result<PathBuf, SpawnError> {
    let command = spec.argv.first().map(Vec::as_slice).unwrap_or_default();
    let shown = || escape_bytes(command).into_owned();
    let mut denied = None;
    for candidate in candidates(command, spec.search_path()) {
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => denied = denied.or(Some(candidate)),
            // Neither is a reason to look no further.
            Err(_) => {}
        }
    }
    if let Some(found) = denied {
        let command = escape_bytes(found.as_os_str().as_bytes()).into_owned();
        return Err(SpawnError::NotExecutable { command, uid: spec.uid });
    }
    let hint = match command.contains(&b'/') {
        true => format!("no file is there, seen from {}", escape_bytes(&spec.cwd)),
        false => format!("it is in none of the directories of PATH, {}", escape_bytes(spec.search_path())),
    };
    Err(SpawnError::NotFound { command: shown(), hint })
}

fn candidates(command: &[u8], path: &[u8]) -> Vec<PathBuf> {
    let as_path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    if command.is_empty() {
        return Vec::new();
    }
    if command.contains(&b'/') {
        return vec![as_path(command)];
    }
    let in_dir = |dir: &[u8]| match dir {
        b"" => [b"./", command].concat(),
        dir => [dir, b"/", command].concat(),
    };
    path.split(|&b| b == b':').map(|dir| as_path(&in_dir(dir))).collect()
}

/// Whether the effective user may execute this regular file.
fn executable(path: &Path) -> nix::Result<()> {
    let stat = nix::sys::stat::stat(path)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno::EACCES);
    }
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the path is a NUL-terminated string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) })
}

/// Takes what is not in `kept` out of the bounding set, and everything out of the ambient set.
fn limit_capabilities(kept: CapabilitySet) -> nix::Result<()> {
    for number in 0..64 {
        // SAFETY: takes numbers only.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) }.into()) {
            // The first number that this kernel does not know.
            Err(Errno::EINVAL) => break,
            other => other?,
        }
        if !kept.contains(number) {
            // SAFETY: takes numbers only.
            match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }.into()) {
                // Outside a user namespace of its own scrimp may lack SETPCAP, and then what bounds it bounds the
                // application.
                Err(Errno::EPERM) => break,
                other => other?,
            }
        }
    }
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) }.into())
}

/// Sets the permitted and effective sets to `kept`, as far as they are permitted now; the inheritable set is emptied.
pub(super) fn set_capabilities(kept: CapabilitySet) -> nix::Result<()> {
    change_capabilities(kept, CapabilitySet::EMPTY)
}

/// The same with an inheritable set.
fn change_capabilities(kept: CapabilitySet, inheritable: CapabilitySet) -> nix::Result<()> {
    // _LINUX_CAPABILITY_VERSION_3 and this process; then effective, permitted, inheritable, low words first.
    let mut header: [u32; 2] = [0x2008_0522, 0];
    let mut data: [u32; 6] = [0; 6];
    // SAFETY: both arrays have the layout of capget(2), version 3, and outlive the calls.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()) })?;
    let (low, high) = (kept.bits() as u32, (kept.bits() >> 32) as u32);
    let (low, high) = (low & data[1], high & data[4]);
    let inherited = [inheritable.bits() as u32 & low, (inheritable.bits() >> 32) as u32 & high];
    data = [low, low, inherited[0], high, high, inherited[1]];
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), data.as_ptr()) })
}

/// Installs the filter; true when that took NO_NEW_PRIVS.
pub(super) fn install_filter(filter: &[FilterInstruction]) -> nix::Result<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_looked_for_as_a_shell_does() {
        let shown = |command: &str, path: &str| {
            let found = candidates(command.as_bytes(), path.as_bytes());
            found.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown("sh", "/usr/bin:/bin"), "/usr/bin/sh /bin/sh");
        assert_eq!(shown("sh", "/a/::."), "/a//sh ./sh ./sh");
        assert_eq!(shown("./run", "/bin"), "./run");
        assert_eq!(shown("/bin/sh", "/bin"), "/bin/sh");
        assert_eq!(shown("", "/bin"), "");
    }

    #[test]
    fn the_last_path_of_an_environment_counts() {
        let mut spec = ProcessSpec::new(Vec::new());
        assert!(spec.search_path().starts_with(b"/usr/local/sbin:"));
        spec.env = vec![b"PATH=/a".to_vec(), b"PATHS=/b".to_vec(), b"PATH=/c".to_vec()];
        assert_eq!(spec.search_path(), b"/c");
    }

    #[test]
    fn what_may_be_executed_is_a_regular_file() {
        assert_eq!(executable(Path::new("/bin")), Err(Errno::EACCES));
        assert_eq!(executable(Path::new("/bin/no such file")), Err(Errno::ENOENT));
        executable(&std::env::current_exe().unwrap()).unwrap();
    }
}
