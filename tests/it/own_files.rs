//! What lies beside the application and is scrimp's own: the program, the store, what the run writes. And what lies
//! there and may not be read.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Env, Image, Run, User, busybox, web_config};

fn environments() -> [Env; 3] {
    [Env::new(), Env::as_user(User::Subordinate), Env::as_user(User::Single)]
}

/// A directory `app` with scrimp, its store and its outputs in it, and two files of an application.
fn everything_in_one_directory(env: &Env) {
    fs::create_dir(env.path("app")).unwrap();
    for (name, content) in [("data.txt", "data\n"), ("unused.txt", "unused\n"), ("run.lock", "old\n")] {
        fs::write(env.path(&format!("app/{name}")), content).unwrap();
        env.give(env.path(&format!("app/{name}")).as_ref());
    }
    fs::hard_link(env!("CARGO_BIN_EXE_scrimp"), env.path("app/scrimp"))
        .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_scrimp"), env.path("app/scrimp")).map(drop))
        .unwrap();
    env.give(env.path("app").as_ref());
}

fn slim(env: &Env, source: &str, options: &[&str], command: &[&str]) -> Run {
    let outputs = ["-o", "docker-archive:app/out.tar", "--trace", "app/run.jsonl", "--lock", "app/run.lock"];
    let words = [&["slim", source, "--store", "app/store"][..], &outputs, options, &["--"], command].concat();
    env.run(env.path("app/scrimp"), &words)
}

/// The names in `app` that an image has.
fn in_app(tree: &BTreeMap<String, String>, app: &str) -> Vec<String> {
    tree.keys().filter_map(|path| Some(path.strip_prefix(app)?.trim_start_matches('/').to_owned())).collect()
}

