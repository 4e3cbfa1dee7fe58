//! The values of flags: what is wrong with one is told where it was written, on the command line or in the settings.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::cli::settings;
use crate::probe::Spec;

/// A value as it was written, which is read as a `T` later on.
pub fn checked<T: FromStr<Err: Display>>(text: &str) -> Result<String, String> {
    text.parse::<T>().map(|_| text.to_owned()).map_err(|cause| cause.to_string())
}

/// `--http`.
pub fn http_probe(text: &str) -> Result<String, String> {
    Spec::from_http_argument(text).map(|_| text.to_owned()).map_err(|cause| cause.to_string())
}

/// `--exec`.
pub fn exec_probe(text: &str) -> Result<String, String> {
    Spec::from_exec_argument(text).map(|_| text.to_owned()).map_err(|cause| cause.to_string())
}

/// `--run`.
pub fn named_run(text: &str) -> Result<String, String> {
    settings::named_command(text).map(|_| text.to_owned()).map_err(|cause| cause.to_string())
}

/// A number, 0 or more.
pub fn number<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "expected a number, 0 or more")
}

/// How many requests a crawl makes.
pub fn pages(text: &str) -> Result<u32, &'static str> {
    within(text, 1, 100_000).ok_or("expected a number from 1 to 100000")
}

/// The code with which a process ends.
pub fn exit_code(text: &str) -> Result<i32, &'static str> {
    within(text, 0, 255).ok_or("expected an exit code, a number from 0 to 255; a signal ends with 128 and its number")
}

/// A number of processes.
pub fn pids(text: &str) -> Result<i64, &'static str> {
    within(text, -1, 1 << 22).ok_or("expected a number of processes, at most 4194304; 0 and -1 are any number")
}

fn within<T: FromStr + PartialOrd>(text: &str, least: T, most: T) -> Option<T> {
    text.parse().ok().filter(|number| (least..=most).contains(number))
}

/// Parses `90`, `90s`, `500ms`, `2m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("expected a number and ms, s, m or h".into()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number and ms, s, m or h")?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| "it is too long".into())
}

/// Parses a size as podman does: `1000`, `1000b`, `64k`, `64m`, `1g`, with units of 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "b" | "B" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return Err("expected a number and b, k, m or g".into()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number and b, k, m or g")?;
    number.checked_mul(1 << shift).filter(|&bytes| bytes <= i64::MAX as u64).ok_or_else(|| "it is too much".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in [("90", 90_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        }
        for bad in ["", "s", "-1", "1d", "99999999999999999999", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, bytes) in
            [("0", 0), ("1000", 1000), ("7b", 7), ("64k", 64 << 10), ("64M", 64 << 20), ("2g", 2 << 30)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "m", "-1", "1.5g", "1t", "64mb", "9223372036854775808", "17179869184g"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
