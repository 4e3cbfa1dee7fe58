//! Side by side: two transcripts of the same probes.

use std::collections::BTreeMap;
use std::fmt;

use crate::observation::{Answer, ProbeResult, Transcript};

/// One aspect of one answer that is not the same in two transcripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The name of the probe.
    pub probe: String,
    /// What differs: `status`, `header:server`, `body`, `exit code`, `stdout`, ...
    pub aspect: String,
    /// As it was with the base.
    pub base: String,
    /// As it is with the small image.
    pub slim: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  base  {}\n  slim  {}", self.probe, self.aspect, self.base, self.slim)
    }
}

/// The aspect of a probe whose expectations the base satisfied and the small image does not.
const EXPECTATION: &str = "expectation";

impl Difference {
    /// Whether it is a failure of the small image whatever else is known of the probe: nothing excuses it, for the
    /// base passed the same probe.
    pub fn is_failure(&self) -> bool {
        self.aspect == EXPECTATION
    }
}

/// All differences between the answers in `base` and `slim`, in the order of the base's probes; aspects that a probe
/// declares unstable (`ignore`) are left out.
pub fn transcripts(base: &Transcript, slim: &Transcript) -> Vec<Difference> {
    let answered: BTreeMap<&str, &ProbeResult> = slim.probes.iter().map(|p| (p.name.as_str(), p)).collect();
    let mut out = Vec::new();
    for before in &base.probes {
        let after = answered.get(before.name.as_str());
        if let (true, Some(failure)) = (before.passed(), failure(after.copied())) {
            let (probe, base) = (before.name.clone(), "passed".into());
            out.push(Difference { probe, aspect: EXPECTATION.into(), base, slim: failure });
        }
        let expected = aspects(before);
        let found = match after {
            Some(after) if after.answer != Answer::None || before.answer == Answer::None => aspects(after),
            // Nothing came back: that is one difference, not one for each part of the answer.
            other => {
                if before.passed() {
                    continue;
                }
                let slim = failure(other.copied()).unwrap_or("none".into());
                let parts: Vec<String> = expected.iter().map(|(name, value)| format!("{name} {value}")).collect();
                let base = parts.first().cloned().unwrap_or_default();
                out.push(Difference { probe: before.name.clone(), aspect: "answer".into(), base, slim });
                continue;
            }
        };
        let names: Vec<&String> = expected.keys().chain(found.keys().filter(|k| !expected.contains_key(*k))).collect();
        for aspect in names {
            let side = |aspects: &BTreeMap<String, String>| aspects.get(aspect).cloned().unwrap_or("(none)".into());
            let (base, slim) = (side(&expected), side(&found));
            if base != slim && !before.ignore.iter().any(|ignored| covers(ignored, aspect)) {
                out.push(Difference { probe: before.name.clone(), aspect: aspect.clone(), base, slim });
            }
        }
    }
    out
}

/// Why a probe did not pass; `None` when it did.
fn failure(result: Option<&ProbeResult>) -> Option<String> {
    match result {
        None => Some("not asked".into()),
        Some(result) => result.failure.clone(),
    }
}

/// Whether what a probe declares unstable is, or holds, an aspect of its answer. The length of a body goes with the body.
fn covers(ignored: &str, aspect: &str) -> bool {
    ignored.eq_ignore_ascii_case(aspect)
        || (ignored == "headers" && aspect.starts_with("header:"))
        || (ignored == "body" && aspect == "header:content-length")
}

