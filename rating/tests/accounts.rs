//! What a balance buys, and parallel calls that must not spend it twice (accounts.md 4 and 5).

mod common;

use common::{dec, money, params, section, terms};
use proptest::prelude::*;
use tandem_rating::{Account, BillingParams, Grant, MaxHold, Money, RateTerms, Refused, max_hold_s, rate_leg};

fn prepaid(balance: &str) -> Account {
    Account { balance: money(balance), ..Account::default() }
}

fn cost(hold_s: i64, terms: &RateTerms, params: &BillingParams) -> Money {
    rate_leg(hold_s * 1000, terms, params).unwrap().total().unwrap()
}

#[test]
fn the_worked_table_of_seconds() {
    let with_free = BillingParams { free_s: 6, ..params(2) };
    let columns = [
        ("60/60", terms("0.01", 60, 60), params(2)),
        ("1/1", terms("0.06", 1, 1), params(4)),
        ("30/6", terms("0.06", 30, 6), params(4)),
        ("60/60 free 6", terms("0.01", 60, 60), with_free),
    ];
    // 0 is "not one block", like the row 0.00 that is refused in spite of its free time.
    for (available, seconds) in [
        ("0.00", [0, 0, 0, 0]),
        ("0.01", [60, 10, 0, 66]),
        ("0.02", [120, 20, 0, 126]),
        ("0.05", [300, 50, 48, 306]),
        ("1.00", [6000, 1000, 996, 6006]),
    ] {
        for ((name, terms, params), expected) in columns.iter().zip(seconds) {
            let found = max_hold_s(money(available), terms, params).unwrap();
            let expected = match expected {
                0 => MaxHold::NotOneBlock,
                seconds => MaxHold::Seconds(seconds),
            };
            assert_eq!(found, expected, "{available} at {name}");
        }
    }
}

#[test]
fn free_calls_and_endless_balances_are_unlimited() {
    let found = max_hold_s(money("-5"), &terms("0", 60, 60), &params(2)).unwrap();
    assert_eq!(found, MaxHold::Unlimited);
    let unquantised = BillingParams { quantise_rate: false, ..params(4) };
    let cheapest = terms("0.00000001", 1, 1);
    let found = max_hold_s(money("999999999999"), &cheapest, &unquantised).unwrap();
    assert_eq!(found, MaxHold::Unlimited);
    let only_connection = RateTerms { conn_fee: dec("0.10"), ..terms("0", 60, 60) };
    let found = max_hold_s(money("0.10"), &only_connection, &params(2)).unwrap();
    assert_eq!(found, MaxHold::Unlimited);
    let found = max_hold_s(money("0.09"), &only_connection, &params(2)).unwrap();
    assert_eq!(found, MaxHold::NotOneBlock);
}

#[test]
fn tax_is_part_of_what_a_balance_must_pay() {
    let taxed = RateTerms { tax_pct: dec("20"), ..terms("0.10", 60, 60) };
    let found = max_hold_s(money("1.00"), &taxed, &params(2)).unwrap();
    assert_eq!(found, MaxHold::Seconds(8 * 60));
    let mut account = prepaid("0.11");
    let refused = account.admit(&taxed, &params(2), 1).unwrap_err();
    assert_eq!(refused.to_string(), "balance insufficient: 0.11 available, 0.12 needed for the first grant");
}

#[test]
fn sections_are_walked_before_the_blocks() {
    let stepped = RateTerms { sections: vec![section(1, 180, "0.22")], ..terms("0.11", 60, 60) };
    for (available, expected) in [
        ("0.21", MaxHold::NotOneBlock),
        ("0.22", MaxHold::Seconds(180)),
        ("0.32", MaxHold::Seconds(180)),
        ("0.33", MaxHold::Seconds(240)),
    ] {
        let found = max_hold_s(money(available), &stepped, &params(2)).unwrap();
        assert_eq!(found, expected, "{available}");
    }
    let mut account = prepaid("0.33");
    let mut held = account.admit(&stepped, &params(2), 1).unwrap();
    assert_eq!((held.grant().until_s, held.amount()), (180, money("0.22")));
    let grant = account.renew(&mut held, &stepped, &params(2), 1).unwrap();
    assert_eq!((grant.until_s, grant.last), (240, false));
    let grant = account.renew(&mut held, &stepped, &params(2), 1).unwrap();
    assert_eq!((grant.until_s, grant.last), (240, true));
    account.release(held);
}

#[test]
fn a_section_of_no_time_is_a_fee_and_no_block() {
    let stepped = RateTerms { sections: vec![section(1, 0, "0.05"), section(2, 30, "0.03")], ..terms("0.06", 6, 6) };
    let found = max_hold_s(money("0.07"), &stepped, &params(4)).unwrap();
    assert_eq!(found, MaxHold::NotOneBlock);
    let found = max_hold_s(money("0.08"), &stepped, &params(4)).unwrap();
    assert_eq!(found, MaxHold::Seconds(30));
}

