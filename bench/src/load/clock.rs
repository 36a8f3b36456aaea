//! The two clocks of the generator, in nanoseconds.
//!
//! The schedule runs on the monotonic clock. The kernel stamps arrivals with the wall clock, so each turn reads both and
//! carries stamps over; a step of the wall clock then spoils one turn, not the run.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub(crate) const MILLISECOND: u64 = 1_000_000;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// CLOCK_MONOTONIC.
    pub(crate) steady: u64,
    /// CLOCK_REALTIME.
    pub(crate) wall: u64,
}

impl Moment {
    /// Now.
    pub(crate) fn now() -> Moment {
        Moment { steady: read(ClockId::CLOCK_MONOTONIC), wall: read(ClockId::CLOCK_REALTIME) }
    }

    /// The steady time of a stamp of the wall clock; never later than this moment.
    pub(crate) fn steady_of(&self, wall: u64) -> u64 {
        self.steady.saturating_sub(self.wall.saturating_sub(wall))
    }

    /// The wall time of a steady time, which may lie ahead.
    pub(crate) fn wall_of(&self, steady: u64) -> u64 {
        if steady >= self.steady { self.wall + (steady - self.steady) } else { self.wall - (self.steady - steady) }
    }
}

fn read(id: ClockId) -> u64 {
    // Linux has both clocks; a kernel that refuses them runs nothing else either.
    clock_gettime(id).map_or(0, |time| time.tv_sec() as u64 * SECOND + time.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_carried_from_one_clock_to_the_other() {
        let now = Moment { steady: 1_000, wall: 50_000 };
        assert_eq!(now.steady_of(49_900), 900);
        assert_eq!(now.steady_of(50_100), 1_000, "a stamp from ahead is now");
        assert_eq!(now.wall_of(1_300), 50_300);
        assert_eq!(now.wall_of(400), 49_400);
    }
}