/// An answer as named values, each of which can be compared, shown and ignored by itself.
fn aspects(result: &ProbeResult) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut put = |name: &str, value: String| out.insert(name.to_owned(), value);
    match &result.answer {
        Answer::Http { status, headers, body_digest, body_bytes } => {
            put("status", status.to_string());
            put("body", format!("{body_bytes} bytes, {body_digest}"));
            for (name, value) in headers {
                out.entry(format!("header:{name}"))
                    .and_modify(|all: &mut String| {
                        all.push_str(", ");
                        all.push_str(value);
                    })
                    .or_insert_with(|| value.clone());
            }
        }
        Answer::Bytes { digest, bytes } => {
            put("bytes", format!("{bytes} bytes, {digest}"));
        }
        Answer::Connected => {
            put("connection", "accepted".into());
        }
        Answer::Exit { code, stdout_digest, stdout_bytes, stderr_digest, stderr_bytes } => {
            put("exit code", code.to_string());
            put("stdout", format!("{stdout_bytes} bytes, {stdout_digest}"));
            put("stderr", format!("{stderr_bytes} bytes, {stderr_digest}"));
        }
        Answer::None => {
            put("answer", result.failure.clone().unwrap_or("none".into()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;

    fn http(status: u16, headers: &[(&str, &str)], body: &str, ignore: &[&str]) -> Transcript {
        let answer = Answer::Http {
            status,
            headers: headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            body_digest: Digest::of(body.as_bytes()),
            body_bytes: body.len() as u64,
        };
        let ignore = ignore.iter().map(|s| s.to_string()).collect();
        Transcript { probes: vec![ProbeResult { name: "http GET /".into(), answer, failure: None, ignore }] }
    }

    fn aspects_of(base: &Transcript, slim: &Transcript) -> Vec<String> {
        transcripts(base, slim).into_iter().map(|d| d.aspect).collect()
    }

    #[test]
    fn every_aspect_counts_unless_it_is_declared_unstable() {
        let base = http(200, &[("date", "today"), ("server", "x")], "a", &["header:date"]);
        assert!(transcripts(&base, &base).is_empty());
        let slim = http(500, &[("date", "later")], "b", &[]);
        assert_eq!(aspects_of(&base, &slim), ["body", "header:server", "status"]);
    }

    #[test]
    fn all_that_a_spec_can_ignore_is_ignored() {
        let base = |ignore: &[&str]| http(200, &[("a", "1"), ("content-length", "1")], "x", ignore);
        let slim = http(500, &[("a", "2"), ("content-length", "2")], "yy", &[]);
        for (ignore, left) in [
            (&["headers"][..], &["body", "status"][..]),
            (&["body", "header:A"], &["status"]),
            (&["status", "body"], &["header:a"]),
        ] {
            assert_eq!(aspects_of(&base(ignore), &slim), left, "{ignore:?}");
        }
        let bytes = |content: &[u8], ignore: &[&str]| {
            let answer = Answer::Bytes { digest: Digest::of(content), bytes: content.len() as u64 };
            let ignore = ignore.iter().map(|s| s.to_string()).collect();
            Transcript { probes: vec![ProbeResult { name: "tcp 1".into(), answer, failure: None, ignore }] }
        };
        assert_eq!(aspects_of(&bytes(b"a", &[]), &bytes(b"b", &[])), ["bytes"]);
        assert!(transcripts(&bytes(b"a", &["bytes"]), &bytes(b"b", &[])).is_empty());
    }

    #[test]
    fn a_probe_that_was_not_answered_is_one_difference() {
        let base = http(200, &[("server", "x")], "a", &[]);
        assert_eq!(aspects_of(&base, &Transcript::default()), ["expectation"]);
    }

    #[test]
    fn a_probe_that_fails_counts_though_what_it_was_answered_is_ignored() {
        let base = http(200, &[], "ok", &["body"]);
        let mut slim = http(200, &[], "error", &["body"]);
        assert!(transcripts(&base, &slim).is_empty());
        slim.probes[0].failure = Some("the body does not contain \"ok\"".into());
        let differences = transcripts(&base, &slim);
        assert_eq!(differences.len(), 1);
        assert!(differences[0].is_failure());
    }

    #[test]
    fn headers_that_only_the_small_image_sends_count_too() {
        assert_eq!(aspects_of(&http(200, &[], "", &[]), &http(200, &[("x", "1")], "", &[])), ["header:x"]);
    }
}
