//! Packages, rows that change during a call, and the proof of a record: billing.md 5, 6.a and 7; the integers against
//! fractions that are laid block by block.

mod common;

use common::reference::Fraction;
use proptest::prelude::*;
use rust_decimal::Decimal;
use tandem_rating::cdr::settle;
use tandem_rating::proof::{self, Role};
use tandem_rating::reprice::{Overrides, Pick, Rates, reprice};
use tandem_rating::usage::{LegTerms, Usage};
use tandem_rating::{
    Account, BillingParams, Gift, MaxHold, Money, RateChange, RateTerms, Tariff, explain_tariff, max_hold_s,
    rate_tariff,
};

fn row(rate: &str, first_s: u32, next_s: u32) -> RateTerms {
    RateTerms {
        rate_id: 1,
        prefix: "44".into(),
        rate_per_min: rate.parse().unwrap(),
        first_s,
        next_s,
        sections: Vec::new(),
        conn_fee: Decimal::ZERO,
        tax_pct: Decimal::ZERO,
        level: 5,
    }
}

fn fine() -> BillingParams {
    BillingParams { fp: 4, fu: Decimal::new(1, 4), ..BillingParams::default() }
}

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

fn gift(cycle_s: u32, left_s: i64) -> Gift {
    Gift { package: "gold".into(), cycle_s, left_s }
}

/// What was held and not used went back when the call ended, and may have paid for another one.
#[test]
fn a_correction_uses_no_gift_beyond_what_the_call_used() {
    let leg = |gifts: Vec<Gift>, gift_money: &str| LegTerms {
        account: "acme".into(),
        terms: Some(row("0.60", 60, 60)),
        number: "442071234567".into(),
        gifts,
        gift_money: money(gift_money),
        ..LegTerms::default()
    };
    let usage = Usage {
        flow_no: 7,
        connect_ms: Some(1_700_000_000_000),
        hold_ms: 60_900,
        end_ms: 1_700_000_060_900,
        customer: Some(leg(vec![gift(60, 600)], "0")),
        agents: vec![leg(Vec::new(), "5")],
        params: BillingParams { p_hold_ms: 999, ..fine() },
        ..Usage::default()
    };
    let cdr = settle(&usage, "USD").cdr;
    assert_eq!((cdr.suite_s, cdr.fee, cdr.agent_suite_fee), (60, Money::ZERO, money("0.6")));
    let (params, mut proofs) = (proof::params_of(&cdr).unwrap(), proof::of_cdr(&cdr).unwrap());
    let again = |params: &BillingParams, proofs: &[proof::Proof], p_hold_ms: u16| {
        let overrides = Overrides { p_hold_ms: Some(p_hold_ms), ..Overrides::default() };
        let priced = reprice(proof::connect_ms_of(&cdr), (params, proofs), &Pick::Customer, Rates::Stored, &overrides);
        let priced = priced.unwrap();
        let after: Vec<proof::Proof> = priced.legs.iter().map(|leg| leg.after.clone()).collect();
        let due: Vec<String> = priced.legs.iter().map(|leg| leg.due().unwrap().1.to_string()).collect();
        (priced.params, after, due)
    };
    // A second more: the minute of gift time that it used pays the first 60 s, the balance the next block; and so with gift money.
    let (params, after, due) = again(&params, &proofs, 50);
    assert_eq!(due, ["0.6", "0.6"]);
    assert!(after.iter().all(|proof| proof.holds(proof::connect_ms_of(&cdr), &params)));
    // Shorter, and as long as before again: what it used stays its own.
    proofs = after;
    let (params, shorter, _) = again(&params, &proofs, 999);
    let (_, _, due) = again(&params, &shorter, 50);
    assert_eq!(due, ["0.6", "0.6"]);
}

