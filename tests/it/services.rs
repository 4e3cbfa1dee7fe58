//! Services beside the application: found by name, fresh for each run, no part of the image, and gone at the end.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{Env, Image, Podman, Response, User, busybox, busybox_with, fixture, sandboxed, web_config};

const RUNGS: [&str; 4] = ["a", "b", "c", "d"];

/// A port that nobody else on this machine listens on: on rung d the network is the machine's.
fn free_port() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// A service that serves one page, and does not forget what it was told by `/cgi-bin/note` as long as it lives.
fn side(env: &Env, port: &str) -> String {
    let note = "#!/bin/sh\necho\ncat /tmp/note 2>/dev/null\necho told >> /tmp/note\n";
    let config = json!({"Cmd": ["httpd", "-f", "-p", port, "-h", "/www"], "Env": ["PATH=/bin"]});
    busybox(env, "side", &config, &[("/www/index.html", "a page of the service\n"), ("/www/cgi-bin/note", note)])
}

/// An application that asks the service for `path`, says what it was told, and ends.
fn asks(env: &Env, port: &str, path: &str) -> String {
    let script = format!("wget -q -O - http://side:{port}{path}");
    busybox(env, "asks", &json!({"Cmd": ["sh", "-c", script], "Env": ["PATH=/bin"]}), &[])
}

#[test]
fn an_application_reaches_its_service_by_name_on_each_rung() {
    for env in [Env::new(), Env::as_user(User::Subordinate), Env::as_user(User::Single)] {
        let port = free_port();
        let (app, side) = (asks(&env, &port, "/"), side(&env, &port));
        for rung in RUNGS {
            let with = format!("side={side}");
            let run = env.scrimp(&["slim", &app, "--with", &with, "--sandbox", rung, "--lock", "out.lock"]).succeeds();
            assert!(run.stdout.contains("1 passed, 0 failed"), "{run}");
            assert!(run.stdout.contains("answers as its source did"), "{run}");
            assert!(!run.stderr.contains("cannot leave the sandbox"), "{run}");
            let lock = fs::read_to_string(env.path("out.lock")).unwrap();
            assert!(lock.contains("/bin/busybox") && !lock.contains("/www/index.html"), "{lock}");
            assert_eq!(env.leftovers(), Vec::<String>::new());
        }
        // Without it there is nobody of that name.
        env.scrimp(&["slim", &app]).exits(1);
    }
}

#[test]
fn each_run_has_a_service_of_its_own() {
    let env = Env::new();
    let port = free_port();
    // The answer is another one the second time, so both runs have to be the first.
    let (app, side) = (asks(&env, &port, "/cgi-bin/note"), side(&env, &port));
    let run = env.scrimp(&["slim", &app, "--with", &format!("side={side}"), "--format", "json"]).succeeds();
    assert_eq!(run.json()["verify"]["status"], "passed", "{run}");
}

#[test]
fn probes_go_to_the_application_and_not_to_its_service() {
    let env = Env::new();
    let side = side(&env, "80");
    let web = busybox(&env, "web", &web_config(), &[("/www/index.html", "a page\n")]);
    // The service has the lower port, and no port is named.
    let run = env.scrimp(&["slim", &web, "--with", &format!("side={side}"), "--http", "/", "--lock", "out.lock"]);
    run.succeeds();
    assert!(fs::read_to_string(env.path("out.lock")).unwrap().contains("/www/index.html"));
}

#[test]
fn a_service_that_never_gets_ready_is_named_with_what_it_said() {
    let env = Env::new();
    let web = busybox(&env, "web", &web_config(), &[("/www/index.html", "a page\n")]);
    let script = "echo warming up; sleep 1000";
    let slow = busybox(&env, "slow", &json!({"Cmd": ["sh", "-c", script], "Env": ["PATH=/bin"]}), &[]);
    let run = env.scrimp(&["slim", &web, "--with", &format!("db={slow}"), "--timeout", "1s", "-o", "oci:out"]).exits(2);
    assert!(run.stderr.starts_with("error: the service db is not ready: it does not listen at all after 1 s"), "{run}");
    assert!(run.stderr.contains("warming up") && run.stderr.contains("\nhint: "), "{run}");
    assert!(!Path::new(&env.path("out")).exists());
    assert_eq!(env.leftovers(), Vec::<String>::new());
}

