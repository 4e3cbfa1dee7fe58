//! Carries out the plan of a sandbox: namespaces, the root, the mounts, and the step into the new root.
//!
//! Runs in the supervisor, which has one thread and nothing else to do. Mounts are made in two phases: while the host
//! is still in sight every source becomes a mount without a place; after `pivot_root`, when no path can lead out of
//! the new root any more, each is put in its place.

mod chroot;
mod copy;
mod interface;
pub(super) mod mount_api;
pub(super) mod network;
pub(super) mod observatory;
mod overlay;
pub(super) mod place;

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

pub use self::overlay::try_overlay;
use crate::base::ImagePath;
use crate::sandbox::build::mount_api::{NODEV, NOEXEC, NOSUID, RDONLY, Refused};
use crate::sandbox::build::observatory::Observatory;
use crate::sandbox::failure::{self, During, Failure};
use crate::sandbox::plan::lazy;
use crate::sandbox::plan::{Mount, Namespace, Network, RootPlan, SandboxPlan, What};

/// A mount of the plan whose source is ready.
struct Prepared<'a> {
    mount: &'a Mount,
    source: Source,
}

/// What a mount of the plan shows.
#[derive(Default)]
struct Source {
    /// The mount, when there is one to be put somewhere.
    mount: Option<OwnedFd>,
    is_dir: bool,
    /// What of it is still to be made read-only once it has a place: paths below it, an empty one for itself.
    writable: Vec<PathBuf>,
    /// What went less well than planned.
    warning: Option<String>,
}

/// How many files a tmpfs can hold, however small it is.
const MIN_FILES: u64 = 4096;

/// What came of making a sandbox.
pub struct Built {
    /// What could not be done and is not required, each a sentence.
    pub warnings: Vec<String>,
    /// What makes the trees of observers, where the plan has them.
    pub observatory: Option<Observatory>,
}

impl Built {
    /// A sandbox without observers.
    fn plain(warnings: Vec<String>) -> Self {
        Built { warnings, observatory: None }
    }
}

/// Makes the sandbox around this process. On return its root is the sandbox's and the host is out of reach. `network`
/// is the namespace that is shared, where the plan has one.
pub fn build(plan: &SandboxPlan, network: Option<&OwnedFd>) -> Result<Built, Failure> {
    if plan.network == Network::Shared {
        network::join(network)?;
    }
    match &plan.root {
        RootPlan::InPlace => Ok(Built::plain(plan.warnings.clone())),
        RootPlan::Copy { from, to, without } => chroot::build(plan, from, to, without).map(Built::plain),
        RootPlan::Overlay { lower, upper } => build_mounts(plan, |stage| stage.overlay(lower, upper)),
        RootPlan::Tmpfs => build_mounts(plan, |stage| {
            let mount = match plan.bounds.disk() {
                // What is written at the top counts, too.
                Some(_) => stage.directory()?,
                None => tmpfs(0o755, None, 0).map_err(|e| refused("mount a tmpfs on", "/", e))?,
            };
            Ok(Tree { mount, upper: None })
        }),
    }
}

