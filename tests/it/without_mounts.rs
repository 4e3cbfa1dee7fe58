//! Where nothing can be mounted and the network is the machine's: what the application misses there is said.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Env, User, busybox};

#[test]
fn what_a_copy_of_the_files_lacks_is_said() {
    let env = Env::as_user(User::Single).sharing_the_store();
    let (source, trace) = (env.source("nginx-cv"), env.path("trace.jsonl"));
    let script = "cat /proc/self/status /proc/$$/status; echo x > /dev/udp/203.0.113.1/53
        exec perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(81, INADDR_ANY)); exit 0'";
    let arguments =
        ["trace", &source, "-o", &trace, "--sandbox", "d", "--entrypoint", "", "--", "/bin/bash", "-c", script];
    let run = env.scrimp(&arguments).succeeds();
    let said = fs::read_to_string(&trace).unwrap().lines().next().unwrap_or_default().to_owned();
    for part in ["where the application looked for", "/proc/PID/status", "/proc/self/status", "bind to 0.0.0.0:81: "] {
        assert!(said.contains(part), "{part} is not in {said}\n{run}");
    }
    assert!(!said.contains("cannot leave the sandbox"), "{said}");
}

/// A script finds the application's network where that is the machine's.
#[test]
fn scripts_reach_an_application_that_shares_the_network() {
    let env = Env::new();
    let files = [("/www/index.html", "here\n")];
    let source = busybox(&env, "web", &json!({"Env": ["PATH=/bin"]}), &files);
    let script = env.path("ask");
    fs::write(&script, "#!/bin/sh\nexec busybox wget -q -O - \"$SCRIMP_URL/\"\n").unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let probes = ["--script", &script, "--while", "busybox wget -q -O /dev/null $SCRIMP_URL/index.html"];
    let www = env.path("www");
    fs::create_dir(&www).unwrap();
    fs::write(env.path("www/index.html"), "here\n").unwrap();
    for (scrimp, served) in [
        (["slim", &source, "--sandbox", "d", "-o", "docker-archive:d.tar"], "/www"),
        (["trace", "host", "--sandbox", "e", "-o", "e.trace"], &www),
    ] {
        // Nobody else is given it again soon.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let command = ["--", "/bin/busybox", "httpd", "-f", "-p", &port, "-h", served];
        env.scrimp(&[&scrimp[..], &probes, &command].concat()).succeeds();
    }
}
