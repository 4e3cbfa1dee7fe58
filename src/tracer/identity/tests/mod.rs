//! The model by tables, and against the kernel.
