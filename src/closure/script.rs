//! Programs that text names: the interpreter of a script and the commands of a shell line or script.

use std::collections::BTreeSet;

use crate::base::Shebang;

/// How many bytes of a script are read at most: what is longer is no script, or holds an archive.
pub(super) const MOST: u64 = 1 << 20;

/// The shells whose language the commands of a script are in.
const SHELLS: [&[u8]; 8] = [b"ash", b"bash", b"busybox", b"dash", b"ksh", b"mksh", b"sh", b"zsh"];

/// Whether a script is one of a shell.
pub(super) fn is_shell(shebang: &Shebang) -> bool {
    is_interpreted_by(shebang, is_shell_name)
}

/// Whether the file name of what interprets a script passes.
pub(super) fn is_interpreted_by(shebang: &Shebang, passes: fn(&[u8]) -> bool) -> bool {
    let program = shebang.env_program().unwrap_or_else(|| shebang.interpreter.clone());
    program.rsplit(|&b| b == b'/').next().is_some_and(passes)
}

/// Whether a program of this file name is a shell.
pub fn is_shell_name(name: &[u8]) -> bool {
    SHELLS.contains(&name)
}

/// The words of a shell script that could be programs, each once: as [`shell_programs`], without comments.
pub(super) fn commands(script: &str) -> BTreeSet<String> {
    let mut programs = BTreeSet::new();
    let joined = script.replace("\\\n", " ");
    for line in joined.lines().map(str::trim_start).filter(|line| !line.starts_with('#')) {
        programs.extend(shell_programs(line.split(" #").next().unwrap_or(line)));
    }
    programs
}

/// The files that a shell script reads into itself (`. FILE`, `source FILE`), each as it is written and without quotes.
/// What is put together at run time before the name is left out with the slash after it: of `. "$(dirname
/// "$0")/lib/x.sh"` that leaves `lib/x.sh`.
pub(super) fn included(script: &str) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let lines = script.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    for command in lines.flat_map(|line| line.split(" #").next().unwrap_or(line).split([';', '|', '&'])) {
        let command = command.trim_start();
        let command = LEADING.iter().fold(command, |rest, word| match rest.strip_prefix(word) {
            Some(after) if after.starts_with(' ') => after.trim_start(),
            _ => rest,
        });
        let Some(file) = command.strip_prefix(". ").or_else(|| command.strip_prefix("source ")) else { continue };
        let file = file.replace(['"', '\''], "");
        // What was made at run time ends with the last substitution, or with the name of the last variable.
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let after = file.rfind([')', '}', '`']).map_or(0, |at| at + 1);
        let made = match file[after..].rfind('$') {
            Some(at) => file[after + at + 1..].find(|c| !is_name(c)).map_or(file.len(), |end| after + at + 1 + end),
            None => after,
        };
        let name = if made > 0 { file[made..].trim_start_matches('/') } else { &file };
        let name = name.split_whitespace().next().unwrap_or_default();
        if !name.is_empty() && !name.contains('\0') && (made == 0 || file[made..].starts_with('/')) {
            files.insert(name.to_owned());
        }
    }
    files
}

/// Programs that start another: what follows them and their options is a command too.
const STARTERS: &[&str] = &["-exec", "-execdir", "env", "nice", "nohup", "setsid", "xargs"];

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
    let mut after_starter = false;
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
            after_starter &= !ends_command;
            continue;
        }
        if after_starter && name.starts_with('-') {
            continue;
        }
        let starts = STARTERS.contains(&name.as_str());
        let leads = at_command && (name.contains('=') || LEADING.contains(&name.as_str()));
        let could_be = at_command && !leads && !BUILTINS.contains(&name.as_str()) || name.starts_with('/');
        if could_be && !name.contains('$') {
            programs.push(name);
        }
        at_command = ends_command || leads || starts;
        after_starter = starts && !ends_command;
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_lines_name_their_programs() {
        for (line, expected) in [
            ("curl -f http://localhost/ || exit 1", vec!["curl"]),
            ("test -e /x && redis-cli ping | grep -q PONG", vec!["/x", "redis-cli", "grep"]),
            ("[ \"$(wget -qO- http://h/)\" = ok ]", vec!["wget", "ok"]),
            ("if ! PGUSER=x pg_isready; then exit 1; fi", vec!["pg_isready"]),
            ("exec \"/usr/bin/check it\" $ARGS", vec!["/usr/bin/check"]),
            (
                "find . -name x -exec chown app '{}' + ; ls | xargs -n1 rm -f",
                vec!["find", "chown", "ls", "xargs", "rm"],
            ),
            ("env -i A=b nginx -t", vec!["env", "nginx"]),
        ] {
            assert_eq!(shell_programs(line), expected, "{line}");
        }
    }

    #[test]
    fn scripts_name_the_programs_of_all_branches() {
        let script = "#!/bin/sh\nset -e\n# never mind\nif [ \"$(id -u)\" = 0 ]; then\n  exec setpriv --reuid app \\\n    \"$0\" \"$@\"\n\
            fi\ncase $1 in\n  count) find /srv | wc -l ;; # counts\n  *) exec \"$@\" ;;\nesac\n";
        let found = commands(script);
        for name in ["id", "setpriv", "find", "wc"] {
            assert!(found.contains(name), "{name}: {found:?}");
        }
        for name in ["never", "#", "counts", "set"] {
            assert!(!found.contains(name), "{name}: {found:?}");
        }
    }

    #[test]
    fn scripts_name_the_files_that_they_read_into_themselves() {
        for (script, expected) in [
            (". /usr/lib/init/vars.sh\n", vec!["/usr/lib/init/vars.sh"]),
            ("if true; then . git-sh-setup; fi", vec!["git-sh-setup"]),
            ("source \"$(dirname \"$0\")/lib/x.sh\" a", vec!["lib/x.sh"]),
            (". \"$(git --exec-path)/git-sh-i18n\"", vec!["git-sh-i18n"]),
            ("test -r x && . \"${DIR}/b\"", vec!["b"]),
            (". $DIR/c.sh # and then\n# . /d\necho . e", vec!["c.sh"]),
            (". \"$1\"\n. $file.sh\n./run", vec![]),
            (". $DIR/a-$B/c", vec!["c"]),
        ] {
            assert_eq!(included(script).iter().map(String::as_str).collect::<Vec<_>>(), expected, "{script}");
        }
    }

    #[test]
    fn shells_are_known_by_name() {
        for (head, expected) in [
            ("#!/bin/sh -e\n", true),
            ("#!/usr/bin/env bash\n", true),
            ("#!/bin/busybox sh\n", true),
            ("#!/usr/bin/python3\n", false),
            ("#!/usr/bin/env -S perl -w\n", false),
        ] {
            assert_eq!(is_shell(&Shebang::parse(head.as_bytes()).unwrap()), expected, "{head}");
        }
    }
}
