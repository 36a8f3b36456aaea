//! A basic call from each side, and the instants at which things are sent (spec signalling.md S-D1, call-flows.md 1-5).

use crate::support::*;
use tandem_leg::{Disconnect, DisconnectCause, Fail, FailCause, LegEvent, Rel100};
use tandem_sip::method::Method;
use tandem_sip::{MessageKind, Outcome};

#[test]
fn a_calls_rings_is_answered_and_hangs_up() {
    let mut bench = Bench::default();
    let extra = "User-Agent: old gateway\r\nDiversion: <sip:77@x>;reason=no-answer\r\nX-Cust: 1\r\nAlert-Info: <x>\r\n\
                 X-Tandem-Hop: n9;2\r\nSupported: 100rel\r\nP-Asserted-Identity: <tel:+49301>\r\nPrivacy: id\r\nExpires: 90\r\n";
    let (leg, order) = bench.incoming(extra, SDP_A);
    assert_eq!(order.remote.to_string(), A);
    assert_eq!((order.caller.user.as_str(), order.caller.display.as_str()), ("4930100", "Alice"));
    assert_eq!((order.callee.user.as_str(), order.dialled.as_str()), ("8613900000000", "8613900000000"));
    assert_eq!((order.max_forwards, order.hop.as_deref()), (70, Some("n9;2")));
    assert_eq!(order.user_agent, "old gateway");
    assert_eq!((order.rel100, order.expires_s), (Rel100::Supported, Some(90)));
    assert_eq!(order.identity.asserted.as_deref(), Some("+49301"));
    assert!(order.identity.private);
    assert_eq!(order.identity.diversion.as_deref(), Some("77"));
    let names: Vec<_> = order.headers.iter().map(|h| h.0.as_str()).collect();
    assert_eq!(names, ["Diversion", "X-Cust"]);
    assert_eq!(order.sdp.as_deref(), Some(SDP_A.as_bytes()));

    bench.order(leg, ring(180));
    let ringing = bench.expect("SIP/2.0 180 Ringing");
    assert!(ringing.header("Contact").contains("203.0.113.1:5060"));
    assert!(ringing.header("Via").contains("rport=5062"));
    bench.order(leg, connect(SDP_B));
    let ok = bench.expect("SIP/2.0 200 OK");
    assert_eq!(ok.tag("To"), ringing.tag("To"));
    assert_eq!(ok.body(), SDP_B);
    assert_eq!(ok.summary.sdp.map(|a| a.to_string()).as_deref(), Some("192.0.2.10:5000"));
    let received = bench.feed(A, &a_request("ACK", "z9hG4bKx", 1, &ok.tag("To"), "", ""));
    assert_eq!((received.leg, received.outcome), (Some(leg), Outcome::Request));
    let LegEvent::Confirm(confirm) = bench.event() else { panic!() };
    assert_eq!(confirm.sdp, None);
    bench.run_for(60_000);

    let reason = "Reason: Q.850;cause=16;text=\"bye\"\r\n";
    let received = bench.feed(A, &a_request("BYE", "z9hG4bKy", 2, &ok.tag("To"), reason, ""));
    assert_eq!(received.summary.unwrap().kind, MessageKind::Request(Method::Bye));
    bench.expect("SIP/2.0 200 OK");
    let LegEvent::Disconnect(Disconnect { cause, reason }) = bench.event() else { panic!() };
    assert_eq!((cause, reason.q850, reason.text.as_deref()), (DisconnectCause::Bye, Some(16), Some("bye")));
    // The BYE again: absorbed, answered again, no news.
    let again = bench.feed(A, &a_request("BYE", "z9hG4bKy", 2, &ok.tag("To"), "", ""));
    assert_eq!(again.outcome, Outcome::Retransmission);
    assert!(bench.expect("SIP/2.0 200 OK").summary.retransmission);
    bench.nothing_left();
    assert_eq!(bench.forgotten, [leg]);
}

