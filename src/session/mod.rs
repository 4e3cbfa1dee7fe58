//! The one place where sandbox, tracer and probes meet: an image and probes in, an [`Observation`] out.

mod application;
mod arrange;
mod command;
mod examine;
mod exercise;
mod keeper;
mod launch;
mod limits;
mod output;
mod owners;
mod record;
mod rest;
mod run;
mod service;
mod services;
mod settings;
mod signal;
mod stage;
mod unmounted;
mod unseen;
mod watch;

pub use application::run_script;
pub use arrange::HOSTNAME;
pub use command::{executables, listeners};
pub use examine::{Examination, Examined};
pub use exercise::{Exercised, assignments, exercise, exercise_again};
pub use keeper::Keeper;
pub use launch::{Launch, LaunchError};
pub use limits::Limits;
pub use output::{EDGE, Stream, capture, capture_whole};
pub use rest::{REST_LOOK, Rest};
pub use run::{Exercise, Place, Run, Script, SessionError, Start, Subject, failures, run};
pub use service::{Service, ServiceError, Until};
pub use settings::{Choice, Settings};
pub use signal::{StopSignal, UnknownSignal};
pub use stage::{OUTPUT_KEPT, last_output};
