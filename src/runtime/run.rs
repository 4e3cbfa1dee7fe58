//! One run in a runtime: an image and probes in, what was answered out.

use std::thread;
use std::time::Duration;

use crate::image::Store;
use crate::observation::{Redactor, Transcript};
use crate::probe::Target;
use crate::runtime::container::Container;
use crate::runtime::error::system;
use crate::runtime::{Engine, Image, RuntimeError};
use crate::session::{
    self, EDGE, Examination, Examined, Exercise, Launch, OUTPUT_KEPT, Script, Settings, StopSignal, capture,
    last_output,
};

/// How long the readers of the application's output may take to get to its end, once nobody is left who writes.
const OUTPUT_GRACE: Duration = Duration::from_secs(10);

/// What came of a run.
pub struct Answered {
    /// What was started.
    pub command: Vec<String>,
    /// What the probes were answered; secrets are taken out.
    pub transcript: Transcript,
    /// How the application was exercised, to do the same again.
    pub script: Script,
    /// What deserves attention.
    pub warnings: Vec<String>,
    /// The end of what the application wrote; secrets are taken out.
    pub last_output: String,
}

impl Answered {
    /// The probes that failed, each with why, and then what the application said last; empty when none failed.
    pub fn failures(&self) -> Vec<String> {
        session::failures(&self.transcript, None, &self.last_output)
    }

    /// The same exercise once more.
    pub fn replay(&self) -> Exercise<'_> {
        Exercise::Replay(&self.script)
    }
}

/// Starts a container of `image`, exercises what runs there, stops and removes it. A probe that fails is no error: it
/// is in the transcript.
pub fn run(
    engine: &Engine,
    image: &Image<'_>,
    settings: &Settings,
    exercise: Exercise<'_>,
    store: &Store,
) -> Result<Answered, RuntimeError> {
    let launch = Launch::new(&image.config, &settings.overrides, &settings.env, &image.reference)?;
    let stop_signal = match settings.stop_signal {
        Some(signal) => signal,
        None => launch.stop_signal.parse::<StopSignal>()?,
    };
    let redactor = Redactor::of_variables(&settings.env);
    let container = Container::create(engine, image, settings, store)?;
    let (stdio, captured) = capture(OUTPUT_KEPT + EDGE).map_err(system("make pipes for the application's output"))?;
    let client = container.start(stdio)?;
    let command = launch.argv.first().map(|word| word.clone().into_bytes());
    let examination = Examination { config: &image.config, settings, command: command.as_deref(), redactor: &redactor };
    let (examined, exit, stopped) = thread::scope(|scope| {
        // The scope waits for the thread, and the thread for the end of the container, whatever happens here.
        let _gone = Gone(&container);
        scope.spawn(|| container.follow(client));
        let examined = container.find().and_then(|()| Ok(examination.make(&container, exercise)?));
        let exit = container.exited();
        let stopped = container.stop(stop_signal, settings.stop_timeout);
        let removed = container.remove();
        (examined, exit, stopped.and_then(|warning| removed.map(|()| warning)))
    });
    let (stdout, stderr) = captured.collect(OUTPUT_GRACE);
    // Why it did not even start comes before what follows from that.
    container.check(&stderr.tail)?;
    let (examined, stopped) = (examined?, stopped?);
    let Examined { mut transcript, script, notes } = examined.with_end(exit, settings, &stdout, &stderr);
    let redactor = script.redactor(&redactor);
    redactor.transcript(&mut transcript);
    let last_output = last_output(&stdout, &stderr, &redactor);
    let warnings = notes.into_iter().chain(stopped).collect();
    Ok(Answered { command: launch.command(), transcript, script, warnings, last_output })
}

/// Removes a container when it goes out of scope; that it has been removed before is no matter.
struct Gone<'a>(&'a Container<'a>);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is tried once more when scrimp ends.
        drop(self.0.remove());
    }
}
