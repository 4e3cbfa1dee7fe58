//! How a stream is compressed, by its first bytes: media types are wrong too often to be asked.

use std::io::{self, BufReader, Chain, Cursor, Read};

/// A compression that layers and archives come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not compressed.
    None,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
    /// Compressions that the first engines took and nobody writes any more.
    Unsupported(&'static str),
}

/// What was read to find out, and then the rest.
pub(super) type Sniffed<R> = Chain<Cursor<Vec<u8>>, R>;

/// The read size below a decoder, in bytes.
const BUFFER: usize = 128 << 10;

impl Compression {
    /// Looks at the first bytes of `reader`; the stream that is returned has them still.
    pub(super) fn sniff<R: Read>(mut reader: R) -> io::Result<(Self, Sniffed<R>)> {
        let mut head = Vec::new();
        reader.by_ref().take(6).read_to_end(&mut head)?;
        let compression = match head.as_slice() {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            // A zstd frame, or one of the skippable frames that can stand in front of it.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Unsupported("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Compression::Unsupported("xz"),
            _ => Compression::None,
        };
        Ok((compression, Cursor::new(head).chain(reader)))
    }

    /// The plain bytes of `reader`, which is compressed this way.
    pub(super) fn decode<R: Read + Send>(self, reader: R) -> io::Result<Decoder<R>> {
        let buffered = BufReader::with_capacity(BUFFER, reader);
        Ok(match self {
            Compression::None => Decoder::Plain(buffered),
            Compression::Gzip => Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(buffered))),
            Compression::Zstd => Decoder::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(buffered)?)),
            Compression::Unsupported(name) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("{name} is not supported\nhint: `skopeo copy` can write the image anew, with gzip or zstd"),
                ));
            }
        })
    }
}

/// A stream of plain bytes over a compressed one.
pub(super) enum Decoder<R: Read> {
    Plain(BufReader<R>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<R>>>),
}

impl<R: Read> Decoder<R> {
    /// Reads what is left behind the compressed stream, and gives the reader below back.
    pub(super) fn finish(self) -> io::Result<R> {
        let mut inner = match self {
            Decoder::Plain(inner) => inner,
            Decoder::Gzip(decoder) => decoder.into_inner(),
            Decoder::Zstd(decoder) => decoder.finish(),
        };
        io::copy(&mut inner, &mut io::sink())?;
        Ok(inner.into_inner())
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(inner) => inner.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn plain(data: &[u8]) -> io::Result<Vec<u8>> {
        let (compression, stream) = Compression::sniff(data)?;
        let mut out = Vec::new();
        compression.decode(stream)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_form_reads_the_same() {
        let zstd = |data: &[u8]| zstd::encode_all(data, 1).unwrap();
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd(b"hello")].concat();
        for (name, data) in [
            ("plain", b"hello".to_vec()),
            ("gzip", gzip(b"hello")),
            ("two members", [gzip(b"hel"), gzip(b"lo")].concat()),
            ("zstd", zstd(b"hello")),
            ("two frames", [zstd(b"hel"), zstd(b"lo")].concat()),
            ("skippable frame", skippable),
        ] {
            assert_eq!(plain(&data).unwrap(), b"hello", "{name}");
        }
        assert_eq!(plain(b"").unwrap(), b"");
    }

    #[test]
    fn damaged_and_unknown_streams_are_errors() {
        let cut = |data: Vec<u8>| data[..data.len() - 3].to_vec();
        for data in [cut(gzip(b"hello")), cut(zstd::encode_all(&b"hello"[..], 1).unwrap()), b"BZh91AY".to_vec()] {
            assert!(plain(&data).is_err(), "{data:?}");
        }
    }
}
