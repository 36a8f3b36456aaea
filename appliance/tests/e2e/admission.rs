//! Who may call: strangers, customers without money, numbers without a route.

use std::fs;

use crate::common::{Customer, Plan, Sipp, Switch, decimal, int, sipp_is_there};

#[test]
fn a_stranger_is_refused_and_recorded() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan::default());
    let from = Some(switch.net.stranger());
    Customer { scenario: "customer_refused", status: "403", from, ..Default::default() }.run(&switch);
    let rows = switch.cdrs_once(1);
    let row = &rows[0];
    // cdr.md 3 row 1: no account, no billing, the source is kept.
    assert_eq!(
        (int(&row["end_direction"]), int(&row["end_reason"]), int(&row["billing_mode"])),
        (2, -45, -1),
        "{row:#}"
    );
    assert_eq!((&row["account"], &row["caller_ip"]), (&"".into(), &format!("{}:5060", switch.net.stranger()).into()));
    switch.assert_the_books_agree(&rows);
}

#[test]
fn without_money_no_vendor_is_asked() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan { opening: "0", ..Default::default() });
    let _vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    let refused = Customer { scenario: "customer_refused", status: "402", ..Default::default() };
    refused.run(&switch);
    let rows = switch.cdrs_once(1);
    assert_eq!((int(&rows[0]["end_direction"]), int(&rows[0]["end_reason"])), (2, -10), "{:#}", rows[0]);
    assert_eq!(rows[0]["attempts"].as_array().map(Vec::len), Some(0), "{:#}", rows[0]);

    // A payment opens the way at once, and the same payment again is not booked again.
    for _ in 0..2 {
        switch.ok(&["account", "pay", "acme", "5.00", "--key", "cheque-1"]);
    }
    Customer { hold_ms: 1100, ..Default::default() }.run(&switch);
    let rows = switch.cdrs_once(2);
    assert_eq!(switch.balance("acme"), decimal(&"5".into()) - decimal(&rows[1]["fee"]));
    switch.assert_the_books_agree(&rows);
}

#[test]
fn a_parameter_takes_effect_at_the_next_call() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan::default());
    // The only vendor for the number is locked: no route is left, which TANDEM_NO_ROUTE_CODE tells.
    let locked = switch.ok(&["export"]).replace("[routing_gateway.v1]", "[routing_gateway.v1]\nlocked = true");
    fs::write(switch.folder.join("locked.toml"), locked).unwrap();
    switch.ok(&["apply", "locked.toml", "--yes"]);
    let refused = |status| Customer { scenario: "customer_refused", status, ..Default::default() };
    refused("503").run(&switch);
    switch.ok(&["param", "set", "TANDEM_NO_ROUTE_CODE", "480"]);
    refused("480").run(&switch);

    // A value that is not allowed changes nothing and names what is.
    let refused = switch.tandem(&["param", "set", "TANDEM_NO_ROUTE_CODE", "405"]);
    assert_eq!(
        (refused.code, refused.err.contains("405"), refused.err.contains("503, 404, 480, 603")),
        (2, true, true),
        "{refused:?}"
    );
    let unknown = switch.tandem(&["param", "set", "TANDEM_NO_ROUTE_COD", "404"]);
    assert_eq!((unknown.code, unknown.err.contains("did you mean TANDEM_NO_ROUTE_CODE")), (4, true), "{unknown:?}");
    assert_eq!(switch.json(&["param", "get", "TANDEM_NO_ROUTE_CODE"])["value"], "480");
    // No Available Router.
    assert!(switch.cdrs_once(2).iter().all(|row| row["end_reason"] == -1));
}
