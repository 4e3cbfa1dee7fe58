//! The fixed 512-byte header of a tar entry.

use super::Problem;

/// The size of a header and the unit in which archives grow.
pub(super) const BLOCK: usize = 512;

/// A block of an archive, read as a header.
pub(super) struct Block([u8; BLOCK]);

/// Which dialect a header speaks: they disagree on what follows the first 257 bytes.
#[derive(PartialEq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl Block {
    pub(super) fn new(bytes: [u8; BLOCK]) -> Self {
        Block(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; BLOCK] {
        &self.0
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|&b| b == 0)
    }

    /// Compares the checksum, which old archivers computed over signed bytes.
    pub(super) fn verify(&self) -> Result<(), Problem> {
        let declared = number(&self.0[148..156]).ok_or(Problem::Checksum)?;
        let summed = |value: fn(u8) -> i64| -> i64 {
            let bytes = self.0.iter().enumerate();
            bytes.map(|(at, &b)| value(if (148..156).contains(&at) { b' ' } else { b })).sum()
        };
        match declared == summed(i64::from) || declared == summed(|b| i64::from(b as i8)) {
            true => Ok(()),
            false => Err(Problem::Checksum),
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        let prefix = match self.format() {
            Format::Ustar => until_nul(&self.0[345..500]),
            Format::Star => until_nul(&self.0[345..476]),
            Format::V7 | Format::Gnu => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        until_nul(&self.0[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u32, Problem> {
        let mode = number(&self.0[100..108]).ok_or(Problem::Number("mode"))?;
        Ok((mode & 0o7777) as u32)
    }

    /// Owner and group, where a pax header does not say better.
    pub(super) fn owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(u32, u32), Problem> {
        let id = |known: Option<u32>, field: &[u8], name| match known {
            Some(id) => Ok(id),
            None => number(field).and_then(|n| u32::try_from(n).ok()).ok_or(Problem::Number(name)),
        };
        Ok((id(uid, &self.0[108..116], "uid")?, id(gid, &self.0[116..124], "gid")?))
    }

    pub(super) fn size(&self) -> Result<u64, Problem> {
        number(&self.0[124..136]).and_then(|n| u64::try_from(n).ok()).ok_or(Problem::Number("size"))
    }

    pub(super) fn mtime(&self) -> Result<i64, Problem> {
        number(&self.0[136..148]).ok_or(Problem::Number("mtime"))
    }

    /// Major and minor device number.
    pub(super) fn device(&self) -> Result<(u32, u32), Problem> {
        if self.format() == Format::V7 {
            return Ok((0, 0));
        }
        let field = |range: std::ops::Range<usize>, name| {
            number(&self.0[range]).and_then(|n| u32::try_from(n).ok()).ok_or(Problem::Number(name))
        };
        Ok((field(329..337, "devmajor")?, field(337..345, "devminor")?))
    }

    fn format(&self) -> Format {
        match (&self.0[257..263], &self.0[263..265]) {
            (b"ustar\0", _) if &self.0[508..512] == b"tar\0" => Format::Star,
            (b"ustar\0", _) => Format::Ustar,
            (b"ustar ", b" \0") => Format::Gnu,
            _ => Format::V7,
        }
    }
}

/// The bytes in front of the first NUL byte, or all of them.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.iter().position(|&b| b == 0).map_or(bytes, |end| &bytes[..end])
}

/// A numeric field: octal digits with spaces and NUL bytes around them, or, when the first bit is set, a big-endian
/// number in two's complement (GNU tar). An empty field is 0. `None` when it is neither, or does not fit.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let invert = if first & 0x40 != 0 { 0xff } else { 0 };
        let mut value: u64 = 0;
        for (at, &byte) in field.iter().enumerate() {
            let byte = (byte ^ invert) & if at == 0 { 0x7f } else { 0xff };
            if value >> 55 != 0 {
                return None;
            }
            value = value << 8 | u64::from(byte);
        }
        let value = value as i64;
        return Some(if invert == 0 { value } else { !value });
    }
    let is_filler = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !is_filler(b)).unwrap_or(field.len());
    let digits = until_nul(&field[start..]).trim_ascii_end();
    digits.iter().try_fold(0i64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_octal_or_binary() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b" 644 \0\0\0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"0000689\0", None),
            (b"-0000001", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Some(0x102)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }
}
