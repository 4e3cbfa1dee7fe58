//! What users ask for.

use super::*;

impl Case {
    fn requirements(&self, asked: &Asked) -> Result<(Vec<String>, Vec<String>), SelectError> {
        let rootfs = Rootfs::lazy(self.dir.path(), Arc::new(OwnersAsSeen)).unwrap();
        let packages = Packages::read(&rootfs)?;
        let scope = Scope {
            rootfs: &rootfs,
            config: &self.config,
            observation: &self.observation,
            packages: &packages,
            level: Level::Closure,
            asked,
        };
        let required = scope.requirements(&BTreeMap::new())?;
        let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, reasons) in required.paths.iter() {
            let shown =
                reasons.iter().filter(|reason| !matches!(reason, Reason::Parent | Reason::Runtime | Reason::Access(_)));
            for reason in shown {
                by_reason.entry(reason.to_string()).or_default().push(path.to_string());
            }
        }
        let lines = by_reason.into_iter().map(|(reason, paths)| format!("{reason} = {}", paths.join(" "))).collect();
        Ok((lines, required.warnings))
    }

    #[track_caller]
    fn gives(&self, asked: &Asked, expected: &str) {
        let (lines, warnings) = self.requirements(asked).unwrap();
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(lines, expected);
        assert_eq!(warnings, [""; 0]);
    }

    #[track_caller]
    fn warns(&self, asked: &Asked, expected: &str) {
        assert_eq!(self.requirements(asked).unwrap(), (Vec::new(), vec![expected.to_owned()]));
    }

    #[track_caller]
    fn fails(&self, asked: &Asked, expected: &str) {
        let error = self.requirements(asked).unwrap_err().to_string();
        let (message, hint) = error.split_once("\nhint: ").unwrap();
        assert_eq!(message, expected);
        assert!(!hint.is_empty());
    }
}

fn programs(names: &[&str]) -> Asked {
    Asked { executables: names.iter().map(|name| name.to_string()).collect(), ..Asked::default() }
}

fn locale(name: &str) -> Asked {
    Asked { locales: vec![name.into()], ..Asked::default() }
}

#[test]
fn a_program_comes_with_its_links_and_its_interpreter() {
    let case = Case::of(
        "/bin -> usr/bin
         /usr/bin/tool: #!/bin/sh\\necho
         /usr/bin/sh -> dash
         /usr/bin/dash
         /usr/bin/other
         /etc/no-program",
        &[],
    );
    case.gives(
        &programs(&["tool"]),
        "interpreter:/usr/bin/tool = /usr/bin/sh
         keep-exe:tool = /usr/bin/tool
         link:/bin = /usr/bin
         link:/usr/bin/sh = /usr/bin/dash",
    );
    case.gives(
        &programs(&["/bin/sh"]),
        "keep-exe:/bin/sh = /usr/bin/sh
         link:/usr/bin/sh = /usr/bin/dash",
    );
    case.fails(&programs(&["none"]), "--keep-exe none: the base has no such program");
    case.fails(&programs(&["/etc/no-program"]), "--keep-exe /etc/no-program: the base has no such program");
    case.fails(&programs(&[""]), "--keep-exe : the base has no such program");
}

#[test]
fn a_shell_is_where_system_looks_for_it() {
    let asked = Asked { shell: true, ..Asked::default() };
    Case::of("/bin -> usr/bin\n/usr/bin/sh -> dash\n/usr/bin/dash\n/usr/bin/bash", &[]).gives(
        &asked,
        "keep-shell = /usr/bin/dash /usr/bin/sh
         link:/bin = /usr/bin
         link:/usr/bin/sh = /usr/bin/dash",
    );
    Case::of("/usr/bin/bash", &[]).warns(&asked, "--keep-shell: the base has no /bin/sh");
}

#[test]
fn a_package_that_is_not_there_is_an_error() {
    let asked = Asked { packages: vec!["crul".into()], ..Asked::default() };
    Case::of("/x", &[]).fails(&asked, "--keep-package crul: the base has no package of this name");
}

#[test]
fn certificates_are_kept_wherever_libraries_look() {
    let asked = Asked { certs: true, ..Asked::default() };
    Case::of(
        "/etc/ssl/certs/ca-certificates.crt
         /etc/ssl/certs/abcd.0 -> one.pem
         /etc/ssl/certs/one.pem -> /usr/share/ca-certificates/one.crt
         /etc/ssl/openssl.cnf
         /etc/ssl/private/key
         /usr/share/ca-certificates/one.crt
         /usr/share/ca-certificates/two.crt
         /usr/lib/ssl/certs -> /etc/ssl/certs
         /own/ca.pem
         /own/not.pem",
        &[],
    )
    .variable("SSL_CERT_FILE=/own/ca.pem")
    .gives(
        &asked,
        "keep-certs = /etc/ssl/certs /etc/ssl/certs/abcd.0 /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/one.pem /etc/ssl/openssl.cnf /own/ca.pem /usr/lib/ssl/certs
         link:/etc/ssl/certs/abcd.0 = /etc/ssl/certs/one.pem
         link:/etc/ssl/certs/one.pem = /usr/share/ca-certificates/one.crt
         link:/usr/lib/ssl/certs = /etc/ssl/certs",
    );
    let none = "--keep-certs: the base has no certificates of authorities";
    let (_, warnings) = Case::of("/etc/ssl/certs/\n/etc/ssl/openssl.cnf", &[]).requirements(&asked).unwrap();
    assert_eq!(warnings, [none]);
    Case::of("/x", &[]).warns(&asked, none);
}

