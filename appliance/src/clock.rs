//! The only place that reads the clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tandem_leg::{Now, Time};

/// Reads both clocks; every thread has a copy with the same origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic origin is now.
    pub fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Both clocks now.
    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        // A machine whose clock stands before 1970 gets dates from 1970 on; durations are not touched by it.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: Time(mono), wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX) }
    }
}
