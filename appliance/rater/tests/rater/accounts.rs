//! Payments and their kinds, monthly bounds, alarms, the vendor's money (spec accounts.md 2 to 5).

use tandem_call::question::{Answer, Payer, Question};
use tandem_call::snapshot::AccountId;
use tandem_leg::ServerReason;
use tandem_rater::{Bounds, Move, Movement, PayError, Rules};
use tandem_rating::fee::BillingParams;
use tandem_rating::money::Money;
use tandem_rating::record::LedgerKind;
use tandem_rating::usage::Usage;

use crate::bench::{Bench, FREE, WALL_MS, answered, key, money, terms};

fn order(account: &str, what: Move, key: &str) -> Movement {
    Movement { account: account.into(), what, key: key.into(), user: "ann".into(), memo: String::new() }
}

#[test]
fn every_kind_of_movement_is_a_row_and_the_balance_is_their_sum() {
    let mut bench = Bench::prepaid("10");
    let moves = [
        ("c", Move::Pay(money("5")), LedgerKind::Payment, "5"),
        ("c", Move::Pay(money("-2")), LedgerKind::Deduction, "-2"),
        ("c", Move::Reverse(money("5")), LedgerKind::Reversal, "-5"),
        ("c", Move::MakeZero, LedgerKind::MakeZero, "-8"),
        ("g2", Move::Pay(money("20")), LedgerKind::Payment, "20"),
    ];
    for (n, (account, what, kind, amount)) in moves.into_iter().enumerate() {
        let row = bench.rater.move_money(0, order(account, what, &format!("k{n}"))).unwrap();
        assert_eq!((row.kind, row.amount), (kind, money(amount)));
    }
    assert_eq!(bench.account("c").balance, Money::ZERO);
    assert_eq!(bench.rater.move_money(0, order("c", Move::MakeZero, "z")), Err(PayError::Zero));
    bench.drain();
    bench.nothing_left();
}

#[test]
fn an_agent_pays_out_of_his_own_money_once() {
    let mut bench = Bench::prepaid("0");
    bench.rater.pay(0, "g2", money("30"), "p".into(), "", "").unwrap();
    // The agent of the agent may pay as well; neither a stranger nor the account below.
    let paid = bench.rater.move_money(1, order("c", Move::PayFrom("g2".into(), money("12")), "k")).unwrap();
    assert_eq!((paid.account.as_str(), paid.kind, paid.balance_after), ("c", LedgerKind::Payment, money("12")));
    assert_eq!((bench.account("g2").balance, bench.account("c").balance), (money("18"), money("12")));
    let again = bench.rater.move_money(2, order("c", Move::PayFrom("g2".into(), money("12")), "k"));
    assert_eq!(again, Err(PayError::Duplicate("k".into())));
    for (agent, amount) in [("g1", "1"), ("g2", "18.01"), ("g2", "0")] {
        let refused = bench.rater.move_money(3, order("c", Move::PayFrom(agent.into(), money(amount)), "n"));
        assert!(matches!(refused, Err(PayError::NoMoney { .. })), "{agent} {amount}: {refused:?}");
    }
    let below = bench.rater.move_money(3, order("g2", Move::PayFrom("c".into(), money("1")), "n"));
    assert_eq!(below, Err(PayError::NoAgent("c".into())));
    bench.drain();
    let rows: Vec<_> = bench.rows().iter().filter(|row| row.key.starts_with('k')).map(|row| row.kind).collect();
    assert_eq!(rows, [LedgerKind::Transfer, LedgerKind::Payment], "the agent's half first");
    bench.nothing_left();
}

#[test]
fn the_month_bounds_new_calls_and_ends_with_the_month() {
    let mut bench = Bench::prepaid("100");
    bench.bounds = Bounds { monthly_max: Some(money("1.20")), ..Bounds::default() };
    bench.configure("100", "0", &FREE, Rules::default());
    let rate = terms("0.60", 60, 60);
    for n in 1..=2 {
        bench.admit(n, Some(rate.clone())).unwrap();
        bench.settle(&answered(n, 60_000, Some(rate.clone()), None));
    }
    assert_eq!((bench.account("c").spent_month, bench.account("c").spent_today), (money("1.20"), money("1.20")));
    assert_eq!(bench.admit(3, Some(rate.clone())).err(), Some(ServerReason::MonthlyLimit));
    assert!(bench.admit(4, None).is_ok(), "a free number is not bounded");
    bench.settle(&answered(4, 1_000, None, None));
    // 2026-11-22 and nine days.
    bench.at_ms += 9 * 86_400_000;
    assert!(bench.admit(5, Some(rate.clone())).is_ok(), "the next month begins at 0");
    bench.settle(&Usage { flow_no: 5, ..answered(5, 1_000, Some(rate), None) });
    let month = bench.rater.accounts_at(crate::bench::now_ms(bench.at_ms).wall_ms);
    assert_eq!(month.iter().find(|view| view.name == "c").unwrap().spent_month, money("0.60"));
    bench.nothing_left();
}

#[test]
fn a_phone_has_a_bound_of_its_own_and_its_rows_say_whose_they_are() {
    let mut bench = Bench::prepaid("100");
    let rate = terms("0.60", 60, 60);
    let payer = |phone: &str| Payer {
        phone: phone.into(),
        monthly_max: Some(money("0.60")),
        ..Payer::plain(AccountId(0), Some(terms("0.60", 60, 60)))
    };
    let call = |bench: &mut Bench, n, phone: &str| {
        let admitted = bench.admit_payers(n, vec![payer(phone)], BillingParams::default(), 1);
        admitted.map(|_| {
            let usage = answered(n, 60_000, Some(rate.clone()), None);
            bench.settle(&Usage { billing_mode: 0, caller_billed: phone.into(), ..usage });
        })
    };
    call(&mut bench, 1, "4930100").unwrap();
    assert_eq!(call(&mut bench, 2, "4930100").err(), Some(ServerReason::MonthlyLimit));
    call(&mut bench, 3, "4930200").unwrap();
    let memos: Vec<&str> =
        bench.rows().iter().filter(|r| r.kind == LedgerKind::Call).map(|r| r.memo.as_str()).collect();
    assert_eq!(memos, ["phone 4930100", "phone 4930200"]);
    bench.nothing_left();
}

