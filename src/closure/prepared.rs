//! Empty directories that somebody has prepared for a service to write in: sessions, uploads, a spool, a socket. A run
//! in which nothing was written there does not show them, and what writes there later does not make them: it has been
//! given owner and mode by whoever installed it. They weigh nothing, so all are kept.
//!
//! A user's home is one too, whatever is in it: who logs in there finds at least the place.
//!
//! Such a directory lies where variable data does (Filesystem Hierarchy Standard 3.0, 5), or is such a place as mail's,
//! holds no file, and is not just any directory of root's: it belongs to another user or group, or others may write in
//! it.

use crate::base::ImagePath;
use crate::closure::kept::Kept;
use crate::closure::{ClosureError, Reason};
use crate::image::{Entry, Rootfs};

/// Where services have such directories.
const PLACES: [&str; 8] = ["/run", "/srv", "/var/cache", "/var/lib", "/var/log", "/var/mail", "/var/spool", "/var/www"];

/// Those of package managers, of whoever starts services on a machine, and of who administrates it.
const FOREIGN: [&[u8]; 9] = [b"apk", b"apt", b"dnf", b"dpkg", b"private", b"rpm", b"systemd", b"ucf", b"yum"];

/// How deep below a place, and how many directories in all, are looked at.
const DEPTH: usize = 4;
const MOST: usize = 2_000;

/// Requires the prepared directories of the base.
pub(super) fn require(kept: &mut Kept<'_>, rootfs: &Rootfs) -> Result<(), ClosureError> {
    let mut seen = 0;
    let mut pending: Vec<(ImagePath, usize)> = Vec::new();
    for place in PLACES.iter().filter_map(|place| ImagePath::parse(place).ok()) {
        let Some(entry) = rootfs.lookup(&place)?.filter(Entry::is_dir) else { continue };
        if is_prepared(&entry) && rootfs.list(&place)?.is_empty() {
            kept.require(place.as_bytes(), Reason::State(place.clone()))?;
        } else {
            pending.push((place, 0));
        }
    }
    for home in homes(rootfs)? {
        kept.require(home.as_bytes(), Reason::State(home.clone()))?;
    }
    while let Some((directory, depth)) = pending.pop() {
        for name in rootfs.list(&directory)? {
            let Ok(path) = directory.child(&name) else { continue };
            let Some(entry) = rootfs.lookup(&path)? else { continue };
            seen += 1;
            if entry.link_target().is_some() && seen <= MOST {
                // Another name of one, as mail's often has.
                let walk = rootfs.resolve(path.as_bytes(), true)?;
                if walk.entry.is_some_and(|entry| is_prepared(&entry)) && kept.paths().contains(&walk.end) {
                    kept.require(path.as_bytes(), Reason::State(path.clone()))?;
                }
            }
            if !entry.is_dir() {
                continue;
            }
            if FOREIGN.contains(&&name[..]) || seen > MOST {
                continue;
            }
            if is_prepared(&entry) && rootfs.list(&path)?.is_empty() {
                kept.require(path.as_bytes(), Reason::State(path.clone()))?;
            } else if depth < DEPTH {
                pending.push((path, depth + 1));
            }
        }
    }
    Ok(())
}

fn homes(rootfs: &Rootfs) -> Result<Vec<ImagePath>, ClosureError> {
    let mut homes = Vec::new();
    if let Ok(above) = ImagePath::parse("/home")
        && rootfs.lookup(&above)?.is_some_and(|entry| entry.is_dir())
    {
        for name in rootfs.list(&above)?.into_iter().take(MOST) {
            let Ok(home) = above.child(&name) else { continue };
            if rootfs.lookup(&home)?.is_some_and(|entry| entry.is_dir() && entry.uid != 0) {
                homes.push(home);
            }
        }
    }
    Ok(homes)
}

fn is_prepared(directory: &Entry) -> bool {
    directory.uid != 0 || directory.gid != 0 || directory.mode & 0o022 != 0
}
