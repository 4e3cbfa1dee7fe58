//! Each call of the table that names a path is made once by its number, on each architecture that this machine runs,
//! and its path has to be seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use scrimp::tracer::{Options, Tree};

use crate::tracer::{compile, lines_without, link_program, root, trace_with};

static CALL: LazyLock<PathBuf> = LazyLock::new(|| compile("call", &["-static"]));

/// The call, its arguments as `fixtures/tracer/call.c` takes them, and what is seen. Descriptor 3 is `/jail`.
const CALLS: &[(&str, &str, &str)] = &[
    ("open", "s:/dir/file 0", "/dir/file open\n"),
    ("creat", "s:/dir/file 0644", "/dir/file create\n"),
    ("openat", "3 s:inside 0", "/jail/inside open\n"),
    ("openat2", "3 s:inside w:0,0,0 24", "/jail/inside open\n"),
    ("name_to_handle_at", "3 s:inside w:0 w:0 0", "/jail/inside open\n"),
    ("uselib", "s:/dir/file", "/dir/file open\n"),
    ("truncate", "s:/dir/file 0", "/dir/file truncate\n"),
    ("truncate64", "s:/dir/file 0 0", "/dir/file truncate\n"),
    ("stat", "s:/link w:0", "/dir/file stat\n/link traverse\n"),
    ("lstat", "s:/link w:0", "/link stat\n"),
    ("oldstat", "s:/link w:0", "/dir/file stat\n/link traverse\n"),
    ("oldlstat", "s:/link w:0", "/link stat\n"),
    ("stat64", "s:/link w:0", "/dir/file stat\n/link traverse\n"),
    ("lstat64", "s:/link w:0", "/link stat\n"),
    ("newfstatat", "3 s:inside w:0 0", "/jail/inside stat\n"),
    ("fstatat64", "3 s:inside w:0 0", "/jail/inside stat\n"),
    ("statx", "3 s:inside 0 0xfff w:0", "/jail/inside stat\n"),
    ("statfs", "s:/dir/file w:0", "/dir/file stat\n"),
    ("statfs64", "s:/dir/file 84 w:0", "/dir/file stat\n"),
    ("access", "s:/dir/file 0", "/dir/file access\n"),
    ("faccessat", "3 s:inside 0", "/jail/inside access\n"),
    ("faccessat2", "3 s:inside 0 0", "/jail/inside access\n"),
    ("readlink", "s:/link w:0 8", "/link readlink\n"),
    ("readlinkat", "3 s:abs w:0 8", "/jail/abs readlink\n"),
    ("chmod", "s:/dir/file 0644", "/dir/file chmod\n"),
    ("fchmodat", "3 s:inside 0644", "/jail/inside chmod\n"),
    ("fchmodat2", "3 s:inside 0644 0", "/jail/inside chmod\n"),
    ("chown", "s:/dir/file -1 -1", "/dir/file chown\n"),
    ("lchown", "s:/link -1 -1", "/link chown\n"),
    ("chown32", "s:/dir/file -1 -1", "/dir/file chown\n"),
    ("lchown32", "s:/link -1 -1", "/link chown\n"),
    ("fchownat", "3 s:inside -1 -1 0", "/jail/inside chown\n"),
    ("utime", "s:/dir/file 0", "/dir/file utime\n"),
    ("utimes", "s:/dir/file 0", "/dir/file utime\n"),
    ("futimesat", "3 s:inside 0", "/jail/inside utime\n"),
    ("utimensat", "3 s:inside 0 0", "/jail/inside utime\n"),
    ("utimensat_time64", "3 s:inside 0 0", "/jail/inside utime\n"),
    ("setxattr", "s:/dir/file s:user.x s:v 1 0", "/dir/file xattr\n"),
    ("lsetxattr", "s:/link s:user.x s:v 1 0", "/link xattr\n"),
    ("getxattr", "s:/dir/file s:user.x w:0 8", "/dir/file xattr\n"),
    ("lgetxattr", "s:/link s:user.x w:0 8", "/link xattr\n"),
    ("listxattr", "s:/dir/file w:0 8", "/dir/file xattr\n"),
    ("llistxattr", "s:/link w:0 8", "/link xattr\n"),
    ("removexattr", "s:/dir/file s:user.x", "/dir/file xattr\n"),
    ("lremovexattr", "s:/link s:user.x", "/link xattr\n"),
    ("setxattrat", "3 s:inside 0 s:user.x w:0,0 16", "/jail/inside xattr\n"),
    ("getxattrat", "3 s:inside 0 s:user.x w:0,0 16", "/jail/inside xattr\n"),
    ("listxattrat", "3 s:inside 0 w:0 8", "/jail/inside xattr\n"),
    ("removexattrat", "3 s:inside 0 s:user.x", "/jail/inside xattr\n"),
    ("file_getattr", "3 s:inside w:0 24 0", "/jail/inside xattr\n"),
    ("file_setattr", "3 s:abs w:0 24 0x100", "/jail/abs xattr\n"),
    ("inotify_add_watch", "0 s:/dir/file 2", "/dir/file watch\n"),
    ("fanotify_mark", "0 1 2 3 s:inside", "/jail/inside watch\n"),
    ("fanotify_mark", "0 1 2 0 3 s:inside", "/jail/inside watch\n"),
    ("mkdir", "s:/dir/new 0755", "/dir/new mkdir absent\n"),
    ("mkdirat", "3 s:new 0755", "/jail/new mkdir absent\n"),
    ("mknod", "s:/dir/new 0010644 0", "/dir/new mknod absent\n"),
    ("mknodat", "3 s:new 0010644 0", "/jail/new mknod absent\n"),
    ("symlink", "s:anything s:/dir/new", "/dir/new symlink absent\n"),
    ("symlinkat", "s:anything 3 s:new", "/jail/new symlink absent\n"),
    ("link", "s:/dir/file s:/dir/new", "/dir/file link\n/dir/new link absent\n"),
    ("linkat", "3 s:inside 3 s:new 0", "/jail/inside link\n/jail/new link absent\n"),
    ("unlink", "s:/dir/file", "/dir/file unlink\n"),
    ("unlinkat", "3 s:inside 0", "/jail/inside unlink\n"),
    ("rmdir", "s:/dir/sub", "/dir/sub unlink\n"),
    ("rename", "s:/dir/file s:/dir/new", "/dir/file rename\n/dir/new rename absent\n"),
    ("renameat", "3 s:inside 3 s:new", "/jail/inside rename\n/jail/new rename absent\n"),
    ("renameat2", "3 s:inside 3 s:new 0", "/jail/inside rename\n/jail/new rename absent\n"),
    ("chdir", "s:/dir", "/dir chdir\n"),
    ("fchdir", "3", "/jail open,chdir\n"),
    ("chroot", "s:/dir", "/dir chdir\n"),
    ("pivot_root", "s:/dir s:/dir/sub", "/dir chdir\n/dir/sub chdir\n"),
    ("mount", "s:/dir s:/dir/sub 0 4096 0", "/dir mount\n/dir/sub mount\n"),
    ("umount2", "s:/dir 0", "/dir mount\n"),
    ("umount", "s:/dir", "/dir mount\n"),
    ("open_tree", "3 s:inside 0", "/jail/inside mount\n"),
    ("open_tree_attr", "3 s:inside 0 w:0 32", "/jail/inside mount\n"),
    ("move_mount", "3 s:inside 3 s:etc 0", "/jail/etc mount\n/jail/inside mount\n"),
    ("mount_setattr", "3 s:inside 0 w:0 32", "/jail/inside mount\n"),
    ("fspick", "3 s:inside 0", "/jail/inside mount\n"),
    ("fsconfig", "0 3 s:source s:inside 3", "/jail/inside mount\n"),
    ("swapon", "s:/dir/file 0", "/dir/file mount\n"),
    ("swapoff", "s:/dir/file", "/dir/file mount\n"),
    // A directory: what is accounted there would be the machine.
    ("acct", "s:/dir", "/dir mount\n"),
    ("quotactl", "0 s:/dir/file 0 0", "/dir/file mount\n"),
    ("execve", "s:/dir/file 0 0", "/dir/file exec\n"),
    ("execveat", "3 s:inside 0 0 0", "/jail/inside exec\n"),
    ("bpf", "6 w:p:/dir/new,0,0 24", "/dir/new create absent\n"),
    ("bpf", "7 w:p:/dir/file,0,0 24", "/dir/file open\n"),
    ("bpf", "7 w:p:inside,0x400000000000,3 24", "/jail/inside open\n"),
    ("perf_event_open", "w:6,0,0,0,0,0,0,p:/dir/file 0 0 -1 0", "/dir/file open\n"),
    ("bind", "0 u:/dir/new 110", "/dir/new bind absent\n"),
    ("connect", "0 u:/dir/file 110", "/dir/file connect\n"),
    ("sendto", "0 s:x 1 0 u:/dir/file 110", "/dir/file connect\n"),
    ("sendmsg", "0 m:/dir/file 0", "/dir/file connect\n"),
    ("sendmmsg", "0 m:/dir/file 1 0", "/dir/file connect\n"),
    ("socketcall", "2 l:0,u:/dir/new,110", "/dir/new bind absent\n"),
    ("socketcall", "3 l:0,u:/dir/file,110", "/dir/file connect\n"),
    ("socketcall", "11 l:0,0,0,0,u:/dir/file,110", "/dir/file connect\n"),
];

