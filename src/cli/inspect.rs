//! `scrimp inspect`.

use std::process::ExitCode;

use anyhow::Result;

use crate::base::ImagePath;
use crate::cli::args::InspectArgs;
use crate::cli::output;
use crate::cli::settings::{self, Context};
use crate::report::{Contents, write_contents};
use crate::select;

/// Shows what is in an image.
pub fn run(context: &Context, args: InspectArgs) -> Result<ExitCode> {
    let input = settings::input(&args.source, args.platform.as_deref())?;
    let base = context.enter_for_files()?.open(&input.source, input.platform.as_ref())?;
    let mut contents = Contents::new(&base.config, base.digest);
    select::walk(&base.rootfs, &ImagePath::root(), &mut |path, entry| {
        contents.add(path, entry);
        Ok(())
    })?;
    output::print_text(|out| write_contents(out, &args.source, &contents, args.top))?;
    Ok(ExitCode::SUCCESS)
}
