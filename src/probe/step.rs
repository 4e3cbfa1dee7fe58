//! One thing to do to the application, of one of the kinds there are, with what is expected to come back.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::escape_bytes;
use crate::probe::crawl::CrawlStep;
use crate::probe::expect::{BytesExpect, BytesRegex, ExecExpect, HttpExpect};
use crate::probe::grpc::GrpcStep;
use crate::probe::openapi::OpenapiStep;
use crate::probe::script::ScriptStep;
use crate::probe::target::{Port, Protocol};
use crate::probe::websocket::WebsocketStep;

/// How long one step may take when nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Headers that differ between two equal answers by their very meaning (RFC 9110, Server-Timing). An entity tag only
/// tells versions apart, and servers make it from the inode of the file, which no copy of the file has.
const VOLATILE_HEADERS: [&str; 5] = ["age", "date", "etag", "expires", "server-timing"];

/// The longest name of a command in a transcript, in characters.
const LONGEST_COMMAND: usize = 120;

/// Bytes that may be secret. They are never shown by `Debug`. Serialized, they are there in full, in the form of
/// [`escape_bytes`]: a plan with requests in it is for scrimp's own use and is not to be written where a user finds it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> String {
        escape_bytes(&secret.0).into_owned()
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        crate::base::unescape_bytes(&text).map(|bytes| Secret(bytes.into_owned())).ok_or("bad escape")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(text.into())
    }
}

/// One step of a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Added to the name in the transcript, to tell steps apart that do not differ in it otherwise.
    pub name: Option<String>,
    /// What is done.
    pub action: Action,
    /// For one repetition.
    pub timeout: Duration,
    /// How often it is done, at least once.
    pub repeat: u32,
    /// What in the answer is not compared by verification, besides what differs by its meaning: `status`, `headers`,
    /// `header:NAME`, `body`; `bytes`; `messages`, `detail`; `stdout`, `stderr`; `json:PATH`, `regex:PATTERN`.
    pub ignore: Vec<String>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Sends a request.
    Http(HttpStep),
    /// Connects, sends, reads.
    Tcp(TcpStep),
    /// Sends a datagram, waits for one.
    Udp(UdpStep),
    /// Runs a command.
    Exec(ExecStep),
    /// Runs a program of the caller's.
    Script(ScriptStep),
    /// Asks for a page and all that it leads to; plain requests once the plan is resolved.
    Crawl(CrawlStep),
    /// Asks for what a document describes; plain requests once the plan is resolved.
    Openapi(OpenapiStep),
    /// Opens a WebSocket, sends, reads.
    Websocket(WebsocketStep),
    /// Makes a gRPC call.
    Grpc(GrpcStep),
}

/// An HTTP/1.1 request without TLS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpStep {
    /// `None` until the plan is resolved.
    pub port: Option<u16>,
    /// In upper case.
    pub method: String,
    /// With the query; begins with a slash.
    pub path: String,
    /// The Host header, where it is not the address.
    pub host: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, Secret)>,
    /// The body.
    pub body: Option<Secret>,
    /// What of it scrimp made itself, so that it is no secret: names of headers, and `body`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<String>,
    /// Whether redirects are followed, never to another host or port, and ten at most.
    pub follow_redirects: bool,
    /// What must come.
    pub expect: HttpExpect,
}

/// A TCP connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TcpStep {
    /// `None` until the plan is resolved.
    pub port: Option<u16>,
    /// What is said, in this order. Without anything in it to send or to expect, nothing is read.
    pub dialogue: Vec<Exchange>,
    /// Whether the peer is told that no more comes, after all was sent.
    pub half_close: bool,
}

/// One turn of a TCP dialogue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// What is sent.
    pub send: Option<Secret>,
    /// Where the answer ends; without it, where all that is expected has come.
    pub until: Option<BytesRegex>,
    /// What must come.
    pub expect: BytesExpect,
    /// Whether the peer may hang up before that, which ends the dialogue.
    pub may_end: bool,
}

/// A UDP exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UdpStep {
    /// `None` until the plan is resolved.
    pub port: Option<u16>,
    /// The datagram.
    pub send: Secret,
    /// Whether to wait for an answer.
    pub answer: bool,
    /// What must come; any one datagram when nothing is said.
    pub expect: BytesExpect,
}

