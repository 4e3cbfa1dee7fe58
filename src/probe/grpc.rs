//! The grpc probe: one call over HTTP/2 without TLS (h2c with prior knowledge).
//!
//! The health check (`grpc.health.v1`) and the list of services by server reflection (`grpc.reflection.v1`, else
//! `v1alpha`) need no description of the service; any other call sends the bytes of a message that the user made.
//! Source: gRPC over HTTP2, PROTOCOL-HTTP2.md of grpc/grpc.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use serde::{Deserialize, Serialize};

use crate::base::Digest;
use crate::observation::{Answer, Redactor};
use crate::probe::escapes::percent_decoded;
use crate::probe::expect::GrpcExpect;
use crate::probe::run::{Outcome, excerpt};
use crate::probe::step::Secret;
use crate::probe::tcp::{connect, failed};

/// No more than this is read, in bytes.
const LARGEST_ANSWER: usize = 16 << 20;

/// Statuses of gRPC that are looked for.
const OK: u32 = 0;
const UNIMPLEMENTED: u32 = 12;
const UNAVAILABLE: u32 = 14;

/// Their names, in the order of their numbers.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrpcStep {
    /// `None` until the plan is resolved.
    pub port: Option<u16>,
    /// What is called.
    pub call: GrpcCall,
    /// The service whose health is asked for; empty for the server's as a whole.
    pub service: String,
    /// The message that another call sends, as protobuf has it.
    pub message: Secret,
    /// The `:authority`, where it is not the address.
    pub host: Option<String>,
    /// Metadata.
    pub headers: Vec<(String, Secret)>,
    /// What must come.
    pub expect: GrpcExpect,
}

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GrpcCall {
    /// `Check` of the health service. What is not serving fails.
    Health,
    /// The list of services of server reflection.
    Reflection,
    /// `/package.Service/Method`.
    Method(String),
}

impl FromStr for GrpcCall {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let name =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._".contains(&b));
        match (text, &parts[..]) {
            ("health", _) => Ok(GrpcCall::Health),
            ("reflection", _) => Ok(GrpcCall::Reflection),
            (_, ["", service, method]) if name(service) && name(method) => Ok(GrpcCall::Method(text.into())),
            _ => {
                Err(format!("{text:?} is no call: expected \"health\", \"reflection\" or \"/package.Service/Method\""))
            }
        }
    }
}

impl fmt::Display for GrpcCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GrpcCall::Health => "health",
            GrpcCall::Reflection => "reflection",
            GrpcCall::Method(path) => path,
        })
    }
}

impl TryFrom<String> for GrpcCall {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<GrpcCall> for String {
    fn from(call: GrpcCall) -> String {
        call.to_string()
    }
}

/// What came back.
struct Reply {
    code: u32,
    /// `grpc-message`.
    message: String,
    messages: Vec<Vec<u8>>,
}

/// Calls the first of `addresses` that accepts.
pub(super) fn probe(step: &GrpcStep, addresses: &[IpAddr], timeout: Duration, redactor: &Redactor) -> Outcome {
    let deadline = Instant::now() + timeout;
    let reply = match &step.call {
        GrpcCall::Health => {
            call(step, addresses, deadline, timeout, "/grpc.health.v1.Health/Check", &field(1, step.service.as_bytes()))
        }
        GrpcCall::Method(path) => call(step, addresses, deadline, timeout, path, &step.message.0),
        GrpcCall::Reflection => {
            // A ServerReflectionRequest with `list_services`, field 7, which is there though it is empty.
            let ask = |version| {
                let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
                call(step, addresses, deadline, timeout, &path, &[7 << 3 | 2, 0])
            };
            match ask("v1") {
                Ok(Reply { code: UNIMPLEMENTED, .. }) => ask("v1alpha"),
                other => other,
            }
        }
    };
    match reply {
        Ok(reply) => judge(step, reply, redactor),
        Err(outcome) => *outcome,
    }
}

fn judge(step: &GrpcStep, reply: Reply, redactor: &Redactor) -> Outcome {
    let Reply { code, message, messages } = reply;
    let mut answer =
        Answer::Messages { status: code, detail: message.clone(), count: 0, digest: Digest::of(b""), bytes: 0 };
    answer.set_part("messages", &messages);
    let all = messages.concat();
    let failure = if code != step.expect.code {
        let said =
            if message.is_empty() { String::new() } else { format!(": {}", excerpt(message.as_bytes(), redactor)) };
        let hint = match (&step.call, code) {
            (GrpcCall::Method(_), _) | (_, 0..UNIMPLEMENTED | UNAVAILABLE..) => String::new(),
            (call, _) => format!("; it has no service for {call}"),
        };
        Some(format!("expected gRPC status {}, got {}{said}{hint}", status_text(step.expect.code), status_text(code)))
    } else if step.call == GrpcCall::Health && code == OK && serving(&all) != Some(1) {
        let state = match serving(&all) {
            Some(2) => "NOT_SERVING",
            Some(3) => "SERVICE_UNKNOWN",
            _ => "UNKNOWN",
        };
        Some(format!("expected the health SERVING, got {state}"))
    } else if !step.expect.messages.is_empty() && step.expect.messages.met_at(&all).is_none() {
        let got = if all.is_empty() { "nothing".into() } else { excerpt(&all, redactor) };
        Some(format!("expected {}, got {got}", step.expect.messages))
    } else {
        None
    };
    let not_yet = failure.is_some() && (code == UNAVAILABLE || step.call == GrpcCall::Health && code == OK);
    let outcome = Outcome { not_yet, ..Outcome::new(answer, failure) };
    messages.into_iter().fold(outcome, |outcome, message| outcome.showing("messages", message))
}

fn status_text(code: u32) -> String {
    match STATUSES.get(code as usize) {
        Some(name) => format!("{code} {name}"),
        None => code.to_string(),
    }
}

/// The `status` of a HealthCheckResponse: a varint in field 1, which is 0 when it is not there.
fn serving(message: &[u8]) -> Option<u8> {
    match message {
        [] => Some(0),
        [8, status] => Some(*status),
        _ => None,
    }
}

/// A protobuf field of bytes; nothing for the default value.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if content.is_empty() {
        return out;
    }
    out.push(number << 3 | 2);
    let mut length = content.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
    out
}