#[test]
fn we_call_b_and_hang_up() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.outgoing(SDP_A);
    assert_eq!(invite.to, B);
    assert_eq!(invite.header("Max-Forwards"), "69");
    assert_eq!(invite.header("X-Tandem-Hop"), "n1;1");
    assert_eq!(invite.header("Diversion"), "<sip:1@x>");
    assert_eq!(invite.header("User-Agent"), "tandem");
    assert_eq!(invite.header("Contact"), "<sip:4930100@203.0.113.1:5060>");
    assert!(invite.header("From").starts_with("\"Alice\" <sip:4930100@203.0.113.1>;tag="));
    assert_eq!(invite.header("To"), "<sip:8613900000000@192.0.2.10>");
    assert!(!invite.text.contains("evil") && !invite.text.contains("never relayed"));
    bench.feed(B, &reply(&invite, 100, "", "", ""));
    assert_eq!(bench.event(), LegEvent::Proceeding);
    bench.feed(B, &reply(&invite, 183, "tb", "P-Early-Media: sendrecv\r\n", SDP_B));
    let LegEvent::Ring(ring) = bench.event() else { panic!() };
    assert_eq!((ring.status, ring.sdp.as_deref()), (183, Some(SDP_B.as_bytes())));
    assert_eq!(ring.headers, [("P-Early-Media".to_owned(), "sendrecv".to_owned())]);
    let ok = reply(&invite, 200, "tb", "Contact: <sip:bob@192.0.2.99:5080>\r\nServer: vendor\r\n", SDP_B);
    bench.feed(B, &ok);
    let ack = bench.expect("ACK sip:bob@192.0.2.99:5080 SIP/2.0");
    assert_eq!((ack.to.as_str(), ack.header("CSeq")), (B, "1 ACK"));
    assert_ne!(ack.header("Via"), invite.header("Via"));
    let LegEvent::Connect(connect) = bench.event() else { panic!() };
    assert_eq!((connect.sdp.as_deref(), connect.user_agent.as_str()), (Some(SDP_B.as_bytes()), "vendor"));
    // Our ACK was lost: the 2xx again is acknowledged again with the very same ACK.
    assert_eq!(bench.feed(B, &ok).outcome, Outcome::Retransmission);
    assert_eq!(bench.expect("ACK").text, ack.text);

    bench.order(leg, hang_up());
    let bye = bench.expect("BYE sip:bob@192.0.2.99:5080 SIP/2.0");
    assert_eq!((bye.header("CSeq"), bye.header("Reason")), ("2 BYE", "Q.850;cause=16"));
    assert!(bye.header("To").ends_with(";tag=tb"));
    bench.feed(B, &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
    assert_eq!(bench.forgotten, [leg]);
}

#[test]
fn identity_goes_out_as_ordered_and_in_our_own_domain() {
    let mut bench = Bench::default();
    let mut order = b_try(SDP_A);
    order.identity.asserted = Some("+4930100".into());
    order.identity.diversion = Some("not written: the header is given outright".into());
    order.identity.private = true;
    order.caller.host = "anonymous.invalid".into();
    order.caller.user = "anonymous".into();
    order.caller.display = String::new();
    bench.order(tandem_leg::LegId::outgoing(1), LegEvent::Try(Box::new(order)));
    let invite = bench.expect("INVITE");
    assert_eq!(invite.header("P-Asserted-Identity"), "<sip:+4930100@203.0.113.1>");
    assert_eq!(invite.header("Privacy"), "id");
    assert_eq!(invite.text.matches("Diversion:").count(), 1);
    assert!(invite.header("From").starts_with("<sip:anonymous@anonymous.invalid>;tag="));
    assert!(!invite.header("Contact").contains("4930100"));
    assert!(!invite.has("Remote-Party-ID"));
    bench.event();
    bench.feed(B, &reply(&invite, 486, "tb", "", ""));
    bench.expect("ACK");
    bench.event();
    bench.nothing_left();
}

#[test]
fn an_unanswered_invite_is_sent_at_the_exact_instants_and_fails_at_32_s() {
    let mut bench = Bench::default();
    let (_, invite) = bench.outgoing(SDP_A);
    bench.sent.push_front(invite);
    bench.run_to(31_999);
    assert_eq!(bench.instants("INVITE"), S_D1);
    assert!(bench.events.is_empty());
    bench.run_to(32_000);
    let event = bench.event();
    assert_eq!(event, LegEvent::Fail(Fail { cause: FailCause::Timeout, ..Fail::status(408) }));
    bench.nothing_left();
}

