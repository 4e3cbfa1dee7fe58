//! The calls that change capabilities and what governs them: `capset` and a part of `prctl` (Linux: `kernel/sys.c`,
//! `security/commoncap.c`).

use nix::errno::Errno;

use super::capability::{
    ALL_CAPABILITIES, CAP_LAST, CAP_SETPCAP, SECBIT_KEEP_CAPS, SECBIT_KEEP_CAPS_LOCKED, SECBIT_NO_CAP_AMBIENT_RAISE,
    SECURE_BITS, SECURE_LOCKS, UNPRIVILEGED_BITS,
};
use super::credentials::Credentials;

impl Credentials {
    /// `capset(2)`, of the process itself. Bits of capabilities that do not exist are ignored.
    ///
    /// # Errors
    /// EPERM.
    pub fn capset(&mut self, effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
        let [effective, permitted, inheritable] = [effective, permitted, inheritable].map(|s| s & ALL_CAPABILITIES);
        let within = |set: u64, limit: u64| set & !limit == 0;
        if (!self.has(CAP_SETPCAP) && !within(inheritable, self.inheritable | self.permitted))
            || !within(inheritable, self.inheritable | self.bounding)
            || !within(permitted, self.permitted)
            || !within(effective, permitted)
        {
            return Err(Errno::EPERM);
        }
        self.effective = effective;
        self.permitted = permitted;
        self.inheritable = inheritable;
        self.ambient &= permitted & inheritable;
        Ok(())
    }

    /// `prctl(2)`: what the call returns, or `None` when `option` is not about identity. `args` are the second to the
    /// fifth argument.
    pub fn prctl(&mut self, option: i32, args: [u64; 4]) -> Option<Result<u64, Errno>> {
        Some(match option {
            libc::PR_CAPBSET_READ => capability(args[0]).map(|set| u64::from(self.bounding & set != 0)),
            libc::PR_CAPBSET_DROP => self.drop_from_bounding(args[0]),
            libc::PR_CAP_AMBIENT => self.change_ambient(args),
            libc::PR_GET_KEEPCAPS => Ok(u64::from(self.securebits & SECBIT_KEEP_CAPS != 0)),
            libc::PR_SET_KEEPCAPS => self.keep_capabilities(args[0]),
            libc::PR_GET_SECUREBITS => Ok(u64::from(self.securebits)),
            libc::PR_SET_SECUREBITS => self.set_securebits(args[0]),
            libc::PR_GET_NO_NEW_PRIVS if args == [0; 4] => Ok(u64::from(self.no_new_privs)),
            libc::PR_SET_NO_NEW_PRIVS if args == [1, 0, 0, 0] => {
                self.no_new_privs = true;
                Ok(0)
            }
            libc::PR_GET_NO_NEW_PRIVS | libc::PR_SET_NO_NEW_PRIVS => Err(Errno::EINVAL),
            _ => return None,
        })
    }

    fn drop_from_bounding(&mut self, number: u64) -> Result<u64, Errno> {
        if !self.has(CAP_SETPCAP) {
            return Err(Errno::EPERM);
        }
        self.bounding &= !capability(number)?;
        Ok(0)
    }

    fn change_ambient(&mut self, [operation, number, rest @ ..]: [u64; 4]) -> Result<u64, Errno> {
        let operation = i32::try_from(operation).map_err(|_| Errno::EINVAL)?;
        if rest != [0; 2] {
            return Err(Errno::EINVAL);
        }
        if operation == libc::PR_CAP_AMBIENT_CLEAR_ALL {
            if number != 0 {
                return Err(Errno::EINVAL);
            }
            self.ambient = 0;
            return Ok(0);
        }
        let set = capability(number)?;
        match operation {
            libc::PR_CAP_AMBIENT_IS_SET => return Ok(u64::from(self.ambient & set != 0)),
            libc::PR_CAP_AMBIENT_LOWER => self.ambient &= !set,
            libc::PR_CAP_AMBIENT_RAISE => {
                if self.permitted & self.inheritable & set == 0 || self.securebits & SECBIT_NO_CAP_AMBIENT_RAISE != 0 {
                    return Err(Errno::EPERM);
                }
                self.ambient |= set;
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }

    fn keep_capabilities(&mut self, keep: u64) -> Result<u64, Errno> {
        if keep > 1 {
            return Err(Errno::EINVAL);
        }
        if self.securebits & SECBIT_KEEP_CAPS_LOCKED != 0 {
            return Err(Errno::EPERM);
        }
        if keep == 1 {
            self.securebits |= SECBIT_KEEP_CAPS;
        } else {
            self.securebits &= !SECBIT_KEEP_CAPS;
        }
        Ok(0)
    }

    fn set_securebits(&mut self, bits: u64) -> Result<u64, Errno> {
        let Ok(bits) = u32::try_from(bits) else { return Err(Errno::EPERM) };
        let changed = self.securebits ^ bits;
        let locks = self.securebits & SECURE_LOCKS;
        if changed & (locks >> 1) != 0 || locks & !bits != 0 || bits & !(SECURE_BITS | SECURE_LOCKS) != 0 {
            return Err(Errno::EPERM);
        }
        // Without the privilege, what is there already cannot be set either.
        if !self.has(CAP_SETPCAP) && (changed == 0 || changed & !UNPRIVILEGED_BITS != 0) {
            return Err(Errno::EPERM);
        }
        self.securebits = bits;
        Ok(0)
    }
}

/// The set of the capability `number`.
fn capability(number: u64) -> Result<u64, Errno> {
    if number <= u64::from(CAP_LAST) { Ok(1 << number) } else { Err(Errno::EINVAL) }
}