fn call(
    step: &GrpcStep,
    addresses: &[IpAddr],
    deadline: Instant,
    timeout: Duration,
    path: &str,
    message: &[u8],
) -> Result<Reply, Box<Outcome>> {
    let port = step.port.unwrap_or_default();
    let stream = connect(addresses, port, timeout)
        .map_err(|(address, error)| failed(&error, &format!("on {}", SocketAddr::new(address, port)), timeout))
        .map_err(Box::new)?;
    let place = format!("on port {port}");
    let broken = |error: io::Error| Box::new(failed(&error, &place, timeout));
    // Everything happens on this thread, which is in the network of the application.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    let left = deadline.saturating_duration_since(Instant::now());
    let exchange = async {
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        match tokio::time::timeout(left, exchange(step, stream, path, message)).await {
            Ok(reply) => reply,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    runtime.block_on(exchange).map_err(broken)
}

async fn exchange(step: &GrpcStep, stream: tokio::net::TcpStream, path: &str, message: &[u8]) -> io::Result<Reply> {
    let authority = match &step.host {
        Some(host) => host.clone(),
        None => stream.peer_addr()?.to_string(),
    };
    let (mut client, connection) =
        h2::client::Builder::new().enable_push(false).handshake(stream).await.map_err(of_h2)?;
    // It ends with the runtime; that it failed is seen by the request.
    let _connection = tokio::spawn(connection);
    client = client.ready().await.map_err(of_h2)?;
    let request = request(step, &authority, path).map_err(io::Error::other)?;
    let (response, mut body) = client.send_request(request, false).map_err(of_h2)?;
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).map_err(io::Error::other)?.to_be_bytes());
    framed.extend_from_slice(message);
    // A server that does not know the call may answer before it has read the message.
    let sent = body.send_data(Bytes::from(framed), true);
    let response = response.await.map_err(of_h2)?;
    let (head, mut body) = response.into_parts();
    if head.status != 200 {
        return Err(io::Error::other(format!(
            "the answer to a gRPC call has the HTTP status {}",
            head.status.as_u16()
        )));
    }
    let mut received = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(of_h2)?;
        body.flow_control().release_capacity(chunk.len()).map_err(of_h2)?;
        received.extend_from_slice(&chunk);
        if received.len() > LARGEST_ANSWER {
            return Err(io::Error::other(format!("the answer is longer than {} MiB", LARGEST_ANSWER >> 20)));
        }
    }
    let trailers = body.trailers().await.map_err(of_h2)?;
    let (code, message) = [trailers.as_ref(), Some(&head.headers)]
        .into_iter()
        .flatten()
        .find_map(status)
        .ok_or_else(|| io::Error::other("the answer has no grpc-status: it does not come from a gRPC server"))?;
    if code == OK {
        sent.map_err(of_h2)?;
    }
    Ok(Reply { code, message, messages: messages(&received)? })
}

fn request(step: &GrpcStep, authority: &str, path: &str) -> Result<Request<()>, http::Error> {
    let mut request = Request::builder()
        .version(Version::HTTP_2)
        .method(Method::POST)
        .uri(format!("http://{authority}{path}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("user-agent", "scrimp")
        .body(())?;
    for (name, value) in &step.headers {
        let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes())?;
        request.headers_mut().insert(name, HeaderValue::from_bytes(&value.0)?);
    }
    Ok(request)
}

/// `grpc-status` and `grpc-message`, which is percent-encoded.
fn status(headers: &HeaderMap) -> Option<(u32, String)> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let code = text("grpc-status")?.parse().ok()?;
    Some((code, percent_decoded(text("grpc-message").unwrap_or_default())))
}

/// Takes a body apart: each message after a byte that says whether it is compressed, and its length.
fn messages(mut body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let bad = |what: &str| io::Error::other(format!("the answer is no gRPC: {what}"));
    let mut out = Vec::new();
    while let Some((head, rest)) = body.split_at_checked(5) {
        if head[0] != 0 {
            return Err(bad("a message is compressed, which nobody asked for"));
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (message, rest) = rest.split_at_checked(length).ok_or_else(|| bad("a message is cut off"))?;
        out.push(message.to_vec());
        body = rest;
    }
    if body.is_empty() { Ok(out) } else { Err(bad("a message is cut off")) }
}

/// What HTTP/2 says went wrong; what the system said under it stays what it is.
fn of_h2(error: h2::Error) -> io::Error {
    if error.is_io()
        && let Some(inner) = error.get_io()
    {
        return io::Error::new(inner.kind(), inner.to_string());
    }
    io::Error::other(format!("no gRPC answer: {error}"))
}
