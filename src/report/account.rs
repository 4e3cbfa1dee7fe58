//! What a selection came to, as part of the summary.

use serde::Serialize;

use crate::base::counted;
use crate::report::{Summary, human_bytes};
use crate::select::{Account, Unused};

/// How many directories a warning names.
const NAMED: usize = 3;
/// How many paths of secrets the summary has.
const SECRETS: usize = 20;

/// The application's own files that the run did not use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ApplicationSummary {
    /// The sum of their lengths, hardlinks once.
    pub bytes: u64,
    /// How many there are, hardlinks once.
    pub files: u64,
    /// The directories of the application.
    pub directories: Vec<String>,
}

/// What the application could see in directories that it listed, and what is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ListedSummary {
    /// How many directories were listed.
    pub directories: u64,
    /// How many of their entries are left out.
    pub entries: u64,
    /// The sum of the lengths of the regular files among them.
    pub bytes: u64,
}

/// Files that only their owner, or a group, may read, that the run did not read, and that are there because a rule
/// wants them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SecretsSummary {
    /// How many there are.
    pub files: u64,
    /// The first of them in order, 20 at most.
    pub paths: Vec<String>,
}

impl SecretsSummary {
    /// What is said of them in one line; `None` when there are none.
    pub(super) fn line(&self) -> Option<String> {
        let named = self.paths.get(..self.paths.len().min(NAMED)).filter(|named| !named.is_empty())?;
        let more = self.files.saturating_sub(named.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!(
            "{}: {}{more} (--drop PATH leaves one out)",
            counted(
                self.files,
                "file is closed to others and was not read",
                "files are closed to others and were not read"
            ),
            named.join(", ")
        ))
    }
}

impl Summary {
    /// Adds what there is to tell of a selection.
    pub fn add_account(&mut self, account: Account) {
        let Account { application, listed, secrets, advice } = account;
        self.application = application.map(|own| ApplicationSummary {
            bytes: own.unused.bytes,
            files: own.unused.files,
            directories: own.directories.iter().map(ToString::to_string).collect(),
        });
        self.warnings.extend(warning(&listed));
        let Unused { directories, entries, bytes, .. } = listed;
        self.listed = Some(ListedSummary { directories, entries, bytes });
        self.secrets = Some(SecretsSummary {
            files: secrets.len() as u64,
            paths: secrets.iter().take(SECRETS).map(ToString::to_string).collect(),
        });
        self.advice.extend(advice);
    }
}

/// The warning of files that no package owns in directories that the application listed.
fn warning(listed: &Unused) -> Option<String> {
    let files: u64 = listed.of_nobody.iter().map(|here| here.files).sum();
    let largest = listed.of_nobody.first()?;
    let named = listed.of_nobody.iter().take(NAMED);
    let named: Vec<String> =
        named.map(|here| format!("{} of {} in {}", here.files, human_bytes(here.bytes), here.directory)).collect();
    let more = listed.of_nobody.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(", and in {more} more") } else { String::new() };
    Some(format!(
        "files that no package owns are left out although the application listed their directories: {files}, the \
         largest {}{more}\nhint: --keep-listed {} keeps what was in it",
        named.join(", "),
        largest.directory
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_the_first_secrets_and_counts_the_others() {
        let line =
            |paths: &[&str], files| SecretsSummary { files, paths: paths.iter().map(|p| (*p).into()).collect() }.line();
        assert_eq!(line(&[], 0), None);
        assert_eq!(
            line(&["/etc/a.key"], 1).unwrap(),
            "1 file is closed to others and was not read: /etc/a.key (--drop PATH leaves one out)"
        );
        assert_eq!(
            line(&["/a", "/b", "/c", "/d"], 30).unwrap(),
            "30 files are closed to others and were not read: /a, /b, /c and 27 more (--drop PATH leaves one out)"
        );
    }
}
