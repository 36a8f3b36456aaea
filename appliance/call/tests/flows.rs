//! The ladders of spec call-flows.md 1, 3, 4, 5, 9, 10 and 12 at the level of leg events.

mod common;

use common::{A, World, addr, media_of, sdp, sdp_version};
use tandem_call::snapshot::SwitchAllow;
use tandem_ebpf_abi::PuntReason;
use tandem_leg::*;
use tandem_media::decide::DeviceMode;

const B1: &str = "192.0.2.10:5060";
const B2: &str = "192.0.2.11:5060";
const B3: &str = "192.0.2.12:5060";

fn answer() -> Option<Vec<u8>> {
    Some(sdp("192.0.2.10", 5000))
}

/// 12 bytes of RTP header, PCMA.
fn rtp() -> Vec<u8> {
    let mut packet = vec![0x80, 8, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9];
    packet.extend([0xd5; 160]);
    packet
}

#[test]
fn flow_1_basic_call() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b, invite) = w.expect_try(B1);
    assert_eq!(invite.max_forwards, 69);
    assert_eq!((invite.caller.user.as_str(), invite.dialled.as_str()), ("4930100", "8613900000000"));
    assert_eq!(invite.hop.as_deref(), Some("node-1;1"));
    assert!(invite.call_id.is_empty() && invite.caller.display.is_empty() && invite.user_agent.is_empty());
    let to_b = media_of(&invite.sdp);
    assert!(to_b.starts_with("203.0.113.1:"), "{to_b}");
    let text = String::from_utf8(invite.sdp.clone().unwrap()).unwrap();
    assert!(text.contains("a=rtcp:") && text.contains("a=x-kept:1") && !text.contains("198.51.100.10"), "{text}");
    assert_eq!(w.flows.len(), 2, "both flows are installed before the INVITE goes out");

    w.news(b, LegEvent::Proceeding);
    w.advance(700);
    w.rings(b, 180, None);
    assert_eq!(w.expect_ring(a, 180), None);
    w.advance(5_000);
    w.answers(b, answer());
    assert_eq!(w.rating.asked, ["admit 3", "answered"], "the start record comes before the caller's 200");
    let to_a = media_of(&w.expect_connect(a));
    assert!(to_a.starts_with("203.0.113.1:") && to_a != to_b);
    assert_eq!((w.calls.unacknowledged_count(), w.calls.newly_alive_count()), (1, 0));
    w.news(a, LegEvent::Confirm(Confirm::default()));
    assert_eq!((w.calls.unacknowledged_count(), w.calls.newly_alive_count()), (0, 1));
    assert_eq!(w.calls.counts().connected, 1);
    let mut alive = Vec::new();
    w.advance(65_400);
    w.calls.heartbeat(w.now, &mut alive, &mut Vec::new());
    assert_eq!(alive.iter().map(|(_, ms)| *ms).collect::<Vec<_>>(), [65_400]);
    w.hangs_up(a, DisconnectCause::Bye);
    assert_eq!(w.expect_end(b), Reason::q850(16));

    let start = w.rating.started[0].clone();
    assert_eq!(start.connect_ms, Some(common::WALL + 5_700));
    assert!(start.vendor.is_some() && start.customer.is_some());
    let cdr = w.end();
    assert_eq!((cdr.end_direction, cdr.end_reason, cdr.hold_ms), (0, 16, 65_400));
    assert_eq!(cdr.connect_ms, Some(common::WALL + 5_700));
    assert_eq!(cdr.end_ms, common::WALL + 5_700 + 65_400);
    assert_eq!((cdr.caller_pdd_ms, cdr.callee_pdd_ms, cdr.ring_ms), (Some(700), Some(700), Some(common::WALL + 700)));
    assert_eq!((cdr.sip_status_in, cdr.sip_status_out, cdr.q850_in), (200, 200, 16));
    assert_eq!((cdr.caller_in.as_str(), cdr.caller_billed.as_str()), ("+4930100", "4930100"));
    assert_eq!((cdr.caller_gateway.as_str(), cdr.callee_gateway.as_str()), ("acme-trunk", "b1"));
    assert_eq!((cdr.caller_ip.as_str(), cdr.callee_ip.as_str()), (A, B1));
    assert_eq!((cdr.caller_rtp_ip.as_str(), cdr.callee_rtp_ip.as_str()), ("198.51.100.10:4000", "192.0.2.10:5000"));
    assert_eq!((cdr.caller_codec.as_str(), cdr.callee_codec.as_str()), ("PCMA", "PCMA"));
    assert_eq!((cdr.caller_product.as_str(), cdr.callee_product.as_str()), ("phone/1", "gw/2"));
    assert_eq!((cdr.caller_call_id.as_str(), cdr.callee_call_id.as_str()), ("abc@198.51.100.10", "b-3"));
    assert_eq!((cdr.caller_local_ip.as_str(), cdr.caller_transport.as_str()), ("203.0.113.1", "UDP"));
    assert!(cdr.rtp_forward && cdr.media_step.starts_with("3 "), "{}", cdr.media_step);
    assert_eq!((cdr.billing_mode, cdr.call_level, cdr.softswitch.as_str()), (1, 5, "node-1"));
    let (customer, vendor) = (cdr.customer.unwrap(), cdr.vendor.unwrap());
    assert_eq!((customer.account.as_str(), vendor.account.as_str()), ("acme", "v1"));
    assert_eq!(vendor.terms.unwrap().rate_per_min.to_string(), "0.01");
    assert_eq!(cdr.attempts.len(), 1);
    assert_eq!((cdr.attempts[0].status, cdr.attempts[0].gateway.as_str()), (200, "b1"));
    assert!(cdr.flow_no <= tandem_call::FLOW_NO_MAX);
    assert!(!cdr.flags.clock_step && !cdr.flags.no_vendor_rate);
}

