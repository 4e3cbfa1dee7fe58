//! Waiting until the application is ready.
//!
//! First it must listen: that is an event which the target reports, so nothing is polled. Then, where there is
//! something to ask (a step in `[ready]`, a HEALTHCHECK), it is asked until it passes. Between two questions the
//! target's events are waited for, for 10 ms at first and twice as long each time up to half a second: an application
//! that gets ready says so by no system call that could be waited for, but most do something visible on the way.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::probe::ProbeError;
use crate::probe::ephemeral;
use crate::probe::expect::ExecExpect;
use crate::probe::plan::Plan;
use crate::probe::run::{Outcome, Probing};
use crate::probe::shipped::shipped_for;
use crate::probe::spec::Ready;
use crate::probe::step::{Action, ExecStep, Step};
use crate::probe::target::{Exit, Listener, Port, Protocol, Target};

/// How long an exposed port is preferred to those that listen already, whatever the application does, and how long
/// while it is busy: it may be starting, and a helper of it listens first.
const EXPOSED_GRACE: Duration = Duration::from_secs(2);
const BUSY_GRACE: Duration = Duration::from_secs(20);

/// How often it is looked whether the application rests.
const LOOK: Duration = Duration::from_millis(100);

/// What must listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Port(Port),
    /// What is in this run what the port was in another, in which the kernel had chosen these.
    Counterpart(Port, Vec<Port>),
    Any(Protocol),
    /// Anything at all, AF_UNIX included.
    Service,
}

/// Why the application is not ready.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Unready {
    /// It ended.
    Ended(Exit),
    /// It does not listen.
    Silent(Silence),
    /// It listens, but does not pass what it is asked.
    Failing(String),
}

/// That something which must listen does not.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Silence {
    missing: Need,
    /// What listens instead, sorted.
    others: Vec<Listener>,
    waited: Duration,
}

impl Silence {
    /// A sentence about `who`, which was waited for.
    pub(super) fn of(&self, who: &str) -> String {
        let others: Vec<String> = self.others.iter().map(Listener::to_string).collect();
        let others = if others.is_empty() { String::new() } else { format!("; it listens on {}", others.join(", ")) };
        format!("{who} does not listen {} after {} s{others}", self.missing.text(), self.waited.as_secs_f64())
    }

    /// What the user can do about it when it is the application, which may be one of several runs.
    pub(super) fn hint(&self, is_one_of_several: bool) -> &'static str {
        match self.others.is_empty() {
            true if is_one_of_several => {
                "hint: probes that are typed are for all runs: give this one its own in scrimp.toml, as [[run]] with \
                 name, command and probes = { exec = \"...\" }"
            }
            true => "hint: give it longer (--timeout), or do without a port (--exec or --no-probe, and no --port)",
            false => "hint: name that port with --port, or in the probe",
        }
    }
}

/// What must listen before the steps of `plan` can run.
pub(super) fn needs(plan: &Plan) -> Vec<Need> {
    if !plan.wait_for.is_empty() {
        let need = |&port: &Port| match plan.ephemeral.contains(&port) {
            true => Need::Counterpart(port, plan.ephemeral.clone()),
            false => Need::Port(port),
        };
        return plan.wait_for.iter().map(need).collect();
    }
    let given = plan.circumstances.port;
    let asked = |ready: &Ready| ready.port.map(Port::tcp).or(ready.step.as_ref().and_then(Step::port));
    let mut out: Vec<Need> = plan.ready.iter().filter_map(asked).map(Need::Port).collect();
    if plan.discover {
        out.push(match (given, &plan.circumstances.healthcheck) {
            (Some(port), _) => Need::Port(port),
            (None, Some(_)) => Need::Service,
            // A UDP socket alone may be a client's, unless the image says otherwise.
            (None, None) if is_datagrams_only(&plan.circumstances.exposed) => Need::Any(Protocol::Udp),
            (None, None) => Need::Any(Protocol::Tcp),
        });
        return out;
    }
    for step in &plan.steps {
        let need = match (step.port(), step.protocol()) {
            (Some(port), _) => Need::Port(port),
            (None, Some(protocol)) => match given.filter(|given| given.protocol == protocol) {
                Some(port) => Need::Port(port),
                None => Need::Any(protocol),
            },
            (None, None) => continue,
        };
        if !out.contains(&need) {
            out.push(need);
        }
    }
    // Whoever names a port says that it is served, whatever the steps go to; by which of several runs, the steps say.
    if let Some(port) = plan.circumstances.claimed_port().map(Need::Port).filter(|port| !out.contains(port)) {
        out.push(port);
    }
    if out.is_empty() {
        out.push(Need::Service);
    }
    out
}

fn is_datagrams_only(exposed: &[Port]) -> bool {
    !exposed.is_empty() && exposed.iter().all(|port| port.protocol == Protocol::Udp)
}

