//! Frame in, verdict of the parser and frame out. Checksums are always recomputed from scratch by other code than the
//! one that updates them.

use proptest::prelude::*;
use tandem_ebpf_abi::{DropReason, Endpoint, FlowValue, IpWords, PtRewrite, PuntReason};
use tandem_forward::frame::{Version, parse, rewrite};

fn v4(last: u8) -> IpWords {
    IpWords::from(std::net::IpAddr::from([192, 0, 2, last]))
}

fn v6(last: u8) -> IpWords {
    let mut b = [0; 16];
    (b[0], b[1], b[15]) = (0x20, 0x01, last);
    IpWords::from_bytes(b)
}

/// One's complement sum of `parts`, each padded to an even length (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            total += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// UDP checksum of `udp` (header with its checksum field and payload) from scratch.
fn udp_checksum(source: &[u8], dest: &[u8], udp: &[u8]) -> u16 {
    let mut copy = udp.to_vec();
    copy[6..8].fill(0);
    let len = (udp.len() as u32).to_be_bytes();
    match !sum(&[source, dest, &len, &[0, 0, 0, 17], &copy]) {
        0 => 0xffff,
        c => c,
    }
}

fn udp(source: u16, dest: u16, payload: &[u8]) -> Vec<u8> {
    let mut u = Vec::new();
    u.extend(source.to_be_bytes());
    u.extend(dest.to_be_bytes());
    u.extend((8 + payload.len() as u16).to_be_bytes());
    u.extend([0, 0]);
    u.extend(payload);
    u
}

