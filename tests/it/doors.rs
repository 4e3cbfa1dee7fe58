//! Links of an image that lead through `/proc` to files of a process: `/proc/PID/root` and `/proc/self/fd/N` are doors
//! to the machine for whoever follows them with scrimp's rights. Mount points, working directories and commands are
//! looked up in hostile trees, and a directory of the machine shows whether anything has come out of them.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::{Env, Run, User};

/// All that contain a tree.
const RUNGS: [&str; 4] = ["a", "b", "c", "d"];

/// What is mounted without being asked for, and is no loss: three ways to try at once.
const GENERATED: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// The descriptors that scrimp's helpers may have.
const DESCRIPTORS: Range<u32> = 3..24;

/// The content of the file of the machine.
const SECRET: &str = "of the machine";

fn users() -> [(&'static str, Env); 3] {
    [
        ("root", Env::new()),
        ("subordinate ids", Env::as_user(User::Subordinate)),
        ("a single id", Env::as_user(User::Single)),
    ]
}

/// A directory of the machine, writable for whoever runs scrimp.
struct Canary(String);

impl Canary {
    fn new(env: &Env) -> Self {
        let path = env.path("canary");
        fs::create_dir(&path).unwrap();
        fs::write(env.path("canary/secret"), SECRET).unwrap();
        fs::copy("/bin/busybox", env.path("canary/busybox")).expect("busybox\nhint: scripts/test installs it");
        for file in ["canary/secret", "canary/busybox", "canary"] {
            env.give(Path::new(&env.path(file)));
        }
        Self(path)
    }

    /// The way there from a directory of the machine that a helper has open, wherever that is.
    fn by_descriptor(&self, number: u32) -> String {
        format!("/proc/self/fd/{number}/{}{}", "../".repeat(16), self.0.trim_start_matches('/'))
    }

    /// Nothing has come out, and nothing was seen.
    #[track_caller]
    fn assert_untouched(&self, what: &str, run: &Run) {
        let mut names: Vec<String> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["busybox", "secret"], "{what}: {run}");
        assert!(!run.stdout.contains(SECRET) && !run.stderr.contains(SECRET), "{what}: {run}");
    }
}

