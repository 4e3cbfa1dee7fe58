//! `scrimp build`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::args::BuildArgs;
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::observation::{Observation, read_trace_file};
use crate::pipeline;

/// Assembles an image from traces.
pub fn run(context: &Context, args: BuildArgs) -> Result<ExitCode> {
    let input = settings::input(&settings::source(args.source)?, args.platform.as_deref())?;
    if args.trace.is_empty() {
        bail!("there is no trace to build from\nhint: --trace FILE, which `scrimp trace` has written");
    }
    let mut order = settings::order(&args.select, &args.output)?;
    order.side_files.others.clone_from(&args.trace);
    let traces = args.trace.iter().map(|file| read_trace_file(file)).collect::<Result<_, _>>()?;
    let ending = pipeline::build(&context.enter_for_files()?, &input, &Observation::union(traces)?, &order)?;
    output::finish(context, args.format, ending)
}
