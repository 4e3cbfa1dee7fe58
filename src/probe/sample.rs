//! Values that fit a schema of an OpenAPI document: what it gives as an example, a default, a constant or the first of
//! an enumeration; else the least that its type and its bounds allow.
//!
//! The same schema gives the same value each time. References that lead back to themselves end.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::probe::escapes::percent_decoded;

/// How deep a value may be. What would lie deeper is left out.
const DEEPEST: u32 = 12;

/// How many references are followed, one to the next, before the last is taken for nothing.
const MOST_REFERENCES: usize = 32;

/// How many elements, or characters, a lower bound may ask for.
const LONGEST: u64 = 1000;

/// How much one value may be made from, at most: a small document can describe a huge value. A schema counts as
/// [`SCHEMA`], what is copied as its weight.
const MOST: usize = 2000 * SCHEMA;
const SCHEMA: usize = 100;

/// A document whose references can be followed.
pub(super) struct Document(pub(super) Value);

impl Document {
    /// What `value` stands for when it is a reference within the document, else itself. A reference that leads
    /// nowhere, or outside, stays as it is.
    pub(super) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let mut value = value;
        for _ in 0..MOST_REFERENCES {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return value };
            let Some(target) =
                reference.strip_prefix('#').and_then(|pointer| self.0.pointer(&percent_decoded(pointer)))
            else {
                return value;
            };
            value = target;
        }
        &Value::Null
    }

    /// The value of a parameter.
    pub(super) fn parameter_value(&self, parameter: &Value) -> Value {
        let media = parameter.get("content").and_then(Value::as_object).and_then(|content| content.values().next());
        match media {
            Some(media) => Value::String(self.media_value(media).to_string()),
            None => self.media_value(parameter),
        }
    }

    /// The value of what has a `schema`, and may have an `example` or `examples`.
    pub(super) fn media_value(&self, media: &Value) -> Value {
        if let Some(example) = media.get("example") {
            return example.clone();
        }
        let examples = media.get("examples").and_then(Value::as_object);
        if let Some(value) = examples.and_then(|e| self.resolve(e.values().next()?).get("value")) {
            return value.clone();
        }
        let schema = media.get("schema").unwrap_or(&Value::Null);
        Sampling { document: self, left: MOST }.value(schema, 0).unwrap_or(Value::Null)
    }

    /// Whether a field of a form is a file.
    pub(super) fn is_file(&self, media: &Value, field: &str) -> bool {
        let schema = self.resolve(media.get("schema").unwrap_or(&Value::Null));
        let field = schema.get("properties").and_then(|properties| properties.get(field));
        let field = self.resolve(field.unwrap_or(&Value::Null));
        field.get("format") == Some(&json!("binary")) || field.get("contentMediaType").is_some()
    }
}

/// A text for a path, a query or a form.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

struct Sampling<'a> {
    document: &'a Document,
    left: usize,
}

