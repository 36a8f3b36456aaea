//! Which calls leave a record: the table of spec cdr.md 3, row by row, in its order.

use tandem_call::question::Question;
use tandem_rater::{Rules, Suppressed};
use tandem_rating::usage::Usage;

use crate::bench::{Bench, FREE, answered, failed, key, money, terms};

fn illegal(n: u32, ip: &str) -> Usage {
    Usage {
        caller_gateway: Default::default(),
        caller_ip: ip.into(),
        billing_mode: -1,
        end_reason: -45,
        ..failed(n, 2)
    }
}

fn bench(change: impl FnOnce(&mut Rules)) -> Bench {
    let mut rules = Rules::default();
    change(&mut rules);
    Bench::new("10", "0", &FREE, rules)
}

/// Whether a call leaves a CDR when it is settled; an answered one is admitted first.
fn recorded(bench: &mut Bench, usage: &Usage) -> bool {
    if usage.answered() {
        let n = u32::try_from(usage.flow_no).expect("a small flow number");
        bench.admit(n, usage.customer.as_ref().and_then(|leg| leg.terms.clone())).expect("admitted");
    }
    let before = bench.settlements().iter().filter(|(_, cdr)| cdr.is_some()).count();
    bench.settle(usage);
    bench.settlements().iter().filter(|(_, cdr)| cdr.is_some()).count() > before
}

#[test]
fn row_1_an_illegal_call_by_its_own_switch() {
    let mut on = bench(|_| ());
    assert!(recorded(&mut on, &illegal(1, "203.0.113.9:5060")));
    let cdr = on.settlements()[0].1.cloned().unwrap();
    assert_eq!((cdr.billing_mode, cdr.end_direction, cdr.account.as_str()), (-1, 2, ""));
    assert_eq!((cdr.hold_s, cdr.fee), (0, money("0")));
    let mut off = bench(|r| r.record_illegal = false);
    assert!(!recorded(&mut off, &illegal(1, "203.0.113.9:5060")));
    assert_eq!(off.rater.suppressed(), Suppressed { illegal: 1, ..Suppressed::default() });
    // "The next rows do not apply."
    let mut others_off = bench(|r| {
        r.record_zero_hold = false;
        r.record_server_hang_up = false;
    });
    assert!(recorded(&mut others_off, &illegal(1, "203.0.113.9:5060")));
}

#[test]
fn row_1_at_most_a_hundred_a_second_from_one_address() {
    let mut bench = bench(|_| ());
    let from = |ip: &'static str, first: u32, count: u32, bench: &mut Bench| {
        // The port does not make another source.
        (0..count).filter(|n| recorded(bench, &illegal(first + n, &format!("{ip}:{}", 5_000 + n)))).count()
    };
    assert_eq!(from("203.0.113.9", 1, 150, &mut bench), 100);
    assert_eq!(from("203.0.113.10", 1_000, 10, &mut bench), 10, "another source has its own hundred");
    assert_eq!(bench.rater.suppressed().illegal, 50);
    bench.at_ms += 1_000;
    assert_eq!(from("203.0.113.9", 2_000, 10, &mut bench), 10, "the next second");
}

#[test]
fn row_2_a_number_without_records() {
    let rules = |r: &mut Rules| r.no_cdr_numbers = vec!["861390*".to_owned()];
    let mut listed = bench(rules);
    assert!(!recorded(&mut listed, &failed(1, 0)));
    assert_eq!(listed.rater.suppressed(), Suppressed { no_cdr: 1, ..Suppressed::default() });
    let other = Usage { callee_billed: "4930100".into(), ..failed(2, 0) };
    assert!(recorded(&mut listed, &other));
    // Held, and free: no record either.
    let mut held = bench(rules);
    assert!(!recorded(&mut held, &Usage { vendor: None, ..answered(3, 60_000, None, None) }));
}

#[test]
fn row_3_a_held_call_always() {
    let mut bench = bench(|r| {
        r.record_zero_hold = false;
        r.record_server_hang_up = false;
        r.record_illegal = false;
    });
    let by_server = Usage { end_direction: 2, ..answered(1, 60_000, Some(terms("0.06", 60, 60)), None) };
    assert!(recorded(&mut bench, &by_server), "row 3 wins over row 5");
    assert_eq!(bench.rater.suppressed(), Suppressed::default());
}

#[test]
fn row_4_zero_hold_time_by_its_switch() {
    let below_threshold = answered(2, 49, Some(terms("0.06", 60, 60)), None);
    let mut on = bench(|_| ());
    assert!(recorded(&mut on, &failed(1, 1)));
    assert!(recorded(&mut on, &below_threshold));
    assert_eq!(on.settlements()[1].1.unwrap().fee, money("0"));
    let mut off = bench(|r| r.record_zero_hold = false);
    assert!(!recorded(&mut off, &failed(1, 1)));
    assert!(!recorded(&mut off, &below_threshold), "answered, but shorter than the threshold");
    assert_eq!(off.rater.suppressed(), Suppressed { zero_hold: 2, ..Suppressed::default() });
    // Its start record must not stay open for the next recovery.
    assert_eq!(off.settlements(), [(2, None)]);
}

#[test]
fn row_5_ended_by_the_switch_by_its_switch() {
    let mut off = bench(|r| r.record_server_hang_up = false);
    assert!(!recorded(&mut off, &failed(1, 2)));
    assert!(recorded(&mut off, &failed(2, 1)), "ended by the callee");
    assert!(recorded(&mut off, &failed(3, 0)), "ended by the caller");
    assert_eq!(off.rater.suppressed(), Suppressed { server_hang_up: 1, ..Suppressed::default() });
    // Row 4 is asked before row 5.
    let mut both = bench(|r| {
        r.record_zero_hold = false;
        r.record_server_hang_up = false;
    });
    assert!(!recorded(&mut both, &failed(1, 2)));
    assert_eq!(both.rater.suppressed(), Suppressed { zero_hold: 1, ..Suppressed::default() });
}

#[test]
fn row_6_everything_else() {
    let mut bench = bench(|_| ());
    for direction in 0..3 {
        assert!(recorded(&mut bench, &failed(u32::from(direction) + 1, direction)));
    }
}

#[test]
fn a_charge_never_goes_without_a_record() {
    // A connection fee on a number that is not to be recorded: the money moved, so the record is there.
    let mut bench = bench(|r| r.no_cdr_numbers = vec!["*".to_owned()]);
    let charged = answered(1, 60_000, Some(terms("0.06", 60, 60)), None);
    assert!(recorded(&mut bench, &charged));
    assert_eq!(bench.rater.suppressed(), Suppressed::default());
}

#[test]
fn a_start_record_is_closed_although_the_call_leaves_no_cdr() {
    let mut bench = bench(|r| r.record_zero_hold = false);
    bench.admit(1, Some(terms("0.06", 60, 60))).expect("admitted");
    let start = answered(1, 0, Some(terms("0.06", 60, 60)), None);
    bench.ask(Question::Answered { call: key(1), usage: Box::new(start), carry: Vec::new() });
    // The caller hung up before he heard of it.
    bench.settle(&failed(1, 0));
    assert_eq!(bench.settlements(), [(1, None)], "or the next start settles it once more");
    bench.nothing_left();
    // Without a start record there is nothing to close.
    bench.admit(2, Some(terms("0.06", 60, 60))).expect("admitted");
    bench.settle(&failed(2, 0));
    assert_eq!(bench.settlements().len(), 1);
}
