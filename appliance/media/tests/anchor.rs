//! Whole stories of one call's media: caller, callee and whoever sprays packets at it, through the fast path table and
//! the anchor, as a shard would run them.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;
use tandem_ebpf_abi::{DropReason, FlowCounters, FlowKey, PuntReason, RemoveReason};
use tandem_media::anchor::{Anchor, MediaEvent, PacketOut, ResumedSide, Side, SideSetup};
use tandem_media::flow::FlowCommand;
use tandem_media::latch::LatchMode;
use tandem_media::offer_answer::{LegSdp, LocalMedia, RtcpMode};
use tandem_media::relay::{RelayVerdict, UserRelay};
use tandem_media::rules::AnchorRules;
use tandem_media::sdp::Sdp;
use tandem_media::stats::LegMedia;

const A: &str = "198.51.100.10:4000";
const B: &str = "192.0.2.10:6000";
const EVIL: &str = "203.0.113.66:666";
const PORT_A: u16 = 10_000;
const PORT_B: u16 = 10_002;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn sdp(address: &str, attributes: &str) -> Sdp {
    let a = at(address);
    format!(
        "v=0\no=x 1 1 IN IP4 {ip}\ns=-\nc=IN IP4 {ip}\nt=0 0\nm=audio {port} RTP/AVP 8 101\n\
a=rtpmap:101 telephone-event/8000\n{attributes}",
        ip = a.ip(),
        port = a.port()
    )
    .parse()
    .unwrap()
}

fn rtp(seq: u16, ssrc: u32) -> Vec<u8> {
    rtp_of(8, seq, u32::from(seq) * 160, ssrc)
}

fn rtp_of(pt: u8, seq: u16, timestamp: u32, ssrc: u32) -> Vec<u8> {
    let mut p = vec![0x80, pt];
    p.extend(seq.to_be_bytes());
    p.extend(timestamp.to_be_bytes());
    p.extend(ssrc.to_be_bytes());
    p.extend([0xd5; 160]);
    p
}

fn rtcp() -> Vec<u8> {
    vec![0x80, 201, 0, 1, 0, 0, 0, 7]
}

fn rules() -> AnchorRules {
    AnchorRules {
        own_media_ips: vec!["203.0.113.1".parse().unwrap()],
        prohibited: vec!["192.88.99.0/24".parse().unwrap()],
        policer_pps_min: 200,
        ..AnchorRules::default()
    }
}

fn setup(port: u16) -> SideSetup {
    SideSetup {
        key: FlowKey::new(0, port),
        local_ip: "203.0.113.1".parse().unwrap(),
        latch: None,
        nat: false,
        signalling_ip: None,
        hairpin: false,
    }
}

/// The shard in small: a table, an anchor, and the commands in between.
struct Shard {
    relay: UserRelay,
    anchor: Anchor,
    now: u64,
    events: Vec<MediaEvent>,
    removed: Vec<(u16, RemoveReason, FlowCounters)>,
    punts: Vec<PuntReason>,
}

impl Shard {
    fn new(rules: AnchorRules, a: SideSetup, b: SideSetup) -> Shard {
        let mut shard = Shard {
            relay: UserRelay::new(10_000..=10_099),
            anchor: Anchor::new(Arc::new(rules), a, b),
            now: 1_000_000,
            events: Vec::new(),
            removed: Vec::new(),
            punts: Vec::new(),
        };
        shard.drain();
        shard
    }

    fn drain(&mut self) {
        while let Some(command) = self.anchor.poll_flow() {
            self.removed.extend(self.relay.apply(&command));
        }
        while let Some(event) = self.anchor.poll_event() {
            self.events.push(event);
        }
    }

    fn remote(&mut self, side: Side, sdp: &Sdp) {
        self.anchor.set_remote(self.now, side, &sdp.media()[0]).unwrap();
        self.drain();
    }

