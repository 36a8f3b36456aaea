//! A killed switch goes on with its calls (design.md P1).

use crate::common::{Customer, Plan, Sipp, Switch, int, sipp_is_there, until};

/// Calls that are up when the switch is killed: all on the air at once, and fewer than a page of `calls list`.
const CALLS: u32 = 40;
/// How long each is held: long enough for a kill and a start in between, on a slow machine too.
const HOLD_MS: u32 = 12_000;

fn kill_and_go_on(plan: &Plan) {
    if !sipp_is_there() {
        return;
    }
    let mut switch = Switch::start(plan);
    let mut vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    let customer = Customer { calls: CALLS, rate: 60, hold_ms: HOLD_MS, ..Default::default() };
    let mut customer = customer.start(&switch);
    until("all calls are connected and written down", || {
        let calls = switch.json(&["calls", "list", "--state", "talking"]);
        (calls.as_array().map(Vec::len) == Some(CALLS as usize)).then_some(())
    });
    switch.written_down();
    switch.kill();
    switch.start_again();
    customer.assert_good(u64::from(CALLS));
    vendor.kill();

    let rows = switch.cdrs_of_answered_once(CALLS as usize);
    for row in &rows {
        assert_eq!((int(&row["end_reason"]), int(&row["end_direction"])), (16, 0), "the caller ended it: {row:#}");
        assert!(int(&row["hold_ms"]) >= i64::from(HOLD_MS), "{row:#}");
        assert_eq!(row["flags"], "adopted", "{row:#}");
    }
    switch.assert_the_books_agree(&rows);
    assert!(switch.is_idle(), "{:#}", switch.json(&["status"]));
}

#[test]
fn killed_with_calls_up_it_goes_on_with_them_and_each_is_billed_once() {
    kill_and_go_on(&Plan::default());
}

#[test]
fn killed_with_calls_up_on_two_shards() {
    kill_and_go_on(&Plan { shards: 2, ..Plan::default() });
}
