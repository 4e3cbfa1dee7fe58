//! Names as archives write them.

use crate::base::ImagePath;

/// The path that a name of an archive means: relative to the root whether it begins with a slash or not, `..` taken
/// back textually as the engines do. `None` when it leads out of the root or holds a NUL byte.
pub(super) fn clean(name: &[u8]) -> Option<ImagePath> {
    if let Ok(path) = ImagePath::from_relative(name) {
        return Some(path);
    }
    let mut components: Vec<&[u8]> = Vec::new();
    for component in name.split(|&b| b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()?),
            name => components.push(name),
        }
    }
    ImagePath::from_relative(components.join(&b'/')).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_stay_inside() {
        for (name, expected) in [
            ("a/b", Some("/a/b")),
            ("./a//b/", Some("/a/b")),
            ("/a", Some("/a")),
            ("", Some("/")),
            ("a/../b", Some("/b")),
            ("a/..", Some("/")),
            ("..", None),
            ("a/../../b", None),
            ("a\0", None),
        ] {
            assert_eq!(super::clean(name.as_bytes()).map(|p| p.to_string()).as_deref(), expected, "{name:?}");
        }
    }
}
