//! What several answers of one image have in common, and whether another one has it too. The base answers twice or
//! more; what is not the same each time by itself is not held against the small image, and all the rest is.
//!
//! A text is taken apart into pieces: lines, and of a long line (a page on one line) its words and tags. The pieces
//! that all answers have, in their order, stand fast; between them as many others may stand as there were, or any
//! number where there were not equally many, but one at least where there always were some. Where the order itself is
//! another one (a set that was printed), what stands fast has only to be there, and so where the order of long texts
//! would take too long to find. Bytes that are no text are compared at their places, with a margin, because bytes of
//! two random values are the same now and then; where the lengths differ only beginning and end count.

use std::collections::BTreeMap;

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// A longer line is compared by its words, in bytes.
const LONG_LINE: usize = 200;

/// A text of more pieces is compared by its lines alone, and one of more lines is not compared in parts.
const MOST: usize = 1 << 14;

/// Where more pairs of pieces would have to be looked at to find their order, it counts for nothing.
const MOST_PAIRS: usize = 1 << 22;

/// How many bytes around those that differ say nothing either.
const MARGIN: usize = 16;

/// Whether `tried` is as `first` but for what `others` have otherwise, too; else the piece of `first` that it lacks or
/// has otherwise, as far as it can be told.
pub(super) fn fits(first: &str, others: &[&str], tried: &str) -> Result<(), Option<String>> {
    let taken_apart = [words, lines].into_iter().find_map(|split| {
        let first = split(first);
        let others: Vec<Vec<&str>> = others.iter().map(|other| split(other)).collect();
        let is_short = others.iter().chain([&first]).all(|pieces| pieces.len() <= MOST);
        is_short.then(|| (first, others, split(tried)))
    });
    let Some((first, others, tried)) = taken_apart else { return Ok(()) };
    // By chance it is a little more than the base says, and not all that a log holds.
    if tried.len() > 2 * MOST {
        return Err(None);
    }
    match Common::of(&first, &others) {
        Some(common) if common.leads_to(&tried) => Ok(()),
        Some(common) => Err(common.lost(&tried)),
        None => missing(&first, &others, &tried).map_or(Ok(()), |piece| Err(Some(piece))),
    }
}

/// Whether a text can be compared in parts.
pub(super) fn is_comparable(text: &str) -> bool {
    lines(text).len() <= MOST
}

/// The same for bytes that are no text.
pub(super) fn bytes_fit(first: &[u8], others: &[Vec<u8>], tried: &[u8]) -> bool {
    if others.iter().map(Vec::len).chain([tried.len()]).any(|length| length != first.len()) {
        let common = |a: &mut dyn Iterator<Item = (&u8, &u8)>| a.take_while(|(a, b)| a == b).count();
        let begins = others.iter().map(|other| common(&mut first.iter().zip(other)));
        let ends = others.iter().map(|other| common(&mut first.iter().rev().zip(other.iter().rev())));
        let begin = begins.min().unwrap_or(0).saturating_sub(MARGIN);
        let end = ends.min().unwrap_or(0).saturating_sub(MARGIN);
        let shortest = others.iter().map(Vec::len).chain([first.len()]).min().unwrap_or(0);
        // They overlap where one of them repeats itself.
        let end = end.min(shortest - begin);
        return tried.len() >= begin + end
            && tried[..begin] == first[..begin]
            && tried[tried.len() - end..] == first[first.len() - end..];
    }
    let differing = |at: usize| others.iter().any(|other| first[at] != other[at]);
    let mut last = None;
    let mut next = (0..first.len()).find(|&at| differing(at));
    for at in 0..first.len() {
        if next == Some(at) {
            last = next;
            next = (at + 1..first.len()).find(|&at| differing(at));
        }
        let near = last.is_some_and(|last| at - last <= MARGIN) || next.is_some_and(|next| next - at <= MARGIN);
        if !near && first[at] != tried[at] {
            return false;
        }
    }
    true
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn words(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for line in lines(text) {
        if line.len() <= LONG_LINE {
            out.push(line);
            continue;
        }
        let mut begin = 0;
        let mut before = None;
        for (at, c) in line.char_indices() {
            let ends = |before: char| matches!(before, '>' | ',' | ';' | '&' | '"' | '\'') || before.is_whitespace();
            if before.is_some_and(|before: char| c == '<' || (ends(before) && !c.is_whitespace())) {
                out.push(&line[begin..at]);
                begin = at;
            }
            before = Some(c);
        }
        out.push(&line[begin..]);
    }
    out
}

/// What sequences of pieces have in common.
struct Common<'a> {
    first: &'a [&'a str],
    parts: Vec<Part>,
}

