//! `scrimp slim`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::args::SlimArgs;
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::pipeline::{self, SlimSettings};

/// Everything: an image in, a small image out.
pub fn run(context: &Context, args: SlimArgs) -> Result<ExitCode> {
    let source = settings::source(&args.source)?;
    let (level, rules) = settings::selection(&args.select)?;
    let (outputs, side_files) = settings::outputs(&args.output, args.trace)?;
    let wanted = SlimSettings {
        platform: settings::platform(args.run.platform.as_deref())?,
        run: settings::run(&args.run, &args.probe, &source, args.command)?,
        probes: settings::probes(&args.probe, &args.run)?,
        source,
        level,
        rules,
        verify: !args.no_verify,
        outputs,
        side_files,
        epoch: settings::epoch()?,
    };
    let ending = pipeline::slim(&context.enter()?, wanted)?;
    output::finish(context, args.format, ending)
}
