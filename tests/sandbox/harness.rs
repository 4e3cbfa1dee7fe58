//! A place to run sandboxes in: an identity, a scratch directory and a tiny root filesystem around busybox.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scrimp::sandbox::identity::{self, Identity};
use scrimp::sandbox::{Choices, Exit, ProcessSpec, Sandbox, SandboxError, SandboxPlan, Spawned, Stdio, Upper};

/// Long enough for anything here; nothing waits so long unless it fails.
pub const LONG: Duration = Duration::from_secs(20);

pub struct Place {
    pub identity: Identity,
    pub scratch: tempfile::TempDir,
}

impl Place {
    pub fn enter() -> Self {
        let identity = identity::enter().unwrap_or_else(|e| panic!("{e}"));
        let place = Place { identity, scratch: tempfile::tempdir().unwrap() };
        std::fs::set_permissions(place.scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        place.make_base();
        place
    }

    pub fn base(&self) -> PathBuf {
        self.scratch.path().join("base")
    }

    pub fn choices(&self) -> Choices {
        Choices::new(Upper::Dir(self.scratch.path().join("run")))
    }

    pub fn start(&self, choices: &Choices) -> Sandbox {
        Sandbox::start(SandboxPlan::for_tree(&self.base(), choices)).unwrap_or_else(|e| panic!("{e}"))
    }

    fn make_base(&self) {
        let base = self.base();
        for dir in ["bin", "etc", "tmp", "proc", "var/data"] {
            std::fs::create_dir_all(base.join(dir)).unwrap();
        }
        std::fs::set_permissions(base.join("tmp"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        std::fs::copy("/bin/busybox", base.join("bin/busybox")).expect("install busybox-static");
        for applet in ["sh", "cat", "id", "ls", "touch", "rm", "nc", "grep", "sleep", "stat", "mkdir", "readlink", "tr"]
        {
            std::os::unix::fs::symlink("busybox", base.join("bin").join(applet)).unwrap();
        }
        std::fs::write(base.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nana:x:1000:1000::/:/bin/sh\n").unwrap();
        std::fs::write(base.join("etc/plain"), "#!/bin/sh\n").unwrap();
        std::fs::write(base.join("etc/lost"), "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(base.join("etc/lost"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("../run/resolv/stub", base.join("etc/resolv.conf")).unwrap();
    }
}

/// The whole of a tree as text: mode, owner, time and content of everything.
pub fn dump(dir: &Path) -> String {
    let output =
        std::process::Command::new("find").arg(dir).args(["-printf", "%P %M %U:%G %s %T@ %l\n"]).output().unwrap();
    let mut lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(String::from).collect();
    lines.sort();
    lines.join("\n")
}

pub fn sh(script: &str) -> ProcessSpec {
    let mut spec = ProcessSpec::new(["sh", "-c", script].map(|s| s.as_bytes().to_vec()).to_vec());
    spec.env = vec![b"PATH=/usr/bin:/bin".to_vec()];
    spec
}

pub fn command(argv: &[&str]) -> ProcessSpec {
    ProcessSpec { argv: argv.iter().map(|s| s.as_bytes().to_vec()).collect(), ..sh("") }
}

/// Starts a process, reads all that it writes, and waits for its end.
pub fn run(sandbox: &Sandbox, spec: &ProcessSpec) -> (String, Exit) {
    let (spawned, mut output) = start(sandbox, spec).unwrap_or_else(|e| panic!("{e}"));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    (text, sandbox.wait_exit(spawned.pid, LONG).expect("it does not end"))
}

/// Starts a process whose output and errors can be read.
pub fn start(sandbox: &Sandbox, spec: &ProcessSpec) -> Result<(Spawned, std::io::PipeReader), SandboxError> {
    let (reader, writer) = std::io::pipe().unwrap();
    let stdio = Stdio { stdout: writer.try_clone().unwrap().into(), stderr: writer.into(), ..Stdio::null().unwrap() };
    Ok((sandbox.spawn(spec, stdio)?, reader))
}

/// A process 1 that does nothing until it is killed, so that others can be run beside it.
pub fn idle(sandbox: &Sandbox) -> i32 {
    sandbox.spawn(&command(&["sleep", "1000"]), Stdio::null().unwrap()).unwrap_or_else(|e| panic!("{e}")).pid
}
