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
/// A body up to this is kept for links, comparisons and `ignore`, in bytes.
const KEPT: usize = 4 << 20;
/// How much of it a message may need, in bytes.
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
    /// `None` when it has kept the request and said nothing in time.
    pub(super) fn is_spoken_at(&self, addresses: &[IpAddr], port: u16, timeout: Duration) -> Option<bool> {
        let step = HttpStep { port: Some(port), ..HttpStep::new("GET", "/") };
        let exchange = Exchange::new(&step);
        for &address in addresses {
            let response = self.send(&exchange, SocketAddr::new(address, port), timeout);
            match response.and_then(|response| read_body(response, 0)) {
                Ok(_) => return Some(true),
                // At its other addresses it would take as long.
                Err(Unanswered::Late) => return None,
                Err(_) => {}
            }
        }
        Some(false)
    }

    fn send(&self, exchange: &Exchange, address: SocketAddr, timeout: Duration) -> Result<Response, Unanswered> {
        let url = Url::parse(&format!("http://{address}{}", exchange.path)).map_err(Unanswered::other)?;
        let method = Method::from_bytes(exchange.method.as_bytes()).map_err(Unanswered::other)?;
        let mut request = self.0.request(method, url).timeout(timeout).header(USER_AGENT, "scrimp");
        request = request.header(CONNECTION, "close");
        let mut headers = reqwest::header::HeaderMap::new();
        if let Some(host) = &exchange.step.host {
            headers.insert(HOST, HeaderValue::from_str(host).map_err(Unanswered::other)?);
        }
        for (name, value) in &exchange.step.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(Unanswered::other)?;
            headers.insert(name, HeaderValue::from_bytes(&value.0).map_err(Unanswered::other)?);
        }
        if let Some(body) = exchange.step.body.as_ref().filter(|_| exchange.with_body) {
            request = request.body(body.0.clone());
        }
        request.headers(headers).send().map_err(|error| Unanswered::of(&error, address))
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
            Err(Unanswered::Refused(_)) if addresses.len() > 1 => {
                addresses.next();
                continue;
            }
            Err(unanswered) => {
                let not_yet = match unanswered {
                    Unanswered::Refused(_) => true,
                    // Some listen long before they serve; what changes nothing can be asked again.
                    Unanswered::Late => matches!(exchange.method.as_str(), "GET" | "HEAD"),
                    Unanswered::Otherwise(_) => false,
                };
                return Outcome { not_yet, ..Outcome::failed(unanswered.text(timeout)) };
            }
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
    let keep = wanted.unwrap_or(KEPT);
    let body = match read_body(response, keep) {
        Ok(body) => body,
        Err(late @ Unanswered::Late) => return Outcome::failed(late.text(timeout)),
        Err(cut) => return Outcome::failed(format!("{}, after {}", cut.text(timeout), status_text(status))),
    };
    let failure = unmet(step, status, &headers, &body, redactor);
    let not_yet = failure.is_some() && matches!(status.as_u16(), 502..=504);
    let answer = Answer::Http { status: status.as_u16(), headers, body_digest: body.digest, body_bytes: body.bytes };
    let outcome = Outcome { not_yet, ..Outcome::new(answer, failure) };
    let whole = body.kept.len() as u64 == body.bytes;
    if whole { outcome.showing("body", body.kept) } else { outcome }
}

struct Body {
    /// The beginning.
    kept: Vec<u8>,
    digest: Digest,
    bytes: u64,
}

fn read_body(response: Response, keep: usize) -> Result<Body, Unanswered> {
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
                let early = || Unanswered::other("the body of the answer ended early");
                return Err(if late { Unanswered::Late } else { early() });
            }
        }
    }
    let (digest, bytes) = reader.finish();
    if bytes > LARGEST_BODY {
        let large = format!("the body of the answer is larger than {} MiB", LARGEST_BODY >> 20);
        return Err(Unanswered::Otherwise(large));
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
        kept => {
            let beginning = &kept[..kept.len().min(KEPT_FOR_MESSAGES + redactor.longest())];
            format!("the body begins {}", excerpt(beginning, redactor))
        }
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

/// Why a request has no answer, or no whole one.
#[derive(Debug)]
enum Unanswered {
    /// Nothing listens there.
    Refused(SocketAddr),
    /// It did not come in time.
    Late,
    /// Anything else, as a message has it.
    Otherwise(String),
}

impl Unanswered {
    fn of(error: &reqwest::Error, address: SocketAddr) -> Self {
        if error.is_timeout() {
            return Unanswered::Late;
        }
        let mut innermost: &(dyn std::error::Error + 'static) = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        match innermost.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(ErrorKind::ConnectionRefused) => Unanswered::Refused(address),
            Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                Unanswered::Otherwise(format!("connection reset on {address}"))
            }
            _ if error.source().is_none() => Unanswered::other("the request cannot be sent"),
            _ => Unanswered::Otherwise(format!("no HTTP answer from {address}: {innermost}")),
        }
    }

    fn other(cause: impl ToString) -> Self {
        Unanswered::Otherwise(cause.to_string())
    }

    /// What went wrong, without the URL, which the name of the probe has already. `timeout` is what there was for
    /// everything.
    fn text(self, timeout: Duration) -> String {
        match self {
            Unanswered::Refused(address) => format!("connection refused on {address}"),
            Unanswered::Late => format!("timed out after {} s", timeout.as_secs_f64()),
            Unanswered::Otherwise(message) => message,
        }
    }
}

#[cfg(test)]
mod tests;
