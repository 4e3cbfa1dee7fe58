//! Answers the questions that a plan leaves open: which port a step goes to, and which probes to run when none were
//! given.
//!
//! The default probes are those of a shipped spec that is made for the executable, else HEALTHCHECK; and for each TCP
//! port that these leave out, what the port turns out to be: a peer that speaks first within 200 ms is read, one that
//! answers `GET /` is asked for it, any other gets a connection. Where such a request is only the supplement, every
//! status passes: it is there to be compared.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::probe::expect::{BytesExpect, StatusSet};
use crate::probe::plan::Plan;
use crate::probe::ready::{Grace, healthcheck_step};
use crate::probe::run::Probing;
use crate::probe::shipped::shipped_for;
use crate::probe::step::{Action, DEFAULT_TIMEOUT, Exchange, HttpStep, Step, TcpStep};
use crate::probe::target::{Port, Protocol, Target, addresses};
use crate::probe::{ProbeError, tcp};

/// How long a peer may take to speak first.
const BANNER_TIME: Duration = Duration::from_millis(200);

/// How long an HTTP server may sleep over a request for its start page, and how often it is looked at then.
const SOON: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(100);

/// Puts the steps of a shipped spec, and its idea of readiness, or HEALTHCHECK into a plan without steps.
pub(super) fn choose_known(plan: &mut Plan, probing: &Probing) -> Result<(), ProbeError> {
    let listening = probing.target.executables();
    match shipped_for(listening.iter().chain(&plan.circumstances.executables))? {
        Some(spec) => {
            plan.steps = spec.steps;
            plan.ready.extend(spec.ready);
        }
        None => plan.steps.extend(healthcheck_step(plan)),
    }
    Ok(())
}

/// What to say where nothing is known that could be asked.
pub(super) fn without_probe(target: &dyn Target) -> String {
    if let Some(exit) = target.exited() {
        return format!(
            "the application listened, and ended with {exit} before it could be asked\nhint: its input is empty, and its \
             network leads nowhere: what it needs to stay, a container without a terminal has to give it (-e, -v, --with)"
        );
    }
    let listeners: Vec<String> = target.listeners().iter().map(ToString::to_string).collect();
    let place = if listeners.is_empty() { "no port".into() } else { listeners.join(", ") };
    format!(
        "the application listens on {place}, for which no probe is known\nhint: give one (--probe FILE with a step of its \
         kind, --exec, --script) or none (--no-probe)"
    )
}

/// Adds a step for each TCP port to which none goes. Ports that begin to listen meanwhile get theirs too.
pub(super) fn add_listeners(plan: &mut Plan, probing: &Probing) -> Result<(), ProbeError> {
    let supplement = !plan.steps.is_empty();
    let mut covered: BTreeSet<u16> = plan.steps.iter().filter_map(Step::port).map(|port| port.number).collect();
    let only = plan.circumstances.port;
    loop {
        let mut ports = probing.ports(Protocol::Tcp);
        ports.retain(|&number| !covered.contains(&number) && only.is_none_or(|only| only == Port::tcp(number)));
        let Some(&port) = ports.first() else { return Ok(()) };
        covered.insert(port);
        let mut step = Step::new(classify(port, probing)?);
        if let Action::Http(http) = &mut step.action
            && supplement
        {
            http.expect.status = StatusSet::any();
        }
        plan.steps.push(step);
    }
}

fn classify(port: u16, probing: &Probing) -> Result<Action, ProbeError> {
    let listeners = probing.target.listeners();
    let addresses = addresses(&listeners, Port::tcp(port));
    let plain = |expect| Action::Tcp(TcpStep::new(Some(port), Exchange { expect, ..Exchange::default() }));
    probing.target.begin(&format!("discover tcp {port}"));
    let mut banner = [0; 4096];
    let spoken = tcp::connect(&addresses, port, DEFAULT_TIMEOUT).ok().and_then(|mut stream| {
        stream.set_read_timeout(Some(BANNER_TIME)).ok()?;
        stream.read(&mut banner).ok().filter(|&n| n > 0)
    });
    let action = match spoken {
        Some(n) => {
            // A line of text is read to its end; of anything else, that it begins is all that can be relied on.
            let pattern = if banner[..n].contains(&b'\n') { r"^[^\n]*\n" } else { r"(?s)^." };
            let matches = pattern.parse().map_err(|message| ProbeError::Spec {
                file: "default probes".into(),
                line: None,
                message,
                hint: None,
            })?;
            plain(BytesExpect { contains: None, matches: Some(matches) })
        }
        None if probing.speaks_http(&addresses, port)? => {
            Action::Http(HttpStep { port: Some(port), ..HttpStep::new("GET", "/") })
        }
        None => plain(BytesExpect::default()),
    };
    probing.target.end();
    Ok(action)
}

