//! Descriptions read and rewritten, and the decision on one packet in user space.

use std::hint::black_box;
use std::net::SocketAddr;

use tandem_ebpf_abi::{Endpoint, FlowValue};
use tandem_media::offer_answer::{LegSdp, LocalMedia, RtcpMode};
use tandem_media::relay::UserRelay;
use tandem_media::sdp::Sdp;

use crate::harness::Bench;
use crate::material;

pub(crate) const BENCHES: &[Bench] = &[
    Bench { name: "sdp_parse", what: "a description of one audio stream, 14 lines", make: sdp_parse },
    Bench { name: "sdp_parse_rewrite", what: "the same, written anew for the other leg", make: sdp_rewrite },
    Bench { name: "relay_packet", what: "user-space relay decision on a 20 ms packet, 10,000 flows", make: relay },
];

/// Flows of 5,000 calls, as many as the figures of media are told for.
const FLOWS: u16 = 10_000;
const FIRST_PORT: u16 = 10_000;

fn sdp_parse() -> Box<dyn FnMut()> {
    let text = material::sdp();
    Box::new(move || {
        let _ = black_box(Sdp::parse(black_box(&text)));
    })
}

fn sdp_rewrite() -> Box<dyn FnMut()> {
    let text = material::sdp();
    let local = LocalMedia { ip: material::address("203.0.113.1:0").ip(), port: 10_002, rtcp: RtcpMode::Mux };
    Box::new(move || {
        if let Ok(sdp) = Sdp::parse(black_box(&text)) {
            // A new session each time: a repeated offer would be found unchanged.
            black_box(LegSdp::new(1).offer(&sdp, &local));
        }
    })
}

fn relay() -> Box<dyn FnMut()> {
    let caller: SocketAddr = material::address("198.51.100.10:4000");
    let source = Endpoint::from(caller);
    let out = Endpoint::from(material::address("192.0.2.10:6000"));
    let mut relay = UserRelay::new(FIRST_PORT..=39_999);
    for port in FIRST_PORT..FIRST_PORT + FLOWS {
        let flow = FlowValue {
            source_ip: source.ip,
            source_port: source.port,
            out_source_ip: Endpoint::from(material::address("203.0.113.1:0")).ip,
            out_source_port: port ^ 1,
            out_dest_ip: out.ip,
            out_dest_port: out.port,
            family: 4,
            dtmf_pt: 101,
            clock_hz: 8_000,
            version: 1,
            ..FlowValue::default()
        };
        relay.install(port, flow);
    }
    let mut packet = [0xd5_u8; 172];
    packet[..2].copy_from_slice(&[0x80, 8]);
    packet[8..12].copy_from_slice(&[0, 0, 0, 7]);
    let (mut turn, mut now_us) = (0_u32, 1_000_000_u64);
    Box::new(move || {
        // Every flow in turn, its next packet 20 ms after the last: no cache holds them all.
        let port = FIRST_PORT + (turn % u32::from(FLOWS)) as u16;
        let packets = turn / u32::from(FLOWS);
        packet[2..4].copy_from_slice(&(packets as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&packets.wrapping_mul(160).to_be_bytes());
        turn = turn.wrapping_add(1);
        now_us += 2;
        black_box(relay.handle(now_us, port, caller, &mut packet));
    })
}
