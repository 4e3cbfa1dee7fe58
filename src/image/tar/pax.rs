//! Pax extended headers: records `LENGTH KEY=VALUE\n` that override fields of the entry after them.

use std::collections::BTreeMap;

use super::{Extent, Problem};

/// The records of one extended header that matter here.
#[derive(Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    pub(super) sparse: Option<Sparse>,
}

/// What the `GNU.sparse.` records say.
#[derive(Default)]
pub(super) struct Sparse {
    /// The name of the file; the entry's own is made up.
    pub(super) name: Option<Vec<u8>>,
    /// Length with holes.
    pub(super) real_size: u64,
    /// `None` when the map is in front of the data (format 1.0).
    pub(super) map: Option<Vec<Extent>>,
}

impl Pax {
    /// Parses the records. An empty value takes a field back to what the fixed header says.
    pub(super) fn parse(mut data: &[u8]) -> Result<Pax, Problem> {
        let mut pax = Pax::default();
        let mut sparse = Sparse::default();
        let (mut is_sparse, mut numbers, mut version) = (false, Vec::new(), (0, 0));
        while !data.is_empty() {
            let (key, value, rest) = record(data).ok_or(Problem::Pax)?;
            data = rest;
            match key {
                b"path" => pax.path = text(value)?,
                b"linkpath" => pax.link_path = text(value)?,
                b"size" => pax.size = optional(value, decimal)?,
                b"uid" => pax.uid = optional(value, |v| u32::try_from(decimal(v)?).ok())?,
                b"gid" => pax.gid = optional(value, |v| u32::try_from(decimal(v)?).ok())?,
                b"mtime" => pax.mtime = optional(value, seconds)?,
                b"GNU.sparse.major" => version.0 = decimal(value).ok_or(Problem::Sparse)?,
                b"GNU.sparse.minor" => version.1 = decimal(value).ok_or(Problem::Sparse)?,
                b"GNU.sparse.name" => sparse.name = text(value)?,
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    is_sparse = true;
                    sparse.real_size = decimal(value).ok_or(Problem::Sparse)?;
                }
                // Version 0.0 has one record per number, version 0.1 all of them in one.
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    numbers.push(decimal(value).ok_or(Problem::Sparse)?);
                }
                b"GNU.sparse.map" => {
                    for number in value.split(|&b| b == b',').filter(|_| !value.is_empty()) {
                        numbers.push(decimal(number).ok_or(Problem::Sparse)?);
                    }
                }
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.").filter(|n| !n.is_empty())
                        && let Ok(name) = std::str::from_utf8(name)
                    {
                        pax.xattrs.insert(name.to_owned(), value.to_vec());
                    }
                }
            }
        }
        if is_sparse {
            if version != (1, 0) {
                if version.0 != 0 || numbers.len() % 2 != 0 {
                    return Err(Problem::Sparse);
                }
                let extents = numbers.chunks_exact(2).map(|pair| Extent { offset: pair[0], length: pair[1] });
                sparse.map = Some(extents.collect());
            }
            pax.sparse = Some(sparse);
        }
        Ok(pax)
    }
}

/// The first record of `data`, as key and value, and what follows it.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().position(|&b| b == b' ')?;
    let length = usize::try_from(decimal(&data[..space])?).ok()?;
    if length <= space + 1 || length > data.len() {
        return None;
    }
    let (record, rest) = data.split_at(length);
    let body = record[space + 1..].strip_suffix(b"\n")?;
    let equals = body.iter().position(|&b| b == b'=')?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

fn text(value: &[u8]) -> Result<Option<Vec<u8>>, Problem> {
    if value.contains(&0) {
        return Err(Problem::Pax);
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, Problem> {
    if value.is_empty() { Ok(None) } else { parse(value).map(Some).ok_or(Problem::Pax) }
}

/// A number of decimal digits, at most `i64::MAX`.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, &digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })?;
    (value <= i64::MAX as u64).then_some(value)
}

/// A time such as `1350244992.023960108` or `-1.5`: whole seconds, rounded down, and nanoseconds, rounded down.
fn seconds(value: &[u8]) -> Option<(i64, u32)> {
    const SECOND: u32 = 1_000_000_000;
    let (negative, digits) = match value {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, value),
    };
    let (whole, fraction) = match digits.iter().position(|&b| b == b'.') {
        Some(dot) => (&digits[..dot], &digits[dot + 1..]),
        None => (digits, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let whole = decimal(whole)? as i64;
    let digit = |n: usize| fraction.get(n).map_or(0, |&digit| u32::from(digit - b'0'));
    let nanos = (0..9).fold(0, |nanos, n| nanos * 10 + digit(n));
    if !negative {
        return Some((whole, nanos));
    }
    // What is before the epoch is counted from the second before it.
    let up = nanos + u32::from(fraction.iter().skip(9).any(|&digit| digit != b'0'));
    Some(if up == 0 { (-whole, 0) } else { (-whole - 1, SECOND - up) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_binary() {
        let pax = Pax::parse(b"31 SCHILY.xattr.user.x=a\nb\0=c\xff\n").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(pax.xattrs["user.x"], b"a\nb\0=c\xff");
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [&b"x"[..], b"5 a=b", b"6 a=b\nx", b"99 a=b\n", b"0 a=b\n", b"4 ab\n", b" 6 a=b\n", b"3 \n"] {
            assert!(Pax::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Pax::parse(b"12 size=abc\n").is_err());
        assert!(Pax::parse(b"11 path=a\0\n").is_err());
    }

    #[test]
    fn times_are_rounded_down() {
        for (text, expected) in [
            ("1.999", Some((1, 999_000_000))),
            ("1.0000000019", Some((1, 1))),
            ("7", Some((7, 0))),
            ("7.", Some((7, 0))),
            ("-1.5", Some((-2, 500_000_000))),
            ("-1.0000000001", Some((-2, 999_999_999))),
            ("-1", Some((-1, 0))),
            ("-0.25", Some((-1, 750_000_000))),
            ("x", None),
            ("1.x", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{text}");
        }
    }
}
