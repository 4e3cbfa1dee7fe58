//! What is well known, written out.

use super::super::{
    ALL_CAPABILITIES, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN, CAP_SYS_CHROOT, Credentials,
    FileCapabilities, FileIdentity, Want, bit,
};
use super::{done, file_text, outcome, text};

/// Docker's default capabilities.
const DOCKER: u64 = 0xa804_25fb;

#[test]
fn processes_start_as_in_a_container() {
    let who = Credentials::new(0, 0, vec![], DOCKER);
    assert!(who.has(CAP_SYS_CHROOT) && !who.has(CAP_SYS_ADMIN) && !who.has(64));
    let cases = [
        (0, 0, vec![], "uid 0 0 0 0 gid 0 0 0 0 groups - caps a80425fb/a80425fb/0/a80425fb/0 bits 0"),
        (33, 34, vec![5, 4], "uid 33 33 33 33 gid 34 34 34 34 groups 4,5 caps 0/0/0/a80425fb/0 bits 0"),
    ];
    for (uid, gid, groups, expected) in cases {
        assert_eq!(text(&Credentials::new(uid, gid, groups, DOCKER)), expected);
    }
}

#[test]
fn a_server_drops_its_privileges() {
    let mut who = Credentials::new(0, 0, vec![0], DOCKER);
    assert_eq!(done(who.setgroups(vec![33])), "0");
    assert_eq!(done(who.setgid(33)), "0");
    assert_eq!(done(who.setuid(33)), "0");
    assert_eq!(text(&who), "uid 33 33 33 33 gid 33 33 33 33 groups 33 caps 0/0/0/a80425fb/0 bits 0");
    assert_eq!(done(who.setuid(0)), "EPERM");
    assert_eq!(done(who.setgroups(vec![])), "EPERM");
    assert_eq!(who.setfsuid(0), 33);
    assert_eq!(who.setfsuid(u32::MAX), 33);
}

#[test]
fn an_exec_gives_what_the_file_says() {
    let capabilities = Some(FileCapabilities { permitted: 1 << 13, inheritable: 0, effective: true, root_id: None });
    let missing = Some(FileCapabilities { permitted: 1 << 12, inheritable: 0, effective: true, root_id: None });
    let cases = [
        (0, 0o100755, None, "uid 0 0 0 0 caps a80425fb false"),
        (33, 0o100755, None, "uid 33 33 33 33 caps 0 false"),
        (33, 0o104755, None, "uid 33 0 0 0 caps a80425fb true"),
        (33, 0o100755, capabilities, "uid 33 33 33 33 caps 2000 true"),
        (33, 0o100755, missing, "EPERM"),
        (0, 0o100755, missing, "EPERM"),
        (33, 0o100754, None, "EACCES"),
        (0, 0o100644, None, "EACCES"),
        (0, 0o040755, None, "EACCES"),
    ];
    for (uid, mode, capabilities, expected) in cases {
        let mut who = Credentials::new(uid, uid, vec![], DOCKER);
        let file = FileIdentity { uid: 0, gid: 0, mode, capabilities };
        let result = who.may_exec(&file).map(|()| {
            let secure = who.exec(&file);
            let ids = who.uid;
            let ids = format!("{} {} {} {}", ids.real, ids.effective, ids.saved, ids.filesystem);
            format!("uid {ids} caps {:x} {secure}", who.effective)
        });
        assert_eq!(outcome(result), expected, "{uid} {}", file_text(&file));
    }
}

#[test]
fn permissions_are_those_of_the_first_class_that_fits() {
    let override_all = bit(CAP_DAC_OVERRIDE);
    let read_all = bit(CAP_DAC_READ_SEARCH);
    // Who has uid 1, gid 2, groups 3 and 4. The last column: what of rwx may be done, each alone.
    let cases = [
        (1, 2, 0o100640, 0, "rw-"),
        (1, 2, 0o100077, 0, "---"),
        (9, 2, 0o100640, 0, "r--"),
        (9, 4, 0o100640, 0, "r--"),
        (9, 4, 0o100607, 0, "---"),
        (9, 9, 0o100604, 0, "r--"),
        (9, 9, 0o100600, override_all, "rw-"),
        (9, 9, 0o100100, override_all, "rwx"),
        (9, 9, 0o100100, read_all, "r--"),
        (9, 9, 0o040000, override_all, "rwx"),
        (9, 9, 0o040000, read_all, "r-x"),
    ];
    for (uid, gid, mode, capabilities, expected) in cases {
        let mut who = Credentials::new(1, 2, vec![4, 3], ALL_CAPABILITIES);
        who.effective = capabilities;
        let file = FileIdentity::new(uid, gid, mode);
        let may = |want, letter| if who.may(&file, want).is_ok() { letter } else { '-' };
        let found: String = [may(Want::READ, 'r'), may(Want::WRITE, 'w'), may(Want::EXECUTE, 'x')].iter().collect();
        assert_eq!(found, expected, "{} with {capabilities:x}", file_text(&file));
    }
}

#[test]
fn open_wants_what_its_flags_say() {
    let cases = [
        (libc::O_RDONLY, "r"),
        (libc::O_WRONLY, "w"),
        (libc::O_RDWR, "rw"),
        (libc::O_ACCMODE, "rw"),
        (libc::O_RDONLY | libc::O_TRUNC, "rw"),
        (libc::O_RDWR | libc::O_PATH, ""),
    ];
    for (flags, expected) in cases {
        let want = Want::of_open(flags);
        let found: String = [(want.read, 'r'), (want.write, 'w')].iter().filter(|w| w.0).map(|w| w.1).collect();
        assert_eq!(found, expected, "{flags:o}");
    }
}

#[test]
fn capabilities_of_files_are_read_and_written() {
    let cases: [(&[u8], &str); 6] = [
        (b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "0 0:0 2000/0 effective"),
        (b"\0\0\0\x02\x01\0\0\0\x02\0\0\0\xff\xff\xff\xff\x04\0\0\0", "0 0:0 1ff00000001/400000002"),
        (b"\x01\0\0\x03\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xe8\x03\0\0", "0 0:0 2000/0 effective root 1000"),
        (b"\x01\0\0\x03\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "-"),
        (b"\x01\0\0\x01\0\x20\0\0\0\0\0\0", "-"),
        (b"\x01\0", "-"),
    ];
    for (value, expected) in cases {
        let capabilities = FileCapabilities::parse(value);
        let found = match capabilities {
            Some(_) => file_text(&FileIdentity { uid: 0, gid: 0, mode: 0, capabilities }),
            None => "-".into(),
        };
        assert_eq!(found, expected);
        if let Some(capabilities) = capabilities {
            assert_eq!(FileCapabilities::parse(&capabilities.encode()), Some(capabilities));
        }
    }
}
