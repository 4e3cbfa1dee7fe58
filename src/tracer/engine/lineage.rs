//! Who is whose child: tasks that begin, become another program, and end.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::tracer::engine::descriptors;
use crate::tracer::engine::{CLAIM, CLONE_FILES, CLONE_FS, CLONE_NEWNS, Engine, status_field};
use crate::tracer::events::{End, Event, Tree};
use crate::tracer::identity::Caller;
use crate::tracer::memory::read_word;
use crate::tracer::open_files::OpenFiles;
use crate::tracer::stop::{AttachedStop, ChildStop, ExecStop, SignalStop};
use crate::tracer::syscalls::Action;
use crate::tracer::tasks::{Origin, Task};
use crate::tracer::wait;

/// How long ago a task may have been killed to be taken for the maker of one that nobody has told of.
const RECENT: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) fn ended(&mut self, id: i32, end: End) -> io::Result<()> {
        self.held.remove(&id);
        self.leash.ended(id);
        if let Some(identity) = &mut self.identity {
            identity.settle(id);
        }
        self.population.ended(id);
        self.guessed.remove(&id);
        let Some(mut task) = self.tasks.remove(&id) else {
            self.stillborn.insert(id);
            return Ok(());
        };
        self.recorder.settle(&mut task);
        if task.origin == Origin::Supervisor {
            self.supervisor = Some(end);
            // Nobody is left who could end them. Each is still ours to reap, so the ids are theirs.
            self.tasks.keys().chain(self.held.keys()).for_each(|&task| wait::kill(task));
        }
        if task.origin == Origin::Spawned {
            let end = match self.faulted.take_if(|(process, _)| *process == id) {
                Some((_, signal)) if end == End::Killed(libc::SIGKILL) => End::Killed(signal),
                _ => end,
            };
            self.send(Event::Exited { pid: id, tree: task.tree, end });
        }
        if end == End::Killed(libc::SIGKILL) {
            // What it was about to make may be there already.
            if let Some((before, ..)) = self.killed.replace((id, task.child(false, false), Instant::now())) {
                self.forget_person(before);
            }
        } else {
            self.forget_person(id);
        }
        Ok(())
    }

    /// Delivers a signal. Process 1 of a PID namespace is spared those that it does not handle, but for faults of its own,
    /// by which it ends; only when it is traced it is spared these, too (kernel/signal.c, `force_sig_info_to_task`), and
    /// would do for ever what it did. So it is killed, and has ended by the fault.
    pub(super) fn signal(&mut self, stop: SignalStop) -> io::Result<()> {
        if let Some(signal) = stop.fault()?
            && let Some(process) = spared(stop.task(), signal)
        {
            self.faulted = Some((process, signal));
            wait::kill(process);
        }
        stop.deliver()
    }

    /// Forgets who `id` was, if it is no more.
    fn forget_person(&mut self, id: i32) {
        if let Some(identity) = &mut self.identity
            && !self.tasks.contains_key(&id)
        {
            identity.people.ended(id);
        }
    }

    /// Lets new tasks go of which nobody has told: their makers were killed before they could. What they inherit is a
    /// guess, and [`correct`](Self::correct) puts it right should the maker be only slow.
    pub(super) fn adopt_unclaimed(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let overdue =
            |(&child, (_, since)): (&i32, &(AttachedStop, Instant))| (since.elapsed() >= CLAIM).then_some(child);
        let unclaimed: Vec<i32> = self.held.iter().filter_map(overdue).collect();
        for child in unclaimed {
            self.leash.orphan(child);
            let killed = self.killed.as_ref().filter(|(.., when)| when.elapsed() < RECENT);
            let (maker, mut task) = match killed {
                Some((maker, heir, _)) => (*maker, heir.child(false, false)),
                None => {
                    let parent = parent_of(child).unwrap_or_default();
                    (parent, self.newborn(parent, 0))
                }
            };
            self.introduce(maker, child, task.origin);
            self.share_with_anybody(&mut task);
            self.guessed.insert(child, maker);
            self.adopt(child, task)?;
        }
        Ok(())
    }

    /// What is made by `maker` with these clone flags.
    fn newborn(&self, maker: i32, flags: u64) -> Task {
        match self.tasks.get(&maker) {
            Some(maker) if maker.origin == Origin::Supervisor => Task::new(self.shared.tree(), Origin::Spawned),
            Some(maker) => maker.child(flags & CLONE_FS != 0, flags & CLONE_FILES != 0),
            None => Task::new(Tree::Application, Origin::Descendant),
        }
    }

    /// `task` may have the descriptors of any other.
    fn share_with_anybody(&mut self, task: &mut Task) {
        task.files = Rc::new(RefCell::new(OpenFiles::unknown()));
        self.recorder.stray(&task.files);
    }

    /// Tells the virtual identity of a new task.
    fn introduce(&mut self, maker: i32, child: i32, origin: Origin) {
        let Some(identity) = &mut self.identity else { return };
        match origin {
            Origin::Spawned => identity.people.spawned(child, self.shared.credentials()),
            _ => identity.people.forked(maker, child),
        }
    }

    fn adopt(&mut self, child: i32, task: Task) -> io::Result<()> {
        self.tasks.insert(child, task);
        match self.held.remove(&child) {
            Some((stop, _)) => stop.resume(),
            None => Ok(()),
        }
    }

    pub(super) fn child(&mut self, id: i32, stop: ChildStop) -> io::Result<()> {
        let Some(child) = stop.child()? else { return stop.resume() };
        let known = stop.origin()?.and_then(|(architecture, number, argument)| {
            match self.index.get(architecture, number).map(|call| &call.action) {
                Some(Action::Clone) => Some(argument),
                Some(Action::Clone3) => read_word(id, argument),
                _ => Some(0),
            }
        });
        let flags = known.unwrap_or(0);
        if flags & CLONE_NEWNS != 0 && self.tasks.get(&id).is_some_and(|maker| maker.origin != Origin::Supervisor) {
            self.recorder.gap("mount_namespace");
        }
        if self.stillborn.remove(&child) {
            return stop.resume();
        }
        let mut task = self.newborn(id, flags);
        if known.is_none() || !self.tasks.contains_key(&id) {
            self.share_with_anybody(&mut task);
        }
        match self.guessed.remove(&child) {
            Some(guess) => self.correct(child, task, id, guess, flags),
            None => {
                self.leash.child(id, child);
                self.introduce(id, child, task.origin);
                self.adopt(child, task)?;
            }
        }
        stop.resume()
    }

    /// `maker` tells of a child that was let go as one of `guess`.
    fn correct(&mut self, id: i32, certain: Task, maker: i32, guess: i32, flags: u64) {
        if guess != maker {
            self.introduce(maker, id, certain.origin);
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if flags & CLONE_FS != 0 {
            certain.directories.borrow_mut().unsettled += u32::from(task.changing.directories);
            task.directories = certain.directories;
        }
        // Since it has executed a program it has its own.
        if !task.files.borrow().is_certain() {
            certain.files.borrow_mut().join(&task.changing);
            task.files = certain.files;
        }
        (task.tree, task.origin) = (certain.tree, certain.origin);
        if guess != maker {
            task.executable = certain.executable;
        }
    }

    pub(super) fn executed(&mut self, id: i32, stop: ExecStop) -> io::Result<()> {
        // A thread that executes takes the id of its process; its own id is never heard of again.
        if let Some(former) = stop.former_task()?.filter(|&former| former != id) {
            self.leash.renamed(former, id);
            if let Some(identity) = &mut self.identity {
                identity.people.renamed(former, id);
            }
            if let Some(mut task) = self.tasks.remove(&former) {
                self.recorder.settle(&mut task);
                task.origin = self.tasks.get(&id).map_or(task.origin, |leader| leader.origin);
                self.tasks.insert(id, task);
            }
        }
        if let Some(task) = self.tasks.get_mut(&id)
            && task.origin != Origin::Supervisor
        {
            self.recorder.probe = self.shared.probe();
            task.awaited = None;
            descriptors::executed(id, task);
            let tree = task.tree;
            let executable = self.recorder.executed(id, task)?;
            if let Some(identity) = &mut self.identity
                && let Some(stack) = stop.stack()?
            {
                identity.executed(&mut Caller { id, task, recorder: &mut self.recorder }, stack)?;
            }
            if let Some(executable) = executable {
                self.send(Event::Exec { pid: id, tree, executable });
            }
        }
        stop.resume()
    }
}

/// The process that made `task`: for a thread that of which it is one.
fn parent_of(task: i32) -> Option<i32> {
    match status_field(task, "Tgid:")? {
        process if process != task => Some(process),
        _ => status_field(task, "PPid:"),
    }
}

/// The process of `task`, if it is the first of its PID namespace and does not handle `signal`.
fn spared(task: i32, signal: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{task}/status")).ok()?;
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let is_first = field("NStgid:")?.split_ascii_whitespace().next_back() == Some("1");
    let handled = u64::from_str_radix(field("SigCgt:")?, 16).ok()?;
    let is_handled = handled & 1 << (signal - 1) != 0;
    field("Tgid:")?.parse().ok().filter(|_| is_first && !is_handled)
}

/// Whether a process has ended that its parent has not waited for.
pub(super) fn is_zombie(task: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{task}/stat")).unwrap_or_default();
    // The name before the state may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}
