//! The tracer on real processes: one small program per hazard, in a root of its own, and real programs beside strace.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};

use scrimp::base::ImagePath;
use scrimp::observation::Operation;
use scrimp::tracer::{self, End, Event, Folded, Options, Recording, Tracer, TracerError, Tree};

/// Compiles a source in `fixtures/tracer`, once per run of the tests.
pub fn compile(name: &str, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/tracer/{name}.c"));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (out, fresh) = (dir.join(name), dir.join(format!("{name}-{}", std::process::id())));
    let status = Command::new("cc").args(flags).arg("-O1").arg("-o").arg(&fresh).arg(source).arg("-lpthread").status();
    let status = status.expect("cc is missing: install gcc and libc6-dev");
    assert!(status.success(), "{name}.c does not compile");
    fs::rename(&fresh, &out).unwrap();
    out
}

/// Gives a compiled program a name in a root directory. Another process may just put its own in the place of it, and
/// for that moment the kernel finds none to link.
pub fn link_program(program: &Path, to: &Path) {
    let linked = (0..1000).map(|_| fs::hard_link(program, to)).find(|linked| match linked {
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        Ok(()) => true,
    });
    linked.expect("the program is not there").unwrap();
}

pub static SUPERVISOR: LazyLock<PathBuf> = LazyLock::new(|| compile("supervisor", &[]));
static HAZARDS: LazyLock<PathBuf> = LazyLock::new(|| compile("hazards", &["-static"]));

pub struct Run {
    pub codes: Vec<u8>,
    pub recording: Recording,
    events: Vec<Event>,
}

/// Traces `argv`, once for each of `trees`.
fn trace(mode: &str, root: &Path, argv: &[&str], exact: bool, trees: &[(Tree, Option<&str>)]) -> Run {
    trace_with(mode, root, argv, Options { exact, ..Options::default() }, trees)
}

pub fn trace_with(mode: &str, root: &Path, argv: &[&str], options: Options, trees: &[(Tree, Option<&str>)]) -> Run {
    let traced = options.clone();
    let start = |supervisor, events| tracer::start(supervisor, traced, events);
    let (codes, recording, events) = supervise(mode, root, argv, options, trees, start);
    assert_eq!(codes.len(), trees.len(), "the supervisor failed");
    Run { codes, recording: recording.unwrap(), events }
}

/// Lets `start` trace `argv`, once for each of `trees`, and returns the exit codes, what was seen, and what was told.
#[allow(clippy::zombie_processes, reason = "the tracer reaps the supervisor")]
pub fn supervise(
    mode: &str,
    root: &Path,
    argv: &[&str],
    options: Options,
    trees: &[(Tree, Option<&str>)],
    start: impl FnOnce(i32, Sender<Event>) -> Result<Tracer, TracerError>,
) -> (Vec<u8>, Result<Recording, TracerError>, Vec<Event>) {
    let mut command = Command::new(&*SUPERVISOR);
    command.arg(mode).arg(root).args(argv).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut supervisor = command.spawn().unwrap();
    let (sender, receiver) = channel();
    let tracer = start(supervisor.id() as i32, sender).unwrap();
    let filter = tracer::filter(&options);
    let mut bytes = (filter.len() as u32).to_le_bytes().to_vec();
    for i in filter {
        bytes.extend(i.code.to_le_bytes());
        bytes.extend([i.jt, i.jf]);
        bytes.extend(i.k.to_le_bytes());
    }
    let (mut stdin, mut stdout) = (supervisor.stdin.take().unwrap(), supervisor.stdout.take().unwrap());
    stdin.write_all(&bytes).unwrap();
    let mut codes = Vec::new();
    for (tree, probe) in trees {
        tracer.next_tree(*tree);
        tracer.enter_probe(probe.map(str::to_string));
        stdin.write_all(b"g").unwrap();
        let mut code = [0];
        if stdout.read_exact(&mut code).is_err() {
            break;
        }
        codes.extend(code);
    }
    drop(stdin);
    let recording = tracer.join();
    (codes, recording, receiver.iter().collect())
}

