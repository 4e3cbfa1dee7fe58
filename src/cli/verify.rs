//! `scrimp verify`.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::cli::args::{Runtime, VerifyArgs};
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::pipeline;
use crate::runtime::{self, Kind};

/// Runs the same probes on a small image and on its source.
pub fn run(context: &Context, args: VerifyArgs) -> Result<ExitCode> {
    if let Some(runtime) = args.runtime {
        runtime::enter_namespace(kind(runtime))?;
    }
    let against = args.against.context(
        "there is nothing to hold it against\nhint: name the image that it was made from, --against SOURCE, or write [image] \
         source in scrimp.toml",
    )?;
    let against = settings::input(&against, args.run.platform.as_deref())?;
    let slim = settings::input(&args.slim, args.run.platform.as_deref())?;
    let trials = settings::trials(&args.run, &args.probe, &against, args.command)?;
    let ending = match args.runtime {
        None => pipeline::verify(&context.enter(&args.run)?, &slim, &against, &trials)?,
        Some(_) if !args.run.project.services.is_empty() || !args.run.with.is_empty() => bail!(
            "services (--with, [[service]]) do not run beside an application with --runtime\nhint: verify without --runtime, or \
             without those services that the probes do not need"
        ),
        Some(runtime) => context.enter_for_runtime(kind(runtime))?.verify(&slim, &against, &trials)?,
    };
    output::finish(context, args.format, ending)
}

fn kind(runtime: Runtime) -> Kind {
    match runtime {
        Runtime::Podman => Kind::Podman,
        Runtime::Docker => Kind::Docker,
    }
}