/// A command run beside the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecStep {
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// Another user than the application's.
    pub user: Option<String>,
    /// Whether what only this command uses is kept in the image.
    pub keep: bool,
    /// What must come.
    pub expect: ExecExpect,
}

impl TcpStep {
    /// A single exchange.
    pub fn new(port: Option<u16>, exchange: Exchange) -> Self {
        TcpStep { port, dialogue: vec![exchange], half_close: false }
    }
}

impl Step {
    /// A step with nothing but its action.
    pub fn new(action: Action) -> Self {
        Step { name: None, action, timeout: DEFAULT_TIMEOUT, repeat: 1, ignore: Vec::new() }
    }

    /// The port, once the plan is resolved; `None` for commands.
    pub fn port(&self) -> Option<Port> {
        match &self.action {
            Action::Http(HttpStep { port, .. }) | Action::Tcp(TcpStep { port, .. }) => port.map(Port::tcp),
            Action::Udp(step) => step.port.map(Port::udp),
            Action::Crawl(CrawlStep { port, .. })
            | Action::Openapi(OpenapiStep { port, .. })
            | Action::Websocket(WebsocketStep { port, .. })
            | Action::Grpc(GrpcStep { port, .. }) => port.map(Port::tcp),
            Action::Exec(_) => None,
            Action::Script(step) => step.port,
        }
    }

    /// The protocol it speaks; `None` for commands and scripts.
    pub fn protocol(&self) -> Option<Protocol> {
        match &self.action {
            Action::Http(_) | Action::Tcp(_) => Some(Protocol::Tcp),
            Action::Udp(_) => Some(Protocol::Udp),
            Action::Crawl(_) | Action::Openapi(_) | Action::Websocket(_) | Action::Grpc(_) => Some(Protocol::Tcp),
            Action::Exec(_) | Action::Script(_) => None,
        }
    }

    /// Whether it speaks HTTP/1.1, at least at first.
    pub(super) fn speaks_http(&self) -> bool {
        matches!(self.action, Action::Http(_) | Action::Crawl(_) | Action::Openapi(_) | Action::Websocket(_))
    }

    pub(super) fn set_port(&mut self, number: u16) {
        match &mut self.action {
            Action::Http(HttpStep { port, .. })
            | Action::Tcp(TcpStep { port, .. })
            | Action::Udp(UdpStep { port, .. })
            | Action::Crawl(CrawlStep { port, .. })
            | Action::Openapi(OpenapiStep { port, .. })
            | Action::Websocket(WebsocketStep { port, .. })
            | Action::Grpc(GrpcStep { port, .. }) => {
                *port = Some(number);
            }
            Action::Script(step) => step.port = step.port.map(|port| Port { number, ..port }),
            Action::Exec(_) => {}
        }
    }

    /// What verification does not compare: the step's own list, and for HTTP the headers that carry the time.
    pub(super) fn all_ignored(&self) -> Vec<String> {
        let mut out = self.ignore.clone();
        if matches!(self.action, Action::Http(_)) {
            out.extend(VOLATILE_HEADERS.iter().map(|name| format!("header:{name}")));
        }
        // What a test suite says on the side is about itself.
        if matches!(self.action, Action::Script(_)) {
            out.push("stderr".into());
        }
        out.sort();
        out.dedup();
        out
    }

    /// The values it sends that may be secret.
    pub(super) fn secrets(&self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let of_headers = |headers: &[(String, Secret)], made: &[String]| -> Vec<Vec<u8>> {
            let secret = headers.iter().filter(|(name, _)| !is_open_header(name) && !made.contains(name));
            secret.flat_map(|(_, value)| header_secrets(&value.0)).collect()
        };
        match &self.action {
            Action::Http(step) => {
                out.extend(of_headers(&step.headers, &step.made));
                let body = step.body.iter().filter(|_| !step.made.iter().any(|made| made == "body"));
                out.extend(body.flat_map(|body| body_secrets(&body.0)));
            }
            Action::Crawl(CrawlStep { headers, .. })
            | Action::Openapi(OpenapiStep { headers, .. })
            | Action::Websocket(WebsocketStep { headers, .. })
            | Action::Grpc(GrpcStep { headers, .. }) => out.extend(of_headers(headers, &[])),
            // What other protocols send is half of their grammar, and an answer may repeat it: it is not taken for
            // secret, and it is not written anywhere.
            Action::Tcp(_) | Action::Udp(_) | Action::Exec(_) | Action::Script(_) => {}
        }
        out
    }