#[test]
fn a_healthcheck_and_a_table_say_when_a_service_is_ready() {
    let env = Env::new();
    let script = "httpd -p 8081 -h /www; until test -e /tmp/asked; do sleep 0.05; done; touch /tmp/warm; sleep 1000";
    let check = "touch /tmp/asked; test -e /tmp/warm";
    let config = json!({"Cmd": ["sh", "-c", script], "Env": ["PATH=/bin"],
        "Healthcheck": {"Test": ["CMD", "sh", "-c", check]}});
    let touch = "#!/bin/sh\n: > \"$1\"\n";
    let warm = "#!/bin/sh\necho\ntest -e /tmp/warm && echo warm\n";
    let files = [("/bin/touch", touch), ("/bin/test", "#!/bin/sh\n[ \"$@\"\n"), ("/www/cgi-bin/warm", warm)];
    let side = busybox(&env, "side", &config, &files);
    let app = asks(
        &env,
        "8081",
        "/cgi-bin/warm | cat; wget -q -O - http://side:8081/cgi-bin/warm | { read word; [ $word = warm ]; }",
    );
    env.scrimp(&["slim", &app, "--with", &format!("side={side}")]).succeeds();

    let table = "[[service]]\nname = 'side'\nready = { timeout_seconds = 1, step = { kind = 'http', path = '/none', expect = { status = 200 } } }\n";
    fs::write(env.path("scrimp.toml"), table).unwrap();
    let run = env.scrimp(&["slim", &app, "--with", &format!("side={side}")]).exits(2);
    assert!(run.stderr.contains("the service side is not ready: not ready after 1 s: "), "{run}");
    assert!(run.stderr.contains("404"), "{run}");
}

#[test]
fn a_service_that_dies_ends_the_run() {
    let env = Env::new();
    let script = "httpd -p 8081 -h /www; until [ -e /tmp/die ]; do sleep 0.05; done; echo out of order; exit 3";
    let die = "#!/bin/sh\necho\n: > /tmp/die\n";
    let config = json!({"Cmd": ["sh", "-c", script], "Env": ["PATH=/bin"]});
    let side = busybox(&env, "side", &config, &[("/www/cgi-bin/die", die)]);
    let app = asks(&env, "8081", "/cgi-bin/die; sleep 1000");
    let with = format!("side={side}");
    let run = env.scrimp(&["slim", &app, "--with", &with, "--timeout", "600s", "-o", "oci:out"]).exits(2);
    let expected =
        "error: the service side ended with exit code 3 while the application ran; it wrote last:\nout of order\n";
    assert!(run.stderr.starts_with(expected), "{run}");
    assert!(!Path::new(&env.path("out")).exists());
    assert_eq!(env.leftovers(), Vec::<String>::new());
}

#[test]
fn a_port_can_be_taken_once() {
    let env = Env::new();
    let web = busybox(&env, "web", &web_config(), &[("/www/index.html", "a page\n")]);
    let side = side(&env, "8081");
    let (one, two) = (format!("one={side}"), format!("two={side}"));
    let run = env.scrimp(&["slim", &web, "--with", &one, "--with", &two]).exits(2);
    assert!(run.stderr.contains("the service two ended with exit code 1 before it was ready"), "{run}");
    let hint = "a port can be taken once, and the service one on tcp 8081 listens already";
    assert!(run.stderr.contains(hint), "{run}");
    let table = "  [[service]]\n  name = \"two\"\n  entrypoint = []\n  command = [";
    assert!(run.stderr.contains(table) && run.stderr.contains("\"-p\", \"8081\", \"-h\", \"/www\"]"), "{run}");

    // The table as it was told, with another port in it.
    let told = run.stderr.split("now they are as\n").nth(1).unwrap();
    let told: Vec<&str> = told.lines().take_while(|line| line.starts_with("  ")).map(str::trim).collect();
    fs::write(env.path("scrimp.toml"), told.join("\n").replace("8081", "8082")).unwrap();
    env.scrimp(&["slim", &web, "--with", &one, "--with", &two]).succeeds();
    fs::remove_file(env.path("scrimp.toml")).unwrap();

    // The same between the application and a service.
    let taken = format!("one={}", crate::services::side(&env, "8080"));
    let run = env.scrimp(&["slim", &web, "--with", &taken]).exits(1);
    assert!(run.stderr.contains("the application found a port taken"), "{run}");
    assert!(
        run.stderr.contains("the service one on tcp 8080 listens already\nhint: give that service another"),
        "{run}"
    );
}

