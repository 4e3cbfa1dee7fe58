//! From the arguments of a call to the paths it names. Memory of the tracee is read through a function, so that all
//! of it can be tested without one.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::record::{Ask, From};
use super::syscalls::{Effect, Last, Place};
use crate::base::CONTAINER_ADDRESS;
use crate::observation::Operation;

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_SYMLINK_FOLLOW: u32 = 0x400;
const AT_EMPTY_PATH: u32 = 0x1000;
const O_ACCMODE: u32 = 0o3;
const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const O_TRUNC: u32 = 0o1000;
const O_NOFOLLOW: u32 = 0o400_000;
const O_PATH: u32 = 0o10_000_000;
const O_TMPFILE: u32 = 0o20_000_000;
const RENAME_EXCHANGE: u32 = 2;
const RESOLVE_IN_ROOT: u64 = 0x10;

/// A path in a call: how it is used, and where its bytes are.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// How it is used.
    pub ask: Ask,
    /// The address of its bytes.
    pub address: u64,
    /// It is a path only if it begins with a slash.
    pub only_absolute: bool,
}

/// The path at `place`. `word` reads a word of the tracee. `None` when an argument cannot be read: the call fails.
pub fn named(place: &Place, arguments: &[u64; 6], word: impl Fn(u64) -> Option<u64>) -> Option<Named> {
    let argument = |n: u8| arguments[usize::from(n)];
    let flags = |n: u8| argument(n) as u32;
    let mut ask = Ask {
        operation: place.operation,
        from: match place.dir.map(|n| argument(n) as i32) {
            None | Some(AT_FDCWD) => From::Current,
            Some(descriptor) => From::Descriptor(descriptor),
        },
        follow: true,
        empty: false,
        rooted: false,
        effect: match place.effect {
            Effect::Target(n) if flags(n) & RENAME_EXCHANGE != 0 => Effect::Move,
            Effect::Target(_) => Effect::Replace,
            effect => effect,
        },
    };
    match place.last {
        Last::Follow | Last::FollowAbsolute => {}
        Last::FollowOrNull => ask.empty = argument(place.path) == 0,
        Last::Keep => ask.follow = false,
        Last::KeepOrEmpty => (ask.follow, ask.empty) = (false, true),
        Last::Open(n) => open(&mut ask, flags(n)),
        Last::OpenHow(n) => {
            open(&mut ask, word(argument(n))? as u32);
            ask.rooted = word(argument(n).checked_add(16)?)? & RESOLVE_IN_ROOT != 0;
        }
        Last::At(n) => {
            ask.follow = flags(n) & AT_SYMLINK_NOFOLLOW == 0;
            ask.empty = flags(n) & AT_EMPTY_PATH != 0;
        }
        Last::AtOrNull(n) => {
            ask.follow = flags(n) & AT_SYMLINK_NOFOLLOW == 0;
            ask.empty = flags(n) & AT_EMPTY_PATH != 0 || argument(place.path) == 0;
        }
        Last::AtFollow(n) => {
            ask.follow = flags(n) & AT_SYMLINK_FOLLOW != 0;
            ask.empty = flags(n) & AT_EMPTY_PATH != 0;
        }
        Last::KeepIf(n, mask) => ask.follow = flags(n) & mask == 0,
        Last::FollowIf(n, follow, empty) => {
            ask.follow = flags(n) & follow != 0;
            ask.empty = flags(n) & empty != 0;
        }
    }
    let only_absolute = place.last == Last::FollowAbsolute;
    Some(Named { ask, address: argument(place.path), only_absolute })
}

fn open(ask: &mut Ask, flags: u32) {
    ask.follow = flags & O_NOFOLLOW == 0;
    // Nothing of the file is opened, or the file has no name.
    if flags & (O_PATH | O_TMPFILE) != 0 {
        return;
    }
    // O_RDONLY does not keep O_TRUNC from truncating.
    let writes = flags & (O_ACCMODE | O_TRUNC) != 0;
    if flags & O_CREAT != 0 {
        ask.follow &= flags & O_EXCL == 0;
        ask.effect = if writes && flags & O_EXCL == 0 { Effect::CreateOrWrite } else { Effect::Create };
        ask.operation = Operation::Create;
    } else if writes {
        ask.effect = Effect::Content;
        ask.operation = Operation::Write;
    }
}

