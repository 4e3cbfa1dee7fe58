//! `.note.dlopen`: the libraries that an ELF file loads while it runs, as it declares them
//! (systemd's ELF_DLOPEN_METADATA, uapi-group.org specification "ELF dlopen metadata").

use serde::Deserialize;

const OWNER: &[u8] = b"FDO";
/// More names than anybody would write for one library.
const MAX_ALTERNATIVES: usize = 16;
const TYPE: u32 = 0x407c_0c0a;

/// One library that may be loaded: the first of these names that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dlopen {
    /// Names as `dlopen` gets them, the preferred one first.
    pub(super) sonames: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
struct Declaration {
    #[serde(default)]
    soname: Vec<String>,
    // "recommended" is what the specification says about a missing priority.
    #[serde(default)]
    priority: Option<String>,
}

/// The required and recommended libraries that the notes in a PT_NOTE segment declare. `align` is the segment's
/// `p_align`. A note that cannot be read declares nothing.
pub(super) fn parse(mut notes: &[u8], little_endian: bool, align: u64) -> Vec<Dlopen> {
    let align = if align == 8 { 8 } else { 4 };
    let mut out = Vec::new();
    while let Some(note) = next(&mut notes, little_endian, align) {
        if note.kind != TYPE || note.owner.strip_suffix(b"\0").unwrap_or(note.owner) != OWNER {
            continue;
        }
        let text = note.description.split(|&b| b == 0).next().unwrap_or_default();
        let declared: Vec<Declaration> = serde_json::from_slice(text).unwrap_or_default();
        out.extend(declared.into_iter().filter(|d| d.priority.as_deref() != Some("suggested")).map(|d| Dlopen {
            sonames: d.soname.into_iter().take(MAX_ALTERNATIVES).map(String::into_bytes).collect(),
        }));
    }
    out
}

struct Note<'a> {
    kind: u32,
    owner: &'a [u8],
    description: &'a [u8],
}

fn next<'a>(notes: &mut &'a [u8], little_endian: bool, align: usize) -> Option<Note<'a>> {
    let word = |at: usize| -> Option<u32> {
        let bytes = *notes.get(at..)?.first_chunk::<4>()?;
        Some(if little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let (owner_size, size, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
    let owner_end = owner_size.checked_add(12)?;
    let start = owner_end.checked_next_multiple_of(align)?;
    let end = start.checked_add(size)?;
    let note = Note { kind, owner: notes.get(12..owner_end)?, description: notes.get(start..end)? };
    *notes = notes.get(end.checked_next_multiple_of(align)?..).unwrap_or_default();
    Some(note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn note(owner: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [owner.len() as u32, description.len() as u32, kind] {
            out.extend(word.to_le_bytes());
        }
        for part in [owner, description] {
            out.extend(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    #[test]
    fn required_and_recommended_libraries_are_found_among_other_notes() {
        let json = br#"[{"soname":["libzstd.so.1"],"feature":"zstd","priority":"required"},
            {"soname":["liblzma.so.5","liblzma.so.6"]},{"soname":["libbpf.so.1"],"priority":"suggested"}]"#;
        let notes = [note(b"GNU\0", 3, b"build"), note(b"FDO\0", TYPE, json), note(b"FDO\0", 7, b"[]")].concat();
        let found = parse(&notes, true, 4);
        assert_eq!(
            found,
            [
                Dlopen { sonames: vec![b"libzstd.so.1".to_vec()] },
                Dlopen { sonames: vec![b"liblzma.so.5".to_vec(), b"liblzma.so.6".to_vec()] },
            ]
        );
    }

    #[test]
    fn broken_notes_declare_nothing() {
        assert!(parse(&note(b"FDO\0", TYPE, b"{not json"), true, 4).is_empty());
        assert!(parse(&[0xff; 40], true, 4).is_empty());
        assert!(parse(&note(b"FDO\0", TYPE, b"[{\"soname\":[\"x\"]}]")[..20], true, 4).is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), align in 0u64..10) {
            parse(&bytes, true, align);
            parse(&bytes, false, align);
        }
    }
}
