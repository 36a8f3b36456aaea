//! What the simulator found once, each as a plan of its own that does not depend on which seed showed it.

use tandem_sim::bug::Bug;
use tandem_sim::plan::{Fault, FaultKind, Plan, Profile};
use tandem_sim::run::play;
use tandem_sim::world::Outcome;

/// A calm day with these faults; a segment of the journal holds one write.
fn day(faults: Vec<(u64, FaultKind)>, change: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = Plan::new(5, 40, Profile::Calm);
    plan.segment_bytes = 1;
    plan.rtp = false;
    let named = |(n, (at_s, kind)): (usize, (u64, FaultKind))| Fault {
        name: format!("fault.{n}"),
        at_us: at_s * 1_000_000,
        kind,
    };
    plan.faults = faults.into_iter().enumerate().map(named).collect();
    change(&mut plan);
    plan
}

fn good(plan: &Plan) -> Outcome {
    let outcome = play(plan, Bug::None, false);
    let findings: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert!(outcome.seen.answered > 0);
    outcome
}

#[test]
fn power_that_goes_when_a_segment_begins_leaves_a_journal_that_opens() {
    // Nothing of the new segment but its length may be on the disk.
    for steps in 0..24 {
        let crash = FaultKind::Crash {
            power: true,
            steps,
            on_disk: true,
            away_ms: 50,
            database_lost: steps % 3 == 0,
            again: None,
        };
        let outcome = good(&day(vec![(4, crash)], |plan| plan.switch_seed += u64::from(steps)));
        assert_eq!((outcome.crashes, outcome.power_cuts), (1, 1));
    }
}

#[test]
fn a_sync_that_fails_at_the_end_of_a_segment_stops_the_switch_and_the_next_start_bills_every_call() {
    let outcome = good(&day(vec![(4, FaultKind::SyncError)], |_| {}));
    assert_eq!(outcome.crashes, 1, "it would refuse calls for ever");
}

#[test]
fn a_caller_who_hangs_up_before_he_hears_of_the_answer_leaves_no_open_call() {
    // The rating thread takes its time, and calls of no length leave no record.
    let mut seen = 0;
    for seed in 0..6 {
        let mut plan = Plan::new(seed, 60, Profile::Calm);
        plan.rating_us = 900_000;
        plan.versions.iter_mut().for_each(|version| version.record_zero_hold = false);
        seen += good(&plan).seen.answered;
    }
    assert!(seen > 50);
}

#[test]
fn a_disk_that_is_full_for_seconds_refuses_new_calls_and_loses_no_charge() {
    let outcome = good(&day(vec![(3, FaultKind::DiskFull { room: 0, for_ms: 4_000 })], |plan| plan.rtp = true));
    assert!(outcome.seen.refused > 0 && outcome.disk_refused > 0, "{:?}", outcome.seen);
}
