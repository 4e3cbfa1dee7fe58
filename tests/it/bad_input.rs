//! What is wrong is told, with what to do about it; the exit code is the documented one; nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Env, Run, User, busybox, web_config};

/// An environment with two images, `web` and `bare` (which has no command), and some bad files.
fn environment(env: Env) -> Env {
    busybox(&env, "web", &web_config(), &[("/www/index.html", "a page\n")]);
    busybox(&env, "bare", &json!({"Env": ["PATH=/bin"]}), &[]);
    let archive = fs::read(env.path("web.tar")).unwrap();
    for (name, content) in [
        (
            "text.tar",
            &b"this is no archive, and it is long enough for nobody to take it for a header of one\n".repeat(20)[..],
        ),
        ("empty.tar", b""),
        ("truncated.tar", &archive[..archive.len() / 2]),
        ("broken.toml", b"[[step]\nkind = 'http'\n"),
        ("unknown-kind.toml", b"[[step]]\nkind = 'gopher'\n"),
        ("exists.tar", b"mine"),
    ] {
        fs::write(env.path(name), content).unwrap();
        env.give(env.path(name).as_ref());
    }
    fs::create_dir(env.path("full")).unwrap();
    fs::write(env.path("full/mine"), "mine").unwrap();
    env
}

/// Runs scrimp in an environment where the images are, and looks for `parts` in what it says. Nothing may be left,
/// neither a file nor a process.
#[track_caller]
fn refuses(env: &Env, arguments: &str, code: i32, parts: &[&str]) -> Run {
    let before = names(env);
    let words = shell_words(arguments);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let run = env.scrimp(&words).exits(code);
    for part in parts {
        assert!(run.stderr.contains(part), "it does not say {part:?}\n{run}");
    }
    assert!(!run.stderr.contains("panicked") && !run.stderr.contains("RUST_BACKTRACE"), "{run}");
    assert_eq!(names(env), before, "{run}");
    assert_eq!(fs::read(env.path("exists.tar")).unwrap(), b"mine");
    let left = env.leftovers();
    assert!(left.is_empty(), "{left:?}\n{run}");
    run
}

fn names(env: &Env) -> Vec<String> {
    env.names().into_iter().filter(|name| name != "store").collect()
}

/// Words between blanks; single quotes hold blanks.
fn shell_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(String::from)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

const WEB: &str = "slim docker-archive:web.tar -o docker-archive:out.tar --lock out.lock --trace out.trace";

#[test]
fn bad_sources() {
    let env = environment(Env::new());
    for (source, parts) in [
        (
            "docker-archve:web.tar",
            &["\"docker-archve:web.tar\" is not a source", "hint: write docker-archive:FILE"][..],
        ),
        ("docker://nginx", &["not supported", "hint: `skopeo copy docker://nginx"]),
        ("nginx:1", &["\"nginx:1\"", "hint: `skopeo copy docker://nginx:1"]),
        ("./web.tar", &["has no transport", "hint: write docker-archive:./web.tar"]),
        ("docker-archive:", &["names no file", "hint: "]),
        ("docker-archive:missing.tar", &["missing.tar", "No such file or directory"]),
        ("docker-archive:full", &["full", "irectory"]),
        ("docker-archive:text.tar", &["text.tar"]),
        ("docker-archive:empty.tar", &["empty.tar"]),
        ("docker-archive:truncated.tar", &["truncated.tar", "ends in the middle"]),
        ("docker-archive:web.tar:other:2", &["no image \"other:2\"", "hint: it has localhost/web:1"]),
        ("oci:full", &["full is not an OCI image layout"]),
        ("oci-archive:web.tar", &["web.tar is not an OCI image layout", "hint: "]),
        ("rootfs:missing", &["missing", "No such file or directory"]),
        ("rootfs:web.tar", &["web.tar", "irectory"]),
    ] {
        for command in ["inspect", "slim -o docker-archive:out.tar", "trace -o out.trace"] {
            refuses(&env, &format!("{command} {source}"), 2, parts);
        }
        refuses(&env, &format!("verify docker-archive:web.tar --against {source}"), 2, parts);
    }
}

