//! The main job on real images: what comes out answers as what went in, in another runtime too, and holds nothing that
//! is not needed and nothing that the run left.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::{Env, Image, Podman, Response, Small, User, by_hand, fixture};

const NGINX: [&str; 4] = ["--http", "/cv", "--http", "/"];

/// What a client sees, but for what the clock says.
fn essence(answer: Response) -> (u16, BTreeMap<String, String>, Vec<u8>) {
    let headers = answer.headers.into_iter().filter(|(name, _)| name != "date").collect();
    (answer.status, headers, answer.body)
}

/// The line of a path, of a further name of a file that of the first.
fn line<'a>(tree: &'a BTreeMap<String, String>, path: &str) -> Option<&'a str> {
    let line = tree.get(path)?;
    match line.strip_prefix("hardlink ") {
        Some(first) => self::line(tree, first),
        None => Some(line),
    }
}

/// Everything in the small image is in the base, with the same content, mode and owner, but for the list of its
/// packages: what the run wrote, made or mounted is not in it.
#[track_caller]
fn assert_part_of(small: &Image, base: &Image) {
    let strange: Vec<_> = small
        .tree
        .keys()
        .filter(|path| !path.starts_with("/var/lib/dpkg/status.d"))
        .filter(|path| line(&small.tree, path) != line(&base.tree, path))
        .map(|path| format!("{path}: {:?}, in the base {:?}", small.tree[path], base.tree.get(path)))
        .collect();
    assert!(strange.is_empty(), "{strange:#?}");
}

#[test]
fn nginx_made_small_answers_in_podman_as_the_base_does() {
    let small = Small::as_root("nginx-cv", &NGINX);
    let podman = Podman::new();
    let answers = |archive: &Path| {
        let service = podman.start(&podman.load(archive));
        let answers = ["/cv", "/"].map(|path| essence(service.get(8080, path)));
        assert_eq!(service.stop().0, 0, "{}", archive.display());
        answers
    };
    let [base, small] = [answers(&fixture("nginx-cv")), answers(&small.archive)];
    assert_eq!(small[0].1["content-type"], "application/pdf");
    assert_eq!((small[1].0, small[1].1["location"].as_str()), (302, "https://example.org/"));
    assert!(base == small, "{:?}\n{:?}", base.map(|a| (a.0, a.1)), small.map(|a| (a.0, a.1)));
}

#[test]
fn nginx_made_small_holds_what_it_needs_and_no_more() {
    let (small, base) = (Small::as_root("nginx-cv", &NGINX), Image::read(&fixture("nginx-cv")));
    let (data, small) = (small.summary["image"]["package_data"].clone(), small.image());
    assert_part_of(&small, &base);
    for name in ["sh", "bash", "dash", "busybox", "perl", "apt", "dpkg"] {
        for directory in ["/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin"] {
            let path = format!("{directory}/{name}");
            assert!(!small.tree.contains_key(&path), "{path} is there");
        }
    }
    for log in ["access.log", "error.log"] {
        assert_eq!(small.tree[&format!("/var/log/nginx/{log}")], "file 0640 empty 33:4");
    }
    let left = |path: &&String| {
        path.ends_with(".pid") || path.starts_with("/var/log/nginx/cv.") || path.starts_with("/var/lib/nginx/")
    };
    let left: Vec<_> = small.tree.keys().filter(left).collect();
    assert!(left.is_empty(), "of the run: {left:?}");

    let (files, bytes) = by_hand("nginx-cv");
    // Nobody copies package data and licences out of an image by hand.
    let data = |key: &str| data[key].as_u64().unwrap();
    let (small_bytes, small_files) = (small.bytes - data("bytes"), small.files as u64 - data("files"));
    assert!(small_bytes * 100 <= bytes * 101, "{small_bytes} bytes, by hand {bytes}");
    assert!(small_files * 10 <= files * 13, "{small_files} files, by hand {files}");
}

#[test]
fn an_ordinary_user_makes_the_image_that_root_makes() {
    let root = Small::as_root("nginx-cv", &NGINX);
    let user = Small::of(Env::as_user(User::Subordinate).sharing_the_store(), "nginx-cv", &NGINX);
    assert!(root.summary["image"]["diff_id"].as_str().unwrap().starts_with("sha256:"), "{}", root.summary);
    assert_eq!(root.summary["image"], user.summary["image"]);
    assert_eq!(root.image().tree, user.image().tree);
    assert_eq!(root.lock, user.lock);
    assert_eq!(std::fs::read(&root.archive).unwrap(), std::fs::read(&user.archive).unwrap());
}

#[test]
fn the_numbers_of_the_summary_are_those_of_the_images() {
    let (small, base) = (Small::as_root("nginx-cv", &NGINX), Image::read(&fixture("nginx-cv")));
    let image = small.image();
    for (key, image) in [("source", &base), ("image", &image)] {
        assert_eq!(small.summary[key]["bytes"], image.bytes, "{key}");
        assert_eq!(small.summary[key]["files"], image.files, "{key}");
    }
    assert_eq!(small.summary["probes"], serde_json::json!({"passed": 2, "failed": 0}));
    assert_eq!(small.lock.len(), image.tree.len() + 1, "a line for each path, and one for the root");
}

