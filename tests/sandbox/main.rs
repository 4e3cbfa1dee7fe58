//! The sandbox, run for real: as root, as an ordinary user with subordinate ids, and as one without.
//!
//! A user namespace can be entered by a process with one thread only, so these tests bring their own `main`: it starts
//! itself once per scenario and identity. `cargo test --test sandbox [-- PART_OF_A_NAME]` as usual.
//! Needs: root (to become the other users), `busybox-static`, `uidmap`, `useradd`, `runuser`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;
mod kill;
mod observers;
mod rungs;
mod scenarios;
mod sealed;
mod tracing;

use std::process::{Command, ExitCode};

/// Who runs a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Real root.
    Root,
    /// A user with subordinate ids.
    Subordinate,
    /// A user without.
    Single,
}

impl Caller {
    const ALL: [Caller; 3] = [Caller::Root, Caller::Subordinate, Caller::Single];

    fn command(self) -> Command {
        let exe = std::env::current_exe().unwrap();
        let mut command = match self {
            Caller::Root => return Command::new(exe),
            Caller::Subordinate => runuser("scrimp-test", &["--no-create-home"]),
            Caller::Single => runuser("scrimp-single", &["--no-create-home", "--system"]),
        };
        command.arg(exe);
        command
    }
}

/// A command as a test user, who is made when missing. System users get no subordinate ids (`useradd(8)`).
fn runuser(name: &str, options: &[&str]) -> Command {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    if !passwd.lines().any(|line| line.starts_with(&format!("{name}:"))) {
        let status = Command::new("useradd").args(options).arg(name).status();
        assert!(status.is_ok_and(|s| s.success()), "cannot make the user {name}: run as root, install passwd");
    }
    let mut command = Command::new("runuser");
    command.args(["-u", name, "--"]);
    command
}

fn main() -> ExitCode {
    if let Some(code) = scrimp::sandbox::reexec() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, name] = arguments.as_slice()
        && word == "scenario"
    {
        let (_, run) = scenarios::ALL.into_iter().find(|(known, _)| known == name).unwrap();
        run();
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    assert!(nix::unistd::getuid().is_root(), "these tests have to be run as root");
    let wanted = arguments.iter().find(|a| !a.starts_with('-'));
    let mut failed = 0;
    for (name, _) in scenarios::ALL {
        for caller in Caller::ALL {
            let label = format!("{name} ({caller:?})");
            if wanted.is_some_and(|part| !label.contains(part.as_str())) {
                continue;
            }
            let output = caller.command().args(["scenario", name]).env_remove("RUST_BACKTRACE").output().unwrap();
            let passed = output.status.success();
            println!("test {label} ... {}", if passed { "ok" } else { "FAILED" });
            if !passed {
                failed += 1;
                println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            }
        }
    }
    println!("sandbox: {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