    /// The name without a number, as a transcript has it; `with_port` tells requests to several ports apart.
    pub(super) fn describe(&self, with_port: bool) -> String {
        let port = |port: Option<u16>| port.map(|p| p.to_string()).unwrap_or_else(|| "?".into());
        // An application that ended before it listened has left none to ask.
        let at = |protocol: &str, port: Option<u16>| match port {
            Some(port) => format!("{protocol} {port}"),
            None => protocol.to_owned(),
        };
        let mut out = match &self.action {
            Action::Http(step) if with_port => format!("http {} :{}{}", step.method, port(step.port), step.path),
            Action::Http(step) => format!("http {} {}", step.method, step.path),
            Action::Tcp(step) => at("tcp", step.port),
            Action::Udp(step) => at("udp", step.port),
            Action::Exec(step) => format!("exec {}", command_text(&step.argv)),
            Action::Script(step) => step.title.clone(),
            Action::Crawl(step) => format!("crawl {}", step.path),
            Action::Openapi(step) => format!("openapi {}", step.source),
            Action::Websocket(step) => format!("websocket {}", step.path),
            Action::Grpc(step) => format!("grpc {}", step.call),
        };
        if let Some(name) = &self.name {
            out.push(' ');
            out.push_str(name);
        }
        out
    }
}

/// A command as a shell would need it, on one line.
pub(super) fn command_text(argv: &[String]) -> String {
    let line = shlex::try_join(argv.iter().map(String::as_str)).unwrap_or_else(|_| argv.join(" "));
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_COMMAND) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

/// Names the steps of a plan, in order: one list of names for each step, one name for each repetition. All differ.
#[cfg(test)]
pub(super) fn names(steps: &[Step]) -> Vec<Vec<String>> {
    let mut namer = Namer::new(steps);
    steps.iter().map(|step| (0..step.repeat.max(1)).map(|_| namer.name(step)).collect()).collect()
}

/// Gives names to steps, one after the other.
pub(super) struct Namer {
    /// Whether requests go to several ports, so that the port is in the name.
    with_port: bool,
    seen: BTreeMap<String, u32>,
}

impl Namer {
    /// For `steps` and what becomes of them.
    pub(super) fn new(steps: &[Step]) -> Self {
        let requests = |step: &&Step| matches!(step.action, Action::Http(_) | Action::Crawl(_) | Action::Openapi(_));
        let mut ports: Vec<_> = steps.iter().filter(requests).map(|step| step.port()).collect();
        ports.sort();
        ports.dedup();
        Namer { with_port: ports.len() > 1, seen: BTreeMap::new() }
    }

    /// The name of the next repetition of the next step.
    pub(super) fn name(&mut self, step: &Step) -> String {
        let name = step.describe(self.with_port);
        let number = self.seen.entry(name.clone()).or_default();
        *number += 1;
        if *number == 1 { name } else { format!("{name} #{number}") }
    }
}

/// Headers that say how to talk, not who talks.
fn is_open_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let open = ["cache-control", "connection", "content-type", "content-length", "expect", "host", "origin", "range"];
    open.contains(&name.as_str()) || ["accept", "if-", "user-agent", "referer"].iter().any(|p| name.starts_with(p))
}

/// A header's value, its words (`Bearer TOKEN`) and the values of its pairs (`session=ID; theme=dark`).
fn header_secrets(value: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![value.to_vec()];
    for word in value.split(|b| b.is_ascii_whitespace() || matches!(b, b';' | b',')) {
        let named = word.iter().position(|&b| b == b'=').map(|at| &word[at + 1..]).filter(|v| !v.is_empty());
        let scheme = [&b"bearer"[..], b"basic", b"digest", b"token", b"negotiate"];
        if !scheme.iter().any(|s| word.eq_ignore_ascii_case(s)) {
            out.push(word.to_vec());
            out.extend(named.map(|v| v.trim_ascii().to_vec()));
        }
    }
    out
}

