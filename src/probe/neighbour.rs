//! Waiting for a service that the application needs: it listens, and then what its user, its image or a shipped spec knows
//! to ask passes.

use std::time::{Duration, Instant};

use crate::observation::Redactor;
use crate::probe::ProbeError;
use crate::probe::plan::{Circumstances, Plan};
use crate::probe::ready::{self, Need, wait_healthy};
use crate::probe::run::Probing;
use crate::probe::shipped::shipped_for;
use crate::probe::spec::Ready;
use crate::probe::target::{Exit, Listener, Target};

/// Why a service is not ready.
#[derive(Clone, Debug, PartialEq)]
pub enum Unready {
    /// It ended.
    Ended(Exit),
    /// It runs, and its time is over: what it lacks, a sentence.
    Late(String),
}

/// Waits until the service is ready: `given` says when; without it, when it listens and its HEALTHCHECK passes, or, where
/// there is none, the readiness of the shipped spec that fits what listens. It may take as long as `given` or the spec says,
/// else `patience`.
pub fn wait_ready(
    given: Option<&Ready>,
    circumstances: &Circumstances,
    patience: Duration,
    target: &dyn Target,
    redactor: &Redactor,
) -> Result<Result<(), Unready>, ProbeError> {
    let broken = |operation: &str, cause| ProbeError::Broken { operation: operation.into(), cause };
    let mut plan = Plan { patience, ..Plan::new(Vec::new(), circumstances.clone()) };
    plan.discover = false;
    plan.ready.extend(given.cloned());
    std::thread::scope(|scope| {
        let work = || {
            target.enter_network().map_err(|cause| broken("enter the network of the sandbox", cause))?;
            let redactor = redactor.with(plan.secrets());
            wait(plan, &Probing::new(target, redactor))
        };
        let thread = std::thread::Builder::new().name("service".into()).spawn_scoped(scope, work);
        let thread = thread.map_err(|cause| broken("start a thread for a service", cause))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn wait(mut plan: Plan, probing: &Probing) -> Result<Result<(), Unready>, ProbeError> {
    let timeout = plan.ready.first().map_or(plan.patience, |ready| ready.timeout);
    if let Err(unready) = listens(&plan, probing.target, timeout) {
        return Ok(Err(unready));
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
        Err(ready::Unready::Ended(exit)) => Err(Unready::Ended(exit)),
        Err(ready::Unready::Silent(message) | ready::Unready::Failing(message)) => {
            Err(Unready::Late(probing.redactor.text(&message).into_owned()))
        }
    })
}

/// Waits until what must listen does.
fn listens(plan: &Plan, target: &dyn Target, timeout: Duration) -> Result<(), Unready> {
    let deadline = Instant::now() + timeout;
    let needs = ready::needs(plan);
    loop {
        let listeners = target.listeners();
        let Some(missing) = needs.iter().find(|need| !need.met(target, &listeners)) else { return Ok(()) };
        if let Some(exit) = target.exited() {
            return Err(Unready::Ended(exit));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Unready::Late(silence(missing, &listeners, timeout)));
        }
        target.wait(&listeners, left);
    }
}

fn silence(missing: &Need, listeners: &[Listener], timeout: Duration) -> String {
    let others: Vec<String> = listeners.iter().map(Listener::to_string).collect();
    let others = if others.is_empty() { String::new() } else { format!("; it listens on {}", others.join(", ")) };
    format!("it does not listen {} after {} s{others}", missing.text(), timeout.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Port;

    #[test]
    fn what_is_missing_is_said() {
        let listener = Listener { protocol: crate::probe::Protocol::Tcp, address: [0, 0, 0, 0].into(), port: 81 };
        let second = Duration::from_secs(1);
        assert_eq!(silence(&Need::Service, &[], second), "it does not listen at all after 1 s");
        assert_eq!(
            silence(&Need::Port(Port::tcp(80)), &[listener], second),
            "it does not listen on tcp port 80 after 1 s; it listens on tcp 0.0.0.0:81"
        );
    }
}
