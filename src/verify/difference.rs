//! Side by side: two transcripts of the same probes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::base::unescape_bytes;
use crate::observation::{Answer, Content, ProbeResult, Transcript, covers};
use crate::verify::content::{at, excerpt, first_difference, members};
use crate::verify::pattern::{self, bytes_fit, fits};

/// One aspect of one answer that is not the same in two transcripts.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The name of the probe.
    pub probe: String,
    /// What differs: `status`, `header:server`, `body`, `json:$.a.b`, `exit code`, `stdout`, ...
    pub aspect: String,
    /// As it was with the base.
    pub base: String,
    /// As it is with the small image.
    pub slim: String,
    /// All that stands in this part of the answer in both, where it is known.
    contents: Option<Arc<(Content, Content)>>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  base  {}\n  slim  {}", self.probe, self.aspect, self.base, self.slim)
    }
}

/// What an aspect begins with that is the path of a member of JSON.
const JSON: &str = "json:";

/// The aspect of a probe whose expectations the base satisfied and the small image does not.
const EXPECTATION: &str = "expectation";

impl Difference {
    /// An `aspect` of the answer to `probe` that is `base` in one and `slim` in the other.
    pub fn new(probe: impl Into<String>, aspect: impl Into<String>, base: String, slim: String) -> Self {
        Difference { probe: probe.into(), aspect: aspect.into(), base, slim, contents: None }
    }

    /// Whether it is no more than what two runs of the base differ in, too, which is `unstable`. Of contents that are known
    /// only the parts that do differ there are forgiven, and `self` says then which one is not.
    pub(super) fn is_excused_by(&mut self, unstable: &Difference) -> bool {
        if self.probe != unstable.probe || !covers(&unstable.aspect, &self.aspect) {
            return false;
        }
        // A member of JSON is forgiven with all that is in it, but of an object what both runs have alike.
        if let Some(place) = unstable.aspect.strip_prefix(JSON) {
            return !self.is_steady_in(unstable, place);
        }
        let known =
            self.contents.as_deref().zip(unstable.contents.as_deref().filter(|theirs| is_comparable(&theirs.1)));
        let Some(((first, tried), (_, second))) = known else {
            // Two runs of the base say nothing of what stands fast: it is forgiven as a whole.
            self.contents = None;
            return true;
        };
        let lost = match (first, second, tried) {
            // The base never says that much.
            (_, _, Content::Long) => Err(None),
            (Content::Escaped(first), Content::Escaped(second), Content::Escaped(tried)) => {
                let bytes = |text: &str| unescape_bytes(text).map(|bytes| bytes.into_owned()).unwrap_or_default();
                match bytes_fit(&bytes(first), &bytes(second), &bytes(tried)) {
                    true => Ok(()),
                    false => Err(None),
                }
            }
            _ => fits(&text_of(first), &text_of(second), &text_of(tried)),
        };
        let Err(lost) = lost else { return true };
        let more = match lost {
            Some(piece) => {
                format!("two runs of the source have {:?} in it, and the image has not", excerpt(piece.trim_end()))
            }
            None => "two runs of the source differ in it as well, but less".into(),
        };
        self.slim = format!("{}; {more}", self.slim);
        false
    }

    /// Whether two runs of the base, which differ in the names that the object at `place` has, agree in what this is about.
    fn is_steady_in(&self, unstable: &Difference, place: &str) -> bool {
        let known = self.contents.as_deref().zip(unstable.contents.as_deref()).zip(self.aspect.strip_prefix(JSON));
        let Some((((first, tried), (_, second)), here)) = known else { return false };
        let object = |content| at(content, place).and_then(Value::as_object);
        let (Some(ours), Some(theirs)) = (object(first), object(second)) else { return false };
        if here != place {
            return at(first, here).is_some_and(|value| at(second, here) == Some(value));
        }
        object(tried).is_none_or(|tried| ours.keys().any(|name| theirs.contains_key(name) && !tried.contains_key(name)))
    }

