//! One function per command that makes or judges something.

use std::path::PathBuf;

use crate::base::Epoch;
use crate::closure::Level;
use crate::image::{Base, Platform, Source};
use crate::observation::Observation;
use crate::pipeline::clock::Clock;
use crate::pipeline::make::{Made, Making, Proof, explain, judge, unstable};
use crate::pipeline::publish::{Outputs, SideFiles};
use crate::pipeline::{Environment, PipelineError};
use crate::report::{
    ImageSummary, ProbeTally, SCHEMA_VERSION, SandboxSummary, Size, Summary, Verification, VerificationStatus,
};
use crate::select::{Rules, measure};
use crate::session::{self, Choice, Exercise, Run, Settings, Subject};

/// How a command ended that did not break: with its report, and with what stopped it when a gate failed.
#[derive(Debug)]
pub struct Ending {
    /// What there is to report, complete or not.
    pub summary: Summary,
    /// Why the gate failed, a paragraph each; empty when it holds.
    pub failures: Vec<String>,
}

/// What `slim` needs to know.
pub struct SlimSettings {
    /// What is made small.
    pub source: Source,
    /// Which image of several.
    pub platform: Option<Platform>,
    /// How it is run.
    pub run: Settings,
    /// How it is exercised.
    pub probes: Choice,
    /// How far to go beyond what was used.
    pub level: Level,
    /// What the user wants kept or dropped.
    pub rules: Rules,
    /// Whether the result is tried.
    pub verify: bool,
    /// Where the image goes.
    pub outputs: Outputs,
    /// What else is written.
    pub side_files: SideFiles,
    /// The time that is written instead of the base's.
    pub epoch: Option<Epoch>,
}

/// What `trace` needs to know.
pub struct TraceSettings {
    /// What is run.
    pub source: Source,
    /// Which image of several.
    pub platform: Option<Platform>,
    /// How it is run.
    pub run: Settings,
    /// How it is exercised.
    pub probes: Choice,
    /// The trace to write.
    pub output: PathBuf,
}

/// What `build` needs to know.
pub struct BuildSettings {
    /// What was traced.
    pub source: Source,
    /// Which image of several.
    pub platform: Option<Platform>,
    /// The traces, at least one.
    pub observation: Observation,
    /// How far to go beyond what was used.
    pub level: Level,
    /// What the user wants kept or dropped.
    pub rules: Rules,
    /// Where the image goes.
    pub outputs: Outputs,
    /// What else is written.
    pub side_files: SideFiles,
    /// The time that is written instead of the base's.
    pub epoch: Option<Epoch>,
}

/// What `verify` needs to know.
pub struct VerifySettings {
    /// The small image.
    pub slim: Source,
    /// What it was made from.
    pub against: Source,
    /// How both are run.
    pub run: Settings,
    /// How both are exercised.
    pub probes: Choice,
    /// Which image of several.
    pub platform: Option<Platform>,
}

/// Everything: runs the source, makes a small image from what was used, tries it, writes it.
pub fn slim(environment: &Environment, settings: SlimSettings) -> Result<Ending, PipelineError> {
    settings.outputs.check()?;
    settings.side_files.check()?;
    let mut clock = Clock::default();
    let base = clock.time("unpack", || environment.open(&settings.source, settings.platform.as_ref()))?;
    let traced = observe(environment, &base, &settings.run, &settings.probes, &mut clock)?;
    let mut summary = summary_of(&traced.observation);
    let failures = traced.failures();
    if !failures.is_empty() {
        summary.phases = clock.phases();
        return Ok(Ending { summary, failures });
    }
    let making = Making {
        environment,
        base: &base,
        level: settings.level,
        rules: &settings.rules,
        epoch: settings.epoch,
        outputs: &settings.outputs,
    };
    let proof = settings.verify.then_some(Proof { settings: &settings.run, traced: &traced });
    let made = making.make(&traced.observation, proof, &mut clock)?;
    finish(summary, making, made, &traced.observation, &settings.side_files, clock)
}

/// Runs the source and writes the trace; the trace of a run whose probes failed is not written.
pub fn trace(environment: &Environment, settings: TraceSettings) -> Result<Ending, PipelineError> {
    let side_files = SideFiles { trace: Some(settings.output), lock: None };
    side_files.check()?;
    let mut clock = Clock::default();
    let base = clock.time("unpack", || environment.open(&settings.source, settings.platform.as_ref()))?;
    let traced = observe(environment, &base, &settings.run, &settings.probes, &mut clock)?;
    let mut summary = summary_of(&traced.observation);
    let failures = traced.failures();
    if failures.is_empty() {
        summary.outputs = side_files.write(&traced.observation, None)?;
    }
    summary.phases = clock.phases();
    Ok(Ending { summary, failures })
}

