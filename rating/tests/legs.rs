//! One leg: the corner cases of billing.md section 6, sections, tax, and the properties that make a
//! fee provable. The rows of the golden table are in golden.rs.

mod common;

use common::reference::{self, Fraction};
use common::{dec, money, params, section, terms};
use proptest::prelude::*;
use rust_decimal::Decimal;
use tandem_rating::{
    BillingError, BillingParams, Charge, Money, MoneyError, RateTerms, Section, explain_leg, rate_leg,
};

fn fee(hold_ms: i64, terms: &RateTerms, params: &BillingParams) -> String {
    rate_leg(hold_ms, terms, params).unwrap().fee.to_string()
}

#[test]
fn no_time_to_charge_costs_nothing_not_even_the_connection() {
    let row = RateTerms {
        conn_fee: dec("0.50"),
        sections: vec![section(1, 30, "0.03")],
        tax_pct: dec("19"),
        ..terms("0.06", 60, 60)
    };
    let with_free = BillingParams { free_s: 6, ..params(2) };
    for (hold_ms, params) in [
        (0, &params(2)),
        (-1500, &params(2)),
        (i64::MIN, &params(2)),
        (49, &params(2)),
        (6000, &with_free),
        (6049, &with_free),
    ] {
        let charge = rate_leg(hold_ms, &row, params).unwrap();
        let nothing = (charge.charge_s, charge.billed_s, charge.fee, charge.tax);
        assert_eq!(nothing, (0, 0, Money::ZERO, Money::ZERO), "{hold_ms} ms");
        assert_eq!(charge.raw_fee.to_string(), "0");
        // The proof in the CDR still names the rate.
        assert_eq!(charge.rate_used, dec("0.06"));
    }
    // Hold time is kept before the free time.
    assert_eq!(rate_leg(6000, &row, &with_free).unwrap().hold_s, 6);
}

#[test]
fn the_connection_fee_is_added_once_before_the_rounding() {
    let row = RateTerms { conn_fee: dec("0.005"), ..terms("0.06", 1, 1) };
    assert_eq!(fee(1000, &row, &params(4)), "0.006");
    assert_eq!(fee(60_000, &row, &params(4)), "0.065");
    // 0.005 + 0.01 x 60 / 60 = 0.015 is one tie, not 0.01 + 0.01.
    let row = RateTerms { conn_fee: dec("0.005"), ..terms("0.01", 60, 60) };
    assert_eq!(fee(1000, &row, &params(2)), "0.02");
    let only = RateTerms { conn_fee: dec("0.001"), ..terms("0", 60, 60) };
    assert_eq!(fee(1000, &only, &params(2)), "0.01");
}

#[test]
fn sections_are_charged_whole_and_walked_by_position() {
    // "First 3 minutes 0.22, then 0.11 a minute", given in the wrong order on purpose.
    let row = RateTerms { sections: vec![section(2, 60, "0.05"), section(1, 180, "0.22")], ..terms("0.11", 30, 60) };
    for (hold_s, billed_s, fee) in [
        (1, 180, "0.22"),
        (180, 180, "0.22"),
        (181, 240, "0.27"),
        (240, 240, "0.27"),
        (241, 300, "0.38"),
        (301, 360, "0.49"),
    ] {
        let charge = rate_leg(hold_s * 1000, &row, &params(2)).unwrap();
        assert_eq!((charge.billed_s, charge.fee), (billed_s, money(fee)), "{hold_s} s");
    }
}

#[test]
fn thirty_six_as_a_section_is_thirty_six_as_blocks() {
    let sections = RateTerms { sections: vec![section(1, 30, "0.03")], ..terms("0.06", 6, 6) };
    let blocks = terms("0.06", 30, 6);
    for hold_ms in (0..200_000).step_by(333) {
        let by_sections = rate_leg(hold_ms, &sections, &params(4)).unwrap();
        let by_blocks = rate_leg(hold_ms, &blocks, &params(4)).unwrap();
        assert_eq!(by_sections, by_blocks, "{hold_ms} ms");
    }
}

#[test]
fn section_amounts_are_not_rounded_one_by_one() {
    let row = RateTerms { sections: vec![section(1, 10, "0.004"), section(2, 10, "0.004")], ..terms("0", 6, 6) };
    assert_eq!(fee(20_000, &row, &params(2)), "0.01");
    assert_eq!(fee(10_000, &row, &params(2)), "0.01");
}

