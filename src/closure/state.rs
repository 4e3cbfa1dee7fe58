//! State: files that an application has written and goes on writing as a whole, a database's above all. No query reads
//! all of them, and without the ones that nothing read it does not start, or has lost data; so the directory in which
//! they lie is kept whole, as the base has it. What the run made there is no part of it.
//!
//! A directory is known as state by one of three signs:
//!
//! 1. The image declares it: VOLUME.
//! 2. It belongs to a user other than root, the run made or changed a file in it, and the base has files in it. The
//!    unit is then the highest directory above it that belongs to the same user without a break, because what was
//!    written is seldom all that was meant: a log of transactions lies beside its tables.
//! 3. It belongs to root, and the run changed a file in it that the base has. New files are no sign there: root may
//!    write everywhere. The unit is that directory.
//!
//! Against each of them stands what is nobody's state: directories that distributions share or that lose nothing when
//! they are emptied (logs, caches, `/run`, `/tmp`), configuration, and directories with code: the working directory,
//! and those in which lies a file that was executed or that the command names. A unit never reaches up to one above
//! code, or an image that gives its user the whole application would be kept whole for one pid file.

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::closure::execution::Execution;
use crate::closure::kept::Kept;
use crate::closure::{ClosureError, Reason};
use crate::image::{Entry, Rootfs};
use crate::observation::{Found, Observation, Operation, PathRecord};

/// Directories that many share; what lies deeper can be one application's (Filesystem Hierarchy Standard 3.0).
const SHARED: [&str; 25] = [
    "/",
    "/bin",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/sbin",
    "/srv",
    "/usr",
    "/usr/lib",
    "/usr/libexec",
    "/usr/local",
    "/usr/local/lib",
    "/usr/local/share",
    "/usr/share",
    "/var",
    "/var/lib",
    "/var/local",
    "/var/opt",
    "/var/spool",
];

/// Nothing below these is state, whoever owns it: it is made anew when it is gone, or it is the system's.
const NEVER: [&str; 12] = [
    "/boot",
    "/dev",
    "/proc",
    "/run",
    "/sys",
    "/tmp",
    "/var/backups",
    "/var/cache",
    "/var/lock",
    "/var/log",
    "/var/run",
    "/var/tmp",
];

/// Below these a directory of root's is the distribution's: programs, configuration, what package managers and init
/// systems know. Applications keep state there in directories of their own users, if at all.
const SYSTEM: [&str; 13] = [
    "/bin",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/sbin",
    "/usr",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/misc",
    "/var/lib/pam",
    "/var/lib/rpm",
    "/var/lib/systemd",
];

/// What is written in a directory of one of these names, or below it, is no sign of state.
const PASSING: [&[u8]; 9] = [b".cache", b".git", b"__pycache__", b"cache", b"caches", b"log", b"logs", b"temp", b"tmp"];

/// Directories of these names are left out of a unit. The other names above can be an application's own: a database
/// `logs` has a directory `logs`.
const LEFT_OUT: [&[u8]; 3] = [b".cache", b".git", b"__pycache__"];

/// Requires the state of the application.
pub(super) fn require(
    kept: &mut Kept<'_>,
    rootfs: &Rootfs,
    execution: &Execution,
    observation: &Observation,
) -> Result<(), ClosureError> {
    let code = Code::of(rootfs, execution, observation)?;
    let mut units = BTreeSet::new();
    for volume in &execution.volumes {
        let walk = rootfs.resolve(volume.as_bytes(), true)?;
        if walk.entry.is_some_and(|entry| entry.is_dir()) && !is_shared(&walk.end) && !is_passing(&walk.end) {
            units.insert(walk.end);
        }
    }
    for (path, made) in written(observation) {
        let Some(directory) = path.parent() else { continue };
        let walk = rootfs.resolve(directory.as_bytes(), true)?;
        let Some(entry) = walk.entry.filter(Entry::is_dir) else { continue };
        let directory = walk.end;
        if may_be_state(&directory, entry.uid) && !code.is_in(&directory) && (entry.uid != 0 || !made) {
            units.insert(unit(rootfs, &code, directory, entry.uid)?);
        }
    }
    for unit in &units {
        // A unit below another comes with that one.
        if !unit.ancestors().any(|above| units.contains(&above)) && has_files(rootfs, unit)? {
            keep_whole(kept, rootfs, unit, unit)?;
        }
    }
    Ok(())
}