/// A body as a whole, and for JSON the texts in it, for a form its values.
fn body_secrets(body: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![body.to_vec()];
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) {
        let mut todo = vec![&value];
        while let Some(value) = todo.pop() {
            match value {
                serde_json::Value::String(text) => out.push(text.as_bytes().to_vec()),
                serde_json::Value::Array(items) => todo.extend(items),
                serde_json::Value::Object(fields) => todo.extend(fields.values()),
                _ => {}
            }
        }
    } else if !body.iter().any(u8::is_ascii_whitespace) {
        let values = body.split(|&b| b == b'&').filter_map(|pair| pair.splitn(2, |&b| b == b'=').nth(1));
        out.extend(values.map(<[u8]>::to_vec));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(method: &str, path: &str, port: u16) -> Step {
        Step::new(Action::Http(HttpStep {
            port: Some(port),
            method: method.into(),
            path: path.into(),
            host: None,
            headers: vec![],
            body: None,
            made: vec![],
            follow_redirects: false,
            expect: HttpExpect::default(),
        }))
    }

    fn exec(argv: &[&str]) -> Step {
        let argv = argv.iter().map(|s| s.to_string()).collect();
        Step::new(Action::Exec(ExecStep { argv, user: None, keep: true, expect: ExecExpect::default() }))
    }

    #[test]
    fn names_differ() {
        let tcp = Step::new(Action::Tcp(TcpStep::new(Some(6379), Exchange::default())));
        let steps = [
            http("GET", "/cv", 80),
            Step { repeat: 2, ..http("GET", "/cv", 80) },
            tcp.clone(),
            Step { name: Some("ping".into()), ..tcp },
            Step::new(Action::Tcp(TcpStep::new(None, Exchange::default()))),
            exec(&["redis-cli", "ping"]),
            exec(&["/bin/sh", "-c", "a\n  | b"]),
        ];
        let names: Vec<String> = names(&steps).into_iter().flatten().collect();
        assert_eq!(
            names,
            [
                "http GET /cv",
                "http GET /cv #2",
                "http GET /cv #3",
                "tcp 6379",
                "tcp 6379 ping",
                "tcp",
                "exec redis-cli ping",
                "exec /bin/sh -c 'a | b'",
            ]
        );
    }

    #[test]
    fn requests_to_several_ports_name_the_port() {
        let names: Vec<String> = names(&[http("GET", "/", 80), http("GET", "/", 81)]).into_iter().flatten().collect();
        assert_eq!(names, ["http GET :80/", "http GET :81/"]);
    }

    #[test]
    fn what_a_request_sends_is_secret_but_for_its_grammar() {
        let mut step = http("POST", "/", 80);
        if let Action::Http(http) = &mut step.action {
            http.headers = vec![
                ("Content-Type".into(), "application/json".into()),
                ("Authorization".into(), "Bearer tok-1".into()),
                ("Cookie".into(), "sid=s3ss10n; theme=dark".into()),
            ];
            http.body = Some(r#"{"password":"hunter22","n":5}"#.into());
        }
        let secrets: Vec<String> = step.secrets().iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect();
        for expected in ["tok-1", "s3ss10n", "hunter22", "Bearer tok-1"] {
            assert!(secrets.iter().any(|s| s == expected), "{expected}: {secrets:?}");
        }
        assert!(!secrets.iter().any(|s| s == "application/json" || s == "Bearer"), "{secrets:?}");
        let shown = format!("{step:?}");
        assert!(!shown.contains("hunter22") && !shown.contains("tok-1"), "{shown}");
    }

    #[test]
    fn a_plan_survives_serialization() {
        let mut step = http("POST", "/", 80);
        if let Action::Http(http) = &mut step.action {
            http.body = Some(Secret(vec![0, 255, b'\\', b'a']));
        }
        let text = serde_json::to_string(&step).unwrap();
        assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step);
    }
}