/// A part of the first sequence, from the least to the most that may stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The piece at this index stands fast.
    Fast(usize),
    /// Any one piece.
    One,
    /// One piece or more: [`Common`] has it as `One` and `Any`.
    Some,
    /// Any number of pieces.
    Any,
}

impl<'a> Common<'a> {
    /// `None` where what they have in common stands in no one order.
    fn of(first: &'a [&'a str], others: &[Vec<&str>]) -> Option<Self> {
        let mut pieces: Vec<Part> = (0..first.len()).map(Part::Fast).collect();
        // What stands before each piece, and after the last, that the first does not have.
        let mut added = vec![None; first.len() + 1];
        let ours = counts(first);
        for other in others {
            let mut fast = 0;
            for op in changes(first, other)? {
                match op {
                    DiffOp::Equal { len, .. } => fast += len,
                    DiffOp::Replace { old_index, old_len, new_len, .. } => {
                        let part = if old_len == new_len { Part::One } else { Part::Some };
                        pieces[old_index..old_index + old_len].iter_mut().for_each(|piece| *piece = part.max(*piece));
                    }
                    DiffOp::Delete { old_index, old_len, .. } => {
                        pieces[old_index..old_index + old_len].iter_mut().for_each(|piece| *piece = Part::Any);
                    }
                    DiffOp::Insert { old_index, .. } => added[old_index] = Some(Part::Any),
                }
            }
            let theirs = counts(other);
            let in_both: usize = ours.iter().map(|(piece, n)| (*n).min(theirs.get(piece).copied().unwrap_or(0))).sum();
            if in_both != fast {
                return None;
            }
        }
        let mut parts = Vec::new();
        for (at, before) in added.into_iter().enumerate() {
            parts.extend(before);
            parts.extend(pieces.get(at).copied());
        }
        // A run of them is one, which may be empty only where none of them has to be there.
        let runs = parts.chunk_by(|a, b| *a >= Part::Some && *b >= Part::Some);
        let parts = runs.flat_map(|run| match run[0] {
            Part::Some | Part::Any if run.contains(&Part::Some) => vec![Part::One, Part::Any],
            part => vec![part],
        });
        let parts = parts.collect();
        Some(Common { first, parts })
    }

    /// Whether the parts, one after the other, are `tried`: as a glob is matched, by going back to the last `Any` only.
    fn leads_to(&self, tried: &[&str]) -> bool {
        let (mut part, mut at) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let matched = match self.parts.get(part) {
                None => at == tried.len(),
                Some(Part::Any | Part::Some) => {
                    retry = Some((part + 1, at));
                    part += 1;
                    continue;
                }
                Some(Part::One) => at < tried.len(),
                Some(Part::Fast(index)) => tried.get(at) == Some(&self.first[*index]),
            };
            match (matched, &mut retry) {
                (true, _) if part == self.parts.len() => return true,
                (true, _) => (part, at) = (part + 1, at + 1),
                (false, Some((again, from))) if *from < tried.len() => {
                    *from += 1;
                    (part, at) = (*again, *from);
                }
                (false, _) => return false,
            }
        }
    }

    /// The first piece that stands fast and that `tried` does not have in its place.
    fn lost(&self, tried: &[&str]) -> Option<String> {
        let fast: std::collections::BTreeSet<usize> =
            self.parts.iter().filter_map(|part| if let Part::Fast(at) = part { Some(*at) } else { None }).collect();
        changes(self.first, tried)?.into_iter().find_map(|op| match op {
            DiffOp::Delete { old_index, old_len, .. } | DiffOp::Replace { old_index, old_len, .. } => {
                (old_index..old_index + old_len).find(|at| fast.contains(at)).map(|at| self.first[at].to_owned())
            }
            DiffOp::Equal { .. } | DiffOp::Insert { .. } => None,
        })
    }
}

/// What makes one sequence of pieces into the other; `None` where to find it takes too long: where they differ all
/// over, that grows with the product of their lengths.
fn changes(from: &[&str], to: &[&str]) -> Option<Vec<DiffOp>> {
    let same = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(a, b)| a == b).count();
    let begin = same(&mut from.iter().zip(to));
    let end = same(&mut from[begin..].iter().rev().zip(to[begin..].iter().rev()));
    let pairs = (from.len() - begin - end).saturating_mul(to.len() - begin - end);
    (pairs <= MOST_PAIRS).then(|| capture_diff_slices(Algorithm::Myers, from, to))
}

