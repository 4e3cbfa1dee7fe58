//! The union of several observations of one source.

use std::collections::BTreeSet;

use crate::base::FileTree;
use crate::observation::{Found, Observation, PathRecord};

/// Why observations have no union.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MergeError {
    /// There is none.
    #[error("there is no trace to build from")]
    Nothing,
    /// They are of different images.
    #[error("the traces are of different images: {first} and {other}\nhint: trace the same image each time")]
    OtherSource {
        /// The first one's source and digest.
        first: String,
        /// The one that is not the same.
        other: String,
    },
    /// The same path was two different things, so the source changed between the runs.
    #[error("{path} was {first} in one trace and {other} in another\nhint: the source has changed: trace it again")]
    Changed {
        /// The path.
        path: String,
        /// What it was first.
        first: String,
        /// What it was then.
        other: String,
    },
}

impl Observation {
    /// The union of `observations`: a path that any of them used was used; the command and what it replaced in the
    /// config are those of the first.
    pub fn union(observations: Vec<Observation>) -> Result<Observation, MergeError> {
        let mut rest = observations.into_iter();
        let mut union = rest.next().ok_or(MergeError::Nothing)?;
        for other in rest {
            // Directories and the host have no digest that tells them apart.
            let named_alike = union.header.source_digest.is_some() || union.header.source == other.header.source;
            if union.header.source_digest != other.header.source_digest || !named_alike {
                let name = |o: &Observation| match o.header.source_digest {
                    Some(digest) => format!("{} ({digest})", o.header.source),
                    None => o.header.source.clone(),
                };
                return Err(MergeError::OtherSource { first: name(&union), other: name(&other) });
            }
            union.absorb(other)?;
        }
        Ok(union)
    }

    /// Adds what an exerciser used on the same base, beside what the run did. A path that both used is the run's.
    pub fn add_exercised(&mut self, paths: FileTree<PathRecord>) {
        for (path, record) in paths {
            match self.paths.get_mut(&path) {
                None => {
                    self.paths.insert(path, record);
                }
                // What only a probe's tool or a look in vain had to do with is the application's now.
                Some(mine) => {
                    let is_new = mine.probe_tool || (!mine.resolved && record.resolved);
                    if is_new && !record.probe_tool {
                        mine.first_probe.clone_from(&record.first_probe);
                    }
                    mine.absorb(record);
                }
            }
        }
    }

    fn absorb(&mut self, other: Observation) -> Result<(), MergeError> {
        if (&self.header.command, &self.header.overrides) != (&other.header.command, &other.header.overrides) {
            let first = self.header.command.join(" ");
            let warning = format!(
                "the traces are of different commands or settings; the image gets those of the first one: {first}"
            );
            append_new(&mut self.header.warnings, vec![warning]);
        }
        let new = other.header.runs.into_iter().filter(|run| !self.header.runs.contains(run)).collect::<Vec<_>>();
        self.header.runs.extend(new);
        append_new(&mut self.header.env_names, other.header.env_names);
        append_new(&mut self.header.gaps, other.header.gaps);
        append_new(&mut self.header.warnings, other.header.warnings);
        let known: BTreeSet<String> = self.header.transcript.probes.iter().map(|p| p.name.clone()).collect();
        let probes = other.header.transcript.probes.into_iter().filter(|p| !known.contains(&p.name));
        self.header.transcript.probes.extend(probes);
        for (path, record) in other.paths {
            match self.paths.get_mut(&path) {
                None => {
                    self.paths.insert(path, record);
                }
                Some(mine) if mine.found != record.found => {
                    return Err(MergeError::Changed {
                        path: path.to_string(),
                        first: describe(&mine.found),
                        other: describe(&record.found),
                    });
                }
                Some(mine) => mine.absorb(record),
            }
        }
        Ok(())
    }
}

