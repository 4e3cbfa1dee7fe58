//! Texts in quotes, as sources of most languages have them, and what such a text can name by itself: a file by its
//! absolute path, a font by the name of its file, which whoever draws text looks for below the directories of fonts.

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::closure::{ClosureError, path_texts};
use crate::image::Rootfs;

/// No text means more names.
const MOST_NAMES: usize = 1024;
/// Nobody has more fonts.
const MOST_FONTS: usize = 50_000;

/// Where distributions have fonts.
pub(super) const FONTS: [&str; 2] = ["/usr/share/fonts", "/usr/local/share/fonts"];
const FONT_ENDINGS: [&[u8]; 6] = [b".otf", b".pcf", b".pfb", b".ttc", b".ttf", b".woff"];

/// Tells of each literal of a source what stands before it in its line, and the literal. Lines that are comments have
/// none.
pub(super) fn each(source: &[u8], mut tell: impl FnMut(&[u8], &[u8])) {
    for line in source.split(|&b| b == b'\n').map(<[u8]>::trim_ascii_start) {
        if line.starts_with(b"#") || line.starts_with(b"//") || line.starts_with(b"*") {
            continue;
        }
        let mut at = 0;
        while let Some(quote) = line.get(at..).and_then(|rest| rest.iter().position(|b| b"'\"`".contains(b))) {
            let begin = at + quote + 1;
            let Some(length) = line[begin..].iter().position(|&b| b == line[begin - 1]) else { break };
            tell(&line[..begin - 1], &line[begin..begin + length]);
            at = begin + length + 1;
        }
    }
}

/// The absolute paths that are the whole of a literal.
pub(super) fn paths(source: &[u8]) -> BTreeSet<Vec<u8>> {
    names(source, path_texts::is_path)
}

/// The names of the files of fonts, without directories.
pub(super) fn fonts(source: &[u8]) -> BTreeSet<Vec<u8>> {
    names(source, |literal| {
        FONT_ENDINGS.iter().any(|end| literal.len() > end.len() && literal.ends_with(end)) && !literal.contains(&b'/')
    })
}

/// Where the fonts are whose files have one of these names.
pub(super) fn find_fonts(rootfs: &Rootfs, names: &BTreeSet<Vec<u8>>) -> Result<Vec<ImagePath>, ClosureError> {
    let mut found = Vec::new();
    let mut pending: Vec<ImagePath> = FONTS.iter().filter_map(|place| ImagePath::parse(place).ok()).collect();
    pending.retain(|_| !names.is_empty());
    let mut seen = 0;
    while let Some(directory) = pending.pop() {
        if !rootfs.lookup(&directory)?.is_some_and(|entry| entry.is_dir()) {
            continue;
        }
        for name in rootfs.list(&directory)? {
            seen += 1;
            let Ok(path) = directory.child(&name) else { continue };
            if names.contains(&name[..]) {
                found.push(path);
            } else if seen < MOST_FONTS && rootfs.lookup(&path)?.is_some_and(|entry| entry.is_dir()) {
                pending.push(path);
            }
        }
    }
    Ok(found)
}

fn names(source: &[u8], is_one: impl Fn(&[u8]) -> bool) -> BTreeSet<Vec<u8>> {
    let mut names = BTreeSet::new();
    each(source, |_, literal| {
        if names.len() < MOST_NAMES && is_one(literal) {
            names.insert(literal.to_vec());
        }
    });
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_name_files_as_a_whole() {
        for (source, expected) in [
            ("open('/usr/share/dict/words')", "/usr/share/dict/words"),
            ("a = \"/etc/x.conf\"; b = `/opt/$y`", "/etc/x.conf"),
            ("f('see /usr/share/x', '/a', '//x/y', '/x/*.y', f'/a/{b}')", ""),
            ("# '/usr/share/no'\n  // '/usr/share/no'", ""),
            ("truetype('Sans.ttf', 12); x = \".ttf\"; y = 'fonts/Own.ttf'", "Sans.ttf"),
        ] {
            let found: Vec<_> = paths(source.as_bytes()).into_iter().chain(fonts(source.as_bytes())).collect();
            let found: Vec<_> = found.iter().map(|name| String::from_utf8_lossy(name)).collect();
            assert_eq!(found.join(" "), expected, "{source}");
        }
    }
}
