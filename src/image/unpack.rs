//! Layers become one tree: entries, whiteouts and hard links applied in order (OCI image-spec 1.1, layer.md).
//!
//! The index in memory says at any moment what is on disk, so names are resolved in it, and the disk is only written.
//! Where the specification is silent this does what containerd does: parents are resolved through the links that are
//! there, inside the root; what replaces something else than a directory by a directory removes it first.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use crate::base::{FileTree, HashingWriter, ImagePath, escape_bytes};
use crate::image::disk::Disk;
use crate::image::error::{EntryProblem, ImageError};
use crate::image::layer::{LayerInput, for_each_layer};
use crate::image::tar::{self, Header, Kind, Stream};
use crate::image::{Entry, EntryKind, Limits, names, xattrs};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bookkeeping of AUFS, which the first Docker left in layers.
const AUFS: &[u8] = b".wh..wh.";
/// How many symbolic links the way to one entry may have, as in containerd.
const MAX_LINKS: usize = 255;
/// How many components the way to one entry may have ahead of it.
const MAX_PENDING: usize = 8192;

/// Unpacks `layers`, lowest first, into the empty directory `root` and returns what is there. On an error the
/// directory is in no particular state, and nothing outside of it was touched.
pub(super) fn unpack_layers(
    layers: Vec<LayerInput<'_>>,
    root: &Path,
    limits: &Limits,
) -> Result<FileTree<Entry>, ImageError> {
    let names: Vec<String> = layers.iter().map(|layer| layer.name.clone()).collect();
    let disk = Disk::new(root).map_err(|cause| ImageError::Store { operation: "open", path: root.into(), cause })?;
    let mut unpacker = Unpacker::new(disk, limits);
    for_each_layer(layers, limits, |index, stream| unpacker.layer(&names[index], index == 0, stream))?;
    unpacker.finish()
}

/// What stops a single entry.
enum Stop {
    Entry(EntryProblem),
    Disk(&'static str, ImagePath, io::Error),
    Tar(tar::TarError),
    Limit(ImageError),
}

impl From<EntryProblem> for Stop {
    fn from(problem: EntryProblem) -> Self {
        Stop::Entry(problem)
    }
}

fn disk_error<'a>(operation: &'static str, path: &'a ImagePath) -> impl FnOnce(io::Error) -> Stop + 'a {
    move |cause| Stop::Disk(operation, path.clone(), cause)
}

struct Unpacker<'a> {
    disk: Disk,
    tree: FileTree<Entry>,
    /// What this layer put there: its own whiteouts leave it alone. Not kept for the lowest layer.
    fresh: HashSet<ImagePath>,
    is_lowest: bool,
    /// What the names of each file with several names share: the number in an entry's `link_group` is an index here.
    groups: Vec<Entry>,
    /// The directory part of the last name, and where it led.
    last_parent: Option<(Vec<u8>, ImagePath)>,
    limits: &'a Limits,
    bytes: u64,
    entries: u64,
}

impl<'a> Unpacker<'a> {
    fn new(disk: Disk, limits: &'a Limits) -> Self {
        let mut tree = FileTree::new();
        tree.insert(ImagePath::root(), Entry::implied_directory());
        Unpacker {
            disk,
            tree,
            fresh: HashSet::new(),
            is_lowest: true,
            groups: Vec::new(),
            last_parent: None,
            limits,
            bytes: 0,
            entries: 0,
        }
    }

    fn layer(&mut self, layer: &str, is_lowest: bool, stream: impl Stream) -> Result<(), ImageError> {
        self.fresh.clear();
        self.is_lowest = is_lowest;
        self.last_parent = None;
        let mut reader = tar::Reader::new(stream);
        let archive_error = |cause| ImageError::LayerArchive { layer: layer.into(), cause };
        while let Some(header) = reader.next_entry().map_err(archive_error)? {
            let name = header.name.clone();
            self.entry(header, &mut reader).map_err(|stop| match stop {
                Stop::Entry(problem) => {
                    let name = escape_bytes(&name).into_owned();
                    ImageError::LayerEntry { layer: layer.into(), name, problem }
                }
                Stop::Disk(operation, path, cause) => ImageError::Unpack { operation, path, cause },
                Stop::Tar(cause) => archive_error(cause),
                Stop::Limit(error) => error,
            })?;
        }
        Ok(())
    }

