//! What an ELF file asks of its loader: headers, PT_INTERP, PT_DYNAMIC and notes, never symbols or sections.
//!
//! Files come from images that nobody vouches for. Every read has a limit that the file does not choose, and a file
//! that contradicts itself is an error value.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::dynamic::{
    DF_1_NODEFLIB, DT_FLAGS_1, DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB,
};
use goblin::elf::header::{EI_CLASS, EI_DATA, ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ET_DYN, ET_EXEC, Header};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_NOTE, ProgramHeader};

use crate::closure::dlopen_note::{self, Dlopen};

const MAX_PROGRAM_HEADERS: u16 = 1024;
const MAX_STRING: usize = 4096;
const MAX_SEARCH_PATH: usize = 64 << 10;
const MAX_DYNAMIC: u64 = 1 << 20;
const MAX_NOTES: u64 = 1 << 20;
const MAX_NEEDED: usize = 1024;
const MAX_DLOPENS: usize = 256;
const MAX_STRING_TABLE: u64 = 32 << 20;

/// Byte-addressed content.
pub(super) trait ReadAt {
    /// Reads up to the length of `buffer` at `offset`, less only at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                // An offset past what a file can have is past its end.
                Err(cause) if cause.kind() == io::ErrorKind::InvalidInput => break,
                Err(cause) => return Err(cause),
            }
        }
        Ok(done)
    }
}

/// What a loader compares before it takes a library: ELFCLASS*, ELFDATA*, EM_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arch {
    pub(super) class: u8,
    pub(super) data: u8,
    pub(super) machine: u16,
}

impl Arch {
    pub(super) fn is_64(self) -> bool {
        self.class == ELFCLASS64
    }

    pub(super) fn is_little_endian(self) -> bool {
        self.data == ELFDATA2LSB
    }
}

/// The needs of one ELF executable or shared object; all strings as they are in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elf {
    pub(super) arch: Arch,
    pub(super) interpreter: Option<Vec<u8>>,
    pub(super) needed: Vec<Vec<u8>>,
    pub(super) soname: Option<Vec<u8>>,
    /// `None` too when there is a RUNPATH, because then loaders ignore it.
    pub(super) rpath: Option<Vec<u8>>,
    pub(super) runpath: Option<Vec<u8>>,
    /// DF_1_NODEFLIB: the default directories are not for this object's needs.
    pub(super) no_default_directories: bool,
    /// What it declares to load while it runs.
    pub(super) dlopens: Vec<Dlopen>,
    /// Whether it ends threads, for which glibc loads `libgcc_s.so.1` at that moment or aborts.
    pub(super) ends_threads: bool,
    /// Whether it asks libc to convert text from one character set to another.
    pub(super) converts_text: bool,
}

/// Why the needs of a file are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum ElfError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is not a valid ELF file: {0}")]
    Malformed(&'static str),
}

use ElfError::Malformed;

/// The needs of the ELF file `source`; `None` when it is not ELF, or neither an executable nor a shared object.
pub(super) fn parse(source: &impl ReadAt) -> Result<Option<Elf>, ElfError> {
    let head = read(source, 0, 64)?;
    if !head.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let header = goblin::elf::Elf::parse_header(&head).map_err(|_| Malformed("its header is cut short"))?;
    if !matches!(header.e_type, ET_EXEC | ET_DYN) {
        return Ok(None);
    }
    let arch = Arch { class: header.e_ident[EI_CLASS], data: header.e_ident[EI_DATA], machine: header.e_machine };
    let container = match arch.class {
        ELFCLASS32 => Container::Little,
        ELFCLASS64 => Container::Big,
        _ => return Err(Malformed("its class is unknown")),
    };
    let endian = if arch.is_little_endian() { Endian::Little } else { Endian::Big };
    let context = Ctx::new(container, endian);
    let segments = segments(source, &header, context)?;

    let mut elf = Elf {
        arch,
        interpreter: None,
        needed: Vec::new(),
        soname: None,
        rpath: None,
        runpath: None,
        no_default_directories: false,
        dlopens: Vec::new(),
        ends_threads: false,
        converts_text: false,
    };
    if let Some(segment) = segments.iter().find(|s| s.p_type == PT_INTERP) {
        let path = read(source, segment.p_offset, segment.p_filesz.min(MAX_STRING as u64))?;
        elf.interpreter = Some(until_nul(&path).to_vec()).filter(|path| !path.is_empty());
    }
    let mut budget = MAX_NOTES;
    for segment in segments.iter().filter(|s| s.p_type == PT_NOTE) {
        let notes = read(source, segment.p_offset, segment.p_filesz.min(budget))?;
        budget -= notes.len() as u64;
        elf.dlopens.extend(dlopen_note::parse(&notes, arch.is_little_endian(), segment.p_align));
    }
    elf.dlopens.truncate(MAX_DLOPENS);
    if let Some(segment) = segments.iter().find(|s| s.p_type == PT_DYNAMIC) {
        dynamic(source, segment, &segments, &mut elf)?;
    }
    Ok(Some(elf))
}

