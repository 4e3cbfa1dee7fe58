//! The ids and capabilities of a process, and the calls that change its ids (Linux: `kernel/sys.c`, `kernel/groups.c`,
//! and for what that does to capabilities `security/commoncap.c`).

use nix::errno::Errno;

use super::capability::{
    ALL_CAPABILITIES, CAP_SETGID, CAP_SETUID, FILE_SYSTEM, SECBIT_KEEP_CAPS, SECBIT_NO_SETUID_FIXUP, bit,
};

/// What the kernel calls -1: an argument that changes nothing, and no id.
const UNCHANGED: u32 = u32::MAX;
/// Most groups a process may have (`linux/limits.h`).
const NGROUPS_MAX: usize = 65536;

/// The user ids of a process, or its group ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Whose process it is.
    pub real: u32,
    /// As whom it acts.
    pub effective: u32,
    /// As whom it may act again.
    pub saved: u32,
    /// As whom it uses files.
    pub filesystem: u32,
}

impl Ids {
    /// The same id for everything.
    pub fn all(id: u32) -> Ids {
        Ids { real: id, effective: id, saved: id, filesystem: id }
    }

    /// One of real, effective and saved.
    fn has(self, id: u32) -> bool {
        id == self.real || id == self.effective || id == self.saved
    }
}

/// Who a process is. Capability sets are bit masks over the numbers of `linux/capability.h`.
///
/// The kernel keeps them per thread: `setuid` of libc changes all threads, the system call one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User ids.
    pub uid: Ids,
    /// Group ids.
    pub gid: Ids,
    /// Supplementary groups, ascending, as the kernel keeps them; duplicates stay.
    pub groups: Vec<u32>,
    /// What it may make effective.
    pub permitted: u64,
    /// What it can do.
    pub effective: u64,
    /// What programs with file capabilities may get from it.
    pub inheritable: u64,
    /// The most that an exec can give.
    pub bounding: u64,
    /// What survives the exec of an ordinary program.
    pub ambient: u64,
    /// `SECBIT_*`.
    pub securebits: u32,
    /// An exec gives nothing.
    pub no_new_privs: bool,
}

impl Credentials {
    /// A process as a container runtime starts it: root has all that `bounding` allows, others nothing.
    pub fn new(uid: u32, gid: u32, groups: Vec<u32>, bounding: u64) -> Credentials {
        let bounding = bounding & ALL_CAPABILITIES;
        let own = if uid == 0 { bounding } else { 0 };
        Credentials {
            uid: Ids::all(uid),
            gid: Ids::all(gid),
            groups: sorted(groups),
            permitted: own,
            effective: own,
            inheritable: 0,
            bounding,
            ambient: 0,
            securebits: 0,
            no_new_privs: false,
        }
    }

    /// Whether the capability is effective.
    pub fn has(&self, capability: u32) -> bool {
        self.effective & bit(capability) != 0
    }

    /// Whether it uses files as a member of `group`.
    pub fn in_group(&self, group: u32) -> bool {
        self.gid.filesystem == group || self.groups.binary_search(&group).is_ok()
    }

    /// `setuid(2)`.
    ///
    /// # Errors
    /// EINVAL for no id, EPERM.
    pub fn setuid(&mut self, uid: u32) -> Result<(), Errno> {
        let ids = set_id(self.uid, uid, self.has(CAP_SETUID))?;
        self.change_uid(ids);
        Ok(())
    }

    /// `setgid(2)`.
    ///
    /// # Errors
    /// EINVAL for no id, EPERM.
    pub fn setgid(&mut self, gid: u32) -> Result<(), Errno> {
        self.gid = set_id(self.gid, gid, self.has(CAP_SETGID))?;
        Ok(())
    }

    /// `setreuid(2)`; `u32::MAX` leaves an id as it is.
    ///
    /// # Errors
    /// EPERM.
    pub fn setreuid(&mut self, real: u32, effective: u32) -> Result<(), Errno> {
        let ids = set_real_effective(self.uid, real, effective, self.has(CAP_SETUID))?;
        self.change_uid(ids);
        Ok(())
    }

    /// `setregid(2)`; `u32::MAX` leaves an id as it is.
    ///
    /// # Errors
    /// EPERM.
    pub fn setregid(&mut self, real: u32, effective: u32) -> Result<(), Errno> {
        self.gid = set_real_effective(self.gid, real, effective, self.has(CAP_SETGID))?;
        Ok(())
    }

    /// `setresuid(2)`; `u32::MAX` leaves an id as it is.
    ///
    /// # Errors
    /// EPERM.
    pub fn setresuid(&mut self, real: u32, effective: u32, saved: u32) -> Result<(), Errno> {
        if let Some(ids) = set_three(self.uid, [real, effective, saved], self.has(CAP_SETUID))? {
            self.change_uid(ids);
        }
        Ok(())
    }

