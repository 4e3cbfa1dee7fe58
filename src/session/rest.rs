//! Whether an application is at rest: everything that runs there has been asleep for a while.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sandbox::Activity;

/// For how long an application has to sleep to be at rest: longer than the pauses in which a start consists of waiting.
const REST: Duration = Duration::from_secs(1);
/// How often somebody who waits for that looks.
pub const REST_LOOK: Duration = Duration::from_millis(100);

/// Since when all that runs there has been asleep, and what it was then.
#[derive(Default)]
pub struct Rest(Mutex<Option<(Instant, Activity)>>);

impl Rest {
    /// Whether it rests, as `now` shows; where nobody can look, nothing is known to rest.
    pub fn lasts(&self, now: io::Result<Activity>) -> bool {
        let Ok(now) = now else { return false };
        let mut asleep = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*asleep {
            Some((since, then)) if now.is_rest_since(then, since.elapsed().max(REST)) => since.elapsed() >= REST,
            _ => {
                *asleep = Some((Instant::now(), now));
                false
            }
        }
    }

    /// What was seen so far does not count any more.
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
