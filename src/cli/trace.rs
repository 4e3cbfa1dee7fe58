//! `scrimp trace`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::args::{Format, TraceArgs};
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::pipeline;

/// Runs and probes, and writes down what was used.
pub fn run(context: &Context, args: TraceArgs) -> Result<ExitCode> {
    let input = settings::input(&settings::source(args.source)?, args.run.platform.as_deref())?;
    let trials = settings::trials(&args.run, &args.probe, &input, args.command)?;
    let Some(output) = args.output else {
        bail!("there is no place for the trace\nhint: name a file, -o FILE, or write trace = \"FILE\" in scrimp.toml");
    };
    let ending = pipeline::trace(&context.enter(&args.run)?, &input, &trials, output)?;
    output::finish(context, Format::Text, ending)
}
