//! Media: what arrives on a media port, as a UDP payload and as a whole Ethernet frame, through the code that the kernel
//! program, the user-space relay and the slow path share.
//!
//! The input is a list of packets: a byte of flags for the flow, then packets, each with its length in two bytes (big
//! endian) before it. Every packet is taken once as a payload and once as a frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tandem_ebpf_abi::{Endpoint, FlowCounters, FlowKey, FlowValue, IpWords, PtRewrite, PuntReason};
use tandem_forward::frame::{self, Frame, Version};
use tandem_forward::{Verdict, count, verdict};
use tandem_media::anchor::{Anchor, PacketOut, Side, SideSetup};
use tandem_media::relay::{RelayVerdict, UserRelay};
use tandem_media::rtcp::{Quality, reports};
use tandem_media::rtp::RtpPacket;
use tandem_media::rules::AnchorRules;
use tandem_media::stats::LegMedia;

const CALLER_PORT: u16 = 10_000;
const CALLEE_PORT: u16 = 10_002;
/// Packets of one input; more only makes it slow.
const PACKETS_MAX: usize = 64;
/// Time between two packets, microseconds.
const STEP_US: u64 = 20_000;

/// A flow and its packets.
pub fn run(bytes: &[u8]) {
    let Some((&flags, rest)) = bytes.split_first() else { return };
    let packets = packets(rest);
    let flow = flow(flags);
    relay(&flow, &packets);
    anchor(flags, &packets);
    let mut counters = FlowCounters::ZERO;
    for (packet, now_us) in packets.iter().zip((STEP_US..).step_by(STEP_US as usize)) {
        views(packet);
        through_the_kernel(&flow, &mut counters, packet, now_us);
    }
}

fn packets(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<2>()
        && packets.len() < PACKETS_MAX
    {
        let (packet, after) = tail.split_at(tail.len().min(usize::from(u16::from_be_bytes(*head))));
        packets.push(packet);
        rest = after;
    }
    packets
}

fn views(packet: &[u8]) {
    if let Some(rtp) = RtpPacket::read(packet) {
        assert!(rtp.payload.len() + 12 <= packet.len());
    }
    // A report block is 24 bytes, a packet at least 4.
    assert!(reports(packet).count() <= packet.len() / 4 + 1);
    let mut quality = Quality::default();
    quality.forwarded(1, packet);
    quality.received(2, packet);
}

fn source(packet: &[u8]) -> SocketAddr {
    // Now and then somebody else sends.
    let stranger = packet.last().is_some_and(|byte| byte % 8 == 7);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), if stranger { 4002 } else { 4000 })
}

fn flow(flags: u8) -> FlowValue {
    let v6 = flags & 1 != 0;
    let ip = |n: u8| {
        if v6 {
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()))
        } else {
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))
        }
    };
    let mut flow = FlowValue {
        source_ip: IpWords::from(ip(1)),
        source_port: if flags & 2 != 0 { 0 } else { 4000 },
        out_source_ip: IpWords::from(ip(9)),
        out_source_port: CALLEE_PORT,
        out_dest_ip: IpWords::from(ip(5)),
        out_dest_port: if flags & 4 != 0 { 0 } else { 5000 },
        rtcp_dest_ip: IpWords::from(ip(5)),
        rtcp_dest_port: 5001,
        family: if v6 { 6 } else { 4 },
        tos: 0xb8,
        flags: u16::from(flags >> 3),
        pt_count: 2,
        dtmf_pt: 101,
        clock_hz: 8000,
        policer_pps: 60,
        policer_burst: 8,
        version: 1,
        ..FlowValue::default()
    };
    flow.pt[0] = PtRewrite { from: 8, to: 0 };
    flow.pt[1] = PtRewrite { from: 96, to: 101 };
    flow
}

/// The table of the user-space relay: every packet is sent, punted or dropped, and counted so.
fn relay(flow: &FlowValue, packets: &[&[u8]]) {
    let mut relay = UserRelay::new(CALLER_PORT..=CALLEE_PORT);
    assert!(relay.install(CALLER_PORT, *flow));
    let (mut sent, mut dropped) = (0u64, 0u64);
    for (packet, now_us) in packets.iter().zip((STEP_US..).step_by(STEP_US as usize)) {
        let mut copy = packet.to_vec();
        match relay.handle(now_us, CALLER_PORT, source(packet), &mut copy) {
            RelayVerdict::Send { from_port, to, .. } => {
                sent += 1;
                assert_eq!((from_port, to.port() / 10), (CALLEE_PORT, 500), "it goes where the flow says");
            }
            RelayVerdict::Punt(_) => {}
            RelayVerdict::Drop(_) => dropped += 1,
        }
        only_the_payload_type_changed(packet, &copy);
    }
    let Some(counters) = relay.remove(CALLER_PORT) else { panic!("the flow is gone") };
    assert_eq!(counters.packets + counters.rtcp_packets, sent, "what is sent is counted");
    assert_eq!(counters.dropped_total(), dropped, "what is dropped is counted");
    let media = LegMedia::merge([&counters], &Quality::default());
    assert!(media.loss_bp() <= 10_000, "more than everything was lost");
    assert!(relay.is_empty());
}

