//! The services of a run: started one after the other, each when those before it are as they have to be; watched while
//! the application runs; stopped in reverse order. Each run has its own, so none sees what an earlier one has left.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock};
use std::thread;

use crate::observation::Redactor;
use crate::probe::Target as _;
use crate::sandbox::{Bounds, Ids, Network, ProcessSpec, Rung, Sandbox, Stdio};
use crate::session::arrange::{self, Neighbourhood, Task};
use crate::session::output::{CapturedOutput, EDGE, capture};
use crate::session::service::{Running, Service, ServiceError, Until};
use crate::session::stage::OUTPUT_KEPT;
use crate::session::unseen::Unseen;
use crate::session::watch::Watch;
use crate::session::{Place, SessionError, Settings, Subject, owners};
use crate::tracer;

/// The services of one run.
pub struct Services<'a> {
    running: Vec<Running<'a>>,
    /// The network that all share; `None` where there is none of their own.
    network: Option<OwnedFd>,
    names: Vec<&'a str>,
}

impl<'a> Services<'a> {
    /// Starts all services of a place, for an application with `settings` on `rung`. When this returns, they are ready.
    pub fn start(place: Place<'a>, rung: Rung, settings: &Settings) -> Result<Self, SessionError> {
        let names = place.services.iter().map(|service| service.name.as_str()).collect();
        let mut services = Services { running: Vec::new(), network: None, names };
        if let (Rung::E, Some(first)) = (rung, place.services.first()) {
            return Err(ServiceError::InPlace(first.name.clone()).into());
        }
        for service in place.services {
            let redactor = Redactor::of_variables(settings.env.iter().chain(&service.settings.env));
            let settings = Settings { network: settings.network, ..service.settings.clone() };
            let running = services.start_one(place, service, &settings, redactor)?;
            match running.wait()? {
                Err(unready) => {
                    let taken = services.taken();
                    return Err(running.failure(unready, taken).into());
                }
                Ok(()) if matches!(service.until, Until::Ended) => {}
                Ok(()) => services.running.push(running),
            }
        }
        Ok(services)
    }

    /// What the sandbox of the application has to know of them.
    pub fn neighbourhood(&self, hostname: &'a str) -> Neighbourhood<'_> {
        Neighbourhood { hostname, names: &self.names, network: self.network.as_ref(), observed_from: None }
    }

    /// Who listens where, in words.
    pub fn taken(&self) -> Vec<String> {
        let listening = |running: &Running<'_>| {
            let mut ports: Vec<String> =
                running.listeners().into_iter().map(|l| format!("{} {}", l.protocol, l.port)).collect();
            ports.sort();
            ports.dedup();
            (!ports.is_empty()).then(|| format!("the service {} on {}", running.service.name, ports.join(", ")))
        };
        self.running.iter().filter_map(listening).collect()
    }

    fn start_one(
        &mut self,
        place: Place<'a>,
        service: &'a Service,
        settings: &Settings,
        redactor: Redactor,
    ) -> Result<Running<'a>, SessionError> {
        let subject = Subject::of(&service.base);
        let rung = place.rung(subject.rootfs)?;
        let not_started = |cause: SessionError| match cause.is_of_subject() {
            true => ServiceError::NotStarted { name: service.name.clone(), cause: cause.to_string() }.into(),
            false => cause,
        };
        let task = Task::new(&subject, settings, rung, &service.name).map_err(not_started)?;
        let neighbourhood = self.neighbourhood(&service.name);
        let unseen = Unseen::default();
        let (sandbox, scratch) =
            arrange::sandbox(place, rung, &subject, settings, &Bounds::default(), &unseen, &neighbourhood)?;
        if sandbox.plan().network == Network::Private {
            self.network = Some(sandbox.network_namespace()?);
        }
        let watch = match place.footing.ids {
            Ids::Own => None,
            Ids::Virtual | Ids::Named => Some(Watch::start(place, &subject, settings, &sandbox)?.0),
        };
        let options = watch.as_ref().map(|watch| watch.options().clone());
        let mut process = ProcessSpec {
            ids: place.footing.ids,
            limits: super::limits::Hold::new(&settings.limits).resources(),
            ..task.process(settings, options.as_ref().unwrap_or(&tracer::Options::default()))
        };
        match &watch {
            Some(watch) => watch.tracer().next_credentials(owners::credentials(&process)),
            None => process.filter = None,
        }
        let (stdio, captured) = output()?;
        let spawned = sandbox.spawn(&process, stdio).map_err(|cause| not_started(cause.into()))?;
        let stop_signal = task.stop_signal;
        let (stopping, died) = (AtomicBool::new(false), OnceLock::new());
        let pid = spawned.pid;
        Ok(Running {
            service,
            sandbox,
            watch,
            process,
            pid,
            stop_signal,
            captured: Mutex::new(captured),
            redactor,
            scratch,
            stopping,
            died,
        })
    }

    /// Does `action` beside the services, and stops them. When one of them dies meanwhile, `sandbox` ends, because
    /// nothing in there would go as it should.
    pub fn beside<T>(&self, sandbox: &Sandbox, action: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            // The scope waits for the threads, and they for the ends of the services, whatever happens here.
            let _stop = StopAll(self);
            for running in &self.running {
                scope.spawn(|| running.on_death(|| sandbox.finish()));
            }
            action()
        })
    }

    /// Removes what is left of them.
    ///
    /// # Errors
    /// When one of them died while the application ran.
    pub fn finish(self) -> Result<(), SessionError> {
        for running in self.running {
            if let Some(&exit) = running.died.get() {
                let (name, when) = (running.service.name.clone(), "while the application ran");
                let hint = running.hint(&[]);
                let output = running.last_words();
                return Err(ServiceError::Ended { name, exit, when, output, hint }.into());
            }
            let Running { sandbox, scratch, .. } = running;
            drop(sandbox);
            scratch.remove()?;
        }
        Ok(())
    }
}

/// Stops all services when it goes out of scope, the last one first.
struct StopAll<'a>(&'a Services<'a>);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.running.iter().rev().for_each(Running::stop);
    }
}

fn output() -> Result<(Stdio, CapturedOutput), SessionError> {
    let operation = "make pipes for a service's output";
    capture(OUTPUT_KEPT + EDGE).map_err(|cause| SessionError::System { operation, cause })
}