fn frame4(tos: u8, ttl: u8, payload: &[u8], checksum: bool) -> Vec<u8> {
    let mut u = udp(4000, 10_000, payload);
    if checksum {
        let c = udp_checksum(&[192, 0, 2, 1], &[192, 0, 2, 2], &u);
        u[6..8].copy_from_slice(&c.to_be_bytes());
    }
    let mut ip = vec![0x45, tos];
    ip.extend((20 + u.len() as u16).to_be_bytes());
    ip.extend([0x12, 0x34, 0x40, 0, ttl, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    let c = !sum(&[&ip]);
    ip[10..12].copy_from_slice(&c.to_be_bytes());
    let mut f = vec![2; 12];
    f.extend([8, 0]);
    f.extend(ip);
    f.extend(u);
    f
}

fn frame6(class: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut u = udp(4000, 10_000, payload);
    let (source, dest) = (v6(1).to_bytes(), v6(2).to_bytes());
    let c = udp_checksum(&source, &dest, &u);
    u[6..8].copy_from_slice(&c.to_be_bytes());
    let mut f = vec![2; 12];
    f.extend([0x86, 0xdd, 0x60 | class >> 4, class << 4 | 5, 0x77, 0x66]);
    f.extend((u.len() as u16).to_be_bytes());
    f.extend([17, hops]);
    f.extend(source);
    f.extend(dest);
    f.extend(u);
    f
}

fn tagged(mut f: Vec<u8>) -> Vec<u8> {
    f.splice(12..12, [0x81, 0, 0, 42]);
    f
}

fn flow(ip: fn(u8) -> IpWords) -> FlowValue {
    let mut value = FlowValue {
        out_source_ip: ip(77),
        out_dest_ip: ip(88),
        out_source_port: 10_002,
        out_dest_port: 6000,
        rtcp_dest_ip: ip(88),
        rtcp_dest_port: 6001,
        tos: 0xb8,
        pt_count: 1,
        version: 1,
        ..FlowValue::default()
    };
    value.pt[0] = PtRewrite { from: 101, to: 96 };
    value
}

/// Both checksums of an outgoing frame, recomputed.
fn assert_checksums(bytes: &[u8]) {
    let f = parse(bytes).unwrap();
    let udp = &bytes[f.udp..f.payload + f.payload_len];
    let stored = u16::from_be_bytes([udp[6], udp[7]]);
    match f.version {
        Version::V4 => {
            let ip = &bytes[f.ip..f.udp];
            assert_eq!(sum(&[ip]), 0xffff, "IPv4 header");
            if stored != 0 {
                assert_eq!(stored, udp_checksum(&ip[12..16], &ip[16..20], udp), "UDP");
            }
        }
        Version::V6 => {
            let ip = &bytes[f.ip..f.udp];
            assert_eq!(stored, udp_checksum(&ip[8..24], &ip[24..40], udp), "UDP");
        }
    }
}

#[test]
fn a_plain_frame_is_found_with_and_without_a_vlan_tag() {
    for f in [frame4(0, 64, b"hello", true), tagged(frame4(0, 64, b"hello", true))] {
        let parsed = parse(&f).unwrap();
        assert_eq!(parsed.payload(&f), b"hello");
        assert_eq!(parsed.source, Endpoint { ip: v4(1), port: 4000 });
        assert_eq!(parsed.dest, Endpoint { ip: v4(2), port: 10_000 });
        assert_eq!(parsed.wire_bytes(), 33);
    }
    let f = tagged(frame6(0, 64, b"hello"));
    let parsed = parse(&f).unwrap();
    assert_eq!((parsed.version, parsed.payload(&f)), (Version::V6, &b"hello"[..]));
    assert_eq!(parsed.source.ip, v6(1));
    assert_eq!(parsed.wire_bytes(), 53);
}

#[test]
fn ethernet_padding_is_no_payload() {
    let mut f = frame4(0, 64, b"hi", true);
    f.extend([0; 16]);
    assert_eq!(parse(&f).unwrap().payload(&f), b"hi");
}

#[test]
fn what_is_not_ours_is_punted_by_name() {
    let f = frame4(0, 64, b"hello", true);
    let with = |changes: &[(usize, u8)]| {
        let mut g = f.clone();
        for (at, byte) in changes {
            g[*at] = *byte;
        }
        // The header's own checksum stays right, so that it is not what is complained about.
        g[24..26].fill(0);
        let c = !sum(&[&g[14..34]]);
        g[24..26].copy_from_slice(&c.to_be_bytes());
        parse(&g)
    };
    assert_eq!(with(&[(13, 6)]), Err(PuntReason::NotIp), "ARP");
    assert_eq!(with(&[(23, 6)]), Err(PuntReason::NotUdp), "TCP");
    assert_eq!(with(&[(20, 0x20)]), Err(PuntReason::Fragment), "first fragment");
    assert_eq!(with(&[(21, 1)]), Err(PuntReason::Fragment), "later fragment");
    assert_eq!(with(&[(14, 0x46)]), Err(PuntReason::IpOptions), "options");
    assert_eq!(with(&[(14, 0x44)]), Err(PuntReason::Truncated), "header of 16 bytes");
    assert_eq!(with(&[(14, 0x55)]), Err(PuntReason::Truncated), "version 5");
    let mut g = f.clone();
    g[22] -= 1;
    assert_eq!(parse(&g), Err(PuntReason::BadChecksum), "a header that does not add up");
    assert_eq!(with(&[(39, 200)]), Err(PuntReason::Truncated), "UDP longer than the packet");
    assert_eq!(with(&[(39, 7)]), Err(PuntReason::Truncated), "UDP shorter than its header");
    assert_eq!(parse(&tagged(tagged(f.clone()))), Err(PuntReason::NotIp), "two tags");
    let mut six = frame6(0, 64, b"hello");
    for (next, reason) in [
        (0, PuntReason::Ipv6Extension),
        (43, PuntReason::Ipv6Extension),
        (60, PuntReason::Ipv6Extension),
        (44, PuntReason::Fragment),
        (58, PuntReason::NotUdp),
    ] {
        six[20] = next;
        assert_eq!(parse(&six), Err(reason), "next header {next}");
    }
    for cut in 0..f.len() {
        assert!(parse(&f[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn the_rewrite_is_complete() {
    let mut rtp = [0u8; 172];
    (rtp[0], rtp[1]) = (0x80, 0x80 | 101);
    let mut f = frame4(0x03, 64, &rtp, true);
    let parsed = parse(&f).unwrap();
    rewrite(&mut f, &parsed, &flow(v4), false).unwrap();
    assert_checksums(&f);
    let out = parse(&f).unwrap();
    assert_eq!(out.source, Endpoint { ip: v4(77), port: 10_002 });
    assert_eq!(out.dest, Endpoint { ip: v4(88), port: 6000 });
    assert_eq!(f[15], 0xbb, "ToS of the flow, ECN of the packet");
    assert_eq!(f[22], 63, "TTL");
    assert_eq!(f[20] & 0x40, 0x40, "don't fragment");
    assert_eq!(out.payload(&f)[1], 0x80 | 96, "payload type, marker kept");

    let mut f = frame6(0x01, 9, &rtp);
    let parsed = parse(&f).unwrap();
    rewrite(&mut f, &parsed, &flow(v6), true).unwrap();
    assert_checksums(&f);
    assert_eq!(parse(&f).unwrap().dest.port, 6001, "RTCP destination");
    assert_eq!((f[14], f[15] & 0xf0, f[15] & 0x0f), (0x6b, 0x90, 5), "class and flow label");
    assert_eq!(f[21], 8, "hop limit");
    assert_eq!(parse(&f).unwrap().payload(&f)[1], 0x80 | 101, "RTCP is not renumbered");
}

#[test]
fn no_checksum_stays_no_checksum() {
    let mut f = frame4(0, 64, b"hello", false);
    let parsed = parse(&f).unwrap();
    rewrite(&mut f, &parsed, &flow(v4), false).unwrap();
    assert_eq!(f[40..42], [0, 0]);
}

#[test]
fn a_packet_at_the_end_of_its_hops_is_not_sent_on() {
    for (ttl, expected) in [(0, false), (1, false), (2, true)] {
        for mut f in [frame4(0, ttl, b"hello", true), frame6(0, ttl, b"hello")] {
            let parsed = parse(&f).unwrap();
            let before = f.clone();
            let flow = flow(if parsed.version == Version::V4 { v4 } else { v6 });
            let result = rewrite(&mut f, &parsed, &flow, false);
            assert_eq!(result, if expected { Ok(()) } else { Err(DropReason::TtlExpired) }, "TTL {ttl}");
            assert_eq!(f != before, expected);
        }
    }
}

#[test]
fn a_flow_of_the_other_ip_version_changes_nothing() {
    let f = frame4(0, 64, b"hello", true);
    let mut g = f.clone();
    let parsed = parse(&f).unwrap();
    assert_eq!(rewrite(&mut g, &parsed, &flow(v6), false), Err(DropReason::NoDestination));
    assert_eq!(f, g);
}

proptest! {
    #[test]
    fn updated_checksums_equal_recomputed_ones(
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        tos: u8, ttl in 3u8..=255, flow_tos: u8, host: u8, peer: u8, ports: (u16, u16), six: bool,
    ) {
        let ip: fn(u8) -> IpWords = if six { v6 } else { v4 };
        let mut f = if six { frame6(tos, ttl, &payload) } else { frame4(tos, ttl, &payload, true) };
        let mut value = flow(ip);
        value.tos = flow_tos;
        value.out_source_ip = ip(host);
        value.out_dest_ip = ip(peer);
        (value.out_source_port, value.out_dest_port) = (ports.0, ports.1.max(1));
        value.pt[0] = PtRewrite { from: payload.get(1).map_or(0, |b| b & 0x7f), to: host & 0x7f };
        let parsed = parse(&f).unwrap();
        rewrite(&mut f, &parsed, &value, false).unwrap();
        assert_checksums(&f);
        let out = parse(&f).unwrap();
        prop_assert_eq!(out.dest, Endpoint { ip: ip(peer), port: ports.1.max(1) });
    }

    /// The one value in 65,535 that RFC 768 writes differently: a checksum that comes out as zero.
    #[test]
    fn a_sum_of_zero_is_sent_as_all_ones(port in 1u16..) {
        // The last payload word is chosen so that the sum after the rewrite is all ones, its complement zero.
        let mut value = flow(v4);
        value.out_source_port = port;
        let body = |word: u16| { let mut p = vec![0x80, 0]; p.extend(word.to_be_bytes()); p };
        let probe = {
            let mut u = udp(port, 6000, &body(0));
            u[6..8].fill(0);
            let s = v4(77).to_bytes();
            let d = v4(88).to_bytes();
            let len = (u.len() as u32).to_be_bytes();
            sum(&[&s[12..], &d[12..], &len, &[0, 0, 0, 17], &u])
        };
        let mut f = frame4(0, 64, &body(0xffff - probe), true);
        let parsed = parse(&f).unwrap();
        rewrite(&mut f, &parsed, &value, false).unwrap();
        prop_assert_eq!(&f[40..42], &[0xff, 0xff]);
        assert_checksums(&f);
    }

    #[test]
    fn frames_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), six: bool) {
        let mut f = bytes;
        if f.len() > 14 {
            f[12..14].copy_from_slice(if six { &[0x86, 0xdd] } else { &[8, 0] });
            f[14] = if six { 0x60 } else { 0x45 };
        }
        if let Ok(parsed) = parse(&f) {
            prop_assert!(parsed.payload + parsed.payload_len <= f.len());
            let _ = rewrite(&mut f, &parsed, &flow(v4), false);
        }
    }
}
