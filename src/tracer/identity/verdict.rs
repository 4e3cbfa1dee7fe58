//! What becomes of a stopped call, and what is found out about the paths that it names.

use std::io;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::stat::FileStat;

use super::super::memory::{read_exact, read_path, write_exact};
use super::super::names::{Kind, Name, Names, Stamp};
use super::super::record::{Ask, From as Origin, Recorder};
use super::super::resolve::Chain;
use super::super::tasks::Task;
use super::StatLayout;
use super::Want;
use super::credentials::Credentials;
use super::file::FileIdentity;
use super::files::{Files, Spot, unknown};
use super::people::People;
use super::sockets::Sockets;
use super::{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, Identity};
use crate::base::ImagePath;

/// What becomes of a stopped call.
#[derive(Debug)]
pub enum Verdict {
    /// It is made.
    Pass,
    /// It is not made and returns this: a value, or an error number below 0.
    Answer(i64),
    /// It is made, and something is to be done with what it returns.
    Await(AtExit),
}

impl From<Result<i64, Errno>> for Verdict {
    fn from(result: Result<i64, Errno>) -> Self {
        Verdict::Answer(result.unwrap_or_else(|errno| -i64::from(errno as i32)))
    }
}

/// What is to be done when a call has returned.
#[derive(Debug)]
pub enum AtExit {
    /// Whose the file is goes into the structure that it wrote; `None`: whose the structure itself says.
    Stat {
        /// Of the structure.
        layout: StatLayout,
        /// Where it is.
        buffer: u64,
        /// Whose the file is, if that is known already.
        identity: Option<FileIdentity>,
    },
    /// It opened a new file without a name in this directory.
    Nameless {
        /// Whose directory.
        parent: FileIdentity,
        /// Who opens it.
        maker: Rc<Credentials>,
    },
}

/// A stopped task with what is known of it.
pub struct Caller<'a> {
    /// Its id, in the tracer's PID namespace.
    pub id: i32,
    /// What is kept of it.
    pub task: &'a Task,
    /// Who knows where paths lead.
    pub recorder: &'a mut Recorder,
}

impl Caller<'_> {
    /// Writes into its memory.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        write_exact(self.id, address, bytes).ok_or(Errno::EFAULT)
    }

    /// Reads its memory.
    pub fn read(&self, address: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; len];
        read_exact(self.id, address, &mut bytes).ok_or(Errno::EFAULT)?;
        Ok(bytes)
    }

    /// Reads a string of its memory; `None` when that fails, and then the call does.
    pub fn string(&self, address: u64) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        read_path(self.id, address, &mut out)?;
        Some(out)
    }
}

/// Where a path leads.
#[derive(Debug)]
pub enum Located {
    /// To a file.
    At(Spot),
    /// To a name in a directory at which there is nothing.
    Missing(Name),
    /// To nothing: the call fails by itself.
    Nowhere,
    /// To something without a name, or nobody knows where.
    Blind,
}

/// Identities of one sandbox.
pub struct Virtual {
    /// Who each task is.
    pub people: People,
    /// Whose each file is.
    pub files: Files,
    /// Who stood behind which socket.
    pub sockets: Sockets,
    /// The files are the machine's own.
    pub in_place: bool,
    /// Whose directories are, as long as nothing has changed.
    directories: std::collections::HashMap<Name, (Stamp, FileIdentity)>,
}

impl Virtual {
    /// Nobody is there yet.
    pub fn new(identity: &Identity) -> Self {
        Virtual {
            people: People::default(),
            files: Files::new(std::sync::Arc::clone(&identity.owners)),
            sockets: Sockets::default(),
            in_place: identity.in_place,
            directories: std::collections::HashMap::new(),
        }
    }

    /// Where `path` leads when `who` looks for it.
    ///
    /// # Errors
    /// The inner one is EACCES: `who` may not search a directory on the way.
    pub fn locate(
        &mut self,
        caller: &mut Caller<'_>,
        who: &Credentials,
        ask: &Ask,
        path: &[u8],
    ) -> io::Result<Result<Located, Errno>> {
        if path.is_empty() {
            return Ok(Ok(if ask.empty { self.descriptor(caller, ask)? } else { Located::Nowhere }));
        }
        let Some(chain) = caller.recorder.walk(caller.id, caller.task, ask, path)? else {
            return Ok(Ok(Located::Blind));
        };
        let names = caller.recorder.names(caller.id)?;
        if !who.has(CAP_DAC_OVERRIDE) && !who.has(CAP_DAC_READ_SEARCH) {
            for &dir in &chain.searched {
                let Ok(identity) = self.directory(names, dir) else { continue };
                if let Err(errno) = who.may(&identity, Want::EXECUTE) {
                    return Ok(Err(errno));
                }
            }
        }
        Ok(Ok(located(names, chain, path)))
    }

