//! An operator at work while calls are on.

use crate::common::{Customer, Plan, Sipp, Switch, int, sipp_is_there};

#[test]
fn a_call_in_progress_is_shown_and_killed() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan::default());
    let _vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    let mut customer =
        Customer { scenario: "customer_waits", callee: Some("12125550100"), ..Default::default() }.start(&switch);
    let call = switch.call_in("talking");

    let row = &switch.json(&["calls", "list", "--gateway", "acme"])[0];
    assert_eq!((&row["callee"], &row["callee_gateway"]), (&"12125550100".into(), &"v1".into()), "{row:#}");
    assert_eq!(
        switch.json(&["calls", "list", "--gateway", "v1", "--callee", "1212*"]).as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(switch.json(&["calls", "list", "--callee", "44*"]).as_array().map(Vec::len), Some(0));
    let show = switch.json(&["calls", "show", &call]);
    assert_eq!((&show["call"]["account"], &show["rate"]["rate_per_min"]), (&"acme".into(), &"0.6".into()), "{show:#}");
    assert_eq!(show["callee_media"]["offered"], format!("{}:6000", switch.net.vendor(1).ip()), "{show:#}");
    // Money is held for it while it lasts.
    assert_ne!(switch.json(&["account", "show", "acme"])["account"]["reserved"], "0", "reserved");
    let trace = switch.ok(&["trace", &call]);
    assert!(trace.contains("200 (INVITE)") && !trace.contains("BYE"), "{trace}");

    switch.ok(&["calls", "kill", &call]);
    // Both sides are hung up: the customer's scenario is at its end.
    customer.assert_good(1);
    let rows = switch.cdrs_once(1);
    // Server Forced Release, by the switch.
    assert_eq!((int(&rows[0]["end_direction"]), int(&rows[0]["end_reason"])), (2, -39), "{:#}", rows[0]);
    switch.assert_the_books_agree(&rows);
    let gone = switch.tandem(&["calls", "show", &call]);
    assert_eq!(gone.code, 4, "{gone:?}");
}

#[test]
fn a_switch_that_is_stopped_ends_and_records_its_calls() {
    if !sipp_is_there() {
        return;
    }
    let mut switch = Switch::start(&Plan::default());
    let _vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    let mut customer = Customer { scenario: "customer_waits", ..Default::default() }.start(&switch);
    switch.call_in("talking");
    switch.stop();
    customer.assert_good(1);
    switch.start_again();
    let rows = switch.cdrs_once(1);
    // System Restart, by the switch.
    assert_eq!((int(&rows[0]["end_direction"]), int(&rows[0]["end_reason"])), (2, -40), "{:#}", rows[0]);
    switch.assert_the_books_agree(&rows);
}
