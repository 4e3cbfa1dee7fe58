//! The header of an rpm package, as its databases store it (rpm-format, "Header"): two counts, an index of 16-byte
//! entries, and the data that they point into; all numbers big-endian.
//!
//! It is data of the image: every number is checked before it is used, and nothing is allocated that the header is not
//! long enough for.

/// Tags (rpmtag.h).
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const BUILD_TIME: u32 = 1006;
const INSTALL_TIME: u32 = 1008;
const SIZE: u32 = 1009;
const VENDOR: u32 = 1011;
const ARCH: u32 = 1022;
const OLD_FILE_NAMES: u32 = 1027;
const FILE_STATES: u32 = 1029;
const FILE_FLAGS: u32 = 1037;
const SOURCE_RPM: u32 = 1044;
const DIR_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIR_NAMES: u32 = 1118;
const LONG_SIZE: u32 = 5009;

/// Types of values (rpmtag.h): numbers of 32 and 64 bits, bytes, and texts that a NUL ends.
const CHAR: u32 = 1;
const INT8: u32 = 2;
const INT32: u32 = 4;
const INT64: u32 = 5;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

/// A file that the package calls its licence (rpmfiles.h).
const LICENSE_FLAG: u32 = 1 << 7;
/// The states of files that are on the disk: normal, and of a file system shared over the network (rpmfiles.h).
const PRESENT: [u8; 2] = [0, 3];

/// What a header says, as far as it is used here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::select) struct Header {
    pub name: String,
    pub version: String,
    pub release: String,
    pub epoch: Option<u32>,
    pub architecture: Option<String>,
    pub vendor: Option<String>,
    pub source: Option<String>,
    pub build_time: Option<u32>,
    pub install_time: Option<u32>,
    pub size: Option<u64>,
    /// Absolute paths, with what the package says of each.
    pub files: Vec<File>,
}

/// A file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::select) struct File {
    pub path: Vec<u8>,
    pub is_license: bool,
}

/// Reads a header.
///
/// # Errors
/// What is wrong with it, to come after "the header is damaged: ".
pub(super) fn parse(blob: &[u8]) -> Result<Header, String> {
    let index = Index::new(blob)?;
    let required = |tag, what: &str| index.text(tag)?.ok_or_else(|| format!("it has no {what}"));
    let mut header = Header {
        name: required(NAME, "name")?,
        version: required(VERSION, "version")?,
        release: required(RELEASE, "release")?,
        epoch: index.number(EPOCH)?,
        architecture: index.text(ARCH)?,
        vendor: index.text(VENDOR)?,
        source: index.text(SOURCE_RPM)?,
        build_time: index.number(BUILD_TIME)?,
        install_time: index.number(INSTALL_TIME)?,
        size: match index.number(SIZE)? {
            Some(size) => Some(size.into()),
            None => index.long(LONG_SIZE)?,
        },
        files: Vec::new(),
    };
    header.files = index.files()?;
    Ok(header)
}

/// One entry of the index.
#[derive(Clone, Copy)]
struct Item {
    tag: u32,
    kind: u32,
    offset: usize,
    count: usize,
}

struct Index<'a> {
    items: Vec<Item>,
    data: &'a [u8],
}

impl<'a> Index<'a> {
    fn new(blob: &'a [u8]) -> Result<Self, String> {
        let (Some(entries), Some(length)) = (word(blob, 0), word(blob, 4)) else {
            return Err("it has no counts".into());
        };
        let (entries, length) = (entries as usize, length as usize);
        let index = entries.checked_mul(16).and_then(|bytes| blob.get(8..)?.get(..bytes));
        let index = index.ok_or_else(|| format!("it is too short for {entries} entries"))?;
        let data = blob.get(8 + index.len()..).and_then(|rest| rest.get(..length));
        let data = data.ok_or_else(|| format!("it is too short for {length} bytes of data"))?;
        let item = |entry: &[u8]| Item {
            tag: word(entry, 0).unwrap_or_default(),
            kind: word(entry, 4).unwrap_or_default(),
            offset: word(entry, 8).unwrap_or_default() as usize,
            count: word(entry, 12).unwrap_or_default() as usize,
        };
        Ok(Index { items: index.chunks_exact(16).map(item).collect(), data })
    }

