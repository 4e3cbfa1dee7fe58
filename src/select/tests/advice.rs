//! What a run gives reason to think about, and what is told of a selection beside it.

use std::collections::BTreeSet;

use super::*;

impl Case {
    fn command(mut self, words: &[&str]) -> Self {
        self.observation.header.command = words.iter().map(|word| word.to_string()).collect();
        self
    }

    /// Makes the file at `text` one that `callers` executed.
    fn executed_by(mut self, text: &str, callers: &[&str]) -> Self {
        let record = self.observation.paths.get_mut(&ImagePath::parse(text).unwrap()).unwrap();
        record.operations = BTreeSet::from([Operation::Exec]);
        record.executables = callers.iter().map(|caller| ImagePath::parse(caller).unwrap()).collect();
        self
    }

    /// Checks what is advised, as the beginnings of the sentences.
    #[track_caller]
    fn advises(&self, rules: &Rules, expected: &[&str]) {
        let (_, account) = self.select(Level::Closure, rules);
        let fits = |(said, expected): (&String, &&str)| said.contains(*expected);
        let all = account.advice.len() == expected.len() && account.advice.iter().zip(expected).all(fits);
        assert!(all, "{:#?}\nexpected: {expected:#?}", account.advice);
    }
}

fn rules(asked: Asked) -> Rules {
    Rules { asked, ..Rules::default() }
}

#[test]
fn a_tls_library_without_certificates_is_a_reason_to_keep_some() {
    let tree = "/usr/lib/libssl.so.3\n/etc/ssl/certs/ca-certificates.crt";
    let advice = ["loaded /usr/lib/libssl.so.3 and read no certificates of authorities"];
    Case::of(tree, &["/usr/lib/libssl.so.3"]).advises(&Rules::default(), &advice);
    Case::of(tree, &["/usr/lib/libssl.so.3", "/etc/ssl/certs/ca-certificates.crt"]).advises(&Rules::default(), &[]);
    let certs = rules(Asked { certs: true, ..Asked::default() });
    Case::of(tree, &["/usr/lib/libssl.so.3"]).advises(&certs, &[]);
    Case::of("/usr/lib/libssl.so.3", &["/usr/lib/libssl.so.3"]).advises(&Rules::default(), &[]);
    Case::of(tree, &[]).advises(&Rules::default(), &[]);
}

#[test]
fn a_library_that_finds_fonts_is_a_reason_to_keep_some() {
    let tree = "/usr/lib/libfontconfig.so.1\n/usr/share/fonts/truetype/a.ttf\n/etc/fonts/fonts.conf";
    let advice = ["the application loaded /usr/lib/libfontconfig.so.1, and the image has no fonts"];
    let none = Rules::default();
    Case::of(tree, &["/usr/lib/libfontconfig.so.1"]).advises(&none, &advice);
    // Who has read one gets all of them.
    Case::of(tree, &["/usr/lib/libfontconfig.so.1", "/etc/fonts/fonts.conf"]).advises(&none, &[]);
    Case::of("/usr/lib/libfontconfig.so.1", &["/usr/lib/libfontconfig.so.1"]).advises(&none, &[]);
    Case::of(tree, &[]).advises(&none, &[]);
}

#[test]
fn whoever_looks_at_the_time_of_a_place_may_want_other_places() {
    let tree = "/etc/localtime\n/usr/share/zoneinfo/UTC\n/usr/share/zoneinfo/Europe/Berlin";
    let none = Rules::default();
    Case::of(tree, &["/etc/localtime"]).advises(&none, &["looked at /etc/localtime, and the image has no time zones"]);
    // Who reads one gets all of them.
    Case::of(tree, &["/usr/share/zoneinfo/UTC"]).advises(&none, &[]);
    Case::of(tree, &[]).variable("TZ=Europe/Berlin").advises(&none, &["TZ is set, and"]);
    let zones = rules(Asked { zoneinfo: true, ..Asked::default() });
    Case::of(tree, &["/etc/localtime"]).advises(&zones, &[]);
    Case::of(tree, &[]).advises(&none, &[]);
    Case::of("/etc/localtime", &["/etc/localtime"]).advises(&none, &[]);
}

#[test]
fn name_services_that_were_not_loaded_are_told() {
    let tree = "/etc/nsswitch.conf: passwd: files systemd ldap\\n\n/usr/lib/libc.so.6\n/usr/lib/libnss_systemd.so.2";
    let used = ["/etc/nsswitch.conf", "/usr/lib/libc.so.6"];
    let missing = "names /usr/lib/libnss_systemd.so.2, which the run did not load and the image does not have";
    let (_, account) = Case::of(tree, &used).select(Level::Observed, &Rules::default());
    assert!(account.advice.len() == 1 && account.advice[0].contains(missing), "{:?}", account.advice);
    let kept = rules(Asked { listed: Vec::new(), ..Asked::default() });
    let with_it = Rules { keep: vec!["/usr/lib/libnss_*".parse().unwrap()], ..kept };
    Case::of(tree, &used)
        .advises(&with_it, &["names /usr/lib/libnss_systemd.so.2, which the run did not load: it is kept"]);
    let loaded = [&used[..], &["/usr/lib/libnss_systemd.so.2"]].concat();
    Case::of(tree, &loaded).advises(&Rules::default(), &[]);
}

