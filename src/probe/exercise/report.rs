//! What the scripts of an exerciser say: one JSON object per line. It comes out of an image, so nothing in it is
//! trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use serde::Deserialize;

/// How many things are done at most.
const MAX_ITEMS: usize = 50_000;
/// How many notes are passed on, and how long each may be in characters.
const MAX_NOTES: usize = 8;
const MAX_NOTE: usize = 400;

/// Something that an exerciser does: a module to import, a file to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// What is done with it, a word of the language's own: `module`, `file`, `path`.
    pub kind: String,
    /// Its name; without control characters.
    pub name: String,
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is to be done, in this order.
    pub items: Vec<Item>,
    /// What could not be found out, for people.
    pub notes: Vec<String>,
}

/// How the items went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Those that went well.
    pub done: BTreeSet<String>,
    /// Those that did not, with why.
    pub failed: BTreeMap<String, String>,
    /// Those of them for which there was no time, or not enough.
    pub late: BTreeSet<String>,
    /// Those of these that were not begun.
    pub untried: BTreeSet<String>,
    /// Whether it was ended before it was through.
    pub is_cut: bool,
}

#[derive(Deserialize)]
struct Finding {
    #[serde(rename = "do")]
    kind: Option<String>,
    name: Option<String>,
    note: Option<String>,
}

#[derive(Deserialize)]
struct Result {
    item: String,
    ok: bool,
    error: Option<String>,
    #[serde(default)]
    late: bool,
    #[serde(default)]
    untried: bool,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl Item {
    /// Whether it says where to look, and is nothing to do by itself.
    fn is_setting(&self) -> bool {
        matches!(self.kind.as_str(), "path" | "setup")
    }
}

impl Findings {
    /// Parses the output of a scan; lines that are something else are left out.
    pub fn parse(output: &[u8]) -> Self {
        let mut findings = Findings::default();
        for finding in lines::<Finding>(output) {
            if let Some(note) = finding.note
                && findings.notes.len() < MAX_NOTES
            {
                findings.notes.push(shown(&note));
            }
            if let (Some(kind), Some(name)) = (finding.kind, finding.name)
                && findings.items.len() < MAX_ITEMS
                && !kind.contains(|c: char| !c.is_ascii_lowercase())
                && !name.contains(char::is_control)
            {
                findings.items.push(Item { kind, name });
            }
        }
        findings
    }

    /// Whether there is nothing to do; where modules are looked for is no work.
    pub fn is_empty(&self) -> bool {
        self.items.iter().all(Item::is_setting)
    }

    /// The items as the acting script reads them: a line each, kind and name with a tab between.
    pub fn to_input(&self) -> Vec<u8> {
        let mut text = String::new();
        for Item { kind, name } in &self.items {
            // Writing to a string cannot fail.
            writeln!(text, "{kind}\t{name}").unwrap_or_default();
        }
        text.into_bytes()
    }
}

impl Report {
    /// Parses the output of an acting script; lines that are something else are left out.
    pub fn parse(output: &[u8]) -> Self {
        let mut report = Report::default();
        for Result { item, ok, error, late, untried } in lines::<Result>(output).take(MAX_ITEMS) {
            if ok {
                report.done.insert(item);
            } else {
                if late || untried {
                    report.late.insert(item.clone());
                }
                if untried {
                    report.untried.insert(item.clone());
                }
                report.failed.insert(item, shown(&error.unwrap_or_default()));
            }
        }
        report
    }

    /// What went well here and not in `other`, with why not. What `other` had no time for is not lost: the machine may
    /// have been busier.
    pub fn lost_in(&self, other: &Report) -> Vec<(String, String)> {
        let lost = self.done.difference(&other.done).filter(|item| !other.lacked_time(item));
        let why = |item: &String| other.failed.get(item).cloned().unwrap_or("nothing came of it".into());
        lost.map(|item| (item.clone(), why(item))).collect()
    }

    /// Which of `findings` were not begun, in their order: nobody knows what they need.
    pub fn unreached(&self, findings: &Findings) -> Vec<String> {
        let begun = |item: &String| self.done.contains(item) || self.failed.contains_key(item);
        // What says where to look has no report.
        let tried = findings.items.iter().filter(|item| !item.is_setting()).map(Item::to_string);
        tried.filter(|item| self.untried.contains(item) || self.is_cut && !begun(item)).collect()
    }

