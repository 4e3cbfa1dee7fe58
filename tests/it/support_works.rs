//! The ground of the other tests: the images under test do what their recipes say, in a real runtime, and the harness
//! sees it.

use std::path::Path;

use crate::support::{Env, Image, Podman, Run, User, fixture};

#[test]
fn nginx_answers_with_the_pdf_and_a_redirect_to_another_host() {
    let podman = Podman::new();
    let nginx = podman.start(&podman.load(&fixture("nginx-cv")));

    let cv = nginx.get(8080, "/cv");
    assert_eq!((cv.status, cv.headers["content-type"].as_str()), (200, "application/pdf"));
    assert!(cv.body.starts_with(b"%PDF-1.4\n") && cv.body.ends_with(b"%%EOF\n"), "{} bytes", cv.body.len());

    let root = nginx.get(8080, "/");
    assert_eq!((root.status, root.headers["location"].as_str()), (302, "https://example.org/"));
    assert_eq!(nginx.stop().0, 0);
}

#[test]
fn python_answers_from_a_module_that_it_imports_late() {
    let podman = Podman::new();
    let python = podman.start(&podman.load(&fixture("python-hello")));
    assert_eq!(python.get(8000, "/").body, b"hello from python\n");
    assert_eq!(python.get(8000, "/report").headers["content-type"], "application/xml");
    assert_eq!(python.get(8000, "/pages/hidden.html").status, 200);
    assert_eq!(python.get(8000, "/nothing").status, 404);
}

#[test]
fn the_service_of_a_named_user_is_healthy_and_stops_by_its_signal() {
    let podman = Podman::new();
    let notes = podman.start(&podman.load(&fixture("nonroot")));
    assert_eq!(notes.get(8081, "/").body, b"app: Notes are kept here.\n");
    assert!(notes.is_healthy());
    assert_eq!(notes.stop(), (0, "notes: app listens on 8081\nnotes: stopped\n".to_owned()));
}

#[test]
fn hello_runs_with_each_kind_of_libc() {
    let podman = Podman::new();
    for name in ["c-hello-static", "c-hello-glibc", "c-hello-musl"] {
        let image = podman.load(&fixture(name));
        assert_eq!(podman.run(&image, &[]).succeeds().stdout, "hello, world\n", "{name}");
        assert_eq!(podman.run(&image, &["/hello", name]).succeeds().stdout, format!("hello, {name}\n"));
    }
}

#[test]
fn a_static_image_is_one_file() {
    let image = Image::read(&fixture("c-hello-static"));
    let lines: Vec<_> = image.tree.iter().map(|(path, line)| format!("{path}: {}", &line[..9])).collect();
    assert_eq!(lines, ["/hello: file 0755"]);
    assert_eq!(image.files, 1);
}

#[test]
fn the_tree_of_an_image_is_that_of_its_layers_together() {
    let image = Image::read(&fixture("nginx-cv"));
    for (path, line) in [
        ("/lib64", "symlink usr/lib64"),
        ("/usr/bin/perl5.36.0", "hardlink /usr/bin/perl"),
        ("/usr/bin/passwd", "file 4755"),
        ("/var/log/nginx", "dir 0755 0:4"),
        ("/var/log/nginx/access.log", "file 0640 empty 33:4"),
        ("/etc/nginx/sites-enabled/cv", "file 0644"),
    ] {
        let found = image.tree.get(path).unwrap_or_else(|| panic!("{path} is missing"));
        assert!(found.starts_with(line), "{path} is {found}");
    }
    for path in ["/usr/share/info", "/usr/share/info/dir", "/etc/nginx/sites-enabled/default", "/usr/share/.wh.info"] {
        assert!(!image.tree.contains_key(path), "{path} is there");
    }
    assert_eq!(image.config["Cmd"], serde_json::json!(["nginx", "-g", "daemon off;"]));
    assert!((200_000_000..300_000_000).contains(&image.bytes), "{} bytes", image.bytes);
}

#[test]
fn the_yardstick_of_nginx_is_in_its_image() {
    let image = Image::read(&fixture("nginx-cv"));
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nginx-cv/by-hand");
    let run = Env::new().run(list, &[fixture("nginx-cv").to_str().unwrap()]).succeeds();
    let missing: Vec<_> = run.stdout.lines().filter(|path| !image.tree.contains_key(*path)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let files = run.stdout.lines().filter(|path| image.tree[*path].starts_with("file ")).count();
    assert!(run.stderr.starts_with(&format!("{files} files, ")), "{files} files in the tree\n{run}");
}

#[test]
fn a_user_with_subordinate_ids_and_one_without_run_scrimp() {
    for user in [User::Subordinate, User::Single] {
        let env = Env::as_user(user);
        assert_eq!(env.run("id", &["-u"]).succeeds().stdout.trim(), user.account().uid.to_string());
        assert_eq!(env.run("id", &["-G"]).succeeds().stdout.trim(), user.account().gid.to_string());
        env.scrimp(&["--version"]).succeeds();
        let source = env.source("c-hello-static");
        let file = source.strip_prefix("docker-archive:").unwrap();
        env.run("cp", &[file, &env.path("copy.tar")]).succeeds();
        assert_eq!(Image::read(Path::new(&env.path("copy.tar"))).files, 1);
    }
}

#[test]
fn root_runs_scrimp_on_an_image_where_it_is() {
    let env = Env::new();
    env.scrimp(&["--version"]).succeeds();
    assert_eq!(env.source("c-hello-glibc"), format!("docker-archive:{}", fixture("c-hello-glibc").display()));
}

#[test]
fn a_run_that_fails_shows_what_it_said() {
    let run: Run = Env::new().run("sh", &["-c", "echo '{\"a\": 1}'; echo problem >&2; exit 3"]).exits(3);
    assert_eq!(run.json()["a"], 1);
    let text = run.to_string();
    assert!(text.contains("echo problem") && text.contains("exit status: 3") && text.ends_with("problem\n"), "{text}");
}
