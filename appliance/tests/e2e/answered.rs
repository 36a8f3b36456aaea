//! Calls that are answered: audio both ways, both legs rated, who hung up.

use rust_decimal::Decimal;

use crate::common::{Customer, Plan, Sipp, Switch, decimal, int, sipp_is_there};

/// 0.01 a second for the customer, 0.005 for the vendor.
fn cents(seconds: i64, thousandths: i64) -> Decimal {
    Decimal::new(seconds * thousandths, 3)
}

#[test]
fn audio_goes_both_ways_and_both_legs_are_rated() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan::default());
    let _vendor = Sipp::vendor(&switch, 1, "vendor_talks", &["-d", "1200"]);
    let customer =
        Customer { scenario: "customer_talks", calls: 2, hold_ms: 2000, more: &["-rtp_echo"], ..Default::default() };
    let mut customer = customer.start(&switch);
    let echoed = customer.wait_echoed() as i64;
    customer.assert_good(2);

    let rows = switch.cdrs_once(2);
    let (mut a_to_b, mut b_to_a, mut paid) = (0, 0, Decimal::ZERO);
    for row in &rows {
        let hold_ms = int(&row["hold_ms"]);
        assert!((2000..10_000).contains(&hold_ms), "{row:#}");
        assert_eq!(int(&row["end_ms"]) - int(&row["connect_ms"]), hold_ms, "{row:#}");
        // A rest of 50 ms counts as a second.
        let hold_s = (hold_ms + 950) / 1000;
        assert_eq!(int(&row["hold_s"]), hold_s);
        assert_eq!((int(&row["billed_s"]), int(&row["vendor_s"])), (hold_s, hold_s));
        assert_eq!(decimal(&row["fee"]), cents(hold_s, 10));
        assert_eq!(decimal(&row["vendor_fee"]), cents(hold_s, 5));
        assert_eq!(decimal(&row["margin"]), cents(hold_s, 5));
        assert_eq!((int(&row["end_direction"]), int(&row["end_reason"])), (0, 16));
        assert_eq!((&row["account"], &row["vendor_account"]), (&"acme".into(), &"carrier".into()));
        assert_eq!((&row["caller_gateway"], &row["callee_gateway"]), (&"acme".into(), &"v1".into()));
        assert_eq!((int(&row["sip_status_out"]), int(&row["rtp_forward"])), (200, 1));
        assert_eq!((&row["caller_codec"], &row["callee_codec"]), (&"PCMA".into(), &"PCMA".into()));
        assert_ne!(row["caller_call_id"], row["callee_call_id"], "each leg has its own Call-ID");
        assert_eq!(int(&row["caller_rtp_lost"]) + int(&row["callee_rtp_lost"]), 0, "{row:#}");
        a_to_b += int(&row["caller_rtp_relayed"]);
        b_to_a += int(&row["callee_rtp_relayed"]);
        paid += decimal(&row["fee"]);
    }
    // 1.2 s of 50 packets a second, twice.
    assert!(echoed > 50, "{echoed}");
    assert_eq!((a_to_b, b_to_a), (echoed, echoed), "relayed, and what SIPp counted");
    assert_eq!(switch.balance("acme"), Decimal::from(100) - paid);
    switch.assert_the_books_agree(&rows);
    let totals = switch.json(&["cdr", "totals"]);
    assert_eq!((decimal(&totals["fee"]), int(&totals["rtp_relayed_a_to_b"])), (paid, a_to_b));

    // The ladder has both parties, and every message of the call on both legs.
    let trace = switch.ok(&["trace", &rows[0]["flow_no"].to_string()]);
    for wanted in [switch.net.customer().to_string(), switch.net.vendor(1).to_string()] {
        assert!(trace.contains(&wanted), "{wanted} is not in\n{trace}");
    }
    for (message, times) in
        [("INVITE SDP", 2), ("180 (INVITE)", 2), ("200 (INVITE)", 2), ("- ACK -", 2), ("- BYE -", 2), ("200 (BYE)", 2)]
    {
        assert_eq!(trace.matches(message).count(), times, "{message} in\n{trace}");
    }
    // A fee can be retraced step by step.
    let show = switch.json(&["cdr", "show", &rows[0]["flow_no"].to_string()]);
    assert!(
        !show["customer_steps"].as_array().unwrap().is_empty() && !show["vendor_steps"].as_array().unwrap().is_empty()
    );
}

#[test]
fn the_vendor_hangs_up() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan::default());
    let _vendor = Sipp::vendor(&switch, 1, "vendor_hangs_up", &["-d", "1100"]);
    Customer { scenario: "customer_waits", ..Default::default() }.run(&switch);
    let rows = switch.cdrs_once(1);
    assert_eq!((int(&rows[0]["end_direction"]), int(&rows[0]["end_reason"])), (1, 16), "{:#}", rows[0]);
    assert!(int(&rows[0]["hold_ms"]) >= 1000, "{:#}", rows[0]);
    assert!(decimal(&rows[0]["fee"]) > Decimal::ZERO);
    switch.assert_the_books_agree(&rows);
}

#[test]
fn the_call_is_cut_when_the_balance_is_used_up() {
    if !sipp_is_there() {
        return;
    }
    // A call needs the money of a minute to begin (accounts.md 5), and this buys 61 s; the test takes as long.
    let switch = Switch::start(&Plan { opening: "0.61", ..Default::default() });
    let _vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    Customer { scenario: "customer_waits", ..Default::default() }.run(&switch);
    let rows = switch.cdrs_once(1);
    // Direction 2 is the switch, -47 Balance Exhausted (endreasons.md 2).
    assert_eq!((int(&rows[0]["end_direction"]), int(&rows[0]["end_reason"])), (2, -47), "{:#}", rows[0]);
    assert_eq!((int(&rows[0]["billed_s"]), decimal(&rows[0]["fee"])), (61, Decimal::new(61, 2)), "{:#}", rows[0]);
    assert_eq!(switch.balance("acme"), Decimal::ZERO);
    switch.assert_the_books_agree(&rows);
}
