//! Directories that are the installation of a language's runtime, a virtual environment or a cache, by the marks that
//! those leave. Runtimes often lie where applications do (`/opt/java/openjdk`, `/usr/local/go`) and belong to no
//! package, but what is used of one is known by running it: none is an application's own.

use std::io::Read;

use crate::base::ImagePath;
use crate::image::{Entry, Rootfs};
use crate::select::SelectError;

/// Files and directories of which all must be there, relative to the directory; each line is one kind.
const MARKS: [&[&str]; 15] = [
    // Virtual environments (PEP 405) and conda.
    &["pyvenv.cfg"],
    &["conda-meta", "bin"],
    // JDKs from 9 on, and before.
    &["release", "lib/modules"],
    &["jre/lib/rt.jar"],
    &["lib/rt.jar"],
    &["bin/go", "src/runtime"],
    &["bin/node", "include/node"],
    &["bin/node", "lib/node_modules/npm"],
    &["bin/ruby", "lib/ruby"],
    &["bin/perl", "lib/perl5"],
    &["bin/php", "lib/php"],
    &["bin/erl", "lib/erlang"],
    &["lib/rustlib"],
    &["dotnet", "shared/Microsoft.NETCore.App"],
    &["bin/pypy3"],
];

/// The first bytes of a `CACHEDIR.TAG` (Cache Directory Tagging Specification 0.6).
pub(super) const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Whether `directory` is one of these.
pub(super) fn is_installation(rootfs: &Rootfs, directory: &ImagePath) -> Result<bool, SelectError> {
    for marks in MARKS {
        let mut all = true;
        for mark in marks {
            all = all && entry(rootfs, directory, mark.as_bytes())?.is_some();
        }
        if all {
            return Ok(true);
        }
    }
    Ok(is_python(rootfs, directory)? || is_cache(rootfs, directory)?)
}

/// Whether it has a standard library of Python's where the interpreter looks for it: `lib/python3.11/os.py`.
fn is_python(rootfs: &Rootfs, directory: &ImagePath) -> Result<bool, SelectError> {
    let Ok(lib) = directory.child(b"lib") else { return Ok(false) };
    if !rootfs.lookup(&lib)?.is_some_and(|entry| entry.is_dir()) {
        return Ok(false);
    }
    for name in rootfs.list(&lib)? {
        if name.starts_with(b"python") && entry(rootfs, &lib, &[&name, &b"/os.py"[..]].concat())?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_cache(rootfs: &Rootfs, directory: &ImagePath) -> Result<bool, SelectError> {
    let Ok(tag) = directory.child(b"CACHEDIR.TAG") else { return Ok(false) };
    if !rootfs.lookup(&tag)?.is_some_and(|entry| entry.is_file()) {
        return Ok(false);
    }
    let Ok(mut file) = rootfs.open(&tag) else { return Ok(false) };
    let mut head = [0; CACHE_SIGNATURE.len()];
    Ok(file.read_exact(&mut head).is_ok() && head == *CACHE_SIGNATURE)
}

fn entry(rootfs: &Rootfs, directory: &ImagePath, below: &[u8]) -> Result<Option<Entry>, SelectError> {
    let path = [directory.as_bytes(), b"/", below].concat();
    Ok(match ImagePath::parse(&path) {
        Ok(path) => rootfs.lookup(&path)?,
        Err(_) => None,
    })
}
