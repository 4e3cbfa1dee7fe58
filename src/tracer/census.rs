//! Every system call of Linux 6.18 that is not in the table, and why: so that none is forgotten silently. From here and
//! from the table comes `docs/syscalls.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::syscalls::{Action, Architecture, Last, NONE, Place, TABLE, When};

/// The last number of Linux 6.18. From 424 on all architectures have the same numbers.
const NEWEST: u32 = 469;

/// Why they need not be stopped, and the calls: name, and number on x86_64, i386 and aarch64.
const UNTRACED: &[(&str, &str)] = &[
    (
        "A descriptor says which file, and opening it was seen.",
        "\
         read 0 3 63; write 1 4 64; close 3 6 57; lseek 8 19 62; mmap 9 90 222; ioctl 16 54 29; pread64 17 180 67; \
         pwrite64 18 181 68; readv 19 145 65; writev 20 146 66; sendfile 40 187 71; flock 73 143 32; fsync 74 118 82; \
         fdatasync 75 148 83; ftruncate 77 93 46; getdents 78 141 -; fstatfs 138 100 44; readahead 187 225 213; \
         remap_file_pages 216 257 234; getdents64 217 220 61; fadvise64 221 250 223; splice 275 313 76; tee 276 315 \
         77; sync_file_range 277 314 84; vmsplice 278 316 75; fallocate 285 324 47; preadv 295 333 69; pwritev 296 334 \
         70; syncfs 306 344 267; finit_module 313 350 273; kexec_file_load 320 - 294; copy_file_range 326 377 285; \
         preadv2 327 378 286; pwritev2 328 379 287; quotactl_fd 443 443 443; cachestat 451 451 451; _llseek - 140 -; \
         fadvise64_64 - 272 -; fstatfs64 - 269 -; ftruncate64 - 194 -; mmap2 - 192 -; readdir - 89 -; sendfile64 - 239 \
         -",
    ),
    (
        "It tells a path and takes none; a mount is known by its number.",
        "\
         getcwd 79 183 17; lookup_dcookie 212 253 18; statmount 457 457 457; listmount 458 458 458",
    ),
    (
        "It names a file system type, a device number or a new mount, not a path: what becomes of a mount is seen in `move_mount`.",
        "\
         ustat 136 62 -; sysfs 139 135 -; fsopen 430 430 430",
    ),
    (
        "It waits for or gives out what was opened or watched by other calls.",
        "\
         poll 7 168 -; select 23 82 -; io_setup 206 245 0; io_destroy 207 246 1; io_getevents 208 247 4; io_submit 209 \
         248 2; io_cancel 210 249 3; epoll_create 213 254 -; epoll_ctl_old 214 - -; epoll_wait_old 215 - -; epoll_wait \
         232 256 -; epoll_ctl 233 255 21; inotify_init 253 291 -; inotify_rm_watch 255 293 28; pselect6 270 308 72; \
         ppoll 271 309 73; epoll_pwait 281 319 22; epoll_create1 291 329 20; inotify_init1 294 332 26; io_pgetevents \
         333 385 292; epoll_pwait2 441 441 441; _newselect - 142 -; io_pgetevents_time64 - 416 -; ppoll_time64 - 414 \
         -; pselect6_time64 - 413 -",
    ),
    (
        "It needs a ring, and `io_uring_setup` is refused.",
        "\
         io_uring_enter 426 426 426; io_uring_register 427 427 427",
    ),
    (
        "A socket, its options or its peer; paths of peers were named when they bound them.",
        "\
         socket 41 359 198; accept 43 - 202; recvfrom 45 371 207; recvmsg 47 372 212; shutdown 48 373 210; getsockname \
         51 367 204; getpeername 52 368 205; accept4 288 364 242; recvmmsg 299 337 243; recvmmsg_time64 - 417 -",
    ),
    (
        "It makes something without a name in the tree.",
        "\
         pipe 22 42 -; signalfd 282 321 -; timerfd_create 283 322 85; eventfd 284 323 -; timerfd_settime 286 325 86; \
         timerfd_gettime 287 326 87; signalfd4 289 327 74; eventfd2 290 328 19; pipe2 293 331 59; memfd_create 319 356 \
         279; userfaultfd 323 374 282; pidfd_open 434 434 434; memfd_secret 447 447 447; timerfd_gettime64 - 410 -; \
         timerfd_settime64 - 411 -",
    ),
    (
        "Its names are those of message queues, shared memory, semaphores or keys.",
        "\
         shmget 29 395 194; shmat 30 397 196; shmctl 31 396 195; semget 64 393 190; semop 65 - 193; semctl 66 394 \
         191; shmdt 67 398 197; msgget 68 399 186; msgsnd 69 400 189; msgrcv 70 401 188; msgctl 71 402 187; \
         semtimedop 220 - 192; mq_open 240 277 180; mq_unlink 241 278 181; mq_timedsend 242 279 182; mq_timedreceive \
         243 280 183; mq_notify 244 281 184; mq_getsetattr 245 282 185; add_key 248 286 217; request_key 249 287 218; \
         keyctl 250 288 219; ipc - 117 -; mq_timedreceive_time64 - 419 -; mq_timedsend_time64 - 418 -; \
         semtimedop_time64 - 420 -",
    ),
    (
        "Memory.",
        "\
         mprotect 10 125 226; munmap 11 91 215; brk 12 45 214; mremap 25 163 216; msync 26 144 227; mincore 27 218 \
         232; madvise 28 219 233; mlock 149 150 228; munlock 150 151 229; mlockall 151 152 230; munlockall 152 153 \
         231; modify_ldt 154 123 -; arch_prctl 158 384 -; set_thread_area 205 243 -; get_thread_area 211 244 -; mbind \
         237 274 235; set_mempolicy 238 276 237; get_mempolicy 239 275 236; migrate_pages 256 294 238; move_pages 279 \
         317 239; process_vm_readv 310 347 270; process_vm_writev 311 348 271; membarrier 324 375 283; mlock2 325 376 \
         284; pkey_mprotect 329 380 288; pkey_alloc 330 381 289; pkey_free 331 382 290; process_madvise 440 440 440; \
         process_mrelease 448 448 448; set_mempolicy_home_node 450 450 450; map_shadow_stack 453 453 453; mseal 462 \
         462 462",
    ),
    (
        "Processes, signals and scheduling.",
        "\
         rt_sigaction 13 174 134; rt_sigprocmask 14 175 135; rt_sigreturn 15 173 139; sched_yield 24 158 124; pause \
         34 29 -; getpid 39 20 172; exit 60 1 93; wait4 61 114 260; umask 95 60 166; getrlimit 97 76 163; getrusage \
         98 77 165; times 100 43 153; setpgid 109 57 154; getppid 110 64 173; getpgrp 111 65 -; setsid 112 66 157; \
         getpgid 121 132 155; getsid 124 147 156; rt_sigpending 127 176 136; rt_sigtimedwait 128 177 137; \
         rt_sigsuspend 130 179 133; sigaltstack 131 186 132; personality 135 136 92; getpriority 140 96 141; \
         setpriority 141 97 140; sched_setparam 142 154 118; sched_getparam 143 155 121; sched_setscheduler 144 156 \
         119; sched_getscheduler 145 157 120; sched_get_priority_max 146 159 125; sched_get_priority_min 147 160 126; \
         sched_rr_get_interval 148 161 127; setrlimit 160 75 164; gettid 186 224 178; futex 202 240 98; \
         set_tid_address 218 258 96; restart_syscall 219 0 128; exit_group 231 252 94; waitid 247 284 95; ioprio_set \
         251 289 30; ioprio_get 252 290 31; set_robust_list 273 311 99; get_robust_list 274 312 100; prlimit64 302 \
         340 261; getcpu 309 318 168; kcmp 312 349 272; sched_getattr 315 352 275; rseq 334 386 293; uretprobe 335 - \
         -; uprobe 336 - -; futex_waitv 449 449 449; futex_wake 454 454 454; futex_wait 455 455 455; futex_requeue \
         456 456 456; futex_time64 - 422 -; nice - 34 -; rt_sigtimedwait_time64 - 421 -; sched_rr_get_interval_time64 \
         - 423 -; sgetmask - 68 -; sigaction - 67 -; signal - 48 -; sigpending - 73 -; sigprocmask - 126 -; sigreturn \
         - 119 -; sigsuspend - 72 -; ssetmask - 69 -; ugetrlimit - 191 -; vm86 - 166 -; vm86old - 113 -; waitpid - 7 \
         -",
    ),
    (
        "Clocks and timers.",
        "\
         nanosleep 35 162 101; getitimer 36 105 102; alarm 37 27 -; setitimer 38 104 103; gettimeofday 96 78 169; \
         adjtimex 159 124 171; settimeofday 164 79 170; time 201 13 -; timer_create 222 259 107; timer_settime 223 \
         260 110; timer_gettime 224 261 108; timer_getoverrun 225 262 109; timer_delete 226 263 111; clock_settime \
         227 264 112; clock_gettime 228 265 113; clock_getres 229 266 114; clock_nanosleep 230 267 115; clock_adjtime \
         305 343 266; clock_adjtime64 - 405 -; clock_getres_time64 - 406 -; clock_gettime64 - 403 -; \
         clock_nanosleep_time64 - 407 -; clock_settime64 - 404 -; stime - 25 -; timer_gettime64 - 408 -; \
         timer_settime64 - 409 -",
    ),
    (
        "The machine as a whole.",
        "\
         uname 63 122 160; sysinfo 99 116 179; syslog 103 103 116; vhangup 153 111 58; sync 162 36 81; reboot 169 88 \
         142; sethostname 170 74 161; setdomainname 171 121 162; iopl 172 110 -; ioperm 173 101 -; init_module 175 \
         128 105; delete_module 176 129 106; kexec_load 246 283 104; getrandom 318 355 278; oldolduname - 59 -; \
         olduname - 109 -",
    ),
    (
        "Rules about what may be done; directories are given by descriptor.",
        "\
         landlock_create_ruleset 444 444 444; landlock_add_rule 445 445 445; landlock_restrict_self 446 446 446; \
         lsm_get_self_attr 459 459 459; lsm_set_self_attr 460 460 460; lsm_list_modules 461 461 461",
    ),
    (
        "The kernel does not have it any more, or never had it.",
        "\
         _sysctl 156 149 -; create_module 174 127 -; get_kernel_syms 177 130 -; query_module 178 167 -; nfsservctl \
         180 169 42; getpmsg 181 188 -; putpmsg 182 189 -; afs_syscall 183 137 -; tuxcall 184 - -; security 185 - -; \
         vserver 236 273 -; bdflush - 134 -; break - 17 -; ftime - 35 -; gtty - 32 -; idle - 112 -; lock - 53 -; mpx \
         - 56 -; prof - 44 -; profil - 98 -; stty - 31 -; ulimit - 58 -",
    ),
];

