//! No media port is left.

use crate::books;
use crate::common::{Plan, Switch, int, until};
use crate::peer::{Peer, Stage};

/// Calls that a range of twelve ports holds.
const ROOM: usize = 6;

#[test]
fn without_a_port_the_next_call_is_refused_and_nothing_leaks() {
    let plan = Plan { params: vec![("SS_RTP_PORT_RANGE", "20000,20011")], ..Default::default() };
    let switch = Switch::start(&plan);
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    let mut numbers = (0..).map(|n| format!("1212555{n:04}"));
    let mut numbers = || numbers.next().unwrap();
    let (mut connected, mut refused): (Vec<String>, usize) = (Vec::new(), 0);
    let mut total = 0;
    // Three times: a port that is lost by the way would be missed in the second.
    for _ in 0..3 {
        // A port that was given back rests before it is used again; until then its call is refused.
        until("all ports are in use", || {
            let number = numbers();
            customer.call(&number);
            let dialog = customer.once(&number, |dialog| dialog.status >= 200);
            match dialog.status {
                200 => connected.push(number),
                503 => refused += 1,
                other => panic!("{other}: {dialog:#?}"),
            }
            (connected.len() == ROOM).then_some(())
        });
        let status = switch.json(&["status"]);
        assert_eq!((&status["media_ports"], &status["media_ports_free"]), (&12.into(), &0.into()), "{status:#}");
        assert!(status["warnings"].to_string().contains("12 of 12 media ports"), "{status:#}");
        for _ in 0..3 {
            assert_eq!(customer.refused(&numbers()).status, 503);
            refused += 1;
        }
        // The refused calls hold nothing.
        let gateways = switch.json(&["gateway", "list"]);
        assert!(gateways.as_array().unwrap().iter().all(|gateway| gateway["calls"] == ROOM), "{gateways:#}");
        total += connected.len();
        for number in connected.drain(..) {
            customer.hang_up(&number);
            customer.once(&number, |dialog| dialog.stage == Stage::Ended);
        }
    }
    books::audit(&switch);
    let rows = switch.cdrs_once(total + refused);
    // -31 Media Resource Exhausted, ended by the server (endreasons.md 2).
    let exhausted = rows.iter().filter(|row| (int(&row["end_reason"]), int(&row["end_direction"])) == (-31, 2));
    assert_eq!(exhausted.count(), refused);
    assert_eq!(rows.iter().filter(|row| row["connect_ms"].is_i64() && row["end_reason"] == 16).count(), total);
    assert_eq!(vendor.dialogs().len(), total, "a call without ports went to the vendor");
    switch.assert_the_books_agree(&rows);
}
