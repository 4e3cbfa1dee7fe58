//! Where there is no PID namespace: signals that do not leave the sandbox all the same (`landlock(7)`, scopes).
//!
//! An application with the ids of its caller may signal every process of theirs, and `kill -1`, which is how small
//! inits stop what they have started, would reach all of them; for real root that is the machine. Who is in a Landlock
//! domain with a scope signals only who is in it too. From outside everything goes on: the stop signal, the tracer.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// `LANDLOCK_SCOPE_SIGNAL`, since Linux 6.12.
const SIGNAL: u64 = 1 << 1;

/// `struct landlock_ruleset_attr` as of version 6.
#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// Keeps the signals of the calling thread, and of all processes that it starts from now on, among themselves.
///
/// # Errors
/// `EOPNOTSUPP` or `ENOSYS` where Landlock is not in force, `E2BIG` or `EINVAL` where it knows no scopes, `EPERM`
/// without CAP_SYS_ADMIN in the user namespace.
pub fn keep_signals_inside() -> nix::Result<()> {
    let ruleset = Ruleset { handled_access_fs: 0, handled_access_net: 0, scoped: SIGNAL };
    // SAFETY: the structure is laid out as the kernel has it, its size is passed, and it outlives the call.
    let made =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size_of::<Ruleset>(), 0u32) };
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(Errno::result(made)? as i32) };
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::kill;
    use nix::unistd::{Pid, getppid};

    #[test]
    fn signals_stay_inside() {
        // A domain is a thread's, so the other tests notice nothing.
        let inside = || -> nix::Result<(nix::Result<()>, nix::Result<()>)> {
            keep_signals_inside()?;
            Ok((kill(getppid(), None), kill(Pid::this(), None)))
        };
        let (outside, own) = std::thread::spawn(inside).join().unwrap().expect(
            "Landlock with scopes\nhint: run the tests as root on Linux 6.12 or newer with landlock among lsm=",
        );
        assert_eq!((outside, own), (Err(Errno::EPERM), Ok(())));
        assert_eq!(kill(getppid(), None), Ok(()));
    }
}
