//! Each format holds the same tree, can be read back, and is good enough for `verify`.

use std::path::Path;

use scrimp::base::Digest;
use serde_json::{Value, json};

use crate::assemble::{Storage, run};
use crate::support::{Env, Image, busybox, web_config};
use crate::trees::dir_as_text;

const FILES: [(&str, &str); 2] = [("/www/index.html", "a page\n"), ("/www/a", "a\n")];

/// Slims a web server into all formats, and returns the SOURCE it is made from and the summary.
fn slim_into_all(env: &Env) -> (String, serde_json::Value) {
    let source = busybox(env, "web", &web_config(), &FILES);
    let mut arguments =
        ["slim", &source, "--level", "closure", "--http", "/", "--format", "json"].map(String::from).to_vec();
    for (transport, name) in [
        ("docker-archive", "d.tar"),
        ("oci", "oci"),
        ("oci-archive", "o.tar"),
        ("rootfs", "root"),
        ("dockerfile", "context"),
    ] {
        arguments.extend(["-o".to_owned(), format!("{transport}:{}", env.path(name))]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let summary = env.scrimp(&arguments).succeeds().json();
    (source, summary)
}

#[test]
fn all_formats_hold_the_same_tree() {
    let env = Env::new();
    let (source, summary) = slim_into_all(&env);
    assert_eq!(summary["outputs"].as_array().unwrap().len(), 5);
    let image = Image::read(Path::new(&env.path("d.tar")));
    assert!(image.tree.contains_key("/www/index.html") && !image.tree.contains_key("/www/a"), "{:?}", image.tree);
    for (from, to) in [("oci", "oci.d.tar"), ("oci-archive", "o.d.tar")] {
        let what = if from == "oci" { "oci" } else { "o.tar" };
        let [from, to] = [format!("{from}:{}", env.path(what)), env.path(to)];
        run("skopeo", &["copy", "--quiet", "--insecure-policy", &from, &format!("docker-archive:{to}")]);
        let other = Image::read(Path::new(&to));
        assert_eq!(other.tree, image.tree, "{from}");
        assert_eq!(other.config, image.config, "{from}");
    }
    // A directory as the others' lines; its files belong to root as all do in this image.
    run("tar", &["--numeric-owner", "-C", &env.path("root"), "-cf", &env.path("root.tar"), "."]);
    assert_eq!(Image::tree_of(Path::new(&env.path("root.tar"))), image.tree);

    let listed = std::fs::read_to_string(env.path("context/files.txt")).unwrap();
    let listed: Vec<&str> = listed.lines().filter(|path| *path != "/").collect();
    assert_eq!(listed, image.tree.keys().collect::<Vec<_>>());
    let storage = Storage::new();
    storage.load(Path::new(source.strip_prefix("docker-archive:").unwrap()), "localhost/web:1");
    let (built, config) = storage.build(Path::new(&env.path("context")));
    let names: Vec<String> = built
        .iter()
        .map(|line| format!("/{}", line.split(": ").next().unwrap().trim_end_matches('/')))
        .filter(|path| path != "/")
        .collect();
    assert_eq!(names, listed);
    assert_eq!(config["config"]["Cmd"], image.config["Cmd"]);
}

#[test]
fn each_format_is_a_source_that_verify_accepts() {
    let env = Env::new();
    let (base, _) = slim_into_all(&env);
    let command = ["--", "httpd", "-f", "-p", "8080", "-h", "/www"];
    for (source, rest) in [
        (format!("docker-archive:{}", env.path("d.tar")), &[][..]),
        (format!("oci:{}", env.path("oci")), &[]),
        (format!("oci-archive:{}", env.path("o.tar")), &[]),
        // A directory has no config that could say it.
        (format!("rootfs:{}", env.path("root")), &[&["--set-env", "PATH=/bin"][..], &command].concat()[..]),
    ] {
        let arguments = [&["verify", &source, "--against", &base, "--http", "/", "--format", "json"], rest].concat();
        let verify = env.scrimp(&arguments).succeeds().json();
        assert_eq!(verify["verify"]["status"], "passed", "{source}: {verify}");
        assert_eq!(verify["probes"], serde_json::json!({"passed": 1, "failed": 0}), "{source}");
        env.scrimp(&["inspect", &source]).succeeds();
    }
}

#[test]
fn verify_shows_what_a_small_image_lacks() {
    let env = Env::new();
    let (base, _) = slim_into_all(&env);
    let before = dir_as_text(Path::new(&env.path("root")));
    assert!(before.iter().any(|line| line.starts_with("www/index.html: ")), "{before:?}");
    std::fs::remove_file(env.path("root/www/index.html")).unwrap();
    let source = format!("rootfs:{}", env.path("root"));
    let command = ["--set-env", "PATH=/bin", "--", "httpd", "-f", "-p", "8080", "-h", "/www"];
    let arguments = [&["verify", &source, "--against", &base, "--http", "/"], &command[..]].concat();
    let run = env.scrimp(&arguments).exits(1);
    for part in ["status", "base  200", "slim  404", "/www/index.html"] {
        assert!(run.stderr.contains(part), "{part}\n{run}");
    }
}

#[test]
fn a_drop_that_the_trace_contradicts_is_refused_and_a_forced_one_fails_the_verification() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &FILES);
    let [refused, failed, forced] = ["refused.tar", "failed.tar", "forced.tar"].map(|name| env.path(name));
    let slim = |out: &str, rest: &[&str]| {
        let destination = format!("docker-archive:{out}");
        env.scrimp(&[&["slim", &source, "--http", "/", "-o", &destination, "--drop", "/www/index.html"], rest].concat())
    };
    let run = slim(&refused, &[]).exits(2);
    assert!(run.stderr.contains("/www/index.html") && run.stderr.contains("hint:"), "{run}");
    // Verification would add the file again; it has to stay dropped, and the difference has to be told.
    let run = slim(&failed, &["--force-drop"]).exits(1);
    assert!(run.stderr.contains("base  200") && run.stderr.contains("slim  404"), "{run}");
    assert!(!Path::new(&refused).exists() && !Path::new(&failed).exists());

    let run = slim(&forced, &["--force-drop", "--no-verify"]).succeeds();
    assert!(run.stdout.contains("verify   not made"), "{run}");
    let small = format!("docker-archive:{forced}");
    let run = env.scrimp(&["verify", &small, "--against", &source, "--http", "/"]).exits(1);
    assert!(run.stderr.contains("base  200") && run.stderr.contains("slim  404"), "{run}");
}

