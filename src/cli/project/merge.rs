//! Settings of a file as flags, behind those that were typed.

use std::collections::BTreeSet;
use std::ffi::OsString;

use anyhow::{Result, anyhow};
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches as _, Parser as _};

use crate::cli::args::Cli;
use crate::cli::project::ServiceArgs;
use crate::cli::project::document::{Document, Setting, Value};
use crate::cli::project::keys::{ALL_RUNS, key_of, value_name};
use crate::cli::project::paths::{self, anchored};

/// What was typed, and the file to fill it up from.
pub struct Merge<'a> {
    definition: &'a Command,
    name: &'a str,
    given: &'a ArgMatches,
    arguments: &'a [OsString],
    document: &'a Document,
}

impl<'a> Merge<'a> {
    /// For the command `name` of a built `definition`, which was parsed as `given` from `arguments`.
    pub fn new(
        definition: &'a Command,
        name: &'a str,
        given: &'a ArgMatches,
        arguments: &'a [OsString],
        document: &'a Document,
    ) -> Self {
        Merge { definition, name, given, arguments, document }
    }

    /// The command line with `settings` where it says nothing.
    pub fn parse(&self, settings: &[&Setting]) -> Result<Cli> {
        let Some(command) = self.definition.find_subcommand(self.name) else { return Err(anyhow!("no {}", self.name)) };
        let (mut added, mut words): (Vec<OsString>, Option<&[String]>) = (Vec::new(), None);
        for setting in settings {
            match (setting.key.as_str(), &setting.value) {
                ("source", Value::Texts(texts)) if !self.is_flag(command, "source") => {
                    if !self.is_given("source") && self.takes(command, "source") {
                        added.extend(texts.iter().map(|text| paths::source(text, &self.document.directory).into()));
                    }
                }
                ("command", Value::Texts(texts)) => {
                    let is_given = self.is_given("command") || self.is_given("runs");
                    words = Some(texts).filter(|_| !is_given && self.takes(command, "command")).map(Vec::as_slice);
                }
                _ => {
                    let Some(arg) = self.flag(command, setting) else { continue };
                    if !self.is_ruled_out(command, arg) {
                        added.extend(self.flags(arg, setting));
                    }
                }
            }
        }
        let end = self.arguments.iter().position(|argument| argument == "--").unwrap_or(self.arguments.len());
        let (mut arguments, rest) = (self.arguments[..end].to_vec(), &self.arguments[end..]);
        arguments.extend(added);
        arguments.extend_from_slice(rest);
        if let Some(words) = words {
            arguments.push("--".into());
            arguments.extend(words.iter().map(OsString::from));
        }
        let parsed = self.definition.clone().try_get_matches_from(arguments);
        let parsed = parsed.and_then(|matches| Cli::from_arg_matches(&matches));
        parsed.map_err(|error| self.explain(error, settings))
    }

    /// The settings of a service.
    pub fn parse_service(&self, settings: &[Setting]) -> Result<ServiceArgs> {
        let command = <ServiceArgs as clap::CommandFactory>::command();
        let (mut arguments, mut words) = (Vec::new(), Vec::new());
        for setting in settings {
            let arg = command.get_arguments().find(|arg| arg.get_long() == Some(&setting.key));
            match (setting.key.as_str(), &setting.value, arg) {
                ("command", Value::Texts(texts), _) => words = texts.clone(),
                (_, _, Some(arg)) => arguments.extend(flags(arg, setting, &BTreeSet::new(), &self.document.directory)),
                _ => {}
            }
        }
        arguments.push("--".into());
        arguments.extend(words.into_iter().map(OsString::from));
        ServiceArgs::try_parse_from(arguments)
            .map_err(|error| self.explain(error, &settings.iter().collect::<Vec<_>>()))
    }

