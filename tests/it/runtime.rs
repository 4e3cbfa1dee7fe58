//! `verify --runtime`: both images in podman, asked the same, and nothing of them left there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{Env, PODMAN_OPTIONS, Podman, Run, User, busybox, podman_configuration, web_config};

/// How long what has been told to end may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const INTERVAL: Duration = Duration::from_millis(20);

const PAGES: [(&str, &str); 2] = [("/www/index.html", "a page\n"), ("/www/more.html", "more\n")];

/// scrimp with a podman of the test's own in its PATH.
struct Bench {
    env: Env,
    podman: Podman,
    path: String,
}

impl Bench {
    fn new() -> Self {
        let podman = Podman::new();
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", podman.program_dir());
        Self { env: Env::new(), podman, path }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.env.scrimp_command(arguments);
        command.env("PATH", &self.path);
        command
    }

    /// Holds `slim` against `source`, and looks whether anything is left.
    fn verify(&self, slim: &str, source: &str, arguments: &[&str]) -> Run {
        let fixed = ["verify", slim, "--against", source, "--runtime", "podman"];
        let run = Run::of(self.command(&[&fixed, arguments].concat()));
        assert_eq!(self.podman.holdings(), Vec::<String>::new(), "{run}");
        run
    }

    fn web(&self, name: &str, files: &[(&str, &str)]) -> String {
        busybox(&self.env, name, &web_config(), files)
    }
}

#[test]
fn a_good_image_passes_in_podman() {
    let bench = Bench::new();
    let source = bench.web("web", &PAGES);
    let out = format!("oci:{}", bench.env.path("out"));
    let probes = ["--http", "/", "--http", "/more.html"];
    bench.env.scrimp(&[&["slim", &source, "-o", &out], &probes[..]].concat()).succeeds();
    let run = bench.verify(&out, &source, &[&probes[..], &["--format", "json"]].concat()).succeeds();
    let summary = run.json();
    assert_eq!(summary["verify"]["status"], "passed", "{run}");
    assert_eq!(summary["sandbox"]["rung"], "podman", "{run}");
    assert_eq!(summary["probes"], json!({"passed": 2, "failed": 0}), "{run}");
    let run = bench.verify(&out, &source, &probes).succeeds();
    assert!(run.stdout.contains("answers are compared and look-ups are not"), "{run}");
    let calls = bench.podman.calls();
    assert_eq!(
        ["load", "create", "start"].map(|word| calls.matches(&format!("error {word} ")).count()),
        [4, 4, 4],
        "{calls}"
    );
}

#[test]
fn an_image_that_lacks_a_file_fails_in_podman_and_shows_both_answers() {
    let bench = Bench::new();
    let (source, slim) = (bench.web("web", &PAGES), bench.web("less", &PAGES[..1]));
    let run = bench.verify(&slim, &source, &["--http", "/", "--http", "/more.html"]).exits(1);
    assert!(run.stderr.contains("failed: http GET /more.html: status\n  base  200\n  slim  404\n"), "{run}");
    assert!(!run.stderr.contains("http GET /:"), "{run}");
    let other = bench.web("other", &[PAGES[0], ("/www/more.html", "less\n")]);
    let run = bench.verify(&other, &source, &["--http", "/more.html"]).exits(1);
    assert!(run.stderr.contains("failed: http GET /more.html: body\n  base  "), "{run}");
}

#[test]
fn what_does_not_start_is_told_from_what_cannot_be_tried() {
    let bench = Bench::new();
    let (source, slim) = (bench.web("web", &[("/bin/hello", "#!/bin/sh\necho hello\n")]), bench.web("less", &[]));
    bench.verify(&source, &source, &["--", "hello"]).succeeds();
    let run = bench.verify(&slim, &source, &["--", "hello"]).exits(1);
    assert!(run.stderr.contains("the small image cannot be started: podman cannot start it: "), "{run}");
    let run = bench.verify(&slim, &source, &["--", "nothing"]).exits(2);
    assert!(run.stderr.contains("error: podman cannot start it: ") && run.stderr.contains("nothing"), "{run}");
    // A probe that fails on the source says nothing of the image.
    let run = bench.verify(&slim, &source, &["--exec", "hello --exec"]).exits(1);
    assert!(run.stderr.contains("exec hello --exec: expectation"), "{run}");
    let run = bench.verify(&slim, &source, &["--exec", "false"]).exits(1);
    assert!(run.stdout.contains("verify   not made"), "{run}");
}

