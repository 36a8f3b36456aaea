//! Time as counting needs it: cheap for most, exact for some.

/// Microseconds of a monotonic clock.
///
/// The kernel's exact clock costs more than all the rest of a packet, its coarse one (good to a tick, some
/// milliseconds) next to nothing. Only the jitter needs the exact one.
pub trait Clock: Copy {
    /// Of this many packets of a stream two neighbours are stamped exactly and give one sample of the jitter; 1: every
    /// packet is. A power of two.
    const JITTER_PERIOD: u64;

    /// Now, perhaps a tick ago.
    fn coarse_us(self) -> u64;

    /// Now.
    fn exact_us(self) -> u64;
}

/// A clock that was read already.
impl Clock for u64 {
    const JITTER_PERIOD: u64 = 1;

    #[inline(always)]
    fn coarse_us(self) -> u64 {
        self
    }

    #[inline(always)]
    fn exact_us(self) -> u64 {
        self
    }
}
