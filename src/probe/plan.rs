//! What is to be done to an application, before and after the open questions are answered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::ImagePath;
use crate::probe::spec::{DEFAULT_READY_TIMEOUT, Ready, Spec};
use crate::probe::step::{Action, Step};
use crate::probe::target::Port;

/// What the image and the command line say about the application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Circumstances {
    /// `--port`: the port that steps go to that name none.
    pub port: Option<Port>,
    /// Whether several runs have that port in common, of which a worker does not listen at all.
    pub is_port_shared: bool,
    /// ExposedPorts of the image.
    pub exposed: Vec<Port>,
    /// HEALTHCHECK of the image.
    pub healthcheck: Option<HealthcheckCommand>,
    /// What the command runs, the likeliest first; they choose among the shipped specs, after what listens.
    pub executables: Vec<ImagePath>,
}

impl Circumstances {
    /// The port on which the application has to listen, whatever the steps go to.
    pub(super) fn claimed_port(&self) -> Option<Port> {
        self.port.filter(|_| !self.is_port_shared)
    }
}

/// How an image wants to be asked whether it is healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthcheckCommand {
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// For one check.
    pub timeout: Duration,
}

/// Probes to run.
///
/// A plan is made with [`Plan::new`]; [`crate::probe::run`] returns it *resolved*: each step has its port, and
/// the default probes, where none were given, have become steps. Running a resolved plan changes nothing in it.
///
/// It serializes, request headers and bodies included: see [`crate::probe::Secret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// What must be so before the first step, in this order. Without any, the application listens and, if there is a
    /// HEALTHCHECK, is healthy.
    pub ready: Vec<Ready>,
    /// Whether the probes are still to be chosen: none were given, and the plan is not resolved.
    pub discover: bool,
    /// Whether the user gave the probes.
    pub explicit: bool,
    /// The ports that must listen before the first step; empty before the plan is resolved.
    pub wait_for: Vec<Port>,
    /// The ports among which the kernel's choice may be, in the order in which they began to listen; empty where no step
    /// goes to one.
    #[serde(default)]
    pub ephemeral: Vec<Port>,
    /// Whether the application served anything when the plan was resolved; `None` before.
    #[serde(default)]
    pub served: Option<bool>,
    /// What is known about the application.
    pub circumstances: Circumstances,
    /// How long the application may take to become ready where `ready` says nothing, and how long an answer of
    /// "not yet" is asked for again.
    pub patience: Duration,
}

impl Plan {
    /// A plan of the steps of `probes`, in order; the default probes when there are none.
    pub fn new(probes: Vec<Spec>, circumstances: Circumstances) -> Self {
        let explicit = !probes.is_empty();
        let (mut steps, mut ready) = (Vec::new(), Vec::new());
        for spec in probes {
            ready.extend(spec.ready);
            steps.extend(spec.steps);
        }
        Plan {
            steps,
            ready,
            discover: !explicit,
            explicit,
            wait_for: Vec::new(),
            ephemeral: Vec::new(),
            served: None,
            circumstances,
            patience: DEFAULT_READY_TIMEOUT,
        }
    }

    /// Whether one of the steps does this.
    pub(super) fn has_action(&self, action: &Action) -> bool {
        self.steps.iter().any(|step| step.action == *action)
    }

    /// Whether one of the steps is a command whose files are not the application's.
    pub fn has_observers(&self) -> bool {
        let ready = self.ready.iter().filter_map(|ready| ready.step.as_ref());
        self.steps.iter().chain(ready).any(|step| matches!(&step.action, Action::Exec(exec) if !exec.keep))
    }

    /// Whether the steps are commands in the application's container, and nothing else.
    pub(super) fn is_commands_only(&self) -> bool {
        let command = |step: &Step| matches!(step.action, Action::Exec(_));
        self.explicit && self.steps.iter().all(command) && self.ready.iter().all(|ready| ready.port.is_none())
    }

    /// Whether neither the command line nor `[ready]` says that a port is served.
    pub(super) fn claims_no_port(&self) -> bool {
        self.circumstances.claimed_port().is_none() && self.ready.iter().all(|ready| ready.port.is_none())
    }

    /// Whether a script is still to be given the port that counts.
    pub(super) fn has_unplaced_script(&self) -> bool {
        let open = |step: &Step| matches!(&step.action, Action::Script(script) if script.port.is_none());
        self.circumstances.port.is_none() && self.steps.iter().any(open)
    }

    /// The values in requests that may be secret: whole headers and bodies, and their parts. [`crate::probe::run`]
    /// removes them from what it returns; other texts of the run (the application's own output) are the caller's.
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        let ready = self.ready.iter().filter_map(|ready| ready.step.as_ref());
        self.steps.iter().chain(ready).flat_map(Step::secrets).collect()
    }
}
