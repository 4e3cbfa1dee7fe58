//! Processes that see another tree than the application's.

use std::path::PathBuf;

use scrimp::sandbox::{
    Choices, Exit, ObserverTree, ProcessSpec, Rung, Sandbox, SandboxError, SandboxPlan, Upper, list,
};

use crate::harness::{LONG, Place, dump, run, sh, start};

/// The rungs with mounts.
const RUNGS: [Rung; 3] = [Rung::A, Rung::B, Rung::C];

/// What the small image lacks: a program, its file, and a directory that both have in part.
fn whole(place: &Place) -> PathBuf {
    let whole = place.scratch.path().join("whole");
    let copied = std::process::Command::new("cp").arg("-a").args([place.base(), whole.clone()]).status();
    assert!(copied.unwrap().success());
    std::fs::create_dir_all(whole.join("opt")).unwrap();
    std::fs::copy("/bin/busybox", whole.join("opt/busybox")).unwrap();
    std::fs::write(whole.join("opt/answer"), "from the base\n").unwrap();
    std::fs::write(whole.join("var/data/both"), "of the base\n").unwrap();
    std::fs::write(whole.join("tmp/covered"), "of the base\n").unwrap();
    std::fs::write(place.base().join("var/data/small"), "of the small\n").unwrap();
    // Made anew for what is mounted into it, which must not hide what the base has there.
    std::fs::remove_dir_all(place.base().join("etc")).unwrap();
    whole
}

fn plan_on(place: &Place, rung: Rung, tree: ObserverTree) -> SandboxPlan {
    let dir = place.scratch.path().join(rung.to_string());
    std::fs::create_dir(&dir).unwrap();
    let upper = if rung == Rung::B { Upper::Tmpfs } else { Upper::Dir(dir) };
    let plan = SandboxPlan::for_tree(&place.base(), &Choices { rung, ..Choices::new(upper) });
    SandboxPlan { observers: Some(tree), ..plan }
}

fn start_on(place: &Place, rung: Rung, tree: ObserverTree) -> Sandbox {
    Sandbox::start(plan_on(place, rung, tree)).unwrap_or_else(|e| panic!("{rung}: {e}"))
}

fn observer(script: &str) -> ProcessSpec {
    ProcessSpec { observer: true, ..sh(script) }
}

/// An application that has written something and is there until it is killed.
fn application(sandbox: &Sandbox) {
    let script = "mkdir -p /run/app /var/data/new; echo live >/run/app/state; echo live >/tmp/state; \
        echo rewritten >/var/data/both; echo new >/var/data/new/file; rm /var/data/small; echo ready; exec sleep 1000";
    let (_, mut output) = start(sandbox, &sh(script)).unwrap_or_else(|e| panic!("{e}"));
    let mut ready = [0; 6];
    std::io::Read::read_exact(&mut output, &mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
}

pub fn an_observer_has_the_tools_of_its_tree_and_what_is_live_of_the_application() {
    let place = &Place::enter();
    let whole = whole(place);
    let before = (dump(&place.base()), dump(&whole));
    for rung in RUNGS {
        let sandbox = start_on(place, rung, ObserverTree::of_tree(&whole));
        application(&sandbox);
        for (script, expected) in [
            ("/opt/busybox cat /opt/answer", "from the base\n"),
            ("cat /run/app/state /tmp/state /var/data/new/file", "live\nlive\nnew\n"),
            ("cat /var/data/both", "rewritten\n"),
            ("ls /var/data", "both\nnew\n"),
            ("ls /tmp", "state\n"),
            // What the sandbox mounts into a directory that the small image does not have.
            ("cat /etc/hostname; grep ana /etc/passwd", "scrimp\nana:x:1000:1000::/:/bin/sh\n"),
            (
                "echo asked >/tmp/question; echo x >/opt/answer; cat /opt/answer; echo y >/dev/null && echo null",
                "x\nnull\n",
            ),
            // What another one has written into the tree is gone, and what it left for the application is not.
            ("cat /opt/answer /tmp/question", "from the base\nasked\n"),
        ] {
            let (text, exit) = run(&sandbox, &observer(script));
            assert_eq!((text.as_str(), exit), (expected, Exit::Code(0)), "{rung}: {script}");
        }
        let (text, exit) = run(&sandbox, &sh("cat /tmp/question; ls /opt /etc"));
        assert!(text.starts_with("asked\n") && text.contains("/opt: No such file"), "{rung}: {text}");
        assert!(text.ends_with("hostname\nhosts\nresolv.conf\n"), "{rung}: {text}");
        assert_eq!(exit, Exit::Code(1), "{rung}");
        let missing = start(&sandbox, &ProcessSpec { observer: true, ..crate::harness::command(&["/no/tool"]) });
        let missing = missing.map(|_| ()).unwrap_err().to_string();
        assert!(missing.contains("command not found in the image: /no/tool"), "{rung}: {missing}");
        drop(sandbox);
        assert_eq!((dump(&place.base()), dump(&whole)), before, "{rung}");
    }
}

/// It has the rights of any other process there, is among them, and reaches nothing outside.
pub fn an_observer_has_no_more_rights_than_the_application() {
    let place = &Place::enter();
    let whole = whole(place);
    std::fs::write(place.scratch.path().join("outside"), "of the host\n").unwrap();
    let outside = place.scratch.path().join("outside").display().to_string();
    for rung in RUNGS {
        let sandbox = start_on(place, rung, ObserverTree::of_tree(&whole));
        application(&sandbox);
        for (uid, gid) in [(0, 0), (1000, 1000)] {
            if uid != 0 && place.identity.kind == scrimp::sandbox::identity::IdentityKind::Single {
                continue;
            }
            let rights = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; umask; pwd; \
                readlink /proc/self/ns/pid /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts /proc/self/ns/user \
                /proc/self/ns/cgroup; ls /proc/self/fd; env; echo x >/proc/sys/kernel/hostname; \
                mkdir -p /tmp/m; busybox mount -t tmpfs none /tmp/m; busybox unshare -m true; busybox mknod /tmp/n b 8 0";
            let with_ids = |spec: ProcessSpec| ProcessSpec { uid, gid, ..spec };
            let plain = run(&sandbox, &with_ids(sh(rights)));
            let observed = run(&sandbox, &with_ids(observer(rights)));
            assert_eq!(observed, plain, "{rung} {uid}");
            assert!(plain.0.contains("CapEff") && plain.0.contains("ermi"), "{}", plain.0);
        }
        // Neither by a path, nor by going up, nor in what is mounted.
        let script = format!(
            "cat {outside}; cat ../../../..{outside}; cd /; ls -a .. | tr '\\n' ' '; \
             grep -c -e ' /[^ ]* /mnt ' -e {} /proc/self/mountinfo; readlink /proc/self/ns/mnt",
            place.scratch.path().display()
        );
        let (text, _) = run(&sandbox, &observer(&script));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.iter().filter(|line| line.contains("No such file")).count(), 2, "{rung}: {text}");
        assert!(!text.contains("of the host"), "{rung}: {text}");
        let (own, _) = run(&sandbox, &sh("readlink /proc/self/ns/mnt"));
        assert_ne!(lines.last().copied(), own.lines().last(), "{rung}: {text}");
        // The supervisor is back in the sandbox.
        let (text, _) = run(&sandbox, &sh(&format!("cat {outside}; ls /opt")));
        assert_eq!(text.lines().filter(|line| line.contains("No such file")).count(), 2, "{rung}: {text}");
    }
}

