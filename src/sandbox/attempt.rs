//! Trying something in a child process, so that what it changes is gone with it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use nix::errno::Errno;

/// What a trial came to that somebody ended from outside: nothing follows from it.
pub const KILLED: &str = "the trial was killed";

/// Does something in a child process and returns what it came to: nothing, or why it failed, in a sentence without its
/// full stop. The calling process must have one thread.
pub fn attempt(action: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let broken = |what: &str, cause: &dyn std::fmt::Display| format!("cannot {what}: {cause}");
    let (mut reader, writer) = std::io::pipe().map_err(|e| broken("make a pipe", &e))?;
    // SAFETY: there is no second thread yet; the child never returns from this block.
    let child = match Errno::result(unsafe { libc::fork() }) {
        Ok(0) => {
            drop(reader);
            let said = match action() {
                Ok(()) => "ok".into(),
                Err(cause) => cause,
            };
            let mut writer = File::from(OwnedFd::from(writer));
            let code = i32::from(writer.write_all(said.as_bytes()).is_err());
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        Ok(child) => child,
        Err(errno) => return Err(broken("fork", &errno.desc())),
    };
    drop(writer);
    let mut said = String::new();
    let read = reader.read_to_string(&mut said);
    // SAFETY: reaps our own child, which has closed its end of the pipe or died.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    match (read, said.as_str()) {
        (Err(cause), _) => Err(broken("hear from the trial", &cause)),
        (_, "ok") => Ok(()),
        (_, "") => Err(KILLED.into()),
        (_, cause) => Err(cause.into()),
    }
}
