//! Several media addresses: each leg has one of its listener's, each address its own ports (spec media.md 2 and 3).

mod common;

use common::{World, addr, config, media_address, media_of, sdp};
use tandem_call::CallsConfig;
use tandem_ebpf_abi::PuntReason;
use tandem_leg::*;

const OUTSIDE: &str = "203.0.113.1";
const INSIDE: &str = "10.1.0.1";
const INSIDE_TOO: &str = "10.1.0.2";
const B1: &str = "192.0.2.10:5060";
const B2: &str = "192.0.2.11:5060";

/// Listener 0 is outside, listener 2 inside with two addresses; listener 1 is IPv6 and names nothing.
fn networks() -> CallsConfig {
    let mut config = config();
    config.listeners.push(addr("10.1.0.1:5060"));
    config.media.addresses = vec![
        media_address(0, OUTSIDE),
        media_address(1, "2001:db8::1"),
        media_address(2, INSIDE),
        media_address(3, INSIDE_TOO),
    ];
    config.media.of_listener = vec![vec![0], Vec::new(), vec![2, 3]];
    config
}

fn ip_of(body: &Option<Vec<u8>>) -> String {
    addr(&media_of(body)).ip().to_string()
}

#[test]
fn each_leg_has_an_address_of_its_listener() {
    let mut w = World::with(networks(), |s| s.routing[0].listener = ListenerId(2));
    let mut inside = Vec::new();
    for _ in 0..4 {
        let a = w.call();
        let (b, order) = w.expect_try(B1);
        inside.push(ip_of(&order.sdp));
        w.answers(b, Some(sdp("192.0.2.10", 5000)));
        assert_eq!(ip_of(&w.expect_connect(a)), OUTSIDE);
        w.news(a, LegEvent::Confirm(Confirm::default()));
    }
    assert_eq!(inside, [INSIDE, INSIDE_TOO, INSIDE, INSIDE_TOO], "calls are spread over the addresses of a listener");
    // What comes in outside goes out inside.
    let (caller_port, callee_port) = w.calls.list().next().unwrap().media_ports.unwrap();
    assert_eq!((caller_port.slot, callee_port.slot), (0, 2));
    let mut packet = vec![0x80, 8, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9, 1, 2, 3];
    let source = addr("198.51.100.10:4000");
    let send = w.calls.handle_media(w.now, caller_port, source, PuntReason::Unlatched, &mut packet).unwrap();
    assert_eq!((send.from.to_string(), send.to), (format!("{INSIDE}:{}", callee_port.port), addr("192.0.2.10:5000")));
    w.drain();
}

#[test]
fn a_listener_without_an_address_of_the_family_uses_any() {
    let mut w = World::with(networks(), |s| {
        s.routing[0].listener = ListenerId(1);
        s.routing[0].remotes = vec![addr("[2001:db8::10]:5060")];
    });
    w.call();
    let (_, order) = w.expect_try("[2001:db8::10]:5060");
    assert_eq!(ip_of(&order.sdp), "2001:db8::1");
}

#[test]
fn a_vendor_on_another_network_gets_another_port_and_the_first_comes_back() {
    let mut w = World::with(networks(), |s| s.routing[0].listener = ListenerId(2));
    let a = w.call();
    let (b1, first) = w.expect_try(B1);
    assert_eq!(ip_of(&first.sdp), INSIDE);
    let (caller_port, given_up) = w.calls.list().next().unwrap().media_ports.unwrap();
    // The next vendor is reached outside.
    w.fails(b1, 503);
    let (b2, second) = w.expect_try(B2);
    assert_eq!(ip_of(&second.sdp), OUTSIDE);
    let (still, fresh) = w.calls.list().next().unwrap().media_ports.unwrap();
    assert_eq!((still, fresh.slot), (caller_port, 0));
    assert!(!w.calls.has_port(given_up) && w.calls.has_port(fresh));
    assert_eq!(w.calls.counts().ports_leased, 2, "the port of the first attempt lingers");
    w.answers(b2, Some(sdp("192.0.2.11", 5000)));
    w.expect_connect(a);
    w.news(a, LegEvent::Confirm(Confirm::default()));
    assert!(w.flows.iter().all(|key| *key != given_up), "{:?}", w.flows);
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b2);
    w.end();
}

#[test]
fn another_vendor_is_tried_when_the_address_of_one_has_no_port() {
    let mut config = networks();
    config.media.of_listener[2] = vec![2];
    config.media.ports = 10_000..=10_003;
    let mut w = World::with(config, |s| {
        s.routing[0].listener = ListenerId(2);
        s.mapping[0].sources.push(tandem_call::snapshot::Source { ip: "10.1.9.9".parse().unwrap(), port: None });
    });
    // Callers from inside take the ports there.
    for _ in 0..2 {
        let invite = Try { remote: addr("10.1.9.9:5060"), listener: ListenerId(2), ..w.invite() };
        w.call_with(invite);
        w.expect_try(B1);
    }
    w.call();
    let (_, order) = w.expect_try(B2);
    assert_eq!(ip_of(&order.sdp), OUTSIDE, "the vendor outside");
    assert!(w.traced("Media Resource Exhausted") || w.traced("no free media port"));
}