#[test]
fn a_low_balance_gives_one_alarm_until_it_was_above_again() {
    let mut bench = Bench::prepaid("10");
    bench.bounds = Bounds { alarm_below: Some(money("5")), ..Bounds::default() };
    bench.configure("10", "0", &FREE, Rules::default());
    for (n, amount) in ["-4", "-3", "-1", "10", "-9"].into_iter().enumerate() {
        bench.rater.pay(0, "c", money(amount), format!("k{n}"), "", "").unwrap();
    }
    bench.drain();
    assert_eq!(bench.alarms, ["account c: balance 3 is below 5", "account c: balance 3 is below 5"]);
}

#[test]
fn a_vendor_that_is_checked_bounds_the_call_by_what_we_have_there() {
    let mut bench = Bench::new("100", "0", &FREE, Rules { check_clearing: true, ..Rules::default() });
    bench.rater.pay(0, "v1", money("1.25"), "p".into(), "", "").unwrap();
    let (sell, buy) = (terms("0.06", 1, 1), terms("0.60", 1, 1));
    bench.admit(1, Some(sell.clone())).unwrap();
    let usage = answered(1, 0, Some(sell), Some(buy));
    let told = bench.ask(Question::Answered { call: key(1), usage: Box::new(usage.clone()), carry: Vec::new() });
    assert!(matches!(told, Some(Answer::Journaled { regranted: Some((Some(60), false)), .. })), "{told:?}");
    assert_eq!(bench.account("v1").reserved, money("0.60"));
    bench.renew(1);
    assert_eq!(bench.renew(1), (Some(125), true), "1.25 buys 125 s of the vendor");
    bench.settle(&Usage { hold_ms: 125_000, ..usage });
    assert_eq!(bench.account("v1").balance, Money::ZERO);
    bench.nothing_left();
}

#[test]
fn a_call_of_another_life_holds_the_vendors_money_again() {
    let mut bench = Bench::new("100", "0", &FREE, Rules { check_clearing: true, ..Rules::default() });
    bench.rater.pay(0, "v1", money("1.25"), "p".into(), "", "").unwrap();
    let usage = Usage {
        caller_gateway: "a".into(),
        callee_gateway: "b1".into(),
        ..answered(1, 0, Some(terms("0.06", 1, 1)), Some(terms("0.60", 1, 1)))
    };
    assert_eq!(bench.adopt(&usage, 59), Ok((Some(120), false)));
    assert_eq!(bench.account("v1").reserved, money("1.20"));
    bench.settle(&Usage { hold_ms: 80_000, ..usage });
    assert_eq!(bench.account("v1").balance, money("0.45"));
    bench.nothing_left();
}

#[test]
fn a_card_expires_days_after_its_first_use_and_pays_its_money_out_once() {
    let mut bench = Bench::prepaid("10");
    bench.bounds = Bounds { is_card: true, valid_days: Some(2), ..Bounds::default() };
    bench.configure("10", "0", &FREE, Rules::default());
    let call = |bench: &mut Bench, n: u32| {
        bench.admit(n, Some(terms("0.60", 60, 60)))?;
        bench.settle(&answered(n, 60_000, Some(terms("0.60", 60, 60)), None));
        Ok::<(), ServerReason>(())
    };
    let day = 86_400_000;
    bench.at_ms = 30 * day;
    assert_eq!(call(&mut bench, 1), Ok(()), "unused it does not age");
    // The call of the bench ended a minute after the beginning of time.
    let view = bench.account("c");
    assert_eq!(
        (view.first_use_ms, view.valid_to_ms),
        (Some(WALL_MS + 60_000), Some(WALL_MS + 60_000 + 2 * day as i64))
    );
    assert_eq!(call(&mut bench, 2), Err(ServerReason::AccountExpired));
    let by_card = |card: &str, key: &str| order("g1", Move::ByCard(card.to_owned()), key);
    let why = |error: PayError| error.to_string();
    let now = (WALL_MS, WALL_MS + 3 * day as i64);
    assert_eq!(bench.rater.move_money(now.1, by_card("c", "k")).map_err(why), Err("card c is expired".to_owned()));
    assert_eq!(bench.rater.move_money(now.0, by_card("g2", "k")).map_err(why), Err("card g2 is no card".to_owned()));
    bench.at_ms = 0;
    bench.admit(3, Some(terms("0.60", 60, 60))).unwrap();
    assert_eq!(
        bench.rater.move_money(now.0, by_card("c", "k")).map_err(why),
        Err("card c has a call in progress".to_owned())
    );
    bench.settle(&answered(3, 60_000, Some(terms("0.60", 60, 60)), None));
    let row = bench.rater.move_money(now.0, by_card("c", "k")).unwrap();
    assert_eq!((row.account.as_str(), row.kind, row.amount), ("g1", LedgerKind::Payment, money("8.80")));
    assert_eq!((bench.account("c").balance, bench.account("g1").balance), (Money::ZERO, money("8.80")));
    assert_eq!(bench.rater.move_money(now.0, by_card("c", "k2")).map_err(why), Err("card c has no money".to_owned()));
    bench.drain();
    bench.nothing_left();
}
