//! How long each phase took, for the report; nothing that is written depends on it.

use std::time::Instant;

use crate::report::Phase;

/// Collects the phases of one run in order; a phase that runs again adds to its first line.
#[derive(Default)]
pub struct Clock {
    phases: Vec<Phase>,
}

impl Clock {
    /// Runs `work` and adds its time to the phase `name`.
    pub fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let seconds = start.elapsed().as_secs_f64();
        match self.phases.iter_mut().find(|p| p.name == name) {
            Some(phase) => phase.seconds += seconds,
            None => self.phases.push(Phase { name, seconds }),
        }
        result
    }

    /// The phases so far.
    pub fn phases(&self) -> Vec<Phase> {
        self.phases.clone()
    }
}
