//! Programs: whether a user may execute one, who the process is then, and what the program is told about it.

use std::io;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, statvfs};

use super::super::decode::named;
use super::super::interpreter::{Interpreter, interpreter};
use super::super::memory::{read_exact, read_word, write_exact};
use super::super::record::Ask;
use super::super::syscalls::Place;
use super::Want;
use super::credentials::Credentials;
use super::file::FileIdentity;
use super::verdict::{Caller, Located, Verdict, Virtual};

/// Interpreters of interpreters that the kernel follows.
const MAX_INTERPRETERS: usize = 5;
/// Entries of the auxiliary vector (`linux/auxvec.h`).
const AT_NULL: u64 = 0;
const AT_UID: u64 = 11;
const AT_EUID: u64 = 12;
const AT_GID: u64 = 13;
const AT_EGID: u64 = 14;
const AT_SECURE: u64 = 23;
/// Words of a stack that are looked through for the auxiliary vector: more arguments than the kernel takes.
const MAX_WORDS: u64 = 1 << 22;

impl Virtual {
    /// `execve`: whether it may be.
    pub fn execute(&mut self, caller: &mut Caller<'_>, place: &Place, arguments: &[u64; 6]) -> io::Result<Verdict> {
        let Some(who) = self.people.executing(caller.id) else { return Ok(Verdict::Pass) };
        let id = caller.id;
        let Some(named) = named(place, arguments, |address| read_word(id, address)) else { return Ok(Verdict::Pass) };
        let path = match named.address {
            0 => return Ok(Verdict::Pass),
            address => caller.string(address),
        };
        let (Some(mut path), mut ask) = (path, named.ask) else { return Ok(Verdict::Pass) };
        for _ in 0..MAX_INTERPRETERS {
            match self.program(caller, &who, &ask, &path)? {
                Err(errno) => return Ok(Err(errno).into()),
                Ok(Some(Interpreter::Script(next))) => path = next,
                Ok(Some(Interpreter::Elf(loader))) => {
                    ask = Ask::LOAD;
                    let checked = self.program(caller, &who, &ask, &loader)?;
                    return Ok(checked.map_or_else(|errno| Err(errno).into(), |_| Verdict::Pass));
                }
                Ok(None) => return Ok(Verdict::Pass),
            }
            ask = Ask::LOAD;
        }
        Ok(Verdict::Pass)
    }

    /// One file of those that an exec opens, and what interprets it.
    fn program(
        &mut self,
        caller: &mut Caller<'_>,
        who: &Rc<Credentials>,
        ask: &Ask,
        path: &[u8],
    ) -> io::Result<Result<Option<Interpreter>, Errno>> {
        let spot = match self.locate(caller, who, ask, path)? {
            Ok(Located::At(spot)) => spot,
            Ok(_) => return Ok(Ok(None)),
            Err(errno) => return Ok(Err(errno)),
        };
        let Ok((_, identity)) = self.identify(caller, &spot, who)? else { return Ok(Ok(None)) };
        let name = spot.name();
        let names = caller.recorder.names(caller.id)?;
        let found = match name {
            Some(name) => names.open(name)?.and_then(|file| interpreter(&file).unwrap_or(None)),
            None => None,
        };
        let allowed = match &found {
            Some(Interpreter::Script(_)) => who.may(&identity, Want::EXECUTE),
            _ if identity.mode & libc::S_IFMT == libc::S_IFREG => who.may_exec(&identity),
            // Not what can be executed: the kernel says so.
            _ => Ok(()),
        };
        Ok(allowed.map(|()| found))
    }

    /// `execve` has succeeded: the process is somebody else, perhaps, and its program is told who.
    pub fn executed(&mut self, caller: &mut Caller<'_>, stack: (u64, bool)) -> io::Result<()> {
        if self.people.executing(caller.id).is_none() {
            return Ok(());
        }
        let mut file = FileIdentity::new(0, 0, libc::S_IFREG | 0o755);
        if let Located::At(spot) = self.link(caller, "exe")?
            && let Some(who) = self.people.executing(caller.id)
            && let Ok((_, identity)) = self.identify(caller, &spot, &who)?
        {
            file = identity;
        }
        let exe = format!("/proc/{}/exe", caller.id);
        if statvfs(exe.as_str()).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOSUID)) {
            file = FileIdentity::new(file.uid, file.gid, file.mode & !(libc::S_ISUID | libc::S_ISGID));
        }
        let Some(me) = self.people.executed(caller.id) else { return Ok(()) };
        let secure = me.exec(&file);
        let values = [
            (AT_UID, me.uid.real),
            (AT_EUID, me.uid.effective),
            (AT_GID, me.gid.real),
            (AT_EGID, me.gid.effective),
            (AT_SECURE, u32::from(secure)),
        ];
        match patch(caller.id, stack, &values) {
            // The process was killed meanwhile: its memory is gone.
            Some(()) | None => Ok(()),
        }
    }
}

/// Writes `values` into the auxiliary vector of a new program, which lies above its arguments and environment.
fn patch(task: i32, (pointer, narrow): (u64, bool), values: &[(u64, u32)]) -> Option<()> {
    let size: u64 = if narrow { 4 } else { 8 };
    let mut stack = Stack { task, narrow, buffer: Vec::new(), from: pointer };
    // The number of arguments, the arguments, NULL, the environment, NULL.
    let mut at = 1 + stack.word(0)? + 1;
    while stack.word(at)? != 0 {
        at += 1;
        if at > MAX_WORDS {
            return None;
        }
    }
    at += 1;
    while let key = stack.word(at)?
        && key != AT_NULL
    {
        if let Some((_, value)) = values.iter().find(|(wanted, _)| *wanted == key) {
            let bytes = u64::from(*value).to_le_bytes();
            write_exact(task, pointer + (at + 1) * size, &bytes[..size as usize])?;
        }
        at += 2;
    }
    Some(())
}

/// The words of a stack, read a page at a time.
struct Stack {
    task: i32,
    narrow: bool,
    from: u64,
    buffer: Vec<u8>,
}

impl Stack {
    fn word(&mut self, index: u64) -> Option<u64> {
        let size = if self.narrow { 4 } else { 8 };
        let at = usize::try_from(index).ok()? * size;
        while self.buffer.len() < at + size {
            let next = self.from + self.buffer.len() as u64;
            // To the end of the page: behind the stack there is nothing.
            let mut piece = vec![0; 4096 - (next % 4096) as usize];
            read_exact(self.task, next, &mut piece)?;
            self.buffer.extend(piece);
        }
        let mut word = [0; 8];
        word[..size].copy_from_slice(&self.buffer[at..at + size]);
        Some(u64::from_le_bytes(word))
    }
}
