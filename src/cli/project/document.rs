//! The text of a project file becomes settings, each with its line.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::project::keys::{ALL_RUNS, Keys, OF_RUN, OF_SERVICE, Shape, nearest};
use crate::cli::project::paths;
use crate::probe::Ready;
use crate::session::Until;

/// Where it is looked for.
const NAME: &str = "scrimp.toml";
/// How large it may be, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A project file that was read.
pub struct Document {
    /// As messages name it.
    pub file: String,
    /// What its paths are relative to; empty for the current directory.
    pub directory: PathBuf,
    /// All settings but those of single runs and services.
    pub settings: Vec<Setting>,
    /// `[[run]]`.
    pub runs: Vec<RunTable>,
    /// `[[service]]`.
    pub services: Vec<ServiceTable>,
}

/// One key with its value.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The section; none for the top of the file.
    pub section: String,
    /// The key.
    pub key: String,
    /// From 1.
    pub line: usize,
    /// What it is set to.
    pub value: Value,
}

/// What a key is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// One or several texts.
    Texts(Vec<String>),
}

/// `[[run]]`.
pub struct RunTable {
    /// Its name.
    pub name: String,
    /// `default = true`.
    pub is_default: bool,
    /// Its settings, those of its probes included.
    pub settings: Vec<Setting>,
}

/// `[[service]]`.
pub struct ServiceTable {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub source: Option<String>,
    /// Its settings.
    pub settings: Vec<Setting>,
    /// When it is as it has to be.
    pub until: Until,
}

impl Document {
    /// Reads the file that was `given`, or the one in the current directory, if there is one.
    pub fn find(given: Option<&Path>, keys: &Keys) -> Result<Option<Self>> {
        let path = given.unwrap_or(Path::new(NAME));
        let text = match read(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && given.is_none() => return Ok(None),
            text => text.with_context(|| {
                let file = path.display();
                format!("cannot read the settings in {file}\nhint: --config names a file in TOML, see docs/settings.md")
            })?,
        };
        Self::parse(&text, path, keys).map(Some)
    }

    /// Parses the text of the file at `path`.
    pub fn parse(text: &str, path: &Path, keys: &Keys) -> Result<Self> {
        let file = path.display().to_string();
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let reader = Reader { text, file: &file, directory: &directory, keys };
        let table = DeTable::parse(text).map_err(|error| {
            let place = error.span().unwrap_or_default();
            let message = error.message().replace('\n', " ");
            let key = text.get(place.clone()).filter(|_| message == "duplicate key").unwrap_or_default();
            let hint = match key.trim_matches(['[', ']', ' ']) {
                "run" => {
                    "\nhint: there is one [run], or several [[run]]; what all of several have stands in [all-runs]"
                }
                _ => "",
            };
            reader.error(&place, format!("{message}{hint}"))
        })?;
        let (mut settings, mut runs, mut services) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in table.into_inner() {
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("run", DeValue::Array(_)) => runs = reader.tables("run", value, |table| reader.run(table))?,
                ("service", _) => services = reader.tables("service", value, |table| reader.service(table))?,
                (section, DeValue::Table(_)) if keys.0.contains_key(section) && !section.is_empty() => {
                    let DeValue::Table(table) = value.into_inner() else { continue };
                    settings.extend(reader.section(section, table, &keys.0[section])?);
                }
                (key, _) if keys.0.get("").is_some_and(|top| top.contains_key(key)) => {
                    settings.push(reader.setting("", &name, value, keys.0[""][key])?);
                }
                (section, _) if keys.0.contains_key(section) && !section.is_empty() => {
                    return Err(reader.error(&name.span(), format!("{section} is a section\nhint: write [{section}]")));
                }
                _ => return Err(reader.unknown_at_the_top(&name)),
            }
        }
        settings.sort_by_key(|setting: &Setting| setting.line);
        reader.check(&runs, &services)?;
        Ok(Document { settings, runs, services, file: file.clone(), directory: directory.clone() })
    }

    /// The settings of one run: its own, those of all runs that it has none for, and the rest of the file. One that has
    /// probes has all of its probes.
    pub fn settings_of<'a>(&'a self, run: &'a RunTable) -> Vec<&'a Setting> {
        let has = |section: &str, key: &str| run.settings.iter().any(|s| s.section == section && s.key == key);
        let has_probes = run.settings.iter().any(|setting| setting.section == "probes");
        let holds = |setting: &&Setting| match setting.section.as_str() {
            "probes" => !has_probes,
            ALL_RUNS => !has("run", &setting.key),
            _ => true,
        };
        self.settings.iter().filter(holds).chain(&run.settings).collect()
    }
}

