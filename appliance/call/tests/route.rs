//! Candidate selection: groups, styles, filters with their reasons, order (spec routing.md 6).

mod common;

use common::{account, addr, deck, rate, routing, snapshot};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rust_decimal::Decimal;
use tandem_call::calendar::{self, Calendar, Period};
use tandem_call::number::RewriteRules;
use tandem_call::route::{Plan, Wanted, plan};
use tandem_call::settings::SortPlace;
use tandem_call::snapshot::*;
use tandem_call::weights::Weights;
use tandem_leg::ServerReason;
use tandem_rating::fee::RateTerms;
use tandem_rating::money::parse_decimal;

const CALLEE: &str = "8613900000000";

fn dec(text: &str) -> Decimal {
    parse_decimal(text).unwrap()
}

fn sell(snapshot: &Snapshot) -> RateTerms {
    snapshot.accounts[0].deck.as_ref().unwrap().rows()[0].terms()
}

fn plan_with(snapshot: &Snapshot, weights: &mut Weights) -> Plan {
    let sell = sell(snapshot);
    let wanted = Wanted {
        mapping: 0,
        caller: "4930100",
        callee: CALLEE,
        at_ms: common::WALL,
        sell: Some(&sell),
        source: addr(common::A).ip(),
    };
    plan(snapshot, &wanted, weights, &mut StdRng::seed_from_u64(1))
}

/// The plan for a changed configuration.
fn planned(change: impl FnOnce(&mut Snapshot)) -> (Snapshot, Plan) {
    let mut snapshot = snapshot();
    change(&mut snapshot);
    snapshot.index().unwrap();
    let plan = plan_with(&snapshot, &mut Weights::default());
    (snapshot, plan)
}

fn names(snapshot: &Snapshot, plan: &Plan) -> Vec<String> {
    let open = plan.open(false, |_| false, |_| false);
    open.iter().map(|r| snapshot.routing[plan.routes[*r].gateway].name.clone()).collect()
}

fn order(change: impl FnOnce(&mut Snapshot)) -> Vec<String> {
    let (snapshot, plan) = planned(change);
    names(&snapshot, &plan)
}

/// Why b1 is left out.
fn skip(change: impl FnOnce(&mut Snapshot)) -> String {
    let (snapshot, plan) = planned(change);
    assert!(!names(&snapshot, &plan).contains(&"b1".to_owned()), "b1 is a candidate");
    plan.skipped.iter().find(|s| s.gateway == 0).map(|s| s.reason.to_string()).unwrap()
}

#[test]
fn the_longest_prefix_first_then_the_shorter_ones() {
    let got = order(|s| {
        s.routing[0].prefixes = vec!["86".into()];
        s.routing[1].prefixes = vec!["8".into(), "86139".into()];
        s.routing[2].prefixes = Vec::new();
    });
    assert_eq!(got, ["b2", "b1", "b3"], "priority does not cross groups; no prefix is the default gateway");
}

#[test]
fn a_terminal_gateway_keeps_shorter_prefixes_out() {
    let set = |s: &mut Snapshot, style| {
        s.routing[0].prefixes = vec!["86139".into()];
        s.routing[0].prefix_style = style;
        s.routing[1].prefixes = vec!["86139".into()];
    };
    assert_eq!(order(|s| set(s, PrefixStyle::Continuation)), ["b1", "b2", "b3"]);
    assert_eq!(order(|s| set(s, PrefixStyle::Terminal)), ["b1", "b2"]);
    let unusable = order(|s| {
        set(s, PrefixStyle::Terminal);
        s.routing[0].locked = true;
    });
    assert_eq!(unusable, ["b2", "b3"], "a terminal gateway that is filtered out is not in the tried set");

    let (snapshot, plan) = planned(|s| set(s, PrefixStyle::Terminal));
    let all = plan.all_skipped(&snapshot);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].reason.to_string(), "a gateway with a longer prefix is terminal");
    // The rating thread passed over the terminal one for want of a line: it was not tried.
    let later = plan.open(false, |r| r < 2, |r| r == 0);
    assert_eq!(later, [2]);
    assert_eq!(plan.open(false, |r| r < 2, |_| false), Vec::<usize>::new());
}

