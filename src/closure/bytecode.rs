//! Python bytecode and the source it was compiled from. An interpreter looks for the source first, and tracebacks,
//! `inspect` and a changed time stamp read it.

use crate::base::ImagePath;

/// The source of the bytecode at `path` (PEP 3147, PEP 488): `d/__pycache__/m.cpython-311.opt-1.pyc` comes from
/// `d/m.py`, `d/m.pyc` from the file beside it. `None` when it is no bytecode.
pub fn source_of(path: &ImagePath) -> Option<ImagePath> {
    let (directory, name) = (path.parent()?, path.file_name()?);
    let stem = name.strip_suffix(b".pyc").or_else(|| name.strip_suffix(b".pyo"))?;
    if directory.file_name() != Some(b"__pycache__") {
        // A name that cannot be one has no source either.
        return directory.child(&[stem, b".py"].concat()).ok();
    }
    // The tag of the interpreter, and an optimisation level behind it, stand after the module's name.
    let parts: Vec<&[u8]> = stem.split(|&b| b == b'.').collect();
    match parts.as_slice() {
        [module, _tag] | [module, _tag, _] => directory.parent()?.child(&[module, &b".py"[..]].concat()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_bytecode() {
        for (path, expected) in [
            ("/lib/__pycache__/x.cpython-311.pyc", Some("/lib/x.py")),
            ("/lib/__pycache__/x.cpython-311.opt-2.pyc", Some("/lib/x.py")),
            ("/__pycache__/x.pypy39.pyc", Some("/x.py")),
            ("/lib/__pycache__/x.pyc", None),
            ("/lib/x.pyc", Some("/lib/x.py")),
            ("/lib/x.py", None),
            ("/", None),
        ] {
            let found = source_of(&ImagePath::parse(path).unwrap());
            assert_eq!(found.map(|p| p.to_string()).as_deref(), expected, "{path}");
        }
    }
}