#[test]
fn services_start_in_order_and_a_job_ends_before_the_next() {
    let env = Env::new();
    let side = side(&env, "8081");
    // The job tells the service, so the application is the second to ask.
    let app = asks(&env, "8081", "/cgi-bin/note | { read word; [ $word = told ]; }");
    let file = format!(
        "[image]\nsource = '{app}'\n[[service]]\nname = 'side'\nsource = '{side}'\n[[service]]\nname = 'job'\n\
         source = '{side}'\ncommand = 'wget -q -O - http://side:8081/cgi-bin/note'\nready = 'ended'\n"
    );
    fs::write(env.path("scrimp.toml"), &file).unwrap();
    env.scrimp(&["slim"]).succeeds();
    fs::write(env.path("scrimp.toml"), file.replace("cgi-bin/note'", "cgi-bin/none'")).unwrap();
    let run = env.scrimp(&["slim"]).exits(2);
    assert!(run.stderr.contains("the service job ended with exit code 1 before it was ready"), "{run}");
}

#[test]
fn a_service_that_cannot_be_had_is_an_error_with_its_name() {
    let env = Env::new();
    let web = busybox(&env, "web", &web_config(), &[]);
    for (with, expected) in [
        ("redis", "--with \"redis\" is not NAME=SOURCE"),
        ("a b=host", "has no name that a host can have"),
        ("localhost=host", "cannot be called localhost"),
        ("db=none.tar", "the service db: "),
        ("db=docker-archive:none.tar", "none.tar"),
        (&format!("db={}", busybox(&env, "bare", &json!({}), &[])), "the service db cannot be started: "),
    ] {
        let run = env.scrimp(&["slim", &web, "--with", with]).exits(2);
        assert!(run.stderr.contains(expected), "{expected}\n{run}");
    }
    let run =
        env.scrimp(&["slim", "host", "--sandbox", "e", "--no-verify", "--with", &format!("db={web}"), "--", "true"]);
    assert!(run.exits(2).stderr.contains("in place"));
}

/// Starts a slim with a service whose probe does not end, and waits until both run.
fn start(env: &Env, rung: &str) -> Child {
    let port = free_port();
    let config =
        json!({"Cmd": ["sh", "-c", format!("httpd -p {port} -h /www; exec sleep 2000")], "Env": ["PATH=/bin"]});
    let side = busybox_with(env, "side", &config, &[("/www/index.html", b"a page\n")]);
    let app = busybox(env, "app", &json!({"Cmd": ["sleep", "1000"], "Env": ["PATH=/bin"]}), &[]);
    let with = format!("side={side}");
    let arguments = ["slim", &app, "--with", &with, "--no-probe", "--timeout", "1000s", "--sandbox", rung];
    let child = env.scrimp_command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !arguments_of(sandboxed(&child, "sleep")).contains("1000") {
        // The service is the first of that name.
        std::thread::yield_now();
        if count(&child, "sleep") == 2 {
            break;
        }
    }
    child
}

fn arguments_of(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}

/// How many processes of this name descend from a scrimp.
fn count(scrimp: &Child, name: &str) -> usize {
    let mut family = vec![i32::try_from(scrimp.id()).unwrap()];
    let mut next = 0;
    while let Some(pid) = family.get(next).copied() {
        family.extend(crate::support::children(pid).into_iter().map(|(pid, _)| pid));
        next += 1;
    }
    family.iter().filter(|pid| arguments_of(**pid).split('\0').next() == Some(name)).count()
}

