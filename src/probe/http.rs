//! The http probe: one HTTP/1.1 request over a connection of its own.
//!
//! Nothing of the caller's environment counts (no proxy, no cookies, no credentials), nothing is decoded, and no
//! redirect leads to another host.

use std::error::Error as _;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::header::{CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use reqwest::{Method, StatusCode, Url};

use crate::base::{Digest, HashingReader, escape_bytes};
use crate::observation::{Answer, Redactor};
use crate::probe::ProbeError;
use crate::probe::expect::find;
use crate::probe::run::{Outcome, excerpt, timed_out};
use crate::probe::step::HttpStep;

/// Larger bodies fail the probe, in bytes.
const LARGEST_BODY: u64 = 64 << 20;
/// How much of a body is kept for a message, in bytes, when no expectation needs more.
const KEPT_FOR_MESSAGES: usize = 8 << 10;
/// How many redirects are followed.
const MOST_REDIRECTS: usize = 10;

/// A client whose connections lead into the network of the thread that made it.
pub(super) struct HttpClient(Client);

impl HttpClient {
    pub(super) fn new() -> Result<Self, ProbeError> {
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .pool_max_idle_per_host(0)
            .timeout(None)
            .build();
        let broken = |e| ProbeError::Broken { operation: "make an HTTP client".into(), cause: io::Error::other(e) };
        client.map(HttpClient).map_err(broken)
    }

    /// Whether what listens there answers a request for `/` as an HTTP server does, whatever the status, and comes to
    /// an end with it.
    pub(super) fn is_spoken_at(&self, addresses: &[IpAddr], port: u16, timeout: Duration) -> bool {
        let step = HttpStep { port: Some(port), ..HttpStep::new("GET", "/") };
        let exchange = Exchange::new(&step);
        let asked = |&address: &IpAddr| self.send(&exchange, SocketAddr::new(address, port), timeout);
        addresses.iter().any(|address| asked(address).is_ok_and(|response| read_body(response, 0).is_ok()))
    }

    fn send(&self, exchange: &Exchange, address: SocketAddr, timeout: Duration) -> Result<Response, String> {
        let url = Url::parse(&format!("http://{address}{}", exchange.path)).map_err(|e| e.to_string())?;
        let method = Method::from_bytes(exchange.method.as_bytes()).map_err(|e| e.to_string())?;
        let mut request = self.0.request(method, url).timeout(timeout).header(USER_AGENT, "scrimp");
        request = request.header(CONNECTION, "close");
        let mut headers = reqwest::header::HeaderMap::new();
        if let Some(host) = &exchange.step.host {
            headers.insert(HOST, HeaderValue::from_str(host).map_err(|e| e.to_string())?);
        }
        for (name, value) in &exchange.step.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
            headers.insert(name, HeaderValue::from_bytes(&value.0).map_err(|e| e.to_string())?);
        }
        if let Some(body) = exchange.step.body.as_ref().filter(|_| exchange.with_body) {
            request = request.body(body.0.clone());
        }
        request.headers(headers).send().map_err(|error| error_text(&error, address, timeout))
    }
}

/// A request on its way through redirects.
struct Exchange<'a> {
    step: &'a HttpStep,
    method: String,
    path: String,
    with_body: bool,
}

impl<'a> Exchange<'a> {
    fn new(step: &'a HttpStep) -> Self {
        Exchange { step, method: step.method.clone(), path: step.path.clone(), with_body: true }
    }

    /// Turns into the request that the redirect asks for; `false` when it leads elsewhere, or there is none.
    fn redirect(&mut self, response: &Response) -> bool {
        let status = response.status();
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let Some(next) = location.and_then(|location| response.url().join(location).ok()) else { return false };
        let redirects = [301, 302, 303, 307, 308].contains(&status.as_u16());
        if !redirects || !self.is_here(&next, response.url()) {
            return false;
        }
        // RFC 9110, 15.4: all but 307 and 308 may turn a POST into a GET, and clients do.
        let becomes_get =
            status == StatusCode::SEE_OTHER && self.method != "HEAD" || self.method == "POST" && status.as_u16() < 303;
        if becomes_get {
            self.method = "GET".into();
            self.with_body = false;
        }
        self.path = match next.query() {
            Some(query) => format!("{}?{query}", next.path()),
            None => next.path().into(),
        };
        true
    }

    /// Whether `next` is on the host and port of `current`, under any of the names by which the server knows them.
    fn is_here(&self, next: &Url, current: &Url) -> bool {
        let authority = |url: &Url| {
            let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
            (host, url.port_or_known_default())
        };
        let (host, port) = authority(next);
        let same_port = port == current.port_or_known_default();
        let named = self.step.host.as_ref().and_then(|host| Url::parse(&format!("http://{host}/")).ok());
        let as_named = named.is_some_and(|named| authority(&named) == (host.clone(), port));
        next.scheme() == "http" && (as_named || same_port && (host == "localhost" || host == authority(current).0))
    }
}

