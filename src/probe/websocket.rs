//! The websocket probe: a WebSocket (RFC 6455) without TLS, messages sent and messages expected.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use http::header::{HOST, SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{ClientHandshake, HandshakeError, Message, WebSocket};

use crate::base::Digest;
use crate::observation::{Answer, Redactor};
use crate::probe::expect::BytesExpect;
use crate::probe::run::{Outcome, excerpt, timed_out};
use crate::probe::step::Secret;
use crate::probe::tcp::{connect, failed};

/// A larger message fails the probe, in bytes.
const LARGEST_MESSAGE: usize = 16 << 20;
/// All messages together may have, in bytes.
const LARGEST_ANSWER: usize = 64 << 20;

/// A WebSocket and what is said over it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebsocketStep {
    /// `None` until the plan is resolved.
    pub port: Option<u16>,
    /// With the query; begins with a slash.
    pub path: String,
    /// The Host header, where it is not the address.
    pub host: Option<String>,
    /// Further headers of the request.
    pub headers: Vec<(String, Secret)>,
    /// Subprotocols that are offered.
    pub protocols: Vec<String>,
    /// What is sent and expected, in this order.
    pub messages: Vec<WebsocketTurn>,
}

/// One turn of the talk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebsocketTurn {
    /// A text is sent.
    Text(Secret),
    /// Bytes are sent.
    Binary(Secret),
    /// Messages are read until one is as expected.
    Expect(BytesExpect),
}

/// A connection that is over at a certain time, however slowly the peer talks.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

/// tungstenite takes "would block" for something to come back to; here it is the end of the time.
fn over(error: io::Error) -> io::Error {
    if timed_out(&error) { ErrorKind::TimedOut.into() } else { error }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer).map_err(over)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer).map_err(over)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Opens a WebSocket at the first of `addresses` that accepts, and talks. What is compared is what came up to the last
/// message that was expected.
pub(super) fn probe(step: &WebsocketStep, addresses: &[IpAddr], timeout: Duration, redactor: &Redactor) -> Outcome {
    let port = step.port.unwrap_or_default();
    let deadline = Instant::now() + timeout;
    let stream = match connect(addresses, port, timeout) {
        Ok(stream) => stream,
        Err((address, error)) => return failed(&error, &format!("on {}", SocketAddr::new(address, port)), timeout),
    };
    let mut socket = match open(step, Timed { stream, deadline }) {
        Ok(socket) => socket,
        Err(Refusal::Status(status)) => {
            let failure = format!("expected a WebSocket (status 101), got status {status}");
            let outcome = Outcome::new(answer(u32::from(status), "", &[]), Some(failure));
            return Outcome { not_yet: matches!(status, 502..=504), ..outcome };
        }
        Err(Refusal::Other(error)) => return broken(error, "before the WebSocket stood", timeout),
    };
    let mut received = Vec::new();
    let failure = talk(step, &mut socket.0, &mut received, timeout, redactor);
    // The peer may be gone already, and what it would say now is not compared.
    drop(socket.0.close(None));
    drop(socket.0.flush());
    let outcome = Outcome::new(answer(101, &socket.1, &received), failure);
    received.into_iter().fold(outcome, |outcome, message| outcome.showing("messages", message))
}

enum Refusal {
    Status(u16),
    Other(tungstenite::Error),
}

impl From<tungstenite::Error> for Refusal {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => Refusal::Status(response.status().as_u16()),
            other => Refusal::Other(other),
        }
    }
}

