//! Absolute byte paths inside a rootfs.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An absolute path inside a rootfs, as bytes: it begins with `/`, has no empty, `.` or `..` component, no trailing
/// slash (except the root itself) and no NUL byte. It is never a path of the host; [`ImagePath::on_host`] is the one
/// place where it becomes one.
///
/// Paths are ordered by component, so a directory is followed at once by what lies below it: `/a`, `/a/b`, `/a.b`.
///
/// As text (`Display`, serde) it is UTF-8 with a backslash written `\\` and each byte that is not part of valid
/// UTF-8, and each control character, written `\xHH`; [`ImagePath::from_text`] is the inverse. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ImagePath(Arc<[u8]>);

/// Why bytes are not an [`ImagePath`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("path {0:?} is not absolute")]
    NotAbsolute(String),
    /// It has a `..` component, which could lead out of the rootfs.
    #[error("path {0:?} has a '..' component")]
    ParentComponent(String),
    /// It holds a NUL byte.
    #[error("path {0:?} holds a NUL byte")]
    Nul(String),
    /// The text form has a backslash that begins no known escape.
    #[error("path {0:?} has a bad escape: expected \\\\ or \\xHH")]
    BadEscape(String),
}

impl ImagePath {
    /// The root directory, `/`.
    pub fn root() -> Self {
        ImagePath(Arc::from(&b"/"[..]))
    }

    /// Parses an absolute path. Repeated slashes, `.` components and a trailing slash are folded; `..` is refused,
    /// because only a walk over the tree knows what it means.
    pub fn parse(bytes: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let bytes = bytes.as_ref();
        if bytes.first() != Some(&b'/') {
            return Err(PathError::NotAbsolute(escape_bytes(bytes).into_owned()));
        }
        Self::from_relative(bytes)
    }

    /// Parses a name as archives write it, relative to the root: `usr/bin`, `./usr/bin`, `/usr/bin`.
    pub fn from_relative(bytes: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let bytes = bytes.as_ref();
        let text = || escape_bytes(bytes).into_owned();
        if bytes.contains(&0) {
            return Err(PathError::Nul(text()));
        }
        let mut out = Vec::with_capacity(bytes.len() + 1);
        for component in bytes.split(|&b| b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(PathError::ParentComponent(text())),
                name => {
                    out.push(b'/');
                    out.extend_from_slice(name);
                }
            }
        }
        if out.is_empty() {
            return Ok(Self::root());
        }
        Ok(ImagePath(out.into()))
    }

    /// Parses the text form that `Display` and serde write.
    pub fn from_text(text: &str) -> Result<Self, PathError> {
        Self::parse(unescape_bytes(text).ok_or_else(|| PathError::BadEscape(text.into()))?)
    }

    /// The bytes, always beginning with `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The path of `name` in this directory. `name` is one component, as a directory lists it.
    ///
    /// # Errors
    /// When `name` is empty, `.`, `..` or holds a slash or a NUL byte.
    pub fn child(&self, name: &[u8]) -> Result<Self, PathError> {
        if name == b".." {
            return Err(PathError::ParentComponent(escape_bytes(name).into_owned()));
        }
        if name.is_empty() || name == b"." || name.contains(&b'/') {
            return Err(PathError::NotAbsolute(escape_bytes(name).into_owned()));
        }
        if name.contains(&0) {
            return Err(PathError::Nul(escape_bytes(name).into_owned()));
        }
        let mut out = Vec::with_capacity(self.0.len() + 1 + name.len());
        if !self.is_root() {
            out.extend_from_slice(&self.0);
        }
        out.push(b'/');
        out.extend_from_slice(name);
        Ok(ImagePath(out.into()))
    }

    /// The directory that holds this path; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(0) | None => Some(Self::root()),
            Some(at) => Some(ImagePath(Arc::from(&self.0[..at]))),
        }
    }

    /// All directories above this path, nearest first, ending in `/`.
    pub fn ancestors(&self) -> impl Iterator<Item = ImagePath> {
        std::iter::successors(self.parent(), ImagePath::parent)
    }

    /// The last component; `None` for `/`.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.components().last()
    }

    /// The components in order; none for `/`.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0[1..].split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// Whether this path is `dir` or lies below it, compared by component.
    pub fn is_within(&self, dir: &ImagePath) -> bool {
        dir.is_root() || self.0.strip_prefix(&*dir.0).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// A path that sorts behind all that lies below this one, and behind nothing else: the bound of a search.
    pub(super) fn after_subtree(&self) -> Self {
        // The separator sorts before every byte of a name, and this is the least of those.
        ImagePath([&self.0, &[1][..]].concat().into())
    }

    /// The bytes relative to the root, as archives want them: no leading slash, empty for `/`.
    pub fn relative(&self) -> &[u8] {
        &self.0[1..]
    }

    /// Where this path lies on the host when the rootfs is at `root`. Links on the way are not looked at, so this is
    /// safe only for paths whose parents are known to be directories of the rootfs.
    pub fn on_host(&self, root: &Path) -> PathBuf {
        root.join(OsStr::from_bytes(self.relative()))
    }
}