    /// One datagram from `source` to the port of `side`: where it leaves to, from which port, and its bytes.
    fn packet(&mut self, side: Side, source: &str, mut bytes: Vec<u8>) -> Sent {
        let port = if side == Side::Caller { PORT_A } else { PORT_B };
        let sent = match self.relay.handle(self.now, port, at(source), &mut bytes) {
            RelayVerdict::Send { from_port, to, copy, .. } => {
                if let Some(reason) = copy {
                    self.anchor.handle_copy(self.now, side, reason, &bytes);
                }
                Ok((from_port, to.to_string(), bytes))
            }
            RelayVerdict::Drop(reason) => Err(reason),
            RelayVerdict::Punt(reason) => {
                self.punts.push(reason);
                let out = self.anchor.handle_packet(self.now, side, reason, at(source), &mut bytes);
                match out {
                    PacketOut::Forward { from_port, to, .. } => Ok((from_port, to.to_string(), bytes)),
                    PacketOut::Drop(reason) => Err(reason),
                }
            }
        };
        self.drain();
        sent
    }

    fn to(&mut self, side: Side, source: &str, bytes: Vec<u8>) -> Result<String, DropReason> {
        self.packet(side, source, bytes).map(|(_, to, _)| to)
    }
}

type Sent = Result<(u16, String, Vec<u8>), DropReason>;

/// Both SDPs known, both sides latched, answered.
fn established() -> Shard {
    let mut s = Shard::new(rules(), setup(PORT_A), setup(PORT_B));
    s.remote(Side::Caller, &sdp(A, ""));
    s.remote(Side::Callee, &sdp(B, ""));
    s.anchor.established(s.now);
    s.packet(Side::Caller, A, rtp(1, 0xa)).unwrap();
    s.packet(Side::Callee, B, rtp(1, 0xb)).unwrap();
    s.events.clear();
    s.punts.clear();
    s
}

