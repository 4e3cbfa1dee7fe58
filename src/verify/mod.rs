//! Holds a run of the small image against a run of the base: what was answered otherwise, and what is missing.
//!
//! Pure over two observations and the base's rootfs; who runs what, how often, and what is done about it is
//! `pipeline`'s affair.

mod difference;

use std::collections::BTreeSet;

pub use difference::{Difference, transcripts};

use crate::base::ImagePath;
use crate::image::{Rootfs, RootfsError};
use crate::observation::{Found, Observation};

/// How the small image did beside its base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Answers that are not the base's.
    pub differences: Vec<Difference>,
    /// Paths that the application looked for in the small image, that are not there, and that the base has.
    pub missing: BTreeSet<ImagePath>,
}

impl Verdict {
    /// Whether the small image behaved as its base.
    pub fn holds(&self) -> bool {
        self.differences.is_empty() && self.missing.is_empty()
    }

    /// What is wrong, a paragraph for each thing; empty when nothing is.
    pub fn explain(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|path| {
            format!("{path}: the application looked for it in the small image, and only the source has it")
        });
        self.differences.iter().map(Difference::to_string).chain(missing).collect()
    }

    /// Takes out the differences between two runs of the base itself: what is not the same there either says nothing
    /// against the small image.
    pub fn forgive(&mut self, unstable: &[Difference]) {
        self.differences.retain(|d| !unstable.iter().any(|u| (&u.probe, &u.aspect) == (&d.probe, &d.aspect)));
    }
}

/// Compares a run of the small image (`slim`) with the run of the base from which it was made.
///
/// # Errors
/// When the base cannot be read.
pub fn compare(base: &Observation, slim: &Observation, rootfs: &Rootfs) -> Result<Verdict, RootfsError> {
    let mut missing = BTreeSet::new();
    for (path, record) in slim.paths.iter() {
        if record.found == Found::Absent && is_reachable(rootfs, path)? {
            missing.insert(path.clone());
        }
    }
    Ok(Verdict { differences: transcripts(&base.header.transcript, &slim.header.transcript), missing })
}

/// Whether the base has something at `path`, which may lead through links there.
fn is_reachable(rootfs: &Rootfs, path: &ImagePath) -> Result<bool, RootfsError> {
    Ok(rootfs.resolve(path.as_bytes(), false)?.entry.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::FileTree;
    use crate::image::OwnersAsSeen;
    use crate::observation::{Header, Overrides, PathRecord, SCHEMA_VERSION, Transcript};

    fn observation(absent: &[&str]) -> Observation {
        let record = PathRecord {
            found: Found::Absent,
            operations: BTreeSet::new(),
            executables: BTreeSet::new(),
            first_probe: None,
            probe_tool: false,
            resolved: false,
            count: 1,
        };
        Observation {
            header: Header {
                schema_version: SCHEMA_VERSION,
                tool: "scrimp".into(),
                source: "rootfs:x".into(),
                source_digest: None,
                command: vec![],
                overrides: Overrides::default(),
                env_names: vec![],
                rung: "a".into(),
                gaps: vec![],
                warnings: vec![],
                transcript: Transcript::default(),
            },
            paths: absent.iter().map(|p| (ImagePath::parse(p).unwrap(), record.clone())).collect::<FileTree<_>>(),
        }
    }

    #[test]
    fn what_the_base_never_had_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        std::fs::write(dir.path().join("usr/lib/x.so"), "").unwrap();
        std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
        let rootfs = Rootfs::lazy(dir.path(), Arc::new(OwnersAsSeen)).unwrap();
        let slim = observation(&["/lib/x.so", "/usr/lib/x.so", "/usr/lib/y.so"]);
        let verdict = compare(&observation(&[]), &slim, &rootfs).unwrap();
        let missing: Vec<_> = verdict.missing.iter().map(ImagePath::to_string).collect();
        assert_eq!(missing, ["/lib/x.so", "/usr/lib/x.so"]);
        assert!(!verdict.holds());
    }
}
