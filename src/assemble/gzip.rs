//! One gzip member (RFC 1952), compressed on all CPUs. The input is cut into blocks of a fixed size; each is a run of
//! deflate blocks that ends on a byte boundary and begins with the 32 KiB before it as its dictionary. What comes out
//! depends on the input and the version of the deflate library, never on the number of CPUs.

use std::io::{self, Write};

use flate2::{Compress, Compression, Crc, FlushCompress};
use rayon::prelude::*;

use crate::assemble::Layer;

const BLOCK: u64 = 512 * 1024;
/// The window of deflate (RFC 1951).
const WINDOW: u64 = 32 * 1024;
/// Blocks in memory at a time, however many CPUs there are: with input and output less than 25 MB.
const IN_FLIGHT: u64 = 24;
/// Magic, deflate, no flags, no time, no extra flags, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// A last deflate block with nothing in it, which closes the stream.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// Writes the compressed layer to `out`.
pub fn compress(layer: &Layer, out: &mut impl Write) -> io::Result<()> {
    let mut crc = Crc::new();
    out.write_all(&HEADER)?;
    let blocks = layer.bytes.div_ceil(BLOCK);
    let step = IN_FLIGHT.min(4 * rayon::current_num_threads() as u64);
    for first in (0..blocks).step_by(step as usize) {
        let batch: Vec<io::Result<(Vec<u8>, Crc)>> = (first..blocks.min(first + step))
            .into_par_iter()
            .map_init(
                || Compress::new(Compression::default(), false),
                |deflate, block| compress_block(layer, block * BLOCK, deflate),
            )
            .collect();
        for block in batch {
            let (bytes, block_crc) = block?;
            crc.combine(&block_crc);
            out.write_all(&bytes)?;
        }
    }
    out.write_all(&LAST_BLOCK)?;
    out.write_all(&crc.sum().to_le_bytes())?;
    // The length modulo 2^32, as the format has it.
    out.write_all(&(layer.bytes as u32).to_le_bytes())
}

fn compress_block(layer: &Layer, start: u64, deflate: &mut Compress) -> io::Result<(Vec<u8>, Crc)> {
    let before = start.min(WINDOW);
    let length = BLOCK.min(layer.bytes - start);
    let mut input = vec![0; (before + length) as usize];
    layer.read_exact_at(&mut input, start - before)?;
    let (dictionary, block) = input.split_at(before as usize);
    deflate.reset();
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary)?;
    }
    let mut crc = Crc::new();
    crc.update(block);
    let mut out = Vec::with_capacity(block.len() / 2 + 64);
    let mut rest = block;
    loop {
        let before = deflate.total_in();
        deflate.compress_vec(rest, &mut out, FlushCompress::Sync)?;
        rest = &rest[(deflate.total_in() - before) as usize..];
        // A flush is complete when the output had room to spare (zlib.h, deflate).
        if rest.is_empty() && out.len() < out.capacity() {
            return Ok((out, crc));
        }
        out.reserve(block.len() / 4 + 64);
    }
}
