//! The model by tables, and against the kernel that the tests run on.

mod attributes;
mod entries;
mod kernel;
mod programs;
mod random;
mod sequences;
mod signals;
mod tables;
mod wire;

use super::{Credentials, FileIdentity};

/// Credentials as text: `uid 0 0 0 0 gid 0 0 0 0 groups - caps e/p/i/b/a bits 0`.
fn text(of: &Credentials) -> String {
    let ids = |ids: super::Ids| format!("{} {} {} {}", ids.real, ids.effective, ids.saved, ids.filesystem);
    let groups: Vec<String> = of.groups.iter().map(u32::to_string).collect();
    let groups = if groups.is_empty() { "-".into() } else { groups.join(",") };
    let sets = [of.effective, of.permitted, of.inheritable, of.bounding, of.ambient].map(|s| format!("{s:x}"));
    let nnp = if of.no_new_privs { " nnp" } else { "" };
    format!(
        "uid {} gid {} groups {groups} caps {} bits {:x}{nnp}",
        ids(of.uid),
        ids(of.gid),
        sets.join("/"),
        of.securebits
    )
}

/// A file as text: `100644 0:0`, with its capabilities behind.
fn file_text(of: &FileIdentity) -> String {
    let capabilities = match of.capabilities {
        None => String::new(),
        Some(c) => {
            let root = c.root_id.map_or(String::new(), |id| format!(" root {id}"));
            let effective = if c.effective { " effective" } else { "" };
            format!(" {:x}/{:x}{effective}{root}", c.permitted, c.inheritable)
        }
    };
    format!("{:o} {}:{}{capabilities}", of.mode, of.uid, of.gid)
}

/// How a call ended.
fn outcome<T: std::fmt::Display>(result: Result<T, nix::errno::Errno>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(errno) => format!("{errno:?}"),
    }
}

/// The same for calls that return nothing.
fn done(result: Result<(), nix::errno::Errno>) -> String {
    outcome(result.map(|()| 0))
}
