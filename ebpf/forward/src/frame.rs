//! Ethernet frames: from the wire to a UDP payload, and the rewrite of addresses, ports, TTL and ToS on the way out,
//! with checksums updated in place (RFC 1624). Used by the XDP program; tested and fuzzed here.
//!
//! Where things are depends on the IP version and on a VLAN tag only, so [`parse_at`] and [`rewrite_at`] are the same four
//! pieces of code with constant offsets once a compiler has seen the caller.
//!
//! The IPv4 header length is read; options, fragments, IPv6 extension headers and a second VLAN tag are punted with
//! their reason. Link-layer addresses are not touched: they come from the neighbour table of whoever sends.

use tandem_ebpf_abi::{DropReason, Endpoint, FlowValue, IpWords, PuntReason};

use crate::packet::Packet;
use crate::rtp::Head;
use crate::verdict::rewritten;

const ETHERNET_LEN: usize = 14;
const VLAN_LEN: usize = 4;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
pub(crate) const ETHERTYPE_AT: usize = 12;
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(crate) const ETHERTYPE_VLAN: u16 = 0x8100;
/// Number of the VLAN in the tag; the rest is priority.
const VLAN_MASK: u16 = 0x0fff;
pub(crate) const PROTOCOL_UDP: u8 = 17;

/// IP version of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4 without options.
    V4,
    /// IPv6 without extension headers.
    V6,
}

/// Where things are in a frame, all within its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// IP version.
    pub version: Version,
    /// Offset of the IP header.
    pub ip: usize,
    /// Offset of the UDP header.
    pub udp: usize,
    /// Offset of the UDP payload.
    pub payload: usize,
    /// Its length, from the UDP header (Ethernet may pad).
    pub payload_len: usize,
    /// Sender.
    pub source: Endpoint,
    /// Addressee: a local media address and port.
    pub dest: Endpoint,
    /// TTL or hop limit as it arrived.
    pub ttl: u8,
}

impl Frame {
    /// The UDP payload in `bytes`, from which this frame was parsed.
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.payload..self.payload + self.payload_len).unwrap_or(&[])
    }

    /// Bytes from the IP header to the end of the payload.
    #[inline(always)]
    pub fn wire_bytes(&self) -> u32 {
        (self.payload - self.ip + self.payload_len) as u32
    }
}

/// Skips the link layer: which IP version follows, and where.
///
/// # Errors
/// [`PuntReason::NotIp`] and [`PuntReason::Truncated`].
#[inline(always)]
pub fn link<P: Packet + ?Sized>(packet: &P) -> Result<(Version, usize), PuntReason> {
    if !packet.holds(ETHERNET_LEN) {
        return Err(PuntReason::Truncated);
    }
    let mut ip = ETHERNET_LEN;
    let mut kind = u16::from_be(packet.u16(ETHERTYPE_AT));
    if kind == ETHERTYPE_VLAN {
        if !packet.holds(ETHERNET_LEN + VLAN_LEN) {
            return Err(PuntReason::Truncated);
        }
        kind = u16::from_be(packet.u16(ETHERTYPE_AT + VLAN_LEN));
        ip += VLAN_LEN;
    }
    match kind {
        ETHERTYPE_IPV4 => Ok((Version::V4, ip)),
        ETHERTYPE_IPV6 => Ok((Version::V6, ip)),
        _ => Err(PuntReason::NotIp),
    }
}

/// The VLAN a frame came with, when its IP header is at `ip`; 0 without a tag.
#[inline(always)]
pub fn vlan<P: Packet + ?Sized>(packet: &P, ip: usize) -> u16 {
    if ip == ETHERNET_LEN { 0 } else { u16::from_be(packet.u16(ETHERNET_LEN)) & VLAN_MASK }
}

/// Finds the UDP payload of a frame. Constant cost.
///
/// # Errors
/// The reason for which the frame is user space's or the stack's business.
pub fn parse(bytes: &[u8]) -> Result<Frame, PuntReason> {
    let (version, ip) = link(bytes)?;
    parse_at(bytes, version, ip)
}

