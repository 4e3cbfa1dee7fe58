//! What the calls of the table mean for ids: which one asks for them, and what one that names a path does there.
//!
//! Pure: arguments in, meaning out.

use super::super::syscalls::{Architecture, Place};
use super::{StatLayout, Width, widen};
use crate::observation::Operation;

const AT_EACCESS: u64 = 0x200;
const RENAME_NOREPLACE: u64 = 1;
const RENAME_EXCHANGE: u64 = 2;

/// What a call does to a file that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It only looks for it.
    Find,
    /// It asks for its metadata, to be written at the address.
    Stat { layout: StatLayout, buffer: u64, flags: u32, mask: u32 },
    /// It asks what it may do: R_OK, W_OK, X_OK.
    Access { wanted: u32, effective: bool },
    /// `open` with these flags.
    Open(i32),
    /// It writes to it.
    Write,
    /// It reads it.
    Read,
    /// It changes the mode.
    Chmod { mode: u32 },
    /// It changes the owner; `None`: not this one.
    Chown { uid: Option<u32>, gid: Option<u32> },
    /// It changes times: to now, or to what only the owner may.
    Touch { now: bool },
    /// It makes it, with the type in `mode`, if that matters.
    Make { mode: u32 },
    /// It makes another name for it.
    LinkFrom,
    /// It is that name.
    LinkTo,
    /// It removes it.
    Remove,
    /// It gives it another name.
    MoveFrom,
    /// It is that other name. Whether something may be there, and whether both are exchanged.
    MoveTo { replaces: bool, exchanges: bool },
    /// It becomes the current directory.
    Enter,
    /// It becomes the root directory.
    EnterRoot,
    /// A message or a connection goes to it.
    Connect,
    /// It has an extended attribute.
    Attribute(Attribute),
    /// It is asked for the names of its extended attributes, to be written at the address.
    List { list: u64, size: u64 },
}

/// An extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The address of its name.
    pub name: u64,
    /// What is done with it.
    pub task: AttributeTask,
}

/// What is done with an extended attribute; `value` is an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeTask {
    /// It is read.
    Get { value: u64, size: u64 },
    /// It is set.
    Set { value: u64, size: u64, flags: i32 },
    /// It is removed.
    Remove,
    /// It is changed, by a call that nobody uses yet.
    Other,
}

/// What the calls on extended attributes do, from the argument with the name on.
pub fn attribute(name: &str, arguments: [u64; 4]) -> Option<Use> {
    let [at, value, size, flags] = arguments;
    let task = match name.trim_start_matches(['l', 'f']) {
        "getxattr" => AttributeTask::Get { value, size },
        "setxattr" => AttributeTask::Set { value, size, flags: flags as i32 },
        "removexattr" => AttributeTask::Remove,
        _ => return None,
    };
    Some(Use::Attribute(Attribute { name: at, task }))
}

/// What the calls that list extended attributes do, from the argument with the address on.
pub fn list(name: &str, [list, size]: [u64; 2]) -> Option<Use> {
    (name.trim_start_matches(['l', 'f']) == "istxattr").then_some(Use::List { list, size })
}

