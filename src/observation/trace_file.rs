//! Trace files, `*.trace.jsonl`: an [`Observation`] as JSON Lines. The first line is the [`Header`], each further line
//! one path with its record, in the order of [`ImagePath`]. Every path stands once.
//!
//! Reading is strict, because a path that got lost is a file missing from an image: a line that cannot be understood,
//! a path out of order or a path named twice is an error with its line number. Only fields that this version does not
//! know are passed over, so that a later version may add some.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::{FileTree, ImagePath};
use crate::observation::{Found, Header, Observation, PathRecord, SCHEMA_VERSION};

/// Why a trace cannot be read. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum TraceFileError {
    /// The file cannot be opened or read.
    #[error("cannot read the trace {file}: {cause}")]
    Io {
        /// As the user named it.
        file: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The first line is something else.
    #[error(
        "{file}:1: not a trace: {message}\nhint: a trace is what `scrimp trace SOURCE -o FILE` and `--trace FILE` write"
    )]
    NotATrace {
        /// As the user named it.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// It was written by a scrimp with another format.
    #[error(
        "{file}: trace format {found} is not known, this scrimp reads {SCHEMA_VERSION}\nhint: read it with the version that wrote it ({tool}), or record the trace again"
    )]
    Version {
        /// As the user named it.
        file: String,
        /// `schema_version` in the header.
        found: u64,
        /// `tool` in the header.
        tool: String,
    },
    /// A line is no record.
    #[error("{file}:{line}: {message}")]
    Line {
        /// As the user named it.
        file: String,
        /// From 1; the header is line 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

#[derive(Serialize)]
struct LineOut<'a> {
    path: &'a ImagePath,
    #[serde(flatten)]
    record: &'a PathRecord,
}

#[derive(Deserialize)]
struct LineIn {
    path: ImagePath,
    #[serde(flatten)]
    record: PathRecord,
}