#[test]
fn ten_calls_are_admitted_and_the_eleventh_is_refused() {
    let mut account = prepaid("1.00");
    let row = terms("0.10", 60, 60);
    let held: Vec<_> = (0..10).map(|_| account.admit(&row, &params(2), 1).unwrap()).collect();
    assert_eq!(account.available(), Money::ZERO);
    assert!(matches!(account.admit(&row, &params(2), 1), Err(Refused::NoMoney { .. })));
    let charge = rate_leg(60_000, &row, &params(2)).unwrap();
    for reservation in held {
        let settled = account.settle(reservation, &charge).unwrap();
        assert_eq!(settled.charged, money("0.1"));
        assert_eq!((settled.unused, settled.beyond), (Money::ZERO, Money::ZERO));
    }
    assert_eq!(account, Account::default());
}

#[test]
fn five_minutes_in_advance_admit_two_calls() {
    let mut account = prepaid("1.00");
    let row = terms("0.10", 60, 60);
    let first = account.admit(&row, &params(2), 5).unwrap();
    let second = account.admit(&row, &params(2), 5).unwrap();
    assert_eq!(first.grant().until_s, 300);
    assert!(account.admit(&row, &params(2), 5).is_err());
    account.release(first);
    let third = account.admit(&row, &params(2), 5).unwrap();
    account.release(second);
    account.release(third);
    assert_eq!(account, prepaid("1.00"));
}

#[test]
fn an_overdraft_admits_below_zero() {
    let mut account = Account { balance: money("-0.95"), limit: money("1"), reserved: Money::ZERO };
    let row = terms("0.05", 60, 60);
    let held = account.admit(&row, &params(2), 1).unwrap();
    assert!(account.admit(&row, &params(2), 1).is_err());
    let charge = rate_leg(1000, &row, &params(2)).unwrap();
    account.settle(held, &charge).unwrap();
    assert_eq!(account.balance, money("-1"));
}

#[test]
fn a_call_at_rate_zero_reserves_nothing_but_needs_a_live_account() {
    let row = terms("0", 60, 60);
    let mut account = prepaid("0.01");
    let mut held = account.admit(&row, &params(2), 1).unwrap();
    assert!(held.is_unlimited());
    assert_eq!(account.reserved, Money::ZERO);
    let grant = account.renew(&mut held, &row, &params(2), 1).unwrap();
    assert_eq!(grant, held.grant());
    account.release(held);
    assert!(matches!(prepaid("0").admit(&row, &params(2), 1), Err(Refused::NoMoney { .. })));
}

#[test]
fn grants_end_at_blocks_and_leave_time_to_renew() {
    let with_free = BillingParams { free_s: 6, ..params(4) };
    let mut account = prepaid("10");
    for (row, params, until_s, renew_at_s) in [
        (terms("0.06", 60, 60), &with_free, 66, 56),
        (terms("0.06", 30, 7), &with_free, 6 + 58, 54),
        (terms("0.06", 180, 60), &with_free, 186, 176),
        (terms("0.06", 1, 1), &with_free, 66, 56),
    ] {
        let held = account.admit(&row, params, 1).unwrap();
        let grant = held.grant();
        assert_eq!((grant.until_s, grant.renew_at_s()), (until_s, renew_at_s));
        assert!(cost(until_s, &row, params) <= held.amount());
        account.release(held);
    }
    let short = tandem_rating::Grant { until_s: 15, last: true };
    assert_eq!(short.renew_at_s(), 7);
}

#[test]
fn a_block_longer_than_the_advance_time_still_moves_on() {
    let row = terms("0.60", 100, 100);
    let mut account = prepaid("10");
    let mut held = account.admit(&row, &params(2), 1).unwrap();
    assert_eq!(held.grant().until_s, 100);
    for end_s in [200, 300, 400] {
        let grant = account.renew(&mut held, &row, &params(2), 1).unwrap();
        assert_eq!((grant.until_s, grant.last), (end_s, false));
        assert_eq!(held.amount(), cost(end_s, &row, &params(2)));
    }
    account.release(held);
}

