//! What a selection came to, for the summary: what it has beside what was used, what it has not though the application
//! could see it, and what the run gives reason to think about.

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::closure::{Execution, Level, Reason};
use crate::select::listed::{self, Unused};
use crate::select::{Manifest, Scope, SelectError, Totals, advice, secrets};

/// What to tell of a selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The application's own files that are there for no other reason: what level `closure` leaves out. `None` below
    /// level `app`, where nobody looked for them.
    pub application: Option<Application>,
    /// What the application listed and did not use.
    pub listed: Unused,
    /// Files that others may not read, that the run did not read, and that a rule keeps all the same.
    pub secrets: Vec<ImagePath>,
    /// What the run gives reason to do, each a sentence.
    pub advice: Vec<String>,
}

/// The application's own files that are there for no other reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Application {
    /// How many, and how large.
    pub unused: Totals,
    /// The application's directories, also those of which all was used.
    pub directories: Vec<ImagePath>,
}

/// What to tell of `manifest`, which was selected within `scope`.
///
/// # Errors
/// When the base cannot be looked at.
pub fn account(scope: &Scope<'_>, manifest: &Manifest) -> Result<Account, SelectError> {
    let execution = Execution::new(scope.config, scope.observation);
    Ok(Account {
        application: (scope.level >= Level::App).then(|| application(manifest)),
        listed: listed::unused(scope.rootfs, scope.observation, scope.packages, manifest)?,
        secrets: secrets::unread(manifest),
        advice: advice::give(scope, &execution, manifest)?,
    })
}

fn application(manifest: &Manifest) -> Application {
    let is_own = |reason: &Reason| matches!(reason, Reason::Application(_));
    let unused = manifest.entries.iter().filter(|(_, chosen)| chosen.reasons.iter().all(is_own));
    let directories =
        manifest.entries.iter().flat_map(|(_, chosen)| &chosen.reasons).filter_map(|reason| match reason {
            Reason::Application(directory) => Some(directory.clone()),
            _ => None,
        });
    Application {
        unused: Totals::of(unused.map(|(_, chosen)| &chosen.entry)),
        directories: directories.collect::<BTreeSet<_>>().into_iter().collect(),
    }
}
