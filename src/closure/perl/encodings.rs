//! Which modules of Encode a Perl source asks for. Encode loads the tables of a character set when somebody names it,
//! and those of Chinese, Japanese and Korean are 2 to 3 MB each, so a literal brings the module that has it, and no
//! other.
//!
//! Which module has what stands in `Encode/Config.pm`. A literal that does not stand there is an alias that code
//! resolves: then any of them may be meant. Of a name that is made at run time all are, but who makes one has mostly
//! text of the neighbourhood before him: then those with small tables come.

use std::collections::{BTreeMap, BTreeSet};

use super::names::module_file;

/// What takes the name of an encoding in its first argument. The last takes it without quotes.
const CALLS: [&str; 5] = ["encode(", "decode(", "from_to(", "find_encoding(", LAYER];
const LAYER: &str = ":encoding(";

/// The encodings that a source asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Encodings {
    /// Those with a literal name that need a module of their own, as [`plain`] has them.
    pub(super) names: BTreeSet<String>,
    /// Whether it asks for one whose name is made at run time.
    pub(super) any: bool,
}

impl Encodings {
    /// Adds what a line of code asks for.
    pub(super) fn read(&mut self, line: &str) {
        for call in CALLS {
            for (at, _) in line.match_indices(call) {
                let before = &line[..at];
                // `json_encode(` is another function, and the method of an object converts what it is given.
                let is_other = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
                let is_method = before.ends_with("->");
                let arguments = line[at + call.len()..].trim_start();
                let is_quoted = arguments.starts_with(['\'', '"']);
                let word = arguments.trim_start_matches(['\'', '"', ' ']);
                let end = word.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
                let (name, rest) = word.split_at(end.unwrap_or(word.len()));
                let name = plain(name);
                if word.starts_with('$') {
                    self.any |= !is_other && !is_method;
                } else if !is_other
                    && (is_quoted && rest.starts_with(['\'', '"']) || call == LAYER && rest.starts_with(')'))
                    && !is_built_in(&name)
                {
                    self.names.insert(name);
                }
            }
        }
    }
}

/// A name as it compares: `Shift_JIS` is `shiftjis`.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether every conversion has it.
fn is_built_in(name: &str) -> bool {
    matches!(name, "" | "utf8" | "utf8strict" | "ascii" | "usascii" | "latin1" | "iso88591")
}

/// The module of each encoding, as a relative path, by the text of `Encode/Config.pm`: `'cp1252' => 'Encode::Byte',`.
pub(super) fn known(config: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let mut words = line.split(['\'', '"']);
        let (name, module) = (words.nth(1)?, words.nth(1)?);
        let file = module_file(module).filter(|_| module.starts_with("Encode::"))?;
        Some((plain(name), file))
    };
    config.lines().filter(|line| line.contains("=>")).filter_map(pair).collect()
}

/// The modules for the encodings `names`: all of them, when one of the names is an alias.
pub(super) fn modules(known: &BTreeMap<String, String>, names: &BTreeSet<String>) -> BTreeSet<String> {
    if names.iter().any(|name| !known.contains_key(name)) {
        return known.values().cloned().collect();
    }
    names.iter().filter_map(|name| known.get(name).cloned()).collect()
}

/// Whether a module has tables of its own: `Encode::CN::HZ` is made of those of `Encode::CN`.
pub(super) fn is_first(file: &str) -> bool {
    file.matches('/').count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_literals_beyond_the_common_ones() {
        for (text, expected) in [
            ("encode('Shift_JIS', $x)", "shiftjis"),
            ("open my $f, '<:encoding(cp1252)', 'x'", "cp1252"),
            ("decode('UTF-8', $x) . encode(\"koi8-r\", $y)", "koi8r"),
            ("encode($name, $x)", "any"),
            ("open my $f, \"<:encoding($name)\", 'x'", "any"),
            ("decode(\"iso-8859-1\", $x)", ""),
            ("my $obj = find_encoding(shift);", ""),
            ("$text->encode('big5-eten')", "big5eten"),
            ("$json->encode($x) . url_encode($y) . json_encode('a') . $json->decode('[1]')", ""),
        ] {
            let mut found = Encodings::default();
            found.read(text);
            let any = found.any.then(|| "any".to_owned());
            let names: Vec<String> = found.names.into_iter().chain(any).collect();
            assert_eq!(names.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn an_encoding_is_in_the_module_that_the_table_says() {
        let known = known(
            "# 'x' => 'Other'\n  'cp1252'   => 'Encode::Byte',\n 'gb2312-raw' => 'Encode::CN',\n 'hz' => 'Encode::CN::HZ',\n",
        );
        for (name, expected) in [
            ("cp1252", "Encode/Byte.pm"),
            ("gb2312raw", "Encode/CN.pm"),
            ("", ""),
            ("windows1252", "Encode/Byte.pm Encode/CN.pm Encode/CN/HZ.pm"),
        ] {
            let names = Some(name.to_owned()).filter(|name| !name.is_empty()).into_iter().collect();
            let found: Vec<String> = modules(&known, &names).into_iter().collect();
            assert_eq!(found.join(" "), expected, "{name}");
        }
        assert_eq!(known.values().filter(|module| is_first(module)).count(), 2);
    }
}
