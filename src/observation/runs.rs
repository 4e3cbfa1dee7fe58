//! Several ways to start one image, seen one after the other: what any of them used is used.

use serde::{Deserialize, Serialize};

use crate::observation::{Header, MergeError, Observation, Overrides};

/// One of several runs of an observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHeader {
    /// How it is called; its probes are `NAME/PROBE`.
    pub name: String,
    /// The command that was run.
    pub command: Vec<String>,
    /// What it replaced in the image's config.
    pub overrides: Overrides,
}

impl Observation {
    /// The union of runs of one image. `command` and `overrides` are what the result is started with, whichever of them,
    /// if any, that is.
    pub fn of_runs(
        runs: Vec<(String, Observation)>,
        command: Vec<String>,
        overrides: Overrides,
    ) -> Result<Observation, MergeError> {
        let named = |(name, mut observation): (String, Observation)| {
            observation.label(&name);
            let Header { command: own_command, overrides: own_overrides, .. } = observation.header;
            let run = RunHeader { name, command: own_command, overrides: own_overrides };
            let header = Header {
                command: command.clone(),
                overrides: overrides.clone(),
                runs: vec![run],
                ..observation.header
            };
            Observation { header, ..observation }
        };
        Observation::union(runs.into_iter().map(named).collect())
    }

    /// Puts the name of the run before those of its probes and its warnings.
    fn label(&mut self, run: &str) {
        for probe in &mut self.header.transcript.probes {
            probe.name = format!("{run}/{}", probe.name);
        }
        for warning in &mut self.header.warnings {
            *warning = format!("{run}: {warning}");
        }
        let paths = std::mem::take(&mut self.paths);
        let labelled = paths.into_iter().map(|(path, mut record)| {
            record.first_probe = record.first_probe.map(|probe| format!("{run}/{probe}"));
            (path, record)
        });
        self.paths = labelled.collect();
    }
}
