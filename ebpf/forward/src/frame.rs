//! Ethernet frames: from the wire to a UDP payload, and the rewrite of addresses, ports, TTL and ToS on the way out,
//! with checksums updated in place (RFC 1624). Used by the XDP program; tested and fuzzed here.
//!
//! The IPv4 header length is read; options, fragments, IPv6 extension headers and a second VLAN tag are punted with
//! their reason. Link-layer addresses are not touched: they come from the neighbour table of whoever sends.

use tandem_ebpf_abi::{DropReason, Endpoint, FlowValue, IpWords, PuntReason};

use crate::verdict::rewritten;

const ETHERNET_LEN: usize = 14;
const VLAN_LEN: usize = 4;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const PROTOCOL_UDP: u8 = 17;
/// IPv6 extension headers that may stand before UDP: hop-by-hop, routing, fragment, authentication, destination
/// options, mobility.
const EXTENSIONS: [u8; 6] = [0, 43, 44, 51, 60, 135];

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
}

impl Frame {
    /// The UDP payload in `bytes`, from which this frame was parsed.
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.payload..self.payload + self.payload_len).unwrap_or(&[])
    }

    /// Bytes from the IP header to the end of the payload.
    pub fn wire_bytes(&self) -> u32 {
        (self.payload - self.ip + self.payload_len) as u32
    }
}

/// A place in the frame that checks its bounds, advances, and never goes back.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], PuntReason> {
        let chunk = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(PuntReason::Truncated)?;
        self.at += N;
        Ok(chunk)
    }

    /// Skips the link layer and says what follows.
    fn ethernet(&mut self) -> Result<u16, PuntReason> {
        let header = self.take::<ETHERNET_LEN>()?;
        let kind = u16::from_be_bytes([header[12], header[13]]);
        if kind != ETHERTYPE_VLAN {
            return Ok(kind);
        }
        let tag = self.take::<VLAN_LEN>()?;
        Ok(u16::from_be_bytes([tag[2], tag[3]]))
    }
}

/// Finds the UDP payload of a frame. Constant cost.
///
/// # Errors
/// The reason for which the frame is user space's or the stack's business.
#[inline(always)]
pub fn parse(bytes: &[u8]) -> Result<Frame, PuntReason> {
    let mut cursor = Cursor { bytes, at: 0 };
    match cursor.ethernet()? {
        ETHERTYPE_IPV4 => ipv4(cursor),
        ETHERTYPE_IPV6 => ipv6(cursor),
        _ => Err(PuntReason::NotIp),
    }
}

#[inline(always)]
fn ipv4(mut cursor: Cursor<'_>) -> Result<Frame, PuntReason> {
    let ip = cursor.at;
    let h = cursor.take::<IPV4_LEN>()?;
    let words = h[0] & 0x0f;
    if h[0] >> 4 != 4 || words < 5 {
        return Err(PuntReason::Truncated);
    }
    if h[9] != PROTOCOL_UDP {
        return Err(PuntReason::NotUdp);
    }
    // More fragments, or an offset; "don't fragment" may be set.
    if u16::from_be_bytes([h[6], h[7]]) & 0x3fff != 0 {
        return Err(PuntReason::Fragment);
    }
    if words > 5 {
        return Err(PuntReason::IpOptions);
    }
    let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
    let source = IpWords::from_v4_word(u32::from_ne_bytes([h[12], h[13], h[14], h[15]]));
    let dest = IpWords::from_v4_word(u32::from_ne_bytes([h[16], h[17], h[18], h[19]]));
    if total < IPV4_LEN {
        return Err(PuntReason::Truncated);
    }
    udp(cursor, Version::V4, ip, total - IPV4_LEN, h[8], source, dest)
}

#[inline(always)]
fn ipv6(mut cursor: Cursor<'_>) -> Result<Frame, PuntReason> {
    let ip = cursor.at;
    let h = cursor.take::<IPV6_LEN>()?;
    if h[0] >> 4 != 6 {
        return Err(PuntReason::Truncated);
    }
    if h[6] == 44 {
        return Err(PuntReason::Fragment);
    }
    if EXTENSIONS.contains(&h[6]) {
        return Err(PuntReason::Ipv6Extension);
    }
    if h[6] != PROTOCOL_UDP {
        return Err(PuntReason::NotUdp);
    }
    let len = usize::from(u16::from_be_bytes([h[4], h[5]]));
    let mut source = [0; 16];
    let mut dest = [0; 16];
    source.copy_from_slice(&h[8..24]);
    dest.copy_from_slice(&h[24..40]);
    udp(cursor, Version::V6, ip, len, h[7], IpWords::from_bytes(source), IpWords::from_bytes(dest))
}

#[inline(always)]
fn udp(
    mut cursor: Cursor<'_>,
    version: Version,
    ip: usize,
    available: usize,
    ttl: u8,
    source: IpWords,
    dest: IpWords,
) -> Result<Frame, PuntReason> {
    let at = cursor.at;
    let h = cursor.take::<UDP_LEN>()?;
    let len = usize::from(u16::from_be_bytes([h[4], h[5]]));
    if len < UDP_LEN || len > available || at + len > cursor.bytes.len() {
        return Err(PuntReason::Truncated);
    }
    if ttl <= 1 {
        return Err(PuntReason::TtlExpired);
    }
    Ok(Frame {
        version,
        ip,
        udp: at,
        payload: cursor.at,
        payload_len: len - UDP_LEN,
        source: Endpoint { ip: source, port: u16::from_be_bytes([h[0], h[1]]) },
        dest: Endpoint { ip: dest, port: u16::from_be_bytes([h[2], h[3]]) },
    })
}