#[test]
fn flow_1_the_vendor_hangs_up() {
    let mut w = World::new(|_| {});
    let (a, b) = w.connected();
    w.advance(10_000);
    let reason = Reason { q850: Some(31), sip: None, text: Some("done".into()) };
    w.news(b, LegEvent::Disconnect(Disconnect { cause: DisconnectCause::Bye, reason: reason.clone() }));
    assert_eq!(w.expect_end(a), reason, "the received Reason is relayed");
    let cdr = w.end();
    assert_eq!((cdr.end_direction, cdr.end_reason, cdr.q850_out), (1, 16, 31));
    assert_eq!(cdr.sip_reason, "Q.850;cause=31;text=\"done\"");
}

#[test]
fn flow_1b_direct_media_passes_untouched() {
    let mut w = World::new(|s| s.mapping[0].media_mode = DeviceMode::Off);
    let a = w.call();
    let (b, invite) = w.expect_try(B1);
    assert_eq!(invite.sdp, Some(sdp("198.51.100.10", 4000)));
    w.answers(b, answer());
    assert_eq!(w.expect_connect(a), answer());
    assert!(w.flows.is_empty());
    w.hangs_up(b, DisconnectCause::Bye);
    w.expect_end(a);
    let cdr = w.end();
    assert!(!cdr.rtp_forward && cdr.media_step.starts_with("2 "));
    assert_eq!(cdr.callee_rtp_ip, "192.0.2.10:5000");
    assert!(w.done[0].ports.is_none());
}

#[test]
fn flow_1c_delayed_offer() {
    let mut w = World::new(|_| {});
    let mut invite = w.invite();
    invite.sdp = None;
    let a = w.call_with(invite);
    let (b, invite) = w.expect_try(B1);
    assert_eq!(invite.sdp, None);
    w.answers(b, answer());
    let offer = w.expect_connect(a);
    assert!(media_of(&offer).starts_with("203.0.113.1:"));
    assert!(w.orders.is_empty(), "the vendor's ACK waits for the answer");
    w.news(a, LegEvent::Confirm(Confirm { sdp: Some(sdp("198.51.100.10", 4000)) }));
    match w.order() {
        (leg, LegEvent::Confirm(confirm)) if leg == b => {
            assert!(media_of(&confirm.sdp).starts_with("203.0.113.1:"));
        }
        other => panic!("{other:?}"),
    }
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    let cdr = w.end();
    assert_eq!(cdr.caller_rtp_ip, "198.51.100.10:4000");
    assert_eq!(cdr.end_reason, 16);
}

#[test]
fn flow_1c_an_offer_that_is_never_answered_ends_the_call() {
    let mut w = World::new(|_| {});
    let mut invite = w.invite();
    invite.sdp = None;
    let a = w.call_with(invite);
    let (b, _) = w.expect_try(B1);
    w.answers(b, answer());
    w.expect_connect(a);
    w.news(a, LegEvent::Confirm(Confirm { sdp: None }));
    w.expect_end(a);
    w.expect_end(b);
    assert_eq!(w.end().end_reason, ServerReason::CodecMismatch.code());
}

#[test]
fn flow_2_early_media_keeps_one_description_for_the_caller() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.rings(b, 183, answer());
    let early = w.expect_ring(a, 183);
    assert!(media_of(&early).starts_with("203.0.113.1:"));
    w.answers(b, answer());
    assert_eq!(w.expect_connect(a), early, "A-side SDP identical in 183 and 200");
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    w.end();
}

#[test]
fn an_answer_without_sdp_repeats_the_early_one() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.rings(b, 183, answer());
    let early = w.expect_ring(a, 183);
    w.answers(b, None);
    assert_eq!(w.expect_connect(a), early);
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    w.end();
}

#[test]
fn the_description_the_caller_has_survives_a_failover() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.rings(b1, 183, answer());
    let early = w.expect_ring(a, 183);
    w.fails(b1, 503);
    let (b2, invite) = w.expect_try(B2);
    assert!(media_of(&invite.sdp).starts_with("203.0.113.1:"));
    let other = String::from_utf8(sdp("192.0.2.11", 6000)).unwrap().replace("8 0 101", "8") + "a=ptime:30\r\n";
    w.answers(b2, Some(other.into_bytes()));
    assert_eq!(w.expect_connect(a), early, "whatever the second vendor writes");
    w.hangs_up(b2, DisconnectCause::Bye);
    w.expect_end(a);
    let cdr = w.end();
    assert_eq!(cdr.callee_rtp_ip, "192.0.2.11:6000");
    assert_eq!(cdr.attempts.iter().map(|a| a.status).collect::<Vec<_>>(), [503, 200]);
}

