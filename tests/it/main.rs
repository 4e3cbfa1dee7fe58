//! Tests of the whole: the real sandbox, the real tracer, and programs of others for the results.
// clippy.toml allows it in test functions only, not in what they call.
#![allow(clippy::unwrap_used)]

mod architecture;
mod assemble;
mod determinism;
mod formats;
mod image;
mod layers;
mod select;
mod slim;
mod support;
mod support_works;
mod tracer;
mod trees;
