//! Changes of a file's own data: owner, mode, times, extended attributes, and what writing into it takes away (Linux:
//! `fs/attr.c`, `fs/open.c`, `fs/utimes.c`, `fs/xattr.c`, `fs/inode.c`, `security/commoncap.c`).

use nix::errno::Errno;

use super::capability::{CAP_CHOWN, CAP_FSETID, CAP_SETFCAP, CAP_SYS_ADMIN};
use super::credentials::Credentials;
use super::file::FileIdentity;
use super::permission::Want;

const CAPABILITY: &[u8] = b"security.capability";

impl Credentials {
    /// `chown(2)`: the file as it is afterwards. `None` leaves an id as it is, but even without any the call takes
    /// setuid and setgid bits and capabilities away from all but directories.
    ///
    /// # Errors
    /// EPERM; EINVAL for no id.
    pub fn chown(&self, file: &FileIdentity, uid: Option<u32>, gid: Option<u32>) -> Result<FileIdentity, Errno> {
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(Errno::EINVAL);
        }
        let owner = self.uid.filesystem == file.uid;
        if uid.is_some_and(|uid| !(owner && uid == file.uid)) && !self.has(CAP_CHOWN) {
            return Err(Errno::EPERM);
        }
        if gid.is_some_and(|gid| !(owner && (gid == file.gid || self.in_group(gid)))) && !self.has(CAP_CHOWN) {
            return Err(Errno::EPERM);
        }
        let mut new = FileIdentity { uid: uid.unwrap_or(file.uid), gid: gid.unwrap_or(file.gid), ..*file };
        if file.is_dir() {
            return Ok(new);
        }
        new.mode = self.without_set_ids(file);
        if new.mode != file.mode {
            // From here on it is a change of mode, too.
            if !self.owns(file) {
                return Err(Errno::EPERM);
            }
            if !self.keeps_setgid(new.gid) {
                new.mode &= !libc::S_ISGID;
            }
        }
        new.capabilities = None;
        Ok(new)
    }

    /// `chmod(2)`: the file as it is afterwards. Bits of `mode` beyond 07777 are ignored.
    ///
    /// # Errors
    /// EPERM; EOPNOTSUPP for a link.
    pub fn chmod(&self, file: &FileIdentity, mode: u32) -> Result<FileIdentity, Errno> {
        if file.is(libc::S_IFLNK) {
            return Err(Errno::EOPNOTSUPP);
        }
        if !self.owns(file) {
            return Err(Errno::EPERM);
        }
        let mut mode = mode & 0o7777;
        if !self.keeps_setgid(file.gid) {
            mode &= !libc::S_ISGID;
        }
        Ok(FileIdentity { mode: file.mode & libc::S_IFMT | mode, ..*file })
    }

    /// `utimensat(2)` and its elders. `to_now`: both times to now, or no times given.
    ///
    /// # Errors
    /// EACCES when setting to now, EPERM else.
    pub fn may_set_times(&self, file: &FileIdentity, to_now: bool) -> Result<(), Errno> {
        match (self.owns(file), to_now) {
            (true, _) => Ok(()),
            (false, true) => self.may(file, Want::WRITE),
            (false, false) => Err(Errno::EPERM),
        }
    }

    /// Whether an extended attribute may be set or removed.
    ///
    /// # Errors
    /// EPERM, EACCES.
    pub fn may_set_xattr(&self, file: &FileIdentity, name: &[u8]) -> Result<(), Errno> {
        let needs = |granted: bool| if granted { Ok(()) } else { Err(Errno::EPERM) };
        if name == CAPABILITY {
            return needs(self.has(CAP_SETFCAP));
        }
        if name.starts_with(b"security.") || name.starts_with(b"trusted.") {
            return needs(self.has(CAP_SYS_ADMIN));
        }
        if name.starts_with(b"system.") {
            // Access control lists; other names are refused by the file system.
            return needs(self.owns(file));
        }
        if name.starts_with(b"user.") {
            needs(file.is_regular() || file.is_dir())?;
            needs(!file.is_dir() || file.mode & libc::S_ISVTX == 0 || self.owns(file))?;
        }
        self.may(file, Want::WRITE)
    }

    /// Whether an extended attribute may be read.
    ///
    /// # Errors
    /// ENODATA, as if there were none; EACCES.
    pub fn may_get_xattr(&self, file: &FileIdentity, name: &[u8]) -> Result<(), Errno> {
        if name.starts_with(b"security.") || name.starts_with(b"system.") {
            return Ok(());
        }
        if name.starts_with(b"trusted.") {
            return if self.has(CAP_SYS_ADMIN) { Ok(()) } else { Err(Errno::ENODATA) };
        }
        if name.starts_with(b"user.") && !file.is_regular() && !file.is_dir() {
            return Err(Errno::ENODATA);
        }
        self.may(file, Want::READ)
    }

    /// The file after the process wrote into it or truncated it: without capabilities, and, unless the writer is
    /// privileged, without setuid and setgid bits.
    pub fn after_write(&self, file: &FileIdentity) -> FileIdentity {
        if !file.is_regular() {
            return *file;
        }
        let mode = if self.has(CAP_FSETID) { file.mode } else { self.without_set_ids(file) };
        FileIdentity { mode, capabilities: None, ..*file }
    }

    /// The mode of a file without its setuid bit, and without its setgid bit where that means something or is not
    /// this process's to keep.
    fn without_set_ids(&self, file: &FileIdentity) -> u32 {
        let mut mode = file.mode & !libc::S_ISUID;
        if mode & libc::S_IXGRP != 0 || !self.keeps_setgid(file.gid) {
            mode &= !libc::S_ISGID;
        }
        mode
    }
}
