//! Who the application is and what it may do: groups, ids, capabilities, in the order in which they can be given up.

use std::path::Path;

use nix::errno::Errno;

use crate::sandbox::confine::capability::CapabilitySet;
use crate::sandbox::failure::Failure;
use crate::sandbox::process::spawn::{Step, check};
use crate::sandbox::process::{Ids, ProcessSpec, SpawnError};

/// Sets the supplementary groups. Returns true where that is not allowed, and they stay what they are.
pub(super) fn set_groups(spec: &ProcessSpec) -> Result<bool, SpawnError> {
    if spec.ids != Ids::Own {
        return Ok(false);
    }
    // SAFETY: the pointer and the length describe one slice, which outlives the call.
    match check(unsafe { libc::syscall(libc::SYS_setgroups, spec.groups.len(), spec.groups.as_ptr()) }) {
        // In place nobody but root may set groups, and need not.
        Err(Errno::EPERM) if has_groups(&spec.groups) => Ok(false),
        // Where a single id is mapped, groups cannot be changed (`user_namespaces(7)`).
        Err(Errno::EPERM) => Ok(true),
        Err(Errno::EINVAL) => {
            let list: Vec<String> = spec.groups.iter().map(u32::to_string).collect();
            Err(SpawnError::Step(Failure::new("set the groups", list.join(","), Errno::EINVAL)))
        }
        other => other.step("set the groups", "").map(|()| false),
    }
}

/// Whether this process is in exactly these groups.
fn has_groups(wanted: &[u32]) -> bool {
    let set = |groups: &mut dyn Iterator<Item = u32>| groups.collect::<std::collections::BTreeSet<u32>>();
    nix::unistd::getgroups()
        .is_ok_and(|now| set(&mut now.into_iter().map(|group| group.as_raw())) == set(&mut wanted.iter().copied()))
}

/// Does something with the rights of the application's user, and comes back.
pub(super) fn as_user<T>(spec: &ProcessSpec, action: impl FnOnce() -> T) -> Result<T, SpawnError> {
    if spec.ids != Ids::Own {
        return Ok(action());
    }
    let (user, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    effective_ids(spec.uid, spec.gid)?;
    let result = action();
    // Becoming effective user 0 again brings the capabilities back (`capabilities(7)`); the user comes first.
    set_ids(libc::SYS_setresuid, u32::MAX, user).step("become", format!("user {user}"))?;
    set_ids(libc::SYS_setresgid, u32::MAX, group).step("become", format!("group {group}"))?;
    Ok(result)
}

fn effective_ids(uid: u32, gid: u32) -> Result<(), SpawnError> {
    for (what, call, id) in [("group", libc::SYS_setresgid, gid), ("user", libc::SYS_setresuid, uid)] {
        id_result(what, id, set_ids(call, u32::MAX, id))?;
    }
    Ok(())
}

/// Takes the application's ids for good and leaves root the capabilities of the specification.
pub(super) fn take_ids(spec: &ProcessSpec) -> Result<(), SpawnError> {
    if spec.ids != Ids::Own {
        return set_capabilities(real_capabilities(spec)).step("set capabilities", "");
    }
    for (what, call, id) in [("group", libc::SYS_setresgid, spec.gid), ("user", libc::SYS_setresuid, spec.uid)] {
        id_result(what, id, set_ids(call, id, id))?;
    }
    // Leaving user 0 has emptied the sets already.
    let kept = if spec.uid == 0 { spec.capabilities } else { CapabilitySet::EMPTY };
    set_capabilities(kept).step("set capabilities", "")
}

/// Where there is one id only, gives it the name of the application's user, in a user namespace below: then the kernel
/// itself says so in `/proc/PID/status` and to the other end of a socket. Returns false, and nothing has changed, where
/// the user is root anyway or there is no `/proc` to do it.
pub(super) fn take_name(spec: &ProcessSpec) -> Result<bool, SpawnError> {
    let write = |file: &str, text: String| std::fs::write(Path::new("/proc/self").join(file), text).step("write", file);
    if (spec.uid, spec.gid) == (0, 0) || !Path::new("/proc/self/uid_map").exists() {
        return Ok(false);
    }
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).is_err() {
        return Ok(false);
    }
    write("setgroups", "deny".into())?;
    write("gid_map", format!("{} 0 1", spec.gid))?;
    write("uid_map", format!("{} 0 1", spec.uid))?;
    Ok(true)
}

/// What a process may really do. Where a tracer decides that in its stead, no decision must fail afterwards for want of
/// the rights over files that the user has in appearance.
pub(super) fn real_capabilities(spec: &ProcessSpec) -> CapabilitySet {
    match spec.ids {
        Ids::Own => spec.capabilities,
        Ids::Virtual | Ids::Named => spec.capabilities.union(CapabilitySet::docker()),
    }
}

/// Lets a process that is not user 0 have `kept` across `execve`: whether it may do something its tracer decides.
pub(super) fn keep_capabilities(kept: CapabilitySet) -> nix::Result<()> {
    change_capabilities(kept, kept)?;
    for number in (0..64).filter(|&number| kept.contains(number)) {
        // SAFETY: takes numbers only.
        match check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0) }.into()) {
            // Not permitted, or not known to this kernel.
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn id_result(what: &str, id: u32, result: nix::Result<()>) -> Result<(), SpawnError> {
    match result {
        Err(Errno::EINVAL) => Err(SpawnError::NoSuchId { what: what.into(), id }),
        other => other.step("become", format!("{what} {id}")),
    }
}

/// The system call itself: the C library's wrapper looks for other threads, and this process has none.
fn set_ids(call: libc::c_long, real_and_saved: u32, effective: u32) -> nix::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(call, real_and_saved, effective, real_and_saved) })
}

/// Takes what is not in `kept` out of the bounding set, and everything out of the ambient set.
pub(super) fn limit_capabilities(kept: CapabilitySet) -> nix::Result<()> {
    for number in 0..64 {
        // SAFETY: takes numbers only.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) }.into()) {
            // The first number that this kernel does not know.
            Err(Errno::EINVAL) => break,
            other => other?,
        }
        if !kept.contains(number) {
            // SAFETY: takes numbers only.
            match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }.into()) {
                // Outside a user namespace of its own scrimp may lack SETPCAP, and then what bounds it bounds the
                // application.
                Err(Errno::EPERM) => break,
                other => other?,
            }
        }
    }
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) }.into())
}

/// Sets the permitted and effective sets to `kept`, as far as they are permitted now; the inheritable set is emptied.
pub(in crate::sandbox) fn set_capabilities(kept: CapabilitySet) -> nix::Result<()> {
    change_capabilities(kept, CapabilitySet::EMPTY)
}

/// The same with an inheritable set.
fn change_capabilities(kept: CapabilitySet, inheritable: CapabilitySet) -> nix::Result<()> {
    // _LINUX_CAPABILITY_VERSION_3 and this process; then effective, permitted, inheritable, low words first.
    let mut header: [u32; 2] = [0x2008_0522, 0];
    let mut data: [u32; 6] = [0; 6];
    // SAFETY: both arrays have the layout of capget(2), version 3, and outlive the calls.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()) })?;
    let (low, high) = (kept.bits() as u32, (kept.bits() >> 32) as u32);
    let (low, high) = (low & data[1], high & data[4]);
    let inherited = [inheritable.bits() as u32 & low, (inheritable.bits() >> 32) as u32 & high];
    data = [low, low, inherited[0], high, high, inherited[1]];
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), data.as_ptr()) })
}