#[test]
fn bad_commands_of_images() {
    let env = environment(Env::new());
    for (rest, code, parts) in [
        (
            "slim docker-archive:bare.tar -o docker-archive:out.tar",
            2,
            &["names no command to run", "hint: give one at the end of the line, after two dashes"][..],
        ),
        (&format!("{WEB} -- nothing"), 2, &["command not found in the image: nothing", "hint: ", "/bin"]),
        (&format!("{WEB} -- /no/where"), 2, &["command not found in the image: /no/where"]),
        (&format!("{WEB} -- /etc/passwd"), 2, &["/etc/passwd", "ermission denied"]),
        (&format!("{WEB} -u nobody"), 2, &["nobody", "hint: "]),
        (&format!("{WEB} -w relative"), 2, &["\"relative\""]),
        (
            &format!("{WEB} -- sh -c 'echo last words; exit 7'"),
            1,
            &["ended with exit code 7", "last words", "nothing was written"],
        ),
        (&format!("{WEB} --http / -- sh -c 'echo last words; exit 7'"), 1, &["last words", "nothing was written"]),
        (&format!("{WEB} --expect-exit 3 -- true"), 1, &["expected exit code 3"]),
        (&format!("{WEB} --timeout 1s -- sleep 100"), 1, &["neither ended nor listened", "hint: "]),
    ] {
        refuses(&env, rest, code, parts);
    }
}

#[test]
fn bad_probes() {
    let env = environment(Env::new());
    for (rest, code, parts) in [
        ("-p 9 --http / --timeout 1s", 1, &["does not listen on tcp port 9", "tcp [::]:8080"][..]),
        ("-p 9 --exec true --timeout 1s", 1, &["does not listen on tcp port 9", "tcp [::]:8080"]),
        (
            "-p 99 --timeout 1s",
            1,
            &[
                "run: the application does not listen on tcp port 99",
                "tcp [::]:8080",
                "hint: name that port with --port",
            ],
        ),
        ("--http /missing --http / --exec false", 1, &["exec false: expected exit code 0, got 1"]),
        ("--exec nothing", 1, &["exec nothing", "not found"]),
        ("--probe gopher", 2, &["no probe named \"gopher\"", "hint: shipped are dns"]),
        ("--probe rediss", 2, &["no probe named \"rediss\"", "hint: did you mean redis?"]),
        ("--probe ''", 2, &["--probe <NAME|FILE>", "none was supplied"]),
        ("--probe ./missing.toml", 2, &["./missing.toml", "No such file", "hint: a relative path begins in"]),
        ("--probe full/", 2, &["cannot read the probe spec full/", "hint: it is a directory"]),
        (
            "--openapi missing.yaml",
            2,
            &["OpenAPI document missing.yaml: No such file", "hint: a relative path begins in"],
        ),
        ("--openapi full", 2, &["cannot read the OpenAPI document full", "hint: it is a directory"]),
        ("--openapi ''", 2, &["--openapi <FILE|PATH>", "none was supplied"]),
        ("--run 'web=sh \"x'", 2, &["--run \"web=sh \\\"x\": a quote is not closed", "hint: the words are split"]),
        ("--run =x", 2, &["'--run <NAME=COMMAND>': \"\" is no name for a run", "hint: letters"]),
        ("--crawl-depth 2", 2, &["--crawl-depth is a limit for --crawl, which is not given\nhint: add --crawl"]),
        ("--crawl --crawl-pages 0", 2, &["expected a number from 1 to 100000"]),
        ("--crawl --crawl-depth x", 2, &["expected a number, 0 or more"]),
        ("--expect-exit 300 -- true", 2, &["expected an exit code, a number from 0 to 255"]),
        ("--exercise auto,none", 2, &["none stands alone", "hint: without auto and none"]),
        ("--exercise pyton", 2, &["no exerciser named \"pyton\"", "hint: there are auto, none, python"]),
        ("--probe broken.toml", 2, &["broken.toml:1"]),
        ("--probe unknown-kind.toml", 2, &["unknown-kind.toml", "gopher"]),
        ("--http nopath", 2, &["nopath"]),
        ("--exec 'echo \"open'", 2, &["open"]),
        ("-p 99999 --http /", 2, &["99999"]),
        ("--no-probe --http /", 2, &["--no-probe", "cannot be used with"]),
    ] {
        refuses(&env, &format!("{WEB} {rest}"), code, parts);
    }
}

