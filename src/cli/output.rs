//! How a command ends: the report, the warnings, the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use nix::sys::stat::fstat;

use crate::cli::EXIT_GATE;
use crate::cli::args::Format;
use crate::cli::settings::Context;
use crate::cli::terminal::{Kind, clear, printable, say};
use crate::pipeline::Ending;
use crate::report::{VerificationStatus, write_json, write_text};

/// Prints what a command came to: the report to standard output, warnings and failures to standard error.
pub fn finish(context: &Context, format: Format, ending: Ending) -> Result<ExitCode> {
    clear();
    if !context.quiet {
        for warning in &ending.summary.warnings {
            say(Kind::Warning, format_args!("{warning}"));
        }
    }
    for failure in &ending.failures {
        say(Kind::Failure, format_args!("{failure}"));
    }
    match format {
        Format::Json => print(|out| write_json(out, &ending.summary))?,
        Format::Text if context.quiet => {}
        Format::Text => print_text(|out| write_text(out, &ending.summary))?,
    }
    if ending.failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let gate = match ending.summary.verify.status {
        VerificationStatus::Failed => "the small image does not answer as its source",
        VerificationStatus::Passed | VerificationStatus::Skipped => "the source does not pass its probes",
    };
    say(Kind::Error, format_args!("{gate}; nothing was written"));
    Ok(ExitCode::from(EXIT_GATE))
}

/// [`print`] for people: what an image calls things does nothing to their terminal.
pub fn print_text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    print(|out| {
        let mut text = Vec::new();
        write(&mut text)?;
        out.write_all(printable(&String::from_utf8_lossy(&text)).as_bytes())
    })
}

/// Writes results to standard output. That its reader went away (`scrimp inspect ... | head`, a terminal that was
/// closed) is no error, and it does not change how the command ends.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = write(&mut out).and_then(|()| out.flush());
    let is_terminal = fstat(&out).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFCHR);
    forgive_nobody(written, is_terminal).context("cannot write to standard output")
}

/// A terminal whose other end is closed says EIO, and no longer that it is a terminal; a character device it still is.
fn forgive_nobody(written: io::Result<()>, is_terminal: bool) -> io::Result<()> {
    match written {
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(cause) if is_terminal && cause.raw_os_error() == Some(libc::EIO) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_went_away_is_forgiven() {
        let gone = || Err(io::Error::from_raw_os_error(libc::EIO));
        assert!(forgive_nobody(Err(io::ErrorKind::BrokenPipe.into()), false).is_ok());
        assert!(forgive_nobody(gone(), true).is_ok());
        assert!(forgive_nobody(gone(), false).is_err(), "a disk that fails");
        assert!(forgive_nobody(Err(io::ErrorKind::StorageFull.into()), true).is_err());
    }
}
