//! Somebody else's container runtime, podman or docker, as a place where images are run and asked: a second opinion, by
//! other means than scrimp's sandbox and without its tracer.
//!
//! An [`Engine`] is driven by its command line. It takes an [`Image`] in, [`run`] makes a container of it, exercises
//! what runs there as `session` does (the container is a [`crate::probe::Target`]) and takes it away again. What is
//! left with the engine is owed: when scrimp is interrupted or killed, its caretaker removes it.
//!
//! No value of a variable stands in the arguments of a process.

mod container;
mod engine;
mod error;
mod image;
mod options;
mod run;
mod target;

pub use engine::{Engine, Kind, enter_namespace};
pub use error::RuntimeError;
pub use image::{Image, TakeInError};
pub use run::{Answered, run};
