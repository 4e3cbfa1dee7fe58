//! Looks at what is in a directory before the application asks for it.
//!
//! Who opens a directory often goes on to ask for every name in it, as `find`, `tar` and servers that index a tree do.
//! The first look-up of a name is by far the dearest part of a stop, above all on a fresh overlay; so a second thread
//! makes them, on a CPU that is free while tracer and tracee share one, and the tracer finds the answers waiting
//! ([`walk`]).
//!
//! Nothing is taken from here that may have changed since it was asked for: see [`Names`](super::names::Names).

mod walk;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::names::Name;
use super::sight::Seen;
use walk::Walk;

/// How long the thread stays awake for the next directory. To be woken costs the tracer about as much as a stop.
const AWAKE: Duration = Duration::from_micros(300);

/// A directory to look into.
pub struct Request {
    /// Its name.
    pub directory: Name,
    /// The directory in which it is, and what it is called there.
    pub parent: Arc<OwnedFd>,
    /// See `parent`.
    pub component: Arc<[u8]>,
    /// The state of the tree at the moment.
    pub state: u64,
    /// How many names to look at.
    pub most: usize,
    /// Whether to go on with the directories below.
    pub deep: bool,
    /// The CPU of the tracer and, as far as it is leashed, the application.
    pub busy: Option<usize>,
}

/// A directory that is looked into.
#[derive(Clone, Debug)]
pub struct Place {
    /// The one that was asked for ...
    pub start: Name,
    /// ... and the path from there; empty for itself.
    pub below: Arc<[u8]>,
}

/// What is in a directory, or a part of it.
#[derive(Debug)]
pub struct Told {
    /// The directory.
    pub place: Place,
    /// The state of the tree when it was asked for.
    pub state: u64,
    /// Nothing more comes.
    pub is_all: bool,
    /// The directory itself, which the first part has.
    pub descriptor: Option<Arc<OwnedFd>>,
    names: Vec<u8>,
    found: Vec<(usize, Seen, u64)>,
}

impl Told {
    fn new(place: &Place, state: u64) -> Self {
        let place = place.clone();
        Told { place, state, is_all: false, descriptor: None, names: Vec::new(), found: Vec::new() }
    }

    fn push(&mut self, name: &[u8], seen: Seen, device: u64) {
        self.names.extend_from_slice(name);
        self.found.push((self.names.len(), seen, device));
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Each name with what is there and on which device.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Seen, u64)> {
        let mut start = 0;
        self.found.iter().map(move |(end, seen, device)| {
            let name = &self.names[start..*end];
            start = *end;
            (name, seen, *device)
        })
    }
}

/// The thread that looks, and the ways to it.
pub struct Scout {
    /// `None` once it is told to end.
    requests: Option<Sender<Request>>,
    told: Receiver<Told>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// The state of the tree: what was asked for in another is not looked at any more.
    state: AtomicU64,
    /// How many requests there are for which directories may be held open.
    pending: AtomicUsize,
    /// How many open directories were told of that nobody has heard of yet.
    told: AtomicUsize,
}

impl Scout {
    /// Starts the thread.
    pub fn new() -> io::Result<Self> {
        let (requests, wanted) = mpsc::channel();
        let (teller, told) = mpsc::channel();
        let shared =
            Arc::new(Shared { state: AtomicU64::new(0), pending: AtomicUsize::new(0), told: AtomicUsize::new(0) });
        let mut walk = Walk::new(Arc::clone(&shared), teller);
        let thread = thread::Builder::new().name("scout".into()).spawn(move || serve(&mut walk, &wanted))?;
        Ok(Scout { requests: Some(requests), told, shared, thread: Some(thread) })
    }

    /// Has a directory looked into.
    pub fn send(&self, request: Request) {
        self.shared.state.store(request.state, Ordering::Relaxed);
        self.shared.pending.fetch_add(1, Ordering::Relaxed);
        if let Some(requests) = &self.requests
            && requests.send(request).is_err()
        {
            // The thread has panicked, which was told: from here on nothing is looked at before it is asked for.
            self.shared.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What it has seen since the last time; `None` when that is nothing.
    pub fn hear(&self) -> Option<Told> {
        let told = self.told.try_recv().ok()?;
        self.shared.told.fetch_sub(usize::from(told.descriptor.is_some()), Ordering::Relaxed);
        Some(told)
    }

    /// From now on the tree has this `state`: what is still wanted of another is wanted no more.
    pub fn changed(&self, state: u64) {
        self.shared.state.store(state, Ordering::Relaxed);
    }

    /// Waits until no directory is held open, after [`changed`](Self::changed).
    pub fn rest(&self) {
        while self.shared.pending.load(Ordering::Acquire) > 0 && self.thread.as_ref().is_some_and(|t| !t.is_finished())
        {
            thread::yield_now();
        }
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        self.shared.state.store(u64::MAX, Ordering::Relaxed);
        drop(self.requests.take());
        // A panic has been told on standard error.
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Lets this thread run on all CPUs of `all` but `busy`, where it would only take time from those it is to help.
fn keep_away(all: &CpuSet, busy: usize) -> Result<(), Errno> {
    let mut mask = *all;
    mask.unset(busy)?;
    sched_setaffinity(Pid::from_raw(0), &mask)
}

/// Does what is `wanted` until nobody can want anything any more.
fn serve(walk: &mut Walk, wanted: &Receiver<Request>) {
    // It runs anywhere where there are more CPUs than a mask can have.
    let mut all = sched_getaffinity(Pid::from_raw(0)).ok();
    let (mut idle, mut avoided) = (None, None);
    loop {
        let request = match wanted.try_recv() {
            Ok(request) => request,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) if walk.go_on() => continue,
            Err(TryRecvError::Empty) if idle.get_or_insert_with(Instant::now).elapsed() < AWAKE => {
                thread::yield_now();
                continue;
            }
            Err(TryRecvError::Empty) => match wanted.recv() {
                Ok(request) => request,
                Err(_) => return,
            },
        };
        idle = None;
        if request.busy.is_some() && request.busy != avoided {
            avoided = request.busy;
            let refused = all.as_ref().zip(avoided).is_some_and(|(all, busy)| keep_away(all, busy).is_err());
            // For speed alone: whoever forbids it is not asked again.
            all = all.filter(|_| !refused);
        }
        walk.begin(&request);
    }
}
