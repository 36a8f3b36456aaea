//! The auditor can fail: every planted bug is seen, and named for what it is.

use tandem_sim::bug::{ALL, Bug, OF_CRASHES, OF_MONEY, OF_MONEY_AND_CRASHES};
use tandem_sim::plan::{Fault, FaultKind, Plan, Profile};
use tandem_sim::price::UNITS;
use tandem_sim::rent::GiftTime;
use tandem_sim::run::play;
use tandem_sim::trade::Line;

/// Seeds that are tried until one has what the bug spoils.
const SEEDS: u64 = 24;

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
        Bug::SplitIgnored | Bug::ClockChangeIgnored | Bug::DeckLate => &["cdr", "external"],
        Bug::MoveForgotten | Bug::MovedTwice => &["money"],
        Bug::ExternalTwice | Bug::GiftsTaken => &["external"],
        Bug::CorrectionForgotten | Bug::CorrectedTwice => &["correction"],
        Bug::DaysSkewed => &["reports"],
        Bug::PackagesAsleep | Bug::MinimumForgotten | Bug::PackagesInUtc | Bug::OrderForgotten => &["package"],
        Bug::GiftsForAll => &["package"],
        Bug::PhoneForgotten => &["package", "bounds"],
        Bug::LocksIgnored | Bug::MonthsUnbounded | Bug::CardsForever | Bug::SpentForgotten => &["bounds"],
        Bug::PeriodAnew => &["package", "ledger"],
        Bug::UsesForgotten => &["package"],
    }
}

fn is_seen(bug: Bug, profile: Profile) {
    for seed in 0..SEEDS {
        // Who spent before the death has to call again after it.
        let calls = if bug == Bug::SpentForgotten { 100 } else { 25 };
        let mut plan = Plan::new(seed, calls, profile);
        let is_tuned = tuned(bug, &mut plan);
        let findings = play(&plan, bug, false).findings;
        if findings.is_empty() {
            continue;
        }
        let kinds: Vec<&str> = findings.iter().map(|finding| finding.kind).collect();
        assert!(expected(bug).iter().any(|kind| kinds.contains(kind)), "{bug:?}: {findings:?}");
        if is_tuned {
            // It is the bug that is seen: without it the same plan has nothing.
            let good = play(&plan, Bug::None, false).findings;
            assert!(good.is_empty(), "{bug:?} aside: {good:?}");
        }
        return;
    }
    panic!("{bug:?} was not seen in {SEEDS} seeds");
}

/// What a bug spoils is rare in a plan of chance; here it is the rule. False when nothing was changed for it.
fn tuned(bug: Bug, plan: &mut Plan) -> bool {
    let rare = [Bug::MonthsUnbounded, Bug::SpentForgotten, Bug::PhoneForgotten, Bug::CardsForever, Bug::UsesForgotten];
    if !rare.contains(&bug) {
        return false;
    }
    let cent = Some(UNITS / 100);
    for version in &mut plan.versions {
        match bug {
            Bug::MonthsUnbounded | Bug::SpentForgotten => {
                let payers = version.accounts.iter_mut().filter(|a| !a.clearing && !a.name.starts_with("agent"));
                payers.for_each(|account| account.monthly_max = cent);
            }
            Bug::PhoneForgotten => {
                version.customers.iter_mut().for_each(|gateway| gateway.phones = true);
                version.phones.iter_mut().for_each(|phone| phone.max = cent);
            }
            Bug::CardsForever => {
                version.customers.iter_mut().for_each(|gateway| gateway.bound = true);
                version.accounts.iter_mut().filter(|account| account.is_card).for_each(|card| card.card_days = Some(1));
            }
            Bug::UsesForgotten => {
                let all = GiftTime { prefixes: Vec::new(), from_s: 0, to_s: 86_400, gift_s: 60, cycle_s: 60 };
                for package in &mut version.packages {
                    (package.gifts, package.lower, package.money, package.rent) = (vec![all.clone()], 0, 0, 0);
                }
                version.accounts.iter_mut().for_each(|account| account.opening = account.opening.max(100 * UNITS));
            }
            _ => {}
        }
    }
    match bug {
        Bug::PhoneForgotten => plan.calls.iter_mut().for_each(|call| call.line = Line::House((call.index % 4) as u8)),
        Bug::CardsForever if plan.versions[0].accounts.iter().any(|account| account.is_card) => {
            plan.calls.iter_mut().for_each(|call| call.line = Line::Card(0));
            let kind = FaultKind::Clock { by_ms: 2 * 86_400_000 };
            plan.faults.push(Fault { name: "clock.days".to_owned(), at_us: plan.begin_us / 2, kind });
        }
        _ => {}
    }
    true
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
fn every_planted_bug_of_packages_and_bounds_is_seen_after_a_crash() {
    for bug in OF_MONEY_AND_CRASHES {
        is_seen(bug, Profile::All);
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