/// Makes the namespaces and in them the mounts on top of what `make_root` returns.
fn build_mounts(plan: &SandboxPlan, make_root: impl FnOnce(&Stage) -> Result<Tree, Failure>) -> Result<Built, Failure> {
    let mut warnings = plan.warnings.clone();
    unshare(flags(plan)).during("make the namespaces of the sandbox", "")?;
    if plan.namespaces.contains(&Namespace::Uts) {
        match nix::unistd::sethostname(&plan.hostname) {
            // A container around scrimp may forbid it whatever the namespace. Then the machine is called as that
            // container is, which few programs mind.
            Ok(()) | Err(Errno::EPERM) => {}
            Err(errno) => return Err(Failure::new("set the host name to", &plan.hostname, errno)),
        }
    }
    if plan.network == Network::Private {
        // What is missing is told when something fails for want of it, and by the doctor: few programs mind.
        network::set_up(&mut Vec::new())?;
    }
    let nowhere = None::<&str>;
    mount(nowhere, "/", nowhere, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nowhere).during("make mounts private", "/")?;

    // Before the stage covers `/`, or a bound `/` would show it.
    let mut bound = BTreeMap::new();
    for (number, mount) in plan.outside_mounts().enumerate() {
        if let What::Bind { source, read_only } = &mount.what {
            bound.insert(number, bind(source, *read_only));
        }
    }
    let mut stage = Stage::new(plan.bounds.disk())?;
    let Tree { mount: root, upper } = make_root(&stage)?;
    let (mut prepared, mut refused) = (Vec::new(), Vec::new());
    for (number, mount) in plan.outside_mounts().enumerate() {
        match bound.remove(&number).unwrap_or_else(|| stage.prepare(mount)) {
            Ok(mut source) => {
                warnings.extend(source.warning.take());
                prepared.push(Prepared { mount, source });
            }
            Err(failure) if !mount.required => refused.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    // A fresh proc may be mounted only where an unhidden one is in sight, so process 1 finds the host's in its place.
    let host_proc = match plan.inside_mounts().next() {
        Some(_) => Some(mount_api::clone_tree(Path::new("/proc")).during("clone", "/proc")?),
        None => None,
    };
    let observatory = match &plan.observers {
        Some(tree) => Some(Observatory::leave_behind(tree, plan, &mut stage, upper)?),
        None => None,
    };
    stage.pivot(&root)?;
    if let Some(proc) = host_proc {
        let at = kernels(Path::new("/proc"))?;
        mount_api::attach_to(proc.as_fd(), at.as_fd()).during("mount", "/proc")?;
    }
    for Prepared { mount, source } in prepared {
        match put(mount, source) {
            Err(failure) if !mount.required => refused.push(failure),
            other => other?,
        }
    }
    if let Some(observatory) = &observatory {
        observatory.uncover()?;
    }
    warnings.extend(failure::sentences(refused));
    Ok(Built { warnings, observatory })
}

/// Tries a fresh `/proc`; for a process that is the first in a PID namespace.
pub fn try_proc() -> Result<(), Failure> {
    mount_api::new_mount(c"proc", &[], NOSUID | NODEV | NOEXEC)
        .map(drop)
        .map_err(|e| refused("mount a fresh proc on", "/proc", e))
}

/// Makes the mounts that only process 1 of the sandbox can make; runs in that process.
pub fn build_inside(plan: &SandboxPlan) -> Result<(), Failure> {
    for mount in plan.inside_mounts() {
        let at = mount.at.on_host(Path::new("/"));
        match &mount.what {
            What::Proc => {
                let fresh = mount_api::new_mount(c"proc", &[], NOSUID | NODEV | NOEXEC)
                    .map_err(|e| refused("mount a fresh proc on", "/proc", e))?;
                match umount2(&at, MntFlags::MNT_DETACH) {
                    // In a container it may be locked to what lies on it; then the fresh one covers all of that.
                    Ok(()) | Err(Errno::EINVAL) => {}
                    Err(errno) => return Err(Failure::new("unmount the host's", "/proc", errno)),
                }
                mount_api::attach_to(fresh.as_fd(), kernels(&at)?.as_fd()).during("mount", "/proc")?;
            }
            _ => put(mount, Source::default())?,
        }
    }
    Ok(())
}

fn flags(plan: &SandboxPlan) -> CloneFlags {
    plan.namespaces.iter().fold(CloneFlags::empty(), |flags, namespace| {
        flags
            | match namespace {
                Namespace::Mount => CloneFlags::CLONE_NEWNS,
                Namespace::Pid => CloneFlags::CLONE_NEWPID,
                Namespace::Network => CloneFlags::CLONE_NEWNET,
                Namespace::Ipc => CloneFlags::CLONE_NEWIPC,
                Namespace::Uts => CloneFlags::CLONE_NEWUTS,
                Namespace::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            }
    })
}

/// A tmpfs that exists while the sandbox is put together: overlays in memory write to it, generated files lie in it.
/// It hides nothing of the host, because it covers `/` without being entered by path; the kernel keeps alive what the
/// sandbox uses of it.
struct Stage {
    dir: OwnedFd,
    next: std::cell::Cell<u32>,
}

/// A mount for a root, and the throw-away layer of it where that is known.
struct Tree {
    mount: OwnedFd,
    upper: Option<OwnedFd>,
}

impl Stage {
    /// All that is written to it together has `size` bytes at most; half of the memory when absent.
    fn new(size: Option<u64>) -> Result<Self, Failure> {
        let dir = tmpfs(0o700, size, 0).map_err(|e| refused("mount a tmpfs", "", e))?;
        mount_api::attach(dir.as_fd(), Path::new("/")).during("mount a tmpfs on", "/")?;
        let stage = Stage { dir, next: 0.into() };
        std::fs::create_dir(stage.path("root")).during("make the directory", "root")?;
        Ok(stage)
    }

    /// A new directory of it as a mount.
    fn directory(&self) -> Result<OwnedFd, Failure> {
        let path = self.fresh_name();
        std::fs::DirBuilder::new().mode(0o755).create(&path).during("make the directory", "/")?;
        mount_api::clone_tree(&path).during("bind", "/")
    }

    fn path(&self, name: &str) -> PathBuf {
        through(&self.dir).join(name)
    }

    fn fresh_name(&self) -> PathBuf {
        self.next.set(self.next.get() + 1);
        self.path(&self.next.get().to_string())
    }

    /// The source of one mount of the plan that is not a bind mount.
    fn prepare(&self, mount: &Mount) -> Result<Source, Failure> {
        let at = mount.at.as_bytes();
        let new = |kind: &CStr, options: &[(&str, Option<&str>)], attributes: u64| {
            mount_api::new_mount(kind, options, attributes)
                .map_err(|e| refused(&format!("mount a fresh {} on", kind.to_string_lossy()), at, e))
        };
        let source = match &mount.what {
            What::Overlay { lower, upper } => match self.overlay(lower, upper) {
                Ok(overlay) => overlay.mount,
                Err(failure) => {
                    let warning = format!("{failure}; it is read-only in the sandbox");
                    return Ok(Source { warning: Some(warning), ..clone_read_only(lower)? });
                }
            },
            What::File { content } => {
                let path = self.fresh_name();
                std::fs::write(&path, content).during("write", at)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))
                    .during("set the mode of", at)?;
                return clone_read_only(&path);
            }
            What::Tmpfs { mode, size, exec } => {
                let attributes = NOSUID | NODEV | if *exec { 0 } else { NOEXEC };
                tmpfs(*mode, *size, attributes).map_err(|e| refused("mount a tmpfs on", at, e))?
            }
            What::Sysfs => new(c"sysfs", &[], RDONLY | NOSUID | NODEV | NOEXEC)?,
            What::Mqueue => new(c"mqueue", &[], NOSUID | NODEV | NOEXEC)?,
            What::Cgroup => new(c"cgroup2", &[], RDONLY | NOSUID | NODEV | NOEXEC)?,
            What::Devpts => {
                let options = [("newinstance", None), ("ptmxmode", Some("0666")), ("mode", Some("0620"))];
                let with_group: Vec<_> = options.into_iter().chain([("gid", Some("5"))]).collect();
                // Group 5 owns terminals everywhere, but where one id is mapped there is no such group.
                new(c"devpts", &with_group, NOSUID | NOEXEC).or_else(|_| new(c"devpts", &options, NOSUID | NOEXEC))?
            }
            What::Directory { .. }
            | What::Symlink { .. }
            | What::Mask
            | What::ReadOnly
            | What::Proc
            | What::Bind { .. } => {
                return Ok(Source { is_dir: true, ..Source::default() });
            }
        };
        Ok(Source { mount: Some(source), is_dir: true, ..Source::default() })
    }

    /// Makes `root` the root of this process and lets go of the host.
    fn pivot(self, root: &OwnedFd) -> Result<(), Failure> {
        mount_api::attach(root.as_fd(), &self.path("root")).during("mount", "the root of the sandbox")?;
        // On the old root lies the stage.
        pivot(root, &["the stage", "the root of the host"])
    }
}

