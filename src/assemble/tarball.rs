//! Tar files, header by header (POSIX.1-2017 pax interchange format over ustar; xattrs as `SCHILY.xattr.*` records,
//! OCI image-spec 1.1, layer.md). A pax record is written only for what the ustar header cannot say, so most entries
//! have none. Names are bytes and go out as they are.

use std::collections::BTreeMap;
use std::io::{self, Write};

use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// The largest value of a 12-byte octal field with a terminator: sizes and times.
const MAX_LONG: u64 = 0o77_777_777_777;
/// The largest value of an 8-byte octal field with a terminator: owners.
const MAX_SHORT: u32 = 0o7_777_777;

/// The header of one entry.
pub struct Record<'a> {
    /// Relative to the root, without a leading slash; a directory's trailing slash is added here.
    pub name: &'a [u8],
    /// What it is.
    pub kind: Kind<'a>,
    /// The lower 12 bits of `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since 1970, rounded down.
    pub mtime: i64,
    /// The nanoseconds since then.
    pub nanos: u32,
    /// Extended attributes.
    pub xattrs: &'a BTreeMap<String, Vec<u8>>,
}

/// The type of an entry.
pub enum Kind<'a> {
    /// A regular file; its content of `size` bytes must follow.
    File { size: u64 },
    /// Another name of an earlier entry, given as that entry was named.
    Hardlink { target: &'a [u8] },
    /// A symbolic link.
    Symlink { target: &'a [u8] },
    /// A directory.
    Dir,
    /// A character device.
    CharDevice { major: u32, minor: u32 },
    /// A block device.
    BlockDevice { major: u32, minor: u32 },
    /// A FIFO.
    Fifo,
}

/// The mode, owner and time of files that have none of their own, such as the members of an image archive.
pub const PLAIN: Record<'static> =
    Record { name: b"", kind: Kind::Dir, mode: 0o644, uid: 0, gid: 0, mtime: 0, nanos: 0, xattrs: &BTreeMap::new() };

/// Writes a tar file to `out`. Content is written through [`Write`] between [`TarWriter::begin`] and
/// [`TarWriter::pad`].
pub struct TarWriter<W> {
    out: W,
    position: u64,
}

impl<W: Write> TarWriter<W> {
    /// Begins an empty tar file.
    pub fn new(out: W) -> Self {
        TarWriter { out, position: 0 }
    }

    /// How many bytes have been written.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Writes the header of an entry.
    pub fn begin(&mut self, record: &Record<'_>) -> io::Result<()> {
        let mut pax = Vec::new();
        let mut header = Header::new_ustar();
        header.set_mode(record.mode);
        let mut owner = |key: &str, id: u32| {
            if id > MAX_SHORT {
                push_pax(&mut pax, key.as_bytes(), id.to_string().as_bytes());
                return 0;
            }
            id
        };
        header.set_uid(owner("uid", record.uid).into());
        header.set_gid(owner("gid", record.gid).into());
        match u64::try_from(record.mtime) {
            Ok(mtime) if mtime <= MAX_LONG && record.nanos == 0 => header.set_mtime(mtime),
            _ => {
                push_pax(&mut pax, b"mtime", decimal(record.mtime, record.nanos).as_bytes());
                header.set_mtime(0);
            }
        }
        header.set_size(0);
        let (mut device, mut link) = (None, None);
        let kind = match record.kind {
            Kind::File { size } if size <= MAX_LONG => {
                header.set_size(size);
                EntryType::Regular
            }
            Kind::File { size } => {
                push_pax(&mut pax, b"size", size.to_string().as_bytes());
                EntryType::Regular
            }
            Kind::Hardlink { target } => {
                link = Some(target);
                EntryType::Link
            }
            Kind::Symlink { target } => {
                link = Some(target);
                EntryType::Symlink
            }
            Kind::Dir => EntryType::Directory,
            Kind::CharDevice { major, minor } => {
                device = Some((major, minor));
                EntryType::Char
            }
            Kind::BlockDevice { major, minor } => {
                device = Some((major, minor));
                EntryType::Block
            }
            Kind::Fifo => EntryType::Fifo,
        };
        header.set_entry_type(kind);
        let mut name = record.name.to_vec();
        if matches!(record.kind, Kind::Dir) {
            name.push(b'/');
        }
        if let Some(target) = link
            && !fill(&mut header.as_old_mut().linkname, target)
        {
            push_pax(&mut pax, b"linkpath", target);
        }
        if let Some(ustar) = header.as_ustar_mut() {
            let (major, minor) = device.unwrap_or_default();
            octal(&mut ustar.dev_major, major);
            octal(&mut ustar.dev_minor, minor);
            match split(&name) {
                Some((prefix, rest)) => {
                    fill(&mut ustar.prefix, prefix);
                    fill(&mut ustar.name, rest);
                }
                None => {
                    fill(&mut ustar.name, &name);
                    push_pax(&mut pax, b"path", &name);
                }
            }
        }
        for (attribute, value) in record.xattrs {
            push_pax(&mut pax, format!("SCHILY.xattr.{attribute}").as_bytes(), value);
        }
        if !pax.is_empty() {
            self.extension(record.name, &pax)?;
        }
        header.set_cksum();
        self.write_all(header.as_bytes())
    }

    /// The extended header that goes before an entry.
    fn extension(&mut self, name: &[u8], records: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        let base = name.rsplit(|&b| b == b'/').next().unwrap_or_default();
        fill(&mut header.as_old_mut().name, &[b"PaxHeaders.0/", base].concat());
        header.set_cksum();
        self.write_all(header.as_bytes())?;
        self.write_all(records)?;
        self.pad()
    }

    /// Lets `write` put `bytes` of content into what is written to.
    pub fn splice(&mut self, bytes: u64, write: impl FnOnce(&mut W) -> io::Result<()>) -> io::Result<()> {
        write(&mut self.out)?;
        self.position += bytes;
        Ok(())
    }

    /// Fills up to the next block, after content.
    pub fn pad(&mut self) -> io::Result<()> {
        let over = (self.position % BLOCK) as usize;
        let zeros = [0; BLOCK as usize];
        if over == 0 { Ok(()) } else { self.write_all(&zeros[over..]) }
    }

    /// Writes a whole regular file.
    pub fn file(&mut self, record: &Record<'_>, content: &[u8]) -> io::Result<()> {
        self.begin(&Record { kind: Kind::File { size: content.len() as u64 }, ..*record })?;
        self.write_all(content)?;
        self.pad()
    }

    /// Writes the end of the tar file and returns what it was written to, flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_all(&[0; 2 * BLOCK as usize])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for TarWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.out.write(buffer)?;
        self.position += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Puts as much of `value` into `field` as fits; whether that is all of it. A field that is full has no terminator.
fn fill(field: &mut [u8], value: &[u8]) -> bool {
    let n = value.len().min(field.len());
    field[..n].copy_from_slice(&value[..n]);
    n == value.len()
}

/// A time as pax has it, with as many digits as it needs.
fn decimal(seconds: i64, nanos: u32) -> String {
    if nanos == 0 {
        return seconds.to_string();
    }
    // Before the epoch the fraction goes away from it, too.
    let (sign, whole, nanos) = match seconds {
        0.. => ("", seconds.unsigned_abs(), nanos),
        _ => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanos),
    };
    format!("{sign}{whole}.{nanos:09}").trim_end_matches('0').to_owned()
}

fn octal(field: &mut [u8; 8], value: u32) {
    fill(field, format!("{value:07o}\0").as_bytes());
}

/// Divides a name into prefix and rest at a slash that belongs to neither; a name that fits has no prefix. `None` when
/// it is too long for both.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // The last byte may be the slash of a directory, which must stay with the rest.
    let slash = name[..name.len() - 1].iter().take(156).rposition(|&b| b == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (!prefix.is_empty() && rest.len() <= 100).then_some((prefix, rest))
}

/// One pax record: its own length in decimal digits, a space, key, `=`, value, newline.
fn push_pax(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}
