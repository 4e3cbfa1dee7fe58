//! A container as probes see it. What happens in it nobody reports, so it is looked at again and again.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio as CommandStdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::base::ImagePath;
use crate::probe::{ExecFailure, ExecOutcome, ExecRequest, Exit, Listener, ScriptRequest, Target};
use crate::runtime::container::Container;
use crate::runtime::engine::plain;
use crate::sandbox;
use crate::session::{self, capture_whole};

/// How long to wait for what a command has still to say after it ended: a child of it may hold its output open.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// How often it is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(5);

/// With these codes podman and docker say that a command could not be started, and so may a command itself.
const NOT_STARTED: [i32; 3] = [125, 126, 127];
/// What they begin with when they say why; what a command says that was started stands alone.
const BEGINNINGS: [&str; 4] = ["Error: ", "Error response from daemon: ", "OCI runtime exec failed: ", "time=\""];

/// In `/proc/net/unix`, a socket that listens (`__SO_ACCEPTCON`, `include/uapi/linux/net.h`).
const ACCEPTS: u32 = 1 << 16;

impl Container<'_> {
    /// Its processes, the first one first; none when it has ended. Commands beside the application are not among them.
    fn processes(&self) -> Vec<i32> {
        let Some(pid) = self.pid().filter(|_| self.exited().is_none()) else { return Vec::new() };
        [vec![pid], sandbox::descendants(pid)].concat()
    }

    fn has_unix_listener(&self) -> bool {
        let Some(pid) = self.pid() else { return false };
        let own = self.is_on_host().then(|| sandbox::socket_inodes(Path::new("/proc"), &self.processes()));
        let table = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
        listening(&table).any(|inode| own.as_ref().is_none_or(|own| own.contains(&inode)))
    }

    /// Kills what a command has left that was not waited for: processes of the container whose parents are outside, the
    /// first process aside. Where their namespace cannot be looked at, they end with the container.
    fn kill_commands(&self) {
        let Some(pid) = self.pid() else { return };
        // Most processes of the machine are of somebody else, or gone by now.
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(own) = namespace(pid) else { return };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let inside = |pid: &i32| namespace(*pid).as_ref() == Some(&own);
        let all: Vec<i32> = entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(inside).collect();
        let is_root = |other: &&i32| **other != pid && sandbox::parent_of(**other).is_some_and(|p| !all.contains(&p));
        for root in all.iter().filter(is_root) {
            for process in [vec![*root], sandbox::descendants(*root)].concat() {
                match kill(Pid::from_raw(process), Signal::SIGKILL) {
                    // It may have ended, or be another user's: then it ends with the container.
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }
}

impl Target for Container<'_> {
    fn enter_network(&self) -> io::Result<()> {
        let entered =
            self.with_found(|found| found.network.as_ref().map(|network| setns(network, CloneFlags::CLONE_NEWNET)));
        match entered.flatten() {
            Some(entered) => Ok(entered?),
            None if self.is_on_host() || self.with_found(|found| found.address.is_some()) == Some(true) => Ok(()),
            // It has ended before it was found. Nothing is to be asked then, least of all on this machine.
            None => match unshare(CloneFlags::CLONE_NEWNET) {
                Ok(()) | Err(Errno::EPERM) => Ok(()),
                Err(errno) => Err(errno.into()),
            },
        }
    }

    fn listeners(&self) -> Vec<Listener> {
        let Some(pid) = self.pid().filter(|_| self.exited().is_none()) else { return Vec::new() };
        let own = self.is_on_host().then(|| sandbox::socket_inodes(Path::new("/proc"), &self.processes()));
        // A table that cannot be read at this moment shows nothing; whoever asks, asks again.
        let found = sandbox::listeners(&PathBuf::from(format!("/proc/{pid}")), own.as_ref()).unwrap_or_default();
        let bridge: Option<IpAddr> = self.with_found(|found| found.address).flatten();
        let mut listeners = session::listeners(found);
        if let Some(address) = bridge {
            listeners.iter_mut().for_each(|listener| listener.address = address);
        }
        listeners.sort();
        listeners.dedup();
        listeners
    }

    fn serves(&self) -> bool {
        !self.listeners().is_empty() || self.has_unix_listener()
    }

    fn rests(&self) -> bool {
        // What watches over a container is the parent of all that runs there.
        let parent = self.pid().and_then(sandbox::parent_of).ok_or_else(|| io::ErrorKind::NotFound.into());
        self.rest.lasts(parent.and_then(|parent| sandbox::activity_below(Path::new("/proc"), parent)))
    }

    fn executables(&self) -> Vec<ImagePath> {
        let proc = Path::new("/proc");
        let listens = |pid: &i32| {
            let own = sandbox::socket_inodes(proc, &[*pid]);
            sandbox::listeners(&proc.join(pid.to_string()), Some(&own)).is_ok_and(|found| !found.is_empty())
        };
        session::executables(self.processes().into_iter().filter(listens))
    }

    fn wait(&self, known: &[Listener], timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut known = known.to_vec();
        known.sort();
        let served = self.serves();
        while self.exited().is_none() && self.listeners() == known && self.serves() == served {
            if Instant::now() >= deadline {
                return;
            }
            self.look_again(deadline);
        }
    }

    fn exec(&self, request: &ExecRequest) -> Result<ExecOutcome, ExecFailure> {
        let deadline = Instant::now() + request.timeout;
        let (stdio, captured) = capture_whole().map_err(ExecFailure::Broken)?;
        let mut arguments = vec!["exec"];
        arguments.extend(request.user.iter().flat_map(|user| ["--user", user.as_str()]));
        arguments.push(self.engine.name());
        arguments.extend(request.argv.iter().map(String::as_str));
        let mut command = self.engine.command(&arguments);
        command.stdin(CommandStdio::null()).stdout(stdio.stdout).stderr(stdio.stderr);
        let mut client = command.spawn().map_err(ExecFailure::Broken)?;
        // It holds the other ends of the pipes.
        drop(command);
        let status = loop {
            if let Some(status) = client.try_wait().map_err(ExecFailure::Broken)? {
                break status;
            }
            if Instant::now() >= deadline {
                self.kill_commands();
                client.kill().and_then(|()| client.wait()).map_err(ExecFailure::Broken)?;
                return Err(ExecFailure::TimedOut);
            }
            thread::sleep(LOOK);
        };
        let (stdout, stderr) = captured.collect(OUTPUT_GRACE);
        let said = String::from_utf8_lossy(&stderr.tail);
        let Some(code) = status.code() else {
            return Err(ExecFailure::Broken(io::Error::other(format!(
                "{} exec ended with {status}",
                self.engine.kind()
            ))));
        };
        let is_its_own = stdout.bytes == 0 && BEGINNINGS.iter().any(|beginning| said.starts_with(beginning));
        if NOT_STARTED.contains(&code) && is_its_own {
            return Err(ExecFailure::NotStarted(plain(&said).to_owned()));
        }
        Ok(ExecOutcome { code, stdout: stdout.tail, stderr: stderr.tail })
    }

    fn script(&self, request: &ScriptRequest) -> Result<ExecOutcome, ExecFailure> {
        session::run_script(request)
    }

    fn begin(&self, _label: &str) {}

    fn end(&self) {}

    fn exited(&self) -> Option<Exit> {
        Container::ending(self)
    }
}

/// The inodes of the sockets that listen, from `/proc/net/unix` (`proc_pid_net(5)`).
fn listening(table: &str) -> impl Iterator<Item = u64> {
    table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
        (flags & ACCEPTS != 0).then(|| fields.get(6)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen_are_told_from_others() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 4711 /run/app.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 4712\n";
        assert_eq!(listening(table).collect::<Vec<_>>(), [4711]);
    }
}
