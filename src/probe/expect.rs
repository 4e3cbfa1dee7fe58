//! What a probe expects of an answer.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use regex::bytes::Regex;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::Digest;
use crate::probe::escapes;

/// A set of HTTP status codes: `200`, `[200, 204]`, `"2xx"`, `"<500"`, `"any"`, or a list of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(Vec<StatusRange>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct StatusRange {
    text: String,
    codes: RangeInclusive<u16>,
}

/// Below 500: the application understood what it was asked.
impl Default for StatusSet {
    fn default() -> Self {
        StatusSet(vec![StatusRange { text: "<500".into(), codes: 100..=499 }])
    }
}

impl StatusSet {
    /// Every status.
    pub fn any() -> Self {
        StatusSet(vec![StatusRange { text: "any".into(), codes: 100..=999 }])
    }

    /// 200 to 299.
    pub fn success() -> Self {
        StatusSet(vec![StatusRange { text: "2xx".into(), codes: 200..=299 }])
    }

    /// Whether `status` is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.codes.contains(&status))
    }
}

/// As a message has it: `status below 500`, `status 200 or 204`.
impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> =
            self.0.iter().map(|r| r.text.replace('<', "below ").replace("any", "of any kind")).collect();
        write!(f, "status {}", words.join(" or "))
    }
}

impl FromStr for StatusRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let code = |text: &str| text.parse::<u16>().ok().filter(|c| (100..=999).contains(c));
        let codes = if text == "any" {
            Some(100..=999)
        } else if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse::<u16>().ok().filter(|c| (1..=9).contains(c));
            class.map(|class| class * 100..=class * 100 + 99)
        } else if let Some(limit) = text.strip_prefix('<') {
            code(limit).filter(|&limit| limit > 100).map(|limit| 100..=limit - 1)
        } else {
            code(text).map(|code| code..=code)
        };
        match codes {
            Some(codes) => Ok(StatusRange { text: text.into(), codes }),
            None => {
                Err(format!("{text:?} is no status: expected a code as 200, a class as \"2xx\", \"<500\" or \"any\""))
            }
        }
    }
}

struct StatusVisitor;

impl<'de> Visitor<'de> for StatusVisitor {
    type Value = StatusSet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status as 200, \"2xx\", \"<500\" or \"any\", or a list of these")
    }

    fn visit_i64<E: de::Error>(self, code: i64) -> Result<StatusSet, E> {
        self.visit_str(&code.to_string())
    }

    fn visit_u64<E: de::Error>(self, code: u64) -> Result<StatusSet, E> {
        self.visit_str(&code.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<StatusSet, E> {
        Ok(StatusSet(vec![text.parse().map_err(E::custom)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<StatusSet, A::Error> {
        let mut out = Vec::new();
        while let Some(set) = items.next_element::<StatusSet>()? {
            out.extend(set.0);
        }
        if out.is_empty() { Err(de::Error::custom("the list of statuses is empty")) } else { Ok(StatusSet(out)) }
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StatusVisitor)
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|range| &range.text))
    }
}

/// A pattern that stands for a set of texts or bytes, kept with its source.
macro_rules! pattern {
    ($(#[$doc:meta])* $name:ident, $compiled:ty, $compile:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            source: String,
            compiled: $compiled,
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(source: &str) -> Result<Self, String> {
                let compiled = $compile(source)?;
                Ok($name { source: source.into(), compiled })
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.source == other.source
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.source)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.source)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.source)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

pattern!(
    /// A glob for a header's value or an executable: `*` and `?` match any character, slashes too.
    Pattern,
    globset::GlobMatcher,
    |source: &str| {
        let glob = globset::GlobBuilder::new(source).literal_separator(false).build();
        glob.map(|glob| glob.compile_matcher()).map_err(|e| format!("{source:?} is no glob: {}", e.kind()))
    }
);

pattern!(
    /// A regular expression over bytes.
    BytesRegex,
    Regex,
    |source: &str| {
        // A `.` has to match bytes that are no UTF-8.
        let regex = regex::bytes::RegexBuilder::new(source).unicode(false).size_limit(1 << 20).build();
        regex.map_err(|e| {
            let text = e.to_string();
            format!("{source:?} is no regular expression: {}", text.lines().last().unwrap_or_default().trim())
        })
    }
);

impl Pattern {
    /// Whether all of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }
}

impl BytesRegex {
    /// Where the first match ends, in bytes.
    pub fn match_end(&self, bytes: &[u8]) -> Option<usize> {
        self.compiled.find(bytes).map(|found| found.end())
    }

    /// `bytes` without what matches.
    pub fn cut(&self, bytes: &[u8]) -> Vec<u8> {
        self.compiled.replace_all(bytes, &b""[..]).into_owned()
    }
}

/// What is expected of an HTTP response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpExpect {
    /// The codes that pass.
    pub status: StatusSet,
    /// Headers that must be there, by name in lower case; one of the values must match.
    pub headers: BTreeMap<String, Pattern>,
    /// A text that the body must hold.
    pub body_contains: Option<String>,
    /// What the body must be.
    pub body_digest: Option<Digest>,
}

/// What is expected of bytes from a peer. With an expectation, reading ends where it is met.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BytesExpect {
    /// Bytes that must come.
    pub contains: Option<Vec<u8>>,
    /// A pattern that what comes must match.
    pub matches: Option<BytesRegex>,
}

impl BytesExpect {
    /// Whether nothing in particular is expected.
    pub fn is_empty(&self) -> bool {
        self.contains.is_none() && self.matches.is_none()
    }

    /// Where in `bytes` all that is expected has come; `None` when something is missing.
    pub fn met_at(&self, bytes: &[u8]) -> Option<usize> {
        let contained = match &self.contains {
            Some(needle) => find(bytes, needle)? + needle.len(),
            None => 0,
        };
        let matched = match &self.matches {
            Some(regex) => regex.match_end(bytes)?,
            None => 0,
        };
        Some(contained.max(matched))
    }
}

/// As a message has it: `"+PONG\r\n"`.
impl fmt::Display for BytesExpect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contains = self.contains.as_ref().map(|needle| format!("\"{}\"", escapes::write_text(needle)));
        let matches = self.matches.as_ref().map(|regex| format!("a match of /{regex}/"));
        match (contains, matches) {
            (Some(contains), Some(matches)) => write!(f, "{contains} and {matches}"),
            (Some(one), None) | (None, Some(one)) => f.write_str(&one),
            (None, None) => f.write_str("an answer"),
        }
    }
}

