//! Why a path must be in the image.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::value::{Error as WordError, StrDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::{ImagePath, PathError};
use crate::observation::Operation;

/// One reason to keep a path.
///
/// As text (`Display`, serde) it is a word, with what caused it after a colon: `open`, `needed:/usr/sbin/nginx`. An
/// access is the name of its operation; a path is in the text form of [`ImagePath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The application used it.
    Access(Operation),
    /// Only the process tree of an exec probe used it.
    ProbeTool,
    /// Only an exerciser used it: the language of it.
    Exercise(String),
    /// A directory above a kept path, or a link in the place of one.
    Parent,
    /// Where the kept symbolic link at the path points, or a directory link on that way.
    Link(ImagePath),
    /// DT_NEEDED of the ELF file at the path, under the loader's rules.
    Needed(ImagePath),
    /// PT_INTERP of the ELF file, or the `#!` line of the script, at the path.
    Interpreter(ImagePath),
    /// What the ELF file at the path loads while it runs: `.note.dlopen`, libgcc for a thread's end, or what
    /// libpam reads and loads for a log-in.
    Dlopen(ImagePath),
    /// A name service module, or what it reads, asked for by the file at the path.
    Nss(ImagePath),
    /// The source of the bytecode at the path.
    Source(ImagePath),
    /// The directory in which the application made the path.
    Written(ImagePath),
    /// Part of the application's state, which is the directory at the path with all that the base has below it.
    State(ImagePath),
    /// The application's own, because the run used a file of its in the directory at the path.
    Application(ImagePath),
    /// The package of this name has it, and another file of that is kept.
    Package(String),
    /// Part of what a program looks up by name, which is the directory at the path.
    Resource(ImagePath),
    /// A program that the shell script at the path names, or a module that the Perl source there names.
    Script(ImagePath),
    /// What the settings, or the program, at the path name, or the shells promise that the program there starts for people.
    Named(ImagePath),
    /// What HEALTHCHECK runs.
    Healthcheck,
    /// What a container runtime or the loader reads or needs: the user database, home and working directory, volumes,
    /// mount points, `ld.so.cache`.
    Runtime,
    /// The user asked for it with `--keep`.
    Keep,
    /// The user asked for the package with `--keep-package`.
    KeepPackage(String),
    /// The user asked for the program with `--keep-exe`.
    KeepExe(String),
    /// The user asked for a shell with `--keep-shell`.
    KeepShell,
    /// The user asked for the certificates of authorities with `--keep-certs`.
    KeepCerts,
    /// The user asked for time zones with `--keep-zoneinfo`.
    KeepZoneinfo,
    /// The user asked for the locale with `--keep-locale`.
    KeepLocale(String),
    /// The application listed the directory at the path, and the user asked for all that was in it with `--keep-listed`.
    KeepListed(ImagePath),
    /// Verification missed it: what was to be done with it in the small image, and the executable that was to do it.
    Repair(Operation, Option<ImagePath>),
    /// By it scanners know which packages the image has, or it is the licence of one.
    PackageData,
}

/// Why a text is not a [`Reason`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReasonError {
    /// The word is not known.
    #[error("{0:?} is not a reason to keep a file")]
    Unknown(String),
    /// What follows the colon is not a path.
    #[error("the cause in reason {text:?} is not a path: {cause}")]
    Cause {
        /// The whole reason.
        text: String,
        /// What is wrong with it.
        cause: PathError,
    },
}

