//! Which keys a project file may have: one for each flag, in the section that its heading in the help names.

use std::collections::BTreeMap;

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::base::env_vars;
use crate::cli::args::Cli;

/// The commands whose flags have keys.
pub const COMMANDS: [&str; 4] = ["slim", "trace", "build", "verify"];

/// Flags that are called otherwise in the file: the command, the flag, the key.
const RENAMED: [(&str, &str, &str); 2] = [("trace", "output", "trace"), ("verify", "against", "source")];

/// Flags that only make sense on the command line.
const WITHOUT: [&str; 4] = ["help", "version", "config", "run"];

/// What names a run or a service besides its settings.
pub const OF_RUN: [&str; 3] = ["name", "default", "command"];
/// The same.
pub const OF_SERVICE: [&str; 4] = ["name", "source", "command", "ready"];

/// Flags that make no sense for one service, or not for one of several runs.
const NOT_OF_SERVICE: [&str; 9] = ["with", "run", "set-env", "port", "net", "sandbox", "exact", "memory", "disk-limit"];
const NOT_OF_RUN: [&str; 6] = ["with", "run", "set-env", "net", "sandbox", "platform"];

/// The section of the settings that hold for all of several runs.
pub const ALL_RUNS: &str = "all-runs";

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `true` or `false`.
    Switch,
    /// A text or a number.
    One,
    /// A list, or one of it.
    Many {
        /// Each `NAME=VALUE`, so that a table can be written as well.
        pairs: bool,
    },
    /// A command: a text that is split as a shell does it, or a list of words.
    Command,
}

/// All keys by section. The section of what stands at the top of the file has no name.
#[derive(Debug)]
pub struct Keys(pub BTreeMap<String, BTreeMap<String, Shape>>);

/// The definition of the command line, with a variable for each flag that takes one value or none.
pub fn definition() -> Command {
    let mut command = Cli::command().mut_args(with_variable);
    for name in COMMANDS {
        command = command.mut_subcommand(name, |command| command.mut_args(with_variable));
    }
    command
}

fn with_variable(arg: Arg) -> Arg {
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    let Some(long) = arg.get_long().filter(|_| is_switch || matches!(arg.get_action(), ArgAction::Set)) else {
        return arg;
    };
    if arg.get_env().is_some() {
        return arg;
    }
    let name = format!("{}{}", env_vars::PREFIX, long.to_uppercase().replace('-', "_"));
    let arg = arg.env(name).hide_env(true);
    if is_switch { arg.value_parser(FalseyValueParser::new()) } else { arg }
}

/// The key of a flag of `command`: its section and its name.
pub fn key_of(command: &str, arg: &Arg) -> Option<(String, String)> {
    let long = arg.get_long()?;
    let renamed = RENAMED.iter().find(|(of, flag, _)| *of == command && *flag == long);
    let name = renamed.map_or(long, |(.., key)| key);
    let section = match (name, arg.get_help_heading()) {
        ("source", _) | (_, Some("Output")) => "image".into(),
        (_, None) => String::new(),
        (_, Some("Selection")) => "select".into(),
        (_, Some(heading)) => heading.to_lowercase().replace(' ', "-"),
    };
    (!WITHOUT.contains(&long)).then(|| (section, name.into()))
}

/// How the value of a flag is written.
pub fn shape_of(arg: &Arg) -> Shape {
    match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count => Shape::Switch,
        ArgAction::Append => Shape::Many { pairs: value_name(arg).contains('=') },
        _ => Shape::One,
    }
}

/// What the help calls the value of a flag.
pub fn value_name(arg: &Arg) -> &str {
    arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str())
}

impl Keys {
    /// Those of a built definition.
    pub fn of(definition: &Command) -> Self {
        let mut keys: BTreeMap<String, BTreeMap<String, Shape>> = BTreeMap::new();
        for name in COMMANDS {
            let args = definition.find_subcommand(name).into_iter().flat_map(Command::get_arguments);
            for arg in args {
                if let Some((section, key)) = key_of(name, arg) {
                    let shape = keys.entry(section).or_default().entry(key).or_insert_with(|| shape_of(arg));
                    // `build --trace` takes several, `slim --trace` writes one.
                    if shape_of(arg) == Shape::One {
                        *shape = Shape::One;
                    }
                }
            }
        }
        keys.entry("image".into()).or_default().insert("source".into(), Shape::One);
        let run = keys.entry("run".into()).or_default();
        run.insert("entrypoint".into(), Shape::Command);
        let common = run.clone();
        run.insert("command".into(), Shape::Command);
        keys.insert(ALL_RUNS.into(), common);
        Keys(keys)
    }

    /// Those of one of several runs.
    pub fn of_run(&self) -> BTreeMap<String, Shape> {
        self.of_table(&NOT_OF_RUN)
    }

    /// Those of a service.
    pub fn of_service(&self) -> BTreeMap<String, Shape> {
        let mut keys = self.of_table(&NOT_OF_SERVICE);
        keys.remove("pids-limit");
        keys
    }

    fn of_table(&self, without: &[&str]) -> BTreeMap<String, Shape> {
        let all = self.0.get("run").into_iter().flatten();
        all.filter(|(name, _)| !without.contains(&name.as_str())).map(|(name, shape)| (name.clone(), *shape)).collect()
    }

    /// The section that has a key of this name.
    pub fn section_of(&self, name: &str) -> Option<&str> {
        let mut sections = self.0.iter().filter(|(section, _)| *section != ALL_RUNS);
        sections.find(|(_, keys)| keys.contains_key(name)).map(|(section, _)| section.as_str())
    }
}

/// What was probably meant by `name`.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = known.into_iter().map(|known| (strsim::jaro_winkler(name, known), known));
    close.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
