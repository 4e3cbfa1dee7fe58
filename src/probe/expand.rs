//! Runs the steps of a plan, one after the other. A step that stands for others (a crawl, a description of an
//! interface) finds them out here, by what the application answers, and they take its place in the plan.

use std::time::Instant;

use crate::observation::{Answer, Transcript};
use crate::probe::crawl::{Crawl, CrawlStep};
use crate::probe::openapi::{OpenapiSource, OpenapiStep};
use crate::probe::plan::Plan;
use crate::probe::ready::{Backoff, Enough, Need, wait_listening};
use crate::probe::run::{Outcome, Probing};
use crate::probe::step::{Action, Namer, Step};
use crate::probe::{ProbeError, ephemeral};

/// A run of steps under way.
struct Steps<'a, 'b> {
    probing: &'a Probing<'b>,
    patient_until: Instant,
    /// With the steps taken out.
    plan: &'a Plan,
    namer: Namer,
    transcript: Transcript,
    /// How many times nothing was done, because the application has ended.
    not_asked: usize,
    /// What was done: the steps of the plan, with what became of those that stand for others.
    done: Vec<Step>,
}

impl Probing<'_> {
    /// Runs the steps of `plan` and leaves in it those that were run. What is worth telling goes into `notes`.
    pub(super) fn run_steps(
        &self,
        plan: &mut Plan,
        patient_until: Instant,
        notes: &mut Vec<String>,
    ) -> Result<Transcript, ProbeError> {
        let given = std::mem::take(&mut plan.steps);
        let mut steps = Steps {
            probing: self,
            patient_until,
            plan,
            namer: Namer::new(&given),
            transcript: Transcript::default(),
            not_asked: 0,
            done: Vec::new(),
        };
        for step in given {
            match &step.action {
                Action::Crawl(crawl) if !steps.is_over() => steps.crawl(crawl, &step, notes)?,
                Action::Openapi(openapi) if !steps.is_over() => steps.openapi(openapi, &step, notes)?,
                _ => steps.plain(step)?,
            }
        }
        if steps.not_asked > 0 {
            let exit = self.target.exited().map_or("ended".into(), |exit| format!("ended with {exit}"));
            notes.push(format!("{} more probes were not asked: the application has {exit}", steps.not_asked));
        }
        let Steps { transcript, done, .. } = steps;
        plan.steps = done;
        Ok(transcript)
    }
}

impl Steps<'_, '_> {
    /// Whether the application has ended and a probe failed by it: whatever is asked then says the same.
    fn is_over(&self) -> bool {
        let failed = self.transcript.probes.last().is_some_and(|probe| !probe.passed());
        failed && self.probing.target.exited().is_some()
    }

    fn plain(&mut self, step: Step) -> Result<(), ProbeError> {
        for _ in 0..step.repeat.max(1) {
            match self.is_over() {
                true => self.not_asked += 1,
                false => self.ask(&step, |_| None)?,
            }
        }
        self.done.push(step);
        Ok(())
    }

    /// Does a step once, and again for as long as it is too early; `look` sees what came and may find fault with it.
    fn ask(&mut self, step: &Step, look: impl FnOnce(&Outcome) -> Option<String>) -> Result<(), ProbeError> {
        let name = self.namer.name(step);
        let label = self.probing.redactor.text(&name);
        let target = self.probing.target;
        let mut backoff = Backoff::new();
        let mut outcome = loop {
            let silent = matches!(step.action, Action::Exec(_)) && !target.serves();
            let outcome = self.probing.attempt(&ephemeral::relocated(self.plan, step, target), &label)?;
            let over = target.exited().is_some() || Instant::now() >= self.patient_until;
            // What rested may have been about to serve, and the command in want of that.
            if silent && outcome.failure.is_some() && !over {
                let left = self.patient_until.saturating_duration_since(Instant::now());
                if wait_listening(target, &[Need::Service], Enough::Never, left).is_ok() {
                    continue;
                }
            }
            if !outcome.not_yet || over {
                break outcome;
            }
            backoff.wait(target, self.patient_until);
        };
        let fault = look(&outcome);
        outcome.failure = outcome.failure.take().or(fault);
        let result = outcome.into_result(name, step, &mut self.transcript.evidence);
        self.transcript.probes.push(result);
        Ok(())
    }

    fn crawl(&mut self, crawl: &CrawlStep, like: &Step, notes: &mut Vec<String>) -> Result<(), ProbeError> {
        let mut crawl = Crawl::new(crawl, like);
        while let Some((step, visit)) = crawl.next() {
            self.ask(&step, |outcome| {
                crawl.answered(visit, outcome);
                None
            })?;
            self.done.push(step);
            if self.is_over() {
                break;
            }
        }
        notes.extend(crawl.notes());
        Ok(())
    }

    fn openapi(&mut self, openapi: &OpenapiStep, like: &Step, notes: &mut Vec<String>) -> Result<(), ProbeError> {
        let mut described = (Vec::new(), None);
        match (&openapi.source, openapi.request(like)) {
            (OpenapiSource::File { content, .. }, _) => {
                // It was checked when it was read.
                described = openapi.operations(content.as_bytes(), like).unwrap_or_default();
            }
            (_, Some(request)) => {
                self.ask(&request, |outcome| {
                    let body = outcome.parts.iter().find(|(part, _)| *part == "body").map(|(_, body)| body.as_slice());
                    let told = match &outcome.answer {
                        Answer::Http { .. } => openapi.operations(body.unwrap_or_default(), like),
                        _ => return None,
                    };
                    match told {
                        Ok(found) => described = found,
                        Err(message) => return Some(format!("what it answers describes no requests: {message}")),
                    }
                    None
                })?;
                self.done.push(request);
            }
            (_, None) => {}
        }
        let (operations, note) = described;
        notes.extend(note);
        operations.into_iter().try_for_each(|operation| self.plain(operation))
    }
}
