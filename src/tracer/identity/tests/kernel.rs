//! The other side of each comparison: raw system calls in children of this process, which are root to begin with.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use nix::errno::Errno;

use super::super::{
    CAP_LAST, CapabilitySets, Credentials, FileCapabilities, FileIdentity, Ids, SECBIT_NO_SETUID_FIXUP, bit,
};
use super::random::{DECIDING, IDS};
use super::text;

const UNCHANGED: u64 = u32::MAX as u64;

/// A system call. Every pointer among the arguments must be right for it.
pub fn call(number: libc::c_long, args: &[u64]) -> Result<u64, Errno> {
    let mut a = [0; 6];
    a[..args.len()].copy_from_slice(args);
    // SAFETY: the callers in these tests pass pointers to live memory of the size that the call takes.
    let result = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
    Errno::result(result).map(|value| value as u64)
}

/// A path as an argument.
pub fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// The address of a string.
pub fn at(text: &CStr) -> u64 {
    text.as_ptr() as u64
}

/// Runs `act` in a child and returns what it says; it may also write that to the descriptor it gets, and exec.
pub fn in_child(act: impl FnOnce(i32) -> String) -> String {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    // SAFETY: the child only does what `act` does, and ends; malloc is usable after a fork with glibc.
    let pid = Errno::result(unsafe { libc::fork() }).unwrap();
    if pid == 0 {
        let said = catch_unwind(AssertUnwindSafe(|| act(write.as_raw_fd()))).unwrap_or_else(|_| "a panic".into());
        let written = File::from(write).write_all(said.as_bytes());
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(written.is_err())) };
    }
    drop(write);
    let mut said = String::new();
    File::from(read).read_to_string(&mut said).unwrap();
    let mut status = 0;
    // SAFETY: `pid` is a child that nothing else waits for.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0, "the child ended badly after {said:?}");
    said
}

/// What this process is: root with what the tests take away again, or they cannot be made.
pub fn root() -> Credentials {
    let own = own();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let numbers: Vec<u64> = map.split_whitespace().take(3).map(|number| number.parse().unwrap()).collect();
    let has_ids = numbers[0] == 0 && numbers[2] > u64::from(IDS[IDS.len() - 1]);
    assert!(
        own.uid == Ids::all(0) && has_ids && DECIDING.iter().all(|&c| own.has(c)) && own.securebits == 0,
        "these tests hold the model against the kernel: run them as root, with all capabilities and ids (this is {})",
        text(&own)
    );
    own
}

/// The credentials of this thread, asked for call by call.
pub fn own() -> Credentials {
    let ids = |number, filesystem| {
        let mut ids = [0_u32; 3];
        let [real, effective, saved] = [0, 1, 2].map(|n| &raw mut ids[n] as u64);
        call(number, &[real, effective, saved]).unwrap();
        let filesystem = call(filesystem, &[UNCHANGED]).unwrap() as u32;
        Ids { real: ids[0], effective: ids[1], saved: ids[2], filesystem }
    };
    let mut groups = vec![0_u32; 64];
    let count = call(libc::SYS_getgroups, &[groups.len() as u64, groups.as_mut_ptr() as u64]).unwrap();
    groups.truncate(count as usize);

    let header = [super::super::CAPABILITY_VERSION, 0];
    let mut data = [0_u8; 24];
    call(libc::SYS_capget, &[header.as_ptr() as u64, data.as_mut_ptr() as u64]).unwrap();
    let CapabilitySets { effective, permitted, inheritable } = CapabilitySets::parse(&data);

    let prctl =
        |option: i32, two: i32, three: u32| call(libc::SYS_prctl, &[option as u64, two as u64, u64::from(three)]);
    let set = |has: &dyn Fn(u32) -> u64| (0..=CAP_LAST).filter(|&c| has(c) == 1).fold(0, |set, c| set | bit(c));
    Credentials {
        uid: ids(libc::SYS_getresuid, libc::SYS_setfsuid),
        gid: ids(libc::SYS_getresgid, libc::SYS_setfsgid),
        groups,
        permitted,
        effective,
        inheritable,
        bounding: set(&|c| prctl(libc::PR_CAPBSET_READ, c as i32, 0).unwrap()),
        ambient: set(&|c| prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET, c).unwrap()),
        securebits: prctl(libc::PR_GET_SECUREBITS, 0, 0).unwrap() as u32,
        no_new_privs: prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0).unwrap() == 1,
    }
}

