//! What all answers of one image have in common where they are JSON, and what another answer lacks of it.
//!
//! Members and elements that are the same in all of them stand fast. Of one that is not, its kind stands fast: a number
//! does not become null, nor a text empty. Lists in another order hold the same. Of lists that are not equally long,
//! and of objects with names that are made at run time, what stands fast is the elements with text in them that all
//! have, and the shape of all others: their kinds, their members, and what is the same in each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::base::counted;
use crate::verify::content::{excerpt, member};
use crate::verify::pattern;
use crate::verify::shape::{Kind, Shape, listed, shown};

/// No more losses than these are looked for.
const MOST: usize = 64;

/// Something that all answers have, and the one that is tried has not.
#[derive(Debug)]
pub(super) struct Loss {
    /// Where, as `ignore` takes it.
    pub(super) path: String,
    /// What is wrong there.
    pub(super) what: String,
    /// Whether it is about the names of members only: what is in those that are there is another matter.
    is_of_names: bool,
}

impl Loss {
    /// Whether a difference at `path` is, or is part of, what is lost.
    pub(super) fn concerns(&self, path: &str) -> bool {
        let within = path.strip_prefix(&self.path);
        within.is_some_and(|rest| rest.is_empty() || (!self.is_of_names && rest.starts_with(['.', '['])))
    }
}

/// What `tried` lacks of what all `answers` have in common, of which there are two at least.
pub(super) fn losses(answers: &[&Value], tried: &Value) -> Vec<Loss> {
    let mut places = Places::default();
    places.learn(0, answers);
    let mut search = Search { places, way: Vec::new(), found: Vec::new() };
    search.compare(Some(0), answers, tried);
    search.found
}

/// One step down in a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step<'a> {
    Member(&'a str),
    Element(usize),
    /// Which element it is that holds the time is chance.
    AnyElement,
}

/// Where the answers differ by themselves; places are numbers, the whole is 0.
#[derive(Default)]
struct Places<'a> {
    below: BTreeMap<(usize, Step<'a>), usize>,
    /// The kinds that were seen at a place that has another value each time.
    values: BTreeMap<usize, BTreeSet<Kind>>,
    /// Lists in another order each time.
    orders: BTreeSet<usize>,
    /// Lists of other lengths each time.
    lengths: BTreeSet<usize>,
    /// Objects with other names each time.
    names: BTreeSet<usize>,
}

impl<'a> Places<'a> {
    fn enter(&mut self, place: usize, step: Step<'a>) -> usize {
        let next = self.below.len() + 1;
        *self.below.entry((place, step)).or_insert(next)
    }

    fn learn(&mut self, place: usize, answers: &[&'a Value]) {
        if answers.iter().all(|answer| *answer == answers[0]) {
            return;
        }
        if let Some(objects) = all(answers, Value::as_object) {
            let shared = shared_names(&objects);
            if objects.iter().any(|object| object.len() > shared.len()) {
                self.names.insert(place);
            }
            for name in shared {
                let below = self.enter(place, Step::Member(name));
                self.learn(below, &objects.iter().map(|object| &object[name]).collect::<Vec<_>>());
            }
        } else if let Some(lists) = all(answers, Value::as_array) {
            if lists.iter().any(|list| list.len() != lists[0].len()) {
                self.lengths.insert(place);
            } else if lists.iter().all(|list| counts(list) == counts(lists[0])) {
                self.orders.insert(place);
            } else {
                for at in 0..lists[0].len() {
                    let elements: Vec<&Value> = lists.iter().map(|list| &list[at]).collect();
                    let step =
                        if elements.iter().all(|e| is_repeated(e)) { Step::AnyElement } else { Step::Element(at) };
                    let below = self.enter(place, step);
                    self.learn(below, &elements);
                }
            }
        } else {
            self.values.entry(place).or_default().extend(answers.iter().map(|answer| Kind::of(answer)));
        }
    }

    /// The place below `place` for an element of a list that is `value`.
    fn element(&self, place: Option<usize>, at: usize, value: &Value) -> Option<usize> {
        let below = |step| self.below.get(&(place?, step)).copied();
        below(Step::Element(at)).or_else(|| is_repeated(value).then(|| below(Step::AnyElement)).flatten())
    }
}

/// Whether such an element of a list is one of many of a kind, and what holds for one may hold for the next. Of numbers
/// it is chance which one is the same again; texts are other ones.
fn is_repeated(element: &Value) -> bool {
    element.is_object() || element.is_array() || element.is_number()
}

/// Looks for losses.
struct Search<'a> {
    places: Places<'a>,
    way: Vec<Step<'a>>,
    found: Vec<Loss>,
}

