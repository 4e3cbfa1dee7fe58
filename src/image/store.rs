//! The store: unpacked roots, kept between runs, and scratch space, gone after each.
//!
//! ```text
//! STORE/v2/lock            held while a scratch directory comes into being or is looked at by the sweep
//! STORE/v2/making/XX       held while a root whose key begins with XX is being unpacked
//! STORE/v2/roots/KEY/      root/  index  about.json  lock (shared while the root is in use)
//! STORE/v2/scratch/NAME/   whatever its owner makes
//! STORE/v2/scratch/NAME.lock   exclusive while the owner lives; made before the directory and removed after it
//! ```
//!
//! A root is unpacked in scratch space and renamed into place when it is complete and checked, so one that is there
//! is whole. Locks are `flock(2)`: they end with the process, however it ends. Several processes may use one store.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::base::{FileTree, env_vars};
use crate::image::Entry;
use crate::image::error::ImageError;
use crate::image::placement;
use crate::image::stored_index;

/// The layout of the store, and how roots are unpacked in it; another one gets a directory of its own.
const VERSION: &str = "v2";
/// How many names are tried for a scratch directory.
const MAX_NAMES: u32 = 10_000;

/// Where unpacked roots and scratch space are.
pub struct Store {
    dir: PathBuf,
}

/// A directory that is removed when this is dropped, or by the next [`Store::open`] after the process died.
pub struct ScratchDir {
    dir: PathBuf,
    lock: PathBuf,
    _locked: Flock<File>,
}

/// Keeps an unpacked root in the store while it is held.
#[derive(Debug)]
pub struct RootGuard {
    _lock: Flock<File>,
}

/// What is said about a root in `about.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The name of the image it was first unpacked for.
    pub reference: String,
    /// Under which mapping of ids it was unpacked.
    pub id_map: String,
    /// Regular files, hard links counted once.
    pub files: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// The machine's boot during which it was written: what a crash may have cost is looked for once after it.
    pub boot: String,
}

/// A root in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRoot {
    /// Its directory name.
    pub key: String,
    /// What is said about it; `None` when that cannot be read.
    pub about: Option<About>,
    /// Whether a process uses it now.
    pub in_use: bool,
}

/// A root that was found or just put in the store.
pub(super) struct Opened {
    pub(super) root: PathBuf,
    pub(super) entries: FileTree<Entry>,
    pub(super) guard: RootGuard,
}

