//! Sees every file an application uses, through ptrace and seccomp.
//!
//! A filter (see [`filter`]) stops each system call that names a path, once, before it is made; one thread, the
//! tracer, reads the path, finds out what it leads to inside the root of the process, and lets it go on. What it finds
//! is folded per path ([`Recording`]); what happens is told at once ([`Event`]).
//!
//! The tracer attaches to one process, the supervisor of the sandbox, and thereby to everything that process starts
//! from then on. It assumes to be in a PID namespace that contains the supervisor's children, with `/proc` mounted for
//! it, and to have all capabilities over the user namespace of the tracees. It never changes what a call does, but for
//! these: `io_uring_setup` and x32 calls fail with ENOSYS, and CLONE_UNTRACED has no effect, because what follows them
//! would be invisible; and calls that would make more tasks than there may be fail with EAGAIN. It changes where busy
//! processes run, unseen by them. With [`Options::identity`] it answers, as a kernel with many users would, what shows
//! or changes ids, and refuses what another user could not do.
//!
//! While it runs, the tracer reaps the supervisor, and other threads of this program must not wait for it or for any
//! of its children: `waitpid` in another thread could take a ptrace stop away.

mod aarch64;
#[cfg(test)]
mod census;
mod decode;
mod descriptors;
mod engine;
mod events;
mod filter;
mod fold;
mod identity;
mod interpreter;
mod leash;
#[doc(hidden)]
pub mod measure;
mod memory;
mod names;
mod open_files;
mod pace;
mod population;
mod record;
mod resolve;
mod scout;
mod sight;
mod stop;
mod syscalls;
mod tasks;
mod unreached;
mod wait;
mod witness;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

pub use events::{End, Event, Tree};
pub use filter::{Instruction, TRACE_DATA, filter};
pub use fold::Folded;
pub use identity::{Credentials, FileCapabilities, FileIdentity, Identity, Ids, VirtualOwners};
pub use witness::{Change, Witness};

use crate::base::{FileTree, ImagePath};
use crate::observation::Operation;
use engine::Engine;
use leash::Leash;

/// A map that is asked at every stop. What is in it never shows in which order it is kept.
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// How to trace.
#[derive(Clone, Debug)]
pub struct Options {
    /// The filter was made with `exact`: nothing is left out for speed.
    pub exact: bool,
    /// Keep busy processes on the tracer's CPU, which they cannot see.
    pub leash: bool,
    /// Only one id really exists in the sandbox: the tracer answers what shows or changes ids, and what another user
    /// could not do fails.
    pub identity: Option<Identity>,
    /// The filter also stops what changes a file through a descriptor that was not opened for writing. A [`Witness`]
    /// needs it.
    pub witnessed: bool,
    /// How many processes and threads there may be; a call that would make one more fails with EAGAIN.
    pub tasks: Option<u32>,
    /// The application has the machine's network: a connection may leave it.
    pub open_network: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { exact: false, leash: true, identity: None, witnessed: false, tasks: None, open_network: false }
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Recording {
    /// Every path that was used, with every link on the way to it, by canonical path: directories on the way to a
    /// path are real ones. Directories that were only passed have no record.
    pub accesses: FileTree<Folded>,
    /// What could not be seen, sorted: `at_empty_path` and `sendmsg_address` unless exact, `io_uring`, `x32`,
    /// `mount_namespace`, `mounts`, `open_by_handle_at`, `ptrace`, `user_notification`, `virtual_identity`,
    /// `closed_process`, `unreadable_directory`, and with a witness `ioctl`, ...
    pub gaps: Vec<String>,
    /// What a user should know, in the order in which it was seen.
    pub warnings: Vec<String>,
    /// How the supervisor ended.
    pub supervisor: Option<End>,
}

/// Why a run could not be traced.
#[derive(Debug, thiserror::Error)]
pub enum TracerError {
    /// The supervisor cannot be traced.
    #[error(
        "trace process {pid}: {source}\nhint: another tracer, kernel.yama.ptrace_scope or a container's seccomp \
         profile may forbid it; `scrimp doctor` tells"
    )]
    Attach {
        /// The supervisor.
        pid: i32,
        /// Of PTRACE_SEIZE.
        source: io::Error,
    },
    /// The thread cannot be made.
    #[error("start the tracer's thread: {0}")]
    Thread(io::Error),
    /// Waiting failed.
    #[error("wait for a traced process: {0}")]
    Wait(io::Error),
    /// A tracee cannot be followed any more, so the recording would not be complete.
    #[error("follow process {task}: {source}")]
    Follow {
        /// The task.
        task: i32,
        /// Of the operation that failed.
        source: io::Error,
    },
    /// A file is about to be changed, and the witness cannot let it be.
    #[error("save {path} before the application changes it ({operation:?}): {source}")]
    Unsaved {
        /// The file.
        path: ImagePath,
        /// What was to be done to it.
        operation: Operation,
        /// As the witness has it.
        source: io::Error,
    },
    /// The thread ended by a panic.
    #[error("the tracer's thread panicked")]
    Panicked,
}

