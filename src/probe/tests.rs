//! Whole plans, run against real servers on the loopback of this machine.

mod readiness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::base::ImagePath;
use crate::observation::{ProbeResult, Redactor};
use crate::probe::fake::{self, FakeTarget, output};
use crate::probe::{Circumstances, HealthcheckCommand, Plan, Port, Run, Spec, run};

/// Serves connections with `talk` until the test program ends.
fn server(mut talk: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(|stream| talk(stream.unwrap())));
    address
}

/// The head of a request; `None` for a connection without one, of somebody who waits for a banner.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

/// An HTTP server that answers with `statuses` in turn; the last one stays.
fn web(statuses: &'static [&'static str]) -> SocketAddr {
    let mut requests = 0;
    server(move |mut stream| {
        if head(&mut stream).is_none() {
            return;
        }
        let status = statuses[requests.min(statuses.len() - 1)];
        requests += 1;
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok").unwrap();
    })
}

fn spec(text: &str) -> Spec {
    Spec::parse(text, "x.toml", Path::new("")).unwrap()
}

fn given(specs: Vec<Spec>) -> Plan {
    Plan::new(specs, Circumstances::default())
}

fn run_plan(plan: &Plan, target: &FakeTarget) -> Run {
    run(plan, target, &Redactor::default()).unwrap()
}

/// `NAME: ok` or `NAME: FAILURE`, one line each.
fn summary(run: &Run) -> String {
    let line = |p: &ProbeResult| format!("{}: {}\n", p.name, p.failure.as_deref().unwrap_or("ok"));
    run.transcript.probes.iter().map(line).collect()
}

#[test]
fn steps_run_in_order_and_are_announced() {
    let address = web(&["200 OK"]);
    let target = FakeTarget::listening(&[address]).with_command("check it", vec![output(0, "fine", "")]);
    let specs = vec![
        Spec::from_http_argument("/a").unwrap(),
        spec("[[step]]\nkind = 'exec'\nargv = ['check', 'it']\nuser = 'app'\nkeep = false\nrepeat = 2"),
    ];
    let done = run_plan(&given(specs), &target);
    assert_eq!(summary(&done), "http GET /a: ok\nexec check it: ok\nexec check it #2: ok\n");
    assert_eq!(
        target.log(),
        [
            "enter",
            "begin http GET /a",
            "end",
            "begin exec check it",
            "exec check it as app (observer)",
            "end",
            "begin exec check it #2",
            "exec check it as app (observer)",
            "end",
        ]
    );
    assert_eq!(
        done.transcript.probes[0].ignore,
        ["header:age", "header:date", "header:etag", "header:expires", "header:server-timing"]
    );
    assert_eq!(done.plan.wait_for, [Port::tcp(address.port())]);
}

#[test]
fn a_resolved_plan_asks_the_same_again_and_stays_as_it_is() {
    let banner = server(|mut stream| stream.write_all(b"220 hello\r\n").unwrap());
    let mute = server(drop);
    let web = web(&["500 Internal Server Error"]);
    let target = FakeTarget::listening(&[banner, mute, web]).with_command("healthy", vec![output(0, "", "")]);
    let healthcheck = HealthcheckCommand { argv: vec!["healthy".into()], timeout: Duration::from_secs(5) };
    let plan = Plan::new(vec![], Circumstances { healthcheck: Some(healthcheck), ..Circumstances::default() });
    let first = run_plan(&plan, &target);
    let mut names: Vec<&str> = first.transcript.probes.iter().map(|p| p.name.as_str()).collect();
    names.sort();
    let mut expected = vec!["exec healthy".to_string(), "http GET /".into()];
    expected.extend([banner, mute].map(|address| format!("tcp {}", address.port())));
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(first.transcript.tally(), (4, 0), "{}", summary(&first));

    let written = serde_json::to_string(&first.plan).unwrap();
    let second = run_plan(&serde_json::from_str(&written).unwrap(), &target);
    assert_eq!((second.transcript, second.plan), (first.transcript, first.plan));
}

#[test]
fn alone_a_server_error_on_the_start_page_fails() {
    let target = FakeTarget::listening(&[web(&["500 Internal Server Error"])]);
    let done = run_plan(&given(vec![]), &target);
    assert_eq!(
        summary(&done),
        "http GET /: expected status below 500, got 500 Internal Server Error; the body begins \"ok\"\n"
    );
}

