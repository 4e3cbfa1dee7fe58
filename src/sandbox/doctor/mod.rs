//! What this machine allows, found out by doing it: first the sandboxes, each as a whole, then one line per capability
//! that decides about them, each tried in a process of its own.
//!
//! Nothing is inferred from a setting. Settings are read only afterwards, to word the hint of something that failed.

mod capabilities;
mod surroundings;

use std::path::Path;

use serde::Serialize;

use crate::sandbox::ladder::{self, STEPS};
use crate::sandbox::plan::Rung;
use surroundings::Surroundings;

/// What was found about one sandbox or capability of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The capability, in a few words; `sandbox a` to `sandbox e` for the rungs.
    pub name: String,
    /// Whether it is there.
    pub ok: bool,
    /// What that means for a run, and, when it is not there, why it is not.
    pub meaning: String,
    /// What to do about it; nothing when it is there.
    pub hint: Option<String>,
}

/// Which sources can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Any.
    Any,
    /// The source `host` in place.
    HostInPlace,
    /// None.
    Nothing,
}

/// Tries everything. `store` is where unpacked images are to live: its nearest existing parent counts. The process
/// should have one thread only.
pub fn doctor(store: &Path) -> Vec<Finding> {
    let exists = |dir: &&Path| dir.is_dir();
    let store = store.ancestors().find(exists).unwrap_or(Path::new("/tmp"));
    let here = Surroundings::look(Path::new("/"));
    let rungs = Rung::ALL.into_iter().map(|rung| try_rung(rung, store));
    rungs.chain(capabilities::all(store, &here)).collect()
}

/// What a machine with these findings can run.
pub fn allowed(findings: &[Finding]) -> Allowed {
    let works = |rung: Rung| findings.iter().any(|finding| finding.ok && finding.name == name(rung));
    match Rung::ALL.into_iter().find(|&rung| works(rung)) {
        Some(Rung::E) => Allowed::HostInPlace,
        Some(_) => Allowed::Any,
        None => Allowed::Nothing,
    }
}

fn name(rung: Rung) -> String {
    format!("sandbox {rung}")
}

fn try_rung(rung: Rung, store: &Path) -> Finding {
    let tried = in_scratch(store, |scratch| {
        let steps = STEPS.iter().filter(|step| step.rung == rung);
        let mut causes = Vec::new();
        for (number, step) in steps.enumerate() {
            match ladder::trial(*step, &scratch.join(number.to_string())) {
                Ok(()) => return Ok(()),
                Err(cause) => causes.push(cause),
            }
        }
        causes.dedup();
        Err(causes.join("; "))
    });
    let (what, promise) = (rung.describe(), rung.promise());
    let (ok, meaning) = match tried {
        Ok(()) => (true, format!("{what}. {promise}")),
        Err(cause) => (false, format!("cannot be made: {what} ({cause})")),
    };
    let hint = (!ok).then(|| "the lines below say what is missing for it".into());
    Finding { name: name(rung), ok, meaning, hint }
}

/// Does something with an empty directory of the store, which is gone afterwards.
fn in_scratch(store: &Path, action: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    let dir = store.join(format!(".doctor-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    let tried = action(&dir);
    let removed = remove(&dir);
    tried.and(removed.map_err(|cause| format!("cannot remove {}: {cause}", dir.display())))
}

/// Removes a tree in which overlays have worked: they leave directories behind that nobody may list.
fn remove(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() && !path.is_symlink() {
            true => remove(&path)?,
            false => std::fs::remove_file(&path)?,
        }
    }
    std::fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rung_for_images_is_enough_and_in_place_is_not() {
        let findings = |works: &[Rung]| -> Vec<Finding> {
            let finding =
                |rung| Finding { name: name(rung), ok: works.contains(&rung), meaning: String::new(), hint: None };
            Rung::ALL.into_iter().map(finding).collect()
        };
        for (works, expected) in [
            (&[Rung::A, Rung::B, Rung::C, Rung::D, Rung::E][..], Allowed::Any),
            (&[Rung::D], Allowed::Any),
            (&[Rung::E], Allowed::HostInPlace),
            (&[], Allowed::Nothing),
        ] {
            assert_eq!(allowed(&findings(works)), expected, "{works:?}");
        }
    }

    #[test]
    fn a_trial_leaves_nothing_in_the_store() {
        let store = tempfile::tempdir().unwrap();
        let tried = in_scratch(store.path(), |scratch| {
            let work = scratch.join("work");
            std::fs::create_dir_all(work.join("inner")).unwrap();
            std::fs::write(work.join("file"), b"x").unwrap();
            std::os::unix::fs::symlink("/etc", work.join("link")).unwrap();
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(work.join("inner"), std::fs::Permissions::from_mode(0o0)).unwrap();
            Err("no such luck".into())
        });
        assert_eq!(tried, Err("no such luck".into()));
        assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
    }
}