#[test]
fn time_zones_are_kept_with_the_local_one() {
    let asked = Asked { zoneinfo: true, ..Asked::default() };
    Case::of(
        "/etc/localtime -> /usr/share/zoneinfo/Europe/Berlin
         /usr/share/zoneinfo/Europe/Berlin
         /usr/share/zoneinfo/UTC",
        &[],
    )
    .gives(
        &asked,
        "keep-zoneinfo = /etc/localtime /usr/share/zoneinfo /usr/share/zoneinfo/Europe /usr/share/zoneinfo/Europe/Berlin /usr/share/zoneinfo/UTC
         link:/etc/localtime = /usr/share/zoneinfo/Europe/Berlin",
    );
    Case::of("/etc/localtime -> /usr/share/zoneinfo/UTC", &[])
        .warns(&asked, "--keep-zoneinfo: the base has no time zones");
}

#[test]
fn a_locale_is_a_directory_or_in_the_archive_and_brings_messages() {
    let case = Case::of(
        "/usr/lib/locale/de_DE.utf8/LC_CTYPE
         /usr/lib/locale/de_DE.utf8/LC_MESSAGES/SYS_LC_MESSAGES
         /usr/lib/locale/fr_FR.utf8/LC_CTYPE
         /usr/share/locale/locale.alias
         /usr/share/locale/de/LC_MESSAGES/app.mo
         /usr/share/locale/fr/LC_MESSAGES/app.mo",
        &[],
    );
    case.gives(
        &locale("de_DE.UTF-8"),
        "keep-locale:de_DE.UTF-8 = /usr/lib/locale/de_DE.utf8 /usr/lib/locale/de_DE.utf8/LC_CTYPE \
         /usr/lib/locale/de_DE.utf8/LC_MESSAGES /usr/lib/locale/de_DE.utf8/LC_MESSAGES/SYS_LC_MESSAGES \
         /usr/share/locale/de/LC_MESSAGES/app.mo /usr/share/locale/locale.alias",
    );
    case.fails(&locale("it_IT.UTF-8"), "--keep-locale it_IT.UTF-8: the base has no such locale");
    case.fails(&locale("../../etc"), "--keep-locale ../../etc: the base has no such locale");
    case.gives(&locale("POSIX"), "keep-locale:POSIX = /usr/share/locale/locale.alias");
    let archive = Case::of("/usr/lib/locale/locale-archive: junk\\0de_DE.utf8\\0en_US.utf8\\0", &[]);
    archive.gives(&locale("de_DE.UTF-8"), "keep-locale:de_DE.UTF-8 = /usr/lib/locale/locale-archive");
    archive.fails(&locale("de_D.UTF-8"), "--keep-locale de_D.UTF-8: the base has no such locale");
}

#[test]
fn a_locale_of_another_charset_brings_what_converts_it() {
    Case::of(
        "/usr/lib/locale/ru_RU.koi8r/LC_CTYPE
         /usr/lib/x86_64-linux-gnu/gconv/gconv-modules: include
         /usr/lib/x86_64-linux-gnu/gconv/gconv-modules.d/extra.conf: module KOI8-R// INTERNAL KOI8-R 1\\n
         /usr/lib/x86_64-linux-gnu/gconv/KOI8-R.so
         /usr/lib/x86_64-linux-gnu/gconv/EUC-JP.so",
        &[],
    )
    .gives(
        &locale("ru_RU.KOI8-R"),
        "keep-locale:ru_RU.KOI8-R = /usr/lib/locale/ru_RU.koi8r /usr/lib/locale/ru_RU.koi8r/LC_CTYPE \
         /usr/lib/x86_64-linux-gnu/gconv/KOI8-R.so /usr/lib/x86_64-linux-gnu/gconv/gconv-modules \
         /usr/lib/x86_64-linux-gnu/gconv/gconv-modules.d/extra.conf",
    );
}

#[test]
fn listed_directories_are_kept_with_what_was_in_them() {
    let listed = |glob: &str| Asked { listed: vec![glob.parse().unwrap()], ..Asked::default() };
    let case = Case::of("/plugins/a\n/plugins/b\n/plugins/sub/c\n/other/d", &["/plugins", "/plugins/a"]);
    case.gives(&listed("/plugins"), "keep-listed:/plugins = /plugins/a /plugins/b /plugins/sub");
    case.gives(&listed("/*"), "keep-listed:/plugins = /plugins/a /plugins/b /plugins/sub");
    case.warns(&listed("/other"), "--keep-listed /other: the application listed no such directory");
}
