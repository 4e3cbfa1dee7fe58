//! What of an answer is stable: the rest, which a step names in `ignore`, is cut out of it before its digest is made.

use std::borrow::Cow;

use serde_json::Value;

use crate::probe::expect::BytesRegex;
use crate::probe::json_path::JsonPath;

/// What is cut out of a body.
#[derive(Clone, Debug, Default)]
pub(super) struct Unstable {
    json: Vec<JsonPath>,
    regexes: Vec<BytesRegex>,
}

/// Checks an item of `ignore` that stands for a part of a body, `json:PATH` or `regex:PATTERN`; `None` when it is of
/// another form.
pub(super) fn check(item: &str) -> Option<Result<(), String>> {
    if let Some(path) = item.strip_prefix("json:") {
        return Some(path.parse::<JsonPath>().map(drop));
    }
    item.strip_prefix("regex:").map(|pattern| match pattern {
        "" => Err("a regular expression is missing after regex:".into()),
        pattern => pattern.parse::<BytesRegex>().map(drop),
    })
}

impl Unstable {
    /// What the items of `ignore` name. They were [`check`]ed.
    pub(super) fn of(ignore: &[String]) -> Self {
        let after = |prefix| ignore.iter().filter_map(move |item| item.strip_prefix(prefix));
        Unstable {
            json: after("json:").filter_map(|path| path.parse().ok()).collect(),
            regexes: after("regex:").filter_map(|pattern| pattern.parse().ok()).collect(),
        }
    }

    /// Whether nothing is cut out.
    pub(super) fn is_empty(&self) -> bool {
        self.json.is_empty() && self.regexes.is_empty()
    }

    /// `body` without it: first the members of JSON, where it is JSON (which is then written anew), then what the
    /// patterns match.
    pub(super) fn cut<'a>(&self, body: &'a [u8]) -> Cow<'a, [u8]> {
        let mut out = Cow::Borrowed(body);
        if !self.json.is_empty()
            && let Ok(mut value) = serde_json::from_slice::<Value>(body)
        {
            self.json.iter().for_each(|path| path.remove_from(&mut value));
            out = Cow::Owned(value.to_string().into_bytes());
        }
        for regex in &self.regexes {
            out = Cow::Owned(regex.cut(&out));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unstable_is_cut_out() {
        let json = r#"{"time": 5, "a": [1]}"#;
        let page = "<p>a</p><i token=3f>";
        for (ignore, body, left) in [
            (&["json:$.time"][..], json, r#"{"a":[1]}"#),
            (&["json:$.none"], json, r#"{"time":5,"a":[1]}"#),
            (&["json:$.time", "regex:\\[.*\\]"], json, r#"{"a":}"#),
            (&["json:$.time"], page, page),
            (&["regex:token=[0-9a-f]+", "regex:<.?p>"], page, "a<i >"),
            (&["body", "header:date"], json, json),
        ] {
            let ignore: Vec<String> = ignore.iter().map(|i| i.to_string()).collect();
            let cut = Unstable::of(&ignore).cut(body.as_bytes()).into_owned();
            assert_eq!(String::from_utf8(cut).unwrap(), left, "{ignore:?}");
        }
    }

    #[test]
    fn parts_are_checked() {
        assert_eq!(check("json:$.a"), Some(Ok(())));
        assert_eq!(check("regex:a+"), Some(Ok(())));
        assert_eq!(check("body"), None);
        assert!(check("json:a").unwrap().unwrap_err().contains("no path into JSON"));
        assert!(check("regex:a(").unwrap().unwrap_err().contains("no regular expression"));
        assert!(check("regex:").unwrap().is_err());
    }
}
