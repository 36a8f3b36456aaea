//! Changes of a running session and what else happens in a dialog (RFC 3261 12-14, RFC 3311; call-flows.md 1c, 9, 10).

use tandem_leg::{Confirm, DisconnectCause, Info, LegEvent, LegId, Update, UpdateFailed, UpdateMethod, Updated};
use tandem_sip::Outcome;

use crate::support::*;

fn change(method: UpdateMethod, sdp: &str) -> LegEvent {
    LegEvent::Update(Update { method, sdp: some(sdp) })
}

fn updated(sdp: &str) -> LegEvent {
    LegEvent::Updated(Updated { sdp: some(sdp) })
}

/// Ends a standing a-leg from their side and checks that nothing is left.
fn a_hangs_up(bench: &mut Bench, tag: &str, cseq: u32) {
    bench.feed(A, &a_request("BYE", "z9hG4bKend", cseq, tag, "", ""));
    bench.expect("SIP/2.0 200 OK");
    bench.event();
    bench.nothing_left();
}

fn b_hangs_up(bench: &mut Bench, invite: &Sent, cseq: u32) {
    bench.feed(B, &b_request(invite, "BYE", "z9hG4bKend", cseq, "", ""));
    bench.expect("SIP/2.0 200 OK");
    bench.event();
    bench.nothing_left();
}