/// Writes `observation` as a trace file. The bytes depend on nothing else. The writer should be buffered.
pub fn write_trace(observation: &Observation, mut out: impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut out, &observation.header)?;
    out.write_all(b"\n")?;
    for (path, record) in observation.paths.iter() {
        serde_json::to_writer(&mut out, &LineOut { path, record })?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Reads the trace file at `path` of the host.
pub fn read_trace_file(path: &Path) -> Result<Observation, TraceFileError> {
    let file = path.display().to_string();
    match File::open(path) {
        Ok(open) => read_trace(BufReader::new(open), &file),
        Err(cause) => Err(TraceFileError::Io { file, cause }),
    }
}

/// Reads a trace; `file` is its name for messages.
pub fn read_trace(mut input: impl BufRead, file: &str) -> Result<Observation, TraceFileError> {
    let mut buffer = Vec::new();
    let mut next = |buffer: &mut Vec<u8>| -> Result<bool, TraceFileError> {
        buffer.clear();
        let read = input.read_until(b'\n', buffer);
        let read = read.map_err(|cause| TraceFileError::Io { file: file.into(), cause })?;
        if buffer.last() == Some(&b'\n') {
            buffer.pop();
        }
        Ok(read > 0)
    };
    next(&mut buffer)?;
    let header = read_header(&buffer, file)?;
    let mut paths = FileTree::new();
    let mut last: Option<ImagePath> = None;
    let mut line = 1;
    while next(&mut buffer)? {
        line += 1;
        let bad = |message: String| TraceFileError::Line { file: file.into(), line, message };
        let LineIn { path, record } = read_record(&buffer).map_err(bad)?;
        match last.as_ref().map(|last| last.cmp(&path)) {
            Some(std::cmp::Ordering::Equal) => return Err(bad(format!("path {path} stands twice"))),
            Some(std::cmp::Ordering::Greater) => {
                let last = last.map(|p| p.to_string()).unwrap_or_default();
                return Err(bad(format!("path {path} stands after {last}: lines are sorted by path")));
            }
            _ => last = Some(path.clone()),
        }
        paths.insert(path, record);
    }
    Ok(Observation { header, paths })
}

fn read_header(line: &[u8], file: &str) -> Result<Header, TraceFileError> {
    let not_a_trace = |message: String| TraceFileError::NotATrace { file: file.into(), message };
    if line.is_empty() {
        return Err(not_a_trace("the file, or its first line, is empty".into()));
    }
    let value: Value = serde_json::from_slice(line).map_err(|e| not_a_trace(json_message(&e)))?;
    // The version comes first: what another version means by a header is not ours to judge.
    let version = value["schema_version"].as_u64().ok_or_else(|| not_a_trace("it has no schema_version".into()))?;
    if version != u64::from(SCHEMA_VERSION) {
        let tool = value["tool"].as_str().unwrap_or("not named").to_string();
        return Err(TraceFileError::Version { file: file.into(), found: version, tool });
    }
    serde_json::from_value(value).map_err(|e| not_a_trace(json_message(&e)))
}

fn read_record(line: &[u8]) -> Result<LineIn, String> {
    if line.is_empty() {
        return Err("the line is empty".into());
    }
    let parsed: LineIn = serde_json::from_slice(line).map_err(|e| json_message(&e))?;
    // A damaged fingerprint would be taken for none at all, and the file then for unchanged.
    if matches!(parsed.record.found, Found::File { fingerprint: None }) {
        let value: Value = serde_json::from_slice(line).map_err(|e| json_message(&e))?;
        if ["size", "mtime", "sha256"].iter().any(|key| value.get(key).is_some()) {
            return Err(format!("the fingerprint of {} is not complete: size, mtime and sha256", parsed.path));
        }
    }
    Ok(parsed)
}

/// The message without serde_json's "at line 1", which would contradict the number of the line in the file.
fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line 1 column ") {
        Some(at) => format!("{} (column {})", &text[..at], error.column()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::base::Digest;
    use crate::observation::{Answer, Fingerprint, Operation, Overrides, ProbeResult, Redactor, Transcript};

    fn header() -> Header {
        let answer = Answer::Http {
            status: 200,
            headers: vec![("server".into(), "nginx".into())],
            body_digest: Digest::of(b"hello"),
            body_bytes: 5,
        };
        Header {
            schema_version: SCHEMA_VERSION,
            tool: "scrimp 0.1.0".into(),
            source: "oci:app".into(),
            source_digest: Some(Digest::of(b"config")),
            command: vec!["/app".into()],
            overrides: Overrides::default(),
            env_names: vec!["TOKEN".into()],
            runs: vec![],
            rung: "a".into(),
            gaps: vec![],
            warnings: vec![],
            transcript: Transcript {
                probes: vec![ProbeResult { name: "http GET /".into(), answer, failure: None, ignore: vec![] }],
                ..Transcript::default()
            },
        }
    }

    fn record(found: Found) -> PathRecord {
        PathRecord {
            found,
            operations: BTreeSet::from([Operation::Open, Operation::Stat]),
            executables: BTreeSet::from([ImagePath::parse("/app").unwrap()]),
            first_probe: Some("http GET /".into()),
            probe_tool: false,
            resolved: true,
            count: 3,
            listed: BTreeSet::new(),
        }
    }

    fn observation(paths: &[(&[u8], Found)]) -> Observation {
        let paths = paths.iter().map(|(p, f)| (ImagePath::parse(p).unwrap(), record(f.clone()))).collect();
        Observation { header: header(), paths }
    }

    fn written(observation: &Observation) -> String {
        let mut out = Vec::new();
        write_trace(observation, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn error(text: &str) -> String {
        read_trace(text.as_bytes(), "x.trace.jsonl").unwrap_err().to_string()
    }

    fn all_kinds() -> Vec<(&'static [u8], Found)> {
        let fingerprint = Fingerprint { size: 7, mtime: -1, sha256: Digest::of(b"7") };
        vec![
            (b"/", Found::Dir),
            (b"/a", Found::Absent),
            (b"/a/b", Found::File { fingerprint: None }),
            (b"/a.b", Found::File { fingerprint: Some(fingerprint) }),
            (b"/l", Found::Symlink { target: "../x".into() }),
            (b"/n\xff\nx", Found::CharDevice),
            (b"/o", Found::BlockDevice),
            (b"/p", Found::Fifo),
            (b"/s", Found::Socket),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let observation = observation(&all_kinds());
        let text = written(&observation);
        assert_eq!(text.lines().count(), 10);
        assert_eq!(read_trace(text.as_bytes(), "x").unwrap(), observation);
        assert_eq!(written(&read_trace(text.as_bytes(), "x").unwrap()), text);
        assert_eq!(read_trace(text.trim_end().as_bytes(), "x").unwrap(), observation, "no newline at the end");
    }

    #[test]
    fn lines_have_the_documented_form() {
        let text = written(&observation(&[(b"/l\xff", Found::Symlink { target: "x".into() })]));
        assert_eq!(
            text.lines().nth(1).unwrap(),
            r#"{"path":"/l\\xff","kind":"symlink","target":"x","operations":["open","stat"],"executables":["/app"],"first_probe":"http GET /","resolved":true,"count":3}"#
        );
    }

    #[test]
    fn unknown_fields_are_passed_over() {
        let observation = observation(&all_kinds());
        let text =
            written(&observation).replace("{\"path\"", "{\"later\":[1],\"path\"").replacen('{', "{\"new\":{},", 1);
        assert_eq!(read_trace(text.as_bytes(), "x").unwrap(), observation);
    }

    #[test]
    fn errors_name_file_and_line() {
        let good = written(&observation(&all_kinds()));
        let (head, body) = good.split_once('\n').unwrap();
        let lines: Vec<&str> = body.lines().collect();
        let hint = "\nhint: a trace is what `scrimp trace SOURCE -o FILE` and `--trace FILE` write";
        for (text, expected) in [
            (String::new(), format!("x.trace.jsonl:1: not a trace: the file, or its first line, is empty{hint}")),
            ("{}\n".into(), format!("x.trace.jsonl:1: not a trace: it has no schema_version{hint}")),
            ("hello\n".into(), format!("x.trace.jsonl:1: not a trace: expected value (column 1){hint}")),
            (
                good.replacen("\"schema_version\":1", "\"schema_version\":9", 1),
                "x.trace.jsonl: trace format 9 is not known, this scrimp reads 1\n\
                 hint: read it with the version that wrote it (scrimp 0.1.0), or record the trace again"
                    .into(),
            ),
            (format!("{head}\n{}\n\n", lines[0]), "x.trace.jsonl:3: the line is empty".into()),
            (
                format!("{head}\n{}\n{}\n", lines[1], lines[0]),
                "x.trace.jsonl:3: path / stands after /a: lines are sorted by path".into(),
            ),
            (format!("{head}\n{}\n{}\n", lines[1], lines[1]), "x.trace.jsonl:3: path /a stands twice".into()),
            (
                format!("{head}\n{}\n", lines[3].replace("\"mtime\":-1,", "")),
                "x.trace.jsonl:2: the fingerprint of /a.b is not complete: size, mtime and sha256".into(),
            ),
        ] {
            assert_eq!(error(&text), expected);
        }
        for text in [
            format!("{head}\n{}", &lines[2][..20]),
            format!("{head}\n{}", lines[2].replace("\"open\"", "\"opne\"")),
            format!("{head}\n{}", lines[2].replace("\"/a/b\"", "\"a/b\"")),
            format!("{head}\n{}", lines[2].replace("\"count\":3", "\"count\":-3")),
        ] {
            assert!(error(&text).starts_with("x.trace.jsonl:2: "), "{}", error(&text));
        }
    }

    #[test]
    fn a_secret_given_for_the_run_is_in_no_line() {
        let mut observation = observation(&[
            (b"/etc/app", Found::File { fingerprint: None }),
            (b"/run/hunter22/a", Found::Absent),
            (b"/run/hunter22/b", Found::Absent),
        ]);
        observation.header.warnings.push("could not connect to db?password=hunter22".into());
        let probe = &mut observation.header.transcript.probes[0];
        probe.failure = Some("body begins \"hunter22\"".into());
        probe.answer = Answer::Http {
            status: 200,
            headers: vec![("x-echo".into(), "hunter22".into())],
            body_digest: Digest::of(b""),
            body_bytes: 0,
        };
        Redactor::new(["hunter22"]).observation(&mut observation);
        let text = written(&observation);
        assert!(!text.contains("hunter22") && text.contains("\"/run/[redacted]/a\""), "{text}");
    }

    proptest! {
        #[test]
        fn any_path_survives(paths in proptest::collection::btree_set(proptest::collection::vec(1u8..=255, 0..12), 0..20)) {
            let mut tree = FileTree::new();
            for bytes in &paths {
                if let Ok(path) = ImagePath::from_relative(bytes) {
                    tree.insert(path, record(Found::Absent));
                }
            }
            let observation = Observation { header: header(), paths: tree };
            let text = written(&observation);
            prop_assert_eq!(read_trace(text.as_bytes(), "x").unwrap(), observation);
        }

        #[test]
        fn reading_never_panics(text in "(\\{\"schema_version\":1[ -~]{0,40}\n)?[ -~\n]{0,60}") {
            prop_assert!(read_trace(text.as_bytes(), "x").is_err());
        }
    }
}