impl Reason {
    fn word(&self) -> &'static str {
        match self {
            // Its operation says more, see `Display`.
            Reason::Access(_) => "access",
            Reason::ProbeTool => "probe-tool",
            Reason::Exercise(_) => "exercise",
            Reason::Parent => "parent",
            Reason::Link(_) => "link",
            Reason::Needed(_) => "needed",
            Reason::Interpreter(_) => "interpreter",
            Reason::Dlopen(_) => "dlopen",
            Reason::Nss(_) => "nss",
            Reason::Source(_) => "source",
            Reason::Written(_) => "written",
            Reason::State(_) => "state",
            Reason::Application(_) => "application",
            Reason::Package(_) => "package",
            Reason::Resource(_) => "resource",
            Reason::Script(_) => "script",
            Reason::Named(_) => "named",
            Reason::Healthcheck => "healthcheck",
            Reason::Runtime => "runtime",
            Reason::Keep => "keep",
            Reason::KeepPackage(_) => "keep-package",
            Reason::KeepExe(_) => "keep-exe",
            Reason::KeepShell => "keep-shell",
            Reason::KeepCerts => "keep-certs",
            Reason::KeepZoneinfo => "keep-zoneinfo",
            Reason::KeepLocale(_) => "keep-locale",
            Reason::KeepListed(_) => "keep-listed",
            Reason::Repair(..) => "repair",
            Reason::PackageData => "package-data",
        }
    }

    /// What the user or a package manager calls what it is about.
    fn name(&self) -> Option<&str> {
        match self {
            Reason::Package(name) | Reason::KeepPackage(name) | Reason::KeepExe(name) | Reason::KeepLocale(name) => {
                Some(name)
            }
            _ => None,
        }
    }

    /// The kept path that asked for it, or of which it is a part; `None` when no single path did.
    pub fn cause(&self) -> Option<&ImagePath> {
        match self {
            Reason::Link(path)
            | Reason::Needed(path)
            | Reason::Interpreter(path)
            | Reason::Dlopen(path)
            | Reason::Nss(path)
            | Reason::Source(path)
            | Reason::Written(path)
            | Reason::State(path)
            | Reason::Application(path)
            | Reason::KeepListed(path)
            | Reason::Resource(path)
            | Reason::Script(path)
            | Reason::Named(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.cause()) {
            (Reason::Access(operation), _) => operation.fmt(f),
            (Reason::Repair(operation, None), _) => write!(f, "{}:{operation}", self.word()),
            (Reason::Repair(operation, Some(path)), _) => write!(f, "{}:{operation}:{path}", self.word()),
            (Reason::Exercise(language), _) => write!(f, "{}:{language}", self.word()),
            (_, Some(path)) => write!(f, "{}:{path}", self.word()),
            (_, None) => match self.name() {
                Some(name) => write!(f, "{}:{name}", self.word()),
                None => f.write_str(self.word()),
            },
        }
    }
}

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        let unknown = || ReasonError::Unknown(text.into());
        let Some((word, path)) = text.split_once(':') else {
            return Ok(match text {
                "probe-tool" => Reason::ProbeTool,
                "parent" => Reason::Parent,
                "healthcheck" => Reason::Healthcheck,
                "runtime" => Reason::Runtime,
                "keep" => Reason::Keep,
                "keep-shell" => Reason::KeepShell,
                "keep-certs" => Reason::KeepCerts,
                "keep-zoneinfo" => Reason::KeepZoneinfo,
                "package-data" => Reason::PackageData,
                word => Reason::Access(operation(word).ok_or_else(unknown)?),
            });
        };
        let cause =
            |path: &str| ImagePath::from_text(path).map_err(|cause| ReasonError::Cause { text: text.into(), cause });
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
        let reason = match word {
            "exercise" if is_word(path) => return Ok(Reason::Exercise(path.into())),
            "repair" => {
                let (word, path) = path.split_once(':').map_or((path, None), |(word, path)| (word, Some(path)));
                return Ok(Reason::Repair(operation(word).ok_or_else(unknown)?, path.map(cause).transpose()?));
            }
            "link" => Reason::Link,
            "needed" => Reason::Needed,
            "interpreter" => Reason::Interpreter,
            "dlopen" => Reason::Dlopen,
            "nss" => Reason::Nss,
            "source" => Reason::Source,
            "written" => Reason::Written,
            "state" => Reason::State,
            "application" => Reason::Application,
            "keep-listed" => Reason::KeepListed,
            "package" => return Ok(Reason::Package(path.into())),
            "keep-package" => return Ok(Reason::KeepPackage(path.into())),
            "keep-exe" => return Ok(Reason::KeepExe(path.into())),
            "keep-locale" => return Ok(Reason::KeepLocale(path.into())),
            "resource" => Reason::Resource,
            "script" => Reason::Script,
            "named" => Reason::Named,
            _ => return Err(unknown()),
        };
        Ok(reason(cause(path)?))
    }
}

