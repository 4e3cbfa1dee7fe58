//! What a run tells while it goes on.

use std::net::SocketAddr;

use crate::base::ImagePath;

pub use super::wait::End;

/// Whose process it is; children inherit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// The application.
    Application,
    /// A command that a probe has started beside it.
    Probe,
    /// A command that only looks at the application from beside it: what it uses is not recorded.
    Observer,
}

/// Something that happened. Process ids are those of the tracer's PID namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `listen` succeeded.
    Listening {
        /// The task.
        pid: i32,
        /// Whose it is.
        tree: Tree,
        /// Where, if it is an internet address.
        address: Option<SocketAddr>,
    },
    /// `bind` to an address of the internet families succeeded: what readiness means for UDP. TCP sockets bind, too,
    /// before they listen.
    Bound {
        /// The task.
        pid: i32,
        /// Whose it is.
        tree: Tree,
        /// With the port the kernel chose.
        address: SocketAddr,
        /// Whether the socket is a datagram socket.
        datagram: bool,
    },
    /// A program was started.
    Exec {
        /// The process.
        pid: i32,
        /// Whose it is.
        tree: Tree,
        /// Its executable: of a script, the interpreter.
        executable: ImagePath,
    },
    /// A process that the supervisor had started has ended.
    Exited {
        /// The process.
        pid: i32,
        /// Whose it was.
        tree: Tree,
        /// How.
        end: End,
    },
}
