//! `scrimp build`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::args::BuildArgs;
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::observation::{Observation, read_trace_file};
use crate::pipeline;

/// Assembles an image from traces.
pub fn run(context: &Context, args: BuildArgs) -> Result<ExitCode> {
    let input = settings::input(&args.source, args.platform.as_deref())?;
    let mut order = settings::order(&args.select, &args.output)?;
    order.side_files.others.clone_from(&args.trace);
    let traces = args.trace.iter().map(|file| read_trace_file(file)).collect::<Result<_, _>>()?;
    let ending = pipeline::build(&context.enter_for_files()?, &input, &Observation::union(traces)?, &order)?;
    output::finish(context, args.format, ending)
}
