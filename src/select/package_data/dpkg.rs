//! dpkg's packages as images without dpkg have them: `/var/lib/dpkg/status.d/NAME`, the paragraph of the status file,
//! and `NAME.md5sums`, the checksums of the files that are there.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::package_data::Data;
use crate::select::packages::reader::{MAX_TEXT, constant};
use crate::select::packages::{DPKG_DIRECTORY, DPKG_STATUS, Dpkg, Installed, Package, Record, checksums, fields};

/// Where licences are to which Debian's copyright files point.
const COMMON_LICENSES: &[u8] = b"/usr/share/common-licenses/";

/// Keeps what says under which terms a package may be passed on, with the licences that it points to.
pub(super) fn keep_license(data: &mut Data<'_>, package: &str) -> Result<(), SelectError> {
    let copyright = constant(&format!("/usr/share/doc/{package}/copyright"));
    data.keep(&copyright)?;
    let Some((_, text)) = data.reader.file(&copyright, MAX_TEXT)? else { return Ok(()) };
    for license in licenses(&text) {
        data.keep(&license)?;
    }
    Ok(())
}

/// The common licences that a text names.
fn licenses(text: &[u8]) -> BTreeSet<ImagePath> {
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.windows(COMMON_LICENSES.len()).position(|window| window == COMMON_LICENSES) {
        let start = &rest[at..];
        let name = &start[COMMON_LICENSES.len()..];
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || b"-.+".contains(b);
        let length = name.iter().take_while(|b| is_part(b)).count();
        // The full stop of a sentence is none of the name's.
        let name = name[..length].trim_ascii_end();
        let name = name.iter().rposition(|&b| b != b'.').map_or(&[][..], |last| &name[..=last]);
        if !name.is_empty() {
            found.extend(ImagePath::parse([COMMON_LICENSES, name].concat()));
        }
        rest = &start[COMMON_LICENSES.len()..];
    }
    found
}

/// Adds the data of the packages among `kept` that are dpkg's.
pub(super) fn generate(data: &mut Data<'_>, kept: &[(&Installed, &BTreeSet<ImagePath>)]) -> Result<(), SelectError> {
    let mut packages: BTreeMap<(&str, &str), (&Package, &Dpkg, &BTreeSet<ImagePath>)> = BTreeMap::new();
    for (installed, files) in kept {
        if let Record::Dpkg(dpkg) = &installed.record {
            let package = &installed.package;
            packages.entry((&package.name, &package.architecture)).or_insert((package, dpkg, files));
        }
    }
    if packages.is_empty() || data.has(&constant(DPKG_STATUS))? {
        return Ok(());
    }
    let mut architectures: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in packages.keys() {
        *architectures.entry(name).or_default() += 1;
    }
    for (package, dpkg, files) in packages.values() {
        let is_alone = architectures.get(package.name.as_str()) == Some(&1);
        let name = match is_alone {
            true => package.name.clone(),
            false => format!("{}:{}", package.name, package.architecture),
        };
        let file = |extension: &str| constant(&format!("{DPKG_DIRECTORY}/status.d/{name}{extension}"));
        let mut is_kept = |path: &ImagePath| -> Result<bool, SelectError> {
            let path = data.reader.place(dpkg.diversions.place(path, &package.name))?;
            Ok(files.contains(&path))
        };
        let stanza = cut(&dpkg.stanza, &mut is_kept)?;
        let sums = match &dpkg.md5sums {
            Some(path) => data.reader.file(path, MAX_TEXT)?.map(|(_, text)| text).unwrap_or_default(),
            None => Vec::new(),
        };
        let mut lines = Vec::new();
        for (line, path) in checksums(&sums) {
            if files.contains(&data.reader.place(dpkg.diversions.place(&path, &package.name))?) {
                lines.extend_from_slice(line);
                lines.push(b'\n');
            }
        }
        data.generate(&file(""), stanza)?;
        if !lines.is_empty() {
            data.generate(&file(".md5sums"), lines)?;
        }
    }
    Ok(())
}

/// A paragraph with those of its configuration files that are there.
fn cut(
    stanza: &[u8],
    is_kept: &mut dyn FnMut(&ImagePath) -> Result<bool, SelectError>,
) -> Result<Vec<u8>, SelectError> {
    let mut out = Vec::with_capacity(stanza.len());
    for (name, lines) in fields(stanza) {
        if !name.eq_ignore_ascii_case(b"Conffiles") {
            out.extend_from_slice(lines);
            continue;
        }
        let mut there = Vec::new();
        for line in lines.split(|&b| b == b'\n').skip(1) {
            // ` /etc/app.conf 5d41402abc4b2a76b9719d911017c592 [obsolete]`
            let path = line.trim_ascii_start().split(|&b| b == b' ').next().unwrap_or_default();
            if let Ok(path) = ImagePath::parse(path)
                && is_kept(&path)?
            {
                there.extend_from_slice(line);
                there.push(b'\n');
            }
        }
        if !there.is_empty() {
            out.extend_from_slice(b"Conffiles:\n");
            out.append(&mut there);
        }
    }
    if !out.ends_with(b"\n") {
        out.push(b'\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_found_in_sentences() {
        let text = b"see `/usr/share/common-licenses/GPL-3'.\nIn /usr/share/common-licenses/Apache-2.0. Or /usr/share/common-licenses/";
        let found: Vec<String> = licenses(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["/usr/share/common-licenses/Apache-2.0", "/usr/share/common-licenses/GPL-3"]);
    }

    #[test]
    fn configuration_files_that_are_not_there_are_not_named() {
        let stanza = b"Package: a\nConffiles:\n /etc/a 0123\n /etc/b 4567 obsolete\nVersion: 1";
        let cut = |kept: &'static str| {
            let mut is_kept = |path: &ImagePath| Ok(path.to_string() == kept);
            String::from_utf8(cut(stanza, &mut is_kept).unwrap()).unwrap()
        };
        assert_eq!(cut("/etc/b"), "Package: a\nConffiles:\n /etc/b 4567 obsolete\nVersion: 1\n");
        assert_eq!(cut("/etc/c"), "Package: a\nVersion: 1\n");
    }
}