#[test]
fn a_call_from_offer_to_close() {
    let mut s = Shard::new(rules(), setup(PORT_A), setup(PORT_B));
    let local = |port| LocalMedia { ip: "203.0.113.1".parse().unwrap(), port, rtcp: RtcpMode::Mux };
    let (mut leg_a, mut leg_b) = (LegSdp::new(1), LegSdp::new(2));
    let offer = sdp(A, "");
    s.remote(Side::Caller, &offer);
    let to_b = leg_b.offer(&offer, &local(PORT_B));
    assert_eq!(Sdp::parse(&to_b.body).unwrap().media()[0].port, PORT_B);
    // Nothing to send to yet: the caller's packet latches its side, and is dropped.
    assert_eq!(s.to(Side::Caller, A, rtp(1, 0xa)), Err(DropReason::NoDestination));
    assert_eq!(s.events, [MediaEvent::FirstRtp { side: Side::Caller, early: true }]);

    // 183 with an answer that numbers telephone-event differently, and early media.
    let answer: Sdp = "v=0\nc=IN IP4 192.0.2.10\nm=audio 6000 RTP/AVP 8 96\n\
a=rtpmap:96 telephone-event/8000\na=rtcp:6005\n"
        .parse()
        .unwrap();
    s.remote(Side::Callee, &answer);
    let to_a = leg_a.answer(&offer, &answer, &local(PORT_A));
    s.anchor.set_pt_map(s.now, Side::Callee, to_a.pt);
    s.anchor.set_pt_map(s.now, Side::Caller, to_a.pt.inverse());
    s.drain();
    let early = s.packet(Side::Callee, B, rtp(100, 0xb)).unwrap();
    assert_eq!((early.0, early.1.as_str()), (PORT_A, A));
    assert_eq!(s.events[1], MediaEvent::FirstRtp { side: Side::Callee, early: true });
    s.anchor.established(s.now);
    s.drain();

    // From here on the fast path does it alone, both ways, payload types rewritten with the marker kept.
    s.punts.clear();
    for n in 0..100u16 {
        s.now += 20_000;
        assert_eq!(s.to(Side::Caller, A, rtp(2 + n, 0xa)).as_deref(), Ok(B));
        assert_eq!(s.to(Side::Callee, B, rtp(101 + n, 0xb)).as_deref(), Ok(A));
    }
    let digit = s.packet(Side::Caller, A, rtp_of(0x80 | 101, 102, 7, 0xa)).unwrap();
    assert_eq!(digit.2[1], 0x80 | 96);
    let digit = s.packet(Side::Callee, B, rtp_of(96, 201, 7, 0xb)).unwrap();
    assert_eq!(digit.2[1], 101);
    // RTCP to A, who said nothing about it: port + 1. To B: its a=rtcp.
    assert_eq!(s.to(Side::Callee, B, rtcp()).as_deref(), Ok("198.51.100.10:4001"));
    assert_eq!(s.to(Side::Caller, A, rtcp()).as_deref(), Ok("192.0.2.10:6005"));
    assert_eq!(s.punts, []);

    s.anchor.close(RemoveReason::CallEnded);
    s.drain();
    assert!(s.relay.is_empty());
    let [(PORT_A, RemoveReason::CallEnded, fast_a), (PORT_B, RemoveReason::CallEnded, fast_b)] = &s.removed[..] else {
        panic!("{:?}", s.removed);
    };
    let a = LegMedia::merge([s.anchor.counters(Side::Caller), fast_a], s.anchor.quality(Side::Caller));
    let b = LegMedia::merge([s.anchor.counters(Side::Callee), fast_b], s.anchor.quality(Side::Callee));
    // A's first packet was dropped, so it is not in its count of relayed ones.
    assert_eq!((a.packets, a.lost, a.dropped, a.rtcp_packets), (101, 0, 1, 1));
    assert_eq!((b.packets, b.lost, b.dropped, b.rtcp_packets), (102, 0, 0, 1));
    assert_eq!(b.bytes, 102 * 172);
    assert_eq!(b.duration_us, 2_000_000);
    assert_eq!((b.jitter_mean_us, b.jitter_max_us), (0, 0));
    assert_eq!(b.mos_hundredths, 439);
    assert_eq!(s.to(Side::Caller, A, rtp(300, 0xa)), Err(DropReason::Closed));
    assert!(s.removed.len() == 2 && s.relay.is_empty(), "nothing comes back after the end");
}

#[test]
fn a_spray_changes_nothing_and_is_not_forwarded() {
    // "RTP Bleed": somebody sends plausible RTP to every port, before and after the sides latch.
    let mut s = Shard::new(rules(), setup(PORT_A), setup(PORT_B));
    s.remote(Side::Caller, &sdp(A, ""));
    s.remote(Side::Callee, &sdp(B, ""));
    for side in [Side::Caller, Side::Callee] {
        assert_eq!(s.to(side, EVIL, rtp(1, 1)), Err(DropReason::SourceMismatch));
        assert_eq!(s.anchor.learned(side), None);
    }
    s.packet(Side::Caller, A, rtp(1, 0xa)).unwrap();
    s.packet(Side::Callee, B, rtp(1, 0xb)).unwrap();
    s.anchor.established(s.now);
    s.drain();
    s.events.clear();
    s.punts.clear();
    for n in 0..1_000u16 {
        s.now += 3_000;
        for side in [Side::Caller, Side::Callee] {
            // The attacker even knows the SSRC, and the victim is silent.
            assert_eq!(s.to(side, EVIL, rtp(n, 0xa)), Err(DropReason::SourceMismatch));
        }
        assert_eq!(s.to(Side::Caller, EVIL, rtcp()), Err(DropReason::RtcpStray));
    }
    assert_eq!(s.events, []);
    assert_eq!(s.punts, [], "a spray at a fixed source costs user space nothing");
    assert_eq!(s.to(Side::Caller, A, rtp(2, 0xa)).as_deref(), Ok(B));
    assert_eq!(s.to(Side::Callee, B, rtp(2, 0xb)).as_deref(), Ok(A));
    let dropped = s.relay.counters(PORT_A).unwrap();
    assert_eq!(dropped.dropped(DropReason::SourceMismatch), 1_000);
    assert_eq!(dropped.packets, 1, "strangers are not counted as media");
}