#[test]
fn other_requests_follow_the_list_and_every_4_s_after_a_provisional() {
    for provisional in [false, true] {
        let mut bench = Bench::default();
        let (leg, _) = bench.answered_outgoing();
        bench.order(leg, hang_up());
        let bye = bench.sent.front().unwrap().clone();
        if provisional {
            bench.run_to(600);
            bench.feed(B, &reply(&bye, 100, "", "", ""));
        }
        bench.run_to(31_999);
        let expected: Vec<u64> = if provisional {
            [0, 500].into_iter().chain((1..8).map(|n| 600 + 4_000 * n)).collect()
        } else {
            S_D1.into()
        };
        assert_eq!(bench.instants("BYE"), expected);
        assert_eq!(bench.e.counts().dialogs, 1);
        bench.run_to(32_000);
        assert_eq!(bench.e.counts().dialogs, 0, "the leg just goes");
        bench.nothing_left();
    }
}

#[test]
fn a_2xx_without_ack_is_repeated_and_then_the_leg_ends() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.order(leg, connect(SDP_B));
    let tag = bench.sent.front().unwrap().tag("To");
    // INVITEs that cross our 2xx are swallowed (RFC 6026), the 2xx keeps its own rhythm.
    bench.run_to(400);
    assert_eq!(bench.feed(A, &a_invite("z9hG4bKa1", 1, "", SDP_A)).outcome, Outcome::Retransmission);
    bench.run_to(31_999);
    assert_eq!(bench.instants("SIP/2.0 200"), S_D1);
    bench.quiet();
    bench.run_to(32_000);
    let bye = bench.expect("BYE sip:4930100@198.51.100.10:5062 SIP/2.0");
    assert_eq!(bye.header("Reason"), "SIP;cause=408;text=\"Session Timeout\", Q.850;cause=102");
    assert_eq!((bye.to.as_str(), bye.tag("From")), (A, tag));
    let LegEvent::Disconnect(end) = bench.event() else { panic!() };
    assert_eq!(end.cause, DisconnectCause::NoAck);
    bench.feed(A, &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
}

#[test]
fn a_refusal_is_repeated_until_ack_and_dropped_silently() {
    for acked in [false, true] {
        let mut bench = Bench::default();
        let (leg, _) = bench.incoming("", SDP_A);
        let mut order = Fail { retry_after_s: Some(30), ..Fail::status(486) };
        order.reason = tandem_leg::Reason::q850(17);
        bench.order(leg, LegEvent::Fail(order));
        let busy = bench.sent.front().unwrap().clone();
        assert_eq!((busy.header("Reason"), busy.header("Retry-After")), ("Q.850;cause=17", "30"));
        if acked {
            bench.run_to(1_000);
            let ack = a_request("ACK", "z9hG4bKa1", 1, &busy.tag("To"), "", "");
            bench.feed(A, &ack);
            bench.feed(A, &ack);
            // A delayed INVITE is not a second call.
            assert_eq!(bench.feed(A, &a_invite("z9hG4bKa1", 1, "", SDP_A)).outcome, Outcome::Retransmission);
            bench.run_to(31_999);
            assert_eq!(bench.instants("SIP/2.0 486"), [0, 500]);
        } else {
            bench.run_to(31_999);
            assert_eq!(bench.instants("SIP/2.0 486"), S_D1);
            bench.run_to(32_000);
            assert_eq!(bench.forgotten, [leg]);
        }
        bench.nothing_left();
    }
}

#[test]
fn a_configured_list_is_obeyed_by_new_transactions() {
    let mut bench = Bench::default();
    let mut config = config();
    config.resend = "0.2,0.3,1".parse().unwrap();
    bench.e.set_config(config);
    let (_, invite) = bench.outgoing("");
    bench.sent.push_front(invite);
    bench.run_to(1_699);
    assert_eq!(bench.instants("INVITE"), [0, 200, 500, 1_500]);
    bench.run_to(1_700);
    assert!(matches!(bench.event(), LegEvent::Fail(_)));
    bench.nothing_left();
}

