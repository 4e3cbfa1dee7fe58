//! `/etc/ld.so.cache`, glibc's table of library names (glibc 2.36, `sysdeps/generic/dl-cache.h`).

use std::collections::BTreeMap;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// `cache_file_new_flags_endian_big` in the low two bits of the flags.
const BIG_ENDIAN: u8 = 3;

/// The libraries of a cache by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LdCache(BTreeMap<Vec<u8>, Vec<CachedLibrary>>);

/// One line of `ldconfig -p`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CachedLibrary {
    /// Where the library is.
    pub(super) path: Vec<u8>,
    /// Whether it is only for processors with certain capabilities.
    pub(super) is_variant: bool,
}

impl LdCache {
    /// Parses the file; `None` when it is no cache of a known format. Entries that point outside it are left out. In a
    /// cache no two entries have a path in common, and each names it and the end of it: texts that are much longer
    /// together than the file are none that anybody made to be used, and would be copied over and over.
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        let bytes = &file[start(file)?..];
        let order = *bytes.get(28)? & 3;
        let number = |at: usize| -> Option<u32> {
            let word = *bytes.get(at..)?.first_chunk::<4>()?;
            Some(if order == BIG_ENDIAN { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
        };
        let text = |at: u32| bytes.get(at as usize..)?.split(|&b| b == 0).next();
        let count = number(20)? as usize;
        let mut budget = file.len().saturating_mul(4);
        let mut libraries: BTreeMap<Vec<u8>, Vec<CachedLibrary>> = BTreeMap::new();
        for entry in (HEADER..bytes.len()).step_by(ENTRY).take(count) {
            // flags, key, value, osversion, and 64 bits of capabilities.
            let (Some(name), Some(path)) = (number(entry + 4).and_then(text), number(entry + 8).and_then(text)) else {
                continue;
            };
            budget = budget.checked_sub(name.len() + path.len())?;
            let capabilities = bytes.get(entry + 16..entry + ENTRY)?;
            let is_variant = capabilities.iter().any(|&b| b != 0);
            libraries.entry(name.to_vec()).or_default().push(CachedLibrary { path: path.to_vec(), is_variant });
        }
        Some(LdCache(libraries))
    }

    /// The libraries that have the name, in the order in which the loader looks at them.
    pub(super) fn find(&self, name: &[u8]) -> &[CachedLibrary] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Where the new format begins: at once, or after the table of the format before it.
fn start(file: &[u8]) -> Option<usize> {
    let mut at = 0;
    if file.starts_with(&OLD_MAGIC[..11]) {
        let count = u32::from_le_bytes(*file.get(12..)?.first_chunk()?) as usize;
        at = count.checked_mul(OLD_ENTRY)?.checked_add(OLD_HEADER)?.checked_next_multiple_of(8)?;
    }
    file.get(at..)?.starts_with(MAGIC).then_some(at)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A cache in the new format: name, path, capabilities.
    pub(in crate::closure) fn cache(entries: &[(&str, &str, u64)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut table = Vec::new();
        let base = HEADER + entries.len() * ENTRY;
        for (name, path, capabilities) in entries {
            let mut put = |text: &str| {
                let at = (base + strings.len()) as u32;
                strings.extend(text.as_bytes());
                strings.push(0);
                at
            };
            let (key, value) = (put(name), put(path));
            for word in [0x0303, key, value, 0] {
                table.extend(word.to_le_bytes());
            }
            table.extend(capabilities.to_le_bytes());
        }
        let mut out = MAGIC.to_vec();
        out.extend((entries.len() as u32).to_le_bytes());
        out.extend((strings.len() as u32).to_le_bytes());
        out.extend([2, 0, 0, 0]);
        out.resize(HEADER, 0);
        [out, table, strings].concat()
    }

    fn sample() -> Vec<u8> {
        cache(&[
            ("libz.so.1", "/usr/lib/glibc-hwcaps/x86-64-v3/libz.so.1", 1 << 62),
            ("libz.so.1", "/usr/lib/libz.so.1", 0),
            ("liba.so", "/opt/liba.so", 0),
        ])
    }

    #[test]
    fn libraries_are_found_by_name_with_their_variants() {
        let cache = LdCache::parse(&sample()).unwrap();
        let found: Vec<_> = cache.find(b"libz.so.1").iter().map(|l| (l.path.as_slice(), l.is_variant)).collect();
        assert_eq!(found, [(&b"/usr/lib/glibc-hwcaps/x86-64-v3/libz.so.1"[..], true), (b"/usr/lib/libz.so.1", false)]);
        assert_eq!(cache.find(b"libz.so"), []);
    }

    #[test]
    fn the_table_after_the_old_format_is_used() {
        let mut old = OLD_MAGIC.to_vec();
        old.extend(1u32.to_le_bytes());
        old.resize(32, 0);
        assert_eq!(LdCache::parse(&[old, sample()].concat()), LdCache::parse(&sample()));
    }

    #[test]
    fn other_files_are_no_caches() {
        for other in [&b""[..], b"ld.so-1.7.0\0", b"glibc-ld.so.cache1.1", b"glibc-ld.so.cache9.9xxxxxxxxxxxxxxxx"] {
            assert_eq!(LdCache::parse(other), None);
        }
    }

    /// Each entry once was a copy of the text, however long: gigabytes of a cache of one.
    #[test]
    fn a_cache_whose_entries_share_one_long_text_is_none() {
        let mut file = cache(&[("a", "b", 0); 1000]);
        let at = HEADER + 1000 * ENTRY;
        for entry in (HEADER..at).step_by(ENTRY) {
            for field in [entry + 4, entry + 8] {
                file[field..field + 4].copy_from_slice(&(at as u32).to_le_bytes());
            }
        }
        assert!(LdCache::parse(&file).is_some());
        file.truncate(at);
        file.resize(at + (1 << 20), b'x');
        assert_eq!(LdCache::parse(&file), None);
    }

    proptest! {
        #[test]
        fn damage_is_survived(at in 0usize..300, value: u8, cut in 0usize..300) {
            let mut bytes = sample();
            let length = bytes.len();
            bytes[at % length] = value;
            LdCache::parse(&bytes[..cut.min(length)]);
            LdCache::parse(&bytes);
        }
    }
}