    /// Whether it is about a part of an answer of which what is not forgiven was compared.
    pub(super) fn is_in_parts(&self) -> bool {
        self.contents.is_some()
    }

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
    let mut not_asked = base.probes.iter().filter(|before| !answered.contains_key(before.name.as_str()));
    // They are not asked because the application has ended: that is one difference.
    let (first_not_asked, more) = (not_asked.next(), not_asked.count());
    for before in &base.probes {
        let after = answered.get(before.name.as_str());
        if let (None, Some(first)) = (after, first_not_asked) {
            if first.name == before.name {
                let slim = if more == 0 { "not asked".into() } else { format!("not asked, nor are {more} more") };
                let base = if before.passed() { "passed" } else { "asked" };
                out.push(Difference::new(&before.name, EXPECTATION, base.into(), slim));
            }
            continue;
        }
        if let (true, Some(failure)) = (before.passed(), failure(after.copied())) {
            out.push(Difference::new(&before.name, EXPECTATION, "passed".into(), failure));
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
                out.push(Difference::new(&before.name, "answer", base, slim));
                continue;
            }
        };
        let names: Vec<&String> = expected.keys().chain(found.keys().filter(|k| !expected.contains_key(*k))).collect();
        for aspect in names {
            let side = |aspects: &BTreeMap<String, String>| aspects.get(aspect).cloned().unwrap_or("(none)".into());
            let (base, slim) = (side(&expected), side(&found));
            if base != slim && !before.ignore.iter().any(|ignored| covers(ignored, aspect)) {
                let difference = Difference::new(&before.name, aspect, base, slim);
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
    // Of a base that cannot be taken apart nothing is known to stand fast; of what is held against it all is to be told.
    let contents = is_comparable(base).then(|| Arc::new((base.clone(), slim.clone())));
    let whole = Difference { contents, ..whole };
    if [base, slim].contains(&&Content::Long) {
        return vec![whole];
    }
    if whole.aspect != "stderr"
        && let Some(places) = members(base, slim)
    {
        if places.is_empty() {
            return vec![Difference { aspect: FORM.into(), ..whole }];
        }
        let place = |(path, base, slim)| Difference { aspect: format!("{JSON}{path}"), base, slim, ..whole.clone() };
        return places.into_iter().map(place).collect();
    }
    let Some((base, slim)) = first_difference(&text_of(base), &text_of(slim)) else { return vec![whole] };
    let (base, slim) = (format!("{}; {base}", whole.base), format!("{}; {slim}", whole.slim));
    vec![Difference { base, slim, ..whole }]
}

/// Whether a content can be compared in parts.
fn is_comparable(content: &Content) -> bool {
    *content != Content::Long && pattern::is_comparable(&text_of(content))
}

/// A content as a text of lines.
fn text_of(content: &Content) -> Cow<'_, str> {
    match content {
        Content::Long => Cow::Borrowed(""),
        Content::Json(value) => Cow::Owned(format!("{value:#}")),
        Content::Text(text) | Content::Escaped(text) => Cow::Borrowed(text),
    }
}

/// Why a probe did not pass; `None` when it did.
fn failure(result: Option<&ProbeResult>) -> Option<String> {
    match result {
        None => Some("not asked".into()),
        Some(result) => result.failure.clone(),
    }
}

/// Headers that are sets (RFC 9110, 10.2.1 and 12.5.5; Fetch, 3.2): the order of their members means nothing, and programs
/// that keep them in hashed sets have another one with each start.
const SETS: [&str; 5] =
    ["allow", "vary", "access-control-allow-headers", "access-control-allow-methods", "access-control-expose-headers"];

/// The value of a header, its members sorted where it is a set.
fn in_order<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    if !SETS.contains(&name) {
        return Cow::Borrowed(value);
    }
    let mut members: Vec<&str> = value.split(',').map(str::trim).collect();
    members.sort_unstable();
    Cow::Owned(members.join(", "))
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
                let value = &in_order(name, value);
                out.entry(format!("header:{name}"))
                    .and_modify(|all: &mut String| {
                        all.push_str(", ");
                        all.push_str(value);
                    })
                    .or_insert_with(|| value.to_string());
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

