//! One function per command that makes or judges something.

use std::path::PathBuf;

use crate::base::Epoch;
use crate::closure::Level;
use crate::image::{Base, OwnFiles, Platform, Rootfs, Source};
use crate::observation::{Observation, RunHeader};
use crate::pipeline::clock::Clock;
use crate::pipeline::exercise;
use crate::pipeline::make::{Made, Making, Proof, explain, forgive, judge, not_started, notes};
use crate::pipeline::publish::{Outputs, SideFiles};
use crate::pipeline::{Environment, PipelineError, Trials};
use crate::report::{
    ImageSummary, ProbeTally, RunSummary, SCHEMA_VERSION, SandboxSummary, Size, Summary, Verification,
    VerificationStatus,
};
use crate::sandbox::Rung;
use crate::select::{self, Rules, Totals};
use crate::session::{self, Settings, Subject};

/// How a command ended that did not break: with its report, and with what stopped it when a gate failed.
#[derive(Debug)]
pub struct Ending {
    /// What there is to report, complete or not.
    pub summary: Summary,
    /// Why the gate failed, a paragraph each; empty when it holds.
    pub failures: Vec<String>,
}

/// What is opened.
pub struct Input {
    /// Where it is.
    pub source: Source,
    /// Which image of several; this machine's when absent.
    pub platform: Option<Platform>,
}

/// What image is made, and where it goes.
#[derive(Clone)]
pub struct Order {
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
    /// Whether a lazy source is walked for its size.
    pub measure_source: bool,
}

/// Everything: runs the source, makes a small image from what was used, tries it when `verify` says so, writes it.
pub fn slim(
    environment: &Environment,
    input: &Input,
    trials: &Trials,
    order: &Order,
    verify: bool,
) -> Result<Ending, PipelineError> {
    order.check(input)?;
    // Where not even the source can be run, doing without verification would not help.
    environment.check_source(&input.source)?;
    if verify {
        environment.check_verification()?;
        environment.check_observers(trials)?;
    }
    let mut clock = environment.clock();
    let base = open_to_run(environment, input, order.paths(), &mut clock)?;
    let tried = trials.observe(environment, &base, &mut clock)?;
    let (observation, failures) = (tried.observation()?, tried.failures());
    if !failures.is_empty() {
        return Ok(Ending { summary: summary_of(&observation, &clock), failures });
    }
    let proofs = if verify { tried.proofs() } else { Vec::new() };
    make(environment, &base, &observation, order, &proofs, clock)
}

/// Runs the source and writes the trace to `output`; the trace of a run whose probes failed is not written.
pub fn trace(
    environment: &Environment,
    input: &Input,
    trials: &Trials,
    output: PathBuf,
) -> Result<Ending, PipelineError> {
    let others = input.source.path().map(PathBuf::from).into_iter().collect();
    let side_files = SideFiles { trace: Some(output), lock: None, others };
    side_files.check()?;
    let mut clock = environment.clock();
    let base = open_to_run(environment, input, side_files.paths(), &mut clock)?;
    let tried = trials.observe(environment, &base, &mut clock)?;
    let (observation, failures) = (tried.observation()?, tried.failures());
    let mut summary = summary_of(&observation, &clock);
    if failures.is_empty() {
        summary.outputs = side_files.stage(&observation, None)?.publish()?;
    }
    Ok(Ending { summary, failures })
}

/// Makes an image from an observation that was made before.
pub fn build(
    environment: &Environment,
    input: &Input,
    observation: &Observation,
    order: &Order,
) -> Result<Ending, PipelineError> {
    order.check(input)?;
    let mut clock = environment.clock();
    let base = open(environment, input, order.paths(), &mut clock)?;
    if observation.header.source_digest != base.digest {
        return Err(PipelineError::OtherSource {
            trace: observation.header.source.clone(),
            source_name: base.reference.clone(),
        });
    }
    make(environment, &base, observation, order, &[], clock)
}

/// Runs the same probes on a small image and on its source.
pub fn verify(
    environment: &Environment,
    slim: &Input,
    against: &Input,
    trials: &Trials,
) -> Result<Ending, PipelineError> {
    environment.check_observers(trials)?;
    let mut clock = environment.clock();
    let base = open_to_run(environment, against, Vec::new(), &mut clock)?;
    let slim = open(environment, slim, Vec::new(), &mut clock)?;
    let tried = trials.observe(environment, &base, &mut clock)?;
    let (observation, mut failures) = (tried.observation()?, tried.failures());
    let (mut verification, mut warnings) = (Verification::default(), Vec::new());
    if failures.is_empty() {
        for proof in tried.proofs() {
            let (found, notes) = clock.time("verify", || hold_against(environment, &slim, &base, proof))?;
            failures.extend(found.into_iter().map(|failure| proof.named(failure)));
            warnings.extend(notes.into_iter().map(|note| proof.named(note)));
        }
        verification = verification_of(&failures, 0);
    }
    let image =
        ImageSummary { size: size_of(&slim.rootfs, false)?, package_data: None, digest: slim.digest, diff_id: None };
    let mut summary = summary_of(&observation, &clock);
    summary.source = size_of(&base.rootfs, false)?;
    summary.image = Some(image);
    summary.verify = verification;
    summary.warnings.extend(warnings);
    Ok(Ending { summary, failures })
}

