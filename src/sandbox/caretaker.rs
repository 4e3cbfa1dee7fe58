//! What is owed when scrimp ends, however it ends: a helper, scrimp re-executed, that pays then.
//!
//! What scrimp leaves with another program (a container, an image in an engine) no kernel takes away when scrimp is
//! killed. The helper knows by which commands that is done. It is away from the terminal, and runs them once its socket
//! closes.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use serde::{Deserialize, Serialize};

use crate::sandbox::supervisor::{channel, is_started_as, take_control_socket};

/// The name under which scrimp executes itself as helper (`argv[0]`).
const NAME: &str = "scrimp-caretaker";

/// How long a command that was under way when scrimp ended may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile: it is nobody's child that could be waited for.
const LOOK: Duration = Duration::from_millis(20);

/// What scrimp tells.
#[derive(Debug, Serialize, Deserialize)]
enum News {
    /// Under this name these commands are owed, in this order.
    Owed(String, Vec<Vec<String>>),
    /// What is owed under this name is paid.
    Paid(String),
    /// This process does something that makes a debt; `None` when it has ended.
    Busy(Option<u32>),
}

/// The helper. Dropping it lets it pay what is still owed.
pub struct Caretaker(Mutex<UnixStream>);

impl Caretaker {
    /// Starts the helper.
    pub fn start() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0(NAME).stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        // Nobody waits for it: it is to outlive scrimp.
        drop(command.spawn()?);
        Ok(Caretaker(Mutex::new(ours)))
    }

    /// From now on `commands` are run when scrimp ends, each to its end, whatever it comes to. What was owed last is
    /// paid first.
    pub fn owe(&self, name: &str, commands: Vec<Vec<String>>) -> io::Result<()> {
        self.tell(&News::Owed(name.into(), commands))
    }

    /// What was owed under this name is not any more.
    pub fn paid(&self, name: &str) -> io::Result<()> {
        self.tell(&News::Paid(name.into()))
    }

    /// The process that is to be waited for before anything is paid.
    pub fn busy(&self, pid: Option<u32>) -> io::Result<()> {
        self.tell(&News::Busy(pid))
    }

    fn tell(&self, news: &News) -> io::Result<()> {
        channel::send(&self.0.lock().unwrap_or_else(PoisonError::into_inner), news, &[])
    }
}

/// Lets a command start as if scrimp had blocked no signals: what it starts may not look whether they are.
pub fn with_all_signals(command: &mut Command) {
    let unblock = || Ok(pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?);
    // SAFETY: between `fork` and `exec` only `pthread_sigmask` is called, with an empty set from the stack.
    unsafe { command.pre_exec(unblock) };
}

/// Whether this process was started as a helper.
pub fn is_called_for() -> bool {
    is_started_as(NAME)
}

/// The helper; the control socket is descriptor 0.
pub fn main() -> io::Result<()> {
    let control = take_control_socket()?;
    // Away from the terminal, so that an interrupt there reaches scrimp alone.
    nix::unistd::setsid()?;
    let (mut debts, mut busy) = (Vec::<(String, Vec<Vec<String>>)>::new(), None);
    // A peer that was killed may have said half of something.
    while let Ok(Some((news, _))) = channel::receive::<News>(&control) {
        match news {
            News::Owed(name, commands) => debts.push((name, commands)),
            News::Paid(name) => debts.retain(|(owed, _)| *owed != name),
            News::Busy(pid) => busy = pid,
        }
    }
    if debts.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    let process = busy.map(|pid| PathBuf::from(format!("/proc/{pid}")));
    while process.as_ref().is_some_and(|process| process.exists()) && Instant::now() < deadline {
        thread::sleep(LOOK);
    }
    for argv in debts.iter().rev().flat_map(|(_, commands)| commands) {
        let Some((program, arguments)) = argv.split_first() else { continue };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        with_all_signals(&mut command);
        // What cannot be done nobody is left to be told of, and the rest is to be done all the same.
        drop(command.status());
    }
    Ok(())
}