#[test]
fn the_last_grant_is_all_the_money_there_is_and_a_payment_lifts_it() {
    let row = terms("0.06", 1, 1);
    let mut account = prepaid("0.10");
    let mut held = account.admit(&row, &params(4), 1).unwrap();
    assert_eq!(held.grant().until_s, 60);
    let grant = account.renew(&mut held, &row, &params(4), 1).unwrap();
    assert_eq!((grant.until_s, grant.last), (100, true));
    assert_eq!(account.available(), Money::ZERO);
    account.balance = account.balance.checked_add(money("1")).unwrap();
    let grant = account.renew(&mut held, &row, &params(4), 1).unwrap();
    assert_eq!((grant.until_s, grant.last), (160, false));
    let charge = rate_leg(160_000, &row, &params(4)).unwrap();
    account.settle(held, &charge).unwrap();
    assert_eq!(account, prepaid("0.94"));
}

#[test]
fn a_grant_is_not_taken_back_when_the_balance_is() {
    let row = terms("0.06", 60, 60);
    // Nothing is left, or one minute of the two that were granted.
    for left in ["0", "0.06"] {
        let mut account = prepaid("0.20");
        let mut held = account.admit(&row, &params(2), 2).unwrap();
        account.balance = money(left);
        let grant = account.renew(&mut held, &row, &params(2), 2).unwrap();
        assert_eq!((grant.until_s, grant.last), (120, true), "{left} left");
        assert_eq!(held.amount(), money("0.12"));
        account.release(held);
        assert_eq!(account.reserved, Money::ZERO);
    }
}

#[test]
fn a_call_that_ran_past_its_grant_is_charged_and_reported() {
    let row = terms("0.06", 60, 60);
    let mut account = prepaid("0.06");
    let held = account.admit(&row, &params(2), 1).unwrap();
    let charge = rate_leg(60_050, &row, &params(2)).unwrap();
    let settled = account.settle(held, &charge).unwrap();
    assert_eq!(settled.beyond, money("0.06"));
    assert_eq!(account.balance, money("-0.06"));
    assert_eq!(account.reserved, Money::ZERO);
}

#[test]
fn advance_times_outside_one_to_fifteen_are_refused_by_name() {
    for advance_min in [0, 16] {
        let refused = prepaid("1").admit(&terms("0.1", 60, 60), &params(2), advance_min);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("ADVANCE_TIME") && text.contains("1 to 15"), "{text}");
    }
}

#[test]
fn a_fee_that_does_not_fit_is_more_than_any_balance() {
    let dear = terms("9999999999", 60, 60);
    let found = max_hold_s(money("999999999999"), &dear, &params(2)).unwrap();
    assert_eq!(found, MaxHold::Seconds(100 * 60));
    let mut account = prepaid("999999999999");
    let mut held = account.admit(&dear, &params(2), 15).unwrap();
    for _ in 0..6 {
        account.renew(&mut held, &dear, &params(2), 15).unwrap();
    }
    assert_eq!((held.grant().until_s, held.grant().last), (6000, true));
    account.release(held);
}

fn any_terms() -> impl Strategy<Value = RateTerms> {
    let sections = prop::collection::vec((0_u32..90, 0_i64..2000), 0..3);
    (
        0_i64..500_000,
        1_u32..200,
        1_u32..90,
        sections,
        prop_oneof![Just(0_i64), 0_i64..300],
        prop_oneof![Just(0_i64), 0_i64..3000],
    )
        .prop_map(|(rate, first_s, next_s, sections, conn, tax)| RateTerms {
            rate_per_min: rust_decimal::Decimal::new(rate, 6),
            sections: sections
                .into_iter()
                .enumerate()
                .map(|(position, (time_s, amount))| tandem_rating::Section {
                    position: position as u32,
                    time_s,
                    amount: rust_decimal::Decimal::new(amount, 4),
                })
                .collect(),
            conn_fee: rust_decimal::Decimal::new(conn, 3),
            tax_pct: rust_decimal::Decimal::new(tax, 2),
            ..terms("0", first_s, next_s)
        })
}

fn any_params() -> impl Strategy<Value = BillingParams> {
    (0_u8..=4, 0_u32..15, any::<bool>()).prop_map(|(fp, free_s, quantise_rate)| BillingParams {
        free_s,
        quantise_rate,
        ..params(fp)
    })
}

