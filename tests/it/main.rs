//! Tests of the whole: the real sandbox, the real tracer, and programs of others for the results.
// clippy.toml allows it in test functions only, not in what they call.
#![allow(clippy::unwrap_used)]

mod architecture;
mod assemble;
mod at_once;
mod bad_input;
mod calls;
mod changes;
mod cli;
mod containment;
mod corners;
mod determinism;
mod file_capabilities;
mod formats;
mod hazards;
mod host;
mod identity;
mod image;
mod in_place;
mod kill;
mod layers;
mod limits;
mod listings;
mod matrix;
mod nested;
mod no_room;
mod no_terminal;
mod numbers;
mod own_files;
mod postgres;
mod random_kills;
mod secrets;
mod select;
mod slim;
mod support;
mod support_works;
mod tracer;
mod trees;
mod without_mounts;
