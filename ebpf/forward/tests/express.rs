//! The short way against the long one: the same flows and packets through both, and everything equal after every packet.

use std::net::SocketAddr;

use proptest::prelude::*;
use tandem_ebpf_abi::{
    DropReason, Endpoint, Express, FLAG_DTMF_COPY, FLAG_EARLY, FLAG_ON_HOLD, FLAG_RELATCH_OPEN, FLAG_SOURCE_FIXED,
    FLAG_SSRC_PINNED, FlowCounters, FlowValue, PtRewrite, Pulse, PuntReason,
};
use tandem_forward::frame::{Frame, parse, rewrite};
use tandem_forward::{Clock, Head, Verdict, count, express, verdict};

/// The kernel program's clock: coarse for most.
#[derive(Clone, Copy)]
struct Ticking(u64);

impl Clock for Ticking {
    const JITTER_PERIOD: u64 = 16;

    fn coarse_us(self) -> u64 {
        self.0 / 4_000 * 4_000
    }

    fn exact_us(self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Sent { rtcp: bool, copy: Option<PuntReason>, first: bool, ssrc_changed: bool },
    Punt(PuntReason),
    Drop(DropReason),
}

/// What the program does with a frame that came to a flow, by the long way.
fn long_way(flow: &FlowValue, counters: &mut FlowCounters, bytes: &mut [u8], now: impl Clock) -> (Fate, Head) {
    let nothing = Head::default();
    let frame: Frame = match parse(bytes) {
        Ok(frame) => frame,
        Err(reason) => return (Fate::Punt(reason), nothing),
    };
    if frame.ttl <= 1 {
        counters.drop_packet(DropReason::TtlExpired);
        return (Fate::Drop(DropReason::TtlExpired), nothing);
    }
    let payload = frame.payload(bytes).to_vec();
    let head = Head::of(&payload);
    let (rtcp, copy) = match verdict(flow, counters, frame.source, &payload, now) {
        Verdict::Send { rtcp, copy } => (rtcp, copy),
        Verdict::Punt(reason) => return (Fate::Punt(reason), nothing),
        Verdict::Drop(reason) => {
            counters.drop_packet(reason);
            return (Fate::Drop(reason), nothing);
        }
    };
    if let Err(reason) = rewrite(bytes, &frame, flow, rtcp) {
        counters.drop_packet(reason);
        return (Fate::Drop(reason), nothing);
    }
    let counted = count(flow, counters, &payload, frame.wire_bytes(), now);
    (Fate::Sent { rtcp, copy, first: counted.first, ssrc_changed: counted.ssrc_changed }, head)
}

/// A flow as the kernel program keeps it.
#[derive(Default)]
struct Kept {
    express: Express,
    pulse: Pulse,
    counters: FlowCounters,
    short: u64,
}

impl Kept {
    fn new(flow: &FlowValue) -> Kept {
        Kept { express: express::of(flow, false), ..Kept::default() }
    }

    fn packet(&mut self, flow: &FlowValue, bytes: &mut [u8], now: impl Clock) -> Fate {
        for ip in [14, 18] {
            if let Some(plain) = express::read(bytes, ip)
                && let Some(decided) = express::decide(&plain, &self.express, &self.pulse, now)
            {
                express::rewrite(bytes, ip, &plain, &self.express);
                let counters = decided.sample.then_some(&mut self.counters);
                express::count(&plain, &self.express, decided, &mut self.pulse, counters, now);
                self.short += 1;
                return Fate::Sent { rtcp: false, copy: None, first: false, ssrc_changed: false };
            }
        }
        express::pour(&self.pulse, &mut self.counters);
        let (fate, head) = long_way(flow, &mut self.counters, bytes, now);
        self.pulse.policer_due = self.counters.policer_due;
        if matches!(fate, Fate::Sent { .. }) {
            express::take(&mut self.pulse, &mut self.counters, flow, head);
        }
        fate
    }

