//! How a command ends: the report, the warnings, the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;

use crate::cli::EXIT_GATE;
use crate::cli::args::Format;
use crate::cli::settings::Context;
use crate::pipeline::Ending;
use crate::report::{write_json, write_text};

/// Prints what a command came to: the report to standard output, warnings and failures to standard error.
pub fn finish(context: &Context, format: Format, ending: Ending) -> Result<ExitCode> {
    if !context.quiet {
        for warning in &ending.summary.warnings {
            anstream::eprintln!("warning: {warning}");
        }
    }
    for failure in &ending.failures {
        anstream::eprintln!("failed: {failure}");
    }
    let failed = !ending.failures.is_empty();
    let mut out = io::stdout().lock();
    match format {
        Format::Json => write_json(&mut out, &ending.summary)?,
        Format::Text if context.quiet => {}
        Format::Text => write_text(&mut out, &ending.summary)?,
    }
    out.flush()?;
    if failed {
        anstream::eprintln!("error: a probe or the verification failed; nothing was written");
        return Ok(ExitCode::from(EXIT_GATE));
    }
    Ok(ExitCode::SUCCESS)
}
