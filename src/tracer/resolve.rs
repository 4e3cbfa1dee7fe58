//! From a path as the application asked for it to the chain of names the kernel passes.
//!
//! The walk is the kernel's (path_resolution(7)), one component after the other inside the root of the task, on
//! canonical paths of the sandbox's root: so `..` and absolute links are right also after `chroot`, and a path that
//! leaves the root is impossible. Links of `/proc` that lead to a file rather than to a name are followed by reading
//! them: the kernel prints paths from the root of the mount namespace of the file, which is the sandbox's root, or, in
//! a sandbox without a mount namespace, has it as a prefix.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;

use super::descriptors::Descriptors;
use super::names::{Kind, Name, Names, Seen, open_root};

/// Links that one walk may follow (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
const DELETED: &[u8] = b" (deleted)";

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The task, in the tracer's PID namespace.
    pub task: i32,
    /// Its root directory.
    pub root: Name,
    /// Where a relative path begins.
    pub base: Name,
}

/// What a walk passed and where it ended.
#[derive(Debug, Default)]
pub struct Chain {
    /// Links that were followed, and a file that was in the way of a directory.
    pub passed: Vec<Name>,
    /// Directories in which a name was looked up, in this order, which takes the right to search them.
    pub searched: Vec<Name>,
    /// The end; `None` when it has no name: a deleted file, a pipe.
    pub end: Option<End>,
    /// The link of `/proc` behind which such an end is.
    pub magic: Option<Name>,
    /// Whether the same walk has the same result until names change.
    pub lasting: bool,
}

impl Chain {
    /// Whether a call that opens what is there may open a directory.
    pub fn may_end_in_directory(&self) -> bool {
        // A link is the end only where links are not followed, or when there are too many.
        !self.lasting || self.end.as_ref().is_none_or(|end| end.seen == Seen::Dir)
    }
}

/// The end of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The last name there is something at, or the first with nothing.
    pub name: Name,
    /// What was to follow below the first name with nothing: no slash in front, no `.` or `..`.
    pub below: Vec<u8>,
    /// What is there.
    pub seen: Seen,
}

impl End {
    /// Whether the whole path leads to something.
    pub fn resolved(&self) -> bool {
        self.seen != Seen::Absent
    }
}

/// Resolves paths of the tasks of one sandbox.
pub struct Resolver {
    /// What is known.
    pub names: Names,
    /// The path of the sandbox's root as the tracer reads it; empty when it is `/`.
    prefix: Vec<u8>,
    /// Which of the ids in `NSpid` are those of the sandbox's `/proc`.
    level: usize,
    descriptors: Descriptors,
    text: Vec<u8>,
}

impl Resolver {
    /// For the sandbox whose root directory `task` has.
    pub fn new(task: i32) -> io::Result<Self> {
        let mut prefix = read_link(task, "root")?;
        if prefix == b"/" {
            prefix.clear();
        }
        let level = namespace_ids(task, "NSpid:").len().saturating_sub(1);
        let names = Names::new(open_root(task)?)?;
        Ok(Resolver { names, prefix, level, descriptors: Descriptors::default(), text: Vec::new() })
    }

