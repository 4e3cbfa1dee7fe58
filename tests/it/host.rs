//! Filesystems that are no images: the machine's own, and directories.

use std::fs;
use std::path::Path;

use crate::support::{Env, Image, Podman, User, fixture};

fn environments() -> [Env; 3] {
    [Env::new(), Env::as_user(User::Subordinate), Env::as_user(User::Single)]
}

#[test]
fn a_command_of_this_machine_becomes_a_directory_and_an_image() {
    for env in environments() {
        let arguments = ["slim", "host", "-o", "rootfs:root", "-o", "docker-archive:out.tar", "--format", "json"];
        let command = ["--", "/bin/echo", "hello from the host"];
        let summary = env.scrimp(&[&arguments[..], &command].concat()).succeeds().json();
        assert_eq!(summary["source"], serde_json::Value::Null, "it is not measured");
        assert_eq!(summary["verify"]["status"], "passed", "{summary}");
        let image = Image::read(Path::new(&env.path("out.tar")));
        assert!(image.tree.contains_key("/usr/bin/echo"), "{:?}", image.tree);
        assert!(Path::new(&env.path("root/usr/bin/echo")).exists());
        // The directory that it ran in is the caller's, everything else is root's.
        let foreign: Vec<_> = image.tree.iter().filter(|(_, line)| line.contains(':')).map(|(path, _)| path).collect();
        assert!(foreign.iter().all(|path| *path == env.dir().to_str().unwrap()), "{foreign:?}");
        let podman = Podman::new();
        let run = podman.run(&podman.load(Path::new(&env.path("out.tar"))), &[]).succeeds();
        assert_eq!(run.stdout, "hello from the host\n");
        assert_eq!(env.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn a_server_of_this_machine_becomes_an_image() {
    for env in environments() {
        let site = env.path("site");
        fs::create_dir(&site).unwrap();
        fs::write(env.path("site/index.html"), "a page of the host\n").unwrap();
        fs::write(env.path("site/other.html"), "another page\n").unwrap();
        let command = ["--", "python3", "-m", "http.server", "8000", "--directory", &site];
        let arguments = ["slim", "host", "--http", "/", "-o", "docker-archive:out.tar", "--format", "json"];
        let summary = env.scrimp(&[&arguments[..], &command].concat()).succeeds().json();
        assert_eq!(summary["verify"]["status"], "passed", "{summary}");
        let image = Image::read(Path::new(&env.path("out.tar")));
        assert!(image.tree.contains_key(&format!("{site}/index.html")));
        assert!(!image.tree.contains_key(&format!("{site}/other.html")));
        assert!(
            image.tree.keys().all(|path| !path.starts_with("/proc/") && !path.starts_with("/sys/")),
            "{:?}",
            image.tree
        );
        let podman = Podman::new();
        let server = podman.start(&podman.load(Path::new(&env.path("out.tar"))));
        assert_eq!(server.get(8000, "/").body, b"a page of the host\n");
        drop(server);
        assert_eq!(env.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn what_a_command_writes_does_not_reach_this_machine() {
    for env in environments() {
        let file = env.path("written");
        let script = format!("echo x > {file}; mkdir {file}.d; test -s {file}; : > {}", env.path("kept"));
        fs::write(env.path("kept"), "content\n").unwrap();
        env.give(env.path("kept").as_ref());
        env.scrimp(&["slim", "host", "-o", "docker-archive:out.tar", "--", "/bin/sh", "-c", &script]).succeeds();
        assert!(!Path::new(&file).exists() && !Path::new(&format!("{file}.d")).exists());
        assert_eq!(fs::read_to_string(env.path("kept")).unwrap(), "content\n");
        let image = Image::read(Path::new(&env.path("out.tar")));
        assert!(!image.tree.contains_key(&file), "{:?}", image.tree);
    }
}

/// Unpacks an image with another program than scrimp.
fn unpack(env: &Env, name: &str) -> String {
    let root = env.path(name);
    let script = "import sys, pathlib; sys.path.insert(0, sys.argv[1]); sys.dont_write_bytecode = True; import archive; \
                  pathlib.Path(sys.argv[3]).mkdir(); archive.unpack(sys.argv[2], pathlib.Path(sys.argv[3]))";
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let file = fixture(name);
    Env::new().run("python3", &["-c", script, fixtures.to_str().unwrap(), file.to_str().unwrap(), &root]).succeeds();
    root
}

#[test]
fn a_directory_is_run_as_the_image_it_was() {
    let env = Env::new();
    let root = unpack(&env, "nonroot");
    let source = format!("rootfs:{root}");
    let options =
        ["-u", "app", "-w", "/srv/app", "--set-env", "NOTES_DIR=/data", "--stop-signal", "SIGINT", "--http", "/"];
    let arguments =
        [&["slim", &source, "--no-package-db", "-o", "docker-archive:out.tar", "--format", "json"], &options[..]]
            .concat();
    let summary = env.scrimp(&[&arguments[..], &["--", "notes", "greeting.txt"]].concat()).succeeds().json();
    assert_eq!(summary["verify"]["status"], "passed", "{summary}");
    let (image, base) = (Image::read(Path::new(&env.path("out.tar"))), Image::read(&fixture("nonroot")));
    for (path, line) in &image.tree {
        assert_eq!(Some(line), base.tree.get(path), "{path}");
    }
    assert!(!Path::new(&format!("{root}/data/visits")).exists());
    let podman = Podman::new();
    let notes = podman.start(&podman.load(Path::new(&env.path("out.tar"))));
    assert_eq!(notes.get(8081, "/").body, b"app: Notes are kept here.\n");
}

#[test]
fn a_directory_of_one_program_is_run_by_ordinary_users() {
    for env in environments() {
        let root = unpack(&env, "c-hello-static");
        let source = format!("rootfs:{root}");
        let arguments = ["slim", &source, "-o", "docker-archive:out.tar", "--", "/hello", "directory"];
        env.scrimp(&arguments).succeeds();
        assert_eq!(Image::read(Path::new(&env.path("out.tar"))).files, 1);
        let podman = Podman::new();
        let run = podman.run(&podman.load(Path::new(&env.path("out.tar"))), &[]).succeeds();
        assert_eq!(run.stdout, "hello, directory\n");
    }
}