impl<'a> Search<'a> {
    /// Compares what is at `place`, or at none that the answers are known to differ at.
    fn compare(&mut self, place: Option<usize>, answers: &[&'a Value], tried: &'a Value) {
        if self.found.len() >= MOST || answers.contains(&tried) {
            return;
        }
        let is_in = |places: &BTreeSet<usize>| place.is_some_and(|place| places.contains(&place));
        if let Some(kinds) = place.and_then(|place| self.places.values.get(&place)) {
            if let Some(what) = other_value(answers, kinds, tried) {
                self.lose(what);
            }
        } else if let (Some(objects), Value::Object(tried)) = (all(answers, Value::as_object), tried) {
            let is_open = is_in(&self.places.names);
            self.compare_objects(place, &objects, tried, is_open);
        } else if let (Some(lists), Value::Array(tried)) = (all(answers, Value::as_array), tried) {
            let steady = |list: &&Vec<Value>| list.len() == lists[0].len();
            if is_in(&self.places.lengths) || !lists.iter().all(steady) {
                if let Some(what) = other_list(&lists, tried) {
                    self.lose(what);
                }
            } else if is_in(&self.places.orders) && lists.iter().all(|list| counts(list) == counts(lists[0])) {
                if let Some(what) = other_members(lists[0], tried) {
                    self.lose(what);
                }
            } else if tried.len() != lists[0].len() {
                self.lose(format!("{}, and not {}", elements(lists[0].len()), tried.len()));
            } else {
                for (at, tried) in tried.iter().enumerate() {
                    let elements: Vec<&Value> = lists.iter().map(|list| &list[at]).collect();
                    let below = self.places.element(place, at, tried);
                    self.go(Step::Element(at), below, &elements, tried);
                }
            }
        } else {
            self.lose(format!("{}, and not {}", shown(answers[0]), shown(tried)));
        }
    }

    fn compare_objects(
        &mut self,
        place: Option<usize>,
        objects: &[&'a serde_json::Map<String, Value>],
        tried: &'a serde_json::Map<String, Value>,
        is_open: bool,
    ) {
        let shared: BTreeSet<&str> = shared_names(objects).into_iter().collect();
        for name in &shared {
            let values: Vec<&Value> = objects.iter().map(|object| &object[*name]).collect();
            match tried.get(*name) {
                Some(tried) => {
                    let below = place.and_then(|place| self.places.below.get(&(place, Step::Member(name))).copied());
                    self.go(Step::Member(name), below, &values, tried);
                }
                None => self.lose_names(format!("the member {name:?}")),
            }
        }
        let mut added = tried.iter().filter(|(name, _)| !shared.contains(name.as_str())).peekable();
        if !is_open {
            if let Some((name, _)) = added.next() {
                self.lose_names(format!("no member {name:?}"));
            }
            return;
        }
        if added.peek().is_none() && objects.iter().all(|object| object.len() > shared.len()) {
            self.lose_names("members besides those that are always there".into());
        }
        let mut shape = Shape::default();
        let others =
            objects.iter().flat_map(|object| object.iter()).filter(|(name, _)| !shared.contains(name.as_str()));
        others.for_each(|(_, value)| shape.learn(value));
        // An object that had none here is one of many, and the others say nothing of what is in it.
        if shape.seen > 0
            && let Some((name, what)) = added.find_map(|(name, value)| shape.misfit(value).map(|what| (name, what)))
        {
            match objects[0].contains_key(name) {
                true => {
                    self.way.push(Step::Member(name));
                    self.lose(what);
                    self.way.pop();
                }
                false => self.lose_names(what),
            }
        }
    }

    fn go(&mut self, step: Step<'a>, place: Option<usize>, answers: &[&'a Value], tried: &'a Value) {
        self.way.push(step);
        self.compare(place, answers, tried);
        self.way.pop();
    }

    fn lose(&mut self, what: String) {
        let path = self.way.iter().fold("$".to_owned(), |path, step| match step {
            Step::Member(name) => member(&path, name),
            Step::Element(at) => format!("{path}[{at}]"),
            Step::AnyElement => path,
        });
        self.found.push(Loss { path, what, is_of_names: false });
    }

    fn lose_names(&mut self, what: String) {
        self.lose(what);
        self.found.iter_mut().last().into_iter().for_each(|loss| loss.is_of_names = true);
    }
}

/// What is wrong with a value where the answers have another one each time, of these kinds.
fn other_value(answers: &[&Value], kinds: &BTreeSet<Kind>, tried: &Value) -> Option<String> {
    let kind = Kind::of(tried);
    if !kinds.contains(&kind) {
        return Some(format!("{}, and not {}", listed(kinds), kind.name()));
    }
    let (texts, tried) = (all(answers, Value::as_str)?, tried.as_str()?);
    let lost = pattern::fits(texts[0], &texts[1..], tried).err()?;
    Some(match lost {
        Some(piece) => format!("{:?} in it", excerpt(piece.trim_end())),
        None => "less in it".into(),
    })
}

/// What is wrong with a list where the answers have lists of other lengths.
fn other_list(lists: &[&Vec<Value>], tried: &[Value]) -> Option<String> {
    let all_counts: Vec<_> = lists.iter().map(|list| counts(list)).collect();
    let found = counts(tried);
    let of = |counts: &BTreeMap<String, usize>, element: &str| counts.get(element).copied().unwrap_or(0);
    // Numbers are the same by chance; what has text in it is not.
    for (element, _) in lists[0].iter().map(|element| (canonical(element), element)).filter(|(_, e)| has_text(e)) {
        let least = all_counts.iter().map(|counts| of(counts, &element)).min().unwrap_or(0);
        if of(&found, &element) < least {
            return Some(format!("the element {}", excerpt(&element)));
        }
    }
    let kinds = |list: &[Value]| list.iter().map(Kind::of).collect::<BTreeSet<_>>();
    let mut needed = kinds(lists[0]);
    lists.iter().for_each(|list| needed.retain(|kind| kinds(list).contains(kind)));
    if let Some(kind) = needed.difference(&kinds(tried)).next() {
        return Some(format!("{} in the list", kind.name()));
    }
    let mut shape = Shape::default();
    lists.iter().flat_map(|list| list.iter()).for_each(|element| shape.learn(element));
    tried.iter().find_map(|element| shape.misfit(element))
}

/// What is wrong with a list that has to have the same elements in any order.
fn other_members(list: &[Value], tried: &[Value]) -> Option<String> {
    let (ours, theirs) = (counts(list), counts(tried));
    let lost = ours.iter().find(|(element, n)| theirs.get(*element).is_none_or(|found| found < n));
    if let Some((element, _)) = lost {
        return Some(format!("the element {}", excerpt(element)));
    }
    (ours != theirs).then(|| format!("{}, and not {}", elements(list.len()), tried.len()))
}

/// All of them in one form, where all have it.
fn all<'a, T: ?Sized>(values: &[&'a Value], form: impl Fn(&'a Value) -> Option<&'a T>) -> Option<Vec<&'a T>> {
    values.iter().map(|value| form(value)).collect()
}

