//! A terminal that is closed, a reader that goes away or never reads: none of them is a reason to panic or to hang.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Env, busybox, sandboxed, web_config};

/// Runs scrimp on a terminal of which this closes the other end: at once, or when the application runs. Whether it is
/// the terminal of its session decides whether it is told (SIGHUP). Prints how it ended.
const ON_A_TERMINAL: &str = "
import os, pty, subprocess, sys
told = sys.argv[1] == 'told'
if told:
    pid, master = pty.fork()
    if pid == 0:
        os.execv(sys.argv[2], sys.argv[2:])
    while not os.path.exists('asked'):
        pass
    os.close(master)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status))
else:
    master, slave = pty.openpty()
    os.close(master)
    print(subprocess.run(sys.argv[2:], stdin=slave, stdout=slave, stderr=slave).returncode)
";

fn source(env: &Env) -> String {
    busybox(env, "web", &web_config(), &[("/www/index.html", "a page\n")])
}

#[test]
fn a_terminal_that_was_closed_is_no_reason_to_fail() {
    let env = Env::new();
    let source = source(&env);
    let binary = env!("CARGO_BIN_EXE_scrimp");
    let arguments =
        ["-c", ON_A_TERMINAL, "not told", binary, "slim", &source, "--http", "/", "-o", "docker-archive:out.tar"];
    let run = env.run("python3", &arguments).succeeds();
    assert_eq!(run.stdout, "0\n", "{run}");
    assert!(fs::exists(env.path("out.tar")).unwrap());
    let run = env.run("python3", &["-c", ON_A_TERMINAL, "not told", binary, "slim", "nothing:like-this"]).succeeds();
    assert_eq!(run.stdout, "2\n", "{run}");
}

#[test]
fn a_terminal_that_is_closed_ends_the_run() {
    let env = Env::new();
    let source = source(&env);
    // The volume tells when the application runs.
    let volume = format!("{}:/told", env.dir().display());
    let script = "echo > /told/asked; while :; do sleep 1000; done";
    let binary = env!("CARGO_BIN_EXE_scrimp");
    let run = ["slim", &source, "-v", &volume, "--no-probe", "--timeout", "1000s", "-o", "docker-archive:out.tar"];
    let command = ["--entrypoint", "sh", "--", "-c", script];
    let run = env.run("python3", &[&["-c", ON_A_TERMINAL, "told", binary], &run[..], &command].concat()).succeeds();
    assert_eq!(run.stdout, "130\n", "{run}");
    assert!(!fs::exists(env.path("out.tar")).unwrap());
    let left: Vec<_> = env.leftovers().into_iter().filter(|left| !left.starts_with("scratch ")).collect();
    assert_eq!(left, Vec::<String>::new());
    env.scrimp(&["inspect", &source]).succeeds();
    assert_eq!(env.leftovers(), Vec::<String>::new());
}

#[test]
fn a_reader_that_went_away_is_no_reason_to_fail() {
    let env = Env::new();
    let source = source(&env);
    let text = "\"$@\" 2>&1 >/dev/null | true; \"$@\" -o docker-archive:out.tar 2>/dev/full >/dev/null; echo $?";
    let scrimp = [env!("CARGO_BIN_EXE_scrimp"), "slim", &source, "--http", "/"];
    let run = env.run("sh", &[&["-c", text, "sh"], &scrimp[..]].concat()).succeeds();
    assert_eq!(run.stdout, "0\n", "{run}");
    assert!(fs::exists(env.path("out.tar")).unwrap());
}

#[test]
fn a_reader_that_never_reads_cannot_keep_an_interrupted_run() {
    let env = Env::new();
    let source = source(&env);
    let (mut reader, writer) = std::io::pipe().unwrap();
    // What is in the pipe already leaves no room for a word.
    let filler = writer.try_clone().unwrap();
    nix::fcntl::fcntl(&filler, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    std::io::Write::write_all(&mut &filler, &[b'.'; 4096]).unwrap();
    drop(filler);
    let mut command =
        env.scrimp_command(&["slim", &source, "--timeout", "1000s", "--entrypoint", "sleep", "--", "1000"]);
    let mut child = command.stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    drop(command);
    sandboxed(&child, "sleep");
    for _ in 0..2 {
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert_eq!(said.trim_start_matches('.'), "");
}
