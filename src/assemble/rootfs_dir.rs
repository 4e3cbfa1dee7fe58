//! The files themselves, in a directory. Owners, devices and some attributes need privileges: what cannot be given is
//! named in a warning, with the first path that it hit.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;

use crate::assemble::layer::{Place, Placed};
use crate::assemble::staging::StagedDir;
use crate::assemble::{AssembleError, Layer};
use crate::base::ImagePath;
use crate::image::{Entry, EntryKind};

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;

/// Writes the tree beside the directory, or in it when it exists. Returns warnings too.
pub fn stage(dir: &Path, layer: &Layer) -> Result<(StagedDir, Vec<String>), AssembleError> {
    let staged = StagedDir::new(dir)?;
    let mut losses = Losses::default();
    // Every parent is a directory that was made here, so no path leads through a link.
    for (path, placed) in layer.entries.iter().filter(|(path, _)| !path.is_root()) {
        let target = path.on_host(staged.path());
        let made = make(layer, placed, staged.path(), &target).map_err(AssembleError::file("create", &target));
        match made {
            Ok(()) if placed.entry.is_dir() || matches!(placed.content, Place::Hardlink(_)) => {}
            Ok(()) => give_metadata(path, &placed.entry, &target, &mut losses)?,
            Err(AssembleError::File { cause, .. }) if is_device(&placed.entry) && is_refusal(&cause) => {
                losses.add("the device", "made", path, &cause);
            }
            Err(error) => return Err(error),
        }
    }
    // Directories last, and the inner ones first: each new member touches the directory, and a mode can lock it.
    for (path, placed) in layer.entries.iter().rev().filter(|(_, placed)| placed.entry.is_dir()) {
        give_metadata(path, &placed.entry, &path.on_host(staged.path()), &mut losses)?;
    }
    Ok((staged, losses.into_warnings()))
}

fn make(layer: &Layer, placed: &Placed, root: &Path, target: &Path) -> io::Result<()> {
    let node = |kind, device| Ok(mknod(target, kind, Mode::from_bits_truncate(0o600), device)?);
    match (&placed.entry.kind, &placed.content) {
        (EntryKind::File { .. }, Place::Hardlink(first)) => fs::hard_link(first.on_host(root), target),
        (EntryKind::File { size, .. }, content) => {
            let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
            match content {
                Place::At(offset) => layer.part(*offset, *size).copy_to(&mut file),
                _ => Ok(()),
            }
        }
        (EntryKind::Dir, _) => DirBuilder::new().mode(0o700).create(target),
        (EntryKind::Symlink { target: text }, _) => symlink(OsStr::from_bytes(text), target),
        (&EntryKind::CharDevice { major, minor }, _) => node(SFlag::S_IFCHR, makedev(major.into(), minor.into())),
        (&EntryKind::BlockDevice { major, minor }, _) => node(SFlag::S_IFBLK, makedev(major.into(), minor.into())),
        (EntryKind::Fifo, _) => node(SFlag::S_IFIFO, 0),
        (EntryKind::Socket, _) => Ok(()),
    }
}

/// Owner first: a change of owner clears set-id bits and capabilities.
fn give_metadata(path: &ImagePath, entry: &Entry, target: &Path, losses: &mut Losses) -> Result<(), AssembleError> {
    let mut mode = entry.mode;
    if let Err(cause) = lchown(target, Some(entry.uid), Some(entry.gid)) {
        if !is_refusal(&cause) {
            return Err(AssembleError::file("change the owner of", target)(cause));
        }
        losses.add("the owner", "set", path, &cause);
        if entry.is_file() && mode & SET_ID != 0 {
            // With another owner the bits would give other rights.
            mode &= !SET_ID;
            losses.add("the set-id bits", "set", path, &cause);
        }
    }
    let is_link = entry.link_target().is_some();
    for (name, value) in &entry.xattrs {
        if let Err(cause) = xattr::set(target, name, value) {
            if !is_refusal(&cause) {
                return Err(AssembleError::file("set an extended attribute of", target)(cause));
            }
            losses.add(&format!("the attribute {name}"), "set", path, &cause);
        }
    }
    if !is_link {
        fs::set_permissions(target, Permissions::from_mode(mode))
            .map_err(AssembleError::file("set the mode of", target))?;
    }
    let time = TimeSpec::new(entry.mtime, entry.nanos.into());
    utimensat(AT_FDCWD, target, &time, &time, UtimensatFlags::NoFollowSymlink)
        .map_err(|errno| AssembleError::file("set the time of", target)(errno.into()))
}

fn is_device(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. })
}

/// Whether the cause is that this user, namespace or filesystem may not: an id that is not mapped is EINVAL.
fn is_refusal(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::EINVAL | libc::ENOTSUP))
}

/// What could not be given, by kind: how often, and where and why first.
#[derive(Default)]
struct Losses(BTreeMap<(String, &'static str), (usize, ImagePath, String)>);

impl Losses {
    fn add(&mut self, what: &str, done: &'static str, path: &ImagePath, cause: &io::Error) {
        self.0.entry((what.to_owned(), done)).or_insert_with(|| (0, path.clone(), cause.to_string())).0 += 1;
    }

    fn into_warnings(self) -> Vec<String> {
        let sentence = |((what, done), (count, path, cause)): ((String, &str), (usize, ImagePath, String))| match count
        {
            1 => format!("{what} of {path} could not be {done}: {cause}"),
            _ => format!("{what} of {count} files could not be {done}, {path} the first of them: {cause}"),
        };
        self.0.into_iter().map(sentence).collect()
    }
}
