//! Applications of many kinds, made small with the flags that a user would begin with, and then asked for more than
//! scrimp was told of: whatever the base answers, the small image answers too, in another runtime.
//!
//! What scrimp is told, what is asked and how big the result may be stands in `applications/NAME.toml`:
//!
//! | key | |
//! |---|---|
//! | `slim` | arguments of `scrimp slim`; nothing else is told |
//! | `port` | where requests go |
//! | `[[limit]]` | `bytes`, or `times_by_hand` for the list that `fixtures/NAME/by-hand` makes, with further `arguments` |
//! | `[[probed]]` | a request that scrimp was told of |
//! | `[[unprobed]]` | one that it was not told of |
//!
//! A request is `http = "METHOD PATH"` with `headers` and a `body`; `tcp`, bytes to which all is read that comes until
//! the other side closes; `exec`, a command in the running container, or `run`, the command of a container of its own.
//! Each `says` what the base's answer must contain, so that nothing passes because it fails everywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::support::{Container, Podman, Response, Run, Small, by_hand, fixture};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Judged {
    #[serde(default)]
    slim: Vec<String>,
    port: u16,
    #[serde(default)]
    limit: Vec<Limit>,
    #[serde(default)]
    probed: Vec<Request>,
    unprobed: Vec<Request>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    #[serde(default)]
    arguments: Vec<String>,
    bytes: Option<u64>,
    times_by_hand: Option<f64>,
}

/// One of `http`, `tcp`, `exec` and `run`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    http: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    tcp: Option<String>,
    exec: Option<Vec<String>>,
    run: Option<Vec<String>>,
    /// What is in the base's answer.
    says: String,
}

/// How long a service may take until it answers the first request as it should.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const INTERVAL: Duration = Duration::from_millis(50);

/// Headers that say when the answer was made, or which process made it.
const PASSING: [&str; 1] = ["date"];

/// Files that scanners and lawyers read, and which no application needs: they are counted apart.
fn is_package_data(path: &str) -> bool {
    let below = [
        "/var/lib/dpkg/",
        "/lib/apk/db/",
        "/usr/lib/apk/db/",
        "/var/lib/rpmmanifest/",
        "/usr/share/common-licenses/",
        "/usr/share/licenses/",
    ];
    below.iter().any(|above| path.starts_with(above))
        || path.starts_with("/usr/share/doc/") && path.ends_with("/copyright")
        || path.ends_with("/os-release")
}

/// What a lock file lists that is no package data: bytes of regular files.
fn weight(small: &Small) -> u64 {
    let files = small.lock.iter().filter(|entry| !is_package_data(entry["path"].as_str().unwrap()));
    files.filter_map(|entry| entry["size"].as_u64()).sum()
}

fn slim(name: &str, arguments: &[&str]) -> Small {
    let small = Small::as_root(name, arguments);
    assert_eq!(small.summary["probes"]["failed"], 0, "{}", small.summary);
    small
}

/// The answers of an image to all requests, in their order, and what it wrote.
fn answers(podman: &Podman, archive: &Path, judged: &Judged) -> (Vec<String>, String) {
    let image = podman.load(archive);
    let service = podman.start(&image);
    let ask = |request: &Request| request.answer(podman, &image, &service, judged.port);
    // A service may listen before it can answer.
    let deadline = Instant::now() + PATIENCE;
    while let Some(first) = judged.probed.first()
        && !ask(first).contains(&first.says)
        && Instant::now() < deadline
    {
        std::thread::sleep(INTERVAL);
    }
    let answers = judged.probed.iter().chain(&judged.unprobed).map(ask).collect();
    (answers, service.logs())
}

impl Request {
    /// The answer as text; that there is none is one too.
    fn answer(&self, podman: &Podman, image: &str, service: &Container<'_>, port: u16) -> String {
        let talk = |bytes: &[u8]| service.talk(port, bytes).map_err(|problem| format!("no answer: {problem}"));
        let ended = |run: Run| format!("{}\n{}\n{}", run.status, run.stdout, run.stderr);
        match (&self.http, &self.tcp, &self.exec, &self.run) {
            (Some(line), None, None, None) => match talk(self.http_request(line).as_bytes()) {
                Ok(bytes) => Response::parse(&bytes).map_or_else(|| lossy(&bytes), |response| essence(&response)),
                Err(problem) => problem,
            },
            (None, Some(text), None, None) => talk(text.as_bytes()).map_or_else(|problem| problem, |b| lossy(&b)),
            (None, None, Some(command), None) => ended(service.exec(&words(command))),
            (None, None, None, Some(command)) => ended(podman.run(image, &words(command))),
            _ => panic!("a request is one of http, tcp, exec and run"),
        }
    }

