//! Programs that use something up, under small limits: they are refused more, scrimp ends in order and says what
//! happened, and nothing is left.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::{Env, Run, User, busybox};

/// How often processes are counted.
const INTERVAL: Duration = Duration::from_millis(5);
/// What belongs to no limit: processes that scrimp itself is starting.
const SLACK: usize = 2;

/// The program, compiled once per run of the tests.
static EXHAUST: LazyLock<PathBuf> = LazyLock::new(|| {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/containment/exhaust.c");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (out, fresh) = (dir.join("exhaust"), dir.join(format!("exhaust-{}", std::process::id())));
    let status = Command::new("cc").args(["-O1", "-static", "-o"]).arg(&fresh).arg(source).arg("-lpthread").status();
    assert!(status.expect("cc is missing: install gcc and libc6-dev").success(), "exhaust.c does not compile");
    std::fs::rename(&fresh, &out).unwrap();
    out
});

/// An environment with an image of nearly nothing, and the program, under a name of its own.
struct Small {
    env: Env,
    source: String,
    volume: String,
    program: String,
}

impl Small {
    fn new(env: Env, name: &str) -> Self {
        let source = busybox(&env, "small", &json!({"Cmd": ["true"], "Env": ["PATH=/bin"]}), &[]);
        // The name of a process has 15 bytes.
        let program = format!("/{name}{}", std::process::id() % 1_000_000);
        let copy = env.path(&program[1..]);
        std::fs::copy(&*EXHAUST, &copy).unwrap();
        env.give(copy.as_ref());
        Self { env, source, volume: format!("{copy}:{program}:ro"), program }
    }

    fn arguments<'a>(&'a self, limits: &[&'a str], arguments: &[&'a str]) -> Vec<&'a str> {
        let fixed = ["trace", &self.source, "-o", "out.trace", "-v", &self.volume, "--expect-exit", "99"];
        [&fixed, limits, &["--", &self.program], arguments].concat()
    }

    /// Runs the program to its end under `limits`. Scrimp fails, because no program ends with what is expected, and so
    /// shows the last output.
    fn exhaust(&self, limits: &[&str], arguments: &[&str]) -> Run {
        let run = self.env.scrimp(&self.arguments(limits, arguments)).exits(1);
        assert_eq!(self.env.leftovers(), Vec::<String>::new());
        run
    }

    /// How many tasks of this program there are.
    fn tasks(&self) -> usize {
        let processes = std::fs::read_dir("/proc").unwrap();
        let count = |entry: std::io::Result<std::fs::DirEntry>| {
            let status = std::fs::read_to_string(entry.ok()?.path().join("status")).ok()?;
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let threads = field("Threads:")?.parse::<usize>().ok()?;
            (field("Name:")? == &self.program[1..]).then_some(threads)
        };
        processes.filter_map(count).sum()
    }

    /// Counts the tasks as long as scrimp runs, and returns how many there were at once.
    fn most_tasks(&self, child: &mut Child) -> usize {
        let mut most = 0;
        while child.try_wait().unwrap().is_none() {
            most = most.max(self.tasks());
            thread::sleep(INTERVAL);
        }
        most
    }
}

#[track_caller]
fn assert_said(run: &Run, expected: &[&str]) {
    for text in expected {
        assert!(run.stderr.contains(text), "{text:?} is missing\n{run}");
    }
}

#[test]
fn a_fork_too_many_is_refused_whoever_makes_it() {
    let warning = "warning: the application was refused processes or threads: it had the 40 that --pids-limit allows";
    for env in [Env::new(), Env::as_user(User::Subordinate), Env::as_user(User::Single)] {
        let small = Small::new(env, "forks");
        for (what, expected) in [
            ("forks", "forks: EAGAIN after 39"),
            ("int80", "int80: EAGAIN after 39"),
            ("vforks", "vforks: EAGAIN after 39"),
            ("threads", "threads: EAGAIN after 39"),
            ("zombies", "zombies: EAGAIN after 39"),
            // The first process and the four that race are there already.
            ("race", "race: EAGAIN after 35"),
        ] {
            let run = small.exhaust(&["--pids-limit", "40"], &[what, "100"]);
            assert_said(&run, &[warning, expected]);
            assert_eq!(run.stderr.matches(warning).count(), 1, "{run}");
        }
    }
}

