//! What answers held, for as long as this scrimp runs: so that a message can say where two of them differ, and so that
//! what differs between two runs of one image is known member by member. None of it is ever in a file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::base::escape_bytes;

/// A longer part of an answer is not kept, in bytes.
const LARGEST: usize = 256 << 10;

/// What is kept of all answers of a run, in bytes.
const ALL: usize = 32 << 20;

/// Parts of answers, whole or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// By the name of the probe, then by the part: `body`, `bytes`, `messages`, `stdout`, `stderr`.
    parts: BTreeMap<String, BTreeMap<String, Content>>,
    kept: usize,
}

/// What one part of an answer held.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// JSON: an object or an array.
    Json(Value),
    /// Text; of several messages one that is not UTF-8 in the form of [`escape_bytes`].
    Text(String),
    /// Bytes that are not UTF-8, in the form of [`escape_bytes`].
    Escaped(String),
    /// More than is kept: known is no more than that.
    Long,
}

impl Evidence {
    /// Keeps a part of an answer; of one that is too long, that it is. Several `contents`, which messages are, become a
    /// list where all of them are JSON, else lines. What is compressed (gzip) is kept as it was before.
    pub fn keep(&mut self, probe: &str, part: &str, contents: &[impl AsRef<[u8]>]) {
        let contents: Option<Vec<Cow<'_, [u8]>>> = contents.iter().map(|part| decompressed(part.as_ref())).collect();
        let bytes = |contents: &Vec<Cow<'_, [u8]>>| contents.iter().map(|content| content.len() + 1).sum();
        let contents = contents.map(|contents| (bytes(&contents), contents));
        let Some((bytes, contents)) = contents.filter(|(bytes, _): &(usize, _)| *bytes <= LARGEST) else {
            self.too_long(probe, part);
            return;
        };
        if self.kept + bytes > ALL {
            return;
        }
        self.kept += bytes;
        let json = contents.iter().map(|content| serde_json::from_slice::<Value>(content.as_ref()).ok());
        let content = match json.collect::<Option<Vec<Value>>>() {
            Some(mut values) if values.len() == 1 && (values[0].is_object() || values[0].is_array()) => {
                Content::Json(values.remove(0))
            }
            Some(values) if values.len() > 1 => Content::Json(Value::Array(values)),
            _ if contents.len() == 1 && std::str::from_utf8(&contents[0]).is_err() => {
                Content::Escaped(escape_bytes(&contents[0]).into_owned())
            }
            _ => {
                let text = |content: &[u8]| match std::str::from_utf8(content) {
                    Ok(text) => text.to_owned(),
                    Err(_) => escape_bytes(content).into_owned(),
                };
                let lines: Vec<String> = contents.iter().map(|content| text(content.as_ref())).collect();
                Content::Text(lines.join("\n"))
            }
        };
        self.put(probe, part, content);
    }

    /// Knows of a part of an answer that it is too long to be kept.
    pub fn too_long(&mut self, probe: &str, part: &str) {
        self.put(probe, part, Content::Long);
    }

    fn put(&mut self, probe: &str, part: &str, content: Content) {
        self.parts.entry(probe.to_owned()).or_default().insert(part.to_owned(), content);
    }

    /// What a part of the answer to a probe held; `None` when it was not kept.
    pub fn get(&self, probe: &str, part: &str) -> Option<&Content> {
        self.parts.get(probe)?.get(part)
    }

    /// Replaces every text in it: the names of probes, the texts, and in JSON the strings and the names of members.
    pub(super) fn replace(&mut self, replace: &dyn Fn(&mut String)) {
        let replaced = |mut name: String| {
            replace(&mut name);
            name
        };
        for (probe, mut parts) in std::mem::take(&mut self.parts) {
            for content in parts.values_mut() {
                match content {
                    Content::Json(value) => replace_json(value, replace),
                    Content::Text(text) | Content::Escaped(text) => replace(text),
                    Content::Long => {}
                }
            }
            self.parts.insert(replaced(probe), parts);
        }
    }
}

