//! The process is stopped for some seconds, as by a debugger, a frozen virtual machine or a starving host.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::books;
use crate::common::{Customer, Plan, Sipp, Switch, int, sipp_is_there, until};
use crate::crash::rich;
use crate::media::Streams;
use crate::peer::{Peer, RINGS, Stage};

/// Long enough that several timers of SIP and all of the switch's own come due.
const PAUSE: Duration = Duration::from_secs(5);

/// The fault itself; nothing is waited for.
fn pause(switch: &Switch) {
    switch.signal(Signal::STOP);
    thread::sleep(PAUSE);
    switch.signal(Signal::CONT);
}

#[test]
fn a_pause_under_load_loses_no_call_and_charges_none_twice() {
    if !sipp_is_there() {
        return;
    }
    const CALLS: u32 = 240;
    let switch = Switch::start(&rich());
    let _vendor = Sipp::vendor(&switch, 1, "vendor_answers", &[]);
    let load = Customer { calls: CALLS, rate: 20, hold_ms: 2000, ..Default::default() };
    let mut customer = load.start(&switch);
    until("calls begin and end", || (books::counter(&switch, "cdr_settled") >= 20).then_some(()));
    pause(&switch);
    customer.assert_good(CALLS.into());
    let rows = switch.cdrs_once(CALLS as usize);
    assert!(rows.iter().all(|row| row["connect_ms"].is_i64() && row["end_reason"] == 16));
    assert_eq!(books::audit(&switch).cdrs, u64::from(CALLS));
    switch.assert_the_books_agree(&rows);
}

#[test]
fn timers_that_came_due_in_a_pause_fire_once() {
    let params = vec![("SS_SIP_TIMEOUT_RINGING", "3"), ("SS_MAXCALLDURATION", "4")];
    let switch = Switch::start(&Plan { params, ..Default::default() });
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    let ringing: Vec<String> = (0..5).map(|n| format!("{RINGS}{n:06}")).collect();
    let talking: Vec<String> = (0..5).map(|n| format!("1212555{n:04}")).collect();
    ringing.iter().for_each(|number| customer.call(number));
    talking.iter().for_each(|number| customer.connect(number));
    ringing.iter().for_each(|number| drop(customer.once(number, |dialog| dialog.rang)));
    pause(&switch);
    customer.all(Stage::Ended);
    vendor.all(Stage::Ended);
    books::audit(&switch);
    for number in &ringing {
        assert_eq!(customer.dialog(number).unwrap().heard, ["480 INVITE"]);
        assert_eq!(vendor.dialog(number).unwrap().heard, ["INVITE", "CANCEL 1 CANCEL"]);
    }
    for number in &talking {
        let (a, b) = (customer.dialog(number).unwrap().heard, vendor.dialog(number).unwrap().heard);
        assert_eq!((a.len(), b.len()), (2, 2), "{a:?} {b:?}");
        assert!(a[1].starts_with("BYE ") && b[1].starts_with("BYE "), "{a:?} {b:?}");
    }
    // -7 No Answer, -38 Max Duration (endreasons.md 2); one record each.
    let rows = switch.cdrs_once(10);
    for reason in [-7, -38] {
        assert_eq!(rows.iter().filter(|row| int(&row["end_reason"]) == reason).count(), 5, "{reason}: {rows:#?}");
    }
    switch.assert_the_books_agree(&rows);
}

#[test]
fn streams_go_on_after_a_pause() {
    let switch = Switch::start(&rich());
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    let mut streams = Streams::connect(&customer, &vendor, 10);
    streams.settle();
    thread::scope(|scope| {
        scope.spawn(|| pause(&switch));
        // 50 packets a second and stream all the while, as phones go on talking.
        streams.pace(PAUSE);
    });
    assert_eq!(streams.dead_after(50), Vec::<String>::new());
    streams.assert_nothing_is_lost(50);
    streams.hang_up(&customer);
    assert_eq!(books::audit(&switch).cdrs, 10);
}
