//! Reads tar archives as a stream: ustar, old GNU, STAR and pax, with long names, extended attributes and sparse
//! files (POSIX.1-2017 `pax`; GNU tar manual, "Basic Tar Format" and "Sparse Formats").
//!
//! What it reads is untrusted. It allocates no more than [`META_LIMIT`] for one header, whatever the header declares,
//! reads binary values of extended attributes as they are, and where archivers disagree it reads an archive as the
//! container engines do (Go's `archive/tar`), so that what is checked here is what they would unpack.

mod header;
mod pax;
mod sparse;

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use header::{BLOCK, Block};
use pax::Pax;
pub use sparse::Extent;

use crate::base::escape_bytes;

/// The most that the extended headers of one entry may take, in bytes.
pub const META_LIMIT: u64 = 1 << 20;

/// One entry of an archive; its data follow in the [`Reader`] it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// As it is written in the archive: relative or absolute, with `..` or without.
    pub name: Vec<u8>,
    /// The type of file.
    pub kind: Kind,
    /// The lower 12 bits of the mode.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Seconds since 1970, rounded down.
    pub mtime: i64,
    /// The nanoseconds since then.
    pub nanos: u32,
    /// Length of the file in bytes, holes included; 0 for everything but a file.
    pub size: u64,
    /// Where the data belong when the file has holes; `None` when it has none.
    pub extents: Option<Vec<Extent>>,
    /// Extended attributes, by name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// The type of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name for the entry that is named.
    HardLink(Vec<u8>),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A character device, major and minor.
    CharDevice(u32, u32),
    /// A block device, major and minor.
    BlockDevice(u32, u32),
    /// A directory.
    Dir,
    /// A FIFO.
    Fifo,
}

/// An archive is not as the format demands.
#[derive(Debug, thiserror::Error)]
#[error("{problem} (at byte {offset})")]
pub struct TarError {
    /// Where in the archive, in bytes from its beginning.
    pub offset: u64,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The stream ended inside a header or inside data that a header declares.
    #[error("the archive ends in the middle of an entry")]
    Truncated,
    /// The checksum of a header is wrong, so it is no header.
    #[error("this is no tar header: its checksum is wrong")]
    Checksum,
    /// A numeric field holds no number, or one that is out of range.
    #[error("the field '{0}' of a tar header is not a number that fits")]
    Number(&'static str),
    /// An extended header is larger than any real one.
    #[error("an extended tar header of {0} bytes, more than the {META_LIMIT} that are allowed")]
    MetaTooLarge(u64),
    /// A record of a pax header is malformed.
    #[error("a malformed record in a pax header")]
    Pax,
    /// The map of a sparse file contradicts itself.
    #[error("the map of a sparse file contradicts itself")]
    Sparse,
    /// A name is empty or holds a NUL byte.
    #[error("an entry whose name is not valid: {0:?}")]
    Name(String),
    /// A type of entry that nobody can unpack.
    #[error("an entry of the unknown type {0:?}")]
    Type(char),
    /// The stream could not be read.
    #[error("{0}")]
    Read(io::Error),
}

/// A stream that can pass over bytes without looking at them.
pub trait Stream: BufRead {
    /// Passes over `count` bytes. Fails with `UnexpectedEof` when there are fewer.
    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let available = self.fill_buf()?.len() as u64;
            if available == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = available.min(count);
            self.consume(step as usize);
            count -= step;
        }
        Ok(())
    }
}

impl Stream for &[u8] {}

/// Reads an archive entry by entry.
pub struct Reader<R> {
    inner: R,
    /// How many bytes of `inner` were consumed.
    position: u64,
    /// What is left of the data of the entry that was returned last.
    remaining: u64,
    /// What follows the data, up to a whole block.
    padding: u64,
}

impl<R: Stream> Reader<R> {
    /// Starts at the first header.
    pub fn new(inner: R) -> Self {
        Reader { inner, position: 0, remaining: 0, padding: 0 }
    }

    /// Where the data of the entry that was returned last begin (or go on), in bytes from the start.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes of the entry's data are stored in the archive and not read yet.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// What is left of the stream after the last entry.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry, past what is left of the one before; `None` at the end of the archive.
    pub fn next_entry(&mut self) -> Result<Option<Header>, TarError> {
        let rest = self.remaining + self.padding;
        (self.remaining, self.padding) = (0, 0);
        self.skip(rest)?;
        let (mut pax, mut long_name, mut long_link) = (Pax::default(), None, None);
        let mut meta_bytes = 0;
        loop {
            let Some(block) = self.block()? else {
                return if meta_bytes > 0 { Err(self.error(Problem::Truncated)) } else { Ok(None) };
            };
            if block.is_zero() {
                return Ok(None);
            }
            block.verify().map_err(|p| self.error(p))?;
            match block.kind() {
                kind @ (b'x' | b'g' | b'L' | b'K') => {
                    let size = block.size().map_err(|p| self.error(p))?;
                    meta_bytes += size.max(1);
                    if meta_bytes > META_LIMIT {
                        return Err(self.error(Problem::MetaTooLarge(meta_bytes)));
                    }
                    let data = self.meta(size)?;
                    match kind {
                        b'x' => pax = Pax::parse(&data).map_err(|p| self.error(p))?,
                        b'L' => long_name = Some(header::until_nul(&data).to_vec()),
                        b'K' => long_link = Some(header::until_nul(&data).to_vec()),
                        // Global records describe the archive's maker; the engines do not apply them to entries.
                        _ => {}
                    }
                }
                _ => return self.entry(&block, pax, long_name, long_link).map(Some),
            }
        }
    }

