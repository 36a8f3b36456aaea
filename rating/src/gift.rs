//! Gift time of packages: seconds that are paid already (billing.md section 5, step 5 of section 2).

use serde::{Deserialize, Serialize};

use crate::error::{BillingError, OrOverflow, OutOfRange};
use crate::text::Text;

/// Gift time that a leg may use: chosen by prefix, daily window and order of the packages before the leg is rated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gift {
    /// Which gift, for the proof: package and row.
    pub package: Text,
    /// It is used in cycles of so many seconds, 1 or more (`billingTime`).
    pub cycle_s: u32,
    /// Seconds that are left of it for this leg.
    pub left_s: i64,
}

/// What gifts pay of a leg.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// Seconds that are still to be charged.
    pub left_s: i64,
    /// Seconds that were paid.
    pub suite_s: i64,
    /// Seconds taken from each gift, whole cycles.
    pub used_s: Vec<i64>,
}

/// Takes `charge_s` seconds from the gifts in their order, each in whole cycles.
pub(crate) fn give(charge_s: i64, gifts: &[Gift]) -> Result<Given, BillingError> {
    let mut given = Given { left_s: charge_s, suite_s: 0, used_s: Vec::with_capacity(gifts.len()) };
    for gift in gifts {
        if gift.cycle_s == 0 {
            return Err(OutOfRange::new("billing_time", 0, "1 s or more").into());
        }
        let used_s = needed(given.left_s, gift.cycle_s)?.min(whole_cycles(gift.left_s, gift.cycle_s));
        let paid_s = used_s.min(given.left_s);
        given.suite_s += paid_s;
        given.left_s -= paid_s;
        given.used_s.push(used_s);
    }
    Ok(given)
}

/// Seconds of gift time that `charge_s` seconds take: whole cycles.
pub fn needed(charge_s: i64, cycle_s: u32) -> Result<i64, BillingError> {
    let cycle_s = i64::from(cycle_s.max(1));
    let cycles = charge_s / cycle_s + i64::from(charge_s % cycle_s > 0);
    cycles.checked_mul(cycle_s).or_overflow()
}

/// The part of `left_s` that is whole cycles; what is less than one cannot be used.
pub fn whole_cycles(left_s: i64, cycle_s: u32) -> i64 {
    let cycle_s = i64::from(cycle_s.max(1));
    left_s.max(0) / cycle_s * cycle_s
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gift(cycle_s: u32, left_s: i64) -> Gift {
        Gift { package: Text::default(), cycle_s, left_s }
    }

    #[test]
    fn gifts_are_used_in_order_and_in_whole_cycles() {
        let given = give(100, &[gift(60, 90), gift(6, 20), gift(1, 5)]).unwrap();
        // 60 of 90 (one cycle), 18 of 20 (three), 5 of 5; 17 s are left to charge.
        assert_eq!(given, Given { left_s: 17, suite_s: 83, used_s: vec![60, 18, 5] });
    }

    #[test]
    fn a_begun_cycle_is_taken_whole() {
        let given = give(61, &[gift(60, 600)]).unwrap();
        assert_eq!(given, Given { left_s: 0, suite_s: 61, used_s: vec![120] });
    }

    #[test]
    fn less_than_a_cycle_gives_nothing() {
        let given = give(10, &[gift(60, 59), gift(60, -1)]).unwrap();
        assert_eq!(given, Given { left_s: 10, suite_s: 0, used_s: vec![0, 0] });
    }

    #[test]
    fn absurd_values_are_errors() {
        assert!(give(1, &[gift(0, 10)]).unwrap_err().to_string().contains("billing_time is 0"));
        assert_eq!(give(i64::MAX, &[gift(60, i64::MAX)]), Err(BillingError::Overflow));
    }
}
