//! How an application that runs is exercised, wherever that is: all that this needs of the place is a [`Target`].

use std::time::Duration;

use crate::base::ImagePath;
use crate::image::ImageConfig;
use crate::observation::{Answer, ProbeResult, Redactor, Transcript};
use crate::probe::{self, Exit, Port, ProbeError, Target};
use crate::session::output::Stream;
use crate::session::{Choice, Exercise, Script, Settings, Start};

/// The name of the probe that a command is of itself.
const OWN_PROBE: &str = "run";

/// What is known of an application before it is exercised.
#[derive(Clone, Copy)]
pub struct Examination<'a> {
    /// What its image says.
    pub config: &'a ImageConfig,
    /// How it is run.
    pub settings: &'a Settings,
    /// What was started.
    pub command: Option<&'a [u8]>,
    /// Takes secrets out of what is returned.
    pub redactor: &'a Redactor,
}

/// What exercising an application came to.
pub struct Examined {
    /// What the probes were answered.
    pub transcript: Transcript,
    /// How the application was exercised, to do the same again.
    pub script: Script,
    /// What deserves attention.
    pub notes: Vec<String>,
}

/// What it came to before the application has ended: a command that is its own probe is answered by its end.
pub struct Unended {
    examined: Examined,
    /// Why nothing could be asked although something listens.
    elsewhere: Option<String>,
}

impl Examination<'_> {
    /// Exercises the application in `target`.
    pub fn make(&self, target: &dyn Target, exercise: Exercise<'_>) -> Result<Unended, ProbeError> {
        let timeout = self.settings.timeout;
        let plan = match exercise {
            Exercise::Replay(Script::Probes(plan)) => plan.as_ref().clone(),
            Exercise::Replay(Script::Own) => {
                target.wait_end(timeout);
                return Ok(Unended::without_probes(Script::Own));
            }
            Exercise::Replay(Script::Start(_)) | Exercise::Choose(Choice::Nothing) => {
                return Ok(Unended::without_probes(Script::Start(start(target, timeout))));
            }
            Exercise::Choose(Choice::Probes { specs, port, is_shared }) => probe::Plan {
                patience: timeout,
                ..probe::Plan::new(
                    specs.clone(),
                    probe::Circumstances {
                        is_port_shared: *is_shared,
                        ..circumstances(self.config, self.command, *port)
                    },
                )
            },
        };
        let run = probe::run(&plan, target, self.redactor)?;
        // Where no probe was given, a command that ended by itself was its own; and so is one that never served
        // anything, and that is its failure.
        if run.transcript.probes.is_empty() && run.plan.discover {
            let listens = run.ended.is_none() && !target.listeners().is_empty();
            let elsewhere = run.notes.last().filter(|_| listens).cloned();
            return Ok(Unended { elsewhere, ..Unended::without_probes(Script::Own) });
        }
        let script = Script::Probes(Box::new(run.plan));
        Ok(Unended { examined: Examined { transcript: run.transcript, script, notes: run.notes }, elsewhere: None })
    }
}

impl Unended {
    fn without_probes(script: Script) -> Self {
        let examined = Examined { transcript: Transcript::default(), script, notes: Vec::new() };
        Unended { examined, elsewhere: None }
    }

    /// All of it, now that the application has ended: by itself with `exit`, or because it was stopped. `stdout` and
    /// `stderr` are what it wrote.
    pub fn with_end(self, exit: Option<Exit>, settings: &Settings, stdout: &Stream, stderr: &Stream) -> Examined {
        let Unended { examined: Examined { mut transcript, script, notes }, elsewhere } = self;
        if let Script::Own = script {
            // What is kept of a stream is its end, and all of it where that is as long as it was.
            for (part, stream) in [("stdout", stdout), ("stderr", stderr)] {
                match stream.tail.len() as u64 == stream.bytes {
                    true => transcript.evidence.keep(OWN_PROBE, part, &[&stream.tail]),
                    false => transcript.evidence.too_long(OWN_PROBE, part),
                }
            }
            transcript.probes.push(own_probe(exit, settings, stdout, stderr, elsewhere));
        }
        Examined { transcript, script, notes }
    }
}

/// What an application that is not probed comes to.
fn start(target: &dyn Target, timeout: Duration) -> Start {
    let serves = target.wait_serving_or_end(timeout);
    match target.exited() {
        Some(exit) => Start::Ended(exit.code()),
        None if serves => Start::Serves,
        None => Start::Runs,
    }
}

/// What an image says about how it wants to be asked.
pub fn circumstances(config: &ImageConfig, command: Option<&[u8]>, port: Option<Port>) -> probe::Circumstances {
    let healthcheck = config.healthcheck();
    probe::Circumstances {
        port,
        is_port_shared: false,
        exposed: config.exposed_ports().iter().filter_map(|p| p.parse().ok()).collect(),
        healthcheck: healthcheck.map(|h| probe::HealthcheckCommand { argv: h.command, timeout: h.timeout }),
        executables: command.and_then(|c| ImagePath::parse(c).ok()).into_iter().collect(),
    }
}

/// The result of a command that is its own probe.
fn own_probe(
    exit: Option<Exit>,
    settings: &Settings,
    stdout: &Stream,
    stderr: &Stream,
    elsewhere: Option<String>,
) -> ProbeResult {
    let (answer, failure) = match exit {
        None if elsewhere.is_some() => (Answer::None, elsewhere),
        None => {
            let seconds = settings.timeout.as_secs_f32();
            let hint = "hint: give it longer (--timeout), a probe (--exec, --probe) or none (--no-probe)";
            (Answer::None, Some(format!("it neither ended nor listened on a port within {seconds} s\n{hint}")))
        }
        Some(exit) => {
            let answer = Answer::Exit {
                code: exit.code(),
                stdout_digest: stdout.digest,
                stdout_bytes: stdout.bytes,
                stderr_digest: stderr.digest,
                stderr_bytes: stderr.bytes,
            };
            let failure = (exit.code() != settings.expect_exit)
                .then(|| format!("it ended with {exit}, expected exit code {}", settings.expect_exit));
            (answer, failure)
        }
    };
    ProbeResult { name: OWN_PROBE.into(), answer, failure, ignore: Vec::new() }
}
