//! Giving up before the answer, from both sides, and every way in which that crosses an answer (RFC 3261 9, 15;
//! RFC 6026; call-flows.md 3).

use tandem_leg::{Disconnect, DisconnectCause, LegEvent, LegId, Reason};
use tandem_sip::Outcome;

use crate::support::*;

fn cause(event: LegEvent) -> DisconnectCause {
    let LegEvent::Disconnect(Disconnect { cause, .. }) = event else { panic!("{event:?}") };
    cause
}

#[test]
fn the_caller_cancels() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.order(leg, ring(180));
    let tag = bench.expect("SIP/2.0 180").tag("To");
    let cancel = a_request("CANCEL", "z9hG4bKa1", 1, "", "Reason: SIP;cause=200\r\n", "");
    assert_eq!(bench.feed(A, &cancel).leg, Some(leg));
    assert_eq!(bench.expect("SIP/2.0 200 OK").header("CSeq"), "1 CANCEL");
    let terminated = bench.expect("SIP/2.0 487");
    assert_eq!((terminated.header("CSeq"), terminated.tag("To")), ("1 INVITE", tag));
    let LegEvent::Disconnect(end) = bench.event() else { panic!() };
    assert_eq!((end.cause, end.reason.sip), (DisconnectCause::Cancel, Some(200)));
    // Again: the same answer, no further effect.
    bench.feed(A, &cancel);
    bench.expect("SIP/2.0 200 OK");
    bench.feed(A, &a_request("ACK", "z9hG4bKa1", 1, &terminated.tag("To"), "", ""));
    bench.nothing_left();
}

#[test]
fn a_cancel_after_our_2xx_changes_nothing() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.order(leg, connect(SDP_B));
    let tag = bench.expect("SIP/2.0 200 OK").tag("To");
    bench.feed(A, &a_request("CANCEL", "z9hG4bKa1", 1, "", "", ""));
    assert_eq!(bench.expect("SIP/2.0 200 OK").header("CSeq"), "1 CANCEL");
    bench.quiet();
    bench.feed(A, &a_request("ACK", "z9hG4bKk", 1, &tag, "", ""));
    assert!(matches!(bench.event(), LegEvent::Confirm(_)));
    bench.feed(A, &a_request("BYE", "z9hG4bKl", 2, &tag, "", ""));
    bench.expect("SIP/2.0 200 OK");
    assert_eq!(cause(bench.event()), DisconnectCause::Bye);
    bench.nothing_left();
}

#[test]
fn a_cancel_of_nothing_is_481() {
    let mut bench = Bench::default();
    bench.feed(A, &a_request("CANCEL", "z9hG4bKnone", 1, "", "", ""));
    bench.expect("SIP/2.0 481");
    bench.nothing_left();
}

#[test]
fn the_caller_hangs_up_its_early_dialog() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.order(leg, ring(183));
    let tag = bench.expect("SIP/2.0 183").tag("To");
    bench.feed(A, &a_request("BYE", "z9hG4bKb", 2, &tag, "", ""));
    bench.expect("SIP/2.0 200 OK");
    assert_eq!(bench.expect("SIP/2.0 487").header("CSeq"), "1 INVITE");
    assert_eq!(cause(bench.event()), DisconnectCause::Bye);
    bench.feed(A, &a_request("ACK", "z9hG4bKa1", 1, &tag, "", ""));
    bench.nothing_left();
}

#[test]
fn a_bye_before_the_ack_is_taken() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.order(leg, connect(SDP_B));
    let tag = bench.expect("SIP/2.0 200 OK").tag("To");
    bench.feed(A, &a_request("BYE", "z9hG4bKb", 2, &tag, "", ""));
    assert_eq!(bench.expect("SIP/2.0 200 OK").header("CSeq"), "2 BYE");
    assert_eq!(cause(bench.event()), DisconnectCause::Bye);
    // The ACK that was overtaken finds nothing and hurts nothing.
    assert_eq!(bench.feed(A, &a_request("ACK", "z9hG4bKk", 1, &tag, "", "")).outcome, Outcome::Stray);
    bench.nothing_left();
}

#[test]
fn our_bye_waits_for_their_ack() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.order(leg, connect(SDP_B));
    let tag = bench.expect("SIP/2.0 200 OK").tag("To");
    bench.order(leg, hang_up());
    bench.quiet();
    bench.run_to(500);
    bench.expect("SIP/2.0 200 OK");
    bench.feed(A, &a_request("ACK", "z9hG4bKk", 1, &tag, "", ""));
    let bye = bench.expect("BYE");
    assert_eq!(bye.header("Reason"), "Q.850;cause=16");
    bench.quiet();
    // Both hang up at once: theirs is answered, ours still runs.
    bench.feed(A, &a_request("BYE", "z9hG4bKl", 2, &tag, "", ""));
    bench.expect("SIP/2.0 200 OK");
    bench.feed(A, &reply(&bye, 481, "", "", ""));
    bench.nothing_left();
    assert_eq!(bench.forgotten, [leg]);
}

