//! Packages of languages are known by files of their own, which are kept as they are. Only Composer has one list of
//! all: it is cut to the packages that are there.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::package_data::Data;
use crate::select::packages::reader::MAX_TEXT;
use crate::select::packages::{Installed, Record, cut_composer};

/// Adds the lists in which packages among `kept` stand.
pub(super) fn generate(data: &mut Data<'_>, kept: &[(&Installed, &BTreeSet<ImagePath>)]) -> Result<(), SelectError> {
    let mut lists: BTreeMap<&ImagePath, BTreeSet<&str>> = BTreeMap::new();
    for (package, _) in kept {
        if let Record::Composer { installed, .. } = &package.record {
            lists.entry(installed).or_default().insert(&package.package.name);
        }
    }
    for (list, names) in lists {
        let Some((_, text)) = data.reader.file(list, MAX_TEXT)? else { continue };
        if let Some(cut) = cut_composer(&text, |name| names.contains(name)) {
            data.generate(list, cut)?;
        }
    }
    Ok(())
}
