//! The only place that reads the clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tandem_leg::{Now, Time};

/// Reads both clocks. The monotonic one is that of the kernel since boot (`CLOCK_MONOTONIC`): all threads, the forwarding
/// program in the kernel and the next life of this process read the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Both clocks now.
    pub fn now(self) -> Now {
        let mono = clock_gettime(ClockId::Monotonic);
        // Neither part is ever negative on this clock.
        let mono = mono.tv_sec as u64 * 1_000_000 + mono.tv_nsec as u64 / 1_000;
        // A machine whose clock stands before 1970 gets dates from 1970 on; durations are not touched by it.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: Time(mono), wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX) }
    }
}
