//! Files and directories that come into being out of sight and appear complete, or never.
//!
//! A file is made without a name (`O_TMPFILE`) and linked when it is done. Where the filesystem cannot do that, and for
//! directories, the work is done under a hidden name beside the target, `.NAME.scrimp-PID-N`, which is locked while
//! its maker lives; whoever stages something next to one that is no longer locked removes it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, RenameFlags, renameat2};
use nix::unistd::linkat;

use crate::assemble::{AssembleError, DestinationError};

/// How often what was just made may be swept away before that is an error.
const MAX_SWEPT: u32 = 100;

/// In a hidden directory, the list of what is being moved out of it.
const MOVES: &str = "moves";

/// A file that has no name yet.
pub struct StagedFile {
    file: File,
    target: PathBuf,
    /// Its hidden name, where it needs one, and the lock that says it is in use.
    hidden: Option<Hidden>,
}

/// A directory under a hidden name.
pub struct StagedDir {
    hidden: Hidden,
    /// The directory itself: that of the hidden name, or one in it.
    root: PathBuf,
    target: PathBuf,
    /// Whether the hidden name lies in the target, which exists and is empty, rather than beside it.
    inside: bool,
}

/// A hidden name that is removed with all below it when this is dropped.
struct Hidden {
    path: PathBuf,
    lock: Option<Flock<File>>,
}

impl StagedFile {
    /// Makes a file that is to become `target`. Its directory must exist.
    pub fn new(target: &Path) -> Result<Self, AssembleError> {
        let parent = parent_of(target);
        sweep(&parent);
        let unnamed = OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o666)
            .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
            .open(&parent);
        match unnamed {
            Ok(file) => Ok(StagedFile { file, target: target.to_owned(), hidden: None }),
            // What filesystems and kernels say that do not know O_TMPFILE (open(2)).
            Err(cause)
                if matches!(
                    cause.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT | libc::EINVAL)
                ) =>
            {
                Self::named(target, &parent)
            }
            Err(cause) => Err(AssembleError::file("create a file in", &parent)(cause)),
        }
    }

    fn named(target: &Path, parent: &Path) -> Result<Self, AssembleError> {
        let (hidden, file) = Hidden::make(parent, target.file_name(), |path| {
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o666).open(path)
        })?;
        Ok(StagedFile { file, target: target.to_owned(), hidden: Some(hidden) })
    }

    /// The file, to be written.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name, unless something has it.
    pub fn publish(self) -> Result<(), AssembleError> {
        self.appear().map_err(|errno| cannot_appear(&self.target, errno))
    }

    /// Gives the file its name; a file that has it is replaced in one step.
    pub fn publish_over(self) -> Result<(), AssembleError> {
        match self.appear() {
            Err(Errno::EEXIST) => {}
            other => return other.map_err(|errno| cannot_appear(&self.target, errno)),
        }
        // A link replaces nothing, and what has no name cannot be renamed: for a moment the file needs another one. It
        // is locked before that, because once it had a name and lost it to somebody who sweeps, it could get no other.
        let again = || self.file.try_clone().map_err(AssembleError::file("open", &self.target));
        // Where nothing can be locked, nobody sweeps either.
        let _locked = Flock::lock(again()?, FlockArg::LockExclusiveNonblock).ok();
        let hidden = match self.hidden {
            Some(hidden) => hidden,
            None => {
                let link = |path: &Path| {
                    link_unnamed(&self.file, path)?;
                    self.file.try_clone()
                };
                Hidden::make(&parent_of(&self.target), self.target.file_name(), link)?.0
            }
        };
        fs::rename(&hidden.path, &self.target).map_err(AssembleError::file("replace", &self.target))
    }

    fn appear(&self) -> nix::Result<()> {
        match &self.hidden {
            None => link_unnamed(&self.file, &self.target),
            Some(hidden) => rename_new(&hidden.path, &self.target),
        }
    }
}

impl StagedDir {
    /// Makes a directory that is to become `target`, which does not exist or is an empty directory.
    pub fn new(target: &Path) -> Result<Self, AssembleError> {
        // An existing directory may be a mount point or the only place where the caller may write.
        let inside = target.is_dir();
        let parent = if inside { target.to_owned() } else { parent_of(target) };
        sweep_around(target);
        let name = if inside { None } else { target.file_name() };
        let (hidden, _) = Hidden::make(&parent, name, |path| {
            DirBuilder::new().mode(0o700).create(path)?;
            File::open(path)
        })?;
        let mut root = hidden.path.clone();
        if inside {
            root.push("tree");
            DirBuilder::new().mode(0o700).create(&root).map_err(AssembleError::file("create", &root))?;
        }
        Ok(StagedDir { hidden, root, target: target.to_owned(), inside })
    }