/// Makes `root`, which is mounted somewhere, the root of this process, and lets go of all that was there: `covering`
/// are the mounts at the top of it, the uppermost first.
fn pivot(root: &OwnedFd, covering: &[&str]) -> Result<(), Failure> {
    nix::unistd::fchdir(root).during("enter", "the root of the sandbox")?;
    // With both arguments `.` the old root lies on top of the new one (pivot_root(2)): each `umount2` takes away what
    // is uppermost.
    nix::unistd::pivot_root(".", ".").during("pivot to", "the root of the sandbox")?;
    for covering in covering {
        umount2(".", MntFlags::MNT_DETACH).during("unmount", covering)?;
    }
    nix::unistd::chdir("/").during("enter", "/")?;
    // `..` crosses to whatever covers the root, so this would find a host that is still there.
    let above = nix::sys::stat::stat("/..").during("look at", "/..")?;
    let here = nix::sys::stat::fstat(root).during("look at", "/")?;
    match (above.st_dev, above.st_ino) == (here.st_dev, here.st_ino) {
        true => Ok(()),
        false => Err(Failure::new("leave", "the old root", Errno::EBUSY)),
    }
}

/// Puts a prepared mount in its place. Runs where `/` is the root of the sandbox.
fn put(mount: &Mount, source: Source) -> Result<(), Failure> {
    let (at, name) = (mount.at.on_host(Path::new("/")), mount.at.as_bytes());
    match &mount.what {
        What::Directory { mode, owner } => place::directory(&at, *mode, *owner).during("make the directory", name),
        What::Symlink { target } => place::link(&at, target).during("make the link", name),
        What::Mask => match place::find(&at) {
            // What cannot be reached from here, the application does not reach either.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => Ok(()),
            Err(errno) => Err(Failure::new("hide", name, errno)),
            Ok(found) if is_directory(&found).during("hide", name)? => {
                let empty =
                    tmpfs(0o755, Some(0), RDONLY | NOSUID | NODEV | NOEXEC).map_err(|e| refused("hide", name, e))?;
                mount_api::attach_to(empty.as_fd(), found.as_fd()).during("hide", name)
            }
            Ok(found) => {
                let null = place::find(Path::new("/dev/null")).and_then(|null| mount_api::clone_opened(null.as_fd()));
                mount_api::attach_to(null.during("hide", name)?.as_fd(), found.as_fd()).during("hide", name)
            }
        },
        What::ReadOnly => match place::find(&at) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => Ok(()),
            Err(errno) => Err(Failure::new("make read-only", name, errno)),
            Ok(found) => attach(clone_read_only(&at)?, &at, found.as_fd(), name),
        },
        _ if source.mount.is_some() => {
            let found = match shows_kernel(&mount.what, &mount.at) {
                true => kernels(&at)?,
                false => place::mount_point(&at, source.is_dir).during("make a mount point at", name)?,
            };
            attach(source, &at, found.as_fd(), name)
        }
        _ => Ok(()),
    }
}

