//! Which differences between two transcripts count.

use super::*;
use crate::base::Digest;

fn http(status: u16, headers: &[(&str, &str)], body: &str, ignore: &[&str]) -> Transcript {
    let answer = Answer::Http {
        status,
        headers: headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
        body_digest: Digest::of(body.as_bytes()),
        body_bytes: body.len() as u64,
    };
    let ignore = ignore.iter().map(|s| s.to_string()).collect();
    Transcript {
        probes: vec![ProbeResult { name: "http GET /".into(), answer, failure: None, ignore }],
        ..Transcript::default()
    }
}

/// The same with a body that is kept.
fn with_body(body: &str) -> Transcript {
    let mut transcript = http(200, &[("content-length", &body.len().to_string())], body, &[]);
    transcript.evidence.keep("http GET /", "body", &[body]);
    transcript
}

#[test]
fn a_body_is_compared_member_by_member_and_line_by_line() {
    for (base, slim, expected) in [
        (r#"{"a":1,"t":5}"#, r#"{"a":1,"t":6}"#, &["json:$.t: 5 | 6"][..]),
        (r#"{"a":1,"t":5}"#, r#"{"t":5,"a":1}"#, &["form of the json: "]),
        ("one\ntwo", "one\ntoo", &["body: "]),
    ] {
        let differences = transcripts(&with_body(base), &with_body(slim));
        let texts: Vec<String> = differences.iter().map(|d| format!("{}: {} | {}", d.aspect, d.base, d.slim)).collect();
        assert!(
            texts.len() == expected.len() && texts.iter().zip(expected).all(|(t, e)| t.starts_with(e)),
            "{texts:?}"
        );
    }
    let difference = &transcripts(&with_body("one\ntwo"), &with_body("one\ntoo"))[0];
    assert!(difference.base.ends_with("; line 2: \"two\"") && difference.slim.ends_with("; line 2: \"too\""));
}

#[test]
fn of_a_text_only_what_two_runs_of_the_base_differ_in_is_excused() {
    let forgiven = |first: &str, second: &str, slim: &str| {
        let mut found = transcripts(&with_body(first), &with_body(slim));
        let unstable = transcripts(&with_body(first), &with_body(second));
        found.retain_mut(|difference| !difference.is_excused_by(&unstable));
        found.into_iter().map(|difference| difference.to_string()).collect::<Vec<_>>()
    };
    let page = |time: &str, title: &str| format!("<h1>{title}</h1>\nat {time}\n");
    assert_eq!(forgiven(&page("5", "Fruit"), &page("6", "Fruit"), &page("7", "Fruit")), [""; 0]);
    let left = forgiven(&page("5", "Fruit"), &page("6", "Fruit"), &page("7", "Error"));
    assert!(left.len() == 1 && left[0].ends_with("have \"<h1>Fruit</h1>\" in it, and the image has not"), "{left:?}");
    // The length goes with the body.
    assert_eq!(forgiven(&page("5", "Fruit"), &page("60", "Fruit"), &page("700", "Fruit")), [""; 0]);
    assert_eq!(forgiven(&page("5", "Fruit"), &page("60", "Fruit"), "").len(), 1);
    // What the base says is short, and this is not.
    for long in ["Traceback\n".repeat(20_000), "x".repeat(300_000)] {
        let left = forgiven(&page("5", "Fruit"), &page("6", "Fruit"), &long);
        assert!(left.len() == 1 && left[0].contains("two runs of the source"), "{left:?}");
    }
    // Where the base is as long itself, nothing is known to stand fast.
    let long = |end: &str| "x".repeat(300_000) + end;
    assert_eq!(forgiven(&long("5"), &long("6"), &long("7")), [""; 0]);
    assert_eq!(forgiven("5\n", &long("6"), "7\n8\n"), [""; 0]);
    // JSON that differs all over is a text, too.
    let list = |from: usize, end: &str| {
        let numbers: Vec<String> = (from..from + 100).map(|n| n.to_string()).collect();
        format!("[{},{end:?}]", numbers.join(","))
    };
    assert_eq!(forgiven(&list(0, "a"), &list(1000, "a"), &list(5000, "a")), [""; 0]);
    assert_eq!(forgiven(&list(0, "a"), &list(1000, "a"), &list(5000, "b")).len(), 1);
    assert_eq!(forgiven(&list(0, "a"), &list(1000, "a"), &list(0, "b")).len(), 1);
}

#[test]
fn of_an_object_with_names_made_at_run_time_the_others_stand_fast() {
    let left = |slim: &str| {
        let (first, second) = (r#"{"ok":true,"t":1,"id-1":{}}"#, r#"{"ok":true,"t":2,"id-2":{}}"#);
        let mut found = transcripts(&with_body(first), &with_body(slim));
        let unstable = transcripts(&with_body(first), &with_body(second));
        found.retain_mut(|difference| !difference.is_excused_by(&unstable));
        found.into_iter().map(|difference| difference.aspect).collect::<Vec<_>>().join(" ")
    };
    for (slim, expected) in [
        (r#"{"ok":true,"t":3,"id-3":{}}"#, ""),
        (r#"{"ok":true,"t":3,"id-3":{},"id-4":{}}"#, ""),
        (r#"{"ok":false,"t":3,"id-3":{}}"#, "json:$.ok"),
        (r#"{"t":3,"id-3":{}}"#, "json:$"),
        (r#"["ok"]"#, "json:$"),
    ] {
        assert_eq!(left(slim).replace("header:content-length", "").trim(), expected, "{slim}");
    }
}

#[test]
fn of_a_list_of_another_length_each_time_the_rest_is_compared() {
    let left = |seconds: &[&str], slim: &str| {
        let first = r#"{"jobs":[{"id":1,"state":"up"}],"t":1}"#;
        let mut found = transcripts(&with_body(first), &with_body(slim));
        let again = |second: &&str| transcripts(&with_body(first), &with_body(second));
        let unstable: Vec<Difference> = seconds.iter().flat_map(again).collect();
        found.retain_mut(|difference| !difference.is_excused_by(&unstable));
        found.into_iter().map(|difference| difference.to_string()).collect::<Vec<_>>()
    };
    let two = r#"{"jobs":[{"id":2,"state":"up"},{"id":3,"state":"up"}],"t":2}"#;
    let good = r#"{"jobs":[{"id":4,"state":"up"},{"id":5,"state":"up"},{"id":6,"state":"up"}],"t":3}"#;
    assert_eq!(left(&[two], good), [""; 0]);
    for (slim, said) in [
        (r#"{"jobs":[],"t":3}"#, "json:$.jobs"),
        (r#"{"jobs":[{"id":4,"state":"lost"}],"t":3}"#, "json:$.jobs[0].state"),
        (r#"{"jobs":[{"error":"no such file"},{"id":4,"state":"up"}],"t":3}"#, "json:$.jobs"),
    ] {
        let left = left(&[two], slim);
        assert!(left.iter().any(|text| text.starts_with(&format!("http GET /: {said}\n"))), "{left:?}");
        assert!(left.iter().all(|text| !text.contains("$.t") && text.contains("runs of the source have")), "{left:?}");
    }
    // What a third run has, too, is no loss.
    assert_eq!(left(&[two, r#"{"jobs":[],"t":2}"#], r#"{"jobs":[],"t":3}"#), [""; 0]);
}

fn aspects_of(base: &Transcript, slim: &Transcript) -> Vec<String> {
    transcripts(base, slim).into_iter().map(|d| d.aspect).collect()
}

#[test]
fn every_aspect_counts_unless_it_is_declared_unstable() {
    let base = http(200, &[("date", "today"), ("server", "x")], "a", &["header:date"]);
    assert!(transcripts(&base, &base).is_empty());
    let slim = http(500, &[("date", "later")], "b", &[]);
    assert_eq!(aspects_of(&base, &slim), ["body", "header:server", "status"]);
}

#[test]
fn all_that_a_spec_can_ignore_is_ignored() {
    let base = |ignore: &[&str]| http(200, &[("a", "1"), ("content-length", "1")], "x", ignore);
    let slim = http(500, &[("a", "2"), ("content-length", "2")], "yy", &[]);
    for (ignore, left) in [
        (&["headers"][..], &["body", "status"][..]),
        (&["body", "header:A"], &["status"]),
        (&["status", "body"], &["header:a"]),
    ] {
        assert_eq!(aspects_of(&base(ignore), &slim), left, "{ignore:?}");
    }
    let bytes = |content: &[u8], ignore: &[&str]| {
        let answer = Answer::Bytes { digest: Digest::of(content), bytes: content.len() as u64 };
        let ignore = ignore.iter().map(|s| s.to_string()).collect();
        Transcript {
            probes: vec![ProbeResult { name: "tcp 1".into(), answer, failure: None, ignore }],
            ..Transcript::default()
        }
    };
    assert_eq!(aspects_of(&bytes(b"a", &[]), &bytes(b"b", &[])), ["bytes"]);
    assert!(transcripts(&bytes(b"a", &["bytes"]), &bytes(b"b", &[])).is_empty());
}

#[test]
fn a_probe_that_was_not_answered_is_one_difference() {
    let base = http(200, &[("server", "x")], "a", &[]);
    assert_eq!(aspects_of(&base, &Transcript::default()), ["expectation"]);
}

#[test]
fn a_probe_that_fails_counts_though_what_it_was_answered_is_ignored() {
    let base = http(200, &[], "ok", &["body"]);
    let mut slim = http(200, &[], "error", &["body"]);
    assert!(transcripts(&base, &slim).is_empty());
    slim.probes[0].failure = Some("the body does not contain \"ok\"".into());
    let differences = transcripts(&base, &slim);
    assert_eq!(differences.len(), 1);
    assert!(differences[0].is_failure());
}

#[test]
fn the_order_of_a_set_means_nothing() {
    let allow = |value: &str| http(405, &[("allow", value)], "", &[]);
    assert!(transcripts(&allow("GET, HEAD,OPTIONS"), &allow("OPTIONS, GET, HEAD")).is_empty());
    assert_eq!(aspects_of(&allow("GET, HEAD"), &allow("GET")), ["header:allow"]);
    let other = |value: &str| http(200, &[("x-list", value)], "", &[]);
    assert_eq!(aspects_of(&other("a, b"), &other("b, a")), ["header:x-list"]);
}

#[test]
fn headers_that_only_the_small_image_sends_count_too() {
    assert_eq!(aspects_of(&http(200, &[], "", &[]), &http(200, &[("x", "1")], "", &[])), ["header:x"]);
}