#[test]
fn why_a_shell_is_there_is_told_and_how_to_do_without() {
    let tree = "/bin/sh -> dash\n/bin/dash\n/bin/app\n/bin/start: #!/bin/sh\\nexec app\n/opt/tool/bin/x: #!/bin/sh\\n";
    let none = Rules::default();
    Case::of(tree, &["/bin/app"]).command(&["app"]).advises(&none, &[]);
    let in_shell_form = "a shell is in the image, /bin/dash: the command (ENTRYPOINT and CMD) is in shell form; CMD [";
    Case::of(tree, &["/bin/app"]).command(&["/bin/sh", "-c", "app"]).advises(&none, &[in_shell_form]);
    Case::of(tree, &["/bin/app"])
        .command(&["start"])
        .advises(&none, &["a shell is in the image, /bin/dash: the command is the script /bin/start; --entrypoint"]);
    let healthcheck = serde_json::json!({"Healthcheck": {"Test": ["CMD-SHELL", "app -q"]}});
    Case::of(tree, &["/bin/app"])
        .command(&["app"])
        .config(healthcheck)
        .advises(&none, &["a shell is in the image, /bin/dash: HEALTHCHECK is in shell form; HEALTHCHECK CMD ["]);
    Case::of(tree, &["/bin/app", "/bin/dash"])
        .command(&["app"])
        .executed_by("/bin/dash", &["/bin/app"])
        .advises(&none, &["a shell is in the image, /bin/dash: /bin/app ran it"]);
    Case::of(tree, &["/bin/app", "/opt/tool/bin/x"]).command(&["app"]).advises(
        &none,
        &["a shell is in the image, /bin/dash: the script /opt/tool/bin/x is kept and needs it; --drop"],
    );
    let shell = rules(Asked { shell: true, ..Asked::default() });
    Case::of(tree, &["/bin/app"]).command(&["app"]).advises(&shell, &[]);
    Case::of("/bin/busybox\n/bin/app", &["/bin/busybox"]).command(&["app"]).advises(&none, &[]);
}

#[test]
fn files_of_the_application_are_weighed_and_can_be_dropped() {
    let case = Case::of("/app/a: 123\n/app/b: 12345\n/app/sub/c: 1\n/bin/app", &["/app/a"]);
    let told = |level, rules: &Rules| {
        let application = case.select(level, rules).1.application?;
        Some((application.unused.bytes, application.unused.files, application.directories.len()))
    };
    assert_eq!(told(Level::App, &Rules::default()), Some((6, 2, 1)));
    assert_eq!(told(Level::Closure, &Rules::default()), None);
    let dropped = Rules { drop: vec!["/app/sub".parse().unwrap()], ..Rules::default() };
    assert_eq!(told(Level::App, &dropped), Some((5, 1, 1)));
    let kept = Rules { keep: vec!["/app/b".parse().unwrap()], ..Rules::default() };
    assert_eq!(told(Level::App, &kept), Some((1, 1, 1)), "what is there for another reason is not counted");
}

#[test]
fn scripts_that_only_lie_in_the_application_bring_no_shell() {
    let case = Case::of("/app/bin/x: #!/bin/sh\\n\n/app/a\n/bin/sh", &["/app/a"]);
    let (manifest, account) = case.select(Level::App, &Rules::default());
    assert!(manifest.entries.contains(&ImagePath::parse("/app/bin/x").unwrap()));
    assert!(!manifest.entries.contains(&ImagePath::parse("/bin/sh").unwrap()));
    assert_eq!(account.advice, [""; 0]);
}

#[test]
fn what_was_listed_and_not_used_is_counted() {
    let case = Case::of(
        "/plugins/a: 1\n/plugins/b: 22\n/plugins/c: 333\n/plugins/d/e: 4444\n/data/x: 55555",
        &["/plugins", "/plugins/a", "/data"],
    );
    let listed = |rules: &Rules| case.select(Level::Closure, rules).1.listed;
    let unused = listed(&Rules::default());
    assert_eq!((unused.directories, unused.entries, unused.bytes), (2, 4, 2 + 3 + 5));
    let largest: Vec<String> =
        unused.of_nobody.iter().map(|here| format!("{} {} {}", here.directory, here.files, here.bytes)).collect();
    assert_eq!(largest, ["/plugins 2 5", "/data 1 5"]);
    let all = rules(Asked { listed: vec!["/**".parse().unwrap()], ..Asked::default() });
    let unused = listed(&all);
    assert_eq!((unused.directories, unused.entries, unused.of_nobody.len()), (2, 0, 0));
}