    fn entry(&mut self, header: Header, reader: &mut tar::Reader<impl Stream>) -> Result<(), Stop> {
        self.count(header.size)?;
        let named = names::clean(&header.name).ok_or(EntryProblem::Escapes)?;
        let Some(name) = named.file_name().map(<[u8]>::to_vec) else {
            return self.root(header);
        };
        let top = named.components().next().unwrap_or_default();
        if top.starts_with(AUFS) && top != OPAQUE {
            return Ok(());
        }
        let parent = self.parent(&named)?;
        if name == OPAQUE {
            return self.hide(&parent, false);
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            let hidden = parent.child(hidden).map_err(|_| EntryProblem::EmptyWhiteout)?;
            return self.hide(&hidden, true);
        }
        let path = parent.child(&name).map_err(|_| EntryProblem::Escapes)?;
        self.place(path, header, reader)
    }

    /// The root directory itself: an entry for it carries metadata only.
    fn root(&mut self, header: Header) -> Result<(), Stop> {
        if header.kind != Kind::Dir {
            return Err(EntryProblem::RootNotDirectory.into());
        }
        self.tree.insert(ImagePath::root(), entry(&header, EntryKind::Dir));
        Ok(())
    }

    fn place(&mut self, path: ImagePath, header: Header, reader: &mut tar::Reader<impl Stream>) -> Result<(), Stop> {
        let kind = match &header.kind {
            Kind::HardLink(target) => return self.link(path, target, &header),
            Kind::Dir => {
                if !self.tree.get(&path).is_some_and(Entry::is_dir) {
                    self.clear(&path)?;
                    self.disk.make_dir(&path).map_err(disk_error("make the directory", &path))?;
                }
                self.insert(path, entry(&header, EntryKind::Dir));
                return Ok(());
            }
            Kind::File => {
                self.clear(&path)?;
                let file = self.disk.create(&path).map_err(disk_error("create", &path))?;
                let kind = self.write(&file, &path, &header, reader)?;
                let entry = entry(&header, kind);
                Disk::finish_file(&file, &entry).map_err(disk_error("set the metadata of", &path))?;
                self.insert(path, entry);
                return Ok(());
            }
            Kind::Symlink(target) => EntryKind::Symlink { target: target.clone() },
            Kind::CharDevice(major, minor) => EntryKind::CharDevice { major: *major, minor: *minor },
            Kind::BlockDevice(major, minor) => EntryKind::BlockDevice { major: *major, minor: *minor },
            Kind::Fifo => EntryKind::Fifo,
        };
        self.clear(&path)?;
        self.disk.make_node(&path, &kind).map_err(disk_error("create", &path))?;
        let entry = entry(&header, kind);
        self.disk.finish(&path, &entry).map_err(disk_error("set the metadata of", &path))?;
        self.insert(path, entry);
        Ok(())
    }

    /// Writes the content of a file and digests it on the way, holes as the zeros that they read as.
    fn write(
        &mut self,
        mut file: &File,
        path: &ImagePath,
        header: &Header,
        reader: &mut tar::Reader<impl Stream>,
    ) -> Result<EntryKind, Stop> {
        let fail = |cause| Stop::Disk("write", path.clone(), cause);
        let mut hash = HashingWriter::new(io::sink());
        let whole = [tar::Extent { offset: 0, length: header.size }];
        let mut at = 0;
        for extent in header.extents.as_deref().unwrap_or(&whole) {
            if extent.offset > at {
                digest_zeros(&mut hash, extent.offset - at).map_err(fail)?;
                file.seek(SeekFrom::Start(extent.offset)).map_err(fail)?;
            }
            let mut left = extent.length;
            while left > 0 {
                let piece = reader.data().map_err(Stop::Tar)?;
                let piece = &piece[..(piece.len() as u64).min(left) as usize];
                file.write_all(piece).map_err(fail)?;
                hash.write_all(piece).map_err(fail)?;
                let length = piece.len();
                reader.consume(length);
                left -= length as u64;
            }
            at = extent.offset + extent.length;
        }
        if at < header.size {
            digest_zeros(&mut hash, header.size - at).map_err(fail)?;
        }
        if header.extents.is_some() {
            // The last extent may be empty and only say where the file ends, behind a hole that nothing was written after.
            file.set_len(header.size).map_err(fail)?;
        }
        let (_, digest, _) = hash.finish();
        Ok(EntryKind::File { size: header.size, digest: Some(digest), link_group: None })
    }

