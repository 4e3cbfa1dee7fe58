//! How identities lie in the memory of a process: `capget` and `capset`, groups, `struct ucred`, and owner and mode in
//! each layout of `stat` (Linux: `linux/capability.h`, `kernel/capability.c`, `asm/stat.h`, `linux/stat.h`,
//! `linux/highuid.h`). All little endian.

use nix::errno::Errno;

use super::file::FileIdentity;

/// Bytes of the header of `capget` and `capset`.
pub const CAPABILITY_HEADER: usize = 8;
/// The version that the kernel writes into a header whose version it does not know: 3.
pub const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// Bytes of a `struct ucred`.
pub const UCRED: usize = 12;
/// What an id becomes that does not fit 16 bits (`kernel.overflowuid`, `kernel.overflowgid`).
pub const OVERFLOW: u16 = 65534;

/// The header of `capget` and `capset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilityHeader {
    /// Which thread; 0 is the caller. Negative ones are EINVAL for `capget`; `capset` takes only the caller, else
    /// EPERM.
    pub pid: i32,
    /// How many bytes of data follow the data pointer: 12 for version 1, 24 for 2 and 3.
    pub data_len: usize,
}

impl CapabilityHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// EINVAL for an unknown version: [`CAPABILITY_VERSION`] is then to be written over its first four bytes, and
    /// `capget` without data succeeds.
    pub fn parse(header: [u8; CAPABILITY_HEADER]) -> Result<CapabilityHeader, Errno> {
        let [version, pid] = [0, 4].map(|at| word(&header, at));
        let data_len = match version {
            0x1998_0330 => 12,
            0x2007_1026 | CAPABILITY_VERSION => 24,
            _ => return Err(Errno::EINVAL),
        };
        Ok(CapabilityHeader { pid: pid as i32, data_len })
    }
}

/// The data of `capget` and `capset`. In version 1 there are no capabilities beyond 31: reading leaves them out,
/// writing clears them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilitySets {
    /// Effective.
    pub effective: u64,
    /// Permitted.
    pub permitted: u64,
    /// Inheritable.
    pub inheritable: u64,
}

impl CapabilitySets {
    /// Reads the data of `capset`, as long as its header says.
    pub fn parse(data: &[u8]) -> CapabilitySets {
        let set = |at: usize| {
            let high = if data.len() >= 24 { word(data, at + 12) } else { 0 };
            u64::from(word(data, at)) | u64::from(high) << 32
        };
        CapabilitySets { effective: set(0), permitted: set(4), inheritable: set(8) }
    }

    /// The data of `capget`, `data_len` bytes of it.
    pub fn encode(&self, data_len: usize) -> Vec<u8> {
        let sets = [self.effective, self.permitted, self.inheritable];
        let words = sets.iter().map(|s| *s as u32).chain(sets.iter().map(|s| (s >> 32) as u32));
        words.flat_map(u32::to_le_bytes).take(data_len).collect()
    }
}

