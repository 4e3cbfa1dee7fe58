//! From one use of a path to the records of all names it passes.

mod program;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::rc::{Rc, Weak};

use super::Map;
use super::fold::{Fold, PathId, User};
use super::names::{Kind, Name, Names, Seen, Stamp};
use super::open_files::OpenFiles;
use super::resolve::{Asker, Chain, End, Resolver};
use super::syscalls::Effect;
use super::tasks::Task;
use super::unreached::Unreached;
use super::witness::{self, Witness};
use crate::base::ImagePath;
use crate::observation::Operation;

/// How many answers are kept; more than this and all are forgotten.
const MAX_ANSWERS: usize = 1 << 20;

/// One path in a call, its bytes aside.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// What is done to it.
    pub operation: Operation,
    /// Where it begins, unless it is absolute.
    pub from: From,
    /// Whether a link in the last component is followed.
    pub follow: bool,
    /// Whether an empty path means the descriptor.
    pub empty: bool,
    /// Whether the directory is the root for this path (`RESOLVE_IN_ROOT`).
    pub rooted: bool,
    /// What is changed.
    pub effect: Effect,
}

impl Ask {
    /// How the kernel looks for interpreters.
    pub const LOAD: Ask = Ask {
        operation: Operation::Load,
        from: From::Current,
        follow: true,
        empty: false,
        rooted: false,
        effect: Effect::None,
    };
}

/// Where a relative path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The current directory.
    Current,
    /// The directory of a descriptor.
    Descriptor(i32),
}

/// One record that a use makes.
struct Hit {
    path: PathId,
    operation: Operation,
    resolved: bool,
}

/// What a use made the last time.
struct Answer {
    hits: Box<[Hit]>,
    stamp: Stamp,
    directory: bool,
}

/// Everything that is recorded.
#[derive(Default)]
pub struct Recorder {
    resolver: Option<Resolver>,
    /// All accesses.
    pub fold: Fold,
    answers: Map<Box<[u8]>, Answer>,
    key: Vec<u8>,
    /// How many directories were renamed: current directories are read again then.
    renames: u64,
    /// How many calls are under way that rename one, or change mounts.
    moving: u32,
    /// Tables that may be the same as others, because who made their tasks is a guess.
    strays: Vec<Weak<RefCell<OpenFiles>>>,
    /// How many may put descriptors into any table (`SECCOMP_IOCTL_NOTIF_ADDFD`).
    pub listeners: u32,
    /// What could not be seen.
    pub gaps: BTreeSet<String>,
    /// What a user should know, in the order it was seen.
    pub warnings: Vec<String>,
    /// Where the application could not get to.
    pub unreached: Unreached,
    /// The number of the running probe.
    pub probe: u32,
    /// Who is told of changes before they are made.
    pub witness: Option<Box<dyn Witness>>,
    /// The path that the witness could not answer for, and what was about to be done to it.
    pub unsaved: Option<(ImagePath, Operation)>,
}

impl Recorder {
    /// The resolver, for the sandbox whose root the first task that asks has.
    fn resolver(&mut self, id: i32) -> io::Result<&mut Resolver> {
        if self.resolver.is_none() {
            self.resolver = Some(Resolver::new(id)?);
        }
        self.resolver.as_mut().ok_or_else(|| io::Error::other("no resolver"))
    }

    fn user(&self, task: &Task) -> User {
        User { tree: task.tree, executable: task.executable, probe: self.probe }
    }

    /// Notes that something cannot be seen.
    pub fn gap(&mut self, name: &str) {
        if !self.gaps.contains(name) {
            self.gaps.insert(name.into());
        }
    }

