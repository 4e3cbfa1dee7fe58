//! The numbers that the calls of the table have on aarch64: those of `scripts/syscall.tbl` of Linux 6.18, which all
//! newer architectures share. Arguments have the same places as on x86_64.

use super::syscalls::{Call, NONE};

/// Calls of the table by name. What is missing here, like `open` and `stat`, this architecture does not have.
const NUMBERS: &[(&str, u32)] = &[
    ("openat", 56),
    ("openat2", 437),
    ("name_to_handle_at", 264),
    ("open_by_handle_at", 265),
    ("truncate", 45),
    ("newfstatat", 79),
    ("statx", 291),
    ("statfs", 43),
    ("faccessat", 48),
    ("faccessat2", 439),
    ("readlinkat", 78),
    ("fchmod", 52),
    ("fchmodat", 53),
    ("fchmodat2", 452),
    ("fchown", 55),
    ("fchownat", 54),
    ("utimensat", 88),
    ("setxattr", 5),
    ("lsetxattr", 6),
    ("fsetxattr", 7),
    ("getxattr", 8),
    ("lgetxattr", 9),
    ("listxattr", 11),
    ("llistxattr", 12),
    ("removexattr", 14),
    ("lremovexattr", 15),
    ("fremovexattr", 16),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("file_getattr", 468),
    ("file_setattr", 469),
    ("inotify_add_watch", 27),
    ("fanotify_mark", 263),
    ("mkdirat", 34),
    ("mknodat", 33),
    ("symlinkat", 36),
    ("linkat", 37),
    ("unlinkat", 35),
    ("renameat", 38),
    ("renameat2", 276),
    ("chdir", 49),
    ("fchdir", 50),
    ("chroot", 51),
    ("pivot_root", 41),
    ("mount", 40),
    ("umount2", 39),
    ("open_tree", 428),
    ("open_tree_attr", 467),
    ("move_mount", 429),
    ("mount_setattr", 442),
    ("fspick", 433),
    ("fsconfig", 431),
    ("swapon", 224),
    ("swapoff", 225),
    ("acct", 89),
    ("quotactl", 60),
    ("execve", 221),
    ("execveat", 281),
    ("clone", 220),
    ("clone3", 435),
    ("unshare", 97),
    ("setns", 268),
    ("bind", 200),
    ("connect", 203),
    ("sendto", 206),
    ("sendmsg", 211),
    ("sendmmsg", 269),
    ("listen", 201),
    ("dup", 23),
    ("dup3", 24),
    ("fcntl", 25),
    ("fsmount", 432),
    ("pidfd_getfd", 438),
    ("socketpair", 199),
    ("setsockopt", 208),
    ("fanotify_init", 262),
    ("close_range", 436),
    ("sched_getaffinity", 123),
    ("sched_setaffinity", 122),
    ("sched_setattr", 274),
    ("getuid", 174),
    ("getgid", 176),
    ("geteuid", 175),
    ("getegid", 177),
    ("getresuid", 148),
    ("getresgid", 150),
    ("getgroups", 158),
    ("setuid", 146),
    ("setgid", 144),
    ("setreuid", 145),
    ("setregid", 143),
    ("setresuid", 147),
    ("setresgid", 149),
    ("setfsuid", 151),
    ("setfsgid", 152),
    ("setgroups", 159),
    ("capget", 90),
    ("capset", 91),
    ("prctl", 167),
    ("fstat", 80),
    ("fgetxattr", 10),
    ("flistxattr", 13),
    ("kill", 129),
    ("tkill", 130),
    ("tgkill", 131),
    ("rt_sigqueueinfo", 138),
    ("rt_tgsigqueueinfo", 240),
    ("pidfd_send_signal", 424),
    ("getsockopt", 209),
    ("io_uring_setup", 425),
    ("bpf", 280),
    ("ptrace", 117),
    ("seccomp", 277),
    ("perf_event_open", 241),
];

/// The number of `call`, if there is one. A row that only i386 has is not for this architecture.
pub fn number(call: &Call) -> u32 {
    let known = NUMBERS.iter().find(|(name, _)| *name == call.name && call.x86_64 != NONE);
    known.map_or(NONE, |(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::super::syscalls::TABLE;
    use super::*;

    #[test]
    fn every_number_belongs_to_a_call() {
        for (name, expected) in NUMBERS {
            let call = TABLE.iter().find(|call| call.name == *name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(number(call), *expected);
        }
        let call = TABLE.iter().find(|call| call.name == "open").unwrap();
        assert_eq!(number(call), NONE);
    }
}
