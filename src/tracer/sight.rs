//! What is at a name, asked of the kernel.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::sys::statfs::{FsType, fstatfs};

/// What is at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// A directory.
    Dir,
    /// A link with this target.
    Link(Arc<[u8]>),
    /// Anything else.
    Other,
}

/// What a file system promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names change only through calls of the application.
    Ordinary,
    /// Names come and go by themselves.
    Live,
    /// The same, and some links are magic.
    Proc,
}

/// Opens the root directory that `task` has.
pub fn open_root(task: i32) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open(format!("/proc/{task}/root").as_str(), flags, Mode::empty())?)
}

/// What is at `name` itself.
pub fn stat(dir: BorrowedFd, name: &[u8]) -> Result<FileStat, Errno> {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT)
}

/// Of which type it is.
pub fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// What is there, and on which device.
pub fn look(dir: BorrowedFd, name: &[u8]) -> Result<(Seen, u64), Errno> {
    let stat = stat(dir, name)?;
    let seen = match kind_of(&stat) {
        SFlag::S_IFDIR => Seen::Dir,
        SFlag::S_IFLNK => {
            // Links of `/proc/PID` may refuse to be read; what they are they are all the same.
            let target = readlinkat(dir, name).map(OsStringExt::into_vec).unwrap_or_default();
            Seen::Link(target.into())
        }
        _ => Seen::Other,
    };
    Ok((seen, stat.st_dev))
}

/// Running out of something is our own trouble and must not look like an absence.
pub fn absent_unless_broken(error: Errno) -> io::Result<Seen> {
    match error {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EBADF => Err(error.into()),
        _ => Ok(Seen::Absent),
    }
}

/// What the file system of `dir` promises.
pub fn kind(dir: BorrowedFd) -> Result<Kind, Errno> {
    // linux/magic.h: sysfs, cgroup, cgroup2, devpts, debugfs, tracefs, FUSE, NFS, autofs, binfmt_misc, mqueue.
    const LIVE: [i64; 11] = [
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0x6462_6720,
        0x7472_6163,
        0x6573_5546,
        0x6969,
        0x0187,
        0x4249_4e4d,
        0x1980_0202,
    ];
    const PROC: FsType = FsType(0x9fa0);
    let magic = fstatfs(dir)?.filesystem_type();
    Ok(match magic {
        PROC => Kind::Proc,
        FsType(magic) if LIVE.contains(&magic) => Kind::Live,
        _ => Kind::Ordinary,
    })
}