#[test]
fn a_vendor_with_another_codec_gets_a_new_description_through() {
    let only = |host: &str, format: &str| {
        let text = String::from_utf8(sdp(host, 5000)).unwrap();
        Some(text.replace("RTP/AVP 8 0 101", &format!("RTP/AVP {format}")).into_bytes())
    };
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.rings(b1, 183, only("192.0.2.10", "8"));
    let early = w.expect_ring(a, 183);
    w.fails(b1, 503);
    let (b2, _) = w.expect_try(B2);
    w.answers(b2, only("192.0.2.11", "0"));
    let last = w.expect_connect(a);
    assert_ne!(last, early, "silence would be worse than a second answer");
    assert!(String::from_utf8(last.unwrap()).unwrap().contains("RTP/AVP 0\r\n"));
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b2);
    assert_eq!(w.end().callee_codec, "PCMU");
}

#[test]
fn a_relay_that_begins_with_a_later_attempt() {
    let mut w = World::new(|s| {
        s.mapping[0].media_mode = DeviceMode::Auto;
        s.routing[1].media_mode = DeviceMode::MustOn;
        s.routing[2].media_mode = DeviceMode::Off;
    });
    let a = w.call();
    let (b1, invite) = w.expect_try(B1);
    assert_eq!(media_of(&invite.sdp), "198.51.100.10:4000");
    w.rings(b1, 183, answer());
    assert_eq!(w.expect_ring(a, 183), answer());
    w.fails(b1, 503);
    let (b2, invite) = w.expect_try(B2);
    assert!(media_of(&invite.sdp).starts_with("203.0.113.1:"));
    w.rings(b2, 183, Some(sdp("192.0.2.11", 6000)));
    let early = w.expect_ring(a, 183);
    assert!(media_of(&early).starts_with("203.0.113.1:"), "and not the address of the first vendor");
    w.fails(b2, 503);
    let (b3, invite) = w.expect_try(B3);
    assert!(media_of(&invite.sdp).starts_with("203.0.113.1:"), "once relayed, always relayed (media.md 1.3)");
    w.answers(b3, Some(sdp("192.0.2.12", 7000)));
    assert_eq!(w.expect_connect(a), early);
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b3);
    assert!(w.end().media_step.starts_with("12 "));
}

#[test]
fn ipv4_to_ipv6_is_relayed_whatever_the_devices_want() {
    let mut w = World::new(|s| {
        s.mapping[0].media_mode = DeviceMode::Off;
        s.routing[0].remotes = vec![addr("[2001:db8::10]:5060")];
        s.routing[0].listener = ListenerId(1);
    });
    let a = w.call();
    let (b, invite) = w.expect_try("[2001:db8::10]:5060");
    assert!(media_of(&invite.sdp).starts_with("[2001:db8::1]:"));
    let body = String::from_utf8(sdp("2001:db8::10", 5000)).unwrap().replace("IP4", "IP6");
    w.answers(b, Some(body.into_bytes()));
    assert!(media_of(&w.expect_connect(a)).starts_with("203.0.113.1:"));
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    let cdr = w.end();
    assert!(cdr.media_step.starts_with("0 "));
    assert_eq!(cdr.callee_local_ip, "2001:db8::1");
}

#[test]
fn flow_3_cancel() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.rings(b, 180, None);
    w.expect_ring(a, 180);
    w.hangs_up(a, DisconnectCause::Cancel);
    w.expect_end(b);
    w.fails(b, 487);
    let cdr = w.end();
    assert_eq!((cdr.end_direction, cdr.end_reason, cdr.hold_ms, cdr.connect_ms), (0, 487, 0, None));
    assert_eq!(cdr.sip_status_in, 487);
    assert_eq!(cdr.attempts[0].next, "row 1: stop, the caller is gone");
}

#[test]
fn flow_3_cancel_before_any_response_and_before_the_grant() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.hangs_up(a, DisconnectCause::Cancel);
    w.expect_end(b);
    assert_eq!(w.end().end_reason, 487);

    let mut w = World::new(|_| {});
    w.rating.slow = true;
    let a = w.call();
    w.hangs_up(a, DisconnectCause::Cancel);
    assert_eq!(w.calls.counts().questions, 1);
    w.release_answers();
    assert!(w.orders.is_empty(), "the late grant starts nothing");
    assert_eq!(w.calls.counts().questions, 0);
    assert_eq!(w.end().end_reason, 487);
}

#[test]
fn flow_3_cancel_crosses_the_answer() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.rating.slow = true;
    w.answers(b, answer());
    assert_eq!(w.calls.counts().answering, 1);
    w.hangs_up(a, DisconnectCause::Cancel);
    w.expect_end(b);
    w.release_answers();
    let cdr = w.end();
    assert_eq!((cdr.end_reason, cdr.end_direction, cdr.connect_ms, cdr.hold_ms), (487, 0, None, 0));
    assert_eq!(cdr.sip_status_in, 487);
}

#[test]
fn the_vendor_hangs_up_before_the_caller_could_be_told() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.rating.slow = true;
    w.answers(b, answer());
    w.hangs_up(b, DisconnectCause::Bye);
    w.expect_fail(a, 480);
    w.release_answers();
    let cdr = w.end();
    assert_eq!((cdr.end_direction, cdr.end_reason, cdr.connect_ms), (1, 16, None));
}

#[test]
fn flow_4_failover_then_busy() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.fails(b1, 503);
    let (b2, _) = w.expect_try(B2);
    assert_ne!(b1, b2);
    w.fails(b2, 486);
    let fail = w.expect_fail(a, 486);
    assert_eq!(fail.reason.q850, Some(17));
    let cdr = w.end();
    assert_eq!((cdr.end_direction, cdr.end_reason, cdr.sip_status_out), (1, 486, 486));
    assert_eq!(cdr.attempts.len(), 2);
    assert_eq!(cdr.attempts[0].next, "row 11: next, network-type failure");
    assert_eq!(cdr.attempts[1].next, "row 8: stop, user busy");
    assert!(w.traced("b2 failed, SIP 486; row 8: stop, user busy"));
    assert_eq!(w.rating.asked, ["admit 3", "next 2"]);
}

