//! The numbers of capabilities and secure bits that decide something here (`linux/capability.h`,
//! `linux/securebits.h`).

/// Change owners at will.
pub const CAP_CHOWN: u32 = 0;
/// Read, write and search whatever the mode says; execute what has one x bit.
pub const CAP_DAC_OVERRIDE: u32 = 1;
/// Read files, read and search directories.
pub const CAP_DAC_READ_SEARCH: u32 = 2;
/// Do what a file's owner may.
pub const CAP_FOWNER: u32 = 3;
/// Keep and give setgid bits of other groups.
pub const CAP_FSETID: u32 = 4;
/// Signal any process.
pub const CAP_KILL: u32 = 5;
/// Change group ids and groups at will.
pub const CAP_SETGID: u32 = 6;
/// Change user ids at will.
pub const CAP_SETUID: u32 = 7;
/// Change secure bits, the bounding set, and the inheritable set beyond the permitted one.
pub const CAP_SETPCAP: u32 = 8;
/// Change the immutable flag of files.
pub const CAP_LINUX_IMMUTABLE: u32 = 9;
/// `chroot`.
pub const CAP_SYS_CHROOT: u32 = 18;
/// Much; here `trusted.*` and `security.*` attributes.
pub const CAP_SYS_ADMIN: u32 = 21;
/// Make devices.
pub const CAP_MKNOD: u32 = 27;
/// Give capabilities to files.
pub const CAP_SETFCAP: u32 = 31;
/// Override mandatory access control; part of what follows the file system uid.
pub const CAP_MAC_OVERRIDE: u32 = 32;
/// The last one of Linux 6.18, CAP_CHECKPOINT_RESTORE.
pub const CAP_LAST: u32 = 40;

/// Every capability there is.
pub const ALL_CAPABILITIES: u64 = (1 << (CAP_LAST + 1)) - 1;

/// What comes and goes with a file system uid of 0 (`CAP_FS_SET`).
pub(super) const FILE_SYSTEM: u64 = bit(CAP_CHOWN)
    | bit(CAP_MKNOD)
    | bit(CAP_DAC_OVERRIDE)
    | bit(CAP_DAC_READ_SEARCH)
    | bit(CAP_FOWNER)
    | bit(CAP_FSETID)
    | bit(CAP_MAC_OVERRIDE)
    | bit(CAP_LINUX_IMMUTABLE);

/// Root gets no capabilities by exec.
pub const SECBIT_NOROOT: u32 = 1 << 0;
/// Changes of uid leave the capabilities alone.
pub const SECBIT_NO_SETUID_FIXUP: u32 = 1 << 2;
/// Permitted capabilities survive the last uid of 0.
pub const SECBIT_KEEP_CAPS: u32 = 1 << 4;
/// KEEP_CAPS cannot be changed.
pub const SECBIT_KEEP_CAPS_LOCKED: u32 = 1 << 5;
/// No capability can be made ambient.
pub const SECBIT_NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;
/// Every bit that is no lock: root, fixup, keep, ambient, and the two for interpreters (Linux 6.14).
pub(super) const SECURE_BITS: u32 = 0x555;
/// The lock of each.
pub(super) const SECURE_LOCKS: u32 = SECURE_BITS << 1;
/// What a process may set without CAP_SETPCAP: the bits for interpreters, 8 and 10, and their locks.
pub(super) const UNPRIVILEGED_BITS: u32 = 0xf00;

/// The set of one capability; empty when there is none of this number.
pub const fn bit(capability: u32) -> u64 {
    if capability <= CAP_LAST { 1 << capability } else { 0 }
}
