//! Runs a plan.

use std::cell::OnceCell;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::observation::{Answer, ProbeResult, Redactor, Transcript};
use crate::probe::http::HttpClient;
use crate::probe::plan::Plan;
use crate::probe::ready::{Backoff, Unready, needs, wait_healthy, wait_listening};
use crate::probe::step::{Action, Step, names};
use crate::probe::target::{Exit, Port, Target, addresses};
use crate::probe::{ProbeError, discover, exec, http, tcp, udp};

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
    let broken = |operation: &str, cause| ProbeError::Broken { operation: operation.into(), cause };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("probes".into()).spawn_scoped(scope, || {
            target.enter_network().map_err(|cause| broken("enter the network of the sandbox", cause))?;
            Probing { target, redactor, http: OnceCell::new() }.run(plan)
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
}

impl Outcome {
    pub(super) fn new(answer: Answer, failure: Option<String>) -> Self {
        Outcome { answer, failure, not_yet: false }
    }

    pub(super) fn failed(failure: String) -> Self {
        Outcome::new(Answer::None, Some(failure))
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

impl Probing<'_> {
    fn run(&self, given: &Plan) -> Result<Run, ProbeError> {
        let patient_until = Instant::now() + given.ready_timeout();
        let mut plan = given.clone();
        let mut notes = Vec::new();
        if let Err(unready) = wait_listening(self.target, &needs(&plan), plan.ready_timeout()) {
            let only_commands = plan.explicit && plan.steps.iter().all(|step| step.protocol().is_none());
            match unready {
                // Commands need no listener, and an application without one can still be asked by them.
                Unready::Silent(message) if only_commands && plan.ready.iter().all(|r| r.port.is_none()) => {
                    notes.push(message)
                }
                unready => return Ok(self.unready(given, unready, notes)),
            }
        }
        if plan.discover {
            discover::choose_known(&mut plan, self)?;
        }
        if let Err(unready) = wait_healthy(&plan, self, &mut notes)? {
            return Ok(self.unready(given, unready, notes));
        }
        self.resolve(&mut plan)?;
        let probes = self.run_steps(&plan, patient_until)?;
        let mut transcript = Transcript { probes };
        self.redactor.transcript(&mut transcript);
        let notes = notes.iter().map(|note| self.redactor.text(note).into_owned()).collect();
        Ok(Run { transcript, plan, ended: None, notes })
    }

    fn unready(&self, plan: &Plan, unready: Unready, mut notes: Vec<String>) -> Run {
        let (ended, message) = match &unready {
            Unready::Ended(exit) => (Some(*exit), format!("the application ended with {exit} before it was ready")),
            Unready::Silent(message) | Unready::Failing(message) => (None, message.clone()),
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
        let listens = |port: &Port| listeners.iter().any(|l| l.protocol == port.protocol && l.port == port.number);
        plan.wait_for = plan.steps.iter().filter_map(Step::port).filter(listens).collect();
        plan.wait_for.sort();
        plan.wait_for.dedup();
        Ok(())
    }

    fn run_steps(&self, plan: &Plan, patient_until: Instant) -> Result<Vec<ProbeResult>, ProbeError> {
        let mut out = Vec::new();
        for (step, names) in plan.steps.iter().zip(names(&plan.steps)) {
            for name in names {
                let label = self.redactor.text(&name);
                let mut backoff = Backoff::new();
                let outcome = loop {
                    let outcome = self.attempt(step, &label)?;
                    let over = self.target.exited().is_some() || Instant::now() >= patient_until;
                    if !outcome.not_yet || over {
                        break outcome;
                    }
                    backoff.wait(self.target, patient_until);
                };
                let Outcome { answer, failure, .. } = outcome;
                out.push(ProbeResult { name, answer, failure, ignore: step.all_ignored() });
            }
        }
        Ok(out)
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::path::Path;
    use std::thread;

    use super::*;
    use crate::base::ImagePath;
    use crate::probe::fake::{self, FakeTarget, output};
    use crate::probe::plan::{Circumstances, HealthcheckCommand};
    use crate::probe::spec::Spec;

    /// Serves connections with `talk` until the test program ends.
    fn server(mut talk: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || listener.incoming().for_each(|stream| talk(stream.unwrap())));
        address
    }

    /// An HTTP server that answers with `statuses` in turn; the last one stays.
    fn web(statuses: &'static [&'static str]) -> SocketAddr {
        let mut requests = 0;
        server(move |mut stream| {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                // A connection without a request is somebody waiting for a banner.
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    return;
                }
                head.push(byte[0]);
            }
            let status = statuses[requests.min(statuses.len() - 1)];
            requests += 1;
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok").unwrap();
        })
    }

    fn spec(text: &str) -> Spec {
        Spec::parse(text, "x.toml", Path::new("")).unwrap()
    }

    fn given(specs: Vec<Spec>) -> Plan {
        Plan::new(specs, Circumstances::default())
    }

    fn run_plan(plan: &Plan, target: &FakeTarget) -> Run {
        run(plan, target, &Redactor::default()).unwrap()
    }

    /// `NAME: ok` or `NAME: FAILURE`, one line each.
    fn summary(run: &Run) -> String {
        let line = |p: &ProbeResult| format!("{}: {}\n", p.name, p.failure.as_deref().unwrap_or("ok"));
        run.transcript.probes.iter().map(line).collect()
    }

    #[test]
    fn steps_run_in_order_and_are_announced() {
        let address = web(&["200 OK"]);
        let target = FakeTarget::listening(&[address]).with_command("check it", vec![output(0, "fine", "")]);
        let specs = vec![
            Spec::from_http_argument("/a").unwrap(),
            spec("[[step]]\nkind = 'exec'\nargv = ['check', 'it']\nuser = 'app'\nkeep = false\nrepeat = 2"),
        ];
        let done = run_plan(&given(specs), &target);
        assert_eq!(summary(&done), "http GET /a: ok\nexec check it: ok\nexec check it #2: ok\n");
        assert_eq!(
            target.log(),
            [
                "enter",
                "begin http GET /a",
                "end",
                "begin exec check it",
                "exec check it as app (observer)",
                "end",
                "begin exec check it #2",
                "exec check it as app (observer)",
                "end",
            ]
        );
        assert_eq!(
            done.transcript.probes[0].ignore,
            ["header:age", "header:date", "header:expires", "header:server-timing"]
        );
        assert_eq!(done.plan.wait_for, [Port::tcp(address.port())]);
    }

    #[test]
    fn a_resolved_plan_asks_the_same_again_and_stays_as_it_is() {
        let banner = server(|mut stream| stream.write_all(b"220 hello\r\n").unwrap());
        let mute = server(drop);
        let web = web(&["500 Internal Server Error"]);
        let target = FakeTarget::listening(&[banner, mute, web]).with_command("healthy", vec![output(0, "", "")]);
        let healthcheck = HealthcheckCommand { argv: vec!["healthy".into()], timeout: Duration::from_secs(5) };
        let plan = Plan::new(vec![], Circumstances { healthcheck: Some(healthcheck), ..Circumstances::default() });
        let first = run_plan(&plan, &target);
        let mut names: Vec<&str> = first.transcript.probes.iter().map(|p| p.name.as_str()).collect();
        names.sort();
        let mut expected = vec!["exec healthy".to_string(), "http GET /".into()];
        expected.extend([banner, mute].map(|address| format!("tcp {}", address.port())));
        expected.sort();
        assert_eq!(names, expected);
        assert_eq!(first.transcript.tally(), (4, 0), "{}", summary(&first));

        let written = serde_json::to_string(&first.plan).unwrap();
        let second = run_plan(&serde_json::from_str(&written).unwrap(), &target);
        assert_eq!((second.transcript, second.plan), (first.transcript, first.plan));
    }

    #[test]
    fn alone_a_server_error_on_the_start_page_fails() {
        let target = FakeTarget::listening(&[web(&["500 Internal Server Error"])]);
        let done = run_plan(&given(vec![]), &target);
        assert_eq!(
            summary(&done),
            "http GET /: expected status below 500, got 500 Internal Server Error; the body begins \"ok\"\n"
        );
    }

    #[test]
    fn a_shipped_spec_is_chosen_by_what_listens() {
        let redis = server(|mut stream| {
            let mut request = [0; 100];
            let n = stream.read(&mut request).unwrap();
            let answer: &[u8] = match &request[..n] {
                b"PING\r\n" => b"+PONG\r\n",
                b"SET scrimp:probe value EX 60\r\n" => b"+OK\r\n",
                b"GET scrimp:probe\r\n" => b"$5\r\nvalue\r\n",
                b"DEL scrimp:probe\r\n" => b":1\r\n",
                _ => b"$4\r\ninfo\r\n",
            };
            stream.write_all(answer).unwrap();
        });
        let executables = vec![ImagePath::parse("/usr/bin/redis-server").unwrap()];
        let target = FakeTarget { executables, ..FakeTarget::listening(&[redis]) };
        let done = run_plan(&given(vec![]), &target);
        let expected = ["ping", "set", "get", "del", "info"].map(|name| format!("tcp {} {name}: ok\n", redis.port()));
        assert_eq!(summary(&done), expected.concat());
    }

    #[test]
    fn listeners_are_waited_for() {
        let address = web(&["200 OK"]);
        let target = FakeTarget::default();
        target.later.lock().unwrap().push(fake::tcp(address));
        assert_eq!(summary(&run_plan(&given(vec![]), &target)), "http GET /: ok\n");
    }

    #[test]
    fn requests_go_to_the_exposed_port_then_to_the_one_that_speaks_http() {
        let (mute, web) = (server(drop), web(&["200 OK"]));
        let target = FakeTarget::listening(&[mute, web]);
        let step = vec![Spec::from_http_argument("/").unwrap()];
        for circumstances in [
            Circumstances::default(),
            Circumstances { exposed: vec![Port::tcp(1), Port::tcp(web.port())], ..Circumstances::default() },
            Circumstances { exposed: vec![Port::tcp(mute.port())], ..Circumstances::default() },
            Circumstances { port: Some(Port::tcp(web.port())), ..Circumstances::default() },
        ] {
            let done = run_plan(&Plan::new(step.clone(), circumstances), &target);
            assert_eq!(summary(&done), "http GET /: ok\n");
            assert_eq!(done.plan.steps[0].port(), Some(Port::tcp(web.port())));
        }
    }

    #[test]
    fn a_gateway_whose_backend_is_not_up_is_asked_again() {
        let target = FakeTarget::listening(&[web(&["502 Bad Gateway", "503 Service Unavailable", "200 OK"])]);
        let done = run_plan(&given(vec![Spec::from_http_argument("/").unwrap()]), &target);
        assert_eq!(summary(&done), "http GET /: ok\n");

        let target = FakeTarget::listening(&[web(&["502 Bad Gateway"])]);
        let plan = Plan { patience: Duration::from_millis(50), ..given(vec![Spec::from_http_argument("/").unwrap()]) };
        let failure = summary(&run_plan(&plan, &target));
        assert!(failure.starts_with("http GET /: expected status below 500, got 502 Bad Gateway"), "{failure}");
    }

    #[test]
    fn readiness_is_asked_for_until_it_passes() {
        let address = web(&["500 Internal Server Error", "404 Not Found", "200 OK"]);
        let target = FakeTarget::listening(&[address]);
        let text = "[ready]\nstep = { kind = 'http', path = '/up', expect = { status = 200 } }\n[[step]]\nkind = 'tcp'";
        let done = run_plan(&given(vec![spec(text)]), &target);
        assert_eq!(summary(&done), format!("tcp {}: ok\n", address.port()));
        assert_eq!(target.log().iter().filter(|line| *line == "begin ready http GET /up").count(), 3);

        let text = text.replace("[ready]", "[ready]\ntimeout_seconds = 0.05").replace("200", "201");
        assert_eq!(
            summary(&run_plan(&given(vec![spec(&text)]), &target)),
            "ready: not ready after 0.05 s: http GET /up: expected status 201, got 200 OK; the body begins \"ok\"\n"
        );
    }

    #[test]
    fn healthcheck_holds_probes_up_but_not_for_ever() {
        let healthcheck = HealthcheckCommand { argv: vec!["healthy".into()], timeout: Duration::from_secs(5) };
        let circumstances = Circumstances { healthcheck: Some(healthcheck), ..Circumstances::default() };
        let probes = vec![Spec::from_http_argument("/").unwrap()];
        let target = FakeTarget::listening(&[web(&["200 OK"])])
            .with_command("healthy", vec![output(1, "", "starting"), Err("timeout".into()), output(0, "", "")]);
        let done = run_plan(&Plan::new(probes.clone(), circumstances.clone()), &target);
        assert_eq!((summary(&done).as_str(), done.notes.len()), ("http GET /: ok\n", 0));

        let target = target.with_command("healthy", vec![output(1, "", "no database")]);
        let plan = Plan { patience: Duration::from_millis(50), ..Plan::new(probes, circumstances) };
        let done = run_plan(&plan, &target);
        assert_eq!(summary(&done), "http GET /: ok\n");
        assert_eq!(
            done.notes,
            ["HEALTHCHECK did not pass within 0.05 s: expected exit code 0, got 1: \"no database\""]
        );
    }

    #[test]
    fn an_application_that_never_listens_is_reported() {
        let probes = vec![Spec::from_http_argument("/").unwrap()];
        let target = FakeTarget::default();
        let plan = |probes| Plan { patience: Duration::from_millis(20), ..given(probes) };
        let done = run_plan(&plan(probes), &target);
        assert_eq!(summary(&done), "ready: the application does not listen on any tcp port after 0.02 s\n");
        let done = run_plan(&plan(vec![]), &target);
        assert_eq!((summary(&done).as_str(), done.ended), ("", None));
        assert_eq!(done.notes, ["the application does not listen on any tcp port after 0.02 s"]);
        let target = target.with_command("true", vec![output(0, "", "")]);
        let done = run_plan(&plan(vec![Spec::from_exec_argument("true").unwrap()]), &target);
        assert_eq!(summary(&done), "exec true: ok\n", "a command needs no listener");
    }

    #[test]
    fn a_dead_application_is_reported_at_once() {
        let target = FakeTarget { exit: Exit::Code(3).into(), ..FakeTarget::default() };
        let done = run_plan(&given(vec![]), &target);
        assert_eq!((done.transcript.probes.len(), done.ended), (0, Some(Exit::Code(3))));
        let done = run_plan(&given(vec![Spec::from_http_argument("/").unwrap()]), &target);
        assert_eq!(summary(&done), "ready: the application ended with exit code 3 before it was ready\n");

        let target = FakeTarget::listening(&["127.0.0.1:1".parse().unwrap()]);
        *target.exit.lock().unwrap() = Some(Exit::Signal(11));
        let done = run_plan(&given(vec![Spec::from_http_argument("/").unwrap()]), &target);
        assert_eq!(summary(&done), "http GET /: the application has ended with signal 11\n");
    }

    #[test]
    fn a_command_that_fails_is_no_broken_run_but_a_broken_sandbox_is() {
        let target = FakeTarget::listening(&["127.0.0.1:1".parse().unwrap()])
            .with_command("slow", vec![Err("timeout".into())])
            .with_command("broken", vec![Err("supervisor is gone".into())])
            .with_command("select", vec![output(0, "1\n", "")]);
        let exec = |text: &str| Spec::from_exec_argument(text).unwrap();
        let select =
            |expect: &str| spec(&format!("[[step]]\nkind = 'exec'\nargv = ['select']\nexpect = {{ {expect} }}"));
        let specs = vec![
            exec("none"),
            exec("slow"),
            select("stdout = '1'"),
            select("stdout = '2'"),
            select("stdout_contains = '2'"),
            select("exit = 1"),
        ];
        assert_eq!(
            summary(&run_plan(&given(specs), &target)),
            "exec none: cannot run none: not found in PATH\n\
             exec slow: timed out after 10 s\n\
             exec select: ok\n\
             exec select #2: expected the output \"2\", got \"1\\n\"\n\
             exec select #3: expected \"2\" in the output, got \"1\\n\"\n\
             exec select #4: expected exit code 1, got 0: \"1\"\n"
        );
        let error = run(&given(vec![exec("broken")]), &target, &Redactor::default()).unwrap_err();
        assert_eq!(error.to_string(), "cannot run broken in the sandbox: supervisor is gone");
    }

    #[test]
    fn what_a_request_carried_is_in_no_result() {
        let address = server(|mut stream| {
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap();
            let head = "HTTP/1.1 500 Oops\r\nX-Echo: Bearer tok-1234\r\nContent-Length: ";
            write!(stream, "{head}{n}\r\n\r\n").unwrap();
            stream.write_all(&request[..n]).unwrap();
        });
        let text = "[[step]]\nkind = 'http'\nmethod = 'POST'\npath = '/?t=tok-1234'\nbody = '{\"p\":\"hunter22\"}'\n\
                    headers = { Authorization = 'Bearer tok-1234' }";
        let target = FakeTarget::listening(&[address]);
        let done = run_plan(&given(vec![spec(text)]), &target);
        let shown = format!("{:?} {:?} {:?}", done, target.log(), serde_json::to_string(&done.transcript).unwrap());
        let results = shown.replace(&format!("{:?}", done.plan), "");
        assert!(!results.contains("tok-1234") && !results.contains("hunter22"), "{results}");
        assert!(results.contains("[redacted]"));
    }
}
