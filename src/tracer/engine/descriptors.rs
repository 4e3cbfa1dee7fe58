//! What a call means for the table of descriptors of its task: see [`OpenFiles`](crate::tracer::open_files::OpenFiles).

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::tracer::engine::{CLONE_FILES, Engine, Next};
use crate::tracer::memory::read_exact;
use crate::tracer::syscalls::Call;
use crate::tracer::tasks::{Awaited, Task};

const CLOSE_RANGE_UNSHARE: u64 = 2;
/// A socket with one of these set has a name from the first message on that it sends.
const NAMING: [u64; 2] = [16, 76]; // SO_PASSCRED, SO_PASSPIDFD

impl Engine {
    /// The call may put a directory at any number.
    pub(super) fn renumber(&mut self, id: i32) {
        if let Some(task) = self.tasks.get_mut(&id) {
            self.recorder.renumber(task);
        }
    }

    /// From now on descriptors may arrive by message where `id` could pass on what it has.
    pub(super) fn receive(&mut self, id: i32) {
        if let Some(task) = self.tasks.get(&id) {
            task.files.borrow().peers().receive();
        }
    }

    /// A call after which descriptors may arrive by message.
    pub(super) fn may_receive(&mut self, id: i32, call: &Call, arguments: &[u64; 6]) {
        match call.name {
            "setsockopt" => self.socket_option(id, arguments[1], arguments[2]),
            "pidfd_getfd" => {
                self.renumber(id);
                self.receive(id);
            }
            _ => self.receive(id),
        }
    }

    pub(super) fn socket_option(&mut self, id: i32, level: u64, option: u64) {
        if level as i32 == libc::SOL_SOCKET && NAMING.contains(&(option & u64::from(u32::MAX))) {
            self.receive(id);
        }
    }

    /// A socket gets a name, or a peer unless the call fails, and then descriptors may arrive there if it is of the unix
    /// family: as the `address` says.
    pub(super) fn joins(&mut self, id: i32, bind: bool, address: u64, next: Next) -> Next {
        let mut family = [0; 2];
        let unix =
            read_exact(id, address, &mut family).is_none() || i32::from(u16::from_le_bytes(family)) == libc::AF_UNIX;
        let Some(task) = self.tasks.get_mut(&id).filter(|_| unix) else { return next };
        if task.files.borrow().peers().may_receive() {
            return next;
        }
        match next {
            // Most fail, because nobody listens there: a C library asks for the daemon that caches names of users.
            Next::Go if !bind => {
                self.recorder.renumber(task);
                Next::GoToExit(Awaited::Connect)
            }
            next => {
                self.receive(id);
                next
            }
        }
    }

    /// The task asks for a table of its own: `unshare`, `close_range`.
    pub(super) fn unshares(&mut self, id: i32) -> Next {
        let Some(task) = self.tasks.get_mut(&id) else { return Next::Go };
        if Rc::strong_count(&task.files) == 1 && task.files.borrow().is_certain() {
            return Next::Go;
        }
        self.recorder.renumber(task);
        Next::GoToExit(Awaited::Unshare)
    }

    /// How the call goes on is not known: another result is waited for.
    pub(super) fn unawaited(&mut self, id: i32, next: &Next) {
        match next {
            Next::GoToExit(Awaited::Connect) => self.receive(id),
            Next::GoToExit(Awaited::Unshare) => {
                if let Some(task) = self.tasks.get_mut(&id) {
                    // In truth it may have its own, and who had it with this task has another then.
                    task.files.borrow().peers().receive();
                }
            }
            _ => {}
        }
    }

    /// The call has returned, or its task is dead.
    pub(super) fn conclude_files(&mut self, id: i32, awaited: &Awaited, result: Option<i64>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        match (awaited, result) {
            (Awaited::Connect, Some(error)) if error < 0 && !is_under_way(error) => {}
            (Awaited::Connect, _) => task.files.borrow().peers().receive(),
            (Awaited::Unshare, Some(0)) => {
                let own = task.files.borrow().own(false);
                task.files = Rc::new(RefCell::new(own));
            }
            _ => {}
        }
    }
}

/// Whether the two flags that make a call one of [`Engine::unshares`] are set in its arguments.
pub(super) fn unshares(call: &Call, arguments: &[u64; 6]) -> bool {
    match call.name {
        "close_range" => arguments[2] & CLOSE_RANGE_UNSHARE != 0,
        _ => arguments[0] & CLONE_FILES != 0,
    }
}

fn is_under_way(error: i64) -> bool {
    [libc::EINPROGRESS, libc::EALREADY].iter().any(|&errno| error == -i64::from(errno))
}

/// `task` has begun to execute a program: nobody shares its descriptors, and some were closed.
pub(super) fn executed(id: i32, task: &mut Task) {
    let own = {
        let files = task.files.borrow();
        files.own(files.peers().may_receive() && !may_receive(id).unwrap_or(true))
    };
    task.files = Rc::new(RefCell::new(own));
}

/// Whether the stopped task has a descriptor by which others may arrive: any socket, or a group of fanotify.
fn may_receive(id: i32) -> io::Result<bool> {
    for entry in std::fs::read_dir(format!("/proc/{id}/fd"))? {
        let text = std::fs::read_link(entry?.path())?;
        let text = text.as_os_str().as_encoded_bytes();
        if [&b"socket:"[..], b"anon_inode:[fanotify]", b"anon_inode:[io_uring]"]
            .iter()
            .any(|kind| text.starts_with(kind))
        {
            return Ok(true);
        }
    }
    Ok(false)
}