#[test]
fn a_service_does_not_outlive_a_killed_scrimp() {
    for env in [Env::new(), Env::as_user(User::Subordinate), Env::as_user(User::Single)] {
        for (rung, signal) in RUNGS.into_iter().zip([Signal::SIGKILL, Signal::SIGINT, Signal::SIGKILL, Signal::SIGKILL])
        {
            let child = start(&env, rung);
            kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
            child.wait_with_output().unwrap();
            let left: Vec<_> = env.leftovers().into_iter().filter(|left| !left.starts_with("scratch ")).collect();
            assert_eq!(left, Vec::<String>::new(), "{rung}");
            env.scrimp(&["inspect", &format!("docker-archive:{}", env.path("app.tar"))]).succeeds();
            assert_eq!(env.leftovers(), Vec::<String>::new(), "{rung}");
        }
    }
}

#[test]
fn a_killed_supervisor_of_a_service_ends_the_run() {
    let env = Env::new();
    let child = start(&env, "a");
    let supervisors = crate::support::children(child.id().try_into().unwrap());
    let service = supervisors.iter().find(|(_, name)| name.starts_with(b"scrimp-supervisor")).unwrap().0;
    kill(Pid::from_raw(service), Signal::SIGKILL).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the service side ended with signal 9") || said.contains("supervisor"), "{said}");
    assert_eq!(env.leftovers(), Vec::<String>::new());
}

#[test]
fn what_a_service_is_told_stays_secret() {
    let env = Env::new();
    let secret = "s3rvice-c0ffee42";
    let config = json!({"Cmd": ["httpd", "-f", "-p", "8081", "-h", "/www"], "Env": ["PATH=/bin"]});
    let tell = "#!/bin/sh\necho\necho $PASSWORD\n";
    let side = busybox(&env, "side", &config, &[("/www/cgi-bin/tell", tell)]);
    let app = asks(&env, "8081", "/cgi-bin/tell; exit 7");
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let text = format!("[[service]]\nname = 'side'\nsource = '{side}'\nenv = {{ PASSWORD = '{secret}' }}\n");
    fs::write(file.path(), text).unwrap();
    let run = env.scrimp(&["slim", &app, "--config", file.path().to_str().unwrap(), "--trace", "t"]).exits(1);
    assert!(run.stderr.contains("[redacted]") && !run.stderr.contains(secret), "{run}");
}

/// What `flask-redis` is asked: the method, the path, a body, and what the answer holds. scrimp is told of the first
/// two.
const ASKED: [(&str, &str, &str, &str); 9] = [
    ("GET", "/", "", "visit 1\n"),
    ("GET", "/total", "", "{\"visits\":1}"),
    ("GET", "/", "", "visit 2\n"),
    ("POST", "/vote/apple", "", "\"votes\":1"),
    ("POST", "/vote/pear", "<votes count='3'/>", "\"votes\":3"),
    ("GET", "/votes", "", "<li>pear: 3</li>\n  <li>apple: 1</li>"),
    ("GET", "/votes.csv", "", "apple,1.0"),
    ("GET", "/wrong", "", "WRONGTYPE"),
    ("GET", "/nowhere", "", "404 Not Found"),
];

