//! How a command ends: the report, the warnings, the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

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
    print(|out| match format {
        Format::Json => write_json(out, &ending.summary),
        Format::Text if context.quiet => Ok(()),
        Format::Text => write_text(out, &ending.summary),
    })?;
    if ending.failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    anstream::eprintln!("error: a probe or the verification failed; nothing was written");
    Ok(ExitCode::from(EXIT_GATE))
}

/// Writes results to standard output. That its reader went away (`scrimp inspect ... | head`) is no error, and it does
/// not change how the command ends.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = write(&mut out).and_then(|()| out.flush());
    forgive_broken_pipe(written).context("cannot write to standard output")
}

fn forgive_broken_pipe(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_went_away_is_forgiven() {
        assert!(forgive_broken_pipe(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(forgive_broken_pipe(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
