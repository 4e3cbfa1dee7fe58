//! From an observation to a layer that is known to work: the repair loop.

use std::collections::{BTreeMap, BTreeSet};

use crate::assemble::{self, Layer};
use crate::base::{ImagePath, counted};
use crate::closure::{self, Requirements};
use crate::image::{self, Base, ImageConfig, Limits, Rootfs, ScratchDir};
use crate::observation::{Lookup, Observation};
use crate::pipeline::again::excuse;
use crate::pipeline::clock::Clock;
use crate::pipeline::exercise;
use crate::pipeline::run::{Order, verification_of};
use crate::pipeline::{Environment, PipelineError};
use crate::report::Verification;
use crate::select::{self, Account, Manifest, Packages, Rules, Scope};
use crate::session::{self, Run, Script, SessionError, Settings, Start, Subject};
use crate::verify::{self as verdict, Side, Verdict};

/// How often missing paths are added and the result is tried again.
const MAX_REPAIRS: usize = 3;

/// What an image is made from and by which rules.
#[derive(Clone, Copy)]
pub struct Making<'a> {
    /// Where it happens.
    pub environment: &'a Environment,
    /// The base.
    pub base: &'a Base,
    /// The rules.
    pub order: &'a Order,
}

/// How the result is tried: as the base was.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    /// Which of several runs it is.
    pub name: Option<&'a str>,
    /// How the base was run.
    pub settings: &'a Settings,
    /// What came of it.
    pub traced: &'a Run,
}

impl Proof<'_> {
    /// What is said of this run.
    pub fn named(&self, failure: String) -> String {
        match self.name {
            Some(name) => format!("{name}/{failure}"),
            None => failure,
        }
    }

    /// How the small image is run: as the base was. What stands in its config already is not replaced again; of several
    /// runs each has all of it from the settings.
    fn settings_for_result(&self) -> Settings {
        match self.name {
            Some(_) => Settings { exact: true, ..self.settings.clone() },
            None => self.settings.for_result(),
        }
    }
}

/// An image that has not been published yet.
pub struct Made {
    /// What is in it.
    pub manifest: Manifest,
    /// Its one layer.
    pub layer: Layer,
    /// Its config.
    pub config: ImageConfig,
    /// Whether it was tried, and how it did.
    pub verification: Verification,
    /// Why it must not be published; empty when it may.
    pub failures: Vec<String>,
    /// What deserves attention.
    pub warnings: Vec<String>,
    /// What else to tell of it.
    pub account: Account,
}

