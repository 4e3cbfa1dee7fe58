//! What went wrong in a helper process, small enough to be sent to scrimp.

use std::fmt;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::base::escape_bytes;

/// One operation that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was attempted, as words that follow "cannot": `mount an overlay on`.
    pub operation: String,
    /// What it was attempted on: a path, or nothing.
    pub subject: String,
    /// The error number (`errno(3)`).
    pub errno: i32,
    /// What the kernel had to add; often nothing.
    pub detail: String,
}

impl Failure {
    /// `operation` on `subject` failed with `errno`.
    pub fn new(operation: &str, subject: impl AsRef<[u8]>, errno: Errno) -> Self {
        Failure {
            operation: operation.into(),
            subject: escape_bytes(subject.as_ref()).into_owned(),
            errno: errno as i32,
            detail: String::new(),
        }
    }

    /// The error number as a name.
    pub fn errno(&self) -> Errno {
        Errno::from_raw(self.errno)
    }
}

/// Failures as sentences: those that differ in nothing but their subject are one.
pub fn sentences(failures: Vec<Failure>) -> Vec<String> {
    let mut merged: Vec<(Failure, Vec<String>)> = Vec::new();
    for failure in failures {
        let kind = Failure { subject: String::new(), ..failure.clone() };
        match merged.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, subjects)) => subjects.push(failure.subject),
            None => merged.push((kind, vec![failure.subject])),
        }
    }
    let sentence = |(kind, subjects): (Failure, Vec<String>)| {
        let subject = match subjects.split_last() {
            Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
            _ => subjects.concat(),
        };
        Failure { subject, ..kind }.to_string()
    };
    merged.into_iter().map(sentence).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)?;
        if !self.subject.is_empty() {
            write!(f, " {}", self.subject)?;
        }
        write!(f, ": {}", self.errno().desc())?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Names the operation of a failed system call.
pub trait During<T> {
    /// Turns an error number into a [`Failure`].
    fn during(self, operation: &str, subject: impl AsRef<[u8]>) -> Result<T, Failure>;
}

impl<T> During<T> for nix::Result<T> {
    fn during(self, operation: &str, subject: impl AsRef<[u8]>) -> Result<T, Failure> {
        self.map_err(|errno| Failure::new(operation, subject, errno))
    }
}

impl<T> During<T> for std::io::Result<T> {
    fn during(self, operation: &str, subject: impl AsRef<[u8]>) -> Result<T, Failure> {
        self.map_err(|cause| {
            let errno = cause.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            Failure::new(operation, subject, errno)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_one_kind_are_one_sentence() {
        let failure = |subject: &str, errno| Failure::new("mount on", subject, errno);
        let failures = ["/a", "/b", "/c"].map(|subject| failure(subject, Errno::EACCES));
        let all: Vec<Failure> = failures.into_iter().chain([failure("/d", Errno::ENOENT)]).collect();
        assert_eq!(
            sentences(all),
            ["cannot mount on /a, /b and /c: Permission denied", "cannot mount on /d: No such file or directory"]
        );
    }
}
