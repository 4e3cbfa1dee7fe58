//! rpm's own database format, `Packages.db` (lib/backend/ndb/rpmpkg.c of rpm): pages of 4 kB with slots, each of which
//! points at a blob in blocks of 16 bytes; all numbers little-endian. The checksums of the blobs are not looked at:
//! what is damaged shows when the header in the blob is read.

const MAGIC: u32 = u32::from_le_bytes(*b"RpmP");
const SLOT: u32 = u32::from_le_bytes(*b"Slot");
const BLOB: u32 = u32::from_le_bytes(*b"BlbS");
const PAGE: usize = 4096;
/// The length of a slot, of a blob's head, and of the block that offsets count.
const BLOCK: usize = 16;

/// The headers of all packages.
///
/// # Errors
/// What is wrong with the database.
pub(super) fn blobs(database: &[u8]) -> Result<Vec<&[u8]>, String> {
    if word(database, 0) != Some(MAGIC) {
        return Err("it is no database of rpm's format ndb".into());
    }
    if word(database, 4) != Some(0) {
        return Err("it is of a version of rpm's format ndb that is not known".into());
    }
    let pages = word(database, 12).unwrap_or_default() as usize;
    let slots = pages.checked_mul(PAGE).and_then(|bytes| database.get(2 * BLOCK..bytes));
    let slots = slots.ok_or_else(|| format!("it is too short for {pages} pages of slots"))?;
    let mut blobs = Vec::new();
    // Slots that share a blob would multiply it.
    let mut budget = database.len();
    for slot in slots.chunks_exact(BLOCK) {
        if word(slot, 0) != Some(SLOT) {
            return Err("it has a slot that is none".into());
        }
        let (number, block) = (word(slot, 4).unwrap_or_default(), word(slot, 8).unwrap_or_default() as usize);
        if number == 0 {
            continue;
        }
        let blob = block.checked_mul(BLOCK).and_then(|at| blob(database.get(at..)?, number));
        let blob = blob.ok_or_else(|| format!("package {number} is not where its slot says"))?;
        budget = budget.checked_sub(blob.len()).ok_or("several packages share one place")?;
        blobs.push(blob);
    }
    Ok(blobs)
}

/// The content of the blob of package `number` that begins here.
fn blob(bytes: &[u8], number: u32) -> Option<&[u8]> {
    let is_it = word(bytes, 0) == Some(BLOB) && word(bytes, 4) == Some(number);
    let length = word(bytes, 12)? as usize;
    if is_it { bytes.get(BLOCK..)?.get(..length) } else { None }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn database() -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [MAGIC, 0, 1, 1, 0, 0, 0, 0] {
            bytes.extend(word.to_le_bytes());
        }
        while bytes.len() < PAGE {
            let (number, block) = if bytes.len() == 2 * BLOCK { (7, 256) } else { (0, 0) };
            for word in [SLOT, number, block, 2] {
                bytes.extend(u32::to_le_bytes(word));
            }
        }
        for word in [BLOB, 7, 0, 5] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend_from_slice(b"hello...........");
        bytes
    }

    #[test]
    fn slots_point_at_blobs() {
        assert_eq!(blobs(&database()).unwrap(), [b"hello"]);
        let mut wrong = database();
        wrong[PAGE + 4] = 8;
        assert_eq!(blobs(&wrong).unwrap_err(), "package 7 is not where its slot says");
        assert!(blobs(&database()[..PAGE - 1]).unwrap_err().contains("too short"));
        assert!(blobs(b"").unwrap_err().contains("no database"));
        let mut twice = database();
        twice.copy_within(2 * BLOCK..3 * BLOCK, 3 * BLOCK);
        assert!(blobs(&twice).is_ok(), "a little sharing is no harm");
    }

    proptest! {
        #[test]
        fn no_damage_breaks_it(at in 0usize..4128, byte in any::<u8>(), cut in 0usize..4128) {
            let mut bytes = database();
            bytes[at] = byte;
            drop(blobs(&bytes));
            drop(blobs(&bytes[..cut]));
        }
    }
}