/// The path in a `union bpf_attr`, for the two commands that have one (`linux/bpf.h`).
pub fn bpf_object(arguments: &[u64; 6], word: impl Fn(u64) -> Option<u64>) -> Option<Named> {
    const OBJ_PIN: u32 = 6;
    const OBJ_GET: u32 = 7;
    const PATH_FD: u64 = 1 << 14;
    let command = arguments[0] as u32;
    if !matches!(command, OBJ_PIN | OBJ_GET) {
        return None;
    }
    let attribute = arguments[1];
    let (flags, descriptor) = (word(attribute.checked_add(8)?)? >> 32, attribute.checked_add(16)?);
    let pins = command == OBJ_PIN;
    let ask = Ask {
        operation: if pins { Operation::Create } else { Operation::Open },
        from: match flags & PATH_FD {
            0 => From::Current,
            _ => match word(descriptor)? as i32 {
                AT_FDCWD => From::Current,
                descriptor => From::Descriptor(descriptor),
            },
        },
        follow: !pins,
        empty: false,
        rooted: false,
        effect: if pins { Effect::Create } else { Effect::None },
    };
    Some(Named { ask, address: word(attribute)?, only_absolute: false })
}

/// The file of a uprobe in a `struct perf_event_attr` (`linux/perf_event.h`). Events of devices have numbers as they
/// come: for most the word is something else, and not the address of an absolute path.
pub fn uprobe(arguments: &[u64; 6], word: impl Fn(u64) -> Option<u64>) -> Option<Named> {
    const FIRST_DEVICE: u32 = 6;
    if (word(arguments[0])? as u32) < FIRST_DEVICE {
        return None;
    }
    let ask = Ask {
        operation: Operation::Open,
        from: From::Current,
        follow: true,
        empty: false,
        rooted: false,
        effect: Effect::None,
    };
    Some(Named { ask, address: word(arguments[0].checked_add(56)?)?, only_absolute: true })
}

/// What a descriptor alone is asked for: `fchdir`.
pub fn of_descriptor(operation: Operation, descriptor: i32, effect: Effect) -> Ask {
    Ask { operation, from: From::Descriptor(descriptor), follow: true, empty: true, rooted: false, effect }
}

/// A socket address that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A name in the tree.
    Path(Vec<u8>),
    /// A host and a port.
    Internet(SocketAddr),
}

