//! Calls that ask for or change who a process is.

use nix::errno::Errno;

use super::super::syscalls::Architecture;
use super::calls::{id, width};
use super::credentials::Ids;
use super::verdict::{Caller, Verdict, Virtual};
use super::{CAPABILITY_HEADER, CAPABILITY_VERSION, CapabilityHeader, CapabilitySets, Width};

/// Most groups that `setgroups` takes (`linux/limits.h`).
const NGROUPS_MAX: i32 = 65536;

impl Virtual {
    /// Answers the call `name`, if it is one of these.
    pub fn ids(
        &mut self,
        caller: &Caller<'_>,
        name: &str,
        arguments: &[u64; 6],
        architecture: Architecture,
    ) -> Option<Verdict> {
        let who = self.people.get(caller.id)?;
        let width = width(name, architecture);
        let argument = |n: usize| id(width, arguments[n]);
        let shown = |id: u32| Ok(width_result(width, id));
        let done = |result: Result<(), Errno>| result.map(|()| 0);
        let base = name.strip_suffix("32").unwrap_or(name);
        let result = match base {
            "getuid" => shown(who.uid.real),
            "geteuid" => shown(who.uid.effective),
            "getgid" => shown(who.gid.real),
            "getegid" => shown(who.gid.effective),
            "getresuid" => three(caller, width, who.uid, arguments),
            "getresgid" => three(caller, width, who.gid, arguments),
            "getgroups" => groups(caller, width, &who.groups, arguments),
            "capget" => self.capget(caller, arguments),
            "capset" => self.capset(caller, arguments),
            "setgroups" => self.setgroups(caller, width, arguments),
            "prctl" => {
                let me = self.people.get_mut(caller.id)?;
                let option = arguments[0] as i32;
                let rest = [arguments[1], arguments[2], arguments[3], arguments[4]];
                let answer = me.prctl(option, rest)?;
                // Really, too: without it the application's own seccomp filters are refused.
                if option == libc::PR_SET_NO_NEW_PRIVS && answer.is_ok() {
                    return Some(Verdict::Pass);
                }
                answer.map(|value| value as i64)
            }
            _ => {
                let me = self.people.get_mut(caller.id)?;
                match base {
                    "setuid" => done(me.setuid(argument(0))),
                    "setgid" => done(me.setgid(argument(0))),
                    "setreuid" => done(me.setreuid(argument(0), argument(1))),
                    "setregid" => done(me.setregid(argument(0), argument(1))),
                    "setresuid" => done(me.setresuid(argument(0), argument(1), argument(2))),
                    "setresgid" => done(me.setresgid(argument(0), argument(1), argument(2))),
                    "setfsuid" => shown(me.setfsuid(argument(0))),
                    "setfsgid" => shown(me.setfsgid(argument(0))),
                    _ => return None,
                }
            }
        };
        Some(result.into())
    }

    fn setgroups(&mut self, caller: &Caller<'_>, width: Width, arguments: &[u64; 6]) -> Result<i64, Errno> {
        let me = self.people.get_mut(caller.id).ok_or(Errno::ESRCH)?;
        // Without the right to, nothing else is looked at.
        me.clone().setgroups(Vec::new())?;
        let count = arguments[0] as i32;
        if !(0..=NGROUPS_MAX).contains(&count) {
            return Err(Errno::EINVAL);
        }
        let bytes = caller.read(arguments[1], count as usize * width.bytes())?;
        me.setgroups(width.parse_groups(&bytes)).map(|()| 0)
    }

    fn capget(&mut self, caller: &Caller<'_>, arguments: &[u64; 6]) -> Result<i64, Errno> {
        let Some(header) = capability_header(caller, arguments[0])? else {
            // Only the version was asked for.
            return if arguments[1] == 0 { Ok(0) } else { Err(Errno::EINVAL) };
        };
        if header.pid < 0 {
            return Err(Errno::EINVAL);
        }
        let task = match header.pid {
            0 => caller.id,
            pid => self.people.inside(pid).ok_or(Errno::ESRCH)?,
        };
        let who = self.people.get(task).ok_or(Errno::ESRCH)?;
        if arguments[1] == 0 {
            return Ok(0);
        }
        let sets = CapabilitySets { effective: who.effective, permitted: who.permitted, inheritable: who.inheritable };
        caller.write(arguments[1], &sets.encode(header.data_len))?;
        Ok(0)
    }

    fn capset(&mut self, caller: &Caller<'_>, arguments: &[u64; 6]) -> Result<i64, Errno> {
        let header = capability_header(caller, arguments[0])?.ok_or(Errno::EINVAL)?;
        if header.pid != 0 && self.people.inside(header.pid) != Some(caller.id) {
            return Err(Errno::EPERM);
        }
        let data = caller.read(arguments[1], header.data_len)?;
        let sets = CapabilitySets::parse(&data);
        let me = self.people.get_mut(caller.id).ok_or(Errno::ESRCH)?;
        me.capset(sets.effective, sets.permitted, sets.inheritable).map(|()| 0)
    }
}

/// Reads the header; `None` for a version that nobody knows, after telling which one the kernel wants.
fn capability_header(caller: &Caller<'_>, address: u64) -> Result<Option<CapabilityHeader>, Errno> {
    let bytes = caller.read(address, CAPABILITY_HEADER)?;
    let bytes: [u8; CAPABILITY_HEADER] = bytes.try_into().map_err(|_| Errno::EFAULT)?;
    match CapabilityHeader::parse(bytes) {
        Ok(header) => Ok(Some(header)),
        Err(_) => caller.write(address, &CAPABILITY_VERSION.to_le_bytes()).map(|()| None),
    }
}

/// `getresuid` and `getresgid`.
fn three(caller: &Caller<'_>, width: Width, ids: Ids, arguments: &[u64; 6]) -> Result<i64, Errno> {
    for (id, &address) in [ids.real, ids.effective, ids.saved].into_iter().zip(arguments) {
        caller.write(address, &width.encode(id))?;
    }
    Ok(0)
}

fn groups(caller: &Caller<'_>, width: Width, groups: &[u32], arguments: &[u64; 6]) -> Result<i64, Errno> {
    let room = arguments[0] as i32;
    let count = groups.len() as i32;
    if room < 0 || room != 0 && room < count {
        return Err(Errno::EINVAL);
    }
    if room != 0 {
        caller.write(arguments[1], &width.encode_groups(groups))?;
    }
    Ok(i64::from(count))
}

/// An id as a result.
fn width_result(width: Width, id: u32) -> i64 {
    match width {
        Width::Two => i64::from(super::narrow(id)),
        Width::Four => i64::from(id),
    }
}
