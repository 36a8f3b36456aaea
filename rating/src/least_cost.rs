//! Order by cost and the profit guard of routing (rates.md section 9).
//!
//! Rates are compared un-quantised: what a vendor asks, not what is booked for one call.

use std::fmt;

use rust_decimal::Decimal;

use crate::money::{self, RawFee};

/// An exact price per second; ordered from cheap to dear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PerSecond {
    /// Units of 10^-8 per 60 s: the fraction is this over 60 * 10^8. Rates are below 10^18 of them.
    rate_units: i64,
}

/// The price of one second at `rate_per_min`, as an exact fraction.
///
/// A rate of a deck has at most 10 digits before the point and 8 after it. What no deck accepts is brought to that: finer
/// digits round half up, larger rates count as 92,233,720,368 a minute.
pub fn per_second(rate_per_min: Decimal) -> PerSecond {
    let units = money::units_rounded(rate_per_min).clamp(i64::MIN.into(), i64::MAX.into());
    PerSecond { rate_units: units as i64 }
}

impl PerSecond {
    /// True when a second costs more than `limit`.
    pub fn is_above(self, limit: SecondLimit) -> bool {
        i128::from(self.rate_units) > limit.minute_units
    }

    /// A number in the order of prices, for those who sort by more than the price.
    pub fn order(self) -> u64 {
        // The order of signed numbers is that of their bits with the sign turned.
        self.rate_units as u64 ^ 1 << 63
    }

    /// The price of 60 s, without zeros at the end.
    pub fn per_minute(self) -> Decimal {
        // 64 bits always fit.
        money::decimal_from_units(self.rate_units.into()).unwrap_or(Decimal::MAX)
    }
}

impl fmt::Display for PerSecond {
    /// A decimal when that is exact, otherwise a reduced fraction ("1/60").
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RawFee::from_numerator(self.rate_units.into()).fmt(f)
    }
}

/// The most a second may cost (`maxSecondRates`: a price per second, 0.6 per minute is 0.01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecondLimit {
    minute_units: i128,
}

impl SecondLimit {
    /// From the price of a second.
    pub fn of(price: Decimal) -> SecondLimit {
        SecondLimit { minute_units: money::units_rounded(price).saturating_mul(60) }
    }
}

/// Whether selling at `sell` what costs `cost` earns at least `min_percent` of the cost:
/// `(sell - cost) / cost * 100 >= min_percent`, without a division.
///
/// A free vendor is infinite profit when the customer pays anything, and 0 % when neither pays.
pub fn profit_percent_at_least(sell: PerSecond, cost: PerSecond, min_percent: i32) -> bool {
    if cost.rate_units == 0 {
        return sell.rate_units > 0 || min_percent <= 0;
    }
    // 65 bits times 7, and 64 times 32: far inside 128.
    let profit = i128::from(sell.rate_units) - i128::from(cost.rate_units);
    profit * 100 >= i128::from(cost.rate_units) * i128::from(min_percent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::parse_decimal;

    fn dec(text: &str) -> Decimal {
        parse_decimal(text).unwrap()
    }

    fn limit(text: &str) -> SecondLimit {
        SecondLimit::of(dec(text))
    }

    fn profit(sell: &str, cost: &str, min_percent: i32) -> bool {
        profit_percent_at_least(per_second(dec(sell)), per_second(dec(cost)), min_percent)
    }

    #[test]
    fn a_second_of_a_minute_rate_is_exact() {
        assert_eq!(per_second(dec("0.6")).to_string(), "0.01");
        assert_eq!(per_second(dec("1")).to_string(), "1/60");
        assert_eq!(per_second(dec("0.0100")).per_minute().to_string(), "0.01");
    }

    #[test]
    fn what_no_deck_accepts_stays_in_order() {
        let costs = [Decimal::MIN, dec("0"), dec("9999999999.99999999"), Decimal::MAX].map(per_second);
        assert!(costs.is_sorted() && costs[2] < costs[3]);
        let orders = costs.map(PerSecond::order);
        assert!(orders.is_sorted() && orders[2] < orders[3]);
        assert!(profit_percent_at_least(costs[3], costs[2], 800) && !profit_percent_at_least(costs[2], costs[3], 1));
        assert!(!costs[3].is_above(SecondLimit::of(Decimal::MAX)));
    }

    #[test]
    fn limits_compare_per_second() {
        assert!(!per_second(dec("0.6")).is_above(limit("0.01")));
        assert!(per_second(dec("0.60000001")).is_above(limit("0.01")));
        assert!(!per_second(dec("0")).is_above(limit("0")));
    }

    #[test]
    fn cheaper_sorts_first() {
        let mut costs = [dec("0.02"), dec("0.0199999"), dec("0"), dec("1")].map(per_second);
        costs.sort();
        assert_eq!(costs, [dec("0"), dec("0.0199999"), dec("0.02"), dec("1")].map(per_second));
    }

    #[test]
    fn profit_is_measured_on_the_cost() {
        assert!(profit("0.012", "0.01", 20));
        assert!(!profit("0.012", "0.01", 21));
        assert!(profit("0.01", "0.01", 0));
        assert!(!profit("0.01", "0.01", 1));
        assert!(profit("0.005", "0.01", -50));
        assert!(!profit("0.005", "0.01", -49));
        assert!(profit("0", "0.01", -100));
        assert!(profit("0", "0.01", -10000));
    }

    #[test]
    fn a_free_vendor_passes_unless_both_are_free() {
        assert!(profit("0.01", "0", 10000));
        assert!(profit("0", "0", 0));
        assert!(profit("0", "0", -1));
        assert!(!profit("0", "0", 1));
    }
}
