//! The two roundings of billing.md section 2 on whole numbers, in the two widths that fees are worked out in.
//!
//! Nearly every amount fits 64 bits, where a product is one instruction and a division some twenty times as fast as one of 128.
//! Both widths are the same code over [`Count`]; nothing wraps in either: what does not fit is `None`, and the caller goes on
//! with the wider one or reports an overflow.

/// A whole number that amounts are counted in.
pub(crate) trait Count: Copy + Eq {
    /// Nothing.
    const ZERO: Self;
    /// `units` in this width, if it fits.
    fn of(units: i128) -> Option<Self>;
    /// In the greatest width.
    fn wide(self) -> i128;
    /// The sum, if it fits.
    fn plus(self, other: Self) -> Option<Self>;
    /// The product, if it fits.
    fn times(self, other: Self) -> Option<Self>;
    /// -1, 0 or 1.
    fn sign(self) -> Self;
    /// The nearest whole number to `self / divisor`, ties away from zero. `divisor` is above zero.
    fn nearest(self, divisor: Self) -> Self;
}

impl Count for i64 {
    const ZERO: i64 = 0;

    #[inline]
    fn of(units: i128) -> Option<i64> {
        i64::try_from(units).ok()
    }

    #[inline]
    fn wide(self) -> i128 {
        self.into()
    }

    #[inline]
    fn plus(self, other: i64) -> Option<i64> {
        self.checked_add(other)
    }

    #[inline]
    fn times(self, other: i64) -> Option<i64> {
        self.checked_mul(other)
    }

    #[inline]
    fn sign(self) -> i64 {
        self.signum()
    }

    #[inline]
    fn nearest(self, divisor: i64) -> i64 {
        let (quotient, rest) = (self / divisor, (self % divisor).unsigned_abs());
        // "At least half" without doubling, which could overflow. With a rest the quotient is half of the range at most.
        let up = rest >= divisor.unsigned_abs() - rest;
        quotient + if up { self.signum() } else { 0 }
    }
}

impl Count for i128 {
    const ZERO: i128 = 0;

    #[inline]
    fn of(units: i128) -> Option<i128> {
        Some(units)
    }

    #[inline]
    fn wide(self) -> i128 {
        self
    }

    #[inline]
    fn plus(self, other: i128) -> Option<i128> {
        self.checked_add(other)
    }

    #[inline]
    fn times(self, other: i128) -> Option<i128> {
        self.checked_mul(other)
    }

    #[inline]
    fn sign(self) -> i128 {
        self.signum()
    }

    #[inline]
    fn nearest(self, divisor: i128) -> i128 {
        let (quotient, rest) = (self / divisor, (self % divisor).unsigned_abs());
        let up = rest >= divisor.unsigned_abs() - rest;
        quotient + if up { self.signum() } else { 0 }
    }
}

/// Whether a nonzero amount may round to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Least {
    /// Q: at least one step.
    OneStep,
    /// Qt: half up and no more.
    Nothing,
}

/// `numerator / denominator` units, rounded to a multiple of `step` units. `None`: something does not fit. `denominator` and
/// `step` must be above zero.
#[inline]
pub(crate) fn round_in<T: Count>(numerator: T, denominator: T, step: T, least: Least) -> Option<T> {
    let whole_step = denominator.times(step)?;
    let mut steps = numerator.nearest(whole_step);
    if steps == T::ZERO && least == Least::OneStep {
        steps = numerator.sign();
    }
    steps.times(step)
}

/// [`round_in`] the narrow width where that will do.
#[inline]
pub(crate) fn round_units(numerator: i128, denominator: i128, step: i128, least: Least) -> Option<i128> {
    debug_assert!(denominator > 0 && step > 0);
    let narrow = || Some(round_in(i64::of(numerator)?, i64::of(denominator)?, i64::of(step)?, least)?.wide());
    narrow().or_else(|| round_in(numerator, denominator, step, least))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The nearest whole number by its definition: the exact distance to it is at most half, and half goes away from zero.
    fn is_nearest(n: i64, d: i64, found: i64) -> bool {
        let (n, d, found) = (i128::from(n), i128::from(d), i128::from(found));
        let distance = (n - found * d) * 2;
        let further = found.unsigned_abs() * d.unsigned_abs() >= n.unsigned_abs();
        distance.abs() < d || (distance.abs() == d && further)
    }

    #[test]
    fn the_ends_of_the_narrow_width() {
        for n in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
            for d in [1, 2, 3, i64::MAX - 1, i64::MAX] {
                assert!(is_nearest(n, d, n.nearest(d)), "{n} / {d}");
            }
        }
        assert_eq!(round_in(i64::MAX, 1, i64::MAX - 1, Least::Nothing), Some(i64::MAX - 1));
        assert_eq!(round_in(i64::MAX, i64::MAX, 2, Least::Nothing), None);
        assert_eq!(round_in(i64::MAX, 1, 2, Least::Nothing), None, "the next multiple is beyond the range");
        assert_eq!(round_units(i64::MAX.into(), 1, 2, Least::Nothing), Some(i128::from(i64::MAX) + 1));
        assert_eq!(round_units(i128::MAX, 1, 2, Least::Nothing), None);
        assert_eq!(round_units(i128::MAX, i128::MAX, 2, Least::Nothing), None);
        assert_eq!(round_units(i128::MIN, 1, 1, Least::Nothing), Some(i128::MIN));
    }

    /// Numbers of every length, small ones as often as large ones.
    fn any_length() -> impl Strategy<Value = i64> {
        (any::<i64>(), 0_u32..64).prop_map(|(number, shift)| number >> shift)
    }

    proptest! {
        #[test]
        fn narrow_is_wide_or_nothing(n in any_length(), d in any_length(), step in any_length()) {
            let (d, step) = (d.saturating_abs().max(1), step.saturating_abs().max(1));
            prop_assert!(is_nearest(n, d, n.nearest(d)));
            prop_assert_eq!(i128::from(n.nearest(d)), i128::from(n).nearest(d.into()));
            for least in [Least::OneStep, Least::Nothing] {
                let wide = round_in(i128::from(n), d.into(), step.into(), least);
                if let Some(narrow) = round_in(n, d, step, least) {
                    prop_assert_eq!(Some(i128::from(narrow)), wide);
                }
                prop_assert_eq!(round_units(n.into(), d.into(), step.into(), least), wide);
            }
        }
    }
}
