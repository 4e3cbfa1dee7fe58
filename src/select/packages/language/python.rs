//! Distributions of Python: `*.dist-info` with METADATA and RECORD (PyPA specifications, "Recording installed
//! projects"), and the older `*.egg-info`, a directory or a file.

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::packages::deb822::{field, paragraphs};
use crate::select::packages::language::join;
use crate::select::packages::reader::{MAX_TEXT, Reader};
use crate::select::packages::{Found, Manager, Package, Record};

pub(super) fn read(reader: &mut Reader<'_>, info: &ImagePath) -> Result<Vec<Found>, SelectError> {
    let Some(site) = info.parent() else { return Ok(Vec::new()) };
    let own = reader.files_below(info)?;
    let named =
        |name: &[u8]| own.iter().find(|path| path.parent().as_ref() == Some(info) && path.file_name() == Some(name));
    let described = named(b"METADATA").or(named(b"PKG-INFO")).or(own.first().filter(|path| *path == info));
    let Some(described) = described else { return Ok(Vec::new()) };
    let Some((_, text)) = reader.file(described, MAX_TEXT)? else { return Ok(Vec::new()) };
    // The description behind the headers is text, and can look like anything.
    let Some(headers) = paragraphs(&text).next() else { return Ok(Vec::new()) };
    let (Some(name), Some(version)) = (field(headers, "Name"), field(headers, "Version")) else {
        return Ok(Vec::new());
    };
    let mut content = |name: &[u8]| -> Result<Option<Vec<u8>>, SelectError> {
        match named(name) {
            Some(path) => Ok(reader.file(path, MAX_TEXT)?.map(|(_, text)| text)),
            None => Ok(None),
        }
    };
    let (record, installed, modules) =
        (content(b"RECORD")?, content(b"installed-files.txt")?, content(b"top_level.txt")?);
    let mut listed = Vec::new();
    if let Some(record) = record {
        listed.extend(lines(&record).filter_map(|line| join(&site, &first_field(line))));
    } else if let Some(installed) = installed {
        listed.extend(lines(&installed).filter_map(|line| join(info, line)));
    } else if let Some(modules) = modules {
        for module in lines(&modules).collect::<BTreeSet<_>>() {
            let as_file = join(&site, &[module, b".py"].concat());
            let as_directory = join(&site, module).filter(|dir| *dir != site && dir.is_within(&site));
            listed.extend(as_file);
            if let Some(dir) = as_directory {
                listed.extend(reader.files_below(&dir)?);
            }
        }
    }
    let mut files = own.clone();
    for path in listed {
        files.push(reader.place(&path)?);
    }
    let place = Some(info.clone());
    let package = Package { name, version, architecture: String::new(), manager: Manager::Python, place };
    Ok(vec![Found { package, record: Record::Language { metadata: own }, files }])
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
}

/// The first field of a line of comma-separated values (RFC 4180).
fn first_field(line: &[u8]) -> Vec<u8> {
    let Some(quoted) = line.strip_prefix(b"\"") else {
        return line.split(|&b| b == b',').next().unwrap_or_default().to_vec();
    };
    let mut field = Vec::new();
    let mut rest = quoted;
    while let Some(quote) = rest.iter().position(|&b| b == b'"') {
        field.extend_from_slice(&rest[..quote]);
        rest = &rest[quote + 1..];
        if rest.first() != Some(&b'"') {
            return field;
        }
        field.push(b'"');
        rest = &rest[1..];
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_can_be_quoted() {
        for (line, field) in [
            ("flask/app.py,sha256=x,12", "flask/app.py"),
            ("\"a,b\"\"c.py\",sha256=x,12", "a,b\"c.py"),
            ("\"unclosed", ""),
            ("alone", "alone"),
        ] {
            assert_eq!(first_field(line.as_bytes()), field.as_bytes(), "{line}");
        }
    }
}
