//! Files that no package has in its list, because a program of a package made them: links of alternatives, the loader's
//! cache, the CA bundle. They belong to the package that makes them.

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::packages::reader::{MAX_TEXT, Reader, constant};

/// Finds the first of these programs that there is.
type Finder<'a> = dyn Fn(&mut Reader<'_>, &[&str]) -> Result<Option<ImagePath>, SelectError> + 'a;

/// Files and what makes them: the first program that belongs to a package says to which.
const BY_PROGRAM: [(&str, &[&str]); 8] = [
    ("/etc/ld.so.cache", &["/usr/sbin/ldconfig", "/sbin/ldconfig", "/usr/bin/ldconfig"]),
    ("/var/cache/ldconfig/aux-cache", &["/usr/sbin/ldconfig", "/sbin/ldconfig", "/usr/bin/ldconfig"]),
    ("/etc/ssl/certs/ca-certificates.crt", &["/usr/sbin/update-ca-certificates"]),
    ("/etc/ssl/certs/java/cacerts", &["/etc/ca-certificates/update.d/jks-keystore"]),
    ("/etc/ssl/ca-bundle.pem", &["/usr/sbin/update-ca-certificates"]),
    ("/var/lib/ca-certificates/ca-bundle.pem", &["/usr/sbin/update-ca-certificates"]),
    ("/usr/lib/locale/locale-archive", &["/usr/sbin/locale-gen", "/usr/sbin/build-locale-archive"]),
    ("/usr/share/mime/mime.cache", &["/usr/bin/update-mime-database"]),
];

/// The directories of the trust that rpm's distributions build, and their program.
const TRUST: (&str, &str) = ("/etc/pki/ca-trust/extracted", "/usr/bin/update-ca-trust");
/// Where certificates are linked together, what makes the links, and where these lead.
const CERTIFICATES: (&str, &str, [&str; 2]) = (
    "/etc/ssl/certs",
    "/usr/sbin/update-ca-certificates",
    ["/usr/share/ca-certificates", "/usr/local/share/ca-certificates"],
);
/// Where the links of alternatives are, and where they are described (update-alternatives(1), of dpkg and of
/// chkconfig).
const ALTERNATIVES: &str = "/etc/alternatives";
const ALTERNATIVES_DATA: [&str; 3] =
    ["/var/lib/dpkg/alternatives", "/var/lib/alternatives", "/var/lib/rpm/alternatives"];

/// A file, and one that is of the same package.
pub(super) type Made = (ImagePath, ImagePath);

/// The files that programs of packages made, each with a file that its package has. `is_owned` says of which files a
/// package is known.
pub(super) fn read(reader: &mut Reader<'_>, is_owned: &dyn Fn(&ImagePath) -> bool) -> Result<Vec<Made>, SelectError> {
    let mut made = Vec::new();
    let of_program = |reader: &mut Reader<'_>, programs: &[&str]| -> Result<Option<ImagePath>, SelectError> {
        for program in programs {
            let place = reader.place(&constant(program))?;
            if is_owned(&place) {
                return Ok(Some(place));
            }
        }
        Ok(None)
    };
    for (file, programs) in BY_PROGRAM {
        if let Some(program) = of_program(reader, programs)? {
            made.push((reader.place(&constant(file))?, program));
        }
    }
    if let Some(program) = of_program(reader, &[TRUST.1])? {
        let dir = reader.directory(&constant(TRUST.0))?;
        crate::select::walk(reader.rootfs, &dir, &mut |path, entry| {
            if !entry.is_dir() {
                made.push((path.clone(), program.clone()));
            }
            Ok(())
        })?;
    }
    certificates(reader, &of_program, &mut made)?;
    alternatives(reader, is_owned, &mut made)?;
    made.retain(|(file, _)| !is_owned(file));
    Ok(made)
}

/// The links among the certificates that lead to those of packages, by their own name or by a digest of the subject.
fn certificates(reader: &mut Reader<'_>, of_program: &Finder<'_>, made: &mut Vec<Made>) -> Result<(), SelectError> {
    let (dir, program, targets) = CERTIFICATES;
    let Some(program) = of_program(reader, &[program])? else { return Ok(()) };
    let dir = reader.directory(&constant(dir))?;
    let targets = targets.map(constant);
    for name in reader.names(&dir)? {
        let Ok(link) = dir.child(&name) else { continue };
        if reader.lookup(&link)?.is_some_and(|entry| entry.link_target().is_some()) {
            let end = reader.rootfs.resolve(link.as_bytes(), true)?.end;
            if targets.iter().any(|target| end.is_within(target)) {
                made.push((link, program.clone()));
            }
        }
    }
    Ok(())
}

fn alternatives(
    reader: &mut Reader<'_>,
    is_owned: &dyn Fn(&ImagePath) -> bool,
    made: &mut Vec<Made>,
) -> Result<(), SelectError> {
    let dir = reader.directory(&constant(ALTERNATIVES))?;
    for name in reader.names(&dir)? {
        let Ok(link) = dir.child(&name) else { continue };
        if let Some(target) = chosen(reader, &link, is_owned)? {
            made.push((link, target));
        }
    }
    for data in ALTERNATIVES_DATA.map(constant) {
        for name in reader.names(&data)? {
            let Ok(description) = data.child(&name) else { continue };
            let Some((_, text)) = reader.file(&description, MAX_TEXT)? else { continue };
            for (link, group) in links(&text, &name) {
                let (Ok(link), Ok(chosen_by)) = (ImagePath::parse(link), dir.child(group)) else { continue };
                let link = reader.place(&link)?;
                let leads_there = match reader.lookup(&link)? {
                    Some(entry) => entry.link_target().is_some_and(|target| target == chosen_by.as_bytes()),
                    None => false,
                };
                if leads_there && let Some(target) = chosen(reader, &chosen_by, is_owned)? {
                    made.push((link, target));
                }
            }
        }
    }
    Ok(())
}

/// What a link of an alternative leads to that belongs to a package: the next file, or the last.
fn chosen(
    reader: &mut Reader<'_>,
    link: &ImagePath,
    is_owned: &dyn Fn(&ImagePath) -> bool,
) -> Result<Option<ImagePath>, SelectError> {
    let Some(entry) = reader.lookup(link)? else { return Ok(None) };
    let Some(target) = entry.link_target() else { return Ok(None) };
    let next = match ImagePath::parse(target) {
        Ok(target) => Some(reader.place(&target)?),
        Err(_) => None,
    };
    let last = reader.rootfs.resolve(link.as_bytes(), true)?.end;
    Ok(next.into_iter().chain([last]).find(|path| is_owned(path)))
}

/// The links of a description, each with its name among the alternatives: a line with the mode, one with the link, and
/// then two for each slave, its name and its link, up to an empty one.
fn links<'a>(text: &'a [u8], name: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
    let mut lines = text.split(|&b| b == b'\n').skip(1);
    let mut links: Vec<(&[u8], &[u8])> = lines.next().map(|link| (link, name)).into_iter().collect();
    while let (Some(slave), Some(link)) = (lines.next().filter(|name| !name.is_empty()), lines.next()) {
        links.push((link, slave));
    }
    links
}
