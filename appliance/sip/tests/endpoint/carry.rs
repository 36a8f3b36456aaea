//! A dialog goes on in another endpoint after the first one died (design.md P1).

use tandem_leg::{DisconnectCause, Info, LegEvent, LegId, Update, UpdateMethod, Updated};
use tandem_sip::{CarriedDialog, CarryError, Outcome};

use crate::support::*;

/// Another life: the same configuration, other random numbers.
fn next_life() -> Bench {
    let mut config = config();
    config.seed = [43; 32];
    Bench::new(config)
}

fn wire(dialog: &CarriedDialog) -> CarriedDialog {
    rmp_serde::from_slice(&rmp_serde::to_vec(dialog).unwrap()).unwrap()
}

#[test]
fn an_a_leg_ends_normally_after_a_restart() {
    let mut before = Bench::default();
    let (leg, tag) = before.answered_incoming();
    let carried = wire(&before.e.carry(leg).unwrap());

    let mut bench = next_life();
    let leg = bench.e.adopt(carried, None).unwrap();
    assert!(leg.is_incoming());
    bench.feed(A, &a_request("BYE", "z9hG4bKbye", 2, &tag, "", ""));
    bench.expect("SIP/2.0 200 OK");
    let LegEvent::Disconnect(end) = bench.event() else { panic!() };
    assert_eq!(end.cause, DisconnectCause::Bye);
    bench.nothing_left();
}

#[test]
fn a_b_leg_is_hung_up_after_a_restart_with_a_higher_number() {
    let mut before = Bench::default();
    let (leg, invite) = before.answered_outgoing();
    let carried = wire(&before.e.carry(leg).unwrap());
    // What is sent after the state was written is not in it.
    let info = || Info { content_type: "application/dtmf-relay".into(), body: b"Signal=1".to_vec() };
    let number = |sent: &Sent| sent.header("CSeq").split(' ').next().unwrap().parse::<u32>().unwrap();
    before.order(leg, LegEvent::Info(info()));
    before.expect("INFO");
    before.order(leg, LegEvent::Info(info()));
    let last = number(&before.expect("INFO"));

    let mut bench = next_life();
    let leg = bench.e.adopt(carried, Some(LegId::outgoing(7))).unwrap();
    assert_eq!(leg, LegId::outgoing(7));
    bench.order(leg, hang_up());
    let bye = bench.expect("BYE sip:b@192.0.2.10:5060 SIP/2.0");
    assert_eq!(bye.header("Call-ID"), invite.header("Call-ID"));
    assert_eq!(bye.header("From"), invite.header("From"));
    assert_eq!(bye.tag("To"), "tb");
    assert!(number(&bye) > last, "numbers only rise (RFC 3261 12.2.1.1)");
    bench.feed(B, &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
}

#[test]
fn a_session_is_changed_after_a_restart() {
    let mut before = Bench::default();
    let (leg, tag) = before.answered_incoming();
    let carried = before.e.carry(leg).unwrap();

    let mut bench = next_life();
    let leg = bench.e.adopt(carried, None).unwrap();
    bench.feed(A, &a_request("INVITE", "z9hG4bKre", 2, &tag, "", SDP_B));
    bench.expect("SIP/2.0 100");
    assert_eq!(bench.event(), LegEvent::Update(Update { method: UpdateMethod::Invite, sdp: some(SDP_B) }));
    bench.order(leg, LegEvent::Updated(Updated { sdp: some(SDP_A) }));
    bench.expect("SIP/2.0 200 OK");
    bench.feed(A, &a_request("ACK", "z9hG4bKack", 2, &tag, "", ""));
    bench.event();
    // What the first life has had is out of order (RFC 3261 12.2.2).
    bench.feed(A, &a_request("BYE", "z9hG4bKold", 1, &tag, "", ""));
    bench.expect("SIP/2.0 500");
    bench.feed(A, &a_request("BYE", "z9hG4bKbye", 3, &tag, "", ""));
    bench.expect("SIP/2.0 200 OK");
    bench.event();
    bench.nothing_left();
}

#[test]
fn an_answer_that_comes_again_is_acknowledged_by_the_next_life() {
    let mut before = Bench::default();
    let (leg, invite) = before.answered_outgoing();
    let carried = before.e.carry(leg).unwrap();
    let answer = reply(&invite, 200, "tb", "Contact: <sip:b@192.0.2.10:5060>\r\n", SDP_B);

    let mut bench = next_life();
    let leg = bench.e.adopt(carried, Some(LegId::outgoing(1))).unwrap();
    for _ in 0..2 {
        assert_eq!(bench.feed(B, &answer).outcome, Outcome::Retransmission);
        let ack = bench.expect("ACK sip:b@192.0.2.10:5060 SIP/2.0");
        assert_eq!(ack.header("CSeq"), "1 ACK");
    }
    let forked = reply(&invite, 200, "another", "Contact: <sip:c@192.0.2.10:5060>\r\n", SDP_B);
    assert_eq!(bench.feed(B, &forked).outcome, Outcome::Stray);
    bench.order(leg, hang_up());
    let bye = bench.expect("BYE");
    bench.feed(B, &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
}

#[test]
fn what_cannot_go_on_is_refused_whole() {
    let mut before = Bench::default();
    let (leg, _) = before.answered_incoming();
    let carried = before.e.carry(leg).unwrap();
    assert_eq!(before.e.carry(LegId::incoming(99)), None);

    let mut bench = next_life();
    let elsewhere = CarriedDialog { listener: "203.0.113.9:5060".parse().unwrap(), ..carried.clone() };
    assert!(matches!(bench.e.adopt(elsewhere, None), Err(CarryError::Listener(_))));
    let other_shard = CarriedDialog { local_tag: carried.local_tag.replacen("t00", "t05", 1), ..carried.clone() };
    assert_ne!(other_shard.local_tag, carried.local_tag);
    assert!(matches!(bench.e.adopt(other_shard, None), Err(CarryError::Tag(_))));
    bench.nothing_left();
    bench.e.adopt(carried.clone(), None).unwrap();
    assert_eq!(bench.e.adopt(carried, None), Err(CarryError::Exists));
    assert_eq!(bench.e.counts().legs, 1);
}
