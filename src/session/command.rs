//! Commands beside an application or a service, as `docker exec` runs them, and what listens there as probes know it.

use std::io;
use std::time::Duration;

use crate::base::ImagePath;
use crate::image::{self, Rootfs};
use crate::probe::{ExecFailure, ExecOutcome, ExecRequest, Listener, Protocol};
use crate::sandbox::{self, ProcessSpec, Sandbox, SandboxError, SpawnError, Stdio};
use crate::session::output::CapturedOutput;

/// How long to wait for what a command has still to say after it ended: a child of it may hold its output open.
pub const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// What `request` asks for beside `process`, with the users of `rootfs`.
pub fn beside(process: &ProcessSpec, rootfs: &Rootfs, request: &ExecRequest) -> Result<ProcessSpec, ExecFailure> {
    let mut process = process.clone();
    process.argv = request.argv.iter().map(|a| a.clone().into_bytes()).collect();
    if let Some(user) = &request.user {
        let user = image::user(rootfs, user).map_err(|cause| ExecFailure::NotStarted(cause.to_string()))?;
        (process.uid, process.gid, process.groups) = (user.uid, user.gid, user.groups);
    }
    Ok(process)
}

/// Starts a command and returns its pid.
pub fn spawn(sandbox: &Sandbox, process: &ProcessSpec, stdio: Stdio) -> Result<i32, ExecFailure> {
    match sandbox.spawn(process, stdio) {
        Ok(spawned) => Ok(spawned.pid),
        // An application may end at any moment, also between the look at it and this.
        Err(SandboxError::Spawn(
            cause @ (SpawnError::NotFound { .. } | SpawnError::NotExecutable { .. } | SpawnError::ApplicationEnded),
        )) => Err(ExecFailure::NotStarted(cause.to_string())),
        Err(cause) => Err(ExecFailure::Broken(io::Error::other(cause.to_string()))),
    }
}

/// How a command ended that has ended with `code`.
pub fn outcome(code: i32, captured: CapturedOutput) -> ExecOutcome {
    let (stdout, stderr) = captured.collect(OUTPUT_GRACE);
    ExecOutcome { code, stdout: stdout.tail, stderr: stderr.tail }
}

/// Sockets as probes know them, sorted.
pub fn listeners(found: impl IntoIterator<Item = sandbox::Listener>) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = found.into_iter().map(listener).collect();
    listeners.sort();
    listeners
}

fn listener(found: sandbox::Listener) -> Listener {
    let protocol = match found.protocol {
        sandbox::Protocol::Tcp => Protocol::Tcp,
        sandbox::Protocol::Udp => Protocol::Udp,
    };
    Listener { protocol, address: found.address, port: found.port }
}

/// The executables of processes, each once and sorted, by their paths in the processes' own root; without those that
/// are gone.
pub fn executables(pids: impl IntoIterator<Item = i32>) -> Vec<ImagePath> {
    let executable = |pid: i32| {
        let link = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        ImagePath::parse(link.as_os_str().as_encoded_bytes()).ok()
    };
    let mut paths: Vec<ImagePath> = pids.into_iter().filter_map(executable).collect();
    paths.sort();
    paths.dedup();
    paths
}
