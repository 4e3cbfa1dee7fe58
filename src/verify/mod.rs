//! Holds a run of the small image against a run of the base: what was answered otherwise, and what is missing.
//!
//! Pure over two observations and the base's rootfs; who runs what, how often, and what is done about it is
//! `pipeline`'s affair.

mod content;
mod difference;
mod pattern;
mod shape;
mod steady;

use std::collections::BTreeMap;

pub use difference::{Difference, transcripts};

use crate::base::{ImagePath, counted};
use crate::image::{Entry, EntryKind, Rootfs, RootfsError};
use crate::observation::{Found, Lookup, Observation};

/// How many differences in the answer to one probe are told.
const MOST_SHOWN: usize = 10;

/// How the small image did beside its base.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Answers that are not the base's.
    pub differences: Vec<Difference>,
    /// Paths that the application looked for in the small image, that are not there, and that the base has.
    /// Each with the look-up that asked for it.
    pub missing: BTreeMap<ImagePath, Lookup>,
}

impl Verdict {
    /// Whether the small image behaved as its base.
    pub fn holds(&self) -> bool {
        self.differences.is_empty() && self.missing.is_empty()
    }

    /// What is wrong, a paragraph for each thing; empty when nothing is.
    pub fn explain(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|(path, lookup)| {
            format!("{path}: the application looked for it in the small image ({lookup}), and only the source has it")
        });
        let mut out = Vec::new();
        for of_probe in self.differences.chunk_by(|a, b| a.probe == b.probe) {
            out.extend(of_probe.iter().take(MOST_SHOWN).map(Difference::to_string));
            if of_probe.len() > MOST_SHOWN {
                let more = counted(of_probe.len() - MOST_SHOWN, "more difference", "more differences");
                out.push(format!("{}: and {more}", of_probe[0].probe));
            }
        }
        out.into_iter().chain(missing).collect()
    }

    /// Takes out the differences between two runs of the base itself, and what is part of them: what is not the same
    /// there either says nothing against the small image. A probe that fails is not forgiven: that it failed by chance
    /// on the base, too, would let an image pass that answers nothing. Returns what was not compared therefore, a
    /// sentence for each aspect.
    pub fn forgive(&mut self, unstable: &[Difference]) -> Vec<String> {
        let mut forgiven = BTreeMap::<(String, bool), Vec<String>>::new();
        for d in self.differences.extract_if(.., |d| !d.is_failure() && d.is_excused_by(unstable)) {
            let is_text = d.is_in_parts() && !d.aspect.starts_with("json:");
            forgiven.entry((d.aspect, is_text)).or_default().push(d.probe);
        }
        let sentence = |((aspect, is_text), probes): ((String, bool), Vec<String>)| {
            let more = match probes.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            let first = &probes[0];
            let what = match is_text {
                true => "parts of it, which say nothing of the image; the rest is the same",
                false => "it, so it says nothing of the image",
            };
            format!("{aspect} of {first}{more}: two runs of the source differ in {what}")
        };
        forgiven.into_iter().map(sentence).collect()
    }
}

/// One of the two that are compared.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// What a run in it showed.
    pub observation: &'a Observation,
    /// What it has.
    pub rootfs: &'a Rootfs,
}

/// Compares a run of the small image (`slim`) with the run of the base from which it was made.
///
/// # Errors
/// When either cannot be read.
pub fn compare(base: Side<'_>, slim: Side<'_>) -> Result<Verdict, RootfsError> {
    let mut missing = BTreeMap::new();
    for (path, record) in slim.observation.paths.iter() {
        if record.found != Found::Absent {
            continue;
        }
        // A new name in a directory that is not there fails as a look-up of that directory does.
        let directory = path.parent().filter(|_| record.operations.iter().any(|operation| operation.creates()));
        for wanted in [Some(path.clone()), directory].into_iter().flatten() {
            // It was looked at there too, and did not count.
            if base.rootfs.is_unlisted(&wanted) && !base.observation.paths.contains(&wanted) {
                continue;
            }
            if entry(slim.rootfs, &wanted)?.is_none() && entry(base.rootfs, &wanted)?.is_some_and(|e| ships(&e)) {
                missing.entry(wanted).or_insert_with(|| record.lookup());
            }
        }
    }
    let differences = transcripts(&base.observation.header.transcript, &slim.observation.header.transcript);
    Ok(Verdict { differences, missing })
}

