//! Loss, order and jitter of sequences whose result is known; and against a slow, obvious recount.

use std::collections::HashSet;

use proptest::prelude::*;
use tandem_ebpf_abi::{DropReason, Endpoint, FLAG_SSRC_PINNED, FlowCounters, FlowValue, PuntReason};
use tandem_forward::{Verdict, count, verdict};

fn flow() -> FlowValue {
    let source = peer();
    FlowValue {
        source_ip: source.ip,
        source_port: source.port,
        out_dest_ip: source.ip,
        out_dest_port: 9,
        dtmf_pt: 101,
        clock_hz: 8_000,
        version: 1,
        ..FlowValue::default()
    }
}

fn peer() -> Endpoint {
    Endpoint::from("192.0.2.1:4000".parse::<std::net::SocketAddr>().unwrap())
}

fn rtp(pt: u8, seq: u16, timestamp: u32, ssrc: u32) -> [u8; 172] {
    let mut p = [0; 172];
    (p[0], p[1]) = (0x80, pt);
    p[2..4].copy_from_slice(&seq.to_be_bytes());
    p[4..8].copy_from_slice(&timestamp.to_be_bytes());
    p[8..12].copy_from_slice(&ssrc.to_be_bytes());
    p
}

/// Counts these sequence numbers, 20 ms apart.
fn sequence(numbers: &[u16]) -> FlowCounters {
    let mut c = FlowCounters::ZERO;
    for (at, seq) in numbers.iter().enumerate() {
        let p = rtp(8, *seq, at as u32 * 160, 7);
        count(&flow(), &mut c, &p, 200, 1_000 + at as u64 * 20_000);
    }
    c
}

#[test]
fn loss_duplicates_and_order() {
    for (name, numbers, lost, duplicates, reordered) in [
        ("in order", &[1u16, 2, 3, 4][..], 0, 0, 0),
        ("a gap", &[1, 2, 5, 6], 2, 0, 0),
        ("a gap that fills", &[1, 2, 4, 3, 5], 0, 0, 1),
        ("a duplicate", &[1, 2, 2, 3], 0, 1, 0),
        ("a late duplicate", &[1, 2, 3, 1, 4], 0, 1, 0),
        ("over the edge", &[65_534, 65_535, 0, 1], 0, 0, 0),
        ("a gap over the edge", &[65_534, 1, 65_535], 1, 0, 1),
        ("older than the first is nobody's loss", &[10, 12, 9], 1, 1, 0),
    ] {
        let c = sequence(numbers);
        assert_eq!((c.lost, c.duplicates, c.reordered), (lost, duplicates, reordered), "{name}: {numbers:?}");
        assert_eq!(c.packets, numbers.len() as u64);
    }
}

#[test]
fn a_jump_is_no_loss() {
    let c = sequence(&[1, 2, 30_000, 30_001, 30_003]);
    assert_eq!((c.lost, c.seq_jumps), (1, 1));
    assert_eq!(c.seq_highest & 0xffff, 30_003);
}

#[test]
fn a_new_ssrc_starts_over_and_keeps_the_sums() {
    let mut c = sequence(&[1, 3]);
    let changed = count(&flow(), &mut c, &rtp(8, 900, 5, 8), 200, 100_000);
    assert!(changed.ssrc_changed && !changed.first);
    assert_eq!((c.lost, c.ssrc_changes, c.packets, c.ssrc), (1, 1, 3, 8));
    assert!(!count(&flow(), &mut c, &rtp(8, 901, 165, 8), 200, 120_000).ssrc_changed);
}

#[test]
fn jitter_follows_rfc_3550() {
    // Arrivals alternate 10 ms early and late: |D| is 20 ms = 160 units each time, so J goes to 160.
    let mut c = FlowCounters::ZERO;
    let mut expected = 0.0f64;
    for n in 0..400u64 {
        let at = 1_000_000 + n * 20_000 + if n % 2 == 0 { 0 } else { 20_000 };
        count(&flow(), &mut c, &rtp(8, n as u16, n as u32 * 160, 7), 200, at);
        if n > 0 {
            expected += (160.0 - expected) / 16.0;
        }
        let have = f64::from(c.jitter_scaled) / 16.0;
        assert!((have - expected).abs() < 1.0, "packet {n}: {have} for {expected}");
    }
    // The integer form settles within one unit below.
    assert!((159..=160).contains(&(c.jitter_max_scaled >> 4)));
    assert_eq!(c.jitter_samples, 399);
}