fn segments(source: &impl ReadAt, header: &Header, context: Ctx) -> Result<Vec<ProgramHeader>, ElfError> {
    if header.e_phnum > MAX_PROGRAM_HEADERS {
        return Err(Malformed("it has too many program headers"));
    }
    let size = ProgramHeader::size(context);
    if header.e_phnum > 0 && usize::from(header.e_phentsize) != size {
        return Err(Malformed("its program headers have an unknown size"));
    }
    let count = usize::from(header.e_phnum);
    let table = read(source, header.e_phoff, (count * size) as u64)?;
    ProgramHeader::parse(&table, 0, count, context).map_err(|_| Malformed("its program headers are cut short"))
}

fn dynamic(
    source: &impl ReadAt,
    segment: &ProgramHeader,
    segments: &[ProgramHeader],
    elf: &mut Elf,
) -> Result<(), ElfError> {
    let table = read(source, segment.p_offset, segment.p_filesz.min(MAX_DYNAMIC))?;
    let word = if elf.arch.is_64() { 8 } else { 4 };
    let tags: Vec<(u64, u64)> = table
        .chunks_exact(2 * word)
        .map(|pair| (number(&pair[..word], elf.arch), number(&pair[word..], elf.arch)))
        .take_while(|&(tag, _)| tag != 0)
        .collect();
    let value = |wanted: u64| tags.iter().rev().find(|&&(tag, _)| tag == wanted).map(|&(_, value)| value);

    elf.no_default_directories = value(DT_FLAGS_1).is_some_and(|flags| flags & DF_1_NODEFLIB != 0);
    let wants_strings = |&&(tag, _): &&(u64, u64)| matches!(tag, DT_NEEDED | DT_SONAME | DT_RPATH | DT_RUNPATH);
    if !tags.iter().any(|tag| wants_strings(&tag)) {
        return Ok(());
    }
    let strings = value(DT_STRTAB)
        .and_then(|address| file_offset(segments, address))
        .ok_or(Malformed("its string table is in no segment"))?;
    let size = value(DT_STRSZ).ok_or(Malformed("its string table has no size"))?;
    let text = |index: u64, limit: usize| -> Result<Vec<u8>, ElfError> {
        let room = size.checked_sub(index).ok_or(Malformed("a name is outside its string table"))?;
        let offset = strings.checked_add(index).ok_or(Malformed("a name is outside the file"))?;
        let bytes = read(source, offset, room.min(limit as u64))?;
        match bytes.iter().position(|&b| b == 0) {
            Some(end) => Ok(bytes[..end].to_vec()),
            None => Err(Malformed("a name does not end")),
        }
    };
    for &(tag, index) in &tags {
        match tag {
            DT_NEEDED if elf.needed.len() == MAX_NEEDED => return Err(Malformed("it needs too many libraries")),
            DT_NEEDED => elf.needed.push(text(index, MAX_STRING)?),
            DT_SONAME => elf.soname = Some(text(index, MAX_STRING)?),
            DT_RPATH => elf.rpath = Some(text(index, MAX_SEARCH_PATH)?),
            DT_RUNPATH => elf.runpath = Some(text(index, MAX_SEARCH_PATH)?),
            _ => {}
        }
    }
    if elf.runpath.is_some() {
        elf.rpath = None;
    }
    // Only who imports these names from libc: libc itself needs no libgcc unless somebody calls it.
    if elf.needed.iter().any(|name| name == b"libc.so.6" || name == b"libpthread.so.0") {
        let names = read(source, strings, size.min(MAX_STRING_TABLE))?;
        let ends_threads = |name: &[u8]| name == b"pthread_exit" || name == b"pthread_cancel";
        elf.ends_threads = names.split(|&b| b == 0).any(ends_threads);
        elf.converts_text = names.split(|&b| b == 0).any(|name| name == b"iconv_open");
    }
    Ok(())
}

/// Where the loader's `address` is in the file.
fn file_offset(segments: &[ProgramHeader], address: u64) -> Option<u64> {
    segments.iter().filter(|s| s.p_type == PT_LOAD).find_map(|s| {
        let within = address.checked_sub(s.p_vaddr).filter(|&within| within < s.p_filesz)?;
        s.p_offset.checked_add(within)
    })
}

/// Up to `length` bytes at `offset`. Memory grows with what the file has, not with what it says it has.
fn read(source: &impl ReadAt, offset: u64, length: u64) -> Result<Vec<u8>, ElfError> {
    const STEP: u64 = 64 << 10;
    let mut out = Vec::new();
    while (out.len() as u64) < length {
        let start = out.len();
        out.resize(start + (length - start as u64).min(STEP) as usize, 0);
        let wanted = out.len() - start;
        let done = source.read_at(&mut out[start..], offset.saturating_add(start as u64))?;
        if done < wanted {
            out.truncate(start + done);
            break;
        }
    }
    Ok(out)
}