/// [`parse`] from the IP header on.
///
/// # Errors
/// As there.
#[inline(always)]
pub fn parse_at<P: Packet + ?Sized>(packet: &P, version: Version, ip: usize) -> Result<Frame, PuntReason> {
    match version {
        Version::V4 => ipv4(packet, ip),
        Version::V6 => ipv6(packet, ip),
    }
}

#[inline(always)]
fn ipv4<P: Packet + ?Sized>(packet: &P, ip: usize) -> Result<Frame, PuntReason> {
    if !packet.holds(ip + IPV4_LEN) {
        return Err(PuntReason::Truncated);
    }
    let words = [packet.u32(ip), packet.u32(ip + 4), packet.u32(ip + 8), packet.u32(ip + 12), packet.u32(ip + 16)];
    let [version_length, _, total_high, total_low] = words[0].to_ne_bytes();
    if version_length != 0x45 {
        if version_length >> 4 != 4 || version_length & 0x0f < 5 {
            return Err(PuntReason::Truncated);
        }
        return Err(not_plain_v4(words));
    }
    let [ttl, protocol, _, _] = words[2].to_ne_bytes();
    let [_, _, fragment_high, fragment_low] = words[1].to_ne_bytes();
    // Protocol, and more fragments or an offset; "don't fragment" may be set.
    if protocol != PROTOCOL_UDP || u16::from_be_bytes([fragment_high, fragment_low]) & 0x3fff != 0 {
        return Err(not_plain_v4(words));
    }
    let total = usize::from(u16::from_be_bytes([total_high, total_low]));
    if total < IPV4_LEN + UDP_LEN {
        return Err(PuntReason::Truncated);
    }
    let mut sum = 0;
    for word in words {
        sum += u64::from(word);
    }
    if fold(sum) != 0xffff {
        return Err(PuntReason::BadChecksum);
    }
    let (source, dest) = (IpWords::from_v4_word(words[3]), IpWords::from_v4_word(words[4]));
    udp(packet, Version::V4, ip, ip + IPV4_LEN, total - IPV4_LEN, ttl, source, dest)
}

/// Which of the three it was, the same for every order of looking.
#[inline(always)]
fn not_plain_v4(words: [u32; 5]) -> PuntReason {
    let [_, protocol, _, _] = words[2].to_ne_bytes();
    let [_, _, fragment_high, fragment_low] = words[1].to_ne_bytes();
    if protocol != PROTOCOL_UDP {
        PuntReason::NotUdp
    } else if u16::from_be_bytes([fragment_high, fragment_low]) & 0x3fff != 0 {
        PuntReason::Fragment
    } else {
        PuntReason::IpOptions
    }
}

#[inline(always)]
fn ipv6<P: Packet + ?Sized>(packet: &P, ip: usize) -> Result<Frame, PuntReason> {
    if !packet.holds(ip + IPV6_LEN) {
        return Err(PuntReason::Truncated);
    }
    let [first, _, _, _] = packet.u32(ip).to_ne_bytes();
    if first >> 4 != 6 {
        return Err(PuntReason::Truncated);
    }
    let [len_high, len_low, next, hops] = packet.u32(ip + 4).to_ne_bytes();
    if next != PROTOCOL_UDP {
        return Err(match next {
            44 => PuntReason::Fragment,
            // Hop-by-hop, routing, authentication, destination options, mobility.
            0 | 43 | 51 | 60 | 135 => PuntReason::Ipv6Extension,
            _ => PuntReason::NotUdp,
        });
    }
    let source = IpWords([packet.u32(ip + 8), packet.u32(ip + 12), packet.u32(ip + 16), packet.u32(ip + 20)]);
    let dest = IpWords([packet.u32(ip + 24), packet.u32(ip + 28), packet.u32(ip + 32), packet.u32(ip + 36)]);
    let len = usize::from(u16::from_be_bytes([len_high, len_low]));
    udp(packet, Version::V6, ip, ip + IPV6_LEN, len, hops, source, dest)
}

