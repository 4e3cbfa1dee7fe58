//! Whenever scrimp is stopped, nothing of a run stays: no process, no mount, and after the next run no file.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Env, User, busybox, sandboxed, web_config};

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
