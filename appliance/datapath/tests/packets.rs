//! Packet in, verdict and packet out: one table of behaviour for the kernel program (through the kernel's test run) and for
//! the user-space relay, and what only whole frames can show.

mod common;

use common::*;
use tandem_datapath::{Datapath, Event, EventKind, Mode};
use tandem_ebpf_abi::{
    DropReason, Endpoint, FLAG_DTMF_COPY, FLAG_ON_HOLD, FLAG_RELATCH_OPEN, FLAG_RTCP_DROP, FLAG_RTCP_PAIR,
    FLAG_SOURCE_FIXED, FLAG_SSRC_PINNED, FlowKey, FlowValue, PtRewrite, PuntReason,
};
use tandem_forward::frame::parse;
use tandem_media::flow::{FlowCommand, RemoveReason};
use tandem_media::relay::{RelayVerdict, UserRelay};

const DROP: u32 = 1;
const PASS: u32 = 2;
const TX: u32 = 3;
const REDIRECT: u32 = 4;

/// What both paths must do with a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Rtp,
    Rtcp,
    Punt(PuntReason),
    Drop(DropReason),
}

/// One row of behaviour: a flow, and packets with their fates in order.
struct Case {
    name: &'static str,
    change: fn(&mut FlowValue),
    packets: Vec<(Vec<u8>, Fate)>,
    from: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    use Fate::{Drop, Punt, Rtcp, Rtp};
    let case =
        |name, change: fn(&mut FlowValue), packets: Vec<(Vec<u8>, Fate)>| Case { name, change, packets, from: None };
    let stranger = |name, change: fn(&mut FlowValue), packets: Vec<(Vec<u8>, Fate)>| Case {
        name,
        change,
        packets,
        from: Some("stranger"),
    };
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.extend([0; 12]);
    vec![
        case(
            "an established stream is sent on",
            |_| {},
            vec![(rtp(8, 1, 7), Rtp), (rtp(8, 2, 7), Rtp), (rtp(8, 4, 7), Rtp)],
        ),
        case(
            "out of order, twice",
            |_| {},
            vec![(rtp(8, 1, 7), Rtp), (rtp(8, 3, 7), Rtp), (rtp(8, 2, 7), Rtp), (rtp(8, 2, 7), Rtp)],
        ),
        case("another SSRC", |_| {}, vec![(rtp(8, 1, 7), Rtp), (rtp(8, 9_000, 8), Rtp)]),
        case("a jump of the sequence", |_| {}, vec![(rtp(8, 1, 7), Rtp), (rtp(8, 30_000, 7), Rtp)]),
        case(
            "payload types change, the marker stays",
            |f| {
                f.pt_count = 2;
                f.pt[0] = PtRewrite { from: 8, to: 0 };
                f.pt[1] = PtRewrite { from: 96, to: 101 };
            },
            vec![(rtp(8, 1, 7), Rtp), (rtp(96 | 0x80, 2, 7), Rtp), (rtp(18, 3, 7), Rtp)],
        ),
        case("RTCP goes to its own port", |_| {}, vec![(rtcp(), Rtcp)]),
        case("RTCP is ignored", |f| f.flags = FLAG_RTCP_DROP, vec![(rtcp(), Drop(DropReason::RtcpPolicy))]),
        case("RTCP has a port of its own", |f| f.flags = FLAG_RTCP_PAIR, vec![(rtcp(), Drop(DropReason::RtcpStray))]),
        case("nobody was heard yet", |f| f.source_port = 0, vec![(rtp(8, 1, 7), Punt(PuntReason::Unlatched))]),
        case(
            "on hold: RTP not, RTCP yes",
            |f| f.flags = FLAG_ON_HOLD,
            vec![(rtp(8, 1, 7), Drop(DropReason::OnHold)), (rtcp(), Rtcp)],
        ),
        case("nowhere to go", |f| f.out_dest_port = 0, vec![(rtp(8, 1, 7), Drop(DropReason::NoDestination))]),
        case(
            "only one SSRC may",
            |f| (f.flags, f.ssrc_pin) = (FLAG_SSRC_PINNED, 7),
            vec![(rtp(8, 1, 7), Rtp), (rtp(8, 2, 8), Drop(DropReason::SsrcPinned))],
        ),
        case(
            "three at once, then no more",
            |f| (f.policer_pps, f.policer_burst) = (1, 3),
            vec![(rtp(8, 1, 7), Rtp), (rtp(8, 2, 7), Rtp), (rtp(8, 3, 7), Rtp), (rtp(8, 4, 7), Drop(DropReason::Rate))],
        ),
        case("digits are copied", |f| f.flags = FLAG_DTMF_COPY, vec![(rtp(101, 1, 7), Rtp), (rtp(8, 2, 7), Rtp)]),
        case(
            "what is no RTP",
            |_| {},
            vec![
                (vec![], Drop(DropReason::TooShort)),
                (vec![0x80], Drop(DropReason::TooShort)),
                (rtp(8, 1, 7)[..11].to_vec(), Drop(DropReason::TooShort)),
                (rtcp()[..7].to_vec(), Drop(DropReason::TooShort)),
                (vec![0x40; 40], Drop(DropReason::BadVersion)),
                (vec![0xc0; 40], Drop(DropReason::BadVersion)),
                (b"INVITE sip:x SIP/2.0".to_vec(), Drop(DropReason::BadVersion)),
                (stun, Punt(PuntReason::Stun)),
                (vec![22; 40], Punt(PuntReason::Dtls)),
                (rtp(8, 1, 7)[..12].to_vec(), Rtp),
                (rtp(8, 2, 7).into_iter().chain([0; 1_000]).collect(), Rtp),
            ],
        ),
        stranger("a stranger's RTP (RTP Inject)", |_| {}, vec![(rtp(8, 1, 7), Drop(DropReason::SourceMismatch))]),
        stranger(
            "a stranger who knows the SSRC, on a flow that never changes",
            |f| f.flags = FLAG_SOURCE_FIXED,
            vec![(rtp(8, 1, 7), Drop(DropReason::SourceMismatch))],
        ),
        stranger(
            "a stranger while the window is open is asked about",
            |f| f.flags = FLAG_RELATCH_OPEN,
            vec![(rtp(8, 1, 7), Punt(PuntReason::SourceChange))],
        ),
        stranger("a stranger's RTCP", |f| f.rtcp_source_port = 9, vec![(rtcp(), Drop(DropReason::RtcpStray))]),
    ]
}

