//! Probes that reach further on the web: a crawl of a real server, and peers that others have written.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Env, Image, busybox, web_config};

const SITE: [(&str, &str); 6] = [
    (
        "/www/index.html",
        "<link rel=stylesheet href=style.css><a href='sub/page.html'>on</a><a href='/gone'>gone</a>\
         <a href='http://192.0.2.1/elsewhere'>elsewhere</a><a href='/logout'>bye</a>",
    ),
    ("/www/style.css", "body { background: url('picture.png') }"),
    ("/www/picture.png", "only the style sheet names it"),
    ("/www/sub/page.html", "<form action=../index.html><input name=q value=1></form>"),
    ("/www/logout", "what nobody asks for"),
    ("/www/unlinked.html", "what nobody names"),
];

/// The first line of a trace.
fn header(trace: &str) -> Value {
    serde_json::from_str(fs::read_to_string(trace).unwrap().lines().next().unwrap()).unwrap()
}

fn probes(header: &Value) -> Vec<&str> {
    header["transcript"]["probes"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect()
}

#[test]
fn a_crawl_finds_what_the_pages_lead_to_and_nothing_else() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &SITE);
    let [out, trace] = ["out.tar", "a.trace.jsonl"].map(|name| env.path(name));
    let destination = format!("docker-archive:{out}");
    let arguments = ["slim", &source, "--crawl", "--level", "closure", "-o", &destination, "--trace", &trace];
    let run = env.scrimp(&[&arguments[..], &["--format", "json"]].concat()).succeeds();
    let summary = run.json();
    assert_eq!(summary["verify"]["status"], "passed", "{summary}");
    let image = Image::read(Path::new(&out));
    for (path, kept) in SITE.map(|(path, _)| (path, !path.ends_with("/logout") && !path.ends_with("unlinked.html"))) {
        assert_eq!(image.tree.contains_key(path), kept, "{path}");
    }
    let header = header(&trace);
    let expected = ["/", "/style.css", "/sub/page.html", "/gone", "/picture.png", "/index.html?q=1"];
    assert_eq!(probes(&header), expected.map(|path| format!("http GET {path}")));
    let warnings = header["warnings"].to_string();
    assert!(warnings.contains("crawl of /: not there: /gone (404, on /)"), "{warnings}");
    assert!(warnings.contains("crawl of /: not asked for: /logout"), "{warnings}");
}

#[test]
fn what_the_base_changes_by_itself_is_not_held_against_the_small_image_and_the_rest_is() {
    let env = Env::new();
    // The file is read by the program, and its content is in a member of its own.
    let program = "#!/bin/sh\necho Content-Type: application/json\necho\n\
                   echo \"{\\\"id\\\": \\\"$(cat /proc/sys/kernel/random/uuid)\\\", \\\"text\\\": \\\"$(cat /etc/text)\\\"}\"\n";
    let source = busybox(&env, "web", &web_config(), &[("/www/cgi-bin/now", program), ("/etc/text", "as it was")]);
    let probe = env.path("probe.toml");
    let step = "[[step]]\nkind = 'http'\npath = '/cgi-bin/now'\n";
    let slim = |arguments: &[&str]| env.scrimp(&[&["slim", &source, "--probe", &probe], arguments].concat());

    fs::write(&probe, step).unwrap();
    slim(&["-o", "docker-archive:out.tar"]).succeeds();
    let drop = ["-o", "docker-archive:no.tar", "--drop", "/etc/text", "--force-drop"];
    let run = slim(&drop).exits(1);
    assert!(run.stderr.contains("json:$.text\n  base  \"as it was\"\n  slim  \"\""), "{run}");
    assert!(!run.stderr.contains("json:$.id\n"), "{run}");
    assert!(run.stderr.contains("json:$.id of http GET /cgi-bin/now: two runs of the source differ in it"), "{run}");

    fs::write(&probe, format!("{step}ignore = ['json:$.id', 'json:$.text']\n")).unwrap();
    let traces = ["one", "two"].map(|name| {
        env.scrimp(&["trace", &source, "--probe", &probe, "-o", &env.path(name)]).succeeds();
        header(&env.path(name))["transcript"].clone()
    });
    assert_eq!(traces[0], traces[1]);
}

#[test]
fn grpc_and_websocket_servers_of_others_are_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/peers/bin/python");
    assert!(python.exists(), "there is no {}\nhint: scripts/peers installs it", python.display());
    let (python, peers) = (python.to_str().unwrap(), root.join("fixtures/peers/peers.py"));
    let env = Env::new();
    let probe = env.path("probe.toml");
    let text = r#"
        [ready]
        port = 8765
        [[step]]
        kind = "grpc"
        port = 50051
        [[step]]
        kind = "grpc"
        port = 50051
        service = "shop"
        [[step]]
        kind = "grpc"
        port = 50051
        call = "reflection"
        expect = { contains = "grpc.health.v1.Health" }
        [[step]]
        kind = "grpc"
        port = 50051
        call = "/grpc.health.v1.Health/Check"
        send_hex = "0a 04 73 69 63 6b"
        expect = { contains = '\x08\x02' }
        [[step]]
        kind = "grpc"
        port = 50051
        call = "/no.Such/Call"
        expect = { code = 12 }
        [[step]]
        kind = "websocket"
        port = 8765
        path = "/room?n=1"
        protocols = ["chat.v1"]
        messages = [{ contains = "/room?n=1" }, { send = "abc" }, { matches = "^cba$" }, { send_hex = "00ff" }, { contains = '\xff\x00' }]
    "#;
    fs::write(&probe, text).unwrap();
    let command = ["--", python, peers.to_str().unwrap()];
    let trace = |name: &str| {
        let path = env.path(name);
        env.scrimp(&[&["trace", "host", "--probe", &probe, "-o", &path][..], &command].concat()).succeeds();
        header(&path)
    };
    let first = trace("one");
    let names =
        ["grpc health", "grpc health #2", "grpc reflection", "grpc /grpc.health.v1.Health/Check", "grpc /no.Such/Call"];
    assert_eq!(probes(&first), [&names[..], &["websocket /room?n=1"]].concat());
    let answer = |index: usize| first["transcript"]["probes"][index]["answer"].clone();
    assert_eq!((&answer(0)["status"], &answer(0)["count"], &answer(0)["bytes"]), (&0.into(), &1.into(), &2.into()));
    assert_eq!(answer(4)["status"], 12);
    assert_eq!(
        (&answer(5)["status"], &answer(5)["count"], &answer(5)["detail"]),
        (&101.into(), &3.into(), &"chat.v1".into())
    );
    assert_eq!(first["transcript"], trace("two")["transcript"]);
}