/// Whether a mount shows what belongs to the kernel, which must be nowhere but where everybody looks for it.
fn shows_kernel(what: &What, at: &ImagePath) -> bool {
    match what {
        What::Proc | What::Sysfs => true,
        What::Bind { source, .. } => {
            at.components().count() == 1 && [Path::new("/proc"), Path::new("/sys")].contains(&source.as_path())
        }
        _ => false,
    }
}

/// A directory at the top of the tree for what shows the kernel. Where the image has a link instead there is no such
/// place: masks and what replaces the host's are put there by this path, and a link may lead elsewhere by then.
fn kernels(at: &Path) -> Result<OwnedFd, Failure> {
    let name = at.as_os_str().as_bytes();
    match place::find_directory_itself(at) {
        Err(Errno::ENOENT) => place::mount_point(at, true).during("make the directory", name),
        Err(errno @ (Errno::ELOOP | Errno::ENOTDIR)) => {
            let detail = "the image has a link or a file there, where every runtime needs a directory".into();
            Err(Failure { detail, ..Failure::new("mount on", name, errno) })
        }
        other => other.during("find", name),
    }
}

fn is_directory(file: &OwnedFd) -> nix::Result<bool> {
    Ok(nix::sys::stat::fstat(file)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// Mounts what is prepared on what was `found` at `at`.
fn attach(source: Source, at: &Path, found: BorrowedFd<'_>, name: &[u8]) -> Result<(), Failure> {
    let Some(mount) = source.mount else { return Ok(()) };
    mount_api::attach_to(mount.as_fd(), found).during("mount on", name)?;
    for below in source.writable {
        let is_top = below.as_os_str().is_empty();
        // Joined with nothing a path would end in a slash, and a file has none.
        let path = if is_top { at.to_owned() } else { at.join(below) };
        match mount_api::remount_read_only(&path) {
            // Covered by what is mounted above it, where nobody gets at it.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EINVAL) if !is_top => {}
            other => other.during("make read-only", path.as_os_str().as_bytes())?,
        }
    }
    Ok(())
}

/// The source of a bind mount, as [`Stage::prepare`] returns it.
fn bind(source: &Path, read_only: bool) -> Result<Source, Failure> {
    if read_only {
        return clone_read_only(source);
    }
    let name = source.as_os_str().as_bytes();
    let is_dir = std::fs::metadata(source).during("find", name)?.is_dir();
    let mount = mount_api::clone_tree(source).during("bind", name)?;
    Ok(Source { mount: Some(mount), is_dir, ..Source::default() })
}

/// A copy of a tree of mounts, without a place, that is read-only or says what of it is not.
fn clone_read_only(source: &Path) -> Result<Source, Failure> {
    let name = source.as_os_str().as_bytes();
    let is_dir = std::fs::metadata(source).during("find", name)?.is_dir();
    let mount = mount_api::clone_tree(source).during("bind", name)?;
    let writable = match mount_api::set_read_only(mount.as_fd()) {
        Ok(()) => Vec::new(),
        // Before Linux 5.12, and in containers whose filter is older, each mount is made so once it has a place.
        Err(Errno::ENOSYS | Errno::EPERM) if is_dir => {
            let real = std::fs::canonicalize(source).during("find the way to", name)?;
            let table = std::fs::read("/proc/self/mountinfo").during("read", "/proc/self/mountinfo")?;
            [vec![PathBuf::new()], lazy::mounts_below(&table, &real)].concat()
        }
        Err(Errno::ENOSYS | Errno::EPERM) => vec![PathBuf::new()],
        Err(errno) => return Err(Failure::new("make read-only", name, errno)),
    };
    Ok(Source { mount: Some(mount), is_dir, writable, ..Source::default() })
}

fn tmpfs(mode: u32, size: Option<u64>, attributes: u64) -> Result<OwnedFd, Refused> {
    let mode = format!("{mode:o}");
    let mut options = vec![("mode", Some(mode.as_str()))];
    // Empty files take memory as well, so there may be as many files as pages; mount points need a few in any case.
    let bounds = size.map(|bytes| (bytes.max(4096).to_string(), (bytes / 4096).max(MIN_FILES).to_string()));
    if let Some((size, files)) = &bounds {
        options.extend([("size", Some(size.as_str())), ("nr_inodes", Some(files.as_str()))]);
    }
    mount_api::new_mount(c"tmpfs", &options, attributes)
}

/// The path of an open file, short and free of special characters.
fn through(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

fn refused(operation: &str, subject: impl AsRef<[u8]>, refused: Refused) -> Failure {
    Failure { detail: refused.detail, ..Failure::new(operation, subject, refused.errno) }
}