#[inline(always)]
#[allow(clippy::too_many_arguments)] // One call for each IP version; a struct would only move them.
fn udp<P: Packet + ?Sized>(
    packet: &P,
    version: Version,
    ip: usize,
    at: usize,
    available: usize,
    ttl: u8,
    source: IpWords,
    dest: IpWords,
) -> Result<Frame, PuntReason> {
    if !packet.holds(at + UDP_LEN) {
        return Err(PuntReason::Truncated);
    }
    let [s0, s1, d0, d1] = packet.u32(at).to_ne_bytes();
    let len = usize::from(u16::from_be(packet.u16(at + 4)));
    if len < UDP_LEN || len > available || at + len > packet.len() {
        return Err(PuntReason::Truncated);
    }
    Ok(Frame {
        version,
        ip,
        udp: at,
        payload: at + UDP_LEN,
        payload_len: len - UDP_LEN,
        source: Endpoint { ip: source, port: u16::from_be_bytes([s0, s1]) },
        dest: Endpoint { ip: dest, port: u16::from_be_bytes([d0, d1]) },
        ttl,
    })
}

/// What a frame becomes: all that the rewrite needs of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    source_ip: IpWords,
    dest_ip: IpWords,
    /// Both ports as they stand in the UDP header.
    ports: u32,
    tos: u8,
    /// Second byte of the payload, with the payload type.
    second: Option<u8>,
}

impl Outgoing {
    /// What `flow` makes of `frame`, whose payload begins with `head`; the verdict was `Send { rtcp }`.
    ///
    /// # Errors
    /// [`DropReason::NoDestination`] when the flow has none or another IP version than the frame,
    /// [`DropReason::TtlExpired`] when the packet has used up its hops.
    #[inline(always)]
    pub fn of(flow: &FlowValue, frame: &Frame, head: Head, rtcp: bool) -> Result<Outgoing, DropReason> {
        let (dest_ip, dest_port) =
            if rtcp { (flow.rtcp_dest_ip, flow.rtcp_dest_port) } else { (flow.out_dest_ip, flow.out_dest_port) };
        let source_ip = flow.out_source_ip;
        let v4 = matches!(frame.version, Version::V4);
        if dest_port == 0 || dest_ip.is_v4() != v4 || source_ip.is_v4() != v4 {
            return Err(DropReason::NoDestination);
        }
        if frame.ttl <= 1 {
            return Err(DropReason::TtlExpired);
        }
        let [_, second, _, _] = head.words[0].to_ne_bytes();
        let second = if !rtcp && head.len > 1 && flow.pt_count != 0 { rewritten(flow, second) } else { None };
        let ([s0, s1], [d0, d1]) = (flow.out_source_port.to_be_bytes(), dest_port.to_be_bytes());
        let ports = u32::from_ne_bytes([s0, s1, d0, d1]);
        Ok(Outgoing { source_ip, dest_ip, ports, tos: flow.tos, second })
    }
}

/// Rewrites the frame as `flow` says: addresses, ports, ToS, TTL - 1, and the payload type of RTP.
///
/// `bytes` are those `frame` was parsed from; the verdict was `Send { rtcp }`. Don't-fragment and the ECN bits are kept.
///
/// # Errors
/// Those of [`Outgoing::of`]; nothing is changed then.
pub fn rewrite(bytes: &mut [u8], frame: &Frame, flow: &FlowValue, rtcp: bool) -> Result<(), DropReason> {
    let head = Head::of(frame.payload(bytes));
    let outgoing = Outgoing::of(flow, frame, head, rtcp)?;
    rewrite_at(bytes, frame, &outgoing);
    Ok(())
}

