//! A locale as C libraries find it. glibc: one directory per locale, or all in one archive; modules that convert its
//! charset (`gconv`); message catalogues (`gettext`) of whoever brings some. musl: one catalogue per locale.

use std::io::Read;

use crate::base::ImagePath;
use crate::image::Rootfs;
use crate::select::SelectError;

/// glibc's locales; the archive of that name lies beside the directories.
const LOCALES: [&str; 3] = ["/usr/lib/locale", "/usr/lib64/locale", "/usr/local/lib/locale"];
const ARCHIVE: &[u8] = b"locale-archive";

/// musl's, where distributions set MUSL_LOCPATH to.
const OF_MUSL: &str = "/usr/share/i18n/locales/musl";

/// Other names of locales.
const ALIASES: [&str; 2] = ["/etc/locale.alias", "/usr/share/locale/locale.alias"];

/// Message catalogues: LOCALE/LC_MESSAGES/DOMAIN.mo.
const CATALOGUES: [&str; 3] = ["/usr/share/locale", "/usr/share/locale-langpack", "/usr/local/share/locale"];

/// The names and charsets of all locales that glibc knows.
const SUPPORTED: &str = "/usr/share/i18n/SUPPORTED";

/// Configuration files are read as a whole up to this size; none is nearly as long.
const LONGEST: u64 = 4 << 20;

/// The pieces of an archive that is searched, in bytes.
const PIECE: usize = 256 << 10;

/// What a base has of a locale.
#[derive(Debug)]
pub(in crate::select) struct Locale {
    /// The names that message catalogues of it can lie under, the most specific first.
    catalogue_names: Vec<Vec<u8>>,
    files: Vec<ImagePath>,
}

impl Locale {
    /// Looks for the locale called `name`: `LANGUAGE[_TERRITORY][.CHARSET][@MODIFIER]`.
    ///
    /// # Errors
    /// When the base has no such locale, or cannot be read.
    pub(in crate::select) fn find(name: &str, rootfs: &Rootfs) -> Result<Self, SelectError> {
        let unknown = || SelectError::NoLocale { name: name.to_owned() };
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(unknown());
        }
        let parts = Name::of(name);
        let mut locale = Locale { catalogue_names: parts.catalogue_names(), files: Vec::new() };
        locale.find_of_glibc(&parts, rootfs)?;
        for of_musl in parts.musl_names() {
            locale.take_file(rootfs, &child(OF_MUSL, &of_musl))?;
        }
        // Every C library has these inside, or does as if.
        if locale.files.is_empty() && !matches!(parts.language, "C" | "POSIX") {
            return Err(unknown());
        }
        for path in ALIASES {
            locale.take_file(rootfs, &ImagePath::parse(path).ok())?;
        }
        if let Some(charset) = parts.charset_in(rootfs)? {
            locale.find_conversions(&charset, rootfs)?;
        }
        Ok(locale)
    }

    /// What is to be kept for it, whatever else is.
    pub(in crate::select) fn files(&self) -> &[ImagePath] {
        &self.files
    }

    /// Its message catalogues, of all programs.
    pub(in crate::select) fn catalogues(&self, rootfs: &Rootfs) -> Result<Vec<ImagePath>, SelectError> {
        let mut catalogues = Vec::new();
        for directory in CATALOGUES {
            for name in &self.catalogue_names {
                let Some(messages) = child(directory, name).and_then(|path| path.child(b"LC_MESSAGES").ok()) else {
                    continue;
                };
                let messages = rootfs.resolve(messages.as_bytes(), true)?.end;
                let files = rootfs.list(&messages)?;
                catalogues
                    .extend(files.iter().filter(|file| file.ends_with(b".mo")).filter_map(|f| messages.child(f).ok()));
            }
        }
        Ok(catalogues)
    }

    fn find_of_glibc(&mut self, parts: &Name<'_>, rootfs: &Rootfs) -> Result<(), SelectError> {
        for directory in LOCALES {
            for name in parts.directory_names() {
                let Some(path) = child(directory, name.as_bytes()) else { continue };
                let walk = rootfs.resolve(path.as_bytes(), true)?;
                if walk.entry.is_some_and(|entry| entry.is_dir()) {
                    super::super::walk(rootfs, &walk.end, &mut |path, _| {
                        self.files.push(path.clone());
                        Ok(())
                    })?;
                    self.files.push(path);
                }
            }
            let Some(archive) = child(directory, ARCHIVE) else { continue };
            let walk = rootfs.resolve(archive.as_bytes(), true)?;
            if walk.entry.is_some_and(|entry| entry.is_file())
                && holds_any(rootfs, &walk.end, &parts.directory_names())?
            {
                self.files.extend([archive, walk.end]);
            }
        }
        Ok(())
    }

    /// The modules that convert `charset` to and from the C library's own form, with what lists them.
    fn find_conversions(&mut self, charset: &str, rootfs: &Rootfs) -> Result<(), SelectError> {
        let mut directories = vec!["/usr/lib/gconv".to_owned(), "/usr/lib64/gconv".to_owned()];
        let lib = ImagePath::parse("/usr/lib").unwrap_or_else(|_| ImagePath::root());
        for name in rootfs.list(&lib)? {
            // A directory per architecture: `x86_64-linux-gnu`.
            if let Ok(name) = String::from_utf8(name)
                && name.contains("-linux-")
            {
                directories.push(format!("/usr/lib/{name}/gconv"));
            }
        }
        for directory in directories {
            let mut lists = vec![child(&directory, b"gconv-modules")];
            if let Some(more) = child(&directory, b"gconv-modules.d") {
                lists.extend(rootfs.list(&more)?.iter().map(|name| more.child(name).ok()));
            }
            let mut text = Vec::new();
            let mut read = Vec::new();
            for list in lists.into_iter().flatten() {
                if let Some(content) = read_short(rootfs, &list)? {
                    text.extend(content);
                    text.push(b'\n');
                    read.push(list);
                }
            }
            let modules = modules_of(&String::from_utf8_lossy(&text), charset);
            let before = self.files.len();
            for module in modules {
                self.take_file(rootfs, &child(&directory, module.as_bytes()))?;
            }
            if self.files.len() > before {
                self.files.extend(read);
                self.take_file(rootfs, &child(&directory, b"gconv-modules.cache"))?;
            }
        }
        Ok(())
    }

    fn take_file(&mut self, rootfs: &Rootfs, path: &Option<ImagePath>) -> Result<(), SelectError> {
        if let Some(path) = path
            && rootfs.resolve(path.as_bytes(), true)?.entry.is_some_and(|entry| entry.is_file())
        {
            self.files.push(path.clone());
        }
        Ok(())
    }
}