impl Making<'_> {
    /// Chooses, assembles and, with `proofs`, tries and repairs.
    pub fn make(
        &self,
        observation: &Observation,
        proofs: &[Proof<'_>],
        clock: &mut Clock,
    ) -> Result<Made, PipelineError> {
        let mut packages = clock.time("select", || Packages::read(&self.base.rootfs))?;
        let mut repairs: BTreeMap<ImagePath, Lookup> = BTreeMap::new();
        for round in 0.. {
            let mut made = self.assemble(observation, &mut packages, &repairs, clock)?;
            if proofs.is_empty() {
                return Ok(made);
            }
            let mut tried = match clock.time("verify", || self.try_out(&made, proofs))? {
                Ok(tried) => tried,
                Err(not_started) => {
                    made.failures = vec![not_started];
                    made.verification = verification_of(&made.failures, repairs.len());
                    return Ok(made);
                }
            };
            for (verdict, _) in &mut tried {
                self.miss_no_drops(verdict)?;
            }
            if self.order.rules.force_drop {
                // What was added and is missing all the same, the user wants gone; the answers decide.
                tried.iter_mut().for_each(|(verdict, _)| verdict.missing.retain(|path, _| !repairs.contains_key(path)));
            }
            let missing = tried.iter().flat_map(|(verdict, _)| &verdict.missing);
            let mut added: BTreeMap<ImagePath, Lookup> = BTreeMap::new();
            for (path, lookup) in missing.filter(|(path, _)| !repairs.contains_key(*path)) {
                added.entry(path.clone()).or_insert_with(|| lookup.clone());
            }
            let holds = tried.iter().all(|(verdict, _)| verdict.holds());
            if holds || added.is_empty() || round == MAX_REPAIRS {
                made.warnings.extend(self.excuse_drops(
                    &mut tried,
                    observation,
                    proofs,
                    &mut packages,
                    &repairs,
                    clock,
                )?);
                for ((verdict, again), proof) in tried.iter_mut().zip(proofs) {
                    if !verdict.differences.is_empty() {
                        let notes = clock.time("verify", || forgive(self.environment, self.base, *proof, verdict))?;
                        made.warnings.extend(notes.into_iter().map(|note| proof.named(note)));
                    }
                    made.warnings.extend(notes(again).map(|note| proof.named(note)));
                    made.failures.extend(explain(verdict, again).into_iter().map(|failure| proof.named(failure)));
                }
                repairs.retain(|path, _| made.manifest.entries.contains(path));
                made.warnings.extend(repaired(&repairs));
                made.verification = verification_of(&made.failures, repairs.len());
                return Ok(made);
            }
            repairs.extend(added);
        }
        unreachable!("the last round returns")
    }

    /// What only exercisers look for, the user may drop: it is not missed, and [`Self::excuse_drops`] tells what comes
    /// of it.
    fn miss_no_drops(&self, verdict: &mut Verdict) -> Result<(), PipelineError> {
        let mut dropped = BTreeSet::new();
        for (path, lookup) in &verdict.missing {
            let only_exercised = lookup.probe.as_deref().is_some_and(exercise::is_label);
            if only_exercised && self.order.rules.drops(&self.base.rootfs, path)? {
                dropped.insert(path.clone());
            }
        }
        verdict.missing.retain(|path, _| !dropped.contains(path));
        Ok(())
    }

    /// Takes out what exercisers lost because the user wants gone what it needs, and says so, a sentence for each. That
    /// is what they do not lose in the image that would have been made with it.
    fn excuse_drops(
        &self,
        tried: &mut [(Verdict, Run)],
        observation: &Observation,
        proofs: &[Proof<'_>],
        packages: &mut Packages,
        repairs: &BTreeMap<ImagePath, Lookup>,
        clock: &mut Clock,
    ) -> Result<Vec<String>, PipelineError> {
        let rules = &self.order.rules;
        let lost = |verdict: &Verdict| -> Vec<verdict::Difference> {
            verdict.differences.iter().filter(|difference| exercise::is_of_exerciser(difference)).cloned().collect()
        };
        if rules.drop.is_empty() || tried.iter().all(|(verdict, _)| lost(verdict).is_empty()) {
            return Ok(Vec::new());
        }
        let order = Order { rules: Rules { drop: Vec::new(), ..rules.clone() }, ..self.order.clone() };
        let making = Making { order: &order, ..*self };
        let whole = making.assemble(observation, packages, repairs, clock)?;
        let (rootfs, scratch) = self.unpack(&whole)?;
        let subject = self.subject(&whole, &rootfs);
        let mut told = Vec::new();
        for ((verdict, _), proof) in tried.iter_mut().zip(proofs) {
            let (lost, settings) = (lost(verdict), proof.settings_for_result());
            let rest = clock
                .time("verify", || exercise::lost_again(self.environment, &subject, &settings, proof.traced, &lost))?;
            let is_lost = |d: &verdict::Difference| rest.iter().any(|r| (&r.probe, &r.aspect) == (&d.probe, &d.aspect));
            let excused =
                verdict.differences.extract_if(.., |d| exercise::is_of_exerciser(d) && !is_lost(d)).collect::<Vec<_>>();
            told.extend(exercise::excused(&excused).map(|note| proof.named(note)));
        }
        scratch.remove()?;
        Ok(told)
    }

    fn assemble(
        &self,
        observation: &Observation,
        packages: &mut Packages,
        repairs: &BTreeMap<ImagePath, Lookup>,
        clock: &mut Clock,
    ) -> Result<Made, PipelineError> {
        let Base { rootfs, config, .. } = self.base;
        let (required, manifest, account) = clock.time("select", || -> Result<_, PipelineError> {
            let (level, asked) = (self.order.level, &self.order.rules.asked);
            packages.near(rootfs, observation.paths.iter().map(|(path, _)| path))?;
            let scope = Scope { rootfs, config, observation, packages, level, asked };
            let required = scope.requirements(repairs)?;
            let mut manifest = select::select_from(rootfs, packages, &required, &self.order.rules, observation)?;
            manifest.date_generated(assemble::created(config, self.order.epoch));
            let scope = Scope { rootfs, config, observation, packages, level, asked };
            let account = select::account(&scope, &manifest)?;
            Ok((required, manifest, account))
        })?;
        let scratch = self.environment.store().temp_file()?;
        let layer = clock.time("assemble", || assemble::write_layer(&manifest, rootfs, self.order.epoch, scratch))?;
        let config = self.config(observation, &required, &layer)?;
        let warnings = required.warnings.iter().chain(&manifest.warnings).cloned().collect();
        Ok(Made {
            warnings,
            account,
            manifest,
            layer,
            config,
            verification: Verification::default(),
            failures: Vec::new(),
        })
    }

    fn config(
        &self,
        observation: &Observation,
        required: &Requirements,
        layer: &Layer,
    ) -> Result<ImageConfig, PipelineError> {
        let Base { rootfs, config, .. } = self.base;
        let created = assemble::created(config, self.order.epoch);
        let overrides = &observation.header.overrides;
        let (name, digest) = (self.base.name.as_deref(), self.base.manifest_digest.as_ref());
        let mut slim = assemble::slim_config(config, overrides, name, digest, &layer.diff_id, created);
        if let Some(home) = closure::home(rootfs, config, observation, required)? {
            assemble::add_home(&mut slim, &home);
        }
        Ok(slim)
    }

    /// The tree of an image that was made.
    fn unpack(&self, made: &Made) -> Result<(Rootfs, ScratchDir), PipelineError> {
        let scratch = self.environment.store().scratch_dir()?;
        Ok(image::unpack_staged(made.layer.reader(), scratch, &Limits::default())?)
    }

    /// An image that was made, as it is run.
    fn subject<'a>(&'a self, made: &'a Made, rootfs: &'a Rootfs) -> Subject<'a> {
        let observed_from = Some(&self.base.rootfs);
        Subject { rootfs, config: &made.config, observed_from, ..Subject::of(self.base) }
    }

    /// Runs the layer exactly as it will ship, under the probes that the base answered: once for each proof. An image
    /// that does not even start is a text that says so.
    fn try_out(&self, made: &Made, proofs: &[Proof<'_>]) -> Result<Result<Vec<(Verdict, Run)>, String>, PipelineError> {
        let (rootfs, scratch) = self.unpack(made)?;
        let subject = self.subject(made, &rootfs);
        let mut tried = Vec::new();
        for proof in proofs {
            let (settings, replay) = (proof.settings_for_result(), proof.traced.replay());
            let mut again = match session::run(self.environment.place(), &subject, &settings, replay) {
                Err(cause) if cause.is_of_subject() => return Ok(Err(proof.named(not_started(&cause)))),
                again => again?,
            };
            let lost = exercise::repeat(self.environment, &subject, &settings, proof.traced, &mut again)?;
            let mut verdict = judge(proof.traced, self.base, &again, &rootfs)?;
            verdict.differences.extend(lost);
            tried.push((verdict, again));
        }
        scratch.remove()?;
        Ok(Ok(tried))
    }
}

