//! Side by side: two transcripts of the same probes.

#[cfg(test)]
mod tests;

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

    /// Whether it is no more than what the base does by itself: `unstable` is what other runs of it answered otherwise
    /// than the one that `self` is held against. Of contents that are known only the parts that do differ there are
    /// forgiven, and `self` says then which one is not.
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
    // Of a base that cannot be taken apart nothing is known to stand fast; of what is held against it all is to be
    // told.
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

/// Headers that are sets (RFC 9110, 10.2.1 and 12.5.5; Fetch, 3.2): the order of their members means nothing, and
/// programs that keep them in hashed sets have another one with each start.
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