/// Writes an executable file. Another process does it: one that a thread of ours starts at the same time would inherit
/// the descriptor, and a file that is open for writing cannot be executed (ETXTBSY).
pub fn write_script(path: &Path, text: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", r#"printf '%s' "$1" > "$0" && chmod 755 "$0""#]).arg(path).arg(text);
    assert!(command.status().unwrap().success());
}

/// A root directory with everything the hazards use.
pub fn root() -> tempfile::TempDir {
    // Beside the program, so that it can be linked: see `write_script`.
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |path: &str| root.path().join(path);
    for dir in ["bin", "dir/sub", "proc", "jail/etc"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    for file in ["dir/file", "dir/other", "dir/sub/deep", "dir/mark", "dir/mark.bak", "jail/inside"] {
        fs::write(at(file), "content").unwrap();
    }
    for (link, target) in [
        ("link", "dir/file"),
        ("chain", "chain2"),
        ("chain2", "/link"),
        ("dirlink", "dir"),
        ("abslink", "/dir"),
        ("dangling", "dir/nothing"),
        ("loop", "loop"),
        ("dir/sub/up", ".."),
        ("jail/abs", "/inside"),
        ("bin/interpreter", "hazards"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    link_program(&HAZARDS, &at("bin/hazards"));
    write_script(&at("bin/script"), "#! /bin/interpreter relative\n");
    root
}

fn operations(folded: &Folded) -> String {
    let name = |o: &Operation| format!("{o:?}").to_lowercase();
    let mut text = folded.operations.iter().map(name).collect::<Vec<_>>().join(",");
    if !folded.resolved {
        text.push_str(" absent");
    }
    text
}

/// One line per path, without the program itself and what the C library does at its start.
fn lines(recording: &Recording) -> String {
    lines_without(recording, "/bin/hazards")
}

pub fn lines_without(recording: &Recording, program: &str) -> String {
    let mut out = String::new();
    for (path, folded) in recording.accesses.iter() {
        let text = path.to_string();
        if text == program || text.starts_with("/proc") {
            continue;
        }
        out.push_str(&format!("{text} {}\n", operations(folded)));
    }
    out
}

const RELATIVE: &str = "/dir chdir\n/dir/file stat,access\n/dir/sub chdir\n/dir/sub/deep stat\n";

fn hazards() -> Vec<(&'static str, String)> {
    [
        ("relative", RELATIVE),
        ("newer", "/dir open\n/dir/file open,access\n/dir/sub/up traverse\n/link traverse\n"),
        (
            "names",
            "/dir/file link\n/dir/hard link,unlink\n/dir/new rename,mkdir\n/dir/newer rename,unlink\n\
             /dir/soft rename,symlink\n/dir/softer readlink,rename\n",
        ),
        (
            "links",
            "/abslink traverse\n/chain stat,traverse\n/chain2 traverse\n/dangling traverse\n/dir stat\n\
             /dir/file stat\n/dir/nothing stat absent\n/dir/sub/deep stat\n/dirlink traverse\n/link open,traverse\n\
             /loop stat,traverse\n",
        ),
        (
            "dirfd_relative",
            "/dir open,chdir\n/dir/file open\n/dir/sub access\n/dir/sub/deep stat\n/dirlink traverse\n\
             /link open,readlink\n",
        ),
        ("after_chroot", "/jail chdir\n/jail/abs traverse\n/jail/dir/file stat absent\n/jail/inside stat,access\n"),
        (
            "attributes",
            "/dir stat\n/dir/fifo mknod absent\n/dir/file xattr,truncate,chmod,utime\n/dir/sub watch\n\
             /link xattr,chown,traverse\n",
        ),
        (
            "creation",
            "/dangling traverse\n/dir/file open\n/dir/log stat,create\n/dir/nothing create absent\n/made mkdir absent\n\
             /made/by mkdir absent\n/made/by/me stat,create\n",
        ),
        (
            "relinked",
            "/dir rename\n/dir/file stat\n/dir/other stat\n/link symlink,unlink,traverse\n/moved rename absent\n\
             /moved/file stat\n",
        ),
        ("moved_cwd", "/dir rename\n/dir/sub chdir\n/dir/sub/deep stat\n/moved rename absent\n/moved/sub/deep stat\n"),
        ("thread_exec", "/dir chdir\n/dir/file stat,access\n/dir/sub chdir\n/dir/sub/deep stat\n"),
        ("thread_chdir", "/dir access\n/dir/sub chdir\n/dir/sub/deep access\n"),
        ("threads", "/dir/file open\n/dir/other open\n"),
        ("vforked", "/dir chdir\n/dir/file stat,access\n/dir/other open\n/dir/sub chdir\n/dir/sub/deep stat\n"),
        ("daemonised", "/dir chdir\n/dir/sub/deep open\n"),
        ("many_children", "/dir/file open\n/dir/other open\n"),
        ("signals", "/dir/file open\n"),
        ("group_stop", "/dir/file open\n/dir/other open\n"),
        ("killed", "/dir/file open\n/dir/other open\n"),
        (
            "magic",
            "/dir/file open,stat\n/dir/other stat\n/dir/sub open\n/dir/sub/deep access\n/jail chdir\n\
             /jail/inside stat\n",
        ),
        ("deleted_cwd", "/dir/file stat\n/dir/gone chdir,unlink,mkdir\n/dir/gone/file stat absent\n"),
        ("long_path", "/dir/file open\n"),
        ("bad_pointer", "/dir/file open\n/dir/other open\n"),
        ("not_a_directory", "/dir/file traverse\n/dir/file/x stat absent\n/dir/other stat\n/no/such stat absent\n"),
        ("sockets", "/dir/socket bind,connect\n"),
        (
            "script",
            "/bin/interpreter traverse\n/bin/script exec\n/dir chdir\n/dir/file stat,access\n/dir/sub chdir\n\
             /dir/sub/deep stat\n",
        ),
        ("fexecuted", RELATIVE),
        ("untraced", "/dir/file open\n/dir/other open\n"),
        ("io_uring", ""),
        ("x32", ""),
        ("i386", "/dir/file open\n/dir/sub chdir\n/dir/sub/deep open,stat\n"),
        ("own_filter", "/dir/other open\n"),
        ("empty_path", "/dir open\n"),
        ("prefix", "/dir/mark.bak open\n"),
        ("leader_dies", "/dir/file open\n"),
    ]
    .map(|(name, expected)| (name, expected.to_string()))
    .into()
}

fn run_hazard(mode: &str, name: &str, exact: bool) -> Run {
    let root = root();
    let run = trace(mode, root.path(), &["/bin/hazards", name], exact, &[(Tree::Application, None)]);
    assert_eq!(run.codes, [0], "{name} in {mode} failed");
    run
}

fn check_hazards(mode: &str, skip: &[&str]) {
    let mut wrong = String::new();
    for (name, expected) in hazards() {
        if skip.contains(&name) {
            continue;
        }
        let found = lines(&run_hazard(mode, name, false).recording);
        if found != expected {
            wrong.push_str(&format!("--- {name} ({mode}), expected:\n{expected}--- found:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn hazards_are_seen_behind_a_pivot() {
    check_hazards("pivot", &[]);
}

#[test]
fn hazards_are_seen_behind_a_chroot() {
    // There is no /proc.
    check_hazards("chroot", &["magic"]);
}

#[test]
fn exact_sees_flags_that_mean_nothing() {
    let run = run_hazard("pivot", "empty_path", true);
    assert_eq!(lines(&run.recording), "/dir open\n/dir/sub/deep stat\n");
    assert_eq!(run.recording.gaps, Vec::<String>::new());
    assert_eq!(run_hazard("pivot", "empty_path", false).recording.gaps, ["at_empty_path", "sendmsg_address"]);
}

#[test]
fn what_cannot_be_seen_is_a_gap() {
    for (name, gap) in [("io_uring", "io_uring"), ("x32", "x32")] {
        let run = run_hazard("pivot", name, true);
        assert_eq!(run.recording.gaps, [gap], "{name}");
    }
    assert_eq!(run_hazard("pivot", "untraced", true).recording.gaps, Vec::<String>::new());
}

#[test]
fn the_leash_is_invisible() {
    // The program compares what it is told of its CPUs with what it was told at its start, busy and quiet.
    let root = root();
    let program = compile("affinity", &["-static"]);
    fs::hard_link(&program, root.path().join("bin/affinity")).unwrap();
    for leash in [true, false] {
        let options = Options { leash, ..Options::default() };
        let run = trace_with("chroot", root.path(), &["/bin/affinity"], options, &[(Tree::Application, None)]);
        assert_eq!(run.codes, [0], "leash: {leash}");
        let count = run.recording.accesses.get(&ImagePath::parse("/dir/file").unwrap()).unwrap().count;
        assert_eq!(count, 20_000 + 4 * 2_000 + 2 * 500 + 4 * 200, "leash: {leash}");
    }
}

#[test]
fn listening_is_told() {
    let run = run_hazard("pivot", "sockets", false);
    let mut told = Vec::new();
    for event in &run.events {
        match event {
            Event::Listening { address, .. } => told.push(format!("listening {}", address.unwrap().ip())),
            Event::Bound { address, datagram, .. } => {
                assert_ne!(address.port(), 0);
                told.push(format!("bound {} {datagram}", address.ip()));
            }
            _ => {}
        }
    }
    assert_eq!(told, ["bound 127.0.0.1 false", "listening 127.0.0.1", "bound 127.0.0.1 true"]);
    assert_eq!(run.recording.warnings, ["connect to 203.0.113.1:53: it cannot leave the sandbox"]);
}

#[test]
fn counts_are_exact() {
    let count = |run: &Run, path: &str| run.recording.accesses.get(&ImagePath::parse(path).unwrap()).unwrap().count;
    let run = run_hazard("pivot", "threads", false);
    assert_eq!((count(&run, "/dir/file"), count(&run, "/dir/other")), (800, 800));
    let run = run_hazard("pivot", "many_children", false);
    assert_eq!((count(&run, "/dir/file"), count(&run, "/dir/other")), (50, 50));
}

#[test]
fn every_exec_is_told_and_attributed() {
    let run = run_hazard("pivot", "script", false);
    let executed: Vec<String> = run
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Exec { executable, .. } => Some(executable.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(executed, ["/bin/hazards", "/bin/hazards"]);
    let program = ImagePath::parse("/bin/hazards").unwrap();
    let folded = run.recording.accesses.get(&program).unwrap();
    assert_eq!(operations(folded), "exec,load");
    assert_eq!(folded.executables, BTreeSet::from([program]));
    assert!(matches!(run.events.last(), Some(Event::Exited { end: End::Exited(0), .. })), "{:?}", run.events.last());
}

#[test]
fn trees_and_probes_are_told_apart() {
    let root = root();
    let trees = [(Tree::Application, None), (Tree::Probe, Some("exec one")), (Tree::Probe, Some("exec two"))];
    let run = trace("chroot", root.path(), &["/bin/hazards", "daemonised"], false, &trees);
    assert_eq!(run.codes, [0, 0, 0]);
    let deep = run.recording.accesses.get(&ImagePath::parse("/dir/sub/deep").unwrap()).unwrap();
    assert_eq!((deep.application, &deep.first_probe, deep.count), (true, &None, 3));
    let run = trace("chroot", root.path(), &["/bin/hazards", "daemonised"], false, &trees[1..]);
    let deep = run.recording.accesses.get(&ImagePath::parse("/dir/sub/deep").unwrap()).unwrap();
    assert_eq!((deep.application, deep.first_probe.as_deref(), deep.count), (false, Some("exec one"), 2));
}

#[test]
fn a_process_that_is_gone_cannot_be_traced() {
    let (sender, _receiver) = channel();
    let error = tracer::start(i32::MAX, Options::default(), sender).err().unwrap();
    assert!(error.to_string().contains("trace process"), "{error}");
}

/// The successful paths of a strace log, as they were asked for: absolute ones, and those whose directory it names.
fn strace(argv: &[&str], dir: &Path) -> BTreeSet<String> {
    let log = dir.join("strace.log");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-s", "4096", "-e", "trace=%file", "-o"]).arg(&log).arg("--").args(argv);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("install strace");
    assert!(status.success(), "{argv:?}");
    let text = fs::read_to_string(&log).unwrap();
    let mut paths = BTreeSet::new();
    for line in text.lines() {
        let Some((call, result)) = line.rsplit_once(" = ") else { continue };
        // `getcwd` shows a path that it was not given.
        if result.starts_with('-') || result.starts_with('?') || call.contains("getcwd(") {
            continue;
        }
        // Arguments of a program are not paths.
        let call = call.find("execve(").and_then(|at| call[at..].split_once(", [")).map_or(call, |(path, _)| path);
        let mut before = "";
        for (n, part) in call.split('"').enumerate() {
            // `openat(AT_FDCWD</where>, "path"`
            let dir = before.strip_suffix(">, ").and_then(|b| Some(b.rsplit_once('<')?.1));
            match dir.filter(|_| n % 2 == 1 && !part.starts_with('/') && !part.is_empty()) {
                Some(dir) if dir.starts_with('/') => drop(paths.insert(format!("{dir}/{part}"))),
                _ if n % 2 == 1 && part.starts_with('/') => drop(paths.insert(part.to_string())),
                _ => {}
            }
            before = part;
        }
    }
    paths
}

#[test]
fn nothing_that_strace_sees_is_missing() {
    let work = tempfile::tempdir().unwrap();
    let tree = work.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/b/c"), "x").unwrap();
    let script = work.path().join("script");
    let text = format!("#!/bin/sh\ncat {0}/a/b/c | sort\nls -l {0}/a; test -e /etc/passwd\n", tree.display());
    write_script(&script, &text);
    let (tree, script) = (tree.to_str().unwrap(), script.to_str().unwrap());
    let git = Command::new("git").args(["init", "-q", tree]).status().expect("install git");
    assert!(git.success());
    let at = |name: &str| work.path().join(name).to_str().unwrap().to_string();
    fs::write(at("x.c"), "#include <stdio.h>\nint main(void) { puts(__DATE__); }\n").unwrap();
    let conf = format!("pid {0}/pid; error_log {0}/log; events {{}} http {{ access_log off; }}", at(""));
    fs::write(at("nginx.conf"), conf).unwrap();
    // Told to end before it waits for that, it would go on.
    let serve = format!(
        "nginx -p {0} -c {0}/nginx.conf -g 'daemon off;' & until test -s {0}/pid; do :; done; \
         while test -e {0}/pid; do kill -QUIT $!; done; wait $!",
        work.path().display()
    );
    let [source, object, archive, out] = ["x.c", "x", "x.tar.gz", ""].map(at);
    for argv in [
        &["/usr/bin/gcc", "-O2", "-o", &object, &source][..],
        &["/bin/tar", "-C", tree, "-czf", &archive, "."],
        &["/bin/tar", "-C", &out, "-xzf", &archive],
        &["/bin/sh", "-c", &serve],
        &["/usr/bin/env", "git", "-C", tree, "-c", "user.name=a", "-c", "user.email=b", "stash", "list"],
        &["/bin/ls", "-lR", tree],
        &[script],
        &["/usr/bin/python3", "-c", "import json, ctypes, subprocess; subprocess.run(['true'])"],
        &["/usr/bin/env", "git", "-C", tree, "status"],
        &["/usr/bin/find", tree, "-type", "f"],
    ] {
        let expected = strace(argv, work.path());
        let run = trace("host", Path::new("/"), argv, false, &[(Tree::Application, None)]);
        assert_eq!(run.codes, [0], "{argv:?}");
        let known: BTreeMap<PathBuf, &Folded> =
            run.recording.accesses.iter().map(|(p, f)| (p.on_host(Path::new("/")), f)).collect();
        let mut used = 0;
        let own = |path: &&String| !path.starts_with("/proc") && !path.starts_with("/dev/pts");
        for asked in expected.iter().filter(own) {
            let Ok(end) = fs::canonicalize(asked) else { continue }; // It was temporary.
            used += 1;
            // A call that does not follow links ends at the link.
            let parent = Path::new(asked).parent().and_then(|p| fs::canonicalize(p).ok());
            let itself = parent.zip(Path::new(asked).file_name()).map(|(p, name)| p.join(name));
            let seen = |path: &PathBuf| known.get(path).is_some_and(|f| f.resolved);
            assert!(seen(&end) || itself.as_ref().is_some_and(seen), "{argv:?} used {asked}, which is {end:?}");
        }
        assert!(used > 5, "{argv:?}: strace saw nothing");
    }
}
