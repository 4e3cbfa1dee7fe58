//! What a process of the sandbox is started with, as data.

pub(super) mod activity;
mod command;
pub(super) mod family;
pub(super) mod rights;
pub(super) mod signals;
pub(super) mod spawn;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::sandbox::confine::capability::CapabilitySet;
use crate::sandbox::failure::Failure;

/// One instruction of a classic BPF program (`struct sock_filter`, `seccomp(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterInstruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// A resource limit (`setrlimit(2)`). A hard limit that is out of reach becomes the greatest that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// The soft limit, in the unit of the resource.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

impl Limit {
    /// What Docker gives: 1048576 open files.
    pub fn open_files() -> Self {
        Limit { resource: libc::RLIMIT_NOFILE, soft: 1 << 20, hard: 1 << 20 }
    }
}

/// Whose ids the kernel knows a process by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// Its own.
    Own,
    /// Those of scrimp: a tracer answers in the name of others.
    Virtual,
    /// The same where no other ids exist: the one that does bears the name of the process's user, so that the kernel
    /// says so too.
    Named,
}

/// A process to start in the sandbox. It gets this and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// The command and its arguments. A command without a slash is searched along the PATH of `env`.
    pub argv: Vec<Vec<u8>>,
    /// The whole environment, each `NAME=VALUE`.
    pub env: Vec<Vec<u8>>,
    /// The working directory, absolute; made when it does not exist, as Docker does.
    pub cwd: Vec<u8>,
    /// User id inside the sandbox.
    pub uid: u32,
    /// Group id inside the sandbox.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Whether the kernel knows it by these ids.
    pub ids: Ids,
    /// The bounding set; root has all of it, any other user none of it.
    pub capabilities: CapabilitySet,
    /// Resource limits that differ from scrimp's own.
    pub limits: Vec<Limit>,
    /// The file mode creation mask.
    pub umask: u32,
    /// A seccomp filter, in force from just before the ids are dropped: of what it sees of the preparation, only the
    /// `execve` takes a path.
    pub filter: Option<Vec<FilterInstruction>>,
    /// Whether the system calls that a container is refused are refused (`refusals`).
    pub refusals: bool,
    /// Whether it sees the tree of observers instead of the application's (`SandboxPlan::observers`).
    pub observer: bool,
}

impl ProcessSpec {
    /// `argv` as root in `/` with what a container gets and an empty environment.
    pub fn new(argv: Vec<Vec<u8>>) -> Self {
        ProcessSpec {
            argv,
            env: Vec::new(),
            cwd: b"/".to_vec(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            ids: Ids::Own,
            capabilities: CapabilitySet::docker(),
            limits: vec![Limit::open_files()],
            umask: 0o022,
            filter: None,
            refusals: true,
            observer: false,
        }
    }

    /// The directories in which a command without a slash is looked for.
    pub(super) fn search_path(&self) -> &[u8] {
        let path = self.env.iter().rev().find_map(|variable| variable.strip_prefix(b"PATH="));
        path.unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    }
}

/// A process that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawned {
    /// Its id as scrimp sees it.
    pub pid: i32,
    /// The filter could only be installed together with NO_NEW_PRIVS: setuid programs do not gain rights.
    pub no_new_privs: bool,
    /// The supplementary groups could not be set and are those of whoever started scrimp.
    pub groups_kept: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The exit code as a shell or Docker gives it: 128 plus the signal for a process that was killed.
    pub fn shell_code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// Why a process was not started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum SpawnError {
    /// There is no such command.
    #[error("command not found in the image: {command}\nhint: {hint}")]
    NotFound {
        /// As it was asked for.
        command: String,
        /// Where it was looked for.
        hint: String,
    },
    /// There is such a file, but the user may not execute it.
    #[error("command cannot be executed: {command}: permission denied for user {uid}")]
    NotExecutable {
        /// As it was asked for, or where it was found.
        command: String,
        /// The user inside the sandbox.
        uid: u32,
    },
    /// The id does not exist in the user namespace.
    #[error(
        "{what} {id} does not exist in the sandbox\nhint: give your user subordinate ids (usermod --add-subuids \
         100000-165535 --add-subgids 100000-165535 NAME) and install newuidmap, or run as root"
    )]
    NoSuchId {
        /// `user` or `group`.
        what: String,
        /// The id.
        id: u32,
    },
    /// The first process of the sandbox has ended, and with it everything in there.
    #[error("the application has ended, so nothing can be started beside it")]
    ApplicationEnded,
    /// Another step failed.
    #[error(transparent)]
    Step(Failure),
}

impl SpawnError {
    /// Whether the kernel knows no way to execute the file.
    pub fn is_no_program(&self) -> bool {
        matches!(self, SpawnError::Step(failure) if failure.errno() == Errno::ENOEXEC)
    }
}
