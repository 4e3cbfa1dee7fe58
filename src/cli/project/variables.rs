//! What variables say besides the command line, where the parser does not tell.

use std::ffi::OsString;

use anyhow::anyhow;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ColorChoice, Command};

use super::keys::nearest;
use crate::base::env_vars;

/// Whether the parser's own answers have colours: it has to know before it has parsed.
pub fn color(arguments: &[OsString]) -> ColorChoice {
    let words: Vec<&str> = arguments.iter().map_while(|word| word.to_str().filter(|word| *word != "--")).collect();
    let separate = words.windows(2).filter(|pair| pair[0] == "--color").map(|pair| pair[1]).next_back();
    let joined = words.iter().filter_map(|word| word.strip_prefix("--color=")).next_back();
    // One that is no text is told as a mistake when the settings are read.
    let variable = std::env::var(format!("{}COLOR", env_vars::PREFIX)).ok();
    match separate.or(joined).or(variable.as_deref()) {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// An error of the parser about a value that nobody typed, because a variable has it, with the name of the variable.
pub fn explain(error: clap::Error, definition: &Command, arguments: &[OsString]) -> anyhow::Error {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error.into() };
    let long = flag.trim_start_matches("--").split([' ', '=', '<', '[']).next().unwrap_or_default();
    let all = definition.get_subcommands().flat_map(Command::get_arguments).chain(definition.get_arguments());
    let Some(arg) = all.into_iter().find(|arg| arg.get_long() == Some(long)) else { return error.into() };
    let Some(variable) = arg.get_env().filter(|variable| std::env::var_os(variable).is_some()) else {
        return error.into();
    };
    if is_typed(arg, arguments) {
        return error.into();
    }
    let variable = variable.to_string_lossy();
    let why = match (std::error::Error::source(&error), error.get(ContextKind::ValidValue)) {
        (Some(cause), _) => cause.to_string(),
        (None, Some(ContextValue::Strings(known))) => {
            let near = match error.get(ContextKind::InvalidValue) {
                Some(ContextValue::String(value)) => nearest(value, known.iter().map(String::as_str)),
                _ => None,
            };
            let near = near.map(|near| format!("\nhint: did you mean {near}?")).unwrap_or_default();
            format!("expected one of {}{near}", known.join(", "))
        }
        _ => return error.into(),
    };
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => format!(" = {value:?}"),
        _ => String::new(),
    };
    anyhow!("the variable {variable}{value}: {why}")
}

fn is_typed(arg: &Arg, arguments: &[OsString]) -> bool {
    let words = arguments.iter().map_while(|word| word.to_str().filter(|word| *word != "--"));
    let long = arg.get_long().map(|long| format!("--{long}")).unwrap_or_default();
    let short = arg.get_short().map(|short| format!("-{short}"));
    words.into_iter().any(|word| {
        word == long
            || word.strip_prefix(&long).is_some_and(|rest| rest.starts_with('='))
            || short.as_ref().is_some_and(|short| word.starts_with(short.as_str()) && !word.starts_with("--"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_about_colours_counts() {
        let choice = |words: &[&str]| color(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(choice(&["scrimp", "slim", "--color", "always"]), ColorChoice::Always);
        assert_eq!(choice(&["scrimp", "--color=always", "--color=never", "slim"]), ColorChoice::Never);
        assert_eq!(choice(&["scrimp", "slim", "x", "--", "--color=always"]), ColorChoice::Auto);
    }
}
