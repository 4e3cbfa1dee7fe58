//! The summary for a person at a terminal.

use std::io::{self, Write};

use crate::base::counted;
use crate::report::{SandboxSummary, SecretsSummary, Size, Summary, VerificationStatus, human_bytes};

/// Writes a few lines: how small it became, whether it works, where it is.
pub fn write_text(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    if let Some(image) = &summary.image {
        let size = |size: Size| format!("{} in {}", human_bytes(size.bytes), counted(size.files, "file", "files"));
        match (image.size, summary.source) {
            (Some(small), Some(source)) if small.bytes > 0 => {
                let factor = source.bytes as f64 / small.bytes as f64;
                let (small, source) = (size(small), size(source));
                writeln!(out, "image    {small}; the source has {source} ({factor:.1} times as much)")?;
            }
            (Some(small), _) => writeln!(out, "image    {}", size(small))?,
            (None, _) => {}
        }
        if let Some(data) = image.package_data.filter(|data| data.files > 0) {
            writeln!(out, "packages {} of it are package data and licences (--no-package-db)", size(data))?;
        }
    }
    if let Some(own) = summary.application.as_ref().filter(|own| own.files > 0) {
        let (bytes, directories) = (human_bytes(own.bytes), own.directories.join(", "));
        let files = counted(own.files, "file", "files");
        writeln!(
            out,
            "own      {bytes} in {files} of it are the application's own, not used, from {directories} (--level \
             closure leaves them out)"
        )?;
    }
    if let Some(listed) = summary.listed.filter(|listed| listed.entries > 0) {
        let entries = counted(listed.entries, "entry", "entries");
        let were = if listed.entries == 1 { "was not used and is" } else { "were not used and are" };
        let directories = counted(listed.directories, "listed directory", "listed directories");
        let bytes = human_bytes(listed.bytes);
        writeln!(out, "listed   {entries} ({bytes}) of {directories} {were} left out (--keep-listed DIR keeps them)")?;
    }
    if let Some(line) = summary.secrets.as_ref().and_then(SecretsSummary::line) {
        writeln!(out, "secrets  {line}")?;
    }
    if let Some(diff_id) = summary.image.as_ref().and_then(|image| image.diff_id) {
        writeln!(out, "diff id  {diff_id}")?;
    }
    let probes = summary.probes;
    writeln!(out, "probes   {} passed, {} failed", probes.passed, probes.failed)?;
    for run in &summary.runs {
        let (name, command) = (&run.name, run.command.join(" "));
        writeln!(out, "run      {name}: {} passed, {} failed ({command})", run.probes.passed, run.probes.failed)?;
    }
    let verify = &summary.verify;
    let status = match verify.status {
        VerificationStatus::Passed => "the image answers as its source did",
        VerificationStatus::Failed => "FAILED",
        VerificationStatus::Skipped => "not made",
    };
    write!(out, "verify   {status}")?;
    if verify.repaired > 0 {
        let were = if verify.repaired == 1 { "was" } else { "were" };
        write!(out, ", after {} {were} added", counted(verify.repaired, "missing path", "missing paths"))?;
    }
    match &verify.reason {
        Some(reason) => writeln!(out, ": {reason}")?,
        None => writeln!(out)?,
    }
    let SandboxSummary { rung, description } = &summary.sandbox;
    if !rung.is_empty() {
        writeln!(out, "sandbox  {rung}: {description}")?;
    }
    let phases: Vec<String> = summary.phases.iter().map(|p| format!("{} {:.2}", p.name, p.seconds)).collect();
    let total: f64 = summary.phases.iter().map(|p| p.seconds).sum();
    writeln!(out, "seconds  {total:.2} ({})", phases.join(", "))?;
    for advice in &summary.advice {
        writeln!(out, "advice   {advice}")?;
    }
    let made = summary.image.as_ref().is_some_and(|image| image.diff_id.is_some());
    if made && summary.outputs.is_empty() && verify.status != VerificationStatus::Failed {
        writeln!(out, "wrote    nothing: no destination was given (-o DEST)")?;
    }
    for output in &summary.outputs {
        writeln!(out, "wrote    {} ({})", output.destination, human_bytes(output.bytes))?;
    }
    Ok(())
}