fn only_the_payload_type_changed(before: &[u8], after: &[u8]) {
    assert_eq!(before.len(), after.len());
    for (at, (old, new)) in before.iter().zip(after).enumerate() {
        assert!(old == new || (at == 1 && old & 0x80 == new & 0x80), "byte {at} changed");
    }
}

/// The slow path: latching.
fn anchor(flags: u8, packets: &[&[u8]]) {
    let local: IpAddr = Ipv4Addr::new(192, 0, 2, 9).into();
    let side = |port| SideSetup {
        key: FlowKey::new(0, port),
        local_ip: local,
        latch: None,
        nat: flags & 1 != 0,
        signalling_ip: None,
        hairpin: false,
    };
    let mut anchor = Anchor::new(Arc::new(AnchorRules::default()), side(CALLER_PORT), side(CALLEE_PORT));
    assert_eq!(std::iter::from_fn(|| anchor.poll_flow()).count(), 2, "a flow for each side");
    for (packet, now_us) in packets.iter().zip((STEP_US..).step_by(STEP_US as usize)) {
        let side = if packet.first().is_some_and(|byte| byte & 1 != 0) { Side::Caller } else { Side::Callee };
        let mut copy = packet.to_vec();
        let out = anchor.handle_packet(now_us, side, PuntReason::Unlatched, source(packet), &mut copy);
        if let PacketOut::Forward { from_ip, .. } = out {
            assert_eq!(from_ip, local);
        }
        only_the_payload_type_changed(packet, &copy);
        if packet.len() % 16 == 3 {
            anchor.established(now_us);
        }
        while anchor.poll_event().is_some() {}
        while anchor.poll_flow().is_some() {}
    }
    anchor.close(tandem_ebpf_abi::RemoveReason::CallEnded);
    assert_eq!(std::iter::from_fn(|| anchor.poll_flow()).count(), 2, "both flows are taken back");
}

/// What the XDP program does with a frame: parse, look up, judge, count, rewrite.
fn through_the_kernel(flow: &FlowValue, counters: &mut FlowCounters, bytes: &[u8], now_us: u64) {
    let Ok(frame) = frame::parse(bytes) else { return };
    let payload = frame.payload(bytes);
    assert_eq!(payload.len(), frame.payload_len);
    // Half of the sources are the expected one, whatever the fuzzer writes.
    let from = if bytes.len().is_multiple_of(2) {
        Endpoint { ip: flow.source_ip, port: flow.source_port }
    } else {
        frame.source
    };
    let Verdict::Send { rtcp, .. } = verdict(flow, counters, from, payload, now_us) else { return };
    count(flow, counters, payload, frame.wire_bytes(), now_us);
    let mut out = bytes.to_vec();
    if frame::rewrite(&mut out, &frame, flow, rtcp).is_err() {
        assert_eq!(out, bytes, "a refused rewrite changes nothing");
        return;
    }
    let again = frame::parse(&out).expect("what was rewritten can be read again");
    assert_eq!(again.ttl, frame.ttl - 1);
    assert_eq!((again.ip, again.payload, again.payload_len), (frame.ip, frame.payload, frame.payload_len));
    assert_eq!(again.source, flow.out_source());
    assert_eq!(Some(again.dest), flow.out_dest(rtcp));
    only_the_payload_type_changed(payload, again.payload(&out));
    for (name, sum) in [("IP", ip_sum as fn(&[u8], &Frame) -> Option<u16>), ("UDP", udp_sum)] {
        if let (Some(0xffff), after) = (sum(bytes, &frame), sum(&out, &again)) {
            assert_eq!(after, Some(0xffff), "the {name} checksum was right and is not any more");
        }
    }
}

/// The one's complement sum of the IPv4 header: 0xffff when it is right. IPv6 has none.
fn ip_sum(bytes: &[u8], frame: &Frame) -> Option<u16> {
    (frame.version == Version::V4).then(|| sum(&bytes[frame.ip..frame.udp], 0))
}

/// The same of UDP with its pseudo-header; `None` without a checksum.
fn udp_sum(bytes: &[u8], frame: &Frame) -> Option<u16> {
    let datagram = &bytes[frame.udp..frame.payload + frame.payload_len];
    if datagram[6..8] == [0, 0] {
        return None;
    }
    let addresses = match frame.version {
        Version::V4 => &bytes[frame.ip + 12..frame.ip + 20],
        Version::V6 => &bytes[frame.ip + 8..frame.ip + 40],
    };
    Some(sum(datagram, u32::from(sum(addresses, 17)) + datagram.len() as u32))
}

fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (sum & 0xffff) as u16 + (sum >> 16) as u16
}
