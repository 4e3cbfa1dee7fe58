//! Copies a tree of files, for where the kernel allows no throw-away layer on top of it.
//!
//! Everything goes through descriptors of directories and no link is followed, so that a tree that changes meanwhile
//! cannot lead the copy elsewhere. Content is shared with the original where the file system can (`FICLONE`).

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt as _, MetadataExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, Whence, fchownat, linkat, lseek, mkfifoat, symlinkat, unlinkat};
use xattr::FileExt;

use crate::sandbox::failure::{During, Failure};

/// How many bytes are copied with one call where the kernel copies.
const CHUNK: usize = 1 << 30;
/// The same where it cannot.
const BUFFER: usize = 1 << 16;

/// Copies what is in the directory `from` into the empty directory `to`, with owners, modes, times, hard links and
/// extended attributes; sockets are left out, and so is what lies in a directory of `without` (absolute paths).
/// Returns what could not be copied, each a sentence: a file that changes or cannot be read is no reason to stop.
///
/// # Errors
/// When `to` cannot be written, for want of space above all.
pub fn copy_tree(from: &Path, to: &Path, without: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let subject = from.as_os_str().as_bytes();
    let source = nix::fcntl::open(from, directory_flags(), Mode::empty()).during("open the directory", subject)?;
    copy_directory(source.as_fd(), from, to, without)
}

/// The same with the source as a descriptor; `from` is its path, for `without` and for messages.
pub fn copy_directory(
    source: BorrowedFd<'_>,
    from: &Path,
    to: &Path,
    without: &[PathBuf],
) -> Result<Vec<String>, Failure> {
    let target = nix::fcntl::open(to, directory_flags(), Mode::empty())
        .during("open the directory", to.as_os_str().as_bytes())?;
    let mut copy = Copy { without, names: HashMap::new(), warnings: Vec::new() };
    copy.directory(source, target.as_fd(), from, to)?;
    let stat = nix::sys::stat::fstat(source).during("look at", from.as_os_str().as_bytes())?;
    apply(target.as_fd(), c".", &stat, from)?;
    Ok(copy.warnings)
}

/// Whether there is room for a copy of `from` in `to`, with as much left over: a machine whose disk is full serves
/// nobody. Looks at every file, so it is for trees of unknown size.
///
/// # Errors
/// When there is not, with both figures.
pub fn check_room(from: &Path, to: &Path, without: &[PathBuf]) -> Result<(), Failure> {
    let stat = nix::sys::statvfs::statvfs(to).during("look at the file system of", to.as_os_str().as_bytes())?;
    let free = stat.blocks_available() as u64 * stat.fragment_size() as u64;
    let mut bytes = 0;
    let mut counted = HashSet::new();
    let mut pending = vec![from.to_owned()];
    while let Some(dir) = pending.pop() {
        // What cannot be listed is not copied either.
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.metadata() {
                Ok(meta) if meta.is_dir() && !without.contains(&path) => pending.push(path),
                // Holes take no room, nor do further names.
                Ok(meta) if meta.is_file() && (meta.nlink() == 1 || counted.insert((meta.dev(), meta.ino()))) => {
                    bytes += meta.blocks() * 512;
                }
                _ => {}
            }
        }
        if bytes > free / 2 {
            let mut failure = Failure::new("copy", from.as_os_str().as_bytes(), Errno::ENOSPC);
            let instead = match from == Path::new("/") {
                true => "; `--sandbox e` runs the application in place",
                false => "; --store DIR puts the copy elsewhere",
            };
            failure.detail = format!("it holds more than {} MB and {} MB are free{instead}", bytes >> 20, free >> 20);
            return Err(failure);
        }
    }
    Ok(())
}

struct Copy<'a> {
    without: &'a [PathBuf],
    /// The first name in the copy of each file that has several, by device and inode.
    names: HashMap<(u64, u64), PathBuf>,
    warnings: Vec<String>,
}

