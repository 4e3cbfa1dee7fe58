//! Reads files of a base within bounds and says where paths of its databases lead. What a database is too large or too
//! broken for is a warning here, so that a strange image is still an image.

use std::collections::HashMap;
use std::io::{self, Read};

use crate::base::ImagePath;
use crate::image::{Entry, Rootfs, RootfsError};
use crate::select::SelectError;

/// The longest text that is read of a package: its list of files, its metadata.
pub(in crate::select) const MAX_TEXT: u64 = 32 << 20;
/// The largest database that is read.
pub(in crate::select) const MAX_DATABASE: u64 = 512 << 20;

/// A base that is being read.
pub(in crate::select) struct Reader<'a> {
    /// The base.
    pub rootfs: &'a Rootfs,
    /// Links that lead to directories, each by its path without links, with the directory.
    pub links: HashMap<ImagePath, ImagePath>,
    /// What could not be read.
    pub warnings: Vec<String>,
    directories: HashMap<ImagePath, ImagePath>,
}

impl<'a> Reader<'a> {
    pub(in crate::select) fn new(rootfs: &'a Rootfs) -> Self {
        Reader { rootfs, links: HashMap::new(), warnings: Vec::new(), directories: HashMap::new() }
    }

    /// The content of the file that `path` leads to, and where that is. `None` when there is no regular file, or with
    /// a warning when it has more than `limit` bytes or cannot be read.
    pub(in crate::select) fn file(
        &mut self,
        path: &ImagePath,
        limit: u64,
    ) -> Result<Option<(ImagePath, Vec<u8>)>, SelectError> {
        let way = self.rootfs.resolve(path.as_bytes(), true)?;
        if !way.entry.is_some_and(|entry| entry.is_file()) {
            return Ok(None);
        }
        let cause = match self.rootfs.open(&way.end) {
            Ok(file) => match read(file, limit) {
                Ok(Some(content)) => return Ok(Some((way.end, content))),
                Ok(None) => format!("it has more than {} MB", limit >> 20),
                Err(cause) => cause.to_string(),
            },
            Err(RootfsError::File { cause, .. }) => cause.to_string(),
            Err(cause) => return Err(cause.into()),
        };
        self.warn(path, &cause);
        Ok(None)
    }

    /// Remembers that the packages in `path` are not known, and why.
    pub(in crate::select) fn warn(&mut self, path: &ImagePath, cause: &str) {
        self.warnings.push(format!("the packages in {path} are not known: {cause}"));
    }

    /// Where the directory `dir` is without links; itself when there is none. `dir` may have links on its way.
    pub(in crate::select) fn directory(&mut self, dir: &ImagePath) -> Result<ImagePath, SelectError> {
        if let Some(known) = self.directories.get(dir) {
            return Ok(known.clone());
        }
        // From the top down, because paths of databases can be as deep as their authors like.
        let mut way: Vec<ImagePath> = vec![dir.clone()];
        way.extend(dir.ancestors().take_while(|above| !self.directories.contains_key(above)));
        let mut real = ImagePath::root();
        for next in way.iter().rev() {
            let parent = next.parent();
            let above = parent.as_ref().and_then(|parent| self.directories.get(parent)).unwrap_or(&real);
            real = match next.file_name() {
                Some(name) => above.child(name).unwrap_or_else(|_| next.clone()),
                None => ImagePath::root(),
            };
            if self.rootfs.lookup(&real)?.is_some_and(|entry| entry.link_target().is_some()) {
                let led = self.rootfs.resolve(real.as_bytes(), true)?;
                if led.entry.is_some_and(|entry| entry.is_dir()) {
                    self.links.insert(real.clone(), led.end.clone());
                    real = led.end;
                }
            }
            self.directories.insert(next.clone(), real.clone());
        }
        Ok(real)
    }

    /// Where `path` is without links on the way to it; a link at its end stays.
    pub(in crate::select) fn place(&mut self, path: &ImagePath) -> Result<ImagePath, SelectError> {
        match (path.parent(), path.file_name()) {
            (Some(dir), Some(name)) => Ok(self.directory(&dir)?.child(name).unwrap_or_else(|_| path.clone())),
            _ => Ok(path.clone()),
        }
    }

    /// What is at `path`, which has no links on its way.
    pub(in crate::select) fn lookup(&self, path: &ImagePath) -> Result<Option<Entry>, SelectError> {
        Ok(self.rootfs.lookup(path)?)
    }

    /// The names in the directory that `path` leads to.
    pub(in crate::select) fn names(&mut self, path: &ImagePath) -> Result<Vec<Vec<u8>>, SelectError> {
        let dir = self.directory(path)?;
        match self.rootfs.list(&dir) {
            Err(RootfsError::File { cause, .. }) if cause.kind() == io::ErrorKind::PermissionDenied => {
                self.warn(path, &cause.to_string());
                Ok(Vec::new())
            }
            other => Ok(other?),
        }
    }
}

/// All of `file`; `None` when that is more than `limit` bytes.
fn read(file: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= limit).then_some(content))
}

/// The path that a constant of this program is.
pub(in crate::select) fn constant(path: &str) -> ImagePath {
    ImagePath::parse(path).unwrap_or_else(|_| ImagePath::root())
}
