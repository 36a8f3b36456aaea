//! Calls that are not answered: refused, cancelled, never taken; and the vendor that is tried next.

use std::net::UdpSocket;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::common::{Customer, Plan, Sipp, Switch, decimal, int, sipp_is_there};

/// The one record: not answered, free of charge, ended by `direction` for `reason`.
#[track_caller]
fn only_record(switch: &Switch, direction: i64, reason: i64) -> Value {
    let rows = switch.cdrs_once(1);
    let row = rows[0].clone();
    assert_eq!((int(&row["end_direction"]), int(&row["end_reason"])), (direction, reason), "{row:#}");
    assert!(row["connect_ms"].is_null(), "{row:#}");
    assert_eq!(
        (int(&row["hold_ms"]), decimal(&row["fee"]), decimal(&row["vendor_fee"])),
        (0, Decimal::ZERO, Decimal::ZERO)
    );
    switch.assert_the_books_agree(&rows);
    assert_eq!(switch.json(&["status"])["media_ports_free"], 30_000, "ports are given back");
    row
}

fn attempts(row: &Value) -> Vec<(String, i64)> {
    let attempts = row["attempts"].as_array().unwrap();
    attempts.iter().map(|attempt| (attempt["gateway"].as_str().unwrap().to_owned(), int(&attempt["status"]))).collect()
}

#[test]
fn the_caller_cancels() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan::default());
    let mut vendor = Sipp::vendor(&switch, 1, "vendor_rings", &["-m", "1"]);
    Customer { scenario: "customer_cancels", hold_ms: 200, ..Default::default() }.run(&switch);
    only_record(&switch, 0, 487);
    // The vendor heard the CANCEL and got its ACK: its scenario came to its end.
    vendor.assert_ended_well();
}

#[test]
fn a_busy_callee_is_not_tried_elsewhere() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan { vendors: 2, ..Default::default() });
    let _busy = Sipp::vendor_refusing(&switch, 1, "486 Busy Here");
    let _other = Sipp::vendor(&switch, 2, "vendor", &[]);
    Customer { scenario: "customer_refused", status: "486", ..Default::default() }.run(&switch);
    let row = only_record(&switch, 1, 486);
    assert_eq!(attempts(&row), [("v1".to_owned(), 486)]);
    assert_eq!((int(&row["sip_status_in"]), int(&row["sip_status_out"])), (486, 486));
}

#[test]
fn the_next_vendor_is_tried_after_a_failure() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan { vendors: 2, ..Default::default() });
    let _failing = Sipp::vendor_refusing(&switch, 1, "503 Service Unavailable");
    let _answering = Sipp::vendor(&switch, 2, "vendor", &[]);
    Customer { hold_ms: 1100, ..Default::default() }.run(&switch);
    let rows = switch.cdrs_once(1);
    assert_eq!(attempts(&rows[0]), [("v1".to_owned(), 503), ("v2".to_owned(), 200)]);
    assert_eq!(rows[0]["callee_gateway"], "v2");
    assert!(decimal(&rows[0]["fee"]) > Decimal::ZERO);
    switch.assert_the_books_agree(&rows);
    let trace = switch.ok(&["trace", &rows[0]["flow_no"].to_string()]);
    for vendor in [1, 2] {
        let vendor = switch.net.vendor(vendor).to_string();
        assert!(trace.contains(&vendor), "{vendor} is not in\n{trace}");
    }
}

#[test]
fn nobody_answers() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan { params: vec![("SS_SIP_TIMEOUT_RINGING", "1")], ..Default::default() });
    let mut vendor = Sipp::vendor(&switch, 1, "vendor_rings", &["-m", "1"]);
    Customer { scenario: "customer_refused", status: "480", ..Default::default() }.run(&switch);
    // No Answer, by the switch.
    only_record(&switch, 2, -7);
    vendor.assert_ended_well();
}

#[test]
fn a_silent_vendor_is_given_up() {
    if !sipp_is_there() {
        return;
    }
    let plan = Plan { vendors: 2, params: vec![("SS_SIP_TIMEOUT_INVITE", "1")], ..Default::default() };
    let switch = Switch::start(&plan);
    let silent = UdpSocket::bind(switch.net.vendor(1)).unwrap();
    let _answering = Sipp::vendor(&switch, 2, "vendor", &[]);
    Customer { hold_ms: 1100, ..Default::default() }.run(&switch);
    let rows = switch.cdrs_once(1);
    assert_eq!(attempts(&rows[0]), [("v1".to_owned(), 0), ("v2".to_owned(), 200)]);
    assert_eq!(rows[0]["attempts"][0]["reason"], "Connection Timeout", "{:#}", rows[0]);
    switch.assert_the_books_agree(&rows);

    // It was asked at 0 and 0.5 s, with one INVITE; after the limit of 1 s it is left alone.
    silent.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4096];
    let mut invites = Vec::new();
    while let Ok(length) = silent.recv(&mut bytes) {
        invites.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    assert!(invites.len() >= 2, "{} datagrams", invites.len());
    assert!(
        invites.iter().all(|invite| invite.starts_with("INVITE sip:1212") && *invite == invites[0]),
        "{invites:#?}"
    );
}
