//! The text of a probe spec becomes a [`Spec`].
//!
//! The document is read into flat tables first, in which every field knows where it stands, and then checked: so each
//! message has a line, and says which fields a step of its kind has.

mod local;
mod tables;
mod web;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::base::Digest;
use crate::probe::ProbeError;
use crate::probe::escapes;
use crate::probe::expect::{BytesExpect, BytesRegex, HttpExpect, Pattern};
use crate::probe::spec::{DEFAULT_READY_TIMEOUT, Ready, Spec};
use crate::probe::stable;
use crate::probe::step::{Action, HttpStep, Secret, Step};
use tables::{COMMON_FIELDS, ExpectDocument, Kind, ReadyDocument, SpecDocument, StepDocument};

/// Parses a spec. `file` is its name for messages; a `body_file` is looked up from `directory`.
pub(super) fn parse(text: &str, file: &str, directory: &Path) -> Result<Spec, ProbeError> {
    let context = Context { text, file, directory };
    let document: SpecDocument = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| context.line(&span));
        ProbeError::Spec { file: file.into(), line, message: error.message().replace('\n', " "), hint: None }
    })?;
    let matches = document.matches.iter().map(|glob| context.check(&glob.span(), glob.get_ref().parse()));
    let spec = Spec {
        name: document.name.unwrap_or_else(|| stem(file)),
        description: document.description,
        matches: matches.collect::<Result<_, _>>()?,
        ready: document.ready.map(|ready| context.ready(ready)).transpose()?,
        steps: document.step.into_iter().map(|step| context.step(step)).collect::<Result<_, _>>()?,
    };
    if spec.steps.is_empty() {
        let hint = "add a table [[step]] with a kind, as kind = \"http\" or kind = \"exec\"";
        return Err(ProbeError::Spec {
            file: file.into(),
            line: None,
            message: "it has no steps".into(),
            hint: Some(hint.into()),
        });
    }
    Ok(spec)
}

/// Reads the table that says when something is ready. It stands in `text`, at the place that it knows itself.
pub(super) fn parse_ready(
    table: Spanned<toml::de::DeValue<'_>>,
    text: &str,
    file: &str,
    directory: &Path,
) -> Result<Ready, ProbeError> {
    let context = Context { text, file, directory };
    let place = table.span();
    let document = ReadyDocument::deserialize(toml::de::ValueDeserializer::from(table)).map_err(|error| {
        let message = error.message().replace('\n', " ");
        context.error(&error.span().unwrap_or(place), message, None)
    })?;
    context.ready(document)
}

fn stem(file: &str) -> String {
    Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

struct Context<'a> {
    text: &'a str,
    file: &'a str,
    directory: &'a Path,
}