#[test]
fn bad_options() {
    let env = environment(Env::new());
    for (rest, parts) in [
        (
            "--keep a[",
            &[
                "'--keep <GLOB>': \"a[\" is not a glob: unclosed character class; missing ']'\nhint: * and ? match within",
            ][..],
        ),
        ("--keep [", &["\"[\" is not a glob", "hint: "]),
        ("--keep ''", &["\"\" is not a glob: it is empty"]),
        ("--keep-listed [", &["'--keep-listed <GLOB>': \"[\" is not a glob"]),
        ("--keep-package ''", &["--keep-package <NAME>", "none was supplied"]),
        ("--drop /{a", &["\"/{a\" is not a glob"]),
        (
            "--level everything",
            &["\"everything\" is not a level", "hint: the levels are observed, closure, app and package"],
        ),
        ("--stop-signal SIGNOT", &["\"SIGNOT\" is not a signal", "hint: "]),
        ("--timeout soon", &["'soon'", "ms, s, m or h"]),
        ("-v missing:/x", &["there is no \"missing\"", "hint: make it first"]),
        ("-v web.tar", &["is not HOST:CONTAINER", "hint: as in -v"]),
        ("-v web.tar:x", &["\"x\" is not absolute", "hint: a path in the container begins with a slash"]),
        ("-e ''", &["-e: there is no name", "hint: write NAME=VALUE"]),
        ("--set-env =x", &["--set-env: there is no name", "hint: write NAME=VALUE"]),
        ("-w srv", &["\"srv\" is not absolute", "hint: -w takes a path in the image"]),
        ("--ulimit nofile=2:1", &["the soft limit is above the hard limit", "hint: "]),
        ("--pids-limit many", &["expected a number of processes", "0 and -1 are any number"]),
        ("--memory 5", &["too small", "hint: 6m is the least"]),
        ("--config missing.toml", &["cannot read the settings in missing.toml", "hint: --config names a file"]),
        ("-v web.tar:/x:rx", &["\"rx\" is no option", "hint: ro or rw"]),
        ("--tmpfs x", &["--tmpfs \"x\""]),
        ("--set-env X", &["is not NAME=VALUE", "hint: "]),
        ("--cap-add CAP_FLY", &["CAP_FLY"]),
        ("--cap-add NET_ADMN", &["\"NET_ADMN\" is not a capability", "hint: did you mean NET_ADMIN?"]),
        ("--platform pdp11", &["\"pdp11\" is not a platform", "hint: "]),
        ("--platform linux/pdp11", &["linux/pdp11"]),
        ("--nonsense", &["--nonsense"]),
        ("--format yaml", &["yaml", "json"]),
    ] {
        refuses(&env, &format!("{WEB} {rest}"), 2, parts);
    }
    refuses(&env, "", 2, &["Usage: scrimp"]);
    refuses(&env, "polish", 2, &["polish"]);
    refuses(&env, "inspect full", 2, &["\"full\" has no transport", "hint: write rootfs:full"]);
    refuses(&env, "inspect web.tar", 2, &["\"web.tar\" has no transport", "hint: write docker-archive:web.tar"]);
    refuses(&env, "verify docker-archive:web.tar", 2, &["nothing to hold it against", "hint: ", "--against SOURCE"]);
    refuses(&env, "build docker-archive:web.tar -o oci:x", 2, &["--trace"]);
    refuses(&env, "build docker-archive:web.tar -o oci:x --trace missing", 2, &["missing", "No such file"]);
    refuses(&env, "build docker-archive:web.tar -o oci:x --trace text.tar", 2, &["text.tar"]);
    refuses(&env, "build docker-archive:web.tar -o oci:x --trace empty.tar", 2, &["empty.tar"]);
}

#[test]
fn bad_destinations_are_told_before_anything_runs() {
    let env = environment(Env::new());
    let slim = "slim docker-archive:web.tar --http /";
    for (rest, parts) in [
        ("-o docker-archive:exists.tar", &["exists.tar exists already", "hint: remove it first"][..]),
        ("-o oci:full", &["full exists already", "nor an OCI layout", "hint: "]),
        ("-o rootfs:full", &["full exists already", "hint: "]),
        ("-o dockerfile:full", &["full exists already", "hint: "]),
        ("-o docker-archive:good.tar -o docker-archive:no/where.tar", &["no such directory", "hint: create it first"]),
        ("-o docker-archive:good.tar -o oci:exists.tar/x", &["exists.tar", "not a directory"]),
        ("-o docker-archive:same.tar -o oci-archive:./same.tar", &["are the same place", "hint: "]),
        ("-o nowhere:x", &["\"nowhere:x\" is not a destination", "hint: use docker-archive:FILE"]),
        ("-o docker://x/y", &["not supported", "skopeo copy"]),
        ("-o docker-archive:good.tar --lock no/where.lock", &["no/where.lock"]),
        ("-o docker-archive:good.tar --trace no/where.trace", &["no/where.trace"]),
        ("-o docker-archive:good.tar -t 'Bad Name'", &["Bad Name"]),
    ] {
        let run = refuses(&env, &format!("{slim} {rest}"), 2, parts);
        assert_eq!(run.stdout, "", "{run}");
    }
    refuses(&env, "trace docker-archive:web.tar --http / -o no/where.trace", 2, &["no/where.trace"]);
}

