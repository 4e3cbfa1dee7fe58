//! Runs a plan.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::observation::{Answer, Evidence, ProbeResult, Redactor, Transcript};
use crate::probe::http::HttpClient;
use crate::probe::plan::Plan;
use crate::probe::ready::{self, Enough, Unready, needs, wait_healthy, wait_listening};
use crate::probe::stable::Unstable;
use crate::probe::step::{Action, Step};
use crate::probe::target::{Exit, Port, Target, addresses};
use crate::probe::{ProbeError, discover, ephemeral, exec, grpc, http, script, tcp, udp, websocket};

/// How much of an answer a message shows, in characters.
const EXCERPT: usize = 160;

/// How long a broken connection waits for the news that the application has died.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What came of running a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// One result for each step and repetition. When the application did not become ready it is one failed result
    /// named `ready`, or, when the default probes were to be run, none.
    pub transcript: Transcript,
    /// The plan with nothing left to find out, to be run on the small image; the plan as it was when the application
    /// did not become ready.
    pub plan: Plan,
    /// How the application ended, if it did before it was ready: without given probes it is then its own probe.
    pub ended: Option<Exit>,
    /// Things worth telling.
    pub notes: Vec<String>,
}

/// Waits until the application is ready, answers the plan's open questions, and runs its steps in order, each
/// whether or not those before it passed. An answer of "not yet" (a refused connection, 502, 503, 504) that is not
/// expected is asked for again until the time for becoming ready is over: a proxy listens before what is behind it.
///
/// It all happens on one fresh thread, which enters the target's network first. What requests carried, and whatever
/// `redactor` knows, is in nothing that is returned but the plan.
pub fn run(plan: &Plan, target: &dyn Target, redactor: &Redactor) -> Result<Run, ProbeError> {
    let redactor = redactor.with(plan.secrets());
    in_network(target, || Probing::new(target, redactor).run(plan))
}

/// Does `work` on a fresh thread that has entered the target's network: no thread gets out of one again.
pub(super) fn in_network<T: Send>(
    target: &dyn Target,
    work: impl FnOnce() -> Result<T, ProbeError> + Send,
) -> Result<T, ProbeError> {
    let broken = |operation: &str, cause| ProbeError::Broken { operation: operation.into(), cause };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("probes".into()).spawn_scoped(scope, || {
            target.enter_network().map_err(|cause| broken("enter the network of the sandbox", cause))?;
            work()
        });
        let thread = thread.map_err(|cause| broken("start a thread for the probes", cause))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What came of one attempt at a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) answer: Answer,
    pub(super) failure: Option<String>,
    /// Whether the failure may be one of a system that is not up yet.
    pub(super) not_yet: bool,
    /// What parts of the answer held, by their names, as far as it is known.
    pub(super) parts: Vec<(&'static str, Vec<u8>)>,
}

impl Outcome {
    pub(super) fn new(answer: Answer, failure: Option<String>) -> Self {
        Outcome { answer, failure, not_yet: false, parts: Vec::new() }
    }

    /// What goes into the transcript, without what the step says is not stable.
    pub(super) fn into_result(mut self, name: String, step: &Step, evidence: &mut Evidence) -> ProbeResult {
        let unstable = Unstable::of(&step.ignore);
        let mut parts: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
        for (part, content) in std::mem::take(&mut self.parts) {
            parts.entry(part).or_default().push(unstable.cut(&content).into_owned());
        }
        for (part, contents) in parts {
            if !unstable.is_empty() {
                self.answer.set_part(part, &contents);
            }
            evidence.keep(&name, part, &contents);
        }
        ProbeResult::new(name, self.answer, self.failure, step.all_ignored())
    }

    pub(super) fn failed(failure: String) -> Self {
        Outcome::new(Answer::None, Some(failure))
    }

    /// Keeps what a part of the answer held.
    pub(super) fn showing(mut self, part: &'static str, content: Vec<u8>) -> Self {
        self.parts.push((part, content));
        self
    }

