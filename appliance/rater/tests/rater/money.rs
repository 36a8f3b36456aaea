//! Renewal, settlement, payments, calls taken over after a crash.

use tandem_rater::{PayError, Rater, Rules};
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerKind, Record};
use tandem_rating::split::RateChange;

use crate::bench::{Bench, FREE, answered, failed, money, now_ms, terms};

#[test]
fn a_grant_is_renewed_until_the_balance_is_used_up() {
    let mut bench = Bench::prepaid("1.25");
    let rate = terms("0.60", 1, 1);
    assert_eq!(bench.admit(1, Some(rate.clone())).unwrap().until_s, Some(60));
    assert_eq!(bench.renew(1), (Some(120), false));
    assert_eq!(bench.account("c").reserved, money("1.20"));
    assert_eq!(bench.renew(1), (Some(125), true), "1.25 buys 125 s");
    assert_eq!(bench.renew(1), (Some(125), true), "and no more");
    bench.rater.pay(0, "c", money("0.10"), "top-up".into(), "", "").unwrap();
    assert_eq!(bench.renew(1), (Some(135), true), "a payment lifts it");
    bench.settle(&answered(1, 135_000, Some(rate), None));
    assert_eq!(bench.account("c").balance, Money::ZERO);
    bench.nothing_left();
}

#[test]
fn two_calls_share_what_is_there() {
    let mut bench = Bench::prepaid("1.80");
    let rate = terms("0.60", 1, 1);
    bench.admit(1, Some(rate.clone())).unwrap();
    bench.admit(2, Some(rate.clone())).unwrap();
    assert_eq!(bench.renew(1), (Some(120), false), "the first takes the last minute");
    assert_eq!(bench.renew(2), (Some(60), true), "the second keeps what it was promised");
    assert!(bench.admit(3, Some(rate.clone())).is_err());
    bench.settle(&answered(2, 60_000, Some(rate.clone()), None));
    bench.settle(&answered(1, 30_000, Some(rate), None));
    assert_eq!(bench.account("c").balance, money("0.90"));
    bench.nothing_left();
}

#[test]
fn renewal_of_a_call_that_is_over_has_no_answer() {
    let mut bench = Bench::prepaid("1");
    let gone = tandem_call::question::Question::Renew { call: crate::bench::key(9), flow_no: 9 };
    assert!(bench.ask(gone).is_none());
}

#[test]
fn both_legs_are_charged_once_and_the_rest_goes_back() {
    let mut bench = Bench::prepaid("10");
    let (sell, buy) = (terms("0.06", 60, 60), terms("0.03", 60, 60));
    bench.admit(1, Some(sell.clone())).unwrap();
    bench.settle(&answered(1, 65_400, Some(sell), Some(buy)));
    let keys: Vec<(&str, String)> = bench.rows().iter().map(|r| (r.account.as_str(), r.amount.to_string())).collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(a, m)| (*a, m.as_str())).collect();
    assert!(keys.contains(&("c", "-0.12")) && keys.contains(&("v1", "-0.06")), "{keys:?}");
    assert!(bench.rows().iter().any(|r| r.key == "call:1:customer" && r.flow_no == Some(1)));
    assert_eq!(bench.account("c").balance, money("9.88"));
    assert_eq!((bench.gateway("b1").answered, bench.gateway("b1").answered_ms), (1, 65_400));
    bench.nothing_left();
}

#[test]
fn a_second_settlement_of_a_call_moves_no_money() {
    let mut bench = Bench::prepaid("10");
    let (sell, buy) = (terms("0.06", 60, 60), terms("0.03", 60, 60));
    bench.admit(1, Some(sell.clone())).unwrap();
    let usage = answered(1, 60_000, Some(sell), Some(buy));
    bench.settle(&usage);
    let before: Vec<Money> = bench.rater.accounts().iter().map(|a| a.balance).collect();
    bench.settle(&usage);
    let after: Vec<Money> = bench.rater.accounts().iter().map(|a| a.balance).collect();
    assert_eq!(after, before, "charged twice");
    assert_eq!(bench.settlements().len(), 1, "and recorded twice");
    assert_eq!(bench.gateway("b1").answered, 1, "and counted twice");
    assert_eq!((bench.gateway("a").in_use, bench.gateway("b1").in_use), (0, 0), "no line comes back twice");
}

