//! Names that are known before the application asks for them: see [`scout`](crate::tracer::scout).

use std::hint;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::sched_getcpu;

use super::{Kind, Name, Names, ROOT, Seen};
use crate::tracer::scout::{Request, Scout};

/// How long to wait for what is being looked at elsewhere: for longer than a look takes, and shorter than to sleep.
const SOON: Duration = Duration::from_micros(30);

/// So many names are looked at before it has to show that they are asked for ...
pub(super) const FIRST_CREDIT: i64 = 256;
/// ... and so many ahead of what was asked for, later.
pub(super) const MOST_CREDIT: i64 = 32_768;

impl Names {
    /// What turns out to be at `name` when others look, now or very soon.
    pub(super) fn awaited(&mut self, name: Name) -> Option<Seen> {
        let parent = self.node(name)?.parent as usize;
        let mut since = None;
        loop {
            if self.hear()
                && let Some(seen) = self.remembered(name)
            {
                return Some(seen);
            }
            if !self.nodes[parent].scouted {
                return None;
            }
            if since.get_or_insert_with(Instant::now).elapsed() > SOON {
                // Its CPU has other work.
                self.nodes[parent].scouted = false;
                return None;
            }
            hint::spin_loop();
        }
    }

    /// The application has opened the directory at `name`: it may ask for all that is in it.
    pub fn opened(&mut self, name: Name) {
        if let Some(node) = self.node_mut(name) {
            node.opened = true;
        }
    }

    /// The application has asked for the first name in the directory `id` that it has opened, and so has read its list,
    /// which would be in the way: now it can be looked at.
    pub(super) fn explore(&mut self, id: u32) {
        let node = &self.nodes[id as usize];
        let (directory, parent, component) = (self.name(id), node.parent, Arc::clone(&node.name));
        let above = &self.nodes[parent as usize];
        if self.credit <= 0 || self.changing > 0 || id == ROOT || above.kind != Kind::Ordinary {
            return;
        }
        let Some(descriptor) = above.descriptor.clone() else { return };
        let scout = match self.scout.take().map_or_else(Scout::new, Ok) {
            Ok(scout) => self.scout.insert(scout),
            Err(_) => {
                // No thread is to be had. It works without.
                self.credit = i64::MIN;
                return;
            }
        };
        let most = self.credit.min(MOST_CREDIT) as usize;
        scout.send(Request {
            directory,
            parent: descriptor,
            component,
            state: self.state,
            most,
            // It was worth it so far.
            deep: self.credit >= 2 * FIRST_CREDIT,
            busy: sched_getcpu().ok(),
        });
        let node = &mut self.nodes[id as usize];
        (node.opened, node.scouted) = (false, true);
    }

    /// Takes over what was looked at meanwhile. Whether that is anything.
    pub(super) fn hear(&mut self) -> bool {
        let mut any = false;
        while let Some(told) = self.scout.as_ref().and_then(Scout::hear) {
            self.credit = self.credit.saturating_sub(told.len() as i64);
            if told.state != self.state {
                if let Some(node) = self.node_mut(told.place.start) {
                    node.scouted &= !told.is_all;
                }
                continue;
            }
            let start = self.node(told.place.start).map(|_| told.place.start);
            let Some(start) = start else { continue };
            let below = told.place.below.split(|&b| b == b'/').filter(|component| !component.is_empty());
            let directory = below.fold(start, |directory, component| self.child(directory, component));
            let node = &mut self.nodes[directory.id as usize];
            node.scouted = !told.is_all;
            if let Some(descriptor) = &told.descriptor
                && node.descriptor.is_none()
            {
                (node.descriptor, node.kind) = (Some(Arc::clone(descriptor)), Kind::Ordinary);
                self.open += 1;
            }
            for (component, seen, device) in told.entries() {
                let name = self.child(directory, component);
                let node = &mut self.nodes[name.id as usize];
                if node.seen.is_none() {
                    (node.seen, node.device, node.told) = (Some(seen.clone()), device, true);
                    any = true;
                }
            }
        }
        any
    }

    /// From here on nothing is looked at ahead: the application watches directories, and would notice who lists them.
    pub fn keep_still(&mut self) {
        self.credit = i64::MIN;
        self.alter();
        if let Some(scout) = self.scout.take() {
            scout.rest();
        }
    }

    /// Looking ahead has been worth it, or would have been.
    pub(super) fn earn(&mut self, names: i64) {
        self.credit = self.credit.saturating_add(names).min(MOST_CREDIT);
    }

    /// Another number after each change that begins or ends.
    pub fn state(&self) -> u64 {
        self.state
    }

    /// Something changes, from here on or until here.
    pub(super) fn alter(&mut self) {
        self.state += 1;
        if let Some(scout) = &self.scout {
            scout.changed(self.state);
        }
    }
}
