//! Where nothing can be mounted and the network is the machine's: what the application misses there is said.

use std::fs;

use crate::support::{Env, User};

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