impl Probing<'_> {
    /// The ports that listen, sorted.
    pub(super) fn ports(&self, protocol: Protocol) -> Vec<u16> {
        let listeners = self.target.listeners();
        let ports: BTreeSet<u16> = listeners.iter().filter(|l| l.protocol == protocol).map(|l| l.port).collect();
        ports.into_iter().collect()
    }

    /// Gives `step` a port if it has none: `--port`, else the lowest exposed one that listens, else the lowest that
    /// listens; for requests, of several the lowest that speaks HTTP. Without any it stays without.
    pub(super) fn resolve_port(&self, plan: &Plan, step: &mut Step) -> Result<(), ProbeError> {
        if let Action::Script(script) = &mut step.action {
            return self.resolve_script(plan, script);
        }
        let Some(protocol) = step.protocol().filter(|_| step.port().is_none()) else { return Ok(()) };
        if let Some(port) = plan.circumstances.port.filter(|port| port.protocol == protocol) {
            step.set_port(port.number);
            return Ok(());
        }
        let candidates = self.candidates(plan, protocol);
        let mut chosen = candidates.first().copied();
        if step.speaks_http() && candidates.len() > 1 {
            chosen = self.first_http_soon(plan, protocol)?.or(chosen);
        }
        if let Some(port) = chosen {
            step.set_port(port);
        }
        Ok(())
    }

    /// The ports that listen, those that are exposed first.
    pub(super) fn candidates(&self, plan: &Plan, protocol: Protocol) -> Vec<u16> {
        let mut ports = self.ports(protocol);
        ports.sort_by_key(|&number| (!plan.circumstances.exposed.contains(&Port { protocol, number }), number));
        ports
    }

    /// The first of the candidates that speaks HTTP, those included that begin to listen while the application is still
    /// busy: it may listen for other things before.
    fn first_http_soon(&self, plan: &Plan, protocol: Protocol) -> Result<Option<u16>, ProbeError> {
        let mut asked = BTreeSet::new();
        let mut grace = Grace::new(Duration::ZERO);
        loop {
            let listeners = self.target.listeners();
            let candidates = self.candidates(plan, protocol);
            let new: Vec<u16> = candidates.into_iter().filter(|&port| asked.insert(port)).collect();
            if let Some(port) = self.first_http(&new)? {
                return Ok(Some(port));
            }
            if self.target.exited().is_some() || !grace.wait(self.target, &listeners) {
                return Ok(None);
            }
        }
    }

    /// Whether what listens there answers a request as an HTTP server does. One that is at work on its answer gets as
    /// long for it as a probe does; one that sleeps, and goes on sleeping, waits for words of another protocol.
    fn speaks_http(&self, addresses: &[IpAddr], port: u16) -> Result<bool, ProbeError> {
        let client = self.http()?;
        if let Some(spoken) = client.is_spoken_at(addresses, port, SOON) {
            return Ok(spoken);
        }
        let asked = Instant::now();
        while asked.elapsed() < SOON {
            if self.target.rests() || self.target.exited().is_some() {
                return Ok(false);
            }
            self.target.wait(&self.target.listeners(), LOOK);
        }
        Ok(client.is_spoken_at(addresses, port, DEFAULT_TIMEOUT).unwrap_or(false))
    }

    pub(super) fn first_http(&self, candidates: &[u16]) -> Result<Option<u16>, ProbeError> {
        let listeners = self.target.listeners();
        for &port in candidates {
            self.target.begin(&format!("discover tcp {port}"));
            let spoken = self.speaks_http(&addresses(&listeners, Port::tcp(port)), port)?;
            self.target.end();
            if spoken {
                return Ok(Some(port));
            }
        }
        Ok(None)
    }
}