    /// The value of a tag that is of one of `kinds`; `None` when there is no such tag.
    fn item(&self, tag: u32, kinds: &[u32]) -> Result<Option<(Item, &'a [u8])>, String> {
        let Some(item) = self.items.iter().find(|item| item.tag == tag) else { return Ok(None) };
        if !kinds.contains(&item.kind) {
            return Err(format!("tag {tag} has a value of type {}", item.kind));
        }
        let data = self.data.get(item.offset..).ok_or_else(|| format!("tag {tag} lies outside"))?;
        Ok(Some((*item, data)))
    }

    fn numbers<const N: usize>(&self, tag: u32, kinds: &[u32]) -> Result<Vec<[u8; N]>, String> {
        let Some((item, data)) = self.item(tag, kinds)? else { return Ok(Vec::new()) };
        let bytes = item.count.checked_mul(N).and_then(|bytes| data.get(..bytes));
        let bytes = bytes.ok_or_else(|| format!("tag {tag} has {} values, too many", item.count))?;
        Ok(bytes.as_chunks::<N>().0.to_vec())
    }

    fn words(&self, tag: u32) -> Result<Vec<u32>, String> {
        Ok(self.numbers(tag, &[INT32])?.into_iter().map(u32::from_be_bytes).collect())
    }

    fn number(&self, tag: u32) -> Result<Option<u32>, String> {
        Ok(self.words(tag)?.first().copied())
    }

    fn long(&self, tag: u32) -> Result<Option<u64>, String> {
        Ok(self.numbers(tag, &[INT64])?.first().map(|bytes| u64::from_be_bytes(*bytes)))
    }

    fn bytes(&self, tag: u32) -> Result<Vec<u8>, String> {
        Ok(self.numbers::<1>(tag, &[CHAR, INT8])?.concat())
    }