    /// Another name for what is at `target` now, wherever it came from. The metadata of the entry become those of the
    /// file, under all its names.
    fn link(&mut self, path: ImagePath, target: &[u8], header: &Header) -> Result<(), Stop> {
        let missing = || Stop::Entry(EntryProblem::LinkTargetMissing(escape_bytes(target).into_owned()));
        let named = names::clean(target).ok_or(EntryProblem::Escapes)?;
        let Some(name) = named.file_name() else { return Err(EntryProblem::LinkToDirectory(named).into()) };
        let parent = self.walk(&named, false)?.ok_or_else(missing)?;
        let target = parent.child(name).map_err(|_| missing())?;
        let found = match self.tree.get_mut(&target) {
            None => return Err(missing()),
            Some(found) if found.is_dir() => return Err(EntryProblem::LinkToDirectory(target).into()),
            Some(found) => found,
        };
        if target == path {
            return Ok(());
        }
        let mut linked = entry(header, found.kind.clone());
        if let EntryKind::File { link_group, .. } = &mut found.kind {
            let group = *link_group.get_or_insert(self.groups.len() as u64);
            linked.xattrs = found.xattrs.clone();
            if let Some(shared) = self.groups.get(group as usize) {
                linked.xattrs = shared.xattrs.clone();
            }
            linked.xattrs.extend(xattrs::of_layer(header.xattrs.clone()));
            linked.kind = found.kind.clone();
            match self.groups.get_mut(group as usize) {
                Some(shared) => *shared = linked.clone(),
                None => self.groups.push(linked.clone()),
            }
        }
        if target.is_within(&path) {
            // Making room for the new name would remove what it is to be a name of.
            return Err(missing());
        }
        self.clear(&path)?;
        self.disk.link(&target, &path).map_err(disk_error("link", &path))?;
        self.disk.finish(&path, &linked).map_err(disk_error("set the metadata of", &path))?;
        self.insert(path, linked);
        Ok(())
    }

    /// Hides what lower layers have at `path` and below (only below, unless `inclusive`). What this layer put there
    /// stays, wherever in the layer the whiteout stands.
    fn hide(&mut self, path: &ImagePath, inclusive: bool) -> Result<(), Stop> {
        if self.is_lowest {
            return Ok(());
        }
        let is_hidden = |at: &ImagePath| (inclusive || at != path) && !self.fresh.contains(at);
        let hidden: Vec<ImagePath> =
            self.tree.subtree(path).filter(|(at, _)| is_hidden(at)).map(|(at, _)| at.clone()).collect();
        for at in hidden.into_iter().rev() {
            if self.tree.subtree(&at).nth(1).is_some() {
                // A directory of a lower layer that this layer goes on to use without having an entry for it.
                self.tree.insert(at, Entry::implied_directory());
            } else if let Some(gone) = self.tree.remove(&at) {
                self.disk.remove(&at, gone.is_dir()).map_err(disk_error("remove", &at))?;
            }
        }
        self.last_parent = None;
        Ok(())
    }

    /// Removes whatever is at `path`, to make room.
    fn clear(&mut self, path: &ImagePath) -> Result<(), Stop> {
        if !self.tree.contains(path) {
            return Ok(());
        }
        for (at, gone) in self.tree.remove_subtree(path, true).into_iter().rev() {
            self.disk.remove(&at, gone.is_dir()).map_err(disk_error("remove", &at))?;
            self.fresh.remove(&at);
        }
        self.last_parent = None;
        Ok(())
    }

    fn insert(&mut self, path: ImagePath, entry: Entry) {
        if !self.is_lowest {
            self.fresh.insert(path.clone());
        }
        self.tree.insert(path, entry);
    }

