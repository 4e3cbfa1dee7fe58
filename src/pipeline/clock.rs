//! How long each phase took, for the report; nothing that is written depends on it.

use std::time::Instant;

use crate::report::Phase;

/// What is told of each phase when it begins.
pub type Tell = fn(&'static str);

/// Collects the phases of one run in order; a phase that runs again adds to its first line.
pub struct Clock {
    phases: Vec<Phase>,
    tell: Option<Tell>,
}

impl Clock {
    /// For a run of which each phase is told.
    pub fn new(tell: Option<Tell>) -> Self {
        Clock { phases: Vec::new(), tell }
    }

    /// Runs `work` and adds its time to the phase `name`.
    pub fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        if let Some(tell) = self.tell {
            tell(name);
        }
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