    #[test]
    fn of_a_text_only_what_two_runs_of_the_base_differ_in_is_excused() {
        let forgiven = |first: &str, second: &str, slim: &str| {
            let mut found = transcripts(&with_body(first), &with_body(slim));
            let unstable = transcripts(&with_body(first), &with_body(second));
            found.retain_mut(|difference| !unstable.iter().any(|unstable| difference.is_excused_by(unstable)));
            found.into_iter().map(|difference| difference.to_string()).collect::<Vec<_>>()
        };
        let page = |time: &str, title: &str| format!("<h1>{title}</h1>\nat {time}\n");
        assert_eq!(forgiven(&page("5", "Fruit"), &page("6", "Fruit"), &page("7", "Fruit")), [""; 0]);
        let left = forgiven(&page("5", "Fruit"), &page("6", "Fruit"), &page("7", "Error"));
        assert!(
            left.len() == 1 && left[0].ends_with("have \"<h1>Fruit</h1>\" in it, and the image has not"),
            "{left:?}"
        );
        // The length goes with the body.
        assert_eq!(forgiven(&page("5", "Fruit"), &page("60", "Fruit"), &page("700", "Fruit")), [""; 0]);
        assert_eq!(forgiven(&page("5", "Fruit"), &page("60", "Fruit"), "").len(), 1);
        // What the base says is short, and this is not.
        for long in ["Traceback\n".repeat(20_000), "x".repeat(300_000)] {
            let left = forgiven(&page("5", "Fruit"), &page("6", "Fruit"), &long);
            assert!(left.len() == 1 && left[0].contains("two runs of the source"), "{left:?}");
        }
        // Where the base is as long itself, nothing is known to stand fast.
        let long = |end: &str| "x".repeat(300_000) + end;
        assert_eq!(forgiven(&long("5"), &long("6"), &long("7")), [""; 0]);
        assert_eq!(forgiven("5\n", &long("6"), "7\n8\n"), [""; 0]);
        // JSON that differs all over is a text, too.
        let list = |from: usize, end: &str| {
            let numbers: Vec<String> = (from..from + 100).map(|n| n.to_string()).collect();
            format!("[{},{end:?}]", numbers.join(","))
        };
        assert_eq!(forgiven(&list(0, "a"), &list(1000, "a"), &list(5000, "a")), [""; 0]);
        assert_eq!(forgiven(&list(0, "a"), &list(1000, "a"), &list(5000, "b")).len(), 1);
        assert_eq!(forgiven(&list(0, "a"), &list(1000, "a"), &list(0, "b")).len(), 1);
    }

    #[test]
    fn of_an_object_with_names_made_at_run_time_the_others_stand_fast() {
        let left = |slim: &str| {
            let (first, second) = (r#"{"ok":true,"t":1,"id-1":{}}"#, r#"{"ok":true,"t":2,"id-2":{}}"#);
            let mut found = transcripts(&with_body(first), &with_body(slim));
            let unstable = transcripts(&with_body(first), &with_body(second));
            found.retain_mut(|difference| !unstable.iter().any(|unstable| difference.is_excused_by(unstable)));
            found.into_iter().map(|difference| difference.aspect).collect::<Vec<_>>().join(" ")
        };
        for (slim, expected) in [
            (r#"{"ok":true,"t":3,"id-3":{}}"#, ""),
            (r#"{"ok":true,"t":3,"id-3":{},"id-4":{}}"#, ""),
            (r#"{"ok":false,"t":3,"id-3":{}}"#, "json:$.ok"),
            (r#"{"t":3,"id-3":{}}"#, "json:$"),
            (r#"["ok"]"#, "json:$"),
        ] {
            assert_eq!(left(slim).replace("header:content-length", "").trim(), expected, "{slim}");
        }
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
    fn the_order_of_a_set_means_nothing() {
        let allow = |value: &str| http(405, &[("allow", value)], "", &[]);
        assert!(transcripts(&allow("GET, HEAD,OPTIONS"), &allow("OPTIONS, GET, HEAD")).is_empty());
        assert_eq!(aspects_of(&allow("GET, HEAD"), &allow("GET")), ["header:allow"]);
        let other = |value: &str| http(200, &[("x-list", value)], "", &[]);
        assert_eq!(aspects_of(&other("a, b"), &other("b, a")), ["header:x-list"]);
    }

    #[test]
    fn headers_that_only_the_small_image_sends_count_too() {
        assert_eq!(aspects_of(&http(200, &[], "", &[]), &http(200, &[("x", "1")], "", &[])), ["header:x"]);
    }
}
