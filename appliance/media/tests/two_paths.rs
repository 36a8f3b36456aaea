//! A packet that the fast path leaves to user space is judged with what that path has heard.

use std::net::SocketAddr;

use tandem_ebpf_abi::{DropReason, Endpoint, FlowCounters, FlowValue, PuntReason};
use tandem_media::{RelayVerdict, UserRelay};

const PORT: u16 = 10_000;
const SSRC: u32 = 7;
/// Well past the two seconds after which a source counts as silent (media.md 4 rule 3).
const NOW_US: u64 = 100_000_000;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A latched flow whose own first packet is long ago.
fn relay() -> UserRelay {
    let source = Endpoint::from(address("192.0.2.9:4000"));
    let dest = Endpoint::from(address("192.0.2.20:5000"));
    let value = FlowValue {
        source_ip: source.ip,
        source_port: source.port,
        out_source_ip: Endpoint::from(address("192.0.2.1:10002")).ip,
        out_source_port: 10_002,
        out_dest_ip: dest.ip,
        out_dest_port: dest.port,
        family: 4,
        dtmf_pt: 255,
        clock_hz: 8_000,
        version: 1,
        ..FlowValue::default()
    };
    let mut relay = UserRelay::new(PORT..=PORT + 9);
    assert!(relay.install(PORT, value));
    relay
}

fn rtp() -> Vec<u8> {
    let mut packet = vec![0x80, 8, 0, 1, 0, 0, 0, 0];
    packet.extend(SSRC.to_be_bytes());
    packet.resize(172, 0xd5);
    packet
}

fn heard(last_us: u64) -> FlowCounters {
    FlowCounters { packets: 500, last_us, ssrc: SSRC, ..FlowCounters::ZERO }
}

#[test]
fn a_stranger_does_not_find_a_sender_silent_that_the_kernel_hears() {
    let mut relay = relay();
    // User space forwarded the first packet, long ago.
    let first = relay.handle(1_000_000, PORT, address("192.0.2.9:4000"), &mut rtp());
    assert!(matches!(first, RelayVerdict::Send { .. }), "{first:?}");
    let stranger = address("203.0.113.5:4000");
    let alone = relay.handle(NOW_US, PORT, stranger, &mut rtp());
    assert_eq!(alone, RelayVerdict::Punt(PuntReason::SourceSilent), "what user space alone would think");
    let beside = relay.handle_beside(NOW_US, PORT, stranger, &mut rtp(), &heard(NOW_US - 20_000));
    assert_eq!(beside, RelayVerdict::Drop(DropReason::SourceMismatch));
    assert_eq!(relay.counters(PORT).unwrap().dropped(DropReason::SourceMismatch), 1);
}

#[test]
fn a_sender_that_moved_is_found_though_only_the_kernel_heard_it() {
    let mut relay = relay();
    let moved = address("192.0.2.9:4444");
    let alone = relay.handle(NOW_US, PORT, moved, &mut rtp());
    assert_eq!(alone, RelayVerdict::Drop(DropReason::SourceMismatch), "what user space alone would think");
    let beside = relay.handle_beside(NOW_US, PORT, moved, &mut rtp(), &heard(NOW_US - 3_000_000));
    assert_eq!(beside, RelayVerdict::Punt(PuntReason::SourceSilent));
}

#[test]
fn the_sender_itself_goes_on_and_is_counted_once() {
    let mut relay = relay();
    let sent = relay.handle_beside(NOW_US, PORT, address("192.0.2.9:4000"), &mut rtp(), &heard(NOW_US - 20_000));
    assert!(matches!(sent, RelayVerdict::Send { .. }), "{sent:?}");
    assert_eq!(relay.counters(PORT).unwrap().packets, 1, "the kernel's packets are its own");
}