#[test]
fn a_probe_shares_the_limit_of_the_application() {
    let small = Small::new(Env::new(), "probes");
    // By itself it would get them all and fail.
    let exec = format!("{} forks 28", small.program);
    let arguments =
        ["trace", &small.source, "-o", "out.trace", "-v", &small.volume, "--pids-limit", "30", "--exec", &exec];
    let script = "for i in 1 2 3; do sleep 1000 & done; exec httpd -f -p 8080 -h /www";
    let run = small.env.scrimp(&[&arguments[..], &["--", "sh", "-c", script]].concat()).succeeds();
    assert_said(&run, &["was refused processes or threads"]);
    assert_eq!(small.env.leftovers(), Vec::<String>::new());
}

#[test]
fn there_is_a_limit_unless_it_is_taken_away() {
    let small = Small::new(Env::new(), "default");
    let run = small.exhaust(&[], &["threads", "3000"]);
    assert_said(&run, &["threads: EAGAIN after 2047", "--pids-limit"]);
    for none in ["0", "-1"] {
        let run = small.exhaust(&["--pids-limit", none], &["threads", "2100"]);
        assert_said(&run, &["threads: not refused"]);
        assert!(!run.stderr.contains("--pids-limit"), "{run}");
    }
}

#[test]
fn a_bomb_goes_off_in_a_small_room_and_ends() {
    for (name, bomb) in [("forkbomb", "bomb"), ("threadbomb", "threadbomb")] {
        let small = Small::new(Env::new(), name);
        let limits = ["--pids-limit", "50", "--timeout", "2s", "--stop-timeout", "1s"];
        let mut command = small.env.scrimp_command(&small.arguments(&limits, &[bomb]));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let most = small.most_tasks(&mut child);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("neither ended nor listened") && said.contains("the 50 that --pids-limit"), "{said}");
        assert!((25..=50 + SLACK).contains(&most), "{most} tasks at once\n{said}");
        assert_eq!(small.tasks(), 0);
        assert_eq!(small.env.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn memory_runs_out_for_the_application_alone() {
    for env in [Env::new(), Env::as_user(User::Single)] {
        let small = Small::new(env, "memory");
        let run = small.exhaust(&["--memory", "64m"], &["memory", "500"]);
        // By itself, with an error, or all together, by a kill.
        let by_itself =
            run.stderr.contains("memory: ENOMEM after ") && run.stderr.contains("warning: --memory 64m holds for each");
        let together = run.stderr.contains("the application was killed: it exceeded --memory 64m");
        assert!(by_itself || together, "{run}");
    }
}

#[test]
fn files_in_memory_count_as_memory() {
    let small = Small::new(Env::new(), "shm");
    let run = small.exhaust(&["--memory", "20m", "--tmpfs", "/scratch"], &["fill", "100", "/dev/shm", "/scratch"]);
    let by_itself =
        ["/dev/shm: ENOSPC after 20", "/scratch: ENOSPC after 20"].iter().all(|text| run.stderr.contains(text));
    assert!(by_itself || run.stderr.contains("it exceeded --memory 20m"), "{run}");
}

#[test]
fn a_disk_that_is_full_is_full_everywhere() {
    for env in [Env::new(), Env::as_user(User::Subordinate), Env::as_user(User::Single)] {
        let small = Small::new(env, "disk");
        let limits = ["--disk-limit", "8m", "--tmpfs", "/scratch"];
        // The first took all but what a few directories need, and /scratch is as large again.
        let run = small.exhaust(&limits, &["fill", "100", "/", "/tmp", "/etc", "/scratch", "/dev/shm"]);
        let expected =
            ["/: ENOSPC after 7", "/tmp: ENOSPC after 0", "/etc: ENOSPC after 0", "/scratch: ENOSPC after 8"];
        assert_said(&run, &expected);
        assert_said(&run, &["/dev/shm: ENOSPC after 64"]);
        let run = small.exhaust(&["--disk-limit", "8m"], &["files", "100000", "/tmp", "/www"]);
        assert_said(&run, &["/tmp: ENOSPC after 40", "/www: ENOSPC after 0"]);
    }
}

#[test]
fn all_overlays_of_the_host_share_one_disk() {
    let env = Env::new();
    let program = env.path("exhaust");
    std::fs::copy(&*EXHAUST, &program).unwrap();
    let fixed = ["trace", "host", "-o", "out.trace", "--expect-exit", "99", "--disk-limit", "8m", "--"];
    let run = env.scrimp(&[&fixed[..], &[&program, "fill", "100", "/", "/var", "/usr", "/etc"]].concat()).exits(1);
    assert_said(&run, &["/: ENOSPC after 7", "/var: ENOSPC after 0", "/usr: ENOSPC after 0", "/etc: ENOSPC after 0"]);
    assert!(!["/", "/var", "/usr", "/etc"].iter().any(|dir| Path::new(dir).join("filled").exists()));
    assert_eq!(env.leftovers(), Vec::<String>::new());
}

#[test]
fn resources_are_limited_by_name() {
    let small = Small::new(Env::new(), "ulimit");
    let run = small
        .exhaust(&["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "stack=4194304:-1"], &["limits"]);
    assert_said(&run, &["nofile=100:200", "core=0:0", "stack=4194304:"]);
    let hard = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap().1;
    let beyond = format!("nofile={0}:{0}", (hard + 1).max(2 << 20));
    let run = small.exhaust(&["--ulimit", &beyond], &["limits"]);
    let reached = format!("--ulimit {beyond} is out of reach, so it is nofile={hard}:{hard}");
    assert_said(&run, &[&reached, &format!("\nnofile={hard}:{hard}")]);
}

#[test]
fn what_is_no_limit_is_refused_before_anything_runs() {
    let env = Env::new();
    for (flags, expected) in [
        (["--ulimit", "nofile=2:1"], "the soft limit is above the hard limit"),
        (["--ulimit", "files=1"], "there is no resource limit \"files\""),
        (["--memory", "1m"], "--memory is too small"),
        (["--memory", "lots"], "expected a number and b, k, m or g"),
        (["--disk-limit", "1t"], "expected a number and b, k, m or g"),
        (["--pids-limit", "-2"], "--pids-limit"),
    ] {
        let run = env.scrimp(&[&["trace", "host", "-o", "out.trace"], &flags[..], &["--", "true"]].concat()).exits(2);
        assert!(run.stderr.contains(expected), "{run}");
        assert!(!Path::new(&env.path("store")).exists(), "{run}");
    }
}

#[test]
fn a_small_image_is_verified_under_the_same_limits() {
    let env = Env::new();
    let source = busybox(&env, "small", &json!({"Cmd": ["echo", "hello"], "Env": ["PATH=/bin"]}), &[]);
    let limits = ["--memory", "64m", "--pids-limit", "8", "--disk-limit", "16m", "--ulimit", "nofile=64"];
    let arguments = ["slim", &source, "-o", "docker-archive:out.tar", "--format", "json"];
    let summary = env.scrimp(&[&arguments[..], &limits].concat()).succeeds().json();
    assert_eq!(
        (summary["verify"]["status"].as_str(), summary["sandbox"]["rung"].as_str()),
        (Some("passed"), Some("b"))
    );
    assert_eq!(env.leftovers(), Vec::<String>::new());
}
