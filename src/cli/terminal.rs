//! What scrimp says to people, on standard error.
//!
//! A terminal that was closed, or a reader that went away, is never a reason to end in another way than otherwise: the
//! macros of the standard library would panic.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Writes a line to standard error, as far as anybody is there to read it.
pub fn say(line: fmt::Arguments<'_>) {
    // Nobody is left to be told of a failure.
    drop(writeln!(anstream::stderr().lock(), "{line}"));
}

/// Writes a short text to standard error if that needs no waiting: neither for a reader that does not read, nor for another
/// thread that waits for one.
pub fn say_at_once(text: &str) {
    let stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0) {
        match nix::unistd::write(stderr.as_fd(), text.as_bytes()) {
            // As above.
            Ok(_) | Err(_) => {}
        }
    }
}