    /// The name of what `/proc/TASK/LINK` leads to: `cwd`, `root`, `exe`, `fd/N`. `None` when it has none.
    pub fn descriptor(&mut self, task: i32, link: &str) -> io::Result<Option<Name>> {
        match read_link(task, link) {
            Ok(text) => self.by_text(&text),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::EBADF)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The name of the directory that is open in `task` under this number, and whether it has it until directories are
    /// renamed. `None` when there is none, or it has no name.
    pub fn directory(&mut self, task: i32, number: i32) -> io::Result<Option<(Name, bool)>> {
        let mut text = std::mem::take(&mut self.text);
        let found = match self.descriptors.read(task, number, &mut text) {
            Ok(Some(name)) if self.names.is_valid(name) => Ok(Some((name, true))),
            Ok(_) => self.by_text(&text).map(|found| {
                // Whether such an end is a name depends on what is there.
                let lasting = !text.ends_with(DELETED);
                if let Some(name) = found.filter(|_| lasting) {
                    self.descriptors.learn(task, number, &text, name);
                }
                found.map(|name| (name, lasting))
            }),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::EBADF)) => Ok(None),
            Err(e) => Err(e),
        };
        self.text = text;
        found
    }

    /// The name that the kernel prints as `text`.
    fn by_text(&mut self, text: &[u8]) -> io::Result<Option<Name>> {
        let Some(path) = text.strip_prefix(&*self.prefix).filter(|p| p.is_empty() || p.starts_with(b"/")) else {
            return Ok(None);
        };
        if let Some(stem) = path.strip_suffix(DELETED) {
            let literal = self.names.at(path);
            if self.names.look(literal)?.0 == Seen::Absent {
                return Ok(Some(self.names.at(stem)));
            }
        }
        Ok(Some(self.names.at(path)))
    }

    /// Walks `path`. A link in the last component is followed if `follow`.
    pub fn walk(&mut self, asker: &Asker, path: &[u8], follow: bool) -> io::Result<Chain> {
        self.names.tidy();
        let mut chain = Chain { lasting: true, ..Chain::default() };
        let mut rest = Cow::Borrowed(path);
        let mut at = 0;
        let mut links = 0;
        let mut here = if path.starts_with(b"/") { asker.root } else { asker.base };
        // Directories that are only assumed so far: where a walk begins.
        let mut here_is = Seen::Dir;
        loop {
            let Some((start, end)) = component(&rest, at) else {
                chain.end = Some(End { name: here, below: Vec::new(), seen: here_is });
                return Ok(chain);
            };
            let name = &rest[start..end];
            at = end;
            if chain.searched.last() != Some(&here) {
                chain.searched.push(here);
            }
            if name == b"." {
                continue;
            }
            if name == b".." {
                if here != asker.root {
                    here = self.names.parent(here);
                }
                continue;
            }
            let (last, slash) = (component(&rest, at).is_none(), at < rest.len());
            let child = self.names.child(here, name);
            let (seen, lasting) = self.look(asker, child, here)?;
            chain.lasting &= lasting;
            match seen {
                Seen::Dir => {
                    here = child;
                    here_is = Seen::Dir;
                }
                Seen::Link(target) if !last || follow || slash => {
                    links += 1;
                    chain.passed.push(child);
                    if links > MAX_LINKS {
                        chain.end = Some(End { name: child, below: Vec::new(), seen: Seen::Absent });
                        return Ok(chain);
                    }
                    if self.is_magic(child, here) {
                        chain.lasting = false;
                        chain.magic = (last && !slash).then_some(child);
                        let Some(target) = self.jump(child)? else { return Ok(chain) };
                        let (seen, _) = self.names.look(target)?;
                        match seen {
                            Seen::Dir => (here, here_is) = (target, seen),
                            _ if last && seen != Seen::Absent => {
                                chain.end = Some(End { name: target, below: Vec::new(), seen });
                                return Ok(chain);
                            }
                            _ => return Ok(chain),
                        }
                        continue;
                    }
                    let mut next = target.to_vec();
                    next.extend_from_slice(&rest[at..]);
                    (rest, at) = (Cow::Owned(next), 0);
                    if target.starts_with(b"/") {
                        here = asker.root;
                    }
                    here_is = Seen::Dir;
                    if target.is_empty() {
                        chain.end = Some(End { name: child, below: Vec::new(), seen: Seen::Absent });
                        return Ok(chain);
                    }
                }
                Seen::Link(_) | Seen::Other if last && !slash => {
                    chain.end = Some(End { name: child, below: Vec::new(), seen });
                    return Ok(chain);
                }
                // Not a directory, or nothing at all: what is left was asked for in vain.
                found => {
                    if found != Seen::Absent && !last {
                        chain.passed.push(child);
                    }
                    let below = remaining(&rest, at);
                    let seen = if last && found != Seen::Absent { found } else { Seen::Absent };
                    chain.end = Some(End { name: child, below, seen });
                    return Ok(chain);
                }
            }
        }
    }

    /// What is at `child` of `dir`, as `asker` sees it: `/proc/self` is another link for each.
    fn look(&mut self, asker: &Asker, child: Name, dir: Name) -> io::Result<(Seen, bool)> {
        let top = |names: &Names| dir == names.root() || names.kind(names.parent(dir)) != Kind::Proc;
        // The kind of a directory is known once something was looked up in it.
        let (seen, lasting) = self.names.look(child)?;
        if self.names.kind(dir) != Kind::Proc || !top(&self.names) {
            return Ok((seen, lasting));
        }
        let target = match self.names.last(child) {
            b"self" => self.namespace_id(asker.task, "NStgid:").to_string(),
            b"thread-self" => {
                let process = self.namespace_id(asker.task, "NStgid:");
                format!("{process}/task/{}", self.namespace_id(asker.task, "NSpid:"))
            }
            _ => return Ok((seen, lasting)),
        };
        Ok((Seen::Link(target.into_bytes().into()), false))
    }

    fn namespace_id(&self, task: i32, field: &str) -> i32 {
        let ids = namespace_ids(task, field);
        ids.get(self.level).or(ids.last()).copied().unwrap_or(0)
    }

    /// Whether the link `child` of `dir` leads to an open file instead of a name.
    fn is_magic(&self, child: Name, dir: Name) -> bool {
        self.names.kind(dir) == Kind::Proc
            && (matches!(self.names.last(child), b"cwd" | b"root" | b"exe")
                || matches!(self.names.last(dir), b"fd" | b"map_files" | b"ns"))
    }

    fn jump(&mut self, link: Name) -> io::Result<Option<Name>> {
        match self.names.read_magic_link(link) {
            Some(text) if text.starts_with(b"/") => self.by_text(&text),
            _ => Ok(None),
        }
    }
}

/// The bounds of the next component from `at` on.
fn component(path: &[u8], at: usize) -> Option<(usize, usize)> {
    let start = at + path[at..].iter().position(|&b| b != b'/')?;
    let len = path[start..].iter().position(|&b| b == b'/').unwrap_or(path.len() - start);
    Some((start, start + len))
}

/// What follows `at`, up to a `..`, which no absent directory has.
fn remaining(path: &[u8], at: usize) -> Vec<u8> {
    let components = path[at..].split(|&b| b == b'/').filter(|c| !matches!(*c, b"" | b"."));
    components.take_while(|c| *c != b"..").collect::<Vec<_>>().join(&b'/')
}

fn read_link(task: i32, link: &str) -> io::Result<Vec<u8>> {
    fs::read_link(format!("/proc/{task}/{link}")).map(|path| OsString::from(path).into_vec())
}

/// The ids of a task in the PID namespaces it is in, outermost (the tracer's) first.
fn namespace_ids(task: i32, field: &str) -> Vec<i32> {
    let status = fs::read_to_string(format!("/proc/{task}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}