/// What makes further waiting pointless although not all that is needed listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enough {
    /// Nothing.
    Never,
    /// Everything sleeps: commands can be run beside an application that never listens.
    Rest,
    /// Everything sleeps, and a UDP socket is bound to a port that no client is given.
    DatagramsAtRest,
}

impl Enough {
    /// For the steps of `plan`. Where the application is known to serve, it is waited for.
    pub(super) fn of(plan: &Plan) -> Self {
        let circumstances = &plan.circumstances;
        let by_command = plan.is_commands_only() || (plan.discover && circumstances.healthcheck.is_some());
        match by_command && circumstances.claimed_port().is_none() && plan.served != Some(true) {
            true => Enough::Rest,
            false if plan.discover && circumstances.port.is_none() => Enough::DatagramsAtRest,
            false => Enough::Never,
        }
    }

    fn reached(self, target: &dyn Target, listeners: &[Listener], client_ports: &RangeInclusive<u16>) -> bool {
        let is_server = |l: &Listener| l.protocol == Protocol::Udp && !client_ports.contains(&l.port);
        match self {
            Enough::Never => false,
            Enough::Rest => target.rests(),
            Enough::DatagramsAtRest => listeners.iter().any(is_server) && target.rests(),
        }
    }
}

impl Need {
    pub(super) fn met(&self, target: &dyn Target, listeners: &[Listener]) -> bool {
        match self {
            Need::Port(port) => listeners.iter().any(|l| l.protocol == port.protocol && l.port == port.number),
            Need::Counterpart(port, chosen) => {
                ephemeral::counterparts(chosen, &ephemeral::chosen(target)).contains_key(port)
            }
            Need::Any(protocol) => listeners.iter().any(|l| l.protocol == *protocol),
            Need::Service => target.serves(),
        }
    }

    fn text(&self) -> String {
        match self {
            Need::Port(port) => format!("on {} port {}", port.protocol, port.number),
            Need::Counterpart(port, _) => format!("on a {} port of the kernel's choice", port.protocol),
            Need::Any(protocol) => format!("on any {protocol} port"),
            Need::Service => "at all".into(),
        }
    }
}

/// Waits until all of `needs` are met, or that is `enough`.
pub(super) fn wait_listening(
    target: &dyn Target,
    needs: &[Need],
    enough: Enough,
    timeout: Duration,
) -> Result<(), Unready> {
    let deadline = Instant::now() + timeout;
    let client_ports = ephemeral::range();
    loop {
        let listeners = target.listeners();
        let Some(missing) = needs.iter().find(|need| !need.met(target, &listeners)) else { return Ok(()) };
        if let Some(exit) = target.exited() {
            return Err(Unready::Ended(exit));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let mut others = listeners;
            others.sort();
            return Err(Unready::Silent(Silence { missing: missing.clone(), others, waited: timeout }));
        }
        if enough.reached(target, &listeners, &client_ports) {
            return Ok(());
        }
        // No event tells that nothing happens any more.
        let look = if enough == Enough::Never { left } else { left.min(LOOK) };
        target.wait(&listeners, look);
    }
}

/// How long the application may take to become ready. For the default probes the spec that fits the command counts
/// already, though only what listens decides which one is used.
pub(super) fn timeout(plan: &Plan) -> Result<Duration, ProbeError> {
    let known = if plan.discover { shipped_for(&plan.circumstances.executables)? } else { None };
    let ready = plan.ready.iter().chain(known.as_ref().and_then(|spec| spec.ready.as_ref()));
    Ok(ready.map(|ready| ready.timeout).max().unwrap_or(plan.patience))
}

/// Gives an exposed port a moment to listen when another one was first and the plan does not say which it wants: a
/// port for metrics or for debugging often precedes the one that counts.
pub(super) fn wait_exposed(plan: &Plan, target: &dyn Target) {
    let exposed = &plan.circumstances.exposed;
    let asked = needs(plan).contains(&Need::Any(Protocol::Tcp)) || plan.has_unplaced_script();
    let wanted = asked && exposed.iter().any(|p| p.protocol == Protocol::Tcp);
    let mut grace = Grace::new(EXPOSED_GRACE);
    while wanted && target.exited().is_none() {
        let listeners = target.listeners();
        let is_there = exposed.iter().any(|&port| Need::Port(port).met(target, &listeners));
        if is_there || !grace.wait(target, &listeners) {
            return;
        }
    }
}

/// Time for an application to begin to listen on another port: a while, and longer as long as it is busy.
pub(super) struct Grace {
    started: Instant,
    least: Duration,
}

impl Grace {
    pub(super) fn new(least: Duration) -> Self {
        Grace { started: Instant::now(), least }
    }

