//! What the kernel opens by itself for a program: the chain of its interpreters, its loader, a handler of binfmt_misc.

use std::io;

use super::{Ask, Recorder};
use crate::base::ImagePath;
use crate::observation::Operation;
use crate::tracer::fold::{ExecutableId, User};
use crate::tracer::interpreter::{Interpreter, interpreter};
use crate::tracer::names::Seen;
use crate::tracer::resolve::{Chain, End};
use crate::tracer::tasks::Task;

/// Interpreters of interpreters that the kernel follows.
const MAX_INTERPRETERS: usize = 5;

impl Recorder {
    /// Records the program that `task` is about to execute, and keeps where it is.
    pub fn exec(&mut self, id: i32, task: &mut Task, ask: &Ask, path: &[u8]) -> io::Result<()> {
        task.executing = None;
        let Some(asker) = self.asker(id, task, ask, path)? else { return Ok(()) };
        let chain = self.resolver(id)?.walk(&asker, path, ask.follow)?;
        let mut user = self.user(task);
        if task.executable == ExecutableId::UNKNOWN
            && let Some(end) = chain.end.as_ref().filter(|end| end.resolved())
        {
            // The first program of a process tree is there because of itself.
            let program = self.image_path(id, end)?;
            user.executable = self.fold.executable(&program);
        }
        for hit in self.hits(&chain, ask.operation) {
            self.fold.add(hit.path, hit.operation, hit.resolved, &user);
        }
        task.executing = chain.end.filter(End::resolved);
        Ok(())
    }

    /// Records what the kernel opened for the program that `task` has just begun to execute. Returns its executable.
    pub fn executed(&mut self, id: i32, task: &mut Task) -> io::Result<Option<ImagePath>> {
        let mut next = task.executing.take();
        let asked = next.clone();
        let Some(resolver) = &mut self.resolver else { return Ok(None) };
        let exe = match resolver.descriptor(id, "exe") {
            // A program that its user may execute and not read is closed to a tracer without rights over it.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
                self.gap("closed_process");
                return Ok(None);
            }
            other => other?,
        };
        let exe = exe.map(|name| End { name, below: Vec::new(), seen: Seen::Other });
        let executable = match &exe {
            Some(end) => Some(self.image_path(id, end)?),
            None => None,
        };
        if let Some(executable) = &executable {
            task.executable = self.fold.executable(executable);
        }
        let user = self.user(task);
        let mut last = None;
        for _ in 0..MAX_INTERPRETERS {
            let Some(end) = next.take() else { break };
            last = Some(end.clone());
            next = self.load(id, task, &end, &user)?;
        }
        // Neither the file asked for nor one it names: a handler of binfmt_misc.
        if let Some(exe) = exe
            && asked.as_ref() != Some(&exe)
            && !self.is_loaded(&exe, last.as_ref())
        {
            let chain = Chain { end: Some(exe.clone()), ..Chain::default() };
            for hit in self.hits(&chain, Operation::Load) {
                self.fold.add(hit.path, hit.operation, hit.resolved, &user);
            }
            self.load(id, task, &exe, &user)?;
        }
        Ok(executable)
    }

    fn is_loaded(&self, exe: &End, last: Option<&End>) -> bool {
        last.is_some_and(|last| last.name == exe.name)
    }

    /// Records the interpreter of the file at `end`. Returns where it is, when it may have one of its own.
    fn load(&mut self, id: i32, task: &mut Task, end: &End, user: &User) -> io::Result<Option<End>> {
        let Some(file) = self.resolver(id)?.names.open(end.name)? else { return Ok(None) };
        let Some(found) = interpreter(&file).unwrap_or(None) else { return Ok(None) };
        let (Interpreter::Script(path) | Interpreter::Elf(path)) = &found;
        let Some(asker) = self.asker(id, task, &Ask::LOAD, path)? else { return Ok(None) };
        let chain = self.resolver(id)?.walk(&asker, path, true)?;
        for hit in self.hits(&chain, Operation::Load) {
            self.fold.add(hit.path, hit.operation, hit.resolved, user);
        }
        Ok(chain.end.filter(|end| end.resolved() && matches!(found, Interpreter::Script(_))))
    }
}
