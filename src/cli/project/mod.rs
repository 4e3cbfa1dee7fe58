//! `scrimp.toml`, the settings of a project: what a flag or its variable does not say, the file does.
//!
//! Each flag has a key. Which ones there are, and in which section, follows from the definition of the command line, so
//! that no flag is without; what the file says is put behind what was typed, and read by the same parser. What no flag
//! can say (several runs, services with settings of their own) goes into [`Project`].

mod crawl;
mod document;
mod keys;
mod merge;
mod paths;
mod variables;

use std::ffi::OsString;

use anyhow::Result;
use clap::{ArgMatches, FromArgMatches as _, Parser};

pub use keys::definition;

use crate::cli::args::{Cli, Command, ProbeArgs, RunArgs};
use crate::session::Until;
use document::Document;
use keys::{COMMANDS, Keys};
use merge::Merge;

/// What the project file says that no flag does.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// `[[run]]`.
    pub runs: Vec<RunChoice>,
    /// `[[service]]`.
    pub services: Vec<ServiceChoice>,
}

/// One of several ways to start the image.
#[derive(Clone, Debug)]
pub struct RunChoice {
    /// How it is called in what is reported.
    pub name: String,
    /// Whether the image is to be started so.
    pub is_default: bool,
    /// How it is run.
    pub run: RunArgs,
    /// How it is exercised.
    pub probe: ProbeArgs,
    /// What replaces Cmd.
    pub command: Vec<String>,
}

/// A service with settings of its own.
#[derive(Clone, Debug)]
pub struct ServiceChoice {
    /// The host name at which the application reaches it.
    pub name: String,
    /// Where it comes from, unless `--with` says so.
    pub source: Option<String>,
    /// How it is run.
    pub run: RunArgs,
    /// What replaces Cmd.
    pub command: Vec<String>,
    /// When it is as it has to be.
    pub until: Until,
}

/// The settings of a service, as flags.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct ServiceArgs {
    #[command(flatten)]
    run: RunArgs,
    #[arg(last = true)]
    command: Vec<String>,
}

/// Parses the command line, and the project file where there is one.
///
/// # Errors
/// A [`clap::Error`], help and version among them, or what is wrong with the file.
pub fn parse(arguments: Vec<OsString>) -> Result<Cli> {
    let mut command = definition().color(variables::color(&arguments));
    command.build();
    let matches = command.clone().try_get_matches_from(&arguments);
    let matches = matches.map_err(|error| variables::explain(error, &command, &arguments))?;
    let cli = Cli::from_arg_matches(&matches)?;
    let Some((name, given)) = matches.subcommand().filter(|(name, _)| COMMANDS.contains(name)) else { return Ok(cli) };
    let keys = Keys::of(&command);
    let document = Document::find(cli.config.as_deref(), &keys)?;
    let mut cli = match &document {
        None => cli,
        Some(document) => read(&Merge::new(&command, name, given, &arguments, document), document, given)?,
    };
    if let Some((run, probe, _)) = parts(&mut cli.command) {
        let crawls = probe.crawl || probe.no_probe || run.project.runs.iter().any(|run| run.probe.crawl);
        if !crawls {
            crawl::refuse_limits(given, document.as_ref())?;
        }
    }
    Ok(cli)
}

fn read(merge: &Merge<'_>, document: &Document, given: &ArgMatches) -> Result<Cli> {
    let mut cli = merge.parse(&document.settings.iter().collect::<Vec<_>>())?;
    let mut project = Project::default();
    let is_run = |id: &str| given.try_get_raw(id).ok().flatten().is_some();
    if !is_run("runs") && !is_run("command") {
        for run in &document.runs {
            let mut one = merge.parse(&document.settings_of(run))?;
            if let Some((run_args, probe, command)) = parts(&mut one.command) {
                let (name, is_default) = (run.name.clone(), run.is_default);
                let (run, probe) = (run_args.clone(), probe.clone());
                project.runs.push(RunChoice { name, is_default, run, probe, command: std::mem::take(command) });
            }
        }
    }
    for service in &document.services {
        let ServiceArgs { run, command } = merge.parse_service(&service.settings)?;
        let (name, source, until) = (service.name.clone(), service.source.clone(), service.until.clone());
        project.services.push(ServiceChoice { name, source, run, command, until });
    }
    if let Some((run, ..)) = parts(&mut cli.command) {
        run.project = project;
    }
    Ok(cli)
}

/// What says how the application is run, where a command runs it.
fn parts(command: &mut Command) -> Option<(&mut RunArgs, &mut ProbeArgs, &mut Vec<String>)> {
    match command {
        Command::Slim(args) => Some((&mut args.run, &mut args.probe, &mut args.command)),
        Command::Trace(args) => Some((&mut args.run, &mut args.probe, &mut args.command)),
        Command::Verify(args) => Some((&mut args.run, &mut args.probe, &mut args.command)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
