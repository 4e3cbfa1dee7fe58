//! The tar archive around one or more images: an index of what it holds, read once, and reads at offsets after that.
//! Nothing of it is ever extracted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::base::ImagePath;
use crate::image::Limits;
use crate::image::compression::Compression;
use crate::image::error::ImageError;
use crate::image::names;
use crate::image::store::Store;
use crate::image::tar::{self, Kind, Stream, TarError};

/// How many symbolic links one member name may lead through.
const MAX_LINKS: usize = 16;
/// The most members that are remembered: an image has one for each layer and a few more.
const MAX_MEMBERS: usize = 100_000;

/// An archive whose members can be read in any order.
pub(super) struct Archive {
    /// How messages call it.
    name: String,
    file: Arc<File>,
    members: BTreeMap<ImagePath, Member>,
}

#[derive(Clone)]
enum Member {
    File { offset: u64, size: u64 },
    Link(ImagePath),
}

impl Archive {
    /// Opens and indexes the archive. One that is compressed, or that comes through a pipe, is first copied to a
    /// nameless file in the store, because a stream cannot be read in any order.
    pub(super) fn open(path: &Path, store: &Store, limits: &Limits) -> Result<Self, ImageError> {
        let fail = |operation| move |cause| ImageError::File { operation, path: path.to_owned(), cause };
        let mut file = File::open(path).map_err(fail("open"))?;
        let metadata = file.metadata().map_err(fail("read"))?;
        if metadata.is_dir() {
            return Err(ImageError::NotAnImage {
                source_name: path.display().to_string(),
                expected: "a tar archive",
                problem: "it is a directory".into(),
                hint: Some(format!("an image layout in a directory is oci:{}", path.display())),
            });
        }
        let (compression, stream) = Compression::sniff(&mut file).map_err(fail("read"))?;
        if !metadata.is_file() || compression != Compression::None {
            let mut plain = compression.decode(stream).map_err(fail("read"))?.take(limits.unpacked_bytes + 1);
            let mut copy = store.temp_file()?;
            let bytes = io::copy(&mut plain, &mut copy).map_err(fail("decompress to the store"))?;
            if bytes > limits.unpacked_bytes {
                return Err(limits.too_large(path.display().to_string()));
            }
            file = copy;
        }
        Self::index(path.display().to_string(), file)
    }

    fn index(name: String, file: File) -> Result<Self, ImageError> {
        let fail = |cause| ImageError::Archive { file: name.clone(), cause };
        (&file).rewind().map_err(|cause| fail(read_error(cause)))?;
        let length = file.metadata().map_err(|cause| fail(read_error(cause)))?.len();
        let mut reader = tar::Reader::new(Seekable::new(&file, length));
        let mut members = BTreeMap::new();
        while let Some(header) = reader.next_entry().map_err(fail)? {
            let Some(member) = names::clean(&header.name) else { continue };
            let found = match header.kind {
                Kind::File if header.extents.is_none() => {
                    Some(Member::File { offset: reader.position(), size: header.size })
                }
                Kind::HardLink(target) => names::clean(&target).map(Member::Link),
                Kind::Symlink(target) => {
                    let parent = header.name.rsplitn(2, |&b| b == b'/').nth(1).unwrap_or(b"");
                    names::clean(&[parent, b"/", &target].concat()).map(Member::Link)
                }
                _ => None,
            };
            if let Some(found) = found {
                members.insert(member, found);
            }
            if members.len() > MAX_MEMBERS {
                let limit = format!("{MAX_MEMBERS} files");
                return Err(ImageError::TooLarge { what: format!("the archive {name}"), limit, hint: None });
            }
        }
        Ok(Archive { name, file: Arc::new(file), members })
    }

    /// How messages call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is a member of that name.
    pub(super) fn contains(&self, name: &str) -> bool {
        ImagePath::from_relative(name).is_ok_and(|path| self.members.contains_key(&path))
    }

    /// The content of a member and its length in bytes, through links inside the archive; `None` when there is none.
    pub(super) fn read(&self, name: &str) -> Option<(Section, u64)> {
        let mut name = ImagePath::from_relative(name).ok()?;
        for _ in 0..MAX_LINKS {
            match self.members.get(&name)? {
                Member::File { offset, size } => {
                    let section = Section { file: self.file.clone(), position: *offset, end: offset + size };
                    return Some((section, *size));
                }
                Member::Link(target) => name = target.clone(),
            }
        }
        None
    }
}

/// A part of a file. Several can be read at the same time.
pub(super) struct Section {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = (self.end - self.position).min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let n = self.file.read_at(&mut buffer[..wanted], self.position)?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive became shorter"));
        }
        self.position += n as u64;
        Ok(n)
    }
}

/// A file as a stream that skips by seeking.
struct Seekable<'a> {
    inner: BufReader<&'a File>,
    position: u64,
    length: u64,
}

impl<'a> Seekable<'a> {
    fn new(file: &'a File, length: u64) -> Self {
        Seekable { inner: BufReader::new(file), position: 0, length }
    }
}

impl Read for Seekable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl BufRead for Seekable<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.position += count as u64;
        self.inner.consume(count);
    }
}

impl Stream for Seekable<'_> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        if count > self.length.saturating_sub(self.position) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += count;
        self.inner.seek_relative(count as i64)
    }
}

fn read_error(cause: io::Error) -> TarError {
    TarError { offset: 0, problem: tar::Problem::Read(cause) }
}
