//! What the run used, what the image is told to run, and what has to be there next time because of it.

use super::Rules;
use crate::base::{ImagePath, escape_bytes};
use crate::closure::script::shell_programs;
use crate::closure::{ClosureError, Reason};
use crate::observation::{Found, Operation};

impl Rules<'_> {
    /// What the run used, and the command itself.
    pub(super) fn observed(&mut self) -> Result<(), ClosureError> {
        for (path, record) in self.observation.paths.iter() {
            if record.found == Found::Absent {
                if record.operations.iter().any(|operation| operation.creates()) {
                    self.directory_to_write_in(path)?;
                }
                continue;
            }
            if record.probe_tool {
                self.kept.require(path.as_bytes(), Reason::ProbeTool)?;
                continue;
            }
            if let Some(language) = record.exerciser() {
                self.kept.require(path.as_bytes(), Reason::Exercise(language.into()))?;
                continue;
            }
            for &operation in &record.operations {
                self.kept.require(path.as_bytes(), Reason::Access(operation))?;
            }
            if record.operations.contains(&Operation::Rename) {
                self.moved(path)?;
            }
        }
        if let Some(program) = self.execution.command.first() {
            match self.execution.find_program(self.rootfs, program)? {
                Some(path) => {
                    self.kept.require(&path, Reason::Access(Operation::Exec))?;
                }
                None => {
                    // Of what is looked up by PATH nobody knows where it should have been.
                    let hint = if program.contains(&b'/') {
                        "\nhint: a volume that brings it has to be there at every start; of the programs that it names the image has \
                         those that the run started: --keep-exe NAME keeps others"
                    } else {
                        ""
                    };
                    let name = escape_bytes(program);
                    self.warnings.insert(format!("the command {name} is not in the base{hint}"));
                }
            }
        }
        Ok(())
    }

    /// What lay in a directory that got another name was used under that one, which the base does not have.
    fn moved(&mut self, path: &ImagePath) -> Result<(), ClosureError> {
        self.kept.require(path.as_bytes(), Reason::Access(Operation::Rename))?;
        if self.rootfs.lookup(path)?.is_some_and(|entry| entry.is_dir()) {
            for name in self.rootfs.list(path)? {
                if let Ok(child) = path.child(&name) {
                    self.moved(&child)?;
                }
            }
        }
        Ok(())
    }

    /// What the application made, it made in a directory that has to be there next time.
    fn directory_to_write_in(&mut self, made: &ImagePath) -> Result<(), ClosureError> {
        for directory in made.ancestors() {
            if self.kept.require(directory.as_bytes(), Reason::Written(made.clone()))?.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// What HEALTHCHECK runs: the program, and the programs that a shell line names.
    pub(super) fn healthcheck(&mut self) -> Result<(), ClosureError> {
        let Some((program, arguments)) = self.execution.healthcheck.split_first() else { return Ok(()) };
        let is_shell = arguments.len() > 1 && arguments[0].starts_with('-');
        let inner = arguments.last().filter(|_| is_shell).map(|line| shell_programs(line)).unwrap_or_default();
        for name in [program.clone()].iter().chain(&inner) {
            match self.execution.find_program(self.rootfs, name.as_bytes())? {
                Some(path) => {
                    self.kept.require(&path, Reason::Healthcheck)?;
                }
                None if name == program => {
                    self.warnings.insert(format!("HEALTHCHECK runs {name}, which is not in the base"));
                }
                // What looks like a program in a shell line need not be one.
                None => {}
            }
        }
        Ok(())
    }
}
