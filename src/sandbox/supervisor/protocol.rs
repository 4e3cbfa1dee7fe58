//! The messages between scrimp and its supervisor process.

use serde::{Deserialize, Serialize};

use crate::sandbox::failure::Failure;
use crate::sandbox::plan::SandboxPlan;
use crate::sandbox::process::{Exit, ProcessSpec, SpawnError, Spawned};

/// What scrimp asks for. When it has no more to ask it closes its end, and the sandbox ends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Make the sandbox; the first request. A network that is shared comes along as a descriptor.
    Start(SandboxPlan),
    /// Start a process; three descriptors come along: standard input, output and error.
    Spawn(ProcessSpec),
    /// Send a signal to a process that was started, or, with a negative id, to its process group.
    Signal(i32, i32),
}

/// What the supervisor answers and reports.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// The sandbox is made, with these shortcomings.
    Ready(Vec<String>),
    /// The sandbox could not be made.
    Failed(Failure),
    /// A process was started.
    Spawned(Spawned),
    /// A process was not started.
    NotSpawned(SpawnError),
    /// What came of sending a signal: an error number, or 0.
    Signalled(i32),
    /// A process that was started has ended.
    Exited(i32, Exit),
}
