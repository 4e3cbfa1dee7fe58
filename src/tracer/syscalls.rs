//! The one table of system calls: what is traced, where the arguments name a path, and what that means.
//!
//! The filter, the decoder and the documentation come from [`TABLE`]; a call that is missing here is not seen. Numbers
//! are those of `arch/x86/entry/syscalls/syscall_64.tbl` and `syscall_32.tbl` of Linux 6.18, written out because the
//! newest are in no library yet. Both architectures share a row: arguments have the same places unless the row says
//! so by being there twice. Numbers of aarch64 are in `aarch64`; why a call is not here is in `census`.

use super::aarch64;
use crate::observation::Operation;
use crate::observation::Operation as Op;

/// No number: the architecture does not have the call.
pub const NONE: u32 = u32::MAX;

/// One system call.
pub struct Call {
    /// Its name, as in the manual.
    pub name: &'static str,
    /// Its number on x86_64.
    pub x86_64: u32,
    /// Its number on i386.
    pub i386: u32,
    /// What it does.
    pub action: Action,
    /// Which of its uses are stopped.
    pub when: When,
}

/// What a call does, as far as it matters here. Numbers are argument indices.
pub enum Action {
    /// It names paths.
    Paths(&'static [Place]),
    /// It replaces the program by the one at a path.
    Exec(Place),
    /// It changes to the directory of a descriptor.
    Fchdir,
    /// It changes the file of a descriptor that need not have been opened for writing.
    Descriptor { operation: Operation, effect: Effect },
    /// It gives a socket an address, or uses one: `(descriptor, address, length)`.
    Address { operation: Operation, address: u8, length: u8 },
    /// `listen`.
    Listen,
    /// It sends a `struct msghdr`, or an array of `struct mmsghdr`.
    Message,
    /// i386's multiplexer of the socket calls.
    SocketCall,
    /// `fork` and `vfork`.
    Fork,
    /// `clone`: flags in an argument.
    Clone,
    /// `clone3`: flags in memory.
    Clone3,
    /// `unshare`.
    Unshare,
    /// `setns`.
    Setns,
    /// `fsconfig`: names a path for two of its commands.
    Fsconfig,
    /// `bpf`: names a path for two of its commands, in a structure.
    Bpf,
    /// `perf_event_open`: names the file of a uprobe, in a structure.
    PerfEvent,
    /// `ptrace`: fails for who is traced already, and does not go unsaid.
    Ptrace,
    /// `seccomp` with a listener, whose calls are answered before the tracer could see them.
    Seccomp,
    /// It reads the CPUs on which a task may run, or depends on them.
    Affinity,
    /// It changes them.
    SetAffinity,
    /// It asks for or changes ids, or is about a file or process whose owner counts; stopped only for the sake of
    /// virtual identities, which know it by its name.
    Identity,
    /// It is answered with ENOSYS, because what follows it cannot be seen; the gap has this name.
    Refuse(&'static str),
    /// It goes on, but what it opens cannot be seen; the gap has this name.
    Blind(&'static str),
}

/// An argument that names a path.
#[derive(Clone, Copy)]
pub struct Place {
    /// What the call does to it.
    pub operation: Operation,
    /// The argument with the directory's descriptor; `None` for the current directory.
    pub dir: Option<u8>,
    /// The argument with the address of the path.
    pub path: u8,
    /// What happens to a link in its last component, and to an empty path.
    pub last: Last,
    /// What the call changes there.
    pub effect: Effect,
}

/// What decides whether a link in the last component is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// It is.
    Follow,
    /// It is not.
    Keep,
    /// It is not, and an empty path means the descriptor: `readlinkat`.
    KeepOrEmpty,
    /// `open` flags: O_NOFOLLOW, and O_CREAT with O_EXCL.
    Open(u8),
    /// The address of a `struct open_how`.
    OpenHow(u8),
    /// `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH`.
    At(u8),
    /// The same, and NULL means the descriptor whatever the flags: `futimens`.
    AtOrNull(u8),
    /// `AT_SYMLINK_FOLLOW` and `AT_EMPTY_PATH`.
    AtFollow(u8),
    /// It is followed, and NULL means the descriptor.
    FollowOrNull,
    /// It is kept when any of these bits is set.
    KeepIf(u8, u32),
    /// It is followed when the second mask is set; an empty path is the descriptor when the third is.
    FollowIf(u8, u32, u32),
    /// It is followed; the argument may be something else than a path, which then does not begin with a slash.
    FollowAbsolute,
}

/// What a call changes in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The content of a file, and with it its times and set-id bits.
    Content,
    /// Mode, owner, times, attributes, or how many names it has.
    Metadata,
    /// There may be something where nothing was.
    Create,
    /// The same, and what is there already may be written.
    CreateOrWrite,
    /// There may be nothing, or something else, where a file or an empty directory was.
    Replace,
    /// The same, also where a directory was that is not empty.
    Move,
    /// The target of a rename: [`Effect::Move`] when this argument has RENAME_EXCHANGE, else [`Effect::Replace`].
    Target(u8),
    /// Anything may be anywhere.
    Mount,
    /// The current or the root directory of the process.
    Directory,
}

impl Effect {
    /// Whether every later look-up finds the same names.
    pub fn keeps_names(self) -> bool {
        matches!(self, Effect::None | Effect::Content | Effect::Metadata)
    }
}

/// Which uses of a call are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// All.
    Always,
    /// All but what glibc, musl and Rust do for `fstat`: flags exactly AT_EMPTY_PATH with a real descriptor. In exact
    /// mode all but those with a NULL path.
    NotFstat { fd: u8, path: u8, flags: u8 },
    /// All where tasks are counted, otherwise none.
    Counted,
    /// All where tasks are counted, otherwise those with this bit set in the low half of the argument.
    CountedOrBit { argument: u8, bit: u32 },
    /// Those whose argument is not NULL.
    NotNull { argument: u8 },
    /// Those with this bit set in the low half of the argument.
    Bit { argument: u8, bit: u32 },
    /// All in exact mode, otherwise none.
    Exact,
    /// All when a [`Witness`](super::Witness) is told of changes or with virtual identities, otherwise none.
    WitnessedOrIdentity,
    /// All with virtual identities, otherwise none.
    Identity,
    /// With virtual identities those with one of these two values in the low half of the argument.
    IdentityEither { argument: u8, values: [u32; 2] },
}

