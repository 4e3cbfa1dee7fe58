//! The whole, in one direction: session → closure → select → assemble → session again → verify → publish, with the
//! one loop (repair) between verification and selection.

mod again;
mod clock;
mod environment;
mod error;
mod exercise;
mod make;
mod publish;
mod run;
mod runtime;
mod trials;

pub use environment::{Beside, Environment};
pub use error::PipelineError;
pub use publish::{Outputs, SideFiles};
pub use run::{Ending, Input, Order, build, slim, trace, verify};
pub use runtime::RuntimeEnvironment;
pub use trials::{NamedTrial, Trial, Trials};
