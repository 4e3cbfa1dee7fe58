//! How far a selection goes: what the closure of the run requires, what the user asked for by what it is, and what the
//! levels `app` and `package` add.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{FileTree, ImagePath};
use crate::closure::{self, Execution, Level, Reason, Requirements};
use crate::image::{ImageConfig, Rootfs};
use crate::observation::{Lookup, Observation};
use crate::select::asked::{self, Asked, Locale, Place, Wanted};
use crate::select::{Package, Packages, SelectError, application, service_tools};

/// A base, a run of it, and how far to go.
pub struct Scope<'a> {
    /// The base.
    pub rootfs: &'a Rootfs,
    /// The base's own config.
    pub config: &'a ImageConfig,
    /// The run.
    pub observation: &'a Observation,
    /// The packages of the base.
    pub packages: &'a Packages,
    /// How far to go beyond what was used.
    pub level: Level,
    /// What the user asked for.
    pub asked: &'a Asked,
}

impl Scope<'_> {
    /// What the image must have. `repairs` are paths that a verification has missed, with the look-ups that asked for them.
    ///
    /// # Errors
    /// When the base has not what the user asked for by name, and when what must be looked at cannot be read.
    pub fn requirements(&self, repairs: &BTreeMap<ImagePath, Lookup>) -> Result<Requirements, SelectError> {
        let Scope { rootfs, config, observation, packages, level, .. } = *self;
        let execution = Execution::new(config, observation);
        let place = Place { rootfs, execution: &execution, observation, packages };
        let mut wanted = asked::find(self.asked, &place)?;
        for (path, lookup) in repairs {
            wanted.add(path.clone(), Reason::Repair(lookup.operation, lookup.executable.clone()));
        }
        if level >= Level::App {
            let owner = |path: &ImagePath| packages.owner(path).map(|package| package.manager);
            let own = application::find(rootfs, &execution, observation, &owner)?;
            for (path, reasons) in own.paths {
                wanted.paths.get_or_insert_with(path, BTreeSet::new).extend(reasons);
            }
            wanted.warnings.extend(own.warnings);
            for (tool, package) in service_tools::find(rootfs, observation, packages)? {
                wanted.add(tool, Reason::Package(package));
            }
        }
        let locales = self.locales()?;
        for (name, locale) in &locales {
            for path in locale.files() {
                wanted.add(path.clone(), Reason::KeepLocale(name.clone()));
            }
        }
        loop {
            let mut required = closure::requirements(rootfs, config, observation, level, &wanted.paths)?;
            let before = wanted.paths.len();
            let kept = self.kept_packages(&required.paths)?;
            if level >= Level::Package {
                // What their files need can belong to further packages.
                for package in &kept {
                    for file in packages.files(package) {
                        if !wanted.paths.contains(&file) {
                            wanted.add(file, Reason::Package(package.name.clone()));
                        }
                    }
                }
            }
            self.add_catalogues(&mut wanted, &locales, &kept)?;
            if wanted.paths.len() == before {
                required.warnings.extend(wanted.warnings);
                required.warnings.sort();
                return Ok(required);
            }
        }
    }

    fn locales(&self) -> Result<Vec<(String, Locale)>, SelectError> {
        let names = self.asked.locales.iter();
        names.map(|name| Ok((name.clone(), Locale::find(name, self.rootfs)?))).collect()
    }

    /// The packages of the files among `paths`.
    fn kept_packages(&self, paths: &FileTree<BTreeSet<Reason>>) -> Result<BTreeSet<&Package>, SelectError> {
        if self.level < Level::Package && self.asked.locales.is_empty() {
            return Ok(BTreeSet::new());
        }
        Ok(paths.iter().filter_map(|(path, _)| self.packages.owner(path)).collect())
    }

    /// The message catalogues of kept packages, and those that no package owns.
    fn add_catalogues(
        &self,
        wanted: &mut Wanted,
        locales: &[(String, Locale)],
        kept: &BTreeSet<&Package>,
    ) -> Result<(), SelectError> {
        for (name, locale) in locales {
            for path in locale.catalogues(self.rootfs)? {
                if self.packages.owner(&path).is_none_or(|owner| kept.contains(owner)) && !wanted.paths.contains(&path)
                {
                    wanted.add(path, Reason::KeepLocale(name.clone()));
                }
            }
        }
        Ok(())
    }
}