/// Sends the request to the first of `addresses` that accepts the connection, and judges the response.
/// `timeout` is for everything together, the body and all redirects included.
pub(super) fn probe(
    client: &HttpClient,
    step: &HttpStep,
    addresses: &[IpAddr],
    timeout: Duration,
    redactor: &Redactor,
) -> Outcome {
    let deadline = Instant::now() + timeout;
    let mut exchange = Exchange::new(step);
    let mut addresses =
        addresses.iter().map(|&address| SocketAddr::new(address, step.port.unwrap_or_default())).peekable();
    let mut followed = 0;
    while let Some(&address) = addresses.peek() {
        let left = deadline.saturating_duration_since(Instant::now());
        let response = match client.send(&exchange, address, left.max(Duration::from_millis(1))) {
            Ok(response) => response,
            Err(failure) if failure.starts_with(REFUSED) => {
                addresses.next();
                if addresses.peek().is_none() {
                    return Outcome::not_yet(failure);
                }
                continue;
            }
            Err(failure) if failure.starts_with(TIMED_OUT) => return Outcome::failed(too_late(timeout)),
            Err(failure) => return Outcome::failed(failure),
        };
        if step.follow_redirects && exchange.redirect(&response) {
            followed += 1;
            if followed > MOST_REDIRECTS {
                return Outcome::failed(format!("more than {MOST_REDIRECTS} redirects"));
            }
            continue;
        }
        return judge(step, response, timeout, redactor);
    }
    Outcome::failed("there is no address to connect to".into())
}

fn judge(step: &HttpStep, response: Response, timeout: Duration, redactor: &Redactor) -> Outcome {
    let status = response.status();
    let mut headers: Vec<(String, String)> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_string(), escape_bytes(value.as_bytes()).into_owned()))
        .collect();
    headers.sort();
    let wanted = step.expect.body_contains.as_ref().map(|_| LARGEST_BODY as usize);
    let keep = wanted.unwrap_or(KEPT_FOR_MESSAGES + redactor.longest());
    let body = match read_body(response, keep) {
        Ok(body) => body,
        Err(failure) if failure.starts_with(TIMED_OUT) => return Outcome::failed(too_late(timeout)),
        Err(failure) => return Outcome::failed(format!("{failure}, after {}", status_text(status))),
    };
    let failure = unmet(step, status, &headers, &body, redactor);
    let not_yet = failure.is_some() && matches!(status.as_u16(), 502..=504);
    let answer = Answer::Http { status: status.as_u16(), headers, body_digest: body.digest, body_bytes: body.bytes };
    Outcome { not_yet, ..Outcome::new(answer, failure) }
}

struct Body {
    /// The beginning.
    kept: Vec<u8>,
    digest: Digest,
    bytes: u64,
}

fn read_body(response: Response, keep: usize) -> Result<Body, String> {
    let mut reader = HashingReader::new(response.take(LARGEST_BODY + 1));
    let mut kept = Vec::new();
    let mut buffer = [0; 64 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => kept.extend_from_slice(&buffer[..n.min(keep.saturating_sub(kept.len()))]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
                let late = timed_out(&error) || inner.is_some_and(reqwest::Error::is_timeout);
                return Err(if late { TIMED_OUT.into() } else { "the body of the answer ended early".into() });
            }
        }
    }
    let (digest, bytes) = reader.finish();
    if bytes > LARGEST_BODY {
        return Err(format!("the body of the answer is larger than {} MiB", LARGEST_BODY >> 20));
    }
    Ok(Body { kept, digest, bytes })
}

fn unmet(
    step: &HttpStep,
    status: StatusCode,
    headers: &[(String, String)],
    body: &Body,
    redactor: &Redactor,
) -> Option<String> {
    let expect = &step.expect;
    let begins = || match body.kept.trim_ascii() {
        [] => "the body is empty".into(),
        kept => format!("the body begins {}", excerpt(kept, redactor)),
    };
    if !expect.status.contains(status.as_u16()) {
        return Some(format!("expected {}, got {}; {}", expect.status, status_text(status), begins()));
    }
    for (name, pattern) in &expect.headers {
        let values: Vec<&str> = headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect();
        if !values.iter().any(|value| pattern.matches(value)) {
            let got = if values.is_empty() { "none".into() } else { values.join(", ") };
            return Some(format!("expected header {name} to match \"{pattern}\", got {got}"));
        }
    }
    if let Some(text) = &expect.body_contains
        && find(&body.kept, text.as_bytes()).is_none()
    {
        return Some(format!("expected {text:?} in the body, got {} bytes without it; {}", body.bytes, begins()));
    }
    match expect.body_digest {
        Some(expected) if expected != body.digest => {
            Some(format!("expected a body with digest {expected}, got {}; {}", body.digest, begins()))
        }
        _ => None,
    }
}

fn status_text(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

const REFUSED: &str = "connection refused";
const TIMED_OUT: &str = "timed out";

fn too_late(timeout: Duration) -> String {
    format!("{TIMED_OUT} after {} s", timeout.as_secs_f64())
}

/// What went wrong, without the URL, which the name of the probe has already.
fn error_text(error: &reqwest::Error, address: SocketAddr, timeout: Duration) -> String {
    if error.is_timeout() {
        return too_late(timeout);
    }
    let mut innermost: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => format!("{REFUSED} on {address}"),
        Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => format!("connection reset on {address}"),
        _ if error.source().is_none() => "the request cannot be sent".into(),
        _ => format!("no HTTP answer from {address}: {innermost}"),
    }
}

#[cfg(test)]
mod tests {
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
        let (port, asked) =
            server(vec![ok("X-B: 2\r\nContent-Encoding: gzip\r\nx-a: caf\u{e9}\r\nX-B: 1\r\n", "hello")]);
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
        for part in
            ["POST /cv?a=b", "host: shop.example\r\n", "user-agent: x\r\n", "x-token: hunter22\r\n", "\r\n\r\na=1"]
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
            assert_eq!(outcome.failure.unwrap(), "timed out after 0.2 s");
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
}