/// The parts of a locale's name.
struct Name<'a> {
    whole: &'a str,
    language: &'a str,
    /// With the underscore.
    territory: &'a str,
    /// With the point.
    charset: &'a str,
    /// With the at sign.
    modifier: &'a str,
}

impl<'a> Name<'a> {
    fn of(whole: &'a str) -> Self {
        let (rest, modifier) = whole.split_at(whole.find('@').unwrap_or(whole.len()));
        let (rest, charset) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
        let (language, territory) = rest.split_at(rest.find('_').unwrap_or(rest.len()));
        Name { whole, language, territory, charset, modifier }
    }

    /// The names under which glibc has it: as it is written, and with the charset in normal form.
    fn directory_names(&self) -> Vec<String> {
        let Name { language, territory, modifier, .. } = self;
        let mut names = vec![self.whole.to_owned()];
        if let Some(charset) = self.charset.strip_prefix('.') {
            let normal = format!("{language}{territory}.{}{modifier}", normal_charset(charset));
            if normal != self.whole {
                names.push(normal);
            }
        }
        names
    }

    fn musl_names(&self) -> Vec<Vec<u8>> {
        let Name { language, territory, .. } = self;
        [format!("{language}{territory}.UTF-8"), format!("{language}{territory}.UTF-8.mo")]
            .map(String::into_bytes)
            .into()
    }

    /// As `gettext` looks for them.
    fn catalogue_names(&self) -> Vec<Vec<u8>> {
        let Name { language, territory, modifier, .. } = self;
        let mut names = self.directory_names();
        names.extend([
            format!("{language}{territory}{modifier}"),
            format!("{language}{territory}"),
            format!("{language}{modifier}"),
            (*language).to_owned(),
        ]);
        let mut seen = Vec::new();
        names.retain(|name| {
            let is_new = !seen.contains(name);
            seen.push(name.clone());
            is_new
        });
        names.into_iter().map(String::into_bytes).collect()
    }

    /// Its charset: from the name, or as the base's list has it; `None` for UTF-8, which needs no module, and when
    /// nobody knows.
    fn charset_in(&self, rootfs: &Rootfs) -> Result<Option<String>, SelectError> {
        let mut charset = self.charset.strip_prefix('.').map(str::to_owned);
        if charset.is_none()
            && let Ok(path) = ImagePath::parse(SUPPORTED)
            && let Some(text) = read_short(rootfs, &path)?
        {
            let text = String::from_utf8_lossy(&text).into_owned();
            let of_line = |line: &str| Some(line.strip_prefix(self.whole)?.strip_prefix(' ')?.trim().to_owned());
            charset = text.lines().find_map(of_line);
        }
        Ok(charset.filter(|charset| normal_charset(charset) != "utf8"))
    }
}

