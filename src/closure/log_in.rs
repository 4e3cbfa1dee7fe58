//! What people find in a shell that they log in to. What they run there no run shows; but a shell promises the
//! utilities of POSIX, clients start some programs on the other side by name, and lines are edited as the terminal of
//! the client wants it.
//!
//! A program that starts such shells sets up their environment (POSIX.1-2017, XBD 8.3), so it has the names of these
//! variables in texts of its own; one that asks for passwords to serve files or mail has not.

use crate::base::ImagePath;
use crate::closure::ClosureError;
use crate::closure::script;
use crate::image::{EntryKind, Rootfs};
use crate::observation::{Observation, Operation};

/// A larger program is not searched, and no utility is larger, in bytes.
const MOST_OF_PROGRAM: u64 = 16 << 20;
const MOST_OF_UTILITY: u64 = 4 << 20;

/// Where distributions have descriptions of terminals, and of how many bytes one has only those that everybody needs.
const TERMINALS: [&str; 4] = ["/etc/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/usr/share/terminfo"];
const MOST_OF_TERMINALS: u64 = 1 << 20;
/// The terminals of today, by the names that clients have for them.
const USUAL: &str = "alacritty ansi dumb foot linux rxvt rxvt-unicode-256color screen screen-256color tmux tmux-256color vt100 \
    vt220 xterm xterm-256color xterm-color xterm-ghostty xterm-kitty";

/// The utilities of POSIX.1-2017 (XCU 4) that are neither part of the shell nor for those who build programs; what
/// systems have beside them since there are log-ins; and what `scp -O` and `rsync` start on the other side.
pub(super) const UTILITIES: &str = "awk base64 basename bc cat chgrp chmod chown cksum clear cmp comm cp cut date dd df diff dircolors \
    dirname du echo ed egrep env expand expr false fgrep file find fold free getconf grep groups gunzip gzip \
    head hostname iconv id install join kill less link ln locale logger logname ls md5sum mkdir mkfifo mktemp \
    more mv nice nohup nproc od paste patch pathchk pgrep pkill printenv printf ps pwd readlink realpath rev \
    rm rmdir rsync scp sed seq sha256sum shuf sleep sort split stat stty tac tail tar tee test time timeout \
    top touch tput tr true tsort tty uname uniq uptime vi w watch wc which who whoami xargs yes";

/// The program of the run that starts shells for those who log in; `None` when none does.
pub(super) fn starter(rootfs: &Rootfs, observation: &Observation) -> Result<Option<ImagePath>, ClosureError> {
    for (path, record) in observation.paths.iter() {
        if record.probe_tool || !record.operations.contains(&Operation::Exec) {
            continue;
        }
        let walk = rootfs.resolve(path.as_bytes(), true)?;
        let is_small = |kind: &EntryKind| matches!(kind, EntryKind::File { size, .. } if *size <= MOST_OF_PROGRAM);
        let is_shell = walk.end.file_name().is_some_and(script::is_shell_name);
        if !is_shell && walk.entry.is_some_and(|entry| is_small(&entry.kind)) && starts_shells(&rootfs.read(&walk.end)?)
        {
            return Ok(Some(path.clone()));
        }
    }
    Ok(None)
}

/// The descriptions of terminals that shells, pagers and editors look up by the name that a client has for its own
/// (`terminfo(5)`): a place that has all there are counts with the usual ones.
pub(super) fn terminals(rootfs: &Rootfs) -> Result<Vec<ImagePath>, ClosureError> {
    let mut terminals = Vec::new();
    for place in TERMINALS {
        let mut found = Vec::new();
        let mut bytes = 0;
        let place = rootfs.resolve(place.as_bytes(), true)?.end;
        for directory in rootfs.list(&place)?.into_iter().filter_map(|initial| place.child(&initial).ok()) {
            for path in rootfs.list(&directory)?.into_iter().filter_map(|name| directory.child(&name).ok()) {
                let kind = rootfs.lookup(&path)?.map(|entry| entry.kind);
                bytes += if let Some(EntryKind::File { size, .. }) = kind { size } else { 0 };
                found.push(path);
            }
        }
        if bytes > MOST_OF_TERMINALS {
            let is_usual = |path: &ImagePath| {
                path.file_name().is_some_and(|name| USUAL.split(' ').any(|usual| usual.as_bytes() == name))
            };
            found.retain(is_usual);
        }
        terminals.extend(found);
    }
    Ok(terminals)
}

/// Whether somebody can be served as a utility: a program that is not too large.
pub(super) fn is_utility(rootfs: &Rootfs, path: &[u8]) -> Result<bool, ClosureError> {
    let kind = rootfs.resolve(path, true)?.entry.map(|entry| entry.kind);
    Ok(matches!(kind, Some(EntryKind::File { size, .. }) if size <= MOST_OF_UTILITY))
}

/// Whether a program names the variables of a log-in, each as a text by itself or with the sign that its value follows.
fn starts_shells(program: &[u8]) -> bool {
    let names: [&[u8]; 3] = [b"LOGNAME", b"SHELL", b"TERM"];
    let mut seen = [false; 3];
    if !program.starts_with(b"\x7fELF") {
        return false;
    }
    for text in program.split(|&b| b == 0) {
        let text = text.strip_suffix(b"%s").unwrap_or(text);
        let text = text.strip_suffix(b"=").unwrap_or(text);
        for (name, seen) in names.iter().zip(&mut seen) {
            *seen |= text == *name;
        }
    }
    seen == [true; 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_start_shells_for_others_name_their_variables() {
        for (texts, expected) in [
            ("\u{7f}ELF\0LOGNAME\0HOME\0SHELL\0TERM\0", true),
            ("\u{7f}ELF\0TERM=\0SHELL=%s\0LOGNAME=%s\0", true),
            ("\u{7f}ELF\0LOGNAME\0SHELL\0", false),
            ("\u{7f}ELF\0a LOGNAME SHELL TERM\0", false),
            ("#!/bin/sh\0LOGNAME\0SHELL\0TERM\0", false),
        ] {
            assert_eq!(starts_shells(texts.as_bytes()), expected, "{texts}");
        }
    }
}