/// Calls that are stopped for another reason than a path in their arguments.
const WITHOUT_A_PATH: &[&str] = &[
    "open_by_handle_at",
    "fchmod",
    "fchown",
    "fchown32",
    "fsetxattr",
    "fremovexattr",
    "ptrace",
    "seccomp",
    "fork",
    "vfork",
    "clone",
    "clone3",
    "unshare",
    "setns",
    "listen",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "fcntl64",
    "fsmount",
    "pidfd_getfd",
    "socketpair",
    "setsockopt",
    "fanotify_init",
    "close_range",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_setattr",
    "io_uring_setup",
];

/// The rows of the table: name, number on x86_64 and on i386, and what is seen.
fn table() -> Vec<[String; 4]> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/syscalls.md")).unwrap();
    let (table, _) = text.split_once("## Not stopped").unwrap();
    let row = |line: &str| -> Option<[String; 4]> {
        let cells: Vec<&str> = line.split(" | ").collect();
        let name = cells.first()?.strip_prefix("| `")?.strip_suffix('`')?;
        Some([name, cells[1], cells[2], cells[4]].map(str::to_string))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn each_call_that_names_a_path_is_made() {
    let made: BTreeSet<&str> = CALLS.iter().map(|(name, ..)| *name).collect();
    let mut rows = 0;
    for [name, _, _, seen] in table() {
        let has_no_path = seen == "ids, for virtual users" || WITHOUT_A_PATH.contains(&&*name);
        assert!(made.contains(&*name) != has_no_path, "{name}: {seen}");
        rows += 1;
    }
    assert!(rows > 150);
}

fn check(column: usize, architecture: &str) {
    let table = table();
    let mut wrong = String::new();
    for (name, arguments, expected) in CALLS {
        // Where a call has two rows, each has another place for its path.
        let row = table.iter().filter(|row| row[0] == *name).rfind(|row| row[column] != "-");
        let two = table.iter().filter(|row| row[0] == *name).count() > 1;
        let is_wide = arguments.split_whitespace().count() == 5;
        let Some(row) = row.filter(|_| !two || is_wide == (architecture == "native")) else { continue };
        let root = root();
        link_program(&CALL, &root.path().join("bin/call"));
        let mut argv = vec!["/bin/call", architecture, &row[column]];
        argv.extend(arguments.split_whitespace());
        let options = Options { exact: true, ..Options::default() };
        let run = trace_with("pivot", root.path(), &argv, options, &[(Tree::Application, None)]);
        assert_eq!(run.codes, [0], "{argv:?}");
        let found = lines_without(&run.recording, "/bin/call").replace("/jail open\n", "");
        if found != *expected {
            wrong.push_str(&format!("--- {argv:?}, expected:\n{expected}--- found:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_path_of_each_call_is_seen() {
    check(1, "native");
}

#[test]
fn the_path_of_each_32_bit_call_is_seen() {
    check(2, "i386");
}
