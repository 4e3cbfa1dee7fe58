//! `scrimp slim`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::args::SlimArgs;
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::pipeline;

/// Everything: an image in, a small image out.
pub fn run(context: &Context, args: SlimArgs) -> Result<ExitCode> {
    let input = settings::input(&settings::source(args.source)?, args.run.platform.as_deref())?;
    let trials = settings::trials(&args.run, &args.probe, &input, args.command)?;
    let mut order = settings::order(&args.select, &args.output)?;
    order.side_files.trace = args.trace;
    order.measure_source = args.measure_source;
    let ending = pipeline::slim(&context.enter(&args.run)?, &input, &trials, &order, !args.no_verify)?;
    output::finish(context, args.format, ending)
}
