//! Paths into JSON, a part of JSONPath (RFC 9535): `$`, `.name`, `['any name']`, `[3]`, `[*]`, `.*` and `..name`.

use std::str::FromStr;

use serde_json::Value;

/// Which members and elements of a JSON text are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
    All,
    /// Members of this name (all, when `None`) at any depth.
    Anywhere(Option<String>),
}

impl FromStr for JsonPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |what: &str| {
            format!("{text:?} is no path into JSON: {what}; write it as $.a.b, $.list[0].c, $.list[*].c or $..name")
        };
        let mut rest = text.strip_prefix('$').ok_or_else(|| bad("it does not begin with $"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = if let Some(after) = rest.strip_prefix("..") {
                let (name, after) = name(after).ok_or_else(|| bad("a name is missing after .."))?;
                (Step::Anywhere((name != "*").then_some(name)), after)
            } else if let Some(after) = rest.strip_prefix('.') {
                let (name, after) = name(after).ok_or_else(|| bad("a name is missing after a dot"))?;
                (if name == "*" { Step::All } else { Step::Member(name) }, after)
            } else if let Some(after) = rest.strip_prefix('[') {
                bracket(after).ok_or_else(|| bad("in brackets stand a number, * or a name in quotes"))?
            } else {
                return Err(bad(&format!("{rest:?} is not expected")));
            };
            steps.push(step);
            rest = after;
        }
        if steps.is_empty() {
            return Err(bad("it names the whole text, for which there is \"body\""));
        }
        Ok(JsonPath(steps))
    }
}

/// A name up to the next dot or bracket, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty()).then(|| (name.to_owned(), rest))
}

/// What stands in brackets, after the opening one.
fn bracket(text: &str) -> Option<(Step, &str)> {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let (mut name, mut chars) = (String::new(), text[1..].char_indices());
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.push(chars.next()?.1),
                c if c == quote => return Some((Step::Member(name), text[at + 2..].strip_prefix(']')?)),
                c => name.push(c),
            }
        }
        return None;
    }
    let (inside, rest) = text.split_once(']')?;
    match inside {
        "*" => Some((Step::All, rest)),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some((Step::Element(digits.parse().ok()?), rest)),
        _ => None,
    }
}

impl JsonPath {
    /// Takes out of `value` what is meant. An element leaves null in its place, so that the others keep their numbers.
    pub fn remove_from(&self, value: &mut Value) {
        remove(&self.0, value);
    }
}

/// As deep as the value, which serde_json keeps below 128 levels.
fn remove(steps: &[Step], value: &mut Value) {
    let Some((step, rest)) = steps.split_first() else { return };
    let last = rest.is_empty();
    match (step, value) {
        (Step::Member(name), Value::Object(members)) if last => {
            members.shift_remove(name);
        }
        (Step::Member(name), Value::Object(members)) => {
            if let Some(member) = members.get_mut(name) {
                remove(rest, member);
            }
        }
        (Step::Element(index), Value::Array(items)) => match items.get_mut(*index) {
            Some(item) if last => *item = Value::Null,
            Some(item) => remove(rest, item),
            None => {}
        },
        (Step::All, Value::Array(items)) if last => items.clear(),
        (Step::All, Value::Array(items)) => items.iter_mut().for_each(|item| remove(rest, item)),
        (Step::All, Value::Object(members)) if last => members.clear(),
        (Step::All, Value::Object(members)) => members.values_mut().for_each(|member| remove(rest, member)),
        (Step::Anywhere(name), value) => {
            let here = match name {
                Some(name) => Step::Member(name.clone()),
                None => Step::All,
            };
            match value {
                Value::Array(items) => items.iter_mut().for_each(|item| remove(steps, item)),
                Value::Object(members) => members.values_mut().for_each(|member| remove(steps, member)),
                _ => return,
            }
            let here: Vec<Step> = std::iter::once(here).chain(rest.iter().cloned()).collect();
            remove(&here, value);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_names_is_taken_out() {
        let text = r#"{"a":1,"b":{"a":2,"c":[{"a":3,"d":4},{"a":5}]},"x y":6,"e'f":7}"#;
        for (path, left) in [
            ("$.a", r#"{"b":{"a":2,"c":[{"a":3,"d":4},{"a":5}]},"x y":6,"e'f":7}"#),
            ("$.b.c[0].a", r#"{"a":1,"b":{"a":2,"c":[{"d":4},{"a":5}]},"x y":6,"e'f":7}"#),
            ("$.b.c[*].a", r#"{"a":1,"b":{"a":2,"c":[{"d":4},{}]},"x y":6,"e'f":7}"#),
            ("$.b.c[1]", r#"{"a":1,"b":{"a":2,"c":[{"a":3,"d":4},null]},"x y":6,"e'f":7}"#),
            ("$.b.c[*]", r#"{"a":1,"b":{"a":2,"c":[]},"x y":6,"e'f":7}"#),
            ("$..a", r#"{"b":{"c":[{"d":4},{}]},"x y":6,"e'f":7}"#),
            ("$.b..a", r#"{"a":1,"b":{"c":[{"d":4},{}]},"x y":6,"e'f":7}"#),
            ("$..c[0]", r#"{"a":1,"b":{"a":2,"c":[null,{"a":5}]},"x y":6,"e'f":7}"#),
            ("$['x y']", r#"{"a":1,"b":{"a":2,"c":[{"a":3,"d":4},{"a":5}]},"e'f":7}"#),
            (r"$['e\'f']", r#"{"a":1,"b":{"a":2,"c":[{"a":3,"d":4},{"a":5}]},"x y":6}"#),
            ("$.*.a", r#"{"a":1,"b":{"c":[{"a":3,"d":4},{"a":5}]},"x y":6,"e'f":7}"#),
            ("$.*", "{}"),
            ("$.none[3].x", text),
        ] {
            let mut value = serde_json::from_str(text).unwrap();
            path.parse::<JsonPath>().unwrap().remove_from(&mut value);
            assert_eq!(value.to_string(), left, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_told() {
        for (path, what) in [
            ("a.b", "it does not begin with $"),
            ("$", "it names the whole text"),
            ("$.", "a name is missing after a dot"),
            ("$..", "a name is missing after .."),
            ("$.a[", "in brackets stand"),
            ("$.a[1:2]", "in brackets stand"),
            ("$['a]", "in brackets stand"),
            ("$.a[?@.b]", "in brackets stand"),
            ("$a", "\"a\" is not expected"),
        ] {
            let error = path.parse::<JsonPath>().unwrap_err();
            assert!(error.starts_with(&format!("{path:?} is no path into JSON: {what}")), "{error}");
        }
    }
}