const ARCHITECTURES: [Architecture; 3] = [Architecture::X86_64, Architecture::I386, Architecture::Aarch64];

/// Numbers that no call has: gaps, and what belongs to x32 or to single architectures.
fn is_unused(architecture: Architecture, number: u32) -> bool {
    match architecture {
        Architecture::X86_64 => (337..=423).contains(&number),
        Architecture::I386 => matches!(number, 222 | 223 | 251 | 285 | 387..=392 | 415),
        // 244 to 259 are for each architecture's own, of which aarch64 has none.
        Architecture::Aarch64 => matches!(number, 244..=259 | 295..=423),
    }
}

fn untraced() -> Vec<(&'static str, [u32; 3])> {
    let number = |word: &str| if word == "-" { NONE } else { word.parse().unwrap() };
    let call = |text: &'static str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [name, numbers @ ..] = words.as_slice() else { panic!("{text}") };
        let numbers: Vec<u32> = numbers.iter().map(|word| number(word)).collect();
        (*name, numbers.try_into().unwrap_or_else(|_| panic!("{text}")))
    };
    UNTRACED.iter().flat_map(|(_, calls)| calls.split(';')).map(call).collect()
}

#[test]
fn every_call_of_the_kernel_is_traced_or_has_a_reason() {
    for (column, architecture) in ARCHITECTURES.into_iter().enumerate() {
        let traced = TABLE.iter().filter_map(|call| Some((architecture.number(call)?, call.name)));
        let others = untraced().into_iter().map(|(name, numbers)| (numbers[column], name));
        let mut known: BTreeMap<u32, &str> = BTreeMap::new();
        for (number, name) in traced.chain(others.filter(|(number, _)| *number != NONE)) {
            let before = known.insert(number, name);
            assert_eq!(before, None, "{architecture:?} {number} is {name}");
        }
        for number in 0..=NEWEST {
            let is_known = known.contains_key(&number);
            assert_eq!(is_known, !is_unused(architecture, number), "{architecture:?} {number}");
        }
        assert_eq!(known.range(NEWEST + 1..).count(), 0);
    }
}