#[test]
fn a_directory_that_cannot_be_written_stops_all_destinations() {
    // Nothing stops root, so an ordinary user has to ask.
    let env = environment(Env::as_user(User::Subordinate));
    fs::create_dir(env.path("locked")).unwrap();
    fs::set_permissions(env.path("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    let rest = "--http / -o docker-archive:good.tar -o docker-archive:locked/out.tar";
    refuses(&env, &format!("slim docker-archive:web.tar {rest}"), 2, &["cannot write to locked", "ermission denied"]);
}

#[test]
fn a_store_that_cannot_be_used_is_told() {
    let env = environment(Env::new());
    refuses(&env, "inspect docker-archive:web.tar --store exists.tar", 2, &["exists.tar", "in the store"]);
    refuses(&env, "inspect docker-archive:web.tar --store /proc/none", 2, &["/proc/none"]);
}

#[test]
fn bad_variables_are_named() {
    let env = environment(Env::new());
    for (name, value, arguments, parts) in [
        ("SCRIMP_TIMEOUT", "soon", "", &["the variable SCRIMP_TIMEOUT = \"soon\": ", "ms, s, m or h"][..]),
        (
            "SCRIMP_NET",
            "hots",
            "",
            &["the variable SCRIMP_NET = \"hots\": expected one of none, host", "did you mean host?"],
        ),
        ("SCRIMP_LEVEL", "clousure", "", &["the variable SCRIMP_LEVEL", "hint: the levels are"]),
        ("SCRIMP_COLOR", "pink", "", &["the variable SCRIMP_COLOR", "expected one of auto, always, never"]),
        (
            "SCRIMP_CRAWL_DEPTH",
            "2",
            "",
            &["SCRIMP_CRAWL_DEPTH is set", "hint: add --crawl", "unset SCRIMP_CRAWL_DEPTH"],
        ),
        // What is typed goes first, and then it is to blame.
        ("SCRIMP_TIMEOUT", "1s", "--timeout later", &["invalid value 'later' for '--timeout"]),
    ] {
        let words = shell_words(&format!("{WEB} {arguments}"));
        let mut command = env.scrimp_command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        command.env(name, value);
        let run = Run::of(command).exits(2);
        for part in parts {
            assert!(run.stderr.contains(part), "it does not say {part:?}\n{run}");
        }
        assert!(!std::path::Path::new(&env.path("out.tar")).exists());
    }
}

#[test]
fn bad_settings_are_told_with_their_line() {
    let env = environment(Env::new());
    for (text, parts) in [
        ("[run]\nport = 99999", &["s.toml:2: port = \"99999\": \"99999\" is not a port", "hint: "][..]),
        ("[run]\nenv = 3", &["s.toml:2: env is a table, as { NAME = \"value\" }, or a list", "not an integer"]),
        ("[run]\ntimeout = [1]", &["s.toml:2: timeout is one text or one number, and not an array"]),
        ("[run]\ncommand = ''", &["s.toml:2: command is empty\nhint: a command is a text"]),
        ("[run]\ncommand = []", &["s.toml:2: command is empty\nhint: "]),
        ("[run]\nname = 'a'", &["s.toml:2: [run] has no key \"name\"\nhint: several ways", "[[run]]"]),
        ("[run]\nsandbox = 'q'", &["s.toml:2: sandbox = \"q\"", "hint: "]),
        ("[probes]\ncrawl-depth = 3", &["s.toml:2: crawl-depth is a limit for a crawl", "hint: write crawl = true"]),
        ("[probes]\nhttp = 3", &["s.toml:2: http = \"3\"", "does not begin with a slash", "hint: "]),
        ("[probes]\nexpect-exit = 'x'", &["s.toml:2: expect-exit = \"x\": expected an exit code"]),
        ("[select]\nkeep = '['", &["s.toml:2: keep = \"[\"", "is not a glob", "hint: "]),
        ("[select]\nlevel = 'clousure'", &["s.toml:2: level = \"clousure\"", "hint: the levels are"]),
        ("[[run]]\nname = 'a'\nprobes = 3", &["s.toml:3: probes is a table\nhint: "]),
        (
            "[[service]]\nname = 'a'\nready = 'redy'",
            &["s.toml:3: ready is \"started\", \"ended\" or a table", "hint: "],
        ),
    ] {
        fs::write(env.path("s.toml"), text).unwrap();
        refuses(&env, &format!("{WEB} --config s.toml"), 2, parts);
    }
}
