//! `scrimp trace`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::args::{Format, TraceArgs};
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::pipeline;

/// Runs and probes, and writes down what was used.
pub fn run(context: &Context, args: TraceArgs) -> Result<ExitCode> {
    let input = settings::input(&args.source, args.run.platform.as_deref())?;
    let trial = settings::trial(&args.run, &args.probe, &input, args.command)?;
    let ending = pipeline::trace(&context.enter(&args.run)?, &input, &trial, args.output)?;
    output::finish(context, Format::Text, ending)
}
