//! From a stopped call to what becomes of it.

use std::io;

use super::super::decode::{Address, address};
use super::super::record::{Ask, From};
use super::super::syscalls::{Action, Architecture, Call, Effect};
use super::calls::{Use, attribute, descriptor_layout, list, owners, width};
use super::verdict::{AtExit, Caller, Located, Verdict, Virtual};
use crate::observation::Operation;

/// The longest socket address that matters, that of the unix family.
const ADDRESS: usize = 110;

impl Virtual {
    /// What becomes of a call of the table.
    ///
    /// # Errors
    /// When the task cannot be followed any more.
    pub fn call(
        &mut self,
        caller: &mut Caller<'_>,
        call: &Call,
        arguments: &[u64; 6],
        architecture: Architecture,
    ) -> io::Result<Verdict> {
        let verdict = self.decide(caller, call, arguments, architecture)?;
        if self.files.has_changes() {
            let names = caller.recorder.names(caller.id)?;
            self.files.take_changes(names);
        }
        Ok(verdict)
    }

    fn decide(
        &mut self,
        caller: &mut Caller<'_>,
        call: &Call,
        arguments: &[u64; 6],
        architecture: Architecture,
    ) -> io::Result<Verdict> {
        if let Action::Exec(place) = &call.action {
            return self.execute(caller, place, arguments);
        }
        if self.people.get(caller.id).is_none() {
            return Ok(Verdict::Pass);
        }
        let descriptor = arguments[0] as i32;
        match &call.action {
            Action::Paths(places) => self.paths(caller, call, places, arguments, architecture),
            Action::Fchdir => self.on_descriptor(caller, descriptor, Use::Enter),
            Action::Address { operation, address, length } => {
                let (address, length) = (arguments[usize::from(*address)], arguments[usize::from(*length)]);
                self.address(caller, *operation, address, length)
            }
            Action::Listen => {
                self.listens(caller.id);
                Ok(Verdict::Pass)
            }
            Action::SocketCall => self.socketcall(caller, arguments),
            Action::Identity | Action::Descriptor { .. } => {
                self.identity_call(caller, call.name, arguments, architecture)
            }
            _ => Ok(Verdict::Pass),
        }
    }

    fn identity_call(
        &mut self,
        caller: &mut Caller<'_>,
        name: &str,
        arguments: &[u64; 6],
        architecture: Architecture,
    ) -> io::Result<Verdict> {
        let descriptor = arguments[0] as i32;
        if let Some(layout) = descriptor_layout(name, architecture) {
            let Some(who) = self.people.get(caller.id) else { return Ok(Verdict::Pass) };
            return self.fstat(caller, &who, layout, descriptor, arguments[1]);
        }
        match name {
            "fchmod" => self.on_descriptor(caller, descriptor, Use::Chmod { mode: arguments[1] as u32 }),
            "fchown" | "fchown32" => {
                let [uid, gid] = owners(width(name, architecture), arguments[1], arguments[2]);
                self.on_descriptor(caller, descriptor, Use::Chown { uid, gid })
            }
            "fgetxattr" | "fsetxattr" | "fremovexattr" => {
                match attribute(name, [arguments[1], arguments[2], arguments[3], arguments[4]]) {
                    Some(usage) => self.on_descriptor(caller, descriptor, usage),
                    None => Ok(Verdict::Pass),
                }
            }
            "flistxattr" => match list(name, [arguments[1], arguments[2]]) {
                Some(usage) => self.on_descriptor(caller, descriptor, usage),
                None => Ok(Verdict::Pass),
            },
            "getsockopt" => {
                Ok(self.getsockopt(caller, [arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]]))
            }
            _ => {
                let signal = self.signal(caller, name, arguments);
                Ok(signal.or_else(|| self.ids(caller, name, arguments, architecture)).unwrap_or(Verdict::Pass))
            }
        }
    }

    /// `bind`, `connect`, `sendto`.
    fn address(&mut self, caller: &mut Caller<'_>, operation: Operation, at: u64, len: u64) -> io::Result<Verdict> {
        let Ok(bytes) = caller.read(at, (len as usize).min(ADDRESS)) else { return Ok(Verdict::Pass) };
        let bind = operation == Operation::Bind;
        if !bind && bytes.starts_with(&(libc::AF_UNIX as u16).to_le_bytes()) {
            self.connects(caller.id);
        }
        let Some(Address::Path(path)) = address(&bytes) else { return Ok(Verdict::Pass) };
        let (effect, usage) =
            if bind { (Effect::Create, Use::Make { mode: libc::S_IFSOCK }) } else { (Effect::None, Use::Connect) };
        let ask = Ask { operation, from: From::Current, follow: !bind, empty: false, rooted: false, effect };
        self.one_path(caller, &ask, usage, &path)
    }

    /// The socket calls of old i386 programs: a number, and an array of 32-bit arguments in memory.
    fn socketcall(&mut self, caller: &mut Caller<'_>, arguments: &[u64; 6]) -> io::Result<Verdict> {
        let wanted = match arguments[0] {
            2 | 3 => 3,
            4 => 2,
            11 => 6,
            15 => 5,
            _ => return Ok(Verdict::Pass),
        };
        let Ok(bytes) = caller.read(arguments[1], 4 * wanted) else { return Ok(Verdict::Pass) };
        let mut words = [0; 6];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u64::from(bytes.iter().rev().fold(0_u32, |n, &b| n << 8 | u32::from(b)));
        }
        match arguments[0] {
            2 => self.address(caller, Operation::Bind, words[1], words[2]),
            3 => self.address(caller, Operation::Connect, words[1], words[2]),
            11 => self.address(caller, Operation::Connect, words[4], words[5]),
            15 => Ok(self.getsockopt(caller, [words[0], words[1], words[2], words[3], words[4]])),
            _ => {
                self.listens(caller.id);
                Ok(Verdict::Pass)
            }
        }
    }

    /// A call has returned this.
    ///
    /// # Errors
    /// When the task cannot be followed any more.
    pub fn returned(&mut self, caller: &mut Caller<'_>, at_exit: &AtExit, result: i64) -> io::Result<()> {
        match at_exit {
            AtExit::Stat { .. } if result == 0 => self.stat_returned(caller, at_exit),
            AtExit::Nameless { parent, maker } if result >= 0 => {
                if let Located::At(spot) = self.link(caller, &format!("fd/{result}"))?
                    && let Ok(stat) = spot.stat()
                {
                    let identity = super::files::made(maker, parent, &stat);
                    self.bind(&spot, &stat, identity);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
