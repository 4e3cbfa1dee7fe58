//! OpenAPI 3.0 and 3.1: a request for each operation that a document describes, with the values that it gives as
//! examples or, where it gives none, with some that fit.
//!
//! A document may come from the application, so it is untrusted: what it refers to lies within it, and how far it is
//! followed is bounded.

use std::fmt;
use std::fs;
use std::path::Path;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::probe::ProbeError;
use crate::probe::expect::{HttpExpect, StatusSet};
use crate::probe::sample::{Document, text_of};
use crate::probe::step::{Action, HttpStep, Secret, Step};

/// A larger document is refused, in bytes.
const LARGEST: usize = 4 << 20;

/// No more operations than this are asked for.
const MOST: usize = 1000;

/// No more of the parameters of an operation are looked at.
const MOST_PARAMETERS: usize = 200;

/// A path, or the value of a parameter, may have as many bytes: servers refuse what is longer.
const LONGEST: usize = 8 << 10;

/// All requests together may have as many bytes.
const MOST_BYTES: usize = 64 << 20;

/// The methods of a path, in the order in which they are asked for: what changes nothing first, what deletes last.
const METHODS: [&str; 7] = ["get", "head", "options", "post", "put", "patch", "delete"];

/// A description of what the application answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenapiStep {
    /// `None` until the plan is resolved.
    pub port: Option<u16>,
    /// Where it is.
    pub source: OpenapiSource,
    /// The Host header, where it is not the address.
    pub host: Option<String>,
    /// Further headers of every request.
    pub headers: Vec<(String, Secret)>,
}

/// Where a description is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenapiSource {
    /// The application has it at this path.
    Path(String),
    /// It was a file of the host.
    File {
        /// Its name.
        name: String,
        /// What was in it.
        content: String,
    },
}

/// As it was given.
impl fmt::Display for OpenapiSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenapiSource::Path(path) => f.write_str(path),
            OpenapiSource::File { name, .. } => f.write_str(name),
        }
    }
}

impl OpenapiStep {
    /// What the description in `source` describes.
    pub fn new(source: OpenapiSource) -> Self {
        OpenapiStep { port: None, source, host: None, headers: Vec::new() }
    }

    /// What the file at `path` of the host describes; it is read and checked. `text` is its name for messages.
    pub(super) fn from_file(path: &Path, text: &str) -> Result<Self, ProbeError> {
        let content = fs::read(path);
        let content =
            content.map_err(|cause| ProbeError::Read { what: "the OpenAPI document", path: path.into(), cause })?;
        let wrong = |message| ProbeError::Spec { file: text.into(), line: None, message, hint: None };
        describe(&read(&content).map_err(wrong)?).map_err(wrong)?;
        let content = String::from_utf8_lossy(&content).into_owned();
        Ok(OpenapiStep::new(OpenapiSource::File { name: text.into(), content }))
    }

    /// The request for the document, when the application has it.
    pub(super) fn request(&self, like: &Step) -> Option<Step> {
        let OpenapiSource::Path(path) = &self.source else { return None };
        let request = HttpStep {
            port: self.port,
            host: self.host.clone(),
            headers: self.headers.clone(),
            follow_redirects: true,
            expect: HttpExpect { status: StatusSet::success(), ..HttpExpect::default() },
            ..HttpStep::new("GET", path)
        };
        Some(Step { action: Action::Http(request), repeat: 1, ..like.clone() })
    }

    /// The requests that `document` describes, each `like` the step it stands for, and what to say of those that there are
    /// too many of. The error says what is wrong with it.
    pub(super) fn operations(&self, document: &[u8], like: &Step) -> Result<(Vec<Step>, Option<String>), String> {
        let document = read(document)?;
        let (described, left_out) = describe(&document)?;
        let note = (left_out > 0).then(|| {
            format!(
                "openapi {}: {left_out} of its {} operations are not asked for, because no more than {MOST} are: the last ones \
                 in the order of GET, POST, PUT, PATCH and DELETE; give them in a document of their own, and to another run",
                self.source,
                described.len() + left_out
            )
        });
        let step = |operation: HttpStep| {
            let mut headers = self.headers.clone();
            headers.extend(operation.headers);
            let request = HttpStep { port: self.port, host: self.host.clone(), headers, ..operation };
            Step { action: Action::Http(request), ..like.clone() }
        };
        Ok((described.into_iter().map(step).collect(), note))
    }
}

