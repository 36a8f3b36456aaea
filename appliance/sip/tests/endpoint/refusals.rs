//! What is refused or ignored without keeping anything, and how answers find their way (RFC 3261 8.2, 17.2.3, 18.2;
//! RFC 3581; spec signalling.md 2, 3, 5.5, 6.3).

use tandem_leg::{LegEvent, LegId};
use tandem_sip::scan::ScanError;
use tandem_sip::{Limits, MessageKind, OrderError, Outcome};

use crate::support::*;

#[test]
fn invites_that_never_become_calls() {
    let with = |extra: &str| a_invite("z9hG4bKa1", 1, extra, SDP_A);
    let long = "INVITE sip:8613900000000@203.0.113.1 ";
    let cases = [
        (with("Require: 100rel, foo\r\n"), "SIP/2.0 420", "Unsupported: 100rel\r\nUnsupported: foo\r\n"),
        (with("Require: replaces\r\nReplaces: a;to-tag=b;from-tag=c\r\n"), "SIP/2.0 420", "Unsupported: replaces\r\n"),
        (with("").replace("Max-Forwards: 70", "Max-Forwards: 0"), "SIP/2.0 483", ""),
        (with("").replace("application/sdp", "application/foo"), "SIP/2.0 415", "Accept: application/sdp"),
        (with("").replace(long, "INVITE urn:service:sos "), "SIP/2.0 416", ""),
        (with("").replace(long, "INVITE sip:@ "), "SIP/2.0 400", ""),
        (with("").replace("INVITE ", "FOO "), "SIP/2.0 501", "Allow: INVITE"),
        (with("").replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia").replacen("SIP/3.0", "SIP/7.0", 1), "SIP/2.0 505", ""),
        (with("").replace("CSeq: 1 INVITE", "CSeq: x"), "SIP/2.0 400", ""),
    ];
    for (text, status, contains) in cases {
        let mut bench = Bench::default();
        let text = if status.ends_with("501") { text.replace("1 INVITE", "1 FOO") } else { text };
        bench.feed(A, &text);
        let refusal = bench.expect(status);
        assert!(refusal.text.contains(contains), "{}", refusal.text);
        assert!(!refusal.tag("To").is_empty());
        // Again: the very same answer, and its ACK disturbs nobody.
        bench.feed(A, &text);
        assert_eq!(bench.expect(status).text, refusal.text);
        let ack = a_request("ACK", "z9hG4bKa1", 1, &refusal.tag("To"), "", "");
        assert_eq!(bench.feed(A, &ack).outcome, Outcome::Stray);
        bench.nothing_left();
        assert!(bench.forgotten.is_empty());
    }
}

/// RFC 3261 sections 7 and 18.3: over UDP a message ends with the datagram, and its headers with an empty line.
#[test]
fn a_message_cut_behind_a_header_line_is_no_call() {
    let mut bench = Bench::default();
    let invite = a_invite("z9hG4bKa1", 1, "", SDP_A);
    let lines: Vec<&str> = invite.split("\r\n\r\n").next().unwrap().split("\r\n").collect();
    let cut_to = |count: usize| lines[..count].iter().map(|line| format!("{line}\r\n")).collect::<String>();
    let malformed = Outcome::Malformed(ScanError::Truncated);
    assert_eq!(bench.feed(A, &cut_to(lines.len())).outcome, malformed);
    bench.expect("SIP/2.0 400");
    for count in 1..lines.len() {
        assert_eq!(bench.feed(A, &cut_to(count)).outcome, malformed, "{count} lines");
        // 400 as soon as a Via and a CSeq are there to answer by.
        let has = |name: &str| lines[..count].iter().any(|line| line.starts_with(name));
        if has("Via:") && has("CSeq:") {
            bench.expect("SIP/2.0 400");
        }
        bench.quiet();
    }
    bench.nothing_left();

    // A response is dropped and counted, and taken when it comes again whole.
    let (leg, sent) = bench.outgoing(SDP_A);
    let busy = reply(&sent, 486, "tb", "", "");
    let cut = format!("{}\r\n", busy.split("\r\n\r\n").next().unwrap());
    let received = bench.feed(B, &cut);
    assert_eq!((received.leg, received.outcome), (None, malformed));
    bench.quiet();
    assert_eq!(bench.feed(B, &busy).leg, Some(leg));
    bench.expect("ACK");
    assert!(matches!(bench.event(), LegEvent::Fail(_)));
    bench.nothing_left();
}

#[test]
fn replaces_that_is_not_required_is_ignored() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("Replaces: a;to-tag=b;from-tag=c\r\nProxy-Require: foo\r\n", SDP_A);
    bench.order(leg, fail(404));
    let tag = bench.expect("SIP/2.0 404").tag("To");
    bench.feed(A, &a_request("ACK", "z9hG4bKa1", 1, &tag, "", ""));
    bench.nothing_left();
}

