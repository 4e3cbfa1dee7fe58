//! `scrimp verify`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::args::VerifyArgs;
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::pipeline::{self, VerifySettings};

/// Runs the same probes on a small image and on its source.
pub fn run(context: &Context, args: VerifyArgs) -> Result<ExitCode> {
    let against = settings::source(&args.against)?;
    let wanted = VerifySettings {
        slim: settings::source(&args.slim)?,
        platform: settings::platform(args.run.platform.as_deref())?,
        run: settings::run(&args.run, &args.probe, &against, args.command)?,
        probes: settings::probes(&args.probe, &args.run)?,
        against,
    };
    let ending = pipeline::verify(&context.enter()?, wanted)?;
    output::finish(context, args.format, ending)
}
