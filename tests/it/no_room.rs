//! A disk that is full, a store that cannot be written, file systems that can do less than others.
//!
//! What is mounted here is mounted in a namespace that ends with the shell of the test.

use std::fs;

use crate::support::{Env, Run, busybox, web_config};

/// Runs a script in a mount namespace of its own. `$SLIM` makes a small image of a web server, `$SLIM -o DEST`
/// somewhere.
fn script(env: &Env, text: &str) -> Run {
    let source = busybox(env, "web", &web_config(), &[("/www/index.html", "a page\n")]);
    for dir in ["store", "out", "tmp"] {
        fs::create_dir_all(env.path(dir)).unwrap();
    }
    let mut command = env.command("unshare", &["-m", "sh", "-c", text]);
    command
        .env("SLIM", format!("{} slim {source} --http /", env!("CARGO_BIN_EXE_scrimp")))
        .env("TMPDIR", env.path("tmp"));
    command.env("INSPECT", format!("{} inspect {source}", env!("CARGO_BIN_EXE_scrimp")));
    Run::of(command)
}

#[test]
fn a_full_store_is_named_and_clean_once_there_is_room() {
    let env = Env::new();
    for kibibytes in [64, 512, 1500, 2500, 4000, 5000, 6500, 16000] {
        let text = format!(
            "mount -t tmpfs -o size={kibibytes}k none store && $SLIM -o docker-archive:out/{kibibytes}.tar; code=$?; \
             mount -o remount,size=100m store && $INSPECT > /dev/null || exit 9; ls -A store/v2/scratch; exit $code"
        );
        let run = script(&env, &text);
        let published = fs::exists(env.path(&format!("out/{kibibytes}.tar"))).unwrap();
        assert_eq!(run.stdout.contains(".tar"), published, "{run}");
        assert!(!run.stdout.contains(&std::process::id().to_string()) && !run.stdout.contains(".lock"), "{run}");
        if published {
            run.succeeds();
            continue;
        }
        let run = run.exits(2);
        let named = run.stderr.contains(&env.path("store")) || run.stderr.contains("while unpacking");
        assert!(
            named && run.stderr.contains("No space left on device") && run.stderr.contains("hint: make room"),
            "{run}"
        );
        assert_eq!(env.leftovers(), Vec::<String>::new());
    }
    assert!(
        !fs::exists(env.path("out/64.tar")).unwrap() && fs::exists(env.path("out/16000.tar")).unwrap(),
        "too much room"
    );
}

/// A copy takes as much again as what was unpacked, and the hint once led to what sandboxes the machine allows.
#[test]
fn a_store_without_room_for_a_copy_is_named() {
    let env = Env::new();
    let text = "mount -t tmpfs -o size=100m none store && $INSPECT > /dev/null && \
        mount -o remount,size=$(($(du -sk store | cut -f1) + 300))k store && $SLIM --sandbox d -o rootfs:out/x; code=$?; \
        ls -A out store/v2/scratch; exit $code";
    let run = script(&env, text).exits(2);
    assert_eq!(run.stdout, "out:\n\nstore/v2/scratch:\n", "{run}");
    assert!(run.stderr.contains("No space left on device\nhint: make room"), "{run}");
    assert_eq!(env.leftovers(), Vec::<String>::new());
}

#[test]
fn a_full_destination_gets_nothing() {
    let env = Env::new();
    for destination in
        ["docker-archive:out/x.tar", "oci-archive:out/x.tar", "oci:out/x", "rootfs:out/x", "oci:out", "rootfs:out"]
    {
        let mount = "mount -t tmpfs -o size=600k none out";
        let text =
            format!("{mount} && $SLIM -o docker-archive:first.tar -o {destination}; code=$?; ls -A out; exit $code");
        let run = script(&env, &text).exits(2);
        assert_eq!(run.stdout, "", "{run}");
        assert!(run.stderr.contains("No space left on device") && run.stderr.contains("out"), "{run}");
        assert!(run.stderr.contains("hint: make room there"), "{run}");
        assert!(!fs::exists(env.path("first.tar")).unwrap(), "{run}");
    }
    for side in ["--trace out/x --lock lock", "--lock out/x"] {
        let text = format!(
            "mount -t tmpfs -o size=4k none out && echo old > out/x; $SLIM {side} -o rootfs:tree; code=$?; ls -A out; cat out/x; exit $code"
        );
        let run = script(&env, &text).exits(2);
        assert_eq!(run.stdout, "x\nold\n", "{run}");
        assert!(run.stderr.contains("cannot write out/x: No space left on device"), "{run}");
        assert!(!fs::exists(env.path("tree")).unwrap() && !fs::exists(env.path("lock")).unwrap(), "{run}");
    }
    assert_eq!(env.leftovers(), Vec::<String>::new());
}

#[test]
fn a_full_directory_for_temporary_files_is_not_needed() {
    let env = Env::new();
    script(&env, "mount -t tmpfs -o size=4k,nr_inodes=1 none tmp && $SLIM -o docker-archive:out.tar --lock lock")
        .succeeds();
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    let env = Env::new();
    for before in ["true", "$INSPECT > /dev/null"] {
        let run = script(&env, &format!("{before}; mount --bind -o ro store store && $SLIM -o docker-archive:out.tar"));
        let run = run.exits(2);
        assert!(run.stderr.contains(&env.path("store")) && run.stderr.contains("Read-only file system"), "{run}");
        assert!(run.stderr.contains("hint: give the store a place"), "{run}");
        assert_eq!(env.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn any_file_system_will_do() {
    let env = Env::new();
    let overlay = "rm -rf tmp/* && mkdir tmp/l tmp/u tmp/w && mount -t overlay -o lowerdir=tmp/l,upperdir=tmp/u,workdir=tmp/w none";
    for (number, mount) in ["mount -t ramfs none", "mount -t tmpfs none", overlay].iter().enumerate() {
        let outputs =
            "-o docker-archive:DIR/out.tar -o oci:DIR/layout -o rootfs:DIR/tree --trace DIR/trace --lock DIR/lock";
        let in_store = outputs.replace("DIR", &format!("here-{number}"));
        fs::create_dir(env.path(&format!("here-{number}"))).unwrap();
        let run = script(
            &env,
            &format!("{mount} store && $SLIM {in_store} > log; code=$?; ls -A store/v2/scratch; exit $code"),
        );
        assert_eq!(run.succeeds().stdout, "", "{mount}");
        let there = outputs.replace("DIR", "out");
        let text = format!("{mount} out && echo old > out/lock && $SLIM {there} > log; code=$?; ls -A out; exit $code");
        assert_eq!(script(&env, &text).succeeds().stdout, "layout\nlock\nout.tar\ntrace\ntree\n", "{mount}");
        assert_eq!(env.leftovers(), Vec::<String>::new());
    }
}
