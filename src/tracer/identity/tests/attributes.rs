//! What may be done with one file, and what becomes of it: the model against the kernel.

use std::path::Path;

use nix::errno::Errno;

use super::super::{CAP_SETFCAP, Credentials, FileCapabilities, FileIdentity, Want};
use super::kernel::{assume, at, c_path, call, directory, identity, in_child, make, root};
use super::random::Random;
use super::{done, file_text, outcome, text};

const CWD: u64 = libc::AT_FDCWD as u64;
const NOFOLLOW: u64 = libc::AT_SYMLINK_NOFOLLOW as u64;
const KINDS: [u32; 6] = [libc::S_IFREG, libc::S_IFREG, libc::S_IFREG, libc::S_IFDIR, libc::S_IFIFO, libc::S_IFLNK];
const NAMES: [&std::ffi::CStr; 4] = [c"user.there", c"trusted.there", c"security.there", c"security.capability"];

#[derive(Clone, Copy, Debug)]
enum Deed {
    Open(i32),
    /// `access`: R_OK and so on.
    Access(u32),
    /// The same with AT_EACCESS.
    EffectiveAccess(u32),
    Chdir,
    Chown(Option<u32>, Option<u32>),
    Chmod(u32),
    Times {
        now: bool,
    },
    /// Through a descriptor that was opened before.
    Write,
    Truncate,
    SetXattr(usize),
    RemoveXattr(usize),
    GetXattr(usize),
}

impl Deed {
    fn random(random: &mut Random, file: &FileIdentity) -> Deed {
        let kind = file.mode & libc::S_IFMT;
        let id = |random: &mut Random| (!random.one_in(3)).then(|| random.id());
        let bits = 1 + random.below(7) as u32;
        let attribute = random.below(NAMES.len());
        loop {
            let deed = match random.below(13) {
                0 => {
                    let access = random.pick(&[libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR, 3]);
                    Deed::Open(access | random.pick(&[0, 0, libc::O_TRUNC, libc::O_NOATIME, libc::O_PATH]))
                }
                1 => Deed::Access(bits),
                2 => Deed::EffectiveAccess(bits),
                3 => Deed::Chdir,
                4..=6 => Deed::Chown(id(random), id(random)),
                7 => Deed::Chmod(random.next() as u32 & 0o7777),
                8 => Deed::Times { now: random.one_in(2) },
                9 => random.pick(&[Deed::Write, Deed::Truncate]),
                10 => Deed::SetXattr(attribute),
                11 => Deed::RemoveXattr(attribute),
                _ => Deed::GetXattr(attribute),
            };
            let possible = match deed {
                // Opening a FIFO depends on who else has it open, opening a link on where it leads.
                Deed::Open(flags) => match kind {
                    libc::S_IFREG => true,
                    libc::S_IFDIR => flags & (libc::O_ACCMODE | libc::O_TRUNC) == 0,
                    libc::S_IFIFO => flags & libc::O_ACCMODE == libc::O_RDWR,
                    _ => false,
                },
                Deed::Access(_) | Deed::EffectiveAccess(_) => kind != libc::S_IFLNK,
                Deed::Chdir => kind == libc::S_IFDIR,
                Deed::Write | Deed::Truncate => kind == libc::S_IFREG,
                Deed::SetXattr(_) | Deed::RemoveXattr(_) => matches!(kind, libc::S_IFREG | libc::S_IFDIR),
                _ => true,
            };
            if possible {
                return deed;
            }
        }
    }

    fn to_model(self, who: &Credentials, file: &FileIdentity) -> (String, FileIdentity) {
        let unchanged = |said| (said, *file);
        let changed = |result: Result<FileIdentity, Errno>| (done(result.map(|_| ())), result.unwrap_or(*file));
        match self {
            Deed::Open(flags) => match who.may_open(file, flags) {
                Ok(()) if flags & libc::O_TRUNC != 0 && flags & libc::O_PATH == 0 => {
                    ("0".into(), who.after_write(file))
                }
                result => unchanged(done(result)),
            },
            Deed::Access(bits) => unchanged(done(who.may_with_real_ids(file, Want::from_bits(bits)))),
            Deed::EffectiveAccess(bits) => unchanged(done(who.may(file, Want::from_bits(bits)))),
            Deed::Chdir => unchanged(done(who.may(file, Want::EXECUTE))),
            Deed::Chown(uid, gid) => changed(who.chown(file, uid, gid)),
            Deed::Chmod(mode) => changed(who.chmod(file, mode)),
            Deed::Times { now } => unchanged(done(who.may_set_times(file, now))),
            Deed::Write | Deed::Truncate => ("0".into(), who.after_write(file)),
            Deed::GetXattr(n) => unchanged(done(match who.may_get_xattr(file, NAMES[n].to_bytes()) {
                Ok(()) if !has(file, n) => Err(Errno::ENODATA),
                result => result,
            })),
            Deed::SetXattr(n) | Deed::RemoveXattr(n) => {
                let set = matches!(self, Deed::SetXattr(_));
                match who.may_set_xattr(file, NAMES[n].to_bytes()) {
                    Ok(()) if !set && !has(file, n) => unchanged("ENODATA".into()),
                    Ok(()) if n == 3 => {
                        ("0".into(), FileIdentity { capabilities: set.then(new_capabilities), ..*file })
                    }
                    result => unchanged(done(result)),
                }
            }
        }
    }

