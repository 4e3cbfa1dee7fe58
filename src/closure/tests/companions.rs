//! What comes with files that are no ELF files: interpreters, sources, name service modules, what HEALTHCHECK runs.

use std::collections::BTreeSet;

use super::{Case, line, path};
use crate::base::{FileTree, ImagePath};
use crate::closure::{Level, Reason, requirements};
use crate::observation::Operation;

#[test]
fn scripts_bring_their_interpreters() {
    Case::new()
        .program("/app/start", "#!/usr/bin/env -S tool -x\n")
        .program("/usr/bin/env", "")
        .program("/usr/local/bin/tool", "#! /bin/sh -e\n")
        .link("/bin", "usr/bin")
        .link("/usr/bin/sh", "dash")
        .program("/usr/bin/dash", "")
        .file("/app/data", "#!/usr/bin/perl\n")
        .program("/app/broken", "#!/usr/bin/perl\n")
        .used("/app/start", &[Operation::Exec])
        .used("/app/data", &[Operation::Open])
        .used("/app/broken", &[Operation::Stat])
        .gives_files(
            Level::Closure,
            "/app/broken stat
             /app/data open
             /app/start exec
             /usr/bin link:/bin parent
             /usr/bin/dash link:/usr/bin/sh
             /usr/bin/env interpreter:/app/start
             /usr/bin/sh interpreter:/usr/local/bin/tool
             /usr/local/bin/tool interpreter:/app/start
             warning: /app/broken needs /usr/bin/perl, which is not in the base"
                .replace("link:/bin parent", "parent link:/bin")
                .as_str(),
        );
}

#[test]
fn of_scripts_that_only_lie_there_those_come_with_their_needs_that_a_server_or_a_kept_interpreter_runs() {
    let case = Case::new()
        .program("/bin/sh", "")
        .program("/bin/date", "")
        .program("/bin/git", "")
        .program("/usr/bin/perl", "")
        .program("/usr/bin/php", "")
        .program("/app/start", "#!/bin/sh\n")
        .program("/app/job", "#!/bin/sh\ndate\n")
        .file("/app/notes", "#!/bin/sh\ngit\n")
        .program("/app/tool", "#!/usr/bin/php\n")
        .program("/app/cgi-bin/report", "#!/usr/bin/perl\n")
        .used("/app/start", &[Operation::Exec]);
    let own = BTreeSet::from([Reason::Application(path("/app"))]);
    let mut wanted = FileTree::new();
    for file in ["/app/job", "/app/notes", "/app/tool", "/app/cgi-bin/report"] {
        wanted.insert(path(file), own.clone());
    }
    let kept = |level| {
        let required = requirements(&case.rootfs(), &case.config, &case.observation, level, &wanted).unwrap();
        let is_program = |path: &ImagePath| !path.as_bytes().starts_with(b"/app");
        let programs = required.paths.iter().filter(|(path, reasons)| {
            is_program(path) && !reasons.contains(&Reason::Parent) && !reasons.contains(&Reason::Runtime)
        });
        programs.map(line).collect::<Vec<_>>()
    };
    let expected = [
        "/bin/date script:/app/job",
        "/bin/sh interpreter:/app/job interpreter:/app/start",
        "/usr/bin/perl interpreter:/app/cgi-bin/report",
    ];
    assert_eq!(kept(Level::App), expected);
    assert_eq!(kept(Level::Closure), ["/bin/sh interpreter:/app/start"]);
}

#[test]
fn bytecode_brings_its_source() {
    Case::new()
        .file("/lib/__pycache__/a.cpython-311.pyc", "")
        .file("/lib/a.py", "")
        .file("/lib/__pycache__/b.cpython-311.pyc", "")
        .used("/lib/__pycache__/a.cpython-311.pyc", &[Operation::Open])
        .used("/lib/__pycache__/b.cpython-311.pyc", &[Operation::Open])
        .gives_files(
            Level::Closure,
            "/lib/__pycache__/a.cpython-311.pyc open
             /lib/__pycache__/b.cpython-311.pyc open
             /lib/a.py source:/lib/__pycache__/a.cpython-311.pyc",
        );
}

