//! Which package a file of the base belongs to, as the base's own databases say: those of dpkg, apk and rpm, and what
//! the package managers of languages leave beside what they install.
//!
//! Databases are data of the image and are not trusted: a database that makes no sense is a warning, never an error,
//! and what one says leads nowhere outside the rootfs. Nothing is executed.

use std::fmt;

use crate::base::ImagePath;
use crate::image::Rootfs;
use crate::select::SelectError;

/// The packages of a base and the files that each of them installed or makes.
#[derive(Debug, Default)]
pub struct Packages {
    packages: Vec<Package>,
    warnings: Vec<String>,
}

/// A package that is installed in the base.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Package {
    /// Its name, as its manager prints it: `libc6`, `@babel/core`, `org.slf4j:slf4j-api`.
    pub name: String,
    /// Its version, as its manager prints it: `2.36-9+deb12u4`.
    pub version: String,
    /// The architecture; empty where packages have none.
    pub architecture: String,
    /// What installed it.
    pub manager: Manager,
    /// What tells it from others of the same name and version: where a language's package lies, otherwise `None`.
    pub place: Option<ImagePath>,
}

/// What installs packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Manager {
    /// Debian's, `/var/lib/dpkg`.
    Dpkg,
    /// Alpine's, `/lib/apk/db`.
    Apk,
    /// Of Red Hat, SUSE and others, `/var/lib/rpm`.
    Rpm,
    /// `pip` and others that write `*.dist-info` or `*.egg-info`.
    Python,
    /// `npm` and others that write `node_modules`.
    Node,
    /// RubyGems.
    Ruby,
    /// PHP's, `vendor/composer`.
    Composer,
    /// Java archives that say in `META-INF/maven` what they are.
    Maven,
}

impl Packages {
    /// Reads the databases that `rootfs` has; where it has none this is empty. What cannot be read is in
    /// [`Packages::warnings`]. Of a lazy rootfs the language packages are those near paths that were asked about.
    ///
    /// # Errors
    /// When the rootfs itself cannot be looked at.
    pub fn read(rootfs: &Rootfs) -> Result<Packages, SelectError> {
        let _ = rootfs;
        Ok(Packages::default())
    }

    /// The package that installed or makes what is at `path`: a path as a manifest has it, or through links to
    /// directories. A language's package before a distribution's that both have it; `None` for what nobody owns, and
    /// for directories.
    pub fn owner(&self, path: &ImagePath) -> Option<&Package> {
        let _ = path;
        None
    }

    /// The packages of that name, of every manager, in order. `libc6:amd64` is the one of an architecture.
    pub fn named(&self, name: &str) -> Vec<&Package> {
        let is_wanted = |package: &&Package| package.is_named(name);
        self.packages.iter().filter(is_wanted).collect()
    }

    /// The files of `package` that the rootfs has, in order, without directories; each where links to directories lead.
    pub fn files(&self, package: &Package) -> Vec<ImagePath> {
        let _ = package;
        Vec::new()
    }

    /// What could not be read, each a sentence with its cause.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Package {
    /// Whether `name` means this package: its name, or its name, a colon and its architecture.
    fn is_named(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(|arch| arch == self.architecture))
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Manager {
    /// Whether it installs the base itself, and not the packages of one language.
    pub fn is_distribution(self) -> bool {
        matches!(self, Manager::Dpkg | Manager::Apk | Manager::Rpm)
    }
}