#[test]
fn every_filter_has_its_reason() {
    let yesterday = common::WALL - 86_400_000;
    assert_eq!(skip(|s| s.routing[0].locked = true), "locked");
    assert!(skip(|s| s.routing[0].valid_from_ms = Some(common::WALL + 1)).starts_with("not valid before"));
    assert!(skip(|s| s.routing[0].valid_to_ms = Some(yesterday)).starts_with("not valid since"));
    assert!(skip(|s| s.routing[0].valid_to_ms = Some(common::WALL)).starts_with("not valid since"), "exclusive");
    assert_eq!(skip(|s| s.routing[0].capacity = Some(0)), "capacity is 0");
    assert_eq!(skip(|s| s.routing[0].remotes.clear()), "has no address");
    assert_eq!(skip(|s| s.routing[0].remotes = vec![addr(common::A)]), "the call came from its address 198.51.100.10");
    assert_eq!(skip(|s| s.accounts[1].cancelled = true), "clearing account is cancelled");
    assert_eq!(skip(|s| s.accounts[1].locked = true), "clearing account is locked");
    assert_eq!(skip(|s| s.accounts[1].valid_until_ms = Some(yesterday)), "clearing account is expired");
    let filter = |prefix: &str, allow| PrefixFilter { prefixes: vec![prefix.into()], allow };
    assert_eq!(skip(|s| s.routing[0].caller_prefixes = filter("49", false)), "caller prefix not allowed");
    assert_eq!(skip(|s| s.routing[0].callee_prefixes = filter("44", true)), "callee prefix not allowed");
    assert_eq!(skip(|s| s.routing[0].caller_lengths = 1 << 9), "caller length not allowed");
    assert_eq!(skip(|s| s.routing[0].callee_lengths = 1 << 9), "callee length not allowed");
    let empty = RewriteRules::parse("8613900000000:").unwrap();
    assert!(skip(|s| s.routing[0].rewrite_callee = empty.clone()).starts_with("number rewrite error: rule 1"));
    let no_rate = |s: &mut Snapshot| s.accounts[1].deck = deck("v1", vec![rate("44", "0.01")]);
    assert_eq!(
        skip(|s| {
            no_rate(s);
            s.routing[0].check_rate = true;
        }),
        "vendor has no rate for the number"
    );
    assert_eq!(order(no_rate), ["b1", "b2", "b3"], "without check_rate the cost is unknown");
    let mut locked = rate("86", "0.01");
    locked.lock = true;
    assert_eq!(skip(|s| s.accounts[1].deck = deck("v1", vec![locked])), "vendor rate \"86\" is locked");
}

#[test]
fn groups_of_the_mapping_gateway() {
    let set = |s: &mut Snapshot, allow| {
        s.mapping[0].routing_groups = vec!["gold".into()];
        s.mapping[0].routing_groups_allow = allow;
        s.routing[1].groups = vec!["gold".into(), "silver".into()];
    };
    assert_eq!(order(|s| set(s, true)), ["b2"]);
    assert_eq!(order(|s| set(s, false)), ["b1", "b3"]);
    assert_eq!(skip(|s| set(s, true)), "not in a group the mapping gateway may use");
}

#[test]
fn rate_and_profit_guards_take_the_strictest() {
    // Sold at 0.06 a minute; bought at 0.01, 0.02, 0.03.
    let dear = |own: &str, mg: &str| {
        order(|s| {
            s.mapping[0].max_second_rate = Some(dec(mg));
            s.routing[2].max_second_rate = Some(dec(own));
        })
    };
    assert_eq!(dear("0.0005", "1"), ["b1", "b2", "b3"], "0.03 a minute is 0.0005 a second");
    assert_eq!(dear("0.0004", "1"), ["b1", "b2"]);
    assert_eq!(dear("1", "0.0002"), ["b1"]);
    let profit = |percent| order(|s| s.mapping[0].min_profit_percent = Some(percent));
    assert_eq!(profit(100), ["b1", "b2", "b3"]);
    assert_eq!(profit(101), ["b1", "b2"]);
    assert_eq!(profit(500), ["b1"]);
    let (_, plan) = planned(|s| s.mapping[0].min_profit_percent = Some(501));
    assert_eq!(plan.no_route(), ServerReason::ProfitLimit, "the only cause");
    let (_, plan) = planned(|s| {
        s.mapping[0].min_profit_percent = Some(501);
        s.routing[0].locked = true;
    });
    assert_eq!(plan.no_route(), ServerReason::NoAvailableRouter, "not the only cause");
    let (_, plan) = planned(|s| {
        for gateway in &mut s.routing {
            gateway.prefixes = vec!["44".into()];
        }
    });
    assert_eq!(plan.no_route(), ServerReason::NoAvailableRouter, "no prefix at all");
}

