//! Bounded runs of the simulator, and that a seed is a seed.

use tandem_sim::audit::Seen;
use tandem_sim::plan::{Mask, Profile};
use tandem_sim::run::{Job, shrink};

/// Calls of one run here; a debug build plays some hundred a second.
const CALLS: u32 = 60;

fn all_pass(profile: Profile, seeds: std::ops::Range<u64>) -> Seen {
    let mut seen = Seen::default();
    for seed in seeds {
        let job = Job::new(seed, CALLS, profile);
        let outcome = job.run(false);
        let findings: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{}\n{}", job.command(), findings.join("\n"));
        seen.add(&outcome.seen);
    }
    assert!(seen.calls > 0);
    seen
}

#[test]
fn calm_days_end_with_every_call_billed_once() {
    all_pass(Profile::Calm, 0..6);
}

#[test]
fn a_bad_network_and_busy_operators_cost_nobody_money() {
    all_pass(Profile::Faults, 100..112);
}

#[test]
fn a_broken_disk_loses_no_charge() {
    all_pass(Profile::Disk, 200..212);
}

#[test]
fn crashes_bill_every_call_once() {
    all_pass(Profile::Crash, 300..315);
}

#[test]
fn a_day_of_an_office_ends_with_every_account_right() {
    let seen = all_pass(Profile::Money, 500..512);
    let kinds = [
        ("legs of agents", seen.agent_legs),
        ("calls paid by the callee", seen.callee_pays),
        ("free calls", seen.free),
        ("calls without a record", seen.no_cdr),
        ("legs over a change of price", seen.split_legs),
        ("changes of the configuration", seen.changes),
        ("movements", seen.moves),
        ("external calls", seen.external),
        ("known external calls", seen.external_known),
        ("runs", seen.runs),
        ("corrections", seen.corrections),
        ("rows of reports", seen.report_rows),
        ("acts on orders", seen.orders),
        ("periods of packages and fees", seen.periods),
        ("legs that packages paid", seen.gifted),
        ("calls stopped at an account or a phone", seen.stopped),
        ("calls stopped at a month or a card", seen.bounded),
    ];
    for (kind, count) in kinds {
        assert!(count > 0, "there were no {kind}: {seen:?}");
    }
}

#[test]
fn everything_at_once_leaves_nothing_behind() {
    all_pass(Profile::All, 400..415);
}

#[test]
fn a_seed_plays_the_same_twice() {
    for profile in [Profile::Calm, Profile::All] {
        let job = Job::new(17, CALLS, profile);
        let (one, two) = (job.run(false), job.run(true));
        assert_ne!(one.hash, 0);
        assert_eq!((one.hash, one.seen, one.findings), (two.hash, two.seen, two.findings), "{profile:?}");
    }
    assert_ne!(Job::new(17, CALLS, Profile::All).run(false).hash, Job::new(18, CALLS, Profile::All).run(false).hash);
}

#[test]
fn a_masked_seed_plays_the_same_twice() {
    let mask =
        Mask { only_calls: Some([1, 2, 3, 30].into()), without: ["loss".to_owned(), "crash.0".to_owned()].into() };
    let job = Job { mask, ..Job::new(17, CALLS, Profile::All) };
    let (one, two) = (job.run(false), job.run(false));
    assert_eq!((one.hash, one.seen), (two.hash, two.seen));
    assert!(one.seen.calls <= 8);
}

#[test]
fn a_failing_seed_shrinks_to_a_few_calls_and_still_fails() {
    let job = Job { bug: tandem_sim::bug::Bug::PriceDoubled, ..Job::new(1, 40, Profile::Faults) };
    let small = shrink(&job, 120, &mut |_| {});
    let plan = small.plan();
    assert!(plan.calls.len() <= 2, "{} calls are left", plan.calls.len());
    let findings = small.run(false).findings;
    assert!(findings.iter().any(|finding| finding.kind == "cdr"), "{findings:?}");
}
