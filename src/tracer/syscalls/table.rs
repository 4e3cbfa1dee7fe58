//! The table itself: a row for each system call that is stopped.

use super::Effect::{Content, Create, CreateOrWrite, Directory, Metadata, Mount, Move, Replace, Target};
use super::Last::{
    At, AtFollow, AtOrNull, Follow, FollowAbsolute, FollowIf, FollowOrNull, Keep, KeepIf, KeepOrEmpty, Open, OpenHow,
};
use super::{Action, CLONE_UNTRACED, Call, NONE, Place, When, at, cwd, identity, other, paths};
use crate::observation::Operation as Op;
use crate::tracer::open_files::FIRST_KNOWN;

const ACCESS: &[Place] = &[cwd(Op::Access, 0, Follow)];
const STAT: &[Place] = &[cwd(Op::Stat, 0, Follow)];
const LSTAT: &[Place] = &[cwd(Op::Stat, 0, Keep)];
const CHOWN: &[Place] = &[cwd(Op::Chown, 0, Follow).effect(Metadata)];
const LCHOWN: &[Place] = &[cwd(Op::Chown, 0, Keep).effect(Metadata)];
const XATTR: &[Place] = &[cwd(Op::Xattr, 0, Follow)];
const LXATTR: &[Place] = &[cwd(Op::Xattr, 0, Keep)];
const XATTRAT: &[Place] = &[at(Op::Xattr, 0, 1, At(2))];
const SET_XATTR: &[Place] = &[cwd(Op::Xattr, 0, Follow).effect(Metadata)];
const SET_LXATTR: &[Place] = &[cwd(Op::Xattr, 0, Keep).effect(Metadata)];
const SET_XATTRAT: &[Place] = &[at(Op::Xattr, 0, 1, At(2)).effect(Metadata)];
const TRUNCATE: &[Place] = &[cwd(Op::Truncate, 0, Follow).effect(Content)];
const UTIME: &[Place] = &[cwd(Op::Utime, 0, Follow).effect(Metadata)];
const UTIMENSAT: &[Place] = &[at(Op::Utime, 0, 1, AtOrNull(3)).effect(Metadata)];
const SWAP: &[Place] = &[cwd(Op::Mount, 0, Follow).effect(Content)];
const OPEN_TREE: &[Place] = &[at(Op::Mount, 0, 1, At(2))];
const RENAMEAT: &[Place] = &[at(Op::Rename, 0, 1, Keep).effect(Move), at(Op::Rename, 2, 3, Keep).effect(Replace)];
const RENAMEAT2: &[Place] = &[at(Op::Rename, 0, 1, Keep).effect(Move), at(Op::Rename, 2, 3, Keep).effect(Target(4))];
const LINKAT: &[Place] = &[at(Op::Link, 0, 1, AtFollow(4)).effect(Metadata), at(Op::Link, 2, 3, Keep).effect(Create)];
/// Numbers below are never taken for known.
const NOT_STANDARD: When = When::AtLeast { argument: 1, least: FIRST_KNOWN as u32 };
const FCHMOD: Action = Action::Descriptor { operation: Op::Chmod, effect: Metadata };
const FCHOWN: Action = Action::Descriptor { operation: Op::Chown, effect: Metadata };
const FSETXATTR: Action = Action::Descriptor { operation: Op::Xattr, effect: Metadata };