/// Rewrites the frame as `flow` says: addresses, ports, ToS, TTL - 1, and the payload type of RTP.
///
/// `bytes` are those `frame` was parsed from; the verdict was `Send { rtcp }`. Don't-fragment and the ECN bits are kept.
///
/// # Errors
/// [`DropReason::NoDestination`] when the flow has none or another IP version than the frame; nothing is changed then.
#[inline(always)]
pub fn rewrite(bytes: &mut [u8], frame: &Frame, flow: &FlowValue, rtcp: bool) -> Result<(), DropReason> {
    let (dest_ip, dest_port) =
        if rtcp { (flow.rtcp_dest_ip, flow.rtcp_dest_port) } else { (flow.out_dest_ip, flow.out_dest_port) };
    let source_ip = flow.out_source_ip;
    let v4 = matches!(frame.version, Version::V4);
    if dest_port == 0 || dest_ip.is_v4() != v4 || source_ip.is_v4() != v4 {
        return Err(DropReason::NoDestination);
    }
    let mut change = Change::default();
    if !rtcp && frame.payload_len > 1 {
        // Low byte of the first payload word, which begins at an even offset of the checksummed data.
        if let Some(byte) = bytes.get_mut(frame.payload + 1)
            && let Some(new) = rewritten(flow, *byte)
        {
            change.byte_low(*byte, new);
            *byte = new;
        }
    }
    let Some(headers) = bytes.get_mut(frame.ip..frame.payload) else {
        return Err(DropReason::TooShort);
    };
    rewrite_headers(headers, v4, source_ip, dest_ip, dest_port, flow, change);
    Ok(())
}

/// Difference of a one's complement sum: new words minus old words (RFC 1624 eqn. 3).
#[derive(Clone, Copy, Default)]
struct Change(u64);

impl Change {
    #[inline(always)]
    fn word(&mut self, old: u16, new: u16) {
        self.0 += u64::from(!old) + u64::from(new);
    }

    #[inline(always)]
    fn byte_low(&mut self, old: u8, new: u8) {
        self.word(u16::from(old), u16::from(new));
    }

    /// `HC' = ~(~HC + ~m + m')`
    #[inline(always)]
    fn apply(self, checksum: u16) -> u16 {
        let mut sum = self.0 + u64::from(!checksum);
        // Fewer than 2^20 words were added, so three folds end within 16 bits.
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }
}

/// `h` begins with the IP header and ends with the UDP header; both have their fixed length.
#[inline(always)]
fn rewrite_headers(
    h: &mut [u8],
    v4: bool,
    source_ip: IpWords,
    dest_ip: IpWords,
    dest_port: u16,
    flow: &FlowValue,
    mut payload: Change,
) {
    let (source, dest) = (source_ip.to_bytes(), dest_ip.to_bytes());
    let mut addresses = Change::default();
    let udp = if v4 {
        let Some(h) = h.first_chunk_mut::<{ IPV4_LEN + UDP_LEN }>() else {
            return;
        };
        let mut header = Change::default();
        let tos = (flow.tos & 0xfc) | (h[1] & 0x03);
        header.byte_low(h[1], tos);
        h[1] = tos;
        // TTL is the high byte of its word; parse() saw that it is more than 1.
        let ttl = h[8].saturating_sub(1);
        header.word(u16::from(h[8]) << 8, u16::from(ttl) << 8);
        h[8] = ttl;
        put(h, 12, &source[12..], &mut addresses);
        put(h, 16, &dest[12..], &mut addresses);
        header.0 += addresses.0;
        let checksum = header.apply(u16::from_be_bytes([h[10], h[11]]));
        [h[10], h[11]] = checksum.to_be_bytes();
        IPV4_LEN
    } else {
        let Some(h) = h.first_chunk_mut::<{ IPV6_LEN + UDP_LEN }>() else {
            return;
        };
        // Version, traffic class (8 bits), flow label. No checksum covers them.
        let class = (flow.tos & 0xfc) | ((h[1] >> 4) & 0x03);
        h[0] = 0x60 | (class >> 4);
        h[1] = (class << 4) | (h[1] & 0x0f);
        h[7] = h[7].saturating_sub(1);
        put(h, 8, &source, &mut addresses);
        put(h, 24, &dest, &mut addresses);
        IPV6_LEN
    };
    let Some(h) = h.get_mut(udp..).and_then(|u| u.first_chunk_mut::<UDP_LEN>()) else {
        return;
    };
    put(h, 0, &flow.out_source_port.to_be_bytes(), &mut payload);
    put(h, 2, &dest_port.to_be_bytes(), &mut payload);
    payload.0 += addresses.0;
    let old = u16::from_be_bytes([h[6], h[7]]);
    // 0 over IPv4 means "no checksum" and stays (RFC 768); over IPv6 it is forbidden, and the receiver will drop the
    // packet as it would have dropped the original.
    if old != 0 {
        let new = payload.apply(old);
        // A sum that comes out as 0 is sent as all ones (RFC 768).
        let new = if new == 0 { 0xffff } else { new };
        [h[6], h[7]] = new.to_be_bytes();
    }
}

/// Writes an even number of bytes at an even offset and notes the difference.
#[inline(always)]
fn put(h: &mut [u8], at: usize, new: &[u8], change: &mut Change) {
    let Some(old) = h.get_mut(at..at + new.len()) else {
        return;
    };
    for (o, n) in old.chunks_exact_mut(2).zip(new.chunks_exact(2)) {
        change.word(u16::from_be_bytes([o[0], o[1]]), u16::from_be_bytes([n[0], n[1]]));
        o.copy_from_slice(n);
    }
}
