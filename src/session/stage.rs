//! What happens in a sandbox that is ready: the application starts, is exercised, and stops.

use std::io;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use crate::base::ImagePath;
use crate::image::ImageConfig;
use crate::observation::{Answer, ProbeResult, Redactor, Transcript};
use crate::probe::{self, Exit, Port, Target};
use crate::sandbox::{ProcessSpec, Sandbox};
use crate::session::application::Application;
use crate::session::output::{EDGE, Stream, capture};
use crate::session::owners;
use crate::session::{Choice, Exercise, Script, SessionError, Settings, Start, StopSignal, Subject};
use crate::tracer::{self, Tracer, Tree};

/// How much of the application's last output is kept for messages, in bytes per stream.
pub(super) const OUTPUT_KEPT: usize = 4096;
/// How long the readers of the application's output may take to get to its end, once nobody is left who writes.
const OUTPUT_GRACE: Duration = Duration::from_secs(10);
/// The name of the probe that a command is of itself.
const OWN_PROBE: &str = "run";

/// A sandbox that is ready, a tracer on it, and what is to happen there.
pub struct Stage<'a> {
    /// Nothing runs in it yet.
    pub sandbox: &'a Sandbox,
    /// It follows all that will run there.
    pub tracer: &'a Tracer,
    /// What is run.
    pub subject: &'a Subject<'a>,
    /// How it is run.
    pub settings: &'a Settings,
    /// What asks it to stop.
    pub stop_signal: StopSignal,
    /// Takes secrets out of messages.
    pub redactor: Redactor,
}

/// What came of it.
pub struct Played {
    /// What the probes were answered.
    pub transcript: Transcript,
    /// How the application was exercised, to do the same again.
    pub script: Script,
    /// What deserves attention.
    pub warnings: Vec<String>,
    /// What could not be as in a container, by name.
    pub gaps: Vec<String>,
    /// The end of what the application wrote; secrets are taken out.
    pub last_output: String,
    /// Takes out all secrets of the run, those of the probes' requests included.
    pub redactor: Redactor,
}

/// What exercising the application came to.
struct Exercised {
    transcript: Transcript,
    script: Script,
    notes: Vec<String>,
    /// Why nothing could be asked although something listens.
    elsewhere: Option<String>,
}