#[test]
fn a_shipped_spec_is_chosen_by_what_listens() {
    let redis = server(|mut stream| {
        let mut request = [0; 100];
        let n = stream.read(&mut request).unwrap();
        let answer: &[u8] = match &request[..n] {
            b"PING\r\n" => b"+PONG\r\n",
            b"SET scrimp:probe value EX 60\r\n" => b"+OK\r\n",
            b"GET scrimp:probe\r\n" => b"$5\r\nvalue\r\n",
            b"DEL scrimp:probe\r\n" => b":1\r\n",
            b"EVAL \"return redis.call('PING')\" 0\r\n" => b"+PONG\r\n",
            b"SAVE\r\n" => b"+OK\r\n",
            _ => b"$4\r\ninfo\r\n",
        };
        stream.write_all(answer).unwrap();
    });
    let executables = vec![ImagePath::parse("/usr/bin/redis-server").unwrap()];
    let target = FakeTarget { executables, ..FakeTarget::listening(&[redis]) };
    let done = run_plan(&given(vec![]), &target);
    let names = ["ping", "set", "get", "del", "eval", "save", "info"];
    let expected = names.map(|name| format!("tcp {} {name}: ok\n", redis.port()));
    assert_eq!(summary(&done), expected.concat());
}

#[test]
fn requests_go_to_the_exposed_port_then_to_the_one_that_speaks_http() {
    let (mute, web) = (server(drop), web(&["200 OK"]));
    let target = FakeTarget::listening(&[mute, web]);
    let step = vec![Spec::from_http_argument("/").unwrap()];
    for circumstances in [
        Circumstances::default(),
        Circumstances { exposed: vec![Port::tcp(1), Port::tcp(web.port())], ..Circumstances::default() },
        Circumstances { exposed: vec![Port::tcp(mute.port())], ..Circumstances::default() },
        Circumstances { port: Some(Port::tcp(web.port())), ..Circumstances::default() },
    ] {
        let done = run_plan(&Plan::new(step.clone(), circumstances), &target);
        assert_eq!(summary(&done), "http GET /: ok\n");
        assert_eq!(done.plan.steps[0].port(), Some(Port::tcp(web.port())));
    }
}

#[test]
fn who_says_nothing_to_a_request_is_asked_again_only_while_it_is_at_work() {
    // It keeps the first request until the caller gives up, and answers the others.
    let kept = || {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let address = server(move |mut stream| {
            let mut bytes = [0; 4096];
            let asked = stream.read(&mut bytes).is_ok_and(|n| n > 0);
            if asked && counter.fetch_add(1, Ordering::SeqCst) > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            } else {
                drop(stream.read(&mut bytes));
            }
        });
        (address, count)
    };
    for (rests, expected, requests) in [(true, "tcp", 1), (false, "http", 3)] {
        let (address, count) = kept();
        let done = run_plan(&given(vec![]), &FakeTarget { rests, ..FakeTarget::listening(&[address]) });
        assert!(summary(&done).starts_with(expected) && summary(&done).ends_with(": ok\n"), "{}", summary(&done));
        assert_eq!(count.load(Ordering::SeqCst), requests, "rests: {rests}");
    }
}

#[test]
fn a_udp_service_without_a_probe_is_named_at_once() {
    let listener = fake::udp("127.0.0.1:53".parse().unwrap());
    let message = "ready: the application listens on udp 127.0.0.1:53, for which no probe is known\nhint: give one (--probe \
                   FILE with a step of its kind, --exec, --script) or none (--no-probe)\n";
    let target = FakeTarget { rests: true, listeners: vec![listener].into(), ..FakeTarget::default() };
    assert_eq!(summary(&run_plan(&given(vec![]), &target)), message);
    // It need not even rest where the image says that this is all.
    let exposing = Circumstances { exposed: vec![Port::udp(53)], ..Circumstances::default() };
    let target = FakeTarget { listeners: vec![listener].into(), ..FakeTarget::default() };
    assert_eq!(summary(&run_plan(&Plan::new(vec![], exposing), &target)), message);
}

#[test]
fn a_port_of_the_kernels_choice_is_another_in_another_run() {
    let (first, second) = (web(&["200 OK"]), web(&["200 OK"]));
    let mute = [server(drop), server(drop)];
    let done = run_plan(&given(vec![]), &FakeTarget::listening(&[mute[0], first]));
    let again = run_plan(&done.plan, &FakeTarget::listening(&[mute[1], second]));
    let names = |run: &Run| run.transcript.probes.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    assert_eq!(again.transcript.tally(), (2, 0), "{}", summary(&again));
    assert_eq!((names(&again), &again.plan), (names(&done), &done.plan));
}