#[test]
fn a_spray_at_a_nat_leg_gets_nothing_after_the_window() {
    let nat = SideSetup { nat: true, ..setup(PORT_A) };
    let mut s = Shard::new(rules(), nat, setup(PORT_B));
    s.remote(Side::Caller, &sdp("10.0.0.5:4000", ""));
    s.remote(Side::Callee, &sdp(B, ""));
    // Rule 1: the private address is not reachable, so nothing goes there.
    assert_eq!(s.to(Side::Callee, B, rtp(1, 0xb)), Err(DropReason::NoDestination));
    let phone = "198.51.100.77:31000";
    assert_eq!(s.to(Side::Caller, phone, rtp(1, 0xa)).as_deref(), Ok(B));
    assert_eq!(s.to(Side::Callee, B, rtp(2, 0xb)).as_deref(), Ok(phone));
    s.anchor.established(s.now);
    s.drain();
    // Rule 3: the phone's mapping changes once within three seconds.
    let moved = "198.51.100.77:31002";
    s.now += 2_900_000;
    assert_eq!(s.to(Side::Caller, moved, rtp(2, 0xa)).as_deref(), Ok(B));
    assert_eq!(s.events.last(), Some(&MediaEvent::Relatched { side: Side::Caller, from: at(phone), to: at(moved) }));
    assert_eq!(s.to(Side::Callee, B, rtp(3, 0xb)).as_deref(), Ok(moved));
    s.punts.clear();
    for _ in 0..100 {
        s.now += 10_000;
        assert_eq!(s.to(Side::Caller, EVIL, rtp(9, 9)), Err(DropReason::SourceMismatch));
    }
    assert_eq!(s.punts, []);
    // Rule 3b: another SSRC never inherits, however long the silence; the same one does after two seconds.
    assert_eq!(s.to(Side::Caller, moved, rtp(3, 0xa)).as_deref(), Ok(B));
    let heir = "198.51.100.77:40000";
    s.now += 1_999_999;
    assert_eq!(s.to(Side::Caller, heir, rtp(4, 0xa)), Err(DropReason::SourceMismatch));
    s.now += 1;
    assert_eq!(s.to(Side::Caller, EVIL, rtp(4, 9)), Err(DropReason::SourceMismatch));
    assert_eq!(s.to(Side::Caller, heir, rtp(4, 0xa)).as_deref(), Ok(B));
    assert_eq!(s.punts, [PuntReason::SourceSilent]);
    assert_eq!(s.to(Side::Callee, B, rtp(4, 0xb)).as_deref(), Ok(heir));
}

#[test]
fn the_window_closes_without_a_timer() {
    let nat = SideSetup { latch: Some(LatchMode::Always), ..setup(PORT_A) };
    let mut s = Shard::new(rules(), nat, setup(PORT_B));
    s.remote(Side::Caller, &sdp(A, ""));
    s.remote(Side::Callee, &sdp(B, ""));
    s.packet(Side::Caller, A, rtp(1, 0xa)).unwrap();
    s.anchor.established(s.now);
    s.drain();
    s.punts.clear();
    s.now += 3_000_000;
    for n in 0..10 {
        assert_eq!(s.to(Side::Caller, EVIL, rtp(n, 5)), Err(DropReason::SourceMismatch));
    }
    assert_eq!(s.punts, [PuntReason::SourceChange], "the first one closed it");
}

