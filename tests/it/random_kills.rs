//! Whatever of a run is killed, and whenever: nothing stays, and what the user asked for is there as a whole or not at
//! all.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{Env, Run, User, busybox, children, web_config};

/// Each way to run the application, as further arguments.
const RUNGS: [&[&str]; 5] = [
    &["--sandbox", "a"],
    &["--sandbox", "b"],
    &["--sandbox", "c"],
    &["--sandbox", "d"],
    &["--sandbox", "e", "--no-verify"],
];
/// How often something is killed, for each rung and user.
const KILLS: usize = 100 / RUNGS.len();
/// Each how manieth kill comes while the outputs are written.
const LATE: usize = 7;
/// Another seed is another test.
const SEED: u64 = 20;
/// How long a run may take after something of it was killed.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
enum Victim {
    Scrimp,
    Supervisor,
    Outside,
    Application,
    Interrupted,
}

const VICTIMS: [Victim; 5] =
    [Victim::Scrimp, Victim::Supervisor, Victim::Outside, Victim::Application, Victim::Interrupted];

/// A linear congruential generator (Knuth's MMIX), for moments that are the same in each run of the test.
struct Random(u64);

impl Random {
    /// Below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What a run that nobody disturbs writes.
struct Reference {
    is_exact: bool,
    archive: Vec<u8>,
    lock: Vec<u8>,
    index: Vec<u8>,
    trace_lines: usize,
    tree: usize,
    took: Duration,
}

const OUTPUTS: [&str; 5] = ["out.tar", "layout", "tree", "run.jsonl", "run.lock"];

/// What is run: an image, or in place a program of this machine.
struct Source {
    name: String,
    command: Vec<String>,
}

impl Source {
    fn new(env: &Env, rung: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        if rung.contains(&"e") {
            fs::create_dir_all(env.path("www")).unwrap();
            fs::write(env.path("www/index.html"), "a page\n").unwrap();
            let command = ["-p", &port, "--", "/bin/busybox", "httpd", "-f", "-p", &port, "-h", &env.path("www")];
            return Source { name: "host".into(), command: command.map(String::from).to_vec() };
        }
        let mut config = web_config();
        config["Cmd"] = json!(["httpd", "-f", "-p", port, "-h", "/www"]);
        config["ExposedPorts"] = json!({format!("{port}/tcp"): {}});
        Source { name: busybox(env, "web", &config, &[("/www/index.html", "a page\n")]), command: Vec::new() }
    }

    fn is_image(&self) -> bool {
        self.command.is_empty()
    }
}

fn arguments(source: &Source, rung: &[&str]) -> Vec<String> {
    let fixed = [
        "slim",
        &source.name,
        "--http",
        "/",
        "-o",
        "docker-archive:out.tar",
        "-o",
        "oci:layout:1",
        "-o",
        "rootfs:tree",
    ];
    let files = ["--trace", "run.jsonl", "--lock", "run.lock"];
    let words = fixed.iter().chain(&files).chain(rung).map(|word| (*word).to_owned());
    words.chain(source.command.iter().cloned()).collect()
}

fn remove_outputs(env: &Env) {
    for name in OUTPUTS {
        let path = env.path(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path).unwrap(),
            Ok(_) => fs::remove_file(&path).unwrap(),
            Err(_) => {}
        }
    }
}