#[test]
fn no_call_is_both_traced_and_not() {
    for (name, _) in untraced() {
        assert!(TABLE.iter().all(|call| call.name != name), "{name}");
    }
}

/// The headers of the kernel, as far as they know a call.
#[test]
fn numbers_without_a_path_are_those_of_the_kernel_headers() {
    for (column, file) in ["unistd_64.h", "unistd_32.h"].into_iter().enumerate() {
        let path = format!("/usr/include/x86_64-linux-gnu/asm/{file}");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}; install linux-libc-dev"));
        for (name, numbers) in untraced() {
            let define = format!("#define __NR_{name} ");
            let Some(number) = text.lines().find_map(|line| line.strip_prefix(&*define)) else { continue };
            assert_eq!(number.trim().parse(), Ok(numbers[column]), "{name} in {file}");
        }
    }
}

fn last(last: Last) -> String {
    match last {
        Last::Follow => "followed".into(),
        Last::Keep => "kept".into(),
        Last::KeepOrEmpty => "kept; an empty path is the descriptor".into(),
        Last::Open(n) => format!("`O_NOFOLLOW`, `O_CREAT` with `O_EXCL` in argument {n}"),
        Last::OpenHow(n) => format!("the same in the structure at argument {n}"),
        Last::At(n) => format!("`AT_SYMLINK_NOFOLLOW`, `AT_EMPTY_PATH` in argument {n}"),
        Last::AtOrNull(n) => format!("`AT_SYMLINK_NOFOLLOW`, `AT_EMPTY_PATH` in argument {n}; NULL is the descriptor"),
        Last::AtFollow(n) => format!("`AT_SYMLINK_FOLLOW`, `AT_EMPTY_PATH` in argument {n}"),
        Last::FollowOrNull => "followed; NULL is the descriptor".into(),
        Last::KeepIf(n, bits) => format!("kept with {bits:#x} in argument {n}"),
        Last::FollowIf(n, follow, empty) => {
            format!("followed with {follow:#x} in argument {n}; empty is the descriptor with {empty:#x}")
        }
        Last::FollowAbsolute => "followed; only an absolute path is one".into(),
    }
}

