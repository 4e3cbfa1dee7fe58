//! What happens in a sandbox that is ready: the application starts, is exercised, and stops.

use std::io;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use crate::observation::{Redactor, Transcript};
use crate::probe::Target;
use crate::sandbox::{ProcessSpec, Sandbox};
use crate::session::application::Application;
use crate::session::examine::{Examination, Examined};
use crate::session::output::{EDGE, Stream, capture};
use crate::session::owners;
use crate::session::{Exercise, Script, SessionError, Settings, StopSignal, Subject};
use crate::tracer::{self, Tracer, Tree};

/// How much of the application's last output is kept for messages, in bytes per stream.
pub const OUTPUT_KEPT: usize = 4096;
/// How long the readers of the application's output may take to get to its end, once nobody is left who writes.
const OUTPUT_GRACE: Duration = Duration::from_secs(10);

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
            let examination = Examination {
                config: self.subject.config,
                settings,
                command: command.as_deref(),
                redactor: &self.redactor,
            };
            let examined = examination.make(&application, exercise);
            let ended_by_itself = application.exited();
            let stopped = application.stop(self.stop_signal, settings.stop_timeout);
            // Whatever happened, everything has to end, and with it the tracer's events.
            self.sandbox.finish();
            let examined = examined?;
            let (stdout, stderr) = captured.collect(OUTPUT_GRACE);
            let Examined { transcript, script, notes } = examined.with_end(ended_by_itself, settings, &stdout, &stderr);
            let mut warnings = notes;
            warnings.extend(stopped.map_err(|cause| system("stop the application", cause))?);
            if spawned.groups_kept {
                warnings.push("the groups are the caller's: without subordinate ids no others can be set".into());
            }
            let gaps = spawned.no_new_privs.then(|| "no_new_privs".to_owned()).into_iter().collect();
            let redactor = script.redactor(&self.redactor);
            let last_output = last_output(&stdout, &stderr, &redactor);
            Ok(Played { transcript, script, warnings, gaps, last_output, redactor })
        })
    }
}

/// The end of what an application wrote, as text without secrets.
pub fn last_output(stdout: &Stream, stderr: &Stream, redactor: &Redactor) -> String {
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
