//! Where the work happens: the user namespace and the store.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::image::{self, Base, Limits, OpenOptions, Owners, Platform, Source, Store};
use crate::pipeline::clock::{Clock, Tell};
use crate::pipeline::{Input, PipelineError, Trials};
use crate::sandbox::identity::{Identity, inherit_orphans};
use crate::sandbox::{self, Footing, Rung};
use crate::session::{Place, Service, Settings, Until};

/// A service that is to run beside the application.
pub struct Beside {
    /// The host name at which the application reaches it.
    pub name: String,
    /// What it runs on.
    pub input: Input,
    /// How it is run.
    pub settings: Settings,
    /// What has to come about before what follows starts.
    pub until: Until,
}

/// What the sandboxes of this process stand on, and a store. There is one in a process.
pub struct Environment {
    identity: Arc<Identity>,
    footing: Footing,
    store: Store,
    services: Vec<Service>,
    tell: Option<Tell>,
}

impl Environment {
    /// For running applications: finds out which sandbox this machine allows, or tries the one that is `wanted`; enters
    /// the user namespace for it and opens the store in `dir`, or in the user's cache directory. The process must have
    /// one thread only.
    pub fn enter(dir: Option<&Path>, wanted: Option<Rung>) -> Result<Self, PipelineError> {
        let dir = store_dir(dir)?;
        let trials = Store::open(&dir)?.scratch_dir()?;
        let (identity, footing) = sandbox::climb(wanted, trials.path())?;
        trials.remove()?;
        inherit_orphans().map_err(PipelineError::Orphans)?;
        // Once more, as who this process is now: only now it may sweep what belongs to subordinate ids.
        let store = Store::open(&dir)?;
        Ok(Environment { identity: Arc::new(identity), footing, store, services: Vec::new(), tell: None })
    }

    /// For reading and writing images, without running anything.
    pub fn enter_for_files(dir: Option<&Path>) -> Result<Self, PipelineError> {
        let dir = store_dir(dir)?;
        let (identity, footing) = sandbox::settle()?;
        Ok(Environment {
            identity: Arc::new(identity),
            footing,
            store: Store::open(&dir)?,
            services: Vec::new(),
            tell: None,
        })
    }

    /// The same where the name of each phase is told when it begins.
    pub fn telling(self, tell: Tell) -> Self {
        Environment { tell: Some(tell), ..self }
    }

    /// A clock for the phases of a run.
    pub fn clock(&self) -> Clock {
        Clock::new(self.tell)
    }

    /// The same with services beside each application that is run, in this order.
    pub fn beside(mut self, wanted: &[Beside]) -> Result<Self, PipelineError> {
        for Beside { name, input, settings, until } in wanted {
            let opened =
                self.check_source(&input.source).and_then(|()| self.open(&input.source, input.platform.as_ref()));
            let base = opened.map_err(|cause| PipelineError::Service { name: name.clone(), cause: Box::new(cause) })?;
            let (name, settings, until) = (name.clone(), settings.clone(), until.clone());
            self.services.push(Service { name, base, settings, until });
        }
        Ok(self)
    }

    /// Where applications are run.
    pub fn place(&self) -> Place<'_> {
        Place { store: &self.store, footing: &self.footing, services: &self.services }
    }

    /// Fails where `source` could not be run.
    pub fn check_source(&self, source: &Source) -> Result<(), PipelineError> {
        let in_place = self.footing.host == Rung::E;
        // The one that was asked for, or the only one: a better rung for images would have been taken for all.
        if in_place && *source != Source::Host {
            return Err(PipelineError::InPlace { source_name: source.to_string(), causes: self.footing.why_not() });
        }
        Ok(())
    }

    /// Fails where no small image could be tried.
    pub fn check_verification(&self) -> Result<(), PipelineError> {
        match self.footing.trees {
            Some(_) => Ok(()),
            None => Err(PipelineError::CannotVerify(self.footing.why_not())),
        }
    }

    /// Fails where a small image could be tried, but not with the probes of `trials`.
    pub fn check_observers(&self, trials: &Trials) -> Result<(), PipelineError> {
        match self.footing.trees.filter(|rung| !rung.has_namespaces()).zip(trials.observer()) {
            Some((rung, probe)) => Err(PipelineError::BlindObserver { probe, rung }),
            None => Ok(()),
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Opens a source: its config, and its rootfs in the store where that is needed.
    pub fn open(&self, source: &Source, platform: Option<&Platform>) -> Result<Base, PipelineError> {
        let options = OpenOptions {
            platform: platform.cloned(),
            owners: match source {
                Source::Host => Arc::new(AsOutside(self.identity.clone())),
                _ => Arc::new(AsInside(self.identity.clone())),
            },
            id_map_key: self.identity.map_key(),
            limits: Limits::default(),
        };
        Ok(image::open(source, &self.store, &options)?)
    }
}

/// Where the store is.
pub(super) fn store_dir(given: Option<&Path>) -> Result<PathBuf, PipelineError> {
    given.map(Path::to_owned).or_else(Store::default_dir).ok_or(PipelineError::NoStore)
}

/// Owners on the host's own filesystem: as its users know them.
struct AsOutside(Arc<Identity>);

impl Owners for AsOutside {
    fn owner(&self, file: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
        self.0.owner_outside(file)
    }
}

/// Owners in a directory that holds a rootfs: as its container would know them.
struct AsInside(Arc<Identity>);

impl Owners for AsInside {
    fn owner(&self, file: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
        self.0.owner(file)
    }
}
