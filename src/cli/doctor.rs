//! `scrimp doctor`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;

use crate::cli::args::{DoctorArgs, Format};
use crate::cli::settings::Context;
use crate::cli::{EXIT_BROKEN, EXIT_GATE};
use crate::image::Store;
use crate::sandbox::doctor;

/// Tries what this machine allows. Exit code 0 when any source can be run, 1 when only a directory or the host can, 2
/// when nothing can.
pub fn run(context: &Context, args: DoctorArgs) -> Result<ExitCode> {
    let store = context.store.clone().or_else(Store::default_dir);
    let report = doctor::examine(store.as_deref());
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => {
            serde_json::to_writer(&mut out, &report)?;
            writeln!(out)?;
        }
        Format::Text => {
            for finding in &report.findings {
                writeln!(out, "{:<4} {}: {}", if finding.ok { "ok" } else { "no" }, finding.name, finding.meaning)?;
                if let Some(hint) = &finding.hint {
                    writeln!(out, "     hint: {hint}")?;
                }
            }
        }
    }
    Ok(match report.serves {
        doctor::Serves::Any => ExitCode::SUCCESS,
        doctor::Serves::OwnFiles => ExitCode::from(EXIT_GATE),
        doctor::Serves::Nothing => ExitCode::from(EXIT_BROKEN),
    })
}