#[test]
fn a_re_invite_of_theirs_is_answered_when_the_call_room_decided() {
    let mut bench = Bench::default();
    let (leg, tag) = bench.answered_incoming();
    let moved = "Contact: <sip:new@198.51.100.77:5099>\r\n";
    let re_invite = a_request("INVITE", "z9hG4bKr", 2, &tag, "", SDP_B)
        .replace("Contact: <sip:4930100@198.51.100.10:5062>\r\n", moved);
    bench.feed(A, &re_invite);
    bench.expect("SIP/2.0 100");
    assert_eq!(bench.event(), change(UpdateMethod::Invite, SDP_B));
    bench.feed(A, &re_invite);
    assert!(bench.expect("SIP/2.0 100").summary.retransmission);
    bench.order(leg, updated(SDP_A));
    let ok = bench.expect("SIP/2.0 200 OK");
    assert_eq!((ok.header("CSeq"), ok.body()), ("2 INVITE", SDP_A));
    bench.run_for(500);
    bench.expect("SIP/2.0 200 OK");
    bench.feed(A, &a_request("ACK", "z9hG4bKs", 2, &tag, "", ""));
    assert_eq!(bench.event(), LegEvent::Confirm(Confirm { sdp: None }));

    // Refused: the session and the target stay.
    bench.feed(A, &a_request("INVITE", "z9hG4bKt", 3, &tag, "", SDP_B));
    bench.expect("SIP/2.0 100");
    bench.event();
    bench.order(leg, LegEvent::UpdateFailed(UpdateFailed { status: 488, retry_after_s: None }));
    bench.expect("SIP/2.0 488");
    bench.feed(A, &a_request("ACK", "z9hG4bKt", 3, &tag, "", ""));
    bench.order(leg, hang_up());
    let bye = bench.expect("BYE sip:new@198.51.100.77:5099 SIP/2.0");
    assert_eq!(bye.to, A, "an a-leg is reached at the socket it called from");
    bench.feed(A, &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
}

#[test]
fn a_re_invite_of_theirs_without_ack_ends_the_call() {
    let mut bench = Bench::default();
    let (leg, tag) = bench.answered_incoming();
    bench.feed(A, &a_request("INVITE", "z9hG4bKr", 2, &tag, "", SDP_A));
    bench.expect("SIP/2.0 100");
    bench.event();
    bench.order(leg, updated(SDP_B));
    bench.run_for(31_999);
    assert_eq!(bench.instants("SIP/2.0 200"), S_D1);
    bench.run_for(1);
    let bye = bench.expect("BYE");
    let LegEvent::Disconnect(end) = bench.event() else { panic!() };
    assert_eq!(end.cause, DisconnectCause::NoAck);
    bench.feed(A, &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
}

#[test]
fn a_second_invite_before_the_first_is_decided_is_500() {
    let mut bench = Bench::default();
    let (leg, tag) = bench.answered_incoming();
    bench.feed(A, &a_request("INVITE", "z9hG4bKr", 2, &tag, "", SDP_A));
    bench.expect("SIP/2.0 100");
    bench.event();
    bench.feed(A, &a_request("INVITE", "z9hG4bKs", 3, &tag, "", SDP_A));
    let later = bench.expect("SIP/2.0 500");
    assert!(later.header("Retry-After").parse::<u32>().unwrap() <= 10);
    bench.feed(A, &a_request("ACK", "z9hG4bKs", 3, &tag, "", ""));
    bench.feed(A, &a_request("UPDATE", "z9hG4bKu", 4, &tag, "", SDP_A));
    assert!(bench.expect("SIP/2.0 500").has("Retry-After"));
    bench.order(leg, updated(SDP_B));
    bench.expect("SIP/2.0 200 OK");
    // Not acknowledged yet: still too early.
    bench.feed(A, &a_request("INVITE", "z9hG4bKv", 5, &tag, "", SDP_A));
    bench.expect("SIP/2.0 500");
    bench.feed(A, &a_request("ACK", "z9hG4bKv", 5, &tag, "", ""));
    bench.feed(A, &a_request("ACK", "z9hG4bKw", 2, &tag, "", ""));
    assert!(matches!(bench.event(), LegEvent::Confirm(_)));
    a_hangs_up(&mut bench, &tag, 6);
}

#[test]
fn a_re_invite_of_ours() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.answered_outgoing();
    bench.order(leg, change(UpdateMethod::Invite, SDP_B));
    let re_invite = bench.expect("INVITE sip:b@192.0.2.10:5060 SIP/2.0");
    assert_eq!((re_invite.header("CSeq"), re_invite.body()), ("2 INVITE", SDP_B));
    bench.feed(B, &reply(&re_invite, 100, "", "", ""));
    let ok = reply(&re_invite, 200, "", "Contact: <sip:moved@192.0.2.10:5090>\r\n", SDP_A);
    bench.feed(B, &ok);
    let ack = bench.expect("ACK sip:moved@192.0.2.10:5090 SIP/2.0");
    assert_eq!(ack.header("CSeq"), "2 ACK");
    assert_eq!(bench.event(), updated(SDP_A));
    bench.feed(B, &ok);
    assert_eq!(bench.expect("ACK").text, ack.text);

    bench.order(leg, change(UpdateMethod::Invite, SDP_B));
    let refused = bench.expect("INVITE");
    bench.feed(B, &reply(&refused, 488, "", "", ""));
    bench.expect("ACK");
    assert_eq!(bench.event(), LegEvent::UpdateFailed(UpdateFailed { status: 488, retry_after_s: None }));
    b_hangs_up(&mut bench, &invite, 1);
}

#[test]
fn update_both_ways() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.answered_outgoing();
    bench.order(leg, change(UpdateMethod::Update, SDP_B));
    let update = bench.expect("UPDATE");
    bench.feed(B, &reply(&update, 200, "", "Contact: <sip:b@192.0.2.10:5060>\r\n", SDP_A));
    assert_eq!(bench.event(), updated(SDP_A));

    bench.feed(B, &b_request(&invite, "UPDATE", "z9hG4bKu", 1, "", SDP_B));
    assert_eq!(bench.event(), change(UpdateMethod::Update, SDP_B));
    bench.quiet();
    bench.order(leg, updated(SDP_A));
    assert_eq!(bench.expect("SIP/2.0 200 OK").body(), SDP_A);
    // A pure refresh is nobody's business but ours.
    bench.feed(B, &b_request(&invite, "UPDATE", "z9hG4bKv", 2, "", ""));
    let ok = bench.expect("SIP/2.0 200 OK");
    assert!(ok.has("Contact") && ok.body().is_empty());
    bench.quiet();
    b_hangs_up(&mut bench, &invite, 3);
}