/// Makes an image from traces that were made before.
pub fn build(environment: &Environment, settings: BuildSettings) -> Result<Ending, PipelineError> {
    settings.outputs.check()?;
    settings.side_files.check()?;
    let mut clock = Clock::default();
    let base = clock.time("unpack", || environment.open(&settings.source, settings.platform.as_ref()))?;
    let observation = settings.observation;
    if observation.header.source_digest != base.digest {
        return Err(PipelineError::OtherSource {
            trace: observation.header.source,
            source_name: base.reference.clone(),
        });
    }
    let making = Making {
        environment,
        base: &base,
        level: settings.level,
        rules: &settings.rules,
        epoch: settings.epoch,
        outputs: &settings.outputs,
    };
    let made = making.make(&observation, None, &mut clock)?;
    finish(summary_of(&observation), making, made, &observation, &settings.side_files, clock)
}

/// Runs the same probes on a small image and on its source.
pub fn verify(environment: &Environment, settings: VerifySettings) -> Result<Ending, PipelineError> {
    let mut clock = Clock::default();
    let base = clock.time("unpack", || environment.open(&settings.against, settings.platform.as_ref()))?;
    let slim = clock.time("unpack", || environment.open(&settings.slim, settings.platform.as_ref()))?;
    let traced = observe(environment, &base, &settings.run, &settings.probes, &mut clock)?;
    let mut summary = summary_of(&traced.observation);
    let mut failures = traced.failures();
    if failures.is_empty() {
        let subject = Subject::of(&slim);
        let run = Settings { exact: true, ..settings.run.clone() };
        let again = clock.time("verify", || session::run(environment.store(), &subject, &run, traced.replay()))?;
        let mut judged = judge(&traced, &base, &again, &slim.rootfs)?;
        if !judged.differences.is_empty() {
            let proof = Proof { settings: &settings.run, traced: &traced };
            judged.forgive(&clock.time("verify", || unstable(environment, &base, proof))?);
        }
        failures = explain(&judged, &again);
        summary.image = Some(ImageSummary { size: size(measure(&slim.rootfs)?), digest: slim.digest, diff_id: None });
        summary.verify = Verification {
            status: if failures.is_empty() { VerificationStatus::Passed } else { VerificationStatus::Failed },
            repaired: 0,
            reason: failures.first().map(|f| f.lines().next().unwrap_or_default().to_owned()),
        };
    }
    summary.source = Some(size(measure(&base.rootfs)?));
    summary.phases = clock.phases();
    Ok(Ending { summary, failures })
}

fn observe(
    environment: &Environment,
    base: &Base,
    run: &Settings,
    probes: &Choice,
    clock: &mut Clock,
) -> Result<Run, PipelineError> {
    Ok(clock.time("trace", || session::run(environment.store(), &Subject::of(base), run, Exercise::Choose(probes)))?)
}

fn finish(
    mut summary: Summary,
    making: Making<'_>,
    made: Made,
    observation: &Observation,
    side_files: &SideFiles,
    mut clock: Clock,
) -> Result<Ending, PipelineError> {
    if let Some(entries) = making.base.rootfs.entries() {
        summary.source = Some(size(crate::select::Totals::of(entries.iter().map(|(_, e)| e))));
    }
    summary.warnings.extend(made.warnings.iter().cloned());
    summary.verify = made.verification.clone();
    summary.image = Some(ImageSummary {
        size: size(made.manifest.totals()),
        digest: Some(made.config_digest()),
        diff_id: Some(made.layer.diff_id),
    });
    if made.failures.is_empty() {
        summary.outputs = clock.time("publish", || making.publish(&made, observation, side_files))?;
    }
    summary.phases = clock.phases();
    Ok(Ending { summary, failures: made.failures })
}

fn summary_of(observation: &Observation) -> Summary {
    let (passed, failed) = observation.header.transcript.tally();
    Summary {
        schema_version: SCHEMA_VERSION,
        probes: ProbeTally { passed, failed },
        sandbox: SandboxSummary { rung: observation.header.rung.clone() },
        warnings: observation.header.warnings.clone(),
        ..Default::default()
    }
}

fn size(totals: crate::select::Totals) -> Size {
    Size { bytes: totals.bytes, files: totals.files }
}
