//! Where two contents differ: member by member in JSON, else at the first byte that is not the same.

use serde_json::Value;

use crate::base::counted;
use crate::observation::Content;

/// With more differences than this, the text as a whole differs.
const MOST: usize = 64;

/// How much of a text is shown, in characters.
const EXCERPT: usize = 100;

/// A place in which two JSON texts differ: its path, and what stands there in both.
pub(super) type Place = (String, String, String);

/// The places in which two JSON texts differ; `None` when they are not both JSON, or differ all over.
pub(super) fn members(base: &Content, slim: &Content) -> Option<Vec<Place>> {
    let (Content::Json(base), Content::Json(slim)) = (base, slim) else { return None };
    let mut places = Vec::new();
    compare("$".into(), base, slim, &mut places);
    (places.len() <= MOST).then_some(places)
}

/// As deep as the values, which serde_json keeps below 128 levels.
fn compare(path: String, base: &Value, slim: &Value, places: &mut Vec<Place>) {
    if places.len() > MOST || base == slim {
        return;
    }
    match (base, slim) {
        (Value::Array(base), Value::Array(slim)) if base.len() == slim.len() => {
            for (index, (base, slim)) in base.iter().zip(slim).enumerate() {
                compare(format!("{path}[{index}]"), base, slim, places);
            }
        }
        (Value::Array(base), Value::Array(slim)) => {
            let length = |items: &[Value]| counted(items.len(), "element", "elements");
            places.push((path, length(base), length(slim)));
        }
        (Value::Object(base), Value::Object(slim)) => {
            let only = |these: &serde_json::Map<String, Value>, those: &serde_json::Map<String, Value>| {
                let names: Vec<&str> = these.keys().filter(|k| !those.contains_key(*k)).map(String::as_str).collect();
                if names.is_empty() {
                    "no other members".into()
                } else {
                    format!("also {}", excerpt(&names.join(", ")))
                }
            };
            if !base.keys().all(|k| slim.contains_key(k)) || base.len() != slim.len() {
                // The object as a whole: names that are made at run time are other ones each time.
                places.push((path.clone(), only(base, slim), only(slim, base)));
            }
            for (name, base) in base {
                if let Some(slim) = slim.get(name) {
                    compare(member(&path, name), base, slim, places);
                }
            }
        }
        (base, slim) => places.push((path, excerpt(&base.to_string()), excerpt(&slim.to_string()))),
    }
}

/// The path of a member, as `ignore` takes it.
pub(super) fn member(path: &str, name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '$');
    if !name.is_empty() && name.chars().all(plain) {
        return format!("{path}.{name}");
    }
    format!("{path}['{}']", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What stands where two texts begin to differ, in both.
pub(super) fn first_difference(base: &str, slim: &str) -> Option<(String, String)> {
    let at = base.bytes().zip(slim.bytes()).position(|(a, b)| a != b).unwrap_or(base.len().min(slim.len()));
    if at == base.len() && at == slim.len() {
        return None;
    }
    let line = base.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count() + 1;
    let begin = base.as_bytes()[..at].iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
    let mut begin = begin.max(at.saturating_sub(EXCERPT / 2));
    while !base.is_char_boundary(begin) || !slim.is_char_boundary(begin) {
        begin -= 1;
    }
    let show = |text: &str| match text[begin..].lines().next() {
        None => "ends before it".into(),
        Some(rest) => excerpt(&format!("{rest:?}")),
    };
    Some((format!("line {line}: {}", show(base)), format!("line {line}: {}", show(slim))))
}

/// The beginning of a text.
pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(base: &str, slim: &str) -> Option<Vec<String>> {
        let json = |text: &str| Content::Json(serde_json::from_str(text).unwrap());
        let places = members(&json(base), &json(slim))?;
        Some(places.into_iter().map(|(path, base, slim)| format!("{path}: {base} | {slim}")).collect())
    }

    #[test]
    fn json_is_compared_member_by_member() {
        for (base, slim, expected) in [
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, &[][..]),
            (
                r#"{"a":1,"b":{"c":[1,"x"]}}"#,
                r#"{"a":2,"b":{"c":[1,"y"]}}"#,
                &["$.a: 1 | 2", "$.b.c[1]: \"x\" | \"y\""],
            ),
            (r#"{"a":[1]}"#, r#"{"a":[1,2]}"#, &["$.a: 1 element | 2 elements"]),
            (r#"{"a":1,"x y":{}}"#, r#"{"a":2,"x y":0}"#, &["$.a: 1 | 2", "$['x y']: {} | 0"]),
            (r#"{"a":1,"b":2}"#, r#"{"a":3}"#, &["$: also b | no other members", "$.a: 1 | 3"]),
            ("[1]", r#"{"a":3}"#, &["$: [1] | {\"a\":3}"]),
        ] {
            assert_eq!(places(base, slim).unwrap(), expected, "{base} {slim}");
        }
        let many = |from: usize| format!("{:?}", (from..from + MOST + 1).collect::<Vec<_>>());
        assert_eq!(places(&many(0), &many(1)), None);
    }

    #[test]
    fn texts_are_shown_where_they_begin_to_differ() {
        let long = "x".repeat(300);
        for (base, slim, expected) in [
            ("same", "same", None),
            ("one\ntwo\n", "one\ntoo\n", Some(("line 2: \"two\"".into(), "line 2: \"too\"".into()))),
            ("one\n", "one\ntwo", Some(("line 2: ends before it".into(), "line 2: \"two\"".into()))),
            ("", "one", Some(("line 1: ends before it".into(), "line 1: \"one\"".into()))),
            ("caf\u{e9}", "caf\u{e8}", Some(("line 1: \"caf\u{e9}\"".into(), "line 1: \"caf\u{e8}\"".into()))),
            (
                &format!("{long}a"),
                &format!("{long}b"),
                Some((format!("line 1: \"{}a\"", &long[..50]), format!("line 1: \"{}b\"", &long[..50]))),
            ),
        ] {
            assert_eq!(first_difference(base, slim), expected, "{base:?} {slim:?}");
        }
    }
}