#[test]
fn a_call_that_was_never_admitted_settles_without_money_or_lines() {
    let mut bench = Bench::prepaid("10");
    bench.settle(&failed(5, 2));
    assert_eq!(bench.settlements().len(), 1);
    bench.nothing_left();
}

#[test]
fn a_call_beyond_its_grant_is_charged_all_the_same() {
    let mut bench = Bench::prepaid("0.60");
    let rate = terms("0.60", 1, 1);
    bench.admit(1, Some(rate.clone())).unwrap();
    bench.settle(&answered(1, 61_000, Some(rate), None));
    assert_eq!(bench.account("c").balance, money("-0.01"));
    assert_eq!(bench.account("c").reserved, Money::ZERO);
}

#[test]
fn a_recovered_call_is_charged_without_a_reservation() {
    let mut rater =
        Rater::new([("c".to_owned(), money("5")), ("v1".to_owned(), money("-1")), ("gone".into(), money("2"))]);
    let usage = answered(7, 60_000, Some(terms("0.60", 1, 1)), Some(terms("0.30", 1, 1)));
    // Before the configuration names the accounts, and of an account it never names.
    rater.settle_recovered(now_ms(0), &usage);
    let mut of_gone = answered(8, 60_000, Some(terms("0.60", 1, 1)), None);
    of_gone.customer.as_mut().unwrap().account = "gone".into();
    rater.settle_recovered(now_ms(0), &of_gone);
    let mut rows = Vec::new();
    while let Some(output) = rater.poll_output() {
        if let tandem_rater::Output::Record(Record::Settled { ledger, cdr, .. }) = output {
            assert!(cdr.is_some());
            rows.extend(ledger);
        }
    }
    let told: Vec<(&str, String)> = rows.iter().map(|r| (r.account.as_str(), r.balance_after.to_string())).collect();
    let balance = |account: &str| money(&told.iter().find(|(a, _)| *a == account).unwrap().1);
    assert_eq!((balance("c"), balance("v1"), balance("gone")), (money("4.40"), money("-1.30"), money("1.40")));
    let mut bench = Bench::over(rater);
    bench.configure("1000", "0", &FREE, Rules::default());
    assert_eq!(bench.account("c").balance, money("4.40"), "known to the store: no opening balance");
    assert_eq!(bench.account("v1").balance, money("-1.30"));
    assert!(!bench.rows().iter().any(|r| r.account == "c"), "nothing is booked for an account that was there");
}

#[test]
fn a_payment_is_booked_once_by_its_key() {
    let mut bench = Bench::prepaid("0");
    let row = bench.rater.pay(5, "c", money("3"), "k1".into(), "anna", "cash").unwrap();
    assert_eq!((row.kind, row.balance_after, row.user.as_str()), (LedgerKind::Payment, money("3"), "anna"));
    assert_eq!(bench.rater.pay(6, "c", money("3"), "k1".into(), "", ""), Err(PayError::Duplicate("k1".into())));
    assert_eq!(bench.rater.pay(6, "nobody", money("3"), "k2".into(), "", ""), Err(PayError::NoAccount));
    assert!(bench.rater.pay(7, "c", money("-1"), "k2".into(), "", "").is_ok(), "a refused key is free");
    assert_eq!(bench.account("c").balance, money("2"));
}

