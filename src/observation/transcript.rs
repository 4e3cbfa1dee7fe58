//! What probes did and what they were answered.

use serde::{Deserialize, Serialize};

use crate::base::Digest;
use crate::observation::Evidence;

/// The results of all probes of a run, in the order in which they ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// One per step and repeat.
    pub probes: Vec<ProbeResult>,
    /// What the answers held, for comparisons and messages; never written.
    #[serde(skip)]
    pub evidence: Evidence,
}

/// The result of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// What was done, as people read it and as accesses name it: `http GET /cv`, `exec redis-cli ping`. Unique in a
    /// transcript: a repeated step ends in ` #2`, ` #3`, ...
    pub name: String,
    /// What came back.
    pub answer: Answer,
    /// Why it does not satisfy its expectations; `None` when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Parts of the answer that verification does not compare, `header:date`, `body`, `json:$.time`. What they name is
    /// not in the answer: see [`ProbeResult::new`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
}

/// What came back. Bodies and output are digests, so that nothing secret is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Answer {
    /// An HTTP response.
    Http {
        /// The status code.
        status: u16,
        /// Header names in lower case with their values, sorted.
        headers: Vec<(String, String)>,
        /// Of the body as received.
        body_digest: Digest,
        /// Length of the body.
        body_bytes: u64,
    },
    /// Bytes from a TCP or UDP peer.
    Bytes {
        /// Of all that was received.
        digest: Digest,
        /// How much.
        bytes: u64,
    },
    /// A TCP connection that was accepted; nothing was read.
    Connected,
    /// What came over a connection that carries messages: WebSocket or gRPC.
    Messages {
        /// How it ended: of a gRPC call the status (0 is OK); of a WebSocket the HTTP status of its beginning, 101
        /// when it stood.
        status: u32,
        /// What the peer said about that: the message of a gRPC status, the subprotocol of a WebSocket.
        detail: String,
        /// How many messages came.
        count: u64,
        /// Of all messages, each after its length as eight bytes, big-endian.
        digest: Digest,
        /// The sum of their lengths.
        bytes: u64,
    },
    /// A process that ended: an exec probe, or the command that is its own probe.
    Exit {
        /// The exit code, or 128 plus the signal.
        code: i32,
        /// Of what it wrote to standard output.
        stdout_digest: Digest,
        /// How much that is.
        stdout_bytes: u64,
        /// Of what it wrote to standard error.
        stderr_digest: Digest,
        /// How much that is.
        stderr_bytes: u64,
    },
    /// Nothing: connection refused, no answer in time.
    None,
}

impl ProbeResult {
    /// The result of a probe, without what verification does not compare: headers are left out, and what cannot be is
    /// empty (a status 0, a digest that of nothing), so that two equal runs have equal results.
    pub fn new(name: String, mut answer: Answer, failure: Option<String>, ignore: Vec<String>) -> Self {
        answer.clear(&|aspect| ignore.iter().any(|ignored| covers(ignored, aspect)));
        ProbeResult { name, answer, failure, ignore }
    }

    /// Whether the answer satisfied the probe's expectations.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

impl Answer {
    /// Puts `contents` in the place of a part of the answer: `body`, `bytes`, `stdout`, `stderr` (which are one
    /// content each), or all `messages`.
    pub fn set_part(&mut self, part: &str, contents: &[impl AsRef<[u8]>]) {
        let content = contents.first().map(AsRef::as_ref).unwrap_or_default();
        match (self, part) {
            (Answer::Http { body_digest: digest, body_bytes: bytes, .. }, "body")
            | (Answer::Bytes { digest, bytes }, "bytes")
            | (Answer::Exit { stdout_digest: digest, stdout_bytes: bytes, .. }, "stdout")
            | (Answer::Exit { stderr_digest: digest, stderr_bytes: bytes, .. }, "stderr") => {
                (*digest, *bytes) = (Digest::of(content), content.len() as u64);
            }
            (Answer::Messages { count, digest, bytes, .. }, "messages") => {
                let lengths = contents.iter().map(|content| content.as_ref().len() as u64);
                (*count, *bytes) = (contents.len() as u64, lengths.sum());
                *digest = digest_of_messages(contents);
            }
            _ => {}
        }
    }

