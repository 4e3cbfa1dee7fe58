//! Observations that tests make up.

use std::collections::BTreeSet;

use crate::base::FileTree;
use crate::observation::{Found, Header, Observation, Operation, Overrides, PathRecord, SCHEMA_VERSION, Transcript};

impl Observation {
    /// A run of nothing, in which nothing was used.
    pub fn blank() -> Self {
        let header = Header {
            schema_version: SCHEMA_VERSION,
            tool: "test".into(),
            source: "rootfs:test".into(),
            source_digest: None,
            command: Vec::new(),
            overrides: Overrides::default(),
            runs: Vec::new(),
            env_names: Vec::new(),
            rung: "a".into(),
            gaps: Vec::new(),
            warnings: Vec::new(),
            transcript: Transcript::default(),
        };
        Observation { header, paths: FileTree::new() }
    }
}

impl PathRecord {
    /// One use by the application of what the base has.
    pub fn of(found: Found, operations: &[Operation]) -> Self {
        PathRecord {
            resolved: found != Found::Absent,
            found,
            operations: operations.iter().copied().collect(),
            executables: BTreeSet::new(),
            first_probe: None,
            probe_tool: false,
            count: 1,
            listed: BTreeSet::new(),
        }
    }
}
