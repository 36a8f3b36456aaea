//! Many calls: all answered, all billed once, whatever happens to the process.

use std::collections::HashMap;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::common::{Customer, Plan, Sipp, Switch, decimal, sipp_is_there, until};

/// Money for many calls at once, each holds what a minute costs; and patience with a vendor's SIPp that gets no processor
/// time for seconds on a machine that does other things too.
fn rich() -> Plan {
    Plan { opening: "100000", params: vec![("SS_SIP_TIMEOUT_INVITE", "60")], ..Default::default() }
}

/// Nothing of the calls is left: no call, no port, no transaction that never ends.
#[track_caller]
fn assert_nothing_is_left(switch: &Switch) {
    let status = switch.json(&["status"]);
    assert_eq!(status["media_ports_free"], status["media_ports"], "{status:#}");
    assert_eq!(
        (&status["counters"]["journal_errors"], &status["counters"]["store_errors"]),
        (&0.into(), &0.into()),
        "{status:#}"
    );
}

#[test]
fn two_thousand_calls_at_a_rising_rate_are_answered_and_billed() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&rich());
    let _vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    // 50, 100, ... 400 calls a second.
    let rising = ["-rate_increase", "50", "-rate_max", "400", "-no_rate_quit"];
    Customer { calls: 2000, rate: 50, hold_ms: 200, more: &rising, ..Default::default() }.run(&switch);
    let rows = switch.cdrs_once(2000);
    assert!(rows.iter().all(|row| row["connect_ms"].is_i64() && row["end_reason"] == 16 && row["end_direction"] == 0));
    // Held 200 ms and more, billed a second; what a busy machine makes longer costs more.
    assert!(rows.iter().all(|row| decimal(&row["fee"]) >= Decimal::new(1, 2)));
    switch.assert_the_books_agree(&rows);
    assert_nothing_is_left(&switch);
    assert_eq!(switch.json(&["status"])["answered"], 2000);
}

/// 400 calls on so many shards. The status after them; `None` when something is not there.
#[track_caller]
fn calls_on(shards: usize, steering: bool) -> Option<Value> {
    if !sipp_is_there() {
        return None;
    }
    let switch = Switch::start(&Plan { shards, steering, ..rich() });
    let status = switch.json(&["status"]);
    assert_eq!(status["shards"], shards);
    let told = status["steering"].as_str().unwrap().to_owned();
    match steering {
        true if told != "on" => {
            assert!(std::env::var_os("TANDEM_XDP_REQUIRED").is_none(), "{told}");
            println!("skipped: steering is {told}");
            return None;
        }
        _ => assert_eq!(told, if steering { "on" } else { "off: threads.steering" }),
    }
    let text = switch.ok(&["status"]);
    assert!(text.contains(&format!("{shards}, SIP steering {told}")), "{text}");
    let _vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    Customer { calls: 400, rate: 100, hold_ms: 200, ..Default::default() }.run(&switch);
    let rows = switch.cdrs_once(400);
    assert!(rows.iter().all(|row| row["connect_ms"].is_i64() && row["end_reason"] == 16));
    switch.assert_the_books_agree(&rows);
    assert_nothing_is_left(&switch);
    let status = switch.json(&["status"]);
    assert_eq!(counter(&status, "sip_handover_lost"), 0, "{status:#}");
    assert_eq!(counter(&status, "sip_stray"), 0, "{status:#}");
    Some(status)
}

#[track_caller]
fn counter(status: &Value, name: &str) -> u64 {
    status["counters"][name].as_u64().unwrap()
}

#[test]
fn two_shards_hand_over_what_comes_to_the_wrong_one() {
    let Some(status) = calls_on(2, false) else { return };
    // One SIPp is one flow, so the kernel gives all of it to one shard, and half of the calls live on the other.
    let (handed, received) = (counter(&status, "sip_handed_over"), counter(&status, "sip_datagrams_received"));
    assert!((400..=received).contains(&handed), "{status:#}");
}

#[test]
fn four_shards_hand_over_what_comes_to_the_wrong_one() {
    let Some(status) = calls_on(4, false) else { return };
    // As with two, and three of four calls live elsewhere.
    let (handed, received) = (counter(&status, "sip_handed_over"), counter(&status, "sip_datagrams_received"));
    assert!((received / 2..=received).contains(&handed), "{status:#}");
}

#[test]
fn two_shards_are_given_what_is_theirs() {
    let Some(status) = calls_on(2, true) else { return };
    assert_eq!(counter(&status, "sip_handed_over"), 0, "{status:#}");
}

#[test]
fn four_shards_are_given_what_is_theirs() {
    let Some(status) = calls_on(4, true) else { return };
    assert_eq!(counter(&status, "sip_handed_over"), 0, "{status:#}");
}

#[test]
fn two_shards_relay_the_audio_of_their_calls() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan { shards: 2, ..rich() });
    let _vendor = Sipp::vendor(&switch, 1, "vendor_talks", &["-d", "600"]);
    let calls = Customer {
        scenario: "customer_talks",
        calls: 12,
        rate: 12,
        hold_ms: 1400,
        more: &["-rtp_echo"],
        ..Default::default()
    };
    let mut customer = calls.start(&switch);
    let echoed = customer.wait_echoed();
    customer.assert_good(12);
    let rows = switch.cdrs_once(12);
    let totals = switch.json(&["cdr", "totals"]);
    assert!(echoed > 12 * 20, "{echoed}");
    assert_eq!((&totals["rtp_relayed_a_to_b"], &totals["rtp_relayed_b_to_a"]), (&echoed.into(), &echoed.into()));
    switch.assert_the_books_agree(&rows);
}

#[test]
fn after_a_crash_every_answered_call_has_one_record() {
    if !sipp_is_there() {
        return;
    }
    // None of them goes on.
    let mut switch = Switch::start(&Plan { adopt_within_s: 0, ..rich() });
    let _vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    let customer = Customer { calls: 100_000, rate: 200, hold_ms: 1500, messages: true, ..Default::default() };
    let mut customer = customer.start(&switch);
    until("calls are ending and beginning", || {
        (switch.json(&["cdr", "totals"])["calls"].as_u64() >= Some(200)).then_some(())
    });
    switch.kill();
    customer.stop();
    let answered = customer.answered_calls();
    assert!(answered.len() > 300, "{} answered calls", answered.len());

    switch.start_again();
    until("records of the journal are in the database", || (switch.json(&["status"])["cdr_queue"] == 0).then_some(()));
    let rows = switch.cdrs();
    let mut records: HashMap<&str, Vec<bool>> = HashMap::new();
    for row in &rows {
        records.entry(row["caller_call_id"].as_str().unwrap()).or_default().push(row["connect_ms"].is_i64());
    }
    assert!(records.values().all(|answered| answered.len() == 1), "a call has two records");
    let missing: Vec<&String> =
        answered.iter().filter(|call| records.get(call.as_str()) != Some(&vec![true])).collect();
    assert!(missing.is_empty(), "{} of {} answered calls have no record: {missing:?}", missing.len(), answered.len());
    let recovered = rows.iter().filter(|row| row["flags"].as_str().unwrap().contains("recovered")).count();
    assert!(recovered > 0, "no call was on when the switch was killed");
    switch.assert_the_books_agree(&rows);

    // A second crash without calls adds nothing and takes nothing away.
    switch.kill();
    switch.start_again();
    assert_eq!(switch.cdrs().len(), rows.len());
    switch.assert_the_books_agree(&rows);
}