#[test]
fn tax_is_half_up_on_the_fee_and_may_be_nothing() {
    for (rate, tax_pct, fee, tax) in [
        ("0.10", "19", "0.1", "0.02"),
        ("0.10", "5", "0.1", "0.01"),
        ("0.10", "4.9", "0.1", "0"),
        ("1", "0", "1", "0"),
        ("1", "8.25", "1", "0.08"),
        ("0.004", "100", "0.01", "0.01"),
    ] {
        let row = RateTerms { tax_pct: dec(tax_pct), ..terms(rate, 60, 60) };
        let charge = rate_leg(1000, &row, &params(2)).unwrap();
        assert_eq!((charge.fee, charge.tax), (money(fee), money(tax)), "{rate} + {tax_pct} %");
        let total = charge.fee.checked_add(charge.tax).unwrap();
        assert_eq!(charge.total().unwrap(), total);
    }
}

#[test]
fn rates_are_used_as_they_are_when_the_switch_is_off() {
    let exact = BillingParams { quantise_rate: false, ..params(2) };
    let row = terms("0.0045", 60, 60);
    let charge = rate_leg(600_000, &row, &exact).unwrap();
    assert_eq!((charge.rate_used, charge.fee), (dec("0.0045"), money("0.05")));
    let charge = rate_leg(600_000, &row, &params(2)).unwrap();
    assert_eq!((charge.rate_used, charge.fee), (dec("0.01"), money("0.1")));
}

#[test]
fn vendors_may_not_give_the_free_time() {
    let params = BillingParams { free_s: 6, ..params(2) };
    let row = terms("0.60", 1, 1);
    assert_eq!(fee(10_000, &row, &params), "0.04");
    assert_eq!(fee(10_000, &row, &params.for_vendor()), "0.04");
    let params = BillingParams { vendor_free_time: false, ..params };
    assert_eq!(fee(10_000, &row, &params), "0.04");
    assert_eq!(fee(10_000, &row, &params.for_vendor()), "0.1");
}

#[test]
fn the_raw_fee_is_exact() {
    let charge = rate_leg(1000, &terms("0.01", 1, 1), &params(4)).unwrap();
    assert_eq!(charge.raw_fee.to_string(), "1/6000");
    let charge = rate_leg(149_000, &terms("0.006", 1, 1), &params(3)).unwrap();
    assert_eq!(charge.raw_fee.to_string(), "0.0149");
}

#[test]
fn what_does_not_fit_is_an_error_and_never_a_wrong_fee() {
    let dear = terms("9999999999.99999999", 60, 60);
    let too_much = rate_leg(7_000_000, &dear, &params(2)).unwrap_err();
    assert_eq!(too_much, BillingError::Money(MoneyError::Overflow));
    assert!(too_much.is_overflow());
    let longest = rate_leg(i64::MAX, &dear, &params(2)).unwrap_err();
    assert!(longest.is_overflow(), "{longest}");
    let taxed = RateTerms { tax_pct: dec("9999999999.99999999"), ..terms("9999999999.99999999", 60, 60) };
    assert!(rate_leg(60_000, &taxed, &params(2)).unwrap_err().is_overflow());
    // The longest call at an ordinary price is no trouble.
    let charge = rate_leg(i64::MAX, &terms("0.0001", 1, 1), &params(4)).unwrap();
    assert_eq!(charge.hold_s, i64::MAX / 1000 + 1);
}

#[test]
fn bad_terms_are_refused_by_field_even_for_a_call_of_no_length() {
    let cases = [
        (RateTerms { first_s: 0, ..terms("1", 60, 60) }, "first_s is 0"),
        (RateTerms { next_s: 0, ..terms("1", 60, 60) }, "period is 0"),
        (terms("-1", 60, 60), "rate_per_min is -1"),
        (terms("0.123456789", 60, 60), "rate_per_min is 0.123456789"),
        (RateTerms { conn_fee: dec("-0.1"), ..terms("1", 60, 60) }, "conn_fee is -0.1"),
        (RateTerms { tax_pct: dec("-1"), ..terms("1", 60, 60) }, "tax is -1"),
        (RateTerms { sections: vec![section(1, 1, "-2")], ..terms("1", 60, 60) }, "sections is -2"),
    ];
    for (bad, text) in cases {
        for hold_ms in [0, 60_000] {
            let error = rate_leg(hold_ms, &bad, &params(2)).unwrap_err().to_string();
            assert!(error.starts_with(text) && error.contains("allowed is"), "{error}");
        }
    }
}

