//! Which paths are kept because settings or programs name them, and which are not.

use std::collections::BTreeSet;

use super::Case;
use crate::base::FileTree;
use crate::closure::{Level, Reason, requirements};
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
         /etc/d/d.conf resource:/etc/d
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

#[test]
fn data_that_settings_name_comes_whole() {
    let case = Case::new()
        .program("/usr/sbin/d", "")
        .file("/etc/d/sites/a.xml", "<Context docBase=\"/usr/share/d9-pages/docs\" />\nalias /usr/share/doc\n")
        .file("/etc/d/sites/b.xml", "/usr/share/doc/d/manual\n/usr/share/javascript\n/usr/share/zoneinfo\n")
        .file("/usr/share/d9-pages/docs/include/page.py", "")
        .file("/usr/share/d9-pages/other", "")
        .file("/usr/share/doc/d/manual/index.html", "")
        .file("/usr/share/doc/other", "")
        .file("/usr/share/javascript/lib/lib.js", "")
        .file("/usr/share/zoneinfo/Asia/Tokyo", "")
        .used("/usr/sbin/d", &[Exec]);
    case.used("/etc/d/sites/a.xml", &[Open]).used("/etc/d/sites/b.xml", &[Open]).names(
        "/etc/d/sites/a.xml resource:/etc/d
         /etc/d/sites/b.xml resource:/etc/d
         /usr/share/d9-pages/docs named:/etc/d/sites/a.xml
         /usr/share/d9-pages/docs/include named:/etc/d/sites/a.xml
         /usr/share/d9-pages/docs/include/page.py named:/etc/d/sites/a.xml
         /usr/share/doc/d/manual named:/etc/d/sites/b.xml
         /usr/share/doc/d/manual/index.html named:/etc/d/sites/b.xml
         /usr/share/javascript named:/etc/d/sites/b.xml
         /usr/share/javascript/lib named:/etc/d/sites/b.xml
         /usr/share/javascript/lib/lib.js named:/etc/d/sites/b.xml",
    );
}

#[test]
fn programs_are_named_as_path_finds_them() {
    let case = || {
        Case::new()
            .program("/usr/bin/web.cgi", "#!/usr/bin/perl\n$c = ['squeeze', '-n']; system('wrapped');\n")
            .program("/usr/bin/perl", "")
            .program("/usr/bin/wrapped", "#!/bin/sh\n")
            .program("/bin/sh", "")
            .executable("/usr/bin/squeeze", &[], &[])
            .executable("/usr/bin/other", &[], &[])
    };
    case().names("");
    case().used("/usr/bin/web.cgi", &[Open]).names("");
    case().used("/usr/bin/web.cgi", &[Exec]).names("/usr/bin/squeeze named:/usr/bin/web.cgi");
}

