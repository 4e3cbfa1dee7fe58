//! The trees that observers see: made anew for each of them, with what is live of the application put on top.
//!
//! A tree is an overlay of its base, so the host has to be in sight when it is made, and an observer must never be
//! where that is so. Hence two mount namespaces: the one in which the sandbox was put together stays behind as it was,
//! and only a copy of it becomes the sandbox. The supervisor goes back for a moment, makes the tree as a mount without
//! a place, and returns; the observer's process, which was in the sandbox all the time, takes a copy of the sandbox's
//! mounts for itself and makes that tree its root. So it reaches what the application reaches, and its own tree, and
//! nothing else.
//!
//! What the application has written since it started lies in the throw-away layer of its root. That layer is put
//! between the base and what the observer writes, so that files made at run time are there; sockets and what is mounted
//! in the sandbox are the application's own.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag, fstat};
use xattr::FileExt;

use crate::base::ImagePath;
use crate::sandbox::build::{Source, Stage, attach, bind, mount_api, pivot, place, put, refused, tmpfs};
use crate::sandbox::failure::{During, Failure};
use crate::sandbox::plan::observers::{MEETING_PLACES, ObserverTree};
use crate::sandbox::plan::{Mount, RootPlan, SandboxPlan, What};

/// How many bytes of the list of sockets are read.
const MAX_LIST: u64 = 4 << 20;
/// How many sockets outside of the meeting places are shown.
const MAX_SOCKETS: usize = 256;
/// An overlay's mark on a directory that hides those of the same name below it (`overlayfs.rst`, with `userxattr`).
const OPAQUE: &str = "user.overlay.opaque";

/// What makes the trees of observers; belongs to the supervisor.
pub struct Observatory {
    tree: ObserverTree,
    /// The mount namespace in which the host is in sight, and its root there.
    outside: File,
    outside_root: OwnedFd,
    /// The sandbox's.
    inside: File,
    /// As it is seen outside.
    stage: Stage,
    /// The throw-away layer of the application's root, where there is one.
    written: Option<OwnedFd>,
    /// What is mounted in the sandbox, the uppermost only, and `/proc` last: what lies before it cannot lead through
    /// it.
    mounted: Vec<ImagePath>,
}

/// A tree that is ready to be entered.
pub struct View {
    root: OwnedFd,
    mounts: Vec<(Mount, Source)>,
}

/// Something of the application's tree.
struct Live {
    at: PathBuf,
    mount: OwnedFd,
    is_dir: bool,
    /// Whether an observer is of no use without it.
    required: bool,
}

impl Observatory {
    /// Leaves the mount namespace with the host in it behind, for a copy. The stage is then that of the copy.
    pub(super) fn leave_behind(
        tree: &ObserverTree,
        plan: &SandboxPlan,
        stage: &mut Stage,
        written: Option<OwnedFd>,
    ) -> Result<Self, Failure> {
        let namespace = || File::open("/proc/self/ns/mnt").during("open", "/proc/self/ns/mnt");
        let outside = namespace()?;
        let outside_root = directory(Path::new("/"))?;
        // Descriptors stay where they are; the working directory goes along.
        nix::unistd::fchdir(&stage.dir).during("enter", "the stage")?;
        unshare(CloneFlags::CLONE_NEWNS).during("make another mount namespace", "")?;
        let left = std::mem::replace(&mut stage.dir, directory(Path::new("."))?);
        Ok(Observatory {
            tree: tree.clone(),
            outside,
            outside_root,
            inside: namespace()?,
            stage: Stage { dir: left, next: stage.next.clone() },
            written,
            mounted: mounted(plan),
        })
    }

    /// Takes marks from the directories that were made for the sandbox's mounts, or they would hide what the base has
    /// there. Newer kernels set none unless an overlay keeps an index.
    pub(super) fn uncover(&self) -> Result<(), Failure> {
        match &self.written {
            Some(written) => uncover(written, Path::new(".")),
            None => Ok(()),
        }
    }

    /// Makes a tree.
    pub fn view(&self) -> Result<View, Failure> {
        let made = self.go_outside().and_then(|()| self.make());
        let back = setns(&self.inside, CloneFlags::CLONE_NEWNS);
        if back.and_then(|()| nix::unistd::chdir("/")).is_err() {
            // With the host in sight nothing more may be started from here.
            std::process::abort();
        }
        made
    }

