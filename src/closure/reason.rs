//! Why a path must be in the image.

use std::fmt;
use std::str::FromStr;

use serde::de::IntoDeserializer;
use serde::{Deserialize, Serialize};

use crate::base::ImagePath;
use crate::observation::Operation;

/// One reason to keep a path. As text it is a word, with what caused it after a colon: `open`, `needed:/usr/sbin/nginx`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The application used it.
    Access(Operation),
    /// Only the process tree of an exec probe used it.
    ProbeTool,
    /// A directory above a kept path.
    Parent,
    /// What the kept symbolic link at the path leads to, or a link on that way.
    Link(ImagePath),
    /// DT_NEEDED of the ELF file at the path, under the loader's rules.
    Needed(ImagePath),
    /// PT_INTERP of the ELF file, or the `#!` line of the script, at the path.
    Interpreter(ImagePath),
    /// `.note.dlopen` of the ELF file at the path.
    Dlopen(ImagePath),
    /// A name service module, or what it reads, asked for by the file at the path.
    Nss(ImagePath),
    /// The source of the bytecode at the path.
    Source(ImagePath),
    /// What HEALTHCHECK runs.
    Healthcheck,
    /// What a container runtime reads or needs: user database, home and working directory, volumes.
    Runtime,
    /// The user asked for it with `--keep`.
    Keep,
    /// Verification missed it.
    Repair,
}

/// A text that names no [`Reason`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a reason")]
pub struct ReasonError(String);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Access(operation) => operation.serialize(f),
            Reason::ProbeTool => f.write_str("probe-tool"),
            Reason::Parent => f.write_str("parent"),
            Reason::Link(path) => write!(f, "link:{path}"),
            Reason::Needed(path) => write!(f, "needed:{path}"),
            Reason::Interpreter(path) => write!(f, "interpreter:{path}"),
            Reason::Dlopen(path) => write!(f, "dlopen:{path}"),
            Reason::Nss(path) => write!(f, "nss:{path}"),
            Reason::Source(path) => write!(f, "source:{path}"),
            Reason::Healthcheck => f.write_str("healthcheck"),
            Reason::Runtime => f.write_str("runtime"),
            Reason::Keep => f.write_str("keep"),
            Reason::Repair => f.write_str("repair"),
        }
    }
}

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        let bad = || ReasonError(text.to_owned());
        if let Some((word, path)) = text.split_once(':') {
            let path = ImagePath::from_text(path).map_err(|_| bad())?;
            return Ok(match word {
                "link" => Reason::Link(path),
                "needed" => Reason::Needed(path),
                "interpreter" => Reason::Interpreter(path),
                "dlopen" => Reason::Dlopen(path),
                "nss" => Reason::Nss(path),
                "source" => Reason::Source(path),
                _ => return Err(bad()),
            });
        }
        Ok(match text {
            "probe-tool" => Reason::ProbeTool,
            "parent" => Reason::Parent,
            "healthcheck" => Reason::Healthcheck,
            "runtime" => Reason::Runtime,
            "keep" => Reason::Keep,
            "repair" => Reason::Repair,
            operation => {
                let operation: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
                    operation.into_deserializer();
                Reason::Access(Operation::deserialize(operation).map_err(|_| bad())?)
            }
        })
    }
}