/// The names that all objects have.
fn shared_names<'a>(objects: &[&'a serde_json::Map<String, Value>]) -> Vec<&'a str> {
    objects[0].keys().map(String::as_str).filter(|name| objects.iter().all(|o| o.contains_key(*name))).collect()
}

/// How often a list has each element.
fn counts(list: &[Value]) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    list.iter().for_each(|element| *out.entry(canonical(element)).or_default() += 1);
    out
}

/// The same text for values that are equal, whatever the order of their members.
fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            for (at, (name, value)) in sorted.into_iter().enumerate() {
                out.push(if at == 0 { '{' } else { ',' });
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push_str(if members.is_empty() { "{}" } else { "}" });
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => write!(out, "{scalar}").unwrap_or_default(),
    }
}

/// Whether there is a text in it.
fn has_text(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(has_text),
        Value::Object(members) => members.values().any(has_text),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn elements(count: usize) -> String {
    counted(count, "element", "elements")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(answers: &[&str], tried: &str) -> Vec<String> {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let answers: Vec<Value> = answers.iter().map(|text| read(text)).collect();
        let losses = losses(&answers.iter().collect::<Vec<_>>(), &read(tried));
        losses.into_iter().map(|loss| format!("{}: {}", loss.path, loss.what)).collect()
    }

    #[test]
    fn lists_of_other_lengths_are_held_to_what_all_have() {
        let up = r#"{"jobs":[{"id":1,"state":"up"}],"ok":true}"#;
        let two = r#"{"jobs":[{"id":2,"state":"up"},{"id":3,"state":"up"}],"ok":true}"#;
        for (tried, expected) in [
            (r#"{"jobs":[{"id":4,"state":"up"},{"id":5,"state":"up"},{"id":6,"state":"up"}],"ok":true}"#, &[][..]),
            (r#"{"jobs":[],"ok":true}"#, &["$.jobs: an object in the list"]),
            (r#"{"jobs":["error"],"ok":true}"#, &["$.jobs: an object in the list"]),
            (r#"{"jobs":[{"id":4,"state":"up"},"error"],"ok":true}"#, &["$.jobs: an object, and not a text"]),
            (r#"{"jobs":[{"id":4}],"ok":true}"#, &["$.jobs: the member \"state\" in each"]),
            (r#"{"jobs":[{"id":4,"state":"down"}],"ok":true}"#, &["$.jobs: \"state\": \"up\", and not \"down\""]),
            (r#"{"jobs":[{"id":null,"state":"up"}],"ok":true}"#, &["$.jobs: \"id\": a number, and not null"]),
            (r#"{"jobs":[{"id":4,"state":"up","error":1}],"ok":true}"#, &["$.jobs: no member \"error\" in any"]),
            (r#"{"jobs":[{"id":4,"state":"up"}],"ok":false}"#, &["$.ok: true, and not false"]),
            (r#"{"jobs":{},"ok":true}"#, &["$.jobs: [{\"id\":1,\"state\":\"up\"}], and not {}"]),
        ] {
            assert_eq!(lost(&[up, two], tried), expected, "{tried}");
        }
        // An element that all have stands fast, unless it is a number, which is the same by chance.
        assert_eq!(lost(&[r#"["a","x"]"#, r#"["y","a","z"]"#], r#"["b"]"#), ["$: the element \"a\""]);
        assert_eq!(lost(&[r#"["a","x"]"#, r#"["y","a","z"]"#], r#"["b","a"]"#), [""; 0]);
        assert_eq!(lost(&["[3,7]", "[7,2,9]"], "[5]"), [""; 0]);
        // One that is empty now and then.
        assert_eq!(lost(&["[]", r#"[{"id":3}]"#], r#"[{"id":4},{"id":5}]"#), [""; 0]);
        // More answers say that less stands fast.
        assert_eq!(lost(&[r#"["a","x"]"#, r#"["y","a","z"]"#, r#"["x"]"#], r#"["b"]"#), [""; 0]);
    }

    #[test]
    fn a_list_in_another_order_holds_the_same() {
        let answers = [r#"[{"a":1,"b":2},"x","y"]"#, r#"["y",{"b":2,"a":1},"x"]"#];
        assert_eq!(lost(&answers, r#"["x","y",{"a":1,"b":2}]"#), [""; 0]);
        assert_eq!(lost(&answers, r#"["x","y","z"]"#), ["$: the element {\"a\":1,\"b\":2}"]);
        assert_eq!(lost(&answers, r#"["x","y","x",{"a":1,"b":2}]"#), ["$: 3 elements, and not 4"]);
    }

    #[test]
    fn what_has_another_value_each_time_keeps_its_kind() {
        for (one, two, tried, expected) in [
            (r#"{"t":5}"#, r#"{"t":6}"#, r#"{"t":7}"#, &[][..]),
            (r#"{"t":5}"#, r#"{"t":6}"#, r#"{"t":null}"#, &["$.t: a number, and not null"]),
            (r#"{"t":5}"#, r#"{"t":null}"#, r#"{"t":7}"#, &[]),
            (r#"{"t":"a"}"#, r#"{"t":"b"}"#, r#"{"t":""}"#, &["$.t: a text, and not an empty text"]),
            (r#"{"t":"a\n1\nb"}"#, r#"{"t":"a\n2\nb"}"#, r#"{"t":"a\n3\nb"}"#, &[]),
            (r#"{"t":"a\n1\nb"}"#, r#"{"t":"a\n2\nb"}"#, r#"{"t":"error"}"#, &["$.t: \"a\" in it"]),
            (r#"{"t":5,"u":1}"#, r#"{"t":6,"u":1}"#, r#"{"t":7}"#, &["$: the member \"u\""]),
            (r#"{"t":5}"#, r#"{"t":6}"#, r#"{"t":7,"u":1}"#, &["$: no member \"u\""]),
        ] {
            assert_eq!(lost(&[one, two], tried), expected, "{one} {two} {tried}");
        }
    }

    #[test]
    fn which_element_differs_is_chance() {
        let rows = |times: [u32; 3], name: &str| {
            let row = |t: &u32| format!(r#"{{"name":"{name}","t":{t}}}"#);
            format!("[{}]", times.iter().map(row).collect::<Vec<_>>().join(","))
        };
        let answers = [&*rows([1, 2, 2], "a"), &*rows([1, 1, 2], "a")];
        assert_eq!(lost(&answers, &rows([1, 2, 3], "a")), [""; 0]);
        assert_eq!(lost(&answers, &rows([1, 2, 3], "b")).len(), 3);
        assert_eq!(lost(&["[1,2,2]", "[1,1,2]"], "[1,2,3]"), [""; 0]);
        assert_eq!(lost(&[r#"["a","b",1]"#, r#"["a","b",2]"#], r#"["a","c",3]"#), ["$[1]: \"b\", and not \"c\""]);
    }

    #[test]
    fn names_that_are_made_at_run_time_lead_to_the_same_shape() {
        let answers = [r#"{"ok":1,"id-1":{"n":"x"}}"#, r#"{"ok":1,"id-2":{"n":"x"}}"#];
        for (tried, expected) in [
            (r#"{"ok":1,"id-3":{"n":"x"},"id-4":{"n":"x"}}"#, &[][..]),
            (r#"{"ok":1}"#, &["$: members besides those that are always there"]),
            (r#"{"ok":1,"error":"no such file"}"#, &["$: an object, and not a text"]),
            (r#"{"id-3":{"n":"x"}}"#, &["$: the member \"ok\""]),
        ] {
            assert_eq!(lost(&answers, tried), expected, "{tried}");
        }
    }
}