#[test]
fn flow_4b_retry_after_pauses_the_gateway() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.news(b1, LegEvent::Fail(Fail { retry_after_s: Some(30), ..Fail::status(503) }));
    let (b2, _) = w.expect_try(B2);
    w.fails(b2, 486);
    w.expect_fail(a, 486);
    assert!(w.rating.asked.contains(&"pause 11".to_owned()));
    w.advance(29_000);
    let a = w.call();
    let (b2, _) = w.expect_try(B2);
    assert!(w.traced("not b1 now: Retry-After running"));
    w.fails(b2, 486);
    w.expect_fail(a, 486);
    w.advance(2_000);
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.fails(b1, 486);
    w.expect_fail(a, 486);
    w.end();
}

#[test]
fn flow_4c_a_listed_code_switches() {
    let mut w = World::new(|s| {
        s.routing[0].switch = SwitchAllow { error_code: true, error_codes: vec![404], ..SwitchAllow::default() };
    });
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.fails(b1, 404);
    let (b2, _) = w.expect_try(B2);
    w.fails(b2, 503);
    let (b3, _) = w.expect_try(B3);
    w.fails(b3, 503);
    w.expect_fail(a, 404);
    let cdr = w.end();
    assert_eq!(cdr.end_reason, 404, "R-D21: the user-level cause wins over the last one");
}

#[test]
fn flow_4d_the_limit_of_switches() {
    let mut w = World::new(|s| s.settings.switch_limit = Some(1));
    let a = w.call();
    for remote in [B1, B2] {
        let (b, _) = w.expect_try(remote);
        w.fails(b, 503);
    }
    w.expect_fail(a, 503);
    let cdr = w.end();
    assert_eq!(cdr.attempts.len(), 2);
    assert_eq!(cdr.attempts[1].next, "row 12: stop, limit of switches reached");
}

#[test]
fn flow_4e_the_caller_sees_the_replacement_the_cdr_the_cause() {
    let mut w = World::new(|s| s.mapping[0].failed_sip_code = vec![(486, 480)]);
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.fails(b1, 486);
    let fail = w.expect_fail(a, 480);
    assert_eq!(fail.reason.q850, Some(18), "the Reason hides the vendor's cause too");
    let cdr = w.end();
    assert_eq!((cdr.end_reason, cdr.sip_status_in, cdr.sip_status_out), (486, 480, 486));
    assert_eq!((cdr.q850_in, cdr.q850_out), (18, 17));
}

#[test]
fn flow_4e_replacement_before_the_switch_decision() {
    let mut w = World::new(|s| {
        s.mapping[0].failed_sip_code = vec![(503, 486)];
        s.mapping[0].replace_before_switch = true;
    });
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.fails(b1, 503);
    w.expect_fail(a, 486);
    assert_eq!(w.end().end_reason, 503);
}

#[test]
fn flow_4f_early_media_stops_switching() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.rings(b1, 183, answer());
    w.expect_ring(a, 183);
    let (_, callee_port) = w.calls.list().next().unwrap().media_ports.unwrap();
    let mut packet = rtp();
    let send =
        w.calls.handle_media(w.now, callee_port, addr("192.0.2.10:5000"), PuntReason::Unlatched, &mut packet).unwrap();
    assert_eq!(send.to, addr("198.51.100.10:4000"));
    w.drain();
    assert!(w.traced("first media of the callee, early"));
    w.fails(b1, 503);
    w.expect_fail(a, 503);
    let cdr = w.end();
    assert_eq!(cdr.attempts[0].next, "row 5: stop, media came from the vendor");
    assert_eq!(cdr.callee_media.packets, 1);
    assert!(cdr.callee_media.first_ms.is_some());
}

#[test]
fn flow_5a_no_response_at_all() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.advance(9_999);
    assert!(w.orders.is_empty());
    w.advance(1);
    w.expect_end(b1);
    let (b2, _) = w.expect_try(B2);
    w.fails(b2, 486);
    w.expect_fail(a, 486);
    let cdr = w.end();
    assert_eq!(cdr.attempts[0].reason, "Connection Timeout");
    assert_eq!((cdr.attempts[0].status, cdr.attempts[0].end_ms - cdr.attempts[0].start_ms), (0, 10_000));
}

#[test]
fn flow_5a_a_refused_transport_fails_at_once() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.news(b1, LegEvent::Fail(Fail { cause: FailCause::Transport, ..Fail::status(503) }));
    let (b2, _) = w.expect_try(B2);
    w.fails(b2, 486);
    w.expect_fail(a, 486);
    assert_eq!(w.end().attempts[0].reason, "Connection Timeout");
}

#[test]
fn flow_5b_nothing_after_100() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.advance(100);
    w.news(b1, LegEvent::Proceeding);
    w.advance(19_999);
    assert!(w.orders.is_empty());
    w.advance(1);
    w.expect_end(b1);
    let (b2, _) = w.expect_try(B2);
    w.fails(b2, 486);
    w.expect_fail(a, 486);
    assert_eq!(w.end().attempts[0].reason, "Response Timeout");
}

