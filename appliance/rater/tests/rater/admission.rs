//! Who may start: call rate, money, lines, in that order, and what goes back when one of them is missing.

use tandem_call::question::{LineSkip, Question};
use tandem_call::snapshot::GatewayId;
use tandem_leg::ServerReason;
use tandem_rater::Rules;

use crate::bench::{Bench, FREE, Lines, answered, candidate, failed, key, money, now_ms, terms};

#[test]
fn an_admitted_call_holds_a_minute_of_money_and_two_lines() {
    let mut bench = Bench::prepaid("1.00");
    let grant = bench.admit(1, Some(terms("0.60", 1, 1))).unwrap();
    assert_eq!((grant.until_s, grant.candidate), (Some(60), Some(0)));
    let account = bench.account("c");
    assert_eq!((account.reserved, account.available, account.calls), (money("0.60"), money("0.40"), 1));
    assert_eq!((bench.gateway("a").in_use, bench.gateway("b1").in_use, bench.gateway("b2").in_use), (1, 1, 0));
    bench.settle(&failed(1, 0));
    bench.nothing_left();
}

#[test]
fn a_call_that_cannot_be_paid_is_refused_and_holds_nothing() {
    for balance in ["0", "0.59"] {
        let mut bench = Bench::prepaid(balance);
        assert_eq!(bench.admit(1, Some(terms("0.60", 1, 1))).err(), Some(ServerReason::InsufficientBalance));
        bench.nothing_left();
        bench.settle(&failed(1, 2));
        bench.nothing_left();
    }
}

#[test]
fn the_credit_limit_is_money_too() {
    let mut bench = Bench::new("0", "0.60", &FREE, Rules::default());
    assert!(bench.admit(1, Some(terms("0.60", 1, 1))).is_ok());
    assert_eq!(bench.admit(2, Some(terms("0.60", 1, 1))).err(), Some(ServerReason::InsufficientBalance));
}

#[test]
fn a_free_leg_reserves_nothing_and_never_ends() {
    let mut bench = Bench::prepaid("0");
    let grant = bench.admit(1, None).unwrap();
    assert_eq!(grant.until_s, None);
    assert_eq!(bench.account("c").reserved, money("0"));
    bench.settle(&answered(1, 60_000, None, None));
    bench.nothing_left();
}

#[test]
fn an_unknown_gateway_or_account_is_refused_not_served() {
    let mut bench = Bench::prepaid("10");
    let admit = tandem_call::question::Admit {
        call: key(1),
        flow_no: 1,
        mapping: GatewayId(99),
        payers: Vec::new(),
        params: Default::default(),
        advance_min: 1,
        candidates: vec![candidate(1)],
    };
    let answer = bench.ask(Question::Admit(Box::new(admit)));
    assert!(
        matches!(answer, Some(tandem_call::question::Answer::Refused { reason: ServerReason::InternalError, .. })),
        "{answer:?}"
    );
    bench.nothing_left();
}

#[test]
fn of_thirty_calls_in_one_instant_a_limit_of_ten_lets_ten_through() {
    let lines = Lines { mapping: (None, Some(10)), ..FREE };
    let mut bench = Bench::new("100", "0", &lines, Rules::default());
    let outcomes: Vec<bool> = (1..=30).map(|n| bench.admit(n, Some(terms("0.06", 60, 60))).is_ok()).collect();
    assert_eq!(outcomes.iter().filter(|ok| **ok).count(), 10);
    assert!(outcomes[..10].iter().all(|ok| *ok), "the first ten");
    assert_eq!(bench.admit(31, None).err(), Some(ServerReason::CpsLimit));
    assert_eq!(bench.account("c").calls, 10, "those without a token hold no money");
    bench.at_ms += 100;
    assert!(bench.admit(32, None).is_ok(), "a token every 100 ms");
    assert_eq!(bench.admit(33, None).err(), Some(ServerReason::CpsLimit));
}

#[test]
fn lines_of_the_mapping_gateway() {
    let lines = Lines { mapping: (Some(1), None), ..FREE };
    let mut bench = Bench::new("100", "0", &lines, Rules::default());
    assert!(bench.admit(1, Some(terms("0.60", 1, 1))).is_ok());
    assert_eq!(bench.admit(2, Some(terms("0.60", 1, 1))).err(), Some(ServerReason::ConnectionLimitExceeded));
    assert_eq!(bench.account("c").reserved, money("0.60"), "the refused call's money went back");
    bench.settle(&failed(1, 0));
    assert!(bench.admit(3, Some(terms("0.60", 1, 1))).is_ok());
}

