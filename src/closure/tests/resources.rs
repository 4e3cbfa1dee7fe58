//! Which directories of a package are kept whole because a program looks things up in them, and which are not.

use std::os::unix::fs::PermissionsExt;

use super::{Case, path};
use crate::closure::{Level, Reason};
use crate::observation::Operation::{Exec, Open, Stat, Traverse};

impl Case {
    /// Checks the paths that are kept as resources, each with its directory.
    #[track_caller]
    pub(super) fn has_resources(&self, expected: &str) {
        let is_resource = |reason: &Reason| matches!(reason, Reason::Resource(_));
        let observed = self.require(Level::Observed);
        assert!(!observed.paths.iter().any(|(_, reasons)| reasons.iter().any(is_resource)));
        let required = self.require(Level::Closure);
        let found = required.paths.iter().flat_map(|(path, reasons)| {
            reasons.iter().filter(|reason| is_resource(reason)).map(move |reason| format!("{path} {reason}"))
        });
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(found.collect::<Vec<_>>().join("\n"), expected.join("\n"));
    }
}

#[test]
fn data_of_which_one_file_was_read_is_kept_whole() {
    let case = Case::new()
        .program("/usr/bin/dbd", "")
        .file("/usr/share/db/15/zones/Default", "")
        .file("/usr/share/db/15/zones/Asia", "")
        .file("/usr/share/db/15/words/german.stop", "")
        .file("/usr/share/db/15/man/man1/db.1", "")
        .file("/usr/share/db/locale/fr.po", "")
        .file("/usr/share/db/printers/inch.h", "")
        .file("/usr/share/locale/fr/LC_MESSAGES/db.mo", "")
        .file("/usr/share/other/file", "")
        .file("/usr/share/doc/db/copyright", "")
        .file("/usr/share/python3/module", "")
        .used("/usr/bin/dbd", &[Exec])
        .used("/usr/share/other/file", &[Stat])
        .used("/usr/share/doc/db/copyright", &[Open])
        .used("/usr/share/python3/module", &[Open]);
    case.has_resources("");
    case.used("/usr/share/db/15/zones/Default", &[Open]).has_resources(
        "/usr/share/db/15/words/german.stop resource:/usr/share/db
         /usr/share/db/15/zones/Asia resource:/usr/share/db
         /usr/share/db/15/zones/Default resource:/usr/share/db
         /usr/share/db/locale/fr.po resource:/usr/share/db
         /usr/share/db/printers/inch.h resource:/usr/share/db",
    );
}

#[test]
fn what_a_web_server_runs_is_kept_in_any_language() {
    Case::new()
        .program("/usr/lib/cgi-bin/first", "#!/usr/bin/python3\n")
        .program("/usr/lib/cgi-bin/second.py", "#!/usr/bin/python3\n")
        .program("/usr/lib/web/module.py", "")
        .program("/usr/lib/web/helper", "")
        .used("/usr/lib/cgi-bin/first", &[Exec])
        .used("/usr/lib/web/helper", &[Exec])
        .has_resources(
            "/usr/lib/cgi-bin/first resource:/usr/lib/cgi-bin
             /usr/lib/cgi-bin/second.py resource:/usr/lib/cgi-bin
             /usr/lib/web/helper resource:/usr/lib/web",
        );
}

#[test]
fn data_under_the_name_of_a_program_that_ran_is_kept() {
    let case = Case::new()
        .program("/usr/sbin/web2", "")
        .program("/usr/sbin/other", "")
        .program("/usr/bin/python3", "")
        .file("/usr/share/web2/icons/text.gif", "")
        .file("/usr/share/other/file", "")
        .file("/usr/share/python3/file", "")
        .used("/usr/bin/python3", &[Exec])
        .used("/usr/sbin/other", &[Stat]);
    case.has_resources("");
    case.used("/usr/sbin/web2", &[Exec]).has_resources("/usr/share/web2/icons/text.gif resource:/usr/share/web2");
}