impl Ord for ImagePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // Neighbours in a tree differ near their ends, so what is the same is skipped by words.
        let (own, others) = (self.relative(), other.relative());
        let words = own.as_chunks::<8>().0.iter().zip(others.as_chunks::<8>().0);
        let same = 8 * words.take_while(|(own, other)| own == other).count();
        // No byte of a path is NUL, so a slash that sorts as NUL makes this the order of the components.
        let key = |&b: &u8| if b == b'/' { 0 } else { b };
        own[same..].iter().map(key).cmp(others[same..].iter().map(key))
    }
}

impl PartialOrd for ImagePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape_bytes(&self.0))
    }
}

impl fmt::Debug for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ImagePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&escape_bytes(&self.0))
    }
}

impl<'de> Deserialize<'de> for ImagePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        ImagePath::from_text(&text).map_err(serde::de::Error::custom)
    }
}

/// Writes bytes as text: valid UTF-8 as it is, a backslash as `\\`, control characters and every other byte as `\xHH`.
pub fn escape_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(|c: char| c == '\\' || c.is_control())
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if c.is_control() => {
                    let mut buffer = [0; 4];
                    push_hex(&mut out, c.encode_utf8(&mut buffer).as_bytes());
                }
                c => out.push(c),
            }
        }
        push_hex(&mut out, chunk.invalid());
    }
    Cow::Owned(out)
}

/// Reads what [`escape_bytes`] wrote; `None` when a backslash begins no known escape.
pub fn unescape_bytes(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match (byte, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                out.push(b'\\');
                tail
            }
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digit = |b: &u8| char::from(*b).to_digit(16);
                out.push((digit(high)? * 16 + digit(low)?) as u8);
                tail
            }
            (b'\\', _) => return None,
            (byte, tail) => {
                out.push(byte);
                tail
            }
        };
    }
    Some(Cow::Owned(out))
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    use fmt::Write;
    for byte in bytes {
        write!(out, "\\x{byte:02x}").expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text).unwrap()
    }

    #[test]
    fn parsing_folds_what_means_nothing_and_refuses_what_could_escape() {
        for (input, expected) in
            [("/", "/"), ("//", "/"), ("/usr//bin/", "/usr/bin"), ("/./usr/./bin", "/usr/bin"), ("/...", "/...")]
        {
            assert_eq!(path(input).to_string(), expected, "{input}");
        }
        assert_eq!(ImagePath::from_relative("./a/b").unwrap(), path("/a/b"));
        assert_eq!(ImagePath::parse("usr"), Err(PathError::NotAbsolute("usr".into())));
        assert_eq!(ImagePath::from_relative("a/../b"), Err(PathError::ParentComponent("a/../b".into())));
        assert!(matches!(ImagePath::parse(b"/a\0b"), Err(PathError::Nul(_))));
    }

    #[test]
    fn a_directory_is_followed_by_its_content_and_a_string_prefix_is_not_a_path_prefix() {
        let mut paths = [path("/haz/mark.bak"), path("/haz/mark"), path("/haz/mark/x"), path("/haz")];
        paths.sort();
        assert_eq!(paths.map(|p| p.to_string()), ["/haz", "/haz/mark", "/haz/mark/x", "/haz/mark.bak"]);
        assert!(path("/haz/mark/x").is_within(&path("/haz/mark")));
        assert!(!path("/haz/mark.bak").is_within(&path("/haz/mark")));
        assert!(path("/haz").is_within(&ImagePath::root()));
    }

    #[test]
    fn children_are_single_components() {
        assert_eq!(ImagePath::root().child(b"etc").unwrap(), path("/etc"));
        assert_eq!(path("/etc").child(b"x").unwrap(), path("/etc/x"));
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
            assert!(path("/etc").child(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn text_form_is_reversible(bytes in proptest::collection::vec(1u8..=255, 0..40)) {
            let text = escape_bytes(&bytes).into_owned();
            prop_assert_eq!(unescape_bytes(&text).unwrap().into_owned(), bytes);
        }

        #[test]
        fn order_is_that_of_the_components(a in "(/[a-c.]{1,3}){1,4}", b in "(/[a-c.]{1,3}){1,4}") {
            let (Ok(a), Ok(b)) = (ImagePath::parse(&a), ImagePath::parse(&b)) else { return Ok(()) };
            prop_assert_eq!(a.cmp(&b), a.components().cmp(b.components()));
        }
    }
}