#[test]
fn b_refuses_redirects_or_cannot_be_reached() {
    let mut bench = Bench::default();
    let (_, invite) = bench.outgoing(SDP_A);
    let busy = reply(&invite, 503, "tb", "Retry-After: 30 (full)\r\nReason: Q.850;cause=42\r\n", "");
    bench.feed(B, &busy);
    let ack = bench.expect("ACK sip:8613900000000@192.0.2.10:5060 SIP/2.0");
    assert_eq!(ack.header("Via"), invite.header("Via"), "the ACK to a refusal belongs to the transaction");
    assert!(ack.header("To").ends_with(";tag=tb"));
    let LegEvent::Fail(fail) = bench.event() else { panic!() };
    assert_eq!((fail.status, fail.retry_after_s, fail.reason.q850), (503, Some(30), Some(42)));
    bench.feed(B, &busy);
    assert!(bench.expect("ACK").summary.retransmission);

    let (_, invite) = bench.outgoing(SDP_A);
    bench.feed(B, &reply(&invite, 302, "tb", "Contact: <sip:55@h:5070>, <sip:56@192.0.2.4>\r\n", ""));
    bench.expect("ACK");
    let LegEvent::Redirect(redirect) = bench.event() else { panic!() };
    assert_eq!(redirect.status, 302);
    assert_eq!((redirect.contacts[0].user.as_str(), redirect.contacts[0].port), ("55", Some(5070)));
    assert_eq!(redirect.contacts[1].host, "192.0.2.4");

    bench.outgoing(SDP_A);
    bench.e.handle_unreachable(bench.now, tandem_leg::ListenerId(0), B.parse().unwrap());
    bench.drain();
    assert_eq!(bench.event(), LegEvent::Fail(Fail { cause: FailCause::Transport, ..Fail::status(503) }));
    bench.nothing_left();
    assert_eq!(bench.forgotten.len(), 3);
}

/// Milliseconds until the endpoint forgets another transaction.
fn fades_after(bench: &mut Bench) -> u64 {
    let (start, before) = (bench.now.millis(), bench.e.counts().transactions);
    while bench.e.counts().transactions == before {
        let due = bench.e.poll_timeout().expect("something is pending").millis();
        bench.run_to(due.max(bench.now.millis() + 1));
    }
    bench.now.millis() - start
}

#[test]
fn finished_transactions_absorb_for_the_time_of_their_letter() {
    // D: 3xx-6xx to our INVITE.
    let mut bench = Bench::default();
    let (_, invite) = bench.outgoing(SDP_A);
    bench.feed(B, &reply(&invite, 486, "tb", "", ""));
    bench.expect("ACK");
    bench.event();
    assert_eq!(fades_after(&mut bench), 32_000);
    bench.nothing_left();
    // M: 2xx to our INVITE; K: the response to our BYE.
    let mut bench = Bench::default();
    let (leg, _) = bench.answered_outgoing();
    bench.order(leg, hang_up());
    let bye = bench.expect("BYE");
    bench.feed(B, &reply(&bye, 200, "", "", ""));
    assert_eq!(fades_after(&mut bench), 5_000);
    assert_eq!(fades_after(&mut bench), 27_000);
    bench.nothing_left();
    // L: our 2xx; J: our 200 to their BYE.
    let mut bench = Bench::default();
    let (_, tag) = bench.answered_incoming();
    bench.run_to(1_000);
    bench.feed(A, &a_request("BYE", "z9hG4bKb", 2, &tag, "", ""));
    bench.expect("SIP/2.0 200");
    bench.event();
    assert_eq!(fades_after(&mut bench), 31_000);
    assert_eq!(fades_after(&mut bench), 1_000);
    bench.nothing_left();
    // I: after the ACK to our refusal.
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.order(leg, fail(486));
    let tag = bench.expect("SIP/2.0 486").tag("To");
    bench.feed(A, &a_request("ACK", "z9hG4bKa1", 1, &tag, "", ""));
    assert_eq!(fades_after(&mut bench), 32_000);
    bench.nothing_left();
}