/// A charset as glibc writes it in names of locales (`_nl_normalize_codeset`): letters and digits, small, and `iso`
/// before what is a number.
fn normal_charset(charset: &str) -> String {
    let name: String = charset.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    if name.bytes().all(|b| b.is_ascii_digit()) { format!("iso{name}") } else { name }
}

/// The files of the modules that a `gconv-modules` names for `charset`.
fn modules_of(text: &str, charset: &str) -> Vec<String> {
    let wanted = normal_charset(charset);
    let name = |field: &str| field.trim_end_matches('/').to_owned();
    let lines = || text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let mut names = Vec::new();
    for line in lines() {
        let fields: Vec<&str> = line.collect();
        match fields.as_slice() {
            ["alias", alias, of, ..] if normal_charset(&name(alias)) == wanted => names.push(name(of)),
            ["module", from, ..] if normal_charset(&name(from)) == wanted => names.push(name(from)),
            _ => {}
        }
    }
    let mut modules = Vec::new();
    for line in lines() {
        let fields: Vec<&str> = line.collect();
        if let ["module", from, to, file, ..] = fields.as_slice()
            && names.iter().any(|charset| *charset == name(from) || *charset == name(to))
        {
            let file = if file.ends_with(".so") { (*file).to_owned() } else { format!("{file}.so") };
            if !modules.contains(&file) {
                modules.push(file);
            }
        }
    }
    modules
}

/// Whether the file at `path` holds one of `names` as a C string of its own.
fn holds_any(rootfs: &Rootfs, path: &ImagePath, names: &[String]) -> Result<bool, SelectError> {
    let needles: Vec<Vec<u8>> = names.iter().map(|name| [b"\0", name.as_bytes(), b"\0"].concat()).collect();
    let overlap = needles.iter().map(Vec::len).max().unwrap_or(1);
    let mut file = rootfs.open(path)?;
    let mut window: Vec<u8> = Vec::new();
    loop {
        let keep = window.len().saturating_sub(overlap);
        window.drain(..keep);
        let more = Read::by_ref(&mut file).take(PIECE as u64).read_to_end(&mut window);
        match more {
            Ok(0) => return Ok(false),
            Ok(_) if needles.iter().any(|needle| window.windows(needle.len()).any(|part| part == needle)) => {
                return Ok(true);
            }
            Ok(_) => {}
            Err(cause) => return Err(SelectError::Read { path: path.clone(), cause }),
        }
    }
}

/// The content of a file that is not longer than any of its kind.
fn read_short(rootfs: &Rootfs, path: &ImagePath) -> Result<Option<Vec<u8>>, SelectError> {
    use crate::image::EntryKind;
    let walk = rootfs.resolve(path.as_bytes(), true)?;
    match walk.entry.map(|entry| entry.kind) {
        Some(EntryKind::File { size, .. }) if size <= LONGEST => Ok(Some(rootfs.read(&walk.end)?)),
        _ => Ok(None),
    }
}

fn child(directory: &str, name: &[u8]) -> Option<ImagePath> {
    ImagePath::parse(directory).ok()?.child(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_those_of_directories_and_catalogues() {
        for (name, directories, catalogues) in [
            ("de_DE.UTF-8", "de_DE.UTF-8 de_DE.utf8", "de_DE.UTF-8 de_DE.utf8 de_DE de"),
            ("sr_RS@latin", "sr_RS@latin", "sr_RS@latin sr_RS sr@latin sr"),
            ("fr_FR.ISO-8859-15@euro", "fr_FR.ISO-8859-15@euro fr_FR.iso885915@euro", ""),
            ("de", "de", "de"),
        ] {
            let parts = Name::of(name);
            assert_eq!(parts.directory_names().join(" "), directories, "{name}");
            let found: Vec<_> =
                parts.catalogue_names().into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
            if !catalogues.is_empty() {
                assert_eq!(found.join(" "), catalogues, "{name}");
            }
        }
    }

    #[test]
    fn charsets_are_converted_by_the_modules_that_the_list_names() {
        let list = "# comment\nalias ISO-IR-100// ISO-8859-1//\nalias LATIN1// ISO-8859-1//\n\
            module ISO-8859-1// INTERNAL ISO8859-1 1\nmodule INTERNAL ISO-8859-1// ISO8859-1 1\n\
            module KOI8-R// INTERNAL KOI8-R.so 1\nmodule broken\n";
        for (charset, expected) in
            [("ISO-8859-1", "ISO8859-1.so"), ("latin1", "ISO8859-1.so"), ("KOI8-R", "KOI8-R.so"), ("EUC-JP", "")]
        {
            assert_eq!(modules_of(list, charset).join(" "), expected, "{charset}");
        }
    }
}
