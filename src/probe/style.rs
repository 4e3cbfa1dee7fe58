//! The addresses in CSS: `url(...)` and `@import`. A few lines of CSS Syntax Level 3, section 4: comments and strings
//! are passed over, because nothing in them is an address. (The parsers that there are come under licences that this
//! program does not take.)

/// The addresses in a style sheet or a `style` attribute, in order; `data:` is none.
pub(super) fn addresses(css: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = css;
    let mut importing = false;
    while let Some(c) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else if matches!(c, '"' | '\'') {
            let (text, after) = string(&rest[1..], c);
            if std::mem::take(&mut importing) {
                out.push(text);
            }
            rest = after;
        } else if is_name(c) || c == '@' {
            let end = rest[c.len_utf8()..].find(|c| !is_name(c)).map_or(rest.len(), |at| at + c.len_utf8());
            let (word, after) = rest.split_at(end);
            rest = after;
            if word.eq_ignore_ascii_case("@import") {
                importing = true;
            } else if word.eq_ignore_ascii_case("url") && rest.starts_with('(') {
                let (text, after) = url(&rest[1..]);
                out.push(text);
                (rest, importing) = (after, false);
            }
        } else {
            if matches!(c, ';' | '{' | '}') {
                importing = false;
            }
            rest = &rest[c.len_utf8()..];
            if c == '\\' {
                rest = rest.chars().next().map_or("", |escaped| &rest[escaped.len_utf8()..]);
            }
        }
    }
    out.retain(|address| !address.is_empty() && !address.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("data:")));
    out
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_')
}

/// What stands in `url(`, in quotes or not, and what follows the closing bracket.
fn url(text: &str) -> (String, &str) {
    let text = text.trim_start();
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let (address, rest) = string(&text[1..], quote);
        return (address, rest.split_once(')').map_or("", |(_, after)| after));
    }
    let (address, rest) = unescaped(text, |c| c == ')');
    (address.trim_end().to_owned(), rest)
}

/// A string up to `quote` or the end of the line, and what follows it.
fn string(text: &str, quote: char) -> (String, &str) {
    unescaped(text, |c| c == quote || c == '\n')
}

/// The text up to a character that ends it, its escapes resolved, and what follows that character.
fn unescaped(text: &str, ends: impl Fn(char) -> bool) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if ends(c) {
            return (out, &text[at + c.len_utf8()..]);
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let mut digits = String::new();
        while digits.len() < 6
            && let Some((_, digit)) = chars.next_if(|(_, c)| c.is_ascii_hexdigit())
        {
            digits.push(digit);
        }
        match u32::from_str_radix(&digits, 16) {
            Ok(code) => {
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                chars.next_if(|(_, c)| c.is_ascii_whitespace());
            }
            Err(_) => out.extend(chars.next().map(|(_, c)| c).filter(|&c| c != '\n')),
        }
    }
    (out, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_css() {
        for (css, expected) in [
            ("a { background: url(x.png) , URL( 'y z.png' ) }", &["x.png", "y z.png"][..]),
            ("@import 'a.css'; @import url(b.css) screen; @IMPORT \"c.css\";", &["a.css", "b.css", "c.css"]),
            ("/* url(no) */ a::before { content: 'url(no)'; b: curl(no) }", &[]),
            ("@font-face { src: url(f.woff2) format('woff2') }", &["f.woff2"]),
            ("a { b: url(data:image/png;base64,xx) } c { d: url() }", &[]),
            (r"a { b: url(x\)\20 y.png); c: url('\66oo') }", &["x) y.png", "foo"]),
            ("/*# sourceMappingURL=x.map */ a { b: url(unclosed", &["unclosed"]),
            ("@import; a { content: 'no' }", &[]),
            ("\\", &[]),
        ] {
            assert_eq!(addresses(css), expected, "{css}");
        }
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(css in "[ -~\u{e9}\n]{0,60}", odd in "(url\\(|@import|\\\\|'|\"|/\\*|\u{e9}|\\)| )*") {
            proptest::prop_assert!(addresses(&css).len() + addresses(&odd).len() < 100);
        }
    }
}