/// What the call `name` does to the path at `place`. `word` reads a word of the tracee. `None` when an argument cannot
/// be read: the call fails by itself.
pub fn usage(
    name: &str,
    place: &Place,
    arguments: &[u64; 6],
    architecture: Architecture,
    word: impl Fn(u64) -> Option<u64>,
) -> Option<Use> {
    let argument = |n: u8| arguments[usize::from(n)];
    // What follows the path in the calls that come with and without a directory.
    let next = |n: u8| arguments[usize::from(place.path + n)];
    let stat = |layout| Use::Stat { layout, buffer: next(1), flags: 0, mask: 0 };
    let native = match architecture {
        // On aarch64 nothing runs yet; its layout is another.
        Architecture::X86_64 | Architecture::Aarch64 => StatLayout::X86_64,
        Architecture::I386 => StatLayout::I386Stat,
    };
    let owner = |at: usize| {
        let [uid, gid] = owners(width(name, architecture), arguments[at], arguments[at + 1]);
        Use::Chown { uid, gid }
    };
    Some(match name {
        "stat" | "lstat" => stat(native),
        "oldstat" | "oldlstat" => stat(StatLayout::I386Old),
        "stat64" | "lstat64" => stat(StatLayout::I386Stat64),
        "newfstatat" | "fstatat64" => {
            let layout = if name == "newfstatat" { StatLayout::X86_64 } else { StatLayout::I386Stat64 };
            Use::Stat { layout, buffer: argument(2), flags: argument(3) as u32, mask: 0 }
        }
        "statx" => Use::Stat {
            layout: StatLayout::Statx,
            buffer: argument(4),
            flags: argument(2) as u32,
            mask: argument(3) as u32,
        },
        "access" | "faccessat" => Use::Access { wanted: next(1) as u32, effective: false },
        "faccessat2" => Use::Access { wanted: next(1) as u32, effective: argument(3) & AT_EACCESS != 0 },
        "open" | "openat" => Use::Open(next(1) as i32),
        "openat2" => Use::Open(word(argument(2))? as i32),
        "creat" => Use::Open(libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY),
        "truncate" | "truncate64" => Use::Write,
        "inotify_add_watch" | "uselib" => Use::Read,
        "chmod" | "fchmodat" | "fchmodat2" => Use::Chmod { mode: next(1) as u32 },
        "chown" | "lchown" | "chown32" | "lchown32" | "fchownat" => owner(usize::from(place.path) + 1),
        "utime" | "utimes" | "futimesat" => Use::Touch { now: next(1) == 0 },
        "utimensat" | "utimensat_time64" => touch(name, next(1), architecture, word)?,
        "mknod" | "mknodat" => Use::Make { mode: next(1) as u32 },
        "mkdir" | "mkdirat" | "symlink" | "symlinkat" => Use::Make { mode: 0 },
        "link" | "linkat" => match (name, place.path) {
            ("link", 0) | ("linkat", 1) => Use::LinkFrom,
            _ => Use::LinkTo,
        },
        "unlink" | "unlinkat" | "rmdir" => Use::Remove,
        "rename" | "renameat" | "renameat2" => {
            let flags = if name == "renameat2" { argument(4) } else { 0 };
            match (name, place.path) {
                ("rename", 0) | ("renameat" | "renameat2", 1) => Use::MoveFrom,
                _ => Use::MoveTo { replaces: flags & RENAME_NOREPLACE == 0, exchanges: flags & RENAME_EXCHANGE != 0 },
            }
        }
        "chdir" => Use::Enter,
        "chroot" => Use::EnterRoot,
        "setxattrat" | "removexattrat" => Use::Attribute(Attribute { name: argument(3), task: AttributeTask::Other }),
        _ if place.operation == Operation::Xattr && attribute(name, [0; 4]).is_some() => {
            attribute(name, [1, 2, 3, 4].map(|n| arguments[n]))?
        }
        "listxattrat" => Use::List { list: argument(3), size: argument(4) },
        _ if place.operation == Operation::Xattr && list(name, [0; 2]).is_some() => {
            list(name, [argument(1), argument(2)])?
        }
        _ if place.operation == Operation::Connect => Use::Connect,
        _ => Use::Find,
    })
}

/// `utimensat`: no times and UTIME_NOW twice mean now; both omitted change nothing, which anybody may.
fn touch(name: &str, times: u64, architecture: Architecture, word: impl Fn(u64) -> Option<u64>) -> Option<Use> {
    if times == 0 {
        return Some(Use::Touch { now: true });
    }
    let size = if architecture == Architecture::I386 && name == "utimensat" { 4 } else { 8 };
    let nanoseconds = |n: u64| Some(i64::from(word(times.checked_add(size * (2 * n + 1))?)? as u32));
    let both = [nanoseconds(0)?, nanoseconds(1)?];
    Some(match both {
        [libc::UTIME_OMIT, libc::UTIME_OMIT] => Use::Find,
        _ => Use::Touch { now: both == [libc::UTIME_NOW; 2] },
    })
}

/// How wide ids are in this call: those of i386 that came first are narrow.
pub fn width(name: &str, architecture: Architecture) -> Width {
    match architecture == Architecture::I386 && !name.ends_with("32") && name != "fchownat" {
        true => Width::Two,
        false => Width::Four,
    }
}

/// An id as an argument; -1 is the same in both widths.
pub fn id(width: Width, argument: u64) -> u32 {
    match width {
        Width::Two => widen(argument as u16),
        Width::Four => argument as u32,
    }
}

/// The owner and the group of a `chown`; `None` where -1 says to leave it.
pub fn owners(width: Width, uid: u64, gid: u64) -> [Option<u32>; 2] {
    [uid, gid].map(|argument| Some(id(width, argument)).filter(|&id| id != u32::MAX))
}

