//! Why a path must be in the image.

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
