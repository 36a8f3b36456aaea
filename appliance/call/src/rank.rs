//! What routes are sorted by, before the weight (spec routing.md R-D12).

use tandem_rating::least_cost::PerSecond;
use tandem_rating::prefix::PREFIX_LEN_MAX;

use crate::settings::SortPlace;
use crate::snapshot::{MappingGateway, RoutePolicy, Snapshot};

/// Which keys of R-D12 count for a mapping gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// The price, before the priority.
    cost_first: bool,
    /// The price, behind the priority: the system's setting there, or a policy of the mapping gateway. One after another
    /// they say the same.
    cost_then: bool,
}

/// All that R-D12 compares, in one number, so that sorting compares numbers: the least comes first, and equals are equal in
/// every part that counts.
///
/// From the highest bits: protect routes after all others; the longest prefix first; then price and priority, or priority and
/// price, as far as the price counts; then least-cost gateways, cheap first, before the others of their class. A price that was
/// compared is not compared again.
pub(crate) type Key = u128;

/// Bits of a price in a [`Key`].
const COST_BITS: u32 = 64;
/// Bits of a priority.
const PRIORITY_BITS: u32 = 32;
/// Bits of the length of a prefix.
const LENGTH_BITS: u32 = 7;
const _: () = assert!(PREFIX_LEN_MAX < 1 << LENGTH_BITS && LENGTH_BITS + PRIORITY_BITS + COST_BITS + 2 <= Key::BITS);

/// A gateway as far as R-D12 looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranked {
    /// A protect route.
    pub protect: bool,
    /// Length of the matching prefix, at most [`PREFIX_LEN_MAX`].
    pub prefix_len: usize,
    /// Low first.
    pub priority: i32,
    /// Before the others of its class, cheap first.
    pub least_cost: bool,
    /// The vendor's price; one that is not known is behind all others.
    pub cost: Option<PerSecond>,
}

impl Order {
    /// For calls of `mapping`.
    pub(crate) fn of(snapshot: &Snapshot, mapping: &MappingGateway) -> Order {
        let own_policy = mapping.first_policy != RoutePolicy::None;
        let system = if own_policy { SortPlace::None } else { snapshot.settings.cost_sort };
        let policies = [mapping.first_policy, mapping.second_policy];
        Order {
            cost_first: system == SortPlace::BeforePriority,
            cost_then: system == SortPlace::AfterPriority || policies.contains(&RoutePolicy::LowestRate),
        }
    }

    /// R-D12. Not measured yet, so always equal: the real-time ASR (switched off by default, R-D14) and the utilisation,
    /// which only the rating thread knows.
    pub(crate) fn key(self, of: &Ranked) -> Key {
        // Rates are below 10^18 units, so that the greatest price is none.
        let cost = Key::from(of.cost.map_or(u64::MAX, |cost| cost.order().min(u64::MAX - 1)));
        // The order of signed numbers is that of their bits with the sign turned.
        let priority = Key::from(of.priority as u32 ^ 1 << (PRIORITY_BITS - 1));
        let shorter = PREFIX_LEN_MAX.saturating_sub(of.prefix_len) as Key;
        let class = Key::from(of.protect) << LENGTH_BITS | shorter;
        let not_least_cost = Key::from(!of.least_cost);
        if self.cost_first {
            return ((class << COST_BITS | cost) << PRIORITY_BITS | priority) << 1 | not_least_cost;
        }
        let class = class << PRIORITY_BITS | priority;
        if self.cost_then {
            return (class << COST_BITS | cost) << 1 | not_least_cost;
        }
        let least_cost = if of.least_cost { cost } else { 0 };
        (class << 1 | not_least_cost) << COST_BITS | least_cost
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::{Ordering, Reverse};

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use rust_decimal::Decimal;
    use tandem_rating::least_cost::per_second;

    use super::*;

    /// R-D12 part by part.
    fn compare(order: Order, a: &Ranked, b: &Ranked) -> Ordering {
        let parts = |of: &Ranked| {
            // Without a price last.
            let cost = (of.cost.is_none(), of.cost);
            (
                (of.protect, Reverse(of.prefix_len)),
                order.cost_first.then_some(cost),
                of.priority,
                order.cost_then.then_some(cost),
                !of.least_cost,
                of.least_cost.then_some(cost),
            )
        };
        parts(a).cmp(&parts(b))
    }

    #[test]
    fn one_number_sorts_as_the_parts_do() {
        let mut rng = StdRng::seed_from_u64(12);
        let mut equal = 0;
        for _ in 0..200_000 {
            let order = Order { cost_first: rng.random(), cost_then: rng.random() };
            let mut ranked = || {
                let rate = match rng.random_range(0..5) {
                    0 => None,
                    1 => Some(Decimal::ZERO),
                    2 => Some(Decimal::new(rng.random_range(0..3), 8)),
                    3 => Some(Decimal::new(rng.random_range(0..1_000_000_000_000_000_000), 8)),
                    _ => Some(Decimal::new(12, 3)),
                };
                Ranked {
                    protect: rng.random_bool(0.2),
                    prefix_len: [0, 1, 63, PREFIX_LEN_MAX][rng.random_range(0..4)],
                    priority: [i32::MIN, -1, 0, 1, i32::MAX][rng.random_range(0..5)],
                    least_cost: rng.random(),
                    cost: rate.map(per_second),
                }
            };
            let a = ranked();
            // Often only a part is another.
            let b = ranked();
            let b = Ranked { protect: a.protect, prefix_len: a.prefix_len, ..b };
            let b = if rng.random() { Ranked { priority: a.priority, ..b } } else { b };
            let b = if rng.random() { Ranked { cost: a.cost, ..b } } else { b };
            for b in [b, Ranked { protect: !a.protect, ..b }, Ranked { prefix_len: 7, ..b }] {
                let expected = compare(order, &a, &b);
                equal += usize::from(expected.is_eq());
                assert_eq!(order.key(&a).cmp(&order.key(&b)), expected, "{order:?}: {a:?} and {b:?}");
            }
        }
        assert!(equal > 10_000, "{equal} were equal");
    }
}