/// All calls that are traced.
pub static TABLE: &[Call] = &[
    // Content.
    paths("open", 2, 5, &[cwd(Op::Open, 0, Open(1))]),
    paths("creat", 85, 8, &[cwd(Op::Create, 0, Follow).effect(CreateOrWrite)]),
    paths("openat", 257, 295, &[at(Op::Open, 0, 1, Open(2))]),
    paths("openat2", 437, 437, &[at(Op::Open, 0, 1, OpenHow(2))]),
    paths("name_to_handle_at", 303, 341, &[at(Op::Open, 0, 1, AtFollow(4))]),
    other("open_by_handle_at", 304, 342, Action::Blind("open_by_handle_at")),
    paths("uselib", 134, 86, &[cwd(Op::Open, 0, Follow)]),
    paths("truncate", 76, 92, TRUNCATE),
    paths("truncate64", NONE, 193, TRUNCATE),
    // Metadata.
    paths("stat", 4, 106, STAT),
    paths("lstat", 6, 107, LSTAT),
    paths("oldstat", NONE, 18, STAT),
    paths("oldlstat", NONE, 84, LSTAT),
    paths("stat64", NONE, 195, STAT),
    paths("lstat64", NONE, 196, LSTAT),
    paths("newfstatat", 262, NONE, &[at(Op::Stat, 0, 1, At(3))]).when(When::NotFstat { fd: 0, path: 1, flags: 3 }),
    paths("fstatat64", NONE, 300, &[at(Op::Stat, 0, 1, At(3))]).when(When::NotFstat { fd: 0, path: 1, flags: 3 }),
    paths("statx", 332, 383, &[at(Op::Stat, 0, 1, At(2))]).when(When::NotFstat { fd: 0, path: 1, flags: 2 }),
    paths("statfs", 137, 99, STAT),
    paths("statfs64", NONE, 268, STAT),
    paths("access", 21, 33, ACCESS),
    paths("faccessat", 269, 307, &[at(Op::Access, 0, 1, Follow)]),
    paths("faccessat2", 439, 439, &[at(Op::Access, 0, 1, At(3))]),
    paths("readlink", 89, 85, &[cwd(Op::Readlink, 0, Keep)]),
    paths("readlinkat", 267, 305, &[at(Op::Readlink, 0, 1, KeepOrEmpty)]),
    paths("chmod", 90, 15, &[cwd(Op::Chmod, 0, Follow).effect(Metadata)]),
    other("fchmod", 91, 94, FCHMOD).when(When::WitnessedOrIdentity),
    paths("fchmodat", 268, 306, &[at(Op::Chmod, 0, 1, Follow).effect(Metadata)]),
    paths("fchmodat2", 452, 452, &[at(Op::Chmod, 0, 1, At(3)).effect(Metadata)]),
    paths("chown", 92, 182, CHOWN),
    paths("lchown", 94, 16, LCHOWN),
    paths("chown32", NONE, 212, CHOWN),
    paths("lchown32", NONE, 198, LCHOWN),
    other("fchown", 93, 95, FCHOWN).when(When::WitnessedOrIdentity),
    other("fchown32", NONE, 207, FCHOWN).when(When::WitnessedOrIdentity),
    paths("fchownat", 260, 298, &[at(Op::Chown, 0, 1, At(4)).effect(Metadata)]),
    paths("utime", 132, 30, UTIME),
    paths("utimes", 235, 271, UTIME),
    paths("futimesat", 261, 299, &[at(Op::Utime, 0, 1, FollowOrNull).effect(Metadata)]),
    paths("utimensat", 280, 320, UTIMENSAT),
    paths("utimensat_time64", NONE, 412, UTIMENSAT),
    paths("setxattr", 188, 226, SET_XATTR),
    paths("lsetxattr", 189, 227, SET_LXATTR),
    other("fsetxattr", 190, 228, FSETXATTR).when(When::WitnessedOrIdentity),
    paths("getxattr", 191, 229, XATTR),
    paths("lgetxattr", 192, 230, LXATTR),
    paths("listxattr", 194, 232, XATTR),
    paths("llistxattr", 195, 233, LXATTR),
    paths("removexattr", 197, 235, SET_XATTR),
    paths("lremovexattr", 198, 236, SET_LXATTR),
    other("fremovexattr", 199, 237, FSETXATTR).when(When::WitnessedOrIdentity),
    paths("setxattrat", 463, 463, SET_XATTRAT),
    paths("getxattrat", 464, 464, XATTRAT),
    paths("listxattrat", 465, 465, XATTRAT),
    paths("removexattrat", 466, 466, SET_XATTRAT),
    paths("file_getattr", 468, 468, &[at(Op::Xattr, 0, 1, At(4))]),
    paths("file_setattr", 469, 469, &[at(Op::Xattr, 0, 1, At(4)).effect(Metadata)]),
    // IN_DONT_FOLLOW; FAN_MARK_DONT_FOLLOW. The 64-bit mask takes two arguments on i386.
    paths("inotify_add_watch", 254, 292, &[cwd(Op::Watch, 1, KeepIf(2, 0x0200_0000))]),
    paths("fanotify_mark", 301, NONE, &[at(Op::Watch, 3, 4, KeepIf(1, 4))]),
    paths("fanotify_mark", NONE, 339, &[at(Op::Watch, 4, 5, KeepIf(1, 4))]),
    // Names.
    paths("mkdir", 83, 39, &[cwd(Op::Mkdir, 0, Keep).effect(Create)]),
    paths("mkdirat", 258, 296, &[at(Op::Mkdir, 0, 1, Keep).effect(Create)]),
    paths("mknod", 133, 14, &[cwd(Op::Mknod, 0, Keep).effect(Create)]),
    paths("mknodat", 259, 297, &[at(Op::Mknod, 0, 1, Keep).effect(Create)]),
    paths("symlink", 88, 83, &[cwd(Op::Symlink, 1, Keep).effect(Create)]),
    paths("symlinkat", 266, 304, &[at(Op::Symlink, 1, 2, Keep).effect(Create)]),
    paths("link", 86, 9, &[cwd(Op::Link, 0, Keep).effect(Metadata), cwd(Op::Link, 1, Keep).effect(Create)]),
    paths("linkat", 265, 303, LINKAT),
    paths("unlink", 87, 10, &[cwd(Op::Unlink, 0, Keep).effect(Replace)]),
    paths("unlinkat", 263, 301, &[at(Op::Unlink, 0, 1, Keep).effect(Replace)]),
    paths("rmdir", 84, 40, &[cwd(Op::Unlink, 0, Keep).effect(Replace)]),
    paths("rename", 82, 38, &[cwd(Op::Rename, 0, Keep).effect(Move), cwd(Op::Rename, 1, Keep).effect(Replace)]),
    paths("renameat", 264, 302, RENAMEAT),
    paths("renameat2", 316, 353, RENAMEAT2),
    // Directories of the process.
    paths("chdir", 80, 12, &[cwd(Op::Chdir, 0, Follow).effect(Directory)]),
    other("fchdir", 81, 133, Action::Fchdir),
    paths("chroot", 161, 61, &[cwd(Op::Chdir, 0, Follow).effect(Directory)]),
    paths("pivot_root", 155, 217, &[cwd(Op::Chdir, 0, Follow).effect(Mount), cwd(Op::Chdir, 1, Follow)]),
    // Mounts and what else takes a file from an administrator.
    paths("mount", 165, 21, &[cwd(Op::Mount, 0, FollowAbsolute), cwd(Op::Mount, 1, Follow).effect(Mount)]),
    paths("umount2", 166, 52, &[cwd(Op::Mount, 0, KeepIf(1, 8)).effect(Mount)]),
    paths("umount", NONE, 22, &[cwd(Op::Mount, 0, Follow).effect(Mount)]),
    paths("open_tree", 428, 428, OPEN_TREE),
    paths("open_tree_attr", 467, 467, OPEN_TREE),
    paths(
        "move_mount",
        429,
        429,
        &[at(Op::Mount, 0, 1, FollowIf(4, 0x1, 0x4)), at(Op::Mount, 2, 3, FollowIf(4, 0x10, 0x40)).effect(Mount)],
    ),
    paths("mount_setattr", 442, 442, &[at(Op::Mount, 0, 1, At(2))]),
    paths("fspick", 433, 433, &[at(Op::Mount, 0, 1, KeepIf(2, 2))]),
    other("fsconfig", 431, 431, Action::Fsconfig),
    paths("swapon", 167, 87, SWAP),
    paths("swapoff", 168, 115, SWAP),
    paths("acct", 163, 51, SWAP),
    paths("quotactl", 179, 131, &[cwd(Op::Mount, 1, FollowAbsolute)]),
    // Programs and processes.
    other("execve", 59, 11, Action::Exec(cwd(Op::Exec, 0, Follow))),
    other("execveat", 322, 358, Action::Exec(at(Op::Exec, 0, 1, At(4)))),
    other("bpf", 321, 357, Action::Bpf),
    other("perf_event_open", 298, 336, Action::PerfEvent),
    other("ptrace", 101, 26, Action::Ptrace),
    // SECCOMP_FILTER_FLAG_NEW_LISTENER.
    other("seccomp", 317, 354, Action::Seccomp).when(When::Bit { argument: 1, bit: 8 }),
    other("fork", 57, 2, Action::Fork).when(When::Counted),
    other("vfork", 58, 190, Action::Fork).when(When::Counted),
    other("clone", 56, 120, Action::Clone).when(When::CountedOrBit { argument: 0, bit: CLONE_UNTRACED as u32 }),
    other("clone3", 435, 435, Action::Clone3),
    other("unshare", 272, 310, Action::Unshare),
    other("setns", 308, 346, Action::Setns),
    // Sockets.
    other("bind", 49, 361, Action::Address { operation: Op::Bind, address: 1, length: 2 }),
    other("connect", 42, 362, Action::Address { operation: Op::Connect, address: 1, length: 2 }),
    other("sendto", 44, 369, Action::Address { operation: Op::Connect, address: 4, length: 5 })
        .when(When::NotNull { argument: 4 }),
    other("sendmsg", 46, 370, Action::Message).when(When::Exact),
    other("sendmmsg", 307, 345, Action::Message).when(When::Exact),
    other("listen", 50, 363, Action::Listen),
    other("socketcall", NONE, 102, Action::SocketCall),
    // Where descriptors lead. F_DUPFD and F_DUPFD_CLOEXEC; AF_UNIX; SO_PASSCRED and SO_PASSPIDFD; CLOSE_RANGE_UNSHARE.
    other("dup", 32, 41, Action::Number),
    other("dup2", 33, 63, Action::Number).when(NOT_STANDARD),
    other("dup3", 292, 330, Action::Number).when(NOT_STANDARD),
    other("fcntl", 72, 55, Action::Number).when(When::Either { argument: 1, values: [0, 1030] }),
    other("fcntl64", NONE, 221, Action::Number).when(When::Either { argument: 1, values: [0, 1030] }),
    other("fsmount", 432, 432, Action::Number),
    other("pidfd_getfd", 438, 438, Action::Receive),
    other("socketpair", 53, 360, Action::Receive).when(When::Either { argument: 0, values: [1, 1] }),
    other("setsockopt", 54, 366, Action::Receive).when(When::Either { argument: 2, values: [16, 76] }),
    other("fanotify_init", 300, 338, Action::Receive),
    other("close_range", 436, 436, Action::CloseRange).when(When::Bit { argument: 2, bit: 2 }),
    // What a busy task would see of the leash.
    other("sched_getaffinity", 204, 242, Action::Affinity),
    other("sched_setaffinity", 203, 241, Action::SetAffinity),
    // For SCHED_DEADLINE a task must be allowed to run on all CPUs.
    other("sched_setattr", 314, 351, Action::Affinity),
    // Who a process is. Without a number in the name, i386 has 16-bit ids.
    identity("getuid", 102, 24),
    identity("getgid", 104, 47),
    identity("geteuid", 107, 49),
    identity("getegid", 108, 50),
    identity("getresuid", 118, 165),
    identity("getresgid", 120, 171),
    identity("getgroups", 115, 80),
    identity("setuid", 105, 23),
    identity("setgid", 106, 46),
    identity("setreuid", 113, 70),
    identity("setregid", 114, 71),
    identity("setresuid", 117, 164),
    identity("setresgid", 119, 170),
    identity("setfsuid", 122, 138),
    identity("setfsgid", 123, 139),
    identity("setgroups", 116, 81),
    identity("getuid32", NONE, 199),
    identity("getgid32", NONE, 200),
    identity("geteuid32", NONE, 201),
    identity("getegid32", NONE, 202),
    identity("getresuid32", NONE, 209),
    identity("getresgid32", NONE, 211),
    identity("getgroups32", NONE, 205),
    identity("setuid32", NONE, 213),
    identity("setgid32", NONE, 214),
    identity("setreuid32", NONE, 203),
    identity("setregid32", NONE, 204),
    identity("setresuid32", NONE, 208),
    identity("setresgid32", NONE, 210),
    identity("setfsuid32", NONE, 215),
    identity("setfsgid32", NONE, 216),
    identity("setgroups32", NONE, 206),
    identity("capget", 125, 184),
    identity("capset", 126, 185),
    identity("prctl", 157, 172),
    // Whose a file is, by a descriptor.
    identity("fstat", 5, 108),
    identity("oldfstat", NONE, 28),
    identity("fstat64", NONE, 197),
    identity("fgetxattr", 193, 231),
    identity("flistxattr", 196, 234),
    // Whose a process is. SO_PEERCRED and SO_PEERGROUPS.
    identity("kill", 62, 37),
    identity("tkill", 200, 238),
    identity("tgkill", 234, 270),
    identity("rt_sigqueueinfo", 129, 178),
    identity("rt_tgsigqueueinfo", 297, 335),
    identity("pidfd_send_signal", 424, 424),
    identity("getsockopt", 55, 365).when(When::IdentityEither { argument: 2, values: [17, 59] }),
    // What happens behind it is invisible.
    other("io_uring_setup", 425, 425, Action::Refuse("io_uring")),
];
