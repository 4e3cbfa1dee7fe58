//! Who scrimp is while it works: root of a user namespace of its own.
//!
//! [`enter`] puts the whole process into a new user namespace before it has any thread. From then on it has every
//! capability over its own files, mounts and processes, and none over anybody else's. Which ids exist inside depends on
//! who started it; the order of the attempts is in [`IdentityKind`].

pub(super) mod idmap;
mod outside;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, getgid, getuid, setresgid, setresuid};

use crate::sandbox::identity::idmap::{Extent, IdMap};
use crate::sandbox::identity::outside::{Outside, Task, Writer};

/// Which ids exist in the user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// Root started scrimp: every id that exists, each as itself.
    Root,
    /// An ordinary user with subordinate ids (`subuid(5)`): the user is 0, the subordinate ids follow from 1 on.
    Subordinate,
    /// An ordinary user without: the user is 0, and no other id exists.
    Single,
    /// There is no user namespace: scrimp is who started it.
    Caller,
}

/// The user namespace that this process is in.
pub struct Identity {
    /// The ids that exist inside.
    pub map: IdMap,
    /// How they came about.
    pub kind: IdentityKind,
    /// Why there are no subordinate ids, when there are none; each a sentence.
    pub notes: Vec<String>,
    outside: Option<Outside>,
}

/// No user namespace could be entered.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// `unshare` refused.
    #[error("cannot make a user namespace: {0}\nhint: {hint}", hint = unshare_hint(*.0))]
    Unshare(nix::errno::Errno),
    /// The process that stays outside could not be started or asked.
    #[error("cannot start the process that stays outside the user namespace: {0}")]
    Outside(#[source] io::Error),
    /// An id map could not be written.
    #[error(
        "cannot write {file}: {cause}\nhint: `scrimp doctor` says what this machine allows; a security module may \
         forbid user namespaces to programs without a profile (kernel.apparmor_restrict_unprivileged_userns)"
    )]
    Map {
        /// The file under `/proc`.
        file: String,
        /// Why.
        cause: String,
    },
    /// The process could not become user and group 0.
    #[error("cannot become root of the user namespace: {0}")]
    Become(nix::errno::Errno),
}

fn unshare_hint(errno: nix::errno::Errno) -> &'static str {
    match errno {
        nix::errno::Errno::ENOSPC => "raise the sysctl user.max_user_namespaces",
        nix::errno::Errno::EINVAL => "this has to happen before the first thread is started",
        _ => "allow user namespaces (kernel.unprivileged_userns_clone, a container's seccomp profile), or run as root",
    }
}

/// Puts this process into a user namespace and makes it root there. It must have one thread only.
///
/// # Errors
/// When the machine does not allow it at all; missing subordinate ids are no error but a smaller map.
pub fn enter() -> Result<Identity, IdentityError> {
    let (proc, etc) = (Path::new("/proc"), Path::new("/etc"));
    let wanted = wanted(proc, etc, getuid().as_raw(), getgid().as_raw());
    let map_files = [("gid_map", &wanted.gids), ("uid_map", &wanted.uids)];
    let task = |(file, extents): (&'static str, &Option<Vec<Extent>>)| {
        let writer = if wanted.kind == IdentityKind::Root { Writer::Direct } else { Writer::Programs };
        extents.clone().map(|extents| Task { writer, file, extents })
    };
    let tasks: Vec<Task> = map_files.into_iter().filter_map(task).collect();
    let outside = Outside::start(proc, &tasks).map_err(IdentityError::Outside)?;
    unshare(CloneFlags::CLONE_NEWUSER).map_err(IdentityError::Unshare)?;
    let answers = outside.write_maps(tasks.len()).map_err(IdentityError::Outside)?;

    let mut notes = wanted.notes;
    let mut written: Vec<(&str, Vec<Extent>)> = Vec::new();
    for (task, answer) in tasks.into_iter().zip(answers) {
        match answer {
            Ok(()) => written.push((task.file, task.extents)),
            Err(cause) if wanted.kind == IdentityKind::Root => {
                return Err(IdentityError::Map { file: task.file.into(), cause });
            }
            Err(cause) => notes.push(cause),
        }
    }
    let kind = match (wanted.kind, written.len()) {
        (IdentityKind::Root, _) => IdentityKind::Root,
        (_, 2) => IdentityKind::Subordinate,
        _ => IdentityKind::Single,
    };
    let mut extents = |file: &str, caller: u32| match written.iter().position(|(name, _)| *name == file) {
        Some(at) => Ok(written.swap_remove(at).1),
        None => map_single(proc, file, caller),
    };
    let gids = extents("gid_map", wanted.gid)?;
    let uids = extents("uid_map", wanted.uid)?;
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).map_err(IdentityError::Become)?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).map_err(IdentityError::Become)?;
    let map = IdMap { uids, gids };
    // Where every id is mapped to itself, `fstat` tells the truth and nobody outside is needed.
    let outside = (!map.is_identity()).then_some(outside);
    Ok(Identity { map, kind, notes, outside })
}

