//! Layers as streams: read, decompressed and checked on a thread of their own while another one unpacks them.
//!
//! The digest of the blob and the diff id of its content are computed in the same pass. The last message for a layer
//! says whether they are right, so who unpacks knows before the next layer begins.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::base::{Digest, HashingReader};
use crate::image::Limits;
use crate::image::compression::Compression;
use crate::image::error::ImageError;
use crate::image::tar::Stream;

/// The size of the pieces that go from one thread to the other, in bytes, and how many may wait.
const PIECE: usize = 256 << 10;
const WAITING: usize = 16;

/// A layer that has not been opened yet.
pub(super) struct LayerInput<'a> {
    /// How messages call it.
    pub(super) name: String,
    /// The digest of the blob as it is stored, when something promised one.
    pub(super) blob: Option<Digest>,
    /// The digest of the plain archive.
    pub(super) diff_id: Option<Digest>,
    /// Opens the blob.
    pub(super) open: Opener<'a>,
}

/// Opens a blob for reading.
pub(super) type Opener<'a> = Box<dyn FnOnce() -> Result<Box<dyn Read + Send + 'a>, ImageError> + Send + 'a>;

enum Message {
    Piece(Vec<u8>),
    EndOfLayer,
    Failed(ImageError),
}

/// Decodes `layers` in order on another thread and calls `unpack` with each one's index and plain bytes. `unpack`
/// need not read to the end; what it leaves is checked all the same.
pub(super) fn for_each_layer(
    layers: Vec<LayerInput<'_>>,
    limits: &Limits,
    mut unpack: impl FnMut(usize, &mut LayerStream) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let count = layers.len();
    let (sender, receiver) = sync_channel(WAITING);
    let (give_back, spare) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut pieces = Pieces { sender, spare, left: limits.unpacked_bytes };
            for layer in layers {
                let last = match pieces.decode(layer, limits) {
                    Ok(true) => Message::EndOfLayer,
                    Ok(false) => return,
                    Err(error) => Message::Failed(error),
                };
                let failed = matches!(last, Message::Failed(_));
                if pieces.sender.send(last).is_err() || failed {
                    return;
                }
            }
        });
        // Dropped at the end of this closure, also after an error: then the other thread's next send fails and it ends.
        let mut stream =
            LayerStream { receiver, give_back, piece: Vec::new(), position: 0, ended: true, failure: None };
        for index in 0..count {
            stream.ended = false;
            let unpacked = unpack(index, &mut stream);
            // A layer that cannot be unpacked for what it holds may be another than was promised: its digest tells.
            let is_content =
                matches!(unpacked, Ok(()) | Err(ImageError::LayerArchive { .. } | ImageError::LayerEntry { .. }));
            let drained = if is_content && stream.failure.is_none() { stream.drain() } else { Ok(()) };
            if let Some(failure) = stream.failure.take() {
                return Err(failure);
            }
            unpacked?;
            drained.map_err(|cause| ImageError::Layer { layer: format!("layer {index}"), cause })?;
        }
        Ok(())
    })
}

/// The sending side.
struct Pieces {
    sender: SyncSender<Message>,
    /// Buffers that were read and can be filled again.
    spare: Receiver<Vec<u8>>,
    /// How many bytes may still come out of the layers.
    left: u64,
}

impl Pieces {
    /// Sends the plain bytes of a layer and compares its digests. `false` when nobody listens any more.
    fn decode(&mut self, layer: LayerInput<'_>, limits: &Limits) -> Result<bool, ImageError> {
        let fail = |cause| ImageError::Layer { layer: layer.name.clone(), cause };
        let (compression, stored) = Compression::sniff((layer.open)()?).map_err(fail)?;
        let diff_id = if compression == Compression::None {
            let mut plain = HashingReader::new(stored);
            if !self.forward(&mut plain, &layer.name, limits)? {
                return Ok(false);
            }
            let diff_id = plain.finish().0;
            check(format!("the blob of {}", layer.name), layer.blob, diff_id)?;
            diff_id
        } else {
            let decoder = compression.decode(HashingReader::new(stored)).map_err(fail)?;
            let mut plain = HashingReader::new(decoder);
            let heard = self.forward(&mut plain, &layer.name, limits)?;
            if !heard {
                return Ok(false);
            }
            let (decoder, diff_id) = plain.into_parts();
            let blob = decoder.finish().map_err(fail)?.finish().0;
            check(format!("the blob of {}", layer.name), layer.blob, blob)?;
            diff_id
        };
        check(layer.name, layer.diff_id, diff_id)?;
        Ok(true)
    }

    fn forward(&mut self, plain: &mut impl Read, name: &str, limits: &Limits) -> Result<bool, ImageError> {
        loop {
            let mut piece = self.spare.try_recv().unwrap_or_default();
            piece.resize(PIECE, 0);
            let mut filled = 0;
            while filled < PIECE {
                match plain.read(&mut piece[filled..]) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                    Err(cause) => return Err(ImageError::Layer { layer: name.into(), cause }),
                }
            }
            if filled == 0 {
                return Ok(true);
            }
            self.left = self.left.checked_sub(filled as u64).ok_or_else(|| limits.too_large("the image".into()))?;
            piece.truncate(filled);
            if self.sender.send(Message::Piece(piece)).is_err() {
                return Ok(false);
            }
        }
    }
}

fn check(what: String, expected: Option<Digest>, found: Digest) -> Result<(), ImageError> {
    match expected {
        Some(expected) if expected != found => Err(ImageError::Digest { what, expected, found }),
        _ => Ok(()),
    }
}

/// The plain bytes of one layer after the other.
pub(super) struct LayerStream {
    receiver: Receiver<Message>,
    give_back: Sender<Vec<u8>>,
    piece: Vec<u8>,
    position: usize,
    ended: bool,
    /// Why the stream broke off.
    failure: Option<ImageError>,
}

impl LayerStream {
    fn drain(&mut self) -> io::Result<()> {
        loop {
            let available = self.fill_buf()?.len();
            if available == 0 {
                return Ok(());
            }
            self.consume(available);
        }
    }
}

impl Read for LayerStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        buffer[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for LayerStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.piece.len() && !self.ended {
            let spent = std::mem::take(&mut self.piece);
            self.position = 0;
            // The decoder may have ended already: then nobody wants the buffer back.
            drop(self.give_back.send(spent));
            match self.receiver.recv() {
                Ok(Message::Piece(piece)) => self.piece = piece,
                Ok(Message::EndOfLayer) => self.ended = true,
                Ok(Message::Failed(error)) => {
                    self.ended = true;
                    self.failure = Some(error);
                    return Err(io::Error::other("the layer could not be read"));
                }
                Err(_) => {
                    self.ended = true;
                    return Err(io::Error::other("the thread that reads layers died"));
                }
            }
        }
        Ok(&self.piece[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

impl Stream for &mut LayerStream {}
