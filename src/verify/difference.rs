//! Side by side: two transcripts of the same probes.

use std::collections::BTreeMap;
use std::fmt;

use crate::observation::{Answer, Content, ProbeResult, Transcript, covers};
use crate::verify::content::{first_difference, members};

/// One aspect of one answer that is not the same in two transcripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The name of the probe.
    pub probe: String,
    /// What differs: `status`, `header:server`, `body`, `json:$.a.b`, `exit code`, `stdout`, ...
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

/// What two JSON texts differ in that have the same members with the same values.
const FORM: &str = "form of the json";

/// All differences between the answers in `base` and `slim`, in the order of the base's probes; aspects that a probe
/// declares unstable (`ignore`) are left out.
pub fn transcripts(base: &Transcript, slim: &Transcript) -> Vec<Difference> {
    let answered: BTreeMap<&str, &ProbeResult> = slim.probes.iter().map(|p| (p.name.as_str(), p)).collect();
    let (base_evidence, slim_evidence) = (&base.evidence, &slim.evidence);
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
                let difference = Difference { probe: before.name.clone(), aspect: aspect.clone(), base, slim };
                let evidence = (base_evidence.get(&before.name, aspect), slim_evidence.get(&before.name, aspect));
                match evidence {
                    (Some(base), Some(slim)) => out.extend(in_detail(difference, base, slim)),
                    _ => out.push(difference),
                }
            }
        }
    }
    out
}

/// A difference between two contents that are known: one for each member of JSON, else with the place where it begins.
fn in_detail(whole: Difference, base: &Content, slim: &Content) -> Vec<Difference> {
    if whole.aspect != "stderr"
        && let Some(places) = members(base, slim)
    {
        if places.is_empty() {
            return vec![Difference { aspect: FORM.into(), ..whole }];
        }
        let place = |(path, base, slim)| Difference { aspect: format!("json:{path}"), base, slim, ..whole.clone() };
        return places.into_iter().map(place).collect();
    }
    let text = |content: &Content| match content {
        Content::Json(value) => value.to_string(),
        Content::Text(text) => text.clone(),
    };
    let Some((base, slim)) = first_difference(&text(base), &text(slim)) else { return vec![whole] };
    let (base, slim) = (format!("{}; {base}", whole.base), format!("{}; {slim}", whole.slim));
    vec![Difference { base, slim, ..whole }]
}

/// Why a probe did not pass; `None` when it did.
fn failure(result: Option<&ProbeResult>) -> Option<String> {
    match result {
        None => Some("not asked".into()),
        Some(result) => result.failure.clone(),
    }
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
        Answer::Messages { status, detail, count, digest, bytes } => {
            put("status", status.to_string());
            put("detail", detail.clone());
            put("messages", format!("{count} messages, {bytes} bytes, {digest}"));
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
        Transcript {
            probes: vec![ProbeResult { name: "http GET /".into(), answer, failure: None, ignore }],
            ..Transcript::default()
        }
    }

    /// The same with a body that is kept.
    fn with_body(body: &str) -> Transcript {
        let mut transcript = http(200, &[("content-length", &body.len().to_string())], body, &[]);
        transcript.evidence.keep("http GET /", "body", &[body]);
        transcript
    }

    #[test]
    fn a_body_is_compared_member_by_member_and_line_by_line() {
        for (base, slim, expected) in [
            (r#"{"a":1,"t":5}"#, r#"{"a":1,"t":6}"#, &["json:$.t: 5 | 6"][..]),
            (r#"{"a":1,"t":5}"#, r#"{"t":5,"a":1}"#, &["form of the json: "]),
            ("one\ntwo", "one\ntoo", &["body: "]),
        ] {
            let differences = transcripts(&with_body(base), &with_body(slim));
            let texts: Vec<String> =
                differences.iter().map(|d| format!("{}: {} | {}", d.aspect, d.base, d.slim)).collect();
            assert!(
                texts.len() == expected.len() && texts.iter().zip(expected).all(|(t, e)| t.starts_with(e)),
                "{texts:?}"
            );
        }
        let difference = &transcripts(&with_body("one\ntwo"), &with_body("one\ntoo"))[0];
        assert!(difference.base.ends_with("; line 2: \"two\"") && difference.slim.ends_with("; line 2: \"too\""));
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
            Transcript {
                probes: vec![ProbeResult { name: "tcp 1".into(), answer, failure: None, ignore }],
                ..Transcript::default()
            }
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