/// [`rewrite`] for any kind of packet, decided before.
#[inline(always)]
pub fn rewrite_at<P: Packet + ?Sized>(packet: &mut P, frame: &Frame, out: &Outgoing) {
    if !packet.holds(frame.payload) {
        return;
    }
    let v4 = matches!(frame.version, Version::V4);
    // What the UDP checksum covers: addresses, ports, payload type.
    let mut covered = Change::default();
    if let Some(second) = out.second
        && packet.holds(frame.payload + 2)
    {
        let old = packet.u16(frame.payload);
        let [first, _] = old.to_ne_bytes();
        let new = u16::from_ne_bytes([first, second]);
        covered.word(old, new);
        packet.put_u16(frame.payload, new);
    }
    let ip = frame.ip;
    let mut addresses = Change::default();
    if v4 {
        put(packet, ip + 12, out.source_ip.0[3], &mut addresses);
        put(packet, ip + 16, out.dest_ip.0[3], &mut addresses);
        let mut header = addresses;
        // Version and length, ToS, total length. Written as the words that are read: a processor that reads what it has
        // just written in pieces has to wait.
        let old = packet.u32(ip);
        let [version, tos, high, low] = old.to_ne_bytes();
        let new = u32::from_ne_bytes([version, (out.tos & 0xfc) | (tos & 0x03), high, low]);
        header.words(old, new);
        packet.put_u32(ip, new);
        // TTL, protocol, checksum.
        let [ttl, protocol, high, low] = packet.u32(ip + 8).to_ne_bytes();
        let fewer = ttl.wrapping_sub(1);
        header.word(u16::from_ne_bytes([ttl, protocol]), u16::from_ne_bytes([fewer, protocol]));
        let [high, low] = header.apply(u16::from_ne_bytes([high, low])).to_ne_bytes();
        packet.put_u32(ip + 8, u32::from_ne_bytes([fewer, protocol, high, low]));
    } else {
        let mut at = 0;
        while at < 4 {
            put(packet, ip + 8 + 4 * at, out.source_ip.0[at], &mut addresses);
            put(packet, ip + 24 + 4 * at, out.dest_ip.0[at], &mut addresses);
            at += 1;
        }
        // Version, traffic class (8 bits), flow label. No checksum covers them.
        let [first, second] = packet.u16(ip).to_ne_bytes();
        let class = (out.tos & 0xfc) | ((second >> 4) & 0x03);
        packet.put_u16(ip, u16::from_ne_bytes([(first & 0xf0) | (class >> 4), (class << 4) | (second & 0x0f)]));
        let [next, hops] = packet.u16(ip + 6).to_ne_bytes();
        packet.put_u16(ip + 6, u16::from_ne_bytes([next, hops.wrapping_sub(1)]));
    }
    covered.0 += addresses.0;
    put(packet, frame.udp, out.ports, &mut covered);
    let old = packet.u16(frame.udp + 6);
    // 0 over IPv4 means "no checksum" and stays (RFC 768); over IPv6 it is forbidden, and the receiver will drop the
    // packet as it would have dropped the original.
    if old != 0 {
        let new = covered.apply(old);
        // A sum that comes out as 0 is sent as all ones (RFC 768).
        packet.put_u16(frame.udp + 6, if new == 0 { 0xffff } else { new });
    }
}

/// Difference of a one's complement sum: new words minus old words (RFC 1624 eqn. 3). Words are summed as they are in
/// memory; the sum comes out in the same order (RFC 1071 2 B).
#[derive(Clone, Copy, Default)]
pub(crate) struct Change(u64);

impl Change {
    #[inline(always)]
    pub(crate) fn word(&mut self, old: u16, new: u16) {
        self.0 += u64::from(!old) + u64::from(new);
    }

    /// Two neighbouring words at once: 2^16 counts as 1 in this sum.
    #[inline(always)]
    pub(crate) fn words(&mut self, old: u32, new: u32) {
        self.0 += u64::from(!old) + u64::from(new);
    }

    /// `HC' = ~(~HC + ~m + m')`
    #[inline(always)]
    pub(crate) fn apply(self, checksum: u16) -> u16 {
        !fold(self.0 + u64::from(!checksum))
    }
}

/// Carries added back in until 16 bits are left. For less than 2^38, so fewer than 32 words of 32 bits.
#[inline(always)]
pub(crate) fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Writes four bytes at an even offset and notes the difference.
#[inline(always)]
fn put<P: Packet + ?Sized>(packet: &mut P, at: usize, new: u32, change: &mut Change) {
    change.words(packet.u32(at), new);
    packet.put_u32(at, new);
}
