//! The times of files in an image: the base's, or SOURCE_DATE_EPOCH where that is earlier.

use std::io::Read;

use crate::base::{Epoch, ImagePath};
use crate::image::{Entry, Rootfs, RootfsError};
use crate::select::Manifest;

/// The time that the file at `path` gets, which is `entry` in the base: seconds and nanoseconds.
///
/// Python compares a source's time with the one recorded in its bytecode and compiles again at every start when they
/// differ, so a source whose kept bytecode records its time keeps it.
pub fn in_image(
    path: &ImagePath,
    entry: &Entry,
    epoch: Option<Epoch>,
    manifest: &Manifest,
    rootfs: &Rootfs,
) -> Result<(i64, u32), RootfsError> {
    let time = (entry.mtime, entry.nanos);
    match epoch {
        Some(Epoch(limit)) if time > (limit, 0) && !is_recorded_in_bytecode(path, entry.mtime, manifest, rootfs)? => {
            Ok((limit, 0))
        }
        _ => Ok(time),
    }
}

fn is_recorded_in_bytecode(
    source: &ImagePath,
    mtime: i64,
    manifest: &Manifest,
    rootfs: &Rootfs,
) -> Result<bool, RootfsError> {
    let (Some(stem), Some(dir)) = (source.file_name().and_then(|name| name.strip_suffix(b".py")), source.parent())
    else {
        return Ok(false);
    };
    // PEP 3147: `__pycache__/STEM.TAG.pyc`, or `STEM.pyc` beside the source.
    let mut candidates: Vec<ImagePath> = dir.child(&[stem, b".pyc"].concat()).into_iter().collect();
    if let Ok(cache) = dir.child(b"__pycache__") {
        let prefix = [stem, b"."].concat();
        let belongs = |name: &[u8]| name.starts_with(&prefix) && name.ends_with(b".pyc");
        let children = manifest.entries.children(&cache).map(|(path, _)| path);
        candidates.extend(children.filter(|path| path.file_name().is_some_and(belongs)).cloned());
    }
    for bytecode in candidates {
        if manifest.entries.get(&bytecode).is_some_and(|chosen| chosen.entry.is_file())
            && recorded_time(rootfs, &bytecode)? == Some(mtime as u32)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The time of the source in the header of a bytecode file (PEP 552): four bytes of magic, flags, and when the flags
/// are zero the time modulo 2^32, all little-endian.
fn recorded_time(rootfs: &Rootfs, bytecode: &ImagePath) -> Result<Option<u32>, RootfsError> {
    let mut header = Vec::new();
    let root = || rootfs.location().display().to_string();
    rootfs.open(bytecode)?.take(12).read_to_end(&mut header).map_err(|cause| RootfsError::File {
        operation: "read",
        path: bytecode.clone(),
        root: root(),
        cause,
    })?;
    let word = |at: usize| header.get(at..at + 4)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    Ok(if word(4) == Some(0) { word(8) } else { None })
}
