//! The tracer on a sandbox, with all that it has to be told: whose files are whose where it answers for ids, and who
//! saves what an application changes in place.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::image::Saved;
use crate::sandbox::{Ids, Network, Rung, Sandbox, SandboxError};
use crate::session::{Keeper, Place, SessionError, Settings, Subject, arrange, owners};
use crate::tracer::{self, End, Event, Options, Recording, Tracer, TracerError};

/// How long the death of a process may take to be seen.
const DYING: Duration = Duration::from_secs(1);

/// A tracer at work.
pub struct Watch {
    tracer: Tracer,
    options: Options,
    saved: Option<Arc<Saved>>,
}

impl Watch {
    /// Attaches a tracer to a sandbox in which nothing runs yet. What it sees as it happens comes through the receiver.
    pub fn start(
        place: Place<'_>,
        subject: &Subject<'_>,
        settings: &Settings,
        sandbox: &Sandbox,
    ) -> Result<(Self, Receiver<Event>), SessionError> {
        let in_place = sandbox.plan().rung == Rung::E;
        // In place the application changes the very files that are read afterwards.
        let saved = if in_place { subject.rootfs.keep(place.store)? } else { None };
        let identity = match place.footing.ids {
            Ids::Own => None,
            Ids::Virtual | Ids::Named => {
                let own = arrange::own_paths(place.store, subject.rootfs, sandbox.plan())?;
                Some(owners::identity(subject.rootfs, own, in_place)?)
            }
        };
        let options = Options {
            exact: settings.exact,
            tasks: settings.limits.tasks,
            open_network: sandbox.plan().network == Network::Host,
            witnessed: saved.is_some(),
            identity,
            ..Options::default()
        };
        let (sender, events) = mpsc::channel();
        let started = match &saved {
            Some(saved) => {
                let keeper = Box::new(Keeper(saved.clone()));
                tracer::start_with_witness(sandbox.supervisor(), options.clone(), keeper, sender)
            }
            None => tracer::start(sandbox.supervisor(), options.clone(), sender),
        };
        match started {
            Ok(tracer) => Ok((Watch { tracer, options, saved }, events)),
            // What has just been killed cannot be traced, and that is the cause then.
            Err(TracerError::Attach { .. }) if sandbox.ends_within(DYING) => Err(SandboxError::Gone.into()),
            Err(cause) => Err(cause.into()),
        }
    }

    /// The tracer.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// What the filter has to be made from.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Waits for the end of the sandbox, and returns what was seen and what could not be saved.
    ///
    /// # Errors
    /// When the tracer failed, and with it everything in the sandbox, or when somebody killed the supervisor.
    pub fn finish(self) -> Result<(Recording, Vec<String>), SessionError> {
        let recording = self.tracer.join()?;
        match recording.supervisor {
            Some(End::Killed(signal)) => Err(SandboxError::Killed { signal }.into()),
            _ => Ok((recording, self.saved.map(|saved| saved.notes()).unwrap_or_default())),
        }
    }
}
