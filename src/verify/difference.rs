//! Side by side: two transcripts of the same probes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::base::unescape_bytes;
use crate::observation::{Answer, Content, ProbeResult, Transcript, covers};
use crate::verify::content::{excerpt, first_difference, members};
use crate::verify::pattern::{self, bytes_fit, fits};
use crate::verify::steady::losses;

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
    contents: Option<Arc<Contents>>,
    /// Why it is a failure although the base does not always answer the same.
    despite: Option<String>,
}

/// What a part of an answer held in both.
#[derive(Debug, PartialEq)]
struct Contents {
    /// `body`, `stdout`, ...
    part: String,
    base: Content,
    slim: Content,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  base  {}\n  slim  {}", self.probe, self.aspect, self.base, self.slim)?;
        self.despite.iter().try_for_each(|despite| write!(f, "; {despite}"))
    }
}

/// What an aspect begins with that is the path of a member of JSON.
const JSON: &str = "json:";

/// The aspect of a probe whose expectations the base satisfied and the small image does not.
const EXPECTATION: &str = "expectation";

impl Difference {
    /// An `aspect` of the answer to `probe` that is `base` in one and `slim` in the other.
    pub fn new(probe: impl Into<String>, aspect: impl Into<String>, base: String, slim: String) -> Self {
        Difference { probe: probe.into(), aspect: aspect.into(), base, slim, contents: None, despite: None }
    }

    /// Whether it is no more than what the base does by itself: `unstable` is what other runs of it answered otherwise than
    /// the one that `self` is held against. Of contents that are known only the parts that do differ there are forgiven, and
    /// `self` says then which one is not.
    pub(super) fn is_excused_by(&mut self, unstable: &[Difference]) -> bool {
        self.despite = None;
        let of_probe = || unstable.iter().filter(|unstable| unstable.probe == self.probe);
        let Some(contents) = self.contents.clone() else {
            return of_probe().any(|unstable| covers(&unstable.aspect, &self.aspect));
        };
        let is_covering = |unstable: &&Difference| covers(&unstable.aspect, &self.aspect);
        let same_part = of_probe().filter_map(|unstable| unstable.contents.as_deref());
        let mut others: Vec<&Content> = Vec::new();
        for other in same_part.filter(|theirs| theirs.part == contents.part).map(|theirs| &theirs.slim) {
            if !others.contains(&other) {
                others.push(other);
            }
        }
        let unknown = |unstable: &Difference| unstable.contents.as_deref().is_none_or(|c| !is_comparable(&c.slim));
        if of_probe().filter(is_covering).any(unknown) {
            // Two runs of the base say nothing of what stands fast: it is forgiven as a whole.
            self.contents = None;
            return true;
        }
        let (first, tried) = (&contents.base, &contents.slim);
        let is_known_otherwise = match first {
            Content::Json(_) => !others.is_empty(),
            _ => of_probe().any(|unstable| is_covering(&unstable)),
        };
        if !is_known_otherwise {
            return false;
        }
        let Err(lost) = self.compare(first, &others, tried) else { return true };
        let count = ["two", "three", "four", "five", "six"].get(others.len() - 1).copied().unwrap_or("several");
        self.despite = Some(match lost {
            Some(lost) => format!("{count} runs of the source have {lost}, and the image has not"),
            None => format!("{count} runs of the source differ in it as well, but less"),
        });
        false
    }

