//! Probes: what is done to a running application so that it shows which files it uses, and what it answers.
//!
//! A [`Plan`] says what to do; [`run`] does it to a [`Target`] and returns the transcript, together with the plan in
//! which nothing is left to find out. That plan is what is run on the small image: so both are asked the same, on the
//! same ports, whatever the default behaviour found on the base.
//!
//! One file per kind of probe (`http`, `tcp`, `udp`, `exec`, `script`, `crawl`, `openapi`, `websocket`, `grpc`); specs
//! are TOML (`docs/probes.md`), the shipped ones lie in `probes/`. Nothing here knows about tracing, and what requests
//! carry is never in what is returned.

mod arguments;
mod crawl;
mod discover;
mod document;
mod ephemeral;
mod error;
mod escapes;
mod exec;
mod exercise;
mod expand;
mod expect;
#[cfg(test)]
mod fake;
mod forms;
mod grpc;
mod http;
mod json_path;
mod links;
mod neighbour;
mod openapi;
mod plan;
mod ready;
mod run;
mod sample;
mod script;
mod shipped;
mod spec;
mod stable;
mod step;
mod style;
mod target;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod websocket;

pub use crawl::{CrawlStep, DEFAULT_DEPTH, DEFAULT_PAGES};
pub use error::ProbeError;
pub use exercise::{Assignment, Exercisers, ExercisersError, Findings, Item, Language, Report, Supply, assignments};
pub use expect::{BytesExpect, BytesRegex, ExecExpect, GrpcExpect, HttpExpect, Pattern, StatusSet};
pub use grpc::{GrpcCall, GrpcStep};
pub use neighbour::{Unready, wait_ready};
pub use openapi::{OpenapiSource, OpenapiStep};
pub use plan::{Circumstances, HealthcheckCommand, Plan};
pub use run::{Run, run};
pub use script::ScriptStep;
pub use shipped::{shipped, shipped_for, shipped_names};
pub use spec::{DEFAULT_READY_TIMEOUT, Ready, Spec};
pub use step::{Action, DEFAULT_TIMEOUT, Exchange, ExecStep, HttpStep, Secret, Step, TcpStep, UdpStep};
pub use target::{ExecFailure, ExecOutcome, ExecRequest, Exit, Listener, Port, Protocol, ScriptRequest, Target};
pub use websocket::{WebsocketStep, WebsocketTurn};
