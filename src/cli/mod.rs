//! The command line: arguments become settings, errors become messages and exit codes.

mod args;
mod build;
mod doctor;
mod inspect;
mod interrupt;
mod output;
mod settings;
mod slim;
mod trace;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use args::{Cli, Command};

/// It ran, and a gate failed.
const EXIT_GATE: u8 = 1;
/// Usage, configuration or environment.
const EXIT_BROKEN: u8 = 2;

/// Parses the arguments and does what they say.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are answers, not errors; clap prints each where it belongs and knows the code.
        Err(answer) => answer.exit(),
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(cause) if is_broken_pipe(&cause) => ExitCode::SUCCESS,
        Err(cause) => {
            anstream::eprintln!("error: {}", message(&cause));
            ExitCode::from(EXIT_BROKEN)
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    let context = settings::Context { store: cli.store, quiet: cli.quiet };
    match cli.command {
        Command::Slim(args) => slim::run(&context, args),
        Command::Trace(args) => trace::run(&context, args),
        Command::Build(args) => build::run(&context, args),
        Command::Verify(args) => verify::run(&context, args),
        Command::Inspect(args) => inspect::run(&context, args),
        Command::Doctor(args) => doctor::run(&context, args),
    }
}

/// An error with its causes, as far as it does not name them itself.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whether the reader of our output went away: `scrimp inspect ... | head` is no error.
fn is_broken_pipe(cause: &anyhow::Error) -> bool {
    let io = cause.chain().find_map(|c| c.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
