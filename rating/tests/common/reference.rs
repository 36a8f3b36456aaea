//! billing.md section 2 written a second time, with reduced fractions and nothing clever: the
//! integer path of the crate must give the same numbers.

use std::cmp::Ordering;

use rust_decimal::Decimal;
use tandem_rating::{BillingParams, RateTerms};

/// A reduced fraction; the denominator is above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    n: i128,
    d: i128,
}

impl Fraction {
    pub const ZERO: Fraction = Fraction { n: 0, d: 1 };

    pub fn new(n: i128, d: i128) -> Fraction {
        let (mut a, mut b) = (n.abs(), d.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = if d < 0 { -a.max(1) } else { a.max(1) };
        Fraction { n: n / divisor, d: d / divisor }
    }

    pub fn of(value: Decimal) -> Fraction {
        Fraction::new(value.mantissa(), 10_i128.pow(value.scale()))
    }

    pub fn whole(n: i64) -> Fraction {
        Fraction::new(i128::from(n), 1)
    }

    pub fn add(self, other: Fraction) -> Fraction {
        Fraction::new(self.n * other.d + other.n * self.d, self.d * other.d)
    }

    pub fn sub(self, other: Fraction) -> Fraction {
        self.add(Fraction::new(-other.n, other.d))
    }

    pub fn mul(self, other: Fraction) -> Fraction {
        Fraction::new(self.n * other.n, self.d * other.d)
    }

    pub fn div(self, other: Fraction) -> Fraction {
        self.mul(Fraction::new(other.d, other.n))
    }

    fn cmp(self, other: Fraction) -> Ordering {
        self.sub(other).n.cmp(&0)
    }

    /// floor(self + 1/2), for values that are not negative.
    fn nearest(self) -> Fraction {
        let moved = self.add(Fraction::new(1, 2));
        Fraction::new(moved.n.div_euclid(moved.d), 1)
    }
}

fn q(x: Fraction, step: Fraction) -> Fraction {
    if x == Fraction::ZERO {
        return x;
    }
    let rounded = qt(x, step);
    if rounded == Fraction::ZERO { step } else { rounded }
}

fn qt(x: Fraction, step: Fraction) -> Fraction {
    x.div(step).nearest().mul(step)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub hold_s: i64,
    pub charge_s: i64,
    pub billed_s: i64,
    pub raw: Fraction,
    pub fee: Fraction,
    pub tax: Fraction,
}

pub fn rate(hold_ms: i64, terms: &RateTerms, params: &BillingParams) -> Expected {
    // 1, 2: counted up second by second, so that no division is shared with the crate.
    let hold_ms = hold_ms.max(0);
    let fraction_ms = hold_ms - hold_ms / 1000 * 1000;
    let mut hold_s = (hold_ms - fraction_ms) / 1000;
    if fraction_ms != 0 && fraction_ms >= i64::from(params.p_hold_ms) {
        hold_s += 1;
    }
    // 3, 4
    let charge_s = (hold_s - i64::from(params.free_s)).max(0);
    let nothing =
        Expected { hold_s, charge_s, billed_s: 0, raw: Fraction::ZERO, fee: Fraction::ZERO, tax: Fraction::ZERO };
    if charge_s == 0 {
        return nothing;
    }
    // 6: laid block by block.
    let mut left_s = charge_s;
    let mut billed_s = 0;
    let mut block_s = 0;
    let mut sections_amount = Fraction::ZERO;
    let mut sections = terms.sections.clone();
    sections.sort_by_key(|section| section.position);
    for section in &sections {
        if left_s > 0 {
            sections_amount = sections_amount.add(Fraction::of(section.amount));
            billed_s += i64::from(section.time_s);
            left_s -= i64::from(section.time_s);
        }
    }
    let mut block = if sections.is_empty() { terms.first_s } else { terms.next_s };
    while left_s > 0 {
        block_s += i64::from(block);
        left_s -= i64::from(block);
        block = terms.next_s;
    }
    billed_s += block_s;
    // 7 to 11
    let step = Fraction::new(1, 10_i128.pow(u32::from(params.fp)));
    let mut rate = Fraction::of(terms.rate_per_min);
    if params.quantise_rate {
        rate = q(rate, step);
    }
    let raw = Fraction::of(terms.conn_fee)
        .add(sections_amount)
        .add(rate.mul(Fraction::whole(block_s)).div(Fraction::whole(60)));
    let fee = q(q(raw, step), Fraction::of(params.fu));
    let tax = qt(fee.mul(Fraction::of(terms.tax_pct)).div(Fraction::whole(100)), step);
    Expected { billed_s, raw, fee, tax, ..nothing }
}

/// The call is never cheaper: for the tests that compare two fees.
pub fn at_most(a: Fraction, b: Fraction) -> bool {
    a.cmp(b) != Ordering::Greater
}