    /// Whether `tried` has what `first` and `others` have in common, else what it has not, as far as it can be told.
    fn compare(&self, first: &Content, others: &[&Content], tried: &Content) -> Result<(), Option<String>> {
        let all: Vec<&Content> = [first].into_iter().chain(others.iter().copied()).collect();
        // The base never says that much.
        if *tried == Content::Long {
            return Err(None);
        }
        if let (Some(answers), Content::Json(tried)) = (collect(&all, json), tried) {
            let lost = losses(&answers, tried);
            let here = self.aspect.strip_prefix(JSON);
            return match lost.into_iter().find(|loss| here.is_none_or(|here| loss.concerns(here))) {
                Some(loss) if here == Some(&loss.path) => Err(Some(loss.what)),
                Some(loss) => Err(Some(format!("{} at {}", loss.what, loss.path))),
                None => Ok(()),
            };
        }
        if let (Some(first), Some(others), Some(tried)) = (bytes(first), collect(others, bytes), bytes(tried)) {
            return if bytes_fit(&first, &others, &tried) { Ok(()) } else { Err(None) };
        }
        let others: Vec<Cow<'_, str>> = others.iter().map(|other| text_of(other)).collect();
        let others: Vec<&str> = others.iter().map(AsRef::as_ref).collect();
        let lost = |piece: Option<String>| piece.map(|piece| format!("{:?} in it", excerpt(piece.trim_end())));
        fits(&text_of(first), &others, &text_of(tried)).map_err(lost)
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

/// All contents in one form, where all have it.
fn collect<'a, T>(contents: &[&'a Content], form: impl Fn(&'a Content) -> Option<T>) -> Option<Vec<T>> {
    contents.iter().map(|content| form(content)).collect()
}

fn json(content: &Content) -> Option<&Value> {
    if let Content::Json(value) = content { Some(value) } else { None }
}

/// What is no text, as the bytes that it is.
fn bytes(content: &Content) -> Option<Vec<u8>> {
    match content {
        Content::Escaped(text) => Some(unescape_bytes(text).map(|bytes| bytes.into_owned()).unwrap_or_default()),
        Content::Json(_) | Content::Text(_) | Content::Long => None,
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
                let slim = match more {
                    0 => "not asked".into(),
                    1 => "not asked, nor is one more".into(),
                    more => format!("not asked, nor are {more} more"),
                };
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
    let contents =
        is_comparable(base).then(|| Contents { part: whole.aspect.clone(), base: base.clone(), slim: slim.clone() });
    let contents = contents.map(Arc::new);
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
            found.retain_mut(|difference| !difference.is_excused_by(&unstable));
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
            found.retain_mut(|difference| !difference.is_excused_by(&unstable));
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

    #[test]
    fn of_a_list_of_another_length_each_time_the_rest_is_compared() {
        let left = |seconds: &[&str], slim: &str| {
            let first = r#"{"jobs":[{"id":1,"state":"up"}],"t":1}"#;
            let mut found = transcripts(&with_body(first), &with_body(slim));
            let again = |second: &&str| transcripts(&with_body(first), &with_body(second));
            let unstable: Vec<Difference> = seconds.iter().flat_map(again).collect();
            found.retain_mut(|difference| !difference.is_excused_by(&unstable));
            found.into_iter().map(|difference| difference.to_string()).collect::<Vec<_>>()
        };
        let two = r#"{"jobs":[{"id":2,"state":"up"},{"id":3,"state":"up"}],"t":2}"#;
        let good = r#"{"jobs":[{"id":4,"state":"up"},{"id":5,"state":"up"},{"id":6,"state":"up"}],"t":3}"#;
        assert_eq!(left(&[two], good), [""; 0]);
        for (slim, said) in [
            (r#"{"jobs":[],"t":3}"#, "json:$.jobs"),
            (r#"{"jobs":[{"id":4,"state":"lost"}],"t":3}"#, "json:$.jobs[0].state"),
            (r#"{"jobs":[{"error":"no such file"},{"id":4,"state":"up"}],"t":3}"#, "json:$.jobs"),
        ] {
            let left = left(&[two], slim);
            assert!(left.iter().any(|text| text.starts_with(&format!("http GET /: {said}\n"))), "{left:?}");
            assert!(
                left.iter().all(|text| !text.contains("$.t") && text.contains("runs of the source have")),
                "{left:?}"
            );
        }
        // What a third run has, too, is no loss.
        assert_eq!(left(&[two, r#"{"jobs":[],"t":2}"#], r#"{"jobs":[],"t":3}"#), [""; 0]);
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
