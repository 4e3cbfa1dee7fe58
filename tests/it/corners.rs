//! Corners of the process model, and of the ways to name a file, in which a tracer could lose a process or a path.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use scrimp::base::ImagePath;
use scrimp::tracer::{Options, Tree};
use tempfile::TempDir;

use crate::support::{Env, User};
use crate::tracer::{Run, compile, lines_without, link_program, root, trace_with, write_script};

static CORNERS: LazyLock<PathBuf> = LazyLock::new(|| compile("corners", &["-static"]));

fn place() -> TempDir {
    let root = root();
    link_program(&CORNERS, &root.path().join("bin/corners"));
    // One after the other, as many as the kernel follows, and one more.
    for (script, interpreter) in [
        ("s0", "/bin/s1"),
        ("s1", "/bin/s2"),
        ("s2", "/bin/s3"),
        ("s3", "/bin/s4"),
        ("s4", "/bin/s5"),
        ("s5", "/bin/corners nothing"),
    ] {
        write_script(&root.path().join("bin").join(script), &format!("#!{interpreter}\n"));
    }
    root
}

fn run(name: &str, options: Options) -> Run {
    let root = place();
    let run = trace_with("pivot", root.path(), &["/bin/corners", name], options, &[(Tree::Application, None)]);
    assert_eq!(run.codes, [0], "{name} failed: {:?}", run.recording.warnings);
    run
}

/// Each case with what it is seen to use, and what the trace says cannot be seen.
const CASES: &[(&str, &str, &[&str])] = &[
    ("inherited", "/dir/file open\n", &[]),
    ("replaced", "", &[]),
    ("sibling", "/dir/other open\n", &[]),
    ("jobs", "/dir/file open\n", &[]),
    ("stopped_and_killed", "", &[]),
    ("queued", "", &[]),
    ("undumpable", "/dir/file open\n/dir/sub chdir\n/dir/sub/deep stat\n", &[]),
    ("notified", "/dir/other open\n", &["user_notification"]),
    ("trapping", "/dir/other open\n", &[]),
    ("tracing", "/dir/file open\n", &["ptrace"]),
    ("forks", "/dir/file open\n", &[]),
    ("ten_thousand", "/dir/other access\n", &[]),
    ("vforks", "/dir/file open\n", &[]),
    ("killed", "/dir/file open\n/dir/other access\n", &[]),
    ("executed_beside_vfork", "/dir/file open\n", &[]),
    ("not_utf8", "/dir/\\xff\\xfe chdir,mkdir\n/dir/\\xff\\xfe/a\\x09b\\x0a\\xc3 stat,create\n", &[]),
    ("passed", "/dir open\n/dir/sub/deep stat\n/jail open\n/jail/inside access\n", &[]),
    (
        "dev_fd",
        "/dev mkdir absent\n/dev/fd symlink,traverse\n/dir/file open,access\n/dir/other stat\n\
         /dir/sub open\n/dir/sub/deep stat\n",
        &[],
    ),
    ("longest", "/dir/file open\n", &["unreadable_directory"]),
    (
        "dots",
        "/abslink traverse\n/dir/file stat,traverse\n/dir/other stat\n/jump symlink,traverse\n/link traverse\n",
        &[],
    ),
    ("deleted", "/dir/file open\n/dir/gone open,unlink,mkdir\n/dir/gone/x open,create absent\n", &[]),
    (
        "other_processes",
        "/dir chdir\n/dir/file stat,access\n/dir/other stat\n/dir/sub/deep stat\n/jail chdir\n/jail/abs stat\n\
         /jail/etc open\n/jail/inside stat\n/link traverse\n",
        &[],
    ),
    ("forbidden", "/dir/sub chmod\n/dir/sub/deep stat\n/dir/sub/none stat absent\n", &[]),
    ("mounted", "/dir mount\n/jail mount\n/jail/file access\n", &["mounts"]),
    ("entered", "", &["mount_namespace"]),
    (
        "scripts",
        "/bin/s0 exec\n/bin/s1 exec\n/bin/s2 load\n/bin/s3 load\n/bin/s4 load\n/bin/s5 open,exec,load\n/dir chdir\n",
        &[],
    ),
];

#[test]
fn nothing_is_lost_in_a_corner() {
    let mut wrong = String::new();
    for (name, expected, gaps) in CASES {
        let run = run(name, Options { exact: true, ..Options::default() });
        let found = lines_without(&run.recording, "/bin/corners");
        // The directories that `longest` makes are not what it is about.
        let found: String = found.split_inclusive('\n').filter(|line| !line.starts_with("/nnnn")).collect();
        if found != *expected {
            wrong.push_str(&format!("--- {name}, expected:\n{expected}--- found:\n{found}"));
        }
        if run.recording.gaps != *gaps {
            wrong.push_str(&format!("--- {name}, expected the gaps {gaps:?}, found {:?}\n", run.recording.gaps));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn each_use_by_each_process_and_thread_is_counted() {
    for (name, path, expected) in
        [("forks", "/dir/file", 1 + 6 + 36 + 216 + 1296), ("ten_thousand", "/dir/other", 10_000)]
    {
        let run = run(name, Options::default());
        let folded = run.recording.accesses.get(&ImagePath::parse(path).unwrap()).unwrap();
        assert_eq!(folded.count, expected, "{name}");
    }
}

#[test]
fn a_program_with_its_owners_rights_has_them_while_traced() {
    for (who, env) in [
        ("root", Env::new()),
        ("with newuidmap", Env::as_user(User::Subordinate)),
        ("one id only", Env::as_user(User::Single)),
    ] {
        let source = env.source("c-hello-glibc");
        // Who may not read a file can let a program of its owner, and one of its group, read it.
        for (command, code) in [
            (&["/bin/cat", "/etc/shadow"][..], "1"),
            (&["/usr/bin/passwd", "-S"], "0"),
            (&["/usr/bin/chage", "-l", "nobody"], "0"),
        ] {
            let fixed = ["trace", &source, "-o", "out.trace", "--expect-exit", code, "-u", "nobody", "--"];
            let run = env.scrimp(&[&fixed, command].concat());
            assert!(run.succeeded(), "{who}: {command:?}: {}", run.stderr);
            let trace = fs::read_to_string(env.path("out.trace")).unwrap();
            let (header, lines) = trace.split_once('\n').unwrap();
            assert!(lines.contains(r#"{"path":"/etc/shadow","kind":"file""#), "{who}: {command:?}");
            assert!(!header.contains("no_new_privs"), "{who}: {header}");
            fs::remove_file(env.path("out.trace")).unwrap();
        }
    }
}