/// A tree with busybox and links, new each time.
fn tree(env: &Env, links: &[(&str, &str)]) -> String {
    let root = env.path("root");
    if Path::new(&root).exists() {
        fs::remove_dir_all(&root).unwrap();
    }
    let at = |path: &str| Path::new(&root).join(path);
    for directory in ["", "bin", "etc"] {
        fs::create_dir(at(directory)).unwrap();
    }
    fs::copy("/bin/busybox", at("bin/busybox")).expect("busybox\nhint: scripts/test installs it");
    for applet in ["cat", "sh", "true"] {
        symlink("busybox", at("bin").join(applet)).unwrap();
    }
    fs::write(at("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    for (path, target) in links {
        symlink(target, at(path)).unwrap();
    }
    env.give(Path::new(&root));
    format!("rootfs:{root}")
}

fn trace(env: &Env, rung: &str, source: &str, options: &[&str], command: &[&str]) -> Run {
    let fixed = ["trace", source, "-o", "out.trace", "--sandbox", rung];
    env.scrimp(&[&fixed, options, &["--"], command].concat())
}

#[test]
fn mount_points_lead_to_no_descriptor_of_a_helper() {
    for (who, env) in users() {
        let canary = Canary::new(&env);
        for first in DESCRIPTORS.step_by(GENERATED.len()) {
            let mut links = Vec::new();
            for (number, name) in (first..).zip(GENERATED) {
                links.push((format!("door{number}"), canary.by_descriptor(number)));
                links.push((format!("etc/{name}"), format!("/door{number}/made")));
            }
            let links: Vec<_> = links.iter().map(|(path, target)| (&path[..], &target[..])).collect();
            let source = tree(&env, &links);
            for rung in RUNGS {
                let run = trace(&env, rung, &source, &[], &["/bin/true"]);
                canary.assert_untouched(&format!("{who} on {rung}, from {first}"), &run);
                assert!(run.succeeded(), "{who} on {rung}: {run}");
            }
        }
    }
}

/// What the user asks for is required, and so are working directories and commands.
#[test]
fn nothing_that_is_asked_for_leads_to_a_descriptor_of_a_helper() {
    for (who, env) in users() {
        let canary = Canary::new(&env);
        let shown = env.path("shown");
        fs::create_dir(&shown).unwrap();
        env.give(Path::new(&shown));
        for number in DESCRIPTORS {
            let source = tree(&env, &[("door", &canary.by_descriptor(number))]);
            let volume = format!("{shown}:/door/volume");
            for (options, command) in [
                (&["-w", "/door"][..], &["/bin/cat", "secret"][..]),
                (&["-w", "/door/made"], &["/bin/true"]),
                (&["--tmpfs", "/door/made"], &["/bin/true"]),
                (&["-v", &volume], &["/bin/true"]),
                (&[], &["/door/busybox", "true"]),
            ] {
                let run = trace(&env, "c", &source, options, command);
                canary.assert_untouched(&format!("{who}, {number}, {options:?} {command:?}"), &run);
                assert!(!run.succeeded(), "{who}, {number}, {options:?} {command:?}: {run}");
            }
        }
    }
}

/// Scrimp itself is outside, and in a user namespace with its helpers it is open to them.
#[test]
fn no_way_leads_through_the_root_of_another_process() {
    for (who, env) in users() {
        let canary = Canary::new(&env);
        for rung in RUNGS {
            let source = tree(&env, &[("etc/hosts", "/door/hosts"), ("etc/hostname", "/host/hostname")]);
            // The links are made by the process that becomes scrimp.
            let script = "ln -s /proc/$$/root$1 root/door; ln -s /proc/1/root$1 root/host; shift; exec \"$@\"";
            let scrimp = env.scrimp_command(&[]);
            let scrimp = scrimp.get_program().to_str().unwrap();
            let run = |rest: &[&str]| {
                let fixed =
                    ["-c", script, "sh", &canary.0, scrimp, "trace", &source, "-o", "out.trace", "--sandbox", rung];
                let run = env.run("/bin/sh", &[&fixed, rest].concat());
                fs::remove_file(env.path("root/door")).unwrap();
                fs::remove_file(env.path("root/host")).unwrap();
                run
            };
            canary.assert_untouched(&format!("{who} on {rung}"), &run(&["--", "/bin/true"]));
            for door in ["/door", "/host"] {
                let run = run(&["-w", door, "--", "/bin/cat", "secret"]);
                canary.assert_untouched(&format!("{who} on {rung}, directory {door}"), &run);
            }
        }
    }
}

/// The kernel looks for the interpreter of a script while the process is still scrimp: `/proc/self/exe` was its binary,
/// executed in sight of the application.
#[test]
fn no_script_is_interpreted_by_scrimp() {
    for (who, env) in users() {
        for rung in RUNGS {
            let source = tree(&env, &[("link", "/proc/self/exe")]);
            for (name, interpreter) in [("script", "/proc/self/exe"), ("linked", "/link"), ("nested", "/script")] {
                let path = env.path(&format!("root/{name}"));
                fs::write(&path, format!("#!{interpreter}\n")).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
                let run = trace(&env, rung, &source, &[], &[&format!("/{name}")]);
                // Without namespaces there is no `/proc`.
                let told = rung == "d" || run.stderr.contains("or its interpreter, leads through links");
                assert!(!run.succeeded() && told, "{who} on {rung}, {name}: {run}");
            }
        }
    }
}

/// Where `/proc` is a link, what is mounted there first could later be out of reach for masks, and in sight elsewhere.
#[test]
fn what_shows_the_kernel_is_mounted_on_directories_only() {
    let env = Env::new();
    for (path, target) in
        [("proc", "/elsewhere"), ("sys", "/elsewhere"), ("proc", "/dev/shm/../pts"), ("sys", "/proc/self/root")]
    {
        let source = tree(&env, &[(path, target)]);
        for rung in ["a", "b", "c"] {
            let run = trace(&env, rung, &source, &[], &["/bin/true"]).exits(2);
            let told = format!("cannot mount on /{path}: Not a directory (the image has a link");
            assert!(run.stderr.contains(&told), "{run}");
        }
    }
    assert_eq!(env.leftovers(), [""; 0]);
}

#[test]
fn links_that_stay_inside_are_followed_as_before() {
    let env = Env::new();
    let links = [
        ("etc/resolv.conf", "../run/resolve/stub"),
        ("run", "var/run"),
        ("var", "/data/var"),
        ("dev", "data/devices"),
        ("w", "data/../work"),
    ];
    let source = tree(&env, &links);
    for rung in RUNGS {
        let options = ["-w", "/w", "--tmpfs", "/run/scratch"];
        let script = "cat /data/var/run/resolve/stub && test -c /data/devices/null -o -f /data/devices/null && \
            test -d /data/var/run/scratch && test \"$(pwd -P)\" = /work";
        let run = trace(&env, rung, &source, &options, &["/bin/sh", "-c", script]).succeeds();
        assert!(!run.stderr.contains("cannot"), "{run}");
    }
}