impl PathRecord {
    /// Adds what `other` tells of the same path, but for the probe that asked first.
    pub(super) fn absorb(&mut self, other: PathRecord) {
        self.operations.extend(other.operations);
        self.executables.extend(other.executables);
        self.probe_tool &= other.probe_tool;
        self.resolved |= other.resolved;
        self.count += other.count;
        self.listed.extend(other.listed);
    }
}

fn append_new(list: &mut Vec<String>, more: Vec<String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

fn describe(found: &Found) -> String {
    match found {
        Found::Absent => "absent".into(),
        Found::File { fingerprint: Some(print) } => format!("a file with digest {}", print.sha256),
        Found::File { fingerprint: None } => "a file".into(),
        Found::Dir => "a directory".into(),
        Found::Symlink { target } => format!("a link to {target}"),
        Found::CharDevice => "a character device".into(),
        Found::BlockDevice => "a block device".into(),
        Found::Fifo => "a FIFO".into(),
        Found::Socket => "a socket".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Digest, ImagePath};
    use crate::observation::Operation;

    fn observation(digest: &[u8], paths: &[(&str, Operation, bool)]) -> Observation {
        let mut out = Observation::blank();
        out.header.source = "oci:x".into();
        out.header.source_digest = Some(Digest::of(digest));
        out.header.gaps = vec!["at_empty_path".into()];
        for &(path, operation, probe_tool) in paths {
            let record = PathRecord { probe_tool, ..PathRecord::of(Found::File { fingerprint: None }, &[operation]) };
            out.paths.insert(ImagePath::parse(path).unwrap(), record);
        }
        out
    }

    #[test]
    fn what_any_run_used_is_used() {
        let first = observation(b"1", &[("/a", Operation::Open, true), ("/b", Operation::Stat, false)]);
        let second = observation(b"1", &[("/a", Operation::Exec, false), ("/c", Operation::Open, false)]);
        let union = Observation::union(vec![first, second]).unwrap();
        let lines: Vec<String> = union
            .paths
            .iter()
            .map(|(p, r)| format!("{p} {:?} tool={} {}", r.operations, r.probe_tool, r.count))
            .collect();
        assert_eq!(lines, ["/a {Open, Exec} tool=false 2", "/b {Stat} tool=false 1", "/c {Open} tool=false 1"]);
        assert_eq!(union.header.gaps, ["at_empty_path"]);
    }

    #[test]
    fn runs_of_different_images_have_no_union() {
        let error = Observation::union(vec![observation(b"1", &[]), observation(b"2", &[])]).unwrap_err();
        assert!(matches!(error, MergeError::OtherSource { .. }));
        assert_eq!(Observation::union(vec![]), Err(MergeError::Nothing));
    }

    #[test]
    fn directories_of_different_names_have_no_union() {
        let lazy = |source: &str| {
            let mut observation = observation(b"", &[]);
            observation.header.source_digest = None;
            observation.header.source = source.into();
            observation
        };
        assert!(Observation::union(vec![lazy("host"), lazy("host")]).is_ok());
        let error = Observation::union(vec![lazy("host"), lazy("rootfs:x")]).unwrap_err();
        assert!(matches!(error, MergeError::OtherSource { .. }));
    }

    #[test]
    fn whose_settings_the_image_gets_is_said() {
        let mut second = observation(b"1", &[]);
        second.header.overrides.user = Some("app".into());
        let union = Observation::union(vec![observation(b"1", &[]), second]).unwrap();
        assert_eq!(union.header.overrides.user, None);
        assert_eq!(union.header.warnings.len(), 1, "{:?}", union.header.warnings);
    }

    #[test]
    fn a_path_that_changed_between_runs_is_named() {
        let mut second = observation(b"1", &[("/a", Operation::Open, false)]);
        second.paths.get_mut(&ImagePath::parse("/a").unwrap()).unwrap().found = Found::Dir;
        let error = Observation::union(vec![observation(b"1", &[("/a", Operation::Open, false)]), second]).unwrap_err();
        assert!(error.to_string().starts_with("/a was a file in one trace and a directory"), "{error}");
    }
}
