//! Order by cost and the profit guard of routing (rates.md section 9).
//!
//! Rates are compared un-quantised: what a vendor asks, not what is booked for one call.

use std::fmt;

use rust_decimal::Decimal;

use crate::money::{self, RawFee};

/// An exact price per second; ordered from cheap to dear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PerSecond {
    /// Units of 10^-8 per 60 s: the fraction is this over 60 * 10^8.
    rate_units: i128,
}

/// The price of one second at `rate_per_min`, as an exact fraction.
///
/// A rate of a deck has at most 8 decimals; finer digits, which no deck accepts, round half up.
pub fn per_second(rate_per_min: Decimal) -> PerSecond {
    PerSecond { rate_units: money::units_rounded(rate_per_min) }
}

impl PerSecond {
    /// True when a second costs more than `limit` (`maxSecondRates`: a price per second, 0.6 per
    /// minute is 0.01).
    pub fn is_above(self, limit: Decimal) -> bool {
        self.rate_units > money::units_rounded(limit).saturating_mul(60)
    }
}

impl fmt::Display for PerSecond {
    /// A decimal when that is exact, otherwise a reduced fraction ("1/60").
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RawFee::from_numerator(self.rate_units).fmt(f)
    }
}

/// Whether selling at `sell` what costs `cost` earns at least `min_percent` of the cost:
/// `(sell - cost) / cost * 100 >= min_percent`, without a division.
///
/// A free vendor is infinite profit when the customer pays anything, and 0 % when neither pays.
pub fn profit_percent_at_least(sell: PerSecond, cost: PerSecond, min_percent: Decimal) -> bool {
    let min_units = money::units_rounded(min_percent);
    if cost.rate_units == 0 {
        return sell.rate_units > 0 || min_units <= 0;
    }
    // Rates are below 2^64 units and percents below 2^50: the products stay far inside i128. The
    // saturation only matters for numbers that no deck accepts.
    let profit = sell.rate_units.saturating_sub(cost.rate_units).saturating_mul(100 * money::UNITS_PER_ONE);
    profit >= cost.rate_units.saturating_mul(min_units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::parse_decimal;

    fn dec(text: &str) -> Decimal {
        parse_decimal(text).unwrap()
    }

    fn profit(sell: &str, cost: &str, min_percent: &str) -> bool {
        profit_percent_at_least(per_second(dec(sell)), per_second(dec(cost)), dec(min_percent))
    }

    #[test]
    fn a_second_of_a_minute_rate_is_exact() {
        assert_eq!(per_second(dec("0.6")).to_string(), "0.01");
        assert_eq!(per_second(dec("1")).to_string(), "1/60");
    }

    #[test]
    fn limits_compare_per_second() {
        assert!(!per_second(dec("0.6")).is_above(dec("0.01")));
        assert!(per_second(dec("0.60000001")).is_above(dec("0.01")));
        assert!(!per_second(dec("0")).is_above(dec("0")));
    }

    #[test]
    fn cheaper_sorts_first() {
        let mut costs = [dec("0.02"), dec("0.0199999"), dec("0"), dec("1")].map(per_second);
        costs.sort();
        assert_eq!(costs, [dec("0"), dec("0.0199999"), dec("0.02"), dec("1")].map(per_second));
    }

    #[test]
    fn profit_is_measured_on_the_cost() {
        assert!(profit("0.012", "0.01", "20"));
        assert!(!profit("0.012", "0.01", "20.00001"));
        assert!(profit("0.01", "0.01", "0"));
        assert!(!profit("0.01", "0.01", "0.1"));
        assert!(profit("0.005", "0.01", "-50"));
        assert!(!profit("0.005", "0.01", "-49"));
        assert!(profit("0", "0.01", "-100"));
        assert!(profit("0", "0.01", "-10000"));
    }

    #[test]
    fn a_free_vendor_passes_unless_both_are_free() {
        assert!(profit("0.01", "0", "10000"));
        assert!(profit("0", "0", "0"));
        assert!(profit("0", "0", "-1"));
        assert!(!profit("0", "0", "1"));
    }
}