impl Context<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        self.text.bytes().take(span.start).filter(|&b| b == b'\n').count() + 1
    }

    fn error(&self, span: &Range<usize>, message: impl Into<String>, hint: Option<String>) -> ProbeError {
        ProbeError::Spec { file: self.file.into(), line: Some(self.line(span)), message: message.into(), hint }
    }

    fn check<T>(&self, span: &Range<usize>, result: Result<T, String>) -> Result<T, ProbeError> {
        result.map_err(|message| self.error(span, message, None))
    }

    fn optional<T, U>(
        &self,
        field: &Option<Spanned<T>>,
        parse: impl FnOnce(&T) -> Result<U, String>,
    ) -> Result<Option<U>, ProbeError> {
        field.as_ref().map(|field| self.check(&field.span(), parse(field.get_ref()))).transpose()
    }

    fn seconds(&self, field: &Option<Spanned<f64>>, default: Duration) -> Result<Duration, ProbeError> {
        let parsed = self.optional(field, |&seconds| match seconds {
            s if s > 0.0 && s <= 86_400.0 => Ok(Duration::from_secs_f64(s)),
            s => Err(format!("a timeout is a number of seconds above 0, a day at most, not {s}")),
        })?;
        Ok(parsed.unwrap_or(default))
    }

    fn port(&self, field: &Option<Spanned<u16>>) -> Result<Option<u16>, ProbeError> {
        self.optional(field, |&port| if port == 0 { Err("0 is no port".into()) } else { Ok(port) })
    }

    fn ready(&self, document: ReadyDocument) -> Result<Ready, ProbeError> {
        let kind = document.step.as_ref().and_then(|step| step.get_ref().kind.as_ref());
        if let Some(kind) = kind.filter(|kind| matches!(kind.get_ref(), Kind::Crawl | Kind::Openapi)) {
            let message = format!("a step of kind {} stands for many and tells no readiness", kind.get_ref().name());
            return Err(self.error(&kind.span(), message, Some("ask for one page, with kind = \"http\"".into())));
        }
        Ok(Ready {
            timeout: self.seconds(&document.timeout_seconds, DEFAULT_READY_TIMEOUT)?,
            port: self.port(&document.port)?,
            step: document.step.map(|step| self.step(step)).transpose()?,
            advisory: false,
        })
    }

    fn step(&self, document: Spanned<StepDocument>) -> Result<Step, ProbeError> {
        let place = document.span();
        let mut step = document.into_inner();
        let Some(kind) = step.kind.as_ref().map(|kind| *kind.get_ref()) else {
            let hint = "kind = \"http\", \"tcp\", \"udp\", \"exec\", \"script\", \"crawl\", \"openapi\", \"websocket\" or \"grpc\"";
            return Err(self.error(&place, "the step has no kind", Some(hint.into())));
        };
        let expect = step.expect.take().map(Spanned::into_inner).unwrap_or_default();
        for (field, span) in step.given().into_iter().chain(expect.given()) {
            if !COMMON_FIELDS.contains(&field) && !kind.fields().contains(&field) {
                let message = format!("a step of kind {} has no field {field}", kind.name());
                return Err(self.error(&span, message, Some(format!("it has {}", kind.fields().join(", ")))));
            }
        }
        let action = match kind {
            Kind::Http => Action::Http(self.http(&step, &expect)?),
            Kind::Tcp => Action::Tcp(self.tcp(&mut step, &expect)?),
            Kind::Udp => Action::Udp(self.udp(&step, &expect, &place)?),
            Kind::Exec => Action::Exec(self.exec(&step, &expect, &place)?),
            Kind::Script => Action::Script(self.script(&step, &expect, &place)?),
            Kind::Crawl => Action::Crawl(self.crawl(&step)?),
            Kind::Openapi => Action::Openapi(self.openapi(&step, &place)?),
            Kind::Websocket => Action::Websocket(self.websocket(&step)?),
            Kind::Grpc => Action::Grpc(self.grpc(&step, &expect, &place)?),
        };
        let repeat = self.optional(&step.repeat, |&n| match n {
            1..=10_000 => Ok(n),
            n => Err(format!("a step is repeated 1 to 10000 times, not {n}")),
        })?;
        Ok(Step {
            name: step.name.map(|name| name.into_inner().trim().to_string()).filter(|name| !name.is_empty()),
            action,
            timeout: self.seconds(&step.timeout_seconds, kind.timeout())?,
            repeat: repeat.unwrap_or(1),
            ignore: self.ignore(kind, step.ignore)?,
        })
    }

    fn ignore(&self, kind: Kind, field: Option<Spanned<Vec<Spanned<String>>>>) -> Result<Vec<String>, ProbeError> {
        let mut out = Vec::new();
        for item in field.map(Spanned::into_inner).unwrap_or_default() {
            if let Some(part) = stable::check(item.get_ref()) {
                self.check(&item.span(), part)?;
                out.push(item.get_ref().clone());
                continue;
            }
            let name = item.get_ref().to_ascii_lowercase();
            let requests = matches!(kind, Kind::Http | Kind::Crawl | Kind::Openapi);
            let header = requests && name.strip_prefix("header:").is_some_and(|name| !name.is_empty());
            if !header && !kind.ignorable().contains(&name.as_str()) {
                let message = format!("the answer to a step of kind {} has no part {name:?}", kind.name());
                return Err(self.error(&item.span(), message, Some(format!("it has {}", kind.ignorable().join(", ")))));
            }
            out.push(name);
        }
        Ok(out)
    }

    fn http(&self, step: &StepDocument, expect: &ExpectDocument) -> Result<HttpStep, ProbeError> {
        let method = self.optional(&step.method, |method| parse_method(method))?;
        let path = self.optional(&step.path, |path| parse_path(path))?;
        if let (Some(_), Some(file)) = (&step.body, &step.body_file) {
            return Err(self.error(&file.span(), "a request has either body or body_file", None));
        }
        let body = match &step.body_file {
            Some(file) => {
                let path = self.directory.join(file.get_ref());
                let body = fs::read(&path);
                Some(Secret(body.map_err(|cause| ProbeError::Read { what: "the request body", path, cause })?))
            }
            None => step.body.as_ref().map(|body| Secret(body.get_ref().clone().into_bytes())),
        };
        let header = self.optional(&expect.header, |headers| {
            let parse = |(name, glob): (&String, &String)| Ok::<_, String>((name.to_ascii_lowercase(), glob.parse()?));
            headers.iter().map(parse).collect::<Result<BTreeMap<String, Pattern>, _>>()
        })?;
        let text = |field: &Option<Spanned<String>>| field.as_ref().map(|field| field.get_ref().clone());
        Ok(HttpStep {
            port: self.port(&step.port)?,
            method: method.unwrap_or_else(|| "GET".into()),
            path: path.unwrap_or_else(|| "/".into()),
            host: self.host(step)?,
            headers: self.headers(step)?,
            body,
            made: Vec::new(),
            follow_redirects: step.follow_redirects.as_ref().is_some_and(|f| *f.get_ref()),
            expect: HttpExpect {
                status: expect.status.as_ref().map(|s| s.get_ref().clone()).unwrap_or_default(),
                headers: header.unwrap_or_default(),
                body_contains: text(&expect.body_contains),
                body_digest: self.digest(&expect.body_digest)?,
            },
        })
    }

    fn host(&self, step: &StepDocument) -> Result<Option<String>, ProbeError> {
        self.optional(&step.host, |host| parse_header("host", host).map(|_| host.clone()))
    }

    fn headers(&self, step: &StepDocument) -> Result<Vec<(String, Secret)>, ProbeError> {
        let headers = self.optional(&step.headers, |headers| {
            headers.iter().map(|(name, value)| parse_header(name, value)).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(headers.unwrap_or_default())
    }

    fn digest(&self, field: &Option<Spanned<String>>) -> Result<Option<Digest>, ProbeError> {
        self.optional(field, |text| text.parse::<Digest>().map_err(|e| e.to_string()))
    }

    fn send(
        &self,
        text: &Option<Spanned<String>>,
        hex: &Option<Spanned<String>>,
    ) -> Result<Option<Secret>, ProbeError> {
        let place = hex;
        let text = self.optional(text, |text| escapes::parse_text(text))?;
        let hex = self.optional(hex, |hex| escapes::parse_hex(hex))?;
        match (place, text, hex) {
            (Some(field), Some(_), _) => Err(self.error(&field.span(), "a step has either send or send_hex", None)),
            (_, text, hex) => Ok(text.or(hex).map(Secret)),
        }
    }

    fn bytes(&self, expect: &ExpectDocument) -> Result<BytesExpect, ProbeError> {
        Ok(BytesExpect {
            contains: self.optional(&expect.contains, |text| escapes::parse_text(text))?,
            matches: self.optional(&expect.matches, |text| text.parse::<BytesRegex>())?,
        })
    }
}

/// A method in upper case.
pub(super) fn parse_method(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
        return Err(format!("{text:?} is no HTTP method"));
    }
    Ok(text.to_ascii_uppercase())
}

/// A path with its query.
pub(super) fn parse_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("the path {text:?} does not begin with a slash"));
    }
    if text.starts_with("//") || text.chars().any(|c| c.is_control()) {
        return Err(format!("{text:?} is no path of a request"));
    }
    Ok(text.into())
}

pub(super) fn parse_header(name: &str, value: &str) -> Result<(String, Secret), String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("{name:?} is no name of a header"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        // The value may be secret, so it is not shown.
        return Err(format!("the value of the header {name} holds a control character"));
    }
    Ok((name.into(), value.into()))
}