    /// Notes something a user should know, once.
    pub fn warn(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// Records one use of `path` by the stopped task `id`.
    pub fn access(&mut self, id: i32, task: &mut Task, ask: &Ask, path: &[u8]) -> io::Result<()> {
        let opens = may_open(ask.operation);
        if ask.operation == Operation::Watch {
            self.resolver(id)?.names.keep_still();
        }
        if path.is_empty() && !ask.empty {
            return Ok(()); // ENOENT, whatever there is.
        }
        let Some(asker) = self.asker(id, task, ask, path)? else {
            if opens {
                self.renumber(task);
            }
            return Ok(());
        };
        let user = self.user(task);
        let cached = match self.witness {
            Some(_) => ask.effect == Effect::None,
            None => ask.effect.keeps_names(),
        };
        if cached {
            if let Some(directory) = self.one_name(ask, &asker, path, &user)? {
                if opens {
                    self.open(task, directory);
                }
                return Ok(());
            }
            self.set_key(ask, &asker, path);
            if let Some(directory) = self.recall(&user) {
                if opens {
                    self.open(task, directory);
                }
                return Ok(());
            }
        }
        let resolver = self.resolver(id)?;
        let chain = resolver.walk(&asker, path, ask.follow)?;
        let hits = self.hits(&chain, ask.operation);
        for hit in &hits {
            self.fold.add(hit.path, hit.operation, hit.resolved, &user);
        }
        if cached {
            self.remember(&chain, hits);
            if ask.operation == Operation::Open
                && let (Some(End { name, seen: Seen::Dir, .. }), Some(resolver)) = (&chain.end, &mut self.resolver)
            {
                resolver.names.opened(*name);
            }
        } else {
            self.tell(ask, chain.end.as_ref())?;
            self.change(task, ask.effect, chain.end.as_ref());
        }
        if opens {
            self.open(task, chain.may_end_in_directory());
        }
        Ok(())
    }

    /// Records the use of a name in the directory where the path begins, if that is all there is to it: what is known of
    /// the name is the answer, so that none has to be kept. Whether there is a directory.
    fn one_name(&mut self, ask: &Ask, asker: &Asker, path: &[u8], user: &User) -> io::Result<Option<bool>> {
        let Some(Resolver { names, .. }) = &mut self.resolver else { return Ok(None) };
        if path.contains(&b'/') || matches!(path, b"" | b"." | b"..") || names.kind(asker.base) != Kind::Ordinary {
            return Ok(None);
        }
        names.tidy();
        let name = names.child(asker.base, path);
        let (seen, lasting) = names.look(name)?;
        if !lasting || ask.follow && matches!(seen, Seen::Link(_)) {
            return Ok(None);
        }
        let directory = seen == Seen::Dir;
        if directory && ask.operation == Operation::Open {
            names.opened(name);
        }
        let path = names.path_id(name, &mut self.fold);
        self.fold.add(path, ask.operation, seen != Seen::Absent, user);
        Ok(Some(directory))
    }

    /// A call of `task` begins that may open what was just looked up: a `directory`, or something else.
    fn open(&mut self, task: &mut Task, directory: bool) {
        if directory {
            return self.renumber(task);
        }
        if !task.changing.opening {
            (task.changing.opening, task.changing.any) = (true, true);
            task.files.borrow_mut().open(self.state());
        }
    }

    /// A call of `task` begins that may put a directory at any number.
    pub fn renumber(&mut self, task: &mut Task) {
        if !task.changing.files {
            (task.changing.files, task.changing.any) = (true, true);
            task.files.borrow_mut().unsettle();
        }
    }

    /// This table may be one that other tasks have, too, which are not known to share it.
    pub fn stray(&mut self, files: &Rc<RefCell<OpenFiles>>) {
        self.strays.push(Rc::downgrade(files));
        self.renames += 1;
    }

    /// Whether every table is known for what it is.
    fn no_strays(&mut self) -> bool {
        if !self.strays.is_empty() {
            self.strays.retain(|files| files.upgrade().is_some_and(|files| !files.borrow().is_certain()));
            // What was known before they came may have changed meanwhile.
            self.renames += u64::from(self.strays.is_empty());
        }
        self.strays.is_empty()
    }

    fn state(&self) -> u64 {
        self.resolver.as_ref().map_or(0, |resolver| resolver.names.state())
    }

    /// Where `path` leads, without recording anything; `None` when that place has no name.
    pub fn walk(&mut self, id: i32, task: &Task, ask: &Ask, path: &[u8]) -> io::Result<Option<Chain>> {
        let Some(asker) = self.asker(id, task, ask, path)? else { return Ok(None) };
        self.resolver(id)?.walk(&asker, path, ask.follow).map(Some)
    }

    /// The tree of names.
    pub fn names(&mut self, id: i32) -> io::Result<&mut Names> {
        Ok(&mut self.resolver(id)?.names)
    }

    /// The name of what `/proc/ID/LINK` leads to.
    pub fn descriptor(&mut self, id: i32, link: &str) -> io::Result<Option<Name>> {
        self.resolver(id)?.descriptor(id, link)
    }

    /// Forgets what the call changed from which `task` has returned.
    pub fn settle(&mut self, task: &mut Task) {
        if !task.changing.any {
            return;
        }
        let changing = std::mem::take(&mut task.changing);
        if changing.files {
            task.files.borrow_mut().settle();
        }
        if changing.opening {
            task.files.borrow_mut().opened(self.state());
        }
        if let Some(resolver) = &mut self.resolver {
            for name in changing.names.into_iter().flatten() {
                resolver.names.settle(name);
            }
            if changing.mounts {
                resolver.names.calm();
            }
            for _ in 0..u32::from(changing.structure) + u32::from(changing.mounts) {
                self.renames += 1;
                self.moving = self.moving.saturating_sub(1);
            }
        }
        if changing.directories {
            let mut directories = task.directories.borrow_mut();
            directories.unsettled = directories.unsettled.saturating_sub(1);
            (directories.root, directories.current) = (None, None);
        }
    }

    /// Tells the witness what the call that begins may change. The call must not go on when it fails.
    fn tell(&mut self, ask: &Ask, end: Option<&End>) -> io::Result<()> {
        let (Some(witness), Some(resolver)) = (&mut self.witness, &self.resolver) else { return Ok(()) };
        if ask.effect == Effect::Mount {
            let text = "the application changes mounts: what it changes in other file systems is not put back";
            self.warn(text.into());
            return Ok(());
        }
        let Some((end, change)) = end.and_then(|end| Some((end, witness::change(ask, end)?))) else { return Ok(()) };
        let path = end_path(&resolver.names, end);
        witness.about_to_change(&path, change).inspect_err(|_| self.unsaved = Some((path, ask.operation)))
    }

    /// Notes what the call that begins may change.
    pub fn change(&mut self, task: &mut Task, effect: Effect, end: Option<&End>) {
        let Some(resolver) = &mut self.resolver else { return };
        match effect {
            Effect::None | Effect::Content | Effect::Metadata => return,
            Effect::Directory | Effect::Mount => {
                if !task.changing.directories {
                    task.changing.directories = true;
                    task.directories.borrow_mut().unsettled += 1;
                }
                if effect == Effect::Mount && !task.changing.mounts {
                    task.changing.mounts = true;
                    self.renames += 1;
                    self.moving += 1;
                    resolver.names.disturb();
                }
            }
            Effect::Create | Effect::CreateOrWrite | Effect::Replace | Effect::Move | Effect::Target(_) => {
                let Some(end) = end.filter(|end| end.below.is_empty()) else { return };
                // What is there stays: the call fails, or opens it.
                if matches!(effect, Effect::Create | Effect::CreateOrWrite) && end.resolved() {
                    return;
                }
                let Some(slot) = task.changing.names.iter_mut().find(|slot| slot.is_none()) else { return };
                *slot = Some(end.name);
                if resolver.names.unsettle(end.name) && !task.changing.structure {
                    task.changing.structure = true;
                    self.renames += 1;
                    self.moving += 1;
                }
            }
        }
        task.changing.any = true;
    }

    /// Where the walk begins; `None` when that place has no name, or the task is gone.
    fn asker(&mut self, id: i32, task: &Task, ask: &Ask, path: &[u8]) -> io::Result<Option<Asker>> {
        match self.find_asker(id, task, ask, path) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
            // A directory deeper than a path can be long, or one of a process that even root must not look into.
            // What is changed there could not be told.
            Err(e) if self.witness.is_some() && ask.effect != Effect::None => Err(e),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENAMETOOLONG | libc::EACCES | libc::EPERM)) => {
                self.gap("unreadable_directory");
                Ok(None)
            }
            other => other,
        }
    }

    fn find_asker(&mut self, id: i32, task: &Task, ask: &Ask, path: &[u8]) -> io::Result<Option<Asker>> {
        let seen = self.listeners == 0 && self.no_strays();
        let (renames, still) = (self.renames, self.moving == 0);
        let resolver = self.resolver(id)?;
        let mut directories = task.directories.borrow_mut();
        let fresh = directories.unsettled == 0 && directories.renames == renames && still;
        let valid = |name: Option<_>, names: &Names| name.filter(|&n| fresh && names.is_valid(n));
        let root = match valid(directories.root, &resolver.names) {
            Some(root) => root,
            None => {
                directories.current = None;
                directories.renames = renames;
                let Some(root) = resolver.descriptor(id, "root")? else { return Ok(None) };
                directories.root = Some(root);
                root
            }
        };
        if path.starts_with(b"/") && !ask.rooted {
            return Ok(Some(Asker { task: id, root, base: root }));
        }
        let base = match ask.from {
            From::Current => match valid(directories.current, &resolver.names) {
                Some(current) => Some(current),
                None => {
                    let current = resolver.descriptor(id, "cwd")?;
                    directories.current = current;
                    current
                }
            },
            From::Descriptor(number) => {
                let mut files = task.files.borrow_mut();
                let steady = files.is_steady(resolver.names.state(), renames) && still && seen;
                // An empty path is the descriptor itself, which may be that of a file by now.
                let known =
                    files.known(number).filter(|&name| steady && !path.is_empty() && resolver.names.is_valid(name));
                match known {
                    Some(name) => Some(name),
                    None => resolver.directory(id, number)?.map(|(name, lasting)| {
                        if steady && lasting {
                            files.learn(number, name);
                        }
                        name
                    }),
                }
            }
        };
        Ok(base.map(|base| Asker { task: id, root: if ask.rooted { base } else { root }, base }))
    }

    fn set_key(&mut self, ask: &Ask, asker: &Asker, path: &[u8]) {
        self.key.clear();
        self.key.extend([ask.operation as u8, u8::from(ask.follow)]);
        for part in [asker.root, asker.base].into_iter().flat_map(Names::identity) {
            self.key.extend(part.to_le_bytes());
        }
        self.key.extend_from_slice(path);
    }

    /// Records what the use in `key` made the last time, if that still holds. Whether it led to a directory then.
    fn recall(&mut self, user: &User) -> Option<bool> {
        let answer = self.answers.get(&*self.key)?;
        let current = self.resolver.as_ref().is_some_and(|r| r.names.is_current(&answer.stamp));
        if current {
            for hit in &answer.hits {
                self.fold.add(hit.path, hit.operation, hit.resolved, user);
            }
        }
        current.then_some(answer.directory)
    }

    fn remember(&mut self, chain: &Chain, hits: Vec<Hit>) {
        let (Some(end), Some(resolver)) = (chain.end.as_ref().filter(|_| chain.lasting), &self.resolver) else {
            return;
        };
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.clear();
        }
        let stamp = resolver.names.stamp(end.name);
        let answer = Answer { hits: hits.into(), stamp, directory: chain.may_end_in_directory() };
        self.answers.insert(self.key.as_slice().into(), answer);
    }

    fn hits(&mut self, chain: &Chain, operation: Operation) -> Vec<Hit> {
        let Some(resolver) = &mut self.resolver else { return Vec::new() };
        let mut hits = Vec::with_capacity(chain.passed.len() + 1);
        for &name in &chain.passed {
            let path = resolver.names.path_id(name, &mut self.fold);
            hits.push(Hit { path, operation: Operation::Traverse, resolved: true });
        }
        if let Some(end) = &chain.end {
            let path = match end.below.is_empty() {
                true => resolver.names.path_id(end.name, &mut self.fold),
                false => self.fold.path(&end_path(&resolver.names, end)),
            };
            hits.push(Hit { path, operation, resolved: end.resolved() });
        }
        hits
    }

    fn image_path(&mut self, id: i32, end: &End) -> io::Result<ImagePath> {
        Ok(end_path(&self.resolver(id)?.names, end))
    }
}

/// Whether a call that does this to a path may return a descriptor of what is there.
fn may_open(operation: Operation) -> bool {
    // `open_tree` is among those that are about mounts.
    matches!(operation, Operation::Open | Operation::Create | Operation::Write | Operation::Mount)
}

fn end_path(names: &Names, end: &End) -> ImagePath {
    let mut path = names.path(end.name);
    path.push(b'/');
    path.extend_from_slice(&end.below);
    // Components come from calls and from links: no NUL, no `..`.
    ImagePath::parse(path).unwrap_or_else(|_| ImagePath::root())
}