/// Reads JSON or YAML.
fn read(bytes: &[u8]) -> Result<Document, String> {
    if bytes.len() > LARGEST {
        return Err(format!("it is larger than {} MiB", LARGEST >> 20));
    }
    let value = match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => value,
        Err(json) => {
            let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
            // What is neither was meant as JSON if it looks so.
            let message = |yaml: serde_saphyr::Error| match text.trim_start().starts_with(['{', '[']) {
                true => format!("it is no JSON: {json}"),
                false => {
                    let yaml = yaml.to_string();
                    format!("it is neither JSON nor YAML: {}", yaml.lines().next().unwrap_or_default())
                }
            };
            // In YAML 1.2, which OpenAPI asks for, `no` and `n` are texts.
            let options = serde_saphyr::options! { strict_booleans: true };
            serde_saphyr::from_str_with_options::<Value>(text, options).map_err(message)?
        }
    };
    match value.get("openapi").map(text_of) {
        Some(version) if version.starts_with("3.") => Ok(Document(value)),
        Some(version) => Err(format!("it is of OpenAPI {version}, and 3.0 and 3.1 are known")),
        None if value.get("swagger").is_some() => Err("it is of Swagger 2, and OpenAPI 3.0 and 3.1 are known".into()),
        None => Err("it is no OpenAPI document: it has no \"openapi\"".into()),
    }
}

/// The requests, and how many more there would be.
fn describe(document: &Document) -> Result<(Vec<HttpStep>, usize), String> {
    let Some(paths) = document.0.get("paths").and_then(Value::as_object) else {
        return Err("it describes no paths".into());
    };
    let mut described: Vec<(usize, &str, &str, &Value, &Value)> = Vec::new();
    for (template, item) in paths {
        let item = document.resolve(item);
        for (order, method) in METHODS.iter().enumerate() {
            let Some(operation) = item.get(*method).filter(|operation| operation.is_object()) else { continue };
            // GET, HEAD and OPTIONS of all paths come in the order of the document.
            described.push((order.saturating_sub(2), template, method, item, operation));
        }
    }
    if described.is_empty() {
        return Err("it describes no operations".into());
    }
    described.sort_by_key(|(order, ..)| *order);
    let left_out = described.len().saturating_sub(MOST);
    described.truncate(MOST);
    let mut bytes = 0;
    let mut out = Vec::new();
    for (_, template, method, item, operation) in described {
        let step = request(document, template, method, item, operation)?;
        bytes += step.body.as_ref().map_or(0, |body| body.0.len());
        bytes += step.headers.iter().map(|(_, value)| value.0.len()).sum::<usize>();
        if bytes > MOST_BYTES {
            return Err(format!("its requests have more than {} MiB", MOST_BYTES >> 20));
        }
        out.push(step);
    }
    Ok((out, left_out))
}

fn request(
    document: &Document,
    template: &str,
    method: &str,
    item: &Value,
    operation: &Value,
) -> Result<HttpStep, String> {
    let mut path = filled(template, "", "1")?;
    let mut query = Url::parse("http://x/").map_err(|e| e.to_string())?;
    let mut headers: Vec<(String, Secret)> = Vec::new();
    let mut cookies: Vec<String> = Vec::new();
    for parameter in parameters(document, item, operation) {
        let text = |key: &str| parameter.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, place) = (text("name"), text("in"));
        let required = parameter.get("required") == Some(&Value::Bool(true));
        let given = ["example", "examples"].iter().any(|key| parameter.get(*key).is_some());
        if place != "path" && !required && !given {
            continue;
        }
        let value = document.parameter_value(parameter);
        if text_of(&value).len() > LONGEST {
            return Err(format!("{template:?}: the value of {name:?} has more than {LONGEST} bytes"));
        }
        let explode = parameter.get("explode").and_then(Value::as_bool);
        match place {
            "path" => path = filled(&path, name, &segment(&value))?,
            "query" if explode != Some(false) && value.is_array() => {
                for item in value.as_array().into_iter().flatten() {
                    query.query_pairs_mut().append_pair(name, &text_of(item));
                }
            }
            "query" if explode != Some(false) && value.is_object() => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    query.query_pairs_mut().append_pair(name, &text_of(value));
                }
            }
            "query" => {
                query.query_pairs_mut().append_pair(name, &text_of(&value));
            }
            // What these say is said elsewhere (OpenAPI 3.1, 4.8.12.1).
            "header" if ["accept", "content-type", "authorization"].contains(&name.to_ascii_lowercase().as_str()) => {}
            "header" => {
                if let Ok(header) = crate::probe::document::parse_header(name, &text_of(&value)) {
                    headers.push(header);
                }
            }
            "cookie" => cookies.push(format!("{name}={}", segment(&value))),
            _ => {}
        }
    }
    if !cookies.is_empty() {
        headers.push(("Cookie".into(), Secret(cookies.join("; ").into_bytes())));
    }
    // A parameter that is not described still has to be something.
    while let Some((before, rest)) = path.split_once('{') {
        let after = rest.split_once('}').map_or("", |(_, after)| after);
        path = format!("{before}1{after}");
    }
    let body = body(document, operation);
    if let Some((kind, _)) = &body {
        headers.push(("Content-Type".into(), Secret(kind.clone().into_bytes())));
    }
    let path = format!("{}{path}", prefix(document, item, operation)?);
    let url = Url::parse("http://x/").and_then(|url| url.join(&path)).map_err(|e| format!("{template}: {e}"))?;
    if url.host_str() != Some("x") || url.path().starts_with("//") {
        return Err(format!("{template:?} is no path of a request"));
    }
    let path = match query.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut made: Vec<String> = headers.iter().map(|(name, _)| name.clone()).collect();
    made.push("body".into());
    Ok(HttpStep {
        headers,
        made,
        body: body.map(|(_, body)| Secret(body)),
        expect: HttpExpect::default(),
        ..HttpStep::new(&method.to_ascii_uppercase(), &path)
    })
}

