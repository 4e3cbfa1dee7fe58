//! `verify` in somebody else's runtime: the same probes on both images, without sandbox and tracer.

use std::path::Path;

use crate::image::{OpenOptions, Store};
use crate::pipeline::again::excuse;
use crate::pipeline::clock::{Clock, Tell};
use crate::pipeline::environment::store_dir;
use crate::pipeline::make::start_difference;
use crate::pipeline::run::verification_of;
use crate::pipeline::trials::explicit;
use crate::pipeline::{Ending, Input, PipelineError, Trial, Trials};
use crate::report::{ImageSummary, ProbeTally, RunSummary, SCHEMA_VERSION, SandboxSummary, Summary, Verification};
use crate::runtime::{self, Answered, Engine, Image, RuntimeError, TakeInError};
use crate::session::{Exercise, Script, Settings};
use crate::verify::{Difference, Verdict, transcripts};

/// A runtime that works, and a store.
pub struct RuntimeEnvironment {
    engine: Engine,
    store: Store,
    tell: Option<Tell>,
}

/// Both images in the runtime.
struct Pair<'a> {
    slim: Image<'a>,
    base: Image<'a>,
}

/// How one way to run them ended.
struct Held {
    /// What the base answered.
    base: Answered,
    /// Why it is not good, a paragraph each.
    failures: Vec<String>,
    /// What deserves attention.
    warnings: Vec<String>,
}

impl RuntimeEnvironment {
    /// For `engine`, with the store in `dir` or in the user's cache directory. `tell` is told of each phase.
    pub fn new(engine: Engine, dir: Option<&Path>, tell: Option<Tell>) -> Result<Self, PipelineError> {
        Ok(RuntimeEnvironment { engine, store: Store::open(&store_dir(dir)?)?, tell })
    }

    /// Runs the same probes on a small image and on its source.
    pub fn verify(&self, slim: &Input, against: &Input, trials: &Trials) -> Result<Ending, PipelineError> {
        if let Some(probe) = trials.observer() {
            return Err(observer(&probe).into());
        }
        let mut clock = Clock::new(self.tell);
        let take_in = |role: &str, input: &Input| {
            let options = OpenOptions { platform: input.platform.clone(), ..OpenOptions::default() };
            Image::take_in(&self.engine, role, &input.source, &self.store, &options)
        };
        let pair = clock.time("load", || -> Result<Pair<'_>, TakeInError> {
            Ok(Pair { base: take_in("source", against)?, slim: take_in("slim", slim)? })
        })?;
        let mut summary = Summary {
            schema_version: SCHEMA_VERSION,
            image: Some(ImageSummary { size: None, package_data: None, digest: Some(pair.slim.digest), diff_id: None }),
            sandbox: self.place(),
            ..Summary::default()
        };
        let (mut failures, mut is_compared) = (Vec::new(), true);
        for (name, trial, settings) in ways(trials, &pair.base) {
            let named = |text: String| name.map_or(text.clone(), |name| format!("{name}/{text}"));
            let tried = self.attempt(&pair, trial, &settings, &mut clock)?;
            let (passed, failed) = tried.base.transcript.tally();
            let probes = ProbeTally { passed, failed };
            summary.probes.passed += passed;
            summary.probes.failed += failed;
            if let Some(name) = name {
                summary.runs.push(RunSummary { name: name.into(), command: tried.base.command.clone(), probes });
            }
            is_compared &= failed == 0;
            failures.extend(tried.failures.into_iter().map(named));
            summary.warnings.extend(tried.warnings.into_iter().map(named));
        }
        let Pair { slim, base } = pair;
        clock.time("remove", || slim.remove().and_then(|()| base.remove()))?;
        // Where the source itself does not pass, nothing was held against it.
        summary.verify = if is_compared { verification_of(&failures, 0) } else { Verification::default() };
        summary.phases = clock.phases();
        Ok(Ending { summary, failures })
    }

    /// Where it all happens, and what cannot be seen there.
    fn place(&self) -> SandboxSummary {
        let (kind, version) = (self.engine.kind(), self.engine.version());
        SandboxSummary {
            rung: kind.to_string(),
            description: format!(
                "version {version}; it has no tracer, so answers are compared and look-ups are not, and exercisers do not run"
            ),
        }
    }

    /// Runs the base, and if it passes its probes the small image, in one way.
    fn attempt(
        &self,
        pair: &Pair<'_>,
        trial: &Trial,
        settings: &Settings,
        clock: &mut Clock,
    ) -> Result<Held, PipelineError> {
        let run = |image: &Image<'_>, exercise: Exercise<'_>| {
            runtime::run(&self.engine, image, settings, exercise, &self.store)
        };
        let base = clock.time("run", || run(&pair.base, Exercise::Choose(&trial.probes)))?;
        let (mut failures, mut warnings) = (base.failures(), base.warnings.clone());
        if failures.is_empty() {
            if let Script::Probes(plan) = &base.script
                && plan.has_observers()
            {
                return Err(observer("that was found to fit").into());
            }
            let verdict = clock.time("verify", || -> Result<_, RuntimeError> {
                let again = match run(&pair.slim, base.replay()) {
                    Err(cause) if cause.is_of_image() => return Ok(Err(cause)),
                    again => again?,
                };
                let mut verdict = Verdict { differences: differences(&base, &again), ..Verdict::default() };
                let rerun =
                    |_, _: &Verdict| Ok::<_, RuntimeError>(differences(&base, &run(&pair.base, base.replay())?));
                let notes = excuse(&mut verdict, rerun)?;
                Ok(Ok((verdict, again, notes)))
            })?;
            match verdict {
                Err(cause) => failures.push(format!("the small image cannot be started: {cause}")),
                Ok((verdict, again, notes)) => {
                    failures = verdict.explain();
                    if !failures.is_empty() {
                        failures.extend(again.failures());
                    }
                    warnings.extend(notes);
                }
            }
        }
        Ok(Held { base, failures, warnings })
    }
}

/// All ways in which the images are run. As in scrimp's own sandbox, both of several are run as the base says.
fn ways<'a>(trials: &'a Trials, base: &Image<'_>) -> Vec<(Option<&'a str>, &'a Trial, Settings)> {
    match trials {
        Trials::One(trial) => vec![(None, trial, trial.run.clone())],
        Trials::Several { runs, .. } => runs
            .iter()
            .map(|run| (Some(run.name.as_str()), &run.trial, explicit(&run.trial.run, &base.config)))
            .collect(),
    }
}

/// All that two runs answered otherwise.
fn differences(first: &Answered, second: &Answered) -> Vec<Difference> {
    let start = match (&first.script, &second.script) {
        (Script::Start(before), Script::Start(after)) => start_difference(*before, *after),
        _ => None,
    };
    transcripts(&first.transcript, &second.transcript).into_iter().chain(start).collect()
}

/// What only asks has its tools from the base, which cannot be shown in a container of another image.
fn observer(probe: &str) -> RuntimeError {
    RuntimeError::Unsupported {
        what: format!("the probe `{probe}`, which only asks (keep = false),"),
        hint: "let its command be kept, or verify without --runtime",
    }
}