#[test]
fn name_service_modules_come_when_something_was_looked_up() {
    let case = Case::new()
        .executable("/bin/app", &["libc.so.6"], &[])
        .shared_library("/usr/lib/libc.so.6", &[], &[])
        .shared_library("/usr/lib/libnss_sss.so.2", &["libextra.so"], &[])
        .shared_library("/usr/lib/libextra.so", &[], &[])
        .shared_library("/usr/lib/libnss_unused.so.2", &[], &[])
        .file("/etc/nsswitch.conf", "passwd: files sss\n")
        .file("/etc/passwd", "")
        .used("/bin/app", &[Operation::Exec]);
    let without = "/bin/app exec
         /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
         /usr/lib/libc.so.6 needed:/bin/app";
    case.gives_files(Level::Closure, without).used("/etc/passwd", &[Operation::Open]).gives_files(
        Level::Closure,
        "/bin/app exec
         /etc/nsswitch.conf nss:/usr/lib/libc.so.6
         /etc/passwd open
         /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
         /usr/lib/libc.so.6 needed:/bin/app
         /usr/lib/libextra.so needed:/usr/lib/libnss_sss.so.2
         /usr/lib/libnss_sss.so.2 nss:/etc/nsswitch.conf",
    );
}

#[test]
fn health_checks_bring_what_they_run() {
    let case = Case::new()
        .program("/bin/sh", "")
        .program("/usr/bin/curl", "#!/bin/curl-real\n")
        .program("/bin/curl-real", "")
        .program("/usr/bin/test", "");
    let case = case.config(serde_json::json!({
        "Healthcheck": {"Test": ["CMD-SHELL", "test -e /bin/sh && curl -f http://localhost/ || exit 1"]}
    }));
    let case = case.gives(Level::Observed, "").gives_files(
        Level::Closure,
        "/bin/curl-real interpreter:/usr/bin/curl
         /bin/sh healthcheck
         /usr/bin/curl healthcheck",
    );
    case.config(serde_json::json!({"Healthcheck": {"Test": ["CMD", "checker"]}}))
        .gives(Level::Closure, "warning: HEALTHCHECK runs checker, which is not in the base");
}

#[test]
fn damaged_elf_files_are_warnings() {
    Case::new()
        .file("/lib/damaged.so", b"\x7fELF\x02\x01\x01")
        .used("/lib/damaged.so", &[Operation::Open])
        .gives_files(
            Level::Closure,
            "/lib/damaged.so open
             warning: cannot find out what /lib/damaged.so needs: it is not a valid ELF file: its header is cut short",
        );
}

#[test]
fn modules_that_convert_text_come_when_something_asks_for_them_itself() {
    let asks = ["-Wl,--defsym=iconv_open=f"];
    let case = Case::new()
        .executable("/bin/server", &["libc.so.6"], &[])
        .shared_library("/usr/lib/libc.so.6", &[], &[])
        .shared_library("/usr/lib/libxml.so", &["libc.so.6"], &asks)
        .shared_library("/usr/lib/modules/iconv.so", &["libc.so.6"], &asks)
        .file("/usr/lib/gconv/gconv-modules", "")
        .file("/usr/lib/gconv/KOI8-R.so", "")
        .used("/bin/server", &[Operation::Exec])
        .used("/usr/lib/gconv/gconv-modules", &[Operation::Open])
        .used("/usr/lib/libxml.so", &[Operation::Open]);
    let has_modules = |case: &Case| case.require(Level::Closure).paths.contains(&path("/usr/lib/gconv/KOI8-R.so"));
    assert!(!has_modules(&case), "a library could ask, and the list was read");
    let private = case.shared_library("/usr/lib/server/libserver.so", &["libc.so.6"], &asks);
    let case = private.used("/usr/lib/server/libserver.so", &[Operation::Open]);
    assert!(has_modules(&case), "a library of one program");
    let mut case = case;
    case.observation.paths.remove(&path("/usr/lib/server/libserver.so"));
    assert!(!has_modules(&case));
    assert!(has_modules(&case.used("/usr/lib/modules/iconv.so", &[Operation::Open])));
}

#[test]
fn perl_sources_bring_modules_with_their_machine_code() {
    Case::new()
        .program("/app/run", "#!/usr/bin/perl -w\nuse Fast;\nuse Own::Part;\n")
        .program("/usr/bin/perl", "")
        .file("/app/lib/Own/Part.pm", "")
        .file("/usr/share/perl/5.36.0/Fast.pm", "require Slow if $later;\n")
        .file("/usr/share/perl/5.36.0/Slow.pm", "use No::Such;\n")
        .file("/usr/share/perl/5.36.0/Unused.pm", "")
        .file("/usr/lib/x86_64-linux-gnu/perl/5.36.0/auto/Fast/Fast.so", "")
        .link("/usr/share/perl/5.36", "5.36.0")
        .used("/app/run", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/app/lib/Own/Part.pm script:/app/run
             /app/run exec
             /usr/bin/perl interpreter:/app/run
             /usr/lib/x86_64-linux-gnu/perl/5.36.0/auto/Fast/Fast.so script:/app/run
             /usr/share/perl/5.36.0 parent link:/usr/share/perl/5.36
             /usr/share/perl/5.36.0/Fast.pm script:/app/run
             /usr/share/perl/5.36.0/Slow.pm script:/usr/share/perl/5.36.0/Fast.pm",
        );
}