impl Copy<'_> {
    /// Copies what is in `from`, which is at `path`, into `to`, which is at `copy`.
    fn directory(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path, copy: &Path) -> Result<(), Failure> {
        let names = match list(from) {
            Ok(names) => names,
            Err(errno) => {
                self.skipped(path, errno);
                return Ok(());
            }
        };
        for name in &names {
            let name_of_file = OsStr::from_bytes(name.to_bytes());
            let (at, copy) = (path.join(name_of_file), copy.join(name_of_file));
            if self.without.contains(&at) {
                continue;
            }
            match fstatat(from, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => self.entry(from, to, name, &stat, (&at, &copy))?,
                Err(errno) => self.skipped(&at, errno),
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &FileStat,
        (at, copy): (&Path, &Path),
    ) -> Result<(), Failure> {
        let subject = at.as_os_str().as_bytes();
        let kind = SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT);
        let others = (kind != SFlag::S_IFDIR && stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
        if let Some(first) = others.and_then(|key| self.names.get(&key)) {
            // Nobody but this process knows the copy yet, so the path leads where it was made.
            return linkat(nix::fcntl::AT_FDCWD, first, to, name, AtFlags::empty()).during("link the copy of", subject);
        }
        match kind {
            SFlag::S_IFDIR => {
                let source = match openat(from, name, directory_flags(), Mode::empty()) {
                    Ok(source) => source,
                    Err(errno) => {
                        self.skipped(at, errno);
                        return Ok(());
                    }
                };
                mkdirat(to, name, Mode::S_IRWXU).during("make the copy of", subject)?;
                let target = openat(to, name, directory_flags(), Mode::empty()).during("open the copy of", subject)?;
                copy_attributes(source.as_fd(), target.as_fd());
                self.directory(source.as_fd(), target.as_fd(), at, copy)?;
            }
            SFlag::S_IFREG => {
                let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                let source = match openat(from, name, flags, Mode::empty()) {
                    Ok(source) => File::from(source),
                    Err(errno) => {
                        self.skipped(at, errno);
                        return Ok(());
                    }
                };
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let target = openat(to, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
                    .during("make the copy of", subject)
                    .map(File::from)?;
                match copy_content(&source, &target) {
                    Ok(()) => {}
                    Err(Broken::Write(cause)) => return Err(cause).during("copy", subject),
                    Err(Broken::Read(cause)) => {
                        unlinkat(to, name, UnlinkatFlags::NoRemoveDir).during("remove the copy of", subject)?;
                        self.skipped(at, cause);
                        return Ok(());
                    }
                }
                copy_attributes(source.as_fd(), target.as_fd());
            }
            SFlag::S_IFLNK => {
                let target = match readlinkat(from, name) {
                    Ok(target) => target,
                    Err(errno) => {
                        self.skipped(at, errno);
                        return Ok(());
                    }
                };
                symlinkat(target.as_os_str(), to, name).during("make the copy of", subject)?;
            }
            SFlag::S_IFIFO => mkfifoat(to, name, Mode::S_IRUSR).during("make the copy of", subject)?,
            // Where devices cannot be made there is none; what stands for one in an unpacked image is a file.
            SFlag::S_IFCHR | SFlag::S_IFBLK => {
                if let Err(errno) = mknodat(to, name, kind, Mode::S_IRUSR, stat.st_rdev) {
                    self.skipped(at, errno);
                    return Ok(());
                }
            }
            _ => return Ok(()),
        }
        // Only now is there something to link to: what could not be copied under one name is tried under the next.
        if let Some(key) = others {
            self.names.insert(key, copy.to_owned());
        }
        apply(to, name, stat, at)
    }

    fn skipped(&mut self, at: &Path, errno: Errno) {
        self.warnings.push(format!("cannot copy {}: {}; it is not in the sandbox", at.display(), errno.desc()));
    }
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn list(dir: BorrowedFd<'_>) -> nix::Result<Vec<std::ffi::CString>> {
    let mut listing = Dir::openat(dir, c".", directory_flags(), Mode::empty())?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Why the content of a file was not copied.
enum Broken {
    /// The original cannot be read.
    Read(Errno),
    /// The copy cannot be written.
    Write(Errno),
}

/// Copies the content of a file into an empty one, as long as it is now; where it has holes the copy has them, too.
fn copy_content(from: &File, to: &File) -> Result<(), Broken> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let errno = |cause: io::Error| cause.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let meta = from.metadata().map_err(|e| Broken::Read(errno(e)))?;
    let length = meta.len() as i64;
    if meta.blocks() * 512 >= meta.len() {
        return copy_range(from, to, 0, length);
    }
    to.set_len(length as u64).map_err(|e| Broken::Write(errno(e)))?;
    let mut at = 0;
    while at < length {
        let start = match lseek(from, at, Whence::SeekData) {
            Ok(start) => start,
            Err(Errno::ENXIO) => break,
            Err(_) => at,
        };
        let end = lseek(from, start, Whence::SeekHole).unwrap_or(length).min(length);
        copy_range(from, to, start, end)?;
        at = end;
    }
    Ok(())
}

/// Copies the bytes from `at` to `end`, or as many as there are.
fn copy_range(from: &File, to: &File, mut at: i64, end: i64) -> Result<(), Broken> {
    let errno = |cause: io::Error| cause.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    while at < end {
        let (mut read, mut written) = (at, at);
        let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        match nix::fcntl::copy_file_range(from, Some(&mut read), to, Some(&mut written), wanted) {
            Ok(0) => return Ok(()),
            Ok(count) => at += count as i64,
            Err(Errno::EINTR) => {}
            Err(errno @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG)) => return Err(Broken::Write(errno)),
            // Some pairs of file systems cannot, nor can files that are swapped to; and this call does not say which
            // of the two files it failed for.
            Err(_) => break,
        }
    }
    let mut buffer = Vec::new();
    while at < end {
        buffer.resize(BUFFER, 0);
        let wanted = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
        match from.read_at(&mut buffer[..wanted], at as u64) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all_at(&buffer[..count], at as u64).map_err(|e| Broken::Write(errno(e)))?;
                at += count as i64;
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(Broken::Read(errno(cause))),
        }
    }
    Ok(())
}

/// Extended attributes as far as this process may set them; the others are of no use in a sandbox that may not either.
fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    let (Ok(from), Ok(to)) = (from.try_clone_to_owned(), to.try_clone_to_owned()) else { return };
    let (from, to) = (File::from(from), File::from(to));
    let Ok(names) = from.list_xattr() else { return };
    for name in names {
        if let Ok(Some(value)) = from.get_xattr(&name) {
            // See above: a refusal is no failure.
            drop(to.set_xattr(&name, &value));
        }
    }
}

