//! A command that runs in place, on this machine's own files, without anything between it and them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::support::{Env, User};

/// What the command does with the files beside it: each is used, so that each ships.
pub const SCRIPT: &str = r#"set -e
cd "$1"
echo rewritten > rewritten
echo more >> appended
: > truncated
chmod 600 modes
touch -d 2020-02-02 times
mv moved moved.away; echo x >> moved.away
rm deleted
mv tree tree.away; echo x > tree.away/leaf; echo x > tree.away/new
ln linked linked.too; echo x > linked.too
rm link; ln -s nowhere link
echo x > twin.one
echo x > created; mkdir created.dir; echo x > created.dir/file; ln -s created created.link
cat untouched twin.two created created.dir/file > /dev/null
"#;

const FILES: [&str; 13] = [
    "rewritten",
    "appended",
    "truncated",
    "modes",
    "times",
    "moved",
    "deleted",
    "tree/leaf",
    "tree/other",
    "linked",
    "twin.one",
    "untouched",
    "target",
];

/// A directory of files with times that nothing made now can have.
pub fn make(dir: &Path) {
    fs::create_dir_all(dir.join("tree")).unwrap();
    for name in FILES {
        fs::write(dir.join(name), format!("the base's {name}\n")).unwrap();
        fs::set_permissions(dir.join(name), Permissions::from_mode(0o640)).unwrap();
    }
    fs::hard_link(dir.join("twin.one"), dir.join("twin.two")).unwrap();
    std::os::unix::fs::symlink("target", dir.join("link")).unwrap();
    let mut touch = Command::new("find");
    touch.arg(dir).args(["-exec", "touch", "-h", "-d", "2001-02-03 04:05:06", "{}", "+"]);
    assert!(touch.status().expect("find is missing: install findutils").success());
}

/// One line per path below `dir`.
fn lines(dir: &Path) -> Vec<String> {
    let (mut out, mut pending) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = pending.pop() {
        let meta = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        if meta.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let content = match meta.is_file() {
            true => fs::read_to_string(&path).unwrap(),
            false => fs::read_link(&path).map(|target| target.display().to_string()).unwrap_or_default(),
        };
        out.push(format!("{name} {:o} {} {content:?}", meta.mode(), meta.mtime()));
    }
    out.sort();
    out
}

#[test]
fn what_is_changed_in_place_ships_as_it_was() {
    let env = Env::new();
    let files = env.dir().join("files");
    make(&files);
    let before = lines(&files);
    let script = env.path("script");
    fs::write(&script, SCRIPT).unwrap();
    let arguments = ["slim", "host", "--sandbox", "e", "--no-verify", "-o", "rootfs:root", "--"];
    env.scrimp(&[&arguments[..], &["/bin/sh", &script, files.to_str().unwrap()]].concat()).succeeds();
    // It ran in place.
    assert_eq!(fs::read_to_string(files.join("rewritten")).unwrap(), "rewritten\n");
    assert!(files.join("created.dir/file").exists());
    let shipped = env.dir().join("root").join(files.strip_prefix("/").unwrap());
    assert_eq!(lines(&shipped), before);
    assert_eq!(env.leftovers(), Vec::<String>::new());
}

/// Nobody but root may set groups, and for a while that was a warning about the groups that were to stay.
#[test]
fn in_place_the_groups_are_the_callers_and_that_deserves_no_word() {
    let env = Env::as_user(User::Single);
    let slim = ["slim", "host", "--sandbox", "e", "--no-verify", "-o", "rootfs:root", "--", "id"];
    let said = env.scrimp(&slim).succeeds();
    assert!(!said.stderr.contains("groups"), "{said}");
}

/// Without rights over it nobody can read what such a program names; for a while that passed for a path that the kernel
/// could not read either, and what it used was silently missing.
#[test]
fn a_program_that_is_closed_to_its_tracer_is_said_to_be() {
    let env = Env::as_user(User::Single);
    let slim = ["slim", "host", "--sandbox", "e", "--no-verify", "--format", "json", "-o", "rootfs:root", "--"];
    let closed = "import ctypes, sys\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\nopen(sys.argv[1], sys.argv[2])";
    fs::write(env.path("file"), "x").unwrap();
    env.give(Path::new(&env.path("file")));
    let run = |mode| env.scrimp(&[&slim[..], &["python3", "-c", closed, &env.path("file"), mode]].concat());
    let said = run("r").succeeds();
    assert!(said.stderr.contains("is closed to its tracer, so which files it uses is not known"), "{said}");
    // What it changes could not be saved.
    fs::remove_dir_all(env.dir().join("root")).unwrap();
    let said = run("a").exits(2);
    assert!(said.stderr.contains("is closed to its tracer\nhint: run scrimp as root"), "{said}");
    // One that is executed and not read.
    let program = env.path("unreadable");
    fs::copy("/bin/busybox", &program).expect("install busybox-static");
    fs::set_permissions(&program, Permissions::from_mode(0o711)).unwrap();
    let said = env.scrimp(&[&slim[..], &[&program, "cat", &env.path("file")]].concat());
    assert!(said.stderr.contains("is closed to its tracer, so which files it uses is not known"), "{said}");
    assert_eq!(env.leftovers(), Vec::<String>::new());
}

#[test]
fn doing_without_verification_is_no_advice_where_the_source_cannot_be_run() {
    let env = Env::as_user(User::Single).sharing_the_store();
    let (source, small) = (env.source("c-hello-static"), format!("docker-archive:{}", env.path("small.tar")));
    let run = env.scrimp(&["slim", &source, "-o", &small, "--sandbox", "e"]).exits(2);
    assert!(run.stderr.contains("cannot be run in place"), "{run}");
    assert!(!run.stderr.contains("--no-verify"), "{run}");
}