#[test]
fn the_second_branch_of_a_merged_request_is_482() {
    let mut bench = Bench::default();
    let (leg, _) = bench.incoming("", SDP_A);
    bench.feed(A, &a_invite("z9hG4bKother", 1, "", SDP_A));
    bench.expect("SIP/2.0 482");
    bench.order(leg, fail(486));
    let tag = bench.expect("SIP/2.0 486").tag("To");
    bench.feed(A, &a_request("ACK", "z9hG4bKa1", 1, &tag, "", ""));
    // A new request of the same call (higher CSeq, as after a challenge) is a new one.
    bench.feed(A, &a_invite("z9hG4bKnext", 2, "", SDP_A));
    bench.expect("SIP/2.0 100");
    let (leg, _) = bench.events.pop_front().unwrap();
    bench.order(leg, fail(486));
    let tag = bench.expect("SIP/2.0 486").tag("To");
    bench.feed(A, &a_request("ACK", "z9hG4bKnext", 2, &tag, "", ""));
    bench.nothing_left();
}

#[test]
fn methods_outside_a_dialog() {
    let mut bench = Bench::default();
    for (method, status) in [
        ("OPTIONS", "SIP/2.0 200"),
        ("BYE", "SIP/2.0 481"),
        ("UPDATE", "SIP/2.0 481"),
        ("INFO", "SIP/2.0 481"),
        ("PRACK", "SIP/2.0 481"),
        ("REGISTER", "SIP/2.0 405"),
        ("SUBSCRIBE", "SIP/2.0 405"),
        ("MESSAGE", "SIP/2.0 405"),
        ("BREW", "SIP/2.0 501"),
    ] {
        bench.feed(A, &a_request(method, "z9hG4bKm", 1, "", "", ""));
        let answer = bench.expect(status);
        if method == "OPTIONS" {
            assert!(answer.has("Allow") && answer.has("Accept") && answer.has("Supported"));
        }
        if status.ends_with("405") {
            assert!(answer.header("Allow").contains("INVITE"));
        }
        assert_eq!(answer.leg, None);
    }
    // A dialog that is none of ours.
    bench.feed(A, &a_request("BYE", "z9hG4bKm", 1, "t00-0123456789abcdef", "", ""));
    bench.expect("SIP/2.0 481");
    bench.nothing_left();
}

#[test]
fn strangers_are_refused_or_ignored_as_configured() {
    let stranger = "10.9.8.7:5060";
    let mut bench = Bench::default();
    for method in ["OPTIONS", "REGISTER", "MESSAGE"] {
        bench.feed(stranger, &a_request(method, "z9hG4bKm", 1, "", "", ""));
        bench.expect("SIP/2.0 403");
    }
    let mut silent = config();
    silent.reply_unauthorized = false;
    bench.e.set_config(silent);
    for method in ["OPTIONS", "REGISTER", "BYE", "CANCEL", "FOO"] {
        assert_eq!(bench.feed(stranger, &a_request(method, "z9hG4bKn", 1, "", "", "")).outcome, Outcome::Unknown);
        assert_eq!(bench.feed(stranger, &a_request(method, "z9hG4bKo", 1, "x", "", "")).outcome, Outcome::Unknown);
    }
    assert_eq!(bench.feed(stranger, &a_invite("z9hG4bKp", 1, "", SDP_A)).outcome, Outcome::Unknown);
    bench.feed(stranger, &a_invite("z9hG4bKp", 1, "", SDP_A).replace("CSeq: 1", "CSeq: q"));
    bench.nothing_left();
    // A known source is served all the same.
    bench.feed(A, &a_request("OPTIONS", "z9hG4bKq", 1, "", "", ""));
    bench.expect("SIP/2.0 200");
}

#[test]
fn a_stranger_costs_one_403_and_no_state() {
    let stranger = "10.9.8.7:5060";
    let mut careful = config();
    careful.refuse_unknown = true;
    let mut bench = Bench::default();
    bench.e.set_config(careful);
    bench.feed(stranger, &a_invite("z9hG4bKs", 1, "", SDP_A));
    // No 100 and no retransmission; the call room records the illegal call.
    bench.expect("SIP/2.0 403");
    assert!(matches!(bench.event(), LegEvent::Try(_)));
    bench.run_for(40_000);
    bench.quiet();
    bench.nothing_left();
    // A peer is served.
    let mut careful = config();
    careful.refuse_unknown = true;
    bench.e.set_config(careful);
    bench.feed(A, &a_invite("z9hG4bKt", 1, "", SDP_A));
    bench.expect("SIP/2.0 100");
    assert_eq!(bench.e.counts().legs, 1);
}