    fn go_outside(&self) -> Result<(), Failure> {
        setns(&self.outside, CloneFlags::CLONE_NEWNS).during("enter the mount namespace", "of the host")?;
        // The root of a namespace is what is uppermost there, the stage, and need not be that of whoever started
        // scrimp.
        nix::unistd::fchdir(&self.outside_root).during("enter", "the root of the host")?;
        nix::unistd::chroot(".").during("change the root to", "the root of the host")
    }

    fn make(&self) -> Result<View, Failure> {
        let root = match &self.tree.root {
            RootPlan::Overlay { lower, upper } => {
                // Why not is no matter: see below.
                let with_written = |written| self.stage.overlay_with(Some(written), lower, upper).ok();
                match self.written.as_ref().and_then(with_written) {
                    Some(overlay) => overlay.mount,
                    // A kernel may refuse a layer that another overlay writes to. Without it files that the
                    // application made are missing, which few observers look at.
                    None => self.stage.overlay(lower, upper)?.mount,
                }
            }
            _ => tmpfs(0o755, None, 0).map_err(|e| refused("mount a tmpfs on", "/", e))?,
        };
        let mut mounts = Vec::new();
        for mount in &self.tree.mounts {
            let source = match &mount.what {
                What::Bind { source, read_only } => bind(source, *read_only),
                _ => self.stage.prepare(mount),
            };
            match source {
                Ok(source) => mounts.push((mount.clone(), source)),
                Err(failure) if mount.required => return Err(failure),
                // As in the sandbox of the base itself, where that was told.
                Err(_) => {}
            }
        }
        Ok(View { root, mounts })
    }

    /// Makes a tree the root of this process, which is in the sandbox and has the rights of its root.
    pub fn enter(&self, view: View) -> Result<(), Failure> {
        let live = self.live()?;
        unshare(CloneFlags::CLONE_NEWNS).during("make a mount namespace", "")?;
        mount_api::attach(view.root.as_fd(), Path::new("/")).during("mount", "the tree of observers")?;
        pivot(&view.root, &["the tree of the application"])?;
        for (mount, source) in view.mounts {
            match put(&mount, source) {
                Err(failure) if mount.required => return Err(failure),
                _ => {}
            }
        }
        for live in live {
            let name = live.at.as_os_str().as_bytes();
            let placed = place::mount_point(&live.at, live.is_dir).during("make a mount point at", name);
            let source = Source { mount: Some(live.mount), is_dir: live.is_dir, ..Source::default() };
            match placed.and_then(|found| attach(source, &live.at, found.as_fd(), name)) {
                Err(failure) if live.required => return Err(failure),
                _ => {}
            }
        }
        Ok(())
    }

    /// What there is of the application's tree for an observer to see. Runs where `/` is that tree.
    fn live(&self) -> Result<Vec<Live>, Failure> {
        let places = MEETING_PLACES.into_iter().filter_map(|at| ImagePath::parse(at).ok());
        let places: Vec<ImagePath> =
            places.filter(|at| !self.mounted.iter().any(|mounted| at.is_within(mounted))).collect();
        let mut list = Vec::new();
        if let Ok(file) = File::open("/proc/net/unix") {
            file.take(MAX_LIST).read_to_end(&mut list).during("read", "/proc/net/unix")?;
        }
        let shown = |at: &ImagePath| self.mounted.iter().chain(&places).any(|known| at.is_within(known));
        let sockets: Vec<ImagePath> = sockets(&list).into_iter().filter(|at| !shown(at)).take(MAX_SOCKETS).collect();
        let mut live = Vec::new();
        // First what may lie above something else.
        for at in &places {
            live.extend(look(at, false).filter(|live| live.is_dir));
        }
        for at in &sockets {
            live.extend(look(at, true));
        }
        for at in &self.mounted {
            live.extend(look(at, false));
        }
        Ok(live)
    }
}

/// What the sandbox itself has put into the application's tree, each with all below it.
fn mounted(plan: &SandboxPlan) -> Vec<ImagePath> {
    let own = plan.mounts.iter().filter(|mount| !mount.of_base && is_mount(&mount.what));
    let mut all: Vec<ImagePath> = own.map(|mount| mount.at.clone()).collect();
    all.sort_by_key(|at| (at.components().next() == Some(b"proc"), at.clone()));
    let mut out: Vec<ImagePath> = Vec::new();
    for at in all {
        if !out.iter().any(|above| at.is_within(above)) {
            out.push(at);
        }
    }
    out
}

fn is_mount(what: &What) -> bool {
    !matches!(what, What::Directory { .. } | What::Symlink { .. } | What::Mask | What::ReadOnly)
}

