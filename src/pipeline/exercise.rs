//! Exercisers beside the probes: on the base after them, and once more on the small image. They fail nothing by
//! themselves; but what went well in the base has to go well in the small image.

use std::collections::BTreeSet;

use crate::observation::Redactor;
use crate::pipeline::{Environment, PipelineError};
use crate::probe::{Assignment, Exercisers, Language, Report};
use crate::session::{self, Exercised, Run, Settings, Subject};
use crate::verify::Difference;

/// How many failures are named.
const NAMED: usize = 3;
/// The gap of a trace in which time decided what exercisers did.
const CUT: &str = "exercise_time";

/// What there is to exercise after a run whose probes have passed.
pub fn assignments(
    environment: &Environment,
    subject: &Subject<'_>,
    settings: &Settings,
    chosen: &Exercisers,
    traced: &Run,
) -> Result<Vec<Assignment>, PipelineError> {
    if !traced.failures().is_empty() {
        return Ok(Vec::new());
    }
    Ok(session::assignments(environment.place(), subject, settings, chosen, &traced.observation)?)
}

/// Runs exercisers, and adds what they used to `traced`. What they cannot do is a warning.
pub fn exercise(
    environment: &Environment,
    subject: &Subject<'_>,
    settings: &Settings,
    assignments: Vec<Assignment>,
    traced: &mut Run,
) {
    let place = environment.place();
    for assignment in assignments {
        let label = assignment.language.label();
        let interpreter = assignment.interpreter.clone();
        let warnings = &mut traced.observation.header.warnings;
        match session::exercise(place, subject, settings, assignment) {
            Ok(mut exercised) => {
                warnings.extend(exercised.notes.iter().map(|note| format!("{label}: {note}")));
                warnings.extend(failed(&exercised).map(|note| format!("{label}: {note}")));
                traced.observation.add_exercised(std::mem::take(&mut exercised.paths));
                let gaps = &mut traced.observation.header.gaps;
                if exercised.is_incomplete && !gaps.iter().any(|gap| gap == CUT) {
                    gaps.push(CUT.into());
                }
                traced.exercised.push(exercised);
            }
            Err(cause) => warnings.push(format!("{label}: {interpreter} could not be run: {cause}")),
        }
    }
    redactor(settings).observation(&mut traced.observation);
}

/// Repeats on `subject` what was done on the base, adds what that used to `again`, and returns what went well only in
/// the base.
pub fn repeat(
    environment: &Environment,
    subject: &Subject<'_>,
    settings: &Settings,
    traced: &Run,
    again: &mut Run,
) -> Result<Vec<Difference>, PipelineError> {
    let mut differences = Vec::new();
    for before in traced.exercised.iter().filter(|exercised| !exercised.report.done.is_empty()) {
        let (lost, after) = repeat_one(environment, subject, settings, before, None)?;
        differences.extend(lost);
        if let Some(mut after) = after {
            again.observation.add_exercised(std::mem::take(&mut after.paths));
            after.notes = untried(before, &after).into_iter().collect();
            again.exercised.push(after);
        }
    }
    Ok(differences)
}

/// Which of `lost`, as [`repeat`] returns them, are lost on `subject` too; it is not tried again what was not.
pub fn lost_again(
    environment: &Environment,
    subject: &Subject<'_>,
    settings: &Settings,
    traced: &Run,
    lost: &[Difference],
) -> Result<Vec<Difference>, PipelineError> {
    let mut differences = Vec::new();
    for before in &traced.exercised {
        let label = before.assignment.language.label();
        let only: BTreeSet<String> = lost.iter().filter(|d| d.probe == label).map(|d| d.aspect.clone()).collect();
        if !only.is_empty() {
            let (found, _) = repeat_one(environment, subject, settings, before, Some(&only))?;
            differences.extend(found.into_iter().filter(|difference| only.contains(&difference.aspect)));
        }
    }
    Ok(differences)
}

/// The same for one of them, and `only` these items of it; with what came of it where it could be started.
fn repeat_one(
    environment: &Environment,
    subject: &Subject<'_>,
    settings: &Settings,
    before: &Exercised,
    only: Option<&BTreeSet<String>>,
) -> Result<(Vec<Difference>, Option<Exercised>), PipelineError> {
    let redactor = redactor(settings);
    let probe = before.assignment.language.label();
    let differs = |item: String, slim: String| {
        Difference::new(&probe, item, "it went well".into(), redactor.text(&slim).into_owned())
    };
    match session::exercise_again(environment.place(), subject, settings, before, only) {
        Ok(after) => {
            let lost = before.report.lost_in(&after.report);
            Ok((lost.into_iter().map(|(item, why)| differs(item, why)).collect(), Some(after)))
        }
        Err(cause) if cause.is_of_subject() => {
            Ok((vec![differs(before.assignment.interpreter.to_string(), cause.to_string())], None))
        }
        Err(cause) => Err(cause.into()),
    }
}

/// Whether a difference is one of those of [`repeat`].
pub fn is_of_exerciser(difference: &Difference) -> bool {
    is_label(&difference.probe)
}

/// Whether a probe of that name is an exerciser.
pub fn is_label(probe: &str) -> bool {
    Language::ALL.into_iter().any(|language| language.label() == probe)
}

/// What is lost because the user wants gone what it needs, a sentence for each exerciser.
pub fn excused(lost: &[Difference]) -> impl Iterator<Item = String> {
    lost.chunk_by(|a, b| a.probe == b.probe).map(|lost| {
        let named: Vec<&str> = lost.iter().take(NAMED).map(|difference| difference.aspect.as_str()).collect();
        let more = match lost.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let count = lost.len();
        format!(
            "{}: {count} fail in the image, for want of what was dropped: {}{more}",
            lost[0].probe,
            named.join(", ")
        )
    })
}

/// What went well on the base and was not compared, in a sentence.
fn untried(before: &Exercised, after: &Exercised) -> Option<String> {
    let (untried, all) = (before.report.untried_in(&after.report), before.report.done.len());
    let label = before.assignment.language.label();
    (untried > 0).then(|| {
        format!("{label}: there was no time to try {untried} of {all} again in the image, so nothing is known of them")
    })
}

/// What failed on the base, in a sentence. It says nothing about the small image, but may be news to who wrote it.
fn failed(exercised: &Exercised) -> Option<String> {
    if !exercised.assignment.is_named() {
        return None;
    }
    let Report { done, failed, .. } = &exercised.report;
    let named: Vec<&str> = failed.keys().take(NAMED).map(String::as_str).collect();
    let more = match failed.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let all = failed.len() + done.len();
    (!named.is_empty()).then(|| {
        format!(
            "{} of {all} that the sources name cannot be loaded in the source image itself, so that they fail in the small \
             one, too, is no fault of it: {}{more}; this matters only if the application needs one of them",
            failed.len(),
            named.join(", ")
        )
    })
}

/// Takes the values of `-e` out of what the application's own modules may have said.
fn redactor(settings: &Settings) -> Redactor {
    Redactor::of_variables(&settings.env)
}