/// A `struct ucred`, as SO_PEERCRED and SCM_CREDENTIALS give it.
pub fn encode_ucred(pid: i32, uid: u32, gid: u32) -> [u8; UCRED] {
    let mut out = [0; UCRED];
    for (at, value) in [(0, pid as u32), (4, uid), (8, gid)] {
        out[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    out
}

/// Reads a `struct ucred`: pid, uid, gid.
#[cfg(test)]
pub fn parse_ucred(bytes: [u8; UCRED]) -> (i32, u32, u32) {
    (word(&bytes, 0) as i32, word(&bytes, 4), word(&bytes, 8))
}

/// The permission bits that an access control list gives, as the value of `system.posix_acl_access`, when it is no more
/// than another way to write them (Linux: `linux/posix_acl_xattr.h`, `posix_acl_equiv_mode` in `fs/posix_acl.c`).
///
/// # Errors
/// EOPNOTSUPP for one that names users or groups, as on a file system without them; EINVAL for what is none.
pub fn mode_of_acl(value: &[u8]) -> Result<u32, Errno> {
    const VERSION: u32 = 2;
    const OWNER: u16 = 0x01;
    const GROUP: u16 = 0x04;
    const OTHERS: u16 = 0x20;
    let Some((version, entries)) = value.split_first_chunk::<4>() else { return Err(Errno::EINVAL) };
    if u32::from_le_bytes(*version) != VERSION {
        return Err(Errno::EOPNOTSUPP);
    }
    let entries: Vec<(u16, u32)> = entries
        .chunks(8)
        .map(|entry| match *entry {
            [t0, t1, p0, p1, _, _, _, _] => Ok((u16::from_le_bytes([t0, t1]), u16::from_le_bytes([p0, p1]).into())),
            _ => Err(Errno::EINVAL),
        })
        .collect::<Result<_, _>>()?;
    match entries[..] {
        [(OWNER, owner), (GROUP, group), (OTHERS, others)] if (owner | group | others) & !7 == 0 => {
            Ok(owner << 6 | group << 3 | others)
        }
        [(OWNER, _), .., (OTHERS, _)] if entries.len() > 3 => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}

/// An argument of a 16-bit call of i386: -1 stays -1, which is no id.
pub fn widen(id: u16) -> u32 {
    if id == u16::MAX { u32::MAX } else { u32::from(id) }
}

/// What a 16-bit call of i386 answers.
pub fn narrow(id: u32) -> u16 {
    u16::try_from(id).unwrap_or(OVERFLOW)
}

/// How wide an id is in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The oldest calls of i386: `setgroups` 81, `getgroups` 80, ...
    Two,
    /// All others.
    Four,
}

impl Width {
    /// Bytes.
    pub fn bytes(self) -> usize {
        match self {
            Width::Two => 2,
            Width::Four => 4,
        }
    }

    /// An id as such a call writes it.
    pub fn encode(self, id: u32) -> Vec<u8> {
        match self {
            Width::Two => narrow(id).to_le_bytes().to_vec(),
            Width::Four => id.to_le_bytes().to_vec(),
        }
    }

    /// The argument of `setgroups`.
    pub fn parse_groups(self, bytes: &[u8]) -> Vec<u32> {
        let id = |b: &[u8]| match *b {
            [a, b] => widen(u16::from_le_bytes([a, b])),
            _ => word(b, 0),
        };
        bytes.chunks_exact(self.bytes()).map(id).collect()
    }

    /// The answer of `getgroups`.
    pub fn encode_groups(self, groups: &[u32]) -> Vec<u8> {
        groups.iter().flat_map(|&group| self.encode(group)).collect()
    }
}

/// The layouts of what the calls of the `stat` family write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatLayout {
    /// `struct stat` of x86_64.
    X86_64,
    /// `struct stat64` of i386: `stat64`, `fstat64`, `fstatat64`, ...
    I386Stat64,
    /// `struct stat` of i386 with 16-bit ids: calls 106 to 108.
    I386Stat,
    /// The oldest: calls 18, 28 and 84.
    I386Old,
    /// `struct statx`, of both.
    Statx,
}

impl StatLayout {
    /// Bytes that the call writes.
    pub fn len(self) -> usize {
        match self {
            StatLayout::X86_64 => 144,
            StatLayout::I386Stat64 => 96,
            StatLayout::I386Stat => 64,
            StatLayout::I386Old => 32,
            StatLayout::Statx => 256,
        }
    }

    /// Where uid, gid and mode are, with their widths in bytes.
    fn places(self) -> [(usize, usize); 3] {
        match self {
            StatLayout::X86_64 => [(28, 4), (32, 4), (24, 4)],
            StatLayout::I386Stat64 => [(24, 4), (28, 4), (16, 4)],
            StatLayout::I386Stat => [(12, 2), (14, 2), (8, 2)],
            StatLayout::I386Old => [(8, 2), (10, 2), (4, 2)],
            StatLayout::Statx => [(20, 4), (24, 4), (28, 2)],
        }
    }

    /// Writes owner, group and mode into what the kernel wrote. Fields of a `statx` that were not filled stay as they
    /// are. `bytes` has [`StatLayout::len`] bytes; what is missing of them is not written.
    pub fn patch(self, bytes: &mut [u8], file: &FileIdentity) {
        // STATX_UID, STATX_GID, STATX_MODE; the type of a file never changes.
        let filled = if self == StatLayout::Statx && bytes.len() >= 4 { word(bytes, 0) } else { u32::MAX };
        let values = [(file.uid, 0x8), (file.gid, 0x10), (file.mode, 0x2)];
        for ((at, width), (value, bit)) in self.places().into_iter().zip(values) {
            let value = if width == 4 || at == self.places()[2].0 { value } else { u32::from(narrow(value)) };
            if let Some(field) = bytes.get_mut(at..at + width).filter(|_| filled & bit != 0) {
                field.copy_from_slice(&value.to_le_bytes()[..width]);
            }
        }
    }

    /// Owner, group and mode as they are there; 16-bit ids as they are. `None` for too few bytes.
    pub fn read(self, bytes: &[u8]) -> Option<FileIdentity> {
        let number = |(at, width): (usize, usize)| {
            Some(bytes.get(at..at + width)?.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b)))
        };
        let [uid, gid, mode] = self.places();
        Some(FileIdentity::new(number(uid)?, number(gid)?, number(mode)?))
    }
}

/// The word at `at`.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