/// What a rootfs has at `path`, which may lead through links there.
fn entry(rootfs: &Rootfs, path: &ImagePath) -> Result<Option<Entry>, RootfsError> {
    Ok(rootfs.resolve(path.as_bytes(), false)?.entry)
}

/// Whether an image can have it: a socket is of no use without the process that listens on it.
fn ships(entry: &Entry) -> bool {
    entry.kind != EntryKind::Socket
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::image::OwnersAsSeen;
    use crate::observation::{Operation, PathRecord};

    fn observation(absent: &[&str]) -> Observation {
        let record = |path: &&str| (ImagePath::parse(path).unwrap(), PathRecord::of(Found::Absent, &[]));
        Observation { paths: absent.iter().map(record).collect(), ..Observation::blank() }
    }

    #[test]
    fn what_the_base_never_had_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        std::fs::write(dir.path().join("usr/lib/x.so"), "").unwrap();
        std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
        let missing = missing(&dir, &observation(&["/lib/x.so", "/usr/lib/x.so", "/usr/lib/y.so"]));
        assert_eq!(missing, ["/lib/x.so", "/usr/lib/x.so"]);
    }

    /// What a run in an empty image misses of the base in `dir`.
    fn missing(dir: &tempfile::TempDir, slim: &Observation) -> Vec<String> {
        let empty = tempfile::tempdir().unwrap();
        let open = |dir: &tempfile::TempDir| Rootfs::lazy(dir.path(), Arc::new(OwnersAsSeen)).unwrap();
        let base = Side { observation: &observation(&[]), rootfs: &open(dir) };
        let verdict = compare(base, Side { observation: slim, rootfs: &open(&empty) }).unwrap();
        assert_eq!(verdict.holds(), verdict.missing.is_empty());
        verdict.missing.keys().map(ImagePath::to_string).collect()
    }

    #[test]
    fn a_socket_of_another_process_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        assert!(missing(&dir, &observation(&["/socket"])).is_empty());
    }

    #[test]
    fn a_probe_that_fails_is_never_forgiven() {
        let difference =
            |aspect: &str| Difference::new("http GET /", aspect, "passed".into(), "connection refused".into());
        let mut verdict =
            Verdict { differences: vec![difference("expectation"), difference("body")], missing: BTreeMap::new() };
        let notes = verdict.forgive(&[difference("expectation"), difference("body")]);
        assert_eq!(verdict.differences, [difference("expectation")]);
        assert_eq!(notes, ["body of http GET /: two runs of the source differ in it, so it says nothing of the image"]);
    }

    #[test]
    fn what_changes_by_itself_is_forgiven_with_what_is_in_it_and_no_more() {
        let difference = |aspect: &str| Difference::new("http GET /", aspect, "1".into(), "2".into());
        let found = ["json:$.items[4].time", "json:$.items[0].name", "header:content-length", "header:server"];
        let mut verdict = Verdict { differences: found.map(difference).into(), missing: BTreeMap::new() };
        verdict.forgive(&[difference("json:$.items[0].time")]);
        assert_eq!(verdict.differences, ["json:$.items[0].name", "header:server"].map(difference));
    }

    #[test]
    fn a_directory_to_write_in_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("var/lib/app")).unwrap();
        let mut slim = observation(&["/var/lib/app/new", "/var/lib/app/looked/for"]);
        assert!(missing(&dir, &slim).is_empty());
        let made = ImagePath::parse("/var/lib/app/new").unwrap();
        slim.paths.get_mut(&made).unwrap().operations.insert(Operation::Mkdir);
        assert_eq!(missing(&dir, &slim), ["/var/lib/app"]);
    }

    #[test]
    fn a_path_that_is_missing_says_which_lookup_asked_for_it() {
        let mut slim = observation(&["/lib/x.so"]);
        let path = ImagePath::parse("/lib/x.so").unwrap();
        let record = slim.paths.get_mut(&path).unwrap();
        record.operations.extend([Operation::Stat, Operation::Open]);
        record.executables.insert(ImagePath::parse("/bin/app").unwrap());
        record.first_probe = Some("http GET /x".into());
        let verdict = Verdict { differences: Vec::new(), missing: [(path, record.lookup())].into() };
        assert_eq!(
            verdict.explain(),
            ["/lib/x.so: the application looked for it in the small image (open by /bin/app during http GET /x), and \
              only the source has it"]
        );
    }
}
