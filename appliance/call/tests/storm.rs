//! Random parties, a random rating thread and a random clock: whatever comes in whatever order, every call ends with
//! exactly one Finish and nothing is left.

mod common;

use common::{World, addr, sdp, sdp_version};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tandem_call::snapshot::PrefixStyle;
use tandem_ebpf_abi::{FlowKey, PuntReason};
use tandem_leg::*;
use tandem_media::decide::DeviceMode;

fn body(rng: &mut StdRng) -> Option<Vec<u8>> {
    match rng.random_range(0..40) {
        0 => None,
        1 => Some(b"v=0\r\nm=audio x".to_vec()),
        2 => Some(sdp("127.0.0.1", 4000)),
        3 => Some(sdp("0.0.0.0", 4000)),
        4 => Some(sdp_version("192.0.2.10", rng.random_range(0..3), rng.random_range(1..4), "sendonly")),
        _ => Some(sdp_version("192.0.2.10", 5000, rng.random_range(1..4), "sendrecv")),
    }
}

fn event(rng: &mut StdRng) -> LegEvent {
    let status = *[180, 181, 183, 199].get(rng.random_range(0..4)).unwrap();
    let failure = *[302, 403, 404, 480, 486, 487, 488, 500, 503, 603, 699].get(rng.random_range(0..11)).unwrap();
    let retry_after_s = rng.random_bool(0.2).then(|| rng.random_range(0..100_000));
    let method = if rng.random_bool(0.5) { UpdateMethod::Invite } else { UpdateMethod::Update };
    let cause = *[
        DisconnectCause::Cancel,
        DisconnectCause::Bye,
        DisconnectCause::NoAck,
        DisconnectCause::Lost,
        DisconnectCause::Order,
    ]
    .get(rng.random_range(0..5))
    .unwrap();
    let q850 = rng.random_bool(0.3).then(|| rng.random_range(1..128));
    let reason = Reason { q850, sip: None, text: None };
    match rng.random_range(0..22) {
        0 => LegEvent::Sent { call_id: "x".into() },
        1..=2 => LegEvent::Proceeding,
        3..=6 => LegEvent::Ring(Ring { status, sdp: body(rng), headers: Vec::new() }),
        7..=10 => LegEvent::Connect(Connect { sdp: body(rng), headers: Vec::new(), user_agent: String::new() }),
        11..=12 => LegEvent::Confirm(Confirm { sdp: body(rng) }),
        13..=14 => LegEvent::Update(Update { method, sdp: body(rng) }),
        15 => LegEvent::Updated(Updated { sdp: body(rng) }),
        16 => LegEvent::UpdateFailed(UpdateFailed { status: failure, retry_after_s }),
        17 => LegEvent::Info(Info { content_type: "application/dtmf".into(), body: Vec::new() }),
        18 => LegEvent::Redirect(Redirect {
            status: 302,
            contacts: vec![RedirectTarget { user: String::new(), host: "192.0.2.20".into(), port: Some(5060) }],
        }),
        19..=20 => {
            let cause = match rng.random_range(0..3) {
                0 => FailCause::Timeout,
                1 => FailCause::Transport,
                _ => FailCause::Response,
            };
            LegEvent::Fail(Fail { status: failure, cause, reason, retry_after_s })
        }
        _ => LegEvent::Disconnect(Disconnect { cause, reason }),
    }
}

