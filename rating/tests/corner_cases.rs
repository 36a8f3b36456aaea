//! Every corner case of billing.md section 6 by its number, and the integers against a model in decimals over the whole range
//! of inputs.
//!
//! Where a case is about the switch and not about the function, the comment names the test that shows it.

mod common;

use common::{dec, money, params, terms};
use proptest::prelude::*;
use rust_decimal::Decimal;
use tandem_rating::cdr::settle;
use tandem_rating::usage::{LegTerms, Usage};
use tandem_rating::{
    BillingError, BillingParams, Deck, Lookup, Money, RateChange, RateTerms, Tariff, rate_leg, rate_tariff,
};

fn leg(account: &str, terms: RateTerms) -> LegTerms {
    LegTerms { account: account.into(), terms: Some(terms), ..LegTerms::default() }
}

fn with_conn_fee(rate: &str) -> RateTerms {
    RateTerms { conn_fee: dec("0.5"), ..terms(rate, 60, 60) }
}

#[test]
fn case_6_1_zero_duration_costs_nothing_on_any_leg() {
    let usage = |hold_ms| Usage {
        connect_ms: Some(0),
        hold_ms,
        customer: Some(leg("c", with_conn_fee("1"))),
        agents: vec![leg("a", with_conn_fee("1"))],
        vendor: Some(leg("v", with_conn_fee("1"))),
        ..Usage::default()
    };
    for hold_ms in [0, 1, 49] {
        let cdr = settle(&usage(hold_ms), "USD").cdr;
        assert_eq!((cdr.hold_s, cdr.fee, cdr.agent_fee, cdr.vendor_fee), (0, Money::ZERO, Money::ZERO, Money::ZERO));
    }
    let cdr = settle(&usage(50), "USD").cdr;
    assert_eq!((cdr.hold_s, cdr.fee, cdr.agent_fee), (1, money("1.5"), money("1.5")), "50 ms is 1 s");
}

#[test]
fn case_6_2_threshold_zero_rounds_up_only_a_fraction_that_is_there() {
    let params = BillingParams { p_hold_ms: 0, ..params(2) };
    let row = terms("0.6", 1, 1);
    assert_eq!(rate_leg(21_000, &row, &params).unwrap().hold_s, 21);
    assert_eq!(rate_leg(21_001, &row, &params).unwrap().hold_s, 22);
}

#[test]
fn case_6_3_free_time_of_the_whole_call_is_no_fee_and_never_a_negative_one() {
    let params = BillingParams { free_s: 6, ..params(2) };
    for hold_ms in [1_000, 6_000] {
        let charge = rate_leg(hold_ms, &with_conn_fee("1"), &params).unwrap();
        assert_eq!((charge.charge_s, charge.billed_s, charge.fee, charge.tax), (0, 0, Money::ZERO, Money::ZERO));
    }
    assert_eq!(rate_leg(7_000, &with_conn_fee("1"), &params).unwrap().fee, money("1.5"));
}

#[test]
fn case_6_4_hold_precision_and_free_time_commute() {
    let row = terms("0.6", 1, 1);
    for (hold_ms, free_s) in [(21_049, 6u32), (21_050, 6), (6_999, 6), (5_500, 6), (60_001, 0)] {
        let both = rate_leg(hold_ms, &row, &BillingParams { free_s, ..params(2) }).unwrap();
        // Free time taken off the milliseconds first.
        let first = rate_leg((hold_ms - i64::from(free_s) * 1000).max(0), &row, &params(2)).unwrap();
        assert_eq!((both.charge_s, both.fee), (first.charge_s, first.fee), "{hold_ms} ms");
    }
}

#[test]
fn case_6_5_a_fee_that_is_not_zero_is_at_least_one_unit() {
    assert_eq!(rate_leg(1_000, &terms("0.0001", 1, 1), &params(2)).unwrap().fee, money("0.01"));
    assert_eq!(rate_leg(60_000, &terms("0", 60, 60), &params(2)).unwrap().fee, Money::ZERO);
}

#[test]
fn case_6_6_precision_and_unit_that_differ() {
    let fee = |rate: &str, fp, fu: &str| {
        let params = BillingParams { fp, fu: dec(fu), quantise_rate: false, ..params(2) };
        rate_leg(60_000, &terms(rate, 60, 60), &params).unwrap().fee
    };
    assert_eq!(fee("0.0149", 3, "0.01"), money("0.02"), "0.0149, 0.015, 0.02: both run, in this order");
    assert_eq!(fee("0.0149", 2, "0.001"), money("0.01"), "a finer unit changes nothing");
    let refused = BillingParams { fp: 2, fu: dec("0.025"), ..params(2) }.validate().unwrap_err();
    assert!(refused.to_string().contains("SERVER_BILLING_FEE_UNIT is 0.025"), "{refused}");
}