#[test]
fn a_far_side_without_update_gets_a_re_invite() {
    let mut bench = Bench::default();
    let (leg, tag) = bench.answered_incoming();
    bench.order(leg, change(UpdateMethod::Update, SDP_B));
    let re_invite = bench.expect("INVITE sip:4930100@198.51.100.10:5062 SIP/2.0");
    bench.feed(A, &reply(&re_invite, 200, "", "Allow: UPDATE\r\n", SDP_A));
    bench.expect("ACK");
    assert_eq!(bench.event(), updated(SDP_A));
    bench.order(leg, change(UpdateMethod::Update, SDP_B));
    let update = bench.expect("UPDATE");
    bench.feed(A, &reply(&update, 500, "", "Retry-After: 3\r\n", ""));
    assert_eq!(bench.event(), LegEvent::UpdateFailed(UpdateFailed { status: 500, retry_after_s: Some(3) }));
    a_hangs_up(&mut bench, &tag, 2);
}

#[test]
fn a_delayed_offer_goes_through_on_both_legs() {
    let mut bench = Bench::default();
    let (leg, order) = bench.incoming("", "");
    assert_eq!(order.sdp, None);
    bench.order(leg, connect(SDP_B));
    let tag = bench.expect("SIP/2.0 200 OK").tag("To");
    bench.feed(A, &a_request("ACK", "z9hG4bKk", 1, &tag, "", SDP_A));
    assert_eq!(bench.event(), LegEvent::Confirm(Confirm { sdp: some(SDP_A) }));

    let (b, invite) = bench.outgoing("");
    assert!(invite.body().is_empty());
    let ok = reply(&invite, 200, "tb", "Contact: <sip:b@192.0.2.10:5060>\r\n", SDP_B);
    bench.feed(B, &ok);
    let LegEvent::Connect(connected) = bench.event() else { panic!() };
    assert_eq!(connected.sdp, some(SDP_B));
    bench.quiet();
    bench.feed(B, &ok);
    bench.quiet();
    bench.order(b, LegEvent::Confirm(Confirm { sdp: some(SDP_A) }));
    let ack = bench.expect("ACK sip:b@192.0.2.10:5060 SIP/2.0");
    assert_eq!(ack.body(), SDP_A);
    bench.feed(B, &ok);
    assert_eq!(bench.expect("ACK").text, ack.text);

    // The same in a re-INVITE, theirs and ours.
    bench.feed(A, &a_request("INVITE", "z9hG4bKr", 2, &tag, "", ""));
    bench.expect("SIP/2.0 100");
    assert_eq!(bench.event(), change(UpdateMethod::Invite, ""));
    bench.order(b, change(UpdateMethod::Invite, ""));
    let re_invite = bench.expect("INVITE");
    assert!(re_invite.body().is_empty());
    bench.feed(B, &reply(&re_invite, 200, "", "", SDP_B));
    assert_eq!(bench.event(), updated(SDP_B));
    bench.quiet();
    bench.order(leg, updated(SDP_B));
    bench.expect("SIP/2.0 200 OK");
    bench.feed(A, &a_request("ACK", "z9hG4bKs", 2, &tag, "", SDP_A));
    assert_eq!(bench.event(), LegEvent::Confirm(Confirm { sdp: some(SDP_A) }));
    bench.order(b, LegEvent::Confirm(Confirm { sdp: some(SDP_A) }));
    assert_eq!(bench.expect("ACK").header("CSeq"), "2 ACK");

    b_hangs_up_and(&mut bench, &invite);
    a_hangs_up(&mut bench, &tag, 3);
}