#[test]
fn what_is_scrimps_own_never_counts() {
    for env in environments() {
        everything_in_one_directory(&env);
        let script = "ls -lR app >/dev/null 2>&1; cat app/run.lock app/store/v2/lock >/dev/null 2>&1; cat app/data.txt";
        let run = slim(&env, "host", &[], &["/bin/sh", "-c", script]).succeeds();
        let app = env.path("app");
        let image = Image::read(Path::new(&env.path("app/out.tar")));
        // It stat'ed each name in there.
        assert_eq!(in_app(&image.tree, &app), ["", "data.txt", "unused.txt"], "{run}");
        for file in ["app/run.jsonl", "app/run.lock"] {
            let text = fs::read_to_string(env.path(file)).unwrap();
            let paths = text.lines().skip(1).filter(|line| {
                ["scrimp", "store", "out.tar", "run."].iter().any(|name| line.contains(&format!("{app}/{name}")))
            });
            assert_eq!(paths.collect::<Vec<_>>(), Vec::<&str>::new(), "{file}");
        }
        assert_eq!(env.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn a_directory_that_is_kept_is_kept_without_scrimps_own() {
    let env = Env::new();
    everything_in_one_directory(&env);
    let (app, keep) = (env.path("app"), format!("{}/**", env.path("app")));
    slim(&env, "host", &["--keep", &keep], &["/bin/cat", "app/data.txt"]).succeeds();
    let image = Image::read(Path::new(&env.path("app/out.tar")));
    assert_eq!(in_app(&image.tree, &app), ["", "data.txt", "unused.txt"]);
    // The same for a directory that is run, with a static program in it.
    fs::remove_file(env.path("app/out.tar")).unwrap();
    fs::copy("/bin/busybox", env.path("app/busybox")).unwrap();
    let source = format!("rootfs:{app}");
    slim(&env, &source, &["--keep", "/**"], &["/busybox", "cat", "/data.txt"]).succeeds();
    let image = Image::read(Path::new(&env.path("app/out.tar")));
    assert_eq!(in_app(&image.tree, ""), ["busybox", "data.txt", "unused.txt"]);
}

#[test]
fn a_scrimp_that_is_executed_is_part_of_the_application() {
    let env = Env::new();
    everything_in_one_directory(&env);
    slim(&env, "host", &[], &["app/scrimp", "--version"]).succeeds();
    let image = Image::read(Path::new(&env.path("app/out.tar")));
    assert_eq!(in_app(&image.tree, &env.path("app")), ["", "scrimp"]);
}

#[test]
fn files_that_this_user_may_not_read_are_named() {
    for env in [Env::as_user(User::Subordinate), Env::as_user(User::Single)] {
        let dir = env.path("dir");
        fs::create_dir(&dir).unwrap();
        for number in 10..35 {
            fs::write(format!("{dir}/secret-{number}"), "").unwrap();
            fs::set_permissions(format!("{dir}/secret-{number}"), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let script = "ls -l dir >/dev/null 2>&1; cat dir/secret-10 2>/dev/null; echo done";
        let arguments = ["slim", "host", "-o", "docker-archive:out.tar"];
        let command = ["--", "/bin/sh", "-c", script];
        let run = env.scrimp(&[&arguments[..], &command].concat()).exits(2);
        assert!(
            run.stderr.starts_with("error: 25 paths that the image is to have cannot be read by this user:\n"),
            "{run}"
        );
        assert!(run.stderr.contains(&format!("  {dir}/secret-10: Permission denied")), "{run}");
        assert!(run.stderr.contains("  and 5 more\nhint: run scrimp as root, or"), "{run}");
        assert!(!Path::new(&env.path("out.tar")).exists());
        let drop = format!("{dir}/secret-*");
        env.scrimp(&[&arguments[..], &["--drop", &drop, "--force-drop"], &command].concat()).succeeds();
        let image = Image::read(Path::new(&env.path("out.tar")));
        assert_eq!(in_app(&image.tree, &dir), [""]);
    }
}

/// A unit may have a password in it. Whether it starts what ran was once a reason to end.
#[test]
fn what_starts_services_need_not_be_readable() {
    for env in [Env::as_user(User::Subordinate), Env::as_user(User::Single)] {
        let root = env.path("root");
        fs::create_dir_all(format!("{root}/etc/init.d")).unwrap();
        fs::copy("/bin/busybox", format!("{root}/busybox")).unwrap();
        fs::write(format!("{root}/etc/init.d/closed"), "DAEMON=/busybox\n").unwrap();
        fs::set_permissions(format!("{root}/etc/init.d/closed"), fs::Permissions::from_mode(0o600)).unwrap();
        let source = format!("rootfs:{root}");
        let arguments = ["slim", &source, "-o", "docker-archive:out.tar", "--", "/busybox", "true"];
        env.scrimp(&arguments).succeeds();
        assert!(!Image::read(Path::new(&env.path("out.tar"))).tree.contains_key("/etc/init.d/closed"));
    }
}

#[test]
fn a_warning_is_said_once_and_only_when_it_matters() {
    let env = Env::as_user(User::Single);
    let user = User::Single.account();
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    let root = env.path("root");
    fs::create_dir_all(format!("{root}/etc")).unwrap();
    fs::create_dir_all(format!("{root}/secret/mount")).unwrap();
    fs::copy("/bin/busybox", format!("{root}/busybox")).unwrap();
    fs::set_permissions(format!("{root}/secret"), fs::Permissions::from_mode(0o700)).unwrap();
    // A mount that this user may not find makes its directory one that cannot be listed.
    let script = "mount -t tmpfs none root/secret/mount && user=$1 group=$2 && shift 2 && \
                  exec setpriv --reuid $user --regid $group --clear-groups \"$@\"";
    let run = |command: &[&str]| {
        let source = format!("rootfs:{root}");
        let scrimp =
            [env.path("scrimp"), "slim".into(), source, "-o".into(), "docker-archive:out.tar".into(), "--".into()];
        let mut words = vec!["-m", "sh", "-c", script, "sh", &uid, &gid];
        words.extend(scrimp.iter().map(String::as_str).chain(command.iter().copied()));
        let mut shell = Env::command(&env, "unshare", &words);
        std::os::unix::process::CommandExt::uid(&mut shell, 0);
        std::os::unix::process::CommandExt::gid(&mut shell, 0);
        Run::of(shell)
    };
    let quiet = run(&["/busybox", "true"]).succeeds();
    let of = |run: &Run, what: &str| run.stderr.lines().filter(|line| line.contains(what)).count();
    assert_eq!(of(&quiet, "secret"), 0, "{quiet}");
    assert!(of(&quiet, "/etc/hosts") <= 1 && of(&quiet, "/etc/hostname") <= 1, "{quiet}");
    let mut lines: Vec<&str> = quiet.stderr.lines().collect();
    lines.dedup();
    assert_eq!(lines.len(), quiet.stderr.lines().count(), "{quiet}");
    fs::remove_file(env.path("out.tar")).unwrap();
    let told = run(&["/busybox", "sh", "-c", "/busybox ls /secret >/dev/null 2>&1; true"]);
    assert_eq!(of(&told, &format!("may not list {root}/secret, where the application looked")), 1, "{told}");
}

#[test]
fn no_file_is_written_twice_or_read_and_written() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &[("/www/index.html", "a page\n")]);
    fs::write(env.path("mine"), "mine\n").unwrap();
    std::os::unix::fs::symlink("mine", env.path("link")).unwrap();
    fs::create_dir(env.path("dir")).unwrap();
    let names = env.names();
    let slim = ["slim", &source, "--http", "/"];
    for (options, said) in [
        (&["--trace", "x", "--lock", "x"][..], "trace:x and lock:x are the same place"),
        (&["--trace", "mine", "--lock", "link"], "trace:mine and lock:link are the same place"),
        (&["--trace", "x", "--lock", "dir/../x"], "trace:x and lock:dir/../x are the same place"),
        (&["-o", "docker-archive:x", "--lock", "./x"], "x and lock:./x are the same place"),
        (&["-o", "rootfs:x", "--trace", "x"], "x and trace:x are the same place"),
        (&["--lock", "web.tar"], "web.tar and lock:web.tar are the same place"),
        (&["--lock", "/dev/null"], "cannot write /dev/null: it is not a regular file"),
    ] {
        let run = env.scrimp(&[&slim[..], options].concat()).exits(2);
        assert!(run.stderr.contains(said), "{options:?}: {run}");
    }
    let run = env.scrimp(&["trace", &source, "--http", "/", "-o", "web.tar"]).exits(2);
    assert!(run.stderr.contains("are the same place"), "{run}");
    let mut after = env.names();
    after.retain(|name| name != "store");
    assert_eq!(after, names);
    assert_eq!(fs::read_to_string(env.path("mine")).unwrap(), "mine\n");
    // What exists is replaced, through a link too, and nothing stays beside it.
    env.scrimp(&[&slim[..], &["--trace", "run.jsonl", "--lock", "link"]].concat()).succeeds();
    assert!(fs::read_to_string(env.path("mine")).unwrap().starts_with('{'));
    assert!(fs::symlink_metadata(env.path("link")).unwrap().is_symlink());
    let run = env.scrimp(&["build", &source, "--trace", "run.jsonl", "--lock", "run.jsonl"]).exits(2);
    assert!(run.stderr.contains("run.jsonl and lock:run.jsonl are the same place"), "{run}");
    assert_eq!(env.names(), ["dir", "link", "mine", "run.jsonl", "store", "web.tar"]);
}
