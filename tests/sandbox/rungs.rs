//! What holds on each rung of the ladder.

use scrimp::sandbox::identity::{Identity, IdentityKind};
use scrimp::sandbox::{
    Choices, Exit, Ids, ProcessSpec, Rung, Sandbox, SandboxError, SandboxPlan, SpawnError, Upper, climb,
};

use crate::harness::{LONG, Place, dump, run, sh, start};

/// The rungs on which any source runs.
pub const RUNGS: [Rung; 4] = [Rung::A, Rung::B, Rung::C, Rung::D];

pub fn start_on(place: &Place, rung: Rung) -> Sandbox {
    let dir = place.scratch.path().join(rung.to_string());
    std::fs::create_dir(&dir).unwrap();
    let upper = if rung == Rung::B { Upper::Tmpfs } else { Upper::Dir(dir.clone()) };
    let choices = Choices { rung, ..Choices::new(upper) };
    let plan = match rung {
        Rung::D => SandboxPlan::for_copy(&place.base(), &dir, Vec::new(), &choices),
        _ => SandboxPlan::for_tree(&place.base(), &choices),
    };
    Sandbox::start(plan).unwrap_or_else(|e| panic!("{rung}: {e}"))
}

pub fn every_rung_runs_and_leaves_the_base_alone() {
    let place = &Place::enter();
    let before = dump(&place.base());
    for rung in RUNGS {
        let sandbox = start_on(place, rung);
        let script = "echo new >/etc/new; rm /bin/touch; echo more >>/etc/plain; cat /etc/new; stat -c '%a %u' / /tmp; \
            echo x >/dev/null && echo null; cat /etc/hostname; exit 3";
        let (text, exit) = run(&sandbox, &sh(script));
        assert_eq!((text.as_str(), exit), ("new\n755 0\n1777 0\nnull\nscrimp\n", Exit::Code(3)), "{rung}");
        drop(sandbox);
        assert_eq!(dump(&place.base()), before, "{rung}");
    }
}

/// With process 1 of a container everything in it ends; without a PID namespace somebody has to see to that.
pub fn what_outlives_the_application_is_killed_on_every_rung() {
    let place = &Place::enter();
    for rung in RUNGS {
        let sandbox = start_on(place, rung);
        let script = "busybox setsid sh -c '(trap \"\" TERM HUP; echo ready; while :; do sleep 1000; done) &' ; \
            (sleep 1000 &) ; read ready </tmp/pipe";
        let (spawned, mut output) =
            start(&sandbox, &sh(&format!("busybox mkfifo /tmp/pipe; {script}"))).unwrap_or_else(|e| panic!("{e}"));
        let mut ready = [0; 6];
        std::io::Read::read_exact(&mut output, &mut ready).unwrap();
        sandbox.signal(spawned.pid, libc::SIGKILL).unwrap();
        assert_eq!(sandbox.wait_exit(spawned.pid, LONG), Some(Exit::Signal(libc::SIGKILL)), "{rung}");
        // Their output ends when the last of them is gone.
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut output, &mut rest).unwrap();
        let late = start(&sandbox, &sh("echo late")).map(|_| ());
        assert!(matches!(late, Err(SandboxError::Spawn(SpawnError::ApplicationEnded))), "{rung}: {late:?}");
    }
}

pub fn a_second_process_runs_on_every_rung() {
    let place = &Place::enter();
    for rung in RUNGS {
        let sandbox = start_on(place, rung);
        crate::harness::idle(&sandbox);
        let first = run(&sandbox, &sh("echo one >/tmp/shared"));
        let second = run(&sandbox, &ProcessSpec { cwd: b"/tmp".to_vec(), ..sh("cat shared; pwd") });
        assert_eq!((first.1, second), (Exit::Code(0), ("one\n/tmp\n".into(), Exit::Code(0))), "{rung}");
    }
}

