//! scrimp makes a minimal container image by watching the application run.
//!
//! The data flows in one direction, one module per step: `image` → `session` (`sandbox` + `tracer` + `probe`) →
//! `observation` → `closure` → `select` → `assemble` → `session` again → `verify`; `runtime` is another place to run
//! images in; `pipeline` holds them together and `cli` is the door.

pub mod assemble;
pub mod base;
pub mod cli;
pub mod closure;
pub mod image;
pub mod observation;
pub mod pipeline;
pub mod probe;
pub mod report;
pub mod runtime;
pub mod sandbox;
pub mod select;
pub mod session;
pub mod tracer;
pub mod verify;
