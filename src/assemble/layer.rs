//! The one layer of an image: read, checked, digested and written in one pass.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use crate::assemble::error::Content;
use crate::assemble::tarball::{Kind, Record, TarWriter};
use crate::assemble::{AssembleError, times};
use crate::base::{Digest, Epoch, FileTree, HashingWriter, ImagePath};
use crate::image::{Entry, EntryKind, Rootfs};
use crate::select::Manifest;

/// How much of a file is in memory at a time.
const CHUNK: usize = 1024 * 1024;
/// From this size on, the two digests of a chunk are worth two threads.
const WORTH_TWO_THREADS: usize = 128 * 1024;

/// An uncompressed layer tar in a file without a name, and what lies where in it.
pub struct Layer {
    file: File,
    /// The digest of the uncompressed tar, as `rootfs.diff_ids` has it.
    pub diff_id: Digest,
    /// The length of the uncompressed tar.
    pub bytes: u64,
    pub(super) entries: FileTree<Placed>,
}

/// An entry as it stands in a layer.
pub(super) struct Placed {
    /// With the time that it has in the layer.
    pub entry: Entry,
    pub content: Place,
    /// Whether the base does not have it so.
    pub is_generated: bool,
}

/// Where the content of an entry is.
pub(super) enum Place {
    /// It has none.
    Nowhere,
    /// At this offset in the layer.
    At(u64),
    /// It is another name for an earlier entry.
    Hardlink(ImagePath),
}

/// Reads a layer, or a part of it, without moving any other reader.
pub struct LayerReader<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

/// Writes the layer into `scratch`, an empty file. Entries stand in the order of the manifest; times later than
/// `epoch` become `epoch`; a directory that nobody listed is 0755, 0:0, 1970. The root directory has an entry (`./`)
/// only when it is not the 0755, 0:0 that every runtime gives it.
///
/// # Errors
/// When a file's content is not what the manifest says, or an entry lies in something that is no directory.
pub fn write_layer(
    manifest: &Manifest,
    rootfs: &Rootfs,
    epoch: Option<Epoch>,
    scratch: File,
) -> Result<Layer, AssembleError> {
    let place = place(&scratch);
    let writing = |cause| AssembleError::File { operation: "write", path: place.clone(), cause };
    let hardlinks = manifest.hardlinks();
    let mut placed: FileTree<Placed> = FileTree::new();
    let mut tar = TarWriter::new(HashingWriter::new(BufWriter::with_capacity(256 * 1024, scratch)));
    let mut copier = Copier { buffer: Vec::new() };
    for (path, entry) in with_parents(manifest)? {
        let mut entry = entry.into_owned();
        let generated = manifest.generated.get(&path);
        (entry.mtime, entry.nanos) = times::in_image(&path, &entry, epoch, manifest, rootfs)?;
        let first_name = hardlinks.get(&path);
        let Some(kind) = kind(&entry, first_name) else { continue };
        if path.is_root() && (entry.mode, entry.uid, entry.gid) == (0o755, 0, 0) && entry.xattrs.is_empty() {
            placed.insert(path, Placed { entry, content: Place::Nowhere, is_generated: false });
            continue;
        }
        let is_content = matches!(kind, Kind::File { .. });
        tar.begin(&Record {
            name: if path.is_root() { b"." } else { path.relative() },
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            nanos: entry.nanos,
            xattrs: &entry.xattrs,
        })
        .map_err(writing)?;
        let content = match first_name {
            _ if is_content => Place::At(tar.position()),
            Some(first) => Place::Hardlink(first.clone()),
            None => Place::Nowhere,
        };
        if let (Place::At(_), EntryKind::File { size, digest, .. }) = (&content, &entry.kind) {
            let digest = digest.ok_or_else(|| AssembleError::NoDigest(path.clone()))?;
            let expected = Content { size: *size, digest };
            match generated {
                Some(content) => write_generated(&path, content, expected, &mut tar, &place)?,
                None => copier.copy(rootfs, &path, expected, &mut tar, &place)?,
            }
            tar.pad().map_err(writing)?;
        }
        placed.insert(path, Placed { entry, content, is_generated: generated.is_some() });
    }
    let (out, diff_id, bytes) = tar.finish().map_err(writing)?.finish();
    let file = out.into_inner().map_err(|e| writing(e.into_error()))?;
    Ok(Layer { file, diff_id, bytes, entries: placed })
}

/// Writes what the base does not have.
fn write_generated(
    path: &ImagePath,
    content: &[u8],
    expected: Content,
    out: &mut impl Write,
    place: &str,
) -> Result<(), AssembleError> {
    let found = Content { size: content.len() as u64, digest: Digest::of(content) };
    if found != expected {
        return Err(AssembleError::Changed { path: path.clone(), expected, found });
    }
    out.write_all(content).map_err(|cause| AssembleError::File { operation: "write", path: place.into(), cause })
}

