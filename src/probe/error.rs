//! What can be wrong with probes before they run, and with the tool while they run. A probe that fails is no error:
//! it is a result in the transcript.

use std::io;
use std::path::PathBuf;

/// Why probes cannot be used or run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A probe spec is wrong.
    #[error("{file}{}: {message}{}", line_text(*line), hint_text(hint))]
    Spec {
        /// As the user named it.
        file: String,
        /// From 1, where it is known.
        line: Option<usize>,
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A file that a probe needs cannot be read.
    #[error("cannot read {what} {}: {cause}\nhint: {}", path.display(), unreadable(cause))]
    Read {
        /// `the probe spec`, `the request body`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// `--probe` names a spec that is not shipped.
    #[error(
        "there is no probe named {name:?}\nhint: {}shipped are {}; a file is given with a slash or `.toml` in its name",
        near.as_ref().map(|near| format!("did you mean {near}? ")).unwrap_or_default(), known.join(", ")
    )]
    UnknownProbe {
        /// As it was given.
        name: String,
        /// The one that was probably meant.
        near: Option<String>,
        /// The names of the shipped specs.
        known: Vec<String>,
    },
    /// `--http` is wrong.
    #[error("--http {text:?}: {message}\nhint: {hint}")]
    Http {
        /// As it was given.
        text: String,
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// `--exec` is wrong.
    #[error(
        "--exec {text:?}: {message}\nhint: the words are split as a shell does it, but no shell runs them; for one write `sh -c '...'`"
    )]
    Exec {
        /// As it was given.
        text: String,
        /// What is wrong.
        message: String,
    },
    /// A script is none.
    #[error("{place}: {message}\nhint: {hint}")]
    Script {
        /// The option and its value, or the field.
        place: String,
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// Not a port.
    #[error("{text:?} is not a port\nhint: {hint}")]
    Port {
        /// As it was given.
        text: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The tool could not do its part.
    #[error("cannot {operation}: {cause}")]
    Broken {
        /// `enter the network of the sandbox`, ...
        operation: String,
        /// What the system said.
        cause: io::Error,
    },
}

/// What to do about a file that cannot be read.
fn unreadable(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => {
            "a relative path begins in the current directory, and one in a file beside that file; is it misspelt?"
        }
        io::ErrorKind::PermissionDenied => "its owner can let you read it: chmod a+r FILE, and a+x its directories",
        io::ErrorKind::IsADirectory => "it is a directory: give a file in it",
        io::ErrorKind::InvalidData => "it is no text in UTF-8",
        _ => "give a file that can be read",
    }
}

fn line_text(line: Option<usize>) -> String {
    line.map(|line| format!(":{line}")).unwrap_or_default()
}

fn hint_text(hint: &Option<String>) -> String {
    hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}