#[test]
fn case_6_7_precision_zero_is_whole_units() {
    let params = BillingParams { fp: 0, fu: Decimal::ONE, ..params(0) };
    let charge = rate_leg(60_000, &terms("0.3", 60, 60), &params).unwrap();
    assert_eq!((charge.rate_used, charge.fee), (Decimal::ONE, money("1")));
}

#[test]
fn case_6_8_ties_go_up() {
    let exact = BillingParams { quantise_rate: false, ..params(2) };
    for (rate, fee) in [("0.015", "0.02"), ("0.025", "0.03"), ("0.0149", "0.01")] {
        assert_eq!(rate_leg(60_000, &terms(rate, 60, 60), &exact).unwrap().fee, money(fee), "{rate}");
    }
}

/// The switch: `a_step_of_the_wall_clock_is_marked_and_changes_no_duration` (appliance/call/tests/flows.rs).
#[test]
fn case_6_9_a_duration_below_zero_is_zero() {
    let charge = rate_leg(-1_500, &with_conn_fee("1"), &params(2)).unwrap();
    assert_eq!((charge.hold_s, charge.fee), (0, Money::ZERO));
}

/// The switch: the faults tests `crashes` and the ladders `restart_*`; the record carries `recovered`.
#[test]
fn case_6_10_a_crashed_call_is_billed_to_its_last_heartbeat() {
    let mut usage = Usage { connect_ms: Some(0), customer: Some(leg("c", terms("0.6", 1, 1))), ..Usage::default() };
    (usage.hold_ms, usage.end_ms, usage.flags.recovered, usage.end_direction) = (10_000, 10_000, true, 2);
    let cdr = settle(&usage, "USD").cdr;
    assert_eq!((cdr.fee, cdr.flags.as_str(), cdr.end_direction), (money("0.1"), "recovered", 2));
}

/// Midnight of 2026-11-23, UTC.
const MIDNIGHT_MS: i64 = 1_795_392_000_000;

#[test]
fn case_6_11_a_call_over_midnight_keeps_the_row_of_its_answer() {
    let evening = terms("0.6", 60, 60);
    let charge = rate_leg(630_000, &evening, &params(2)).unwrap();
    assert_eq!((charge.billed_s, charge.fee), (660, money("6.6")), "23:59:30 to 00:10:00");
}

#[test]
fn case_6_11_a_group_that_splits_takes_the_row_in_force_at_the_start_of_each_block() {
    let (evening, night) = (terms("0.6", 60, 60), terms("0.06", 60, 60));
    let changes = [RateChange { from_ms: MIDNIGHT_MS, terms: night }];
    // Answered 30 s before: one block of the evening, which is not cut, and 10 of the night.
    let tariff = Tariff { changes: &changes, connect_ms: MIDNIGHT_MS - 30_000, ..Tariff::plain(&evening) };
    let charge = rate_tariff(630_000, &tariff, &params(2)).unwrap();
    assert_eq!((charge.billed_s, charge.fee), (660, money("1.2")));
}

#[test]
fn case_6_12_a_very_long_call_has_no_cap() {
    let charge = rate_leg(3_000_000_000_000, &terms("0.005", 60, 60), &params(3)).unwrap();
    assert_eq!((charge.billed_s, charge.fee), (3_000_000_000, money("250000")));
}

/// The switch: `a_free_number_passes_a_locked_account_and_reserves_nothing` (appliance/call/tests/admission.rs).
#[test]
fn case_6_13_a_free_leg_has_hold_time_and_no_billed_time() {
    let free = LegTerms { account: "c".into(), ..LegTerms::default() };
    let usage = Usage { connect_ms: Some(0), hold_ms: 61_000, customer: Some(free), ..Usage::default() };
    let settlement = settle(&usage, "USD");
    assert_eq!((settlement.cdr.hold_s, settlement.cdr.billed_s, settlement.cdr.fee), (61, 0, Money::ZERO));
    assert!(settlement.customer.is_none());
}

