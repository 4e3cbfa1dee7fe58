//! Walks over all or a part of a base, full or lazy.

use crate::base::ImagePath;
use crate::image::{Entry, Rootfs};
use crate::select::{SelectError, Totals};

/// Trees of a live system that are views of the kernel, not files: a walk over a lazy rootfs enters them only when it
/// starts inside.
pub const KERNEL_TREES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Calls `visit` for what is at `start` and for all below it, in order.
pub fn walk(
    rootfs: &Rootfs,
    start: &ImagePath,
    visit: &mut dyn FnMut(&ImagePath, &Entry) -> Result<(), SelectError>,
) -> Result<(), SelectError> {
    if let Some(entries) = rootfs.entries() {
        return entries.subtree(start).try_for_each(|(path, entry)| visit(path, entry));
    }
    let mut pending: Vec<(ImagePath, Entry)> =
        rootfs.lookup(start)?.map(|entry| (start.clone(), entry)).into_iter().collect();
    while let Some((path, entry)) = pending.pop() {
        visit(&path, &entry)?;
        if !entry.is_dir() || (path != *start && KERNEL_TREES.iter().any(|tree| path.as_bytes() == tree.as_bytes())) {
            continue;
        }
        for name in rootfs.list(&path)?.iter().rev() {
            let Ok(child) = path.child(name) else { continue };
            // What is gone between the listing and now was never there.
            if let Some(entry) = rootfs.lookup(&child)? {
                pending.push((child, entry));
            }
        }
    }
    Ok(())
}

/// How large the whole base is, in the terms of [`super::Manifest::totals`]. A lazy rootfs is walked.
pub fn measure(rootfs: &Rootfs) -> Result<Totals, SelectError> {
    if let Some(entries) = rootfs.entries() {
        return Ok(Totals::of(entries.iter().map(|(_, entry)| entry)));
    }
    let mut entries = Vec::new();
    walk(rootfs, &ImagePath::root(), &mut |_, entry| {
        if entry.is_file() {
            entries.push(entry.clone());
        }
        Ok(())
    })?;
    Ok(Totals::of(&entries))
}