proptest! {
    #[test]
    fn the_answer_is_affordable_and_one_second_more_is_not(
        terms in any_terms(), params in any_params(), cents in 0_i64..100_000,
    ) {
        let available = Money::new(rust_decimal::Decimal::new(cents, 2)).unwrap();
        match max_hold_s(available, &terms, &params).unwrap() {
            MaxHold::Unlimited => {
                prop_assert!(cost(1_000_000_000, &terms, &params) <= available || terms.is_free());
            }
            MaxHold::Seconds(seconds) => {
                prop_assert!(cost(seconds, &terms, &params) <= available);
                prop_assert!(cost(seconds + 1, &terms, &params) > available);
            }
            MaxHold::NotOneBlock => {
                prop_assert!(cost(i64::from(params.free_s) + 1, &terms, &params) > available);
            }
        }
    }

    #[test]
    fn more_money_never_buys_less_time(
        terms in any_terms(), params in any_params(), a in 0_i64..10_000, b in 0_i64..10_000,
    ) {
        let seconds = |cents: i64| {
            let available = Money::new(rust_decimal::Decimal::new(cents, 2)).unwrap();
            match max_hold_s(available, &terms, &params).unwrap() {
                MaxHold::Unlimited => i64::MAX,
                MaxHold::Seconds(seconds) => seconds,
                MaxHold::NotOneBlock => 0,
            }
        };
        prop_assert!(seconds(a.min(b)) <= seconds(a.max(b)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A thousand calls over one account: begin, renew when due, end at any moment of their grant.
    #[test]
    fn a_thousand_parallel_calls_never_overspend(
        rows in prop::collection::vec(any_terms(), 1..4),
        params in any_params(),
        balance in 0_i64..20_000,
        limit in 0_i64..5_000,
        advance_min in 1_u32..=15,
        steps in prop::collection::vec((0_usize..4, any::<prop::sample::Index>(), 0_i64..1000), 3000),
    ) {
        let mut account = Account {
            balance: Money::new(rust_decimal::Decimal::new(balance, 2)).unwrap(),
            limit: Money::new(rust_decimal::Decimal::new(limit, 2)).unwrap(),
            reserved: Money::ZERO,
        };
        let floor = account.limit.checked_neg().unwrap();
        let opening = account.balance;
        let mut taken = Money::ZERO;
        let mut running: Vec<(usize, tandem_rating::Reservation)> = Vec::new();
        let mut begun = 0;
        for (what, which, permille) in steps {
            match what {
                0 | 1 if begun < 1000 => {
                    begun += 1;
                    let row = which.index(rows.len());
                    if let Ok(held) = account.admit(&rows[row], &params, advance_min) {
                        running.push((row, held));
                    }
                }
                2 if !running.is_empty() => {
                    let index = which.index(running.len());
                    let (row, held) = &mut running[index];
                    let before = held.grant().until_s;
                    let grant = account.renew(held, &rows[*row], &params, advance_min).unwrap();
                    prop_assert!(grant.until_s >= before);
                    prop_assert!(grant.last || grant.until_s > before || held.is_unlimited());
                }
                _ if !running.is_empty() => {
                    let (row, held) = running.swap_remove(which.index(running.len()));
                    // The last moment that still bills the granted second is the worst one.
                    let end_ms = held.grant().until_s.min(100_000) * permille + i64::from(params.p_hold_ms) - 1;
                    let charge = rate_leg(end_ms, &rows[row], &params).unwrap();
                    let reserved = held.amount();
                    let settled = account.settle(held, &charge).unwrap();
                    prop_assert!(settled.charged <= reserved, "{settled:?} of {reserved}");
                    prop_assert!(settled.beyond.is_zero());
                    taken = taken.checked_add(settled.charged).unwrap();
                }
                _ => {}
            }
            let reserved: Money = running.iter().fold(Money::ZERO, |sum, (_, held)| sum.checked_add(held.amount()).unwrap());
            prop_assert_eq!(account.reserved, reserved);
            prop_assert!(account.balance >= floor, "{} below {}", account.balance, floor);
            prop_assert!(account.available() >= Money::ZERO);
        }
        for (row, held) in running {
            let end_ms = held.grant().until_s.min(100_000) * 1000;
            let charge = rate_leg(end_ms, &rows[row], &params).unwrap();
            taken = taken.checked_add(account.settle(held, &charge).unwrap().charged).unwrap();
        }
        prop_assert_eq!(account.reserved, Money::ZERO);
        prop_assert!(account.balance >= floor);
        prop_assert_eq!(opening.checked_sub(taken).unwrap(), account.balance);
    }
}

/// A deck changed between the admission and the answer: the new price is reserved, and free time is free.
#[test]
fn repricing_reserves_the_new_price_behind_the_free_time() {
    let params = BillingParams { free_s: 120, ..BillingParams::default() };
    let (old, new) = (terms("0.10", 60, 60), terms("5.00", 60, 60));
    let mut account = prepaid("0.10");
    let mut held = account.admit(&old, &params, 1).unwrap();
    let grant = account.reprice(&mut held, &new, &params, 1).unwrap();
    assert_eq!(grant, Grant { until_s: 120, last: true }, "no block at the new price is affordable");
    assert_eq!(account.reserved, Money::ZERO);
    let mut rich = prepaid("20");
    let mut held = rich.admit(&old, &params, 1).unwrap();
    let grant = rich.reprice(&mut held, &new, &params, 1).unwrap();
    assert_eq!(grant, Grant { until_s: 180, last: false });
    assert_eq!(rich.reserved, money("5"));
}