fn b_hangs_up_and(bench: &mut Bench, invite: &Sent) {
    bench.feed(B, &b_request(invite, "BYE", "z9hG4bKend", 1, "", ""));
    bench.expect("SIP/2.0 200 OK");
    bench.event();
}

#[test]
fn a_delayed_offer_given_up_is_acknowledged_and_hung_up() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.outgoing("");
    bench.feed(B, &reply(&invite, 200, "tb", "Contact: <sip:b@192.0.2.10:5060>\r\n", SDP_B));
    bench.event();
    bench.order(leg, hang_up());
    assert!(bench.expect("ACK").body().is_empty());
    let bye = bench.expect("BYE");
    bench.feed(B, &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
}

#[test]
fn a_delayed_offer_that_is_lost_before_its_answer_is_acknowledged_and_hung_up() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.outgoing("");
    bench.feed(B, &reply(&invite, 200, "tb", "Contact: <sip:b@192.0.2.10:5060>\r\n", SDP_B));
    bench.event();
    bench.order(leg, LegEvent::Info(Info { content_type: "text/plain".into(), body: b"5".to_vec() }));
    let info = bench.expect("INFO");
    bench.feed(B, &reply(&info, 481, "", "", ""));
    assert!(bench.expect("ACK").body().is_empty());
    let bye = bench.expect("BYE");
    bench.event();
    bench.feed(B, &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
}

#[test]
fn a_2xx_without_the_offer_that_was_asked_for_is_acknowledged() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.answered_outgoing();
    bench.order(leg, change(UpdateMethod::Invite, ""));
    let ours = bench.expect("INVITE");
    bench.feed(B, &reply(&ours, 200, "", "", ""));
    bench.expect("ACK");
    assert_eq!(bench.event(), updated(""));
    // The way is free for the next change.
    bench.order(leg, change(UpdateMethod::Invite, SDP_A));
    let ours = bench.expect("INVITE");
    bench.feed(B, &reply(&ours, 200, "", "", SDP_B));
    bench.expect("ACK");
    assert_eq!(bench.event(), updated(SDP_B));
    b_hangs_up(&mut bench, &invite, 1);
}

#[test]
fn their_change_while_ours_runs_is_491() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.answered_outgoing();
    bench.order(leg, change(UpdateMethod::Invite, SDP_A));
    let ours = bench.expect("INVITE");
    bench.feed(B, &b_request(&invite, "INVITE", "z9hG4bKr", 1, "", SDP_B));
    bench.expect("SIP/2.0 491");
    bench.feed(B, &b_request(&invite, "ACK", "z9hG4bKr", 1, "", ""));
    bench.feed(B, &b_request(&invite, "UPDATE", "z9hG4bKu", 2, "", SDP_B));
    bench.expect("SIP/2.0 491");
    bench.feed(B, &reply(&ours, 200, "", "", SDP_B));
    bench.expect("ACK");
    assert_eq!(bench.event(), updated(SDP_B));
    // And the other way round: the call room's order comes while theirs is undecided.
    bench.feed(B, &b_request(&invite, "INVITE", "z9hG4bKs", 3, "", SDP_B));
    bench.expect("SIP/2.0 100");
    bench.event();
    bench.order(leg, change(UpdateMethod::Invite, SDP_A));
    assert_eq!(bench.event(), LegEvent::UpdateFailed(UpdateFailed { status: 491, retry_after_s: None }));
    bench.order(leg, updated(SDP_A));
    bench.expect("SIP/2.0 200 OK");
    bench.feed(B, &b_request(&invite, "ACK", "z9hG4bKt", 3, "", ""));
    bench.event();
    b_hangs_up(&mut bench, &invite, 4);
}