    /// The directory that an entry called `path` belongs in; it is made when it does not exist.
    fn parent(&mut self, path: &ImagePath) -> Result<ImagePath, Stop> {
        let length = path.as_bytes().len() - path.file_name().map_or(0, <[u8]>::len);
        let written = &path.as_bytes()[..length];
        if let Some((last, resolved)) = &self.last_parent
            && last == written
        {
            return Ok(resolved.clone());
        }
        let resolved = self.walk(path, true)?.ok_or(EntryProblem::Escapes)?;
        self.last_parent = Some((written.to_vec(), resolved.clone()));
        Ok(resolved)
    }

    /// Where the directory part of `path` leads, links followed inside the root. What does not exist is made, or is
    /// the end of the walk.
    fn walk(&mut self, path: &ImagePath, make: bool) -> Result<Option<ImagePath>, Stop> {
        let mut pending = reversed(path.as_bytes());
        // The last component is not part of the way.
        let mut at = ImagePath::root();
        let mut links = 0;
        if !pending.is_empty() {
            pending.remove(0);
        }
        while let Some(name) = pending.pop() {
            if name == b".." {
                at = at.parent().unwrap_or(at);
                continue;
            }
            let next = at.child(&name).map_err(|_| EntryProblem::Escapes)?;
            match self.tree.get(&next) {
                Some(found) if found.is_dir() => at = next,
                Some(found) => {
                    let Some(target) = found.link_target() else {
                        return Err(EntryProblem::ParentNotDirectory(next).into());
                    };
                    links += 1;
                    if links > MAX_LINKS || pending.len() > MAX_PENDING {
                        return Err(EntryProblem::LinkLoop.into());
                    }
                    if target.starts_with(b"/") {
                        at = ImagePath::root();
                    }
                    pending.extend(reversed(target));
                }
                None if make => {
                    self.count(0)?;
                    self.disk.make_dir(&next).map_err(disk_error("make the directory", &next))?;
                    self.insert(next.clone(), Entry::implied_directory());
                    at = next;
                }
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn count(&mut self, bytes: u64) -> Result<(), Stop> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.entries > self.limits.entries || self.bytes > self.limits.unpacked_bytes {
            return Err(Stop::Limit(self.limits.too_large("the image".into())));
        }
        Ok(())
    }

    /// Applies what had to wait until nothing changes any more: the metadata of directories, and those that the names
    /// of a file share.
    fn finish(mut self) -> Result<FileTree<Entry>, ImageError> {
        let mut names = BTreeMap::<u64, u64>::new();
        for (_, entry) in self.tree.iter() {
            if let Some(group) = group_of(entry) {
                *names.entry(group).or_default() += 1;
            }
        }
        let mut numbers = BTreeMap::<u64, u64>::new();
        for (_, entry) in self.tree.iter_mut() {
            let Some(group) = group_of(entry) else { continue };
            if let Some(shared) = self.groups.get(group as usize) {
                *entry = shared.clone();
            }
            let next = numbers.len() as u64 + 1;
            if let EntryKind::File { link_group, .. } = &mut entry.kind {
                *link_group = (names[&group] > 1).then(|| *numbers.entry(group).or_insert(next));
            }
        }
        for (path, entry) in self.tree.iter().rev().filter(|(_, entry)| entry.is_dir()) {
            let set = self.disk.finish(path, entry);
            set.map_err(|cause| ImageError::Unpack { operation: "set the metadata of", path: path.clone(), cause })?;
        }
        Ok(self.tree)
    }
}

fn group_of(entry: &Entry) -> Option<u64> {
    match entry.kind {
        EntryKind::File { link_group, .. } => link_group,
        _ => None,
    }
}

fn entry(header: &Header, kind: EntryKind) -> Entry {
    Entry {
        kind,
        mode: header.mode,
        uid: header.uid,
        gid: header.gid,
        mtime: header.mtime,
        nanos: header.nanos,
        xattrs: xattrs::of_layer(header.xattrs.clone()),
    }
}

fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".").rev().map(<[u8]>::to_vec).collect()
}

fn digest_zeros(hash: &mut impl Write, mut count: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while count > 0 {
        let step = count.min(ZEROS.len() as u64);
        hash.write_all(&ZEROS[..step as usize])?;
        count -= step;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