#[test]
fn a_free_call_passes_the_money_guards() {
    let mut snapshot = snapshot();
    snapshot.mapping[0].min_profit_percent = Some(10_000);
    snapshot.index().unwrap();
    let wanted = Wanted {
        mapping: 0,
        caller: "1",
        callee: CALLEE,
        at_ms: common::WALL,
        sell: None,
        source: addr(common::A).ip(),
    };
    let plan = plan(&snapshot, &wanted, &mut Weights::default(), &mut StdRng::seed_from_u64(1));
    assert_eq!(plan.routes.len(), 3);
}

#[test]
fn order_by_priority_cost_and_policy() {
    let reversed = |s: &mut Snapshot| {
        for (i, gateway) in s.routing.iter_mut().enumerate() {
            gateway.priority = 3 - i as i32;
        }
    };
    assert_eq!(order(reversed), ["b3", "b2", "b1"]);
    let with = |set: fn(&mut Snapshot)| {
        order(|s| {
            reversed(s);
            set(s);
        })
    };
    assert_eq!(with(|s| s.settings.cost_sort = SortPlace::BeforePriority), ["b1", "b2", "b3"]);
    assert_eq!(with(|s| s.settings.cost_sort = SortPlace::AfterPriority), ["b3", "b2", "b1"]);
    let own_policy = with(|s| {
        s.settings.cost_sort = SortPlace::BeforePriority;
        s.mapping[0].first_policy = RoutePolicy::Asr;
    });
    assert_eq!(own_policy, ["b3", "b2", "b1"], "the gateway's policy overrides the system's");

    let equal = |set: fn(&mut Snapshot)| {
        order(|s| {
            for gateway in &mut s.routing {
                gateway.priority = 0;
            }
            s.routing[0].account = 3;
            s.routing[2].account = 1;
            set(s);
        })
    };
    assert_eq!(equal(|s| s.mapping[0].first_policy = RoutePolicy::LowestRate), ["b3", "b2", "b1"]);
    assert_eq!(equal(|s| s.mapping[0].second_policy = RoutePolicy::LowestRate), ["b3", "b2", "b1"]);
    let least_cost = equal(|s| {
        for gateway in &mut s.routing {
            gateway.least_cost = true;
            gateway.check_rate = true;
        }
    });
    assert_eq!(least_cost, ["b3", "b2", "b1"]);
    let one_of_them = equal(|s| {
        s.routing[0].weight = 1_000;
        s.routing[1].least_cost = true;
        s.routing[1].check_rate = true;
    });
    assert_eq!(one_of_them, ["b2", "b1", "b3"], "before the others of its class, whatever their weights");
    let the_first = equal(|s| {
        s.routing[1].weight = 1_000;
        s.routing[0].least_cost = true;
        s.routing[0].check_rate = true;
    });
    assert_eq!(the_first, ["b1", "b2", "b3"]);
    let without_check = equal(|s| {
        for gateway in &mut s.routing {
            gateway.least_cost = true;
        }
    });
    assert_eq!(without_check, ["b1", "b2", "b3"], "least cost needs check_rate: order of names by weight");
}

#[test]
fn weights_share_exactly() {
    let mut snapshot = snapshot();
    snapshot.routing.truncate(2);
    for (gateway, weight) in snapshot.routing.iter_mut().zip([70, 30]) {
        gateway.priority = 0;
        gateway.weight = weight;
    }
    snapshot.index().unwrap();
    let mut weights = Weights::default();
    let mut first = [0; 2];
    for _ in 0..100 {
        let plan = plan_with(&snapshot, &mut weights);
        assert_eq!(plan.routes.len(), 2, "the other one stays as failover");
        first[plan.routes[0].gateway] += 1;
    }
    assert_eq!(first, [70, 30]);
}

