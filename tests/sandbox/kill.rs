//! What is left of a sandbox whose process is killed.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{self, Command};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use scrimp::sandbox::Stdio;

use crate::harness::{LONG, Place, sh};

/// Runs the scenario after this one, kills it, and looks for what is left.
pub fn nothing_is_left_after_kill() {
    let place = &Place::enter();
    let mut victim = Command::new("/proc/self/exe")
        .args(["scenario", "a_victim_of_kill"])
        .env("SCRIMP_TEST_VICTIM", "1")
        // What a killed process cannot remove is removed with this place.
        .env("TMPDIR", place.scratch.path())
        .stdout(process::Stdio::piped())
        .stdin(process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(victim.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let ids: Vec<i32> = line.split_ascii_whitespace().map(|word| word.parse().unwrap()).collect();
    assert_eq!(ids.len(), 3, "{line}");
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let handles: Vec<OwnedFd> = ids.iter().map(|&id| pidfd(id)).collect();
    victim.kill().unwrap();
    victim.wait().unwrap();
    for (id, handle) in ids.iter().zip(&handles) {
        let mut ready = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut ready, PollTimeout::try_from(LONG).unwrap()), Ok(1), "{id} lives");
    }
    assert_eq!(mounts(), before);
}

fn pidfd(pid: i32) -> OwnedFd {
    // SAFETY: takes numbers only, and returns a descriptor that is ours or a negative number.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        assert!(fd >= 0);
        OwnedFd::from_raw_fd(fd as i32)
    }
}

pub fn a_victim_of_kill() {
    if std::env::var_os("SCRIMP_TEST_VICTIM").is_none() {
        return;
    }
    let place = &Place::enter();
    let sandbox = place.start(&place.choices());
    let stdio = || Stdio { stdout: std::io::stdout().as_fd().try_clone_to_owned().unwrap(), ..Stdio::null().unwrap() };
    let first = sandbox.spawn(&sh("trap : TERM INT HUP; sleep 1000 & sleep 1000"), stdio()).unwrap().pid;
    let second = sandbox.spawn(&sh("sleep 1000"), stdio()).unwrap().pid;
    println!("{} {first} {second}", sandbox.supervisor());
    std::io::stdout().flush().unwrap();
    let mut never = String::new();
    std::io::stdin().read_line(&mut never).unwrap();
}
