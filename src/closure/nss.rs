//! The name service switch: which modules glibc loads when it looks up users and hosts (`nsswitch.conf(5)`).

use std::collections::BTreeSet;

/// What names the modules.
pub const CONF: &str = "/etc/nsswitch.conf";

/// Files whose use shows that something was looked up through the switch.
pub(super) const EVIDENCE: &[&str] = &[CONF, "/etc/passwd", "/etc/group", "/etc/hosts"];

/// The file names of the modules that a `nsswitch.conf` names.
pub fn modules(conf: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut services = BTreeSet::new();
    for line in conf.split(|&b| b == b'\n') {
        let line = line.split(|&b| b == b'#').next().unwrap_or_default();
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        // What stands in brackets says what to do after a service, `[NOTFOUND=return]`.
        let mut in_brackets = false;
        for word in line[colon + 1..].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            in_brackets |= word.starts_with(b"[");
            if !in_brackets && word.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
                services.insert([b"libnss_", word, b".so.2"].concat());
            }
            in_brackets &= !word.ends_with(b"]");
        }
    }
    services
}

/// The modules that glibc asks when there is no `nsswitch.conf`.
pub(super) fn default_modules() -> BTreeSet<Vec<u8>> {
    BTreeSet::from([b"libnss_files.so.2".to_vec(), b"libnss_dns.so.2".to_vec()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_become_modules_and_actions_do_not() {
        let conf = b"# passwd: x\npasswd:\tfiles systemd\nhosts: files [!UNAVAIL=return SUCCESS=continue] dns # mdns\n\
            netgroup: ../evil\nbroken\n";
        let names: Vec<_> = modules(conf).into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
        assert_eq!(names, ["libnss_dns.so.2", "libnss_files.so.2", "libnss_systemd.so.2"]);
    }
}