#[test]
fn precision_and_unit_must_fit_each_other() {
    let pair = |fp: u8, fu: &str| {
        let params = BillingParams { fp, fu: dec(fu), ..BillingParams::default() };
        params.validate().map_err(|error| error.to_string())
    };
    for (fp, fu) in [
        (2, "0.01"),
        (3, "0.01"),
        (2, "0.001"),
        (2, "0.05"),
        (2, "0.005"),
        (2, "0.0025"),
        (0, "1"),
        (0, "100"),
        (0, "0.5"),
        (4, "0.0001"),
        (2, "7"),
        (2, "0.0100"),
    ] {
        assert_eq!(pair(fp, fu), Ok(()), "FP {fp}, FU {fu}");
    }
    for (fp, fu, text) in [
        (2, "0.025", "SERVER_BILLING_FEE_UNIT is 0.025; allowed is a whole multiple or a whole part of 0.01"),
        (0, "0.3", "SERVER_BILLING_FEE_UNIT is 0.3"),
        (0, "1.5", "SERVER_BILLING_FEE_UNIT is 1.5"),
        (2, "0", "SERVER_BILLING_FEE_UNIT is 0; allowed is above 0"),
        (2, "-0.01", "SERVER_BILLING_FEE_UNIT is -0.01; allowed is above 0"),
        (2, "0.000000001", "SERVER_BILLING_FEE_UNIT is 0.000000001; allowed is above 0"),
        (5, "0.01", "SERVER_BILLING_FEE_PRECISION is 5; allowed is 0 to 4"),
    ] {
        let error = pair(fp, fu).unwrap_err();
        assert!(error.starts_with(text), "{error}");
    }
    let params = BillingParams { p_hold_ms: 1000, ..BillingParams::default() };
    let error = params.validate().unwrap_err().to_string();
    assert_eq!(error, "SERVER_BILLING_HOLD_TIME_PRECISION is 1000; allowed is 0 to 999 ms");
    // Even unsaved nonsense is an error, not a panic.
    let params = BillingParams { fp: 200, ..BillingParams::default() };
    assert!(rate_leg(1000, &terms("1", 1, 1), &params).is_err());
}

#[test]
fn defaults_are_those_of_the_specification() {
    let defaults = BillingParams::default();
    assert_eq!((defaults.fp, defaults.fu, defaults.p_hold_ms, defaults.free_s), (2, dec("0.01"), 50, 0));
    assert!(defaults.quantise_rate && defaults.vendor_free_time);
    defaults.validate().unwrap();
}

#[test]
fn an_explanation_has_one_line_a_step() {
    let row = RateTerms { conn_fee: dec("0.005"), tax_pct: dec("19"), ..terms("0.0125", 30, 6) };
    let params = BillingParams { free_s: 6, ..params(3) };
    assert_eq!(
        explain_leg(65_430, &row, &params),
        [
            "1 duration: 65430 ms, counted as 65430 ms",
            "2 hold time: 65430 ms at threshold 50 ms is 66 s",
            "3 free time: 66 s less 6 s is 60 s",
            "4 zero test: 60 s to charge",
            "5 packages: 0 s",
            "6 blocks: 60 s at 30/6 is 60 s billed",
            "7 rate: 0.0125 per minute at 3 decimals is 0.013",
            "8 raw fee: 0.005 connection + 0 sections + 0.013 x 60 s / 60 = 0.018 (about 0.018)",
            "9 fee precision: 3 decimals gives 0.018",
            "10 fee unit: 0.018 in steps of 0.001 is 0.018",
            "11 tax: 19 % of 0.018 at 3 decimals is 0.003; the account pays 0.021",
        ]
    );
    let free = explain_leg(6000, &row, &params);
    assert_eq!(free.len(), 4);
    assert!(free[3].starts_with("4 zero test: nothing to charge"));
    let bad = explain_leg(6000, &terms("-1", 1, 1), &params);
    assert!(bad[0].starts_with("not rated: rate_per_min is -1"), "{bad:?}");
}

