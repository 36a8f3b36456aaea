//! The configuration changes again and again while calls are on: none of them notices.

use std::fs;

use serde_json::Value;

use crate::common::{Customer, Plan, Sipp, Switch, decimal, int, sipp_is_there};

/// Calls with audio a second, as long as the changes take; and more of them than that can be.
const RATE: u32 = 8;
const CALLS_MOST: u32 = 2_000;
const CHANGES: u32 = 50;

fn rich() -> Plan {
    Plan { opening: "100000", vendors: 2, params: vec![("SS_SIP_TIMEOUT_INVITE", "60")], ..Default::default() }
}

/// One of the changes an operator makes; every one of them does change something.
fn change(switch: &Switch, n: u32) {
    match n % 6 {
        0 => switch.ok(&["set", "gateway", "acme", &format!("capacity={}", 1_000 + n)]),
        1 => switch.ok(&["set", "gateway", "v2", &format!("prefixes+=44{n}")]),
        2 => {
            // A deck with other prices for other numbers, and the same one for these.
            let rows: String = (0..500).map(|row| format!("99{row:03},0.{:02},1/1\n", n % 90 + 10)).collect();
            let deck = format!("fee_prefix,rate_per_min,increment\n1212,0.6,1/1\n{rows}");
            fs::write(switch.folder.join("again.csv"), deck).unwrap();
            switch.ok(&["rates", "import", "again.csv", "--group", "retail", "--mode", "replace", "--yes"])
        }
        3 => {
            let site = switch.ok(&["export"]).replace("weight = ", "# ");
            let site = site.replace("[routing_gateway.v2]", &format!("[routing_gateway.v2]\nweight = {}", 200 + n));
            fs::write(switch.folder.join("again.toml"), site).unwrap();
            switch.ok(&["apply", "again.toml", "--yes", "--confirm", "10m"])
        }
        4 => switch.ok(&["rollback", "--yes"]),
        _ => switch.ok(&["param", "set", "SS_SIP_SESSION_TTL", &format!("{}", 600 + n)]),
    };
}

#[test]
fn fifty_changes_drop_no_call_and_no_packet() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&rich());
    let _vendor = Sipp::vendor(&switch, 1, "vendor_talks", &["-d", "600"]);
    let calls = Customer {
        scenario: "customer_talks",
        calls: CALLS_MOST,
        rate: RATE,
        hold_ms: 1400,
        more: &["-rtp_echo"],
        ..Default::default()
    };
    let mut customer = calls.start(&switch);
    for n in 0..CHANGES {
        change(&switch, n);
        assert!(customer.runs(), "SIPp ended beside change {n}");
    }
    customer.place_no_more();
    let echoed = customer.wait_echoed();
    let count = customer.wait();
    assert_eq!((count.good, count.failed), (count.placed, 0));
    assert!(count.placed > u64::from(RATE), "{} calls", count.placed);

    let rows = switch.cdrs_once(count.placed as usize);
    assert!(rows.iter().all(|row| row["connect_ms"].is_i64() && int(&row["end_reason"]) == 16), "{rows:#?}");
    let totals = switch.json(&["cdr", "totals"]);
    assert!(echoed > count.placed * 20, "{echoed}");
    assert_eq!((&totals["rtp_relayed_a_to_b"], &totals["rtp_relayed_b_to_a"]), (&echoed.into(), &echoed.into()));
    let dropped = |side: &str| rows.iter().map(|row| int(&row[side])).sum::<i64>();
    assert_eq!((dropped("caller_rtp_dropped"), dropped("callee_rtp_dropped")), (0, 0));
    switch.assert_the_books_agree(&rows);
    // Every change is in the history, in order and once.
    let versions: Vec<i64> =
        switch.json(&["history"]).as_array().unwrap().iter().map(|row| int(&row["version"])).collect();
    assert_eq!(versions, (1..=i64::from(CHANGES) + 1).rev().collect::<Vec<_>>());
    eprintln!("{CHANGES} changes beside {} calls, {echoed} packets each way", count.placed);
}

#[test]
fn a_call_keeps_what_it_began_with_and_the_next_one_has_what_is_new() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&rich());
    let _vendors = [Sipp::vendor(&switch, 1, "vendor", &[]), Sipp::vendor(&switch, 2, "vendor", &[])];
    let wait = |callee| Customer { scenario: "customer_waits", callee: Some(callee), ..Default::default() };
    let mut customer = wait("12125550100").start(&switch);
    let first = switch.call_in("talking");

    // Its vendor is taken away and its price doubled while it talks.
    fs::write(switch.folder.join("new.csv"), "fee_prefix,rate_per_min,increment\n1212,1.2,1/1\n").unwrap();
    switch.ok(&["rates", "import", "new.csv", "--group", "retail", "--mode", "replace", "--yes"]);
    switch.ok(&["delete", "routing", "v1", "--yes"]);
    switch.ok(&["set", "gateway", "acme", "capacity=5"]);
    let shown = switch.json(&["calls", "show", &first]);
    assert_eq!(
        (&shown["call"]["callee_gateway"], &shown["call"]["state"]),
        (&"v1".into(), &"talking".into()),
        "{shown:#}"
    );
    assert_eq!(shown["rate"]["rate_per_min"], "0.6", "{shown:#}");
    switch.ok(&["calls", "kill", &first]);
    customer.assert_good(1);

    let mut customer = wait("12125550101").start(&switch);
    let second = switch.call_in("talking");
    switch.ok(&["calls", "kill", &second]);
    customer.assert_good(1);
    let rows = switch.cdrs_once(2);
    let field = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<Value>>();
    assert_eq!(field("callee_gateway"), ["v1", "v2"]);
    let rates: Vec<_> = field("rate_used").iter().map(decimal).collect();
    assert_eq!(rates[1], rates[0] * rust_decimal::Decimal::TWO, "{rates:?}");
    switch.assert_the_books_agree(&rows);
}
