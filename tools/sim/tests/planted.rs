//! The auditor can fail: every planted bug is seen, and named for what it is.

use tandem_sim::bug::{ALL, Bug, OF_CRASHES, OF_MONEY};
use tandem_sim::plan::Profile;
use tandem_sim::run::Job;

/// Seeds that are tried until one has what the bug spoils.
const SEEDS: u64 = 12;

/// Kinds of findings that are about the bug itself, any of which will do.
fn expected(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::None => &[],
        Bug::SettlementDropped => &["cdr"],
        Bug::PriceDoubled | Bug::HoldTooLong | Bug::VendorForgotten => &["cdr"],
        Bug::SocketLeaked => &["left"],
        Bug::LineForgotten => &["left"],
        Bug::WriteSkipped => &["cdr"],
        Bug::PortShared => &["ports"],
        Bug::SecondFinal => &["dialog"],
        Bug::AckDropped => &["dialog"],
        Bug::LateRequest => &["dialog"],
        Bug::PaymentForgotten => &["money"],
        Bug::ProjectionStops => &["database"],
        Bug::AdoptedTwice => &["journal", "ledger"],
        Bug::AdoptedUnpaid => &["adoption"],
        Bug::AdoptedAnew | Bug::AdoptedNever => &["cdr"],
        Bug::AgentForgotten | Bug::AgentDoubled | Bug::CalleeSpared => &["cdr", "money"],
        Bug::SplitIgnored | Bug::ClockChangeIgnored | Bug::DeckLate => &["cdr"],
        Bug::MoveForgotten | Bug::MovedTwice => &["money"],
        Bug::ExternalTwice | Bug::GiftsTaken => &["external"],
        Bug::CorrectionForgotten | Bug::CorrectedTwice => &["correction"],
        Bug::DaysSkewed => &["reports"],
    }
}

fn is_seen(bug: Bug, profile: Profile) {
    for seed in 0..SEEDS {
        let job = Job { bug, ..Job::new(seed, 25, profile) };
        let findings = job.run(false).findings;
        if findings.is_empty() {
            continue;
        }
        let kinds: Vec<&str> = findings.iter().map(|finding| finding.kind).collect();
        assert!(expected(bug).iter().any(|kind| kinds.contains(kind)), "{bug:?}: {findings:?}");
        return;
    }
    panic!("{bug:?} was not seen in {SEEDS} seeds");
}

#[test]
fn every_planted_bug_is_seen_on_a_calm_day() {
    for bug in ALL {
        is_seen(bug, Profile::Calm);
    }
}

#[test]
fn every_planted_bug_of_the_money_side_is_seen() {
    for bug in OF_MONEY {
        is_seen(bug, Profile::Money);
    }
}

#[test]
fn every_planted_bug_of_calls_that_go_on_is_seen_after_a_crash() {
    for bug in OF_CRASHES {
        is_seen(bug, Profile::Crash);
    }
}

#[test]
fn an_answer_before_its_record_costs_a_charge_when_the_switch_is_killed() {
    is_seen(Bug::WriteSkipped, Profile::Crash);
}
