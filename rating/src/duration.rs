//! Hold time to billed time: billing.md section 2, steps 1 to 3 and 6.
//!
//! All times are whole milliseconds or whole seconds; the unit is the end of the name.

use crate::error::{BillingError, OrOverflow, OutOfRange};

/// Milliseconds in a second.
const MS_PER_S: i64 = 1000;

/// Held seconds of a call that lasted `hold_ms` (steps 1 and 2).
///
/// A negative duration (a clock that stepped back, X2) counts as zero. A fraction of a second
/// counts as a whole one when it is at least `p_hold_ms`; a fraction of exactly nothing never does,
/// not even at threshold 0 (C3, X3).
pub fn hold_s(hold_ms: i64, p_hold_ms: u16) -> i64 {
    let hold_ms = hold_ms.max(0);
    let whole_s = hold_ms / MS_PER_S;
    let rest_ms = hold_ms % MS_PER_S;
    let up = rest_ms > 0 && rest_ms >= i64::from(p_hold_ms);
    whole_s + i64::from(up)
}

/// Seconds left to charge after the free time (step 3); never negative.
pub fn charge_s(hold_s: i64, free_s: u32) -> i64 {
    hold_s.saturating_sub(i64::from(free_s)).max(0)
}

/// Billed seconds for `charge_s` in blocks of `first_s`, then `next_s` (step 6, without sections).
///
/// Zero or less to charge is zero billed. Errors: a block of 0 s, or a result beyond `i64`.
pub fn billed_s(charge_s: i64, first_s: u32, next_s: u32) -> Result<i64, BillingError> {
    if first_s == 0 {
        return Err(OutOfRange::new("first_s", first_s, "1 s or more").into());
    }
    if next_s == 0 {
        return Err(OutOfRange::new("next_s", next_s, "1 s or more").into());
    }
    if charge_s <= 0 {
        return Ok(0);
    }
    let (first_s, next_s) = (i64::from(first_s), i64::from(next_s));
    let rest_s = (charge_s - first_s).max(0);
    let blocks = rest_s / next_s + i64::from(rest_s % next_s > 0);
    blocks.checked_mul(next_s).and_then(|blocks_s| blocks_s.checked_add(first_s)).or_overflow()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_zero_rounds_up_only_a_fraction_that_exists() {
        assert_eq!(hold_s(21_000, 0), 21);
        assert_eq!(hold_s(21_001, 0), 22);
    }

    #[test]
    fn the_threshold_itself_rounds_up() {
        assert_eq!(hold_s(21_049, 50), 21);
        assert_eq!(hold_s(21_050, 50), 22);
        assert_eq!(hold_s(21_998, 999), 21);
        assert_eq!(hold_s(21_999, 999), 22);
    }

    #[test]
    fn a_clock_step_back_is_zero() {
        assert_eq!(hold_s(-1500, 50), 0);
        assert_eq!(hold_s(i64::MIN, 0), 0);
    }

    #[test]
    fn the_longest_duration_does_not_overflow() {
        assert_eq!(hold_s(i64::MAX, 0), i64::MAX / 1000 + 1);
        assert!(billed_s(i64::MAX, 60, 60).is_err());
        assert_eq!(billed_s(i64::MAX, 1, 1).unwrap(), i64::MAX);
    }

    #[test]
    fn free_time_never_makes_a_negative_duration() {
        assert_eq!(charge_s(5, 6), 0);
        assert_eq!(charge_s(6, 6), 0);
        assert_eq!(charge_s(7, 6), 1);
    }

    #[test]
    fn blocks_thirty_six() {
        for (charge, billed) in [(0, 0), (1, 30), (30, 30), (31, 36), (36, 36), (37, 42)] {
            assert_eq!(billed_s(charge, 30, 6).unwrap(), billed, "{charge} s at 30/6");
        }
    }

    #[test]
    fn a_block_of_zero_seconds_is_refused_by_name() {
        let text = billed_s(1, 0, 6).unwrap_err().to_string();
        assert!(text.contains("first_s is 0"), "{text}");
        let text = billed_s(1, 6, 0).unwrap_err().to_string();
        assert!(text.contains("next_s is 0"), "{text}");
    }
}