#[test]
fn what_the_source_changes_by_itself_is_forgiven_in_podman() {
    let bench = Bench::new();
    let script = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\ncat /proc/sys/kernel/random/uuid\necho fast\n";
    let source = bench.web("web", &[("/www/cgi-bin/id", script)]);
    let run = bench.verify(&source, &source, &["--http", "/cgi-bin/id"]).succeeds();
    assert!(run.stderr.contains("two runs of the source differ"), "{run}");
    let slow = bench.web("slow", &[("/www/cgi-bin/id", &script.replace("fast", "slow"))]);
    bench.verify(&slow, &source, &["--http", "/cgi-bin/id"]).exits(1);
}

#[test]
fn settings_reach_the_container_and_no_value_an_argument() {
    let bench = Bench::new();
    let check = "#!/bin/sh
test \"$(/bin/busybox id -u):$(/bin/busybox id -g)\" = 7:8 || exit 10
test \"$TOKEN\" = s3cret || exit 11
test \"$ODD\" = \"'s3cret' two
lines\" || exit 12
test \"$(/bin/busybox pwd)\" = /www || exit 13
test \"$(cat /data/file)\" = content || exit 14
/bin/busybox touch /data/new 2> /tmp/why && exit 15
test -z \"$(/bin/busybox ls /etc/empty)\" || exit 16
test \"$(ulimit -Sn):$(ulimit -Hn)\" = 100:200 || exit 17
/bin/busybox grep -q 'CapBnd:.*0$' /proc/self/status || exit 18
test \"$1\" = argument || exit 19
test \"$(/bin/busybox hostname)\" = scrimp || exit 20
test \"$(/bin/busybox ls /sys/class/net)\" = lo || exit 21
";
    let source = bench.web("web", &[("/bin/check", check), ("/etc/empty/file", "")]);
    fs::create_dir(bench.env.path("data")).unwrap();
    fs::write(bench.env.path("data/file"), "content").unwrap();
    let volume = format!("{}:/data:ro", bench.env.path("data"));
    let set =
        ["-e", "TOKEN=s3cret", "-e", "ODD='s3cret' two\nlines", "-v", &volume, "--tmpfs", "/etc/empty", "-w", "/www"];
    // With a limit of the user's podman sets its own for processes, which may be more than there can be here.
    let limits = ["--ulimit", "nofile=100:200", "--ulimit", "nproc=1000:1000"];
    let more = ["-u", "7:8", "--cap-drop", "ALL", "--cap-add", "SYS_NICE", "--tmpfs", "/tmp"];
    let words = ["--entrypoint", r#"["/bin/sh", "/bin/check"]"#, "--", "argument"];
    let run = bench.verify(&source, &source, &[&set[..], &limits, &more, &words].concat()).succeeds();
    assert!(!format!("{run}").replace(&set.join(" "), "").contains("s3cret"), "{run}");
    let calls = bench.podman.calls();
    assert!(calls.contains("--env ODD") && !calls.contains("s3cret"), "{calls}");
    for (setting, word) in [("--disk-limit", "1g"), ("--with", "db=host"), ("--sandbox", "a")] {
        let run = bench.verify(&source, &source, &[setting, word]).exits(2);
        assert!(run.stderr.contains(setting), "{run}");
    }
}

#[test]
fn an_image_that_podman_has_already_stays() {
    let bench = Bench::new();
    let source = bench.web("web", &PAGES);
    let name = bench.podman.load(source.trim_start_matches("docker-archive:").as_ref());
    let run = Run::of(bench.command(&["verify", &source, "--against", &source, "--runtime", "podman", "--http", "/"]));
    run.succeeds();
    assert_eq!(bench.podman.holdings(), [name]);
    assert!(!bench.podman.calls().contains("error load "), "{}", bench.podman.calls());
}

/// Starts a verification whose probe does not end, and waits until it runs.
fn start(bench: &Bench) -> Child {
    let source = bench.web("web", &PAGES);
    let probe = "[[step]]\nkind = 'exec'\nargv = ['sleep', '1000']\ntimeout_seconds = 1000\n";
    fs::write(bench.env.path("endless.toml"), probe).unwrap();
    let arguments = ["verify", &source, "--against", &source, "--runtime", "podman", "--probe", "endless.toml"];
    let child = bench.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !bench.podman.calls().contains("sleep 1000") {
        assert!(Instant::now() < deadline, "no command was run: {}", bench.podman.calls());
        thread::sleep(INTERVAL);
    }
    child
}

#[test]
fn nothing_stays_in_podman_when_scrimp_is_interrupted_or_killed() {
    for (signal, code) in [(Signal::SIGINT, Some(130)), (Signal::SIGTERM, Some(130)), (Signal::SIGKILL, None)] {
        let bench = Bench::new();
        let child = start(&bench);
        assert_eq!(bench.podman.holdings().len(), 2, "a container and an image: {:?}", bench.podman.holdings());
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(child.wait_with_output().unwrap().status.code(), code, "{signal}");
        let deadline = Instant::now() + PATIENCE;
        while !bench.podman.holdings().is_empty() {
            assert!(Instant::now() < deadline, "{signal}: {:?} stays", bench.podman.holdings());
            thread::sleep(INTERVAL);
        }
    }
}

#[test]
fn a_runtime_that_cannot_be_used_is_told_with_a_hint() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &PAGES);
    let bin = env.path("bin");
    fs::create_dir(&bin).unwrap();
    let verify = |runtime: &str| {
        let mut command = env.scrimp_command(&["verify", &source, "--against", &source, "--runtime", runtime]);
        command.env("PATH", &bin);
        Run::of(command).exits(2)
    };
    for runtime in ["podman", "docker"] {
        let run = verify(runtime);
        assert!(run.stderr.contains(&format!("error: there is no {runtime} in PATH\nhint: install it")), "{run}");
    }
    // What they say themselves, in their own words.
    let denied = "permission denied while trying to connect to the Docker daemon socket";
    for (runtime, says, status, expected) in [
        (
            "podman",
            "Error: no storage",
            125,
            "error: podman cannot be used: no storage\nhint: `podman info` has to work",
        ),
        (
            "docker",
            "Cannot connect to the Docker daemon",
            1,
            "error: docker cannot be used: Cannot connect to the Docker",
        ),
        ("docker", denied, 1, "hint: run as root, or as a member of the group docker"),
        ("podman", "2.1.0 false", 0, "error: podman 2.1.0 is too old\nhint: podman 3.4"),
        ("podman", "4.3.1 true", 0, "error: podman runs containers elsewhere"),
        ("docker", "19.03.1", 0, "error: docker 19.03.1 is too old"),
    ] {
        let stream = if status == 0 { 1 } else { 2 };
        let script = format!("#!/bin/sh\necho '{says}' >&{stream}\nexit {status}\n");
        fs::write(format!("{bin}/{runtime}"), script).unwrap();
        fs::set_permissions(format!("{bin}/{runtime}"), Permissions::from_mode(0o755)).unwrap();
        let run = verify(runtime);
        assert!(run.stderr.contains(expected), "{run}");
    }
}