/// Owner, mode and times of the entry `name` in `dir`. The owner comes first, because changing it clears setuid bits.
fn apply(dir: BorrowedFd<'_>, name: &CStr, stat: &FileStat, at: &Path) -> Result<(), Failure> {
    let subject = at.as_os_str().as_bytes();
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW) {
        // An id that does not exist here, or no right to give files away: it stays with this process.
        Ok(()) | Err(Errno::EINVAL | Errno::EPERM) => {}
        Err(errno) => return Err(Failure::new("set the owner of the copy of", subject, errno)),
    }
    if stat.st_mode & libc::S_IFMT != libc::S_IFLNK {
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
        match name == c"." {
            true => fchmod(dir, mode),
            false => fchmodat(dir, name, mode, FchmodatFlags::FollowSymlink),
        }
        .during("set the mode of the copy of", subject)?;
    }
    let (accessed, modified) =
        (TimeSpec::new(stat.st_atime, stat.st_atime_nsec), TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec));
    utimensat(dir, name, &accessed, &modified, UtimensatFlags::NoFollowSymlink)
        .during("set the times of the copy of", subject)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_copy_is_like_its_original() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("etc/empty")).unwrap();
        std::fs::create_dir_all(from.join("secret/below")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("etc/a"), b"content").unwrap();
        std::fs::hard_link(from.join("etc/a"), from.join("b")).unwrap();
        std::fs::set_permissions(from.join("b"), std::fs::Permissions::from_mode(0o4751)).unwrap();
        symlink("/nowhere", from.join("dangling")).unwrap();
        mkfifoat(nix::fcntl::AT_FDCWD, &from.join("fifo"), Mode::from_bits_truncate(0o620)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        std::fs::set_permissions(from.join("etc/empty"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        std::fs::set_permissions(&from, std::fs::Permissions::from_mode(0o711)).unwrap();

        let warnings = copy_tree(&from, &to, &[from.join("secret")]).unwrap();

        assert_eq!(warnings, [""; 0]);
        assert_eq!(
            shown(&to),
            shown(&from)
                .replace("secret directory 755\nsecret/below directory 755\n", "")
                .replace("socket socket 755\n", "")
        );
        assert_eq!(std::fs::metadata(to.join("etc/a")).unwrap().ino(), std::fs::metadata(to.join("b")).unwrap().ino());
        assert_eq!(std::fs::read(to.join("b")).unwrap(), b"content");
        assert_eq!(to.metadata().unwrap().mtime_nsec(), from.metadata().unwrap().mtime_nsec());
    }

    /// The first of several names once counted as made before it was, and linking to it failed.
    #[test]
    fn what_has_several_names_and_cannot_be_copied_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        std::fs::hard_link(from.join("socket"), from.join("socket too")).unwrap();
        std::fs::write(from.join("file"), b"x").unwrap();

        assert_eq!(copy_tree(&from, &to, &[]).unwrap(), [""; 0]);

        assert_eq!(shown(&to), ". directory 755\nfile file 644\n");
    }

    #[test]
    fn what_cannot_be_read_is_named_and_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        // Its first page is not mapped, whoever reads it.
        let (memory, copy) = (File::open("/proc/self/mem").unwrap(), File::create(dir.path().join("copy")).unwrap());
        assert!(matches!(copy_range(&memory, &copy, 0, 4096), Err(Broken::Read(Errno::EIO))));
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert!(matches!(
            copy_range(&File::open("/proc/self/exe").unwrap(), &full, 0, 4096),
            Err(Broken::Write(Errno::ENOSPC))
        ));
    }

    #[test]
    fn holes_stay_holes_and_take_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        let sparse = File::create(from.join("sparse")).unwrap();
        // More than any disk has.
        let length = 1 << 42;
        sparse.set_len(length).unwrap();
        sparse.write_all_at(b"in the middle", length / 2).unwrap();

        check_room(&from, &to, &[]).unwrap();
        assert_eq!(copy_tree(&from, &to, &[]).unwrap(), [""; 0]);

        let copy = File::open(to.join("sparse")).unwrap();
        let mut middle = [0; 13];
        copy.read_exact_at(&mut middle, length / 2).unwrap();
        assert_eq!((&middle, copy.metadata().unwrap().len()), (b"in the middle", length));
        assert!(copy.metadata().unwrap().blocks() * 512 < 1 << 20);
    }

    /// One line per entry: path, kind, mode.
    fn shown(root: &Path) -> String {
        let mut lines = vec![format!(". directory {:o}\n", root.metadata().unwrap().mode() & 0o7777)];
        let mut pending = vec![root.to_owned()];
        while let Some(dir) = pending.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let meta = path.symlink_metadata().unwrap();
                let kind = match SFlag::from_bits_truncate(meta.mode() & libc::S_IFMT) {
                    SFlag::S_IFDIR => "directory".into(),
                    SFlag::S_IFREG => "file".into(),
                    SFlag::S_IFLNK => format!("link to {}", path.read_link().unwrap().display()),
                    SFlag::S_IFIFO => "fifo".into(),
                    _ => String::from("socket"),
                };
                let name = path.strip_prefix(root).unwrap().display().to_string();
                lines.push(format!("{name} {kind} {:o}\n", meta.mode() & 0o7777));
                if meta.is_dir() {
                    pending.push(path);
                }
            }
        }
        lines.sort();
        lines.concat()
    }
}