#[test]
fn a_steady_stream_has_no_jitter_and_a_pause_adds_none() {
    let mut c = FlowCounters::ZERO;
    let mut timestamp = 0u32;
    for n in 0..200u64 {
        // Silence suppression: at packet 100 the sender paused for 5 s and its timestamp went on with time.
        let pause = if n >= 100 { 5_000_000 } else { 0 };
        timestamp = (n * 160 + pause / 125) as u32;
        let p = rtp(8, n as u16, timestamp.wrapping_add(0xffff_f000), 7);
        count(&flow(), &mut c, &p, 200, 50_000 + n * 20_000 + pause);
    }
    assert_eq!((c.jitter_scaled, c.jitter_max_scaled), (0, 0));
    // The packets of one event share a timestamp; they are left out.
    for n in 0..10u64 {
        let p = rtp(101, 200 + n as u16, timestamp, 7);
        count(&flow(), &mut c, &p, 200, 9_050_000 + n * 20_000);
    }
    assert_eq!(c.jitter_max_scaled, 0);
    assert_eq!(c.pt_seen, [1 << 8, 1 << (101 - 64)]);
}

#[test]
fn rtcp_is_counted_apart() {
    let mut c = FlowCounters::ZERO;
    count(&flow(), &mut c, &[0x80, 200, 0, 1, 0, 0, 0, 7], 36, 5);
    assert_eq!((c.packets, c.rtcp_packets, c.rtcp_bytes, c.rtcp_last_us), (0, 1, 8, 5));
}

#[test]
fn a_pinned_ssrc_lets_no_other_pass() {
    let pinned = FlowValue { flags: FLAG_SSRC_PINNED, ssrc_pin: 7, ..flow() };
    let mut c = FlowCounters::ZERO;
    let mut judge = |ssrc| verdict(&pinned, &mut c, peer(), &rtp(8, 1, 1, ssrc), 1);
    assert_eq!(judge(7), Verdict::Send { rtcp: false, copy: None });
    assert_eq!(judge(8), Verdict::Drop(DropReason::SsrcPinned));
}

#[test]
fn an_empty_entry_is_no_flow() {
    let empty = FlowValue::default();
    let mut counters = FlowCounters::ZERO;
    assert_eq!(verdict(&empty, &mut counters, peer(), &rtp(8, 1, 1, 1), 1), Verdict::Punt(PuntReason::NoFlow));
}

proptest! {
    /// Numbers 0..n, some dropped, some repeated, neighbours swapped: the counters say what was done.
    #[test]
    fn counters_agree_with_a_recount(
        start: u16,
        fates in proptest::collection::vec(0u8..10, 2..400),
    ) {
        let mut sent: Vec<u16> = Vec::new();
        for (n, fate) in fates.iter().enumerate() {
            let seq = start.wrapping_add(n as u16);
            match fate {
                0 if n > 0 => {}
                1 => sent.extend([seq, seq]),
                // The first packet stays first: what came before it is unknown to any receiver.
                2 if sent.len() > 1 => sent.insert(sent.len() - 1, seq),
                _ => sent.push(seq),
            }
        }
        let c = sequence(&sent);
        let unique: HashSet<u16> = sent.iter().copied().collect();
        let highest = unique.iter().map(|s| s.wrapping_sub(start)).max().unwrap();
        prop_assert_eq!(c.packets, sent.len() as u64);
        prop_assert_eq!(c.duplicates, (sent.len() - unique.len()) as u64);
        prop_assert_eq!(c.lost, u64::from(highest) + 1 - unique.len() as u64);
    }
}
