//! Names of signals, as image configs and people write them.

/// A signal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal(pub i32);

/// A text that names no signal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a signal\nhint: a name such as SIGTERM, TERM or SIGRTMIN+3, or a number from 1 to 64")]
pub struct UnknownSignal(String);

impl std::str::FromStr for StopSignal {
    type Err = UnknownSignal;

    /// Parses `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`.
    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let unknown = || UnknownSignal(text.into());
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Ok(number) = name.parse::<i32>() {
            return if (1..=libc::SIGRTMAX()).contains(&number) { Ok(StopSignal(number)) } else { Err(unknown()) };
        }
        let offset = |rest: &str, sign: char| -> Option<i32> {
            if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse().ok() }
        };
        let realtime = if let Some(rest) = name.strip_prefix("RTMIN") {
            offset(rest, '+').map(|n| libc::SIGRTMIN() + n)
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            offset(rest, '-').map(|n| libc::SIGRTMAX() - n)
        } else {
            let signal: Result<nix::sys::signal::Signal, _> = format!("SIG{name}").parse();
            return signal.map(|s| StopSignal(s as i32)).map_err(|_| unknown());
        };
        realtime.filter(|n| (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(n)).map(StopSignal).ok_or_else(unknown)
    }
}

impl std::fmt::Display for StopSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match nix::sys::signal::Signal::try_from(self.0) {
            Ok(signal) => f.write_str(signal.as_str()),
            Err(_) => write!(f, "SIGRTMIN+{}", self.0 - libc::SIGRTMIN()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings() {
        for (text, number) in [("SIGTERM", 15), ("quit", 3), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX", 64), ("Int", 2)] {
            assert_eq!(text.parse(), Ok(StopSignal(number)), "{text}");
        }
        for bad in ["", "SIG", "0", "65", "SIGFOO", "SIGRTMIN+99", "RTMIN-1"] {
            assert!(bad.parse::<StopSignal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_the_usual_ones() {
        assert_eq!(StopSignal(3).to_string(), "SIGQUIT");
        assert_eq!(StopSignal(37).to_string(), "SIGRTMIN+3");
    }
}