/// What is expected of a gRPC call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GrpcExpect {
    /// The status; 0 is OK.
    pub code: u32,
    /// What the messages must hold, one after the other.
    pub messages: BytesExpect,
}

/// What is expected of a command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecExpect {
    /// The exit code.
    pub exit: i32,
    /// A text that standard output must hold.
    pub stdout_contains: Option<String>,
    /// What standard output must be, but for white space at its end.
    pub stdout: Option<String>,
    /// What standard output must be.
    pub stdout_digest: Option<Digest>,
}

/// Where `needle` first stands in `bytes`.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: &str) -> Result<StatusSet, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn status_sets() {
        for (json, inside, outside, text) in [
            ("200", vec![200], vec![201, 404], "status 200"),
            ("[200, 204]", vec![200, 204], vec![201], "status 200 or 204"),
            (r#""2xx""#, vec![200, 299], vec![199, 300], "status 2xx"),
            (r#""<500""#, vec![200, 499], vec![500, 502], "status below 500"),
            (r#"["3xx", 404]"#, vec![301, 404], vec![200], "status 3xx or 404"),
            (r#""any""#, vec![200, 599], vec![], "status of any kind"),
        ] {
            let set = status(json).unwrap();
            assert!(inside.iter().all(|&s| set.contains(s)) && !outside.iter().any(|&s| set.contains(s)), "{json}");
            assert_eq!(set.to_string(), text);
            assert_eq!(status(&serde_json::to_string(&set).unwrap()).unwrap(), set);
        }
        for bad in ["99", "1000", "-1", "2.5", "[]", r#""ok""#, r#""0xx""#, r#""<""#, r#""<100""#, "true"] {
            assert!(status(bad).is_err(), "{bad}");
        }
        assert_eq!(StatusSet::default(), status(r#""<500""#).unwrap());
    }

    #[test]
    fn bytes_end_where_the_expectation_is_met() {
        let regex = |text: &str| Some(text.parse().unwrap());
        for (contains, matches, bytes, end) in [
            (Some("PONG"), None, &b"+PONG\r\n"[..], Some(5)),
            (Some("PONG"), None, b"+PON", None),
            (None, regex(r"^[^\n]*\n"), b"220 hi\r\nmore", Some(8)),
            (None, regex(r"(?s)^."), b"\n", Some(1)),
            (None, regex("^."), b"\xff", Some(1)),
            (Some("a"), regex("b"), b"b..a", Some(4)),
            (Some("a"), regex("b"), b"a...", None),
        ] {
            let expect = BytesExpect { contains: contains.map(|c: &str| c.into()), matches };
            assert_eq!(expect.met_at(bytes), end, "{expect}");
        }
    }

    #[test]
    fn bad_patterns_say_why() {
        let message = "a(".parse::<BytesRegex>().unwrap_err();
        assert!(message.starts_with("\"a(\" is no regular expression: error: unclosed group"), "{message}");
        assert!("a[".parse::<Pattern>().unwrap_err().starts_with("\"a[\" is no glob: "));
        let glob: Pattern = "text/*".parse().unwrap();
        assert!(glob.matches("text/html; a/b") && !glob.matches("image/png"));
    }
}