/// Makes this process, which is root, one with the credentials `new`.
pub fn assume(new: &Credentials) {
    let prctl = |option: i32, args: [u64; 2]| call(libc::SYS_prctl, &[option as u64, args[0], args[1]]).unwrap();
    let has = |set: u64, c: &u32| set & bit(*c) != 0;
    let have = own();
    prctl(libc::PR_SET_SECUREBITS, [u64::from(SECBIT_NO_SETUID_FIXUP), 0]);
    call(libc::SYS_setgroups, &[new.groups.len() as u64, new.groups.as_ptr() as u64]).unwrap();
    for (ids, three, filesystem) in
        [(new.gid, libc::SYS_setresgid, libc::SYS_setfsgid), (new.uid, libc::SYS_setresuid, libc::SYS_setfsuid)]
    {
        call(three, &[ids.real, ids.effective, ids.saved].map(u64::from)).unwrap();
        call(filesystem, &[u64::from(ids.filesystem)]).unwrap();
    }
    // What is inheritable must be put there before the bounding set shrinks, and ambient before ambient is forbidden.
    let capset = |effective, permitted| {
        let header = [super::super::CAPABILITY_VERSION, 0];
        let data = CapabilitySets { effective, permitted, inheritable: new.inheritable }.encode(24);
        call(libc::SYS_capset, &[header.as_ptr() as u64, data.as_ptr() as u64]).unwrap();
    };
    capset(have.effective, have.permitted);
    for c in (0..=CAP_LAST).filter(|c| has(new.ambient, c)) {
        let raise = [libc::PR_CAP_AMBIENT as u64, libc::PR_CAP_AMBIENT_RAISE as u64, u64::from(c)];
        call(libc::SYS_prctl, &raise).unwrap();
    }
    for c in (0..=CAP_LAST).filter(|c| has(have.bounding & !new.bounding, c)) {
        prctl(libc::PR_CAPBSET_DROP, [u64::from(c), 0]);
    }
    prctl(libc::PR_SET_SECUREBITS, [u64::from(new.securebits), 0]);
    if new.no_new_privs {
        prctl(libc::PR_SET_NO_NEW_PRIVS, [1, 0]);
    }
    capset(new.effective, new.permitted);
    assert_eq!(own(), *new, "what was to be assumed");
}

/// A directory that everybody may search, on a file system that honours setuid bits.
pub fn directory() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("scrimp-identity-").tempdir().unwrap();
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        dir.path(),
        mode(0o755),
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
    .unwrap();
    let flags = nix::sys::statvfs::statvfs(dir.path()).unwrap().flags();
    assert!(!flags.contains(nix::sys::statvfs::FsFlags::ST_NOSUID), "set TMPDIR to a file system without nosuid");
    dir
}

fn mode(bits: u32) -> nix::sys::stat::Mode {
    nix::sys::stat::Mode::from_bits_truncate(bits)
}

/// Makes the file `path` anew, as `of` says.
pub fn make(path: &Path, of: &FileIdentity) {
    remove(path);
    match of.mode & libc::S_IFMT {
        libc::S_IFDIR => std::fs::create_dir(path).unwrap(),
        libc::S_IFREG => std::fs::write(path, "content").unwrap(),
        libc::S_IFLNK => std::os::unix::fs::symlink("nowhere", path).unwrap(),
        kind => nix::sys::stat::mknod(path, nix::sys::stat::SFlag::from_bits_truncate(kind), mode(0), 0).unwrap(),
    }
    set(path, of);
}

/// Gives the file at `path` the identity `of`.
pub fn set(path: &Path, of: &FileIdentity) {
    std::os::unix::fs::lchown(path, Some(of.uid), Some(of.gid)).unwrap();
    if of.mode & libc::S_IFMT != libc::S_IFLNK {
        let path = c_path(path);
        call(libc::SYS_chmod, &[at(&path), u64::from(of.mode & 0o7777)]).unwrap();
    }
    if let Some(capabilities) = of.capabilities {
        xattr::set(path, "security.capability", &capabilities.encode()).unwrap();
    }
}

/// The identity of the file at `path`, if it is there.
pub fn identity(path: &Path) -> Option<FileIdentity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = path.symlink_metadata().ok()?;
    let value = xattr::get(path, "security.capability").unwrap();
    let capabilities = value.map(|value| FileCapabilities::parse(&value).unwrap());
    Some(FileIdentity { uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode(), capabilities })
}

/// Removes what is at `path`, if anything.
pub fn remove(path: &Path) {
    let removed = match path.symlink_metadata() {
        Err(_) => return,
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir(path),
        Ok(_) => std::fs::remove_file(path),
    };
    removed.unwrap();
}

/// A pipe that an exec closes.
pub fn pipe() -> (OwnedFd, OwnedFd) {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap()
}
