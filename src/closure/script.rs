//! Programs that text names: `#!` lines and the commands of a shell line.

/// How much of a file the kernel looks at for a `#!` line (BINPRM_BUF_SIZE).
pub(super) const HEAD: usize = 256;

/// The first line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shebang {
    /// The interpreter, as it is written.
    pub(super) interpreter: Vec<u8>,
    /// What the interpreter gets as one argument.
    pub(super) argument: Vec<u8>,
}

/// The `#!` line at the beginning of a file, as the kernel reads it (fs/binfmt_script.c).
pub(super) fn shebang(head: &[u8]) -> Option<Shebang> {
    let line = head[..head.len().min(HEAD)].strip_prefix(b"#!")?;
    let line = line.split(|&b| b == b'\n' || b == 0).next()?.trim_ascii();
    let end = line.iter().position(|&b| b == b' ' || b == b'\t').unwrap_or(line.len());
    let (interpreter, argument) = line.split_at(end);
    if interpreter.is_empty() {
        return None;
    }
    Some(Shebang { interpreter: interpreter.to_vec(), argument: argument.trim_ascii().to_vec() })
}

impl Shebang {
    /// The program that `env` starts when it is the interpreter: `#!/usr/bin/env python3`, `#!/usr/bin/env -S perl -w`.
    pub(super) fn env_program(&self) -> Option<Vec<u8>> {
        if self.interpreter.rsplit(|&b| b == b'/').next() != Some(b"env") {
            return None;
        }
        self.argument
            .split(|&b| b == b' ' || b == b'\t')
            .map(|word| word.strip_prefix(b"-S").unwrap_or(word))
            .find(|word| !word.is_empty() && !word.starts_with(b"-") && !word.contains(&b'='))
            .map(Into::into)
    }
}

/// Words that are followed by a command.
const LEADING: &[&str] =
    &["!", "{", "command", "do", "elif", "else", "eval", "exec", "if", "then", "time", "until", "while"];

/// Words that a shell carries out itself.
const BUILTINS: &[&str] = &[
    ".", ":", "[", "[[", "}", "alias", "break", "case", "cd", "continue", "done", "echo", "esac", "exit", "export",
    "false", "fi", "for", "function", "kill", "local", "printf", "pwd", "read", "readonly", "return", "set", "shift",
    "source", "test", "trap", "true", "type", "ulimit", "umask", "unset", "wait",
];

/// The words of a shell line that could be programs: the first of each command that is no builtin, and every absolute
/// path. It does not understand the language; it names too much rather than too little, and who asks looks whether a
/// name exists.
pub(super) fn shell_programs(line: &str) -> Vec<String> {
    let mut programs = Vec::new();
    let mut at_command = true;
    let mut word = String::new();
    for c in line.chars().chain(['\n']) {
        let ends_command = matches!(c, ';' | '|' | '&' | '(' | ')' | '`' | '\n');
        if !ends_command && !c.is_whitespace() {
            // Quotes fall away; a `$` makes a name that nobody knows here, unless a command follows it.
            if !matches!(c, '"' | '\'') {
                word.push(c);
            }
            continue;
        }
        let name = std::mem::take(&mut word);
        if name.is_empty() {
            at_command |= ends_command;
            continue;
        }
        let leads = at_command && (name.contains('=') || LEADING.contains(&name.as_str()));
        let could_be = at_command && !leads && !BUILTINS.contains(&name.as_str()) || name.starts_with('/');
        if could_be && !name.contains('$') {
            programs.push(name);
        }
        at_command = ends_command || leads;
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shebangs_are_read_as_the_kernel_does() {
        for (head, expected) in [
            ("#!/bin/sh\necho", Some(("/bin/sh", "", None))),
            ("#! \t/bin/sh -e -u \nx", Some(("/bin/sh", "-e -u", None))),
            ("#!/usr/bin/env python3\n", Some(("/usr/bin/env", "python3", Some("python3")))),
            ("#!/usr/bin/env -S A=b perl -w", Some(("/usr/bin/env", "-S A=b perl -w", Some("perl")))),
            ("#!/usr/bin/env -Snode --x\n", Some(("/usr/bin/env", "-Snode --x", Some("node")))),
            ("#!\n/bin/sh", None),
            ("#!", None),
            ("echo", None),
        ] {
            let parsed = shebang(head.as_bytes());
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let seen = parsed.map(|s| (text(&s.interpreter), text(&s.argument), s.env_program().map(|p| text(&p))));
            let expected =
                expected.map(|(i, a, p): (&str, &str, Option<&str>)| (i.into(), a.into(), p.map(Into::into)));
            assert_eq!(seen, expected, "{head:?}");
        }
    }

    #[test]
    fn shell_lines_name_their_programs() {
        for (line, expected) in [
            ("curl -f http://localhost/ || exit 1", vec!["curl"]),
            ("test -e /x && redis-cli ping | grep -q PONG", vec!["/x", "redis-cli", "grep"]),
            ("[ \"$(wget -qO- http://h/)\" = ok ]", vec!["wget", "ok"]),
            ("if ! PGUSER=x pg_isready; then exit 1; fi", vec!["pg_isready"]),
            ("exec \"/usr/bin/check it\" $ARGS", vec!["/usr/bin/check"]),
        ] {
            assert_eq!(shell_programs(line), expected, "{line}");
        }
    }
}
