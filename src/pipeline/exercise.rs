//! Exercisers beside the probes: on the base after them, and once more on the small image. They fail nothing by
//! themselves; but what went well in the base has to go well in the small image.

use crate::observation::Redactor;
use crate::pipeline::{Environment, PipelineError};
use crate::probe::{Assignment, Exercisers, Report};
use crate::session::{self, Exercised, Run, Settings, Subject};
use crate::verify::Difference;

/// How many failures are named.
const NAMED: usize = 3;

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
    let redactor = redactor(settings);
    for before in traced.exercised.iter().filter(|exercised| !exercised.report.done.is_empty()) {
        let probe = before.assignment.language.label();
        let differs = |item: String, slim: String| {
            Difference::new(&probe, item, "it went well".into(), redactor.text(&slim).into_owned())
        };
        match session::exercise_again(environment.place(), subject, settings, before) {
            Ok(mut after) => {
                let lost = before.report.lost_in(&after.report);
                differences.extend(lost.into_iter().map(|(item, why)| differs(item, why)));
                again.observation.add_exercised(std::mem::take(&mut after.paths));
                after.notes = untried(before, &after).into_iter().collect();
                again.exercised.push(after);
            }
            Err(cause) if cause.is_of_subject() => {
                differences.push(differs(before.assignment.interpreter.to_string(), cause.to_string()));
            }
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(differences)
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
    (!named.is_empty()).then(|| format!("{} of {all} failed in the base too: {}{more}", failed.len(), named.join(", ")))
}

/// Takes the values of `-e` out of what the application's own modules may have said.
fn redactor(settings: &Settings) -> Redactor {
    Redactor::new(settings.env.iter().filter_map(|v| v.split_once('=').map(|(_, value)| value)))
}