impl Stage<'_> {
    /// Starts the application, exercises it and stops it. When this returns, it and all its children are gone.
    pub fn play(
        &self,
        process: ProcessSpec,
        exercise: Exercise<'_>,
        events: Receiver<tracer::Event>,
    ) -> Result<Played, SessionError> {
        let settings = self.settings;
        let (stdio, captured) = capture(OUTPUT_KEPT + EDGE)
            .map_err(|cause| SessionError::System { operation: "make pipes for the application's output", cause })?;
        self.tracer.next_tree(Tree::Application);
        self.tracer.next_credentials(owners::credentials(&process));
        let spawned = self.sandbox.spawn(&process, stdio)?;
        let command = process.argv.first().cloned();
        let application = Application::new(self.sandbox, self.tracer, process, self.subject.rootfs, spawned.pid)
            .observed_from(self.subject.observed_from);
        thread::scope(|scope| {
            // The scope waits for the thread, and the thread for the end of the sandbox, whatever happens here.
            let _finish = Finish(self.sandbox);
            scope.spawn(|| application.follow(events));
            let exercised = self.exercise(&application, command.as_deref(), exercise);
            let ended_by_itself = application.exited();
            let stopped = application.stop(self.stop_signal, settings.stop_timeout);
            // Whatever happened, everything has to end, and with it the tracer's events.
            self.sandbox.finish();
            let Exercised { mut transcript, script, notes, elsewhere } = exercised?;
            let (stdout, stderr) = captured.collect(OUTPUT_GRACE);
            if let Script::Own = script {
                // What is kept of a stream is its end, and all of it where that is as long as it was.
                for (part, stream) in [("stdout", &stdout), ("stderr", &stderr)] {
                    match stream.tail.len() as u64 == stream.bytes {
                        true => transcript.evidence.keep(OWN_PROBE, part, &[&stream.tail]),
                        false => transcript.evidence.too_long(OWN_PROBE, part),
                    }
                }
                transcript.probes.push(own_probe(ended_by_itself, settings, &stdout, &stderr, elsewhere));
            }
            let mut warnings = notes;
            warnings.extend(stopped.map_err(|cause| system("stop the application", cause))?);
            if spawned.groups_kept {
                warnings.push("the groups are the caller's: without subordinate ids no others can be set".into());
            }
            let gaps = spawned.no_new_privs.then(|| "no_new_privs".to_owned()).into_iter().collect();
            let redactor = match &script {
                Script::Probes(plan) => self.redactor.with(plan.secrets()),
                Script::Own | Script::Start(_) => self.redactor.clone(),
            };
            let last_output = last_output(&stdout, &stderr, &redactor);
            Ok(Played { transcript, script, warnings, gaps, last_output, redactor })
        })
    }

    fn exercise(
        &self,
        application: &Application<'_>,
        command: Option<&[u8]>,
        exercise: Exercise<'_>,
    ) -> Result<Exercised, SessionError> {
        let timeout = self.settings.timeout;
        let plan = match exercise {
            Exercise::Replay(Script::Probes(plan)) => plan.as_ref().clone(),
            Exercise::Replay(Script::Own) => {
                application.wait_end(timeout);
                return Ok(Exercised::without_probes(Script::Own));
            }
            Exercise::Replay(Script::Start(_)) | Exercise::Choose(Choice::Nothing) => {
                let serves = application.wait_serving_or_end(timeout);
                let start = match application.exited() {
                    Some(exit) => Start::Ended(exit.code()),
                    None if serves => Start::Serves,
                    None => Start::Runs,
                };
                return Ok(Exercised::without_probes(Script::Start(start)));
            }
            Exercise::Choose(Choice::Probes { specs, port }) => probe::Plan {
                patience: timeout,
                ..probe::Plan::new(specs.clone(), circumstances(self.subject.config, command, *port))
            },
        };
        let run = probe::run(&plan, application, &self.redactor)?;
        // Where no probe was given, a command that ended by itself was its own; and so is one that never served
        // anything, and that is its failure.
        if run.transcript.probes.is_empty() && run.plan.discover {
            let listens = run.ended.is_none() && !application.listeners().is_empty();
            let elsewhere = run.notes.last().filter(|_| listens).cloned();
            return Ok(Exercised { elsewhere, ..Exercised::without_probes(Script::Own) });
        }
        let script = Script::Probes(Box::new(run.plan));
        Ok(Exercised { transcript: run.transcript, script, notes: run.notes, elsewhere: None })
    }
}

impl Exercised {
    fn without_probes(script: Script) -> Self {
        Exercised { transcript: Transcript::default(), script, notes: Vec::new(), elsewhere: None }
    }
}

/// What an image says about how it wants to be asked.
pub(super) fn circumstances(config: &ImageConfig, command: Option<&[u8]>, port: Option<Port>) -> probe::Circumstances {
    let healthcheck = config.healthcheck();
    probe::Circumstances {
        port,
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

pub(super) fn last_output(stdout: &Stream, stderr: &Stream, redactor: &Redactor) -> String {
    let mut text = stdout.ending(redactor, OUTPUT_KEPT);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&stderr.ending(redactor, OUTPUT_KEPT));
    text.trim_end().to_owned()
}

/// Ends what is in a sandbox when it goes out of scope; that it has ended before is no matter.
struct Finish<'a>(&'a Sandbox);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}

fn system(operation: &'static str, cause: io::Error) -> SessionError {
    SessionError::System { operation, cause }
}