/// What an image answers to all that it is asked, beside a redis of its own; the last answer is that without the redis.
fn beside_redis(podman: &Podman, env: &Env, archive: &Path) -> Vec<String> {
    let database = podman.start(&podman.load(&fixture("redis")));
    database.says(&["redis-cli", "ping"]);
    fs::write(env.path("hosts"), "127.0.0.1 localhost redis\n").unwrap();
    let (network, hosts) = (database.network(), format!("{}:/etc/hosts:ro", env.path("hosts")));
    let application = podman.start_with(&[&network, "--volume", &hosts], &podman.load(archive));
    let ask = |method: &str, path: &str, body: &str| {
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.0\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
        let bytes =
            application.talk(8000, request.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{}", application.logs()));
        let answer = Response::parse(&bytes).unwrap();
        format!("{} {:?} {}", answer.status, answer.headers.get("content-type"), String::from_utf8_lossy(&answer.body))
    };
    let mut answers: Vec<String> = ASKED.iter().map(|(method, path, body, _)| ask(method, path, body)).collect();
    let visits = database.says(&["redis-cli", "get", "visits"]);
    assert_eq!(visits, "2\n", "the answers come from the redis");
    database.exec(&["redis-cli", "shutdown", "nosave"]);
    answers.push(ask("GET", "/total", ""));
    answers
}

#[track_caller]
fn answers_alike(base: &[String], small: &[String]) {
    assert_eq!(base, small);
    for ((method, path, _, holds), answer) in ASKED.iter().zip(base) {
        assert!(answer.contains(holds), "{method} {path}: {answer}");
    }
    assert!(base.last().is_some_and(|answer| answer.starts_with("503 ") && answer.contains("the store is away")));
}

#[test]
fn a_flask_application_with_a_redis_works_in_podman() {
    let env = Env::new().sharing_the_store();
    let (shop, redis) = (env.source("flask-redis"), env.source("redis"));
    let with = format!("redis={redis}");
    let small = env.path("small.tar");
    let out = format!("docker-archive:{small}:localhost/shop:1");
    let arguments = ["slim", &shop, "--with", &with, "--http", "/", "--http", "/total", "-o", &out, "--format", "json"];
    let run = env.scrimp(&arguments).succeeds();
    assert_eq!(run.json()["verify"]["status"], "passed", "{run}");
    let tree = Image::read(Path::new(&small)).tree;
    assert!(!tree.keys().any(|path| path.contains("redis-server")), "the service is no part of it");
    assert!(tree.keys().any(|path| path.ends_with("/redis/client.py")), "what the application has of it is");

    let podman = Podman::new();
    let base = beside_redis(&podman, &env, &fixture("flask-redis"));
    answers_alike(&base, &beside_redis(&podman, &env, Path::new(&small)));
}

#[test]
fn services_of_the_settings_have_a_port_and_a_job_before_them() {
    let env = Env::new().sharing_the_store();
    let (shop, redis) = (env.source("flask-redis"), env.source("redis"));
    let (small, password) = (env.path("small.tar"), "only-for-the-run");
    let url = format!("redis://:{password}@store:7000/1");
    // The server is moved to another port and wants a password; a job fills it; the application has two ways to start.
    let settings = format!(
        r#"
        [image]
        source = "{shop}"
        output = ["docker-archive:{small}:localhost/shop:2"]

        [all-runs]
        env = {{ REDIS_URL = "{url}" }}

        [[run]]
        name = "web"
        probes = {{ http = ["/", "/total"], exercise = "none" }}

        [[run]]
        name = "worker"
        command = ["worker"]
        probes = {{ exercise = "none" }}

        [[service]]
        name = "store"
        source = "{redis}"
        command = "redis-server --port 7000 --requirepass {password}"
        ready = {{ step = {{ kind = "tcp", send = 'AUTH {password}\r\nPING\r\n', expect = {{ contains = "+PONG" }} }} }}

        [[service]]
        name = "fill"
        source = "{redis}"
        env = {{ REDISCLI_AUTH = "{password}" }}
        command = "redis-cli -h store -p 7000 -n 1 rpush jobs first"
        ready = "ended"
        "#
    );
    fs::write(env.path("scrimp.toml"), settings).unwrap();
    let run = env.scrimp(&["slim", "--lock", "out.lock", "--trace", "out.trace", "--format", "json"]).succeeds();
    assert_eq!(run.json()["verify"]["status"], "passed", "{run}");
    for file in ["out.lock", "out.trace"] {
        let written = fs::read_to_string(env.path(file)).unwrap();
        assert!(!written.contains(password), "{file} has the password");
    }
    let podman = Podman::new();
    let image = podman.load(Path::new(&small));
    let server = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no"];
    let database = podman.start_command(&["--network=none"], &podman.load(&fixture("redis")), &server);
    database.says(&["redis-cli", "rpush", "jobs", "second"]);
    let (network, url) = (database.network(), "REDIS_URL=redis://127.0.0.1:6379/0");
    let web = podman.start_with(&[&network, "--env", url], &image);
    assert_eq!(String::from_utf8_lossy(&web.get(8000, "/total").body).trim(), "{\"visits\":0}");
    for job in ["c2Vjb25k", "bm90aGluZw=="] {
        assert_eq!(web.says(&["python3", "/app/shop.py", "worker"]), format!("worked on {job}\n"));
    }
}