impl Store {
    /// Opens the store in `dir`, makes it when it is not there, and removes scratch space of processes that died.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let dir = dir.join(VERSION);
        for part in ["roots", "scratch", "making"] {
            make_dir(&dir.join(part), true).map_err(fail("make the directory", &dir.join(part)))?;
            placement::spread_apart(&dir.join(part));
        }
        // Processes that work elsewhere get paths of it.
        let store = Store { dir: fs::canonicalize(&dir).map_err(fail("find the way to", &dir))? };
        store.sweep()?;
        Ok(store)
    }

    /// Where the store is unless the user says otherwise: `SCRIMP_STORE`, or `scrimp` in the user's cache directory.
    /// `None` when there is no home to look in.
    pub fn default_dir() -> Option<PathBuf> {
        let directory = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        directory(env_vars::STORE)
            .or_else(|| {
                directory(env_vars::XDG_CACHE_HOME).filter(|dir| dir.is_absolute()).map(|dir| dir.join("scrimp"))
            })
            .or_else(|| directory(env_vars::HOME).map(|home| home.join(".cache/scrimp")))
    }

    /// Where the store is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where all of it is: the directory that was named for it, unless that holds other things too.
    pub fn outermost(&self) -> &Path {
        let named = self.dir.parent().filter(|named| {
            fs::read_dir(named).is_ok_and(|mut all| {
                all.all(|entry| entry.is_ok_and(|entry| is_version(entry.file_name().as_encoded_bytes())))
            })
        });
        named.unwrap_or(&self.dir)
    }

    /// A file without a name, for reading and writing.
    pub fn temp_file(&self) -> Result<File, ImageError> {
        let dir = self.dir.join("scratch");
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        match options.clone().custom_flags(libc::O_TMPFILE).open(&dir) {
            Ok(file) => Ok(file),
            // Some file systems cannot do it: a name that lives for a moment does as well.
            Err(cause) if matches!(cause.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT)) => {
                let scratch = self.scratch_dir()?;
                let path = scratch.path().join("file");
                options.create_new(true).open(&path).map_err(fail("create", &path))
            }
            Err(cause) => Err(fail("create a file", &dir)(cause)),
        }
    }

    /// A fresh directory of this process, mode 0700.
    pub fn scratch_dir(&self) -> Result<ScratchDir, ImageError> {
        let _sweep = self.lock("lock", FlockArg::LockShared)?;
        let parent = self.dir.join("scratch");
        for number in 0..MAX_NAMES {
            let name = format!("{}-{number}", std::process::id());
            let (dir, lock) = (parent.join(&name), parent.join(name + ".lock"));
            let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock) {
                Ok(file) => file,
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(cause) => return Err(fail("create", &lock)(cause)),
            };
            let locked = flock(file, FlockArg::LockExclusiveNonblock).map_err(fail("lock", &lock))?;
            make_dir(&dir, false).map_err(fail("make the directory", &dir))?;
            return Ok(ScratchDir { dir, lock, _locked: locked });
        }
        Err(fail("make a directory", &parent)(io::ErrorKind::AlreadyExists.into()))
    }

    /// The roots that are there, by key.
    pub fn roots(&self) -> Result<Vec<StoredRoot>, ImageError> {
        let mut roots = Vec::new();
        for dir in self.list("roots")? {
            let about = fs::read(dir.join("about.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let in_use = !matches!(lock_in_place(&dir.join("lock"), FlockArg::LockExclusiveNonblock), Ok(Some(_)));
            let key = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            roots.push(StoredRoot { key, about, in_use });
        }
        Ok(roots)
    }

    /// Removes a root. `false` when it is in use or not there.
    pub fn remove_root(&self, key: &str) -> Result<bool, ImageError> {
        let dir = self.dir.join("roots").join(key);
        if !dir.is_dir() {
            return Ok(false);
        }
        let Some(_lock) = lock_in_place(&dir.join("lock"), FlockArg::LockExclusiveNonblock)
            .map_err(fail("lock", &dir.join("lock")))?
        else {
            return Ok(false);
        };
        // Under another name at once, so that nobody finds half of it.
        let grave = self.scratch_dir()?;
        fs::rename(&dir, grave.path().join("root")).map_err(fail("remove", &dir))?;
        grave.remove()?;
        Ok(true)
    }

    /// The root of `key`, if it is there and whole. It stays while the guard is held.
    pub(super) fn find(&self, key: &str) -> Result<Option<Opened>, ImageError> {
        let dir = self.dir.join("roots").join(key);
        let lock_path = dir.join("lock");
        let Some(lock) = lock_in_place(&lock_path, FlockArg::LockShared).map_err(fail("lock", &lock_path))? else {
            return Ok(None);
        };
        let root = dir.join("root");
        let entries = match fs::read(dir.join("index")) {
            Ok(bytes) => stored_index::decode(&bytes),
            Err(_) => None,
        };
        let entries = entries.filter(|entries| survived(&dir, &root, entries));
        let Some(entries) = entries else {
            // Damaged, by a crash or by hand: it makes room for a good one.
            drop(lock);
            if !self.remove_root(key)? && dir.exists() {
                return Err(ImageError::Invalid {
                    what: format!("the unpacked image {}", dir.display()),
                    problem: "it is damaged and in use".into(),
                    hint: Some("end the other scrimp, or name another store with SCRIMP_STORE".into()),
                });
            }
            return Ok(None);
        };
        Ok(Some(Opened { root, entries, guard: RootGuard { _lock: lock } }))
    }

    /// The root of `key`, unpacked by `unpack` into the directory it is given when it is not there yet. Of several
    /// processes that ask for the same one, one unpacks and the others wait for it.
    pub(super) fn find_or_make(
        &self,
        key: &str,
        reference: &str,
        id_map: &str,
        unpack: impl FnOnce(&Path) -> Result<FileTree<Entry>, ImageError>,
    ) -> Result<Opened, ImageError> {
        if let Some(found) = self.find(key)? {
            return Ok(found);
        }
        let _making = self.lock(&format!("making/{}", &key[..2]), FlockArg::LockExclusive)?;
        if let Some(found) = self.find(key)? {
            return Ok(found);
        }
        let scratch = self.scratch_dir()?;
        let made = scratch.path().join("made");
        let root = made.join("root");
        for dir in [&made, &root] {
            make_dir(dir, false).map_err(fail("make the directory", dir))?;
        }
        let entries = unpack(&root)?;
        let index = made.join("index");
        fs::write(&index, stored_index::encode(&entries)).map_err(fail("write", &index))?;
        let (files, bytes) = crate::image::totals(&entries);
        let about = About { reference: reference.into(), id_map: id_map.into(), files, bytes, boot: boot_id() };
        write_about(&made, &about).map_err(fail("write", &made))?;
        let lock = lock_file(&made.join("lock"), FlockArg::LockShared).map_err(fail("lock", &made))?;
        let dir = self.dir.join("roots").join(key);
        if dir.exists() {
            // Nothing that can be used, or it would have been found.
            fs::rename(&dir, scratch.path().join("useless")).map_err(fail("remove", &dir))?;
        }
        fs::rename(&made, &dir).map_err(fail("put into place", &dir))?;
        Ok(Opened { root: dir.join("root"), entries, guard: RootGuard { _lock: lock } })
    }

    /// Removes the scratch space of processes that are no more. What cannot be removed (because it belongs to ids
    /// that only another mapping can touch) is left for a run that can.
    fn sweep(&self) -> Result<(), ImageError> {
        let mut dead = Vec::new();
        {
            let Ok(_lock) = lock_file(&self.dir.join("lock"), FlockArg::LockExclusiveNonblock) else {
                // Somebody makes a scratch directory right now; the next run sweeps as well.
                return Ok(());
            };
            for lock in self.list("scratch")?.into_iter().filter(|path| path.extension().is_some()) {
                if let Ok(Some(locked)) = lock_in_place(&lock, FlockArg::LockExclusiveNonblock) {
                    dead.push(ScratchDir { dir: lock.with_extension(""), lock, _locked: locked });
                }
            }
        }
        drop(dead);
        Ok(())
    }

    fn list(&self, part: &str) -> Result<Vec<PathBuf>, ImageError> {
        let dir = self.dir.join(part);
        let entries = fs::read_dir(&dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut paths: Vec<PathBuf> =
            entries.map_err(fail("list", &dir))?.into_iter().map(|entry| entry.path()).collect();
        paths.sort();
        Ok(paths)
    }

    fn lock(&self, name: &str, how: FlockArg) -> Result<Flock<File>, ImageError> {
        let path = self.dir.join(name);
        lock_file(&path, how).map_err(fail("lock", &path))
    }
}

/// Whether a directory of this name is the store of this version of scrimp or of another.
fn is_version(name: &[u8]) -> bool {
    name.strip_prefix(b"v").is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

impl ScratchDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Removes it now, and says whether that worked.
    pub fn remove(self) -> Result<(), ImageError> {
        self.clear().map_err(fail("remove", &self.dir))
    }

    fn clear(&self) -> io::Result<()> {
        remove_tree(&self.dir)?;
        match fs::remove_file(&self.lock) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        }
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What is left is swept by the next run, and after `remove` there is nothing left.
        if self.lock.exists() {
            drop(self.clear());
        }
    }
}

fn fail<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ImageError + 'a {
    move |cause| ImageError::Store { operation, path: path.to_owned(), cause }
}

