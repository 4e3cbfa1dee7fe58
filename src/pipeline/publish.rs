//! Putting results where the user wants them: all staged first, then all published.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::assemble::{self, Destination, Layer, PublishError};
use crate::image::ImageConfig;
use crate::observation::{Observation, write_trace};
use crate::pipeline::PipelineError;
use crate::report::Output;
use crate::select::{Lock, Manifest};

/// Where an image goes, and under which names.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The destinations; none for a dry run.
    pub destinations: Vec<Destination>,
    /// The names of `-t`.
    pub tags: Vec<String>,
}

/// Files beside an image.
#[derive(Clone, Debug, Default)]
pub struct SideFiles {
    /// The trace of the run.
    pub trace: Option<PathBuf>,
    /// The list of what the image holds.
    pub lock: Option<PathBuf>,
}

impl Outputs {
    /// Whether all destinations can be written, as far as that can be known beforehand.
    pub fn check(&self) -> Result<(), PipelineError> {
        Ok(assemble::check_all(&self.destinations, &self.tags)?)
    }

    /// Writes the image to all destinations, or to none.
    pub fn publish(
        &self,
        layer: &Layer,
        config: &ImageConfig,
        manifest: &Manifest,
    ) -> Result<Vec<Output>, PipelineError> {
        let staged = assemble::stage_all(&self.destinations, layer, config, manifest, &self.tags)?;
        let published =
            assemble::publish_all(staged).map_err(|PublishError { published, cause }| match published.is_empty() {
                true => PipelineError::Assemble(*cause),
                false => PipelineError::HalfPublished {
                    published: published.iter().map(|p| p.destination.to_string()).collect(),
                    cause,
                },
            })?;
        let output = |p: assemble::Published| Output {
            destination: p.destination.to_string(),
            digest: p.digest,
            bytes: p.bytes,
        };
        Ok(published.into_iter().map(output).collect())
    }
}

impl SideFiles {
    /// Whether the directories are there.
    pub fn check(&self) -> Result<(), PipelineError> {
        for file in self.trace.iter().chain(&self.lock) {
            let dir = directory_of(file);
            if !dir.is_dir() {
                let cause = io::Error::new(io::ErrorKind::NotFound, format!("{} is not a directory", dir.display()));
                return Err(PipelineError::SideFile { path: file.display().to_string(), cause });
            }
        }
        Ok(())
    }

    /// Writes what was asked for. A file that exists is replaced in one step.
    pub fn write(&self, observation: &Observation, manifest: Option<&Manifest>) -> Result<Vec<Output>, PipelineError> {
        let mut outputs = Vec::new();
        if let Some(file) = &self.trace {
            outputs.push(replace(file, "trace", &|out| write_trace(observation, out))?);
        }
        if let (Some(file), Some(manifest)) = (&self.lock, manifest) {
            outputs.push(replace(file, "lock", &|out| Lock::of(manifest).write(out))?);
        }
        Ok(outputs)
    }
}

/// Writes a file beside `path` and renames it there, so that no reader ever sees half of it.
fn replace(path: &Path, kind: &str, write: &dyn Fn(&mut dyn Write) -> io::Result<()>) -> Result<Output, PipelineError> {
    let failed = |cause| PipelineError::SideFile { path: path.display().to_string(), cause };
    let mut staged = tempfile::Builder::new().prefix(".scrimp-").tempfile_in(directory_of(path)).map_err(failed)?;
    let mut out = io::BufWriter::new(staged.as_file_mut());
    write(&mut out).and_then(|()| out.flush()).map_err(failed)?;
    drop(out);
    let bytes = staged.as_file().metadata().map_err(failed)?.len();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    File::set_permissions(staged.as_file(), readable).map_err(failed)?;
    staged.persist(path).map_err(|e| failed(e.error))?;
    Ok(Output { destination: format!("{kind}:{}", path.display()), digest: None, bytes })
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}
