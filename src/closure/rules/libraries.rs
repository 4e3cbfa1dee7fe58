//! What programs and libraries of machine code need: their loader, and the libraries that it finds for them.

use super::Rules;
use crate::base::ImagePath;
use crate::closure::loader::{self, Flavor, Process};
use crate::closure::{ClosureError, Reason};

impl Rules<'_> {
    pub(super) fn executable(&mut self, path: &ImagePath) -> Result<(), ClosureError> {
        let Some(mut process) = self.process(path)? else { return Ok(()) };
        self.require_uses(&mut process)?;
        // Whoever uses the loader reads these, if they are there.
        let mut files = match process.flavor() {
            Flavor::Glibc => vec![loader::CACHE.to_owned(), loader::PRELOAD.to_owned()],
            Flavor::Musl => Vec::new(),
        };
        let interpreter = self.contents.elf(path)?.and_then(|elf| elf.interpreter.clone());
        files.extend(interpreter.and_then(|interpreter| loader::path_file(&interpreter)));
        for file in files {
            self.kept.require(file.as_bytes(), Reason::Runtime)?;
        }
        Ok(())
    }

    /// What the library at `real`, loaded by the name `path`, needs: in each process that used it, or by itself when
    /// nobody knows who loads it.
    pub(super) fn shared_library(&mut self, path: &ImagePath, real: &ImagePath) -> Result<(), ClosureError> {
        let Some(elf) = self.contents.elf(real)? else { return Ok(()) };
        if elf.interpreter.is_some() || elf.needed.is_empty() && elf.dlopens.is_empty() {
            return Ok(());
        }
        let observation = self.observation;
        let users = observation.paths.get(path).map(|record| &record.executables);
        let mut is_known = false;
        for user in users.into_iter().flatten() {
            let user = self.rootfs.resolve(user.as_bytes(), true)?;
            if !user.entry.is_some_and(|entry| entry.is_file()) {
                continue;
            }
            let Some(process) = self.process(&user.end)?.filter(|process| process.arch() == elf.arch) else { continue };
            is_known = true;
            if !process.has(real) {
                self.open(Some(process), path, real)?;
            }
        }
        if !is_known && !self.loaded.contains(real) {
            self.open(None, path, real)?;
        }
        Ok(())
    }

    fn open(&mut self, process: Option<Process>, path: &ImagePath, real: &ImagePath) -> Result<(), ClosureError> {
        match self.loader.open(&mut self.contents, process, path, real)? {
            Some(mut process) => self.require_uses(&mut process),
            None => Ok(()),
        }
    }

    fn require_uses(&mut self, process: &mut Process) -> Result<(), ClosureError> {
        self.loaded.extend(process.files().cloned());
        for (path, reason) in process.take_uses() {
            self.kept.require(&path, reason)?;
        }
        Ok(())
    }

    pub(super) fn process(&mut self, main: &ImagePath) -> Result<Option<Process>, ClosureError> {
        if let Some(process) = self.processes.get(main) {
            return Ok(process.clone());
        }
        let process = self.loader.start(&mut self.contents, main)?;
        self.processes.insert(main.clone(), process.clone());
        Ok(process)
    }
}
