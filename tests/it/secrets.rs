//! What is secret stays in the run: values of `-e` and of requests are in nothing that scrimp writes or says.

use std::fs;
use std::path::Path;

use crate::support::{Env, Run, busybox, web_config};

/// Each appears in no other text. One has characters that JSON escapes; its beginning is what is looked for.
const TOKEN: &str = "t0ken-a1b2c3d4";
const ODD: &str = "0dd-e5f6a7b8\"\\ rest";
const HEADER: &str = "h3ader-b8c9d0e1";
const BODY: &str = "b0dy-f2a3b4c5";
const NEEDLES: [&str; 4] = ["t0ken-a1b2c3d4", "0dd-e5f6a7b8", "h3ader-b8c9d0e1", "b0dy-f2a3b4c5"];

/// Says all that it knows: in headers, in the body, on standard error, in names of files that are not there and in the
/// content of one that is made.
const ECHO: &str = "#!/bin/sh
echo \"Content-Type: text/plain\"
echo \"X-Token: $TOKEN\"
echo \"X-Header: $HTTP_AUTHORIZATION\"
echo
env
body=$(cat)
echo \"$body\"
echo \"$TOKEN $ODD $HTTP_AUTHORIZATION $body\" >&2
echo \"$TOKEN $body\" > /tmp/note
cat \"/etc/$TOKEN\" \"/etc/$body\"
";

fn probe(status: u16) -> String {
    format!(
        "[[step]]\nkind = 'http'\nmethod = 'POST'\npath = '/cgi-bin/echo'\nheaders = {{ Authorization = '{HEADER}' }}\n\
         body = '{BODY}'\nexpect = {{ status = {status} }}\n\
         [[step]]\nkind = 'exec'\nargv = ['sh', '-c', 'echo $TOKEN; echo $TOKEN >&2; echo $TOKEN > /tmp/$TOKEN; cat /tmp/$TOKEN']\n"
    )
}

/// Runs scrimp on a service that repeats what it is told, and looks everywhere.
fn run(env: &Env, arguments: &[&str], status: u16) -> Run {
    let probes = tempfile::tempdir().unwrap();
    let probe_file = probes.path().join("probe.toml");
    fs::write(&probe_file, probe(status)).unwrap();
    let source = busybox(env, "web", &web_config(), &[("/www/cgi-bin/echo", ECHO)]);
    let variables = [format!("TOKEN={TOKEN}"), format!("ODD={ODD}")];
    let (command, rest) = arguments.split_first().unwrap();
    let fixed = [*command, &source, "-e", &variables[0], "-e", &variables[1], "--probe", probe_file.to_str().unwrap()];
    let run = env.scrimp(&[&fixed, rest].concat());
    for (stream, text) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
        assert_eq!(found_in(text.as_bytes()), Vec::<&str>::new(), "{stream}\n{run}");
    }
    search(env.dir());
    run
}

fn found_in(content: &[u8]) -> Vec<&'static str> {
    NEEDLES.into_iter().filter(|needle| content.windows(needle.len()).any(|w| w == needle.as_bytes())).collect()
}

/// Looks into all files below a directory, and at their names.
fn search(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        assert_eq!(found_in(path.as_os_str().as_encoded_bytes()), Vec::<&str>::new(), "{}", path.display());
        if kind.is_dir() {
            search(&path);
        } else if kind.is_file() {
            assert_eq!(found_in(&fs::read(&path).unwrap()), Vec::<&str>::new(), "in {}", path.display());
        }
    }
}

#[test]
fn no_secret_is_in_what_slim_writes_and_says() {
    let env = Env::new();
    let destinations =
        ["-o", "docker-archive:out.tar", "-o", "oci:oci", "-o", "rootfs:root", "-o", "dockerfile:context"];
    let files = ["--lock", "out.lock", "--trace", "out.trace"];
    for format in ["json", "text"] {
        let outputs = if format == "json" { &destinations[..] } else { &[] };
        run(&env, &[&["slim", "--format", format], outputs, &files].concat(), 200).succeeds();
    }
    let trace = fs::read_to_string(env.path("out.trace")).unwrap();
    assert!(trace.contains("\"TOKEN\"") && trace.contains("\"ODD\""), "the names are there: {trace}");
    assert!(trace.contains("[redacted]"), "{trace}");
    // What a name would give away is not known to be nothing: the service did ask for it.
    assert!(trace.contains("/etc/[redacted]"), "{trace}");
}

#[test]
fn no_secret_is_in_what_a_failure_says() {
    let env = Env::new();
    let run = run(&env, &["slim", "-o", "docker-archive:out.tar", "--trace", "out.trace"], 418).exits(1);
    assert!(run.stderr.contains("418") && run.stderr.contains("[redacted]"), "{run}");
}

#[test]
fn no_secret_is_in_what_a_difference_says() {
    let env = Env::new();
    // Without the CGI program the small image answers otherwise.
    let rest = ["-o", "docker-archive:out.tar", "--drop", "/www/cgi-bin/echo", "--force-drop"];
    let run = run(&env, &[&["slim"], &rest[..]].concat(), 200).exits(1);
    assert!(run.stderr.contains("slim"), "{run}");
}

#[test]
fn no_secret_is_in_the_last_output_of_an_application_that_dies() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &[]);
    let script = "echo \"token is $TOKEN\"; echo \"odd is $ODD\" >&2; exit 1";
    let token = format!("TOKEN={TOKEN}");
    let odd = format!("ODD={ODD}");
    let run = env.scrimp(&["slim", &source, "-e", &token, "-e", &odd, "--", "sh", "-c", script]).exits(1);
    assert!(run.stderr.contains("token is [redacted]\nodd is [redacted]"), "{run}");
    assert_eq!(found_in(run.to_string().split_once("--- stdout").unwrap().1.as_bytes()), Vec::<&str>::new(), "{run}");
}

#[test]
fn a_variable_of_the_caller_is_taken_by_name() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &[]);
    let script = "test \"$TOKEN\" = t0ken-a1b2c3d4 && test -z \"$OTHER\"";
    let mut command = env.scrimp_command(&["slim", &source, "-e", "TOKEN", "--trace", "out", "--", "sh", "-c", script]);
    command.env("TOKEN", TOKEN).env("OTHER", "x");
    Run::of(command).succeeds();
    let trace = fs::read_to_string(env.path("out")).unwrap();
    assert!(trace.contains("\"env_names\":[\"TOKEN\"]"), "{trace}");
}
