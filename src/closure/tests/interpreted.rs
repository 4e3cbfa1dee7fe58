//! What interpreters and their scripts bring: libraries of languages, programs of scripts, applications.

use super::{Case, path};
use crate::closure::Level;
use crate::observation::Operation::{Exec, Open, Stat};

#[test]
fn libraries_of_a_language_are_kept_whole_when_its_interpreter_ran() {
    let case = Case::new()
        .program("/usr/bin/tclsh8.6", "")
        .program("/usr/bin/tool", "")
        .file("/usr/share/tcltk/tcl8.6/init.tcl", "")
        .file("/usr/share/tcltk/tcl8.6/encoding/cp1252.enc", "")
        .file("/usr/share/tcltk/tcllib/doc/x.html", "")
        .file("/usr/lib/tcltk/x86_64-linux-gnu/dom/pkgIndex.tcl", "")
        .file("/usr/share/php/Twig/Environment.php", "")
        .file("/usr/share/zoneinfo/Asia/Tokyo", "")
        .used("/usr/bin/tool", &[Exec])
        .used("/usr/bin/tclsh8.6", &[Stat]);
    case.has_resources("");
    case.used("/usr/bin/tclsh8.6", &[Exec]).has_resources(
        "/usr/lib/tcltk/x86_64-linux-gnu/dom/pkgIndex.tcl resource:/usr/lib/tcltk/x86_64-linux-gnu/dom
         /usr/share/tcltk/tcl8.6/encoding/cp1252.enc resource:/usr/share/tcltk/tcl8.6
         /usr/share/tcltk/tcl8.6/init.tcl resource:/usr/share/tcltk/tcl8.6
         /usr/share/zoneinfo/Asia/Tokyo resource:/usr/share/zoneinfo",
    );
}

#[test]
fn what_an_autoloader_of_php_may_load_is_kept() {
    let case = || {
        Case::new()
            .program("/usr/bin/php8.2", "")
            .file("/app/vendor/autoload.php", "")
            .file("/app/vendor/composer/autoload_real.php", "")
            .file("/app/vendor/org/used/src/A.php", "")
            .file("/app/vendor/org/used/Lib/B.php", "")
            .file("/app/vendor/org/used/tests/T.php", "")
            .used("/app/vendor/composer/autoload_real.php", &[Open])
    };
    case().has_resources("");
    case().used("/usr/bin/php8.2", &[Exec]).has_resources(
        "/app/vendor/autoload.php resource:/app/vendor/autoload.php
         /app/vendor/composer/autoload_real.php resource:/app/vendor/composer
         /app/vendor/org/used/Lib/B.php resource:/app/vendor/org
         /app/vendor/org/used/src/A.php resource:/app/vendor/org",
    );
}

#[test]
fn a_name_that_begins_as_a_languages_does_is_no_language() {
    let case = Case::new()
        .file("/usr/share/phpmyadmin/index.php", "")
        .file("/usr/share/goaccess/Requests/a", "")
        .file("/usr/share/goaccess/go/b", "")
        .file("/usr/share/golang-1.19/c", "")
        .file("/usr/share/perl5/d", "")
        .file("/usr/share/nodejs/e", "")
        .file("/usr/share/php8.2-xml/f", "");
    let used = ["goaccess/Requests/a", "golang-1.19/c", "perl5/d", "nodejs/e", "php8.2-xml/f", "phpmyadmin/index.php"];
    used.into_iter().fold(case, |case, file| case.used(&format!("/usr/share/{file}"), &[Open])).has_resources(
        "/usr/share/goaccess/Requests/a resource:/usr/share/goaccess
         /usr/share/goaccess/go/b resource:/usr/share/goaccess
         /usr/share/phpmyadmin/index.php resource:/usr/share/phpmyadmin",
    );
}

