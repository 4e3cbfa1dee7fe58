//! Finds and makes the places that mounts and working directories need, inside the root of the sandbox.
//!
//! Everything here runs where `/` is already the sandbox's root, so a link of the image cannot lead outside, with one
//! exception: those in `/proc` that stand for an open file or the root of a process (`proc_pid_fd(5)`) are no paths but
//! doors, and the helpers of scrimp have the machine behind theirs. None of them is gone through, and what was found is
//! handed on as a descriptor, so that nobody looks it up again.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

/// How many links may lead to a mount point, as in the kernel (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// What is at `path`, links followed; `ELOOP` where a link leads through a door of `/proc`. The descriptor is only a
/// place (`O_PATH`).
pub fn find(path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(AT_FDCWD, path, how)
}

/// The directory at `path` itself, where a link would be an error (`ENOTDIR`): what is mounted there is later found by
/// this path again, and until then a link could have come to lead elsewhere.
pub fn find_directory_itself(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat2(AT_FDCWD, path, OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS))
}

/// Makes sure that there is a directory (or an empty file) at `path`, links followed, also those that lead nowhere
/// yet, and returns it. What is missing above it is made with mode 0755.
pub fn mount_point(path: &Path, is_dir: bool) -> io::Result<OwnedFd> {
    ensure(path, is_dir, &mut 0)
}

fn ensure(path: &Path, is_dir: bool, links: &mut usize) -> io::Result<OwnedFd> {
    match find(path) {
        Ok(found) => {
            return match kind(&found)? == SFlag::S_IFDIR {
                there if there == is_dir => Ok(found),
                _ if is_dir => Err(Errno::ENOTDIR.into()),
                _ => Err(Errno::EISDIR.into()),
            };
        }
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let (parent, name) = parts(path)?;
    let above = ensure(parent, true, links)?;
    match readlinkat(&above, name) {
        Ok(target) => {
            *links += 1;
            if *links > MAX_LINKS {
                return Err(Errno::ELOOP.into());
            }
            return ensure(&without_dots(&parent.join(target))?, is_dir, links);
        }
        Err(_) if is_dir => mkdirat(&above, name, Mode::from_bits_truncate(0o755))?,
        Err(_) => {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            drop(openat(&above, name, flags, Mode::from_bits_truncate(0o666))?);
        }
    }
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(&above, name, flags, Mode::empty())?)
}

/// What an open file is.
fn kind(file: &OwnedFd) -> nix::Result<SFlag> {
    Ok(SFlag::from_bits_truncate(fstat(file)?.st_mode & libc::S_IFMT))
}

/// The directory in which the last name of a path is, and that name.
fn parts(path: &Path) -> nix::Result<(&Path, &OsStr)> {
    path.parent().zip(path.file_name()).ok_or(Errno::ENOENT)
}

/// Folds `..` with what is really above it: the part before each `..` is looked up first. This comes to a text only;
/// whoever uses it looks it up once more.
fn without_dots(path: &Path) -> io::Result<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => {
                find(&out)?;
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
    let (parent, name) = parts(path)?;
    let above = find(parent)?;
    match mkdirat(&above, name, Mode::S_IRWXU) {
        Err(Errno::EEXIST) => return Ok(()),
        other => other?,
    }
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    unless_unmapped(fchownat(&above, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW))?;
    // Nobody else is here who could have put a link in its place.
    Ok(fchmodat(&above, name, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)?)
}

/// Makes a link, unless something is there.
pub fn link(path: &Path, target: &[u8]) -> io::Result<()> {
    let (parent, name) = parts(path)?;
    match symlinkat(OsStr::from_bytes(target), find(parent)?.as_fd(), name) {
        Err(Errno::EEXIST) => Ok(()),
        other => Ok(other?),
    }
}

/// Gives `path` to `owner`; ids that do not exist in this user namespace leave it as it is.
pub fn set_owner(path: &Path, (uid, gid): (u32, u32)) -> nix::Result<()> {
    unless_unmapped(nix::unistd::chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
}

/// The overflow id stands for "not mapped", and may be mapped itself: then the file belongs to nobody in particular.
fn unless_unmapped(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::EINVAL | Errno::EPERM) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

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
        directory(&at("etc/made"), 0o1711, (0, 0)).unwrap();
        link(&at("etc/made/link"), b"/nowhere").unwrap();
        link(&at("etc/made/link"), b"/elsewhere").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&at("etc/made").metadata().unwrap().permissions());
        assert_eq!((mode & 0o7777, at("etc/made/link").read_link().unwrap()), (0o1711, "/nowhere".into()));
    }

    /// Links of an image once led through a descriptor of a helper to wherever that was open.
    #[test]
    fn no_way_leads_through_an_open_file() {
        let dir = tempfile::tempdir().unwrap();
        let (machine, image) = (dir.path().join("machine"), dir.path().join("image"));
        std::fs::create_dir_all(machine.join("below")).unwrap();
        std::fs::create_dir(&image).unwrap();
        let open = std::fs::File::open(machine.join("below")).unwrap();
        let door = format!("/proc/self/fd/{}/..", open.as_raw_fd());
        std::os::unix::fs::symlink(&door, image.join("door")).unwrap();
        std::os::unix::fs::symlink("door/made", image.join("through")).unwrap();
        assert!(image.join("door/below").is_dir(), "the way is there");
        for way in ["door", "door/made", "door/made/below", "through"] {
            let path = image.join(way);
            for is_dir in [true, false] {
                let cause = mount_point(&path, is_dir).unwrap_err();
                assert_eq!(cause.raw_os_error(), Some(libc::ELOOP), "{way}: {cause}");
            }
            if way != "door" {
                assert!(directory(&path, 0o755, (0, 0)).is_err() || way == "through", "{way}");
                assert!(link(&path, b"/").is_err() || way == "through", "{way}");
            }
        }
        assert!(matches!(find_directory_itself(&image.join("door")), Err(Errno::ENOTDIR | Errno::ELOOP)));
        let left: Vec<_> = std::fs::read_dir(&machine).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["below"]);
    }
}
