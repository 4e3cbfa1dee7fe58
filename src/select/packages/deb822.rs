//! Paragraphs of fields as Debian writes them (deb822(5)), and other formats that are like it: the headers of Python's
//! METADATA.

/// The paragraphs of a text: runs of lines that are not empty, as they are.
pub(super) fn paragraphs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while let Some(after) = rest.strip_prefix(b"\n") {
            rest = after;
        }
        if rest.is_empty() {
            return None;
        }
        let end = rest.windows(2).position(|pair| pair == b"\n\n").map_or(rest.len(), |at| at + 1);
        let (paragraph, after) = rest.split_at(end);
        rest = after;
        Some(paragraph)
    })
}

/// The value of a field, its continuation lines with it; `None` when there is no such field. Names are compared
/// without case.
pub(super) fn field(paragraph: &[u8], name: &str) -> Option<String> {
    let (_, lines) = fields(paragraph).find(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))?;
    let start = name.len() + 1;
    Some(String::from_utf8_lossy(lines.get(start..)?).trim().to_owned())
}

/// The fields of a paragraph: the name, and all lines of the field as they are.
pub(in crate::select) fn fields(paragraph: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = paragraph;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = line_end(rest);
        while rest.get(end).is_some_and(|byte| b" \t".contains(byte)) {
            end += line_end(&rest[end..]);
        }
        let (lines, after) = rest.split_at(end);
        rest = after;
        let name = lines.iter().position(|&b| b == b':').map_or(&[][..], |colon| &lines[..colon]);
        Some((name, lines))
    })
}

/// The length of the first line with its line feed.
fn line_end(text: &[u8]) -> usize {
    text.iter().position(|&b| b == b'\n').map_or(text.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_fields() {
        let text = b"\n\nPackage: a\nDescription: one\n two\n\t three\nVersion:1\n\n\nPackage: b\nno field\nversion: 2";
        let found: Vec<_> = paragraphs(text).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(field(found[0], "Package").as_deref(), Some("a"));
        assert_eq!(field(found[0], "Description").as_deref(), Some("one\n two\n\t three"));
        assert_eq!(field(found[0], "Version").as_deref(), Some("1"));
        assert_eq!(field(found[1], "Version").as_deref(), Some("2"));
        assert_eq!(field(found[1], "Vers"), None);
        let lines: Vec<&[u8]> = fields(found[0]).map(|(_, lines)| lines).collect();
        assert_eq!(lines.concat(), found[0]);
    }
}