/// The switch: ladder `forked_answers`, and `of_two_forks_that_answer_the_first_wins` (appliance/sip/tests/endpoint/cancel.rs).
#[test]
fn case_6_14_the_first_answer_begins_the_call() {
    let row = terms("0.6", 1, 1);
    let usage = Usage { connect_ms: Some(5_000), hold_ms: 10_000, customer: Some(leg("c", row)), ..Usage::default() };
    assert_eq!(settle(&usage, "USD").cdr.billed_s, 10);
}

/// The switch: ladder `failover_then_busy` and `media_of_a_failed_attempt_is_not_counted`.
#[test]
fn case_6_15_attempts_that_failed_are_not_rated() {
    let failed = tandem_rating::usage::Attempt { gateway: "v1".into(), status: 503, ..Default::default() };
    let vendor = Some(leg("v2", terms("0.3", 1, 1)));
    let attempts = vec![failed];
    let usage = Usage { connect_ms: Some(0), hold_ms: 60_000, vendor, attempts, ..Usage::default() };
    let cdr = settle(&usage, "USD").cdr;
    assert_eq!((cdr.vendor_account.as_str(), cdr.vendor_fee, cdr.attempts.len()), ("v2", money("0.3"), 1));
}

/// The switch: ladder `rate_not_found`.
#[test]
fn case_6_16_no_rate_is_no_price_of_zero() {
    let deck = Deck::build("g", Vec::new()).unwrap();
    assert!(matches!(deck.lookup("442071234567", 0), Lookup::NotFound));
}

#[test]
fn case_6_a_validity_is_half_open() {
    let row = tandem_rating::Rate {
        area_code: "44".to_owned(),
        effective_from_ms: Some(1_000),
        effective_to_ms: Some(2_000),
        ..Default::default()
    };
    let deck = Deck::build("g", vec![row.clone()]).unwrap();
    let found = |at_ms| matches!(deck.lookup("4420", at_ms), Lookup::Found(_));
    assert_eq!([999, 1_000, 1_999, 2_000].map(found), [false, true, true, false]);
    let overlaps = tandem_rating::Rate { effective_from_ms: Some(1_999), effective_to_ms: None, ..row };
    assert!(Deck::build("g", vec![deck.rows()[0].clone(), overlaps]).is_err(), "two rows for one prefix never overlap");
}

/// decimal(20,8): twelve digits before the point.
const MONEY_MAX: Decimal = Decimal::from_parts(3_567_587_328, 232, 0, false, 0);

/// `x` times 60 to the nearest multiple of `step`, ties up, and never from something to nothing unless `may_vanish`.
/// Whole steps by remainders, which decimals have exact. `None` when 28 digits do not hold it.
fn nearest(x: Decimal, per: Decimal, step: Decimal, may_vanish: bool) -> Option<Decimal> {
    let wide = step.checked_mul(per)?;
    let rest = x.checked_rem(wide)?;
    let mut steps = x.checked_sub(rest)?.checked_div(wide)?.round();
    if rest.checked_add(rest)? >= wide {
        steps = steps.checked_add(Decimal::ONE)?;
    }
    if steps.is_zero() && !x.is_zero() && !may_vanish {
        steps = Decimal::ONE;
    }
    steps.checked_mul(step)
}

/// billing.md 2 in decimals: (billed seconds, fee, tax); `None` when 28 digits do not hold a value on the way.
fn model(hold_ms: i64, row: &RateTerms, params: &BillingParams) -> Option<(i64, Decimal, Decimal)> {
    let hold_ms = i128::from(hold_ms.max(0));
    let rest = hold_ms % 1000;
    let hold_s = hold_ms / 1000 + i128::from(rest > 0 && rest >= i128::from(params.p_hold_ms));
    let charge_s = (hold_s - i128::from(params.free_s)).max(0);
    if charge_s == 0 {
        return Some((0, Decimal::ZERO, Decimal::ZERO));
    }
    let (first_s, next_s) = (i128::from(row.first_s), i128::from(row.next_s));
    let blocks = (charge_s - first_s).max(0);
    let billed_s = i64::try_from(first_s + (blocks + next_s - 1) / next_s * next_s).ok()?;
    let precision = Decimal::new(1, u32::from(params.fp));
    let rate = match params.quantise_rate {
        true => nearest(row.rate_per_min, Decimal::ONE, precision, false)?,
        false => row.rate_per_min,
    };
    let sixty = Decimal::from(60);
    let raw = row.conn_fee.checked_mul(sixty)?.checked_add(rate.checked_mul(billed_s.into())?)?;
    let fee = nearest(nearest(raw, sixty, precision, false)?, Decimal::ONE, params.fu, false)?;
    let tax = nearest(fee.checked_mul(row.tax_pct)?, Decimal::ONE_HUNDRED, precision, true)?;
    Some((billed_s, fee, tax))
}

