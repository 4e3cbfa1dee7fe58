//! Commands that are only asked and not kept (`keep = false`): in the small image they are run from the original,
//! beside the application of the small image.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::json;

use crate::support::{Env, Image, User, busybox_with};
use crate::tracer::compile;

static GREETER: LazyLock<Vec<u8>> = LazyLock::new(|| fs::read(compile("greeter", &["-static"])).unwrap());

/// Asks everywhere the service answers, and for what the tool has beside it.
const PROBE: &str = "\
[[step]]
kind = 'exec'
argv = ['/opt/ask/ask', '8080']
keep = false
expect.stdout_contains = 'not kept'

[[step]]
kind = 'exec'
argv = ['/opt/ask/ask', '/run/greeter.sock']
keep = false

[[step]]
kind = 'exec'
argv = ['/opt/ask/ask', '/srv/greeter/greeter.sock']
keep = false
";

fn service(env: &Env) -> String {
    let files: [(&str, &[u8]); 5] = [
        ("/srv/greeter/greeter", &GREETER),
        ("/etc/greeting", b"hello\n"),
        ("/opt/ask/ask", &GREETER),
        ("/opt/ask/suffix", b"not kept\n"),
        ("/opt/ask/unused", b"by anybody\n"),
    ];
    let config = json!({"Cmd": ["/srv/greeter/greeter", "serve"], "ExposedPorts": {"8080/tcp": {}}});
    busybox_with(env, "greeter", &config, &files)
}

fn probe(env: &Env, text: &str) -> String {
    let file = env.path("probe.toml");
    fs::write(&file, text).unwrap();
    env.give(Path::new(&file));
    file
}

fn slim_on_all_sandboxes(env: &Env) {
    let (source, probe) = (service(env), probe(env, PROBE));
    for rung in ["a", "b", "c"] {
        let out = env.path(&format!("{rung}.tar"));
        let destination = format!("docker-archive:{out}");
        let arguments = ["slim", &source, "--sandbox", rung, "--probe", &probe, "-o", &destination, "--format", "json"];
        let summary = env.scrimp(&arguments).succeeds().json();
        assert_eq!(summary["verify"], json!({"status": "passed", "repaired": 0, "reason": null}), "{rung}: {summary}");
        assert_eq!(summary["probes"], json!({"passed": 3, "failed": 0}), "{rung}");
        let image = Image::read(Path::new(&out));
        assert!(image.tree.contains_key("/srv/greeter/greeter"), "{rung}");
        let tool: Vec<_> = image.tree.keys().filter(|path| path.starts_with("/opt")).collect();
        assert!(tool.is_empty(), "{rung}: {tool:?}");
    }
    let small = format!("docker-archive:{}", env.path("a.tar"));
    env.scrimp(&["verify", &small, "--against", &source, "--probe", &probe]).succeeds();
    assert_eq!(env.leftovers(), [""; 0]);
}

#[test]
fn a_tool_that_is_not_kept_asks_the_small_image_as_root() {
    slim_on_all_sandboxes(&Env::new());
}

#[test]
fn a_tool_that_is_not_kept_asks_the_small_image_with_subordinate_ids() {
    slim_on_all_sandboxes(&Env::as_user(User::Subordinate));
}

#[test]
fn a_tool_that_is_not_kept_asks_the_small_image_with_a_single_id() {
    slim_on_all_sandboxes(&Env::as_user(User::Single));
}

#[test]
fn an_answer_that_changes_is_noticed_by_a_tool_that_is_not_kept() {
    let env = Env::new();
    let (source, probe) = (service(&env), probe(&env, PROBE));
    let drop = ["--drop", "/etc/greeting", "--force-drop"];
    let arguments = ["slim", &source, "--probe", &probe, "-o", "docker-archive:no.tar"];
    let run = env.scrimp(&[&arguments[..], &drop].concat()).exits(1);
    for told in ["exec /opt/ask/ask 8080: stdout", "hello", "nothing"] {
        assert!(run.stderr.contains(told), "{told}: {run}");
    }
    assert!(!Path::new(&env.path("no.tar")).exists());
}