#[test]
fn our_bye_leaves_at_32_s_when_the_ack_never_comes() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.order(leg, connect(SDP_B));
    bench.order(leg, hang_up());
    bench.run_to(31_999);
    assert_eq!(bench.instants("SIP/2.0 200"), S_D1);
    bench.run_to(32_000);
    assert_eq!(bench.expect("BYE").header("Reason"), "Q.850;cause=16");
    bench.quiet();
    bench.run_to(64_000);
    bench.sent.clear();
    bench.nothing_left();
}

#[test]
fn a_leg_ended_before_its_answer_is_refused_with_the_status_of_the_reason() {
    for (reason, status) in [
        (Reason::q850(17), "SIP/2.0 486"),
        (Reason { sip: Some(503), q850: Some(42), text: None }, "SIP/2.0 503"),
        (Reason::default(), "SIP/2.0 480"),
    ] {
        let mut bench = Bench::default();
        let (leg, _) = bench.incoming("", SDP_A);
        bench.order(leg, LegEvent::Disconnect(Disconnect::order(reason)));
        let tag = bench.expect(status).tag("To");
        bench.feed(A, &a_request("ACK", "z9hG4bKa1", 1, &tag, "", ""));
        bench.nothing_left();
    }
}

#[test]
fn we_cancel_a_ringing_b() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.outgoing(SDP_A);
    bench.feed(B, &reply(&invite, 180, "tb", "", ""));
    assert!(matches!(bench.event(), LegEvent::Ring(_)));
    bench.order(leg, LegEvent::Disconnect(Disconnect::order(Reason::q850(19))));
    let cancel = bench.expect("CANCEL sip:8613900000000@192.0.2.10:5060 SIP/2.0");
    for name in ["Via", "From", "To", "Call-ID"] {
        assert_eq!(cancel.header(name), invite.header(name), "{name}");
    }
    assert_eq!((cancel.header("CSeq"), cancel.header("Reason")), ("1 CANCEL", "Q.850;cause=19"));
    bench.feed(B, &reply(&cancel, 200, "tb", "", ""));
    // Another 180 does not make another CANCEL.
    bench.feed(B, &reply(&invite, 180, "tb", "", ""));
    bench.quiet();
    bench.feed(B, &reply(&invite, 487, "tb", "", ""));
    bench.expect("ACK");
    bench.nothing_left();
    assert_eq!(bench.forgotten, [leg]);
}

#[test]
fn the_cancel_is_held_until_a_provisional_comes() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.outgoing(SDP_A);
    bench.run_to(600);
    assert_eq!(bench.instants("INVITE"), [500]);
    bench.order(leg, hang_up());
    bench.run_to(5_000);
    bench.quiet();
    bench.feed(B, &reply(&invite, 100, "", "", ""));
    let cancel = bench.expect("CANCEL");
    bench.feed(B, &reply(&cancel, 200, "", "", ""));
    bench.feed(B, &reply(&invite, 487, "tb", "", ""));
    bench.expect("ACK");
    bench.nothing_left();
}

#[test]
fn an_invite_nobody_ever_answers_fades_after_it_was_given_up() {
    let mut bench = Bench::default();
    let (leg, _) = bench.outgoing(SDP_A);
    bench.order(leg, hang_up());
    bench.run_to(31_999);
    assert_eq!(bench.e.counts().legs, 1);
    bench.run_to(32_000);
    assert_eq!(bench.forgotten, [leg]);
    bench.nothing_left();
}

#[test]
fn a_487_that_never_comes_is_not_waited_for_longer_than_32_s() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.outgoing(SDP_A);
    bench.feed(B, &reply(&invite, 180, "tb", "", ""));
    bench.event();
    bench.run_to(10_000);
    bench.order(leg, hang_up());
    let cancel = bench.expect("CANCEL");
    bench.feed(B, &reply(&cancel, 200, "", "", ""));
    bench.run_to(41_999);
    bench.quiet();
    assert_eq!(bench.e.counts().legs, 1);
    bench.run_to(42_000);
    assert_eq!(bench.forgotten, [leg]);
    bench.nothing_left();
}