    /// Where the directory is now.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Gives the directory, which is private while it grows, the mode that the caller's umask asks for.
    pub fn open_to_others(&self) -> Result<(), AssembleError> {
        // The only way to ask for a umask without changing it is to make something.
        let sample = self.root.join("umask");
        let mode = fs::create_dir(&sample)
            .and_then(|()| fs::metadata(&sample))
            .and_then(|meta| fs::remove_dir(&sample).map(|()| meta.permissions().mode() & 0o777));
        let mode = mode.map_err(AssembleError::file("create", &sample))?;
        fs::set_permissions(&self.root, fs::Permissions::from_mode(mode))
            .map_err(AssembleError::file("set the mode of", &self.root))
    }

    /// Gives the directory its name, or moves its content into the one that exists, in the order of the names; that one
    /// keeps its own mode and owner. What has been moved when this process is killed is taken back by the next sweep.
    pub fn publish(self) -> Result<(), AssembleError> {
        if !self.inside {
            return rename_new(&self.root, &self.target).map_err(|errno| cannot_appear(&self.target, errno));
        }
        let mut members = list(&self.root).map_err(AssembleError::file("list", &self.root))?;
        members.sort();
        let moves = self.hidden.path.join(MOVES);
        write_moves(&moves, &members).map_err(AssembleError::file("write", &moves))?;
        for (name, path) in members {
            let target = self.target.join(name);
            if let Err(errno) = rename_new(&path, &target) {
                take_back(&self.target, &moves);
                return Err(cannot_appear(&target, errno));
            }
        }
        // From here on it is published, whatever happens.
        fs::remove_file(&moves).map_err(AssembleError::file("remove", &moves))
    }
}

impl Hidden {
    /// Calls `make` with hidden names until one is free, and locks what it made. Returns that open, too.
    fn make(
        parent: &Path,
        name: Option<&OsStr>,
        make: impl Fn(&Path) -> io::Result<File>,
    ) -> Result<(Self, File), AssembleError> {
        let mut swept = 0;
        for number in 0.. {
            let path = parent.join(hidden_name(name, number));
            let file = match make(&path) {
                Ok(file) => file,
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => continue,
                // Between making and opening, or between opening and locking, whoever sweeps may have come first: what
                // nobody holds a lock on looks like a dead one's. That happens now and then, not time and again.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound && swept < MAX_SWEPT => {
                    swept += 1;
                    continue;
                }
                Err(cause) => return Err(AssembleError::file("create", &path)(cause)),
            };
            let lock = file.try_clone().map_err(AssembleError::file("open", &path))?;
            match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
                Ok(lock) if is_at(&lock, &path) => return Ok((Hidden { path, lock: Some(lock) }, file)),
                Ok(_) | Err((_, Errno::EWOULDBLOCK)) if swept < MAX_SWEPT => swept += 1,
                // Where files cannot be locked nobody sweeps either.
                Err((_, Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS)) => {
                    return Ok((Hidden { path, lock: None }, file));
                }
                Ok(_) => return Err(AssembleError::file("keep", &path)(io::ErrorKind::NotFound.into())),
                Err((_, errno)) => {
                    let error = AssembleError::file("lock", &path)(errno.into());
                    drop(Hidden { path, lock: None });
                    return Err(error);
                }
            }
        }
        unreachable!("the numbers do not end")
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // What cannot be removed now is unlocked all the same, and the next run tries again.
        remove(&self.path);
        drop(self.lock.take());
    }
}

/// The `number`th hidden name of this process for what is to be called `name`.
fn hidden_name(name: Option<&OsStr>, number: u32) -> OsString {
    let mut hidden = OsString::from(".");
    if let Some(name) = name {
        // A name may have 255 bytes; what is added here must fit too.
        hidden.push(OsString::from_vec(name.as_bytes()[..name.len().min(200)].to_vec()));
        hidden.push(".");
    }
    hidden.push(format!("scrimp-{}-{number}", std::process::id()));
    hidden
}