#[test]
fn gift_time_is_taken_before_blocks_and_without_a_connection_fee() {
    let terms = RateTerms { conn_fee: Decimal::new(5, 2), ..row("0.60", 1, 1) };
    let gifts = [gift(60, 120)];
    let tariff = Tariff { gifts: &gifts, ..Tariff::plain(&terms) };
    let paid = rate_tariff(100_000, &tariff, &fine()).unwrap();
    assert_eq!((paid.billed_s, paid.suite_s, paid.fee), (0, 100, Money::ZERO), "two cycles pay all of it");
    assert_eq!(paid.gift_used_s, [120]);
    let partly = rate_tariff(150_000, &tariff, &fine()).unwrap();
    assert_eq!((partly.billed_s, partly.suite_s, partly.fee), (30, 120, money("0.35")), "0.05 and 30 s of 0.60");
}

#[test]
fn gift_money_pays_before_the_balance() {
    let terms = RateTerms { tax_pct: Decimal::new(10, 0), ..row("0.60", 60, 60) };
    let tariff = Tariff { gift_money: money("0.50"), ..Tariff::plain(&terms) };
    let charge = rate_tariff(60_000, &tariff, &fine()).unwrap();
    assert_eq!((charge.fee, charge.tax, charge.suite_fee), (money("0.60"), money("0.06"), money("0.50")));
    assert_eq!(charge.due().unwrap(), money("0.16"));
    let mut account = Account { balance: money("0.16"), ..Account::default() };
    let held = account.admit(tariff, &fine(), 1).unwrap();
    assert_eq!(held.amount(), money("0.16"));
    account.settle(held, &charge).unwrap();
    assert_eq!((account.balance, account.reserved), (Money::ZERO, Money::ZERO));
}

#[test]
fn what_packages_pay_whole_needs_no_money() {
    let terms = row("0.60", 1, 1);
    let gifts = [gift(60, 120)];
    let tariff = Tariff { gifts: &gifts, ..Tariff::plain(&terms) };
    let mut account = Account::default();
    let mut held = account.admit(tariff, &fine(), 1).unwrap();
    assert_eq!((held.grant().until_s, held.amount()), (60, Money::ZERO));
    assert_eq!(account.renew(&mut held, tariff, &fine(), 1).unwrap().until_s, 120);
    let grant = account.renew(&mut held, tariff, &fine(), 1).unwrap();
    assert!(grant.last && grant.until_s == 120, "{grant:?}");
    account.release(held);
    assert!(account.admit(&terms, &fine(), 1).is_err(), "without a package the account has nothing");
    assert_eq!(max_hold_s(money("0.10"), tariff, &fine()).unwrap(), MaxHold::Seconds(130));
}

/// The evening row begins 100 s after the answer.
fn evening(first_s: u32, next_s: u32) -> [RateChange; 1] {
    [RateChange { from_ms: 1_000_000 + 100_000, terms: row("0.06", first_s, next_s) }]
}

#[test]
fn each_block_takes_the_row_in_force_at_its_first_instant() {
    let terms = row("0.60", 60, 60);
    let changes = evening(30, 6);
    let tariff = Tariff { changes: &changes, connect_ms: 1_000_000, ..Tariff::plain(&terms) };
    // Blocks of the day row begin at 0 and 60 s; the one at 60 is not cut at 100. The next begin at 120 in the evening.
    let charge = rate_tariff(131_000, &tariff, &fine()).unwrap();
    assert_eq!((charge.billed_s, charge.fee), (132, money("1.212")), "120 s of 0.60 and 12 s of 0.06");
    let charge = rate_tariff(120_000, &tariff, &fine()).unwrap();
    assert_eq!((charge.billed_s, charge.fee), (120, money("1.20")));
    // Free time moves the start of the blocks: at 101 s the first one is an evening's first block.
    let params = BillingParams { free_s: 101, ..fine() };
    let charge = rate_tariff(131_000, &tariff, &params).unwrap();
    assert_eq!((charge.billed_s, charge.fee), (30, money("0.03")));
    let lines = explain_tariff(131_000, &tariff, &fine());
    assert!(lines.iter().any(|line| line.contains("over 2 rows (120 s, 12 s)")), "{lines:#?}");
}