    /// The flag of `command` that a setting is the key of.
    fn flag<'c>(&self, command: &'c Command, setting: &Setting) -> Option<&'c Arg> {
        let section = if setting.section == ALL_RUNS { "run" } else { &setting.section };
        let is_it = |arg: &&Arg| {
            key_of(self.name, arg).is_some_and(|key| (key.0.as_str(), key.1.as_str()) == (section, &setting.key))
        };
        command.get_arguments().find(is_it)
    }

    fn is_flag(&self, command: &Command, key: &str) -> bool {
        command.get_arguments().any(|arg| key_of(self.name, arg).is_some_and(|(_, name)| name == key))
    }

    fn takes(&self, command: &Command, id: &str) -> bool {
        command.get_arguments().any(|arg| arg.get_id() == id)
    }

    /// Whether it was typed, or set by a variable.
    fn is_given(&self, id: &str) -> bool {
        let is_known = self.given.try_contains_id(id).unwrap_or(false);
        is_known && matches!(self.given.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    }

    /// Whether what was typed is said already, or speaks against it. Variables of the run are more than one setting.
    fn is_ruled_out(&self, command: &Command, arg: &Arg) -> bool {
        let excludes =
            |a: &Arg, b: &Arg| command.get_arg_conflicts_with(a).iter().any(|other| other.get_id() == b.get_id());
        let is_variables = matches!(arg.get_long(), Some("env" | "set-env"));
        let mut given = command.get_arguments().filter(|other| self.is_given(other.get_id().as_str()));
        given.any(|other| match other.get_id() == arg.get_id() {
            true => !is_variables,
            false => excludes(arg, other) || excludes(other, arg),
        })
    }

    fn flags(&self, arg: &Arg, setting: &Setting) -> Vec<OsString> {
        let id = arg.get_id().as_str();
        let named = match self.is_given(id) {
            true => self.given.get_raw(id).into_iter().flatten().map(|text| name_of(&text.to_string_lossy())).collect(),
            false => BTreeSet::new(),
        };
        flags(arg, setting, &named, &self.document.directory)
    }

    /// An error of the parser about a setting, with its line.
    fn explain(&self, error: clap::Error, settings: &[&Setting]) -> anyhow::Error {
        let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error.into() };
        let long = flag.trim_start_matches("--").split([' ', '=', '<', '[']).next().unwrap_or_default();
        let Some(setting) = settings.iter().find(|setting| setting.key == long) else { return error.into() };
        let value = match error.get(ContextKind::InvalidValue) {
            // What stands in a variable may be a secret, but no value of a variable is refused by the parser.
            Some(ContextValue::String(value)) => format!(" = {value:?}"),
            _ => String::new(),
        };
        let why = match (std::error::Error::source(&error), error.get(ContextKind::ValidValue)) {
            (Some(cause), _) => cause.to_string(),
            (None, Some(ContextValue::Strings(known))) => format!("expected one of {}", known.join(", ")),
            _ => {
                let text = error.to_string();
                text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        };
        anyhow!("{}:{}: {}{value}: {why}", self.document.file, setting.line, setting.key)
    }
}

/// A setting as flags, without the variables that are `named` already.
fn flags(arg: &Arg, setting: &Setting, named: &BTreeSet<String>, directory: &std::path::Path) -> Vec<OsString> {
    let Some(long) = arg.get_long() else { return Vec::new() };
    match &setting.value {
        Value::Switch(false) => Vec::new(),
        Value::Switch(true) => vec![format!("--{long}").into()],
        Value::Texts(words) if long == "entrypoint" => {
            vec![format!("--{long}={}", serde_json::Value::from(words.clone())).into()]
        }
        Value::Texts(texts) => {
            let new = texts.iter().filter(|text| named.is_empty() || !named.contains(&name_of(text)));
            new.map(|text| format!("--{long}={}", anchored(long, value_name(arg), text, directory)).into()).collect()
        }
    }
}

/// The name of `NAME=VALUE`.
fn name_of(text: &str) -> String {
    text.split('=').next().unwrap_or_default().into()
}
