//! Flow numbers: the key of a call for life, in the CDR and in the ledger.

/// 2024-01-01T00:00:00Z, UTC ms.
const EPOCH_MS: i64 = 1_704_067_200_000;
/// 512 calls per shard and millisecond; more borrow from the next millisecond.
const COUNTER_BITS: u32 = 9;
/// Sixteen shards.
const SHARD_BITS: u32 = 4;
/// Below this every reader of JSON keeps a number exact.
pub const FLOW_NO_MAX: u64 = (1 << 53) - 1;

/// Gives out flow numbers: unique over all shards, rising on each shard, even when the clock steps back.
///
/// Milliseconds since 2024 (40 bits, to 2058), shard (4), counter (9).
#[derive(Debug)]
pub struct FlowNumbers {
    shard: u64,
    /// Milliseconds and counter of the last one.
    last: u64,
}

impl FlowNumbers {
    /// For `shard` (below 16); all numbers will be greater than `floor`.
    pub fn new(shard: u8, floor: u64) -> FlowNumbers {
        let floor_ms = floor >> (COUNTER_BITS + SHARD_BITS);
        FlowNumbers {
            shard: u64::from(shard) & ((1 << SHARD_BITS) - 1),
            // The first number of a later millisecond is greater, whatever shard made the floor.
            last: (floor_ms << COUNTER_BITS) | ((1 << COUNTER_BITS) - 1),
        }
    }

    /// The next one, at `wall_ms`.
    pub fn next(&mut self, wall_ms: i64) -> u64 {
        let now = (wall_ms.saturating_sub(EPOCH_MS).max(0) as u64) << COUNTER_BITS;
        self.last = now.max(self.last + 1);
        let (ms, counter) = (self.last >> COUNTER_BITS, self.last & ((1 << COUNTER_BITS) - 1));
        ((ms << (SHARD_BITS + COUNTER_BITS)) | (self.shard << COUNTER_BITS) | counter) & FLOW_NO_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = EPOCH_MS + 1_000;

    #[test]
    fn numbers_rise_and_stay_unique_when_the_clock_steps_back() {
        let mut a = FlowNumbers::new(0, 0);
        let mut b = FlowNumbers::new(1, 0);
        let mut seen = std::collections::BTreeSet::new();
        let mut last = 0;
        for n in 0..3_000 {
            let wall = if n < 1_500 { NOW } else { NOW - 60_000 };
            let number = a.next(wall);
            assert!(number > last && number <= FLOW_NO_MAX);
            last = number;
            assert!(seen.insert(number));
            assert!(seen.insert(b.next(wall)), "shards never meet");
        }
        assert!(a.next(NOW + 10_000) > last);
    }

    #[test]
    fn never_at_or_below_the_floor() {
        let mut old = FlowNumbers::new(15, 0);
        let floor = old.next(NOW + 5_000);
        for shard in 0..16 {
            assert!(FlowNumbers::new(shard, floor).next(NOW) > floor, "shard {shard}, clock behind the floor");
        }
    }
}
