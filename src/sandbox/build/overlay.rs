//! Overlays with a throw-away layer: what the application writes goes there and nowhere else.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use crate::sandbox::build::{Stage, Tree, mount_api, place, refused, through};
use crate::sandbox::failure::{During, Failure};
use crate::sandbox::plan::Upper;

impl Stage {
    /// An overlay of `lower` and a new throw-away layer.
    pub(super) fn overlay(&self, lower: &Path, upper: &Upper) -> Result<Tree, Failure> {
        self.overlay_with(None, lower, upper)
    }

    /// The same with another layer between the two. The top of the throw-away layer is the top of the overlay, so it
    /// takes over the mode and, as far as that exists here, the owner of `lower`.
    pub(super) fn overlay_with(&self, between: Option<&OwnedFd>, lower: &Path, upper: &Upper) -> Result<Tree, Failure> {
        let name = lower.as_os_str().as_bytes();
        let base = match upper {
            Upper::Dir(dir) => dir.clone(),
            Upper::Tmpfs => self.fresh_name(),
        };
        let (upper, work) = layer_in(&base)?;
        let open_dir = |dir: &Path| {
            open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
                .during("open the directory", dir.as_os_str().as_bytes())
        };
        let (lower_fd, upper_fd, work_fd) = (open_dir(lower)?, open_dir(&upper)?, open_dir(&work)?);
        let meta = std::fs::metadata(through(&lower_fd)).during("look at", name)?;
        place::set_owner(&upper, (meta.uid(), meta.gid())).during("set the owner of", upper.as_os_str().as_bytes())?;
        std::fs::set_permissions(&upper, std::fs::Permissions::from_mode(meta.mode() & 0o7777))
            .during("set the mode of", upper.as_os_str().as_bytes())?;
        // Through descriptors, because options are short and a path may hold commas and colons.
        let [mut lower, upper, work] = [&lower_fd, &upper_fd, &work_fd].map(|fd| through(fd).display().to_string());
        if let Some(between) = between {
            lower = format!("{}:{lower}", through(between).display());
        }
        let options = [
            ("lowerdir", Some(lower.as_str())),
            ("upperdir", Some(upper.as_str())),
            ("workdir", Some(work.as_str())),
            ("userxattr", None),
            ("volatile", None),
        ];
        let mount =
            mount_api::new_mount(c"overlay", &options, 0).map_err(|e| refused("mount an overlay of", name, e))?;
        Ok(Tree { mount, upper: Some(upper_fd) })
    }
}

/// Tries an overlay whose throw-away layer is `upper`, in a mount namespace of its own; for a process that ends after.
pub fn try_overlay(lower: &Path, upper: &Upper) -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNS).during("make a mount namespace", "")?;
    let stage = Stage::new(None)?;
    let overlay = stage.overlay(lower, upper)?.mount;
    let written = through(&overlay).join("scrimp-writes");
    std::fs::write(&written, b"x").during("write to an overlay of", lower.as_os_str().as_bytes())
}

/// Makes the two directories that the throw-away layer of an overlay needs in `base`, and `base` itself. What that is
/// in has to be there: when scrimp was killed, another scrimp may just have removed it, and nothing of it must come
/// back.
fn layer_in(base: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    let (upper, work) = (base.join("upper"), base.join("work"));
    for dir in [base, &upper, &work] {
        match std::fs::create_dir(dir) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.during("make the directory", dir.as_os_str().as_bytes())?,
        }
    }
    Ok((upper, work))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scratch space of a killed run came back, and nothing swept it any more.
    #[test]
    fn a_throw_away_layer_is_not_made_in_what_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let layers = dir.path().join("layers");
        assert!(layer_in(&layers.join("1")).is_err());
        assert!(!layers.exists());
        std::fs::create_dir(&layers).unwrap();
        for _ in 0..2 {
            let (upper, work) = layer_in(&layers.join("1")).unwrap();
            assert!(upper.is_dir() && work.is_dir());
        }
    }
}
