//! Calls over a change of the price, for rate groups that split (billing.md section 6.a, `split_sections`).

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::error::{BillingError, OrOverflow, OutOfRange};
use crate::fee::{RateTerms, Tariff};

const MS_PER_S: i64 = 1000;

/// From an instant on another row is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateChange {
    /// UTC ms.
    pub from_ms: i64,
    /// The row.
    pub terms: RateTerms,
}

/// Lays blocks over `left_s` seconds that begin `before_s` held seconds after the answer: each takes the row in force at its
/// first instant and is not cut. Returns block seconds with their row, in order.
///
/// The first block is a first block of its row; when the call began with sections, it is a later one (billing.md 4).
pub(crate) fn lay<'a>(
    left_s: i64,
    before_s: i64,
    tariff: &Tariff<'a>,
) -> Result<SmallVec<[(i64, &'a RateTerms); 4]>, BillingError> {
    let mut laid = SmallVec::new();
    let (mut left_s, mut at_s) = (left_s, before_s);
    let mut next = 0;
    while left_s > 0 {
        let at_ms = instant(tariff.connect_ms, at_s)?;
        while tariff.changes.get(next).is_some_and(|change| change.from_ms <= at_ms) {
            next += 1;
        }
        let row = next.checked_sub(1).map_or(tariff.terms, |n| &tariff.changes[n].terms);
        let usual = if tariff.terms.sections.is_empty() { row.first_s } else { row.next_s };
        let opening = laid.is_empty().then_some(usual);
        let until_ms = tariff.changes.get(next).map(|change| change.from_ms);
        let block_s = stretch(left_s, at_ms, until_ms, opening, row.next_s)?;
        left_s = left_s.saturating_sub(block_s);
        at_s = at_s.checked_add(block_s).or_overflow()?;
        laid.push((block_s, row));
    }
    Ok(laid)
}

/// Seconds of the blocks of one row: from `at_ms` on, all that begin before `until_ms`, as far as seconds are left.
fn stretch(
    left_s: i64,
    at_ms: i64,
    until_ms: Option<i64>,
    opening_s: Option<u32>,
    next_s: u32,
) -> Result<i64, BillingError> {
    if next_s == 0 || opening_s == Some(0) {
        return Err(OutOfRange::new("period", 0, "1 s or more").into());
    }
    let next_s = i64::from(next_s);
    let opening_s = opening_s.map_or(0, i64::from);
    let rest_s = (left_s - opening_s).max(0);
    let mut blocks = rest_s / next_s + i64::from(rest_s % next_s > 0);
    if let Some(until_ms) = until_ms {
        let begin_ms = opening_s.checked_mul(MS_PER_S).and_then(|ms| at_ms.checked_add(ms));
        let room_ms = until_ms.saturating_sub(begin_ms.or_overflow()?).max(0);
        let block_ms = next_s * MS_PER_S;
        blocks = blocks.min(room_ms / block_ms + i64::from(room_ms % block_ms > 0));
    }
    blocks.checked_mul(next_s).and_then(|s| s.checked_add(opening_s)).or_overflow()
}

fn instant(connect_ms: i64, at_s: i64) -> Result<i64, BillingError> {
    at_s.checked_mul(MS_PER_S).and_then(|ms| connect_ms.checked_add(ms)).or_overflow()
}
