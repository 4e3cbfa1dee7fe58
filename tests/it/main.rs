//! Tests of scrimp as a whole, and of its parts together with other tools.

// A test that meets an error fails, and says where.
#![allow(clippy::unwrap_used)]

mod image;