/// What gzip made into `content`, where that is it, or `None` when that is too long to be kept: the same text is seldom
/// compressed to the same bytes twice, and two texts that differ a little become bytes that have nothing in common.
fn decompressed(content: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !content.starts_with(&[0x1f, 0x8b]) {
        return Some(Cow::Borrowed(content));
    }
    let mut out = Vec::new();
    match MultiGzDecoder::new(content).take(LARGEST as u64 + 1).read_to_end(&mut out) {
        Ok(read) => (read <= LARGEST).then_some(Cow::Owned(out)),
        Err(_) => Some(Cow::Borrowed(content)),
    }
}

/// serde_json reads no more than 128 levels, so this ends.
fn replace_json(value: &mut Value, replace: &dyn Fn(&mut String)) {
    match value {
        Value::String(text) => replace(text),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_json(item, replace)),
        Value::Object(members) => {
            *members = std::mem::take(members)
                .into_iter()
                .map(|(mut name, mut value)| {
                    replace(&mut name);
                    replace_json(&mut value, replace);
                    (name, value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Redactor, Transcript};

    #[test]
    fn no_secret_is_kept_in_any_form() {
        let mut transcript = Transcript::default();
        let evidence = &mut transcript.evidence;
        evidence.keep("http GET /?t=hunter22", "body", &[br#"{"a":["hunter22",{"hunter22":1}]}"#]);
        evidence.keep("exec x", "stdout", &[b"pass hunter22\n"]);
        evidence.keep("exec x", "stderr", &[b"\xffhunter22\n"]);
        Redactor::new(["hunter22"]).transcript(&mut transcript);
        let shown = format!("{transcript:?}");
        assert!(!shown.contains("hunter22") && shown.matches("[redacted]").count() == 5, "{shown}");
        assert!(serde_json::to_string(&transcript).unwrap() == r#"{"probes":[]}"#, "nothing is written");
    }

    #[test]
    fn messages_are_a_list_or_lines() {
        let mut evidence = Evidence::default();
        evidence.keep("a", "messages", &["1", "{}"]);
        evidence.keep("b", "messages", &["1", "x"]);
        evidence.keep("c", "body", &["1"]);
        assert_eq!(evidence.get("a", "messages"), Some(&Content::Json(serde_json::json!([1, {}]))));
        assert_eq!(evidence.get("b", "messages"), Some(&Content::Text("1\nx".into())));
        assert_eq!(evidence.get("c", "body"), Some(&Content::Text("1".into())), "a number is a text as any other");
    }

    #[test]
    fn what_is_compressed_is_kept_as_it_was() {
        let gzip = |content: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, content).unwrap();
            encoder.finish().unwrap()
        };
        let mut evidence = Evidence::default();
        evidence.keep("a", "body", &[gzip(b"[1]")]);
        evidence.keep("b", "body", &[gzip(b"text")]);
        evidence.keep("c", "body", &[&gzip(b"text")[..8]]);
        let bomb = gzip(&vec![0; 16 << 20]);
        assert!(bomb.len() < LARGEST, "{}", bomb.len());
        evidence.keep("d", "body", &[bomb]);
        // What is flushed now and then can be several (RFC 1952, 2.2).
        evidence.keep("e", "body", &[[gzip(b"one "), gzip(b"two")].concat()]);
        evidence.keep("f", "body", &[[gzip(b"text"), b"rest".to_vec()].concat()]);
        assert_eq!(evidence.get("a", "body"), Some(&Content::Json(serde_json::json!([1]))));
        assert_eq!(evidence.get("b", "body"), Some(&Content::Text("text".into())));
        assert_eq!(evidence.get("e", "body"), Some(&Content::Text("one two".into())));
        assert!(matches!(evidence.get("f", "body"), Some(Content::Escaped(_))));
        assert!(matches!(evidence.get("c", "body"), Some(Content::Escaped(_))));
        assert_eq!(evidence.get("d", "body"), Some(&Content::Long), "a bomb");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut evidence = Evidence::default();
        evidence.keep("a", "body", &[vec![b'x'; LARGEST]]);
        assert_eq!(evidence.get("a", "body"), Some(&Content::Long));
        for n in 0..ALL / LARGEST + 1 {
            evidence.keep(&n.to_string(), "body", &[vec![b'x'; LARGEST - 1]]);
        }
        assert!(evidence.get("0", "body").is_some());
        assert_eq!(evidence.get(&(ALL / LARGEST).to_string(), "body"), None);
    }
}
