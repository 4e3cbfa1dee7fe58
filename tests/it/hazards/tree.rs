//! The entries of an image of one layer, with all that they say, to be held against those of another.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::support::Image;
use crate::trees::{pax_records, tar_as_text};

/// What an image has, by name: no slash at the beginning, one at the end of a directory's.
pub struct Tree(BTreeMap<String, Entry>);

struct Entry {
    /// As [`tar_as_text`] has it, and the time; that of the first name for a further one.
    line: String,
    /// Its first name, if it is a regular file.
    file: Option<String>,
}

impl Tree {
    /// Reads a docker-archive of one layer.
    pub fn of(archive: &Path) -> Self {
        let layers = Image::layers_of(archive);
        assert_eq!(layers.len(), 1);
        let mut tree = BTreeMap::<String, Entry>::new();
        for (line, time) in tar_as_text(layers[0].as_slice()).into_iter().zip(times(&layers[0])) {
            let (name, rest) = line.split_once(": ").unwrap();
            let name = name.trim_start_matches("./").to_owned();
            let entry = match rest.split_once(" -> ") {
                Some((kind, first)) if kind.starts_with("hardlink") => {
                    let line = tree[first].line.clone();
                    Entry { line, file: Some(first.to_owned()) }
                }
                _ => Entry { line: format!("{rest} {time}"), file: rest.starts_with("file").then(|| name.clone()) },
            };
            tree.insert(name, entry);
        }
        Self(tree)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The names below a directory, without its own; long ones and what is below them are cut off.
    pub fn below(&self, directory: &str) -> String {
        let mut names: Vec<String> = Vec::new();
        for name in self.names().filter_map(|name| name.strip_prefix(directory)).filter(|name| !name.is_empty()) {
            let long = name.split('/').find(|component| component.len() >= 100).and_then(|long| name.find(long));
            let name = match long {
                Some(at) if name.starts_with("odd/") => format!("{}...", &name[..at + 3]),
                Some(at) => format!("{}...", &name[..at]),
                None => name.to_owned(),
            };
            // The directory of what is only shown as being there.
            if names.last().is_some_and(|last| *last == name || name == format!("{last}...") && last == "deep/") {
                names.pop();
            }
            names.push(name.replace(' ', "\\x20"));
        }
        names.join(" ")
    }

    /// The entries that are not what they are in `base`: type, mode, owner, size, content, target, attributes, time, and
    /// which names are one file.
    pub fn not_as_in(&self, base: &Tree) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, entry) in &self.0 {
            match base.0.get(name) {
                None if name.is_empty() => {}
                None => wrong.push(format!("{name}: {}, and the base has none\n", entry.line)),
                Some(before) if before.line != entry.line => {
                    wrong.push(format!("{name}: {}, and in the base {}\n", entry.line, before.line));
                }
                Some(_) => {}
            }
        }
        let (files, before) = (self.files(self), base.files(self));
        if files != before {
            wrong.push(format!("one file each are {files:?}, in the base {before:?}\n"));
        }
        wrong
    }

    /// The names that `kept` has of each regular file, if it has several of it.
    fn files(&self, kept: &Tree) -> Vec<Vec<&str>> {
        let mut files = BTreeMap::<&str, Vec<&str>>::new();
        for (name, entry) in self.0.iter().filter(|(name, _)| kept.0.contains_key(*name)) {
            if let Some(first) = &entry.file {
                files.entry(first).or_default().push(name);
            }
        }
        let mut files: Vec<_> = files.into_values().filter(|names| names.len() > 1).collect();
        files.sort();
        files
    }

    /// The entries for which a lock file has no reason, and those that only it has.
    pub fn without_reason(&self, lock: &str) -> Vec<String> {
        let mut reasons = BTreeMap::new();
        for line in lock.lines().skip(1) {
            let line: Value = serde_json::from_str(line).unwrap();
            let slash = if line["kind"] == "dir" { "/" } else { "" };
            let path = line["path"].as_str().unwrap().trim_start_matches('/');
            reasons.insert(format!("{path}{slash}"), line["reasons"].as_array().map_or(0, Vec::len));
        }
        reasons.remove("/");
        let without =
            self.names().filter(|name| !name.is_empty() && reasons.get(*name).is_none_or(|count| *count == 0));
        let alone = reasons.keys().filter(|name| !self.0.contains_key(*name));
        let without = without.map(|name| format!("{name} is kept without a reason\n"));
        without.chain(alone.map(|name| format!("the lock file has {name}, the image does not\n"))).collect()
    }
}

/// The time of each entry, to the nanosecond if it says so.
fn times(layer: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(layer);
    let (mut times, mut recorded) = (Vec::new(), None);
    for entry in archive.entries().unwrap().raw(true) {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_pax_local_extensions() {
            let mut records = Vec::new();
            entry.read_to_end(&mut records).unwrap();
            recorded = pax_records(&records).remove("mtime").map(|time| String::from_utf8(time).unwrap());
        } else {
            times.push(recorded.take().unwrap_or_else(|| entry.header().mtime().unwrap().to_string()));
        }
    }
    times
}
