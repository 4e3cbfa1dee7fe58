//! `scrimp trace`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::args::{Format, TraceArgs};
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::pipeline::{self, TraceSettings};

/// Runs and probes, and writes down what was used.
pub fn run(context: &Context, args: TraceArgs) -> Result<ExitCode> {
    let source = settings::source(&args.source)?;
    let wanted = TraceSettings {
        platform: settings::platform(args.run.platform.as_deref())?,
        run: settings::run(&args.run, &args.probe, &source, args.command)?,
        probes: settings::probes(&args.probe, &args.run)?,
        source,
        output: args.output,
    };
    let ending = pipeline::trace(&context.enter()?, wanted)?;
    output::finish(context, Format::Text, ending)
}
