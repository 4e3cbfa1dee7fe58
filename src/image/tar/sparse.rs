//! Where the data of a sparse file belong (GNU tar manual, "Storing Sparse Files").

use super::Problem;
use super::header::{BLOCK, number};
use super::pax::decimal;

/// A piece of a file that has data; all else reads as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// Checks that the extents ascend, lie inside the file and hold exactly the data that are stored.
pub(super) fn check(map: &[Extent], real_size: u64, stored: u64) -> Result<(), Problem> {
    let (mut end, mut sum) = (0u64, 0u64);
    for extent in map {
        let next = extent.offset.checked_add(extent.length).ok_or(Problem::Sparse)?;
        if extent.offset < end || next > real_size {
            return Err(Problem::Sparse);
        }
        end = next;
        sum += extent.length;
    }
    if sum == stored { Ok(()) } else { Err(Problem::Sparse) }
}

/// The map at the end of an old GNU header, the length of the file, and whether the map goes on in another block.
pub(super) fn old_gnu(block: &[u8; BLOCK]) -> Result<(Vec<Extent>, u64, bool), Problem> {
    let mut map = Vec::new();
    pairs(&block[386..482], &mut map)?;
    Ok((map, unsigned(&block[483..495])?, block[482] != 0))
}

/// The part of the map in a block after the header, and whether yet another follows.
pub(super) fn old_gnu_extension(block: &[u8; BLOCK], map: &mut Vec<Extent>) -> Result<bool, Problem> {
    pairs(&block[..504], map)?;
    Ok(block[504] != 0)
}

fn pairs(fields: &[u8], map: &mut Vec<Extent>) -> Result<(), Problem> {
    for pair in fields.chunks_exact(24).take_while(|pair| pair[0] != 0) {
        map.push(Extent { offset: unsigned(&pair[..12])?, length: unsigned(&pair[12..])? });
    }
    Ok(())
}

fn unsigned(field: &[u8]) -> Result<u64, Problem> {
    number(field).and_then(|n| u64::try_from(n).ok()).ok_or(Problem::Sparse)
}

/// Parses the map of format 1.0: how many extents there are, then offset and length of each, one number per line.
#[derive(Default)]
pub(super) struct DecimalMap {
    line: Vec<u8>,
    count: Option<u64>,
    numbers: Vec<u64>,
}

impl DecimalMap {
    pub(super) fn is_complete(&self) -> bool {
        self.count.is_some_and(|count| self.numbers.len() as u64 >= count.saturating_mul(2))
    }

    /// Reads on; bytes after the last number are padding.
    pub(super) fn feed(&mut self, block: &[u8]) -> Result<(), Problem> {
        for &byte in block {
            if self.is_complete() {
                break;
            }
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let number = decimal(&self.line).ok_or(Problem::Sparse)?;
            self.line.clear();
            match self.count {
                None => self.count = Some(number),
                Some(_) => self.numbers.push(number),
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<Extent> {
        self.numbers.chunks_exact(2).map(|pair| Extent { offset: pair[0], length: pair[1] }).collect()
    }
}
