//! Absolute paths as they stand in texts: in settings between other words, in programs by themselves.

use std::collections::BTreeSet;

/// No name that means a path is longer, and no text means more of them.
const LONGEST: usize = 512;
const MOST_NAMES: usize = 4096;

/// The absolute paths that a text names in lines that are no comments; patterns are none.
pub(super) fn in_settings(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut names = BTreeSet::new();
    if text.contains(&0) || text.starts_with(b"#!") {
        return names;
    }
    for line in text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii_start) {
        if [&b"#"[..], b";", b"//", b"<!--", b"--"].iter().any(|mark| line.starts_with(mark)) {
            continue;
        }
        let mut before = b' ';
        let mut at = 0;
        while at < line.len() {
            if line[at] != b'/' || is_of_path(before) {
                before = line[at];
                at += 1;
                continue;
            }
            let length = line[at..].iter().position(|&b| !is_of_path(b)).unwrap_or(line.len() - at);
            let end = line.get(at + length).copied().unwrap_or(b' ');
            let name = &line[at..at + length];
            if !is_pattern(end) && is_meant(name) && names.len() < MOST_NAMES {
                names.insert(name.strip_suffix(b".").unwrap_or(name).to_vec());
            }
            at += length;
            before = b'/';
        }
    }
    names
}

/// The texts of a program, each ended by a NUL, that are absolute paths as a whole.
pub(super) fn in_program(program: &[u8]) -> BTreeSet<Vec<u8>> {
    program.split(|&b| b == 0).filter(|text| is_path(text)).take(MOST_NAMES).map(<[u8]>::to_vec).collect()
}

/// Whether a text as a whole is an absolute path.
pub(super) fn is_path(text: &[u8]) -> bool {
    text.starts_with(b"/") && is_meant(text) && text.iter().all(|&b| is_of_path(b))
}

fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'+' | b'@' | b'~')
}

fn is_pattern(end: u8) -> bool {
    matches!(end, b'*' | b'?' | b'$' | b'%' | b'{' | b'[' | b'\\')
}

/// Whether a text that begins with a slash can be meant as a path: an address goes on with another, and a path in the
/// root says little.
fn is_meant(name: &[u8]) -> bool {
    name.len() <= LONGEST && name.get(1).is_some_and(|&b| b != b'/') && name[1..].contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: BTreeSet<Vec<u8>>) -> String {
        found.into_iter().map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn settings_name_paths() {
        for (text, expected) in [
            ("path = /srv/share\n", "/srv/share"),
            ("Subsystem sftp /usr/lib/x/sftp-server -f", "/usr/lib/x/sftp-server"),
            ("a=\"/etc/a\";b='/etc/b',c:/etc/c", "/etc/a /etc/b /etc/c"),
            ("lookup{$x}lsearch{/etc/aliases}}", "/etc/aliases"),
            ("<dir>/usr/share/web</dir>", "/usr/share/web"),
            ("# /etc/no\n ; /etc/no\n// /etc/no\n<!-- /etc/no -->", ""),
            ("http://host/a/b //x/y relative/a/b ~/a/b", ""),
            ("include /etc/x/*.conf; /var/log/%m.log; /srv/$user/x", ""),
            ("See /etc/thing.", "/etc/thing"),
            ("See /etc/thing/x.", "/etc/thing/x"),
            ("/a\0/b/c", ""),
            ("#!/bin/sh\n/usr/bin/x", ""),
        ] {
            assert_eq!(names(in_settings(text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn programs_name_paths_in_texts_of_their_own() {
        let program = b"\x7fELF\0/usr/libexec/d\0see /usr/lib/no\0/etc/d.conf\0/usr/%s/x\0/x\0//a/b\0";
        assert_eq!(names(in_program(program)), "/etc/d.conf /usr/libexec/d");
    }
}