/// Whether `name` is one that [`hidden_name`] makes.
pub fn is_hidden_name(name: &OsStr) -> bool {
    let number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let mut parts = name.as_bytes().rsplitn(3, |&b| b == b'-');
    let (count, pid, head) = (parts.next(), parts.next(), parts.next());
    let head_is_ours = |head: &[u8]| head == b".scrimp" || (head.starts_with(b".") && head.ends_with(b".scrimp"));
    count.is_some_and(number) && pid.is_some_and(number) && head.is_some_and(head_is_ours)
}

/// Removes what runs that ended before their time left beside `target`, and in it.
pub fn sweep_around(target: &Path) {
    sweep(&parent_of(target));
    if target.is_dir() {
        sweep(target);
    }
}

/// Removes what runs that ended before their time left in `parent`.
fn sweep(parent: &Path) {
    let anybody_writes = fs::metadata(parent).is_ok_and(|meta| meta.mode() & 0o002 != 0);
    // A directory that cannot be listed can still be written to, and has nothing that this run needs gone.
    for (name, path) in list(parent).unwrap_or_default() {
        if is_hidden_name(&name)
            && let Ok(file) =
                OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path)
            && let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            && is_at(&lock, &path)
        {
            // Others could put there what looks like ours, to have something of ours removed.
            let is_own = lock.metadata().is_ok_and(|meta| meta.uid() == nix::unistd::geteuid().as_raw());
            if is_own {
                take_back(parent, &path.join(MOVES));
            } else if anybody_writes {
                continue;
            }
            remove(&path);
            drop(lock);
        }
    }
}

/// Writes down what is about to be moved, each with its inode number, by which it is known again under its new name.
fn write_moves(file: &Path, members: &[(OsString, PathBuf)]) -> io::Result<()> {
    let mut text = Vec::new();
    for (name, path) in members {
        text.extend_from_slice(format!("{} ", fs::symlink_metadata(path)?.ino()).as_bytes());
        text.extend_from_slice(name.as_bytes());
        // No name has this byte in it.
        text.push(0);
    }
    fs::write(file, text)
}

/// Removes from `parent` what a run that ended before its time had moved there, by the list in `moves`, if there is
/// one.
fn take_back(parent: &Path, moves: &Path) {
    for line in fs::read(moves).unwrap_or_default().split(|&b| b == 0) {
        let mut parts = line.splitn(2, |&b| b == b' ');
        let inode = parts.next().and_then(|number| std::str::from_utf8(number).ok()?.parse::<u64>().ok());
        let name =
            parts.next().filter(|name| !name.contains(&b'/') && *name != b".." && *name != b"." && !name.is_empty());
        if let (Some(inode), Some(name)) = (inode, name) {
            let path = parent.join(OsStr::from_bytes(name));
            if fs::symlink_metadata(&path).is_ok_and(|there| there.ino() == inode) {
                remove(&path);
            }
        }
    }
}

/// Removes a file or a tree, as far as possible: what stays is found by the next sweep.
fn remove(path: &Path) {
    let is_dir = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    if !is_dir(path) {
        return drop(fs::remove_file(path));
    }
    if fs::remove_dir_all(path).is_err() {
        // Without privileges the modes of an image's directories can be in the way.
        let mut pending = vec![path.to_owned()];
        while let Some(dir) = pending.pop() {
            if fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).is_ok() {
                let children = list(&dir).unwrap_or_default().into_iter().map(|(_, path)| path);
                pending.extend(children.filter(|path| is_dir(path)));
            }
        }
        drop(fs::remove_dir_all(path));
    }
}

/// Whether `path` is a name of the open file.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    file.metadata().is_ok_and(|open| fs::symlink_metadata(path).is_ok_and(|there| id(there) == id(open)))
}

/// Gives a file without a name one, unless something has it.
fn link_unnamed(file: &File, path: &Path) -> nix::Result<()> {
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(AT_FDCWD, Path::new(&itself), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)
}

fn list(dir: &Path) -> io::Result<Vec<(OsString, PathBuf)>> {
    fs::read_dir(dir)?.map(|entry| entry.map(|e| (e.file_name(), e.path()))).collect()
}