    fn http_request(&self, line: &str) -> String {
        // A client that speaks 1.0 is sent no chunks.
        let mut text = format!("{line} HTTP/1.0\r\nHost: localhost\r\n");
        for (name, value) in &self.headers {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        if !self.body.is_empty() {
            write!(text, "Content-Length: {}\r\n", self.body.len()).unwrap();
        }
        text + "\r\n" + &self.body
    }

    /// What the request is called in a failure.
    fn title(&self) -> String {
        let command = self.exec.as_ref().or(self.run.as_ref()).map(|words| words.join(" "));
        self.http.clone().or(self.tcp.clone()).or(command).unwrap_or_default()
    }
}

fn words(text: &[String]) -> Vec<&str> {
    text.iter().map(String::as_str).collect()
}

/// What a client sees, but for what the clock says, and the order of methods, which means nothing (RFC 9110, 10.2.1): a
/// Python application has them in another with each start.
fn essence(answer: &Response) -> String {
    let mut text = format!("{}\n", answer.status);
    for (name, value) in answer.headers.iter().filter(|(name, _)| !PASSING.contains(&name.as_str())) {
        let mut parts: Vec<&str> = value.split(", ").collect();
        if name == "allow" {
            parts.sort_unstable();
        }
        writeln!(text, "{name}: {}", parts.join(", ")).unwrap();
    }
    text + "\n" + &lossy(&answer.body)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes an application small as often as it has limits, and asks the first result, and before that the base.
fn judge(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/applications").join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let judged: Judged = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let started = Instant::now();
    let podman = Podman::new();
    let (expected, log) = answers(&podman, &fixture(name), &judged);
    let requests: Vec<&Request> = judged.probed.iter().chain(&judged.unprobed).collect();
    for (request, answer) in requests.iter().zip(&expected) {
        assert!(answer.contains(&request.says), "the base to {}: {answer}\n--- its log\n{log}", request.title());
    }

    let told = words(&judged.slim);
    let small = slim(name, &told);
    let bytes = weight(&small);
    let (found, log) = answers(&podman, &small.archive, &judged);
    let mut problems = String::new();
    for (index, request) in requests.iter().enumerate().filter(|(index, _)| found[*index] != expected[*index]) {
        let kind = if index < judged.probed.len() { "probed" } else { "not probed" };
        let (base, small) = (&expected[index], &found[index]);
        let title = request.title();
        writeln!(problems, "=== {title} ({kind})\n--- the base\n{base}\n--- the small image\n{small}").unwrap();
    }
    if !problems.is_empty() {
        writeln!(problems, "=== what the small image wrote\n{log}").unwrap();
    }
    for limit in &judged.limit {
        let more = words(&limit.arguments);
        let bytes = if more.is_empty() { bytes } else { weight(&slim(name, &[&told[..], &more].concat())) };
        let most_by_hand = limit.times_by_hand.map(|times| (by_hand(name).1 as f64 * times) as u64);
        let most = limit.bytes.or(most_by_hand).expect("a limit is bytes or times_by_hand");
        eprintln!("{name} {more:?}: {bytes} bytes of at most {most}");
        if bytes > most {
            writeln!(problems, "=== {bytes} bytes with {more:?}, at most {most}").unwrap();
        }
    }
    eprintln!("{name}: {bytes} bytes, {} requests, {} s", requests.len(), started.elapsed().as_secs());
    assert!(problems.is_empty(), "{problems}");
}

/// A test for each application, and one that none is left out.
macro_rules! applications {
    ($($test:ident $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                judge($name);
            }
        )*

        #[test]
        fn each_application_that_is_described_is_judged() {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/applications");
            let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
            let mut names: Vec<_> = entries.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
            names.sort();
            assert_eq!(names, [$($name),*]);
        }
    };
}

applications! {
    apache_php "apache-php",
    busybox "busybox",
    flask "flask",
    nginx_cv "nginx-cv",
    node "node",
    openjdk_17 "openjdk-17",
    postgres_15 "postgres-15",
    redis "redis",
    setpriv "setpriv",
    sinatra "sinatra",
}
