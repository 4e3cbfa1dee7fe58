//! Who is at the other end of a socket: SO_PEERCRED and SO_PEERGROUPS.
//!
//! The kernel takes the credentials of who connected at that moment, and of who listened at that one. It knows the
//! process (in the tracer's numbers, because the tracer asks with a copy of the socket); who that was then is
//! remembered here.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{UnixAddr, getpeername, getsockname, getsockopt, sockopt};

use super::super::memory::read_exact;
use super::credentials::Credentials;
use super::files::copy_descriptor;
use super::verdict::{Caller, Verdict, Virtual};
use super::{UCRED, encode_ucred};

const SOL_SOCKET: i32 = 1;
const SO_PEERCRED: i32 = 17;
const SO_PEERGROUPS: i32 = 59;

/// Who a process was, by its id in the tracer's namespace.
#[derive(Debug, Default)]
pub struct Sockets {
    /// When it connected last.
    connected: HashMap<i32, Rc<Credentials>>,
    /// When it listened last.
    listened: HashMap<i32, Rc<Credentials>>,
}

impl Virtual {
    /// The task is about to connect a socket of the unix family.
    pub fn connects(&mut self, task: i32) {
        if let (Some(numbers), Some(who)) = (self.people.numbers(task), self.people.get(task)) {
            self.sockets.connected.insert(numbers.process, who);
        }
    }

    /// The task is about to listen.
    pub fn listens(&mut self, task: i32) {
        if let (Some(numbers), Some(who)) = (self.people.numbers(task), self.people.get(task)) {
            self.sockets.listened.insert(numbers.process, who);
        }
    }

    /// `getsockopt`: descriptor, level, option, value and the address of its length.
    pub fn getsockopt(&mut self, caller: &Caller<'_>, arguments: [u64; 5]) -> Verdict {
        let [descriptor, level, option, value, length] = arguments;
        if level as i32 != SOL_SOCKET || !matches!(option as i32, SO_PEERCRED | SO_PEERGROUPS) {
            return Verdict::Pass;
        }
        let Some((process, who)) = self.peer(caller, descriptor as i32) else { return Verdict::Pass };
        let number = self.people.numbers(process).map_or(0, |numbers| numbers.process_inside);
        let answer = || -> Result<i64, Errno> {
            let mut room = [0; 4];
            read_exact(caller.id, length, &mut room).ok_or(Errno::EFAULT)?;
            let room = usize::try_from(i32::from_le_bytes(room)).map_err(|_| Errno::EINVAL)?;
            if option as i32 == SO_PEERCRED {
                let ucred = encode_ucred(number, who.uid.effective, who.gid.effective);
                let len = room.min(UCRED);
                caller.write(value, &ucred[..len])?;
                caller.write(length, &(len as u32).to_le_bytes())?;
                return Ok(0);
            }
            let groups: Vec<u8> = who.groups.iter().flat_map(|group| group.to_le_bytes()).collect();
            caller.write(length, &(groups.len() as u32).to_le_bytes())?;
            if room < groups.len() {
                return Err(Errno::ERANGE);
            }
            caller.write(value, &groups)?;
            Ok(0)
        };
        answer().into()
    }

    /// The process at the other end, and who it was when the two were connected. `None` when there is none, which the
    /// kernel says itself.
    fn peer(&mut self, caller: &Caller<'_>, descriptor: i32) -> Option<(i32, Rc<Credentials>)> {
        let process = self.people.numbers(caller.id)?.process;
        let socket = copy_descriptor(process, descriptor).ok()?;
        let peer = getsockopt(&socket.as_fd(), sockopt::PeerCredentials).ok()?.pid();
        if peer <= 0 {
            return None;
        }
        // A socket that was accepted has the name of the one that listened; one that connected has none as a rule.
        let named =
            |name: nix::Result<UnixAddr>| name.is_ok_and(|name| name.path().is_some() || name.as_abstract().is_some());
        let then = match (named(getsockname(socket.as_raw_fd())), named(getpeername(socket.as_raw_fd()))) {
            (true, _) => self.sockets.connected.get(&peer),
            (false, true) => self.sockets.listened.get(&peer),
            // A pair.
            (false, false) => None,
        };
        let now = self.people.get(peer);
        Some((peer, then.cloned().or(now)?))
    }
}
