//! Alpine's packages: the database itself, with the packages and the files that are there.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::package_data::Data;
use crate::select::packages::{Installed, Record, apk_lines};

/// Adds the data of the packages among `kept` that are apk's.
pub(super) fn generate(data: &mut Data<'_>, kept: &[(&Installed, &BTreeSet<ImagePath>)]) -> Result<(), SelectError> {
    let mut databases: BTreeMap<&ImagePath, Vec<u8>> = BTreeMap::new();
    for (installed, files) in kept {
        if let Record::Apk(apk) = &installed.record {
            let paragraph = cut(&apk.paragraph, &mut |path| Ok(files.contains(&data.reader.place(path)?)))?;
            let database = databases.entry(&apk.database).or_default();
            database.extend_from_slice(&paragraph);
            database.push(b'\n');
        }
    }
    databases.into_iter().try_for_each(|(path, content)| data.generate(path, content))
}

/// A paragraph with those of its files that are there, and their directories.
fn cut(
    paragraph: &[u8],
    is_kept: &mut dyn FnMut(&ImagePath) -> Result<bool, SelectError>,
) -> Result<Vec<u8>, SelectError> {
    let mut out = Vec::new();
    // The lines of a directory wait for the first of its files.
    let mut directory: Option<Vec<u8>> = None;
    let (mut is_in_files, mut is_there) = (false, true);
    for line in apk_lines(paragraph) {
        let text = [line.text, b"\n"].concat();
        if line.text.starts_with(b"F:") {
            (is_in_files, is_there) = (true, false);
            directory = Some(text);
        } else if line.text.starts_with(b"R:") {
            is_there = match &line.path {
                Some(path) => is_kept(path)?,
                None => false,
            };
            if is_there {
                out.extend(directory.take().unwrap_or_default());
                out.extend(text);
            }
        } else if is_in_files && line.text.starts_with(b"M:") {
            if let Some(directory) = &mut directory {
                directory.extend(text);
            }
        } else if is_there || !is_in_files || !is_of_file(line.text) {
            out.extend(text);
        }
    }
    Ok(out)
}

/// Whether a line is about the file before it: its owner and mode, its checksum.
fn is_of_file(line: &[u8]) -> bool {
    line.starts_with(b"a:") || line.starts_with(b"Z:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_directories_that_are_not_there_are_not_named() {
        let paragraph =
            "C:Q1x=\nP:musl\nV:1\nF:lib\nR:ld.so\na:0:0:755\nZ:Q1a=\nR:gone\nZ:Q1b=\nF:tmp\nM:0:0:1777\nF:var\nR:x\n";
        let cut = |kept: &'static [&str]| {
            let mut is_kept = |path: &ImagePath| Ok(kept.contains(&path.to_string().as_str()));
            String::from_utf8(cut(paragraph.as_bytes(), &mut is_kept).unwrap()).unwrap()
        };
        assert_eq!(cut(&["/lib/ld.so"]), "C:Q1x=\nP:musl\nV:1\nF:lib\nR:ld.so\na:0:0:755\nZ:Q1a=\n");
        assert_eq!(cut(&["/lib/gone", "/var/x"]), "C:Q1x=\nP:musl\nV:1\nF:lib\nR:gone\nZ:Q1b=\nF:var\nR:x\n");
        assert_eq!(cut(&[]), "C:Q1x=\nP:musl\nV:1\n");
    }
}
