//! The process that stays outside the user namespace: it writes the id maps and then tells the real owners of files.
//!
//! Inside the namespace `fstat` shows every owner that is not mapped as the overflow id. This process is forked before
//! the namespace is made, so it sees what the caller sees. It ends with scrimp: its socket closes.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde::{Deserialize, Serialize};

use crate::sandbox::identity::idmap::{Extent, to_arguments, to_proc};
use crate::sandbox::supervisor::channel;

/// How the maps of the new namespace are written.
pub enum Writer {
    /// By this process, which has CAP_SETUID and CAP_SETGID in its namespace.
    Direct,
    /// By the setuid programs `newuidmap` and `newgidmap` of the distribution.
    Programs,
}

/// One map to write.
pub struct Task {
    /// How.
    pub writer: Writer,
    /// `uid_map` or `gid_map`.
    pub file: &'static str,
    /// What.
    pub extents: Vec<Extent>,
}

/// The way to the process outside.
pub struct Outside {
    socket: Mutex<UnixStream>,
    pid: libc::pid_t,
}

impl Outside {
    /// Forks the process. `tasks` are carried out when [`Outside::write_maps`] asks for it.
    ///
    /// # Errors
    /// When the socket or the process cannot be made. The caller must be single-threaded.
    pub fn start(proc: &Path, tasks: &[Task]) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let parent = std::process::id();
        // SAFETY: the caller is single-threaded (it is about to unshare its user namespace), so the child may go on
        // as an ordinary process; it never returns from `serve`.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                let code = match detach(&theirs).and_then(|()| serve(&theirs, proc, parent, tasks)) {
                    Ok(()) => 0,
                    Err(_) => 1,
                };
                // SAFETY: ends this process without running the parent's exit handlers.
                unsafe { libc::_exit(code) }
            }
            pid => Ok(Outside { socket: Mutex::new(ours), pid }),
        }
    }

    /// Writes the maps of the calling process, one answer per task: `Err` with the reason when it could not be done.
    ///
    /// # Errors
    /// When this process, or a program that it runs, was killed meanwhile.
    pub fn write_maps(&self, tasks: usize) -> io::Result<Vec<Result<(), String>>> {
        let socket = self.socket.lock().unwrap_or_else(|e| e.into_inner());
        (&*socket).write_all(b"m").map_err(killed)?;
        let mut answers = Vec::new();
        for _ in 0..tasks {
            match channel::receive::<Written>(&socket)? {
                Some((Written::Killed(what), _)) => return Err(io::Error::other(what)),
                Some((Written::Done, _)) => answers.push(Ok(())),
                Some((Written::Refused(why), _)) => answers.push(Err(why)),
                None => return Err(killed(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        Ok(answers)
    }

    /// The owner and group of an open file as the caller of scrimp sees them.
    pub fn owner(&self, file: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
        let socket = self.socket.lock().unwrap_or_else(|e| e.into_inner());
        let raw = [file.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&raw)];
        sendmsg::<UnixAddr>(socket.as_raw_fd(), &[io::IoSlice::new(b"o")], &control, MsgFlags::MSG_NOSIGNAL, None)
            .map_err(|errno| killed(errno.into()))?;
        let mut answer = [0; 12];
        (&*socket).read_exact(&mut answer).map_err(killed)?;
        let number = |at: usize| u32::from_le_bytes([answer[at], answer[at + 1], answer[at + 2], answer[at + 3]]);
        match number(0) {
            0 => Ok((number(4), number(8))),
            errno => Err(io::Error::from_raw_os_error(errno as i32)),
        }
    }
}

/// What came of writing a map.
#[derive(Serialize, Deserialize)]
enum Written {
    Done,
    Refused(String),
    /// The program that was to do it was killed, which says nothing about what this machine allows.
    Killed(String),
}

/// Says in words what a closed socket means.
fn killed(cause: io::Error) -> io::Error {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match cause.kind() {
        BrokenPipe | ConnectionReset | UnexpectedEof => {
            io::Error::other("the process that scrimp keeps outside its user namespace was killed")
        }
        _ => cause,
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let socket = self.socket.get_mut().unwrap_or_else(|e| e.into_inner());
        if socket.shutdown(std::net::Shutdown::Both).is_ok() {
            // SAFETY: waits for our own child, which ends because its socket is closed. That somebody else has reaped
            // it already is no error.
            unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
        }
    }
}

/// Keeps nothing of the caller but the socket: no terminal, no pipe that a reader waits on.
fn detach(socket: &UnixStream) -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for standard in 0..3 {
        // SAFETY: both are valid descriptor numbers of this process, and nothing in it owns 0 to 2 as an object.
        if unsafe { libc::dup2(null.as_raw_fd(), standard) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    drop(null);
    let keep = socket.as_raw_fd() as u32;
    // SAFETY: closing what the parent had open is the purpose; objects of the parent's are never dropped here.
    unsafe {
        if keep > 3 {
            libc::syscall(libc::SYS_close_range, 3u32, keep - 1, 0u32);
        }
        libc::syscall(libc::SYS_close_range, keep + 1, u32::MAX, 0u32);
        libc::setsid();
    }
    Ok(())
}

fn serve(socket: &UnixStream, proc: &Path, parent: u32, tasks: &[Task]) -> io::Result<()> {
    loop {
        let mut question = [0; 1];
        let (got, descriptors) = channel::receive_with_descriptors(socket, &mut question)?;
        match (got, question[0]) {
            (0, _) => return Ok(()),
            (_, b'm') => {
                for task in tasks {
                    channel::send(socket, &write_map(task, proc, parent), &[])?;
                }
            }
            _ => {
                let stat = descriptors.first().ok_or(nix::errno::Errno::EBADF).and_then(nix::sys::stat::fstat);
                let (errno, uid, gid) = match stat {
                    Ok(stat) => (0, stat.st_uid, stat.st_gid),
                    Err(errno) => (errno as u32, 0, 0),
                };
                let mut answer = [0; 12];
                for (slot, number) in answer.chunks_exact_mut(4).zip([errno, uid, gid]) {
                    slot.copy_from_slice(&number.to_le_bytes());
                }
                (&*socket).write_all(&answer)?;
            }
        }
    }
}

fn write_map(task: &Task, proc: &Path, pid: u32) -> Written {
    let file = proc.join(pid.to_string()).join(task.file);
    match task.writer {
        Writer::Direct => match std::fs::write(&file, to_proc(&task.extents)) {
            Ok(()) => Written::Done,
            Err(cause) => Written::Refused(format!("cannot write {}: {cause}", file.display())),
        },
        Writer::Programs => {
            let program = if task.file == "uid_map" { "newuidmap" } else { "newgidmap" };
            let mut command = Command::new(program);
            command.arg(pid.to_string()).args(to_arguments(&task.extents)).stdin(Stdio::null()).arg0(program);
            let output = match command.output() {
                Ok(output) => output,
                Err(cause) => return Written::Refused(format!("cannot run {program}: {cause}")),
            };
            match output.status.signal() {
                Some(signal) => Written::Killed(format!("{program} was killed by signal {signal}")),
                None if output.status.success() => Written::Done,
                None => {
                    Written::Refused(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
                }
            }
        }
    }
}