fn run(env: &Env, source: &Source, rung: &[&str]) -> Run {
    let words = arguments(source, rung);
    env.scrimp(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn reference(env: &Env, source: &Source, rung: &[&str]) -> Reference {
    // The image is in the store from then on, as it is for most runs that follow.
    if source.is_image() {
        env.scrimp(&["inspect", &source.name]).succeeds();
    }
    let start = Instant::now();
    run(env, source, rung).succeeds();
    Reference {
        is_exact: source.is_image(),
        took: start.elapsed(),
        archive: fs::read(env.path("out.tar")).unwrap(),
        lock: fs::read(env.path("run.lock")).unwrap(),
        index: fs::read(env.path("layout/index.json")).unwrap(),
        trace_lines: fs::read_to_string(env.path("run.jsonl")).unwrap().lines().count(),
        tree: count(Path::new(&env.path("tree"))),
    }
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| 1 + if entry.file_type().unwrap().is_dir() { count(&entry.path()) } else { 0 }).sum()
}

/// Waits until the first output comes into being, under whatever name, or the run ends.
fn wait_for_output(env: &Env, scrimp: &mut Child) {
    let is_new = |name: &String| name.contains(".scrimp-") || name != "run.lock" && OUTPUTS.contains(&name.as_str());
    while !env.names().iter().any(is_new) && scrimp.try_wait().unwrap().is_none() {
        thread::yield_now();
    }
}

/// The process that is to be killed, once there is one; `None` when the run ends before.
fn find(scrimp: &mut Child, victim: Victim) -> Option<i32> {
    let root = i32::try_from(scrimp.id()).unwrap();
    loop {
        let of_scrimp = children(root);
        let is_supervisor = |(_, name): &&(i32, Vec<u8>)| name.starts_with(b"scrimp-supervisor\0");
        let supervisor = of_scrimp.iter().find(is_supervisor).map(|(pid, _)| *pid);
        let found = match victim {
            Victim::Scrimp | Victim::Interrupted => Some(root),
            Victim::Supervisor => supervisor,
            // It was forked and never executed anything, so it is called as scrimp was.
            Victim::Outside => of_scrimp.iter().find(|(_, name)| contains(name, b"\0slim\0")).map(|(pid, _)| *pid),
            Victim::Application => supervisor.and_then(|supervisor| Some(children(supervisor).first()?.0)),
        };
        if found.is_some() {
            return found;
        }
        if scrimp.try_wait().unwrap().is_some() {
            return None;
        }
        thread::sleep(INTERVAL);
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn strike(pid: i32, victim: Victim) {
    let pid = Pid::from_raw(pid);
    let sent = match victim {
        Victim::Interrupted => kill(pid, Signal::SIGINT).and_then(|()| kill(pid, Signal::SIGINT)),
        _ => kill(pid, Signal::SIGKILL),
    };
    // It may have ended since it was found.
    assert!(matches!(sent, Ok(()) | Err(Errno::ESRCH)), "{sent:?}");
}

fn wait(mut scrimp: Child, what: &str) -> (ExitStatus, String) {
    let deadline = Instant::now() + PATIENCE;
    while scrimp.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "{what}: it does not end");
        thread::sleep(INTERVAL);
    }
    let output = scrimp.wait_with_output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The documented ends, and what is said about each.
fn check_end(victim: Victim, status: ExitStatus, said: &str, what: &str) {
    assert!(!said.contains("panicked"), "{what}: {said}");
    let code = status.code();
    let is_expected = match victim {
        Victim::Scrimp => status.signal() == Some(9) || code == Some(0),
        // Before there is anything to end in an orderly way, the signal itself ends it.
        Victim::Interrupted => status.signal() == Some(2) || matches!(code, Some(0 | 130)),
        Victim::Supervisor => code == Some(0) || code == Some(2) && said.contains("supervisor of the sandbox"),
        Victim::Outside => code == Some(0) || code == Some(2) && said.contains("was killed"),
        Victim::Application => matches!(code, Some(0 | 1)),
    };
    assert!(is_expected, "{what}: {status}, {said}");
}

/// Every output is complete, or as it was before.
fn check_outputs(env: &Env, reference: &Reference, all: bool, what: &str) {
    let read = |name: &str| fs::read(env.path(name)).ok();
    let archive = read("out.tar");
    // The directories of this machine get new times all the time, so what is made of it is not the same twice.
    let readable = |source: &str| env.scrimp(&["inspect", source]).succeeded();
    let is_whole = |content: &Vec<u8>| match reference.is_exact {
        true => *content == reference.archive,
        false => readable("docker-archive:out.tar"),
    };
    assert!(archive.as_ref().is_none_or(is_whole), "{what}: half an archive");
    let layout = Path::new(&env.path("layout")).exists();
    if layout {
        let is_whole = match reference.is_exact {
            true => read("layout/index.json").as_ref() == Some(&reference.index),
            false => readable("oci:layout:1"),
        };
        assert!(is_whole, "{what}: half a layout");
        assert_eq!(count(Path::new(&env.path("layout/blobs/sha256"))), 3, "{what}: half a layout");
    }
    let tree = Path::new(&env.path("tree")).exists();
    assert!(!tree || count(Path::new(&env.path("tree"))) == reference.tree, "{what}: half a tree");
    let lock = read("run.lock").unwrap();
    let lines = |content: &[u8]| content.iter().filter(|&&byte| byte == b'\n').count();
    let is_whole = lock == reference.lock || !reference.is_exact && lines(&lock) == lines(&reference.lock);
    assert!(lock == b"old\n" || is_whole, "{what}: half a lock file");
    let trace = read("run.jsonl");
    if let Some(trace) = &trace {
        let lines = std::str::from_utf8(trace).unwrap().lines();
        let whole = lines.filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
        assert_eq!(whole, reference.trace_lines, "{what}: half a trace");
    }
    let there = [read("out.tar").is_some(), layout, tree, trace.is_some(), lock != b"old\n"];
    assert!(!all || there == [true; 5], "{what}: it succeeded, and not everything is there: {there:?}");
}

/// The machine's mounts that can be ours: at the top, where a sandbox is put together, or on or of something of the
/// test.
fn mounts(env: &Env) -> String {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = env.dir().to_str().unwrap();
    let is_ours = |line: &&str| line.contains(own) || line.split(' ').nth(4) == Some("/");
    text.lines().filter(is_ours).collect::<Vec<_>>().join("\n")
}

fn kill_at_random(env: &Env, victims: &[Victim], rung: &[&str], seed: u64) {
    let source = Source::new(env, rung);
    fs::create_dir_all(env.path("tmp")).unwrap();
    env.give(env.path("tmp").as_ref());
    let reference = reference(env, &source, rung);
    let expected_names = env.names();
    let mounts_before = mounts(env);
    let mut random = Random(seed);
    // The machine may have had more to do during the first run than it has later.
    let (mut too_late, mut took) = (0, reference.took);
    for number in 0..KILLS {
        let victim = victims[number % victims.len()];
        let moment = Duration::from_micros(random.below(u64::try_from(took.as_micros()).unwrap()));
        remove_outputs(env);
        fs::write(env.path("run.lock"), "old\n").unwrap();
        env.give(env.path("run.lock").as_ref());
        // Now and then the image has to be unpacked again.
        if random.below(3) == 0 {
            // The run before may have been killed before it made this.
            let roots = env.path("store/v2/roots");
            assert!(fs::remove_dir_all(&roots).is_ok() || !Path::new(&roots).exists());
        }
        let what = format!("seed {seed}, kill {number}: {victim:?} after {moment:?} of {took:?}");
        let words = arguments(&source, rung);
        let mut command = env.scrimp_command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("TMPDIR", env.path("tmp")).stdout(Stdio::null()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut scrimp = command.spawn().unwrap();
        // That is over so soon that hardly any moment would be in it.
        if number % LATE == 0 {
            wait_for_output(env, &mut scrimp);
        } else {
            thread::sleep(moment);
        }
        if let Some(pid) = find(&mut scrimp, victim) {
            strike(pid, victim);
        }
        let (status, said) = wait(scrimp, &what);
        if status.code() == Some(0) {
            took = took.min(start.elapsed());
        }
        check_end(victim, status, &said, &what);
        let processes: Vec<_> = env.leftovers().into_iter().filter(|left| !left.starts_with("scratch ")).collect();
        assert!(processes.is_empty(), "{what}: {processes:?}");
        check_outputs(env, &reference, status.code() == Some(0), &what);
        if status.code() == Some(0) && !matches!(victim, Victim::Outside) {
            too_late += 1;
        }
    }
    assert!(too_late < KILLS * 2 / 3, "{too_late} of {KILLS} runs had ended before something of them was killed");
    assert_eq!(mounts(env), mounts_before);
    remove_outputs(env);
    run(env, &source, rung).succeeds();
    assert_eq!(env.leftovers(), Vec::<String>::new());
    assert_eq!(env.names(), expected_names);
    assert_eq!(fs::read_dir(env.path("tmp")).unwrap().count(), 0);
    let parts =
        ["roots", "scratch"].map(|part| fs::read_dir(env.path("store/v2").to_owned() + "/" + part).unwrap().count());
    // Where an archive had to be read to see whether it is whole, that has unpacked it.
    assert!(parts[0] == 1 || !source.is_image(), "{parts:?}: roots and scratch directories");
    assert_eq!(parts[1], 0, "scratch directories");
}

#[test]
fn whatever_is_killed_and_whenever_nothing_stays() {
    for (number, rung) in (0..).zip(RUNGS) {
        kill_at_random(&Env::new(), &[VICTIMS[0], VICTIMS[1], VICTIMS[3], VICTIMS[4]], rung, SEED + number);
    }
}

#[test]
fn whatever_of_an_ordinary_user_is_killed_nothing_stays() {
    for (number, rung) in (0..).zip(RUNGS) {
        kill_at_random(&Env::as_user(User::Subordinate), &VICTIMS, rung, 2 * SEED + number);
    }
}