fn operation(word: &str) -> Option<Operation> {
    Operation::deserialize(StrDeserializer::<WordError>::new(word)).ok()
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(bytes: &[u8]) -> ImagePath {
        ImagePath::parse(bytes).unwrap()
    }

    #[test]
    fn every_kind_round_trips_as_text_and_as_json() {
        let cause = path(b"/usr/sbin/nginx");
        for (reason, text) in [
            (Reason::Access(Operation::Open), "open"),
            (Reason::Access(Operation::Access), "access"),
            (Reason::Access(Operation::Link), "link"),
            (Reason::Access(Operation::Traverse), "traverse"),
            (Reason::ProbeTool, "probe-tool"),
            (Reason::Exercise("python".into()), "exercise:python"),
            (Reason::Parent, "parent"),
            (Reason::Link(cause.clone()), "link:/usr/sbin/nginx"),
            (Reason::Needed(cause.clone()), "needed:/usr/sbin/nginx"),
            (Reason::Interpreter(cause.clone()), "interpreter:/usr/sbin/nginx"),
            (Reason::Dlopen(cause.clone()), "dlopen:/usr/sbin/nginx"),
            (Reason::Nss(cause.clone()), "nss:/usr/sbin/nginx"),
            (Reason::Source(cause.clone()), "source:/usr/sbin/nginx"),
            (Reason::Written(cause.clone()), "written:/usr/sbin/nginx"),
            (Reason::State(cause.clone()), "state:/usr/sbin/nginx"),
            (Reason::Resource(cause.clone()), "resource:/usr/sbin/nginx"),
            (Reason::Script(cause.clone()), "script:/usr/sbin/nginx"),
            (Reason::Named(cause.clone()), "named:/usr/sbin/nginx"),
            (Reason::Application(cause.clone()), "application:/usr/sbin/nginx"),
            (Reason::Repair(Operation::Open, Some(cause.clone())), "repair:open:/usr/sbin/nginx"),
            (Reason::Repair(Operation::Mkdir, None), "repair:mkdir"),
            (Reason::KeepListed(cause), "keep-listed:/usr/sbin/nginx"),
            (Reason::Package("libc6:amd64".into()), "package:libc6:amd64"),
            (Reason::KeepPackage("@babel/core".into()), "keep-package:@babel/core"),
            (Reason::KeepExe("/bin/x".into()), "keep-exe:/bin/x"),
            (Reason::KeepLocale("de_DE.UTF-8".into()), "keep-locale:de_DE.UTF-8"),
            (Reason::KeepShell, "keep-shell"),
            (Reason::KeepCerts, "keep-certs"),
            (Reason::KeepZoneinfo, "keep-zoneinfo"),
            (Reason::Healthcheck, "healthcheck"),
            (Reason::Runtime, "runtime"),
            (Reason::Keep, "keep"),
            (Reason::PackageData, "package-data"),
        ] {
            assert_eq!(reason.to_string(), text);
            assert_eq!(text.parse::<Reason>().unwrap(), reason);
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), reason);
        }
    }

    #[test]
    fn causes_are_escaped_as_paths_are() {
        let reason = Reason::Needed(path(b"/a:b\\c\xff\n"));
        assert_eq!(reason.to_string(), r"needed:/a:b\\c\xff\x0a");
        assert_eq!(reason.to_string().parse::<Reason>().unwrap(), reason);
    }

    #[test]
    fn what_is_no_reason_is_refused() {
        for bad in [
            "",
            "opened",
            "Open",
            "repair",
            "repair:",
            "repair:/x",
            "needed",
            "parent:/x",
            "exercise:",
            "exercise:/x",
            "because:/x",
            ":/x",
        ] {
            assert_eq!(bad.parse::<Reason>(), Err(ReasonError::Unknown(bad.into())), "{bad}");
        }
        for bad in ["needed:", "needed:x", "repair:open:", "repair:open:x", "link:/a/../b", r"link:/\q"] {
            assert!(matches!(bad.parse::<Reason>(), Err(ReasonError::Cause { .. })), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_cause_round_trips(bytes in proptest::collection::vec(1u8..=255, 0..30)) {
            if let Ok(path) = ImagePath::from_relative(&bytes) {
                let reason = Reason::Link(path);
                prop_assert_eq!(reason.to_string().parse::<Reason>().unwrap(), reason);
            }
        }
    }
}
