//! Several scrimps at the same time, on one store: each finds what it would find alone.

use std::fs;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::support::{Env, User, busybox, web_config};

const RUNS: usize = 8;

/// Starts a slim that writes `NAME.tar`, `NAME` (a layout) and `NAME.lock` into one directory for all.
fn start(env: &Env, source: &str, name: &str) -> Child {
    let outputs = [format!("docker-archive:{name}.tar"), format!("oci:{name}"), format!("{name}.lock")];
    let arguments = [
        "slim",
        source,
        "--http",
        "/",
        "--format",
        "json",
        "-o",
        &outputs[0],
        "-o",
        &outputs[1],
        "--lock",
        &outputs[2],
    ];
    env.scrimp_command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The diff id of what it made.
fn end(child: Child, name: &str) -> String {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name}: {said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["verify"]["status"], "passed", "{name}: {summary}");
    summary["image"]["digest"].as_str().unwrap().to_owned()
}

fn image(env: &Env, number: usize) -> String {
    busybox(env, &format!("image-{number}"), &web_config(), &[("/www/index.html", &format!("page {number}\n"))])
}

/// Runs `sources` at once and compares with what each comes to alone. The store is empty before.
#[track_caller]
fn at_once_as_alone(env: &Env, sources: &[String], roots: usize) {
    let children: Vec<_> = (0..).zip(sources).map(|(n, source)| start(env, source, &format!("together-{n}"))).collect();
    let together: Vec<_> = children.into_iter().map(|child| end(child, "together")).collect();
    assert_eq!(env.leftovers(), Vec::<String>::new());
    assert_eq!(fs::read_dir(env.path("store/v2/roots")).unwrap().count(), roots);
    for (number, source) in sources.iter().enumerate() {
        let name = format!("alone-{number}");
        assert_eq!(end(start(env, source, &name), &name), together[number]);
        let read = |who: &str, file: &str| fs::read(env.path(&format!("{who}-{number}{file}"))).unwrap();
        for file in [".tar", ".lock", "/index.json"] {
            assert!(read("together", file) == read("alone", file), "{file} of {number}");
        }
    }
    assert_eq!(env.leftovers(), Vec::<String>::new());
    let hidden: Vec<_> = env.names().into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(hidden, Vec::<String>::new());
}

#[test]
fn eight_runs_of_one_image_on_one_store() {
    for env in [Env::new(), Env::as_user(User::Subordinate)] {
        let source = image(&env, 0);
        at_once_as_alone(&env, &vec![source; RUNS], 1);
    }
}

#[test]
fn eight_runs_of_different_images_on_one_store() {
    let env = Env::new();
    let sources: Vec<_> = (0..RUNS).map(|number| image(&env, number)).collect();
    at_once_as_alone(&env, &sources, RUNS);
}

#[test]
fn a_run_that_ends_takes_nothing_from_those_that_go_on() {
    let env = Env::new();
    let source = image(&env, 0);
    // Each start and each end sweeps, while the others make and remove scratch space.
    for round in 0..3 {
        let mut children: Vec<_> = (0..RUNS).map(|n| start(&env, &source, &format!("round-{round}-{n}"))).collect();
        for (number, child) in children.iter_mut().enumerate().filter(|(number, _)| number % 2 == 0) {
            child.kill().unwrap();
            child.wait().unwrap();
            let inspect = env.scrimp(&["inspect", &source]).succeeds();
            assert!(inspect.stdout.contains("busybox"), "{number}: {inspect}");
        }
        let survivors = children.into_iter().enumerate().filter(|(number, _)| number % 2 == 1);
        survivors.for_each(|(number, child)| drop(end(child, &format!("round {round}, run {number}"))));
    }
    env.scrimp(&["slim", &source, "--http", "/", "-o", "rootfs:last"]).succeeds();
    assert_eq!(env.leftovers(), Vec::<String>::new());
    let hidden: Vec<_> = env.names().into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(hidden, Vec::<String>::new());
}

#[test]
fn a_layout_that_several_write_to_has_an_image_of_each() {
    let env = Env::new();
    let source = image(&env, 0);
    env.scrimp(&["slim", &source, "--http", "/", "-o", "oci:layout:first"]).succeeds();
    let add = |n: usize| {
        let arguments = ["slim", &source, "--http", "/", "--format", "json", "-o", &format!("oci:layout:tag-{n}")];
        env.scrimp_command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..RUNS).map(add).collect();
    children.into_iter().for_each(|child| drop(end(child, "layout")));
    let index: Value = serde_json::from_slice(&fs::read(env.path("layout/index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), RUNS + 1, "{index}");
    let names =
        fs::read_dir(env.path("layout")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
}