#[test]
fn scripts_are_told_the_way() {
    let (mute, web) = (server(drop), web(&["200 OK"]));
    let probes = || vec![Spec::from_while_argument("check it").unwrap()];
    let answers = || vec![output(0, "fine", "")];
    let target = FakeTarget::listening(&[mute, web]).with_command("/bin/sh -c check it", answers());
    let done = run_plan(&given(probes()), &target);
    assert_eq!(summary(&done), "while 'check it': ok\n");
    let port = web.port();
    let told = format!("script SCRIMP_HOST=127.0.0.1 SCRIMP_PORT={port} SCRIMP_URL=http://127.0.0.1:{port}");
    assert!(target.log().contains(&told), "{:?}", target.log());
    let silent = FakeTarget::default().with_command("/bin/sh -c check it", answers());
    let done = run_plan(&Plan { patience: Duration::from_millis(20), ..given(probes()) }, &silent);
    assert_eq!((summary(&done).as_str(), done.notes.len()), ("while 'check it': ok\n", 1));
    assert!(silent.log().contains(&"script ".to_owned()), "{:?}", silent.log());
}

#[test]
fn a_command_that_fails_is_no_broken_run_but_a_broken_sandbox_is() {
    let target = FakeTarget::listening(&["127.0.0.1:1".parse().unwrap()])
        .with_command("slow", vec![Err("timeout".into())])
        .with_command("broken", vec![Err("supervisor is gone".into())])
        .with_command("select", vec![output(0, "1\n", "")]);
    let exec = |text: &str| Spec::from_exec_argument(text).unwrap();
    let select = |expect: &str| spec(&format!("[[step]]\nkind = 'exec'\nargv = ['select']\nexpect = {{ {expect} }}"));
    let specs = vec![
        exec("none"),
        exec("slow"),
        select("stdout = '1'"),
        select("stdout = '2'"),
        select("stdout_contains = '2'"),
        select("exit = 1"),
    ];
    assert_eq!(
        summary(&run_plan(&given(specs), &target)),
        "exec none: cannot run none: not found in PATH\n\
         exec slow: timed out after 10 s\n\
         exec select: ok\n\
         exec select #2: expected the output \"2\", got \"1\\n\"\n\
         exec select #3: expected \"2\" in the output, got \"1\\n\"\n\
         exec select #4: expected exit code 1, got 0: \"1\"\n"
    );
    let error = run(&given(vec![exec("broken")]), &target, &Redactor::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot run broken in the sandbox: supervisor is gone");
}

#[test]
fn what_a_request_carried_is_in_no_result() {
    let address = server(|mut stream| {
        let mut request = [0; 4096];
        let n = stream.read(&mut request).unwrap();
        let head = "HTTP/1.1 500 Oops\r\nX-Echo: Bearer tok-1234\r\nContent-Length: ";
        write!(stream, "{head}{n}\r\n\r\n").unwrap();
        stream.write_all(&request[..n]).unwrap();
    });
    let text = "[[step]]\nkind = 'http'\nmethod = 'POST'\npath = '/?t=tok-1234'\nbody = '{\"p\":\"hunter22\"}'\n\
                headers = { Authorization = 'Bearer tok-1234' }";
    let target = FakeTarget::listening(&[address]);
    let done = run_plan(&given(vec![spec(text)]), &target);
    let shown = format!("{:?} {:?} {:?}", done, target.log(), serde_json::to_string(&done.transcript).unwrap());
    let results = shown.replace(&format!("{:?}", done.plan), "");
    assert!(!results.contains("tok-1234") && !results.contains("hunter22"), "{results}");
    assert!(results.contains("[redacted]"));
}

/// An HTTP server that answers by path; what it does not know is 404.
fn site(pages: &'static [(&'static str, &'static str, &'static str)]) -> SocketAddr {
    server(move |mut stream| {
        let Some(head) = head(&mut stream) else { return };
        // What is not read resets the connection, and the answer with it.
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        stream.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        let found = pages.iter().find(|(known, ..)| *known == path);
        let (status, kind, body) = match found {
            Some((_, "500", body)) => ("500 Oops", "text/plain", *body),
            Some((_, kind, body)) => ("200 OK", *kind, *body),
            None => ("404 Not Found", "text/plain", ""),
        };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    })
}

#[test]
fn a_crawl_becomes_the_requests_that_it_made() {
    let address = site(&[
        ("/", "text/html", "<a href=/a></a><a href=/gone></a><a href=http://example.org/></a><img src=/i.png>"),
        ("/a", "500", "no database"),
        ("/i.png", "image/png", "x"),
    ]);
    let target = FakeTarget::listening(&[address]);
    let specs = vec![Spec::from_http_argument("/a").unwrap(), Spec::from_crawl_arguments(3, 100)];
    let done = run_plan(&given(specs), &target);
    let failure = "expected status below 500, got 500 Internal Server Error; the body begins \"no database\"";
    assert_eq!(
        summary(&done),
        format!(
            "http GET /a: {failure}\nhttp GET /: ok\nhttp GET /a #2: {failure}\nhttp GET /gone: ok\nhttp GET /i.png: ok\n"
        )
    );
    assert_eq!(done.notes, ["crawl of /: not there: /gone (404, on /)"]);
    assert_eq!(done.plan.steps.len(), 5);
    let written = serde_json::to_string(&done.plan).unwrap();
    let again = run_plan(&serde_json::from_str(&written).unwrap(), &target);
    assert_eq!((again.transcript, again.plan, again.notes), (done.transcript, done.plan, vec![]));
}