#[test]
fn snapshots_and_charges_survive_json() {
    let row = RateTerms { sections: vec![section(1, 30, "0.03")], ..terms("0.012", 6, 6) };
    let params = BillingParams::default();
    let charge = rate_leg(65_400, &row, &params).unwrap();
    let text = serde_json::to_string(&(&row, &params, &charge)).unwrap();
    let (row_back, params_back, charge_back): (RateTerms, BillingParams, Charge) = serde_json::from_str(&text).unwrap();
    assert_eq!((&row_back, &params_back, &charge_back), (&row, &params, &charge));
    assert_eq!(rate_leg(65_400, &row_back, &params_back).unwrap(), charge);
    assert!(text.contains("\"rate_per_min\":\"0.012\""), "{text}");
}

fn any_terms() -> impl Strategy<Value = RateTerms> {
    let price =
        prop_oneof![Just(Decimal::ZERO), (0_i64..10_000_000, 0_u32..=8).prop_map(|(n, scale)| Decimal::new(n, scale)),];
    let sections = prop::collection::vec((any::<u32>(), 0_u32..90, price.clone()), 0..4);
    let tax = (0_i64..20_000).prop_map(|n| Decimal::new(n, 3));
    (price.clone(), 1_u32..200, 1_u32..90, sections, price, tax).prop_map(
        |(rate_per_min, first_s, next_s, sections, conn_fee, tax_pct)| RateTerms {
            rate_per_min,
            sections: sections
                .into_iter()
                .map(|(position, time_s, amount)| Section { position, time_s, amount })
                .collect(),
            conn_fee,
            tax_pct,
            ..terms("0", first_s, next_s)
        },
    )
}

fn any_params() -> impl Strategy<Value = BillingParams> {
    let fu =
        prop_oneof![Just("1"), Just("0.5"), Just("0.1"), Just("0.05"), Just("0.01"), Just("0.001"), Just("0.0001"),];
    (0_u8..=4, fu, 0_u16..=999, 0_u32..15, any::<bool>()).prop_map(|(fp, fu, p_hold_ms, free_s, quantise_rate)| {
        BillingParams { fp, fu: dec(fu), p_hold_ms, free_s, quantise_rate, vendor_free_time: true }
    })
}

fn exact(charge: &Charge) -> Fraction {
    Fraction::new(charge.raw_fee.numerator(), tandem_rating::RawFee::DENOMINATOR)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn integers_equal_the_rational_reference(
        terms in any_terms(), params in any_params(), hold_ms in -2000_i64..8_000_000,
    ) {
        let charge = rate_leg(hold_ms, &terms, &params).unwrap();
        let expected = reference::rate(hold_ms, &terms, &params);
        prop_assert_eq!(
            (charge.hold_s, charge.charge_s, charge.billed_s, charge.suite_s),
            (expected.hold_s, expected.charge_s, expected.billed_s, 0)
        );
        prop_assert_eq!(exact(&charge), expected.raw);
        prop_assert_eq!(Fraction::of(charge.fee.amount()), expected.fee);
        prop_assert_eq!(Fraction::of(charge.tax.amount()), expected.tax);
    }

    #[test]
    fn a_longer_call_never_costs_less(
        terms in any_terms(), params in any_params(), a in 0_i64..4_000_000, b in 0_i64..4_000_000,
    ) {
        let shorter = rate_leg(a.min(b), &terms, &params).unwrap();
        let longer = rate_leg(a.max(b), &terms, &params).unwrap();
        prop_assert!(shorter.fee <= longer.fee);
        prop_assert!(shorter.tax <= longer.tax);
        prop_assert!(shorter.billed_s <= longer.billed_s);
        prop_assert!(shorter.raw_fee <= longer.raw_fee);
    }

    #[test]
    fn free_time_before_or_after_the_hold_precision_is_one(
        terms in any_terms(), params in any_params(), hold_ms in 0_i64..4_000_000,
    ) {
        let precision_first = rate_leg(hold_ms, &terms, &params).unwrap();
        let without = BillingParams { free_s: 0, ..params.clone() };
        let free_first = rate_leg(hold_ms - i64::from(params.free_s) * 1000, &terms, &without).unwrap();
        prop_assert_eq!(precision_first.fee, free_first.fee);
        prop_assert_eq!(precision_first.charge_s, free_first.charge_s);
    }

    #[test]
    fn a_charge_is_never_zero_unless_nothing_was_asked(
        terms in any_terms(), params in any_params(), hold_ms in 0_i64..4_000_000,
    ) {
        let charge = rate_leg(hold_ms, &terms, &params).unwrap();
        prop_assert_eq!(charge.fee.is_zero(), charge.raw_fee.numerator() == 0);
        prop_assert!(charge.billed_s >= charge.charge_s);
    }
}
