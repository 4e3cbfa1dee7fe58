//! Keeps the user's secrets out of everything that is written: the values of variables that were set for the run
//! only, and of what requests sent. It knows values, not places, so it works on any text.

use std::borrow::Cow;

use crate::base::{FileTree, ImagePath, escape_bytes};
use crate::observation::{Answer, Found, Observation, PathRecord, Transcript};

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// Values shorter than this many bytes are not looked for: they occur everywhere by chance, and a text in which each
/// `1` or `no` is replaced helps nobody.
const SHORTEST: usize = 4;

/// Replaces secret values in texts.
///
/// Besides the value itself, its percent-encoded form (as URLs have it), its JSON form and its form in
/// [`escape_bytes`] are found. These values are taken to be no secret: less than four bytes, a decimal number that
/// could be a port (up to 65535), and `true`, `false`, `none`, `null`.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a secret that holds another is replaced as a whole.
    forms: Vec<String>,
}

/// Never shows what it hides.
impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} forms)", self.forms.len())
    }
}

impl Redactor {
    /// A redactor for `values`.
    pub fn new<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::default().with(values)
    }

    /// A redactor for the values of `variables`, each `NAME=VALUE`.
    pub fn of_variables<'a>(variables: impl IntoIterator<Item = &'a String>) -> Self {
        Self::new(variables.into_iter().filter_map(|v| v.split_once('=').map(|(_, value)| value)))
    }

    /// A redactor for the values of this one and for `values`.
    pub fn with<V: AsRef<[u8]>>(&self, values: impl IntoIterator<Item = V>) -> Self {
        let mut forms = self.forms.clone();
        for value in values {
            let value = value.as_ref();
            for value in [value, value.trim_ascii()] {
                if is_secret(value) {
                    forms.extend(forms_of(value));
                }
            }
        }
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Redactor { forms }
    }

    /// The length of the longest text it replaces, in bytes. Who cuts a text must redact it before, or a piece of a
    /// secret is left at the edge.
    pub fn longest(&self) -> usize {
        self.forms.first().map_or(0, String::len)
    }

    /// `text` with each secret replaced by [`REDACTED`].
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.forms.iter().any(|form| text.contains(form.as_str())) {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            match self.forms.iter().find_map(|form| rest.strip_prefix(form.as_str())) {
                Some(tail) => {
                    out.push_str(REDACTED);
                    rest = tail;
                }
                None => {
                    out.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        Cow::Owned(out)
    }

    fn in_place(&self, text: &mut String) {
        if let Cow::Owned(redacted) = self.text(text) {
            *text = redacted;
        }
    }

    /// Redacts names, failures, the values of response headers, and what is kept of answers.
    pub fn transcript(&self, transcript: &mut Transcript) {
        for probe in &mut transcript.probes {
            self.in_place(&mut probe.name);
            if let Some(failure) = &mut probe.failure {
                self.in_place(failure);
            }
            if let Answer::Http { headers, .. } = &mut probe.answer {
                headers.iter_mut().for_each(|(_, value)| self.in_place(value));
            }
            if let Answer::Messages { detail, .. } = &mut probe.answer {
                self.in_place(detail);
            }
        }
        transcript.evidence.replace(&|text| self.in_place(text));
    }

    /// Redacts all that a run could have put a secret into: the transcript, the warnings, the names of probes, and
    /// paths that the base does *not* have (an application may look for a file that is named after a token). Paths
    /// that the base has were there before any secret was given. The command and the overrides stay as they are:
    /// they go into the image's config by the user's own wish.
    pub fn observation(&self, observation: &mut Observation) {
        self.transcript(&mut observation.header.transcript);
        observation.header.warnings.iter_mut().for_each(|warning| self.in_place(warning));
        let mut paths: FileTree<PathRecord> = FileTree::new();
        for (path, mut record) in std::mem::take(&mut observation.paths) {
            if let Some(probe) = &mut record.first_probe {
                self.in_place(probe);
            }
            let path = if record.found == Found::Absent { self.path(&path) } else { path };
            match paths.get_mut(&path) {
                Some(earlier) => {
                    let first = earlier.first_probe.take().or_else(|| record.first_probe.take());
                    earlier.absorb(record);
                    earlier.first_probe = first;
                }
                None => {
                    paths.insert(path, record);
                }
            }
        }
        observation.paths = paths;
    }

    /// `path` with the secrets in its components replaced; a secret that spans components is not found.
    fn path(&self, path: &ImagePath) -> ImagePath {
        let text = path.to_string();
        if !self.forms.iter().any(|form| text.contains(form.as_str())) {
            return path.clone();
        }
        let mut out = ImagePath::root();
        for component in path.components() {
            let redacted = match std::str::from_utf8(component) {
                Ok(text) => self.text(text).into_owned().into_bytes(),
                Err(_) if self.text(&escape_bytes(component)).contains(REDACTED) => REDACTED.into(),
                Err(_) => component.to_vec(),
            };
            match out.child(&redacted) {
                Ok(child) => out = child,
                Err(_) => return path.clone(),
            }
        }
        out
    }
}

fn is_secret(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return value.len() >= SHORTEST };
    let harmless = ["true", "false", "none", "null"].iter().any(|word| text.eq_ignore_ascii_case(word));
    value.len() >= SHORTEST && text.parse::<u16>().is_err() && !harmless
}

/// The texts under which a value can turn up.
fn forms_of(value: &[u8]) -> Vec<String> {
    let mut forms = vec![escape_bytes(value).into_owned(), percent_encode(value)];
    if let Ok(text) = std::str::from_utf8(value) {
        forms.push(text.into());
        forms.push(text.escape_debug().to_string());
        let json = serde_json::Value::from(text).to_string();
        forms.push(json[1..json.len() - 1].into());
    } else {
        forms.push(String::from_utf8_lossy(value).into_owned());
    }
    forms
}

fn percent_encode(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    for &byte in value {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_is_replaced() {
        let redactor = Redactor::new(["p@ss w\"rd", "tok-1234", "tok-1234-long"]);
        for (text, expected) in [
            ("nothing here", "nothing here"),
            ("a tok-1234 b", "a [redacted] b"),
            ("tok-1234-long", "[redacted]"),
            ("tok-1234tok-1234", "[redacted][redacted]"),
            ("/login?p=p%40ss%20w%22rd", "/login?p=[redacted]"),
            (r#"{"p":"p@ss w\"rd"}"#, r#"{"p":"[redacted]"}"#),
            ("p@ss w\"rd", "[redacted]"),
        ] {
            assert_eq!(redactor.text(text), expected);
        }
        assert_eq!(Redactor::new(["line one\nline two\n"]).text("got line one\\x0aline two"), "got [redacted]");
    }

    #[test]
    fn short_and_common_values_are_no_secrets() {
        let redactor = Redactor::new(["", "no", "abc", "8080", "True", "null"]);
        assert_eq!(redactor.text("abc: true, port 8080, null"), "abc: true, port 8080, null");
        assert_eq!(Redactor::new(["123456"]).text("pin 123456"), "pin [redacted]");
    }

    #[test]
    fn bytes_that_are_no_text_are_found_in_their_escaped_form() {
        let redactor = Redactor::new([b"\xff\x00\xfe\x01ab"]);
        assert_eq!(redactor.text(&escape_bytes(b"<\xff\x00\xfe\x01ab>")), "<[redacted]>");
    }

    #[test]
    fn debugging_a_redactor_shows_nothing() {
        assert!(!format!("{:?}", Redactor::new(["hunter22"])).contains("hunter"));
    }
}
