//! Names in directories: what may be made, linked, renamed and removed, and whose it is then. The model against the
//! kernel.

use std::path::Path;

use super::super::{Credentials, FileIdentity, Want};
use super::kernel::{assume, at, c_path, call, directory, identity, in_child, make, remove, root, set};
use super::random::Random;
use super::{done, file_text, outcome, text};

#[derive(Clone, Copy, Debug)]
enum Deed {
    Unlink,
    Rename,
    Link,
    /// Each with a mode, and a umask.
    Create(u32, u32),
    Mkdir(u32, u32),
    /// Types that `mknod` makes.
    Mknod(u32, u32),
    Symlink,
}

impl Deed {
    fn random(random: &mut Random) -> Deed {
        let (mode, umask) = (random.next() as u32 & 0o7777, random.pick(&[0, 0o22, 0o77, 0o10]));
        match random.below(9) {
            0 | 1 => Deed::Unlink,
            2 => Deed::Rename,
            3 => Deed::Link,
            4 | 5 => Deed::Create(mode, umask),
            6 => Deed::Mkdir(mode, umask),
            7 => Deed::Mknod(mode | random.pick(&[libc::S_IFIFO, libc::S_IFREG, libc::S_IFSOCK, libc::S_IFCHR]), umask),
            _ => Deed::Symlink,
        }
    }

    /// What it says, and what is at the new name then.
    fn to_model(self, who: &Credentials, dir: &FileIdentity, victim: &FileIdentity) -> (String, Option<FileIdentity>) {
        let new = |mode: u32, umask: u32| {
            let file = who.new_file(dir, mode);
            Some(FileIdentity { mode: file.mode & !umask, ..file })
        };
        let (result, after) = match self {
            Deed::Unlink => (who.may_delete(dir, victim), None),
            Deed::Rename => (who.may_delete(dir, victim), Some(*victim)),
            // The source is looked up and judged before the directory.
            Deed::Link => {
                let source = who.may(dir, Want::EXECUTE).and_then(|()| who.may_link(victim));
                (source.and_then(|()| who.may_create(dir)), Some(*victim))
            }
            Deed::Create(mode, umask) => (who.may_create(dir), new(libc::S_IFREG | mode, umask)),
            Deed::Mkdir(mode, umask) => (who.may_create(dir), new(libc::S_IFDIR | mode, umask)),
            Deed::Mknod(mode, umask) => (who.may_make_node(dir, mode), new(mode, umask)),
            Deed::Symlink => (who.may_create(dir), new(libc::S_IFLNK | 0o777, 0)),
        };
        (done(result), after.filter(|_| result.is_ok()))
    }

    fn to_kernel(self, who: &Credentials, victim: &Path, new: &Path) -> String {
        let (victim, new) = (c_path(victim), c_path(new));
        let (victim, new) = (at(&victim), at(&new));
        if let Deed::Create(_, umask) | Deed::Mkdir(_, umask) | Deed::Mknod(_, umask) = self {
            call(libc::SYS_umask, &[u64::from(umask)]).unwrap();
        }
        assume(who);
        outcome(match self {
            Deed::Unlink => call(libc::SYS_unlink, &[victim]),
            Deed::Rename => call(libc::SYS_rename, &[victim, new]),
            Deed::Link => call(libc::SYS_link, &[victim, new]),
            Deed::Create(mode, _) => {
                let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
                call(libc::SYS_open, &[new, flags as u64, u64::from(mode)]).map(|_| 0)
            }
            Deed::Mkdir(mode, _) => call(libc::SYS_mkdir, &[new, u64::from(mode)]),
            // 1:3, for the types that have a number.
            Deed::Mknod(mode, _) => call(libc::SYS_mknod, &[new, u64::from(mode), 0x103]),
            Deed::Symlink => call(libc::SYS_symlink, &[at(c"target"), new]),
        })
    }
}

#[test]
fn names_come_and_go_as_the_kernel_allows_it() {
    let own = root();
    let hardlinks = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks").unwrap();
    let top = directory();
    let dir = top.path().join("dir");
    std::fs::create_dir(&dir).unwrap();
    let (old, new) = (dir.join("old"), dir.join("new"));
    for seed in 0..3000 {
        let mut random = Random::new(1_000_000 + seed);
        let who = random.credentials(own.bounding);
        let mut place = random.file(libc::S_IFDIR);
        if random.one_in(2) {
            // Half of the directories let everybody in.
            place.mode |= 0o777;
        }
        let kind = random.pick(&[libc::S_IFREG, libc::S_IFREG, libc::S_IFREG, libc::S_IFIFO]);
        let victim = random.file(kind);
        let mut deed = Deed::random(&mut random);
        if matches!(deed, Deed::Link) && hardlinks.trim() == "0" {
            deed = Deed::Unlink;
        }

        remove(&new);
        make(&old, &victim);
        set(&dir, &place);
        let victim = identity(&old).unwrap();
        let said = in_child(|_| deed.to_kernel(&who, &old, &new));
        let (expected, after) = deed.to_model(&who, &place, &victim);
        let show = |file: Option<FileIdentity>| file.map_or("nothing".into(), |file| file_text(&file));
        assert_eq!(
            format!("{said}: {}", show(identity(&new))),
            format!("{expected}: {}", show(after)),
            "case {seed}: {deed:x?} with {} in {} by {}",
            file_text(&victim),
            file_text(&place),
            text(&who)
        );
    }
}