#[test]
fn time_zones_are_kept_when_one_was_asked_for_and_not_for_the_time_of_the_day() {
    let case = || {
        Case::new()
            .file("/usr/share/zoneinfo/Etc/UTC", "")
            .file("/usr/share/zoneinfo/Asia/Tokyo", "")
            .link("/usr/share/zoneinfo/Japan", "Asia/Tokyo")
            .link("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
            .used("/usr/share/zoneinfo/Etc/UTC", &[Open])
    };
    case().has_resources("");
    let all = "/usr/share/zoneinfo/Asia/Tokyo resource:/usr/share/zoneinfo
         /usr/share/zoneinfo/Etc/UTC resource:/usr/share/zoneinfo
         /usr/share/zoneinfo/Japan resource:/usr/share/zoneinfo";
    case().used("/usr/share/zoneinfo", &[Open]).has_resources(all);
    case().used("/usr/share/zoneinfo/Asia/Tokyo", &[Open]).has_resources(all);
    case()
        .used("/usr/share/zoneinfo/Asia/Tokyo", &[Open])
        .only_by_probe_tools("/usr/share/zoneinfo/Asia/Tokyo")
        .has_resources("");
}

#[test]
fn a_program_with_a_prefix_of_its_own_keeps_its_modules_and_settings() {
    Case::new()
        .program("/usr/lib/jvm/17/bin/java", "")
        .program("/usr/lib/jvm/17/bin/keytool", "")
        .file("/usr/lib/jvm/17/lib/security/cacerts", "")
        .file("/usr/lib/jvm/17/lib/server/classes.jsa", "")
        .file("/usr/lib/jvm/17/lib/server/classes_nocoops.jsa", "")
        .file("/usr/lib/jvm/17/lib/src.zip", "")
        .file("/usr/lib/jvm/17/lib/python3/x.py", "")
        .file("/usr/lib/jvm/17/include/jni.h", "")
        .link("/usr/lib/jvm/17/conf/security", "/etc/java/security")
        .file("/etc/java/security", "")
        .used("/usr/lib/jvm/17/bin/java", &[Exec])
        .has_resources(
            "/usr/lib/jvm/17/conf/security resource:/usr/lib/jvm/17/conf
             /usr/lib/jvm/17/lib/security/cacerts resource:/usr/lib/jvm/17/lib",
        );
}

#[test]
fn of_the_memory_images_of_a_java_machine_the_one_that_was_used_is_kept() {
    let images = |case: Case| {
        let required = case.require(Level::Closure);
        let found = required.paths.iter().map(|(path, _)| path.to_string()).filter(|path| path.ends_with(".jsa"));
        found.collect::<Vec<_>>().join(" ")
    };
    let case = || {
        Case::new()
            .program("/usr/lib/jvm/17/bin/java", "")
            .file("/usr/lib/jvm/17/lib/server/classes.jsa", "")
            .file("/usr/lib/jvm/17/lib/server/classes_nocoops.jsa", "")
            .used("/usr/lib/jvm/17/bin/java", &[Exec])
    };
    let used = "/usr/lib/jvm/17/lib/server/classes.jsa";
    assert_eq!(images(case()), "");
    assert_eq!(images(case().used(used, &[Open])), used);
}

#[test]
fn what_only_python_loads_is_no_resource_of_a_program_that_has_modules() {
    let place = "/usr/lib/x86_64-linux-gnu/d";
    Case::new()
        .program("/usr/bin/d", "")
        .file(&format!("{place}/mod.so"), "")
        .file(&format!("{place}/other.so"), "")
        .shared_library(&format!("{place}/libd-net.cpython-311-x86-64-linux-gnu.so.0"), &["libpython3.11.so.1.0"], &[])
        .shared_library("/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", &[], &[])
        .file("/usr/lib/python3.11/os.py", "")
        .used(&format!("{place}/mod.so"), &[Open])
        .has_resources(
            "/usr/lib/x86_64-linux-gnu/d/mod.so resource:/usr/lib/x86_64-linux-gnu/d
             /usr/lib/x86_64-linux-gnu/d/other.so resource:/usr/lib/x86_64-linux-gnu/d",
        );
}

#[test]
fn programs_that_others_start_are_kept_together() {
    let case = Case::new()
        .program("/usr/bin/app", "")
        .file("/usr/lib/libx.so", "")
        .file("/usr/share/x", "")
        .program("/usr/lib/mail/auth", "")
        .program("/usr/lib/mail/imap", "")
        .program("/usr/lib/x86_64-linux-gnu/tool", "")
        .program("/usr/lib/x86_64-linux-gnu/tool2", "")
        .used("/usr/lib/x86_64-linux-gnu/tool", &[Exec])
        .used("/usr/bin/app", &[Exec]);
    case.has_resources("");
    case.used("/usr/lib/mail/auth", &[Exec]).has_resources(
        "/usr/lib/mail/auth resource:/usr/lib/mail
         /usr/lib/mail/imap resource:/usr/lib/mail",
    );
}

#[test]
fn what_is_large_and_was_not_used_is_left_out_and_said() {
    let case = Case::new().file("/usr/share/maps/a", "").file("/usr/share/maps/world", "");
    std::fs::File::options()
        .write(true)
        .open(case.on_host("/usr/share/maps/world"))
        .unwrap()
        .set_len(65 << 20)
        .unwrap();
    let case = case.used("/usr/share/maps/a", &[Open]);
    case.has_resources("");
    assert_eq!(
        case.require(Level::Closure).warnings,
        [
            "/usr/share/maps holds more than 64 MB that was not used: it is left out\nhint: --keep '/usr/share/maps/**' keeps it"
        ]
    );
    let case = case.used("/usr/share/maps/world", &[Open]);
    let many = (0..20_001).fold(Case::new().file("/usr/share/maps/a", ""), |case, n| {
        case.file(&format!("/usr/share/maps/{}/{n}", n % 100), "")
    });
    let many = many.used("/usr/share/maps/a", &[Open]);
    many.has_resources("");
    assert_eq!(
        many.require(Level::Closure).warnings,
        [
            "/usr/share/maps holds more than 20000 files and directories that were not used: it is left out\nhint: --keep '/usr/share/maps/**' keeps it"
        ]
    );
    assert!(case.require(Level::Closure).paths.get(&path("/usr/share/maps/world")).is_some());
}

#[test]
fn descriptions_of_modules_are_kept_for_who_reads_one() {
    let case = || {
        Case::new()
            .file("/usr/lib/x86_64-linux-gnu/magic/png.la", "")
            .file("/usr/lib/x86_64-linux-gnu/magic/png.so", "")
            .file("/usr/lib/x86_64-linux-gnu/magic/gif.la", "")
            .file("/usr/lib/x86_64-linux-gnu/magic/gif.so", "")
            .used("/usr/lib/x86_64-linux-gnu/magic/png.so", &[Open])
    };
    case().has_resources(
        "/usr/lib/x86_64-linux-gnu/magic/gif.so resource:/usr/lib/x86_64-linux-gnu/magic
         /usr/lib/x86_64-linux-gnu/magic/png.so resource:/usr/lib/x86_64-linux-gnu/magic",
    );
    case().used("/usr/lib/x86_64-linux-gnu/magic/png.la", &[Open]).has_resources(
        "/usr/lib/x86_64-linux-gnu/magic/gif.la resource:/usr/lib/x86_64-linux-gnu/magic
         /usr/lib/x86_64-linux-gnu/magic/gif.so resource:/usr/lib/x86_64-linux-gnu/magic
         /usr/lib/x86_64-linux-gnu/magic/png.la resource:/usr/lib/x86_64-linux-gnu/magic
         /usr/lib/x86_64-linux-gnu/magic/png.so resource:/usr/lib/x86_64-linux-gnu/magic",
    );
}

#[test]
fn plugins_with_a_version_are_told_from_libraries_that_others_need() {
    let case = || {
        Case::new()
            .executable("/usr/bin/app", &["libcore.so.6"], &["-Wl,-rpath,/usr/lib/draw"])
            .shared_library("/usr/lib/draw/libcore.so.6.0", &[], &[])
            .link("/usr/lib/draw/libcore.so.6", "libcore.so.6.0")
            .shared_library("/usr/lib/draw/libplugin_dot.so.6.0", &[], &[])
            .link("/usr/lib/draw/libplugin_dot.so.6", "libplugin_dot.so.6.0")
            .file("/usr/lib/draw/libplugin_neato.so.6", "")
            .used("/usr/bin/app", &[Exec])
            .used("/usr/lib/draw/libcore.so.6.0", &[Open])
    };
    case().has_resources("");
    case()
        .used("/usr/lib/draw/libplugin_dot.so.6", &[Traverse])
        .used("/usr/lib/draw/libplugin_dot.so.6.0", &[Open])
        .has_resources(
            "/usr/lib/draw/libcore.so.6 resource:/usr/lib/draw
         /usr/lib/draw/libcore.so.6.0 resource:/usr/lib/draw
         /usr/lib/draw/libplugin_dot.so.6 resource:/usr/lib/draw
         /usr/lib/draw/libplugin_dot.so.6.0 resource:/usr/lib/draw
         /usr/lib/draw/libplugin_neato.so.6 resource:/usr/lib/draw",
        );
}

#[test]
fn settings_of_which_one_file_was_read_are_kept_whole() {
    let case = Case::new()
        .file("/etc/draw/policy.xml", "")
        .file("/etc/draw/colors/all.xml", "")
        .file("/etc/draw/key", "")
        .program("/etc/draw/hook", "#!/usr/bin/perl\n")
        .file("/etc/ssl/openssl.cnf", "")
        .file("/etc/ssl/other.cnf", "")
        .file("/etc/cron.d/job", "")
        .file("/etc/other/x", "")
        .used("/etc/ssl/openssl.cnf", &[Open])
        .used("/etc/other/x", &[Stat]);
    std::fs::set_permissions(case.on_host("/etc/draw/key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    case.has_resources("");
    case.used("/etc/draw/policy.xml", &[Open]).has_resources(
        "/etc/draw/colors/all.xml resource:/etc/draw
         /etc/draw/policy.xml resource:/etc/draw",
    );
}

#[test]
fn fonts_are_kept_when_one_was_used() {
    let case = || {
        Case::new()
            .file("/etc/fonts/fonts.conf", "")
            .file("/usr/share/fonts/truetype/a.ttf", "")
            .file("/usr/share/fonts/truetype/b.ttf", "")
            .used("/usr/share/fonts/truetype/a.ttf", &[Stat])
    };
    case().has_resources("");
    let all = "/etc/fonts/fonts.conf resource:/etc/fonts
         /usr/share/fonts/truetype/a.ttf resource:/usr/share/fonts
         /usr/share/fonts/truetype/b.ttf resource:/usr/share/fonts";
    case().used("/usr/share/fonts/truetype/b.ttf", &[Open]).has_resources(all);
    case().used("/etc/fonts/fonts.conf", &[Open]).has_resources(all);
}
