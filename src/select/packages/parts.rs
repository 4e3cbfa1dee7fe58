//! Packages that a distribution has cut out of one source, of which one cannot do without the other: a server, and the
//! package with its tools.

use std::collections::BTreeSet;

use crate::select::packages::deb822::field;
use crate::select::packages::{Installed, Package, Packages, Record, apk_lines};

/// More names than any package asks for.
const MOST_NAMES: usize = 1024;

impl Packages {
    /// The packages that were built with `package` and that it asks for by name, as its database says: `Depends` and
    /// `Pre-Depends` of Debian's (Debian policy 7.2), `D:` of Alpine's (apk-package(5)).
    pub(in crate::select) fn parts(&self, package: &Package) -> Vec<&Package> {
        let Some(whole) = self.installed().iter().find(|installed| installed.package == *package) else {
            return Vec::new();
        };
        let Some((source, needs)) = whole.origin() else { return Vec::new() };
        let others = self.installed().iter().filter(|other| {
            other.package != *package
                && other.package.manager == package.manager
                && needs.contains(&other.package.name)
                && other.origin().is_some_and(|(origin, _)| origin == source)
        });
        others.map(|installed| &installed.package).collect()
    }
}

impl Installed {
    /// The source of the package, and the names of the packages that it needs; `None` where the database does not tell.
    fn origin(&self) -> Option<(String, BTreeSet<String>)> {
        let names = |text: &str| text.split([',', '|']).filter_map(name).take(MOST_NAMES).collect::<Vec<_>>();
        match &self.record {
            Record::Dpkg(dpkg) => {
                let fields = ["Depends", "Pre-Depends"].into_iter().filter_map(|key| field(&dpkg.stanza, key));
                let source = field(&dpkg.stanza, "Source").and_then(|source| name(&source));
                let needs = fields.flat_map(|text| names(&text)).collect();
                Some((source.unwrap_or_else(|| self.package.name.clone()), needs))
            }
            Record::Apk(apk) => {
                let value = |key: &[u8]| {
                    let line = apk_lines(&apk.paragraph).find_map(|line| line.text.strip_prefix(key));
                    line.map(|value| String::from_utf8_lossy(value).into_owned())
                };
                let needs = value(b"D:").unwrap_or_default();
                Some((value(b"o:")?, needs.split_whitespace().filter_map(name).take(MOST_NAMES).collect()))
            }
            Record::Rpm(_) | Record::Listed | Record::Language { .. } | Record::Composer { .. } => None,
        }
    }
}

/// The name that a text begins with, without version or architecture.
fn name(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c))).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{OwnersAsSeen, Rootfs};
    use std::sync::Arc;

    #[test]
    fn parts_are_needed_and_of_the_same_source() {
        let dpkg = "Package: server\nStatus: install ok installed\nSource: broker (1.2)\nDepends: libc6 (>= 2.3),\n \
                    tools (= 1) | other, unrelated:any\nPre-Depends: common\nRecommends: extra\n\nPackage: tools\n\
                    Source: broker\n\nPackage: common\nSource: broker\n\nPackage: extra\nSource: broker\n\n\
                    Package: unrelated\n\nPackage: broker\nDepends: server\n";
        let apk = "P:server\no:broker\nD:so:libc.so tools=1-r0 other\n\nP:tools\no:broker\n\nP:other\no:more\n";
        for (place, database, expected) in
            [("var/lib/dpkg/status", dpkg, "tools common"), ("lib/apk/db/installed", apk, "tools")]
        {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, database).unwrap();
            let rootfs = Rootfs::lazy(dir.path(), Arc::new(OwnersAsSeen)).unwrap();
            let packages = Packages::read(&rootfs).unwrap();
            let server = packages.named("server")[0].clone();
            let parts: Vec<&str> = packages.parts(&server).iter().map(|part| part.name.as_str()).collect();
            assert_eq!(parts.join(" "), expected, "{place}");
        }
    }
}