#[test]
fn at_level_observed_every_file_was_used() {
    const USES: [&str; 25] = [
        "open", "stat", "access", "exec", "load", "readlink", "chdir", "xattr", "watch", "truncate", "chmod", "chown",
        "utime", "bind", "connect", "rename", "link", "symlink", "unlink", "mkdir", "mknod", "mount", "traverse",
        "create", "write",
    ];
    for (name, arguments) in [("nginx-cv", &NGINX[..]), ("python-hello", &["--http", "/"])] {
        let small = Small::as_root(name, &[arguments, &["--level", "observed", "--no-package-db"]].concat());
        let mut files = 0;
        for entry in small.lock.iter().filter(|entry| entry["kind"] == "file") {
            let reasons: Vec<&str> = entry["reasons"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
            let good = |reason: &&str| {
                USES.contains(reason) || ["runtime", "exercise:python"].contains(reason) || reason.starts_with("link:")
            };
            assert!(reasons.iter().any(good), "{name}: {entry}");
            files += 1;
        }
        let image = small.image();
        assert_eq!(files, image.files, "{name}");
        assert_part_of(&image, &Image::read(&fixture(name)));
    }
}

#[test]
fn python_made_small_answers_on_the_routes_that_were_probed() {
    let small = Small::as_root("python-hello", &["--http", "/", "--http", "/report"]);
    assert_part_of(&small.image(), &Image::read(&fixture("python-hello")));
    assert!(!small.has("/usr/bin/sh"));
    let podman = Podman::new();
    let python = podman.start(&podman.load(&small.archive));
    assert_eq!(python.get(8000, "/").body, b"hello from python\n");
    let report = python.get(8000, "/report");
    assert_eq!((report.status, report.headers["content-type"].as_str()), (200, "application/xml"));
    assert!(String::from_utf8_lossy(&report.body).contains("<greeting>hello from python</greeting>"), "{report:?}");
}

#[test]
fn what_only_one_route_uses_is_there_only_when_it_was_probed() {
    let has_xml = |arguments: &[&str]| {
        let small = Small::as_root("python-hello", &[arguments, &["--exercise", "none"]].concat());
        small.image().tree.keys().any(|path| path.ends_with("/xml/etree/ElementTree.py"))
    };
    assert!(has_xml(&["--http", "/report"]));
    assert!(!has_xml(&["--http", "/"]));
}

#[test]
fn a_named_user_a_healthcheck_and_a_stop_signal_work_as_before() {
    let small = Small::as_root("nonroot", &[]);
    assert_part_of(&small.image(), &Image::read(&fixture("nonroot")));
    let podman = Podman::new();
    let notes = podman.start(&podman.load(&small.archive));
    assert_eq!(notes.get(8081, "/").body, b"app: Notes are kept here.\n");
    assert!(notes.is_healthy());
    assert_eq!(notes.stop(), (0, "notes: app listens on 8081\nnotes: stopped\n".to_owned()));
}

#[test]
fn the_config_stays_as_it_was() {
    for name in ["nonroot", "nginx-cv", "python-hello", "c-hello-musl"] {
        let (mut small, mut base) = (Small::as_root(name, &[]).image().config, Image::config_of(&fixture(name)));
        for config in [&mut small, &mut base] {
            let labels = config["Labels"].as_object().cloned().unwrap_or_default();
            let labels = labels.into_iter().filter(|(name, _)| !name.starts_with("org.opencontainers.image.base."));
            config["Labels"] = Value::Object(labels.collect());
            // Where nothing in the image says where root lives, the config does.
            let env = config["Env"].as_array().unwrap().iter().filter(|variable| *variable != "HOME=/root");
            config["Env"] = env.cloned().collect();
        }
        assert_eq!(small, base, "{name}");
    }
}

#[test]
fn hello_made_small_says_the_same_with_each_kind_of_libc() {
    let podman = Podman::new();
    for (name, files) in [("c-hello-static", 1), ("c-hello-glibc", 3), ("c-hello-musl", 2)] {
        let small = Small::as_root(name, &["--level", "observed", "--no-package-db"]);
        let image = podman.load(&small.archive);
        assert_eq!(podman.run(&image, &[]).succeeds().stdout, "hello, world\n", "{name}");
        assert_eq!(podman.run(&image, &["/hello", name]).succeeds().stdout, format!("hello, {name}\n"));
        let small = small.image();
        let paths: Vec<_> = small.tree.iter().filter(|(_, line)| line.starts_with("file ")).collect();
        // ld.so.cache and the like may come with a libc; a static program needs nothing.
        assert!(small.files <= files + if name == "c-hello-static" { 0 } else { 3 }, "{name}: {paths:?}");
        assert!(small.files >= files, "{name}: {paths:?}");
        assert_part_of(&small, &Image::read(&fixture(name)));
    }
}