/// The parameters of an operation: its own in the place of those of its path.
fn parameters<'a>(document: &'a Document, item: &'a Value, operation: &'a Value) -> Vec<&'a Value> {
    let list =
        |of: &'a Value| of.get("parameters").and_then(Value::as_array).into_iter().flatten().take(MOST_PARAMETERS);
    let mut out: Vec<&Value> = Vec::new();
    for parameter in list(item).chain(list(operation)).map(|parameter| document.resolve(parameter)) {
        let same = |other: &&Value| ["name", "in"].iter().all(|key| other.get(*key) == parameter.get(*key));
        match out.iter().position(same) {
            Some(at) => out[at] = parameter,
            None => out.push(parameter),
        }
    }
    out
}

/// A value as one segment of a path, or the value of a cookie: nothing in it separates anything.
fn segment(value: &Value) -> String {
    let text = text_of(value);
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    match out.as_str() {
        "" => "1".into(),
        "." | ".." => out.replace('.', "%2E"),
        _ => out,
    }
}

/// The template with `value` in the place of `{name}`.
fn filled(template: &str, name: &str, value: &str) -> Result<String, String> {
    let place = format!("{{{name}}}");
    if template.len() + template.matches(&place).count() * value.len() > LONGEST {
        let beginning: String = template.chars().take(40).collect();
        return Err(format!("the path that begins with {beginning:?} has more than {LONGEST} bytes"));
    }
    Ok(template.replace(&place, value))
}

/// The path of the first server: of the operation, of the path, of the document.
fn prefix(document: &Document, item: &Value, operation: &Value) -> Result<String, String> {
    let servers = [operation, item, &document.0].into_iter().find_map(|of| of.get("servers")?.as_array()?.first());
    let Some(server) = servers else { return Ok(String::new()) };
    let mut url = server.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        url = filled(&url, name, &variable.get("default").map(text_of).unwrap_or_default())?;
    }
    let path = Url::parse("http://x/").and_then(|base| base.join(&url)).map(|url| url.path().to_owned());
    Ok(path.unwrap_or_default().trim_end_matches('/').to_owned())
}

/// The type and the content of the body; `None` when the operation takes none.
fn body(document: &Document, operation: &Value) -> Option<(String, Vec<u8>)> {
    let body = document.resolve(operation.get("requestBody")?);
    let content = body.get("content")?.as_object()?;
    let is = |kind: &str, wanted: &str| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted);
    let find = |wanted: &dyn Fn(&str) -> bool| content.iter().find(|(kind, _)| wanted(kind));
    let (kind, media) = find(&|kind| is(kind, "application/json"))
        .or_else(|| find(&|kind| kind.contains("+json") || is(kind, "*/*") || is(kind, "application/*")))
        .or_else(|| find(&|kind| is(kind, "application/x-www-form-urlencoded")))
        .or_else(|| find(&|kind| is(kind, "multipart/form-data")))
        .or_else(|| content.iter().next())?;
    let value = document.media_value(media);
    let none = Map::new();
    let fields = value.as_object().unwrap_or(&none);
    if is(kind, "application/x-www-form-urlencoded") {
        let mut form = Url::parse("http://x/").ok()?;
        form.query_pairs_mut().extend_pairs(fields.iter().map(|(name, value)| (name, text_of(value))));
        return Some((kind.clone(), form.query().unwrap_or_default().into()));
    }
    if is(kind, "multipart/form-data") {
        const BOUNDARY: &str = "scrimp-7d3a1f5c9b";
        let mut out = String::new();
        for (name, value) in fields {
            let name = name.replace(['"', '\r', '\n'], "_");
            let file = document.is_file(media, &name);
            let file = if file { "; filename=\"scrimp.txt\"\r\nContent-Type: text/plain" } else { "" };
            let text = text_of(value);
            out += &format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n");
        }
        out += &format!("--{BOUNDARY}--\r\n");
        return Some((format!("multipart/form-data; boundary={BOUNDARY}"), out.into_bytes()));
    }
    if kind.contains("json") || kind.contains('*') {
        let kind = if kind.contains('*') { "application/json" } else { kind };
        return Some((kind.into(), value.to_string().into_bytes()));
    }
    Some((kind.clone(), text_of(&value).into_bytes()))
}

#[cfg(test)]
mod tests;
