//! Putting results where the user wants them: all staged first, then all published.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::assemble::{self, Destination, Layer, PublishError, StagedFile};
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
    /// What the same run reads or writes besides: none of the files above may be one of these.
    pub others: Vec<PathBuf>,
}

impl Outputs {
    /// Whether all destinations can be written, as far as that can be known beforehand. Removes what runs that ended
    /// before their time left there.
    pub fn check(&self) -> Result<(), PipelineError> {
        self.paths().for_each(assemble::sweep_around);
        Ok(assemble::check_all(&self.destinations, &self.tags)?)
    }

    /// What is written, on the host.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.destinations.iter().map(Destination::path)
    }

    /// Writes the image to all destinations and then the files beside it, or nothing. Returns what was written, and
    /// what could not be done as it should.
    pub fn publish(
        &self,
        layer: &Layer,
        config: &ImageConfig,
        manifest: &Manifest,
        annotations: &BTreeMap<String, String>,
        beside: StagedFiles,
    ) -> Result<(Vec<Output>, Vec<String>), PipelineError> {
        let staged = assemble::stage_all(&self.destinations, layer, config, manifest, annotations, &self.tags)?;
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
    file: StagedFile,
    bytes: u64,
}

impl SideFiles {
    /// Whether the directories are there, and what is replaced is a file of which the run has no other use. Removes what
    /// runs that ended before their time left beside the files.
    pub fn check(&self) -> Result<(), PipelineError> {
        let name = |path: &PathBuf| (assemble::real_path(path), path.display().to_string());
        let mut taken: BTreeMap<PathBuf, String> = self.others.iter().map(name).collect();
        for (kind, file) in self.named() {
            let dir = assemble::parent_of(file);
            let failed = |cause| PipelineError::SideFile { path: file.display().to_string(), cause };
            if !dir.is_dir() {
                let cause = io::Error::new(io::ErrorKind::NotFound, format!("{} is not a directory", dir.display()));
                return Err(failed(cause));
            }
            match file.metadata() {
                Ok(meta) if meta.is_dir() => return Err(failed(io::ErrorKind::IsADirectory.into())),
                // Devices and pipes would be replaced, not written to.
                Ok(meta) if !meta.is_file() => {
                    return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
                }
                Ok(_) | Err(_) => {}
            }
            let this = format!("{kind}:{}", file.display());
            if let Some(other) = taken.insert(assemble::real_path(file), this.clone()) {
                return Err(PipelineError::SamePlace { first: other, second: this });
            }
            assemble::sweep_around(file);
        }
        Ok(())
    }

    /// What is written, on the host.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.named().map(|(_, path)| path.to_owned()).collect()
    }

    /// What is written, each with what it is.
    fn named(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let trace = self.trace.iter().map(|file| ("trace", file.as_path()));
        trace.chain(self.lock.iter().map(|file| ("lock", file.as_path())))
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
        // Through a link the file that it leads to is written.
        let mut file = StagedFile::new(&assemble::real_path(path))?;
        let mut out = io::BufWriter::new(file.file());
        write(&mut out).and_then(|()| out.flush()).map_err(failed)?;
        drop(out);
        let bytes = file.file().metadata().map_err(failed)?.len();
        Ok(StagedSideFile { kind, path: path.to_owned(), file, bytes })
    }

    fn publish(self) -> Result<Output, PipelineError> {
        let StagedSideFile { kind, path, file, bytes } = self;
        file.publish_over()?;
        Ok(Output { destination: format!("{kind}:{}", path.display()), digest: None, bytes })
    }
}
