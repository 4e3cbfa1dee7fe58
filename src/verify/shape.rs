//! The shape that JSON values of one role have in common: their kinds, their members, and what is the same in each of
//! them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::verify::content::excerpt;

/// What sort of value it is, and whether there is anything in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    Text { is_empty: bool },
    List { is_empty: bool },
    Object { is_empty: bool },
}

impl Kind {
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Bool,
            Value::Number(_) => Kind::Number,
            Value::String(text) => Kind::Text { is_empty: text.is_empty() },
            Value::Array(items) => Kind::List { is_empty: items.is_empty() },
            Value::Object(members) => Kind::Object { is_empty: members.is_empty() },
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "true or false",
            Kind::Number => "a number",
            Kind::Text { is_empty: false } => "a text",
            Kind::Text { is_empty: true } => "an empty text",
            Kind::List { is_empty: false } => "a list",
            Kind::List { is_empty: true } => "an empty list",
            Kind::Object { is_empty: false } => "an object",
            Kind::Object { is_empty: true } => "an empty object",
        }
    }
}

/// What values of one role have in common.
#[derive(Default)]
pub(super) struct Shape<'a> {
    /// How many were looked at.
    pub(super) seen: usize,
    kinds: BTreeSet<Kind>,
    /// The one text, or truth, that all of them are.
    constant: Option<&'a Value>,
    /// How many objects had this member, and its shape.
    members: BTreeMap<&'a str, Shape<'a>>,
    objects: usize,
    elements: Option<Box<Shape<'a>>>,
}

impl<'a> Shape<'a> {
    pub(super) fn learn(&mut self, value: &'a Value) {
        let is_constant = matches!(value, Value::String(_) | Value::Bool(_))
            && if self.seen == 0 { true } else { self.constant == Some(value) };
        self.constant = is_constant.then_some(value);
        self.seen += 1;
        self.kinds.insert(Kind::of(value));
        match value {
            Value::Object(members) => {
                self.objects += 1;
                members.iter().for_each(|(name, value)| self.members.entry(name).or_default().learn(value));
            }
            Value::Array(items) => {
                items.iter().for_each(|item| self.elements.get_or_insert_default().learn(item));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// What a value lacks that has to have this shape.
    pub(super) fn misfit(&self, value: &Value) -> Option<String> {
        let kind = Kind::of(value);
        if !self.kinds.contains(&kind) {
            return Some(format!("{}, and not {}", listed(&self.kinds), kind.name()));
        }
        // One alone says nothing of the next.
        if let Some(constant) = self.constant.filter(|constant| self.seen > 1 && *constant != value) {
            return Some(format!("{}, and not {}", shown(constant), shown(value)));
        }
        match value {
            Value::Object(members) => {
                let is_always = |shape: &Shape<'_>| shape.seen == self.objects;
                let lost = self.members.iter().find(|(name, shape)| is_always(shape) && !members.contains_key(**name));
                if let Some((name, _)) = lost {
                    return Some(format!("the member {name:?} in each"));
                }
                let is_open = !self.members.values().all(is_always);
                members.iter().find_map(|(name, value)| match self.members.get(name.as_str()) {
                    Some(shape) => shape.misfit(value).map(|what| format!("{name:?}: {what}")),
                    None => (!is_open).then(|| format!("no member {name:?} in any")),
                })
            }
            Value::Array(items) => {
                let shape = self.elements.as_ref()?;
                items.iter().find_map(|item| shape.misfit(item))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }
}

pub(super) fn shown(value: &Value) -> String {
    excerpt(&value.to_string())
}

pub(super) fn listed(kinds: &BTreeSet<Kind>) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ")
}
