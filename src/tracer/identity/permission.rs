//! Whether a process may use a file, change a directory, or signal another process (Linux: `fs/namei.c`, `fs/open.c`,
//! `fs/inode.c`, `kernel/signal.c`).

use std::ops::BitOr;

use nix::errno::Errno;

use super::capability::{
    CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_MKNOD, SECBIT_NO_SETUID_FIXUP,
};
use super::credentials::Credentials;
use super::file::FileIdentity;

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Read it, list it.
    pub read: bool,
    /// Change it.
    pub write: bool,
    /// Execute it, look something up in it.
    pub execute: bool,
}

impl Want {
    /// Read it, list it.
    pub const READ: Want = Want { read: true, write: false, execute: false };
    /// Change it.
    pub const WRITE: Want = Want { read: false, write: true, execute: false };
    /// Execute it, look something up in it.
    pub const EXECUTE: Want = Want { read: false, write: false, execute: true };

    /// As `R_OK` (4), `W_OK` (2) and `X_OK` (1) say it, which is how a mode says it.
    pub fn from_bits(bits: u32) -> Want {
        Want { read: bits & 4 != 0, write: bits & 2 != 0, execute: bits & 1 != 0 }
    }

    /// What `open` with these flags wants of a file that exists.
    pub fn of_open(flags: i32) -> Want {
        if flags & libc::O_PATH != 0 {
            return Want::default();
        }
        let access = flags & libc::O_ACCMODE;
        let write = access != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        Want { read: access != libc::O_WRONLY, write, execute: false }
    }

    fn bits(self) -> u32 {
        u32::from(self.read) << 2 | u32::from(self.write) << 1 | u32::from(self.execute)
    }
}

impl BitOr for Want {
    type Output = Want;

    fn bitor(self, other: Want) -> Want {
        Want::from_bits(self.bits() | other.bits())
    }
}

impl Credentials {
    /// Whether the process may do this with the file itself; the way to it is another question, asked for each
    /// directory with [`Want::EXECUTE`].
    ///
    /// # Errors
    /// EACCES.
    pub fn may(&self, file: &FileIdentity, want: Want) -> Result<(), Errno> {
        let class = if file.uid == self.uid.filesystem {
            file.mode >> 6
        } else if self.in_group(file.gid) {
            file.mode >> 3
        } else {
            file.mode
        };
        if want.bits() & !class == 0 {
            return Ok(());
        }
        let readable = self.has(CAP_DAC_READ_SEARCH);
        let all = self.has(CAP_DAC_OVERRIDE);
        let granted = if file.is_dir() {
            all || (readable && !want.write)
        } else {
            (readable && want == Want::READ) || (all && (!want.execute || file.mode & 0o111 != 0))
        };
        if granted { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// The same for `access(2)`: with the real ids, and the capabilities that go with them.
    ///
    /// # Errors
    /// EACCES.
    pub fn may_with_real_ids(&self, file: &FileIdentity, want: Want) -> Result<(), Errno> {
        self.with_real_ids().may(file, want)
    }

    /// As whom `access(2)` asks, also about the directories on the way.
    pub fn with_real_ids(&self) -> Credentials {
        let mut real = self.clone();
        real.uid.filesystem = self.uid.real;
        real.gid.filesystem = self.gid.real;
        if self.securebits & SECBIT_NO_SETUID_FIXUP == 0 {
            real.effective = if self.uid.real == 0 { self.permitted } else { 0 };
        }
        real
    }

    /// Whether `open` with these flags gets the existing file.
    ///
    /// # Errors
    /// EACCES; EPERM for O_NOATIME on a file of another.
    pub fn may_open(&self, file: &FileIdentity, flags: i32) -> Result<(), Errno> {
        self.may(file, Want::of_open(flags))?;
        if flags & libc::O_NOATIME != 0 && flags & libc::O_PATH == 0 && !self.owns(file) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Whether the process may take `victim` out of `dir`: unlink, rmdir, either side of a rename.
    ///
    /// # Errors
    /// EACCES for the directory, EPERM for the file of another in a sticky one.
    pub fn may_delete(&self, dir: &FileIdentity, victim: &FileIdentity) -> Result<(), Errno> {
        self.may(dir, Want::WRITE | Want::EXECUTE)?;
        let own = [victim.uid, dir.uid].contains(&self.uid.filesystem);
        if dir.mode & libc::S_ISVTX != 0 && !own && !self.has(CAP_FOWNER) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Whether the process may make a name in `dir`.
    ///
    /// # Errors
    /// EACCES.
    pub fn may_create(&self, dir: &FileIdentity) -> Result<(), Errno> {
        self.may(dir, Want::WRITE | Want::EXECUTE)
    }

    /// Whether `mknod` may make this type of file in `dir`. A character device 0:0, a whiteout, needs no capability:
    /// ask [`Credentials::may_create`].
    ///
    /// # Errors
    /// EACCES for the directory, EPERM for a device.
    pub fn may_make_node(&self, dir: &FileIdentity, mode: u32) -> Result<(), Errno> {
        self.may_create(dir)?;
        if matches!(mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK) && !self.has(CAP_MKNOD) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Whether `link` may give `source` another name, as far as `source` is concerned, where `fs.protected_hardlinks`
    /// is on: an own file, or one that holds no danger.
    ///
    /// # Errors
    /// EPERM.
    pub fn may_link(&self, source: &FileIdentity) -> Result<(), Errno> {
        let setgid = libc::S_ISGID | libc::S_IXGRP;
        let safe = source.is_regular()
            && source.mode & libc::S_ISUID == 0
            && source.mode & setgid != setgid
            && self.may(source, Want::READ | Want::WRITE).is_ok();
        if safe || self.owns(source) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// The file that the process makes in `dir`. `mode` has the type; the umask was applied to it or is applied to the
    /// result (which is what Linux does; it matters where the umask takes the group's x bit of a setgid file).
    pub fn new_file(&self, dir: &FileIdentity, mode: u32) -> FileIdentity {
        let mut file = FileIdentity::new(self.uid.filesystem, self.gid.filesystem, mode);
        if file.is_dir() {
            // mkdir takes no setuid or setgid bit.
            file.mode &= libc::S_IFMT | libc::S_ISVTX | 0o777;
        }
        if dir.mode & libc::S_ISGID == 0 {
            return file;
        }
        file.gid = dir.gid;
        let setgid = libc::S_ISGID | libc::S_IXGRP;
        if file.is_dir() {
            file.mode |= libc::S_ISGID;
        } else if mode & setgid == setgid && !self.keeps_setgid(dir.gid) {
            file.mode &= !libc::S_ISGID;
        }
        file
    }

    /// Whether `kill` reaches `target`. SIGCONT within a session always does.
    pub fn may_signal(&self, target: &Credentials) -> bool {
        let targets = [target.uid.saved, target.uid.real];
        targets.contains(&self.uid.effective) || targets.contains(&self.uid.real) || self.has(CAP_KILL)
    }

    /// The owner, or someone who may do what an owner may.
    pub(super) fn owns(&self, file: &FileIdentity) -> bool {
        self.uid.filesystem == file.uid || self.has(CAP_FOWNER)
    }

    /// Whether files of `group` may have a setgid bit by this process's doing.
    pub(super) fn keeps_setgid(&self, group: u32) -> bool {
        self.in_group(group) || self.has(CAP_FSETID)
    }
}