/// A piece that all have and `tried` does not, or one of more pieces than there may be, or nothing where others are to
/// be.
fn missing(first: &[&str], others: &[Vec<&str>], tried: &[&str]) -> Option<String> {
    let found = counts(tried);
    let of = |counts: &BTreeMap<&str, usize>, piece: &str| counts.get(piece).copied().unwrap_or(0);
    let all: Vec<_> = [counts(first)].into_iter().chain(others.iter().map(|other| counts(other))).collect();
    let in_all = |piece: &str| all.iter().map(|counts| of(counts, piece)).min().unwrap_or(0);
    if let Some((piece, _)) = all[0].iter().find(|(piece, _)| of(&found, piece) < in_all(piece)) {
        return Some((*piece).to_owned());
    }
    let fast: usize = all[0].keys().map(|piece| in_all(piece)).sum();
    let shortest = others.iter().map(Vec::len).chain([first.len()]).min().unwrap_or(0);
    let is_fixed = others.iter().all(|other| other.len() == first.len());
    let is_added = |(piece, n): &(&&str, &usize)| all.iter().all(|counts| **n > of(counts, piece));
    let added = || found.iter().find(is_added).map_or(String::new(), |(piece, _)| (*piece).to_owned());
    match is_fixed {
        true => (tried.len() != first.len()).then(added),
        false => (shortest > fast && tried.len() <= fast).then(String::new),
    }
}