    /// `setresgid(2)`; `u32::MAX` leaves an id as it is.
    ///
    /// # Errors
    /// EPERM.
    pub fn setresgid(&mut self, real: u32, effective: u32, saved: u32) -> Result<(), Errno> {
        if let Some(ids) = set_three(self.gid, [real, effective, saved], self.has(CAP_SETGID))? {
            self.gid = ids;
        }
        Ok(())
    }

    /// `setfsuid(2)`: the id before, whether it was changed or not.
    pub fn setfsuid(&mut self, uid: u32) -> u32 {
        let before = self.uid.filesystem;
        if uid != UNCHANGED && uid != before && (self.uid.has(uid) || self.has(CAP_SETUID)) {
            self.uid.filesystem = uid;
            if self.securebits & SECBIT_NO_SETUID_FIXUP == 0 {
                if before == 0 {
                    self.effective &= !FILE_SYSTEM;
                } else if uid == 0 {
                    self.effective |= self.permitted & FILE_SYSTEM;
                }
            }
        }
        before
    }

    /// `setfsgid(2)`: the id before, whether it was changed or not.
    pub fn setfsgid(&mut self, gid: u32) -> u32 {
        let before = self.gid.filesystem;
        if gid != UNCHANGED && (self.gid.has(gid) || self.has(CAP_SETGID)) {
            self.gid.filesystem = gid;
        }
        before
    }

    /// `setgroups(2)`.
    ///
    /// # Errors
    /// EPERM; EINVAL for too many and for one that is no id.
    pub fn setgroups(&mut self, groups: Vec<u32>) -> Result<(), Errno> {
        if !self.has(CAP_SETGID) {
            return Err(Errno::EPERM);
        }
        if groups.len() > NGROUPS_MAX || groups.contains(&UNCHANGED) {
            return Err(Errno::EINVAL);
        }
        self.groups = sorted(groups);
        Ok(())
    }

    /// Takes new user ids and lets the capabilities follow (`cap_emulate_setxuid`).
    fn change_uid(&mut self, new: Ids) {
        let old = std::mem::replace(&mut self.uid, new);
        if self.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
            return;
        }
        if old.has(0) && !new.has(0) {
            if self.securebits & SECBIT_KEEP_CAPS == 0 {
                self.permitted = 0;
                self.effective = 0;
            }
            self.ambient = 0;
        }
        if old.effective == 0 && new.effective != 0 {
            self.effective = 0;
        }
        if old.effective != 0 && new.effective == 0 {
            self.effective = self.permitted;
        }
    }
}

fn sorted(mut groups: Vec<u32>) -> Vec<u32> {
    groups.sort_unstable();
    groups
}

fn set_id(old: Ids, id: u32, capable: bool) -> Result<Ids, Errno> {
    if id == UNCHANGED {
        return Err(Errno::EINVAL);
    }
    if capable {
        return Ok(Ids::all(id));
    }
    if id != old.real && id != old.saved {
        return Err(Errno::EPERM);
    }
    Ok(Ids { effective: id, filesystem: id, ..old })
}

fn set_real_effective(old: Ids, real: u32, effective: u32, capable: bool) -> Result<Ids, Errno> {
    let mut new = old;
    if real != UNCHANGED {
        // Not the saved one.
        if real != old.real && real != old.effective && !capable {
            return Err(Errno::EPERM);
        }
        new.real = real;
    }
    if effective != UNCHANGED {
        if !old.has(effective) && !capable {
            return Err(Errno::EPERM);
        }
        new.effective = effective;
    }
    if real != UNCHANGED || (effective != UNCHANGED && effective != old.real) {
        new.saved = new.effective;
    }
    new.filesystem = new.effective;
    Ok(new)
}

/// `None` when nothing is to be changed; then the file system id stays, too, whatever it is.
fn set_three(old: Ids, ids: [u32; 3], capable: bool) -> Result<Option<Ids>, Errno> {
    let [real, effective, saved] = ids;
    let is = |id: u32, old: u32| id == UNCHANGED || id == old;
    if is(real, old.real)
        && (effective == UNCHANGED || (effective == old.effective && effective == old.filesystem))
        && is(saved, old.saved)
    {
        return Ok(None);
    }
    if !capable && ids.iter().any(|&id| id != UNCHANGED && !old.has(id)) {
        return Err(Errno::EPERM);
    }
    let or = |id: u32, old: u32| if id == UNCHANGED { old } else { id };
    let effective = or(effective, old.effective);
    Ok(Some(Ids { real: or(real, old.real), effective, saved: or(saved, old.saved), filesystem: effective }))
}