#[test]
fn a_2xx_that_crosses_our_cancel_is_acknowledged_and_hung_up() {
    for provisional in [true, false] {
        let mut bench = Bench::default();
        let (leg, invite) = bench.outgoing(SDP_A);
        if provisional {
            bench.feed(B, &reply(&invite, 180, "tb", "", ""));
            bench.event();
        }
        bench.order(leg, hang_up());
        if provisional {
            let cancel = bench.expect("CANCEL");
            bench.feed(B, &reply(&cancel, 200, "", "", ""));
        }
        let ok = reply(&invite, 200, "tb", "Contact: <sip:bob@192.0.2.10>\r\n", SDP_B);
        bench.feed(B, &ok);
        bench.expect("ACK sip:bob@192.0.2.10 SIP/2.0");
        let bye = bench.expect("BYE sip:bob@192.0.2.10 SIP/2.0");
        bench.quiet();
        bench.feed(B, &ok);
        bench.expect("ACK");
        bench.feed(B, &reply(&bye, 200, "", "", ""));
        bench.nothing_left();
        assert_eq!(bench.forgotten, [leg]);
    }
}

#[test]
fn of_two_forks_that_answer_the_first_wins() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.outgoing(SDP_A);
    bench.feed(B, &reply(&invite, 180, "t1", "Contact: <sip:one@192.0.2.21>\r\n", ""));
    bench.feed(B, &reply(&invite, 180, "t2", "Contact: <sip:two@192.0.2.22>\r\n", ""));
    bench.event();
    bench.event();
    bench.feed(B, &reply(&invite, 200, "t2", "Contact: <sip:two@192.0.2.22>\r\n", SDP_B));
    assert!(bench.expect("ACK sip:two@192.0.2.22 SIP/2.0").header("To").ends_with("tag=t2"));
    bench.event();
    let second = reply(&invite, 200, "t1", "Contact: <sip:one@192.0.2.21>\r\n", SDP_B);
    bench.feed(B, &second);
    let ack = bench.expect("ACK sip:one@192.0.2.21 SIP/2.0");
    assert!(ack.header("To").ends_with("tag=t1"));
    let fork_bye = bench.expect("BYE sip:one@192.0.2.21 SIP/2.0");
    assert_eq!(fork_bye.header("CSeq"), "2 BYE");
    bench.feed(B, &second);
    assert_eq!(bench.expect("ACK").text, ack.text);
    bench.quiet();
    bench.feed(B, &reply(&fork_bye, 200, "", "", ""));
    // The call itself goes on.
    bench.run_for(40_000);
    bench.order(leg, hang_up());
    let bye = bench.expect("BYE sip:two@192.0.2.22 SIP/2.0");
    assert!(bye.header("To").ends_with("tag=t2"));
    bench.feed(B, &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
}

#[test]
fn forks_without_end_are_not_answered_without_end() {
    let mut bench = Bench::default();
    let (_, invite) = bench.answered_outgoing();
    for n in 0..100 {
        bench.feed(B, &reply(&invite, 200, &format!("f{n}"), "Contact: <sip:f@192.0.2.30>\r\n", SDP_B));
    }
    let answered = bench.sent.iter().filter(|sent| sent.text.starts_with("ACK")).count();
    assert!((2..=16).contains(&answered), "{answered}");
    assert!(bench.e.counts().transactions < 20);
    bench.run_to(40_000);
    bench.sent.clear();
    bench.feed(B, &b_request(&invite, "BYE", "z9hG4bKend", 1, "", ""));
    bench.expect("SIP/2.0 200 OK");
    bench.event();
    bench.nothing_left();
}

#[test]
fn a_bye_in_an_early_b_dialog_fails_the_leg() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.outgoing(SDP_A);
    bench.feed(B, &reply(&invite, 180, "tb", "", ""));
    bench.event();
    bench.feed(B, &b_request(&invite, "BYE", "z9hG4bKb", 1, "", ""));
    bench.expect("SIP/2.0 200 OK");
    let cancel = bench.expect("CANCEL");
    assert!(matches!(bench.event(), LegEvent::Fail(_)));
    bench.feed(B, &reply(&cancel, 200, "", "", ""));
    bench.feed(B, &reply(&invite, 487, "tb", "", ""));
    bench.expect("ACK");
    bench.nothing_left();
    assert_eq!(bench.forgotten, [leg]);
}

#[test]
fn orders_for_nobody_are_refused_and_those_that_come_too_late_do_nothing() {
    let mut bench = Bench::default();
    assert!(bench.try_order(LegId::incoming(9), ring(180)).is_err());
    let (leg, _) = bench.incoming("", SDP_A);
    assert!(bench.try_order(leg, LegEvent::Proceeding).is_err());
    bench.order(leg, fail(404));
    let tag = bench.expect("SIP/2.0 404").tag("To");
    assert!(bench.try_order(leg, LegEvent::Confirm(tandem_leg::Confirm::default())).is_ok());
    for late in [ring(180), connect(SDP_B), fail(500), hang_up()] {
        bench.order(leg, late);
        bench.quiet();
    }
    bench.feed(A, &a_request("ACK", "z9hG4bKa1", 1, &tag, "", ""));
    bench.nothing_left();
}
