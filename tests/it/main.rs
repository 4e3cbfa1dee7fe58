//! Tests that run the library and the program as a user would, with the tools that users have.
#![allow(clippy::unwrap_used)]

mod assemble;
mod layers;
mod select;
mod trees;