fn storm(seed: u64, steps: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let until = rng.random_bool(0.5).then(|| rng.random_range(0..90));
    let direct = rng.random_bool(0.3);
    let mut config = common::config();
    config.seed = [seed as u8; 32];
    config.calls_max = 12;
    config.media.ports = 10_000..=10_013;
    let mut w = World::with(config, |s| {
        if direct {
            s.mapping[0].media_mode = DeviceMode::Auto;
        }
        s.mapping[0].max_duration_s = (5, 50);
        s.mapping[0].timeout_call_proceeding_s = 30;
        s.routing[0].remotes.push(addr("192.0.2.20:5060"));
        s.routing[0].switch.ring = Some(true);
        s.routing[1].prefix_style = PrefixStyle::Terminal;
        s.routing[2].protect = true;
        s.settings.protect_route_delay_s = 40;
    });
    w.rating.until_s = until;
    let mut legs: Vec<LegId> = Vec::new();
    for _ in 0..steps {
        match rng.random_range(0..12) {
            0 => {
                let mut invite = w.invite();
                invite.sdp = body(&mut rng);
                invite.expires_s = rng.random_bool(0.2).then(|| rng.random_range(0..60));
                legs.push(w.call_with(invite));
            }
            1 => w.advance(rng.random_range(0..30_000)),
            2 => w.advance(rng.random_range(0..50)),
            3 => w.rating.slow = rng.random_bool(0.5),
            4 => {
                w.release_one_answer();
            }
            5 => w.rating.renewals.push_back((Some(rng.random_range(0..200)), rng.random_bool(0.3))),
            6 => {
                w.rating.full = (11..14).filter(|_| rng.random_bool(0.2)).collect();
                w.rating.refuse = rng.random_bool(0.05).then_some(ServerReason::CpsLimit);
            }
            7 => {
                let port = FlowKey::new(0, rng.random_range(10_000..10_014));
                let mut packet = vec![0x80, 8, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9, 1, 2, 3];
                packet.truncate(rng.random_range(0..16));
                w.calls.handle_media(w.now, port, addr("192.0.2.10:5000"), PuntReason::Unlatched, &mut packet);
                w.drain();
            }
            8 if rng.random_bool(0.1) => {
                let running = w.calls.list().next().map(|c| c.flow_no);
                if let Some(flow_no) = running {
                    assert!(w.calls.kill(w.now, flow_no));
                    w.drain();
                }
            }
            _ if legs.is_empty() => {}
            _ => {
                // Mostly to the latest legs, so that calls get somewhere.
                let recent = legs.len().saturating_sub(6);
                let from = if rng.random_bool(0.9) { recent } else { 0 };
                let leg = legs[rng.random_range(from..legs.len())];
                let event = event(&mut rng);
                w.news(leg, event);
            }
        }
        while let Some((leg, order)) = w.orders.pop_front() {
            if matches!(order, LegEvent::Try(_)) {
                assert!(!leg.is_incoming() && !legs.contains(&leg), "a b-leg is new");
                legs.push(leg);
            }
        }
        let counts = w.calls.counts();
        assert!(counts.ports_leased <= 2 * counts.calls, "{counts:?}");
        let states = counts.authorizing + counts.trying + counts.ringing + counts.answering + counts.connected;
        assert_eq!(states, counts.calls, "{counts:?}");
    }
    w.rating.slow = false;
    w.drain();
    w.calls.shutdown(w.now);
    w.drain();
    w.orders.clear();
    w.nothing_left();
    assert_eq!(w.calls.counts().questions, unanswered(&w), "every question was answered or counted");
    for done in &w.done {
        let usage = &done.usage;
        assert!(usage.hold_ms >= 0 && usage.end_ms >= usage.setup_ms);
        assert!(usage.end_reason != 0 && !usage.end_reason_text.is_empty());
        assert_eq!(usage.connect_ms.is_none(), usage.sip_status_in != 200, "{usage:?}");
        if usage.connect_ms.is_none() {
            assert!((300..700).contains(&usage.sip_status_in), "{}", usage.sip_status_in);
            assert_eq!(usage.hold_ms, 0);
        } else {
            assert!(w.rating.started.iter().any(|s| s.flow_no == usage.flow_no), "a start record came before");
        }
    }
}

/// Renewals that the fake rating thread left without an answer.
fn unanswered(w: &World) -> usize {
    w.rating.unanswered
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn every_call_ends_once_and_leaves_nothing(seed in any::<u64>()) {
        storm(seed, 150);
    }
}

#[test]
fn a_long_storm() {
    storm(42, 20_000);
}
