//! What is told of a change before it is made: where nothing stands between the application and the files it changes,
//! somebody has to save them first.
//!
//! A witness is told while the task that asks for the change stands still, on the tracer's thread, so that nothing has
//! happened yet when it looks. It is told more than happens: a call may fail all the same. What is written through a
//! descriptor is told when that is opened for writing.

use std::io;

use super::names::Seen;
use super::record::Ask;
use super::resolve::End;
use super::syscalls::Effect;
use crate::base::ImagePath;
use crate::observation::Operation;

/// What a call may change at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The content of a file, and its metadata with it.
    Content,
    /// Mode, owner, times, attributes, how many names it has.
    Metadata,
    /// What is there loses this name, or another file gets it; a directory only when it is empty.
    Name,
    /// The same for a directory with everything below it.
    Tree,
    /// Nothing is there; something may be after.
    Created,
}

/// Who is told of changes.
pub trait Witness: Send {
    /// `what` may happen to `path` once this returns: a canonical path in the sandbox's root, which has directories
    /// above it and no links. Each call is told, also when the same was told before.
    ///
    /// # Errors
    /// When the change must not be made. The application is killed then, and the run fails with the error.
    fn about_to_change(&mut self, path: &ImagePath, what: Change) -> io::Result<()>;
}

/// What the call that asks may change at the end of its path, if anything.
pub fn change(ask: &Ask, end: &End) -> Option<Change> {
    // Of a name in a directory that does not exist nothing comes.
    if !end.below.is_empty() {
        return None;
    }
    // An empty path is a descriptor's; what it is of was not looked at.
    let is_file = end.seen == Seen::Other;
    match (ask.effect, end.resolved()) {
        (Effect::None | Effect::Directory | Effect::Mount, _) => None,
        (Effect::Replace, false) if ask.operation == Operation::Unlink => None,
        (Effect::Create | Effect::CreateOrWrite | Effect::Replace | Effect::Target(_), false) => Some(Change::Created),
        // The target of an exchange has to exist.
        (Effect::Content | Effect::Metadata | Effect::Move, false) => None,
        (Effect::Content | Effect::CreateOrWrite, true) => is_file.then_some(Change::Content),
        // What is written under the new name is written to the old one, and on an overlay nobody may be able to tell
        // later that both are one file.
        (Effect::Metadata, true) if ask.operation == Operation::Link => Some(Change::Content),
        (Effect::Metadata, true) => Some(Change::Metadata),
        (Effect::Create, true) => None,
        (Effect::Replace | Effect::Target(_), true) => Some(Change::Name),
        (Effect::Move, true) => Some(if end.seen == Seen::Dir { Change::Tree } else { Change::Name }),
    }
}
