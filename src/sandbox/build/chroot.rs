//! The sandbox without namespaces: a copy of the base that this process makes its root.
//!
//! Nothing can be mounted here, so what a plan mounts is written into the copy as far as it can be: directories, links
//! and files; devices where this process may make them. There is no `/proc` and no `/sys`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, mknod};

use crate::sandbox::build::copy::{check_room, copy_directory, copy_tree};
use crate::sandbox::build::place;
use crate::sandbox::failure::{During, Failure};
use crate::sandbox::plan::{Mount, SandboxPlan, What};

/// What stands for a source of random bytes that cannot be made, in bytes.
const RANDOM_BYTES: u64 = 1 << 16;

/// What a bind mount of the plan would show, opened while the host is in sight.
enum Source {
    Device(SFlag, u64),
    Directory(File, PathBuf),
    File(File),
}

/// Copies `from` to `to`, puts what the plan mounts into the copy, and makes it the root of this process. Returns what
/// could not be done, each a sentence.
pub fn build(plan: &SandboxPlan, from: &Path, to: &Path, without: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let mut warnings = plan.warnings.clone();
    if !without.is_empty() {
        check_room(from, to, without)?;
    }
    warnings.extend(copy_tree(from, to, without)?);
    let sources: Vec<Option<io::Result<Source>>> = plan
        .mounts
        .iter()
        .map(|mount| match &mount.what {
            What::Bind { source, .. } => Some(open(source)),
            _ => None,
        })
        .collect();
    // Where there is none, what stands for it is empty.
    let mut random = File::open("/dev/urandom").ok();
    let subject = to.as_os_str().as_bytes();
    nix::unistd::chroot(to).during("change the root to", subject)?;
    nix::unistd::chdir("/").during("enter", "/")?;
    let mut no_devices = Vec::new();
    for (mount, source) in plan.mounts.iter().zip(sources) {
        let at = mount.at.on_host(Path::new("/"));
        let name = mount.at.as_bytes();
        let done = match source {
            None => put(mount, &at),
            Some(Err(cause)) => Err(cause),
            Some(Ok(Source::Device(kind, number))) => match device(&at, kind, number) {
                Err(_) => {
                    no_devices.push(mount.at.to_string());
                    stand_in(&at, random.as_mut())
                }
                made => made,
            },
            Some(Ok(Source::Directory(dir, from))) => {
                warnings.push(format!(
                    "{} is a copy: what is written there does not reach {}",
                    mount.at,
                    from.display()
                ));
                place::mount_point(&at, true).during("make the directory", name)?;
                warnings.extend(copy_directory(dir.as_fd(), &from, &at, &[])?);
                Ok(())
            }
            Some(Ok(Source::File(mut file))) => write(&at, &mut file),
        };
        match done.during("put in place", name) {
            Err(failure) if !mount.required => warnings.push(failure.to_string()),
            other => other?,
        }
    }
    if !no_devices.is_empty() {
        warnings.push(format!("devices cannot be made here; files stand for {}", no_devices.join(", ")));
    }
    Ok(warnings)
}

fn open(source: &Path) -> io::Result<Source> {
    let meta = std::fs::metadata(source)?;
    let kind = meta.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        return Ok(Source::Device(SFlag::from_bits_truncate(meta.mode() & libc::S_IFMT), meta.rdev()));
    }
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(source)?;
    Ok(if kind.is_dir() { Source::Directory(file, source.into()) } else { Source::File(file) })
}

/// What needs nothing of the host.
fn put(mount: &Mount, at: &Path) -> io::Result<()> {
    match &mount.what {
        What::Directory { mode, owner } => place::directory(at, *mode, *owner),
        What::Tmpfs { mode, .. } => {
            place::mount_point(at, true)?;
            empty(at)?;
            std::fs::set_permissions(at, std::fs::Permissions::from_mode(*mode))
        }
        // Programs that log to their standard output by name get a file instead: the way to it is in `/proc`.
        What::Symlink { target } if target.starts_with(b"/proc/self/fd/") => stand_in(at, None),
        What::Symlink { target } => place::link(at, target),
        What::File { content } => write(at, &mut content.as_slice()),
        _ => Ok(()),
    }
}

/// Empties a directory of the copy: what a mount would have hidden.
fn empty(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

fn device(at: &Path, kind: SFlag, number: u64) -> io::Result<()> {
    place::mount_point(at.parent().unwrap_or(Path::new("/")), true)?;
    mknod(at, kind, Mode::from_bits_truncate(0o666), number)?;
    // A device that may be made may still be barred from use (`device_cgroup`).
    match OpenOptions::new().read(true).open(at) {
        Err(cause) if cause.raw_os_error() == Some(libc::EPERM) => {
            std::fs::remove_file(at)?;
            Err(cause)
        }
        // A terminal device cannot be opened without a terminal.
        _ => Ok(()),
    }
}

/// A file in the place of a device: empty, or with random bytes where these are asked for.
fn stand_in(at: &Path, random: Option<&mut File>) -> io::Result<()> {
    let is_random = at.ends_with("random") || at.ends_with("urandom");
    match random.filter(|_| is_random) {
        Some(random) => write(at, &mut random.take(RANDOM_BYTES)),
        None => write(at, &mut io::empty()),
    }?;
    std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o666))
}

/// Replaces the file at `at`; a link there is followed, as a mount would.
fn write(at: &Path, content: &mut dyn Read) -> io::Result<()> {
    place::mount_point(at, false)?;
    let at = std::fs::canonicalize(at)?;
    // A FIFO would wait for a reader for ever, and what is written to a device goes to the machine's.
    if !std::fs::metadata(&at)?.is_file() {
        std::fs::remove_file(&at)?;
        place::mount_point(&at, false)?;
    }
    let mut file = OpenOptions::new().write(true).truncate(true).open(&at)?;
    io::copy(content, &mut file)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.flush()
}
