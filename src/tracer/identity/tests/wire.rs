//! The layouts, held against what the kernel writes: for i386 by `int 0x80`, which a 64-bit program may use as well.

use std::path::Path;

use nix::errno::Errno;

use super::super::{
    CAPABILITY_VERSION, CapabilityHeader, CapabilitySets, FileIdentity, StatLayout, Width, encode_ucred, mode_of_acl,
    narrow, parse_ucred, widen,
};
use super::kernel::{assume, c_path, call, directory, identity, in_child, make, own, root};
use super::{Credentials, done, file_text, outcome};

/// Memory below 4 GiB, which is never given back.
fn low() -> &'static mut [u8] {
    // SAFETY: a new mapping; nothing else knows it.
    let start = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        libc::mmap(std::ptr::null_mut(), 8192, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    assert_ne!(start, libc::MAP_FAILED);
    // SAFETY: the mapping just made.
    unsafe { std::slice::from_raw_parts_mut(start.cast(), 8192) }
}

/// A system call of i386.
fn call_32(number: u32, [a, b, c]: [u32; 3]) -> Result<u32, Errno> {
    let result: i64;
    // SAFETY: rbx, which the compiler keeps for itself, is given back; the callers pass addresses of `low` memory.
    unsafe {
        std::arch::asm!(
            "xchg {a}, rbx",
            "int 0x80",
            "xchg {a}, rbx",
            a = inout(reg) u64::from(a) => _,
            inout("rax") i64::from(number) => result,
            in("rcx") u64::from(b),
            in("rdx") u64::from(c),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    match result as i32 {
        errno @ -4095..0 => Err(Errno::from_raw(-errno)),
        value => Ok(value as u32),
    }
}

/// Asks for the file at `path` in the layout; both arguments are in `low` memory.
fn stat(layout: StatLayout, path: &[u8], buffer: &mut [u8]) -> Result<(), Errno> {
    let (path, buffer) = (path.as_ptr() as u64, buffer.as_mut_ptr() as u64);
    let old = |number| call_32(number, [path as u32, buffer as u32, 0]).map(|_| ());
    match layout {
        StatLayout::X86_64 => call(libc::SYS_lstat, &[path, buffer]).map(|_| ()),
        StatLayout::I386Stat64 => old(196),
        StatLayout::I386Stat => old(107),
        StatLayout::I386Old => old(84),
        StatLayout::Statx => {
            let all = u64::from(libc::STATX_BASIC_STATS);
            call(libc::SYS_statx, &[libc::AT_FDCWD as u64, path, 0, all, buffer]).map(|_| ())
        }
    }
}

#[test]
fn owner_and_mode_are_where_the_kernel_writes_them() {
    root();
    let dir = directory();
    let path = dir.path().join("f");
    make(&path, &FileIdentity::new(70000, 1001, 0o104751));
    let (name, buffer) = low().split_at_mut(4096);
    for (layout, wide) in [
        (StatLayout::X86_64, true),
        (StatLayout::I386Stat64, true),
        (StatLayout::I386Stat, false),
        (StatLayout::I386Old, false),
        (StatLayout::Statx, true),
    ] {
        // The oldest has 16 bits for the inode number: one of these has a small one.
        let candidates = [&path, Path::new("/"), Path::new("/dev/null"), Path::new("/proc"), Path::new("/sys")];
        let mut candidates = candidates.iter();
        let (path, result) = loop {
            let path = candidates.next().expect("a file with a small inode number");
            let bytes = c_path(path).into_bytes_with_nul();
            name[..bytes.len()].copy_from_slice(&bytes);
            buffer.fill(0xee);
            match stat(layout, name, buffer) {
                Err(Errno::EOVERFLOW) => {}
                result => break (path, result),
            }
        };
        assert_eq!(result, Ok(()), "{layout:?}; ENOSYS means that the kernel lacks CONFIG_IA32_EMULATION");
        assert!(buffer[layout.len()..].iter().all(|&b| b == 0xee), "{layout:?} is not longer");
        let narrowed = |id: u32| if wide { id } else { u32::from(narrow(id)) };
        let expected = identity(path).unwrap();
        let expected = FileIdentity { uid: narrowed(expected.uid), capabilities: None, ..expected };
        let bytes = &mut buffer[..layout.len()];
        assert_eq!(file_text(&layout.read(bytes).unwrap()), file_text(&expected), "{layout:?} {path:?}");

        // What is patched in is there, and nothing else has changed.
        let before = bytes.to_vec();
        let other = FileIdentity::new(100_000, 7, 0o100600);
        layout.patch(bytes, &other);
        assert_eq!(layout.read(bytes), Some(FileIdentity { uid: narrowed(100_000), ..other }), "{layout:?}");
        layout.patch(bytes, &expected);
        assert_eq!(bytes, before, "{layout:?}");
    }
}

#[test]
fn fields_that_statx_left_out_stay() {
    let file = FileIdentity::new(1, 2, 0o100644);
    for (mask, expected) in
        [(0x7ff_u32, "100644 1:2"), (0x8, "0 1:0"), (0x10, "0 0:2"), (0x2, "100644 0:0"), (0, "0 0:0")]
    {
        let mut bytes = [0; 256];
        bytes[..4].copy_from_slice(&mask.to_le_bytes());
        StatLayout::Statx.patch(&mut bytes, &file);
        assert_eq!(file_text(&StatLayout::Statx.read(&bytes).unwrap()), expected, "{mask:x}");
    }
    assert_eq!(StatLayout::Statx.read(&[0; 20]), None);
}

#[test]
fn capabilities_have_three_versions() {
    let own = root();
    let sets = CapabilitySets { effective: own.effective, permitted: own.permitted, inheritable: own.inheritable };
    for (version, expected) in [
        (0x1998_0330_u32, Ok(12)),
        (0x2007_1026, Ok(24)),
        (CAPABILITY_VERSION, Ok(24)),
        (0x2026_0101, Err(Errno::EINVAL)),
    ] {
        let mut header = [0; 8];
        header[..4].copy_from_slice(&version.to_le_bytes());
        let parsed = CapabilityHeader::parse(header);
        assert_eq!(parsed.map(|h| h.data_len), expected);
        let mut data = [0xee_u8; 24];
        let result = call(libc::SYS_capget, &[header.as_mut_ptr() as u64, data.as_mut_ptr() as u64]);
        assert_eq!(result.err(), expected.err());
        match expected {
            Ok(len) => {
                assert_eq!(sets.encode(len), data[..len]);
                assert!(data[len..].iter().all(|&b| b == 0xee));
                let read = CapabilitySets::parse(&data[..len]);
                assert_eq!(read.permitted, if len == 12 { own.permitted & 0xffff_ffff } else { own.permitted });
            }
            Err(_) => assert_eq!(header[..4], CAPABILITY_VERSION.to_le_bytes()),
        }
        let without_data = call(libc::SYS_capget, &[header.as_mut_ptr() as u64, 0]);
        assert!(without_data == Ok(0) || expected.is_ok(), "{version:x}");
    }
    let header = [0x22, 5, 8, 0x20, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(CapabilityHeader::parse(header), Ok(CapabilityHeader { pid: -1, data_len: 24 }));
}

#[test]
fn ids_of_16_bits_are_those_of_the_kernel() {
    let bounding = root().bounding;
    let memory = low();
    let address = memory.as_ptr() as u32;
    for (id, groups) in [(1000, vec![5, 65534, 65536, 70000]), (70000, vec![]), (65535, vec![1, 65535])] {
        let mut who = Credentials::new(id, 0, groups, bounding);
        who.permitted = 0xc0;
        who.effective = 0xc0;
        let said = in_child(|_| {
            assume(&who);
            let uid = call_32(24, [0; 3]);
            let count = call_32(80, [64, address, 0]).unwrap() as usize;
            // SAFETY: `low` memory, which the kernel has just written.
            let bytes = unsafe { std::slice::from_raw_parts(u64::from(address) as *const u8, count * 2) };
            // What the kernel wrote, and what it takes of that.
            let result = call_32(81, [count as u32, address, 0]);
            format!("{} {bytes:?} {} {:?}", outcome(uid), outcome(result), own().groups)
        });
        let bytes = Width::Two.encode_groups(&who.groups);
        let result = done(who.setgroups(Width::Two.parse_groups(&bytes)));
        assert_eq!(said, format!("{} {bytes:?} {result} {:?}", narrow(id), who.groups));
    }
    for (id, expected) in [(0, 0), (65534, 65534), (65535, u32::MAX)] {
        assert_eq!(widen(id), expected);
    }
    // setuid of -1 is EINVAL also when -1 has 16 bits.
    assert_eq!(in_child(|_| outcome(call_32(23, [0xffff, 0, 0]))), "EINVAL");
    assert_eq!(Width::Four.parse_groups(&Width::Four.encode_groups(&[1, 70000])), [1, 70000]);
    assert_eq!(Width::Four.encode(70000).len(), Width::Four.bytes());
}

#[test]
fn peers_are_written_as_the_kernel_writes_them() {
    root();
    let said = in_child(|_| {
        assume(&Credentials::new(70000, 1001, vec![], 0));
        let mut sockets = [0_i32; 2];
        let pair = [libc::AF_UNIX as u64, libc::SOCK_STREAM as u64, 0, sockets.as_mut_ptr() as u64];
        call(libc::SYS_socketpair, &pair).unwrap();
        let mut bytes = [0_u8; 16];
        let mut len = 16_u32;
        let (value, length) = (bytes.as_mut_ptr() as u64, &raw mut len as u64);
        let (level, option) = (libc::SOL_SOCKET as u64, libc::SO_PEERCRED as u64);
        call(libc::SYS_getsockopt, &[sockets[0] as u64, level, option, value, length]).unwrap();
        let expected = encode_ucred(std::process::id() as i32, 70000, 1001);
        format!("{len} {}", bytes[..12] == expected)
    });
    assert_eq!(said, "12 true");
    assert_eq!(parse_ucred(encode_ucred(-1, 2, u32::MAX)), (-1, 2, u32::MAX));
}

/// An access control list as the kernel takes it.
fn acl(version: u32, entries: &[(u16, u16)]) -> Vec<u8> {
    let entry = |&(tag, bits): &(u16, u16)| [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &[0xff; 4]].concat();
    [version.to_le_bytes().to_vec(), entries.iter().flat_map(entry).collect()].concat()
}

#[test]
fn a_list_of_rights_that_is_a_mode_is_read_as_one() {
    for (list, expected) in [
        (acl(2, &[(1, 6), (4, 4), (0x20, 0)]), Ok(0o640)),
        (acl(2, &[(1, 7), (4, 5), (0x20, 5)]), Ok(0o755)),
        (acl(2, &[(1, 6), (2, 6), (4, 4), (0x10, 6), (0x20, 0)]), Err(Errno::EOPNOTSUPP)),
        (acl(1, &[(1, 6), (4, 4), (0x20, 0)]), Err(Errno::EOPNOTSUPP)),
        (acl(2, &[(1, 6), (4, 4)]), Err(Errno::EINVAL)),
        (acl(2, &[(1, 8), (4, 4), (0x20, 0)]), Err(Errno::EINVAL)),
        (acl(2, &[]), Err(Errno::EINVAL)),
        (acl(2, &[(1, 6), (4, 4), (0x20, 0)])[..27].to_vec(), Err(Errno::EINVAL)),
        (vec![2, 0], Err(Errno::EINVAL)),
    ] {
        assert_eq!(mode_of_acl(&list), expected, "{list:?}");
    }
}