    fn to_kernel(self, who: &Credentials, path: &Path) -> String {
        let path = c_path(path);
        let path = at(&path);
        let before = match self {
            Deed::Write | Deed::Truncate => call(libc::SYS_open, &[path, libc::O_RDWR as u64]).unwrap(),
            _ => 0,
        };
        assume(who);
        let id = |id: Option<u32>| u64::from(id.unwrap_or(u32::MAX));
        let result = match self {
            Deed::Open(flags) => call(libc::SYS_open, &[path, (flags | libc::O_NONBLOCK) as u64]).map(|_| 0),
            Deed::Access(bits) => call(libc::SYS_access, &[path, u64::from(bits)]),
            Deed::EffectiveAccess(bits) => {
                call(libc::SYS_faccessat2, &[CWD, path, u64::from(bits), libc::AT_EACCESS as u64])
            }
            Deed::Chdir => call(libc::SYS_chdir, &[path]),
            Deed::Chown(uid, gid) => call(libc::SYS_lchown, &[path, id(uid), id(gid)]),
            Deed::Chmod(mode) => call(libc::SYS_fchmodat2, &[CWD, path, u64::from(mode), NOFOLLOW]),
            Deed::Times { now: true } => call(libc::SYS_utimensat, &[CWD, path, 0, NOFOLLOW]),
            Deed::Times { now: false } => {
                let times = [1_u64, 0, 1, 0];
                call(libc::SYS_utimensat, &[CWD, path, times.as_ptr() as u64, NOFOLLOW])
            }
            Deed::Write => call(libc::SYS_write, &[before, c"x".as_ptr() as u64, 1]).map(|_| 0),
            Deed::Truncate => call(libc::SYS_ftruncate, &[before, 0]),
            Deed::SetXattr(n) => {
                let value = new_capabilities().encode();
                call(libc::SYS_lsetxattr, &[path, at(NAMES[n]), value.as_ptr() as u64, value.len() as u64, 0])
            }
            Deed::RemoveXattr(n) => call(libc::SYS_lremovexattr, &[path, at(NAMES[n])]),
            Deed::GetXattr(n) => call(libc::SYS_lgetxattr, &[path, at(NAMES[n]), 0, 0]).map(|_| 0),
        };
        outcome(result)
    }
}

/// Whether `file` was made with the attribute.
fn has(file: &FileIdentity, attribute: usize) -> bool {
    match attribute {
        3 => file.capabilities.is_some(),
        _ => matches!(file.mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR),
    }
}

fn new_capabilities() -> FileCapabilities {
    FileCapabilities { permitted: 1 << CAP_SETFCAP, inheritable: 0, effective: true, root_id: None }
}

/// Lets a process that is `who` do it to a new file; what differed.
fn compare(path: &Path, who: &Credentials, file: &FileIdentity, deed: Deed) -> String {
    make(path, file);
    let made = identity(path).unwrap();
    if has(file, 0) {
        for name in &NAMES[..3] {
            xattr::set(path, name.to_str().unwrap(), b"x").unwrap();
        }
    }
    let said = in_child(|_| deed.to_kernel(who, path));
    let after = identity(path).unwrap();
    let (expected, new) = deed.to_model(who, &made);
    if (&said, after) == (&expected, new) {
        return String::new();
    }
    let [made, new, after] = [made, new, after].map(|f| file_text(&f));
    format!("{deed:?} to {made}\nby {}\nis  {expected}: {new}\nnot {said}: {after}", text(who))
}

#[test]
fn one_file_is_used_as_the_kernel_allows_it() {
    let own = root();
    let dir = directory();
    let path = dir.path().join("file");
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let who = random.credentials(own.bounding);
        let kind = random.pick(&KINDS);
        let mut file = random.file(kind);
        if kind == libc::S_IFLNK {
            file.mode = kind | 0o777;
        }
        let deed = Deed::random(&mut random, &file);
        assert_eq!(compare(&path, &who, &file, deed), "", "case {seed}");
    }
}

#[test]
fn programs_lose_their_privileges_with_their_owner_and_content() {
    let own = root();
    let dir = directory();
    let path = dir.path().join("file");
    let people = [
        Credentials::new(0, 0, vec![], own.bounding),
        Credentials::new(1000, 1000, vec![1001], own.bounding),
        Credentials::new(1002, 1002, vec![], own.bounding),
    ];
    let deeds = [
        Deed::Chown(None, None),
        Deed::Chown(Some(1000), None),
        Deed::Chown(None, Some(1001)),
        Deed::Chown(None, Some(1002)),
        Deed::Chmod(0o7777),
        Deed::Write,
        Deed::Truncate,
    ];
    for who in &people {
        for deed in deeds {
            for mode in [0o755, 0o4755, 0o2755, 0o2745, 0o6755, 0o6745, 0o1777] {
                for (gid, capabilities) in [(1000, None), (1002, None), (1001, Some(new_capabilities()))] {
                    let file = FileIdentity { uid: 1000, gid, mode: libc::S_IFREG | mode, capabilities };
                    assert_eq!(compare(&path, who, &file, deed), "");
                }
            }
        }
    }
}