/// Holds a run of a small image against that of its base.
pub fn judge(traced: &Run, base: &Base, again: &Run, rootfs: &Rootfs) -> Result<Verdict, PipelineError> {
    let base = Side { observation: &traced.observation, rootfs: &base.rootfs };
    let mut verdict = verdict::compare(base, Side { observation: &again.observation, rootfs })?;
    if let (Script::Start(before), Script::Start(after)) = (&traced.script, &again.script) {
        verdict.differences.extend(start_difference(*before, *after));
    }
    Ok(verdict)
}

/// How the start of an application that nobody probes differs. One that listens may end at any moment, if it ends well.
pub(super) fn start_difference(base: Start, slim: Start) -> Option<verdict::Difference> {
    let as_well = base == slim || (base == Start::Serves && slim == Start::Ended(0));
    (!as_well).then(|| verdict::Difference::new("start", "what it came to", base.to_string(), slim.to_string()))
}

/// What is wrong with a small image that does not even start, though its base did.
pub fn not_started(cause: &SessionError) -> String {
    format!("the small image cannot be started: {cause}")
}

/// What is wrong with a small image, with what its application said last; empty when nothing is.
pub fn explain(verdict: &Verdict, again: &Run) -> Vec<String> {
    let mut failures = verdict.explain();
    if !failures.is_empty() {
        failures.extend(again.failures());
    }
    failures
}

/// How many added paths are told one by one.
const TOLD: usize = 5;

/// Which paths were added because the small image missed them, for people.
fn repaired(repairs: &BTreeMap<ImagePath, Lookup>) -> Vec<String> {
    let told = repairs.iter().take(TOLD);
    let mut out: Vec<String> =
        told.map(|(path, lookup)| format!("{path} was added, which the small image missed: {lookup}")).collect();
    if repairs.len() > TOLD {
        let more = repairs.len() - TOLD;
        let (more, were) = (counted(more, "more path", "more paths"), if more == 1 { "was" } else { "were" });
        out.push(format!("{more} {were} added: the lock file (--lock FILE) has them with the reason repair"));
    }
    out
}

/// What the exercisers could not do in it.
pub fn notes(again: &Run) -> impl Iterator<Item = String> {
    again.exercised.iter().flat_map(|exercised| exercised.notes.iter().cloned())
}

/// Takes out of `verdict` in what the run of a proof differs from other runs of the same base: nothing that the small
/// image did. Returns what was not compared therefore, a sentence each.
pub fn forgive(
    environment: &Environment,
    base: &Base,
    proof: Proof<'_>,
    verdict: &mut Verdict,
) -> Result<Vec<String>, PipelineError> {
    let subject = Subject::of(base);
    excuse(verdict, |run, verdict| {
        let mut again = session::run(environment.place(), &subject, proof.settings, proof.traced.replay())?;
        let lost = match run == 0 && verdict.differences.iter().any(exercise::is_of_exerciser) {
            true => exercise::repeat(environment, &subject, proof.settings, proof.traced, &mut again)?,
            false => Vec::new(),
        };
        let (first, second) = (&proof.traced.observation.header, &again.observation.header);
        Ok(verdict::transcripts(&first.transcript, &second.transcript).into_iter().chain(lost).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_fails_only_in_the_small_image_is_a_difference() {
        for (base, slim, same) in [
            (Start::Serves, Start::Serves, true),
            (Start::Serves, Start::Ended(0), true),
            (Start::Serves, Start::Ended(127), false),
            (Start::Serves, Start::Runs, false),
            (Start::Runs, Start::Ended(0), false),
            (Start::Ended(3), Start::Ended(3), true),
            (Start::Ended(3), Start::Ended(1), false),
        ] {
            assert_eq!(start_difference(base, slim).is_none(), same, "{base}; {slim}");
        }
    }
}
