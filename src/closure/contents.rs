//! What regular files are, as far as it decides what else they need. Each file is opened once.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::base::{ImagePath, Shebang};
use crate::closure::ClosureError;
use crate::closure::elf::{self, Elf, ElfError, ReadAt};
use crate::image::{Rootfs, RootfsError};

/// The kind of a regular file.
#[derive(Clone)]
pub(super) enum Content {
    /// An ELF executable or shared object.
    Elf(Rc<Elf>),
    /// It begins with a `#!` line.
    Script(Shebang),
    /// It begins as an ELF file and makes no sense.
    Malformed(String),
    /// Anything else.
    Other,
}

/// The names of the libraries that the file at `path` asks for (`DT_NEEDED`), where links lead; none of what is no ELF
/// file.
///
/// # Errors
/// When the rootfs cannot be looked at.
pub fn needed_by(rootfs: &Rootfs, path: &ImagePath) -> Result<Vec<Vec<u8>>, ClosureError> {
    let walk = rootfs.resolve(path.as_bytes(), true)?;
    if !walk.entry.is_some_and(|entry| entry.is_file()) {
        return Ok(Vec::new());
    }
    let elf = Contents::new(rootfs).elf(&walk.end)?;
    Ok(elf.map_or_else(Vec::new, |elf| elf.needed.clone()))
}

/// The kinds of the files of a rootfs, found out as they are asked for.
pub(super) struct Contents<'a> {
    rootfs: &'a Rootfs,
    known: BTreeMap<ImagePath, Content>,
}

impl<'a> Contents<'a> {
    pub(super) fn new(rootfs: &'a Rootfs) -> Self {
        Contents { rootfs, known: BTreeMap::new() }
    }

    /// What the regular file at `path` is; `path` has no links.
    pub(super) fn of(&mut self, path: &ImagePath) -> Result<Content, ClosureError> {
        if let Some(content) = self.known.get(path) {
            return Ok(content.clone());
        }
        let content = self.examine(path)?;
        self.known.insert(path.clone(), content.clone());
        Ok(content)
    }

    /// The ELF file at `path`; `None` when it is something else.
    pub(super) fn elf(&mut self, path: &ImagePath) -> Result<Option<Rc<Elf>>, ClosureError> {
        Ok(match self.of(path)? {
            Content::Elf(elf) => Some(elf),
            _ => None,
        })
    }

    fn examine(&self, path: &ImagePath) -> Result<Content, ClosureError> {
        let unreadable = |cause| ClosureError::Read { path: path.clone(), cause };
        let file = match self.rootfs.open(path) {
            // What needs it nobody can know who may not read it. If the image is to have it, the selection says so, of
            // this and of all others like it.
            Err(RootfsError::File { cause, .. }) if cause.kind() == std::io::ErrorKind::PermissionDenied => {
                return Ok(Content::Other);
            }
            opened => opened?,
        };
        let mut head = vec![0; Shebang::LONGEST];
        let length = file.read_at(&mut head, 0).map_err(unreadable)?;
        head.truncate(length);
        if let Some(shebang) = Shebang::parse(&head) {
            return Ok(Content::Script(shebang));
        }
        if !head.starts_with(b"\x7fELF") {
            return Ok(Content::Other);
        }
        match elf::parse(&file) {
            Ok(Some(elf)) => Ok(Content::Elf(Rc::new(elf))),
            Ok(None) => Ok(Content::Other),
            Err(ElfError::Io(cause)) => Err(unreadable(cause)),
            Err(malformed) => Ok(Content::Malformed(malformed.to_string())),
        }
    }
}
