//! `scrimp build`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::args::BuildArgs;
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::observation::{Observation, read_trace_file};
use crate::pipeline::{self, BuildSettings};

/// Assembles an image from traces.
pub fn run(context: &Context, args: BuildArgs) -> Result<ExitCode> {
    let (level, rules) = settings::selection(&args.select)?;
    let (outputs, side_files) = settings::outputs(&args.output, None)?;
    let traces = args.trace.iter().map(|file| read_trace_file(file)).collect::<Result<_, _>>()?;
    let wanted = BuildSettings {
        source: settings::source(&args.source)?,
        platform: settings::platform(args.platform.as_deref())?,
        observation: Observation::union(traces)?,
        level,
        rules,
        outputs,
        side_files,
        epoch: settings::epoch()?,
    };
    let ending = pipeline::build(&context.enter()?, wanted)?;
    output::finish(context, args.format, ending)
}