/// Regular files that the application, and not a probe beside it or an exerciser, made (true) or changed (false).
fn written(observation: &Observation) -> impl Iterator<Item = (&ImagePath, bool)> {
    let is_own = |record: &PathRecord| !record.probe_tool && record.exerciser().is_none();
    observation.paths.iter().filter(move |(_, record)| is_own(record)).filter_map(|(path, record)| match record.found {
        Found::Absent => record.operations.iter().any(|operation| operation.creates()).then_some((path, true)),
        Found::File { .. } => record.operations.iter().any(|operation| operation.changes()).then_some((path, false)),
        _ => None,
    })
}

fn may_be_state(directory: &ImagePath, owner: u32) -> bool {
    let below = |list: &[&str]| list.iter().any(|&above| is_within(directory, above));
    // Configuration is read; who writes it sets the application up.
    let is_system = if owner == 0 { below(&SYSTEM) } else { is_within(directory, "/etc") };
    !is_shared(directory) && !is_passing(directory) && !is_system
}

pub(super) fn is_shared(directory: &ImagePath) -> bool {
    SHARED.iter().any(|&shared| directory.as_bytes() == shared.as_bytes())
}

fn is_passing(directory: &ImagePath) -> bool {
    let named = |component: &[u8]| PASSING.contains(&component);
    is_never(directory) || directory.components().any(named)
}

/// Whether nothing in `directory` is state or meant to last, whoever owns it.
pub(super) fn is_never(directory: &ImagePath) -> bool {
    NEVER.iter().any(|&above| is_within(directory, above))
}

/// Whether a directory called `name` holds what no run needs.
pub(super) fn is_left_out(name: &[u8]) -> bool {
    LEFT_OUT.contains(&name)
}

fn is_within(path: &ImagePath, above: &str) -> bool {
    ImagePath::parse(above).is_ok_and(|above| path.is_within(&above))
}

/// How far up the directory's owner has everything.
fn unit(rootfs: &Rootfs, code: &Code, directory: ImagePath, owner: u32) -> Result<ImagePath, ClosureError> {
    let mut unit = directory;
    while owner != 0
        && let Some(above) = unit.parent()
        && may_be_state(&above, owner)
        && !code.is_in_or_below(&above)
        && rootfs.lookup(&above)?.is_some_and(|entry| entry.uid == owner)
    {
        unit = above;
    }
    Ok(unit)
}

/// Whether the base has anything but directories there.
fn has_files(rootfs: &Rootfs, directory: &ImagePath) -> Result<bool, ClosureError> {
    for (child, entry) in children(rootfs, directory)? {
        if !entry.is_dir() || has_files(rootfs, &child)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn keep_whole(
    kept: &mut Kept<'_>,
    rootfs: &Rootfs,
    unit: &ImagePath,
    directory: &ImagePath,
) -> Result<(), ClosureError> {
    kept.require(directory.as_bytes(), Reason::State(unit.clone()))?;
    for (child, entry) in children(rootfs, directory)? {
        if entry.is_dir() {
            keep_whole(kept, rootfs, unit, &child)?;
        } else {
            kept.require(child.as_bytes(), Reason::State(unit.clone()))?;
        }
    }
    Ok(())
}

/// What is in a directory and can be state.
fn children(rootfs: &Rootfs, directory: &ImagePath) -> Result<Vec<(ImagePath, Entry)>, ClosureError> {
    let mut children = Vec::new();
    for name in rootfs.list(directory)? {
        let Ok(child) = directory.child(&name) else { continue };
        if let Some(entry) = rootfs.lookup(&child)? {
            children.push((child, entry));
        }
    }
    children
        .retain(|(child, entry)| !(entry.is_dir() && child.file_name().is_some_and(|name| LEFT_OUT.contains(&name))));
    Ok(children)
}

/// The directories in which code lies.
struct Code(BTreeSet<ImagePath>);

impl Code {
    fn of(rootfs: &Rootfs, execution: &Execution, observation: &Observation) -> Result<Self, ClosureError> {
        let ran = |operation: &Operation| matches!(operation, Operation::Exec | Operation::Load);
        let used = observation.paths.iter().filter(|(_, record)| record.operations.iter().any(ran));
        let mut directories: BTreeSet<ImagePath> = used.filter_map(|(path, _)| path.parent()).collect();
        for word in &execution.command {
            let walk = rootfs.resolve(&execution.absolute(word), true)?;
            if walk.entry.is_some_and(|entry| entry.is_file()) {
                directories.extend(walk.end.parent());
            }
        }
        directories.insert(rootfs.resolve(&execution.working_dir, true)?.end);
        Ok(Code(directories))
    }

    fn is_in(&self, directory: &ImagePath) -> bool {
        self.0.contains(directory)
    }

    fn is_in_or_below(&self, directory: &ImagePath) -> bool {
        self.0.iter().any(|code| code.is_within(directory))
    }
}
