//! Programs that are started by a bare name, which PATH finds: the one that compresses a download, the one that
//! converts an upload. A run in which nobody asked for that does not show them; whoever starts them has the name in a
//! text of its own:
//!
//! 1. A program has the whole command, a name and options (`gzip -cn`): a name alone could be any word.
//! 2. A source has a literal that begins with the name: where a call starts programs (`system("gzip $x")`), as the
//!    first of a list (`['gzip', '-n']`), or followed by options.
//!
//! It names too much rather than too little, and who asks looks whether PATH finds a program of that name.

use std::collections::BTreeSet;

use crate::closure::literals;

/// Longer names and commands are none, and no text means more of them.
const LONGEST_NAME: usize = 64;
const LONGEST_COMMAND: usize = 128;
const MOST_NAMES: usize = 1024;

/// How far before a literal it is looked for what is done with it.
const BEFORE: usize = 64;

/// The functions, of any language, that start programs.
const STARTERS: [&[u8]; 28] = [
    b"Popen",
    b"call",
    b"capture2",
    b"capture3",
    b"check_call",
    b"check_output",
    b"create_subprocess_exec",
    b"exec",
    b"execFile",
    b"execFileSync",
    b"execSync",
    b"execlp",
    b"execv",
    b"execvp",
    b"getoutput",
    b"passthru",
    b"popen",
    b"popen2e",
    b"popen3",
    b"proc_open",
    b"qx",
    b"run",
    b"shell_exec",
    b"spawn",
    b"spawnSync",
    b"spawnlp",
    b"spawnvp",
    b"system",
];

/// The names that a program, not a script, has with options in its texts.
pub(super) fn by_program(program: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut names = BTreeSet::new();
    for text in program.split(|&b| b == 0) {
        if text.len() <= LONGEST_COMMAND && names.len() < MOST_NAMES && is_command(text) {
            names.extend(first_word(text).map(<[u8]>::to_vec));
        }
    }
    names
}

/// The names that a source starts programs by.
pub(super) fn by_source(source: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut names = BTreeSet::new();
    literals::each(source, |before, literal| {
        let before = before[before.len().saturating_sub(BEFORE)..].trim_ascii_end();
        if names.len() < MOST_NAMES && (is_command(literal) || starts(before) || begins_list(before)) {
            names.extend(first_word(literal).map(<[u8]>::to_vec));
        }
    });
    names
}

/// Whether a text is a name and at least one option, and goes on as commands do: `gzip -cn`.
fn is_command(text: &[u8]) -> bool {
    let Some(name) = first_word(text) else { return false };
    let rest = &text[name.len()..];
    let is_option = rest.len() > 2 && rest.starts_with(b" -") && (rest[2].is_ascii_alphanumeric() || rest[2] == b'-');
    is_option && text.iter().all(|&b| b == b' ' || b.is_ascii_graphic())
}

/// The name that a text begins with, if it ends there or what follows could be arguments.
fn first_word(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().position(|&b| !is_of_name(b)).unwrap_or(text.len());
    let ends = text.get(length).is_none_or(|&b| b == b' ');
    (ends && (2..=LONGEST_NAME).contains(&length) && text[0].is_ascii_alphanumeric()).then_some(&text[..length])
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'.')
}

/// Whether what stands before a literal starts the program of that name: `system(`, `Popen([`, `open($f, '-|', `.
fn starts(before: &[u8]) -> bool {
    let arguments = before.strip_suffix(b",").map(<[u8]>::trim_ascii_end);
    if arguments.is_some_and(|before| [&b"'-|'"[..], b"\"-|\"", b"'|-'", b"\"|-\""].iter().any(|m| before.ends_with(m)))
    {
        return true;
    }
    let call = before.strip_suffix(b"[").map_or(before, <[u8]>::trim_ascii_end);
    let call = call.strip_suffix(b"(").map_or(call, <[u8]>::trim_ascii_end);
    let begin = call.iter().rposition(|&b| !(b.is_ascii_alphanumeric() || b == b'_')).map_or(0, |at| at + 1);
    STARTERS.contains(&&call[begin..])
}

/// Whether a literal is the first of a list, and not what something is looked up by.
fn begins_list(before: &[u8]) -> bool {
    let Some(before) = before.strip_suffix(b"[").map(<[u8]>::trim_ascii_end) else { return false };
    before.last().is_none_or(|&b| matches!(b, b'=' | b'>' | b'(' | b',' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: BTreeSet<Vec<u8>>) -> String {
        found.into_iter().map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn programs_have_commands_with_options() {
        let program = b"\0gzip -cn\0sort\0see - that\0cat is -x\0xz -\0bzip2 --best -c\0%s -x\0uname\n -a\0-d -x\0";
        assert_eq!(names(by_program(program)), "bzip2 gzip");
    }

    #[test]
    fn sources_start_programs_by_name() {
        for (source, expected) in [
            ("'compressor' => ['gzip', '-n']},", "gzip"),
            ("subprocess.run([\"convert\", path])", "convert"),
            ("x = [ 'xz' ]", "xz"),
            ("system(\"tar xf $f\"); `uptime`; exec 'date'", "date tar"),
            ("open my $fd, '-|', 'git', 'log'", "git"),
            ("cmd = 'ffmpeg -i ' + name", "ffmpeg"),
            ("spawn('node')", "node"),
            ("row['date']; f('sort'); {'file': 1}; x[ 'id' ]; $h->['who']", "who"),
            ("# system('no')\n// run('no')\n* call('no')", ""),
            ("say 'date is -x', 'it''s", ""),
        ] {
            assert_eq!(names(by_source(source.as_bytes())), expected, "{source}");
        }
    }
}
