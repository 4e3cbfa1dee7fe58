//! `scrimp inspect`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;

use crate::base::ImagePath;
use crate::cli::args::InspectArgs;
use crate::cli::settings::{self, Context};
use crate::report::{Contents, write_contents};
use crate::select;

/// Shows what is in an image.
pub fn run(context: &Context, args: InspectArgs) -> Result<ExitCode> {
    let input = settings::input(&args.source, args.platform.as_deref())?;
    let base = context.enter()?.open(&input.source, input.platform.as_ref())?;
    let mut contents = Contents::new(&base.config, base.digest);
    select::walk(&base.rootfs, &ImagePath::root(), &mut |path, entry| {
        contents.add(path, entry);
        Ok(())
    })?;
    let mut out = io::stdout().lock();
    write_contents(&mut out, &args.source, &contents, args.top)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