#[test]
fn an_answer_is_recorded_before_it_is_told_and_heartbeats_are_kept() {
    use tandem_call::question::{Answer, Question};
    let mut bench = Bench::prepaid("1");
    let usage = Box::new(answered(1, 0, None, None));
    bench.rater.handle(now_ms(0), Question::Answered { call: crate::bench::key(1), usage, carry: Vec::new() });
    assert!(matches!(bench.rater.poll_output(), Some(tandem_rater::Output::Record(Record::Start { .. }))));
    assert!(matches!(
        bench.rater.poll_output(),
        Some(tandem_rater::Output::Answer { answer: Answer::Journaled { .. }, shard: 0 })
    ));
    bench.ask(Question::Heartbeat { at_ms: 5, alive: vec![(1, 5_000)], unacknowledged: vec![(2, 7)] });
    assert_eq!(
        bench.records.last(),
        Some(&Record::Heartbeat { at_ms: 5, alive: vec![(1, 5_000)], unacknowledged: vec![(2, 7)] })
    );
}

#[test]
fn a_call_of_another_life_holds_what_it_held() {
    let mut bench = Bench::prepaid("1.25");
    let rate = terms("0.60", 1, 1);
    let usage = tandem_rating::usage::Usage {
        caller_gateway: "a".into(),
        callee_gateway: "b1".into(),
        ..answered(1, 0, Some(rate), None)
    };
    // The 60th second runs by now, and a minute more is granted.
    assert_eq!(bench.adopt(&usage, 59), Ok((Some(120), false)));
    assert_eq!(bench.account("c").reserved, money("1.20"));
    assert_eq!((bench.gateway("a").in_use, bench.gateway("b1").in_use), (1, 1));
    assert!(bench.adopt(&usage, 70).is_err(), "it is there already");
    assert_eq!((bench.rater.calls_held(), bench.settlements().len()), (1, 0), "and stays as it was");
    assert_eq!(bench.renew(1), (Some(125), true));
    let end = tandem_rating::usage::Usage { hold_ms: 80_000, ..usage.clone() };
    bench.settle(&end);
    assert_eq!(bench.account("c").balance, money("0.45"));
    bench.nothing_left();
    let gone = tandem_rating::usage::Usage { callee_gateway: "b9".into(), flow_no: 2, ..usage };
    assert!(bench.adopt_all(&[(gone, 10, 11)]).remove(0).unwrap_err().contains("b9"));
    assert_eq!(bench.account("c").balance, money("0.35"), "charged to its last heartbeat");
    bench.nothing_left();
}

#[test]
fn calls_of_another_life_do_not_take_each_others_last_money() {
    let of = |n: u32, block_s: u32| tandem_rating::usage::Usage {
        caller_gateway: "a".into(),
        callee_gateway: "b1".into(),
        ..answered(n, 0, Some(terms("0.60", block_s, block_s)), None)
    };
    // 96 s of the first, begun 90 s ago; a second that has just begun its minute; a third of another 30 s.
    let mut bench = Bench::prepaid("1.86");
    let calls = [(of(1, 6), 85, 90), (of(2, 60), 5, 10), (of(3, 30), 10, 11)];
    let grants = bench.adopt_all(&calls);
    // Together 90 + 60 + 30 s are owed; what is left are 6 s for whoever is first.
    assert_eq!(grants, [Ok((Some(96), true)), Ok((Some(60), true)), Ok((Some(30), true))]);
    assert_eq!(bench.account("c").available, Money::ZERO);
    for (n, hold_s) in [(1, 96), (2, 60), (3, 30)] {
        let block_s = [6, 60, 30][n as usize - 1];
        bench.settle(&tandem_rating::usage::Usage { hold_ms: hold_s * 1_000, ..of(n, block_s) });
    }
    assert_eq!(bench.account("c").balance, Money::ZERO);
    bench.nothing_left();
}

#[test]
fn a_call_that_cannot_pay_its_time_since_the_last_heartbeat_is_lost_and_takes_from_nobody() {
    let of = |n: u32| tandem_rating::usage::Usage {
        caller_gateway: "a".into(),
        callee_gateway: "b1".into(),
        ..answered(n, 0, Some(terms("0.60", 1, 1)), None)
    };
    // Both are owed for 50 s; twenty seconds later there is money for one of them.
    let mut bench = Bench::prepaid("1.25");
    let grants = bench.adopt_all(&[(of(1), 50, 70), (of(2), 50, 70)]);
    assert_eq!(grants[0], Ok((Some(75), true)));
    assert!(grants[1].as_ref().is_err_and(|why| why == "account c cannot pay 70 s"), "{grants:?}");
    assert_eq!((bench.account("c").balance, bench.account("c").reserved), (money("0.75"), money("0.75")));
    bench.settle(&tandem_rating::usage::Usage { hold_ms: 75_000, ..of(1) });
    assert_eq!(bench.account("c").balance, Money::ZERO);
    bench.nothing_left();
}