#[test]
fn four_moves_make_a_hijack_suspect() {
    let open = SideSetup { latch: Some(LatchMode::Always), ..setup(PORT_A) };
    let mut s = Shard::new(rules(), open, setup(PORT_B));
    s.remote(Side::Caller, &sdp(A, ""));
    s.remote(Side::Callee, &sdp(B, ""));
    s.anchor.established(s.now);
    s.drain();
    s.now += 5_000_000;
    let mut seq = 0;
    let mut send = |s: &mut Shard, source: &str| {
        seq += 2;
        // The heir's first packet latches in the slow path, the second one feeds the fast path.
        let first = s.to(Side::Caller, source, rtp(seq, 0xa));
        let _ = s.to(Side::Caller, source, rtp(seq + 1, 0xa));
        s.now += 2_000_000;
        first
    };
    for n in 0..4 {
        assert!(send(&mut s, &format!("198.51.100.10:500{n}")).is_ok());
    }
    s.events.clear();
    assert_eq!(send(&mut s, EVIL), Err(DropReason::Frozen));
    assert_eq!(s.events, [MediaEvent::HijackSuspect { side: Side::Caller, source: at(EVIL) }]);
    assert_eq!(s.anchor.learned(Side::Caller), Some(at("198.51.100.10:5003")));
    s.punts.clear();
    assert_eq!(send(&mut s, EVIL), Err(DropReason::SourceMismatch));
    assert_eq!(s.punts, [], "frozen in the fast path too");
}

#[test]
fn hold_stops_the_direction_that_is_not_wanted_and_resume_opens_it() {
    let mut s = established();
    s.remote(Side::Caller, &sdp(A, "a=sendonly\n"));
    s.remote(Side::Callee, &sdp(B, "a=recvonly\n"));
    assert!(s.anchor.on_hold());
    assert_eq!(s.to(Side::Caller, A, rtp(2, 0xa)).as_deref(), Ok(B), "music on hold");
    assert_eq!(s.to(Side::Callee, B, rtp(2, 0xb)), Err(DropReason::OnHold));
    assert!(s.to(Side::Callee, B, rtcp()).is_ok(), "reports go on");
    s.remote(Side::Caller, &sdp(A, ""));
    s.remote(Side::Callee, &sdp(B, ""));
    assert!(!s.anchor.on_hold());
    assert_eq!(s.to(Side::Callee, B, rtp(3, 0xb)).as_deref(), Ok(A));
    assert_eq!((&s.events[..], &s.punts[..]), (&[][..], &[][..]), "no source was forgotten");
}

#[test]
fn the_old_hold_keeps_the_source() {
    let mut s = established();
    s.remote(Side::Caller, &sdp("0.0.0.0:4000", ""));
    assert!(s.anchor.on_hold());
    assert_eq!(s.to(Side::Callee, B, rtp(2, 0xb)), Err(DropReason::OnHold));
    s.remote(Side::Caller, &sdp(A, ""));
    assert_eq!(s.to(Side::Callee, B, rtp(3, 0xb)).as_deref(), Ok(A));
}

#[test]
fn a_new_address_in_a_re_invite_moves_the_media() {
    let mut s = established();
    let moved = "192.0.2.11:7000";
    s.remote(Side::Callee, &sdp(moved, ""));
    assert_eq!(s.to(Side::Caller, A, rtp(2, 0xa)).as_deref(), Ok(moved), "at once, rule 1");
    assert_eq!(s.to(Side::Callee, B, rtp(2, 0xb)), Err(DropReason::SourceMismatch));
    assert_eq!(s.to(Side::Callee, moved, rtp(2, 0xb)).as_deref(), Ok(A));
    assert_eq!(s.events, [MediaEvent::Relatched { side: Side::Callee, from: at(B), to: at(moved) }]);
}

#[test]
fn rtcp_from_its_own_port_latches_once_and_only_there() {
    let mut s = established();
    assert_eq!(s.to(Side::Caller, EVIL, rtcp()), Err(DropReason::RtcpStray));
    assert!(s.to(Side::Caller, "198.51.100.10:4001", rtcp()).is_ok());
    assert_eq!(s.punts, [PuntReason::RtcpUnlatched]);
    assert!(s.to(Side::Caller, "198.51.100.10:4001", rtcp()).is_ok());
    assert_eq!(s.punts.len(), 1, "the fast path knows it now");
    assert_eq!(s.to(Side::Caller, "198.51.100.10:4003", rtcp()), Err(DropReason::RtcpStray));
}

