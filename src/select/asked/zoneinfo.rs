//! Where programs look for time zones (`tzfile(5)`).

use crate::closure::Execution;

/// The local zone, and its name.
pub(in crate::select) const LOCAL: [&str; 2] = ["/etc/localtime", "/etc/timezone"];

/// Directories of zones.
pub(in crate::select) const ZONES: [&str; 3] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo"];

/// All places that may hold zones.
pub(super) fn paths(execution: &Execution) -> Vec<String> {
    let directory = execution.variable("TZDIR").filter(|path| path.starts_with('/'));
    ZONES.iter().chain(&LOCAL).copied().chain(directory).map(String::from).collect()
}