#[test]
fn a_call_of_another_life_has_the_second_that_runs_even_on_an_account_that_owes() {
    let usage = tandem_rating::usage::Usage {
        caller_gateway: "a".into(),
        callee_gateway: "b1".into(),
        ..answered(1, 0, Some(terms("0.60", 6, 6)), None)
    };
    let mut bench = Bench::prepaid("0.06");
    bench.rater.pay(0, "c", money("-5"), "fine".into(), "", "").unwrap();
    bench.drain();
    // Five seconds by the last heartbeat, the sixth runs: its block is held, and not a second more.
    assert_eq!(bench.adopt_all(&[(usage.clone(), 4, 5)]), [Ok((Some(6), true))]);
    bench.settle(&tandem_rating::usage::Usage { hold_ms: 6_000, ..usage.clone() });
    assert_eq!(bench.account("c").balance, money("-5"));
    let mut by_seconds = tandem_rating::usage::Usage { flow_no: 2, ..usage };
    // At two decimals 60 s of it cost what 1 s costs.
    by_seconds.customer.as_mut().unwrap().terms = Some(terms("0.01", 1, 1));
    assert_eq!(bench.adopt_all(&[(by_seconds.clone(), 59, 59)]), [Ok((Some(60), true))]);
    bench.settle(&tandem_rating::usage::Usage { hold_ms: 60_000, ..by_seconds });
    assert_eq!(bench.account("c").balance, money("-5.01"));
    bench.nothing_left();
}

#[test]
fn a_free_call_of_another_life_holds_its_lines_and_no_money() {
    let mut bench = Bench::prepaid("1");
    let usage = tandem_rating::usage::Usage {
        caller_gateway: "a".into(),
        callee_gateway: "b1".into(),
        ..answered(1, 0, None, None)
    };
    assert!(usage.customer.as_ref().is_some_and(|leg| leg.terms.is_none()), "it has a payer who pays nothing");
    assert_eq!(bench.adopt(&usage, 70), Ok((None, false)));
    assert_eq!((bench.account("c").calls, bench.account("c").reserved), (0, Money::ZERO), "as when it was let in");
    assert_eq!((bench.gateway("a").in_use, bench.gateway("b1").in_use), (1, 1));
    bench.settle(&tandem_rating::usage::Usage { hold_ms: 80_000, ..usage });
    bench.nothing_left();
}

#[test]
fn a_start_record_that_is_written_again_leaves_what_was_granted() {
    use tandem_call::question::{Answer, Question};
    let mut bench = Bench::prepaid("10");
    let rate = terms("0.60", 1, 1);
    let mut usage = tandem_rating::usage::Usage {
        caller_gateway: "a".into(),
        callee_gateway: "b1".into(),
        ..answered(1, 0, Some(rate.clone()), None)
    };
    // A price that changes during the call is reserved from the answer on.
    let change = RateChange { from_ms: i64::MAX, terms: rate };
    usage.customer.as_mut().unwrap().changes.push(change);
    assert_eq!(bench.adopt(&usage, 119), Ok((Some(180), false)));
    let held = bench.account("c").reserved;
    assert_eq!(held, money("1.80"));
    let again = Question::Answered { call: crate::bench::key(1), usage: Box::new(usage), carry: Vec::new() };
    bench.rater.handle(now_ms(0), again);
    let mut regrants = Vec::new();
    while let Some(output) = bench.rater.poll_output() {
        if let tandem_rater::Output::Answer { answer: Answer::Journaled { regranted, .. }, .. } = output {
            regrants.push(regranted);
        }
    }
    assert_eq!((regrants, bench.account("c").reserved), (vec![None], held));
}
