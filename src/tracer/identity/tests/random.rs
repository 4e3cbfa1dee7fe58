//! Deterministic chance: the same cases in every run.

use super::super::{
    ALL_CAPABILITIES, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_MKNOD,
    CAP_SETFCAP, CAP_SETGID, CAP_SETPCAP, CAP_SETUID, CAP_SYS_ADMIN, Credentials, FileCapabilities, FileIdentity, Ids,
    bit,
};

/// Few, so that they meet.
pub const IDS: [u32; 5] = [0, 1000, 1001, 1002, 70000];

/// The capabilities that decide something.
pub const DECIDING: [u32; 12] = [
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAP_FOWNER,
    CAP_FSETID,
    CAP_KILL,
    CAP_SETGID,
    CAP_SETUID,
    CAP_SETPCAP,
    CAP_MKNOD,
    CAP_SETFCAP,
    CAP_SYS_ADMIN,
];

/// A generator (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (((self.next() >> 32) * limit as u64) >> 32) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub fn id(&mut self) -> u32 {
        self.pick(&IDS)
    }

    /// An id, or -1.
    pub fn id_or_none(&mut self) -> u32 {
        if self.one_in(4) { u32::MAX } else { self.id() }
    }

    pub fn groups(&mut self) -> Vec<u32> {
        (0..self.below(4)).map(|_| self.id()).collect()
    }

    /// Each capability that decides something with a chance of one half.
    pub fn capabilities(&mut self) -> u64 {
        let chance = self.next() >> 20;
        DECIDING.iter().enumerate().filter(|(at, _)| chance >> at & 1 != 0).fold(0, |set, (_, &c)| set | bit(c))
    }

    /// Any state that a process could be in whose bounding set is `bounding`.
    pub fn credentials(&mut self, bounding: u64) -> Credentials {
        let mut ids = || {
            let one = self.id();
            if self.one_in(2) {
                return Ids::all(one);
            }
            Ids { real: one, effective: self.id(), saved: self.id(), filesystem: self.id() }
        };
        let (uid, gid) = (ids(), ids());
        let permitted = match self.below(3) {
            0 => 0,
            1 => bounding,
            _ => self.capabilities() & bounding,
        };
        let effective = if self.one_in(2) { permitted } else { permitted & self.capabilities() };
        let inheritable = if self.one_in(2) { 0 } else { self.capabilities() & bounding };
        let ambient = permitted & inheritable & if self.one_in(2) { self.capabilities() } else { 0 };
        let bounding = if self.one_in(4) { bounding & (self.capabilities() | bit(CAP_SETPCAP)) } else { bounding };
        let mut groups = self.groups();
        groups.sort_unstable();
        let securebits = if self.one_in(3) { self.next() as u32 & 0x55 } else { 0 };
        let no_new_privs = self.one_in(5);
        Credentials { uid, gid, groups, permitted, effective, inheritable, bounding, ambient, securebits, no_new_privs }
    }

    /// The capabilities of a file.
    pub fn file_capabilities(&mut self) -> FileCapabilities {
        let permitted = match self.below(3) {
            0 => 0,
            1 => self.capabilities(),
            _ => self.next() & self.next() & self.next() & ALL_CAPABILITIES,
        };
        let root_id = self.pick(&[None, None, None, Some(1000)]);
        FileCapabilities { permitted, inheritable: self.capabilities(), effective: self.one_in(2), root_id }
    }

    /// A file of type `kind`.
    pub fn file(&mut self, kind: u32) -> FileIdentity {
        let random = self.next() as u32 >> 8;
        let mode = match self.below(4) {
            0 => 0o755 | random & 0o7000,
            1 => 0o666 | random & 0o7000,
            2 => random & 0o777,
            _ => random & 0o7777,
        };
        let capabilities = (kind == libc::S_IFREG && self.one_in(4)).then(|| self.file_capabilities());
        FileIdentity { uid: self.id(), gid: self.id(), mode: kind | mode, capabilities }
    }
}
