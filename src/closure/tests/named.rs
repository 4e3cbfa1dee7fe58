//! Which paths are kept because settings or programs name them, and which are not.

use super::Case;
use crate::closure::{Level, Reason};
use crate::observation::Operation::{Exec, Load, Open};

impl Case {
    /// Checks the paths that are kept for their names, or as what a program looks up by name.
    #[track_caller]
    fn names(&self, expected: &str) {
        let is_such = |reason: &Reason| matches!(reason, Reason::Named(_) | Reason::Resource(_));
        let closure = self.require(Level::Closure);
        let is_named = |reason: &Reason| matches!(reason, Reason::Named(_));
        assert!(!closure.paths.iter().any(|(_, reasons)| reasons.iter().any(is_named)));
        let required = self.require(Level::App);
        let found = required.paths.iter().flat_map(|(path, reasons)| {
            reasons.iter().filter(|reason| is_such(reason)).map(move |reason| format!("{path} {reason}"))
        });
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(found.collect::<Vec<_>>().join("\n"), expected.join("\n"));
    }
}

#[test]
fn settings_that_were_read_name_what_a_request_asks_for() {
    let case = Case::new()
        .program("/usr/sbin/d", "")
        .file(
            "/etc/d/d.conf",
            "share /data/x\n#share /data/no\naliases=/etc/aliases\nlog /var/log/d\nroot /var\nsub /usr/lib/d/sub\n",
        )
        .file("/data/x/deep/file", "")
        .file("/data/no/file", "")
        .file("/etc/aliases", "")
        .file("/var/log/d/old.log", "")
        .file("/var/lib/other/file", "")
        .program("/usr/lib/d/sub", "")
        .used("/usr/sbin/d", &[Exec]);
    case.names("");
    case.used("/etc/d/d.conf", &[Open]).names(
        "/data/x named:/etc/d/d.conf
         /data/x/deep named:/etc/d/d.conf
         /data/x/deep/file named:/etc/d/d.conf
         /etc/aliases named:/etc/d/d.conf
         /usr/lib/d/sub named:/etc/d/d.conf
         /var/log/d named:/etc/d/d.conf",
    );
}

#[test]
fn a_module_brings_the_others_of_its_program() {
    let case = Case::new()
        .program("/usr/sbin/d", "")
        .file("/usr/lib/x86_64-linux-gnu/d/vfs/one.so", "")
        .file("/usr/lib/x86_64-linux-gnu/d/vfs/two.so", "")
        .file("/usr/lib/x86_64-linux-gnu/libother.so.1", "")
        .file("/usr/lib/ldapd/back.so", "")
        .file("/usr/lib/ldapd/overlay.so", "")
        .used("/usr/sbin/d", &[Exec]);
    case.names("");
    let directory = "/usr/lib/x86_64-linux-gnu/d/vfs";
    case.used("/usr/lib/x86_64-linux-gnu/d/vfs/one.so", &[Open, Load]).used("/usr/lib/ldapd/back.so", &[Open]).names(
        &format!(
            "/usr/lib/ldapd/back.so resource:/usr/lib/ldapd
         /usr/lib/ldapd/overlay.so resource:/usr/lib/ldapd
         {directory}/one.so resource:/usr/lib/x86_64-linux-gnu/d
         {directory}/two.so resource:/usr/lib/x86_64-linux-gnu/d"
        ),
    );
}

#[test]
fn where_programs_lie_is_named_for_one_of_them_and_not_for_all() {
    Case::new()
        .program("/usr/lib/db/15/bin/db", "")
        .program("/usr/lib/db/15/bin/client", "")
        .file("/etc/db.conf", "programs /usr/lib/db/15/bin\n")
        .used("/usr/lib/db/15/bin/db", &[Exec])
        .used("/etc/db.conf", &[Open])
        .names("");
}