#[test]
fn encodings_of_perl_bring_the_tables_that_hold_them() {
    let case = |source: &str| {
        let case = Case::new()
            .program("/app/run", format!("#!/usr/bin/perl\nuse Encode;\n{source}\n"))
            .program("/usr/bin/perl", "")
            .file("/usr/lib/perl/5.36/Encode.pm", "my $obj = find_encoding(shift); encode($name, $x);\n")
            .file("/usr/lib/perl/5.36/Encode/Config.pm", "'cp1252' => 'Encode::Byte',\n'euc-jp' => 'Encode::JP',\n")
            .file("/usr/lib/perl/5.36/Encode/Byte.pm", "")
            .file("/usr/lib/perl/5.36/Encode/JP.pm", "")
            .file("/usr/lib/perl/5.36/auto/Encode/Byte/Byte.so", "")
            .file("/usr/lib/perl/5.36/auto/Encode/JP/JP.so", "")
            .used("/app/run", &[Operation::Exec]);
        let tables = case.on_host("/usr/lib/perl/5.36/auto/Encode/JP/JP.so");
        std::fs::File::options().write(true).open(tables).unwrap().set_len(2 << 20).unwrap();
        let required = case.require(Level::Closure);
        let found = required.paths.iter().map(|(path, _)| path.to_string()).filter(|path| path.ends_with(".so"));
        found.map(|path| path.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(case("print 1;"), "");
    assert_eq!(case("encode('cp1252', $x);"), "Byte.so");
    assert_eq!(case("encode('euc-jp', $x);"), "JP.so");
    assert_eq!(case("encode('Shift_JIS', $x);"), "Byte.so JP.so");
    assert_eq!(case("encode($charset, $x);"), "Byte.so");
}

#[test]
fn a_family_of_perl_modules_has_no_headers() {
    Case::new()
        .program("/app/run", "#!/usr/bin/perl\nuse Show;\n")
        .program("/usr/bin/perl", "")
        .file("/usr/share/perl5/Show.pm", "my $n = \"CORE::$word\"; my $c = \"Skin::$name\"; eval \"require $c\";\n")
        .file("/usr/share/perl5/Skin/Red.pm", "")
        .file("/usr/share/perl5/Skin/red.tt", "")
        .file("/usr/share/perl5/Skin/Red.xs", "")
        .file("/usr/lib/perl/5.36/CORE/perl.h", "")
        .file("/usr/lib/perl/5.36/CORE/libperl.a", "")
        .used("/app/run", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/app/run exec
             /usr/bin/perl interpreter:/app/run
             /usr/share/perl5/Show.pm script:/app/run
             /usr/share/perl5/Skin/Red.pm script:/usr/share/perl5/Show.pm
             /usr/share/perl5/Skin/red.tt script:/usr/share/perl5/Show.pm",
        );
}

#[test]
fn a_tool_that_an_exerciser_only_read_brings_no_further_language() {
    let case = |tool: &str| {
        let mut case = Case::new()
            .config(serde_json::json!({"Env": ["PATH=/bin"]}))
            .program("/bin/env", "")
            .program("/bin/node", "")
            .program("/bin/python3", "")
            .program("/bin/sh", "")
            .program("/lib/pkg/tool", tool)
            .used("/bin/node", &[Operation::Exec])
            .used("/lib/pkg/tool", &[Operation::Open]);
        case.observation.paths.get_mut(&path("/lib/pkg/tool")).unwrap().first_probe = Some("exercise:node".into());
        let required = case.require(Level::Closure);
        let found = required.paths.iter().map(|(path, _)| path.to_string()).filter(|path| path.starts_with("/bin/"));
        found.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(case("#!/bin/python3\n"), "/bin/node");
    assert_eq!(case("#!/bin/env python3\n"), "/bin/node");
    assert_eq!(case("#!/bin/env node\n"), "/bin/env /bin/node");
    assert_eq!(case("#!/bin/sh\n"), "/bin/node /bin/sh");
}