#[test]
fn an_ordinary_user_asks_a_podman_without_root() {
    let env = Env::as_user(User::Subordinate);
    let (source, slim) =
        (busybox(&env, "web", &web_config(), &PAGES), busybox(&env, "less", &web_config(), &PAGES[..1]));
    fs::write(env.path("containers.conf"), podman_configuration(env.dir())).unwrap();
    let (bin, options) = (env.path("bin"), PODMAN_OPTIONS.join(" "));
    fs::create_dir(&bin).unwrap();
    let script = format!("#!/bin/sh\nPATH=\"${{PATH#*:}}\"\nexec podman {options} --storage-driver vfs \"$@\"\n");
    fs::write(format!("{bin}/podman"), script).unwrap();
    fs::set_permissions(format!("{bin}/podman"), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(env.path("run")).unwrap();
    env.give(env.path("run").as_ref());
    let as_user = |mut command: Command| {
        command.env("PATH", format!("{bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
        command.env("CONTAINERS_CONF", env.path("containers.conf")).env("XDG_RUNTIME_DIR", env.path("run"));
        Run::of(command)
    };
    let podman = |arguments: &[&str]| as_user(env.command(format!("{bin}/podman"), arguments)).succeeds();
    let verify = |slim: &str| {
        let arguments = ["verify", slim, "--against", &source, "--runtime", "podman", "--http", "/more.html"];
        as_user(env.scrimp_command(&arguments))
    };
    let run = verify(&source).succeeds();
    assert!(run.stdout.contains("sandbox  podman: version"), "{run}");
    let run = verify(&slim).exits(1);
    assert!(run.stderr.contains("failed: http GET /more.html: status\n  base  200\n  slim  404\n"), "{run}");
    assert_eq!(podman(&["ps", "--all", "--quiet"]).stdout + &podman(&["images", "--quiet"]).stdout, "");
    // Podman keeps a process that holds the user's namespace until it is told that it is not needed any more.
    podman(&["system", "migrate"]);
}
