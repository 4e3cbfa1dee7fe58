//! Times in what is written: never the clock's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A point in time in whole seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct Epoch(pub i64);

/// Why a text is not an [`Epoch`].
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// Not a decimal number of seconds (`SOURCE_DATE_EPOCH` specification, reproducible-builds.org).
    #[error("{0:?} is not a number of seconds since 1970")]
    NotSeconds(String),
    /// Not an RFC 3339 date and time.
    #[error("{0:?} is not an RFC 3339 date and time")]
    NotRfc3339(String),
}

impl FromStr for Epoch {
    type Err = EpochError;

    /// Parses the value of `SOURCE_DATE_EPOCH`.
    fn from_str(text: &str) -> Result<Self, EpochError> {
        text.trim().parse().map(Epoch).map_err(|_| EpochError::NotSeconds(text.into()))
    }
}

impl Epoch {
    /// Parses an RFC 3339 time, as image configs have it in `created`; fractions of a second are cut off.
    pub fn from_rfc3339(text: &str) -> Result<Self, EpochError> {
        parse_rfc3339(text).map(Epoch).ok_or_else(|| EpochError::NotRfc3339(text.into()))
    }
}

/// RFC 3339 in UTC: `2024-05-01T12:00:00Z`.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0.div_euclid(86_400), self.0.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
    }
}

fn parse_rfc3339(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, c)| bytes.get(at) != Some(&c)) || !matches!(bytes.get(10)?, b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut zone = text.get(19..)?;
    if let Some(fraction) = zone.strip_prefix('.') {
        zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some(days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset * 60)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last day of a year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // The average length of a year is close enough to be off by one year at most.
    let mut year = (days as f64 / 365.2425).floor() as i64 + 1970;
    while days_from_civil(year, 1, 1) > days {
        year -= 1;
    }
    while days_from_civil(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12).rev().find(|&m| days_from_civil(year, m, 1) <= days).unwrap_or(1);
    (year, month, days - days_from_civil(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_both_ways() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2024-12-31T00:00:00Z", 1_735_603_200),
            ("2026-07-04T10:20:30Z", 1_783_160_430),
            ("1969-12-31T23:59:59Z", -1),
        ] {
            assert_eq!(Epoch::from_rfc3339(text).unwrap(), Epoch(seconds), "{text}");
            assert_eq!(Epoch(seconds).to_string(), text);
        }
        assert_eq!(Epoch::from_rfc3339("2000-01-01T02:00:00.123456789+02:00").unwrap(), Epoch(946_684_800));
        for bad in ["", "2000-01-01", "2000-13-01T00:00:00Z", "2000-01-01T00:00:00", "yesterday"] {
            assert!(Epoch::from_rfc3339(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn source_date_epoch_is_a_number() {
        assert_eq!("1700000000".parse::<Epoch>().unwrap(), Epoch(1_700_000_000));
        assert!("now".parse::<Epoch>().is_err());
    }
}
