//! Time as the pure rooms see it: an argument.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A monotonic instant in microseconds since an origin that the caller chose (boot for the daemon, 0 for a ladder).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// The origin.
    pub const ZERO: Time = Time(0);

    /// An instant `ms` milliseconds after the origin.
    pub const fn from_millis(ms: u64) -> Time {
        Time(ms * 1_000)
    }

    /// An instant `s` seconds after the origin.
    pub const fn from_secs(s: u64) -> Time {
        Time(s * 1_000_000)
    }

    /// Microseconds since the origin.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin, rounded down.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000
    }

    /// `self - earlier` in microseconds, zero when `earlier` is later.
    pub const fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This instant moved on by `us` microseconds, saturating.
    pub const fn plus_micros(self, us: u64) -> Time {
        Time(self.0.saturating_add(us))
    }

    /// This instant moved on by `ms` milliseconds, saturating.
    pub const fn plus_millis(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms.saturating_mul(1_000)))
    }

    /// This instant moved on by `s` seconds, saturating.
    pub const fn plus_secs(self, s: u64) -> Time {
        self.plus_millis(s.saturating_mul(1_000))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Time {
    type Output = Duration;
    fn sub(self, earlier: Time) -> Duration {
        Duration::from_micros(self.since(earlier))
    }
}

/// The two clocks a call needs: the monotonic one measures, the wall one dates (spec billing.md 6.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; every duration is a difference of these.
    pub mono: Time,
    /// UTC milliseconds since 1970; may step.
    pub wall_ms: i64,
}

impl Now {
    /// Both clocks `us` microseconds later; for tests and the simulator.
    pub fn plus_micros(self, us: u64) -> Now {
        Now { mono: self.mono.plus_micros(us), wall_ms: self.wall_ms + (us / 1_000) as i64 }
    }
}
