//! Applications that end by a fault. The first process of a PID namespace does so in a container, and would not under a
//! tracer that only passes the signal on: it would fault for ever, and be taken for one that does not get ready.

use serde_json::json;

use crate::support::{Env, User, busybox_with};
use crate::tracer::compile;

/// What the program does, and how that ends in a container.
const CASES: [(&str, i32); 9] = [
    ("plain", 128 + libc::SIGSEGV),
    ("thread", 128 + libc::SIGSEGV),
    ("ignored", 128 + libc::SIGSEGV),
    ("blocked", 128 + libc::SIGSEGV),
    ("bus", 128 + libc::SIGBUS),
    ("filter", 128 + libc::SIGSYS),
    ("handled", 7),
    ("child", 3),
    ("sent", 5),
];

#[test]
fn the_first_process_ends_by_its_faults() {
    let program = std::fs::read(compile("faults", &["-static", "-pthread"])).unwrap();
    for env in [Env::new(), Env::as_user(User::Single)] {
        let config = json!({"Entrypoint": ["/bin/faults"], "Env": ["PATH=/bin"]});
        let source = busybox_with(&env, "faults", &config, &[("/bin/faults", &program)]);
        for (how, code) in CASES {
            let code = code.to_string();
            let arguments = ["slim", &source, "--expect-exit", &code, "--", how];
            let run = env.scrimp(&arguments).succeeds();
            assert!(run.stdout.contains("probes   1 passed"), "{how}: {run}");
        }
    }
}