    /// What a descriptor stands for, or the current directory.
    fn descriptor(&mut self, caller: &mut Caller<'_>, ask: &Ask) -> io::Result<Located> {
        let link = match ask.from {
            Origin::Current => "cwd".to_string(),
            Origin::Descriptor(number) => format!("fd/{number}"),
        };
        self.link(caller, &link)
    }

    /// What `/proc/TASK/LINK` leads to.
    pub fn link(&mut self, caller: &mut Caller<'_>, link: &str) -> io::Result<Located> {
        let name = match caller.recorder.descriptor(caller.id, link) {
            Ok(name) => name,
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENAMETOOLONG | libc::EACCES | libc::EPERM)) => None,
            Err(e) => return Err(e),
        };
        Ok(Located::At(Spot::Open(format!("/proc/{}/{link}", caller.id), name)))
    }

    /// Whose the file at `spot` is, whose real metadata are given. What has neither name nor owner belongs to who asks.
    pub fn owner(&mut self, names: &Names, spot: &Spot, stat: &FileStat, who: &Credentials) -> FileIdentity {
        self.files.settle(None);
        if let Some(identity) = self.files.bound(stat) {
            return identity;
        }
        let Some(name) = spot.name() else {
            return FileIdentity::new(who.uid.filesystem, who.gid.filesystem, stat.st_mode);
        };
        if let Some(identity) = self.files.base(names, name, stat) {
            return identity;
        }
        // What has no path is nobody's in particular.
        let path = ImagePath::parse(names.path(name)).ok();
        self.of_process(path.as_ref(), stat).unwrap_or_else(|| unknown(stat, path.as_ref()))
    }

    /// Whose a file in `/proc/PID` is: as the process acts.
    fn of_process(&mut self, path: Option<&ImagePath>, stat: &FileStat) -> Option<FileIdentity> {
        let mut components = path?.components();
        let number = match (components.next()?, components.next()?) {
            (b"proc", number) => std::str::from_utf8(number).ok()?.parse().ok()?,
            _ => return None,
        };
        let task = self.people.inside(number)?;
        let process = self.people.get(task)?;
        Some(FileIdentity::new(process.uid.effective, process.gid.effective, stat.st_mode))
    }

    /// Metadata, real and virtual, of the file at `spot`.
    pub fn identify(
        &mut self,
        caller: &mut Caller<'_>,
        spot: &Spot,
        who: &Credentials,
    ) -> io::Result<Result<(FileStat, FileIdentity), Errno>> {
        let stat = match spot.stat() {
            Ok(stat) => stat,
            Err(errno) => return Ok(Err(errno)),
        };
        let names = caller.recorder.names(caller.id)?;
        let identity = self.owner(names, spot, &stat, who);
        Ok(Ok((stat, identity)))
    }

    /// Whose the directory at `name` is.
    pub fn directory(&mut self, names: &mut Names, name: Name) -> Result<FileIdentity, Errno> {
        self.files.settle(None);
        if let Some((stamp, identity)) = self.directories.get(&name)
            && names.is_current(stamp)
        {
            return Ok(*identity);
        }
        let spot = Spot::at(names, name)?;
        let stat = spot.stat()?;
        let nobody = Credentials::new(0, 0, Vec::new(), 0);
        let identity = self.owner(names, &spot, &stat, &nobody);
        if names.kind(name) == Kind::Ordinary {
            self.directories.insert(name, (names.stamp(name), identity));
        }
        Ok(identity)
    }

    /// Whose a file is has changed.
    pub fn bind(&mut self, spot: &Spot, stat: &FileStat, identity: FileIdentity) {
        if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            self.directories.clear();
        }
        self.files.bind(spot, stat, identity);
    }

    /// `task` has stopped, for whatever reason: its call is over.
    pub fn settle(&mut self, task: i32) {
        self.files.settle(Some(task));
    }
}

fn located(names: &mut Names, chain: Chain, path: &[u8]) -> Located {
    let Some(end) = chain.end else {
        let place = chain.magic.and_then(|link| names.place(link).ok());
        return place.map_or(Located::Blind, |(dir, component)| Located::At(Spot::Behind(dir, component)));
    };
    // A file in the way of a directory, or a link that leads in circles.
    if chain.passed.last() == Some(&end.name) || !end.below.is_empty() {
        return Located::Nowhere;
    }
    if !end.resolved() {
        return Located::Missing(end.name);
    }
    if path.ends_with(b"/") && end.seen != super::super::names::Seen::Dir {
        return Located::Nowhere;
    }
    match Spot::at(names, end.name) {
        Ok(spot) => Located::At(spot),
        Err(_) => Located::Nowhere,
    }
}
