//! Probes: what is done to a running application so that it shows which files it uses, and what it answers.
//!
//! A [`Plan`] says what to do; [`run`] does it to a [`Target`] and returns the transcript, together with the plan in
//! which nothing is left to find out. That plan is what is run on the small image: so both are asked the same, on the
//! same ports, whatever the default behaviour found on the base.
//!
//! One file per kind of probe (`http`, `tcp`, `udp`, `exec`); specs are TOML (`docs/probes.md`), the shipped ones lie
//! in `probes/`. Nothing here knows about tracing, and what requests carry is never in what is returned.

mod arguments;
mod discover;
mod document;
mod error;
mod escapes;
mod exec;
mod expect;
#[cfg(test)]
mod fake;
mod http;
mod neighbour;
mod plan;
mod ready;
mod run;
mod shipped;
mod spec;
mod step;
mod target;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use error::ProbeError;
pub use expect::{BytesExpect, BytesRegex, ExecExpect, HttpExpect, Pattern, StatusSet};
pub use neighbour::{Unready, wait_ready};
pub use plan::{Circumstances, HealthcheckCommand, Plan};
pub use run::{Run, run};
pub use shipped::{shipped, shipped_for, shipped_names};
pub use spec::{DEFAULT_READY_TIMEOUT, Ready, Spec};
pub use step::{Action, DEFAULT_TIMEOUT, ExecStep, HttpStep, Secret, Step, TcpStep, UdpStep};
pub use target::{ExecFailure, ExecOutcome, ExecRequest, Exit, Listener, Port, Protocol, Target};