/// Runs into glare until the change is given up; returns the waits before the retries.
fn glare_waits(bench: &mut Bench, leg: LegId, from: &str) -> Vec<u64> {
    bench.order(leg, change(UpdateMethod::Invite, SDP_B));
    let mut waits = Vec::new();
    loop {
        let invite = bench.expect("INVITE");
        bench.feed(from, &reply(&invite, 491, "", "", ""));
        bench.expect("ACK");
        if !bench.events.is_empty() {
            assert_eq!(bench.event(), LegEvent::UpdateFailed(UpdateFailed { status: 491, retry_after_s: None }));
            return waits;
        }
        let start = bench.now.millis();
        while bench.sent.is_empty() {
            bench.run_for(1);
            assert!(bench.now.millis() < start + 5_000, "no retry");
        }
        waits.push(bench.now.millis() - start);
    }
}

#[test]
fn our_change_answered_491_is_tried_again_three_times_in_the_window_of_the_leg() {
    let mut seen = Vec::new();
    for round in 0..20 {
        let mut config = config();
        config.seed = [round; 32];
        let mut bench = Bench::new(config);
        let (leg, invite) = bench.answered_outgoing();
        let waits = glare_waits(&mut bench, leg, B);
        assert_eq!(waits.len(), 3);
        assert!(waits.iter().all(|w| (2_100..=4_000).contains(w) && w % 10 == 0), "{waits:?}");
        seen.extend(waits);
        b_hangs_up(&mut bench, &invite, 1);

        let (leg, tag) = bench.answered_incoming();
        let waits = glare_waits(&mut bench, leg, A);
        assert_eq!(waits.len(), 3);
        assert!(waits.iter().all(|w| *w <= 2_001), "{waits:?}");
        a_hangs_up(&mut bench, &tag, 2);
    }
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 20, "the waits are drawn");
}

#[test]
fn an_order_before_their_ack_waits_for_it() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.order(leg, connect(SDP_B));
    let tag = bench.expect("SIP/2.0 200 OK").tag("To");
    bench.order(leg, change(UpdateMethod::Invite, SDP_B));
    bench.quiet();
    bench.feed(A, &a_request("ACK", "z9hG4bKk", 1, &tag, "", ""));
    bench.event();
    let re_invite = bench.expect("INVITE");
    bench.feed(A, &reply(&re_invite, 200, "", "", SDP_A));
    bench.expect("ACK");
    bench.event();
    a_hangs_up(&mut bench, &tag, 2);
}

#[test]
fn an_order_that_waited_for_the_ack_does_not_run_into_their_update() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.order(leg, connect(SDP_B));
    let tag = bench.expect("SIP/2.0 200 OK").tag("To");
    bench.order(leg, change(UpdateMethod::Invite, SDP_B));
    bench.feed(A, &a_request("UPDATE", "z9hG4bKu", 2, &tag, "", SDP_A));
    assert_eq!(bench.event(), change(UpdateMethod::Update, SDP_A));
    bench.feed(A, &a_request("ACK", "z9hG4bKk", 1, &tag, "", ""));
    bench.event();
    bench.run_for(10_000);
    bench.quiet();
    bench.order(leg, updated(SDP_B));
    bench.expect("SIP/2.0 200 OK");
    let start = bench.now.millis();
    while bench.sent.is_empty() && bench.now.millis() <= start + 2_000 {
        bench.run_for(1);
    }
    let re_invite = bench.expect("INVITE");
    bench.feed(A, &reply(&re_invite, 200, "", "", SDP_A));
    bench.expect("ACK");
    bench.event();
    a_hangs_up(&mut bench, &tag, 3);
}

#[test]
fn a_change_answered_481_or_by_silence_ends_the_call() {
    for silence in [false, true] {
        for method in [UpdateMethod::Invite, UpdateMethod::Update] {
            let mut bench = Bench::default();
            let (leg, _) = bench.answered_outgoing();
            bench.order(leg, change(method, SDP_B));
            if silence {
                bench.run_for(32_000);
                assert_eq!(bench.sent.iter().filter(|s| s.summary.sdp.is_some()).count(), S_D1.len());
                bench.sent.retain(|s| s.summary.sdp.is_none());
            } else {
                let request = bench.sent.pop_front().unwrap();
                bench.feed(B, &reply(&request, 481, "", "", ""));
                if method == UpdateMethod::Invite {
                    bench.expect("ACK");
                }
            }
            let LegEvent::Disconnect(end) = bench.event() else { panic!() };
            assert_eq!(end.cause, DisconnectCause::Lost);
            let bye = bench.expect("BYE");
            bench.feed(B, &reply(&bye, 481, "", "", ""));
            bench.nothing_left();
        }
    }
}