#[test]
fn a_description_becomes_the_requests_that_it_describes() {
    let document = "{\"openapi\":\"3.0.0\",\"paths\":{\"/x/{id}\":{\"delete\":{},\"get\":{}},\"/y\":{\"post\":{\"requestBody\":{\"content\":\
                    {\"application/json\":{\"schema\":{\"required\":[\"a\"],\"properties\":{\"a\":{\"type\":\"string\"}}}}}}}}}}";
    let address =
        site(Box::leak(Box::new([("/openapi.json", "application/json", document), ("/x/1", "text/plain", "scrimp")])));
    let target = FakeTarget::listening(&[address]);
    let done = run_plan(&given(vec![Spec::from_openapi_argument("/openapi.json").unwrap()]), &target);
    assert_eq!(
        summary(&done),
        "http GET /openapi.json: ok\nhttp GET /x/1: ok\nhttp POST /y: ok\nhttp DELETE /x/1: ok\n"
    );
    let again = run_plan(&done.plan, &target);
    assert_eq!((again.transcript, again.plan), (done.transcript, done.plan));

    let done = run_plan(&given(vec![Spec::from_openapi_argument("/x/1").unwrap()]), &target);
    assert_eq!(
        summary(&done),
        "http GET /x/1: what it answers describes no requests: it is no OpenAPI document: it has no \"openapi\"\n"
    );
    let done = run_plan(&given(vec![Spec::from_openapi_argument("/none").unwrap()]), &target);
    assert!(summary(&done).starts_with("http GET /none: expected status 2xx, got 404 Not Found"), "{}", summary(&done));
}

#[test]
fn what_a_step_ignores_is_in_no_result() {
    let answers = ["{\"time\":1,\"a\":2}", "{\"time\":22,\"a\":2}", "{\"time\":3,\"a\":4}"];
    let mut requests = 0;
    let address = server(move |mut stream| {
        let mut request = [0; 4096];
        if stream.read(&mut request).unwrap() > 0 {
            let body = answers[requests];
            let head = format!("HTTP/1.1 200 OK\r\nDate: {requests}\r\nContent-Length: {}", body.len());
            requests += 1;
            write!(stream, "{head}\r\n\r\n{body}").unwrap();
        }
    });
    let target = FakeTarget::listening(&[address]);
    let done = run_plan(&given(vec![spec("[[step]]\nkind = 'http'\nrepeat = 3\nignore = ['json:$.time']")]), &target);
    let answers: Vec<_> = done.transcript.probes.iter().map(|probe| &probe.answer).collect();
    assert_eq!(answers[0], answers[1]);
    assert_ne!(answers[0], answers[2]);
}

#[test]
fn what_a_step_of_bytes_ignores_is_in_no_result() {
    let mut connections = 0;
    let address = server(move |mut stream| {
        connections += 1;
        writeln!(stream, "220 ready, you are number {connections}").unwrap();
    });
    let target =
        FakeTarget::listening(&[address]).with_command("now", vec![output(0, "at 1", ""), output(0, "at 2", "")]);
    let number = "repeat = 2\nignore = ['regex:[0-9]$', 'regex:number [0-9]+']\n";
    let text = format!("[[step]]\nkind = 'tcp'\nsend = ''\n{number}[[step]]\nkind = 'exec'\nargv = ['now']\n{number}");
    let done = run_plan(&given(vec![spec(&text)]), &target);
    let answers: Vec<_> = done.transcript.probes.iter().map(|probe| &probe.answer).collect();
    assert_eq!((answers[0], answers[2]), (answers[1], answers[3]));
}

#[test]
fn the_documentation_is_true() {
    let text = include_str!("../../docs/probes.md");
    let blocks: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 2);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("shop-api.yaml"), "openapi: 3.1.0\npaths: { /orders: { get: {} } }").unwrap();
    for block in blocks {
        Spec::parse(block, "docs/probes.md", dir.path()).unwrap_or_else(|e| panic!("{e}"));
    }
    for kind in ["http", "crawl", "openapi", "websocket", "grpc", "tcp", "udp", "exec"] {
        assert!(text.contains(&format!("`kind = \"{kind}\"`")), "{kind} is not in docs/probes.md");
    }
    for name in crate::probe::shipped_names() {
        assert!(text.contains(&format!("`{name}`")), "{name} is not in docs/probes.md");
    }
}
