//! The kernel's mount interface that works with descriptors (`fsopen(2)`, `open_tree(2)`, `move_mount(2)`), which the
//! C library does not wrap. A mount can be made first and put into a tree later, when the way to its source is gone.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;

/// `MOUNT_ATTR_*` flags (`mount_setattr(2)`).
pub const RDONLY: u64 = 1;
/// Setuid bits and file capabilities mean nothing.
pub const NOSUID: u64 = 2;
/// Device nodes do not work.
pub const NODEV: u64 = 4;
/// Nothing may be executed.
pub const NOEXEC: u64 = 8;

/// Why a file system could not be made: the error number and what the kernel logged for this attempt.
#[derive(Debug)]
pub struct Refused {
    /// The error number.
    pub errno: Errno,
    /// The kernel's messages, joined; often nothing.
    pub detail: String,
}

/// Makes a file system and returns it as a mount that is not yet in any tree. An option without a value is a flag.
/// Values may have 255 bytes at most: pass long paths as `/proc/self/fd/N`.
pub fn new_mount(kind: &CStr, options: &[(&str, Option<&str>)], attributes: u64) -> Result<OwnedFd, Refused> {
    // SAFETY: the name is a NUL-terminated string that outlives the call.
    let opened = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) };
    let context = descriptor(opened).map_err(|errno| Refused { errno, detail: String::new() })?;
    let configure = || -> Result<OwnedFd, Errno> {
        for (key, value) in options {
            let key = CString::new(*key).map_err(|_| Errno::EINVAL)?;
            let value = value.map(CString::new).transpose().map_err(|_| Errno::EINVAL)?;
            let command = if value.is_some() { FSCONFIG_SET_STRING } else { FSCONFIG_SET_FLAG };
            fsconfig(context.as_fd(), command, Some(&key), value.as_deref())?;
        }
        fsconfig(context.as_fd(), FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: takes numbers only.
        descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
    };
    configure().map_err(|errno| Refused { errno, detail: messages(context.as_fd()) })
}

fn fsconfig(
    context: BorrowedFd<'_>,
    command: libc::c_uint,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> Result<(), Errno> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: both pointers are null or NUL-terminated strings that outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, pointer(key), pointer(value), 0) };
    Errno::result(result).map(drop)
}

/// What the kernel wrote into the log of a file system context, one message per read.
fn messages(context: BorrowedFd<'_>) -> String {
    let mut all: Vec<String> = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length) = nix::unistd::read(context, &mut buffer) {
        if length == 0 {
            break;
        }
        // Each begins with its level: `e `, `w ` or `i `.
        let text = String::from_utf8_lossy(&buffer[..length]);
        all.push(text.get(2..).unwrap_or_default().trim().to_owned());
    }
    all.join("; ")
}

/// A copy of what is mounted at `path`, with all mounts below it, that is not yet in any tree. Links are followed.
pub fn clone_tree(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint | libc::AT_RECURSIVE as libc::c_uint;
    let opened = path.with_nix_path(|path| {
        // SAFETY: the path is a NUL-terminated string that outlives the call.
        unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) }
    })?;
    descriptor(opened)
}

/// The same of an open file or directory.
pub fn clone_opened(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OPEN_TREE_CLONE
        | libc::O_CLOEXEC as libc::c_uint
        | libc::AT_RECURSIVE as libc::c_uint
        | libc::AT_EMPTY_PATH as libc::c_uint;
    // SAFETY: the path is a NUL-terminated string that outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, file.as_raw_fd(), c"".as_ptr(), flags) })
}

/// Puts a mount into the tree at `target`, links followed: not for paths of an image.
pub fn attach(mount: BorrowedFd<'_>, target: &Path) -> Result<(), Errno> {
    let target = nix::fcntl::open(target, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    attach_to(mount, target.as_fd())
}

/// Puts a mount into the tree on a file or directory that was found there.
pub fn attach_to(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let empty = c"".as_ptr();
    // SAFETY: both paths are NUL-terminated strings that outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_move_mount, mount.as_raw_fd(), empty, target.as_raw_fd(), empty, flags) };
    Errno::result(result).map(drop)
}

/// Makes a mount and all mounts below it read-only; `ENOSYS` before Linux 5.12.
pub fn set_read_only(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    let attributes = Attributes { set: RDONLY, clear: 0, propagation: 0, userns: 0 };
    // SAFETY: the structure is laid out as mount_setattr(2) says, its size is passed, and it outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    Errno::result(result).map(drop)
}

/// Makes the mount at `target` read-only, keeping the flags that a user namespace may not clear; not those below it.
pub fn remount_read_only(target: &Path) -> Result<(), Errno> {
    use nix::mount::{MsFlags, mount};
    use nix::sys::statvfs::FsFlags;
    let now = nix::sys::statvfs::statvfs(target)?.flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    for (seen, kept) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if now.contains(seen) {
            flags |= kept;
        }
    }
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
}

fn descriptor(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = Errno::result(result)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}
