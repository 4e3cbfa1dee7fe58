//! Numbers of things in sentences.

use std::fmt;

/// `1 file`, `2 files`: a number, and the word for one and for any other number of what is counted.
pub fn counted<N: fmt::Display + PartialEq + From<u8>>(count: N, one: &str, more: &str) -> String {
    let noun = if count == N::from(1) { one } else { more };
    format!("{count} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        for (count, expected) in [(0u64, "0 entries"), (1, "1 entry"), (2, "2 entries")] {
            assert_eq!(counted(count, "entry", "entries"), expected);
        }
    }
}