/// The WebSocket, and the subprotocol that the peer chose.
fn open(step: &WebsocketStep, stream: Timed) -> Result<(WebSocket<Timed>, String), Refusal> {
    let bad = |e: http::Error| Refusal::Other(tungstenite::Error::HttpFormat(e));
    let address = stream.stream.peer_addr().map_err(|e| Refusal::Other(e.into()))?;
    let mut request = format!("ws://{address}{}", step.path).into_client_request()?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("scrimp"));
    if let Some(host) = &step.host {
        headers.insert(HOST, HeaderValue::from_str(host).map_err(|e| bad(e.into()))?);
    }
    if !step.protocols.is_empty() {
        let offered = HeaderValue::from_str(&step.protocols.join(", ")).map_err(|e| bad(e.into()))?;
        headers.insert(SEC_WEBSOCKET_PROTOCOL, offered);
    }
    for (name, value) in &step.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| bad(e.into()))?;
        headers.insert(name, HeaderValue::from_bytes(&value.0).map_err(|e| bad(e.into()))?);
    }
    let config =
        WebSocketConfig::default().max_message_size(Some(LARGEST_MESSAGE)).max_frame_size(Some(LARGEST_MESSAGE));
    let handshake = ClientHandshake::start(stream, request, Some(config))?;
    match handshake.handshake() {
        Ok((socket, response)) => {
            let chosen = response.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|chosen| chosen.to_str().ok());
            Ok((socket, chosen.unwrap_or_default().to_owned()))
        }
        Err(HandshakeError::Failure(error)) => Err(error.into()),
        Err(HandshakeError::Interrupted(_)) => Err(Refusal::Other(io::Error::from(ErrorKind::TimedOut).into())),
    }
}

/// Sends and reads; returns what went wrong.
fn talk(
    step: &WebsocketStep,
    socket: &mut WebSocket<Timed>,
    received: &mut Vec<Vec<u8>>,
    timeout: Duration,
    redactor: &Redactor,
) -> Option<String> {
    for turn in &step.messages {
        let sent = match turn {
            WebsocketTurn::Text(text) => socket.send(Message::text(String::from_utf8_lossy(&text.0).into_owned())),
            WebsocketTurn::Binary(bytes) => socket.send(Message::binary(bytes.0.clone())),
            WebsocketTurn::Expect(expect) => {
                let before = received.len();
                let got = |received: &[Vec<u8>]| match received[before..].last() {
                    Some(last) => excerpt(last, redactor),
                    None => "nothing".into(),
                };
                match read(expect, socket, received) {
                    Ok(true) => Ok(()),
                    Ok(false) => {
                        return Some(format!("expected {expect}, got {} and the end of the connection", got(received)));
                    }
                    Err(tungstenite::Error::Io(error)) if timed_out(&error) => {
                        let seconds = timeout.as_secs_f64();
                        return Some(format!("expected {expect}, got {}; timed out after {seconds} s", got(received)));
                    }
                    Err(error) => Err(error),
                }
            }
        };
        if let Err(error) = sent {
            let place = format!("after {} messages", received.len());
            return broken(error, &place, timeout).failure;
        }
    }
    None
}

/// Reads messages until one is as expected; `false` when the peer closes before.
fn read(
    expect: &BytesExpect,
    socket: &mut WebSocket<Timed>,
    received: &mut Vec<Vec<u8>>,
) -> Result<bool, tungstenite::Error> {
    let mut bytes: usize = received.iter().map(Vec::len).sum();
    while bytes <= LARGEST_ANSWER {
        let message = match socket.read() {
            Ok(Message::Text(text)) => text.as_bytes().to_vec(),
            Ok(Message::Binary(content)) => content.to_vec(),
            Ok(_) => continue,
            Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => return Ok(false),
            Err(tungstenite::Error::Protocol(_)) if !socket.can_read() => return Ok(false),
            Err(error) => return Err(error),
        };
        // An empty message is one, too.
        bytes += message.len() + 1;
        let met = expect.met_at(&message).is_some();
        received.push(message);
        if met {
            return Ok(true);
        }
    }
    Err(io::Error::other(format!("the messages are more than {} MiB", LARGEST_ANSWER >> 20)).into())
}

fn answer(status: u32, detail: &str, messages: &[Vec<u8>]) -> Answer {
    let mut answer = Answer::Messages { status, detail: detail.into(), count: 0, digest: Digest::of(b""), bytes: 0 };
    answer.set_part("messages", messages);
    answer
}

