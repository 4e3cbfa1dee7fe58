//! What an exec makes of the credentials (Linux: `fs/exec.c`, `cap_bprm_creds_from_file` in `security/commoncap.c`).
//!
//! For a script the file is the interpreter that runs in the end: bits and capabilities of the script itself count for
//! nothing. The process is one that no tracer watches and that shares its directories with no other.

use nix::errno::Errno;

use super::capability::{SECBIT_KEEP_CAPS, SECBIT_NOROOT};
use super::credentials::Credentials;
use super::file::{FileCapabilities, FileIdentity};
use super::permission::Want;

impl Credentials {
    /// Whether `execve` would take the file: a regular one with an x bit that counts, and none that says it needs
    /// capabilities at once which the bounding set forbids.
    ///
    /// # Errors
    /// EACCES; EPERM for the capabilities.
    pub fn may_exec(&self, file: &FileIdentity) -> Result<(), Errno> {
        if !file.is_regular() {
            return Err(Errno::EACCES);
        }
        self.may(file, Want::EXECUTE)?;
        match file.own_capabilities() {
            Some(own) if own.effective && own.permitted & !self.permitted_by(&own) != 0 => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    /// What a successful `execve` of `file` does. Returns whether the program is told to be careful (AT_SECURE).
    pub fn exec(&mut self, file: &FileIdentity) -> bool {
        let old = self.clone();
        if !self.no_new_privs {
            if file.mode & libc::S_ISUID != 0 {
                self.uid.effective = file.uid;
            }
            // Without its x bit setgid once meant mandatory locking.
            if file.mode & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID | libc::S_IXGRP {
                self.gid.effective = file.gid;
            }
        }

        let own = file.own_capabilities();
        let mut effective = own.is_some_and(|own| own.effective);
        self.permitted = own.map_or(0, |own| old.permitted_by(&own));
        let setuid_root = self.uid.effective == 0 && self.uid.real != 0;
        // File capabilities say better what a setuid root program needs.
        if self.securebits & SECBIT_NOROOT == 0 && !(own.is_some() && setuid_root) {
            if self.uid.effective == 0 || self.uid.real == 0 {
                self.permitted = old.bounding | old.inheritable;
            }
            effective |= self.uid.effective == 0;
        }

        let gained = self.permitted & !old.permitted != 0;
        let id_changed = self.uid.effective != old.uid.effective || !old.in_group(self.gid.effective);
        if self.no_new_privs && (id_changed || gained) {
            self.uid.effective = self.uid.real;
            self.gid.effective = self.gid.real;
            self.permitted &= old.permitted;
        }
        for ids in [&mut self.uid, &mut self.gid] {
            ids.saved = ids.effective;
            ids.filesystem = ids.effective;
        }

        if own.is_some() || id_changed {
            self.ambient = 0;
        }
        self.permitted |= self.ambient;
        self.effective = if effective { self.permitted } else { self.ambient };
        self.securebits &= !SECBIT_KEEP_CAPS;

        id_changed
            || self.uid.effective != old.uid.real
            || self.gid.effective != old.gid.real
            || (self.uid.real != 0 && (effective || self.permitted & !self.ambient != 0))
    }

    fn permitted_by(&self, own: &FileCapabilities) -> u64 {
        self.bounding & own.permitted | self.inheritable & own.inheritable
    }
}