#[test]
fn protect_routes_wait_behind_the_others() {
    let (snapshot, plan) = planned(|s| s.routing[0].protect = true);
    assert_eq!(names(&snapshot, &plan), ["b2", "b3"]);
    let backup = plan.open(true, |_| false, |_| false);
    assert_eq!(backup.iter().map(|r| plan.routes[*r].gateway).collect::<Vec<_>>(), [0]);
}

#[test]
fn a_vendor_with_prices_by_the_hour_costs_what_the_hour_costs() {
    let by_hour = |windows: &[(&str, &str)]| {
        let period = |(window, price): &(&str, &str)| {
            let text = format!("{window} group");
            let (window, _) = calendar::parse(&text).unwrap();
            Period { window, deck: deck("v1-hour", vec![rate("", price)]).unwrap() }
        };
        let periods = windows.iter().map(period).collect();
        Some(std::sync::Arc::new(Calendar::new(periods, jiff::tz::TimeZone::UTC)))
    };
    // The plain group says 0.01, which would be the cheapest.
    let cost = |windows: &[(&str, &str)]| {
        let (snapshot, plan) = planned(|s| s.accounts[1].calendar = by_hour(windows));
        plan.routes[0].terms(&snapshot, common::WALL).map(|terms| terms.rate_per_min)
    };
    assert_eq!(cost(&[("00:00-24:00", "0.07")]), Some(dec("0.07")));
    let hour = jiff::Timestamp::from_millisecond(common::WALL).unwrap().to_zoned(jiff::tz::TimeZone::UTC).hour();
    let other = format!("{:02}:00-{:02}:30", (hour + 2) % 24, (hour + 2) % 24);
    assert_eq!(cost(&[(&other, "0.07")]), None, "no period covers the time");
}

#[test]
fn numbers_for_the_vendor_and_the_rated_one() {
    let (snapshot, plan) = planned(|s| {
        s.routing[0].rewrite_caller = RewriteRules::parse(":00").unwrap();
        s.routing[0].rewrite_callee = RewriteRules::parse("86:0086").unwrap();
        s.routing[0].clearing_use_callout = true;
        s.routing[1].rewrite_callee = RewriteRules::parse("86:0086").unwrap();
        s.accounts[1] = account(2, "v1", AccountKind::Clearing, "0.01");
        s.accounts[1].deck = deck("v1", vec![rate("0086", "0.5"), rate("86", "0.1")]);
        s.accounts[2].deck = deck("v2", vec![rate("0086", "0.5"), rate("86", "0.1")]);
    });
    assert_eq!((plan.caller_out(&plan.routes[0]), plan.callee_out(&plan.routes[0])), ("004930100", "008613900000000"));
    assert_eq!((plan.caller_out(&plan.routes[2]), plan.callee_out(&plan.routes[2])), ("4930100", "8613900000000"));
    assert_eq!(plan.routes[0].terms(&snapshot, common::WALL).unwrap().prefix, "0086", "rated after its rules");
    assert_eq!(plan.routes[1].terms(&snapshot, common::WALL).unwrap().prefix, "86", "rated before them");
    let (snapshot, plan) = planned(|s| {
        s.settings.route_prefix_digits = 2;
        s.accounts[1].deck = deck("v1", vec![rate("139", "0.2"), rate("86", "0.1")]);
    });
    assert_eq!(
        plan.routes[0].terms(&snapshot, common::WALL).unwrap().prefix,
        "139",
        "route digits are taken off for the rate only"
    );
}

#[test]
fn a_plan_explains_every_gateway() {
    let (snapshot, plan) = planned(|s| {
        s.routing[1].locked = true;
        s.routing.push(routing(14, "far", 1, "192.0.2.14:5060", "44", 1));
    });
    let text = plan.show(&snapshot).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(lines[0], "1. b1 (prefix of 2, 0.01/min): 4930100 -> 8613900000000");
    assert!(lines[1].starts_with("2. b3"));
    assert_eq!(lines[2], "-  b2: locked");
    assert_eq!(lines[3], "-  far: no prefix of it begins the number");
}

#[test]
fn a_prefix_that_no_number_has_is_refused() {
    let mut snapshot = snapshot();
    snapshot.routing[0].prefixes = vec!["86x".into()];
    assert!(snapshot.index().unwrap_err().to_string().contains("86x"));
}
