//! The steps of a fee as lines of text; every number comes from the walk that charges.

use crate::duration;
use crate::error::BillingError;
use crate::fee::{BillingParams, RateTerms, Steps, Tariff};
use crate::money::{self, Money};

/// One line a step of billing.md section 2.
pub(crate) fn lines(hold_ms: i64, tariff: &Tariff<'_>, params: &BillingParams) -> Result<Vec<String>, BillingError> {
    let hold_s = duration::hold_s(hold_ms, params.p_hold_ms);
    let steps = Steps::walk(hold_s, tariff, params)?;
    let charge = steps.charge()?;
    let terms = tariff.terms;
    let counted_ms = hold_ms.max(0);
    let mut lines = vec![
        format!("1 duration: {hold_ms} ms, counted as {counted_ms} ms"),
        format!("2 hold time: {counted_ms} ms at threshold {} ms is {hold_s} s", params.p_hold_ms),
        format!("3 free time: {hold_s} s less {} s is {} s", params.free_s, charge.charge_s),
    ];
    if charge.charge_s == 0 {
        lines.push("4 zero test: nothing to charge, fee 0, tax 0, no connection fee".to_owned());
        return Ok(lines);
    }
    lines.push(format!("4 zero test: {} s to charge", charge.charge_s));
    lines.push(packages(tariff, &steps));
    let left_s = charge.charge_s - charge.suite_s;
    if left_s == 0 {
        lines.push("6 blocks: nothing is left to charge, fee 0, tax 0, no connection fee".to_owned());
        return Ok(lines);
    }
    lines.push(blocks(left_s, charge.billed_s, terms, &steps)?);
    lines.push(rates(tariff, params, &steps)?);
    let timed: Vec<String> = steps
        .blocks
        .iter()
        .map(|stretch| Ok(format!("{} x {} s / 60", money::decimal_from_units(stretch.rate_units)?, stretch.block_s)))
        .collect::<Result<_, BillingError>>()?;
    lines.push(format!(
        "8 raw fee: {} connection + {} sections + {} = {} (about {})",
        money::decimal_from_units(steps.conn_units)?,
        money::decimal_from_units(steps.section_units)?,
        if timed.is_empty() { "0".to_owned() } else { timed.join(" + ") },
        charge.raw_fee,
        charge.raw_fee.approximate()
    ));
    let precise = money::decimal_from_units(steps.precise_units)?;
    lines.push(format!("9 fee precision: {} decimals gives {precise}", params.fp));
    lines.push(format!("10 fee unit: {precise} in steps of {} is {}", params.fu.normalize(), charge.fee));
    lines.push(format!(
        "11 tax: {} % of {} at {} decimals is {}; the account pays {}",
        terms.tax_pct.normalize(),
        charge.fee,
        params.fp,
        charge.tax,
        charge.total()?
    ));
    if charge.suite_fee != Money::ZERO {
        lines.push(format!("gift money pays {}, the balance {}", charge.suite_fee, charge.due()?));
    }
    Ok(lines)
}

fn packages(tariff: &Tariff<'_>, steps: &Steps) -> String {
    let used: Vec<String> = tariff
        .gifts
        .iter()
        .zip(&steps.gift_used_s)
        .filter(|(_, used_s)| **used_s > 0)
        .map(|(gift, used_s)| {
            format!("{used_s} of {} s of {} in cycles of {} s", gift.left_s, gift.package, gift.cycle_s)
        })
        .collect();
    let list = if used.is_empty() { String::new() } else { format!(" ({})", used.join(", ")) };
    format!("5 packages: {} s{list}", steps.suite_s)
}

fn blocks(left_s: i64, billed_s: i64, terms: &RateTerms, steps: &Steps) -> Result<String, BillingError> {
    Ok(if !terms.sections.is_empty() {
        format!(
            "6 blocks: {left_s} s as sections of {} s and {} s at {}/{} is {billed_s} s billed",
            steps.section_s,
            steps.block_s()?,
            terms.next_s,
            terms.next_s
        )
    } else if steps.blocks.len() > 1 {
        let parts: Vec<String> = steps.blocks.iter().map(|stretch| format!("{} s", stretch.block_s)).collect();
        format!("6 blocks: {left_s} s over {} rows ({}) is {billed_s} s billed", parts.len(), parts.join(", "))
    } else {
        format!("6 blocks: {left_s} s at {}/{} is {billed_s} s billed", terms.first_s, terms.next_s)
    })
}

fn rates(tariff: &Tariff<'_>, params: &BillingParams, steps: &Steps) -> Result<String, BillingError> {
    let used = money::decimal_from_units(steps.rate_units)?;
    let mut line = if params.quantise_rate {
        format!("7 rate: {} per minute at {} decimals is {used}", tariff.terms.rate_per_min.normalize(), params.fp)
    } else {
        format!("7 rate: {used} per minute, used as it is (TANDEM_RATE_QUANTISE off)")
    };
    for change in tariff.changes {
        let from_ms = change.from_ms.saturating_sub(tariff.connect_ms);
        line.push_str(&format!("; {} from {from_ms} ms after the answer", change.terms.rate_per_min.normalize()));
    }
    Ok(line)
}
