//! rpm's packages as images without rpm have them: `/var/lib/rpmmanifest/container-manifest-2`, a line for each of ten
//! fields between tabs. They are those of this query, of the toolkit of CBL-Mariner: `%{NAME} %{VERSION}-%{RELEASE}
//! %{INSTALLTIME} %{BUILDTIME} %{VENDOR} %{EPOCH} %{SIZE} %{ARCH} %{EPOCHNUM} %{SOURCERPM}`.

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::package_data::Data;
use crate::select::packages::reader::constant;
use crate::select::packages::{Installed, RPM_MANIFEST, Record, RpmHeader};

/// Adds the data of the packages among `kept` that are rpm's.
pub(super) fn generate(data: &mut Data<'_>, kept: &[(&Installed, &BTreeSet<ImagePath>)]) -> Result<(), SelectError> {
    let mut lines = String::new();
    for (installed, _) in kept {
        if let Record::Rpm(rpm) = &installed.record {
            if data.manifest.entries.contains(&rpm.database) {
                return Ok(());
            }
            lines.push_str(&line(&rpm.header));
        }
    }
    match lines.is_empty() {
        true => Ok(()),
        false => data.generate(&constant(RPM_MANIFEST), lines.into_bytes()),
    }
}

fn line(header: &RpmHeader) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "(none)".to_owned());
    let number = |number: Option<u32>| or_none(number.map(|number| number.to_string()));
    let fields = [
        header.name.clone(),
        format!("{}-{}", header.version, header.release),
        number(header.install_time),
        number(header.build_time),
        or_none(header.vendor.clone()),
        number(header.epoch),
        or_none(header.size.map(|size| size.to_string())),
        or_none(header.architecture.clone()),
        header.epoch.unwrap_or_default().to_string(),
        or_none(header.source.clone()),
    ];
    fields.join("\t") + "\n"
}
