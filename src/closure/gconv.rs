//! The modules by which glibc converts text, `iconv_open(3)`: which ones, a request says, or the mail that comes in.
//!
//! They are 8 MB, and almost every image has a library that could ask for one, so that such a library is there is no
//! sign. These are:
//!
//! 1. The run has opened one of them. That it has read the list of them is none: every start in a locale does that.
//! 2. The run has loaded a module that asks by itself, as PHP's `iconv` does: a shared object that is called
//!    `iconv.so` and not `lib` with a name for others to need it by. It is there in order to convert. Or a
//!    library in a directory of one program, as a mail server has.
//! 3. The run has started a program that asks by itself, a mail server or the `php` of an image that has everything in
//!    one file; but not a shell, which asks for what its own escapes need.
//! 4. The run has used a language that converts by a name that its programs give: see [`languages`].

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::closure::contents::Contents;
use crate::closure::kept::Kept;
use crate::closure::languages::{self, Ask};
use crate::closure::{ClosureError, script};
use crate::image::Rootfs;
use crate::observation::{Found, Observation, Operation};

/// The directory of the modules, beside libc; and what each of them is called.
const DIRECTORY: &[u8] = b"gconv";
const MODULE: &[u8] = b".so";

/// The directories with the modules of the C libraries that are kept, if the run gives reason to have them.
pub(super) fn directories(
    rootfs: &Rootfs,
    observation: &Observation,
    kept: &Kept<'_>,
    contents: &mut Contents<'_>,
) -> Result<BTreeSet<ImagePath>, ClosureError> {
    let mut directories = BTreeSet::new();
    if !languages::ask_for(observation, Ask::Conversions) && !converts(observation, kept, contents)? {
        return Ok(directories);
    }
    for (path, _) in kept.paths().iter().filter(|(path, _)| path.file_name() == Some(b"libc.so.6")) {
        let libc = rootfs.resolve(path.as_bytes(), true)?.end;
        let Some(directory) = libc.parent().and_then(|parent| parent.child(DIRECTORY).ok()) else { continue };
        if rootfs.lookup(&directory)?.is_some_and(|entry| entry.is_dir()) {
            directories.insert(directory);
        }
    }
    Ok(directories)
}

fn converts(observation: &Observation, kept: &Kept<'_>, contents: &mut Contents<'_>) -> Result<bool, ClosureError> {
    let was_loaded = |operation: &Operation| matches!(operation, Operation::Exec | Operation::Load | Operation::Open);
    for (path, record) in observation.paths.iter() {
        let is_file = matches!(record.found, Found::File { .. }) && kept.paths().contains(path);
        if !is_file || record.probe_tool || !record.operations.iter().any(was_loaded) {
            continue;
        }
        if is_module(path) {
            return Ok(true);
        }
        let Some(elf) = contents.elf(path)?.filter(|elf| elf.converts_text) else { continue };
        let is_shell = path.file_name().is_some_and(script::is_shell_name);
        // A library has a name for others to need it by; that of a module is just that of its file, if it has any.
        let is_module = elf.soname.as_ref().is_none_or(|name| !name.starts_with(b"lib"));
        if if elf.interpreter.is_some() { !is_shell } else { is_module || !is_shared(path) } {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a library lies where all programs look for libraries, and not in a directory of one program.
pub(super) fn is_shared(path: &ImagePath) -> bool {
    let directory = path.parent();
    let name = directory.as_ref().and_then(|directory| directory.file_name()).unwrap_or_default();
    matches!(name, b"lib" | b"lib32" | b"lib64") || name.windows(7).any(|part| part == b"-linux-")
}

fn is_module(path: &ImagePath) -> bool {
    let is_in_place = path.parent().is_some_and(|directory| directory.file_name() == Some(DIRECTORY));
    is_in_place && path.file_name().is_some_and(|name| name.ends_with(MODULE))
}