#[test]
fn a_full_vendor_is_passed_over_with_its_reason() {
    let lines = Lines { b1: (Some(1), None), b2: (Some(0), None), ..FREE };
    let mut bench = Bench::new("100", "0", &lines, Rules::default());
    assert_eq!(bench.admit(1, None).unwrap().candidate, Some(0));
    let second = bench.admit(2, None).unwrap();
    assert_eq!(second.candidate, None, "capacity 0 blocks all (R-D9)");
    assert_eq!(second.skipped, [(0, LineSkip::Capacity), (1, LineSkip::Capacity)]);
    bench.settle(&failed(1, 0));
    bench.settle(&failed(2, 2));
    bench.nothing_left();
}

#[test]
fn a_vendor_without_a_token_is_passed_over() {
    let lines = Lines { b1: (None, Some(1)), ..FREE };
    let mut bench = Bench::new("100", "0", &lines, Rules::default());
    assert_eq!(bench.admit(1, None).unwrap().candidate, Some(0));
    let second = bench.admit(2, None).unwrap();
    assert_eq!((second.candidate, second.skipped), (Some(1), vec![(0, LineSkip::Cps)]));
}

#[test]
fn a_failed_attempt_hands_its_line_back_before_the_next_is_taken() {
    let lines = Lines { b1: (Some(1), None), b2: (Some(1), None), ..FREE };
    let mut bench = Bench::new("100", "0", &lines, Rules::default());
    assert_eq!(bench.admit(1, None).unwrap().candidate, Some(0));
    assert_eq!(bench.next_line(1, &[2]), (Some(0), Vec::new()));
    assert_eq!((bench.gateway("b1").in_use, bench.gateway("b2").in_use), (0, 1));
    // The same gateway again: the line it held is the one it gets.
    assert_eq!(bench.next_line(1, &[2]), (Some(0), Vec::new()));
    assert_eq!(bench.next_line(1, &[]), (None, Vec::new()));
    assert_eq!(bench.gateway("b2").in_use, 0);
    bench.settle(&failed(1, 1));
    bench.nothing_left();
}

#[test]
fn a_line_for_a_call_that_holds_nothing_goes_back() {
    let mut bench = Bench::prepaid("1");
    bench.next_line(77, &[1]);
    assert_eq!(bench.gateway("b1").in_use, 0);
    bench.nothing_left();
}

#[test]
fn retry_after_pauses_a_vendor_until_its_instant() {
    let mut bench = Bench::prepaid("1");
    let until_ms = now_ms(30_000).wall_ms;
    assert!(bench.ask(Question::Pause { gateway: GatewayId(1), until_ms }).is_none());
    assert_eq!(bench.gateway("b1").retry_after_ms, 30_000);
    // A shorter pause does not shorten a longer one.
    bench.ask(Question::Pause { gateway: GatewayId(1), until_ms: until_ms - 20_000 });
    bench.at_ms = 29_999;
    let grant = bench.admit(1, None).unwrap();
    assert_eq!((grant.candidate, grant.skipped), (Some(1), vec![(0, LineSkip::Paused)]));
    bench.at_ms = 30_000;
    assert_eq!(bench.admit(2, None).unwrap().candidate, Some(0));
}

#[test]
fn a_clearing_account_without_money_is_passed_over_when_it_is_checked() {
    let mut bench = Bench::new("10", "0", &FREE, Rules { check_clearing: true, ..Rules::default() });
    bench.rater.pay(0, "v2", money("1"), "p".into(), "", "").unwrap();
    let grant = bench.admit(1, None).unwrap();
    assert_eq!((grant.candidate, grant.skipped), (Some(1), vec![(0, LineSkip::ClearingExhausted)]));
}

#[test]
fn a_new_configuration_keeps_money_and_lines_in_use() {
    let mut bench = Bench::prepaid("1.00");
    bench.admit(1, Some(terms("0.60", 1, 1))).unwrap();
    let lines = Lines { mapping: (Some(1), None), ..FREE };
    bench.configure("500", "0", &lines, Rules::default());
    assert_eq!(bench.account("c").balance, money("1.00"), "an opening balance is booked once");
    assert_eq!(bench.account("c").reserved, money("0.60"));
    assert_eq!(bench.admit(2, None).err(), Some(ServerReason::ConnectionLimitExceeded), "the running call counts");
    bench.settle(&failed(1, 0));
    bench.nothing_left();
}