fn place(place: &Place) -> String {
    let from = place.dir.map_or_else(String::new, |n| format!(" from the descriptor {n}"));
    let operation = format!("{:?}", place.operation).to_lowercase();
    format!("{operation} {}{from} ({})", place.path, last(place.last))
}

fn action(action: &Action) -> String {
    match action {
        Action::Paths(places) => places.iter().map(place).collect::<Vec<_>>().join(", "),
        Action::Exec(only) => place(only),
        Action::Fchdir => "chdir to the descriptor 0".into(),
        Action::Descriptor { operation, .. } => {
            format!("{} of the descriptor 0", format!("{operation:?}").to_lowercase())
        }
        Action::Address { operation, address, .. } => {
            format!("{} {address}: an address of `AF_UNIX`", format!("{operation:?}").to_lowercase())
        }
        Action::Listen => "tells that something listens".into(),
        Action::Message => "connect: addresses of `AF_UNIX` in messages".into(),
        Action::SocketCall => "`bind`, `connect`, `listen` and `sendto`".into(),
        Action::Fork => "counted".into(),
        Action::Clone | Action::Clone3 => "`CLONE_UNTRACED` is cleared; counted".into(),
        Action::Unshare => "a mount namespace is a gap; current directories".into(),
        Action::Setns => "a mount namespace is a gap".into(),
        Action::Fsconfig => "mount 3: `FSCONFIG_SET_PATH` and `FSCONFIG_SET_PATH_EMPTY`".into(),
        Action::Bpf => "open, create: `BPF_OBJ_GET` and `BPF_OBJ_PIN`, in the structure at argument 1".into(),
        Action::PerfEvent => "open: the file of a uprobe, in the structure at argument 0".into(),
        Action::Ptrace => "becoming a tracer or a tracee fails, which is a gap".into(),
        Action::Number => "a number may be that of another directory".into(),
        Action::Receive => "numbers may become those of other directories unseen".into(),
        Action::CloseRange => "the task has descriptors of its own".into(),
        Action::Seccomp => "a filter whose calls another process answers is a gap".into(),
        Action::Affinity | Action::SetAffinity => "sees what there would be without a tracer".into(),
        Action::Identity => "ids, for virtual users".into(),
        Action::Refuse(gap) => format!("fails with ENOSYS; gap `{gap}`"),
        Action::Blind(gap) => format!("what it opens is not seen; gap `{gap}`"),
    }
}