/// Leaves this process as it is, without a user namespace of its own.
pub fn stay() -> Identity {
    let (uids, gids) = existing(Path::new("/proc"));
    Identity { map: IdMap { uids, gids }, kind: IdentityKind::Caller, notes: Vec::new(), outside: None }
}

/// From now on orphans among the descendants of this process become its children, and children go without being waited
/// for. A process that a killed supervisor leaves behind would otherwise go to whoever inherits on this machine; where
/// nobody takes note of its end, process 1 of the sandbox, and with it the tracer, would wait for that for ever.
pub fn inherit_orphans() -> io::Result<()> {
    // SAFETY: takes numbers only.
    nix::errno::Errno::result(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
    let default = nix::sys::signal::SigAction::new(
        nix::sys::signal::SigHandler::SigDfl,
        nix::sys::signal::SaFlags::SA_NOCLDWAIT,
        nix::sys::signal::SigSet::empty(),
    );
    // SAFETY: no handler is installed, so nothing can run at a bad moment.
    unsafe { nix::sys::signal::sigaction(nix::sys::signal::Signal::SIGCHLD, &default) }?;
    Ok(())
}

/// [`enter`] for a process that ends after, and whether anything is gained by it; otherwise why not, in a sentence.
pub fn try_entering() -> Result<(), String> {
    enter().map_err(|cause| cause.to_string().lines().next().unwrap_or_default().to_owned())?;
    try_rights().map_err(|cause| format!("a user namespace can be made, and gives no rights: {cause}"))
}

/// Whether this process has the rights that root of a user namespace has over its own files: it opens one that its mode
/// closes to everybody. A security module may let anybody make a user namespace and take all rights away in it
/// (AppArmor's `unprivileged_userns`), and then it is worse than none: ids exist that no file can be given to.
fn try_rights() -> io::Result<()> {
    let file = File::from(nix::sys::memfd::memfd_create(c"scrimp", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?);
    nix::sys::stat::fchmod(&file, nix::sys::stat::Mode::empty())?;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map(drop)
}

impl Identity {
    /// The owner and group of an open file as the caller of scrimp sees them (source `host`).
    pub fn owner_outside(&self, file: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
        match &self.outside {
            Some(outside) => outside.owner(file),
            None => {
                let stat = nix::sys::stat::fstat(file)?;
                Ok((stat.st_uid, stat.st_gid))
            }
        }
    }

    /// The owner and group of an open file as they are to appear in an image made from a directory (source
    /// `rootfs:`): an id that exists inside by its name inside, any other as it is outside.
    pub fn owner(&self, file: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
        self.owner_outside(file).map(|raw| self.map.inside_or_raw(raw))
    }

    /// A text that is the same for runs that see the same ids and can give files to them: unpacked roots are kept apart
    /// by it.
    pub fn map_key(&self) -> String {
        match (self.kind, nix::unistd::geteuid()) {
            // All ids exist, and what is unpacked is this user's all the same.
            (IdentityKind::Caller, user) if !user.is_root() => format!("as {user};{}", self.map.key()),
            _ => self.map.key(),
        }
    }
}

/// What to try, decided from files alone.
struct Wanted {
    kind: IdentityKind,
    uid: u32,
    gid: u32,
    uids: Option<Vec<Extent>>,
    gids: Option<Vec<Extent>>,
    notes: Vec<String>,
}

fn wanted(proc: &Path, etc: &Path, uid: u32, gid: u32) -> Wanted {
    let mut notes = Vec::new();
    // An unreadable table is an empty one: the identity that follows from it is the smaller one, and says so.
    let text = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    if uid == 0 {
        let (uids, gids) = existing(proc);
        return Wanted { kind: IdentityKind::Root, uid, gid, uids: Some(uids), gids: Some(gids), notes };
    }
    let passwd = text(etc.join("passwd"));
    let name = idmap::user_name(&passwd, uid);
    let ids = |file: &str, caller: u32| idmap::subordinate(&text(etc.join(file)), caller, uid, name);
    match (ids("subuid", uid), ids("subgid", gid)) {
        (Some(uids), Some(gids)) => {
            Wanted { kind: IdentityKind::Subordinate, uid, gid, uids: Some(uids), gids: Some(gids), notes }
        }
        _ => {
            notes.push(format!("{} and subgid name no subordinate ids for user {uid}", etc.join("subuid").display()));
            Wanted { kind: IdentityKind::Single, uid, gid, uids: None, gids: None, notes }
        }
    }
}

/// Every user and group id that exists here, as itself.
fn existing(proc: &Path) -> (Vec<Extent>, Vec<Extent>) {
    let map = |file: &str| {
        let text = std::fs::read_to_string(proc.join("self").join(file)).unwrap_or_default();
        let extents = idmap::identity(&text);
        if extents.is_empty() { idmap::identity("0 0 4294967295") } else { extents }
    };
    (map("uid_map"), map("gid_map"))
}

/// Maps the caller alone, as any process may for itself (`user_namespaces(7)`); for groups this costs `setgroups`.
fn map_single(proc: &Path, file: &str, caller: u32) -> Result<Vec<Extent>, IdentityError> {
    let extents = idmap::single(caller);
    let write = |name: &str, text: &str| {
        let path = proc.join("self").join(name);
        std::fs::write(&path, text)
            .map_err(|cause| IdentityError::Map { file: path.display().to_string(), cause: cause.to_string() })
    };
    if file == "gid_map" {
        write("setgroups", "deny")?;
    }
    write(file, &idmap::to_proc(&extents))?;
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(uid: u32, files: &[(&str, &str)]) -> (IdentityKind, String) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("self")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let wanted = wanted(dir.path(), dir.path(), uid, uid);
        let side = |map: &Option<Vec<Extent>>| map.as_deref().map(idmap::to_proc).unwrap_or_default();
        (wanted.kind, format!("{}|{}", side(&wanted.uids), side(&wanted.gids)).replace('\n', ";"))
    }

    #[test]
    fn a_root_without_rights_is_none() {
        // Capabilities are a thread's, so the other tests notice nothing.
        let without = || {
            crate::sandbox::process::rights::set_capabilities(crate::sandbox::CapabilitySet::EMPTY).unwrap();
            try_rights().map_err(|cause| cause.kind())
        };
        assert_eq!(std::thread::spawn(without).join().unwrap(), Err(io::ErrorKind::PermissionDenied));
        try_rights().expect("run the tests as root");
    }

    /// They once had one key, and root found files that were all the user's.
    #[test]
    fn what_an_ordinary_user_unpacked_without_a_user_namespace_is_not_roots() {
        let key = |user: u32| {
            let become_user = move || {
                // SAFETY: takes numbers only; the call itself changes the calling thread alone.
                assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, -1, user, -1) }, 0);
                stay().map_key()
            };
            std::thread::spawn(become_user).join().unwrap()
        };
        assert_eq!(key(0), idmap_key_of_all());
        assert_eq!(key(1000), format!("as 1000;{}", idmap_key_of_all()));
    }

    fn idmap_key_of_all() -> String {
        let (uids, gids) = existing(Path::new("/proc"));
        IdMap { uids, gids }.key()
    }

    #[test]
    fn the_identity_follows_from_who_calls_and_what_the_files_say() {
        let passwd = ("passwd", "ana:x:1000:1000::/:/bin/sh\n");
        let (subuid, subgid) = (("subuid", "ana:100000:10\n"), ("subgid", "1000:200000:20\n"));
        assert_eq!(
            plan(0, &[("self/uid_map", "0 0 4294967295\n"), ("self/gid_map", "0 5 7\n")]),
            (IdentityKind::Root, "0 0 4294967295;|0 0 7;".into())
        );
        assert_eq!(
            plan(1000, &[passwd, subuid, subgid]),
            (IdentityKind::Subordinate, "0 1000 1;1 100000 10;|0 1000 1;1 200000 20;".into())
        );
        assert_eq!(plan(1000, &[passwd, subuid]), (IdentityKind::Single, "|".into()));
        assert_eq!(plan(1001, &[passwd, subuid, subgid]), (IdentityKind::Single, "|".into()));
    }
}