#[test]
fn the_programs_of_a_script_are_kept_and_so_is_what_they_need() {
    Case::new()
        .config(serde_json::json!({"Env": ["PATH=/bin"]}))
        .program("/entrypoint", "#!/bin/sh\ncase $1 in\n  count) find / | wc -l;;\n  *) exec \"$@\";;\nesac\n")
        .program("/bin/sh", "")
        .program("/bin/find", "#!/bin/find-real\n")
        .program("/bin/find-real", "")
        .program("/bin/other", "")
        .program("/bin/box", "")
        .link("/bin/wc", "box")
        .program("/bin/script.py", "#!/bin/python\nother\n")
        .program("/bin/python", "")
        .used("/entrypoint", &[Exec])
        .used("/bin/script.py", &[Exec])
        .gives_files(
            Level::Closure,
            "/bin/box link:/bin/wc
             /bin/find script:/entrypoint
             /bin/find-real interpreter:/bin/find
             /bin/python interpreter:/bin/script.py
             /bin/script.py exec
             /bin/sh interpreter:/entrypoint
             /bin/wc script:/entrypoint
             /entrypoint exec",
        );
}

#[test]
fn what_a_script_reads_into_itself_is_kept_with_the_programs_that_it_names() {
    let case = Case::new()
        .config(serde_json::json!({"Env": ["PATH=/bin"]}))
        .program(
            "/app/bin/start",
            "#!/bin/sh\ntest $1 = x && . \"$(dirname \"$0\")/../lib/one.sh\"\n. /app/lib/none.sh\n",
        )
        .file("/app/lib/one.sh", "#!/bin/bash\n. ${0%/*}/two.sh\nuname -s\n")
        .file("/app/lib/two.sh", ". $X/one.sh\nwc\n")
        .program("/bin/sh", "")
        .program("/bin/bash", "")
        .program("/bin/uname", "")
        .program("/bin/wc", "")
        .used("/app/bin/start", &[Exec]);
    let required = case.require(Level::Closure);
    let reasons = |at: &str| {
        let reasons = required.paths.get(&path(at)).into_iter().flatten();
        reasons.map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    for (at, expected) in [
        ("/app/lib/one.sh", "script:/app/bin/start,script:/app/lib/two.sh"),
        ("/app/lib/two.sh", "script:/app/lib/one.sh"),
        ("/bin/uname", "script:/app/lib/one.sh"),
        ("/bin/wc", "script:/app/lib/two.sh"),
        ("/bin/bash", ""),
    ] {
        assert_eq!(reasons(at), expected, "{at}");
    }
}

#[test]
fn scripts_in_passing_are_not_told_to_lack_what_the_base_lacks() {
    let case = Case::new()
        .file("/usr/share/sync/init", "")
        .program("/usr/share/sync/scripts/a", "#!/usr/bin/env python3\n")
        .program("/usr/share/sync/scripts/b", "#!/usr/bin/python3\n")
        .program("/usr/bin/env", "")
        .used("/usr/share/sync/init", &[Open]);
    assert_eq!(case.require(Level::Closure).warnings, [""; 0]);
    let case = case.used("/usr/share/sync/scripts/b", &[Exec]);
    assert_eq!(
        case.require(Level::Closure).warnings,
        ["/usr/share/sync/scripts/b needs /usr/bin/python3, which is not in the base"]
    );
}

#[test]
fn an_interpreter_in_a_module_that_nobody_has_loaded_comes_with_what_it_needs_to_begin() {
    let case = || {
        Case::new()
            .shared_library("/usr/lib/libpython3.11.so.1.0", &[], &["-Wl,-soname,libpython3.11.so.1.0"])
            .link("/usr/lib/libpython3.11.so", "libpython3.11.so.1.0")
            .shared_library("/usr/lib/db/lib/plpython3.so", &["libpython3.11.so"], &[])
            .program("/usr/lib/db/bin/dbd", "")
            .program("/usr/bin/python3.11", "")
            .file("/usr/lib/python3.11/encodings/__init__.py", "")
            .program("/usr/lib/python3.11/uu.py", "#!/usr/bin/absent\n")
            .file("/usr/lib/python3.11/test/test_all.py", "")
            .file("/usr/lib/python3.12/os.py", "")
            .used("/usr/lib/db/bin/dbd", &[Exec])
    };
    let library = "/usr/lib/db/lib/plpython3.so resource:/usr/lib/db/lib";
    let modules = "/usr/lib/python3.11/encodings/__init__.py resource:/usr/lib/python3.11/encodings
        /usr/lib/python3.11/uu.py resource:/usr/lib/python3.11/uu.py";
    case().has_resources(&format!("{library}\n{modules}"));
    assert_eq!(case().require(Level::App).warnings, [""; 0]);
    case().used("/usr/bin/python3.11", &[Exec]).has_resources(library);
}

#[test]
fn an_installed_application_is_kept_with_its_sources_and_where_its_links_lead() {
    let case = || {
        Case::new()
            .file("/usr/lib/apache2/modules/libphp8.2.so", "")
            .file("/usr/share/wiki/index.php", "")
            .file("/usr/share/wiki/includes/src/Api.php", "")
            .file("/usr/share/wiki/skins/deep/locale/fr.json", "")
            .file("/usr/share/wiki/docs/manual.txt", "")
            .link("/usr/share/wiki/js/editor", "../../javascript/editor/lib")
            .file("/usr/share/javascript/editor/lib/mode/javascript/js.js", "")
            .file("/usr/share/javascript/editor/unused.js", "")
            .link("/usr/share/wiki/plugins", "/var/lib/wiki/plugins")
            .link("/var/lib/wiki/plugins/core", "/usr/share/wiki/includes")
            .link("/var/lib/wiki/plugins/self", "..")
            .file("/var/lib/wiki/plugins/own/a.php", "")
            .link("/usr/share/wiki/conf", "/etc/settings-of-wiki")
            .file("/etc/settings-of-wiki/mime.php", "")
            .file("/etc/wiki/local/mime.conf", "")
            .file("/var/lib/wiki/data/page.txt", "")
            .file("/etc/other/file", "")
            .link("/usr/share/wiki/ssl", "/etc/ssl")
            .file("/etc/ssl/private/key.pem", "")
            .link("/usr/share/wiki/all", "/usr/share")
            .link("/usr/share/wiki/dpkg", "/var/lib/dpkg")
            .file("/var/lib/dpkg/status", "")
            .file("/usr/share/other/file", "")
    };
    let large = |case: &Case| {
        let data = case.on_host("/usr/share/wiki/data");
        std::fs::File::create(data).unwrap().set_len(65 << 20).unwrap();
    };
    let case_of_a_page = case().used("/usr/share/wiki/index.php", &[Open]);
    large(&case_of_a_page);
    // Nothing that ran reads sources of that kind: as data it is too large.
    case_of_a_page.has_resources("");
    let case = case().used("/usr/share/wiki/index.php", &[Open]).used("/usr/lib/apache2/modules/libphp8.2.so", &[Open]);
    large(&case);
    let required = case.require(Level::Closure);
    let below = |place: &str| {
        let found = required.paths.iter().map(|(path, _)| path.to_string());
        found.filter(|path| path.starts_with(place) && case.on_host(path).is_file()).collect::<Vec<_>>()
    };
    assert_eq!(
        below("/usr/share"),
        [
            "/usr/share/javascript/editor/lib/mode/javascript/js.js",
            "/usr/share/wiki/data",
            "/usr/share/wiki/includes/src/Api.php",
            "/usr/share/wiki/index.php",
            "/usr/share/wiki/skins/deep/locale/fr.json",
        ]
    );
    assert_eq!(below("/var"), ["/var/lib/wiki/data/page.txt", "/var/lib/wiki/plugins/own/a.php"]);
    assert_eq!(below("/etc"), ["/etc/settings-of-wiki/mime.php", "/etc/wiki/local/mime.conf"]);
    assert_eq!(required.warnings, Vec::<String>::new());
}
