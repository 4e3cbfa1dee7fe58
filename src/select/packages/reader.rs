//! Reads files of a base within bounds and says where paths of its databases lead. What a database is too large or too
//! broken for is a warning here, so that a strange image is still an image.

use std::collections::HashMap;
use std::io::{self, Read};

use crate::base::ImagePath;
use crate::image::{Entry, Rootfs, RootfsError};
use crate::select::{SelectError, walk};

/// The longest text that is read of a package: its list of files, its metadata.
pub(in crate::select) const MAX_TEXT: u64 = 32 << 20;
/// The largest database that is read.
pub(in crate::select) const MAX_DATABASE: u64 = 512 << 20;

/// How much all databases may have together, in bytes, and how many files may be looked up as theirs: links let many
/// packages have one long list, or one large directory.
const MAX_TOTAL: u64 = 2 << 30;
const MAX_FILES: usize = 20_000_000;

/// A base that is being read.
pub(in crate::select) struct Reader<'a> {
    /// The base.
    pub rootfs: &'a Rootfs,
    /// Links that lead to directories, each by its path without links, with the directory.
    pub links: HashMap<ImagePath, ImagePath>,
    /// What could not be read.
    pub warnings: Vec<String>,
    directories: HashMap<ImagePath, ImagePath>,
    bytes_left: u64,
    files_left: usize,
}

impl<'a> Reader<'a> {
    pub(in crate::select) fn new(rootfs: &'a Rootfs) -> Self {
        let (bytes_left, files_left) = (MAX_TOTAL, MAX_FILES);
        Reader {
            rootfs,
            links: HashMap::new(),
            warnings: Vec::new(),
            directories: HashMap::new(),
            bytes_left,
            files_left,
        }
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
            Ok(file) => match read(file, limit.min(self.bytes_left)) {
                Ok(Some(content)) => {
                    self.bytes_left -= content.len() as u64;
                    return Ok(Some((way.end, content)));
                }
                Ok(None) if self.bytes_left < limit => "there is too much about packages in the base".into(),
                Ok(None) => format!("it has more than {} MB", limit >> 20),
                Err(cause) => cause.to_string(),
            },
            Err(RootfsError::File { cause, .. }) => cause.to_string(),
            Err(cause) => return Err(cause.into()),
        };
        self.warn(path, &cause);
        Ok(None)
    }

    /// The files below `dir`; none, with a warning, when too many were looked up already.
    pub(in crate::select) fn files_below(&mut self, dir: &ImagePath) -> Result<Vec<ImagePath>, SelectError> {
        let mut files = Vec::new();
        if self.files_left > 0 {
            walk(self.rootfs, dir, &mut |path, entry| {
                if !entry.is_dir() {
                    files.push(path.clone());
                }
                Ok(())
            })?;
        }
        let was_enough = self.files_left > 0;
        self.files_left = self.files_left.saturating_sub(files.len().max(1));
        if was_enough && self.files_left == 0 {
            self.warn(dir, "too many packages have too many files");
        }
        Ok(files)
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::image::OwnersAsSeen;

    #[test]
    fn what_many_packages_share_is_not_read_without_end() {
        let dir = tempfile::TempDir::new().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join("d").join(name), "text").unwrap();
        }
        let rootfs = Rootfs::lazy(dir.path(), Arc::new(OwnersAsSeen)).unwrap();
        let mut reader = Reader { files_left: 4, bytes_left: 6, ..Reader::new(&rootfs) };
        let (directory, file) = (constant("/d"), constant("/d/a"));
        let below = [(); 3].map(|()| reader.files_below(&directory).unwrap().len());
        assert_eq!(below, [3, 3, 0]);
        let read = [(); 2].map(|()| reader.file(&file, 100).unwrap().is_some());
        assert_eq!(read, [true, false]);
        assert_eq!(
            reader.warnings,
            [
                "the packages in /d are not known: too many packages have too many files",
                "the packages in /d/a are not known: there is too much about packages in the base"
            ]
        );
    }
}