#[test]
fn a_shell_script_among_resources_brings_no_shell() {
    let case = || {
        Case::new()
            .program("/opt/d", "")
            .file("/etc/d.conf", "hooks /data/hooks\nstart /data/started\n")
            .program("/data/hooks/run", "#!/bin/bash\nlisted\n")
            .program("/data/started", "#!/bin/dash\n")
            .program("/usr/share/d/ask", "#!/bin/sh\nasked\n")
            .program("/usr/share/d/filter", "#!/usr/bin/perl\n")
            .program("/usr/bin/asked", "")
            .program("/usr/bin/listed", "")
            .program("/usr/bin/perl", "")
            .program("/bin/sh", "")
            .program("/bin/bash", "")
            .program("/bin/dash", "")
            .used("/opt/d", &[Exec])
            .used("/etc/d.conf", &[Open])
    };
    let programs = |case: Case| {
        let required = case.require(Level::App);
        let found = required.paths.iter().filter(|(path, _)| path.to_string().contains("bin/"));
        found.map(|(path, _)| path.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(programs(case()), "/bin/dash /usr/bin/perl");
    assert_eq!(programs(case().used("/bin/sh", &[Exec])), "/bin/dash /bin/sh /usr/bin/asked /usr/bin/perl");
    assert_eq!(programs(case().used("/bin/bash", &[Exec])), "/bin/bash /bin/dash /usr/bin/listed /usr/bin/perl");
}

#[test]
fn a_script_of_a_directory_that_is_kept_whole_brings_no_language_and_no_sample_brings_anything() {
    let case = || {
        Case::new()
            .config(serde_json::json!({"Env": ["PATH=/bin"]}))
            .program("/opt/d", "")
            .file("/etc/d.conf", "hooks /data/hooks\n")
            .program("/bin/sh", "")
            .program("/bin/tool", "")
            .program("/bin/large", "")
            .program("/bin/node", "")
            .link("/bin/js", "node")
            .program("/bin/sampled", "")
            .program("/usr/share/d/browse", "#!/bin/sh\njs x\nlarge y\ntool z\n")
            .program("/usr/share/d/hook.sample", "#!/bin/sh\nsampled\n")
            .used("/opt/d", &[Exec])
            .used("/bin/sh", &[Exec])
    };
    let programs = |case: Case| {
        std::fs::File::options().write(true).open(case.on_host("/bin/large")).unwrap().set_len(5 << 20).unwrap();
        let required = case.require(Level::App);
        let found = required.paths.iter().filter(|(path, _)| path.to_string().starts_with("/bin/"));
        found.map(|(path, _)| path.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(programs(case()), "/bin/sh /bin/tool");
    // One that has been started brings all that it names.
    let started = case().used("/usr/share/d/browse", &[Exec]);
    assert_eq!(programs(started), "/bin/js /bin/large /bin/node /bin/sh /bin/tool");
    let started = case().used("/usr/share/d/hook.sample", &[Exec]);
    assert_eq!(programs(started), "/bin/sampled /bin/sh /bin/tool");
}

#[test]
fn large_programs_that_one_program_names_by_their_directory_come_when_one_of_its_files_was_used() {
    let case = |settings: &str, size: u64| {
        let case = Case::new()
            .executable("/usr/bin/vcs", &[], &[])
            .executable("/usr/libexec/vcs-parts/vcs", &[], &[])
            .executable("/usr/libexec/vcs-parts/fetch", &["libfetch.so"], &[])
            .shared_library("/usr/lib/libfetch.so", &[], &[])
            .link("/usr/libexec/vcs-parts/fetch-ftp", "fetch")
            .program("/usr/libexec/vcs-parts/merge", "#!/bin/sh\n")
            .file("/usr/libexec/vcs-parts/table", "")
            .file("/etc/vcs.conf", settings);
        std::fs::File::options().write(true).open(case.on_host("/usr/lib/libfetch.so")).unwrap().set_len(size).unwrap();
        let mut bytes = std::fs::read(case.on_host("/usr/bin/vcs")).unwrap();
        bytes.extend(b"\0/usr/libexec/vcs-parts\0");
        case.file("/usr/bin/vcs", bytes).used("/usr/bin/vcs", &[Exec]).used("/etc/vcs.conf", &[Open])
    };
    let area = "/usr/libexec/vcs-parts";
    let few = format!(
        "{area}/merge resource:{area}
         {area}/table resource:{area}
         {area}/vcs resource:{area}"
    );
    let all = format!(
        "{area}/fetch resource:{area}
         {area}/fetch-ftp resource:{area}
         {few}"
    );
    let large = case("", 17 << 20);
    large.names(&few);
    let warnings = large.require(Level::App).warnings;
    assert_eq!(
        warnings,
        [format!(
            "/usr/bin/vcs names {area}, of which nothing was used: programs there of 17 MB with their libraries are left out\nhint: --keep '{area}/**' keeps them"
        )]
    );
    case("", 1 << 20).names(&all);
    case(&format!("parts {area}\n"), 17 << 20).names(&all);
    large.used(&format!("{area}/merge"), &[Exec]).names(&all);
}

#[test]
fn a_library_among_others_names_only_what_is_of_the_programs_that_are_used() {
    let paths = "\0/usr/libexec/d\0/usr/libexec/other\0/usr/lib/d/helper\0/etc/d.secret\0";
    let library = "/usr/lib/x86_64-linux-gnu/libd.so.1";
    let case = || {
        let case = Case::new()
            .program("/usr/libexec/d/rpc", "")
            .program("/usr/libexec/other/rpc", "")
            .file("/etc/d.secret", "")
            .file("/usr/lib/x86_64-linux-gnu/d/mod.so", "")
            .shared_library(library, &[], &[]);
        let mut bytes = std::fs::read(case.on_host(library)).unwrap();
        bytes.extend(paths.as_bytes());
        case.file(library, bytes).used(library, &[Open])
    };
    case().names("");
    // The settings of a program are a sign that its data are asked for, too.
    case().file("/etc/other/x.conf", "").used("/etc/other/x.conf", &[Open]).names(
        "/etc/other/x.conf resource:/etc/other
         /usr/libexec/other/rpc resource:/usr/libexec/other",
    );
    case().file("/usr/libexec/other/list", "").used("/usr/libexec/other/list", &[Open]).names("");
    case().used("/usr/lib/x86_64-linux-gnu/d/mod.so", &[Open]).names(
        "/usr/lib/x86_64-linux-gnu/d/mod.so resource:/usr/lib/x86_64-linux-gnu/d
         /usr/libexec/d/rpc resource:/usr/libexec/d",
    );
}

#[test]
fn homes_of_people_come_where_somebody_may_log_in() {
    let library = "/usr/lib/x86_64-linux-gnu/libpam.so.0";
    let case = Case::new()
        .program("/usr/sbin/d", "")
        .shared_library(library, &[], &[])
        .file("/etc/pam.d/other", "")
        .file("/etc/passwd", "joe:x:1000:1000::/home/joe:/bin/sh\nd:x:100:100::/var/lib/d:/usr/sbin/nologin\n")
        .file("/etc/shadow", "joe:!:1::\nd:!:1::\n")
        .file("/home/joe/letter", "")
        .file("/home/joe/.bash_history", "")
        .file("/var/lib/d/file", "")
        .program("/bin/sh", "")
        .used("/usr/sbin/d", &[Exec]);
    let has = |case: &Case| {
        let paths = case.require(Level::App).paths;
        ["/home/joe/letter", "/home/joe/.bash_history", "/var/lib/d/file", "/bin/sh"]
            .map(|file| paths.contains(&super::path(file)))
    };
    assert_eq!(has(&case), [false; 4]);
    assert_eq!(has(&case.used(library, &[Open])), [true, false, false, false]);
}

#[test]
fn what_modules_of_a_log_in_read_and_start_comes_with_them() {
    let library = "/usr/lib/x86_64-linux-gnu/libpam.so.0";
    let module = "/usr/lib/x86_64-linux-gnu/security/pam_shells.so";
    let kept = Case::new()
        .program("/usr/sbin/d", "")
        .shared_library(library, &[], &[])
        .file("/etc/pam.d/d", "auth required pam_listfile.so file=/etc/users.denied\nauth required pam_shells.so\n")
        .file(
            module,
            "\u{7f}ELF\0/etc/shells\0/usr/sbin/chkpwd\0/usr/bin/other\0/etc/directory\0/etc/security/shells.init\0",
        )
        .file("/etc/users.denied", "root")
        .file("/etc/shells", "/bin/sh")
        .file("/etc/security/limits.conf", "")
        .program("/etc/security/other.init", "")
        .program("/etc/security/shells.init", "")
        .file("/etc/directory/file", "")
        .program("/usr/sbin/chkpwd", "")
        .program("/usr/bin/other", "")
        .used("/usr/sbin/d", &[Exec])
        .used(library, &[Open])
        .require(Level::Closure)
        .paths;
    for file in [
        "/etc/users.denied",
        "/etc/shells",
        "/usr/sbin/chkpwd",
        "/etc/security/limits.conf",
        "/etc/security/shells.init",
    ] {
        assert!(kept.contains(&super::path(file)), "{file}");
    }
    for file in ["/etc/directory", "/usr/bin/other", "/etc/security/other.init"] {
        assert!(!kept.contains(&super::path(file)), "{file}");
    }
}

#[test]
fn a_shell_that_somebody_logs_in_to_has_what_shells_promise() {
    let library = "/usr/lib/x86_64-linux-gnu/libpam.so.0";
    let kept = |texts: &str, password: &str| {
        let paths = Case::new()
            .file("/usr/sbin/d", format!("\u{7f}ELF\0{texts}\0"))
            .shared_library(library, &[], &[])
            .file("/etc/pam.d/d", "")
            .file("/etc/passwd", "joe:x:1000:1000::/home/joe:/bin/sh\n")
            .file("/etc/shadow", format!("joe:{password}:1::\n"))
            .program("/bin/sh", "")
            .program("/usr/bin/ls", "")
            .program("/usr/bin/scp", "")
            .program("/usr/bin/compiler", "")
            .file("/lib/terminfo/x/xterm", "")
            .file("/usr/share/terminfo/x/xterm-old", vec![0; 1 << 20])
            .file("/usr/share/terminfo/t/tmux", "x")
            .used("/usr/sbin/d", &[Exec])
            .used(library, &[Open])
            .require(Level::App)
            .paths;
        let terminals = ["/lib/terminfo/x/xterm", "/usr/share/terminfo/x/xterm-old", "/usr/share/terminfo/t/tmux"];
        let programs = ["/bin/sh", "/usr/bin/ls", "/usr/bin/scp", "/usr/bin/compiler"].into_iter().chain(terminals);
        programs.filter(|program| paths.contains(&super::path(program))).collect::<Vec<_>>().join(" ")
    };
    let starts_shells = "LOGNAME\0SHELL\0TERM";
    assert_eq!(
        kept(starts_shells, "$y$x"),
        "/bin/sh /usr/bin/ls /usr/bin/scp /lib/terminfo/x/xterm /usr/share/terminfo/t/tmux"
    );
    assert_eq!(kept("LOGNAME", "$y$x"), "/bin/sh");
    assert_eq!(kept(starts_shells, "!"), "");
}

#[test]
fn perl_among_directives_brings_its_modules() {
    let library = "/usr/lib/libperl.so.5.36";
    let case = || {
        Case::new()
            .program("/usr/sbin/d", "")
            .file("/usr/share/perl5/Net/Greeting.pm", "1;")
            .file("/etc/d.conf", "handler 'sub { require Net::Greeting; 1 }';\n")
            .shared_library(library, &[], &[])
            .used("/usr/sbin/d", &[Exec])
            .used("/etc/d.conf", &[Open])
    };
    let has = |case: Case| case.require(Level::App).paths.contains(&super::path("/usr/share/perl5/Net/Greeting.pm"));
    assert!(!has(case()));
    assert!(has(case().used(library, &[Open])));
}

#[test]
fn own_sources_name_files_and_fonts_also_those_that_only_an_exerciser_loaded() {
    let source = "
ImageFont.truetype('Sans.ttf'); open('/usr/share/dict/words'); open(\"/srv/models/m.bin\")
run(['gzip', '-c']); x = '/usr/bin/env'; y = '/bin/sh'; z = '/usr/bin/python3'; d = '/usr/share/tables'
# open('/usr/share/dict/no')
open('/etc/passwd'); open('/etc'); open('/var/log/x'); open('/no/such/file')";
    let mut case = Case::new()
        .file("/app/late.py", source)
        .file("/app/unused.py", "open('/usr/share/dict/unused')")
        .file("/usr/share/fonts/truetype/s/Sans.ttf", "")
        .file("/usr/share/fonts/truetype/s/Other.ttf", "")
        .file("/usr/share/dict/words", "")
        .file("/usr/share/dict/no", "")
        .file("/usr/share/dict/unused", "")
        .file("/usr/share/tables/one", "")
        .file("/srv/models/m.bin", "")
        .file("/var/log/x", "")
        .file("/etc/passwd", "")
        .executable("/usr/bin/gzip", &[], &[])
        .executable("/usr/bin/env", &[], &[])
        .executable("/usr/bin/python3", &[], &[])
        .executable("/bin/sh", &[], &[])
        .used("/app/late.py", &[Open]);
    let record = case.observation.paths.get_mut(&super::path("/app/late.py")).unwrap();
    record.first_probe = Some("exercise:python".to_owned());
    assert!(record.exerciser().is_some());
    let own = BTreeSet::from([Reason::Application(super::path("/app"))]);
    let mut wanted = FileTree::new();
    wanted.insert(super::path("/app/late.py"), own.clone());
    wanted.insert(super::path("/app/unused.py"), own);
    let required = requirements(&case.rootfs(), &case.config, &case.observation, Level::App, &wanted).unwrap();
    let is_named = |reasons: &BTreeSet<Reason>| reasons.iter().any(|reason| matches!(reason, Reason::Named(_)));
    let found = required.paths.iter().filter(|(_, reasons)| is_named(reasons)).map(|(path, _)| path.to_string());
    assert_eq!(
        found.collect::<Vec<_>>().join(" "),
        "/srv/models/m.bin /usr/bin/env /usr/bin/gzip /usr/share/dict/words \
         /usr/share/fonts/truetype/s/Sans.ttf /usr/share/tables /usr/share/tables/one"
    );
}
