//! What scripts need: who interprets them, and what they name.

use super::Rules;
use crate::base::{ImagePath, Shebang, escape_bytes};
use crate::closure::{ClosureError, Reason, named, perl, script};
use crate::image::{Entry, EntryKind};

impl Rules<'_> {
    pub(super) fn script(&mut self, path: &ImagePath, shebang: &Shebang) -> Result<(), ClosureError> {
        let reason = Reason::Interpreter(path.clone());
        let interpreter = self.execution.absolute(&shebang.interpreter);
        // What nobody has started, nobody starts in the base either, if that has nothing to start it with.
        let is_missed = !self.is_in_passing(path);
        if self.kept.require(&interpreter, reason.clone())?.is_none() && is_missed {
            let name = escape_bytes(&shebang.interpreter);
            self.warnings.insert(format!("{path} needs {name}, which is not in the base"));
        }
        if let Some(program) = shebang.env_program() {
            match self.execution.find_program(self.rootfs, &program)? {
                Some(program) => {
                    self.kept.require(&program, reason)?;
                }
                None if !is_missed => {}
                None => {
                    let name = escape_bytes(&program);
                    self.warnings.insert(format!("{path} needs {name}, which is not in the base"));
                }
            }
        }
        if script::is_shell(shebang) && !self.is_probe_tool(path) {
            self.commands(path)?;
        }
        if script::is_interpreted_by(shebang, perl::is_interpreter) {
            self.modules(path)?;
        }
        Ok(())
    }

    /// What a Perl source names: see [`perl`].
    pub(super) fn modules(&mut self, path: &ImagePath) -> Result<(), ClosureError> {
        if !self.is_probe_tool(path) {
            for module in self.perl.needs_of(path)? {
                self.kept.require(module.as_bytes(), Reason::Script(path.clone()))?;
            }
        }
        Ok(())
    }

    /// The programs that a shell script names, and the files that it reads into itself, with what these name: which of
    /// its branches are taken, the next start decides.
    fn commands(&mut self, path: &ImagePath) -> Result<(), ClosureError> {
        let is_bystander = self.is_bystander(path);
        let mut pending = vec![path.clone()];
        while let Some(path) = pending.pop() {
            let is_text = |entry: Entry| matches!(entry.kind, EntryKind::File { size, .. } if size <= script::MOST);
            if !self.rootfs.lookup(&path)?.is_some_and(is_text) || !self.scripts.insert((path.clone(), is_bystander)) {
                continue;
            }
            let text = self.rootfs.read(&path)?;
            let text = String::from_utf8_lossy(&text);
            for name in script::commands(&text) {
                if let Some(program) = self.execution.find_program(self.rootfs, name.as_bytes())? {
                    if is_bystander && !named::is_small_tool(self.rootfs, &program)? {
                        continue;
                    }
                    self.kept.require(&program, Reason::Script(path.clone()))?;
                }
            }
            for name in script::included(&text) {
                // A `#!` line in it counts for nothing: the shell that reads it is there.
                pending.extend(self.included(&path, &name)?);
            }
        }
        Ok(())
    }

    /// The file that the shell script at `path` reads into itself by `name`: from the root, from where the script lies, or
    /// from the directory above.
    fn included(&mut self, path: &ImagePath, name: &str) -> Result<Option<ImagePath>, ClosureError> {
        for directory in path.ancestors().take(2) {
            let beside = [directory.as_bytes(), name.as_bytes()].join(&b'/');
            let written = if name.starts_with('/') { name.as_bytes() } else { &beside };
            let walk = self.rootfs.resolve(written, true)?;
            if walk.entry.is_some_and(|entry| entry.is_file()) {
                self.kept.require(written, Reason::Script(path.clone()))?;
                return Ok(Some(walk.end));
            }
        }
        Ok(None)
    }
}