#[test]
fn flow_5c_nobody_answers() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.advance(2_000);
    w.rings(b1, 180, None);
    w.expect_ring(a, 180);
    w.advance(60_000);
    w.rings(b1, 180, None);
    w.expect_ring(a, 180);
    w.advance(59_999);
    assert!(w.orders.is_empty(), "a repeated 180 does not restart the timer");
    w.advance(1);
    w.expect_end(b1);
    let fail = w.expect_fail(a, 480);
    assert_eq!(fail.reason.q850, Some(19));
    let cdr = w.end();
    assert_eq!((cdr.end_reason, cdr.end_direction), (ServerReason::NoAnswer.code(), 2));
    assert_eq!(cdr.attempts[0].next, "row 7: stop, it was ringing");
}

#[test]
fn flow_5_set_up_limit_of_the_mapping_gateway() {
    let mut w = World::new(|s| s.mapping[0].timeout_call_proceeding_s = 15);
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.advance(10_000);
    w.expect_end(b1);
    let (b2, _) = w.expect_try(B2);
    w.advance(4_999);
    assert!(w.orders.is_empty());
    w.advance(1);
    w.expect_end(b2);
    w.expect_fail(a, 480);
    let cdr = w.end();
    assert_eq!(cdr.end_reason, ServerReason::SetupTimeLimit.code());

    let mut w = World::new(|s| s.mapping[0].timeout_call_proceeding_s = 15);
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.rings(b1, 180, None);
    w.expect_ring(a, 180);
    w.advance(60_000);
    assert!(w.orders.is_empty(), "a ring meets the limit");
    w.fails(b1, 486);
    w.expect_fail(a, 486);
    w.end();
}

#[test]
fn set_up_timers_of_every_state() {
    // 183 without SDP, then with, then 180: each starts its own timer; a step back starts none.
    let mut w = World::new(|s| {
        s.routing.truncate(1);
        s.routing[0].timeouts.session_progress_sdp_s = 7;
        s.routing[0].switch.ring = Some(true);
    });
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.rings(b, 183, None);
    w.expect_ring(a, 183);
    w.advance(19_000);
    w.rings(b, 183, answer());
    w.expect_ring(a, 183);
    w.advance(6_999);
    assert!(w.orders.is_empty(), "the gateway's own 7 s, not 20 s");
    w.rings(b, 180, None);
    w.expect_ring(a, 180);
    w.advance(100_000);
    w.rings(b, 183, answer());
    w.expect_ring(a, 183);
    w.advance(19_999);
    assert!(w.orders.is_empty());
    w.advance(1);
    w.expect_end(b);
    w.expect_fail(a, 480);
    assert_eq!(w.end().end_reason, ServerReason::NoAnswer.code());

    let mut w = World::new(|s| s.routing.truncate(1));
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.rings(b, 183, None);
    w.expect_ring(a, 183);
    w.advance(20_000);
    w.expect_end(b);
    w.expect_fail(a, 480);
    assert_eq!(w.end().end_reason, ServerReason::ResponseTimeout.code());
}

#[test]
fn the_callers_expires_is_honoured() {
    let mut w = World::new(|_| {});
    let mut invite = w.invite();
    invite.expires_s = Some(8);
    let a = w.call_with(invite);
    let (b, _) = w.expect_try(B1);
    w.rings(b, 180, None);
    w.expect_ring(a, 180);
    w.advance(8_000);
    w.expect_end(b);
    w.expect_fail(a, 480);
    assert_eq!(w.end().end_reason, ServerReason::NoAnswer.code());
}

