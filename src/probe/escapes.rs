//! Bytes as probe specs write them, as text with a few escapes or in hexadecimal digits, and text as URIs do.

/// Parses text with escapes: `\r`, `\n`, `\t`, `\0`, `\\`, and `\xHH` for any byte. Everything else stands for
/// itself. The error says what is wrong, and where in characters counted from 1.
pub fn parse_text(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut chars = text.chars().enumerate();
    while let Some((at, c)) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let unknown = |what: String| format!("{what} at character {} is no escape", at + 1);
        match chars.next().map(|(_, c)| c) {
            Some('r') => out.push(b'\r'),
            Some('n') => out.push(b'\n'),
            Some('t') => out.push(b'\t'),
            Some('0') => out.push(0),
            Some('\\') => out.push(b'\\'),
            Some('x') => {
                let mut digit = || chars.next().and_then(|(_, c)| c.to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
                    _ => return Err(unknown("\\x without two hexadecimal digits".into())),
                }
            }
            Some(c) => return Err(unknown(format!("\\{c}"))),
            None => return Err(unknown("a backslash".into())),
        }
    }
    Ok(out)
}

/// Parses hexadecimal digits, two for each byte; white space may stand between bytes.
pub fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len() / 2);
    for word in text.split_ascii_whitespace() {
        if !word.len().is_multiple_of(2) || !word.is_ascii() {
            return Err(format!("{word:?} does not have two hexadecimal digits for each byte"));
        }
        for pair in word.as_bytes().chunks_exact(2) {
            let digit = |b: u8| char::from(b).to_digit(16);
            match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
                _ => return Err(format!("{word:?} has something other than hexadecimal digits")),
            }
        }
    }
    Ok(out)
}

/// Decodes `%HH` as URIs have it; what is no such escape stands for itself.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|&b| char::from(b).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes bytes so that [`parse_text`] reads them back.
pub fn write_text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\r' => out.push_str("\\r"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\\' => out.push_str("\\\\"),
                c if c.is_control() => {
                    c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
                }
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes() {
        for (text, bytes) in [
            (r"PING\r\n", &b"PING\r\n"[..]),
            (r"\x00\xfF\0\t\\", b"\x00\xff\x00\t\\"),
            ("caf\u{e9}\r\n", "caf\u{e9}\r\n".as_bytes()),
            (r"\\x41", br"\x41"),
        ] {
            assert_eq!(parse_text(text).unwrap(), bytes, "{text}");
        }
        for (text, message) in [
            (r"a\q", r"\q at character 2 is no escape"),
            ("a\\", "a backslash at character 2 is no escape"),
            (r"\x4", r"\x without two hexadecimal digits at character 1 is no escape"),
            (r"\xzz", r"\x without two hexadecimal digits at character 1 is no escape"),
        ] {
            assert_eq!(parse_text(text).unwrap_err(), message);
        }
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(parse_hex("00 ff\n1aB2 ").unwrap(), [0, 255, 0x1a, 0xb2]);
        assert!(parse_hex("0").unwrap_err().contains("two hexadecimal digits for each byte"));
        assert!(parse_hex("0g").unwrap_err().contains("other than hexadecimal"));
        assert!(parse_hex("\u{e9}").is_err());
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(parse_text(&write_text(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn hex_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let text: String = bytes.iter().map(|b| format!("{b:02x} ")).collect();
            prop_assert_eq!(parse_hex(&text).unwrap(), bytes);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let both = (parse_text(&text), parse_hex(&text));
            prop_assert!(both.0.is_ok() || text.contains('\\'));
        }
    }
}