/// The text of a file that is not larger than any that is meant well.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    io::Read::read_to_string(&mut io::Read::take(file, MAX_BYTES + 1), &mut text)?;
    match text.len() as u64 > MAX_BYTES {
        true => Err(io::Error::other("it is larger than 1 MiB")),
        false => Ok(text),
    }
}

struct Reader<'a> {
    text: &'a str,
    file: &'a str,
    directory: &'a Path,
    keys: &'a Keys,
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;

impl Reader<'_> {
    fn line(&self, place: &Range<usize>) -> usize {
        self.text.bytes().take(place.start).filter(|&byte| byte == b'\n').count() + 1
    }

    fn error(&self, place: &Range<usize>, message: impl std::fmt::Display) -> anyhow::Error {
        anyhow!("{}:{}: {message}", self.file, self.line(place))
    }

    fn unknown_at_the_top(&self, name: &Key<'_>) -> anyhow::Error {
        let known = self.keys.0.keys().map(String::as_str).filter(|section| !section.is_empty());
        let known: Vec<&str> = known.chain(["service"]).collect();
        let key = name.get_ref().as_ref();
        let hint = match (self.keys.section_of(key), nearest(key, known.iter().copied())) {
            (Some(section), _) => format!("it belongs to [{section}]"),
            (None, Some(near)) => format!("did you mean [{near}]?"),
            (None, None) => match nearest(key, self.keys.0[""].keys().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the sections are {}", known.join(", ")),
            },
        };
        self.error(&name.span(), format!("there is no section and no key {key:?}\nhint: {hint}"))
    }

    fn unknown(&self, section: &str, name: &Key<'_>, known: &[&str]) -> anyhow::Error {
        let key = name.get_ref().as_ref();
        let is_of_tables = |tables: &[&str]| tables.contains(&key) && !known.contains(&key);
        let hint = match (nearest(key, known.iter().copied()), self.keys.section_of(key)) {
            _ if section == "run" && is_of_tables(&OF_RUN) => {
                "several ways to start the image stand in tables [[run]], each with a name".into()
            }
            (Some(near), _) if strsim::levenshtein(near, key) <= 2 => format!("did you mean {near}?"),
            (_, Some("")) => "it stands at the top of the file, before all sections".into(),
            (_, Some(other)) if other != section => format!("it belongs to [{other}]"),
            (Some(near), _) => format!("did you mean {near}?"),
            _ => format!("it has {}", known.join(", ")),
        };
        self.error(&name.span(), format!("[{section}] has no key {key:?}\nhint: {hint}"))
    }

    fn section(&self, section: &str, table: DeTable<'_>, keys: &BTreeMap<String, Shape>) -> Result<Vec<Setting>> {
        let mut settings = Vec::new();
        for (name, value) in table {
            let Some(shape) = keys.get(name.get_ref().as_ref()) else {
                let known: Vec<&str> = keys.keys().map(String::as_str).collect();
                return Err(self.unknown(section, &name, &known));
            };
            settings.push(self.setting(section, &name, value, *shape)?);
        }
        Ok(settings)
    }

    fn setting(&self, section: &str, name: &Key<'_>, value: Spanned<DeValue<'_>>, shape: Shape) -> Result<Setting> {
        let key = name.get_ref().to_string();
        let place = value.span();
        let wrong = |what: &str| self.error(&place, format!("{key} is {what}"));
        let kind = match value.get_ref().type_str() {
            kind @ ("array" | "integer") => format!("an {kind}"),
            kind => format!("a {kind}"),
        };
        // An empty entrypoint is one: none.
        if key == "command" && words(value.get_ref()) == 0 {
            return Err(wrong(
                "empty\nhint: a command is a text, as \"sh -c 'a b'\", or a list of words; without the key it is the image's",
            ));
        }
        let value = match (shape, value.into_inner()) {
            (Shape::Switch, DeValue::Boolean(is_on)) => Value::Switch(is_on),
            (Shape::Switch, _) => return Err(wrong("true or false")),
            (Shape::One, value) => Value::Texts(vec![
                text_of(&value).ok_or_else(|| wrong(&format!("one text or one number, and not {kind}")))?,
            ]),
            (Shape::Command, DeValue::String(text)) => {
                let words = shlex::split(&text);
                Value::Texts(words.ok_or_else(|| wrong("no command: a quote is not closed, or a backslash ends it"))?)
            }
            (Shape::Command, DeValue::Array(items)) => {
                let words = items.iter().map(|item| text_of(item.get_ref())).collect::<Option<_>>();
                Value::Texts(words.ok_or_else(|| wrong("a list of words"))?)
            }
            (Shape::Command, _) => return Err(wrong("a text or a list of words")),
            (Shape::Many { .. }, DeValue::Array(items)) => {
                let texts = items.iter().map(|item| text_of(item.get_ref())).collect::<Option<_>>();
                Value::Texts(texts.ok_or_else(|| wrong("a list of texts"))?)
            }
            (Shape::Many { pairs: true }, DeValue::Table(table)) => {
                let pair = |(name, value): (Key<'_>, Spanned<DeValue<'_>>)| {
                    Some(format!("{}={}", name.get_ref(), text_of(value.get_ref())?))
                };
                let texts = table.into_iter().map(pair).collect::<Option<_>>();
                Value::Texts(texts.ok_or_else(|| wrong("a table of texts"))?)
            }
            (Shape::Many { pairs: true }, value) if !matches!(value, DeValue::String(_)) => {
                return Err(wrong(&format!(
                    "a table, as {{ NAME = \"value\" }}, or a list of texts, as [\"NAME=value\"], and not {kind}"
                )));
            }
            (Shape::Many { .. }, value) => {
                Value::Texts(vec![text_of(&value).ok_or_else(|| wrong("a text or a list of texts"))?])
            }
        };
        Ok(Setting { section: section.into(), line: self.line(&name.span()), key, value })
    }

    /// The tables of a list.
    fn tables<T>(
        &self,
        name: &str,
        value: Spanned<DeValue<'_>>,
        read: impl Fn(Spanned<DeTable<'_>>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let place = value.span();
        let not_a_list = || self.error(&place, format!("{name} is a list of tables\nhint: write [[{name}]]"));
        let DeValue::Array(items) = value.into_inner() else { return Err(not_a_list()) };
        let table = |item: Spanned<DeValue<'_>>| {
            let place = item.span();
            match item.into_inner() {
                DeValue::Table(table) => read(Spanned::new(place, table)),
                _ => Err(not_a_list()),
            }
        };
        items.into_iter().map(table).collect()
    }

    fn run(&self, table: Spanned<DeTable<'_>>) -> Result<RunTable> {
        let place = table.span();
        let (keys, probes) = (self.keys.of_run(), self.keys.0.get("probes").cloned().unwrap_or_default());
        let (mut run_name, mut is_default, mut settings) = (None, false, Vec::new());
        for (name, value) in table.into_inner() {
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("name", DeValue::String(text)) => run_name = Some(text.to_string()),
                ("default", DeValue::Boolean(value)) => is_default = *value,
                ("name" | "default", _) => {
                    return Err(self.error(&value.span(), "name is a text, and default is true or false"));
                }
                ("probes", value) if !matches!(value, DeValue::Table(_)) => {
                    let message = "probes is a table\nhint: probes = { http = \"/\" }, or a table [run.probes]";
                    return Err(self.error(&name.span(), message));
                }
                ("probes", DeValue::Table(_)) => {
                    let DeValue::Table(table) = value.into_inner() else { continue };
                    settings.extend(self.section("probes", table, &probes)?);
                }
                (key, _) => {
                    let Some(shape) = keys.get(key) else {
                        let known: Vec<&str> =
                            keys.keys().map(String::as_str).chain(OF_RUN).chain(["probes"]).collect();
                        return Err(self.unknown("[run]", &name, &known));
                    };
                    settings.push(self.setting("run", &name, value, *shape)?);
                }
            }
        }
        let name = run_name.ok_or_else(|| self.error(&place, "the run has no name\nhint: name = \"web\""))?;
        Ok(RunTable { name, is_default, settings })
    }

    fn service(&self, table: Spanned<DeTable<'_>>) -> Result<ServiceTable> {
        let place = table.span();
        let keys = self.keys.of_service();
        let (mut service_name, mut source, mut until, mut settings) = (None, None, Until::Ready(None), Vec::new());
        for (name, value) in table.into_inner() {
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("name", DeValue::String(text)) => service_name = Some(text.to_string()),
                ("source", DeValue::String(text)) => source = Some(paths::source(text, self.directory)),
                ("name" | "source", _) => return Err(self.error(&value.span(), "name and source are texts")),
                ("ready", _) => until = self.until(value)?,
                (key, _) => {
                    let Some(shape) = keys.get(key) else {
                        let known: Vec<&str> = keys.keys().map(String::as_str).chain(OF_SERVICE).collect();
                        return Err(self.unknown("[service]", &name, &known));
                    };
                    settings.push(self.setting("run", &name, value, *shape)?);
                }
            }
        }
        let name = service_name.ok_or_else(|| self.error(&place, "the service has no name\nhint: name = \"db\""))?;
        Ok(ServiceTable { name, source, settings, until })
    }

    fn until(&self, value: Spanned<DeValue<'_>>) -> Result<Until> {
        let place = value.span();
        match value.get_ref() {
            DeValue::String(text) if text == "started" => Ok(Until::Started),
            DeValue::String(text) if text == "ended" => Ok(Until::Ended),
            DeValue::Table(_) => {
                let ready = Ready::parse(value, self.text, self.file, self.directory)?;
                Ok(Until::Ready(Some(Box::new(ready))))
            }
            _ => Err(self.error(
                &place,
                "ready is \"started\", \"ended\" or a table\n\
                 hint: a table has timeout_seconds, port and step, as [ready] of a probe spec",
            )),
        }
    }

    fn check(&self, runs: &[RunTable], services: &[ServiceTable]) -> Result<()> {
        let twice = |names: Vec<&str>| {
            names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)).map(|(_, name)| name.to_string())
        };
        if let Some(name) = twice(runs.iter().map(|run| run.name.as_str()).collect()) {
            bail!("{}: there are two runs named {name:?}", self.file);
        }
        if let Some(name) = twice(services.iter().map(|service| service.name.as_str()).collect()) {
            bail!("{}: there are two services named {name:?}", self.file);
        }
        if runs.iter().filter(|run| run.is_default).count() > 1 {
            bail!("{}: more than one run has default = true", self.file);
        }
        Ok(())
    }
}

/// How many words a command has, or at least one.
fn words(value: &DeValue<'_>) -> usize {
    match value {
        DeValue::String(text) => usize::from(!text.trim().is_empty()),
        DeValue::Array(items) => items.len(),
        _ => 1,
    }
}

/// A value that is no list and no table, as it would be typed.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}
