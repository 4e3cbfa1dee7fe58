//! `scrimp doctor`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::cli::args::{DoctorArgs, Format};
use crate::cli::output;
use crate::cli::settings::Context;
use crate::cli::{EXIT_BROKEN, EXIT_GATE};
use crate::image::Store;
use crate::sandbox::{self, Allowed};

/// Tries what this machine allows. Exit code 0 when any source can be run, 1 when only `host` can, 2 when none can.
pub fn run(context: &Context, args: DoctorArgs) -> Result<ExitCode> {
    let store = context.store.clone().or_else(Store::default_dir);
    let findings = sandbox::doctor(store.as_deref().unwrap_or(Path::new("/tmp")));
    output::print(|out| match args.format {
        Format::Json => {
            serde_json::to_writer(&mut *out, &findings)?;
            writeln!(out)
        }
        Format::Text => {
            for finding in &findings {
                let mark = if finding.ok { "yes" } else { "no" };
                writeln!(out, "{mark:<4} {}: {}", finding.name, finding.meaning)?;
                if let Some(hint) = &finding.hint {
                    writeln!(out, "     hint: {hint}")?;
                }
            }
            Ok(())
        }
    })?;
    Ok(match sandbox::allowed(&findings) {
        Allowed::Any => ExitCode::SUCCESS,
        Allowed::HostInPlace => ExitCode::from(EXIT_GATE),
        Allowed::Nothing => ExitCode::from(EXIT_BROKEN),
    })
}
