//! scrimp inside containers.