    fn texts(&self, tag: u32) -> Result<Vec<&'a [u8]>, String> {
        let Some((item, mut data)) = self.item(tag, &[STRING, STRING_ARRAY, I18N_STRING])? else {
            return Ok(Vec::new());
        };
        let mut texts = Vec::new();
        for _ in 0..item.count {
            let end = data.iter().position(|&b| b == 0).ok_or_else(|| format!("a text of tag {tag} has no end"))?;
            texts.push(&data[..end]);
            data = &data[end + 1..];
        }
        Ok(texts)
    }

    /// Without the characters that would be structure where it is written.
    fn text(&self, tag: u32) -> Result<Option<String>, String> {
        let text = self.texts(tag)?.first().map(|text| String::from_utf8_lossy(text).into_owned());
        Ok(text.map(|text| text.replace(|c: char| c.is_control(), " ")))
    }

    fn files(&self) -> Result<Vec<File>, String> {
        let (flags, states) = (self.words(FILE_FLAGS)?, self.bytes(FILE_STATES)?);
        let names = self.texts(BASE_NAMES)?;
        let mut paths = Vec::new();
        if names.is_empty() {
            // Packages of rpm 3 have whole paths.
            paths.extend(self.texts(OLD_FILE_NAMES)?.into_iter().map(<[u8]>::to_vec));
        } else {
            let (directories, indexes) = (self.texts(DIR_NAMES)?, self.words(DIR_INDEXES)?);
            // One long directory and many names would otherwise make more than the header ever held.
            let mut budget = 64usize << 20;
            for (name, index) in names.iter().zip(&indexes) {
                let directory = directories.get(*index as usize);
                let path = [directory.ok_or_else(|| format!("there is no directory {index}"))?, *name].concat();
                budget = budget.checked_sub(path.len()).ok_or("its paths have more than 64 MB")?;
                paths.push(path);
            }
        }
        let is_present = |at: usize| states.get(at).is_none_or(|state| PRESENT.contains(state));
        let is_license = |at: usize| flags.get(at).is_some_and(|flags| flags & LICENSE_FLAG != 0);
        let files = paths.into_iter().enumerate().filter(|(at, _)| is_present(*at));
        Ok(files.map(|(at, path)| File { path, is_license: is_license(at) }).collect())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header of these tags, each with its type, count and bytes.
    fn header(tags: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, count, bytes) in tags {
            for word in [*tag, *kind, data.len() as u32, *count] {
                index.extend(word.to_be_bytes());
            }
            data.extend_from_slice(bytes);
        }
        let counts = [(tags.len() as u32).to_be_bytes(), (data.len() as u32).to_be_bytes()].concat();
        [counts, index, data].concat()
    }

    const IDENTITY: [(u32, u32, u32, &[u8]); 3] =
        [(NAME, STRING, 1, b"bash\0"), (VERSION, STRING, 1, b"5.1\0"), (RELEASE, STRING, 1, b"3.el9\0")];

    fn with(more: &[(u32, u32, u32, &[u8])]) -> Result<Header, String> {
        parse(&header(&[&IDENTITY[..], more].concat()))
    }

    #[test]
    fn files_are_directories_and_names() {
        let found = with(&[
            (EPOCH, INT32, 1, &[0, 0, 0, 2]),
            (DIR_NAMES, STRING_ARRAY, 2, b"/usr/bin/\0/usr/share/licenses/bash/\0"),
            (BASE_NAMES, STRING_ARRAY, 3, b"bash\0COPYING\0gone\0"),
            (DIR_INDEXES, INT32, 3, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
            (FILE_FLAGS, INT32, 3, &[0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 0]),
            (FILE_STATES, CHAR, 3, &[0, 0, 2]),
        ])
        .unwrap();
        let file = |path: &str, is_license| File { path: path.as_bytes().to_vec(), is_license };
        assert_eq!(found.files, [file("/usr/bin/bash", false), file("/usr/share/licenses/bash/COPYING", true)]);
        assert_eq!((found.name.as_str(), found.epoch), ("bash", Some(2)));
    }

    #[test]
    fn what_lies_outside_is_an_error() {
        for (wrong, message) in [
            (parse(b""), "no counts"),
            (parse(&[0, 0, 0, 1, 0, 0, 0, 0]), "too short for 1 entries"),
            (parse(&[255; 64]), "too short"),
            (parse(&header(&[])), "no name"),
            (parse(&header(&[(NAME, STRING, 1, b"bash")])), "has no end"),
            (parse(&header(&[(NAME, INT32, 1, b"bash")])), "type 4"),
            (with(&[(EPOCH, INT32, u32::MAX, b"....")]), "too many"),
            (
                with(&[
                    (BASE_NAMES, STRING_ARRAY, 1, b"x\0"),
                    (DIR_NAMES, STRING_ARRAY, 1, b"/\0"),
                    (DIR_INDEXES, INT32, 1, &[0, 0, 0, 9]),
                ]),
                "no directory 9",
            ),
        ] {
            let error = wrong.unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(blob in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&blob));
        }

        #[test]
        fn no_damage_breaks_it(at in 0usize..200, byte in any::<u8>(), cut in 0usize..200) {
            let mut blob = header(&[
                &IDENTITY[..],
                &[
                    (DIR_NAMES, STRING_ARRAY, 1, b"/usr/bin/\0"),
                    (BASE_NAMES, STRING_ARRAY, 1, b"bash\0"),
                    (DIR_INDEXES, INT32, 1, &[0, 0, 0, 0]),
                ],
            ].concat());
            let length = blob.len();
            blob[at % length] = byte;
            drop(parse(&blob));
            drop(parse(&blob[..cut % length]));
        }
    }
}