impl Sampling<'_> {
    /// A value for `schema`; `None` when it leads too deep or too far.
    fn value(&mut self, schema: &Value, depth: u32) -> Option<Value> {
        self.left = self.left.checked_sub(SCHEMA).filter(|_| depth < DEEPEST)?;
        let document = self.document;
        let schema = document.resolve(schema);
        let given = ["example", "default", "const"].iter().find_map(|key| schema.get(*key));
        let listed = ["examples", "enum"].iter().find_map(|key| schema.get(*key)?.as_array()?.first());
        if let Some(value) = given.or(listed) {
            return self.copies(value, 1).map(|()| value.clone());
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            let own = if schema.get("properties").is_some() { self.object(schema, depth)? } else { Map::new() };
            return self.all_of(parts, own, depth);
        }
        let choices = ["oneOf", "anyOf"].iter().find_map(|key| schema.get(*key)?.as_array());
        if let Some(choices) = choices.filter(|_| schema.get("properties").is_none()) {
            let is_null = |choice: &&Value| document.resolve(choice).get("type") == Some(&json!("null"));
            let mut choices: Vec<&Value> = choices.iter().collect();
            choices.sort_by_key(|choice| is_null(choice));
            return choices.into_iter().find_map(|choice| self.value(choice, depth + 1));
        }
        match kind(schema) {
            "object" => self.object(schema, depth).map(Value::Object),
            "array" => {
                let least = bound(schema, "minItems").unwrap_or(1).clamp(1, LONGEST).min(at_most(schema, "maxItems"));
                let items = schema.get("items").unwrap_or(&Value::Null);
                let Some(item) = self.value(items, depth + 1) else { return Some(json!([])) };
                self.copies(&item, least as usize)?;
                Some(Value::Array(vec![item; least as usize]))
            }
            "integer" => Some(integer(schema)),
            "number" => Some(number(schema)),
            "boolean" => Some(json!(true)),
            "null" => Some(Value::Null),
            _ => Some(Value::String(string(schema))),
        }
    }

    /// An object with what is required, or, where nothing is, with all that is described.
    fn object(&mut self, schema: &Value, depth: u32) -> Option<Map<String, Value>> {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let required: Vec<&str> = names(schema.get("required"));
        let all: BTreeSet<&str> = required.iter().copied().collect();
        let is_required = |name: &str| all.contains(name);
        let mut out = Map::new();
        for (name, property) in properties {
            let given = ["example", "default", "const"].iter().any(|key| property.get(*key).is_some());
            let read_only = self.document.resolve(property).get("readOnly") == Some(&json!(true));
            if read_only || !all.is_empty() && !is_required(name) && !given {
                continue;
            }
            match self.value(property, depth + 1) {
                Some(value) => {
                    out.insert(name.clone(), value);
                }
                // It leads back to itself: without this member the object may do, or it cannot exist.
                None if is_required(name) => return None,
                None => {}
            }
        }
        for name in required.into_iter().filter(|name| !properties.contains_key(*name)) {
            out.entry(name).or_insert_with(|| json!("scrimp"));
        }
        Some(out)
    }

    /// Accounts for copies of `value`; `None` when they would be too much, and then nothing more is made.
    fn copies(&mut self, value: &Value, count: usize) -> Option<()> {
        let most = self.left / count.max(1);
        let left = weight(value, most).and_then(|weight| self.left.checked_sub(weight * count));
        self.left = left.unwrap_or(0);
        left.map(|_| ())
    }

    fn all_of(&mut self, parts: &[Value], own: Map<String, Value>, depth: u32) -> Option<Value> {
        let mut out = own;
        for part in parts {
            match self.value(part, depth + 1)? {
                Value::Object(members) => out.extend(members),
                other if parts.len() == 1 => return Some(other),
                _ => {}
            }
        }
        Some(Value::Object(out))
    }
}

/// How much memory `value` takes, by a rough count of bytes; `None` when that is more than `most`.
fn weight(value: &Value, most: usize) -> Option<usize> {
    const NODE: usize = 16;
    let mut left = most.checked_sub(NODE)?;
    let mut take = |bytes: usize| -> Option<()> {
        left = left.checked_sub(bytes)?;
        Some(())
    };
    match value {
        Value::String(text) => take(text.len())?,
        Value::Array(items) => {
            for item in items {
                take(weight(item, most)?)?;
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                take(name.len())?;
                take(weight(member, most)?)?;
            }
        }
        _ => {}
    }
    Some(most - left)
}

/// The texts in a list.
fn names(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The type of a schema; of several the first that is not null; without any, what its other words are about.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() || schema.get("additionalProperties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "string",
    }
}

fn bound(schema: &Value, key: &str) -> Option<u64> {
    schema.get(key).and_then(Value::as_u64)
}

fn at_most(schema: &Value, key: &str) -> u64 {
    bound(schema, key).unwrap_or(u64::MAX)
}

/// The number nearest to 1 that the bounds allow. `exclusiveMinimum` is a truth in 3.0 and a number in 3.1.
fn integer(schema: &Value) -> Value {
    let exclusive = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    let mut low = schema.get("minimum").and_then(Value::as_f64).map(f64::ceil);
    if let Some(low) = low.as_mut().filter(|_| exclusive("exclusiveMinimum")) {
        *low += 1.0;
    }
    let low = low.or(schema.get("exclusiveMinimum").and_then(Value::as_f64).map(|low| low.floor() + 1.0));
    let mut high = schema.get("maximum").and_then(Value::as_f64).map(f64::floor);
    if let Some(high) = high.as_mut().filter(|_| exclusive("exclusiveMaximum")) {
        *high -= 1.0;
    }
    let high = high.or(schema.get("exclusiveMaximum").and_then(Value::as_f64).map(|high| high.ceil() - 1.0));
    let mut value = 1f64.max(low.unwrap_or(f64::MIN)).min(high.unwrap_or(f64::MAX));
    if let Some(step) = schema.get("multipleOf").and_then(Value::as_f64).filter(|step| *step >= 1.0) {
        value = (value / step).ceil() * step;
    }
    json!(value as i64)
}

fn number(schema: &Value) -> Value {
    let bounded =
        ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"].iter().any(|k| schema.get(*k).is_some());
    if !bounded {
        return json!(1.5);
    }
    let middle = |key: &str| schema.get(key).and_then(Value::as_f64);
    let low = middle("minimum").or(middle("exclusiveMinimum"));
    let high = middle("maximum").or(middle("exclusiveMaximum"));
    json!(match (low, high) {
        (Some(low), Some(high)) => low + (high - low) / 2.0,
        (Some(low), None) => low + 1.0,
        (None, Some(high)) => high - 1.0,
        (None, None) => 1.5,
    })
}

