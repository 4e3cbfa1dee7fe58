//! Exercisers: what a request needs that no probe has sent works in the small image all the same, in another runtime,
//! and each file that is there for its sake says so.

use std::path::Path;

use crate::support::{Env, Podman, Small, fixture};

/// Only `/` is probed.
fn slim(name: &str, arguments: &[&str]) -> Small {
    Small::as_root(name, &[&["--http", "/"], arguments].concat())
}

/// What an image answers in podman.
fn answers(archive: &Path, paths: &[&str]) -> Vec<(u16, String)> {
    let podman = Podman::new();
    let service = podman.start(&podman.load(archive));
    let answer = |path: &&str| {
        let answer = service.get(8000, path);
        (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
    };
    paths.iter().map(answer).collect()
}

/// The small image answers what nobody probed as the base does, and it would not without the exerciser.
#[track_caller]
fn assert_answers_unprobed(name: &str, small: &Small, paths: &[&str], expected: &str) {
    let base = answers(&fixture(name), paths);
    assert!(base[0].0 == 200 && base[0].1.contains(expected), "{base:?}");
    assert_eq!(answers(&small.archive, paths), base);
}

#[test]
fn a_python_route_that_imports_late_works_unprobed() {
    let small = slim("exercise-python", &[]);
    assert_answers_unprobed("exercise-python", &small, &["/lazy", "/latin", "/"], "\"title\":\"May\"");
    for lazy in ["/app/reports/monthly.py", "/app/reports/curve.py", "/usr/lib/python3.11/sqlite3/__init__.py"] {
        assert_eq!(small.reasons(lazy)[0], "exercise:python", "{lazy}");
    }
    // What the run has used is the run's, whoever used it too.
    assert!(small.reasons("/app/app.py").contains(&"open"));
    let phases = small.summary["phases"].as_array().unwrap();
    assert!(phases.iter().any(|phase| phase["name"] == "exercise"), "{phases:?}");
    for tool in ["test", "idlelib", "lib2to3", "ensurepip", "unittest", "tkinter", "pydoc.py", "distutils"] {
        assert!(!small.has(&format!("/usr/lib/python3.11/{tool}")), "{tool} is there");
    }
    let bytes = small.summary["image"]["bytes"].as_u64().unwrap();
    assert!(bytes <= 36_000_000, "{bytes} bytes");
}

#[test]
fn without_its_exerciser_the_late_import_fails() {
    for chosen in ["none", "node,ruby"] {
        let small = slim("exercise-python", &["--exercise", chosen]);
        let answer = answers(&small.archive, &["/lazy"]);
        assert_eq!(answer[0].0, 500, "{answer:?}");
        assert!(small.summary["image"]["bytes"].as_u64().unwrap() <= 30_000_000, "{}", small.summary);
    }
}

/// With any drop nothing was repeated at all.
#[test]
fn what_a_drop_makes_fail_is_excused_and_named_and_the_rest_is_repeated() {
    let small = slim("exercise-python", &["--drop", "/app/reports/curve.py", "--drop", "/usr/share/doc/**"]);
    let told = |summary: &serde_json::Value| {
        let warnings = summary["warnings"].as_array().unwrap().iter().filter_map(serde_json::Value::as_str);
        warnings.filter(|warning| warning.contains("for want of what was dropped")).collect::<Vec<_>>().join("; ")
    };
    let expected = "exercise:python: 2 fail in the image, for want of what was dropped: \
                    file /app/reports/curve.py, module reports.curve";
    assert_eq!(told(&small.summary), expected);
    assert!(!small.has("/app/reports/curve.py") && small.has("/app/reports/monthly.py"));
    let unrelated = slim("exercise-python", &["--drop", "/usr/share/doc/**"]);
    assert_eq!(told(&unrelated.summary), "");
}

#[test]
fn a_node_route_that_requires_late_works_unprobed() {
    let small = slim("exercise-node", &[]);
    assert_answers_unprobed("exercise-node", &small, &["/lazy", "/"], "9 red blue true a note");
    let package = "/app/node_modules/.store/shapes";
    assert!(small.reasons(&format!("{package}/lib/numbers.js")).contains(&"exercise:node"));
    assert_eq!(small.reasons("/app/node_modules/shapes"), ["exercise:node"], "the link");
    assert!(!small.has(&format!("{package}/lib/unused.js")));
}

#[test]
fn a_ruby_route_that_requires_late_works_unprobed() {
    let small = slim("exercise-ruby", &[]);
    assert_answers_unprobed("exercise-ruby", &small, &["/lazy", "/"], "2d711642 9");
    assert_eq!(small.reasons("/app/shapes/square.rb"), ["exercise:ruby", "application:/app"]);
}

#[test]
fn a_virtual_machine_finds_what_it_loads_late() {
    let small = slim("exercise-jvm", &[]);
    assert_answers_unprobed("exercise-jvm", &small, &["/lazy", "/"], "good day +09:00 7 true");
    assert_eq!(small.reasons("/etc/ssl/certs/java/cacerts")[0], "exercise:jvm");
    let tree = small.image().tree;
    assert!(!tree.keys().any(|path| path.contains("scrimp-exercise")), "the exerciser's own class has shipped");
    let bare = slim("exercise-jvm", &["--exercise", "none"]);
    assert!(!bare.reasons("/etc/ssl/certs/java/cacerts").contains(&"exercise:jvm"));
}

#[test]
fn a_trace_says_what_only_an_exerciser_used_and_an_unknown_one_is_refused() {
    let env = Env::new().sharing_the_store();
    let (source, trace) = (env.source("exercise-node"), env.path("t.jsonl"));
    env.scrimp(&["trace", &source, "-o", &trace, "--http", "/"]).succeeds();
    let trace = std::fs::read_to_string(trace).unwrap();
    let note = trace.lines().find(|line| line.contains("\"/app/lib/note.txt\"")).unwrap();
    assert!(note.contains("\"first_probe\":\"exercise:node\""), "{note}");
    let refused = env.scrimp(&["trace", &source, "-o", "x", "--exercise", "perl"]).exits(2);
    assert!(refused.stderr.contains("hint: there are auto, none, python, node, ruby and jvm"), "{refused}");
}