    pub(super) fn not_yet(failure: String) -> Self {
        Outcome { not_yet: true, ..Outcome::failed(failure) }
    }
}

/// The beginning of an answer for a message, in quotes. Secrets go before the end is cut off, so none is cut in two.
pub(super) fn excerpt(bytes: &[u8], redactor: &Redactor) -> String {
    let text = crate::probe::escapes::write_text(bytes);
    let text = redactor.text(&text).into_owned();
    match text.char_indices().nth(EXCERPT) {
        Some((at, _)) => format!("\"{}...\"", &text[..at]),
        None => format!("\"{text}\""),
    }
}

/// Whether a socket's time was over.
pub(super) fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A run in progress.
pub(super) struct Probing<'a> {
    pub(super) target: &'a dyn Target,
    pub(super) redactor: Redactor,
    http: OnceCell<HttpClient>,
}

impl<'a> Probing<'a> {
    /// At work on `target`, whose network this thread is in.
    pub(super) fn new(target: &'a dyn Target, redactor: Redactor) -> Self {
        Probing { target, redactor, http: OnceCell::new() }
    }
}

impl Probing<'_> {
    fn run(&self, given: &Plan) -> Result<Run, ProbeError> {
        let timeout = ready::timeout(given)?;
        let patient_until = Instant::now() + timeout;
        let mut plan = given.clone();
        let mut notes = Vec::new();
        if let Err(unready) = wait_listening(self.target, &needs(&plan), Enough::of(&plan), timeout) {
            let needless = plan.explicit && plan.steps.iter().all(|step| step.protocol().is_none());
            match unready {
                // Commands need no listener, and an application without one can still be asked by them.
                Unready::Silent(_) if needless && plan.claims_no_port() => notes.push(format!(
                    "the application neither listened nor came to rest within {} s; the probes were run all the same",
                    timeout.as_secs_f64()
                )),
                unready => return Ok(self.unready(given, unready, notes)),
            }
        }
        ready::wait_exposed(&plan, self.target);
        if plan.discover {
            discover::choose_known(&mut plan, self)?;
        }
        ready::adopt_shipped(&mut plan, self.target)?;
        let healthy = match wait_healthy(&plan, self, &mut notes)? {
            Ok(healthy) => healthy,
            Err(unready) => return Ok(self.unready(given, unready, notes)),
        };
        // Whatever else is asked, a HEALTHCHECK has to work in the result as it did here.
        if let Some(step) = ready::healthcheck_step(&plan).filter(|step| healthy && !plan.has_action(&step.action)) {
            plan.steps.push(step);
        }
        self.resolve(&mut plan)?;
        if plan.steps.is_empty() && !plan.explicit {
            return Ok(self.unready(&plan, Unready::Failing(discover::without_probe(self.target)), notes));
        }
        let mut transcript = self.run_steps(&mut plan, patient_until, &mut notes)?;
        plan.served = given.served.or(Some(self.target.serves()));
        self.redactor.transcript(&mut transcript);
        let notes = notes.iter().map(|note| self.redactor.text(note).into_owned()).collect();
        Ok(Run { transcript, plan, ended: None, notes })
    }

    fn unready(&self, plan: &Plan, unready: Unready, mut notes: Vec<String>) -> Run {
        let (ended, message) = match &unready {
            Unready::Ended(exit) => {
                let hint = match exit {
                    Exit::Code(0) => {
                        "\nhint: a command that ends is its own probe: leave the other probes out, or give each command as --run NAME=COMMAND"
                    }
                    _ => "",
                };
                (Some(*exit), format!("the application ended with {exit} before it was ready{hint}"))
            }
            Unready::Silent(silence) => {
                let hint = silence.hint(plan.circumstances.is_port_shared);
                (None, format!("{}\n{hint}", silence.of("the application")))
            }
            Unready::Failing(message) => (None, message.clone()),
        };
        let mut transcript = Transcript::default();
        if plan.discover && !matches!(unready, Unready::Failing(_)) {
            notes.extend(ended.is_none().then_some(message));
        } else {
            let failure = Some(message);
            transcript.probes.push(ProbeResult { name: "ready".into(), answer: Answer::None, failure, ignore: vec![] });
        }
        self.redactor.transcript(&mut transcript);
        let notes = notes.iter().map(|note| self.redactor.text(note).into_owned()).collect();
        Run { transcript, plan: plan.clone(), ended, notes }
    }

    fn resolve(&self, plan: &mut Plan) -> Result<(), ProbeError> {
        let mut steps = std::mem::take(&mut plan.steps);
        for step in &mut steps {
            self.resolve_port(plan, step)?;
        }
        plan.steps = steps;
        if std::mem::take(&mut plan.discover) {
            discover::add_listeners(plan, self)?;
        }
        let listeners = self.target.listeners();
        let listens = |port: &Port| {
            let there = listeners.iter().any(|l| l.protocol == port.protocol && l.port == port.number);
            there || plan.ephemeral.contains(port)
        };
        let asked = plan.steps.iter().filter_map(Step::port);
        plan.wait_for = asked.chain(plan.circumstances.port).filter(listens).collect();
        plan.wait_for.sort();
        plan.wait_for.dedup();
        if plan.served.is_none() {
            plan.served = Some(self.target.serves());
            let chosen = ephemeral::chosen(self.target);
            plan.ephemeral = if plan.wait_for.iter().any(|port| chosen.contains(port)) { chosen } else { Vec::new() };
        }
        Ok(())
    }

    /// Does `step` once, under the name `label`.
    pub(super) fn attempt(&self, step: &Step, label: &str) -> Result<Outcome, ProbeError> {
        if let Some(exit) = self.target.exited() {
            return Ok(Outcome::failed(format!("the application has ended with {exit}")));
        }
        self.target.begin(&self.redactor.text(label));
        let outcome = self.dispatch(step);
        self.target.end();
        let mut outcome = outcome?;
        if let Some(failure) = &mut outcome.failure {
            if outcome.answer == Answer::None && step.protocol().is_some() && self.target.exited().is_none() {
                self.target.wait(&self.target.listeners(), LAST_WORDS);
            }
            if let Some(exit) = self.target.exited() {
                failure.push_str(&format!("; the application has ended with {exit}"));
            }
        }
        Ok(outcome)
    }

    fn dispatch(&self, step: &Step) -> Result<Outcome, ProbeError> {
        let addresses = match (step.port(), step.protocol()) {
            (Some(port), _) => addresses(&self.target.listeners(), port),
            (None, Some(protocol)) => {
                return Ok(Outcome::failed(format!(
                    "there is no port to go to: the application listens on no {protocol} port"
                )));
            }
            (None, None) => Vec::new(),
        };
        Ok(match &step.action {
            Action::Http(http) => http::probe(self.http()?, http, &addresses, step.timeout, &self.redactor),
            Action::Tcp(tcp) => tcp::probe(tcp, &addresses, step.timeout, &self.redactor),
            Action::Udp(udp) => udp::probe(udp, &addresses, step.timeout, self.target, &self.redactor),
            Action::Exec(exec) => exec::probe(exec, step.timeout, self.target, &self.redactor)?,
            Action::Script(script) => script::probe(script, &addresses, step.timeout, self.target, &self.redactor)?,
            Action::Websocket(socket) => websocket::probe(socket, &addresses, step.timeout, &self.redactor),
            Action::Grpc(call) => grpc::probe(call, &addresses, step.timeout, &self.redactor),
            Action::Crawl(_) | Action::Openapi(_) => Outcome::failed("it stands for other steps".into()),
        })
    }

    pub(super) fn http(&self) -> Result<&HttpClient, ProbeError> {
        if let Some(client) = self.http.get() {
            return Ok(client);
        }
        let client = HttpClient::new()?;
        Ok(self.http.get_or_init(|| client))
    }
}