/// 0 or more, at most 10 digits before the point and 8 after it, often at an end of that range.
fn amounts() -> impl Strategy<Value = Decimal> {
    let most = 10_i64.pow(18) - 1;
    let units = prop_oneof![Just(0), Just(1), Just(most), Just(most - 1), 0..=most, 0..100_000_000i64, 0..1_000i64];
    units.prop_map(|units| Decimal::new(units, 8).normalize())
}

fn durations() -> impl Strategy<Value = i64> {
    let longest = 3_000_000_000_000i64;
    prop_oneof![Just(0), Just(i64::MAX), Just(longest), 0..=longest, 0..100_000i64, any::<i64>()]
}

fn block_sizes() -> impl Strategy<Value = u32> {
    prop_oneof![Just(1), Just(6), Just(60), Just(u32::MAX), 1..=3_600u32]
}

/// Every pair of precision and unit that may be saved, of units from 10^-8 to 10^4.
fn pairs() -> impl Strategy<Value = (u8, Decimal)> {
    (0u8..=4, -4i32..=8, prop::sample::select(vec![1i64, 2, 5, 25])).prop_filter_map("pair", |(fp, scale, by)| {
        let unit = match u32::try_from(scale) {
            Ok(scale) => Decimal::new(by, scale),
            Err(_) => Decimal::from(by * 10_i64.pow(scale.unsigned_abs())),
        };
        let params = BillingParams { fp, fu: unit, ..BillingParams::default() };
        params.validate().is_ok().then_some((fp, unit))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_integers_are_the_decimals_over_the_whole_range(
        hold_ms in durations(),
        rate in amounts(),
        conn_fee in prop_oneof![Just(Decimal::ZERO), amounts()],
        tax_pct in prop_oneof![Just(Decimal::ZERO), (0u32..=100).prop_map(Decimal::from), amounts()],
        (first_s, next_s) in (block_sizes(), block_sizes()),
        (fp, fu) in pairs(),
        p_hold_ms in 0u16..=999,
        free_s in prop_oneof![Just(0u32), Just(u32::MAX), 0u32..=60],
        quantise_rate in any::<bool>(),
    ) {
        let row = RateTerms { rate_per_min: rate, conn_fee, tax_pct, first_s, next_s, ..terms("0", 1, 1) };
        let params = BillingParams { fp, fu, p_hold_ms, free_s, quantise_rate, ..BillingParams::default() };
        match (rate_leg(hold_ms, &row, &params), model(hold_ms, &row, &params)) {
            (Ok(charge), Some((billed_s, fee, tax))) => {
                prop_assert_eq!(charge.billed_s, billed_s);
                prop_assert_eq!(charge.fee.amount(), fee);
                prop_assert_eq!(charge.tax.amount(), tax);
            }
            // More than an amount may be is an error, and only that.
            (Err(BillingError::Overflow | BillingError::Money(_)), Some((_, fee, tax))) => {
                prop_assert!(fee >= MONEY_MAX || tax >= MONEY_MAX, "{} and {} are amounts", fee, tax);
            }
            // Beyond 28 digits there is no amount either.
            (Ok(charge), None) => prop_assert!(false, "28 digits do not hold {:?}", charge),
            (Err(_), None) => {}
            (Err(error), Some(_)) => prop_assert!(false, "{}", error),
        }
    }
}

#[test]
fn overflow_is_an_error_and_never_a_wrap() {
    let dearest = dec("9999999999.99999999");
    let exact = BillingParams { quantise_rate: false, ..params(4) };
    for hold_ms in [i64::MAX, i64::MAX - 999, 3_000_000_000_000] {
        for (first_s, next_s) in [(1, 1), (60, 60), (u32::MAX, u32::MAX)] {
            let row = RateTerms { rate_per_min: dearest, conn_fee: dearest, ..terms("0", first_s, next_s) };
            assert!(rate_leg(hold_ms, &row, &exact).is_err(), "{hold_ms} ms at {first_s}/{next_s}");
        }
    }
    // The dearest that is an amount still comes out, to the last digit.
    let row = RateTerms { rate_per_min: dearest, ..terms("0", 60, 60) };
    let charge = rate_leg(99 * 60_000, &row, &exact).unwrap();
    assert_eq!(charge.fee, money("990000000000"), "989999999999.99999901 at 4 decimals");
}