/// A text of the format, or one as long as it has to be.
fn string(schema: &Value) -> String {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let known = match format {
        "date" => "2020-01-01",
        "date-time" => "2020-01-01T00:00:00Z",
        "time" => "00:00:00Z",
        "duration" => "PT1S",
        "email" | "idn-email" => "scrimp@example.org",
        "uuid" => "00000000-0000-4000-8000-000000000001",
        "uri" | "url" | "iri" => "http://example.org/",
        "uri-reference" => "/",
        "hostname" | "idn-hostname" => "example.org",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "byte" => "c2NyaW1w",
        _ => "",
    };
    if !known.is_empty() {
        return known.into();
    }
    let least = bound(schema, "minLength").unwrap_or(0).min(LONGEST) as usize;
    let most = at_most(schema, "maxLength").max(least as u64).min(LONGEST) as usize;
    let mut text = "scrimp".to_owned();
    while text.len() < least {
        text.push('x');
    }
    text.truncate(most);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(schema: Value, components: Value) -> Value {
        let document = Document(json!({"components": {"schemas": components}}));
        document.media_value(&json!({"schema": schema}))
    }

    #[test]
    fn values_fit_their_schema() {
        for (schema, expected) in [
            (json!({"type": "integer"}), json!(1)),
            (json!({"type": "integer", "minimum": 5, "exclusiveMinimum": true}), json!(6)),
            (json!({"type": "integer", "exclusiveMinimum": 5}), json!(6)),
            (json!({"type": "integer", "maximum": -3}), json!(-3)),
            (json!({"type": "integer", "minimum": 5, "multipleOf": 4}), json!(8)),
            (json!({"type": "number", "minimum": 0, "maximum": 1}), json!(0.5)),
            (json!({"type": ["null", "boolean"]}), json!(true)),
            (json!({"type": "string", "minLength": 8}), json!("scrimpxx")),
            (json!({"type": "string", "maxLength": 3}), json!("scr")),
            (json!({"type": "string", "format": "date"}), json!("2020-01-01")),
            (json!({"enum": ["b", "a"]}), json!("b")),
            (json!({"type": "array", "items": {"type": "integer"}, "minItems": 2}), json!([1, 1])),
            (json!({"oneOf": [{"type": "null"}, {"const": 4}]}), json!(4)),
            (
                json!({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}),
                json!({"a": 1, "b": 2}),
            ),
            (json!({"properties": {"a": {"const": 1}, "id": {"readOnly": true}}}), json!({"a": 1})),
            (json!({"required": ["x"]}), json!("scrimp")),
            (json!({"type": "object", "required": ["x"]}), json!({"x": "scrimp"})),
            (Value::Null, json!("scrimp")),
        ] {
            assert_eq!(sample(schema.clone(), json!({})), expected, "{schema}");
        }
    }

    #[test]
    fn references_are_followed_and_end() {
        let node = json!({"type": "object", "required": ["id"], "properties": {
            "id": {"$ref": "#/components/schemas/a%20~1b"}, "next": {"$ref": "#/components/schemas/Node"}}});
        let schemas = json!({
            "Node": node,
            "a /b": {"const": 3},
            "Loop": {"$ref": "#/components/schemas/Loop"},
            "Must": {"type": "object", "required": ["m"], "properties": {"m": {"$ref": "#/components/schemas/Must"}}},
            "Wide": {"properties": (0..30).map(|n| (format!("p{n}"), json!({"$ref": "#/components/schemas/Wide"}))).collect::<Map<_, _>>()},
        });
        let of = |name: &str| sample(json!({"$ref": format!("#/components/schemas/{name}")}), schemas.clone());
        assert_eq!(of("Node"), json!({"id": 3}));
        assert_eq!(of("Loop"), json!("scrimp"));
        assert_eq!(of("Must"), Value::Null);
        assert!(of("Wide").to_string().len() < 100_000);
        // Elements of elements of elements, a thousand each time; and one text over and over.
        let nested = (0..10).fold(json!({}), |items, _| json!({"type": "array", "minItems": 1000, "items": items}));
        assert!(sample(nested, json!({})).to_string().len() < 300_000);
        let many: Map<_, _> =
            (0..1000).map(|n| (format!("p{n}"), json!({"$ref": "#/components/schemas/Long"}))).collect();
        let long = json!({"Long": {"example": "x".repeat(10_000)}});
        assert!(sample(json!({"properties": many}), long).to_string().len() < 300_000);
        assert_eq!(sample(json!({"type": "array", "maxItems": 0}), json!({})), json!([]));
        assert_eq!(sample(json!({"$ref": "http://example.org/x"}), json!({})), json!("scrimp"));
    }
}
