use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::probe::expect::HttpExpect;

/// Serves one connection for each of `answers`, and hands over what was asked. The thread ends with the last.
fn server(answers: Vec<String>) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            sender.send(request(&stream)).unwrap();
            stream.write_all(answer.replace("PORT", &port.to_string()).as_bytes()).unwrap();
        }
    });
    (port, receiver)
}

/// The head and the body of a request.
fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut text).unwrap() > 0, "{text}");
    }
    let length = text.to_ascii_lowercase().lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn see(status: &str, location: &str) -> String {
    format!("HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

fn get(port: u16) -> HttpStep {
    HttpStep { port: Some(port), ..HttpStep::new("GET", "/cv?a=b") }
}

fn run(step: &HttpStep) -> Outcome {
    run_for(step, Duration::from_secs(30))
}

fn run_for(step: &HttpStep, timeout: Duration) -> Outcome {
    let client = HttpClient::new().unwrap();
    probe(&client, step, &[[127, 0, 0, 1].into()], timeout, &Redactor::new(["hunter22"]))
}

fn status(outcome: &Outcome) -> u16 {
    match outcome.answer {
        Answer::Http { status, .. } => status,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_has_sorted_headers_and_a_digest() {
    let (port, asked) = server(vec![ok("X-B: 2\r\nContent-Encoding: gzip\r\nx-a: caf\u{e9}\r\nX-B: 1\r\n", "hello")]);
    let outcome = run(&get(port));
    let headers =
        [("content-encoding", "gzip"), ("content-length", "5"), ("x-a", "caf\u{e9}"), ("x-b", "1"), ("x-b", "2")];
    let expected = Answer::Http {
        status: 200,
        headers: headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
        body_digest: Digest::of(b"hello"),
        body_bytes: 5,
    };
    assert_eq!((outcome.answer, outcome.failure), (expected, None));
    let mut lines: Vec<String> = asked.recv().unwrap().trim().lines().map(String::from).collect();
    lines[1..].sort();
    let expected =
        ["GET /cv?a=b HTTP/1.1", "accept: */*", "connection: close", "host: 127.0.0.1:PORT", "user-agent: scrimp"];
    assert_eq!(lines, expected.map(|line| line.replace("PORT", &port.to_string())));
}

#[test]
fn requests_carry_what_the_step_says() {
    let (port, asked) = server(vec![ok("", "")]);
    let step = HttpStep {
        method: "POST".into(),
        host: Some("shop.example".into()),
        headers: vec![("User-Agent".into(), "x".into()), ("X-Token".into(), "hunter22".into())],
        body: Some("a=1".into()),
        ..get(port)
    };
    assert_eq!(run(&step).failure, None);
    let asked = asked.recv().unwrap();
    for part in ["POST /cv?a=b", "host: shop.example\r\n", "user-agent: x\r\n", "x-token: hunter22\r\n", "\r\n\r\na=1"]
    {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    assert!(!asked.contains("scrimp") && asked.to_ascii_lowercase().matches("host:").count() == 1, "{asked}");
}

#[test]
fn chunked_bodies_are_digested_whole() {
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    let (port, _asked) = server(vec![chunks.into()]);
    let Answer::Http { body_digest, body_bytes, .. } = run(&get(port)).answer else { panic!() };
    assert_eq!((body_digest, body_bytes), (Digest::of(b"hello"), 5));
}

#[test]
fn redirects_are_answers_unless_they_are_to_be_followed() {
    let (port, _asked) = server(vec![see("302 Found", "/next")]);
    let outcome = run(&get(port));
    assert_eq!((status(&outcome), outcome.failure), (302, None));
}

#[test]
fn redirects_lead_to_no_other_host() {
    for (location, method, here) in [
        ("/next?x=1#part", "GET", true),
        ("http://127.0.0.1:PORT/next?x=1", "GET", true),
        ("http://localhost:PORT/next?x=1", "POST", true),
        ("http://shop.example/next?x=1", "GET", true),
        ("http://127.0.0.1:1/next", "GET", false),
        ("http://example.org/next", "GET", false),
        ("https://127.0.0.1:PORT/next", "GET", false),
        ("//example.org/next", "GET", false),
    ] {
        let (port, asked) = server(vec![see("302 Found", location), ok("", "there")]);
        let step = HttpStep {
            method: method.into(),
            host: Some("shop.example".into()),
            follow_redirects: true,
            body: (method == "POST").then(|| "a=1".into()),
            ..get(port)
        };
        let outcome = run(&step);
        assert_eq!((status(&outcome), outcome.failure), (if here { 200 } else { 302 }, None), "{location}");
        asked.recv().unwrap();
        if here {
            let asked = asked.recv().unwrap();
            assert!(asked.starts_with("GET /next?x=1 HTTP/1.1\r\n") && asked.ends_with("\r\n\r\n"), "{asked}");
        }
    }
}

#[test]
fn redirects_in_a_circle_end() {
    let (port, _asked) = server(vec![see("307 Temporary Redirect", "/cv"); MOST_REDIRECTS + 1]);
    let outcome = run(&HttpStep { follow_redirects: true, ..get(port) });
    assert_eq!(outcome.failure.unwrap(), "more than 10 redirects");
}

#[test]
fn failures_say_what_was_expected_and_what_came() {
    let expect = |toml: &str| {
        let text = format!("[[step]]\nkind = 'http'\nexpect = {{ {toml} }}");
        let spec = crate::probe::Spec::parse(&text, "x.toml", std::path::Path::new("")).unwrap();
        match &spec.steps[0].action {
            crate::probe::Action::Http(step) => step.expect.clone(),
            other => panic!("{other:?}"),
        }
    };
    let bad_gateway = "HTTP/1.1 502 Bad Gateway\r\n\r\nno hunter22 upstream\n";
    for (answer, expect, expected) in [
        (
            bad_gateway.to_string(),
            HttpExpect::default(),
            "expected status below 500, got 502 Bad Gateway; the body begins \"no [redacted] upstream\"",
        ),
        (ok("", ""), expect("status = [201, '3xx']"), "expected status 201 or 3xx, got 200 OK; the body is empty"),
        (
            ok("Content-Type: text/html\r\n", ""),
            expect("header = { Content-Type = 'image/*' }"),
            "expected header content-type to match \"image/*\", got text/html",
        ),
        (ok("", ""), expect("header = { X-A = '*' }"), "expected header x-a to match \"*\", got none"),
        (
            ok("", "hello"),
            expect("body_contains = 'bye'"),
            "expected \"bye\" in the body, got 5 bytes without it; the body begins \"hello\"",
        ),
        ("SSH-2.0-x\r\n".into(), HttpExpect::default(), "no HTTP answer from 127.0.0.1:PORT: "),
        ("".into(), HttpExpect::default(), "no HTTP answer from 127.0.0.1:PORT: connection closed"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".into(),
            HttpExpect::default(),
            "the body of the answer ended early, after 200 OK",
        ),
    ] {
        let (port, _asked) = server(vec![answer]);
        let failure = run(&HttpStep { expect, ..get(port) }).failure.unwrap();
        let expected = expected.replace("PORT", &port.to_string());
        assert!(failure.starts_with(&expected), "{failure:?} is not {expected:?}");
    }
    let (port, _asked) = server(vec![ok("", "hello")]);
    let digest = format!("body_digest = '{}', body_contains = 'ell'", Digest::of(b"hello"));
    assert_eq!(run(&HttpStep { expect: expect(&digest), ..get(port) }).failure, None);
}

#[test]
fn slow_answers_are_cut_off() {
    for begin in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsh"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (close, closed) = mpsc::channel::<()>();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            request(&stream);
            stream.write_all(begin.as_bytes()).unwrap();
            assert!(closed.recv().is_err());
        });
        let outcome = run_for(&get(port), Duration::from_millis(200));
        // Who has begun to answer is up.
        assert_eq!((outcome.failure.as_deref(), outcome.not_yet), (Some("timed out after 0.2 s"), begin.is_empty()));
        drop(close);
        server.join().unwrap();
    }
}

#[test]
fn a_refused_connection_is_named_after_all_addresses_were_tried() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let outcome = run(&get(port));
    assert_eq!(outcome.failure.as_deref(), Some(&*format!("connection refused on 127.0.0.1:{port}")));
    assert!(outcome.not_yet);

    let (port, _asked) = server(vec![ok("", "")]);
    let addresses = [[127, 0, 0, 2].into(), [127, 0, 0, 1].into()];
    let client = HttpClient::new().unwrap();
    let outcome = probe(&client, &get(port), &addresses, Duration::from_secs(30), &Redactor::default());
    assert_eq!(outcome.failure, None);
}

#[test]
fn bodies_beyond_the_limit_fail() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        request(&stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let block = vec![b'x'; 1 << 20];
        // The probe hangs up once it has seen too much.
        while stream.write_all(&block).is_ok() {}
    });
    assert_eq!(run(&get(port)).failure.unwrap(), "the body of the answer is larger than 64 MiB, after 200 OK");
    server.join().unwrap();
}