/// Renames, unless something has the name.
fn rename_new(from: &Path, to: &Path) -> nix::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // A filesystem that does not know the flag: the check of the destination has to do.
        Err(Errno::EINVAL) if fs::symlink_metadata(to).is_err() => {
            fs::rename(from, to).map_err(|cause| Errno::from_raw(cause.raw_os_error().unwrap_or(libc::EIO)))
        }
        other => other,
    }
}

fn cannot_appear(target: &Path, errno: Errno) -> AssembleError {
    match errno {
        Errno::EEXIST => DestinationError::Exists { path: target.display().to_string() }.into(),
        errno => AssembleError::file("publish", target)(errno.into()),
    }
}

/// The directory that holds `path`.
pub fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => PathBuf::from("/"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// The names in a directory, and the content of files.
    fn dump(dir: &Path) -> Vec<String> {
        let mut lines: Vec<String> = list(dir)
            .unwrap()
            .into_iter()
            .map(|(name, path)| format!("{}: {}", name.display(), fs::read_to_string(path).unwrap_or("dir".into())))
            .collect();
        lines.sort();
        lines
    }

    /// Both ways to make a file: without a name, and, where that is not possible, under a hidden one.
    fn both(target: &Path) -> [StagedFile; 2] {
        [StagedFile::new(target).unwrap(), StagedFile::named(target, &parent_of(target)).unwrap()]
    }

    #[test]
    fn a_file_that_exists_is_replaced_only_on_request() {
        for way in [0, 1] {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("x");
            let make = |content: &str| {
                let [unnamed, named] = both(&target);
                let mut staged = if way == 0 { unnamed } else { named };
                staged.file().write_all(content.as_bytes()).unwrap();
                staged
            };
            make("one").publish_over().unwrap();
            assert_eq!(dump(dir.path()), ["x: one"]);
            assert!(make("two").publish().is_err());
            make("three").publish_over().unwrap();
            assert_eq!(dump(dir.path()), ["x: three"]);
            drop(make("four"));
            assert_eq!(dump(dir.path()), ["x: three"]);
        }
    }

    #[test]
    fn what_lives_is_not_swept_and_what_is_dead_is() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x");
        let living = StagedFile::named(&target, dir.path()).unwrap();
        fs::write(dir.path().join(".x.scrimp-1-0"), "dead").unwrap();
        fs::create_dir_all(dir.path().join(".y.scrimp-1-0/locked")).unwrap();
        fs::set_permissions(dir.path().join(".y.scrimp-1-0/locked"), fs::Permissions::from_mode(0o000)).unwrap();
        sweep_around(&target);
        assert_eq!(dump(dir.path()).len(), 1);
        living.publish().unwrap();
        assert_eq!(dump(dir.path()), ["x: "]);
    }

    #[test]
    fn half_a_directory_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let staged = StagedDir::new(dir.path()).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(staged.path().join(name), name).unwrap();
        }
        let members = list(staged.path()).unwrap();
        write_moves(&staged.hidden.path.join(MOVES), &members).unwrap();
        fs::rename(staged.path().join("a"), dir.path().join("a")).unwrap();
        fs::rename(staged.path().join("b"), dir.path().join("b")).unwrap();
        // Somebody has made room and put something else there since.
        fs::write(dir.path().join("other"), "b").unwrap();
        fs::rename(dir.path().join("other"), dir.path().join("b")).unwrap();
        sweep_around(dir.path());
        assert_eq!(dump(dir.path()).len(), 3, "it lives");
        // As when it is killed.
        let Hidden { path, lock } = &mut { staged }.hidden;
        drop(lock.take());
        sweep_around(dir.path());
        assert_eq!(dump(dir.path()), ["b: b"]);
        assert!(!path.exists());
        let staged = StagedDir::new(dir.path()).unwrap();
        fs::write(staged.path().join("d"), "d").unwrap();
        staged.publish().unwrap();
        assert_eq!(dump(dir.path()), ["b: b", "d: d"]);
    }

    #[test]
    fn whoever_sweeps_meanwhile_takes_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    sweep(dir.path());
                }
            });
            for number in 0..200 {
                let target = dir.path().join(format!("file-{number}"));
                StagedFile::named(&target, dir.path()).unwrap().publish_over().unwrap();
                StagedFile::new(&target).unwrap().publish_over().unwrap();
                StagedDir::new(&dir.path().join(format!("dir-{number}"))).unwrap().publish().unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(dump(dir.path()).len(), 400);
    }
}