fn when(when: When) -> &'static str {
    match when {
        When::Always => "always",
        When::NotFstat { .. } => "unless it is the `fstat` of a C library",
        When::Counted => "with a limit of processes",
        When::CountedOrBit { .. } => "with a limit of processes, or with `CLONE_UNTRACED`",
        When::NotNull { .. } => "with an address",
        When::Bit { .. } => "with this flag",
        When::Exact => "with `--exact`",
        When::WitnessedOrIdentity => "in place, or with virtual users",
        When::Identity => "with virtual users",
        When::Either { .. } => "with these values",
        When::AtLeast { .. } => "unless it is a standard stream",
        When::IdentityEither { .. } => "with virtual users: `SO_PEERCRED`, `SO_PEERGROUPS`",
    }
}

fn number(number: Option<u32>) -> String {
    number.map_or_else(|| "-".into(), |number| number.to_string())
}

fn documentation() -> String {
    let mut out = String::from(
        "# System calls\n\n\
         Which system calls the tracer stops, what it sees in them, and why it lets all others of Linux 6.18 pass. This file is\n\
         generated from `src/tracer/syscalls/table.rs` and `src/tracer/census.rs`; a test holds it to them.\n\n\
         Numbers of arguments count from 0. An operation and a number, as in `open 1`, is what the trace says of the path at that\n\
         argument; what follows in brackets decides about a link in its last component.\n\n\
         ## Stopped\n\n\
         | call | x86_64 | i386 | aarch64 | what is seen | when |\n|---|---|---|---|---|---|\n",
    );
    for call in TABLE {
        let [x86_64, i386, aarch64] = ARCHITECTURES.map(|a| number(a.number(call)));
        let (seen, when) = (action(&call.action), when(call.when));
        writeln!(out, "| `{}` | {x86_64} | {i386} | {aarch64} | {seen} | {when} |", call.name).unwrap();
    }
    out.push_str("\n## Not stopped\n\n| why | calls |\n|---|---|\n");
    for (reason, calls) in UNTRACED {
        let names: Vec<String> =
            calls.split(';').filter_map(|call| Some(format!("`{}`", call.split_whitespace().next()?))).collect();
        writeln!(out, "| {reason} | {} |", names.join(", ")).unwrap();
    }
    out
}

#[test]
fn the_documentation_is_that_of_the_table() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let expected = documentation();
    let written = std::fs::read_to_string(root.join("docs/syscalls.md")).unwrap_or_default();
    if written != expected {
        std::fs::write(root.join("target/syscalls.md"), expected).unwrap();
        panic!("docs/syscalls.md is not what the table says: copy target/syscalls.md there");
    }
}