#[test]
fn what_is_kept_by_request_is_there_with_its_parents() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &FILES);
    let out = env.path("out.tar");
    let destination = format!("docker-archive:{out}");
    env.scrimp(&["slim", &source, "--keep", "/etc/**", "-o", &destination, "--", "true"]).succeeds();
    let tree = Image::read(Path::new(&out)).tree;
    for path in ["/etc", "/etc/group", "/etc/passwd"] {
        assert!(tree.contains_key(path), "{path}: {tree:?}");
    }
    assert!(!tree.contains_key("/www/a"), "{tree:?}");
}

/// Who made an image, and from what, stands in annotations as often as in labels.
#[test]
fn annotations_stay_with_the_image() {
    let env = Env::new();
    let source = busybox(&env, "app", &json!({"Cmd": ["true"], "Env": ["PATH=/bin"]}), &[]);
    let slim = |source: &str, to: &str| env.scrimp(&["slim", source, "-o", to]).succeeds();
    slim(&source, "oci:first:1");
    let read = |path: &str| serde_json::from_slice::<Value>(&std::fs::read(env.path(path)).unwrap()).unwrap();
    let blob = |layout: &str, digest: &Value| {
        format!("{layout}/blobs/sha256/{}", digest.as_str().unwrap().trim_start_matches("sha256:"))
    };
    let mut index = read("first/index.json");
    let mut manifest = read(&blob("first", &index["manifests"][0]["digest"]));
    manifest["annotations"] = json!({
        "org.opencontainers.image.vendor": "V", "a.key": "ä", "org.opencontainers.image.base.name": "older", "b": 1
    });
    let bytes = manifest.to_string().into_bytes();
    index["manifests"][0]["digest"] = json!(Digest::of(&bytes).to_string());
    index["manifests"][0]["size"] = json!(bytes.len());
    std::fs::write(env.path(&blob("first", &index["manifests"][0]["digest"])), bytes).unwrap();
    std::fs::write(env.path("first/index.json"), index.to_string()).unwrap();
    for (to, layout) in [("oci:second", "second"), ("oci-archive:third.tar", "third")] {
        slim("oci:first:1", to);
        if layout == "third" {
            std::fs::create_dir(env.path("third")).unwrap();
            run("tar", &["-C", &env.path("third"), "-xf", &env.path("third.tar")]);
        }
        let index = read(&format!("{layout}/index.json"));
        let manifest = read(&blob(layout, &index["manifests"][0]["digest"]));
        assert_eq!(manifest["annotations"], json!({"a.key": "ä", "org.opencontainers.image.vendor": "V"}), "{to}");
    }
}