#[test]
fn rtcp_goes_to_the_rtp_port_of_a_peer_that_muxes() {
    let mut s = Shard::new(rules(), setup(PORT_A), setup(PORT_B));
    s.remote(Side::Caller, &sdp(A, "a=rtcp-mux\na=rtcp:4001\n"));
    s.remote(Side::Callee, &sdp(B, ""));
    s.packet(Side::Callee, B, rtp(1, 0xb)).unwrap();
    assert_eq!(s.to(Side::Callee, B, rtcp()).as_deref(), Ok(A));
}

#[test]
fn prohibited_addresses_are_neither_sent_to_nor_learned() {
    let mut s = Shard::new(rules(), SideSetup { latch: Some(LatchMode::Always), ..setup(PORT_A) }, setup(PORT_B));
    for (address, why) in [
        ("127.0.0.1:4000", "loopback"),
        ("224.1.1.1:4000", "multicast"),
        ("203.0.113.1:10000", "own media address"),
        ("192.88.99.1:4000", "prohibited media address"),
    ] {
        let refused = s.anchor.set_remote(0, Side::Caller, &sdp(address, "").media()[0]).unwrap_err();
        assert_eq!(refused.why, why);
        assert_eq!(s.to(Side::Caller, address, rtp(1, 1)), Err(DropReason::Prohibited), "{address}");
    }
    assert_eq!(s.anchor.learned(Side::Caller), None);
}

#[test]
fn loopback_is_allowed_by_configuration() {
    let demo = AnchorRules { allow_loopback: true, ..rules() };
    let mut s = Shard::new(demo, setup(PORT_A), setup(PORT_B));
    s.remote(Side::Caller, &sdp("127.0.0.20:4000", ""));
    s.remote(Side::Callee, &sdp("127.0.0.30:6000", ""));
    assert_eq!(s.to(Side::Caller, "127.0.0.20:4000", rtp(1, 1)).as_deref(), Ok("127.0.0.30:6000"));
}

#[test]
fn a_second_attempt_starts_with_nothing_learned() {
    let mut s = Shard::new(rules(), setup(PORT_A), setup(PORT_B));
    s.remote(Side::Caller, &sdp(A, ""));
    s.remote(Side::Callee, &sdp(B, ""));
    s.packet(Side::Callee, B, rtp(1, 0xb)).unwrap();
    s.packet(Side::Callee, B, rtp(2, 0xb)).unwrap();
    let slow = s.anchor.next_attempt(s.now, Side::Callee, setup(PORT_B));
    s.drain();
    assert_eq!(slow.packets, 1);
    assert_eq!((s.removed[0].1, s.removed[0].2.packets), (RemoveReason::AttemptEnded, 1));
    let second = "192.0.2.11:7000";
    s.remote(Side::Callee, &sdp(second, ""));
    assert_eq!(s.to(Side::Callee, B, rtp(3, 0xb)), Err(DropReason::SourceMismatch));
    assert_eq!(s.to(Side::Callee, second, rtp(1, 0xc)).as_deref(), Ok(A));
    assert_eq!(s.to(Side::Caller, A, rtp(1, 0xa)).as_deref(), Ok(second));
    assert_eq!(s.anchor.counters(Side::Callee).packets, 1);
}