fn make_dir(path: &Path, with_parents: bool) -> io::Result<()> {
    DirBuilder::new().recursive(with_parents).mode(0o700).create(path)
}

/// Opens or makes a lock file and locks it.
fn lock_file(path: &Path, how: FlockArg) -> io::Result<Flock<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    flock(file, how)
}

/// Locks a lock file that its holders may remove. `None` when it is not there, or, without blocking, not free.
fn lock_in_place(path: &Path, how: FlockArg) -> io::Result<Option<Flock<File>>> {
    loop {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let lock = match flock(file, how) {
            Ok(lock) => lock,
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(cause) => return Err(cause),
        };
        // Between opening and locking, what it stands for may have been removed and even made anew.
        let held = lock.metadata()?;
        if fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
            return Ok(Some(lock));
        }
    }
}

fn flock(mut file: File, how: FlockArg) -> io::Result<Flock<File>> {
    loop {
        match Flock::lock(file, how) {
            Ok(lock) => return Ok(lock),
            Err((unlocked, Errno::EINTR)) => file = unlocked,
            Err((_, cause)) => return Err(cause.into()),
        }
    }
}

/// Removes a tree whose directories may have any mode. Nothing that is not there is an error.
fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            open_up(dir)?;
            fs::remove_dir_all(dir)
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives this user all rights on the directories of a tree.
fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

fn write_about(dir: &Path, about: &About) -> io::Result<()> {
    fs::write(dir.join("about.json"), serde_json::to_vec(about)?)
}

/// Which boot of the machine this is.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Whether the files are what they were. A root is not synced to disk, so after the machine went down without notice
/// files can be short: the sizes are compared once in each boot.
fn survived(dir: &Path, root: &Path, entries: &FileTree<Entry>) -> bool {
    let about = fs::read(dir.join("about.json")).ok().and_then(|bytes| serde_json::from_slice::<About>(&bytes).ok());
    let Some(mut about) = about else { return false };
    let boot = boot_id();
    if about.boot == boot {
        return true;
    }
    let is_whole = entries.iter().all(|(path, entry)| match entry.kind {
        crate::image::EntryKind::File { size, .. } => {
            fs::symlink_metadata(path.on_host(root)).is_ok_and(|found| found.is_file() && found.len() == size)
        }
        _ => fs::symlink_metadata(path.on_host(root)).is_ok(),
    });
    if is_whole {
        about.boot = boot;
        // When it cannot be noted the next run looks again.
        drop(write_about(dir, &about));
    }
    is_whole
}

#[cfg(test)]
mod tests;