const fn at(operation: Operation, dir: u8, path: u8, last: Last) -> Place {
    Place { operation, dir: Some(dir), path, last, effect: Effect::None }
}

const fn cwd(operation: Operation, path: u8, last: Last) -> Place {
    Place { operation, dir: None, path, last, effect: Effect::None }
}

impl Place {
    const fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
}

const fn paths(name: &'static str, x86_64: u32, i386: u32, places: &'static [Place]) -> Call {
    Call { name, x86_64, i386, action: Action::Paths(places), when: When::Always }
}

const fn other(name: &'static str, x86_64: u32, i386: u32, action: Action) -> Call {
    Call { name, x86_64, i386, action, when: When::Always }
}

const fn identity(name: &'static str, x86_64: u32, i386: u32) -> Call {
    Call { name, x86_64, i386, action: Action::Identity, when: When::Identity }
}

impl Call {
    const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }
}

/// `CLONE_UNTRACED`: the child is not traced. With the filter and without a tracer each of its calls would fail.
pub const CLONE_UNTRACED: u64 = 0x0080_0000;

use Effect::{Content, Create, CreateOrWrite, Directory, Metadata, Mount, Move, Replace, Target};
use Last::{
    At, AtFollow, AtOrNull, Follow, FollowAbsolute, FollowIf, FollowOrNull, Keep, KeepIf, KeepOrEmpty, Open, OpenHow,
};

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