    /// How many of those that went well here `other` had no time for.
    pub fn untried_in(&self, other: &Report) -> usize {
        self.done.difference(&other.done).filter(|item| other.lacked_time(item)).count()
    }

    fn lacked_time(&self, item: &str) -> bool {
        self.late.contains(item) || self.is_cut && !self.failed.contains_key(item)
    }
}

fn lines<'a, T: Deserialize<'a>>(output: &'a [u8]) -> impl Iterator<Item = T> {
    output.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

/// A text of the application's as a message can show it.
fn shown(text: &str) -> String {
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(MAX_NOTE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_scan_says_is_taken_line_by_line() {
        let output = concat!(
            "{\"do\": \"path\", \"name\": \"/app\"}\n",
            "{\"do\": \"module\", \"name\": \"xml.sax\"}\n",
            "{\"note\": \"at run time\\u001b[31m\\nand more\"}\n",
            "Traceback (most recent call last):\n",
            "{\"do\": \"module\", \"name\": \"a\\tb\"}\n",
            "{\"do\": \"rm -rf\", \"name\": \"x\"}\n",
            "{\"do\": 7}\n\n[]\n",
        );
        let findings = Findings::parse(output.as_bytes());
        assert_eq!(findings.notes, ["at run time[31m"]);
        assert_eq!(String::from_utf8(findings.to_input()).unwrap(), "path\t/app\nmodule\txml.sax\n");
        assert_eq!(Findings::parse(&vec![b'x'; 1 << 20]), Findings::default());
    }

    #[test]
    fn what_the_small_image_cannot_do_is_lost() {
        let base = Report::parse(
            b"{\"item\": \"module a\", \"ok\": true}\n{\"item\": \"module b\", \"ok\": true}\n{\"item\": \"module c\", \
              \"ok\": false, \"error\": \"OSError: no\"}\n{\"item\": \"module d\", \"ok\": true}",
        );
        let slim = Report::parse(
            b"{\"item\": \"module a\", \"ok\": true}\n{\"item\": \"module b\", \"ok\": false, \"error\": \"gone\"}\n",
        );
        let lost = base.lost_in(&slim);
        let expected = [("module b", "gone"), ("module d", "nothing came of it")];
        assert_eq!(lost, expected.map(|(item, why)| (item.to_owned(), why.to_owned())));
        assert!(base.lost_in(&base).is_empty());
        assert_eq!(base.untried_in(&slim), 0);
    }

    #[test]
    fn what_was_not_begun_is_named() {
        let findings = Findings::parse(
            b"{\"do\": \"path\", \"name\": \"/app\"}\n{\"do\": \"module\", \"name\": \"c\"}\n{\"do\": \"module\", \"name\": \"b\"}\n\
              {\"do\": \"module\", \"name\": \"a\"}\n",
        );
        let mut report = Report::parse(
            b"{\"item\": \"module a\", \"ok\": false, \"late\": true, \"error\": \"too long\"}\n\
              {\"item\": \"module c\", \"ok\": false, \"late\": true, \"untried\": true, \"error\": \"no time\"}\n",
        );
        assert_eq!(report.unreached(&findings), ["module c"]);
        report.is_cut = true;
        assert_eq!(report.unreached(&findings), ["module c", "module b"]);
    }

    #[test]
    fn what_there_was_no_time_for_is_not_lost() {
        let base = Report::parse(
            b"{\"item\": \"module a\", \"ok\": true}\n{\"item\": \"module b\", \"ok\": true}\n{\"item\": \"module c\", \
              \"ok\": true}",
        );
        let mut slim = Report::parse(
            b"{\"item\": \"module a\", \"ok\": false, \"late\": true, \"error\": \"no time\"}\n\
              {\"item\": \"module b\", \"ok\": false, \"error\": \"gone\"}\n",
        );
        let named = |lost: Vec<(String, String)>| lost.into_iter().map(|(item, _)| item).collect::<Vec<_>>();
        assert_eq!(named(base.lost_in(&slim)), ["module b", "module c"]);
        slim.is_cut = true;
        assert_eq!((named(base.lost_in(&slim)), base.untried_in(&slim)), (vec!["module b".into()], 2));
    }
}
