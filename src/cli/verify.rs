//! `scrimp verify`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::cli::args::VerifyArgs;
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::pipeline;

/// Runs the same probes on a small image and on its source.
pub fn run(context: &Context, args: VerifyArgs) -> Result<ExitCode> {
    let against = args.against.context(
        "there is nothing to hold it against\nhint: name the image that it was made from, --against SOURCE, or write [image] \
         source in scrimp.toml",
    )?;
    let against = settings::input(&against, args.run.platform.as_deref())?;
    let slim = settings::input(&args.slim, args.run.platform.as_deref())?;
    let trials = settings::trials(&args.run, &args.probe, &against, args.command)?;
    let ending = pipeline::verify(&context.enter(&args.run)?, &slim, &against, &trials)?;
    output::finish(context, args.format, ending)
}
