//! How an application is run, beyond what its image says.

use std::time::Duration;

use crate::base::ImagePath;
use crate::observation::Overrides;
use crate::probe::{Port, Spec};
use crate::sandbox::{CapabilitySet, Network, Volume};
use crate::session::{Limits, StopSignal};

/// How an application is run, beyond what its image says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What replaces parts of the config, for the run and in the result.
    pub overrides: Overrides,
    /// Variables for the run only, each `NAME=VALUE`. Their values never enter any output.
    pub env: Vec<String>,
    /// What of the host is visible inside.
    pub volumes: Vec<Volume>,
    /// Where an empty tmpfs is.
    pub tmpfs: Vec<ImagePath>,
    /// What root inside may do.
    pub capabilities: CapabilitySet,
    /// What the application can reach.
    pub network: Network,
    /// What it may use at most.
    pub limits: Limits,
    /// How long it may take to be ready, or to end by itself.
    pub timeout: Duration,
    /// How long it may take to stop.
    pub stop_timeout: Duration,
    /// What asks it to stop; the image's own signal when absent.
    pub stop_signal: Option<StopSignal>,
    /// The exit code of a command that ends by itself.
    pub expect_exit: i32,
    /// Whether the one form of `fstat` that can name a path is seen too.
    pub exact: bool,
}

impl Settings {
    /// The same run for a result whose config has the overrides in it already: exact, because what is missing there
    /// must not go unseen.
    pub fn for_result(&self) -> Settings {
        Settings { overrides: Overrides::default(), exact: true, ..self.clone() }
    }
}

/// How the user wants the application exercised.
#[derive(Clone, Debug)]
pub enum Choice {
    /// By these probes; when there is none, by what the application turns out to be.
    Probes {
        /// In the order in which they run.
        specs: Vec<Spec>,
        /// Where requests go that name no port.
        port: Option<Port>,
        /// Whether the port is one of several runs', of which not each has to listen there.
        is_shared: bool,
    },
    /// Not at all: what the start alone uses is kept.
    Nothing,
}

impl Choice {
    /// Makes the port one that this run has in common with others.
    pub fn share_port(&mut self) {
        if let Choice::Probes { is_shared, .. } = self {
            *is_shared = true;
        }
    }
}