/// Links that lead to other processes' files, as an untrusted application may put them in the way.
pub fn what_an_observer_is_shown_does_not_lead_outside() {
    let place = &Place::enter();
    let whole = whole(place);
    std::fs::write(place.scratch.path().join("secret"), "of the host\n").unwrap();
    let host = format!("/proc/{}/root{}", std::process::id(), place.scratch.path().display());
    // The base is not trusted either: where something is put, nothing leads out yet.
    std::fs::remove_dir_all(whole.join("tmp")).unwrap();
    std::os::unix::fs::symlink(format!("{host}/made"), whole.join("tmp")).unwrap();
    for rung in RUNGS {
        let sandbox = start_on(place, rung, ObserverTree::of_tree(&whole));
        let script =
            format!("rm -r /tmp; busybox ln -s {host} /tmp; busybox ln -s {host} /run; echo ready; sleep 1000");
        let (_, mut output) = start(&sandbox, &sh(&script)).unwrap();
        std::io::Read::read_exact(&mut output, &mut [0; 6]).unwrap();
        let (text, _) = run(&sandbox, &observer("cat /tmp/secret /run/secret; cat /opt/answer"));
        assert!(!text.contains("of the host") && text.ends_with("from the base\n"), "{rung}: {text}");
        // Nor into the place of the application's own directory.
        let sandbox = {
            drop(sandbox);
            std::fs::remove_dir_all(place.scratch.path().join(rung.to_string())).unwrap();
            start_on(place, rung, ObserverTree::of_tree(&whole))
        };
        application(&sandbox);
        let (text, _) = run(&sandbox, &observer("cat /opt/answer"));
        assert_eq!(text, "from the base\n", "{rung}");
        assert!(!place.scratch.path().join("made").exists(), "{rung}");
    }
}

pub fn the_host_itself_can_be_what_observers_see() {
    let place = &Place::enter();
    let table = std::fs::read("/proc/self/mountinfo").unwrap();
    let marker = std::fs::read_to_string("/etc/os-release").unwrap();
    let tree = ObserverTree::of_directory("/".as_ref(), &table);
    assert!(!list("/".as_ref()).unwrap().is_empty());
    for rung in [Rung::A, Rung::C] {
        let sandbox = start_on(place, rung, tree.clone());
        let script = "mkdir -p /run; echo live >/run/state; echo ready; exec sleep 1000";
        let (_, mut output) = start(&sandbox, &sh(script)).unwrap();
        std::io::Read::read_exact(&mut output, &mut [0; 6]).unwrap();
        let (text, exit) = run(&sandbox, &observer("cat /etc/os-release /run/state; cat /etc/hostname"));
        assert_eq!((text, exit), (format!("{marker}live\nscrimp\n"), Exit::Code(0)), "{rung}");
    }
}

pub fn without_mounts_there_is_no_other_tree() {
    let place = &Place::enter();
    let dir = place.scratch.path().join("copy");
    std::fs::create_dir(&dir).unwrap();
    let choices = Choices { rung: Rung::D, ..Choices::new(Upper::Dir(dir.clone())) };
    let sandbox = Sandbox::start(SandboxPlan::for_copy(&place.base(), &dir, Vec::new(), &choices)).unwrap();
    let idle = crate::harness::idle(&sandbox);
    let refused = start(&sandbox, &observer("true")).map(|_| ());
    assert!(matches!(&refused, Err(SandboxError::Spawn(_))), "{refused:?}");
    sandbox.signal(idle, libc::SIGKILL).unwrap();
    sandbox.wait_exit(idle, LONG).unwrap();
}