/// Links of an image, absolute ones and ones with many `..`, end inside the copy, and so does what is put there.
pub fn a_copy_is_closed() {
    let place = &Place::enter();
    let base = place.base();
    std::fs::write(place.scratch.path().join("outside"), "of the host\n").unwrap();
    let outside = place.scratch.path().join("outside");
    std::fs::remove_file(base.join("etc/resolv.conf")).unwrap();
    let up = format!("{}{}", "../".repeat(40), &outside.to_str().unwrap()[1..]);
    std::os::unix::fs::symlink(&up, base.join("etc/resolv.conf")).unwrap();
    std::os::unix::fs::symlink(&outside, base.join("etc/hosts")).unwrap();
    let sandbox = start_on(place, Rung::D);
    let script =
        format!("cat {}; readlink /etc/hosts; busybox wc -l </etc/resolv.conf; ls /proc /sys", outside.display());
    let (text, _) = run(&sandbox, &sh(&script));
    assert!(text.ends_with(&format!("{}\n1\n/proc:\n\n/sys:\n", outside.display())), "{text}");
    drop(sandbox);
    assert_eq!(std::fs::read_to_string(outside).unwrap(), "of the host\n");
}

/// What scrimp generates once waited for somebody to read the FIFO that an image had in its place.
pub fn a_file_that_is_generated_replaces_a_fifo() {
    let place = &Place::enter();
    let hosts = place.base().join("etc/hosts");
    nix::unistd::mkfifo(&hosts, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for rung in RUNGS {
        let (text, exit) = run(&start_on(place, rung), &sh("grep -c localhost /etc/hosts"));
        assert_eq!((text.as_str(), exit), ("2\n", Exit::Code(0)), "{rung}");
    }
}

/// Where one id exists it bears the name of the image's user, and the kernel says so; it may do what root may, because
/// the tracer decides. A second process can have another name.
pub fn the_only_id_has_the_name_of_the_images_user() {
    let place = &Place::enter();
    let sandbox = start_on(place, Rung::A);
    crate::harness::idle(&sandbox);
    for (uid, gid) in [(1000, 50), (0, 0), (0, 50), (1000, 0)] {
        let script = "id -u; id -g; grep -E '^(Uid|Gid|CapEff)' /proc/self/status; echo x >>/etc/plain && echo written";
        let spec = ProcessSpec { uid, gid, ids: Ids::Named, ..sh(script) };
        let (text, exit) = run(&sandbox, &spec);
        let line = |id: u32| format!("{id}\t{id}\t{id}\t{id}");
        let expected =
            format!("{uid}\n{gid}\nUid:\t{}\nGid:\t{}\nCapEff:\t00000000a80425fb\nwritten\n", line(uid), line(gid));
        assert_eq!((text, exit), (expected, Exit::Code(0)));
    }
}

pub fn the_ladder_finds_the_best_rung_and_the_one_that_is_asked_for() {
    let scratch = tempfile::tempdir().unwrap();
    let asked = std::env::var("SCRIMP_TEST_RUNG").ok();
    let wanted: Option<Rung> = asked.map(|text| text.parse().unwrap());
    let (Identity { kind, .. }, footing) = climb(wanted, scratch.path()).unwrap_or_else(|e| panic!("{e}"));
    match wanted {
        None => {
            assert_eq!((footing.host, footing.trees, footing.upper_in_store), (Rung::A, Some(Rung::A), true));
            assert_eq!(footing.refused, []);
            let expected = if kind == IdentityKind::Single { Ids::Named } else { Ids::Own };
            assert_eq!(footing.ids, expected);
            // Only the first `climb` of a process can enter a user namespace: each further one is a process of its own.
            for rung in Rung::ALL {
                let exe = std::env::current_exe().unwrap();
                let mut again = std::process::Command::new(exe);
                again.args(["scenario", "the_ladder_finds_the_best_rung_and_the_one_that_is_asked_for"]);
                let output = again.env("SCRIMP_TEST_RUNG", rung.to_string()).output().unwrap();
                assert!(output.status.success(), "{rung}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        Some(Rung::E) => {
            assert_eq!((footing.host, kind), (Rung::E, IdentityKind::Caller));
            let root = nix::unistd::geteuid().is_root();
            assert_eq!(footing.trees, root.then_some(Rung::D));
        }
        Some(rung) => assert_eq!((footing.host, footing.trees), (rung, Some(rung))),
    }
}
