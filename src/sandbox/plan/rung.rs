//! The steps of the ladder: what each is, and what it keeps an application from.

use serde::{Deserialize, Serialize};

/// Which step of the ladder a plan stands on, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rung {
    /// All namespaces; what the application writes goes to a directory.
    A,
    /// All namespaces; what the application writes goes to memory.
    B,
    /// No PID namespace: the `/proc` and `/sys` that are there are bound.
    C,
    /// No namespaces: a copy of the base and `chroot`.
    D,
    /// In place: the host itself, traced and nothing else.
    E,
}

impl Rung {
    /// All, the best first.
    pub const ALL: [Rung; 5] = [Rung::A, Rung::B, Rung::C, Rung::D, Rung::E];

    /// What it is, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Rung::A => "namespaces; what the application writes goes to disk",
            Rung::B => "namespaces; what the application writes goes to memory",
            Rung::C => "namespaces, but process ids and /proc shared with the caller",
            Rung::D => "a copy of the files and chroot; processes and network shared with the caller",
            Rung::E => "in place, nothing but traced",
        }
    }

    /// What it keeps the application from, and what not, for people.
    pub fn promise(self) -> &'static str {
        match self {
            Rung::A | Rung::B => "The application reaches nothing outside: no process, no file, no network",
            Rung::C => {
                "It reaches no file and no network outside, but it sees the caller's processes in /proc, and without \
                 Landlock of Linux 6.12 it may signal them"
            }
            Rung::D => {
                "It does not change the caller's files, but shares processes and network, and root can leave a chroot: \
                 for images that are trusted as much as a build step"
            }
            Rung::E => "Nothing is kept from it: it runs as if it had been started by hand, and changes real files",
        }
    }

    /// Whether the application is process 1 of a PID namespace.
    pub fn has_pid_namespace(self) -> bool {
        matches!(self, Rung::A | Rung::B)
    }

    /// Whether there is a mount namespace, and a network namespace when one is wanted.
    pub fn has_namespaces(self) -> bool {
        matches!(self, Rung::A | Rung::B | Rung::C)
    }
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Rung::A => "a",
            Rung::B => "b",
            Rung::C => "c",
            Rung::D => "d",
            Rung::E => "e",
        })
    }
}

impl std::str::FromStr for Rung {
    type Err = UnknownRung;

    fn from_str(text: &str) -> Result<Self, UnknownRung> {
        Self::ALL.into_iter().find(|rung| rung.to_string() == text).ok_or_else(|| UnknownRung(text.into()))
    }
}

/// A text that names no rung.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no sandbox {0:?}\nhint: a, b, c, d or e; `scrimp doctor` says which this machine allows")]
pub struct UnknownRung(pub String);