fn counts<'a>(pieces: &[&'a str]) -> BTreeMap<&'a str, usize> {
    let mut out = BTreeMap::new();
    pieces.iter().for_each(|piece| *out.entry(*piece).or_default() += 1);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One long line of many words.
    fn page(token: &str, rest: &str) -> String {
        let filler = "<p class=\"a\">Some words that are always here</p>".repeat(5);
        format!("<html>{filler}<input name=\"token\" value=\"{token}\">{rest}</html>")
    }

    #[test]
    fn only_what_differs_by_itself_is_free() {
        let (one, two, three) = (page("3f", "<b>Fruit</b>"), page("7a", "<b>Fruit</b>"), page("c1", "<b>Fruit</b>"));
        let wrong = page("c1", "<b>Error</b>");
        let longer = page("c1", "<b>Fruit</b><pre>Traceback</pre>");
        for (first, second, tried, expected) in [
            ("a\nat 5\nb\n", "a\nat 6\nb\n", "a\nat 7\nb\n", Ok(())),
            ("a\nat 5\nb\n", "a\nat 6\nb\n", "a\nat 7\nc\n", Err("b\n")),
            ("a\nat 5\nb\n", "a\nat 6\nb\n", "a\nat 5\n", Err("b\n")),
            ("a\nat 5\n", "a\nat 6\n", "a\nTraceback\n  File\n", Err("")),
            ("a\nat 5\n", "a\nat 6\n", "a\n", Err("")),
            // One line as a whole.
            ("up 59 s", "up 1 min", "up 2 min 3 s", Ok(())),
            ("5 a\n", "6 b\n", "7 c\n", Ok(())),
            // Not equally many.
            ("<\n1\n>\n", "<\n1\n2\n>\n", "<\n1\n2\n3\n>\n", Ok(())),
            ("<\n1\n>\n", "<\n1\n2\n>\n", "<\n>\n", Err("1\n")),
            ("<\n1\n>\n", "<\n1\n2\n>\n", "<\n1\n", Err(">\n")),
            ("<\n1\n>\n", "<\n2\n3\n>\n", "<\n4\n5\n6\n>\n", Ok(())),
            ("<\n1\n>\n", "<\n2\n3\n>\n", "<\n>\n", Err("")),
            ("<\n1\n>\n", "<\n>\n", "<\n2\n3\n>\n", Ok(())),
            // In any order.
            ("a\nb\nc\n", "c\na\nb\n", "b\nc\na\n", Ok(())),
            ("a\nb\nc\n", "c\na\nb\n", "b\nc\n", Err("a\n")),
            ("a\nb\nc\n", "c\na\nb\n", "b\nd\na\n", Err("c\n")),
            ("a\nb\nc\n", "c\na\nb\n", "b\na\nc\nd\n", Err("d\n")),
            ("a\nb\nc\n", "c\na\nb\nd\n", "c\nb\n", Err("a\n")),
            ("a\nb\n1\n2\n", "3\nb\na\n4\n5\n", "b\na\n6\n", Ok(())),
            ("a\nb\n1\n2\n", "3\nb\na\n4\n5\n", "b\na\n", Err("")),
            // Words of a long line.
            (&one, &two, &three, Ok(())),
            (&one, &two, &wrong, Err("<b>")),
            (&one, &two, &longer, Err("")),
            ("", "x\n", "y\n", Ok(())),
        ] {
            let found = fits(first, &[second], tried).map_err(Option::unwrap_or_default);
            match (&found, expected) {
                (Err(piece), Err("<b>")) => assert!(piece.contains("Fruit"), "{piece}"),
                _ => assert_eq!(found, expected.map_err(String::from), "{first:?} {second:?} {tried:?}"),
            }
        }
    }

    #[test]
    fn each_answer_of_the_base_says_what_else_is_free() {
        let (one, two, three) = ("a\n1\nb\nx\nc\n", "a\n2\nb\nx\nc\n", "a\n1\nb\ny\nc\n");
        let tried = "a\n3\nb\nz\nc\n";
        assert!(fits(one, &[two], tried).is_err());
        assert!(fits(one, &[three], tried).is_err());
        assert_eq!(fits(one, &[two, three], tried), Ok(()));
        assert_eq!(fits(one, &[two, three], "a\n3\nx\nz\nc\n"), Err(Some("b\n".into())));
        let (longer, shorter) = ("a\n1\n2\nb\nx\nc\n", "a\nb\nx\nc\n");
        assert!(fits(one, &[longer], "a\nb\nx\nc\n").is_err());
        assert_eq!(fits(one, &[longer, shorter], "a\n5\n6\n7\nb\nx\nc\n"), Ok(()));
    }

    #[test]
    fn pieces_are_the_text() {
        let text = format!("a\n{}\nb", page("x", " &amp; 'y', z\u{e9}"));
        assert_eq!(words(&text).concat(), text);
        assert_eq!(words("short line, of words\n\nb"), ["short line, of words\n", "\n", "b"]);
        assert!(words(&text).len() > 30);
    }

    #[test]
    fn what_was_printed_in_any_number_is_found_again() {
        // Several free places, so that going back is needed.
        let (first, second) = ("a\nx\nb\n1\nb\nc\n", "a\nb\n2\n3\nb\nc\n");
        for (tried, fitting) in
            [("a\nb\nx\nb\n4\nb\nc\n", true), ("a\nb\n\nb\nc\n", true), ("a\nb\nc\n", false), ("a\nb\nb\nd\n", false)]
        {
            assert_eq!(fits(first, &[second], tried).is_ok(), fitting, "{tried:?}");
        }
    }

    #[test]
    fn a_text_of_very_many_lines_is_not_taken_apart() {
        let many = |end: &str| "x\n".repeat(MOST) + end;
        assert_eq!(fits(&many("1"), &[&many("2")], &many("3")), Ok(()));
        assert_eq!(fits("1\n", &["2\n"], &"x\n".repeat(3 * MOST)), Err(None));
        let words = |end: &str| format!("{}{end}", "word ".repeat(MOST + 1));
        assert_eq!(fits(&words("1\na"), &[&words("2\na")], &words("3\nb")), Err(Some("a".into())));
    }

    /// Half a minute went by once for each such answer.
    #[test]
    fn the_order_of_texts_that_differ_all_over_counts_for_nothing() {
        let numbers =
            |from: usize, end: &str| (from..from + MOST - 1).map(|n| format!("{n}\n")).collect::<String>() + end;
        let (one, two) = (numbers(0, "end\n"), numbers(MOST, "end\n"));
        let mixed = |text: &str| text.lines().rev().map(|line| format!("{line}\n")).collect::<String>();
        assert_eq!(changes(&lines(&one), &lines(&mixed(&two))), None);
        assert_eq!(fits(&one, &[&mixed(&two)], &mixed(&numbers(3 * MOST, "end\n"))), Ok(()));
        assert_eq!(fits(&one, &[&mixed(&two)], &numbers(3 * MOST, "Traceback\n")), Err(Some("end\n".into())));
        // A few lines in a long text are found in their order.
        let log = |at: &str| format!("{at}\n{}{at}\nend\n", numbers(0, ""));
        let long = |at: &str| log(at).split_inclusive('\n').take(2000).collect::<String>() + at;
        assert_eq!(fits(&long("5"), &[&long("6")], &long("7")), Ok(()));
        assert!(changes(&lines(&long("5")), &lines(&long("6"))).is_some());
    }

    #[test]
    fn bytes_stand_fast_at_their_places() {
        let document = |id: &[u8], end: &[u8]| [&[0xff; 40], id, &[7; 40], end, &[8; 40]].concat();
        let (one, two) = (document(b"0123", b"same"), document(b"4567", b"same"));
        assert!(bytes_fit(&one, std::slice::from_ref(&two), &document(b"89ab", b"same")));
        assert!(!bytes_fit(&one, std::slice::from_ref(&two), &document(b"89ab", b"diff")));
        // Of other lengths.
        let longer = document(b"01234", b"same");
        assert!(bytes_fit(&one, std::slice::from_ref(&longer), &document(b"012345", b"same")));
        assert!(!bytes_fit(&one, std::slice::from_ref(&longer), &document(b"012345", b"diff")));
        assert!(!bytes_fit(&one, std::slice::from_ref(&longer), &one[..50]));
        assert!(bytes_fit(b"", &[b"x".to_vec()], b"y"));
    }
}
