//! The `#!` line of a script, as the kernel reads it (fs/binfmt_script.c): it starts what stands there, whatever the
//! script is.

/// The first line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shebang {
    /// The interpreter, as it is written.
    pub interpreter: Vec<u8>,
    /// What the interpreter gets as one argument.
    pub argument: Vec<u8>,
}

impl Shebang {
    /// How much of a file the kernel looks at, in bytes (BINPRM_BUF_SIZE).
    pub const LONGEST: usize = 256;

    /// The line at the beginning of a file, of which `head` is all or [`Shebang::LONGEST`] bytes at least; `None` for
    /// what is no script.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
        let line = head[..head.len().min(Self::LONGEST)].strip_prefix(b"#!")?;
        let line = line.split(|&b| b == b'\n' || b == 0).next()?;
        let line = &line[line.iter().take_while(|b| is_blank(b)).count()..];
        let (interpreter, rest) = line.split_at(line.iter().position(is_blank).unwrap_or(line.len()));
        if interpreter.is_empty() {
            return None;
        }
        Some(Shebang { interpreter: interpreter.to_vec(), argument: rest.trim_ascii().to_vec() })
    }

    /// The program that `env` starts when it is the interpreter: `#!/usr/bin/env python3`, `#!/usr/bin/env -S perl -w`.
    pub fn env_program(&self) -> Option<Vec<u8>> {
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
            ("#!bin/relative", Some(("bin/relative", "", None))),
            ("#!/bin/sh\r\n", Some(("/bin/sh\r", "", None))),
            ("#!\0/bin/sh\n", None),
            ("#!\n/bin/sh", None),
            ("", None),
            ("#!", None),
            ("echo", None),
        ] {
            let parsed = Shebang::parse(head.as_bytes());
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let seen = parsed.map(|s| (text(&s.interpreter), text(&s.argument), s.env_program().map(|p| text(&p))));
            let expected =
                expected.map(|(i, a, p): (&str, &str, Option<&str>)| (i.into(), a.into(), p.map(Into::into)));
            assert_eq!(seen, expected, "{head:?}");
        }
    }
}
