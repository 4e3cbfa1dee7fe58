//! When it pays to keep tasks on the tracer's CPU.
//!
//! Pure: the caller says what happens and when, in nanoseconds of any clock that only goes forward. Where stops come
//! thick, one CPU serves the tracer and whoever stops better than two CPUs, because none has to be woken elsewhere: be
//! it one task, or several of which one runs at a time, as a shell and its commands do. With tasks that want to run at
//! the same time the leash takes CPUs away. That shows in how long they wait for the CPU that they were given: then it
//! is off for a while.

/// So many stops ...
const STOPS: u32 = 8;
/// ... in this time, whoever makes them, are many.
const WINDOW: u64 = 2_000_000;
/// How often it is seen to whether tasks are quiet, or in each other's way.
pub const TICK: u64 = 5_000_000;
/// How long the leash is off at first when tasks were in each other's way, and at most when they are every time.
const PAUSES: (u64, u64) = (50_000_000, 1_600_000_000);
/// For so long they must not have been to begin with the short pause again.
const CALM: u64 = 100_000_000;

/// How thick stops come.
#[derive(Debug, Default)]
pub struct Rate {
    /// Where the window begins, and the stops in it.
    since: u64,
    stops: u32,
}

impl Rate {
    /// A task stops at `now`. Whether it was one stop of many.
    pub fn stopped(&mut self, now: u64) -> bool {
        if self.stops == 0 || now - self.since > WINDOW {
            (self.since, self.stops) = (now, 0);
        }
        self.stops += 1;
        self.stops >= STOPS
    }
}

/// Whether leashed tasks are in each other's way.
#[derive(Debug)]
pub struct Strain {
    pause: u64,
    calm: u64,
}

impl Default for Strain {
    fn default() -> Self {
        Strain { pause: PAUSES.0, calm: 0 }
    }
}

impl Strain {
    /// In the last `elapsed` nanoseconds the leashed tasks were ready to run and did not for `waited` nanoseconds in
    /// all. Returns for how long the leash has to be off, if it has to.
    ///
    /// A task that is alone with the tracer waits for the end of the tracer's turn, a small part of the time.
    pub fn pause(&mut self, elapsed: u64, waited: u64) -> Option<u64> {
        if waited <= elapsed / 5 * 3 {
            self.calm = self.calm.saturating_add(elapsed);
            if self.calm >= CALM {
                self.pause = PAUSES.0;
            }
            return None;
        }
        self.calm = 0;
        let pause = self.pause;
        self.pause = (2 * pause).min(PAUSES.1);
        Some(pause)
    }
}

/// The time that a task was ready to run and did not, of the text of `/proc/PID/schedstat`.
pub fn waited(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn stops_are_many_when_they_come_thick() {
        for (what, stops, apart, expected) in [
            ("not yet", 7, 20, false),
            ("many", 8, 20, true),
            ("just", 8, 285, true),
            ("too slowly", 1000, 300, false),
            ("for long", 10_000, 60, true),
        ] {
            let mut rate = Rate::default();
            assert_eq!((0..stops).any(|n| rate.stopped(n * apart * 1000)), expected, "{what}");
        }
    }

    #[test]
    fn after_silence_they_have_to_be_many_again() {
        let mut rate = Rate::default();
        assert!((0..20).any(|n| rate.stopped(n * 20_000)));
        let again: Vec<bool> = (0..9).map(|n| rate.stopped(10 * MS + n * 20_000)).collect();
        assert_eq!(again, [false, false, false, false, false, false, false, true, true]);
    }

    #[test]
    fn who_waits_long_is_let_go_for_longer_each_time() {
        let mut strain = Strain::default();
        assert_eq!(strain.pause(5 * MS, MS), None, "one task waits for the tracer");
        assert_eq!(strain.pause(5 * MS, 3 * MS), None);
        let pauses: Vec<u64> = (0..7).filter_map(|_| strain.pause(5 * MS, 5 * MS)).map(|pause| pause / MS).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 1600]);
        assert_eq!(strain.pause(50 * MS, 0), None);
        assert_eq!(strain.pause(5 * MS, 20 * MS), Some(1600 * MS), "calm for a short time");
        assert_eq!(strain.pause(100 * MS, 0), None);
        assert_eq!(strain.pause(5 * MS, 20 * MS), Some(50 * MS));
    }

    #[test]
    fn the_second_number_is_the_wait() {
        assert_eq!(waited("8271040 151012 27\n"), Some(151_012));
        assert_eq!(waited(""), None);
        assert_eq!(waited("0 x 0"), None);
    }
}