#[test]
fn the_end_of_a_call_closes_every_open_change() {
    // Theirs undecided.
    let mut bench = Bench::default();
    let (leg, tag) = bench.answered_incoming();
    bench.feed(A, &a_request("INVITE", "z9hG4bKr", 2, &tag, "", SDP_A));
    bench.expect("SIP/2.0 100");
    bench.event();
    bench.order(leg, hang_up());
    bench.expect("SIP/2.0 487");
    let bye = bench.expect("BYE");
    bench.feed(A, &a_request("ACK", "z9hG4bKr", 2, &tag, "", ""));
    bench.feed(A, &a_request("INFO", "z9hG4bKi", 3, &tag, "", ""));
    bench.expect("SIP/2.0 481");
    bench.feed(A, &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
    // Ours on its way, answered only after the end.
    let mut bench = Bench::default();
    let (leg, invite) = bench.answered_outgoing();
    bench.order(leg, change(UpdateMethod::Invite, SDP_A));
    let ours = bench.expect("INVITE");
    bench.feed(B, &reply(&ours, 100, "", "", ""));
    bench.feed(B, &b_request(&invite, "BYE", "z9hG4bKb", 1, "", ""));
    bench.expect("SIP/2.0 200 OK");
    bench.event();
    bench.feed(B, &reply(&ours, 200, "", "", SDP_B));
    assert_eq!(bench.expect("ACK").header("CSeq"), "2 ACK");
    bench.nothing_left();
    // Ours without offer, answered with one that nobody will answer.
    let mut bench = Bench::default();
    let (leg, _) = bench.answered_outgoing();
    bench.order(leg, change(UpdateMethod::Invite, ""));
    let ours = bench.expect("INVITE");
    bench.feed(B, &reply(&ours, 200, "", "", SDP_B));
    bench.event();
    bench.order(leg, hang_up());
    assert_eq!(bench.expect("ACK").header("CSeq"), "2 ACK");
    let bye = bench.expect("BYE");
    bench.feed(B, &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
    // Ours waiting after a 491.
    let mut bench = Bench::default();
    let (leg, invite) = bench.answered_outgoing();
    bench.order(leg, change(UpdateMethod::Invite, SDP_A));
    let ours = bench.expect("INVITE");
    bench.feed(B, &reply(&ours, 491, "", "", ""));
    bench.expect("ACK");
    b_hangs_up(&mut bench, &invite, 1);
}

#[test]
fn info_and_options_inside_a_dialog() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.answered_outgoing();
    let dtmf = "Content-Type: application/dtmf-relay\r\nContent-Length: 10\r\n\r\nSignal=5\r\n";
    let info = b_request(&invite, "INFO", "z9hG4bKi", 1, "", "").replace("Content-Length: 0\r\n\r\n", dtmf);
    bench.feed(B, &info);
    bench.expect("SIP/2.0 200 OK");
    let expected = Info { content_type: "application/dtmf-relay".into(), body: b"Signal=5\r\n".to_vec() };
    assert_eq!(bench.event(), LegEvent::Info(expected.clone()));
    bench.feed(B, &info);
    bench.expect("SIP/2.0 200 OK");
    bench.quiet();
    bench.feed(B, &b_request(&invite, "OPTIONS", "z9hG4bKo", 2, "", ""));
    assert!(bench.expect("SIP/2.0 200 OK").header("Allow").contains("UPDATE"));
    bench.feed(B, &b_request(&invite, "REFER", "z9hG4bKp", 3, "", ""));
    assert!(bench.expect("SIP/2.0 405").has("Allow"));
    bench.order(leg, LegEvent::Info(expected));
    let ours = bench.expect("INFO");
    assert_eq!(ours.body(), "Signal=5\r\n");
    bench.feed(B, &reply(&ours, 200, "", "", ""));
    // Out of order, and a number used twice.
    for cseq in [2, 3] {
        bench.feed(B, &b_request(&invite, "INFO", &format!("z9hG4bKq{cseq}"), cseq, "", ""));
        bench.expect("SIP/2.0 500");
    }
    // Not this dialog.
    let wrong = b_request(&invite, "INFO", "z9hG4bKr", 9, "", "").replace("tag=tb", "tag=other");
    assert_eq!(bench.feed(B, &wrong).outcome, Outcome::Answered(481));
    bench.expect("SIP/2.0 481");
    b_hangs_up(&mut bench, &invite, 10);
}

#[test]
fn early_updates_without_an_answered_offer() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.order(leg, ring(183));
    let tag = bench.expect("SIP/2.0 183").tag("To");
    bench.feed(A, &a_request("UPDATE", "z9hG4bKu", 2, &tag, "", SDP_A));
    assert!(bench.expect("SIP/2.0 500").has("Retry-After"));
    bench.order(leg, fail(486));
    bench.expect("SIP/2.0 486");
    bench.feed(A, &a_request("ACK", "z9hG4bKa1", 1, &tag, "", ""));

    let (leg, invite) = bench.outgoing(SDP_A);
    bench.feed(B, &reply(&invite, 183, "tb", "", SDP_B));
    bench.event();
    bench.feed(B, &b_request(&invite, "UPDATE", "z9hG4bKv", 1, "", SDP_B));
    bench.expect("SIP/2.0 491");
    bench.feed(B, &b_request(&invite, "UPDATE", "z9hG4bKw", 2, "", ""));
    bench.expect("SIP/2.0 200 OK");
    bench.feed(B, &reply(&invite, 486, "tb", "", ""));
    bench.expect("ACK");
    bench.event();
    let _ = leg;
    bench.nothing_left();
}

