//! What scrimp says to people, on standard error.
//!
//! A terminal that was closed, or a reader that went away, is never a reason to end in another way than otherwise: the
//! macros of the standard library would panic. Colours are written always, and taken out on the way where nobody wants
//! them.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::ColorChoice;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::env_vars;
use crate::cli::args::Color;

/// Whether a line that says what is going on stands on the terminal, and more is to follow on the same line.
static MOVING: AtomicBool = AtomicBool::new(false);

/// To the beginning of the line, and nothing more on it (ECMA-48, EL).
const CLEAR_LINE: &str = "\r\x1b[K";

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It ended badly.
    Error,
    /// Something deserves attention.
    Warning,
    /// A gate failed.
    Failure,
}

impl Kind {
    /// The word at the beginning of the line, and its colour (ECMA-48, SGR).
    fn label(self) -> (&'static str, &'static str) {
        match self {
            Kind::Error => ("error", "\x1b[1;31m"),
            Kind::Warning => ("warning", "\x1b[1;33m"),
            Kind::Failure => ("failed", "\x1b[1;31m"),
        }
    }
}

/// From now on colours are as the user has it. With `Auto` it is the terminal, and NO_COLOR, CLICOLOR_FORCE and TERM.
pub fn choose_color(color: Color) {
    let choice = match color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    choice.write_global();
}

/// Writes a line of a kind to standard error, as far as anybody is there to read it; what is to be done about it, after
/// `hint:`, stands out too.
pub fn say(kind: Kind, line: fmt::Arguments<'_>) {
    clear();
    let (label, color) = kind.label();
    let line = printable(&line.to_string()).replace("\nhint: ", "\n\x1b[1;36mhint\x1b[0m: ");
    // Nobody is left to be told of a failure.
    drop(writeln!(anstream::stderr().lock(), "{color}{label}\x1b[0m: {line}"));
}

/// A text with each control character but the ends of lines and tabs written as `\xHH`: names and settings of an image
/// are whoever made it wants, and a terminal does what some of them say (ECMA-48).
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_command = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_command) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_command(c) {
            out.push_str(&format!("\\x{:02x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether a line that moves is of any use: somebody looks on, at a terminal that can go back in a line.
pub fn can_move() -> bool {
    let is_dumb = std::env::var_os(env_vars::TERM).is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && !is_dumb
}

/// Shows what is going on, in the place of what was shown before. A terminal that takes nothing now is not waited for.
pub fn show(text: &str) {
    MOVING.store(true, Ordering::Relaxed);
    write_at_once(&format!("{CLEAR_LINE}{text}"));
}

/// Takes away what is shown.
pub fn clear() {
    if MOVING.swap(false, Ordering::Relaxed) {
        write_at_once(CLEAR_LINE);
    }
}

/// Writes a short text to standard error if that needs no waiting: neither for a reader that does not read, nor for
/// another thread that waits for one.
pub fn say_at_once(text: &str) {
    clear();
    write_at_once(text);
}

fn write_at_once(text: &str) {
    let stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0) {
        match nix::unistd::write(stderr.as_fd(), text.as_bytes()) {
            // As above.
            Ok(_) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_an_image_do_nothing_to_a_terminal() {
        for (text, expected) in [
            ("a line\n\tand another\n", "a line\n\tand another\n"),
            ("\x1b]0;title\x07\rover", "\\x1b]0;title\\x07\\x0dover"),
            ("\u{9b}2J", "\\x9b2J"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }
}
