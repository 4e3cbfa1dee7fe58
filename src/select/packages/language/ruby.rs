//! Gems: `specifications/NAME-VERSION.gemspec` in a directory of RubyGems, with the files in `gems/NAME-VERSION` and
//! `extensions/PLATFORM/API/NAME-VERSION` beside it.

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::packages::language::{is_directly_in, is_license};
use crate::select::packages::reader::{MAX_TEXT, Reader};
use crate::select::packages::{Found, Manager, Package, Record};

/// The directory of RubyGems to which a specification belongs; those of `default` come with Ruby itself.
pub(super) fn home(specification: &ImagePath) -> Option<ImagePath> {
    let mut above = specification.ancestors();
    let dir = above.next().filter(|dir| dir.file_name() != Some(b"default")).or_else(|| above.next())?;
    dir.parent().filter(|_| dir.file_name() == Some(b"specifications"))
}

pub(super) fn read(reader: &mut Reader<'_>, specification: &ImagePath) -> Result<Vec<Found>, SelectError> {
    let (Some(home), Some(file)) = (home(specification), specification.file_name()) else { return Ok(Vec::new()) };
    let full_name = file.strip_suffix(b".gemspec").unwrap_or(file).to_vec();
    let Some((_, text)) = reader.file(specification, MAX_TEXT)? else { return Ok(Vec::new()) };
    let Some((name, version)) = identity(&text).or_else(|| from_name(&full_name)) else { return Ok(Vec::new()) };
    let mut files = vec![specification.clone()];
    let mut metadata = files.clone();
    if let Ok(dir) = home.child(b"gems").and_then(|gems| gems.child(&full_name)) {
        files.extend(reader.files_below(&dir)?);
        metadata.extend(files.iter().filter(|path| is_directly_in(path, &dir) && is_license(path)).cloned());
    }
    if let Ok(extensions) = home.child(b"extensions") {
        for platform in reader.names(&extensions)? {
            let Ok(platform) = extensions.child(&platform) else { continue };
            for version in reader.names(&platform)? {
                if let Ok(dir) = platform.child(&version).and_then(|version| version.child(&full_name)) {
                    files.extend(reader.files_below(&dir)?);
                }
            }
        }
    }
    let place = Some(specification.clone());
    let package = Package { name, version, architecture: String::new(), manager: Manager::Ruby, place };
    Ok(vec![Found { package, record: Record::Language { metadata }, files }])
}

/// Name and version from the line that RubyGems writes for itself: `# stub: rack 2.2.7 ruby lib`.
fn identity(text: &[u8]) -> Option<(String, String)> {
    let stub = text.split(|&b| b == b'\n').take(5).find_map(|line| line.strip_prefix(b"# stub: "))?;
    let stub = String::from_utf8_lossy(stub).into_owned();
    let mut words = stub.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

/// Name and version from `NAME-VERSION[-PLATFORM]`: a version begins with a digit.
fn from_name(full_name: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(full_name).ok()?;
    let (at, _) = text.match_indices('-').find(|(at, _)| text[at + 1..].starts_with(|c: char| c.is_ascii_digit()))?;
    let version = text[at + 1..].split('-').next()?;
    Some((text[..at].to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions() {
        let pair = |(name, version): (String, String)| format!("{name} {version}");
        assert_eq!(
            identity(b"# -*- encoding: utf-8 -*-\n# stub: rack 2.2.7 ruby lib\n").map(pair).unwrap(),
            "rack 2.2.7"
        );
        assert_eq!(identity(b"Gem::Specification.new"), None);
        assert_eq!(from_name(b"net-http-1.2.0").map(pair).unwrap(), "net-http 1.2.0");
        assert_eq!(from_name(b"nokogiri-1.15.4-x86_64-linux").map(pair).unwrap(), "nokogiri 1.15.4");
        assert_eq!(from_name(b"odd"), None);
    }
}
