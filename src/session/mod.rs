//! The one place where sandbox, tracer and probes meet: an image and probes in, an [`Observation`] out.

mod application;
mod arrange;
mod exercise;
mod keeper;
mod launch;
mod limits;
mod output;
mod owners;
mod record;
mod run;
mod service;
mod services;
mod settings;
mod signal;
mod stage;
mod unmounted;
mod unseen;
mod watch;

pub use exercise::{Exercised, assignments, exercise, exercise_again};
pub use keeper::Keeper;
pub use launch::{Launch, LaunchError};
pub use limits::Limits;
pub use run::{Exercise, Place, Run, Script, SessionError, Start, Subject, run};
pub use service::{Service, ServiceError, Until};
pub use settings::{Choice, Settings};
pub use signal::{StopSignal, UnknownSignal};