/// Reads a `struct sockaddr`; `None` for other families, and for unix sockets without a name in the tree.
pub fn address(bytes: &[u8]) -> Option<Address> {
    let family = u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = || Some(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
    match i32::from(family) {
        libc::AF_UNIX => {
            // The length counts, a NUL inside ends the name, and one in front makes it abstract.
            let name = &bytes[2..];
            let name = &name[..name.iter().position(|&b| b == 0).unwrap_or(name.len())];
            (!name.is_empty()).then(|| Address::Path(name.to_vec()))
        }
        libc::AF_INET => {
            let host: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some(Address::Internet((Ipv4Addr::from(host), port()?).into()))
        }
        libc::AF_INET6 => {
            let host: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            Some(Address::Internet((Ipv6Addr::from(host), port()?).into()))
        }
        _ => None,
    }
}

/// Whether a connection to `address` would leave the machine.
pub fn leaves(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    !ip.is_loopback() && !ip.is_unspecified() && ip != CONTAINER_ADDRESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracer::syscalls::{Action, TABLE};

    /// What a call does with its paths, as text: where from, the address, and what counts of the flags.
    fn describe(name: &str, arguments: [u64; 6], memory: &[(u64, u64)]) -> String {
        let call = TABLE.iter().find(|c| c.name == name).unwrap();
        let places = match &call.action {
            Action::Paths(places) => places,
            Action::Exec(place) => std::slice::from_ref(place),
            _ => panic!("{name} names no path"),
        };
        let word = |address| memory.iter().find(|(a, _)| *a == address).map(|(_, w)| *w);
        let describe = |place| {
            let Some(Named { ask, address, only_absolute }) = named(place, &arguments, word) else {
                return "unreadable".to_string();
            };
            let mut text = format!("{:?} {:?} @{address}", ask.operation, ask.from);
            for (set, word) in [
                (!ask.follow, " keep"),
                (ask.empty, " empty"),
                (ask.rooted, " rooted"),
                (only_absolute, " if-absolute"),
            ] {
                text.push_str(if set { word } else { "" });
            }
            match ask.effect {
                Effect::None => text,
                effect => format!("{text} {effect:?}"),
            }
        };
        places.iter().map(describe).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn flags_decide() {
        const CWD: u64 = AT_FDCWD as u32 as u64;
        const CWD_EXTENDED: u64 = AT_FDCWD as i64 as u64;
        for (name, arguments, expected) in [
            ("open", [7, 0, 0, 0, 0, 0], "Open Current @7"),
            ("open", [7, 0o400_000, 0, 0, 0, 0], "Open Current @7 keep"),
            ("open", [7, 0o101, 0, 0, 0, 0], "Create Current @7 CreateOrWrite"),
            ("open", [7, 0o301, 0, 0, 0, 0], "Create Current @7 keep Create"),
            ("open", [7, 0o100, 0, 0, 0, 0], "Create Current @7 Create"),
            ("open", [7, 0o2, 0, 0, 0, 0], "Write Current @7 Content"),
            ("open", [7, 0o1000, 0, 0, 0, 0], "Write Current @7 Content"),
            ("open", [7, 0o10_000_102, 0, 0, 0, 0], "Open Current @7"),
            ("open", [7, 0o20_200_002, 0, 0, 0, 0], "Open Current @7"),
            ("openat", [CWD, 7, 0, 0, 0, 0], "Open Current @7"),
            ("openat", [CWD_EXTENDED, 7, 0, 0, 0, 0], "Open Current @7"),
            ("openat", [5, 7, 0, 0, 0, 0], "Open Descriptor(5) @7"),
            ("newfstatat", [5, 7, 0, 0x1000, 0, 0], "Stat Descriptor(5) @7 empty"),
            ("newfstatat", [CWD, 7, 0, 0x100, 0, 0], "Stat Current @7 keep"),
            ("statx", [CWD, 7, 0x100, 0, 0, 0], "Stat Current @7 keep"),
            ("lstat", [7, 0, 0, 0, 0, 0], "Stat Current @7 keep"),
            ("fchownat", [CWD, 7, 0, 0, 0x100, 0], "Chown Current @7 keep Metadata"),
            ("faccessat", [CWD, 7, 0, 0x100, 0, 0], "Access Current @7"),
            ("faccessat2", [CWD, 7, 0, 0x100, 0, 0], "Access Current @7 keep"),
            ("readlinkat", [5, 7, 0, 0, 0, 0], "Readlink Descriptor(5) @7 keep empty"),
            ("linkat", [CWD, 7, 5, 8, 0x400, 0], "Link Current @7 Metadata, Link Descriptor(5) @8 keep Create"),
            ("linkat", [CWD, 7, 5, 8, 0, 0], "Link Current @7 keep Metadata, Link Descriptor(5) @8 keep Create"),
            ("rename", [7, 8, 0, 0, 0, 0], "Rename Current @7 keep Move, Rename Current @8 keep Replace"),
            ("renameat2", [CWD, 7, 5, 8, 1, 0], "Rename Current @7 keep Move, Rename Descriptor(5) @8 keep Replace"),
            ("renameat2", [CWD, 7, 5, 8, 2, 0], "Rename Current @7 keep Move, Rename Descriptor(5) @8 keep Move"),
            ("utimensat", [5, 0, 0, 0, 0, 0], "Utime Descriptor(5) @0 empty Metadata"),
            ("utimensat", [5, 7, 0, 0x100, 0, 0], "Utime Descriptor(5) @7 keep Metadata"),
            ("futimesat", [5, 0, 0, 0, 0, 0], "Utime Descriptor(5) @0 empty Metadata"),
            ("truncate", [7, 0, 0, 0, 0, 0], "Truncate Current @7 Content"),
            ("symlinkat", [7, 5, 8, 0, 0, 0], "Symlink Descriptor(5) @8 keep Create"),
            ("inotify_add_watch", [3, 7, 0x0200_0001, 0, 0, 0], "Watch Current @7 keep"),
            ("fanotify_mark", [3, 1, 2, 5, 7, 0], "Watch Descriptor(5) @7"),
            ("name_to_handle_at", [CWD, 7, 0, 0, 0, 0], "Open Current @7 keep"),
            ("execveat", [5, 7, 0, 0, 0x1000, 0], "Exec Descriptor(5) @7 empty"),
            ("mount", [7, 8, 0, 0, 0, 0], "Mount Current @7 if-absolute, Mount Current @8 Mount"),
            ("getxattrat", [CWD, 7, 0x100, 0, 0, 0], "Xattr Current @7 keep"),
        ] {
            assert_eq!(describe(name, arguments, &[]), expected, "{name}");
        }
    }

    #[test]
    fn openat2_has_its_flags_in_memory() {
        let arguments = [5, 7, 1000, 24, 0, 0];
        let how = |flags, resolve| [(1000, flags), (1008, 0), (1016, resolve)];
        assert_eq!(describe("openat2", arguments, &how(0, 0)), "Open Descriptor(5) @7");
        assert_eq!(describe("openat2", arguments, &how(0o400_000, 0x10)), "Open Descriptor(5) @7 keep rooted");
        assert_eq!(describe("openat2", arguments, &[]), "unreadable");
    }

    #[test]
    fn structures_hold_paths() {
        let memory = [(100, 7), (108, 0), (116, 0), (200, 7), (208, 1 << 46), (216, 5), (300, 9), (356, 8)];
        let word = |address| memory.iter().find(|(a, _)| *a == address).map(|(_, w)| *w);
        let show = |named: Option<Named>| {
            named.map(|n| format!("{:?} {:?} @{} {}", n.ask.operation, n.ask.from, n.address, n.only_absolute))
        };
        for (arguments, expected) in [
            ([6, 100, 0, 0, 0, 0], Some("Create Current @7 false")),
            ([7, 100, 0, 0, 0, 0], Some("Open Current @7 false")),
            ([7, 200, 0, 0, 0, 0], Some("Open Descriptor(5) @7 false")),
            ([5, 100, 0, 0, 0, 0], None),
            ([7, 500, 0, 0, 0, 0], None),
        ] {
            assert_eq!(show(bpf_object(&arguments, word)).as_deref(), expected);
        }
        assert_eq!(show(uprobe(&[300, 0, 0, 0, 0, 0], word)).as_deref(), Some("Open Current @8 true"));
        assert_eq!(show(uprobe(&[108, 0, 0, 0, 0, 0], word)), None);
    }

    #[test]
    fn addresses() {
        let unix = |name: &[u8]| [&[1, 0], name].concat();
        assert_eq!(address(&unix(b"/run/x\0rest")), Some(Address::Path(b"/run/x".to_vec())));
        assert_eq!(address(&unix(b"relative")), Some(Address::Path(b"relative".to_vec())));
        for nameless in [unix(b"\0abstract"), unix(b""), vec![1], vec![], vec![16, 0, 0, 0]] {
            assert_eq!(address(&nameless), None, "{nameless:?}");
        }
        let v4 = address(&[2, 0, 0x1f, 0x90, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(v4, Some(Address::Internet("10.0.0.1:8080".parse().unwrap())));
        let mut v6 = vec![10, 0, 0, 53, 0, 0, 0, 0];
        v6.extend(Ipv6Addr::LOCALHOST.octets());
        assert_eq!(address(&v6), Some(Address::Internet("[::1]:53".parse().unwrap())));
        assert_eq!(address(&v6[..20]), None);
    }

    #[test]
    fn loopback_stays() {
        for (address, expected) in [
            ("127.0.0.11:53", false),
            ("[::1]:80", false),
            ("[::ffff:127.0.0.1]:80", false),
            ("0.0.0.0:80", false),
            ("10.88.0.2:80", false),
            ("10.88.0.1:80", true),
            ("1.1.1.1:53", true),
            ("[2606:4700::1111]:53", true),
        ] {
            assert_eq!(leaves(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