#[test]
fn a_block_that_begins_at_the_change_takes_the_new_row() {
    let terms = row("0.60", 10, 10);
    let changes = evening(10, 10);
    let tariff = Tariff { changes: &changes, connect_ms: 1_000_000, ..Tariff::plain(&terms) };
    let charge = rate_tariff(110_000, &tariff, &fine()).unwrap();
    assert_eq!(charge.fee, money("1.01"), "100 s of 0.60 and 10 s of 0.06");
    // Without a split the row at the answer holds for the whole call.
    let whole = rate_tariff(110_000, &Tariff::plain(&terms), &fine()).unwrap();
    assert_eq!(whole.fee, money("1.10"));
}

fn rates() -> impl Strategy<Value = RateTerms> {
    (0i64..100_000, prop::sample::select(vec![1u32, 6, 30, 60]), prop::sample::select(vec![1u32, 6, 60]), 0i64..500)
        .prop_map(|(rate, first_s, next_s, conn)| RateTerms {
            rate_per_min: Decimal::new(rate, 5),
            conn_fee: Decimal::new(conn, 3),
            ..row("0", first_s, next_s)
        })
}

/// Lays every block for itself, second by second, with fractions.
fn laid(hold_s: i64, tariff: &Tariff<'_>, params: &BillingParams) -> (i64, i64, Fraction) {
    let mut at_s = i64::from(params.free_s).min(hold_s);
    let mut suite_s = 0;
    for gift in tariff.gifts {
        let mut cycles = 0;
        while at_s < hold_s && (cycles + 1) * i64::from(gift.cycle_s) <= gift.left_s {
            cycles += 1;
            let paid_s = i64::from(gift.cycle_s).min(hold_s - at_s);
            suite_s += paid_s;
            at_s += paid_s;
        }
    }
    if at_s >= hold_s {
        return (0, suite_s, Fraction::ZERO);
    }
    let (mut billed_s, mut raw, mut first) = (0, Fraction::of(tariff.terms.conn_fee), true);
    while at_s < hold_s {
        let at_ms = tariff.connect_ms + at_s * 1000;
        let later = tariff.changes.iter().rev().find(|change| change.from_ms <= at_ms);
        let row = later.map_or(tariff.terms, |change| &change.terms);
        let block_s = i64::from(if first { row.first_s } else { row.next_s });
        raw = raw.add(Fraction::of(row.rate_per_min).mul(Fraction::whole(block_s)).div(Fraction::whole(60)));
        (first, at_s, billed_s) = (false, at_s + block_s, billed_s + block_s);
    }
    (billed_s, suite_s, raw)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn packages_and_changes_agree_with_blocks_laid_one_by_one(
        hold_s in 0i64..1_500,
        free_s in prop::sample::select(vec![0u32, 6, 30]),
        terms in rates(),
        later in prop::collection::vec((0i64..900_000, rates()), 0..4),
        given in prop::collection::vec((prop::sample::select(vec![1u32, 6, 60]), -5i64..200), 0..3),
    ) {
        let connect_ms = 1_700_000_000_000;
        let mut changes: Vec<RateChange> =
            later.into_iter().map(|(after_ms, terms)| RateChange { from_ms: connect_ms + after_ms, terms }).collect();
        changes.sort_by_key(|change| change.from_ms);
        let gifts: Vec<Gift> = given.into_iter().map(|(cycle_s, left_s)| gift(cycle_s, left_s)).collect();
        let tariff = Tariff { terms: &terms, changes: &changes, connect_ms, gifts: &gifts, gift_money: Money::ZERO };
        let params = BillingParams { free_s, quantise_rate: false, ..fine() };
        let charge = rate_tariff(hold_s * 1000, &tariff, &params).unwrap();
        let (billed_s, suite_s, raw) = laid(hold_s, &tariff, &params);
        prop_assert_eq!(charge.billed_s, billed_s);
        prop_assert_eq!(charge.suite_s, suite_s);
        prop_assert_eq!(Fraction::new(charge.raw_fee.numerator(), 60 * 100_000_000), raw);
        // Longer is never cheaper: what reservations rest on.
        let longer = rate_tariff((hold_s + 1) * 1000, &tariff, &params).unwrap();
        prop_assert!(longer.total().unwrap() >= charge.total().unwrap());
    }

    #[test]
    fn the_longest_call_a_balance_buys_costs_no_more_than_it(
        avail in 0i64..20_000,
        terms in rates(),
        later in prop::collection::vec((0i64..200_000, rates()), 0..3),
        given in prop::collection::vec((prop::sample::select(vec![1u32, 60]), 0i64..200), 0..2),
    ) {
        let mut changes: Vec<RateChange> =
            later.into_iter().map(|(from_ms, terms)| RateChange { from_ms, terms }).collect();
        changes.sort_by_key(|change| change.from_ms);
        let gifts: Vec<Gift> = given.into_iter().map(|(cycle_s, left_s)| gift(cycle_s, left_s)).collect();
        let tariff = Tariff { terms: &terms, changes: &changes, connect_ms: 0, gifts: &gifts, gift_money: Money::ZERO };
        let avail = Money::new(Decimal::new(avail, 4)).unwrap();
        let due = |hold_s: i64| rate_tariff(hold_s * 1000, &tariff, &fine()).unwrap().due().unwrap();
        match max_hold_s(avail, tariff, &fine()).unwrap() {
            MaxHold::Seconds(hold_s) => {
                prop_assert!(due(hold_s) <= avail);
                prop_assert!(due(hold_s + 1) > avail);
            }
            MaxHold::NotOneBlock => prop_assert!(due(1) > avail),
            MaxHold::Unlimited => prop_assert!(due(100_000) <= avail),
        }
    }

    #[test]
    fn a_record_proves_its_own_charges(
        hold_ms in 0i64..900_000,
        sell in rates(),
        agent in rates(),
        buy in rates(),
        after_ms in 0i64..300_000,
        gifted in 0i64..120,
        fp in 0u8..=4,
    ) {
        let connect_ms = 1_700_000_000_000;
        let leg = |account: &str, terms: RateTerms| LegTerms {
            account: account.into(),
            terms: Some(terms),
            rate_group: "retail".into(),
            number: "442071234567".into(),
            ..LegTerms::default()
        };
        let usage = Usage {
            flow_no: 7,
            connect_ms: Some(connect_ms),
            hold_ms,
            end_ms: connect_ms + hold_ms,
            customer: Some(LegTerms {
                changes: vec![RateChange { from_ms: connect_ms + after_ms, terms: buy.clone() }],
                gifts: vec![gift(6, gifted)],
                gift_money: money("0.05"),
                ..leg("acme", sell)
            }),
            agents: vec![leg("agent", agent.clone()), leg("top", agent)],
            vendor: Some(leg("carrier", buy)),
            params: BillingParams { fp, fu: Decimal::new(1, u32::from(fp)), free_s: 3, vendor_free_time: false, ..fine() },
            ..Usage::default()
        };
        let settlement = settle(&usage, "USD");
        prop_assert!(settlement.problems.is_empty(), "{:?}", settlement.problems);
        let cdr = &settlement.cdr;
        let proofs = proof::of_cdr(cdr).unwrap();
        let params = proof::params_of(cdr).unwrap();
        prop_assert_eq!(&params, &usage.params);
        let roles: Vec<Role> = proofs.iter().map(|proof| proof.leg).collect();
        prop_assert_eq!(roles, [Role::Customer, Role::Agent, Role::Agent, Role::Vendor]);
        for proof in &proofs {
            prop_assert!(proof.holds(proof::connect_ms_of(cdr), &params), "{:?}", proof);
        }
        let charge = proofs[0].charge.as_ref().unwrap();
        prop_assert_eq!((charge.fee, charge.tax, charge.suite_fee), (cdr.fee, cdr.tax, cdr.suite_fee));
        let agent = proofs[1].charge.as_ref().unwrap();
        prop_assert_eq!((agent.fee, agent.tax), (cdr.agent_fee, cdr.agent_tax));
        prop_assert_eq!(cdr.income_fee, cdr.fee.checked_sub(cdr.agent_fee).unwrap());
        // A record that was tampered with does not prove itself.
        let mut other = proofs[3].clone();
        other.charge.as_mut().unwrap().fee = other.charge.as_ref().unwrap().fee.checked_add(money("0.0001")).unwrap();
        prop_assert!(!other.holds(proof::connect_ms_of(cdr), &params));
    }
}