/// It could only fail when the small image is tried, after everything else.
#[test]
fn where_nothing_can_be_mounted_a_tool_that_is_not_kept_is_refused_beforehand() {
    let env = Env::new();
    let source = service(&env);
    let slim = |file: &str, more: &[&str]| {
        let probe = probe(&env, file);
        let fixed = ["slim", &source, "--sandbox", "d", "--probe", &probe, "-o", "docker-archive:d.tar"];
        env.scrimp(&[&fixed, more].concat())
    };
    let run = slim(PROBE, &[]).exits(2);
    for told in [
        "the probe `exec /opt/ask/ask 8080` only asks (keep = false)",
        "in sandbox d nothing can be mounted",
        "hint: use sandbox a, b or c",
    ] {
        assert!(run.stderr.contains(told), "{told}: {run}");
    }
    let small = format!("docker-archive:{}", env.path("d.tar"));
    assert!(!Path::new(&env.path("d.tar")).exists());
    slim(PROBE, &["--no-verify"]).succeeds();
    let probe = probe(&env, PROBE);
    env.scrimp(&["verify", &small, "--against", &source, "--sandbox", "d", "--probe", &probe]).exits(2);
    fs::remove_file(env.path("d.tar")).unwrap();
    slim(&PROBE.replace("keep = false\n", ""), &[]).succeeds();
}

#[test]
fn a_tool_of_a_directory_that_is_not_kept_asks_the_small_image() {
    let env = Env::new();
    let root = env.path("root");
    let put = |path: &str, content: &[u8]| {
        let file = Path::new(&root).join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    for (path, content) in [
        ("srv/greeter/greeter", GREETER.as_slice()),
        ("etc/greeting", b"hello\n"),
        ("opt/ask/ask", &GREETER),
        ("opt/ask/suffix", b"not kept\n"),
    ] {
        put(path, content);
    }
    let (source, probe) = (format!("rootfs:{root}"), probe(&env, PROBE));
    let out = env.path("out");
    let destination = format!("rootfs:{out}");
    env.scrimp(&["slim", &source, "--probe", &probe, "-o", &destination, "--", "/srv/greeter/greeter", "serve"])
        .succeeds();
    assert!(Path::new(&out).join("srv/greeter/greeter").exists() && !Path::new(&out).join("opt").exists());
}

/// The client of a database, which takes a dozen libraries with it where it is kept.
#[test]
fn a_database_is_asked_by_a_client_that_is_not_kept() {
    for env in [Env::new().sharing_the_store(), Env::as_user(User::Single).sharing_the_store()] {
        let step = |connection: &str| {
            format!(
                "[[step]]\nkind = 'exec'\nkeep = false\nargv = ['psql', {connection}'-U', 'postgres', '-Atc', \
                 'select name, price from fruit order by name', 'shop']\nuser = 'postgres'\n\
                 expect.stdout = \"apple|0.50\\npear|0.75\\nquince|2.25\\n\"\n"
            )
        };
        let probe = probe(&env, &[step("'-h', '127.0.0.1', "), step("")].concat());
        let out = env.path("small.tar");
        let destination = format!("docker-archive:{out}");
        let arguments = ["slim", &env.source("postgres-15"), "--probe", &probe, "-o", &destination, "--format", "json"];
        let summary = env.scrimp(&arguments).succeeds().json();
        assert_eq!(summary["verify"], json!({"status": "passed", "repaired": 0, "reason": null}), "{summary}");
        let image = Image::read(Path::new(&out));
        for path in ["/usr/bin/psql", "/usr/lib/postgresql/15/bin/psql", "/usr/share/perl5/PgCommon.pm"] {
            assert!(!image.tree.contains_key(path), "{path} is there");
        }
    }
}