    /// The next piece of the entry's data as it is stored (without holes), as large as it comes; empty at its end.
    /// Follow it with [`Reader::consume`].
    pub fn data(&mut self) -> Result<&[u8], TarError> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let offset = self.position;
        match self.inner.fill_buf() {
            Ok([]) => Err(TarError { offset, problem: Problem::Truncated }),
            Ok(bytes) => {
                let length = (bytes.len() as u64).min(self.remaining) as usize;
                Ok(&bytes[..length])
            }
            Err(cause) => Err(TarError { offset, problem: Problem::Read(cause) }),
        }
    }

    /// Marks `count` bytes of what [`Reader::data`] returned as read.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count as u64 <= self.remaining);
        self.inner.consume(count);
        self.position += count as u64;
        self.remaining -= count as u64;
    }

    fn entry(
        &mut self,
        block: &Block,
        mut pax: Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Header, TarError> {
        let offset = self.position;
        let error = |problem| TarError { offset, problem };
        let mut name = long_name.or(pax.path.take()).unwrap_or_else(|| block.name());
        let link = long_link.or(pax.link_path.take()).unwrap_or_else(|| block.link_name());
        // A directory of the oldest format is a file whose name ends in a slash.
        let kind = match block.kind() {
            0 if name.ends_with(b"/") => Kind::Dir,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            b'3' | b'4' => {
                let (major, minor) = block.device().map_err(error)?;
                if block.kind() == b'3' { Kind::CharDevice(major, minor) } else { Kind::BlockDevice(major, minor) }
            }
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            other => return Err(error(Problem::Type(char::from(other)))),
        };
        let mut size = 0;
        let mut extents = None;
        if kind == Kind::File {
            self.remaining = pax.size.map_or_else(|| block.size(), Ok).map_err(error)?;
            self.padding = self.remaining.wrapping_neg() % BLOCK as u64;
            size = self.remaining;
            if block.kind() == b'S' {
                let (map, real_size) = self.old_gnu_map(block)?;
                (extents, size) = (Some(map), real_size);
            } else if let Some(declared) = pax.sparse.take() {
                if let Some(sparse_name) = declared.name {
                    name = sparse_name;
                }
                let map = match declared.map {
                    Some(map) => map,
                    None => self.map_in_data()?,
                };
                (extents, size) = (Some(map), declared.real_size);
            }
            if let Some(map) = &extents {
                sparse::check(map, size, self.remaining).map_err(error)?;
            }
        }
        if name.is_empty() || name.contains(&0) {
            return Err(error(Problem::Name(escape_bytes(&name).into_owned())));
        }
        let (uid, gid) = block.owner(pax.uid, pax.gid).map_err(error)?;
        let (mtime, nanos) = pax.mtime.map_or_else(|| Ok((block.mtime()?, 0)), Ok).map_err(error)?;
        let mode = block.mode().map_err(error)?;
        Ok(Header { name, kind, mode, uid, gid, mtime, nanos, size, extents, xattrs: pax.xattrs })
    }

    /// The map of an old GNU sparse file, which goes on in blocks of its own when it is long.
    fn old_gnu_map(&mut self, block: &Block) -> Result<(Vec<Extent>, u64), TarError> {
        let (mut map, real_size, mut more) = sparse::old_gnu(block.bytes()).map_err(|p| self.error(p))?;
        while more {
            let Some(next) = self.block()? else { return Err(self.error(Problem::Truncated)) };
            more = sparse::old_gnu_extension(next.bytes(), &mut map).map_err(|p| self.error(p))?;
            if (map.len() * size_of::<Extent>()) as u64 > META_LIMIT {
                return Err(self.error(Problem::MetaTooLarge((map.len() * size_of::<Extent>()) as u64)));
            }
        }
        Ok((map, real_size))
    }

    /// The map of a pax 1.0 sparse file: decimal numbers in front of its data, padded to a block.
    fn map_in_data(&mut self) -> Result<Vec<Extent>, TarError> {
        let mut parser = sparse::DecimalMap::default();
        let mut read = 0;
        while !parser.is_complete() {
            if self.remaining < BLOCK as u64 {
                return Err(self.error(Problem::Sparse));
            }
            read += BLOCK as u64;
            if read > META_LIMIT {
                return Err(self.error(Problem::MetaTooLarge(read)));
            }
            self.remaining -= BLOCK as u64;
            let Some(block) = self.block()? else { return Err(self.error(Problem::Truncated)) };
            parser.feed(block.bytes()).map_err(|p| self.error(p))?;
        }
        Ok(parser.finish())
    }

    /// The next block; `None` when the stream ends right before it.
    fn block(&mut self) -> Result<Option<Block>, TarError> {
        let mut block = [0; BLOCK];
        let filled = self.fill(&mut block)?;
        match filled {
            0 => Ok(None),
            BLOCK => Ok(Some(Block::new(block))),
            _ => Err(self.error(Problem::Truncated)),
        }
    }

    /// The data of an extended header and the padding after them.
    fn meta(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut data = vec![0; size as usize];
        if self.fill(&mut data)? < data.len() {
            return Err(self.error(Problem::Truncated));
        }
        self.skip(size.wrapping_neg() % BLOCK as u64)?;
        Ok(data)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.error(Problem::Read(cause))),
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    fn skip(&mut self, count: u64) -> Result<(), TarError> {
        match self.inner.skip(count) {
            Ok(()) => {
                self.position += count;
                Ok(())
            }
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Err(self.error(Problem::Truncated)),
            Err(cause) => Err(self.error(Problem::Read(cause))),
        }
    }

    fn error(&self, problem: Problem) -> TarError {
        TarError { offset: self.position, problem }
    }
}

#[cfg(test)]
mod tests;
