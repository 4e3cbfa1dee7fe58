//! How an application is run and exercised: once, or in several ways whose union counts.

use crate::image::{Base, ImageConfig};
use crate::observation::{MergeError, Observation, Overrides};
use crate::pipeline::clock::Clock;
use crate::pipeline::exercise;
use crate::pipeline::make::Proof;
use crate::pipeline::{Environment, PipelineError};
use crate::probe::{Exercisers, Spec};
use crate::session::{self, Choice, Exercise, Run, Settings, Subject};

/// How an application is run and exercised.
pub struct Trial {
    /// How it is run.
    pub run: Settings,
    /// How it is exercised.
    pub probes: Choice,
    /// What exercises its interpreters besides.
    pub exercisers: Exercisers,
}

/// One of several trials.
pub struct NamedTrial {
    /// How the user calls it.
    pub name: String,
    /// Whether the result is to be started so.
    pub is_default: bool,
    /// How it is run and exercised.
    pub trial: Trial,
}

/// All ways in which an application is run.
pub enum Trials {
    /// One, and the result is started so.
    One(Box<Trial>),
    /// Several. The result is started as the one that is the default, else as the base is with `image`.
    Several {
        /// In the order in which they run.
        runs: Vec<NamedTrial>,
        /// What replaces parts of the config where no run is the default.
        image: Overrides,
    },
}

/// What came of them, on the base.
pub struct Tried<'a> {
    base: &'a Base,
    trials: &'a Trials,
    runs: Vec<(Option<&'a str>, Settings, Run)>,
}

impl Trials {
    /// A probe of the user's that only asks (`keep = false`), by its name.
    pub fn observer(&self) -> Option<String> {
        let trials: Vec<&Trial> = match self {
            Trials::One(trial) => vec![trial],
            Trials::Several { runs, .. } => runs.iter().map(|run| &run.trial).collect(),
        };
        trials.into_iter().find_map(|trial| match &trial.probes {
            Choice::Probes { specs, .. } => specs.iter().find_map(Spec::observer),
            Choice::Nothing => None,
        })
    }

    /// Runs the base in all ways.
    pub fn observe<'a>(
        &'a self,
        environment: &Environment,
        base: &'a Base,
        clock: &mut Clock,
    ) -> Result<Tried<'a>, PipelineError> {
        let mut runs = Vec::new();
        let mut observe = |name: Option<&'a str>, trial: &Trial, settings: Settings| -> Result<(), PipelineError> {
            let probes = Exercise::Choose(&trial.probes);
            let subject = Subject::of(base);
            let mut run = clock.time("trace", || session::run(environment.place(), &subject, &settings, probes))?;
            let assignments = exercise::assignments(environment, &subject, &settings, &trial.exercisers, &run)?;
            if !assignments.is_empty() {
                clock.time("exercise", || exercise::exercise(environment, &subject, &settings, assignments, &mut run));
            }
            runs.push((name, settings, run));
            Ok(())
        };
        match self {
            Trials::One(trial) => observe(None, trial, trial.run.clone())?,
            Trials::Several { runs, .. } => {
                for NamedTrial { name, trial, .. } in runs {
                    observe(Some(name), trial, explicit(&trial.run, &base.config))?;
                }
            }
        }
        Ok(Tried { base, trials: self, runs })
    }
}

impl Tried<'_> {
    /// All that was seen.
    ///
    /// # Errors
    /// When the base has changed between two runs.
    pub fn observation(&self) -> Result<Observation, MergeError> {
        let Trials::Several { runs, image } = self.trials else {
            return Observation::union(self.runs.iter().map(|(.., run)| run.observation.clone()).collect());
        };
        let named = self.runs.iter().map(|(name, _, run)| (name.unwrap_or_default().into(), run.observation.clone()));
        let default = runs.iter().position(|run| run.is_default);
        let (command, overrides) = match default {
            Some(at) => {
                let header = &self.runs[at].2.observation.header;
                let set_env = image.set_env.clone();
                // As the user has it, not with what the image says already.
                let given = &runs[at].trial.run.overrides;
                let absolute = self.base.digest.is_none();
                let shown = if absolute { &header.overrides } else { given };
                (header.command.clone(), Overrides { set_env, ..shown.clone() })
            }
            None => (own_command(self.base, image), image.clone()),
        };
        let mut observation = Observation::of_runs(named.collect(), command, overrides)?;
        let is_tried = self.runs.iter().any(|(.., run)| run.observation.header.command == observation.header.command);
        if !is_tried {
            let command = observation.header.command.join(" ");
            let what = if command.is_empty() {
                "has no command of its own".into()
            } else {
                format!("starts {command}, which no run did")
            };
            let hint = "hint: give a run without a command (--run NAME=), or one default = true in scrimp.toml";
            observation.header.warnings.push(format!("the image {what}\n{hint}"));
        }
        Ok(observation)
    }

    /// Why it is not worth while to go on; empty when it is.
    pub fn failures(&self) -> Vec<String> {
        let named = |(name, _, run): &(Option<&str>, Settings, Run)| -> Vec<String> {
            let failures = run.failures().into_iter();
            failures.map(|failure| name.map_or(failure.clone(), |name| format!("{name}/{failure}"))).collect()
        };
        self.runs.iter().flat_map(named).collect()
    }

    /// The same once more, for the small image.
    pub fn proofs(&self) -> Vec<Proof<'_>> {
        self.runs.iter().map(|(name, settings, traced)| Proof { name: *name, settings, traced }).collect()
    }
}

/// The same run whatever the config says: what the settings leave to the base's config is taken from there.
pub(super) fn explicit(settings: &Settings, config: &ImageConfig) -> Settings {
    let given = &settings.overrides;
    let (entrypoint, cmd) = given.words(config.entrypoint(), config.cmd());
    let overrides = Overrides {
        entrypoint: Some(entrypoint),
        cmd: Some(cmd),
        user: Some(given.user.as_deref().or(config.user()).unwrap_or_default().to_owned()),
        working_dir: Some(given.working_dir.as_deref().or(config.working_dir()).unwrap_or("/").to_owned()),
        set_env: given.set_env.clone(),
    };
    Settings { overrides, ..settings.clone() }
}

/// What the image starts by itself, with these parts of its config replaced.
fn own_command(base: &Base, image: &Overrides) -> Vec<String> {
    let (entrypoint, cmd) = image.words(base.config.entrypoint(), base.config.cmd());
    let words = entrypoint.into_iter().chain(cmd);
    words.map(|word| crate::base::escape_bytes(word.as_bytes()).into_owned()).collect()
}