#[test]
fn noise_is_named_and_dropped() {
    let mut bench = Bench::default();
    for (bytes, outcome) in [
        ("", Outcome::KeepAlive),
        ("\r\n", Outcome::KeepAlive),
        ("abcd", Outcome::KeepAlive),
        ("HELLO WORLD\r\n\r\n", Outcome::Malformed(ScanError::NotSip)),
        ("SIP/2.0 999 X\r\n\r\n", Outcome::Malformed(ScanError::StatusLine)),
        (
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK00-0000000000000000\r\nFrom: <sip:a>;tag=1\r\n\
          To: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n",
            Outcome::Stray,
        ),
    ] {
        assert_eq!(bench.feed(A, bytes).outcome, outcome, "{bytes:?}");
        bench.quiet();
    }
    assert_eq!(bench.feed(A, "\r\n\r\n").outcome, Outcome::KeepAlive);
    assert_eq!(bench.expect("\r\n").text, "\r\n");
    bench.nothing_left();
}

#[test]
fn a_response_with_another_via_or_method_is_stray() {
    let mut bench = Bench::default();
    let (leg, invite) = bench.outgoing(SDP_A);
    let two = reply(&invite, 180, "tb", "Via: SIP/2.0/UDP other;branch=z9hG4bKx\r\n", "");
    assert_eq!(bench.feed(B, &two).outcome, Outcome::Stray);
    let other = reply(&invite, 200, "tb", "", "").replace("1 INVITE", "1 BYE");
    assert_eq!(bench.feed(B, &other).outcome, Outcome::Stray);
    bench.quiet();
    bench.feed(B, &reply(&invite, 486, "tb", "", ""));
    bench.expect("ACK");
    assert!(matches!(bench.event(), LegEvent::Fail(_)));
    let _ = leg;
    bench.nothing_left();
}

#[test]
fn answers_go_to_the_source_and_to_the_port_that_was_asked_for() {
    for (via, source, to, received) in [
        ("198.51.100.10:5062;branch=z9hG4bKa1;rport", "198.51.100.10:40000", "198.51.100.10:40000", "rport=40000"),
        ("10.0.0.5:5070;branch=z9hG4bKa1", "198.51.100.10:40000", "198.51.100.10:5070", "received=198.51.100.10"),
        ("gw.example;branch=z9hG4bKa1", "198.51.100.10:40000", "198.51.100.10:5060", "received=198.51.100.10"),
    ] {
        let mut bench = Bench::default();
        let text = a_invite("x", 1, "", SDP_A).replace("198.51.100.10:5062;branch=x;rport", via);
        bench.feed(source, &text);
        let trying = bench.expect("SIP/2.0 100");
        assert_eq!(trying.to, to);
        assert!(trying.header("Via").contains(received), "{}", trying.header("Via"));
        let (leg, _) = bench.events.pop_front().unwrap();
        bench.order(leg, fail(404));
        assert_eq!(bench.expect("SIP/2.0 404").to, to);
        bench.run_to(32_000);
        bench.sent.clear();
        bench.nothing_left();
    }
}

#[test]
fn a_branch_without_the_cookie_is_matched_the_old_way() {
    let mut bench = Bench::default();
    let old = |text: String| text.replace("branch=z9hG4bKa1;rport", "branch=1");
    let invite = old(a_invite("z9hG4bKa1", 1, "", SDP_A));
    bench.feed(A, &invite);
    bench.expect("SIP/2.0 100");
    let (leg, _) = bench.events.pop_front().unwrap();
    assert_eq!(bench.feed(A, &invite).outcome, Outcome::Retransmission);
    bench.expect("SIP/2.0 100");
    // The same branch, another call: branch 1 says nothing.
    bench.feed(A, &invite.replace("call-a", "call-b"));
    bench.expect("SIP/2.0 100");
    let (second, _) = bench.events.pop_front().unwrap();
    bench.order(second, fail(404));
    let tag = bench.expect("SIP/2.0 404").tag("To");
    let target = "8613900000000@203.0.113.1:5060 SIP";
    let ack = old(a_request("ACK", "z9hG4bKa1", 1, &tag, "", "")).replace(target, "8613900000000@203.0.113.1 SIP");
    bench.feed(A, &ack.replace("call-a", "call-b"));
    let cancel = old(a_request("CANCEL", "z9hG4bKa1", 1, "", "", "")).replace(target, "8613900000000@203.0.113.1 SIP");
    bench.feed(A, &cancel);
    bench.expect("SIP/2.0 200");
    bench.expect("SIP/2.0 487");
    bench.event();
    bench
        .feed(A, &old(a_request("ACK", "z9hG4bKa1", 1, &tag, "", "")).replace(target, "8613900000000@203.0.113.1 SIP"));
    let _ = leg;
    bench.nothing_left();
}

