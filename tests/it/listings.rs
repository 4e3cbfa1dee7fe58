//! Commands that list directories: a name that is only seen is an answer like any other.

use std::path::Path;

use serde_json::json;

use crate::support::{Env, Image, Layer, Node, Podman};

fn image(env: &Env) -> String {
    let busybox = std::fs::read("/bin/busybox").expect("busybox\nhint: scripts/test installs it");
    let mut layer = Layer::new().add("bin", Node::dir(0o755)).add("bin/busybox", Node::file(0o755, busybox));
    for applet in ["ls", "sh", "cat", "rm"] {
        layer = layer.add(format!("bin/{applet}"), Node::link("busybox"));
    }
    layer = layer.add("shown", Node::dir(0o755)).add("shown/dir", Node::dir(0o1750).owned(3, 4));
    layer = layer
        .add("shown/file", Node::file(0o640, "content").owned(1, 2))
        .add("shown/fifo", Node::fifo(0o604))
        .add("shown/link", Node::link("nowhere"));
    layer.image(env, "shown", &json!({"Env": ["PATH=/bin"]}))
}

/// Runs `slim` for a command, and says where the result is.
fn slim(env: &Env, name: &str, command: &[&str]) -> (crate::support::Run, String) {
    let (source, out) = (image(env), env.path(&format!("{name}.tar")));
    let output = format!("docker-archive:{out}:localhost/{name}:small");
    let fixed = ["slim", &source, "-o", &output, "--level", "closure", "--"];
    (env.scrimp(&[&fixed, command].concat()), out)
}

#[test]
fn what_a_listing_looks_at_is_there() {
    let (env, podman) = (Env::new(), Podman::new());
    let command = ["/bin/ls", "-l", "/shown"];
    let (run, small) = slim(&env, "looked", &command);
    run.succeeds();
    let names: Vec<String> =
        Image::read(Path::new(&small)).tree.into_keys().filter(|path| path.starts_with("/shown/")).collect();
    assert_eq!(names, ["/shown/dir", "/shown/fifo", "/shown/file", "/shown/link"]);
    let base = env.path("shown.tar");
    let [before, after] =
        [&base, &small].map(|archive| podman.run(&podman.load(Path::new(archive)), &command).succeeds().stdout);
    assert_eq!(before, after);
}

#[test]
fn a_listing_with_fewer_names_is_another_answer() {
    let env = Env::new();
    let (run, small) = slim(&env, "seen", &["/bin/sh", "-c", "echo /shown/*"]);
    let run = run.exits(1);
    assert!(run.stderr.contains("run: stdout"), "{run}");
    assert!(!Path::new(&small).exists());
}

#[test]
fn a_path_that_is_added_says_which_lookup_asked_for_it() {
    let env = Env::new();
    // The base has four names there and the small image none, so only there somebody asks for the link.
    let script = "set -- /shown/*; [ $# = 4 ] || [ -L /shown/link ]; echo the same";
    let (run, small) = slim(&env, "added", &["/bin/sh", "-c", script]);
    let run = run.succeeds();
    let said = "warning: /shown/link was added, which the small image missed: stat by /bin/busybox";
    assert!(run.stderr.contains(said) && run.stdout.contains("after 1 missing path was added"), "{run}");
    let image = Image::read(Path::new(&small));
    let kept: Vec<&String> = image.tree.keys().filter(|path| path.starts_with("/shown/")).collect();
    assert_eq!(kept, ["/shown/link"]);
}

#[test]
fn what_could_not_be_compared_is_said_and_the_rest_is_compared() {
    let env = Env::new();
    // The number is another one in each run.
    let number = "cat /proc/sys/kernel/random/uuid";
    let (run, _) = slim(&env, "unstable", &["/bin/sh", "-c", &format!("{number}; echo the same")]);
    let run = run.succeeds();
    let note = "stdout of run: two runs of the source differ in parts of it, which say nothing of the image";
    assert!(run.stderr.contains(note), "{run}");
    // The names beside it are those of files that are lost.
    let (run, small) = slim(&env, "lost", &["/bin/sh", "-c", &format!("{number}; echo /shown/*")]);
    let run = run.exits(1);
    assert!(
        run.stderr.contains("run: stdout") && run.stderr.contains("six runs of the source have \"/shown/"),
        "{run}"
    );
    assert!(!Path::new(&small).exists());
}