/// What is wrong with `slim` beside `base`, empty when nothing is; and what could not be compared.
fn hold_against(
    environment: &Environment,
    slim: &Base,
    base: &Base,
    proof: Proof<'_>,
) -> Result<(Vec<String>, Vec<String>), PipelineError> {
    let run = Settings { exact: true, ..proof.settings.clone() };
    // A directory has no config of its own: it is run as its source is.
    let subject = match slim.digest {
        Some(_) => Subject::of(slim),
        None => Subject { rootfs: &slim.rootfs, ..Subject::of(base) },
    };
    let subject = Subject { observed_from: Some(&base.rootfs), ..subject };
    let mut again = match session::run(environment.place(), &subject, &run, proof.traced.replay()) {
        Err(cause) if cause.is_of_subject() => return Ok((vec![not_started(&cause)], Vec::new())),
        tried => tried?,
    };
    let lost = exercise::repeat(environment, &subject, &run, proof.traced, &mut again)?;
    let mut verdict = judge(proof.traced, base, &again, &slim.rootfs)?;
    verdict.differences.extend(lost);
    let mut warnings: Vec<String> = notes(&again).collect();
    warnings.extend(forgive(environment, base, proof, &mut verdict)?);
    Ok((explain(&verdict, &again), warnings))
}

/// How a verification ended that found `failures` and had to add `repaired` paths.
pub(super) fn verification_of(failures: &[String], repaired: usize) -> Verification {
    let reason = failures.first().and_then(|f| f.lines().next()).map(String::from);
    let status = if failures.is_empty() { VerificationStatus::Passed } else { VerificationStatus::Failed };
    Verification { status, repaired, reason }
}

/// Opens what is going to be run.
fn open_to_run(
    environment: &Environment,
    input: &Input,
    outputs: Vec<PathBuf>,
    clock: &mut Clock,
) -> Result<Base, PipelineError> {
    environment.check_source(&input.source)?;
    open(environment, input, outputs, clock)
}

/// Opens a source. The store, scrimp itself and what this run writes to `outputs` are no part of it.
fn open(
    environment: &Environment,
    input: &Input,
    outputs: Vec<PathBuf>,
    clock: &mut Clock,
) -> Result<Base, PipelineError> {
    let mut base = clock.time("unpack", || environment.open(&input.source, input.platform.as_ref()))?;
    let mut absent = outputs;
    absent.push(environment.store().outermost().to_owned());
    base.rootfs.conceal(&OwnFiles { absent, unlisted: std::env::current_exe().into_iter().collect() });
    Ok(base)
}

/// The second half of `slim`, and all of `build`.
fn make(
    environment: &Environment,
    base: &Base,
    observation: &Observation,
    order: &Order,
    proofs: &[Proof<'_>],
    mut clock: Clock,
) -> Result<Ending, PipelineError> {
    let Made { manifest, layer, config, verification, failures, warnings, account } =
        Making { environment, base, order }.make(observation, proofs, &mut clock)?;
    let (mut outputs, mut unmet) = (Vec::new(), Vec::new());
    if failures.is_empty() {
        (outputs, unmet) = clock.time("publish", || {
            let beside = order.side_files.stage(observation, Some(&manifest))?;
            order.outputs.publish(&layer, &config, &manifest, &base.annotations, beside)
        })?;
    }
    let mut summary = summary_of(observation, &clock);
    summary.source = size_of(&base.rootfs, order.measure_source)?;
    summary.image = Some(ImageSummary {
        size: Some(size(manifest.totals())),
        package_data: Some(size(manifest.package_data())),
        digest: Some(config.digest()),
        diff_id: Some(layer.diff_id),
    });
    summary.verify = verification;
    summary.warnings.extend(warnings.into_iter().chain(unmet));
    summary.add_account(account);
    summary.outputs = outputs;
    Ok(Ending { summary, failures })
}

impl Order {
    /// Whether everything can be written, as far as that can be known beforehand.
    fn check(&self, input: &Input) -> Result<(), PipelineError> {
        self.outputs.check()?;
        let mut side_files = self.side_files.clone();
        side_files.others.extend(self.outputs.paths().chain(input.source.path()).map(PathBuf::from));
        side_files.check()
    }

    /// What is written, on the host.
    fn paths(&self) -> Vec<PathBuf> {
        self.outputs.paths().map(PathBuf::from).chain(self.side_files.paths()).collect()
    }
}

fn summary_of(observation: &Observation, clock: &Clock) -> Summary {
    let (passed, failed) = observation.header.transcript.tally();
    Summary {
        schema_version: SCHEMA_VERSION,
        probes: ProbeTally { passed, failed },
        runs: runs_of(observation),
        sandbox: sandbox_of(&observation.header.rung),
        phases: clock.phases(),
        warnings: observation.header.warnings.clone(),
        ..Default::default()
    }
}

/// How each of several runs went.
fn runs_of(observation: &Observation) -> Vec<RunSummary> {
    let tally = |run: &RunHeader| {
        let probes = &observation.header.transcript.probes;
        let own = probes.iter().filter(|p| p.name.strip_prefix(&run.name).is_some_and(|rest| rest.starts_with('/')));
        let (passed, failed): (Vec<_>, Vec<_>) = own.partition(|probe| probe.passed());
        let probes = ProbeTally { passed: passed.len(), failed: failed.len() };
        RunSummary { name: run.name.clone(), command: run.command.clone(), probes }
    };
    observation.header.runs.iter().map(tally).collect()
}

/// A rung of a trace, which may have been written by another version of scrimp.
fn sandbox_of(rung: &str) -> SandboxSummary {
    let description = rung.parse::<Rung>().map(Rung::describe).unwrap_or("of another version of scrimp");
    SandboxSummary { rung: rung.into(), description: description.into() }
}

/// The size of a rootfs where it is known, or when it is to be `walked` for it.
fn size_of(rootfs: &Rootfs, walked: bool) -> Result<Option<Size>, PipelineError> {
    match rootfs.entries().is_some() || walked {
        true => Ok(Some(size(select::measure(rootfs)?))),
        false => Ok(None),
    }
}

fn size(totals: Totals) -> Size {
    Size { bytes: totals.bytes, files: totals.files }
}
