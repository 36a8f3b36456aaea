//! Steps 8 to 11 of billing.md section 2: from blocks to fee and tax, in units of 10^-8.

use crate::fee::Stretch;
use crate::money::UNITS_PER_ONE;
use crate::round::{Count, Least, round_in};

/// What goes into the sums besides the blocks; all in units, steps above zero.
pub(crate) struct Sums {
    /// Connection fee and sections.
    pub fixed: i128,
    /// Tax in percent.
    pub tax_pct: i128,
    /// Step of the fee precision.
    pub fp_step: i128,
    /// Fee unit.
    pub fee_unit: i128,
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Worked {
    /// Step 8, in 1/60 of a unit.
    pub raw: i128,
    /// Step 9.
    pub precise: i128,
    /// Step 10.
    pub fee: i128,
    /// Step 11.
    pub tax: i128,
}

impl Sums {
    /// Steps 8 to 11. `None`: an amount beyond 128 bits.
    #[inline]
    pub(crate) fn work(&self, blocks: &[Stretch]) -> Option<Worked> {
        // What fits the narrow width at every step comes out the same in the wide one.
        self.work_in::<i64>(blocks).or_else(|| self.work_in::<i128>(blocks))
    }

    #[inline]
    fn work_in<T: Count>(&self, blocks: &[Stretch]) -> Option<Worked> {
        let count = T::of;
        let mut raw = count(self.fixed)?.times(count(60)?)?;
        for block in blocks {
            raw = raw.plus(count(block.rate_units)?.times(count(block.block_s.into())?)?)?;
        }
        let (fp_step, fee_unit, tax_pct) = (count(self.fp_step)?, count(self.fee_unit)?, count(self.tax_pct)?);
        let precise = round_in(raw, count(60)?, fp_step, Least::OneStep)?;
        // A multiple of the step is not rounded again by the same step, and nothing has no tax.
        let fee = if fee_unit == fp_step { precise } else { round_in(precise, count(1)?, fee_unit, Least::OneStep)? };
        let tax = if fee == T::ZERO || tax_pct == T::ZERO {
            T::ZERO
        } else {
            round_in(fee.times(tax_pct)?, count(100 * UNITS_PER_ONE)?, fp_step, Least::Nothing)?
        };
        Some(Worked { raw: raw.wide(), precise: precise.wide(), fee: fee.wide(), tax: tax.wide() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_length(bits: u32) -> impl Strategy<Value = i128> {
        (any::<u64>(), 1..=bits).prop_map(|(number, shift)| i128::from(number >> shift))
    }

    #[test]
    fn a_sum_beyond_the_narrow_width_is_taken_in_the_wide_one() {
        // Both parts fit 64 bits, their sum does not.
        let sums = Sums { fixed: 150_000_000_000_000_000, tax_pct: 0, fp_step: 10_000, fee_unit: 10_000 };
        let blocks = [Stretch { rate_units: 9_000_000_000, block_s: 1_000_000_000 }];
        assert_eq!(sums.work_in::<i64>(&blocks), None);
        assert_eq!(sums.work(&blocks).map(|worked| worked.raw), Some(18_000_000_000_000_000_000));
    }

    proptest! {
        /// The shortcuts and the width change nothing: against every step taken in 128 bits.
        #[test]
        fn the_narrow_way_is_the_long_way(
            fixed in any_length(63), tax_pct in prop_oneof![Just(0), any_length(63)], fp in 0_u32..5,
            unit in prop_oneof![Just(None), any_length(60).prop_map(Some)],
            blocks in prop::collection::vec((any_length(63), any_length(63)), 0..3),
        ) {
            let fp_step = 10_i128.pow(8 - fp);
            let sums = Sums { fixed, tax_pct, fp_step, fee_unit: unit.map_or(fp_step, |unit| unit.max(1)) };
            let blocks: Vec<Stretch> = blocks
                .into_iter()
                .map(|(rate_units, block_s)| Stretch { rate_units, block_s: block_s as i64 })
                .collect();
            let long = || {
                let raw = blocks.iter().try_fold(fixed.checked_mul(60)?, |sum: i128, block| {
                    sum.checked_add(block.rate_units.checked_mul(block.block_s.into())?)
                })?;
                let precise = round_in(raw, 60, fp_step, Least::OneStep)?;
                let fee = round_in(precise, 1, sums.fee_unit, Least::OneStep)?;
                let tax = round_in(fee.checked_mul(tax_pct)?, 100 * UNITS_PER_ONE, fp_step, Least::Nothing)?;
                Some(Worked { raw, precise, fee, tax })
            };
            prop_assert_eq!(sums.work(&blocks), long());
            prop_assert_eq!(sums.work_in::<i128>(&blocks), long());
        }
    }
}
