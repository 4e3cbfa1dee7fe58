//! Applications that a distribution has installed: a wiki, a webmail, a shop. They are sources of a language of which
//! no exerciser knows, and most of them are read at the request that names them. So an application of which the run has
//! read a source is kept whole, its code included, as those are that no package owns.
//!
//! Distributions cut such an application up. What many have in common lies with others (`/usr/share/javascript/NAME`),
//! what the machine's administrator may change in `/etc/NAME`, and what changes by itself in `/var/lib/NAME`. Its
//! sources name these, or links lead there, and a link to a directory means all that is in it.

use std::collections::BTreeSet;

use crate::base::ImagePath;
use crate::closure::named::OF_THE_SYSTEM;
use crate::closure::resources::{DATA, PROGRAMS, below, is_data_of_many, is_one_programs};
use crate::closure::{languages, state};
use crate::observation::Observation;

/// Where an application has what is the machine's.
const OF_THE_MACHINE: [&str; 2] = ["/etc", "/var/lib"];

/// Directories of data that are for readers; what compilers read lies elsewhere.
const FOR_READERS: [&[u8]; 4] = [b"cmake", b"doc", b"docs", b"man"];

/// Keys and state of the system itself, beside how it is set up.
const SYSTEM: [&str; 9] = [
    "/etc/pki",
    "/etc/ssh",
    "/etc/ssl",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/pacman",
    "/var/lib/pam",
    "/var/lib/rpm",
    "/var/lib/systemd",
];

/// The directories of the applications of which the run has read a source: those of the sources, and what an
/// application of that name has of the machine's.
pub(super) fn find(observation: &Observation) -> BTreeSet<ImagePath> {
    let places = || [&DATA[..], &PROGRAMS, &OF_THE_MACHINE[1..]];
    let of_source = |source: &ImagePath| places().iter().find_map(|places| below(places, source, false));
    let mut found: BTreeSet<ImagePath> = languages::sources(observation).into_iter().filter_map(of_source).collect();
    let namesakes: Vec<ImagePath> = found.iter().flat_map(of_the_machine).filter(leads_on).collect();
    found.extend(namesakes);
    found
}

fn of_the_machine(application: &ImagePath) -> Vec<ImagePath> {
    let Some(name) = application.file_name() else { return Vec::new() };
    let places = OF_THE_MACHINE.iter().filter_map(|place| ImagePath::parse(place).ok());
    places.filter_map(|place| place.child(name).ok()).collect()
}

/// Whether `directory` holds data or sources, to which what is called as compilers call theirs (`src`, `include`)
/// belongs.
pub(super) fn is_data(directory: &ImagePath) -> bool {
    let is_in_place = DATA.iter().chain(&OF_THE_MACHINE).any(|place| is_within(directory, place));
    is_in_place && !directory.file_name().is_some_and(|name| FOR_READERS.contains(&name))
}

/// Whether a link to `directory` means all that is in it: it belongs to one library or one application.
pub(super) fn leads_on(directory: &ImagePath) -> bool {
    let is_systems = OF_THE_SYSTEM.iter().chain(&SYSTEM).any(|place| is_within(directory, place));
    if is_systems || state::is_shared(directory) {
        return false;
    }
    if OF_THE_MACHINE.iter().any(|place| is_within(directory, place)) {
        return true;
    }
    let is_in = |place: &str| directory.parent().is_some_and(|parent| parent.as_bytes() == place.as_bytes());
    if DATA.iter().any(|place| is_in(place)) {
        return directory.file_name().is_some_and(is_one_programs);
    }
    // Of what many have together one below it is one's, but translations, documents and time zones are not cut up like
    // that.
    let is_manys =
        |above: ImagePath| is_data_of_many(&above) && !matches!(above.file_name(), Some(b"fonts" | b"icons"));
    DATA.iter().any(|place| is_within(directory, place)) && !directory.ancestors().any(is_manys)
}

fn is_within(path: &ImagePath, above: &str) -> bool {
    ImagePath::parse(above).is_ok_and(|above| path.is_within(&above))
}
