//! The scripts among the application's own files, and the shell scripts in directories that are kept whole, that no run
//! has started. Most are bystanders, for whoever builds or deploys; to bring an interpreter for each of them would undo
//! much of what was gained. But some of them a request starts, and these are known by where they lie, or by what is
//! there already:
//!
//! 1. A web server runs what lies in a directory `cgi-bin`, and files that end in `.cgi` or `.fcgi`.
//! 2. The interpreter is in the image anyway, because the run or something else needs it: then the script works as far
//!    as the programs that it names are there.
//!
//! Such a script needs what a script of the run needs. One that is called a sample or a copy nobody starts by that
//! name.

use crate::base::{ImagePath, Shebang};
use crate::closure::ClosureError;
use crate::closure::contents::{Content, Contents};
use crate::closure::execution::Execution;
use crate::closure::kept::Kept;
use crate::closure::reason::Reason;
use crate::image::Rootfs;

/// Ends of the names of what is there to be copied, or was copied from.
const COPIES: [&[u8]; 10] =
    [b"~", b".bak", b".dist", b".example", b".in", b".old", b".orig", b".sample", b".template", b".tmpl"];

/// The scripts that somebody will start, among the files at `paths`, which are kept in passing. Whether an interpreter
/// is there is asked before any of them brings one.
pub(super) fn started(
    rootfs: &Rootfs,
    execution: &Execution,
    kept: &Kept<'_>,
    contents: &mut Contents<'_>,
    paths: &[ImagePath],
) -> Result<Vec<(ImagePath, Shebang)>, ClosureError> {
    let mut scripts = Vec::new();
    for path in paths.iter().filter(|path| !is_copy(path)) {
        if !rootfs.lookup(path)?.is_some_and(|entry| entry.is_file() && entry.mode & 0o111 != 0) {
            continue;
        }
        let Content::Script(shebang) = contents.of(path)? else { continue };
        if is_run_by_servers(path) || has_interpreter(rootfs, execution, kept, &shebang)? {
            scripts.push((path.clone(), shebang));
        }
    }
    Ok(scripts)
}

fn is_copy(path: &ImagePath) -> bool {
    path.file_name().is_some_and(|name| COPIES.iter().any(|end| name.ends_with(end)))
}

/// Whether a web server runs what lies at `path` on request.
pub(super) fn is_run_by_servers(path: &ImagePath) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.ends_with(b".cgi") || name.ends_with(b".fcgi") || path.components().any(|part| part == b"cgi-bin")
}

/// Whether what interprets a script is kept for another reason than that it lies beside it.
fn has_interpreter(
    rootfs: &Rootfs,
    execution: &Execution,
    kept: &Kept<'_>,
    shebang: &Shebang,
) -> Result<bool, ClosureError> {
    let program = match shebang.env_program() {
        Some(program) => execution.find_program(rootfs, &program)?,
        None => Some(execution.absolute(&shebang.interpreter)),
    };
    let Some(program) = program else { return Ok(false) };
    let interpreter = rootfs.resolve(&program, true)?;
    let is_for_more = |reason: &Reason| !matches!(reason, Reason::Application(_) | Reason::Package(_));
    let reasons = kept.paths().get(&interpreter.end).filter(|_| interpreter.entry.is_some_and(|e| e.is_file()));
    Ok(reasons.is_some_and(|reasons| reasons.iter().any(is_for_more)))
}