fn broken(error: tungstenite::Error, place: &str, timeout: Duration) -> Outcome {
    match error {
        tungstenite::Error::Io(error) => failed(&error, place, timeout),
        error => Outcome::failed(format!("{error}, {place}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const LOCAL: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)];

    fn step(port: u16, messages: Vec<WebsocketTurn>) -> WebsocketStep {
        WebsocketStep {
            port: Some(port),
            path: "/chat?room=1".into(),
            host: Some("chat.example".into()),
            headers: vec![("X-Token".into(), "hunter22".into())],
            protocols: vec![],
            messages,
        }
    }

    fn expect(text: &str) -> WebsocketTurn {
        WebsocketTurn::Expect(BytesExpect { contains: Some(text.into()), matches: None })
    }

    fn run(step: &WebsocketStep, millis: u64) -> Outcome {
        probe(step, &LOCAL, Duration::from_millis(millis), &Redactor::new(["hunter22"]))
    }

    /// Greets, then repeats what it is told, and ends when it is told to.
    fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A peer that hangs up ends the talk.
                let Ok(mut socket) = tungstenite::accept(stream.unwrap()) else { continue };
                let mut alive = socket.send(Message::text("hello")).is_ok();
                while let (true, Ok(message)) = (alive, socket.read()) {
                    let end = message.to_text().is_ok_and(|text| text == "end");
                    alive = if end {
                        socket.close(None).is_ok()
                    } else {
                        message.is_close() || socket.send(message).is_ok()
                    };
                }
            }
        });
        port
    }

    #[test]
    fn what_is_said_up_to_the_last_expectation_is_the_answer() {
        let port = echo();
        let turns = vec![
            WebsocketTurn::Text("one".into()),
            expect("ne"),
            WebsocketTurn::Binary(Secret(vec![0, 255])),
            WebsocketTurn::Expect(BytesExpect { contains: Some(vec![255]), matches: None }),
        ];
        let outcome = run(&step(port, turns), 5000);
        let expected = answer(101, "", &[b"hello".to_vec(), b"one".to_vec(), vec![0, 255]]);
        assert_eq!((outcome.answer, outcome.failure, outcome.parts.len()), (expected, None, 3));
        let outcome = run(&step(port, vec![]), 5000);
        assert_eq!((outcome.answer, outcome.failure), (answer(101, "", &[]), None), "that it stands is an answer");
    }

    #[test]
    fn failures_say_what_was_expected_and_what_came() {
        let port = echo();
        let failure = |turns, millis| run(&step(port, turns), millis).failure.unwrap();
        assert_eq!(failure(vec![expect("bye")], 100), r#"expected "bye", got "hello"; timed out after 0.1 s"#);
        let turns = vec![expect("hello"), WebsocketTurn::Text("end".into()), expect("bye")];
        assert_eq!(failure(turns, 5000), r#"expected "bye", got nothing and the end of the connection"#);
        let turns = vec![WebsocketTurn::Text("is hunter22".into()), expect("hello"), expect("x")];
        assert_eq!(failure(turns, 100), r#"expected "x", got "is [redacted]"; timed out after 0.1 s"#);
    }

    #[test]
    fn who_speaks_no_websocket_is_told_apart() {
        for (status, not_yet) in [("404 Not Found", false), ("503 Service Unavailable", true)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let handle = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
                String::from_utf8(head).unwrap().to_ascii_lowercase()
            });
            let outcome = run(&step(port, vec![]), 5000);
            let code = &status[..3];
            assert_eq!(outcome.failure.unwrap(), format!("expected a WebSocket (status 101), got status {code}"));
            assert_eq!(outcome.not_yet, not_yet);
            let head = handle.join().unwrap();
            for part in ["get /chat?room=1 http/1.1", "host: chat.example\r\n", "x-token: hunter22\r\n"] {
                assert!(head.contains(part), "{head}");
            }
        }
    }
}
