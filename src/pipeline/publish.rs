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

    /// Writes the image to all destinations and then the files beside it, or nothing. Returns what was written, and
    /// what could not be done as it should.
    pub fn publish(
        &self,
        layer: &Layer,
        config: &ImageConfig,
        manifest: &Manifest,
        beside: StagedFiles,
    ) -> Result<(Vec<Output>, Vec<String>), PipelineError> {
        let staged = assemble::stage_all(&self.destinations, layer, config, manifest, &self.tags)?;
        let half = |published: Vec<String>, cause: String| PipelineError::HalfPublished { published, cause };
        let published =
            assemble::publish_all(staged).map_err(|PublishError { published, cause }| match published.is_empty() {
                true => PipelineError::Assemble(*cause),
                false => half(published.iter().map(|p| p.destination.to_string()).collect(), cause.to_string()),
            })?;
        let warnings = published.iter().flat_map(|p| p.warnings.clone()).collect();
        let output = |p: assemble::Published| Output {
            destination: p.destination.to_string(),
            digest: p.digest,
            bytes: p.bytes,
        };
        let mut outputs: Vec<Output> = published.into_iter().map(output).collect();
        for file in beside.0 {
            match file.publish() {
                Ok(output) => outputs.push(output),
                Err(cause) if outputs.is_empty() => return Err(cause),
                Err(cause) => {
                    return Err(half(outputs.into_iter().map(|o| o.destination).collect(), cause.to_string()));
                }
            }
        }
        Ok((outputs, warnings))
    }
}

/// Files beside an image, complete but without their names. Dropping them leaves nothing.
#[must_use = "what is staged is gone unless it is published"]
#[derive(Default)]
pub struct StagedFiles(Vec<StagedSideFile>);

struct StagedSideFile {
    kind: &'static str,
    path: PathBuf,
    file: tempfile::NamedTempFile,
    bytes: u64,
}

impl SideFiles {
    /// Whether the directories are there and no directory is in the way.
    pub fn check(&self) -> Result<(), PipelineError> {
        for file in self.trace.iter().chain(&self.lock) {
            let dir = directory_of(file);
            if !dir.is_dir() {
                let cause = io::Error::new(io::ErrorKind::NotFound, format!("{} is not a directory", dir.display()));
                return Err(PipelineError::SideFile { path: file.display().to_string(), cause });
            }
            if file.is_dir() {
                let cause = io::ErrorKind::IsADirectory.into();
                return Err(PipelineError::SideFile { path: file.display().to_string(), cause });
            }
        }
        Ok(())
    }

    /// Writes what was asked for, under no name yet.
    pub fn stage(&self, observation: &Observation, manifest: Option<&Manifest>) -> Result<StagedFiles, PipelineError> {
        let mut staged = StagedFiles::default();
        if let Some(file) = &self.trace {
            staged.0.push(StagedSideFile::new("trace", file, &|out| write_trace(observation, out))?);
        }
        if let (Some(file), Some(manifest)) = (&self.lock, manifest) {
            staged.0.push(StagedSideFile::new("lock", file, &|out| Lock::of(manifest).write(out))?);
        }
        Ok(staged)
    }
}

impl StagedFiles {
    /// Gives all files their names. One that exists is replaced in one step.
    pub fn publish(self) -> Result<Vec<Output>, PipelineError> {
        self.0.into_iter().map(StagedSideFile::publish).collect()
    }
}

impl StagedSideFile {
    /// Writes a file beside `path`, to be renamed, so that no reader ever sees half of it.
    fn new(
        kind: &'static str,
        path: &Path,
        write: &dyn Fn(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Self, PipelineError> {
        let failed = |cause| PipelineError::SideFile { path: path.display().to_string(), cause };
        let mut file = tempfile::Builder::new().prefix(".scrimp-").tempfile_in(directory_of(path)).map_err(failed)?;
        let mut out = io::BufWriter::new(file.as_file_mut());
        write(&mut out).and_then(|()| out.flush()).map_err(failed)?;
        drop(out);
        let bytes = file.as_file().metadata().map_err(failed)?.len();
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        File::set_permissions(file.as_file(), readable).map_err(failed)?;
        Ok(StagedSideFile { kind, path: path.to_owned(), file, bytes })
    }

    fn publish(self) -> Result<Output, PipelineError> {
        let StagedSideFile { kind, path, file, bytes } = self;
        let shown = path.display().to_string();
        match file.persist(&path) {
            Ok(_) => Ok(Output { destination: format!("{kind}:{shown}"), digest: None, bytes }),
            Err(cause) => Err(PipelineError::SideFile { path: shown, cause: cause.error }),
        }
    }
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}