    /// Waits for an event; returns false when there is nothing left to wait for.
    pub(super) fn wait(&mut self, target: &dyn Target, listeners: &[Listener]) -> bool {
        let passed = self.started.elapsed();
        // It is looked at each time, because rest is known from two looks.
        let rests = target.rests();
        if passed >= BUSY_GRACE || passed >= self.least && rests {
            return false;
        }
        target.wait(listeners, LOOK.min(BUSY_GRACE.saturating_sub(passed)));
        true
    }
}

/// The longer and longer time between two attempts.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Backoff(Duration::from_millis(10))
    }

    /// Waits for an event, no longer than is due and not past `deadline`.
    pub(super) fn wait(&mut self, target: &dyn Target, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        target.wait(&target.listeners(), self.0.min(left));
        self.0 = (self.0 * 2).min(Duration::from_millis(500));
    }
}

/// HEALTHCHECK as a step.
pub(super) fn healthcheck_step(plan: &Plan) -> Option<Step> {
    let check = plan.circumstances.healthcheck.as_ref()?;
    let action = ExecStep { argv: check.argv.clone(), user: None, keep: true, expect: ExecExpect::default() };
    // Runtimes go by the exit code alone.
    let ignore = vec!["stderr".into(), "stdout".into()];
    Some(Step { timeout: check.timeout, ignore, ..Step::new(Action::Exec(action)) })
}

/// Lets an application become ready as the spec that is made for it has it, where the user's probes say nothing about
/// that.
pub(super) fn adopt_shipped(plan: &mut Plan, target: &dyn Target) -> Result<(), ProbeError> {
    if !plan.explicit || plan.served.is_some() || !plan.ready.is_empty() || !target.serves() {
        return Ok(());
    }
    let listening = target.executables();
    let known = shipped_for(listening.iter().chain(&plan.circumstances.executables))?;
    let ready = known.and_then(|spec| spec.ready);
    plan.ready.extend(ready.map(|ready| Ready { timeout: plan.patience, advisory: true, ..ready }));
    Ok(())
}

/// Asks what the plan wants to be asked until it passes, and then HEALTHCHECK; returns whether there is one and it
/// passes. A HEALTHCHECK that does not pass holds nothing up for ever: that is said in `notes`, for it is the image's
/// and not what the user asked for.
pub(super) fn wait_healthy(
    plan: &Plan,
    probing: &Probing,
    notes: &mut Vec<String>,
) -> Result<Result<bool, Unready>, ProbeError> {
    let started = Instant::now();
    for ready in &plan.ready {
        let Some(step) = &ready.step else { continue };
        let mut step = step.clone();
        probing.resolve_port(plan, &mut step)?;
        let Some(failure) = until_it_passes(&step, probing, started + ready.timeout)? else { continue };
        if let Some(exit) = probing.target.exited() {
            return Ok(Err(Unready::Ended(exit)));
        }
        let message = format!("not ready after {} s: {}: {failure}", ready.timeout.as_secs_f64(), step.describe(false));
        match ready.advisory {
            true => notes.push(message),
            false => return Ok(Err(Unready::Failing(message))),
        }
    }
    // In a run of which the plan was resolved it did not pass where it is not among the steps.
    let known = |step: &Step| plan.served.is_none() || plan.has_action(&step.action);
    let Some(step) = healthcheck_step(plan).filter(known) else { return Ok(Ok(false)) };
    let Some(failure) = until_it_passes(&step, probing, started + plan.patience)? else { return Ok(Ok(true)) };
    if let Some(exit) = probing.target.exited() {
        return Ok(Err(Unready::Ended(exit)));
    }
    notes.push(format!("HEALTHCHECK did not pass within {} s: {failure}", plan.patience.as_secs_f64()));
    Ok(Ok(false))
}

/// Runs `step` until it passes; else, when the application or the time has ended, why it last failed.
fn until_it_passes(step: &Step, probing: &Probing, deadline: Instant) -> Result<Option<String>, ProbeError> {
    let label = format!("ready {}", step.describe(false));
    let mut backoff = Backoff::new();
    loop {
        let Outcome { failure: Some(failure), .. } = probing.attempt(step, &label)? else { return Ok(None) };
        if probing.target.exited().is_some() || Instant::now() >= deadline {
            return Ok(Some(failure));
        }
        backoff.wait(probing.target, deadline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let silence = |missing, others| Silence { missing, others, waited: Duration::from_secs(1) };
        let listener = Listener { protocol: Protocol::Tcp, address: [0, 0, 0, 0].into(), port: 81 };
        assert_eq!(silence(Need::Service, vec![]).of("it"), "it does not listen at all after 1 s");
        assert_eq!(
            silence(Need::Port(Port::tcp(80)), vec![listener]).of("it"),
            "it does not listen on tcp port 80 after 1 s; it listens on tcp 0.0.0.0:81"
        );
    }
}