fn number(bytes: &[u8], arch: Arch) -> u64 {
    let shift = |n: u64, &b: &u8| n << 8 | u64::from(b);
    if arch.is_little_endian() { bytes.iter().rev().fold(0, shift) } else { bytes.iter().fold(0, shift) }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl ReadAt for &[u8] {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        }
    }

    /// A 64-bit little-endian shared object with one PT_LOAD over everything, an interpreter and dynamic entries.
    fn image(strings: &[u8], tags: &[(u64, u64)]) -> Vec<u8> {
        let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let interpreter = b"/lib64/ld.so\0";
        let dynamic_at = 64 + 3 * 56;
        let all_tags = [tags, &[(DT_STRTAB, 0), (DT_STRSZ, strings.len() as u64), (0, 0)]].concat();
        let strings_at = (dynamic_at + all_tags.len() * 16) as u64;
        let interpreter_at = strings_at + strings.len() as u64;
        out.extend([3, 0, 62, 0, 1, 0, 0, 0]);
        for field in [0u64, 64, 0] {
            out.extend(field.to_le_bytes());
        }
        out.extend([0, 0, 0, 0, 64, 0, 56, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        let mut segment = |kind: u32, at: u64, size: u64| {
            out.extend(kind.to_le_bytes());
            out.extend([4, 0, 0, 0]);
            for field in [at, at, at, size, size, 8] {
                out.extend(field.to_le_bytes());
            }
        };
        segment(PT_LOAD, 0, interpreter_at);
        segment(PT_DYNAMIC, dynamic_at as u64, strings_at - dynamic_at as u64);
        segment(PT_INTERP, interpreter_at, interpreter.len() as u64);
        for (tag, value) in all_tags {
            out.extend(tag.to_le_bytes());
            out.extend((if tag == DT_STRTAB { strings_at } else { value }).to_le_bytes());
        }
        out.extend(strings);
        out.extend(interpreter);
        out
    }

    fn sample() -> Vec<u8> {
        let strings = b"\0libc.so.6\0libx.so\0/opt/lib\0pthread_exit\0";
        image(strings, &[(DT_NEEDED, 1), (DT_SONAME, 11), (DT_RUNPATH, 19), (DT_FLAGS_1, DF_1_NODEFLIB)])
    }

    #[test]
    fn headers_say_what_is_needed() {
        let elf = parse(&&sample()[..]).unwrap().unwrap();
        assert_eq!(elf.arch, Arch { class: 2, data: 1, machine: 62 });
        assert_eq!(elf.interpreter.as_deref(), Some(&b"/lib64/ld.so"[..]));
        assert_eq!(elf.needed, [b"libc.so.6"]);
        assert_eq!(elf.soname.as_deref(), Some(&b"libx.so"[..]));
        assert_eq!((elf.rpath, elf.runpath.as_deref()), (None, Some(&b"/opt/lib"[..])));
        assert!(elf.no_default_directories && elf.ends_threads);
    }

    #[test]
    fn a_runpath_hides_the_rpath() {
        let elf = parse(&&image(b"\0a\0b\0", &[(DT_RUNPATH, 1), (DT_RPATH, 3)])[..]).unwrap().unwrap();
        assert_eq!((elf.rpath, elf.runpath), (None, Some(b"a".to_vec())));
    }

    #[test]
    fn other_files_have_no_needs() {
        for other in
            [&b""[..], b"#!/bin/sh\n", b"\x7fEL", b"not an ELF file but long enough to be mistaken for one, perhaps"]
        {
            assert!(parse(&other).unwrap().is_none());
        }
    }

    #[test]
    fn contradictions_are_errors() {
        let cases: [(Vec<u8>, &str); 4] = [
            (sample()[..40].to_vec(), "its header is cut short"),
            (sample()[..100].to_vec(), "its program headers are cut short"),
            (image(b"\0a", &[(DT_NEEDED, 1)]), "a name does not end"),
            (image(b"\0a\0", &[(DT_NEEDED, 99)]), "a name is outside its string table"),
        ];
        for (bytes, expected) in cases {
            let error = parse(&&bytes[..]).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error} instead of {expected}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn mutated_files_never_panic(
            changes in proptest::collection::vec((0usize..400, any::<u8>()), 1..12),
            cut in proptest::option::of(0usize..400),
        ) {
            let mut bytes = sample();
            for (at, value) in changes {
                let length = bytes.len();
                bytes[at % length] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut);
            }
            if let Ok(Some(elf)) = parse(&&bytes[..]) {
                prop_assert!(elf.needed.len() <= MAX_NEEDED);
            }
        }

        #[test]
        fn memory_follows_what_there_is(offset: u64, length in prop_oneof![any::<u64>(), Just(u64::MAX)]) {
            let bytes = sample();
            let out = read(&&bytes[..], offset % 600, length).unwrap();
            prop_assert!(out.capacity() <= 2 * (64 << 10));
            prop_assert!(out.len() <= bytes.len());
        }
    }
}
