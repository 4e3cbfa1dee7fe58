//! Waiting for a service that the application needs: it listens, and then what its user, its image or a shipped spec
//! knows to ask passes.

use std::time::Duration;

use crate::observation::Redactor;
use crate::probe::ProbeError;
use crate::probe::plan::{Circumstances, Plan};
use crate::probe::ready::{self, Enough, needs, wait_healthy, wait_listening};
use crate::probe::run::{Probing, in_network};
use crate::probe::shipped::shipped_for;
use crate::probe::spec::Ready;
use crate::probe::target::{Exit, Target};

/// Why a service is not ready.
#[derive(Clone, Debug, PartialEq)]
pub enum Unready {
    /// It ended.
    Ended(Exit),
    /// It runs, and its time is over: what it lacks, a sentence.
    Late(String),
}

/// Waits until the service is ready: `given` says when; without it, when it listens and its HEALTHCHECK passes, or,
/// where there is none, the readiness of the shipped spec that fits what listens. It may take as long as `given` or the
/// spec says, else `patience`.
pub fn wait_ready(
    given: Option<&Ready>,
    circumstances: &Circumstances,
    patience: Duration,
    target: &dyn Target,
    redactor: &Redactor,
) -> Result<Result<(), Unready>, ProbeError> {
    let mut plan = Plan { patience, ..Plan::new(Vec::new(), circumstances.clone()) };
    plan.discover = false;
    plan.ready.extend(given.cloned());
    let redactor = redactor.with(plan.secrets());
    in_network(target, || wait(plan, &Probing::new(target, redactor)))
}

fn wait(mut plan: Plan, probing: &Probing) -> Result<Result<(), Unready>, ProbeError> {
    let timeout = plan.ready.first().map_or(plan.patience, |ready| ready.timeout);
    if let Err(unready) = wait_listening(probing.target, &needs(&plan), Enough::Never, timeout) {
        return Ok(Err(of_a_service(unready, probing)));
    }
    if plan.ready.is_empty() && plan.circumstances.healthcheck.is_none() {
        let listening = probing.target.executables();
        let spec = shipped_for(listening.iter().chain(&plan.circumstances.executables))?;
        plan.ready.extend(spec.and_then(|spec| spec.ready));
    }
    let mut notes = Vec::new();
    Ok(match wait_healthy(&plan, probing, &mut notes)? {
        Ok(_) => match notes.pop() {
            None => Ok(()),
            Some(note) => Err(Unready::Late(note)),
        },
        Err(unready) => Err(of_a_service(unready, probing)),
    })
}

fn of_a_service(unready: ready::Unready, probing: &Probing) -> Unready {
    match unready {
        ready::Unready::Ended(exit) => Unready::Ended(exit),
        ready::Unready::Silent(silence) => Unready::Late(silence.of("it")),
        ready::Unready::Failing(message) => Unready::Late(probing.redactor.text(&message).into_owned()),
    }
}
