//! What is kept beside what was used, on real images.

use serde_json::Value;

use crate::support::{Env, Image, Podman, Small, fixture};

const PYTHON: [&str; 2] = ["--http", "/"];

#[test]
fn a_page_that_no_probe_asked_for_is_there_unless_the_level_is_closure() {
    let app = Small::as_root("python-hello", &PYTHON);
    let page = "/app/pages/hidden.html";
    assert_eq!(app.reasons(page), ["application:/app"]);
    let own = &app.summary["application"];
    assert_eq!(own["directories"], serde_json::json!(["/app"]));
    let closure = Small::as_root("python-hello", &[&PYTHON[..], &["--level", "closure"]].concat());
    assert!(!closure.has(page));
    assert_eq!(closure.summary["application"], Value::Null);
    let (app, closure) = (app.image(), closure.image());
    assert_eq!(app.bytes - closure.bytes, own["bytes"].as_u64().unwrap());
    assert_eq!((app.files - closure.files) as u64, own["files"].as_u64().unwrap());
}

#[test]
fn the_summary_for_people_says_what_the_application_weighs_and_how_to_do_without() {
    let env = Env::new().sharing_the_store();
    let text = env.scrimp(&["slim", &env.source("python-hello"), "--http", "/"]).succeeds().stdout;
    assert!(
        text.contains("are the application's own, not used, from /app (--level closure leaves them out)"),
        "{text}"
    );
    assert!(text.contains("listed directories were not used and are left out"), "{text}");
}

#[test]
fn programs_and_a_shell_work_in_the_image_with_what_they_need() {
    let small = Small::as_root("python-hello", &[&PYTHON[..], &["--keep-exe", "env", "--keep-shell"]].concat());
    let podman = Podman::new();
    let image = podman.load(&small.archive);
    let line = "echo it is; /usr/bin/env A=b /bin/sh -c 'echo $A'";
    let run = podman.run_with(&["--entrypoint", "/bin/sh"], &image, &["-c", line]).succeeds();
    assert_eq!(run.stdout, "it is\nb\n");
    assert!(small.summary["advice"].as_array().unwrap().iter().all(|a| !a.as_str().unwrap().contains("shell")));
}

#[test]
fn listed_directories_are_in_the_trace_and_are_kept_when_asked_for() {
    let small =
        Small::as_root("python-hello", &[&PYTHON[..], &["--keep-listed", "/usr/lib/python3.11/lib-dynload"]].concat());
    let base = Image::read(&fixture("python-hello"));
    let below = |image: &Image| {
        let inside = |path: &&String| path.starts_with("/usr/lib/python3.11/lib-dynload/");
        image.tree.keys().filter(inside).cloned().collect::<Vec<_>>()
    };
    assert!(below(&base).len() > 10);
    assert_eq!(below(&small.image()), below(&base));
    assert!(small.summary["listed"]["entries"].as_u64().unwrap() > 0, "others are left out");
}

#[test]
fn what_is_asked_for_by_a_name_that_the_base_does_not_have_is_an_error() {
    let env = Env::new().sharing_the_store();
    let trace = env.path("t.jsonl");
    let source = env.source("c-hello-glibc");
    env.scrimp(&["trace", &source, "-o", &trace]).succeeds();
    for (flag, name) in [("--keep-package", "no-such"), ("--keep-exe", "no-such"), ("--keep-locale", "xx_XX.UTF-8")] {
        let run =
            env.scrimp(&["build", &source, "--trace", &trace, "-o", &format!("oci:{}", env.path("o")), flag, name]);
        let error = run.exits(2).stderr;
        assert!(
            error.contains(&format!("{flag} {name}: the base has no such")) || error.contains("no package"),
            "{error}"
        );
        assert!(error.contains("hint: "), "{error}");
    }
}