#[test]
fn flow_9_hold_and_resume() {
    let mut w = World::new(|_| {});
    let (a, b) = w.connected();
    let ports = w.calls.list().next().unwrap().media_ports;
    for (version, ask, reply) in [(2, "sendonly", "recvonly"), (3, "sendrecv", "sendrecv")] {
        let offer = sdp_version("198.51.100.10", 4000, version, ask);
        w.news(a, LegEvent::Update(Update { method: UpdateMethod::Invite, sdp: Some(offer) }));
        match w.order() {
            (leg, LegEvent::Update(update)) if leg == b => {
                let text = String::from_utf8(update.sdp.unwrap()).unwrap();
                assert!(text.contains(&format!("a={ask}")) && text.contains("c=IN IP4 203.0.113.1"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        let body = sdp_version("192.0.2.10", 5000, version, reply);
        w.news(b, LegEvent::Updated(Updated { sdp: Some(body) }));
        match w.order() {
            (leg, LegEvent::Updated(updated)) if leg == a => {
                let text = String::from_utf8(updated.sdp.unwrap()).unwrap();
                assert!(text.contains(&format!("a={reply}")) && text.contains("c=IN IP4 203.0.113.1"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        w.news(a, LegEvent::Confirm(Confirm::default()));
        w.advance(60_000);
        assert!(w.orders.is_empty(), "nothing ends a call on hold");
    }
    assert_eq!(w.calls.list().next().unwrap().media_ports, ports, "ports unchanged");
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    w.end();
}

#[test]
fn flow_9_a_refused_change_leaves_the_session_as_it_was() {
    let mut w = World::new(|_| {});
    let (a, b) = w.connected();
    let update = |version| {
        let sdp = Some(sdp_version("198.51.100.10", 4000, version, "sendonly"));
        LegEvent::Update(Update { method: UpdateMethod::Invite, sdp })
    };
    w.news(a, update(2));
    w.order();
    w.news(b, LegEvent::UpdateFailed(UpdateFailed { status: 488, retry_after_s: None }));
    match w.order() {
        (leg, LegEvent::UpdateFailed(failed)) if leg == a => assert_eq!(failed.status, 488),
        other => panic!("{other:?}"),
    }
    let (caller_port, _) = w.calls.list().next().unwrap().media_ports.unwrap();
    let mut packet = rtp();
    let from_a = addr("198.51.100.10:4000");
    let send = w.calls.handle_media(w.now, caller_port, from_a, PuntReason::Unlatched, &mut packet);
    assert_eq!(send.unwrap().to, addr("192.0.2.10:5000"), "media still flows");
    w.drain();
    w.news(a, update(3));
    assert!(matches!(w.order(), (leg, LegEvent::Update(_)) if leg == b), "a later change is possible");
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    w.end();
}

#[test]
fn flow_9_a_refresh_is_answered_here() {
    let mut w = World::new(|_| {});
    let (a, b) = w.connected();
    let refresh = LegEvent::Update(Update { method: UpdateMethod::Invite, sdp: Some(sdp("198.51.100.10", 4000)) });
    w.news(a, refresh);
    match w.order() {
        (leg, LegEvent::Updated(updated)) if leg == a => assert!(media_of(&updated.sdp).starts_with("203.0.113.1:")),
        other => panic!("{other:?}"),
    }
    w.news(b, LegEvent::Update(Update { method: UpdateMethod::Update, sdp: None }));
    assert!(matches!(w.order(), (leg, LegEvent::Updated(Updated { sdp: None })) if leg == b));
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    w.end();
}

#[test]
fn a_reinvite_without_offer_is_relayed_without_offer() {
    let mut w = World::new(|_| {});
    let (a, b) = w.connected();
    w.news(b, LegEvent::Update(Update { method: UpdateMethod::Invite, sdp: None }));
    assert!(matches!(w.order(), (leg, LegEvent::Update(Update { sdp: None, .. })) if leg == a));
    w.news(a, LegEvent::Updated(Updated { sdp: Some(sdp_version("198.51.100.10", 4444, 2, "sendrecv")) }));
    match w.order() {
        (leg, LegEvent::Updated(updated)) if leg == b => assert!(media_of(&updated.sdp).starts_with("203.0.113.1:")),
        other => panic!("{other:?}"),
    }
    // Until the ACK comes the change is open.
    w.news(a, LegEvent::Update(Update { method: UpdateMethod::Invite, sdp: Some(sdp("198.51.100.10", 4001)) }));
    assert!(matches!(w.order(), (leg, LegEvent::UpdateFailed(f)) if leg == a && f.status == 491));
    w.news(b, LegEvent::Confirm(Confirm { sdp: Some(sdp_version("192.0.2.10", 5000, 2, "sendrecv")) }));
    match w.order() {
        (leg, LegEvent::Confirm(confirm)) if leg == a => assert!(media_of(&confirm.sdp).starts_with("203.0.113.1:")),
        other => panic!("{other:?}"),
    }
    assert_eq!(w.calls.list().next().unwrap().caller_media.1, Some(addr("198.51.100.10:4444")));
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    w.end();
}

#[test]
fn flow_10_glare_between_the_legs() {
    let mut w = World::new(|_| {});
    let (a, b) = w.connected();
    let update = |host: &str, port| {
        LegEvent::Update(Update { method: UpdateMethod::Invite, sdp: Some(sdp_version(host, port, 2, "sendrecv")) })
    };
    w.news(b, update("192.0.2.10", 5002));
    assert!(matches!(w.order(), (leg, LegEvent::Update(_)) if leg == a));
    w.news(a, update("198.51.100.10", 4002));
    assert!(matches!(w.order(), (leg, LegEvent::UpdateFailed(f)) if leg == a && f.status == 491));
    w.news(b, update("192.0.2.10", 5004));
    match w.order() {
        (leg, LegEvent::UpdateFailed(f)) if leg == b => {
            assert_eq!(f.status, 500);
            assert!(f.retry_after_s.is_some_and(|s| s <= 10));
        }
        other => panic!("{other:?}"),
    }
    w.news(a, LegEvent::Updated(Updated { sdp: Some(sdp_version("198.51.100.10", 4000, 2, "sendrecv")) }));
    assert!(matches!(w.order(), (leg, LegEvent::Updated(_)) if leg == b));
    w.news(a, update("198.51.100.10", 4002));
    assert!(matches!(w.order(), (leg, LegEvent::Update(_)) if leg == b), "the retry goes through");
    w.hangs_up(b, DisconnectCause::Bye);
    w.expect_end(a);
    w.end();
}

#[test]
fn a_change_before_the_answer_is_refused() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.news(b, LegEvent::Update(Update { method: UpdateMethod::Update, sdp: answer() }));
    assert!(matches!(w.order(), (leg, LegEvent::UpdateFailed(f)) if leg == b && f.status == 491));
    w.fails(b, 486);
    w.expect_fail(a, 486);
    w.end();
}

#[test]
fn digits_in_info_pass_and_nothing_else_does() {
    let mut w = World::new(|_| {});
    let (a, b) = w.connected();
    let info = |kind: &str| LegEvent::Info(Info { content_type: kind.into(), body: b"Signal=5".to_vec() });
    w.news(a, info("application/dtmf-relay"));
    assert!(matches!(w.order(), (leg, LegEvent::Info(i)) if leg == b && i.body == b"Signal=5"));
    w.news(a, info("text/plain"));
    assert!(w.orders.is_empty());
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    w.end();
}

#[test]
fn flow_12_balance_exhausted() {
    let mut w = World::new(|_| {});
    w.rating.until_s = Some(60);
    w.rating.renewals = [(Some(120), false), (Some(125), true)].into();
    let (a, b) = w.connected();
    w.advance(49_999);
    assert_eq!(w.rating.asked, ["admit 3", "answered"]);
    w.advance(1);
    assert_eq!(w.rating.asked.len(), 3, "renewal 10 s before the grant ends");
    w.advance(60_000);
    assert_eq!(w.rating.asked.len(), 4);
    w.advance(14_999);
    assert!(w.orders.is_empty());
    w.advance(1);
    let reason = Reason { q850: Some(21), sip: None, text: Some("Balance Exhausted".into()) };
    assert_eq!(w.expect_end(a), reason);
    assert_eq!(w.expect_end(b), reason);
    let cdr = w.end();
    assert_eq!((cdr.end_reason, cdr.end_direction, cdr.hold_ms), (-47, 2, 125_000));
    assert_eq!(cdr.sip_reason, "Q.850;cause=21;text=\"Balance Exhausted\"");
}

#[test]
fn flow_12_a_payment_lifts_the_deadline() {
    let mut w = World::new(|_| {});
    w.rating.until_s = Some(60);
    w.rating.renewals = [(Some(65), true), (Some(65), true), (Some(125), false), (None, false)].into();
    let (a, b) = w.connected();
    w.advance(64_000);
    assert_eq!(w.calls.list().next().unwrap().until_s, Some(125), "asked again before the end");
    w.advance(500_000);
    assert!(w.orders.is_empty(), "no limit any more");
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    assert_eq!(w.end().hold_ms, 564_000);
}

#[test]
fn flow_12_without_an_answer_the_grant_is_the_limit() {
    let mut w = World::new(|_| {});
    w.rating.until_s = Some(18);
    let (a, b) = w.connected();
    w.advance(8_999);
    assert_eq!(w.rating.asked.len(), 2);
    w.advance(1);
    assert_eq!(w.rating.asked.last().map(String::as_str), Some("renew"), "half way of a short grant");
    w.advance(9_000);
    w.expect_end(a);
    w.expect_end(b);
    assert_eq!(w.end().hold_ms, 18_000);
}

#[test]
fn a_late_end_is_not_charged_beyond_what_was_reserved() {
    let mut w = World::new(|_| {});
    w.rating.until_s = Some(60);
    let (a, b) = w.connected();
    w.now = w.now.plus_micros(60_700_000);
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    assert_eq!(w.end().hold_ms, 60_000);
}

#[test]
fn no_money_no_attempt() {
    let mut w = World::new(|_| {});
    w.rating.refuse = Some(ServerReason::InsufficientBalance);
    let a = w.call();
    assert_eq!(w.expect_fail(a, 402).reason.q850, Some(21));
    let cdr = w.end();
    assert_eq!((cdr.end_reason, cdr.attempts.len()), (-10, 0));
    assert_eq!(cdr.customer.unwrap().account, "acme");
}

#[test]
fn the_longest_call_allowed() {
    for (own, system, want) in [((-1, -1), 30, 30), ((20, 20), 30, 20), ((0, 0), 30, 0)] {
        let mut w = World::new(|s| {
            s.mapping[0].max_duration_s = own;
            s.settings.max_call_duration_s = system;
        });
        let (a, b) = w.connected();
        w.advance(100_000);
        if want == 0 {
            assert!(w.orders.is_empty());
            w.hangs_up(a, DisconnectCause::Bye);
            w.expect_end(b);
            assert_eq!(w.end().end_reason, 16);
        } else {
            assert_eq!(w.expect_end(a).q850, Some(31));
            w.expect_end(b);
            let cdr = w.end();
            assert_eq!((cdr.end_reason, cdr.hold_ms), (-38, want * 1_000));
        }
    }
    let mut w = World::new(|s| s.mapping[0].max_duration_s = (10, 20));
    let (a, b) = w.connected();
    w.advance(20_000);
    w.expect_end(a);
    w.expect_end(b);
    let hold_ms = w.end().hold_ms;
    assert!((10_000..=20_000).contains(&hold_ms) && hold_ms % 1_000 == 0, "{hold_ms}");
}

#[test]
fn flow_8d_the_answer_is_never_acknowledged() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.answers(b, answer());
    w.expect_connect(a);
    w.advance(32_000);
    w.hangs_up(a, DisconnectCause::NoAck);
    let reason = w.expect_end(b);
    assert_eq!((reason.q850, reason.sip, reason.text.as_deref()), (Some(102), Some(408), Some("Session Timeout")));
    let cdr = w.end();
    assert_eq!((cdr.end_reason, cdr.end_direction, cdr.hold_ms), (-8, 2, 32_000));
}

#[test]
fn a_lost_dialog_ends_the_other_leg() {
    let mut w = World::new(|_| {});
    let (a, b) = w.connected();
    w.advance(1_000);
    w.hangs_up(b, DisconnectCause::Lost);
    w.expect_end(a);
    assert_eq!(w.end().end_reason, -8);
}

#[test]
fn redirects_inside_the_gateway_are_followed_twice() {
    let mut w = World::new(|s| {
        s.routing[0].remotes =
            vec![addr(B1), addr("192.0.2.20:5080"), addr("192.0.2.21:5060"), addr("192.0.2.22:5060")];
    });
    let to = |host: &str, port| {
        LegEvent::Redirect(Redirect {
            status: 302,
            contacts: vec![RedirectTarget { user: "8613900000000".into(), host: host.into(), port }],
        })
    };
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.news(b, to("192.0.2.20", Some(5080)));
    let (b, _) = w.expect_try("192.0.2.20:5080");
    w.news(b, to("192.0.2.21", None));
    let (b, _) = w.expect_try("192.0.2.21:5060");
    w.news(b, to("192.0.2.22", None));
    let (b2, _) = w.expect_try(B2);
    w.news(b2, to("192.0.2.99", None));
    let (b3, _) = w.expect_try(B3);
    w.fails(b3, 302);
    w.expect_fail(a, 480);
    let cdr = w.end();
    assert_eq!(cdr.attempts.len(), 5);
    assert_eq!(w.rating.asked, ["admit 3", "next 2", "next 1"], "a redirect takes no other line");
}

#[test]
fn a_redirect_to_another_number_is_a_failure() {
    let mut w = World::new(|s| {
        s.routing.truncate(1);
        s.routing[0].remotes.push(addr("192.0.2.20:5060"));
    });
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.news(
        b,
        LegEvent::Redirect(Redirect {
            status: 302,
            contacts: vec![RedirectTarget { user: "88213".into(), host: "192.0.2.20".into(), port: None }],
        }),
    );
    w.expect_fail(a, 480);
    assert_eq!(w.end().end_reason, 302);
}

#[test]
fn an_operator_ends_calls_in_every_state() {
    let mut w = World::new(|_| {});
    w.rating.slow = true;
    let a = w.call();
    let flow_no = w.calls.list().next().unwrap().flow_no;
    assert!(w.calls.kill(w.now, flow_no));
    w.drain();
    assert_eq!(w.expect_fail(a, 503).reason.q850, Some(31));
    w.release_answers();
    assert!(!w.calls.kill(w.now, flow_no), "it is gone");
    w.rating.slow = false;

    let a = w.call();
    let (b, _) = w.expect_try(B1);
    let flow_no = w.calls.list().next().unwrap().flow_no;
    assert!(w.calls.kill(w.now, flow_no));
    w.drain();
    w.expect_end(b);
    w.expect_fail(a, 503);

    let (a, b) = w.connected();
    let flow_no = w.calls.list().next().unwrap().flow_no;
    assert!(w.calls.show(flow_no).is_some());
    assert!(w.calls.kill(w.now, flow_no));
    w.drain();
    assert_eq!(w.expect_end(a).text.as_deref(), Some("Server Forced Release"));
    w.expect_end(b);
    assert_eq!(w.end().end_reason, -39);
}

#[test]
fn shutdown_ends_everything_and_draining_takes_nothing_new() {
    let mut w = World::new(|_| {});
    let (a1, b1) = w.connected();
    let a2 = w.call();
    let (b2, _) = w.expect_try(B1);
    w.calls.set_draining(true);
    let a3 = w.call();
    assert!(w.expect_fail(a3, 503).retry_after_s.is_some());
    w.calls.shutdown(w.now);
    w.drain();
    w.expect_end(a1);
    w.expect_end(b1);
    w.expect_end(b2);
    w.expect_fail(a2, 503);
    w.end();
    let reasons: Vec<i32> = w.done.iter().map(|d| d.usage.end_reason).collect();
    assert_eq!(reasons, [-20, -40, -40]);
}

#[test]
fn at_the_bound_new_calls_are_told_to_come_back() {
    let mut config = common::config();
    config.calls_max = 1;
    let mut w = World::with(config, |_| {});
    let (a, b) = w.connected();
    let second = w.call();
    let fail = w.expect_fail(second, 503);
    assert!((2..=10).contains(&fail.retry_after_s.unwrap()));
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    w.end();
    assert_eq!(w.done[0].usage.end_reason, ServerReason::SystemOverload.code());
}

#[test]
fn a_step_of_the_wall_clock_is_marked_and_changes_no_duration() {
    let mut w = World::new(|_| {});
    let (a, b) = w.connected();
    w.advance(10_000);
    w.now.wall_ms -= 3_600_000;
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    let cdr = w.end();
    assert!(cdr.flags.clock_step);
    assert_eq!((cdr.hold_ms, cdr.end_ms), (10_000, common::WALL + 10_000));
}

#[test]
fn a_stopped_process_waits_no_longer_for_a_start_record_than_it_ran() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.rating.slow = true;
    w.answers(b, answer());
    // Stopped for a minute: all timers are due before the rating thread, which was stopped too, has written anything.
    w.now = w.now.plus_micros(60_000_000);
    w.calls.handle_timeout(w.now);
    w.drain();
    assert!(w.orders.is_empty(), "{:?}", w.orders);
    w.release_answers();
    w.expect_connect(a);
    w.news(a, LegEvent::Confirm(Confirm::default()));
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    // A journal that does not write while we run is given up.
    let a = w.call();
    w.release_answers();
    let (b, _) = w.expect_try(B1);
    w.answers(b, answer());
    w.advance(4_998);
    assert!(w.orders.is_empty(), "{:?}", w.orders);
    w.advance(4);
    w.expect_end(b);
    w.expect_fail(a, 503);
    w.rating.slow = false;
    w.drain();
    assert_eq!(w.end().end_reason, ServerReason::SystemOverload.code());
}