/// What other threads tell the tracer's.
#[derive(Default)]
struct Shared {
    probe: AtomicU32,
    labels: Mutex<Vec<String>>,
    next_tree: AtomicU8,
    next_credentials: Mutex<Option<Credentials>>,
}

impl Shared {
    fn probe(&self) -> u32 {
        self.probe.load(Ordering::Relaxed)
    }

    fn labels(&self) -> Vec<String> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn credentials(&self) -> Credentials {
        let next = self.next_credentials.lock().unwrap_or_else(PoisonError::into_inner);
        next.clone().unwrap_or_else(|| Credentials::new(0, 0, vec![0], u64::MAX))
    }

    fn tree(&self) -> Tree {
        match self.next_tree.load(Ordering::Acquire) {
            1 => Tree::Probe,
            2 => Tree::Observer,
            _ => Tree::Application,
        }
    }
}

/// A running tracer.
pub struct Tracer {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Recording, TracerError>>,
}

/// Attaches to the process `supervisor` and traces everything it starts from now on. Returns once it is attached.
///
/// # Errors
/// When the process cannot be traced.
pub fn start(supervisor: i32, options: Options, events: Sender<Event>) -> Result<Tracer, TracerError> {
    start_thread(supervisor, options, None, events)
}

/// The same; `witness` is told of each change before it is made. The filter must have been made with `witnessed`.
///
/// # Errors
/// When the process cannot be traced.
pub fn start_with_witness(
    supervisor: i32,
    options: Options,
    witness: Box<dyn Witness>,
    events: Sender<Event>,
) -> Result<Tracer, TracerError> {
    start_thread(supervisor, options, Some(witness), events)
}

fn start_thread(
    supervisor: i32,
    options: Options,
    witness: Option<Box<dyn Witness>>,
    events: Sender<Event>,
) -> Result<Tracer, TracerError> {
    let shared = Arc::new(Shared::default());
    let (attached, result) = channel();
    let engine_shared = Arc::clone(&shared);
    let trace = move || {
        let seized = stop::seize(supervisor);
        let is_seized = seized.is_ok();
        // The other side waits for exactly this.
        drop(attached.send(seized));
        if !is_seized {
            return Ok(Recording::default());
        }
        let gaps: &[&str] = if options.exact { &[] } else { &["at_empty_path", "sendmsg_address"] };
        let leash = Leash::new(options.leash).map_err(TracerError::Thread)?;
        let mut engine =
            Engine::new(supervisor, gaps, options.tasks, leash, options.identity.as_ref(), engine_shared, events);
        if options.open_network {
            engine.open_network();
        }
        if let Some(witness) = witness {
            engine.tell(witness);
        }
        engine.run()
    };
    let thread = thread::Builder::new().name("tracer".into()).spawn(trace).map_err(TracerError::Thread)?;
    match result.recv() {
        Ok(Ok(())) => Ok(Tracer { shared, thread }),
        Ok(Err(source)) => Err(TracerError::Attach { pid: supervisor, source }),
        Err(_) => Err(TracerError::Panicked),
    }
}

impl Tracer {
    /// From now on uses of paths belong to the probe `label`, or to none.
    pub fn enter_probe(&self, label: Option<String>) {
        let mut labels = self.shared.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match label {
            None => 0,
            Some(label) => match labels.iter().position(|known| *known == label) {
                Some(at) => at as u32 + 1,
                None => {
                    labels.push(label);
                    labels.len() as u32
                }
            },
        };
        self.shared.probe.store(number, Ordering::Relaxed);
    }

    /// Processes that the supervisor starts from now on, with all their descendants, belong to `tree`; at first it is
    /// the application.
    pub fn next_tree(&self, tree: Tree) {
        let number = match tree {
            Tree::Application => 0,
            Tree::Probe => 1,
            Tree::Observer => 2,
        };
        self.shared.next_tree.store(number, Ordering::Release);
    }

    /// Processes that the supervisor starts from now on are these virtual users, with [`Options::identity`]. They are so
    /// from their first exec on, which is made as them; what is done before is done really.
    pub fn next_credentials(&self, credentials: Credentials) {
        *self.shared.next_credentials.lock().unwrap_or_else(PoisonError::into_inner) = Some(credentials);
    }

    /// Waits until the supervisor and all tracees are gone and returns what was seen.
    ///
    /// # Errors
    /// When tracing could not go on. All tracees have been killed then.
    pub fn join(self) -> Result<Recording, TracerError> {
        self.thread.join().map_err(|_| TracerError::Panicked)?
    }
}
