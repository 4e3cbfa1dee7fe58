//! Probes that are more than a request: programs of the caller's, commands beside an application that never listens,
//! and HEALTHCHECK beside probes that were given.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Env, Image, Podman, User, busybox, web_config};

/// A program of the caller's in the directory of the environment.
fn program(env: &Env, name: &str, text: &str) -> String {
    let file = env.path(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    env.give(Path::new(&file));
    format!("./{name}")
}

/// Fetches a page and leaves a process behind that has left its session.
const FETCH: &str = "#!/bin/sh\nset -e\ntest \"$SCRIMP_PORT\" = 8080\ntest \"$1\" = \"\"\n\
                     busybox wget -qO- \"$SCRIMP_URL/page.html\"\ncat beside.txt\nsetsid sleep 1000 >/dev/null 2>&1 &\n";

#[test]
fn a_script_reaches_the_application_and_leaves_nothing() {
    for env in [Env::new(), Env::as_user(User::Subordinate)] {
        let source = busybox(&env, "web", &web_config(), &[("/www/page.html", "a page"), ("/www/other.html", "other")]);
        let script = program(&env, "fetch.sh", FETCH);
        std::fs::write(env.path("beside.txt"), "what lies beside the caller").unwrap();
        let (out, lock) = (format!("docker-archive:{}:localhost/small:1", env.path("small.tar")), env.path("lock"));
        let during = "busybox wget -qO- $SCRIMP_URL/page.html >/dev/null; date +%s%N";
        let arguments = ["slim", &source, "--script", &script, "--while", during, "-o", &out, "--lock", &lock];
        let level = ["--level", "observed", "--format", "json"];
        let summary = env.scrimp(&[&arguments[..], &level].concat()).succeeds().json();
        assert_eq!(summary["probes"], json!({"passed": 2, "failed": 0}), "{summary}");
        assert_eq!(summary["verify"]["status"], "passed", "what --while writes is not compared: {summary}");
        let tree = Image::read(Path::new(&env.path("small.tar"))).tree;
        assert!(tree.contains_key("/www/page.html") && !tree.contains_key("/www/other.html"), "{tree:#?}");
        assert_eq!(env.leftovers(), [""; 0]);
    }
}

#[test]
fn a_test_suite_that_fails_fails_the_run() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &[]);
    let out = format!("docker-archive:{}", env.path("small.tar"));
    let run = env.scrimp(&["slim", &source, "--while", "echo 3 tests failed >&2; exit 4", "-o", &out]).exits(1);
    let expected = "while 'echo 3 tests failed >&2; exit 4': expected exit code 0, got 4: \"3 tests failed\"";
    assert!(run.stderr.contains(expected), "{run}");
    let run = env.scrimp(&["slim", &source, "--script", "small.tar", "-o", &out]).exits(2);
    assert!(
        run.stderr.contains("--script \"small.tar\": cannot read it: No such file") && run.stderr.contains("hint: "),
        "{run}"
    );
}

#[test]
fn a_command_beside_an_application_that_never_listens_does_not_wait_for_it() {
    let env = Env::new();
    let config = json!({"Cmd": ["sleep", "100000"], "Env": ["PATH=/bin"]});
    let source = busybox(&env, "worker", &config, &[("/etc/answer", "42")]);
    let out = format!("docker-archive:{}", env.path("small.tar"));
    let arguments = ["slim", &source, "--exec", "cat /etc/answer", "--timeout", "1h", "-o", &out, "--format", "json"];
    let summary = env.scrimp(&arguments).succeeds().json();
    let warnings = summary["warnings"].as_array().map(|all| all.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    assert!(!warnings.unwrap_or_default().concat().contains("listen"), "{summary}");
    assert_eq!(summary["verify"]["status"], "passed", "{summary}");
}

#[test]
fn a_healthcheck_works_in_the_result_whatever_else_is_asked() {
    let (env, podman) = (Env::new(), Podman::new());
    let files = [("/www/page.html", "a page"), ("/etc/wanted", "x"), ("/bin/check", "#!/bin/sh\ncat /etc/wanted\n")];
    for (test, passed) in [
        (json!(["CMD", "check"]), 2),
        (json!(["CMD-SHELL", "cat /etc/wanted && wget -qO- http://127.0.0.1:8080/page.html"]), 2),
        (json!(["NONE"]), 1),
    ] {
        let mut config = web_config();
        config["Healthcheck"] = json!({"Test": test, "Interval": 3_600_000_000_000u64, "Timeout": 5_000_000_000u64});
        let source = busybox(&env, "web", &config, &files);
        let archive = env.path("small.tar");
        let out = format!("docker-archive:{archive}:localhost/small:1");
        let arguments =
            ["slim", &source, "--http", "/page.html", "-o", &out, "--level", "observed", "--format", "json"];
        let summary = env.scrimp(&arguments).succeeds().json();
        assert_eq!(summary["probes"]["passed"], passed, "{test}: {summary}");
        let tree = Image::read(Path::new(&archive)).tree;
        assert_eq!(tree.contains_key("/etc/wanted"), passed == 2, "{test}");
        if passed == 2 {
            let service = podman.start(&podman.load(Path::new(&archive)));
            assert_eq!(service.get(8080, "/page.html").status, 200);
            assert!(service.is_healthy(), "{test}");
            service.stop();
        }
        std::fs::remove_file(&archive).unwrap();
    }
}
