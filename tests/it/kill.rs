//! Whenever scrimp is stopped, nothing of a run stays: no process, no mount, and after the next run no file.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Env, User, busybox, children, sandboxed, web_config};

/// Starts a slim whose probe does not end, and waits until it runs.
fn start(env: &Env) -> Child {
    let source = busybox(env, "web", &web_config(), &[("/www/index.html", "a page\n")]);
    let mut command = env.scrimp_command(&["slim", &source, "--probe", "endless.toml", "-o", "docker-archive:out.tar"]);
    let probe = "[[step]]\nkind = 'http'\n[[step]]\nkind = 'exec'\nargv = ['sleep', '1000']\ntimeout_seconds = 1000\n";
    std::fs::write(env.path("endless.toml"), probe).unwrap();
    env.give(env.path("endless.toml").as_ref());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    sandboxed(&child, "sleep");
    child
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

/// No process and no mount is left, and the next run removes what is left in the store.
#[track_caller]
fn assert_gone(env: &Env) {
    let processes: Vec<_> = env.leftovers().into_iter().filter(|left| !left.starts_with("scratch ")).collect();
    assert!(processes.is_empty(), "{processes:?}");
    assert!(!Path::new(&env.path("out.tar")).exists());
    env.scrimp(&["inspect", &format!("docker-archive:{}", env.path("web.tar"))]).succeeds();
    assert_eq!(env.leftovers(), Vec::<String>::new());
    let names: Vec<_> = env.names().into_iter().filter(|name| name != "scrimp").collect();
    assert_eq!(names, ["endless.toml", "store", "web.tar"]);
}

#[test]
fn nothing_of_a_run_outlives_a_killed_scrimp() {
    for env in [Env::new(), Env::as_user(User::Subordinate), Env::as_user(User::Single)] {
        let child = start(&env);
        assert!(!env.scratch().is_empty(), "a run has scratch space");
        send(&child, Signal::SIGKILL);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(9));
        assert_gone(&env);
    }
}

#[test]
fn an_interrupted_scrimp_says_so_and_ends_in_130() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let env = Env::new();
        let child = start(&env);
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{signal}: {said}");
        assert_eq!(said, "interrupted\n", "{signal}");
        assert!(output.stdout.is_empty(), "{signal}");
        assert_gone(&env);
    }
}

#[test]
fn a_killed_application_is_a_probe_that_fails() {
    let env = Env::new();
    let child = start(&env);
    let application = sandboxed(&child, "httpd");
    kill(Pid::from_raw(application), Signal::SIGKILL).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("nothing was written"), "{said}");
    assert_gone(&env);
}

#[test]
fn an_application_that_ignores_its_stop_signal_is_killed_and_told() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &[("/www/index.html", "a page\n")]);
    let script = "trap '' TERM; httpd -p 8080 -h /www; while :; do sleep 1000; done";
    let arguments = ["slim", &source, "--http", "/", "--stop-timeout", "200ms", "--", "sh", "-c", script];
    // The config's Cmd is replaced as a whole, so this is the command.
    let run = env.scrimp(&arguments).succeeds();
    assert!(run.stderr.contains("SIGTERM") && run.stderr.contains("was killed"), "{run}");
    assert_eq!(env.leftovers(), Vec::<String>::new());
}

#[test]
fn a_killed_supervisor_is_named() {
    for env in [Env::new(), Env::as_user(User::Subordinate), Env::as_user(User::Single)] {
        let child = start(&env);
        let supervisor = named(&child, b"scrimp-supervisor");
        kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.starts_with("error: the supervisor of the sandbox, scrimp-supervisor, was killed by signal 9\n"),
            "{said}"
        );
        assert_gone(&env);
    }
}

/// The child of a scrimp that is called so.
fn named(child: &Child, name: &[u8]) -> i32 {
    let found = children(child.id().try_into().unwrap());
    let is_wanted = |(_, arguments): &&(i32, Vec<u8>)| arguments.split(|b| *b == 0).next() == Some(name);
    found.iter().find(is_wanted).expect("a child of that name").0
}

#[test]
fn an_application_with_other_rights_does_not_outlive_a_killed_supervisor() {
    let env = Env::new();
    // A program that gains rights loses the signal that it was to get when its parent dies.
    let source = with_setuid_sleep(&env);
    let arguments = [
        "slim",
        &source,
        "-u",
        "1000",
        "--no-probe",
        "--timeout",
        "1000s",
        "--entrypoint",
        "/bin/su-sleep",
        "--",
        "1000",
    ];
    let child = env.scrimp_command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    sandboxed(&child, "/bin/su-sleep");
    kill(Pid::from_raw(named(&child, b"scrimp-supervisor")), Signal::SIGKILL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(env.leftovers().into_iter().filter(|left| !left.starts_with("scratch ")).collect::<Vec<_>>(), [""; 0]);
}

/// A directory with one program: `sleep`, owned by root and set-user-id.
fn with_setuid_sleep(env: &Env) -> String {
    let root = env.path("root");
    std::fs::create_dir_all(format!("{root}/bin")).unwrap();
    let program = format!("{root}/bin/su-sleep");
    let source = env.path("sleep.c");
    std::fs::write(&source, "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n").unwrap();
    env.run("gcc", &["-static", "-o", &program, &source]).succeeds();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    format!("rootfs:{root}")
}

#[test]
fn a_killed_process_outside_the_namespace_is_named() {
    for user in [User::Subordinate, User::Single] {
        let env = Env::as_user(user);
        // It tells owners of the host's files, after the run: until then it is not missed.
        let command = ["--", "/bin/sh", "-c", "/bin/sleep 1000 & wait"];
        let probe = ["slim", "host", "--timeout", "1000s", "-o", "docker-archive:out.tar", "--no-probe"];
        let mut command = env.scrimp_command(&[&probe[..], &command].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let sleep = sandboxed(&child, "/bin/sleep");
        let outside = named(&child, env.path("scrimp").as_bytes());
        kill(Pid::from_raw(outside), Signal::SIGKILL).unwrap();
        kill(Pid::from_raw(sleep), Signal::SIGKILL).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("the process that scrimp keeps outside its user namespace was killed"), "{said}");
        assert_eq!(env.leftovers(), Vec::<String>::new());
        assert_eq!(env.names(), ["scrimp", "store"]);
    }
}

#[test]
fn a_killed_newuidmap_is_named() {
    // In its place, in a mount namespace that ends with the test, something that waits to be killed.
    let env = Env::as_user(User::Subordinate);
    let user = User::Subordinate.account();
    std::fs::write(env.path("newgidmap"), "#!/bin/sh\necho $$ > pid.new\nmv pid.new pid\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(env.path("newgidmap"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = "mount --bind newgidmap \"$(command -v newgidmap)\" && \
                  exec setpriv --reuid $1 --regid $2 --clear-groups ./scrimp slim host --sandbox a -- /bin/true";
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    let mut command = env.command("unshare", &["-m", "sh", "-c", script, "sh", &uid, &gid]);
    std::os::unix::process::CommandExt::uid(&mut command, 0);
    std::os::unix::process::CommandExt::gid(&mut command, 0);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid: i32 = loop {
        match std::fs::read_to_string(env.path("pid")) {
            Ok(pid) => break pid.trim().parse().unwrap(),
            Err(_) => std::thread::yield_now(),
        }
    };
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("newgidmap was killed by signal 9"), "{said}");
    assert_eq!(env.leftovers(), Vec::<String>::new());
}
