//! What probes did and what they were answered.

use serde::{Deserialize, Serialize};

use crate::base::Digest;

/// The results of all probes of a run, in the order in which they ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transcript {
    /// One per step and repeat.
    pub probes: Vec<ProbeResult>,
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
    /// Parts of the answer that verification does not compare, `header:date`, `body`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
}

/// What came back. Bodies and output are digests, so that nothing secret is kept; `excerpt` is for messages only and
/// is not written to files.
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
    /// Whether the answer satisfied the probe's expectations.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

impl Transcript {
    /// How many probes passed, and how many failed.
    pub fn tally(&self) -> (usize, usize) {
        let passed = self.probes.iter().filter(|p| p.passed()).count();
        (passed, self.probes.len() - passed)
    }
}
