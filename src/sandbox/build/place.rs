//! Makes the places that mounts and working directories need, inside the root of the sandbox.
//!
//! Everything here runs where `/` is already the sandbox's root, so a link of the image cannot lead outside.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How many links may lead to a mount point, as in the kernel (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Makes sure that there is a directory (or an empty file) at `path`, links followed, also those that lead nowhere
/// yet. What is missing above it is made with mode 0755.
pub fn mount_point(path: &Path, is_dir: bool) -> io::Result<()> {
    ensure(path, is_dir, &mut 0)
}

fn ensure(path: &Path, is_dir: bool, links: &mut usize) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() == is_dir => return Ok(()),
        Ok(_) if is_dir => return Err(io::ErrorKind::NotADirectory.into()),
        Ok(_) => return Err(io::ErrorKind::IsADirectory.into()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(cause),
    }
    let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
    ensure(parent, true, links)?;
    match std::fs::read_link(path) {
        Ok(target) => {
            *links += 1;
            if *links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            ensure(&without_dots(&parent.join(target))?, is_dir, links)
        }
        Err(_) if is_dir => std::fs::DirBuilder::new().mode(0o755).create(path),
        Err(_) => std::fs::OpenOptions::new().write(true).create_new(true).open(path).map(drop),
    }
}

/// Folds `..` with what is really above it: the part before each `..` is looked up first.
fn without_dots(path: &Path) -> io::Result<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => {
                out = std::fs::canonicalize(&out)?;
                out.pop();
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

/// Makes a directory with this mode and owner, unless there is one.
pub fn directory(path: &Path, mode: u32, owner: (u32, u32)) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    }
    set_owner(path, owner)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Gives `path` to `owner`; ids that do not exist in this user namespace leave it as it is.
pub fn set_owner(path: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    // The overflow id stands for "not mapped", and may be mapped itself: then the file belongs to nobody in particular.
    match std::os::unix::fs::chown(path, Some(uid), Some(gid)) {
        Err(cause) if matches!(cause.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_made_where_links_lead() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        mount_point(&at("etc/ssl"), true).unwrap();
        std::os::unix::fs::symlink("../run/resolve/stub", at("etc/resolv.conf")).unwrap();
        mount_point(&at("etc/resolv.conf"), false).unwrap();
        assert!(at("run/resolve/stub").is_file());
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        assert!(mount_point(&at("loop"), true).is_err());
        assert_eq!(mount_point(&at("etc/ssl"), false).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert!(mount_point(&at("run/resolve/stub"), true).is_err());
        assert!(mount_point(&at("run/resolve/stub/below"), true).is_err());
    }
}
