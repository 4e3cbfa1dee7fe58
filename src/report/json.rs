//! The summary as one JSON object on one line.

use std::io::{self, Write};

use crate::report::Summary;

/// Writes the object and a line feed.
pub fn write_json(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    serde_json::to_writer(&mut *out, summary)?;
    out.write_all(b"\n")
}