/// What a layer in `scratch` is called in messages: it has no name, but it is somewhere.
fn place(scratch: &File) -> String {
    let itself = std::fs::read_link(format!("/proc/self/fd/{}", scratch.as_raw_fd()));
    match itself.as_deref().ok().and_then(std::path::Path::parent) {
        Some(dir) => format!("the layer in {}", dir.display()),
        None => "the layer".into(),
    }
}

/// All entries of the manifest and the parents that it lacks.
fn with_parents(manifest: &Manifest) -> Result<FileTree<Cow<'_, Entry>>, AssembleError> {
    let mut entries = FileTree::new();
    for (path, chosen) in manifest.entries.iter() {
        for parent in path.ancestors() {
            match manifest.entries.get(&parent) {
                Some(above) if above.entry.is_dir() => break,
                Some(_) => return Err(AssembleError::NotADirectory { path: path.clone(), parent }),
                None => drop(entries.insert(parent, Cow::Owned(Entry::implied_directory()))),
            }
        }
        entries.insert(path.clone(), Cow::Borrowed(&chosen.entry));
    }
    Ok(entries)
}

/// How a tar file says what `entry` is; `None` for a socket, which it cannot.
pub(super) fn kind<'a>(entry: &'a Entry, first_name: Option<&'a ImagePath>) -> Option<Kind<'a>> {
    Some(match &entry.kind {
        EntryKind::File { size, .. } => match first_name {
            Some(first) => Kind::Hardlink { target: first.relative() },
            None => Kind::File { size: *size },
        },
        EntryKind::Dir => Kind::Dir,
        EntryKind::Symlink { target } => Kind::Symlink { target },
        &EntryKind::CharDevice { major, minor } => Kind::CharDevice { major, minor },
        &EntryKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
        EntryKind::Fifo => Kind::Fifo,
        EntryKind::Socket => return None,
    })
}

struct Copier {
    buffer: Vec<u8>,
}

impl Copier {
    /// Copies the file at `path` to `out` and checks that it is what was expected.
    fn copy(
        &mut self,
        rootfs: &Rootfs,
        path: &ImagePath,
        expected: Content,
        out: &mut (impl Write + Send),
        place: &str,
    ) -> Result<(), AssembleError> {
        let reading = |cause| AssembleError::File { operation: "read", path: path.to_string(), cause };
        let writing = |cause| AssembleError::File { operation: "write", path: place.into(), cause };
        let mut file = rootfs.open(path)?;
        let mut hash = HashingWriter::new(io::sink());
        let mut read = 0;
        self.buffer.resize(usize::try_from(expected.size).unwrap_or(CHUNK).saturating_add(1).min(CHUNK), 0);
        loop {
            let n = read_full(&mut file, &mut self.buffer).map_err(reading)?;
            let chunk = &self.buffer[..n];
            read += n as u64;
            // A file that keeps growing is another file; there is no need to find out how long it gets.
            if n == 0 || read > expected.size + CHUNK as u64 {
                break;
            }
            if n >= WORTH_TWO_THREADS {
                let (hashed, written) = rayon::join(|| hash.write_all(chunk), || out.write_all(chunk));
                hashed.map_err(reading)?;
                written.map_err(writing)?;
            } else {
                hash.write_all(chunk).map_err(reading)?;
                out.write_all(chunk).map_err(writing)?;
            }
        }
        let (_, digest, size) = hash.finish();
        let found = Content { size, digest };
        if found != expected {
            return Err(AssembleError::Changed { path: path.clone(), expected, found });
        }
        Ok(())
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(filled)
}

impl Layer {
    /// The uncompressed tar.
    pub fn reader(&self) -> LayerReader<'_> {
        LayerReader { file: &self.file, at: 0, end: self.bytes }
    }

    /// `size` bytes of the tar from `offset` on.
    pub(super) fn part(&self, offset: u64, size: u64) -> LayerReader<'_> {
        LayerReader { file: &self.file, at: offset, end: offset + size }
    }

    /// Fills `buffer` from `offset` on.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl<'a> LayerReader<'a> {
    /// The first `bytes` of a file.
    pub(super) fn of(file: &'a File, bytes: u64) -> Self {
        LayerReader { file, at: 0, end: bytes }
    }

    /// Copies all that is left to the current position of `out`, inside the kernel where it can.
    pub(super) fn copy_to(mut self, out: &mut File) -> io::Result<()> {
        while self.at < self.end {
            let length = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            let mut offset = self.at as i64;
            match nix::fcntl::copy_file_range(self.file, Some(&mut offset), &mut *out, None, length) {
                Ok(n) if n > 0 => self.at += n as u64,
                // Other filesystems, or a kernel that will not: byte by byte then.
                _ => {
                    let mut buffer = vec![0; CHUNK.min(length)];
                    loop {
                        let n = self.read(&mut buffer)?;
                        if n == 0 {
                            break;
                        }
                        out.write_all(&buffer[..n])?;
                    }
                    if self.at < self.end {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
        Ok(())
    }
}

impl Read for LayerReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let n = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