/// A copy of what is at `at` in the application's tree; `None` when nothing is there, or, where a socket is wanted, no
/// socket. Links are followed, except for those of `/proc` that lead to files of processes.
fn look(at: &ImagePath, socket: bool) -> Option<Live> {
    let path = at.on_host(Path::new("/"));
    let nofollow = if socket { OFlag::O_NOFOLLOW } else { OFlag::empty() };
    let how =
        OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC | nofollow).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let found = openat2(AT_FDCWD, &path, how).ok()?;
    let kind = SFlag::from_bits_truncate(fstat(&found).ok()?.st_mode & libc::S_IFMT);
    if socket && kind != SFlag::S_IFSOCK {
        return None;
    }
    let mount = mount_api::clone_opened(found.as_fd()).ok()?;
    Some(Live { at: path, mount, is_dir: kind == SFlag::S_IFDIR, required: at.components().count() == 1 && !socket })
}

/// The paths that sockets are bound to (`/proc/net/unix`, `proc_net(5)`), sorted; names without a path are no files,
/// and where a relative one begins is not known.
fn sockets(list: &[u8]) -> Vec<ImagePath> {
    let mut paths: Vec<ImagePath> = list.split(|&b| b == b'\n').filter_map(socket_path).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// The path is what follows seven words.
fn socket_path(line: &[u8]) -> Option<ImagePath> {
    let mut rest = line;
    for _ in 0..7 {
        let start = rest.iter().position(|&b| b != b' ')?;
        let end = rest[start..].iter().position(|&b| b == b' ')?;
        rest = &rest[start + end..];
    }
    let path = rest.strip_prefix(b" ").filter(|path| path.starts_with(b"/"))?;
    ImagePath::parse(path).ok()
}

/// Nothing runs in the sandbox yet, so these are the few directories that lead to mount points.
fn uncover(layer: &OwnedFd, below: &Path) -> Result<(), Failure> {
    let name = below.as_os_str().as_bytes();
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let dir = match openat(layer, below, flags, Mode::empty()) {
        Err(Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
        other => File::from(other.during("open a directory that was made for a mount", name)?),
    };
    if dir.get_xattr(OPAQUE).ok().flatten().is_some() {
        dir.remove_xattr(OPAQUE).during("uncover", name)?;
    }
    let mut listing = nix::dir::Dir::from_fd(dir.into()).during("list", name)?;
    for entry in listing.iter() {
        let entry = entry.during("list", name)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            uncover(layer, &below.join(std::ffi::OsStr::from_bytes(entry.file_name().to_bytes())))?;
        }
    }
    Ok(())
}

fn directory(path: &Path) -> Result<OwnedFd, Failure> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .during("open the directory", path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::plan::{Choices, Upper, Volume};

    #[test]
    fn sockets_with_a_path_are_found() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/app.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01     7 /srv/with a space\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12346 @abstract\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 12347\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12348 ./relative\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12349 /run/app.sock\n\
            of a path with\n";
        let found: Vec<String> = sockets(list.as_bytes()).iter().map(ImagePath::to_string).collect();
        assert_eq!(found, ["/run/app.sock", "/srv/with a space"]);
    }

    #[test]
    fn directories_that_were_made_for_mounts_hide_nothing() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let marked = dir.path().join("etc/ssl");
        std::fs::create_dir_all(&marked).unwrap();
        std::fs::write(dir.path().join("etc/hosts"), "").unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("etc/link")).unwrap();
        for path in [dir.path().join("etc"), marked.clone()] {
            xattr::set(path, OPAQUE, b"y").unwrap();
        }
        uncover(&directory(dir.path()).unwrap(), Path::new(".")).unwrap();
        assert_eq!(xattr::get(dir.path().join("etc"), OPAQUE).unwrap(), None);
        assert_eq!(xattr::get(marked, OPAQUE).unwrap(), None);
    }

    #[test]
    fn the_uppermost_mounts_of_the_sandbox_are_live_and_proc_comes_last() {
        let mut choices = Choices::new(Upper::Tmpfs);
        let target = ImagePath::parse("/srv/data").unwrap();
        choices.volumes.push(Volume { source: "/data".into(), target, read_only: true });
        let found = mounted(&SandboxPlan::for_tree(Path::new("/store/tree"), &choices));
        let found: Vec<String> = found.iter().map(ImagePath::to_string).collect();
        assert_eq!(found.join(" "), "/dev /etc/hostname /etc/hosts /etc/resolv.conf /srv/data /sys /proc");
    }
}
