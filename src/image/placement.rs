//! Where on the disk the store's directories are put.

use std::path::Path;

use rustix::fs::{IFlags, Mode, OFlags};

/// Tells the file system that the directories below have nothing to do with each other (`chattr(1)`, attribute `T`).
/// Ext4 then puts each into a part of the disk where there is room, instead of beside those that were removed just
/// before: inodes that were freed within the last minutes are passed over one by one, which made unpacking ten times as
/// slow. It is advice, and a file system that does not take it works all the same.
pub(super) fn spread_apart(dir: &Path) {
    let advise = || -> rustix::io::Result<()> {
        let dir = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = rustix::fs::ioctl_getflags(&dir)?;
        if !flags.contains(IFlags::TOPDIR) {
            rustix::fs::ioctl_setflags(&dir, flags | IFlags::TOPDIR)?;
        }
        Ok(())
    };
    match advise() {
        Ok(()) | Err(_) => {}
    }
}
