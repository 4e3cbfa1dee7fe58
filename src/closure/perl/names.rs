//! What a Perl source names, in its own words: modules, families of modules, and character sets.

use std::collections::BTreeSet;

use crate::closure::perl::encodings::Encodings;

/// How far a statement that names modules in a list is read, in bytes: without an end to it, each `use` of a line would
/// be followed by all the rest of that.
const LONGEST_STATEMENT: usize = 4096;

/// What stands in sources that load a module by a name in a variable.
const LOADS_ANY: [&str; 17] = [
    "require $",
    "require \"$",
    "require($",
    "eval \"require",
    "eval \"use ",
    "eval qq{require",
    "eval qq{use",
    "eval qq{package",
    "do $",
    "do(\"",
    "find_modules",
    "load_class",
    "load_module",
    "require_module",
    "use_module",
    "Module::Implementation",
    "Module::Pluggable",
];

/// What a source names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Relative paths: `File/Spec.pm`.
    pub(super) files: BTreeSet<String>,
    /// Modules that stand in quotes, which something may load by a name in a variable.
    pub(super) quoted: BTreeSet<String>,
    /// The character sets that it converts to or from.
    pub(super) encodings: Encodings,
    /// Whether it loads modules by names that are made at run time.
    pub(super) loads_any: bool,
    /// Directories of modules, as beginnings of names in quotes say: `DBD`, `Template/Plugin`.
    pub(super) families: BTreeSet<String>,
}

/// `Net::HTTP` is in `Net/HTTP.pm`; `None` for what is no name of a module.
pub(super) fn module_file(name: &str) -> Option<String> {
    let is_part = |part: &str| {
        let starts = part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        starts && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    name.split("::").all(is_part).then(|| name.replace("::", "/") + ".pm")
}

/// What the code of a source names.
pub(super) fn names(text: &str) -> Names {
    let mut names = Names::default();
    let mut in_documentation = false;
    for line in text.lines() {
        // Documentation begins and ends with such a line (perlpod).
        if line.starts_with('=') && line[1..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            in_documentation = !line.starts_with("=cut");
            continue;
        }
        if matches!(line.trim_end(), "__END__" | "__DATA__") {
            break;
        }
        let code = line.trim_start();
        if !in_documentation && !code.starts_with('#') {
            names.read(code);
        }
    }
    names
}

impl Names {
    fn read(&mut self, line: &str) {
        self.loads_any |= LOADS_ANY.iter().any(|sign| line.contains(sign));
        for word in ["use", "require", "do"] {
            for (at, _) in line.match_indices(word) {
                let is_word =
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | ':' | '>'));
                let rest = &line[at + word.len()..];
                let name = rest.trim_start_matches([' ', '\t', '(']);
                // `do` has blocks, too.
                if is_word
                    && rest.starts_with([' ', '\t', '\'', '"', '('])
                    && (word != "do" || name.starts_with(['\'', '"']))
                {
                    self.load(name);
                }
            }
        }
        for (at, _) in line.match_indices("dbi:").chain(line.match_indices("DBI:")) {
            let driver: String = line[at + 4..].chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
            self.files.extend(module_file(&format!("DBD::{driver}")));
        }
        let words = line.split(['\'', '"']).filter(|word| word.contains("::"));
        for word in words {
            let beginning = word.split(['$', '@', '%', '{']).next().unwrap_or_default();
            self.families.extend(module_file(beginning.trim_end_matches(':')).and_then(|file| {
                let is_whole = beginning.len() == word.len() && !beginning.contains("::");
                file.strip_suffix(".pm").filter(|_| !is_whole).map(str::to_owned)
            }));
            self.quoted.extend(module_file(word));
        }
        self.encodings.read(line);
    }

    /// What follows the word `use` or `require`.
    fn load(&mut self, rest: &str) {
        if let Some(quoted) = rest.strip_prefix(['\'', '"']) {
            let file = quoted.split(['\'', '"']).next().unwrap_or_default();
            if file.ends_with(".pl") || file.ends_with(".pm") || file.ends_with(".ph") {
                self.files.insert(file.into());
            }
            return;
        }
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))).unwrap_or(rest.len());
        let (name, arguments) = rest.split_at(end);
        self.files.extend(module_file(name));
        if matches!(name, "base" | "parent" | "fields" | "aliased") {
            let longest = LONGEST_STATEMENT.min(arguments.len());
            let end = (0..=longest).rev().find(|&at| arguments.is_char_boundary(at)).unwrap_or_default();
            let statement = arguments[..end].split(';').next().unwrap_or_default();
            let words = statement.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':')));
            self.files.extend(words.filter(|word| !word.is_empty() && *word != "qw").filter_map(module_file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_name_modules_in_any_scope() {
        for (text, expected) in [
            ("use strict; use CGI qw(:all);\n", "CGI.pm strict.pm"),
            ("use 5.010;\nuse v5.36;\nno strict;\n", ""),
            ("  eval { require JSON::XS; 1 } or require(\"sub/old.pl\");", "JSON/XS.pm sub/old.pl"),
            (
                "use parent -norequire, 'My::Base';\nuse base qw(A::B C);",
                "A/B.pm C.pm My/Base.pm base.pm norequire.pm parent.pm",
            ),
            ("my $d = DBI->connect('dbi:SQLite:dbname=x');", "DBD/SQLite.pm"),
            ("=head1 X\n\nuse Doc;\n\n=cut\nuse Code;\n__END__\nuse Late;", "Code.pm"),
            ("# use Comment;\nrequire $name; $x->use Foo; reuse Bar; because Baz;", ""),
            ("require File::Spec::Unix::;", ""),
        ] {
            let found = names(text).files.into_iter().collect::<Vec<_>>().join(" ");
            let found = found.replace("v5.pm", "").trim().to_owned();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_list_without_an_end_is_not_read_to_the_end() {
        let far = format!("use base qw(Near {}é Far", "x ".repeat(LONGEST_STATEMENT));
        let found = names(&far).files;
        assert_eq!((found.contains("Near.pm"), found.contains("Far.pm")), (true, false));
    }

    #[test]
    fn modules_in_quotes_are_told_from_other_texts() {
        let found = names("my $backend = 'JSON::PP'; my $class = \"Net::$name\"; print 'a::b c';").quoted;
        assert_eq!(found, BTreeSet::from(["JSON/PP.pm".to_owned()]));
    }

    #[test]
    fn a_name_that_is_made_at_run_time_stands_for_a_family() {
        for (text, expected) in [
            ("my $class = \"DBD::$driver\"; eval qq{package X; require $class};", "any DBD"),
            ("my $base = 'Template::Plugin'; require $file;", "any Template/Plugin"),
            ("use Module::Implementation;", "any"),
            ("print \"main: $x\"; require File::Spec;", ""),
        ] {
            let names = names(text);
            let any = names.loads_any.then(|| "any".to_owned());
            let found: Vec<String> = any.into_iter().chain(names.families).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }
}
