//! The base once more, where the small image answered otherwise: what the base answers otherwise by itself, too, is not
//! held against it.
//!
//! One that alternates, by a counter, round robin or by lot, may answer the same twice by chance. So a difference is a
//! failure only after several runs of the base, and what stands fast is what all of them have; a run in which the base
//! answers as the small image did ends it. Nothing is run again where no answer differs, and once only where the image
//! fails whatever these runs say.

use crate::pipeline::exercise::is_of_exerciser;
use crate::verify::{Difference, Verdict};

/// How often the base runs again before a difference is a failure: of two answers by lot it gives the same that often,
/// and the small image the other one, once in 64 times.
const MOST: usize = 5;

/// Takes out of `verdict` what the base answers otherwise by itself, as `again` finds out by running it, which is told
/// which run it is, from 0. Returns what was not compared therefore, a sentence each.
pub fn excuse<E>(
    verdict: &mut Verdict,
    mut again: impl FnMut(usize, &Verdict) -> Result<Vec<Difference>, E>,
) -> Result<Vec<String>, E> {
    let (mut unstable, mut notes) = (Vec::new(), Vec::new());
    for run in 0..MOST {
        if verdict.differences.is_empty() || (run > 0 && is_certain(verdict)) {
            break;
        }
        unstable.extend(again(run, verdict)?);
        notes.extend(verdict.forgive(&unstable));
    }
    Ok(notes)
}

/// Whether it is a failure whatever the base answers in further runs. What exercisers do is repeated in the first one
/// only.
fn is_certain(verdict: &Verdict) -> bool {
    !verdict.missing.is_empty() || verdict.differences.iter().any(|d| d.is_failure() || is_of_exerciser(d))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::base::Digest;
    use crate::observation::{Answer, ProbeResult, Transcript};
    use crate::verify::transcripts;

    fn answer(body: &str, passed: bool) -> Transcript {
        let answer = Answer::Bytes { digest: Digest::of(body.as_bytes()), bytes: body.len() as u64 };
        let failure = (!passed).then(|| "no".to_owned());
        let mut transcript = Transcript {
            probes: vec![ProbeResult { name: "tcp 1".into(), answer, failure, ignore: Vec::new() }],
            ..Transcript::default()
        };
        transcript.evidence.keep("tcp 1", "bytes", &[body]);
        transcript
    }

    /// What is left of the differences between `slim` and the first answer of the base, and how often the base ran
    /// again.
    fn left(base: &[&str], slim: &Transcript) -> (usize, usize) {
        let first = answer(base[0], true);
        let mut verdict = Verdict { differences: transcripts(&first, slim), ..Verdict::default() };
        let mut runs = 0;
        let again = |run: usize, _: &Verdict| -> Result<_, Infallible> {
            runs = run + 1;
            Ok(transcripts(&first, &answer(base[(run + 1).min(base.len() - 1)], true)))
        };
        let Ok(_) = excuse(&mut verdict, again);
        (verdict.differences.len(), runs)
    }

    #[test]
    fn a_base_that_alternates_may_answer_the_same_twice() {
        assert_eq!(left(&["heads", "heads", "heads", "tails"], &answer("tails", true)), (0, 3));
        assert_eq!(left(&["heads", "tails"], &answer("tails", true)), (0, 1));
        assert_eq!(left(&["heads"], &answer("heads", true)), (0, 0), "nothing is run again for nothing");
        // What no run has, is a difference.
        assert_eq!(left(&["heads"], &answer("tails", true)), (1, MOST));
        let lost = |tried| left(&["a\n1\nb", "a\n2\nb"], &answer(tried, true));
        assert_eq!((lost("a\n3\nb"), lost("a\n3\nc")), ((0, 1), (1, MOST)));
    }

    #[test]
    fn a_failure_that_nothing_excuses_is_not_looked_into_for_long() {
        let (left, runs) = left(&["heads", "tails"], &answer("", false));
        assert_eq!((left > 0, runs), (true, 1));
    }
}