    fn counters(&self) -> FlowCounters {
        let mut counters = self.counters;
        express::pour(&self.pulse, &mut counters);
        counters
    }
}

fn endpoint(text: &str) -> Endpoint {
    Endpoint::from(text.parse::<SocketAddr>().unwrap())
}

fn flow() -> FlowValue {
    let (source, out, dest) =
        (endpoint("192.0.2.1:4000"), endpoint("198.51.100.1:10001"), endpoint("203.0.113.9:6000"));
    FlowValue {
        source_ip: source.ip,
        source_port: source.port,
        out_source_ip: out.ip,
        out_source_port: out.port,
        out_dest_ip: dest.ip,
        out_dest_port: dest.port,
        rtcp_dest_ip: dest.ip,
        rtcp_dest_port: 6001,
        family: 4,
        tos: 0xb8,
        dtmf_pt: 101,
        clock_hz: 8_000,
        version: 3,
        ..FlowValue::default()
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0u64;
    for pair in bytes.chunks(2) {
        total += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// One packet: what differs from the usual.
#[derive(Clone, Debug)]
struct Sent {
    step: i32,
    payload_type: u8,
    ssrc: u8,
    source_port: u16,
    len: usize,
    ttl: u8,
    tos: u8,
    checksum: u16,
    tagged: bool,
    after_us: u64,
    flip: Option<(prop::sample::Index, u8, bool)>,
}

fn frame(sent: &Sent, seq: u16) -> Vec<u8> {
    let mut payload = vec![0x80, sent.payload_type];
    payload.extend(seq.to_be_bytes());
    payload.extend((u32::from(seq) * 160).to_be_bytes());
    payload.extend([0, 0, 0, sent.ssrc]);
    payload.resize(sent.len, 0x55);
    let mut ip = vec![0x45, sent.tos];
    ip.extend((28 + payload.len() as u16).to_be_bytes());
    ip.extend([0x12, 0x34, 0x40, 0, sent.ttl, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7]);
    let check = (!sum(&ip)).to_be_bytes();
    ip[10..12].copy_from_slice(&check);
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if sent.tagged {
        frame.extend([0x81, 0, 0xa0, 5]);
    }
    frame.extend([8, 0]);
    let at = frame.len();
    frame.extend(ip);
    frame.extend(sent.source_port.to_be_bytes());
    frame.extend(10_000u16.to_be_bytes());
    frame.extend((8 + payload.len() as u16).to_be_bytes());
    frame.extend(sent.checksum.to_be_bytes());
    frame.extend(payload);
    if let Some((index, bits, repair)) = &sent.flip {
        let place = index.index(frame.len());
        frame[place] ^= bits;
        if *repair {
            frame[at + 10..at + 12].fill(0);
            let check = (!sum(&frame[at..at + 20])).to_be_bytes();
            frame[at + 10..at + 12].copy_from_slice(&check);
        }
    }
    frame
}

fn packets() -> impl Strategy<Value = Vec<Sent>> {
    let usual =
        |often: u32, usual: u8, others: Vec<u8>| prop_oneof![often => Just(usual), 1 => prop::sample::select(others)];
    let one = (
        prop_oneof![40 => Just(1), 1 => Just(0), 1 => Just(2), 1 => Just(-1), 1 => Just(70), 1 => Just(9_000)],
        usual(20, 8, vec![0, 8 | 0x80, 101, 64, 95, 95 | 0x80, 200, 127]),
        usual(40, 7, vec![8, 0]),
        prop_oneof![40 => Just(4_000u16), 1 => Just(4_001)],
        prop_oneof![20 => Just(172usize), 1 => 8usize..400],
        usual(20, 64, vec![0, 1, 2, 255]),
        (any::<u8>(), prop_oneof![1 => Just(0u16), 1 => Just(0xffff), 4 => any::<u16>()]),
        prop::bool::weighted(0.2),
        prop_oneof![20 => 0u64..40_000, 1 => 0u64..20_000_000],
        prop::option::weighted(0.1, (any::<prop::sample::Index>(), any::<u8>(), any::<bool>())),
    )
        .prop_map(|(step, payload_type, ssrc, source_port, len, ttl, (tos, checksum), tagged, after_us, flip)| Sent {
            step,
            payload_type,
            ssrc,
            source_port,
            len,
            ttl,
            tos,
            checksum,
            tagged,
            after_us,
            flip,
        });
    prop::collection::vec(one, 1..80)
}

fn flows() -> impl Strategy<Value = FlowValue> {
    let flags = [FLAG_EARLY, FLAG_DTMF_COPY, FLAG_RELATCH_OPEN, FLAG_SOURCE_FIXED, FLAG_ON_HOLD, FLAG_SSRC_PINNED];
    (
        prop_oneof![6 => Just(0u16), 4 => prop::sample::select(flags.to_vec())],
        prop_oneof![1 => Just((0u16, 0u16)), 2 => (1u16..200, 0u16..6), 1 => Just((u16::MAX, u16::MAX))],
        prop::sample::select(vec![0u32, 8_000, 11_025, 48_000, 90_000, 7]),
        prop::sample::select(vec![101u8, 255, 8]),
        any::<u8>(),
        prop_oneof![8 => Just(0u8), 1 => Just(1)],
        prop_oneof![12 => Just((4_000u16, 6_000u16, 4u8)), 1 => Just((0, 6_000, 4)), 1 => Just((4_000, 0, 4))],
    )
        .prop_map(
            |(flags, (pps, burst), clock_hz, dtmf_pt, tos, pt_count, (source_port, out_dest_port, family))| {
                let mut value = FlowValue { flags, clock_hz, dtmf_pt, tos, pt_count, source_port, family, ..flow() };
                (value.policer_pps, value.policer_burst, value.out_dest_port) = (pps, burst, out_dest_port);
                (value.pt[0], value.ssrc_pin) = (PtRewrite { from: 8, to: 0 }, 7);
                value
            },
        )
}

/// Both ways, and after every packet the same; how many went the short way.
fn compare(flow: &FlowValue, packets: &[Sent], exact: bool) -> u64 {
    let mut kept = Kept::new(flow);
    let mut counters = FlowCounters::ZERO;
    let (mut now, mut seq) = (1_000_000u64, 65_500u16);
    for (n, sent) in packets.iter().enumerate() {
        now += sent.after_us;
        seq = seq.wrapping_add(sent.step as u16);
        let mut long = frame(sent, seq);
        let mut short = long.clone();
        let (expected, seen) = if exact {
            (long_way(flow, &mut counters, &mut long, now).0, kept.packet(flow, &mut short, now))
        } else {
            let now = Ticking(now);
            (long_way(flow, &mut counters, &mut long, now).0, kept.packet(flow, &mut short, now))
        };
        assert_eq!(seen, expected, "packet {n}: {sent:?}");
        assert_eq!(short, long, "packet {n}: {sent:?}");
        assert_eq!(kept.counters(), counters, "after packet {n}: {sent:?}");
    }
    kept.short
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_short_way_is_the_long_way(flow in flows(), packets in packets(), exact: bool) {
        compare(&flow, &packets, exact);
    }
}

fn usual() -> Sent {
    Sent {
        step: 1,
        payload_type: 8,
        ssrc: 7,
        source_port: 4_000,
        len: 172,
        ttl: 64,
        tos: 0,
        checksum: 0x1234,
        tagged: false,
        after_us: 20_000,
        flip: None,
    }
}

#[test]
fn an_established_stream_goes_the_short_way() {
    let with_policer = FlowValue { policer_pps: 200, policer_burst: 200, ..flow() };
    for flow in [flow(), with_policer, FlowValue { flags: FLAG_EARLY | FLAG_RELATCH_OPEN, ..flow() }] {
        for exact in [true, false] {
            assert_eq!(compare(&flow, &vec![usual(); 1_000], exact), 999, "all but the first");
        }
    }
    let tagged = Sent { tagged: true, ..usual() };
    assert_eq!(compare(&flow(), &vec![tagged; 100], false), 99, "with a VLAN tag");
}

/// Telephone-event has no jitter: the clock of a stream that begins with it is taken with the first packet of the voice,
/// wherever in the row of pairs that stands.
#[test]
fn voice_behind_telephone_event_has_its_jitter_either_way() {
    let flow = FlowValue { dtmf_pt: 8, ..flow() };
    for events in 1..=34 {
        let mut packets = vec![usual(); events];
        packets.extend(vec![Sent { payload_type: 0, ..usual() }; 40]);
        for exact in [true, false] {
            assert_eq!(compare(&flow, &packets, exact), 39, "{events} events, then voice");
        }
    }
}

#[test]
fn what_needs_more_has_no_short_form() {
    let none = |flow: FlowValue| assert_eq!(express::of(&flow, false).version, 0, "{flow:?}");
    assert_eq!(express::of(&flow(), false).version, 3);
    assert_eq!(express::of(&flow(), true).version, 0, "from an address of ours");
    none(FlowValue { flags: FLAG_ON_HOLD, ..flow() });
    none(FlowValue { flags: FLAG_SSRC_PINNED, ..flow() });
    none(FlowValue { pt_count: 1, ..flow() });
    none(FlowValue { family: 0, ..flow() });
    none(FlowValue { family: 6, ..flow() });
    none(FlowValue { source_port: 0, ..flow() });
    none(FlowValue { out_dest_port: 0, ..flow() });
    none(FlowValue { out_dest_ip: endpoint("[2001:db8::1]:1").ip, ..flow() });
    none(FlowValue { clock_hz: 8_001, ..flow() });
}