#[test]
fn record_routes_become_the_route_set_of_each_side() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\n", SDP_A);
    bench.order(leg, connect(SDP_B));
    let ok = bench.expect("SIP/2.0 200 OK");
    assert!(ok.text.contains("Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\n"));
    bench.feed(A, &a_request("ACK", "z9hG4bKk", 1, &ok.tag("To"), "", ""));
    bench.event();
    bench.order(leg, hang_up());
    let bye = bench.expect("BYE sip:4930100@198.51.100.10:5062 SIP/2.0");
    assert!(bye.text.contains("Route: <sip:p1;lr>\r\nRoute: <sip:p2;lr>\r\n"));
    assert_eq!(bye.to, A);
    bench.feed(A, &reply(&bye, 200, "", "", ""));

    let (leg, invite) = bench.outgoing(SDP_A);
    let routes = "Record-Route: <sip:p2;lr>\r\nRecord-Route: <sip:192.0.2.50:5066;lr>\r\nContact: <sip:b@10.0.0.1>\r\n";
    bench.feed(B, &reply(&invite, 200, "tb", routes, SDP_B));
    let ack = bench.expect("ACK sip:b@10.0.0.1 SIP/2.0");
    assert!(ack.text.contains("Route: <sip:192.0.2.50:5066;lr>\r\nRoute: <sip:p2;lr>\r\n"));
    assert_eq!(ack.to, "192.0.2.50:5066");
    bench.event();
    bench.order(leg, hang_up());
    let bye = bench.expect("BYE sip:b@10.0.0.1 SIP/2.0");
    assert_eq!(bye.to, "192.0.2.50:5066");
    bench.feed("192.0.2.50:5066", &reply(&bye, 200, "", "", ""));
    bench.nothing_left();
}