#[test]
fn what_is_no_media_is_dropped_by_name() {
    let mut s = established();
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.extend([0; 12]);
    for (bytes, reason) in [
        (stun, DropReason::Stun),
        (vec![22; 40], DropReason::Dtls),
        (vec![0x80, 8, 0, 1], DropReason::TooShort),
        (vec![], DropReason::TooShort),
        (vec![0xff; 40], DropReason::BadVersion),
    ] {
        assert_eq!(s.to(Side::Caller, A, bytes), Err(reason));
    }
    let mut fresh = Shard::new(rules(), setup(PORT_A), setup(PORT_B));
    fresh.remote(Side::Caller, &sdp(A, ""));
    fresh.remote(Side::Callee, &sdp(B, ""));
    // Payload type 60 was not negotiated and is in no common range (rule 2).
    assert_eq!(fresh.to(Side::Caller, A, rtp_of(60, 1, 1, 1)), Err(DropReason::UnknownPayloadType));
    assert_eq!(fresh.anchor.learned(Side::Caller), None);
}

#[test]
fn a_flood_from_the_right_source_is_policed() {
    let mut s = established();
    let mut passed = 0;
    for n in 0..1_000u16 {
        // 1,000 packets in one second, where 200 a second and a burst of 200 are allowed.
        s.now += 1_000;
        passed += u32::from(s.to(Side::Caller, A, rtp(2 + n, 0xa)).is_ok());
    }
    assert!((399..=401).contains(&passed), "{passed}");
}

proptest! {
    /// Whatever arrives from wherever: every packet is forwarded or counted as dropped, nothing goes where no party is,
    /// and a stranger at a strict leg is never forwarded.
    #[test]
    fn in_is_out_plus_dropped(
        steps in proptest::collection::vec((any::<bool>(), 0usize..4, 0usize..6, 0u64..1_500_000), 1..200),
        answer_at in 0usize..100, nat: bool,
    ) {
        let sources = [A, B, EVIL, "198.51.100.10:4001"];
        let caller = SideSetup { nat, ..setup(PORT_A) };
        let mut s = Shard::new(rules(), caller, setup(PORT_B));
        s.remote(Side::Caller, &sdp(A, ""));
        s.remote(Side::Callee, &sdp(B, ""));
        let (mut sent, mut dropped) = (0u64, 0u64);
        for (n, (to_caller, source, kind, wait)) in steps.iter().enumerate() {
            s.now += wait;
            if n == answer_at {
                s.anchor.established(s.now);
                s.drain();
            }
            let side = if *to_caller { Side::Caller } else { Side::Callee };
            let bytes = match kind {
                0 => rtcp(),
                1 => rtp_of(60, n as u16, 1, 7),
                2 => vec![0; 30],
                3 => rtp(n as u16, 9),
                _ => rtp(n as u16, 7),
            };
            match s.to(side, sources[*source], bytes) {
                Ok(to) => {
                    sent += 1;
                    prop_assert!(side == Side::Caller && nat || sources[*source] != EVIL);
                    prop_assert!(nat || to != EVIL);
                }
                Err(_) => dropped += 1,
            }
        }
        s.anchor.close(RemoveReason::CallEnded);
        s.drain();
        let parts = s.removed.iter().map(|r| &r.2).chain([
            s.anchor.counters(Side::Caller),
            s.anchor.counters(Side::Callee),
        ]);
        let (mut counted, mut counted_drops) = (0, 0);
        for c in parts {
            counted += c.packets + c.rtcp_packets;
            counted_drops += c.dropped_total();
        }
        prop_assert_eq!((counted, counted_drops), (sent, dropped));
        prop_assert!(s.relay.is_empty());
    }
}

#[test]
fn one_leg_may_speak_ipv6() {
    let six = SideSetup { local_ip: "2001:db8::1".parse().unwrap(), ..setup(PORT_B) };
    let b = "[2001:db8::b]:6000";
    let mut s = Shard::new(rules(), setup(PORT_A), six);
    s.remote(Side::Caller, &sdp(A, ""));
    let answer = "v=0\nc=IN IP6 2001:db8::b\nm=audio 6000 RTP/AVP 8\n";
    s.remote(Side::Callee, &answer.parse().unwrap());
    let mut bytes = rtp(1, 0xa);
    let out = s.anchor.handle_packet(s.now, Side::Caller, PuntReason::Unlatched, at(A), &mut bytes);
    let from_ip = "2001:db8::1".parse().unwrap();
    assert_eq!(out, PacketOut::Forward { from_port: PORT_B, from_ip, to: at(b) });
    s.drain();
    assert_eq!(s.to(Side::Callee, b, rtp(1, 0xb)).as_deref(), Ok(A));
    assert_eq!(s.to(Side::Callee, b, rtp(2, 0xb)).as_deref(), Ok(A));
    let counters = s.relay.counters(PORT_B).unwrap();
    assert_eq!((counters.packets, counters.bytes_wire), (1, 172 + 48));
}