/// The layout of the structure that a call of the `fstat` family writes.
pub fn descriptor_layout(name: &str, architecture: Architecture) -> Option<StatLayout> {
    Some(match (name, architecture) {
        ("fstat", Architecture::X86_64) => StatLayout::X86_64,
        ("fstat", Architecture::I386) => StatLayout::I386Stat,
        ("fstat64", _) => StatLayout::I386Stat64,
        ("oldfstat", _) => StatLayout::I386Old,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::syscalls::{Action, TABLE};
    use super::*;

    fn describe(name: &str, architecture: Architecture, arguments: [u64; 6], memory: &[(u64, u64)]) -> String {
        let call = TABLE.iter().find(|c| c.name == name).unwrap();
        let Action::Paths(places) = &call.action else { panic!("{name} names no path") };
        let word = |address| memory.iter().find(|(a, _)| *a == address).map(|(_, w)| *w);
        let describe = |place| format!("{:?}", usage(name, place, &arguments, architecture, word));
        places.iter().map(describe).collect::<Vec<_>>().join(", ").replace("Some(", "(")
    }

    #[test]
    fn arguments_say_what_is_done() {
        const NOW: u64 = 0x3fff_ffff;
        const OMIT: u64 = 0x3fff_fffe;
        let times = |a: u64, b: u64| vec![(100, 1), (108, a), (116, 1), (124, b)];
        let narrow = vec![(100, 1), (104, NOW), (108, 1), (112, NOW)];
        use Architecture::{I386, X86_64};
        for (name, architecture, arguments, memory, expected) in [
            ("chown", X86_64, [7, 5, u32::MAX as u64, 0, 0, 0], vec![], "(Chown { uid: (5), gid: None })"),
            ("chown", I386, [7, 0xffff, 70000, 0, 0, 0], vec![], "(Chown { uid: None, gid: (4464) })"),
            ("chown32", I386, [7, 0xffff, 70000, 0, 0, 0], vec![], "(Chown { uid: (65535), gid: (70000) })"),
            ("fchownat", X86_64, [9, 7, 5, 6, 0, 0], vec![], "(Chown { uid: (5), gid: (6) })"),
            ("chmod", X86_64, [7, 0o4755, 0, 0, 0, 0], vec![], "(Chmod { mode: 2541 })"),
            ("fchmodat", X86_64, [9, 7, 0o644, 0, 0, 0], vec![], "(Chmod { mode: 420 })"),
            ("faccessat2", X86_64, [9, 7, 4, 0x200, 0, 0], vec![], "(Access { wanted: 4, effective: true })"),
            ("openat2", X86_64, [9, 7, 100, 24, 0, 0], vec![(100, 2)], "(Open(2))"),
            ("openat2", X86_64, [9, 7, 100, 24, 0, 0], vec![], "None"),
            ("creat", X86_64, [7, 0o644, 0, 0, 0, 0], vec![], "(Open(577))"),
            ("utimensat", X86_64, [9, 7, 0, 0, 0, 0], vec![], "(Touch { now: true })"),
            ("utimensat", X86_64, [9, 7, 100, 0, 0, 0], times(NOW, NOW), "(Touch { now: true })"),
            ("utimensat", X86_64, [9, 7, 100, 0, 0, 0], times(NOW, 5), "(Touch { now: false })"),
            ("utimensat", X86_64, [9, 7, 100, 0, 0, 0], times(OMIT, OMIT), "(Find)"),
            ("utimensat", I386, [9, 7, 100, 0, 0, 0], narrow, "(Touch { now: true })"),
            ("link", X86_64, [7, 8, 0, 0, 0, 0], vec![], "(LinkFrom), (LinkTo)"),
            ("linkat", X86_64, [9, 7, 9, 8, 0, 0], vec![], "(LinkFrom), (LinkTo)"),
            ("rename", X86_64, [7, 8, 0, 0, 0, 0], vec![], "(MoveFrom), (MoveTo { replaces: true, exchanges: false })"),
            (
                "renameat2",
                X86_64,
                [9, 7, 9, 8, 1, 0],
                vec![],
                "(MoveFrom), (MoveTo { replaces: false, exchanges: false })",
            ),
            (
                "renameat2",
                X86_64,
                [9, 7, 9, 8, 2, 0],
                vec![],
                "(MoveFrom), (MoveTo { replaces: true, exchanges: true })",
            ),
            ("statfs", X86_64, [7, 8, 0, 0, 0, 0], vec![], "(Find)"),
            ("listxattr", X86_64, [7, 8, 9, 0, 0, 0], vec![], "(List { list: 8, size: 9 })"),
            ("llistxattr", X86_64, [7, 8, 9, 0, 0, 0], vec![], "(List { list: 8, size: 9 })"),
            ("listxattrat", X86_64, [9, 7, 0, 8, 20, 0], vec![], "(List { list: 8, size: 20 })"),
            (
                "lgetxattr",
                X86_64,
                [7, 8, 9, 20, 0, 0],
                vec![],
                "(Attribute(Attribute { name: 8, task: Get { value: 9, size: 20 } }))",
            ),
            ("stat64", I386, [7, 8, 0, 0, 0, 0], vec![], "(Stat { layout: I386Stat64, buffer: 8, flags: 0, mask: 0 })"),
            ("stat", I386, [7, 8, 0, 0, 0, 0], vec![], "(Stat { layout: I386Stat, buffer: 8, flags: 0, mask: 0 })"),
            ("statx", I386, [9, 7, 2, 3, 8, 0], vec![], "(Stat { layout: Statx, buffer: 8, flags: 2, mask: 3 })"),
        ] {
            assert_eq!(describe(name, architecture, arguments, &memory), expected, "{name} {architecture:?}");
        }
    }
}
