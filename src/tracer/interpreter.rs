//! What the kernel opens by itself when a file is executed: the interpreter of a script, the loader of an ELF file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use goblin::container::{Container, Ctx};
use goblin::elf::Elf;
use goblin::elf::program_header::{PT_INTERP, ProgramHeader};

use crate::base::Shebang;

/// Longest PT_INTERP the kernel takes (`PATH_MAX`).
const PATH_MAX: u64 = 4096;

/// The path of an interpreter, as the file has it: relative ones count from the current directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interpreter {
    /// Named after `#!`; it may have one of its own.
    Script(Vec<u8>),
    /// PT_INTERP.
    Elf(Vec<u8>),
}

/// The interpreter of `file`; `None` when it has none or is neither a script nor ELF.
pub fn interpreter(file: &File) -> io::Result<Option<Interpreter>> {
    let mut start = [0; Shebang::LONGEST];
    let n = read_up_to(file, &mut start, 0)?;
    let start = &start[..n];
    if start.starts_with(b"#!") {
        return Ok(Shebang::parse(start).map(|line| Interpreter::Script(line.interpreter)));
    }
    let Ok(header) = Elf::parse_header(start) else { return Ok(None) };
    let (Ok(container), Ok(endianness)) = (header.container(), header.endianness()) else { return Ok(None) };
    let context = Ctx::new(container, endianness);
    let size = if container == Container::Big { 56 } else { 32 };
    let mut table = vec![0; usize::from(header.e_phnum) * size];
    if read_up_to(file, &mut table, header.e_phoff)? < table.len() {
        return Ok(None);
    }
    let Ok(headers) = ProgramHeader::parse(&table, 0, usize::from(header.e_phnum), context) else { return Ok(None) };
    let Some(segment) = headers.iter().find(|h| h.p_type == PT_INTERP) else { return Ok(None) };
    if segment.p_filesz > PATH_MAX {
        return Ok(None);
    }
    let mut path = vec![0; segment.p_filesz as usize];
    let n = read_up_to(file, &mut path, segment.p_offset)?;
    path.truncate(path[..n].iter().position(|&b| b == 0).unwrap_or(n));
    Ok((!path.is_empty()).then_some(Interpreter::Elf(path)))
}

fn read_up_to(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < out.len() {
        match file.read_at(&mut out[done..], offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn of(bytes: &[u8]) -> Option<Interpreter> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        interpreter(&file).unwrap()
    }

    #[test]
    fn scripts_name_their_interpreter() {
        for (text, expected) in [
            ("#!/bin/sh\n", Some("/bin/sh")),
            ("#! /usr/bin/env python3\nimport x\n", Some("/usr/bin/env")),
            ("#!\t/bin/sh -e", Some("/bin/sh")),
            ("#!bin/relative", Some("bin/relative")),
            ("#!\n/bin/sh", None),
            ("echo", None),
            ("", None),
        ] {
            let expected = expected.map(|path| Interpreter::Script(path.into()));
            assert_eq!(of(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn programs_name_their_loader() {
        let this = std::env::current_exe().unwrap();
        let Some(Interpreter::Elf(path)) = interpreter(&File::open(this).unwrap()).unwrap() else { panic!() };
        assert!(path.starts_with(b"/lib"), "{path:?}");
    }

    #[test]
    fn broken_files_have_none() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for len in [4, 16, 63, 64, 100] {
            assert_eq!(of(&this[..len]), None, "{len}");
        }
    }
}
