//! The command line: arguments become settings, errors become messages and exit codes.

mod args;
mod build;
mod doctor;
mod inspect;
mod interrupt;
mod output;
mod project;
mod services;
mod settings;
mod slim;
mod terminal;
mod trace;
mod values;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use args::{Cli, Command};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::pipeline::PipelineError;

/// It ran, and a gate failed.
const EXIT_GATE: u8 = 1;
/// Usage, configuration or environment.
const EXIT_BROKEN: u8 = 2;

/// Parses the arguments and does what they say.
pub fn run() -> ExitCode {
    let done = match project::parse(std::env::args_os().collect()) {
        Ok(cli) => {
            terminal::choose_color(cli.color);
            dispatch(cli)
        }
        Err(cause) => match cause.downcast::<clap::Error>() {
            // Help and version are answers, not errors; clap prints each where it belongs and knows the code.
            Ok(answer) => with_tip(answer).exit(),
            Err(cause) => Err(cause),
        },
    };
    match done {
        Ok(code) => code,
        Err(cause) => {
            terminal::say(terminal::Kind::Error, format_args!("{}", message(&cause)));
            ExitCode::from(exit_code(&cause))
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    let moves = !cli.quiet && !cli.no_progress && terminal::can_move();
    let context = settings::Context { store: cli.store, quiet: cli.quiet, moves };
    match cli.command {
        Command::Slim(args) => slim::run(&context, *args),
        Command::Trace(args) => trace::run(&context, args),
        Command::Build(args) => build::run(&context, args),
        Command::Verify(args) => verify::run(&context, args),
        Command::Inspect(args) => inspect::run(&context, args),
        Command::Doctor(args) => doctor::run(&context, args),
    }
}

/// A tip for those who write the command behind the image, as for podman.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let takes_command = error.get(ContextKind::Usage).is_some_and(|usage| usage.to_string().contains("-- <COMMAND>"));
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && takes_command
        && !word.starts_with('-')
    {
        let tip = format!("a command goes behind two dashes: -- {word}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// What was published before an error is there, so that is not the same as nothing done.
fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<PipelineError>() {
        Some(error) if error.is_half_published() => EXIT_GATE,
        _ => EXIT_BROKEN,
    }
}

/// An error with its causes, as far as it does not name them itself; what to do about it comes last.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut hints = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) || hints.contains(&cause) {
            continue;
        }
        let (what, hint) = cause.split_at(cause.find("\nhint: ").unwrap_or(cause.len()));
        if !text.is_empty() && !text.contains(what) {
            text.push_str(": ");
        }
        if !text.contains(what) {
            text.push_str(what);
        }
        if !hints.contains(hint) {
            hints.push_str(hint);
        }
    }
    text + &hints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::{AssembleError, Destination};

    #[test]
    fn hints_come_last() {
        let cause = anyhow::anyhow!("no such file").context("cannot find it\nhint: give one with -w");
        assert_eq!(message(&cause), "cannot find it: no such file\nhint: give one with -w");
        let cause = anyhow::anyhow!("not a signal\nhint: SIGTERM").context("-x \"y\"");
        assert_eq!(message(&cause), "-x \"y\": not a signal\nhint: SIGTERM");
        let cause = anyhow::anyhow!("not a signal\nhint: SIGTERM").context("the image: not a signal\nhint: SIGTERM");
        assert_eq!(message(&cause), "the image: not a signal\nhint: SIGTERM");
    }

    #[test]
    fn a_command_without_dashes_is_told_where_to_go() {
        let tip = |words: &[&str]| {
            let words = ["scrimp"].iter().chain(words);
            with_tip(<Cli as clap::Parser>::try_parse_from(words).unwrap_err()).to_string()
        };
        for command in ["slim", "trace"] {
            let text = tip(&[command, "oci:a", "nginx", "-g", "x"]);
            assert!(text.contains("tip: a command goes behind two dashes: -- nginx"), "{text}");
        }
        for words in [&["inspect", "oci:a", "nginx"][..], &["slim", "oci:a", "--nginx"], &["nginx"]] {
            assert!(!tip(words).contains("two dashes"), "{words:?}");
        }
    }

    #[test]
    fn what_failed_after_something_was_published_is_no_usage_error() {
        let destination: Destination = "oci:out".parse().unwrap();
        let cause = AssembleError::NoDigest(crate::base::ImagePath::root());
        let half = PipelineError::HalfPublished { published: vec![destination.to_string()], cause: cause.to_string() };
        assert_eq!(exit_code(&half.into()), EXIT_GATE);
        assert_eq!(exit_code(&PipelineError::NoStore.into()), EXIT_BROKEN);
    }
}