#[test]
fn at_the_limits_new_calls_get_503_and_running_ones_go_on() {
    let mut bench = Bench::default();
    let (leg, tag) = bench.answered_incoming();
    let mut full = config();
    full.limits = Limits { transactions_max: 1, dialogs_max: 1 };
    bench.e.set_config(full);
    bench.feed(A, &a_invite("z9hG4bKfull", 1, "", SDP_A).replace("call-a", "call-x"));
    assert!(bench.expect("SIP/2.0 503").has("Retry-After"));
    assert_eq!(bench.try_order(LegId::outgoing(7), LegEvent::Try(Box::new(b_try(SDP_A)))), Err(OrderError::Full));
    bench.feed(A, &a_request("INFO", "z9hG4bKi", 2, &tag, "", ""));
    bench.expect("SIP/2.0 503");
    bench.feed(A, &a_request("BYE", "z9hG4bKb", 3, &tag, "", ""));
    bench.expect("SIP/2.0 200");
    bench.event();
    bench.nothing_left();
    assert_eq!(bench.forgotten, [leg]);
}

#[test]
fn orders_for_legs_that_cannot_start() {
    let mut bench = Bench::default();
    let start = |change: fn(&mut tandem_leg::Try)| {
        let mut order = b_try(SDP_A);
        change(&mut order);
        LegEvent::Try(Box::new(order))
    };
    let leg = LegId::outgoing(1);
    assert_eq!(bench.try_order(LegId::incoming(1), start(|_| {})), Err(OrderError::LegNumber));
    let nowhere = start(|order| order.listener = tandem_leg::ListenerId(9));
    assert_eq!(bench.try_order(leg, nowhere), Err(OrderError::UnknownListener));
    let v6 = start(|order| order.remote = "[2001:db8::9]:5060".parse().unwrap());
    assert_eq!(bench.try_order(leg, v6), Err(OrderError::AddressFamily));
    bench.nothing_left();
}

#[test]
fn a_call_over_ipv6() {
    let mut bench = Bench::default();
    let leg = LegId::outgoing(1);
    let mut order = b_try(SDP_A);
    order.remote = "[2001:db8::9]:5080".parse().unwrap();
    order.listener = tandem_leg::ListenerId(1);
    bench.order(leg, LegEvent::Try(Box::new(order)));
    let invite = bench.expect("INVITE sip:8613900000000@[2001:db8::9]:5080 SIP/2.0");
    assert!(invite.header("Via").starts_with("SIP/2.0/UDP [2001:db8::1]:5060;branch="));
    assert_eq!(invite.header("Contact"), "<sip:4930100@[2001:db8::1]:5060>");
    assert!(invite.header("From").contains("@[2001:db8::1]>"));
    assert_eq!((invite.to.as_str(), invite.listener.0), ("[2001:db8::9]:5080", 1));
    bench.event();
    let b6 = "[2001:db8::9]:5080";
    let ok = reply(&invite, 200, "tb", "Contact: <sip:b@[2001:db8::9]:5080>\r\n", SDP_B);
    bench.feed_on(1, b6, &ok);
    assert_eq!(bench.expect("ACK sip:b@[2001:db8::9]:5080 SIP/2.0").to, b6);
    bench.event();
    bench.order(leg, hang_up());
    let bye = bench.expect("BYE");
    assert_eq!(bye.summary.kind, MessageKind::Request(tandem_sip::method::Method::Bye));
    bench.feed_on(1, b6, &reply(&bye, 200, "", "", ""));

    let invite = a_invite("z9hG4bKv6", 1, "", SDP_A)
        .replace("198.51.100.10:5062", "[2001:db8::9]:5080")
        .replace("198.51.100.10", "[2001:db8::9]");
    bench.feed_on(1, b6, &invite);
    let trying = bench.expect("SIP/2.0 100");
    assert_eq!(trying.to, b6);
    let (leg, _) = bench.events.pop_front().unwrap();
    bench.order(leg, ring(180));
    assert!(bench.expect("SIP/2.0 180").header("Contact").contains("[2001:db8::1]:5060"));
    bench.feed_on(1, b6, &invite.replace("INVITE ", "CANCEL ").replace("1 INVITE", "1 CANCEL"));
    bench.expect("SIP/2.0 200");
    let terminated = bench.expect("SIP/2.0 487");
    bench.event();
    let ack = invite.replace("INVITE sip", "ACK sip").replace("1 INVITE", "1 ACK");
    bench.feed_on(1, b6, &ack.replace("203.0.113.1>\r\n", &format!("203.0.113.1>;tag={}\r\n", terminated.tag("To"))));
    bench.nothing_left();
}
