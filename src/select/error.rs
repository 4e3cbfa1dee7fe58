//! Why a selection failed.

use std::fmt;
use std::io;

use crate::base::ImagePath;
use crate::closure::ClosureError;
use crate::image::RootfsError;

/// A selection that cannot be made, or must not be.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The base could not be read.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// A glob of `--keep` or `--drop` is malformed.
    #[error(
        "{pattern:?} is not a glob: {problem}\nhint: * and ? match within one name, ** any number of them, [a-z] and {{a,b}} \
         are alternatives; such a character itself is written with a backslash before it"
    )]
    Pattern {
        /// As the user wrote it.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no package that the user asked for.
    #[error(
        "--keep-package {name}: the base has no package of this name\nhint: names are those of the base's package \
         manager (`dpkg -l`, `apk info`, `rpm -qa`) or of a language's (`pip list`, `npm ls`)"
    )]
    NoPackage {
        /// As the user wrote it.
        name: String,
    },
    /// There is no program that the user asked for.
    #[error(
        "--keep-exe {name}: the base has no such program\nhint: it is looked for in the directories of the image's \
         PATH, or where an absolute path says, and must be executable"
    )]
    NoProgram {
        /// As the user wrote it.
        name: String,
    },
    /// There is no locale that the user asked for.
    #[error(
        "--keep-locale {name}: the base has no such locale\nhint: `locale -a` in the base lists those it has; a base \
         gets others by `localedef` or packages such as locales-all"
    )]
    NoLocale {
        /// As the user wrote it.
        name: String,
    },
    /// What the image must have could not be found out.
    #[error(transparent)]
    Closure(#[from] ClosureError),
    /// A file could be opened and not be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: ImagePath,
        /// Why not.
        cause: io::Error,
    },
    /// Rules drop what the application was seen to use.
    #[error(
        "rules drop {} that the application used:{}\nhint: narrow the pattern, or pass --force-drop to leave them out \
         all the same",
        Counted(.paths.len()),
        Listed(.paths)
    )]
    DropContradicted {
        /// The paths, in order.
        paths: Vec<ImagePath>,
    },
    /// The base has nothing where the trace found something.
    #[error(
        "the base lacks {} that the trace says the application used:{}\nhint: run `scrimp trace` again on this source",
        Counted(.paths.len()),
        Listed(.paths)
    )]
    Missing {
        /// The paths, in order.
        paths: Vec<ImagePath>,
    },
    /// This user may not read files that the image is to have.
    #[error(
        "{} that the image is to have cannot be read by this user:{}\nhint: run scrimp as root, or leave them out with \
         --drop (what the application used also needs --force-drop)",
        Counted(.unreadable.len()),
        Listed(.unreadable)
    )]
    Unreadable {
        /// The files, each with the cause, in the order of the paths.
        unreadable: Vec<Unreadable>,
    },
    /// Files of the base are no longer what they were when they were traced.
    #[error(
        "{} changed since the trace was made:{}\nhint: run `scrimp trace` again",
        Counted(.changes.len()),
        Listed(.changes)
    )]
    Changed {
        /// What changed, in the order of the paths.
        changes: Vec<Change>,
    },
}

/// One file that this user may not read.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file.
    pub path: ImagePath,
    /// What the system says.
    pub cause: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.cause)
    }
}

/// One file that is not what it was when it was traced.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub path: ImagePath,
    /// How it differs: `its size was 3 and is 4`.
    pub difference: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.difference)
    }
}

struct Counted(usize);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { "path" } else { "paths" })
    }
}

struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        for item in self.0.iter().take(SHOWN) {
            write!(f, "\n  {item}")?;
        }
        match self.0.len().checked_sub(SHOWN) {
            Some(more @ 1..) => write!(f, "\n  and {more} more"),
            _ => Ok(()),
        }
    }
}
