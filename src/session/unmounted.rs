//! What the application missed where nothing can be mounted: files of the kernel, in `/proc` and `/sys`.

use crate::base::{FileTree, ImagePath};
use crate::tracer::Folded;

/// How many paths are named.
const NAMED: usize = 3;

/// What to say when the application looked for something there, in one sentence.
pub fn warnings(accesses: &FileTree<Folded>) -> Vec<String> {
    let missed = |(path, folded): &(&ImagePath, &Folded)| {
        let is_kernels = matches!(path.components().next(), Some(b"proc" | b"sys"));
        is_kernels && folded.application && !folded.resolved && path.components().count() > 1
    };
    let mut missed: Vec<String> = accesses.iter().filter(missed).map(|(path, _)| without_number(path)).collect();
    missed.sort();
    missed.dedup();
    if missed.is_empty() {
        return Vec::new();
    }
    let more = match missed.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = missed[..missed.len().min(NAMED)].join(", ");
    vec![format!(
        "there is no /proc and no /sys in sandbox d, where the application looked for {named}{more}; sandboxes a to c \
         have them"
    )]
}

/// Processes have other numbers in each run.
fn without_number(path: &ImagePath) -> String {
    let path = path.to_string();
    let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    match path.strip_prefix("/proc/").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
        Some((process, "")) if is_number(process) => "/proc/PID".to_owned(),
        Some((process, rest)) if is_number(process) => format!("/proc/PID/{rest}"),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_the_kernel_would_have_shown_is_named() {
        let said = |paths: &[(&str, bool)]| {
            let mut accesses = FileTree::new();
            for (path, resolved) in paths {
                let folded = Folded {
                    operations: BTreeSet::new(),
                    executables: BTreeSet::new(),
                    first_probe: None,
                    application: true,
                    resolved: *resolved,
                    count: 1,
                };
                accesses.insert(ImagePath::parse(path).unwrap(), folded);
            }
            warnings(&accesses).concat().replace("there is no /proc and no /sys in sandbox d, where ", "")
        };
        assert_eq!(said(&[("/etc/hosts", false), ("/proc", true), ("/procs/x", false), ("/proc/x", true)]), "");
        let end = "; sandboxes a to c have them";
        assert_eq!(said(&[("/proc/self/exe", false)]), format!("the application looked for /proc/self/exe{end}"));
        let processes = [("/proc/7", false), ("/proc/7/status", false), ("/proc/8/status", false)];
        assert_eq!(said(&processes), format!("the application looked for /proc/PID, /proc/PID/status{end}"));
        assert_eq!(
            said(&[("/proc/a", false), ("/proc/b", false), ("/sys/a", false), ("/sys/b", false)]),
            format!("the application looked for /proc/a, /proc/b, /sys/a and 1 more{end}")
        );
    }
}