/// The architecture of a call, as the kernel reports it (`linux/audit.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `AUDIT_ARCH_X86_64`.
    X86_64,
    /// `AUDIT_ARCH_I386`: 32-bit programs, and `int 0x80` in any.
    I386,
    /// `AUDIT_ARCH_AARCH64`.
    Aarch64,
}

impl Architecture {
    /// Those of the machine this program is made for; the first one is its own.
    #[cfg(target_arch = "x86_64")]
    pub const HERE: &[Architecture] = &[Architecture::X86_64, Architecture::I386];
    /// Those of the machine this program is made for.
    #[cfg(target_arch = "aarch64")]
    pub const HERE: &[Architecture] = &[Architecture::Aarch64];

    /// The value of `linux/audit.h`.
    pub const fn audit(self) -> u32 {
        match self {
            Architecture::X86_64 => 0xc000_003e,
            Architecture::I386 => 0x4000_0003,
            Architecture::Aarch64 => 0xc000_00b7,
        }
    }

    /// The number of `call` here, if it has one.
    pub fn number(self, call: &Call) -> Option<u32> {
        let number = match self {
            Architecture::X86_64 => call.x86_64,
            Architecture::I386 => call.i386,
            Architecture::Aarch64 => aarch64::number(call),
        };
        (number != NONE).then_some(number)
    }
}

/// Finds calls by number.
pub struct Index([Vec<Option<&'static Call>>; 3]);

impl Index {
    /// The index of [`TABLE`].
    pub fn new() -> Self {
        let by_number = |architecture: Architecture| {
            let mut calls = Vec::new();
            for call in TABLE {
                if let Some(number) = architecture.number(call) {
                    let number = number as usize;
                    calls.resize(calls.len().max(number + 1), None);
                    calls[number] = Some(call);
                }
            }
            calls
        };
        Index([Architecture::X86_64, Architecture::I386, Architecture::Aarch64].map(by_number))
    }

    /// The call with this number.
    pub fn get(&self, architecture: Architecture, number: u64) -> Option<&'static Call> {
        let calls = &self.0[architecture as usize];
        *calls.get(usize::try_from(number).ok()?)?
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn header(path: &str) -> BTreeMap<String, u32> {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}; install linux-libc-dev"));
        let number = |line: &str| {
            let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
            Some((name.to_string(), number.trim().parse().ok()?))
        };
        text.lines().filter_map(number).collect()
    }

    #[test]
    fn numbers_are_those_of_the_kernel_headers() {
        for (architecture, file) in [(Architecture::X86_64, "unistd_64.h"), (Architecture::I386, "unistd_32.h")] {
            let known = header(&format!("/usr/include/x86_64-linux-gnu/asm/{file}"));
            let newest = *known.values().max().unwrap();
            for call in TABLE {
                let Some(number) = architecture.number(call) else { continue };
                match known.get(call.name) {
                    Some(&expected) => assert_eq!(number, expected, "{} in {file}", call.name),
                    None => assert!(number > newest, "{} is not in {file}", call.name),
                }
            }
        }
    }

    #[test]
    fn no_number_is_there_twice() {
        for architecture in [Architecture::X86_64, Architecture::I386, Architecture::Aarch64] {
            let mut numbers: Vec<u32> = TABLE.iter().filter_map(|c| architecture.number(c)).collect();
            numbers.sort_unstable();
            let all = numbers.len();
            numbers.dedup();
            assert_eq!(numbers.len(), all);
        }
    }

    #[test]
    fn the_index_finds_what_the_table_has() {
        let index = Index::new();
        assert_eq!(index.get(Architecture::X86_64, 257).unwrap().name, "openat");
        assert_eq!(index.get(Architecture::I386, 5).unwrap().name, "open");
        assert_eq!(index.get(Architecture::Aarch64, 56).unwrap().name, "openat");
        assert!(index.get(Architecture::X86_64, 0).is_none());
        assert!(index.get(Architecture::X86_64, u64::MAX).is_none());
    }
}