/// What another life makes of a side: the flow that is still forwarding says where it latched.
fn resumed(s: &Shard, side: Side, port: u16, description: &Sdp) -> ResumedSide {
    ResumedSide {
        setup: setup(port),
        stream: Some(description.media()[0].clone()),
        pt: *s.anchor.pt(side),
        source: s.anchor.learned(side),
        rtcp_source: None,
        version: 7,
    }
}

#[test]
fn the_media_of_an_answered_call_goes_on_in_another_life() {
    let mut s = established();
    s.to(Side::Caller, A, rtp(1, 1)).unwrap();
    s.to(Side::Callee, B, rtp(1, 2)).unwrap();
    let counted = s.relay.counters(PORT_A).unwrap().packets;
    s.to(Side::Caller, A, rtp(2, 1)).unwrap();
    let sides = [resumed(&s, Side::Caller, PORT_A, &sdp(A, "")), resumed(&s, Side::Callee, PORT_B, &sdp(B, ""))];
    s.now += 60_000_000;
    s.anchor = Anchor::resume(Arc::new(rules()), s.now, sides);
    let mut installed = Vec::new();
    while let Some(command) = s.anchor.poll_flow() {
        let FlowCommand::Install { key, value } = command else { panic!("{command:?}") };
        assert_eq!(value.version, 8, "counted on from the flow that is there");
        assert!(value.source().is_some() && value.out_dest(false).is_some(), "{value:?}");
        installed.push(key.port);
        s.relay.apply(&command);
    }
    assert_eq!(installed, [PORT_A, PORT_B], "each flow once: what forwards is never without its source");
    s.punts.clear();
    assert_eq!(s.to(Side::Caller, A, rtp(3, 1)).unwrap(), B);
    assert_eq!(s.to(Side::Callee, B, rtp(2, 2)).unwrap(), A);
    assert_eq!(s.punts, []);
    assert_eq!(s.relay.counters(PORT_A).unwrap().packets, counted + 2, "the counters go on");
    assert_eq!(s.to(Side::Caller, EVIL, rtp(4, 1)), Err(DropReason::SourceMismatch), "no window opens by a restart");
    s.remote(Side::Caller, &sdp("198.51.100.77:4444", ""));
    assert_eq!(s.to(Side::Callee, B, rtp(3, 2)).unwrap(), "198.51.100.77:4444", "a re-INVITE moves it as ever");
}

#[test]
fn without_a_flow_that_outlived_the_process_the_next_packet_latches() {
    let s = established();
    let blank = |side, port, text| ResumedSide { source: None, version: 0, ..resumed(&s, side, port, &sdp(text, "")) };
    let sides = [blank(Side::Caller, PORT_A, A), blank(Side::Callee, PORT_B, B)];
    let mut s = Shard::new(rules(), setup(PORT_A), setup(PORT_B));
    s.relay = UserRelay::new(10_000..=10_099);
    s.anchor = Anchor::resume(Arc::new(rules()), s.now, sides);
    s.drain();
    assert_eq!(s.to(Side::Caller, EVIL, rtp(4, 1)), Err(DropReason::SourceMismatch));
    assert_eq!(s.to(Side::Caller, A, rtp(5, 1)).unwrap(), B);
    assert_eq!(s.to(Side::Callee, B, rtp(5, 2)).unwrap(), A);
}