    fn clear(&mut self, unstable: &dyn Fn(&str) -> bool) {
        for part in ["body", "bytes", "messages", "stdout", "stderr"] {
            if unstable(part) {
                self.set_part(part, &[] as &[&[u8]]);
            }
        }
        match self {
            Answer::Http { status, headers, .. } => {
                headers.retain(|(name, _)| !unstable(&format!("header:{name}")));
                if unstable("status") {
                    *status = 0;
                }
            }
            Answer::Messages { detail, .. } if unstable("detail") => detail.clear(),
            _ => {}
        }
    }
}

/// The digest of messages, each after its length as eight bytes, big-endian.
fn digest_of_messages(messages: &[impl AsRef<[u8]>]) -> Digest {
    let mut framed = Vec::new();
    for message in messages.iter().map(AsRef::as_ref) {
        framed.extend_from_slice(&(message.len() as u64).to_be_bytes());
        framed.extend_from_slice(message);
    }
    Digest::of(&framed)
}

/// Whether what is unstable is, or holds, an aspect of an answer: `headers` all headers, `body` all that is in it, the
/// member of a JSON text what is below it, in every element of the arrays on the way. The length of a body goes with
/// any part of the body.
pub fn covers(unstable: &str, aspect: &str) -> bool {
    if unstable.eq_ignore_ascii_case(aspect) {
        return true;
    }
    let is_part_of_body = unstable.starts_with("json:") || unstable.starts_with("regex:");
    match aspect.split_once(':') {
        Some(("header", _)) if unstable == "headers" => true,
        Some(("header", name)) => {
            name.eq_ignore_ascii_case("content-length") && (unstable == "body" || is_part_of_body)
        }
        Some(("json", below)) => match unstable.strip_prefix("json:") {
            Some(above) => any_element(below)
                .strip_prefix(&any_element(above))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])),
            None => matches!(unstable, "body" | "bytes" | "messages" | "stdout"),
        },
        _ => false,
    }
}

/// A path with `[*]` for each `[NUMBER]`: which element it is that holds the time is chance.
fn any_element(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('[') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && rest[1 + digits..].starts_with(']') {
            out.push_str("[*]");
            rest = &rest[digits + 2..];
        } else {
            out.push('[');
            rest = &rest[1..];
        }
    }
    out + rest
}

impl Transcript {
    /// How many probes passed, and how many failed.
    pub fn tally(&self) -> (usize, usize) {
        let passed = self.probes.iter().filter(|p| p.passed()).count();
        (passed, self.probes.len() - passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unstable_holds_what_is_in_it() {
        for (unstable, aspect, covered) in [
            ("header:Date", "header:date", true),
            ("headers", "header:x", true),
            ("headers", "body", false),
            ("body", "header:content-length", true),
            ("json:$.a", "header:content-length", true),
            ("body", "json:$.a", true),
            ("status", "json:$.a", false),
            ("json:$.a", "json:$.a.b", true),
            ("json:$.a", "json:$.ab", false),
            ("json:$.a[0].t", "json:$.a[7].t", true),
            ("json:$.a[0].t", "json:$.a[7].u", false),
            ("json:$.a[0]", "json:$.a", false),
            ("json:$", "json:$['x y']", true),
            ("stderr", "json:$.a", false),
        ] {
            assert_eq!(covers(unstable, aspect), covered, "{unstable} and {aspect}");
        }
    }

    #[test]
    fn a_result_is_without_what_is_not_compared() {
        let result = |date: &str, status, ignore: &[&str]| {
            let headers = [("content-length", "9"), ("date", date), ("server", "x")];
            let answer = Answer::Http {
                status,
                headers: headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
                body_digest: Digest::of(date.as_bytes()),
                body_bytes: 9,
            };
            ProbeResult::new("http GET /".into(), answer, None, ignore.iter().map(|i| i.to_string()).collect())
        };
        let ignore = ["header:date", "body", "status"];
        assert_eq!(result("today", 200, &ignore), result("tomorrow", 201, &ignore));
        let Answer::Http { headers, .. } = result("today", 200, &ignore).answer else { panic!() };
        assert_eq!(headers, [("server".into(), "x".into())]);
        assert_ne!(result("today", 200, &[]), result("tomorrow", 200, &[]));
    }
}