/// Addresses of the cases in one IP version.
struct Family {
    slot: u8,
    local: &'static str,
    source: &'static str,
    stranger: &'static str,
    dest: &'static str,
    /// By another interface.
    other: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        slot: 0,
        local: "10.99.1.1",
        source: "10.99.1.2:4000",
        stranger: "10.99.2.2:4000",
        dest: "10.99.1.2:6000",
        other: "10.99.2.2:6000",
    },
    Family {
        slot: 1,
        local: "fd99:1::1",
        source: "[fd99:1::2]:4000",
        stranger: "[fd99:2::2]:4000",
        dest: "[fd99:1::2]:6000",
        other: "[fd99:2::2]:6000",
    },
];

fn at(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// Which reason went up by one.
fn reason(datapath: &Datapath, before: &tandem_datapath::Totals) -> Option<Fate> {
    let after = datapath.totals().expect("totals");
    let punt = PuntReason::ALL.iter().find(|r| after.punts[**r as usize] != before.punts[**r as usize]);
    let drop = DropReason::ALL.iter().find(|r| after.drops[**r as usize] != before.drops[**r as usize]);
    punt.map(|r| Fate::Punt(*r)).or(drop.map(|r| Fate::Drop(*r)))
}

/// The fate of one frame, and the frame that left.
fn through_kernel(datapath: &Datapath, interface: &str, frame: &[u8]) -> (Option<Fate>, u32, Vec<u8>) {
    let before = datapath.totals().expect("totals");
    let result = datapath.simulate(interface, frame).expect("the program runs");
    let after = datapath.totals().expect("totals");
    let fate = if after.rtp_packets > before.rtp_packets {
        Some(Fate::Rtp)
    } else if after.rtcp_packets > before.rtcp_packets {
        Some(Fate::Rtcp)
    } else {
        reason(datapath, &before)
    };
    (fate, result.action, result.frame)
}

#[test]
fn both_paths_do_the_same_with_the_same_packet() {
    let Some(scene) = Scene::new() else { return };
    let datapath = scene.datapath(Mode::Native);
    let _receivers = scene.lab.receive(&scene.object).expect("programs on the far ends");
    let inner = scene.lab.at(tandem_netns::Place::Relay, move || {
        for family in &FAMILIES {
            for (n, case) in cases().into_iter().enumerate() {
                let port = 10_000 + 2 * n as u16;
                let key = FlowKey::new(family.slot, port);
                let mut value = flow(family.source, &at(family.local, port + 1), family.dest);
                (case.change)(&mut value);
                let name = format!("{} ({})", case.name, family.local);
                let mut user = UserRelay::new(PORTS);
                user.apply(&install(key, value));
                datapath.apply(&install(key, value));
                let source = if case.from.is_some() { family.stranger } else { family.source };
                for (payload, expected) in case.packets {
                    let mut copy = payload.clone();
                    let by_user = match user.handle(now_us(), port, address(source), &mut copy) {
                        RelayVerdict::Send { to, from_port, from_ip, copy: wanted } => {
                            assert_eq!((from_ip, from_port), (family.local.parse().unwrap(), port + 1), "{name}");
                            assert_eq!(wanted == Some(PuntReason::RtcpCopy), to.port() % 10 == 1, "{name}");
                            if to.port() % 10 == 1 { Fate::Rtcp } else { Fate::Rtp }
                        }
                        RelayVerdict::Punt(reason) => Fate::Punt(reason),
                        RelayVerdict::Drop(reason) => Fate::Drop(reason),
                    };
                    assert_eq!(by_user, expected, "{name}, in user space");
                    let sent = frame(source, &at(family.local, port), &payload);
                    let (fate, action, out) = through_kernel(&datapath, "r0", &sent);
                    assert_eq!(
                        fate,
                        Some(expected),
                        "{name}, in the kernel: {:02x?}",
                        &payload[..payload.len().min(12)]
                    );
                    match expected {
                        Fate::Rtp | Fate::Rtcp => {
                            assert_eq!(action, TX, "{name}");
                            assert_checksums(&out);
                            let parsed = parse(&out).unwrap();
                            assert_eq!(parsed.payload(&out), copy, "{name}: payload");
                            let rtcp = u16::from(expected == Fate::Rtcp);
                            assert_eq!(
                                parsed.dest,
                                Endpoint { port: 6000 + rtcp, ..Endpoint::from(address(family.dest)) }
                            );
                            assert_eq!(parsed.source, Endpoint::from(address(&at(family.local, port + 1))));
                            assert_eq!(parsed.ttl, 63);
                            // To the peer, from us.
                            assert_eq!(out[..12], [2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1], "{name}: link layer");
                        }
                        Fate::Punt(_) => assert_eq!((action, &out), (PASS, &sent), "{name}: untouched"),
                        Fate::Drop(_) => assert_eq!(action, DROP, "{name}"),
                    }
                }
                same_counters(&name, *user.counters(port).unwrap(), datapath.counters(key).unwrap());
                let removed = datapath.apply(&FlowCommand::Remove { key, reason: RemoveReason::CallEnded });
                assert_eq!(removed.unwrap().packets, user.remove(port).unwrap().packets, "{name}");
            }
        }
        assert_eq!(datapath.flows(), []);
        assert_eq!(datapath.late_packets(), 0);
        datapath
    });
    drop(inner.expect("the namespace"));
}

/// Equal but for the times, which two clocks measured.
fn same_counters(name: &str, mut user: tandem_ebpf_abi::FlowCounters, mut kernel: tandem_ebpf_abi::FlowCounters) {
    for counters in [&mut user, &mut kernel] {
        assert_eq!(counters.first_us == 0, counters.packets == 0, "{name}: stamped when there was one");
        assert_eq!(counters.last_us == 0, counters.packets == 0, "{name}: stamped when there was one");
        (counters.first_us, counters.last_us, counters.rtcp_last_us) = (0, 0, 0);
        (counters.jitter_at_us, counters.jitter_scaled, counters.jitter_max_scaled) = (0, 0, 0);
        (counters.jitter_sum_scaled, counters.jitter_samples, counters.rtp_timestamp, counters.clock_hz) = (0, 0, 0, 0);
        counters.policer_due = 0;
    }
    assert_eq!(user, kernel, "{name}: counters");
}

/// A frame that has to be left alone or dropped, and why.
type Malformed = (&'static str, Vec<u8>, (u32, Option<Fate>));

fn malformed() -> Vec<Malformed> {
    let good = frame("10.99.1.2:4000", "10.99.1.1:10000", &rtp(8, 1, 7));
    let six = frame("[fd99:1::2]:4000", "[fd99:1::1]:10000", &rtp(8, 1, 7));
    let with = |changes: &[(usize, u8)]| {
        let mut frame = good.clone();
        for (at, byte) in changes {
            frame[*at] = *byte;
        }
        right_header(&mut frame);
        frame
    };
    let six_with = |at: usize, byte: u8| {
        let mut frame = six.clone();
        frame[at] = byte;
        frame
    };
    let wrong = |frame: &[u8], at: usize| {
        let mut frame = frame.to_vec();
        frame[at] ^= 0x10;
        frame
    };
    let mut long_six = rtp(8, 1, 7);
    long_six.resize(1_301, 0x5a);
    let long_six = frame("[fd99:1::2]:4000", "[fd99:1::1]:10000", &long_six);
    let mut six_with_none = six.clone();
    six_with_none[60..62].fill(0);
    let mut wrong_header = good.clone();
    wrong_header[24] ^= 1;
    let punt = |reason| (PASS, Some(Fate::Punt(reason)));
    let options = {
        let mut frame = good.clone();
        frame[14] = 0x46;
        frame.splice(34..34, [1, 1, 1, 1]);
        frame[16..18].copy_from_slice(&(204u16).to_be_bytes());
        right_header(&mut frame);
        frame
    };
    vec![
        ("ARP", with(&[(13, 6)]), punt(PuntReason::NotIp)),
        ("TCP", with(&[(23, 6)]), punt(PuntReason::NotUdp)),
        ("first fragment", with(&[(20, 0x20)]), punt(PuntReason::Fragment)),
        ("later fragment", with(&[(21, 1)]), punt(PuntReason::Fragment)),
        ("IP options", options, punt(PuntReason::IpOptions)),
        ("a header of 16 bytes", with(&[(14, 0x44)]), punt(PuntReason::Truncated)),
        ("IP version 5", with(&[(14, 0x55)]), punt(PuntReason::Truncated)),
        ("IP shorter than UDP", with(&[(16, 0), (17, 27)]), punt(PuntReason::Truncated)),
        ("UDP longer than IP", with(&[(38, 1)]), punt(PuntReason::Truncated)),
        ("UDP shorter than its header", with(&[(38, 0), (39, 7)]), punt(PuntReason::Truncated)),
        ("a wrong header checksum", wrong_header, punt(PuntReason::BadChecksum)),
        ("a wrong UDP checksum", wrong(&good, 40), punt(PuntReason::BadChecksum)),
        ("a payload that was changed on the way", wrong(&good, good.len() - 1), punt(PuntReason::BadChecksum)),
        ("IPv6, a wrong UDP checksum", wrong(&six, 60), punt(PuntReason::BadChecksum)),
        (
            "IPv6, changed at the end of a long packet",
            wrong(&long_six, long_six.len() - 1),
            punt(PuntReason::BadChecksum),
        ),
        ("IPv6 without UDP checksum", six_with_none, punt(PuntReason::BadChecksum)),
        ("cut in the middle", good[..100].to_vec(), punt(PuntReason::Truncated)),
        ("cut in the UDP header", good[..38].to_vec(), punt(PuntReason::Truncated)),
        ("two VLAN tags", tagged(tagged(good.clone(), 1), 2), punt(PuntReason::NotIp)),
        ("a VLAN that is not served", tagged(good.clone(), 42), punt(PuntReason::NoRoute)),
        ("used up hops", with(&[(22, 1)]), (DROP, Some(Fate::Drop(DropReason::TtlExpired)))),
        ("IPv6 hop-by-hop", six_with(20, 0), punt(PuntReason::Ipv6Extension)),
        ("IPv6 routing", six_with(20, 43), punt(PuntReason::Ipv6Extension)),
        ("IPv6 fragment", six_with(20, 44), punt(PuntReason::Fragment)),
        ("IPv6 and TCP", six_with(20, 6), punt(PuntReason::NotUdp)),
        ("IPv6 used up hops", six_with(21, 1), (DROP, Some(Fate::Drop(DropReason::TtlExpired)))),
        ("IPv6 version 4", six_with(14, 0x40), punt(PuntReason::Truncated)),
        (
            "from our own address",
            frame("10.99.1.1:10001", "10.99.1.1:10000", &rtp(8, 1, 7)),
            (DROP, Some(Fate::Drop(DropReason::Looped))),
        ),
        ("another address", frame("10.99.1.2:4000", "10.99.2.1:10000", &rtp(8, 1, 7)), (PASS, None)),
        ("a port outside the range", frame("10.99.1.2:4000", "10.99.1.1:9999", &rtp(8, 1, 7)), (PASS, None)),
        ("beyond the range", frame("10.99.1.2:4000", "10.99.1.1:40000", &rtp(8, 1, 7)), (PASS, None)),
        (
            "a port nobody uses",
            frame("10.99.1.2:4000", "10.99.1.1:20000", &rtp(8, 1, 7)),
            (DROP, Some(Fate::Drop(DropReason::NoFlow))),
        ),
        (
            "IPv6, a port nobody uses",
            frame("[fd99:1::2]:4000", "[fd99:1::1]:20000", &rtp(8, 1, 7)),
            (DROP, Some(Fate::Drop(DropReason::NoFlow))),
        ),
    ]
}

#[test]
fn frames_that_are_not_forwarded_are_counted_by_reason_and_left_as_they_are() {
    let Some(scene) = Scene::new() else { return };
    let datapath = scene.datapath(Mode::Native);
    let done = scene.lab.at(tandem_netns::Place::Relay, move || {
        datapath.apply(&install(FlowKey::new(0, 10_000), flow("10.99.1.2:4000", "10.99.1.1:10001", "10.99.1.2:6000")));
        datapath.apply(&install(
            FlowKey::new(1, 10_000),
            flow("[fd99:1::2]:4000", "[fd99:1::1]:10001", "[fd99:1::2]:6000"),
        ));
        for (name, bytes, (action, fate)) in malformed() {
            let (seen, did, out) = through_kernel(&datapath, "r0", &bytes);
            assert_eq!((seen, did), (fate, action), "{name}");
            assert_eq!(out, bytes, "{name}: untouched");
        }
        let good = frame("10.99.1.2:4000", "10.99.1.1:10000", &rtp(8, 1, 7));
        for cut in 14..good.len() {
            let (fate, action, _) = through_kernel(&datapath, "r0", &good[..cut]);
            assert_eq!((fate, action), (Some(Fate::Punt(PuntReason::Truncated)), PASS), "cut at {cut}");
        }
        assert_eq!(through_kernel(&datapath, "r0", &good).0, Some(Fate::Rtp), "and the good one goes");
        // A socket waits on a port without a flow: its owner gets the packet.
        let _socket = std::net::UdpSocket::bind("10.99.1.1:20000").expect("a socket");
        let to_socket = frame("10.99.1.2:4000", "10.99.1.1:20000", &rtp(8, 1, 7));
        assert_eq!(through_kernel(&datapath, "r0", &to_socket).0, Some(Fate::Punt(PuntReason::NoFlow)));
    });
    done.expect("the namespace");
}

#[test]
fn a_wrong_udp_checksum_is_not_sent_on_unless_that_is_asked_for() {
    let Some(scene) = Scene::new() else { return };
    let _receivers = scene.lab.receive(&scene.object).expect("programs on the far ends");
    let options = scene.options(Mode::Native);
    let done = scene.lab.at(tandem_netns::Place::Relay, move || {
        for verify_udp in [true, false] {
            let mut options = options.clone();
            options.verify_udp = verify_udp;
            let datapath = tandem_datapath::open(&options).datapath.expect("attached");
            let key = FlowKey::new(0, 10_000);
            datapath.apply(&install(key, flow("10.99.1.2:4000", "10.99.1.1:10001", "10.99.1.2:6000")));
            // The lengths meet every rest of a word, and more than one call of the kernel's sum. From the second packet on
            // it is the short way that looks.
            for (seq, len) in [12, 13, 14, 15, 16, 172, 173, 511, 512, 513, 1_023, 1_400].into_iter().enumerate() {
                let mut payload = rtp(8, seq as u16, 7);
                payload.resize(len, 0xa5);
                let right = frame("10.99.1.2:4000", "10.99.1.1:10000", &payload);
                let mut wrong = right.clone();
                // The last byte, but not the SSRC: the stream shall stay the same.
                wrong[if len == 12 { 46 } else { 41 + len }] ^= 1;
                let mut none = right.clone();
                none[40..42].fill(0);
                if verify_udp {
                    let (fate, action, out) = through_kernel(&datapath, "r0", &wrong);
                    assert_eq!((fate, action), (Some(Fate::Punt(PuntReason::BadChecksum)), PASS), "{len} bytes");
                    assert_eq!(out, wrong, "untouched");
                    let sent = if seq % 2 == 0 { right } else { none };
                    assert_eq!(through_kernel(&datapath, "r0", &sent).0, Some(Fate::Rtp), "{len} bytes");
                } else {
                    let (fate, _, out) = through_kernel(&datapath, "r0", &wrong);
                    assert_eq!(fate, Some(Fate::Rtp), "{len} bytes");
                    assert!(!checksum_is_right(&out), "what was wrong stays wrong, and its receiver drops it");
                }
            }
            assert_eq!(datapath.counters(key).unwrap().packets, 12);
            assert_eq!(datapath.totals().unwrap().express, 11, "all but the first went the short way");
            datapath.detach().expect("pins are removed");
        }
    });
    done.expect("the namespace");
}

#[test]
fn the_way_out_follows_the_routes() {
    let Some(scene) = Scene::new() else { return };
    let datapath = scene.datapath(Mode::Native);
    let done = scene.lab.at(tandem_netns::Place::Relay, move || {
        for family in &FAMILIES {
            let key = FlowKey::new(family.slot, 10_000);
            let local = at(family.local, 10_000);
            let packet = frame(family.source, &local, &rtp(8, 1, 7));
            let mut value = flow(family.source, &at(family.local, 10_001), family.other);
            datapath.apply(&install(key, value));
            let (fate, action, out) = through_kernel(&datapath, "r0", &packet);
            assert_eq!((fate, action), (Some(Fate::Rtp), REDIRECT), "by the other interface");
            assert_eq!(out[..12], [2, 0, 0, 0, 2, 2, 2, 0, 0, 0, 2, 1], "with its addresses");
            // The same flow, elsewhere: the neighbour that was found for the old version is not used.
            let elsewhere = [(family.dest, Some(Fate::Rtp), TX), (&local, Some(Fate::Punt(PuntReason::NoRoute)), PASS)];
            for (dest, expected, does) in elsewhere {
                let moved = Endpoint::from(address(dest));
                (value.out_dest_ip, value.out_dest_port) = (moved.ip, moved.port);
                value.version += 1;
                datapath.apply(&install(key, value));
                let (fate, action, _) = through_kernel(&datapath, "r0", &packet);
                assert_eq!((fate, action), (expected, does), "to {dest}");
            }
        }
        // Nobody has this address, and nobody was asked yet.
        let key = FlowKey::new(0, 10_002);
        datapath.apply(&install(key, flow("10.99.1.2:4000", "10.99.1.1:10003", "10.99.1.77:6000")));
        let packet = frame("10.99.1.2:4000", "10.99.1.1:10002", &rtp(8, 1, 7));
        assert_eq!(through_kernel(&datapath, "r0", &packet).0, Some(Fate::Punt(PuntReason::NoNeighbour)));
        assert_eq!(datapath.counters(key).unwrap().packets, 0, "who sends it counts it");
        // IPv4 in, IPv6 out.
        let mut mixed = flow("10.99.1.2:4000", "10.99.1.1:10003", "10.99.1.2:6000");
        (mixed.family, mixed.version) = (0, 2);
        datapath.apply(&install(key, mixed));
        assert_eq!(through_kernel(&datapath, "r0", &packet).0, Some(Fate::Punt(PuntReason::FamilyMixed)));
        // A longer packet than the link takes.
        datapath.apply(&install(
            key,
            FlowValue { version: 3, ..flow("10.99.1.2:4000", "10.99.1.1:10003", "10.99.1.2:6000") },
        ));
        let mut long = rtp(8, 1, 7);
        long.resize(1_600, 0);
        let long = frame("10.99.1.2:4000", "10.99.1.1:10002", &long);
        assert_eq!(through_kernel(&datapath, "r0", &packet).0, Some(Fate::Rtp));
        assert_eq!(through_kernel(&datapath, "r0", &long).0, Some(Fate::Punt(PuntReason::TooLong)), "known way");
    });
    done.expect("the namespace");
}

#[test]
fn events_tell_what_user_space_wants_to_hear() {
    let Some(scene) = Scene::new() else { return };
    let datapath = scene.datapath(Mode::Native);
    let done = scene.lab.at(tandem_netns::Place::Relay, move || {
        let key = FlowKey::new(0, 10_000);
        let mut value = flow("10.99.1.2:4000", "10.99.1.1:10001", "10.99.1.2:6000");
        (value.flags, value.policer_pps, value.policer_burst, value.version) = (FLAG_DTMF_COPY, 1, 4, 5);
        datapath.apply(&install(key, value));
        let digit = rtp(101, 2, 7);
        let packets = [rtp(8, 1, 7), digit.clone(), rtp(8, 1, 8), rtcp(), rtp(8, 2, 8), rtp(8, 3, 8)];
        for packet in &packets {
            let frame = frame("10.99.1.2:4000", "10.99.1.1:10000", packet);
            datapath.simulate("r0", &frame).expect("the program runs");
        }
        let stray = frame("10.99.1.2:4000", "10.99.1.1:30000", &rtp(8, 1, 7));
        for _ in 0..1_000 {
            datapath.simulate("r0", &stray).expect("the program runs");
        }
        let mut seen = Vec::new();
        let (mut scans, mut latest) = (0, 0);
        datapath.poll_events(usize::MAX, &mut |event: Event<'_>| {
            assert!(event.at_us >= latest, "in order");
            latest = event.at_us;
            if event.what == EventKind::NoFlow {
                scans += 1;
                assert_eq!((event.source, event.key.port), (Some(address("10.99.1.2:4000")), 30_000));
            } else {
                assert_eq!((event.key, event.version), (key, 5));
                seen.push((event.what, event.ssrc, event.payload.to_vec()));
            }
        });
        let expected = [
            (EventKind::FirstRtp, 7, vec![]),
            (EventKind::DtmfCopy, 0, digit),
            (EventKind::SsrcChange, 8, vec![]),
            (EventKind::RtcpCopy, 0, rtcp()),
            (EventKind::RateExceeded, 8, vec![]),
        ];
        assert_eq!(seen, expected);
        // A hundred a second and CPU; the thousand may have taken some seconds on a slow machine.
        assert!((100..1_000).contains(&scans), "{scans} samples");
        assert_eq!(datapath.totals().unwrap().drops[DropReason::NoFlow as usize], 1_000, "all are counted");
    });
    done.expect("the namespace");
}
