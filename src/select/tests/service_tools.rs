//! Which programs come with a service for whoever looks after it.

use super::*;

/// A broker in a package with tools, that a unit starts, and an entry point with programs of another package.
const TREE: &str = "/var/lib/dpkg/status: Package: broker\\nStatus: install ok installed\\nArchitecture: all\\nVersion: 1\\n\\nPackage: \
     utils\\nStatus: install ok installed\\nArchitecture: all\\nVersion: 1\\n
     /var/lib/dpkg/info/broker.list: /usr/bin/brokerd\\n/usr/bin/broker-passwd\\n/usr/bin/broker-ctl\\n/usr/bin/broker-setup\\n\
     /usr/lib/bin/broker-test\\n/usr/lib/systemd/system/broker.service\\n/usr/share/broker.txt\\n
     /var/lib/dpkg/info/utils.list: /usr/bin/chown\\n/usr/bin/chmod\\n
     /usr/bin/brokerd: \u{7f}ELF
     /usr/bin/broker-passwd: \u{7f}ELF
     /usr/bin/broker-ctl -> brokerd
     /usr/bin/broker-setup: #!/bin/sh
     /usr/lib/bin/broker-test: \u{7f}ELF
     /usr/share/broker.txt
     /usr/bin/chown: \u{7f}ELF
     /usr/bin/chmod: \u{7f}ELF
     /usr/lib/systemd/system/broker.service: ExecStartPre=/usr/bin/chown broker /run/broker\\nExecStart=/usr/bin/brokerd -c /etc/b\\n
     /usr/lib/systemd/system/own.service: Type=oneshot\\nExecStart=/usr/bin/chown\\n";

impl Case {
    /// The programs that are selected, of which each in `ran` was executed.
    fn programs(mut self, level: Level, ran: &[&str]) -> String {
        for text in ran {
            let record = self.observation.paths.get_mut(&ImagePath::parse(text).unwrap()).unwrap();
            record.operations = std::collections::BTreeSet::from([Operation::Exec]);
        }
        let (manifest, _) = self.select(level, &Rules::default());
        let is_program = |path: &String| path.contains("/bin/");
        manifest.entries.iter().map(|(path, _)| path.to_string()).filter(is_program).collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn the_package_of_a_service_has_its_tools() {
    let used = ["/usr/bin/brokerd", "/usr/bin/chown"];
    let case = || Case::of(TREE, &used);
    let all = "/usr/bin/broker-ctl /usr/bin/broker-passwd /usr/bin/brokerd /usr/bin/chown";
    assert_eq!(case().programs(Level::App, &used), all);
    assert_eq!(case().programs(Level::Closure, &used), used.join(" "));
    // Somebody looked at it, and started another.
    assert_eq!(case().programs(Level::App, &used[1..]), used.join(" "));
    // No service, but a program that somebody calls.
    let without_unit = TREE.replace("ExecStart=/usr/bin/brokerd", "Exec=/usr/bin/brokerd");
    assert_eq!(Case::of(&without_unit, &used).programs(Level::App, &used), used.join(" "));
}

#[test]
fn tools_that_were_cut_off_from_a_service_come_with_it() {
    let whole = "Package: broker\\nStatus: install ok installed\\n";
    let parts = "Package: broker\\nStatus: install ok installed\\nDepends: broker-tools, other-tools\\n";
    let tree = TREE.replace(whole, parts)
        + "\n/var/lib/dpkg/status.d/broker-tools: Package: broker-tools\\nSource: broker\\nVersion: 1\\n
           /var/lib/dpkg/status.d/broker-tools.md5sums: 0123456789abcdef0123456789abcdef  usr/bin/broker-reload\\n
           /var/lib/dpkg/status.d/other-tools: Package: other-tools\\nVersion: 1\\n
           /var/lib/dpkg/status.d/other-tools.md5sums: 0123456789abcdef0123456789abcdef  usr/bin/other\\n
           /usr/bin/broker-reload: \u{7f}ELF
           /usr/bin/other: \u{7f}ELF\n";
    let used = ["/usr/bin/brokerd"];
    assert_eq!(
        Case::of(&tree, &used).programs(Level::App, &used),
        "/usr/bin/broker-ctl /usr/bin/broker-passwd /usr/bin/broker-reload /usr/bin/brokerd"
    );
}

#[test]
fn the_settings_that_a_tool_names_come_with_it() {
    let tree = TREE.replace(
        "/usr/bin/broker-passwd: \u{7f}ELF",
        "/usr/bin/broker-passwd: \u{7f}ELF\\0/etc/broker.users\\0/etc/shadow\\0",
    ) + "\n/etc/broker.users: joe
           /etc/broker.other: joe
           /etc/shadow: joe\n";
    let used = ["/usr/bin/brokerd"];
    let settings = |level: Level| {
        let mut case = Case::of(&tree, &used);
        let record = case.observation.paths.get_mut(&ImagePath::parse(used[0]).unwrap()).unwrap();
        record.operations = std::collections::BTreeSet::from([Operation::Exec]);
        let (manifest, _) = case.select(level, &Rules::default());
        let paths = manifest.entries.iter().map(|(path, _)| path.to_string());
        paths.filter(|path| path.starts_with("/etc/")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(settings(Level::App), "/etc/broker.users");
    assert_eq!(settings(Level::Closure), "");
}
