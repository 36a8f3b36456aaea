//! The short way of a packet that is like the one before it: IPv4 without options, RTP from the latched source, the next
//! sequence number, the same SSRC and payload type, within its rate. Nearly every packet of every call is.
//!
//! It means the same as the long way ([`crate::frame`], [`crate::verdict`]) and only does it with fewer words: it reads
//! and writes the two cache lines of [`tandem_ebpf_abi::Hot`]. What it cannot do it declines before anything is touched,
//! and the long way begins. `tests/express.rs` holds the two against each other.

use tandem_ebpf_abi::{CLOCK_STEP_HZ, Express, FLAG_ON_HOLD, FLAG_SSRC_PINNED, FlowCounters, FlowValue, Pulse};

use crate::checksum::covers;
use crate::clock::Clock;
use crate::frame::{Change, ETHERTYPE_AT, ETHERTYPE_IPV4, ETHERTYPE_VLAN, PROTOCOL_UDP, fold};
use crate::packet::Packet;
use crate::rtp::{Head, PacketClass, RTP_HEADER_LEN};
use crate::verdict::{interval_of, jitter, within_rate};

const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;
/// Bytes of IP and UDP header in front of the payload.
const HEADERS: u32 = (IPV4_LEN + UDP_LEN) as u32;
/// The first word of the IPv4 header: version 4, five words.
const PLAIN_V4: u8 = 0x45;

/// The short form of `flow`; its version is 0 when there is none. `looped`: its source is one of our own addresses, so
/// that its packets are dropped.
pub fn of(flow: &FlowValue, looped: bool) -> Express {
    let clock = flow.clock_hz / CLOCK_STEP_HZ;
    let plain = flow.family == 4
        && flow.source_port != 0
        && flow.out_dest_port != 0
        && flow.source_ip.is_v4()
        && flow.out_source_ip.is_v4()
        && flow.out_dest_ip.is_v4()
        && flow.pt_count == 0
        && flow.flags & (FLAG_ON_HOLD | FLAG_SSRC_PINNED) == 0
        && clock * CLOCK_STEP_HZ == flow.clock_hz
        && clock <= u32::from(u16::MAX);
    if !plain || looped {
        return Express::default();
    }
    let ([s0, s1], [d0, d1]) = (flow.out_source_port.to_be_bytes(), flow.out_dest_port.to_be_bytes());
    Express {
        source_ip: flow.source_ip.0[3],
        source_port: flow.source_port.to_be(),
        tos: flow.tos & 0xfc,
        dtmf_pt: flow.dtmf_pt,
        out_source_ip: flow.out_source_ip.0[3],
        out_dest_ip: flow.out_dest_ip.0[3],
        out_ports: u32::from_ne_bytes([s0, s1, d0, d1]),
        policer_interval: interval_of(flow.policer_pps),
        policer_burst: flow.policer_burst,
        clock: clock as u16,
        version: flow.version,
    }
}

/// The headers of a frame that may go the short way, as words of memory.
#[derive(Clone, Copy)]
pub struct Plain {
    ip: [u32; 5],
    udp: [u32; 2],
    rtp: [u32; 3],
    payload_len: u32,
}

/// The two halves of a word, in the order of memory.
#[inline(always)]
fn halves(word: u32) -> (u16, u16) {
    let [a, b, c, d] = word.to_ne_bytes();
    (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]))
}

#[inline(always)]
fn joined(first: u16, second: u16) -> u32 {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// Reads the headers of a frame whose IP header is at `ip`; `None` for all that is not whole, right and plain.
#[inline(always)]
pub fn read<P: Packet + ?Sized>(packet: &P, ip: usize) -> Option<Plain> {
    let (udp_at, payload) = (ip + IPV4_LEN, ip + IPV4_LEN + UDP_LEN);
    if !packet.holds(payload + RTP_HEADER_LEN) || packet.u16(ip - 2) != ETHERTYPE_IPV4.to_be() {
        return None;
    }
    if ip != ETHERTYPE_AT + 2 && packet.u16(ETHERTYPE_AT) != ETHERTYPE_VLAN.to_be() {
        return None;
    }
    let words = [packet.u32(ip), packet.u32(ip + 4), packet.u32(ip + 8), packet.u32(ip + 12), packet.u32(ip + 16)];
    let [version_length, _, _, _] = words[0].to_ne_bytes();
    let [ttl, protocol, _, _] = words[2].to_ne_bytes();
    if version_length != PLAIN_V4 || protocol != PROTOCOL_UDP || ttl <= 1 {
        return None;
    }
    let ((_, total), (_, fragment)) = (halves(words[0]), halves(words[1]));
    if fragment & 0x3fffu16.to_be() != 0 {
        return None;
    }
    let mut sum = 0;
    for word in words {
        sum += u64::from(word);
    }
    if fold(sum) != 0xffff {
        return None;
    }
    let udp = [packet.u32(udp_at), packet.u32(udp_at + 4)];
    let len = u32::from(u16::from_be(halves(udp[1]).0));
    if len < (UDP_LEN + RTP_HEADER_LEN) as u32
        || len + IPV4_LEN as u32 > u32::from(u16::from_be(total))
        || udp_at + len as usize > packet.len()
    {
        return None;
    }
    let rtp = [packet.u32(payload), packet.u32(payload + 4), packet.u32(payload + 8)];
    Some(Plain { ip: words, udp, rtp, payload_len: len - UDP_LEN as u32 })
}

impl Plain {
    /// Destination address, the word of the wire.
    #[inline(always)]
    pub fn dest_ip(&self) -> u32 {
        self.ip[4]
    }

    /// Destination port.
    #[inline(always)]
    pub fn dest_port(&self) -> u16 {
        u16::from_be(halves(self.udp[0]).1)
    }

    /// Bytes of the UDP payload.
    #[inline(always)]
    pub fn payload_len(&self) -> u32 {
        self.payload_len
    }

    /// Whether the UDP checksum is right; see [`crate::checksum`]. `ip` is where the IP header is.
    #[inline(always)]
    pub fn udp_is_right<P: Packet + ?Sized>(&self, packet: &P, ip: usize) -> bool {
        let (_, check) = halves(self.udp[1]);
        let addresses = u64::from(self.ip[3]) + u64::from(self.ip[4]);
        check == 0 || covers(packet, ip + IPV4_LEN, self.payload_len + UDP_LEN as u32, addresses)
    }

    /// Bytes from the IP header on.
    #[inline(always)]
    pub fn wire_bytes(&self) -> u32 {
        self.payload_len + HEADERS
    }
}

/// What the short way will do.
#[derive(Clone, Copy)]
pub struct Decided {
    due: u64,
    stamp: bool,
    /// This packet gives a sample of the jitter, for which [`count`] wants the other counters.
    pub sample: bool,
}

/// Whether the packet may go the short way; `None`: the long one decides. Changes nothing.
#[inline(always)]
pub fn decide<C: Clock>(plain: &Plain, express: &Express, pulse: &Pulse, now: C) -> Option<Decided> {
    let (source_port, _) = halves(plain.udp[0]);
    let [first, second, s0, s1] = plain.rtp[0].to_ne_bytes();
    let payload_type = second & 0x7f;
    let next = (pulse.seq_highest as u16).wrapping_add(1);
    if express.version == 0
        || plain.ip[3] != express.source_ip
        || source_port != express.source_port
        || first & 0xc0 != 0x80
        || payload_type | 0x80 != pulse.payload_type
        || payload_type == express.dtmf_pt
        || plain.rtp[2] != pulse.ssrc
        || u16::from_be_bytes([s0, s1]) != next
    {
        return None;
    }
    let due = if express.policer_interval == 0 {
        pulse.policer_due
    } else {
        within_rate(pulse.policer_due, express.policer_interval, express.policer_burst, now.coarse_us())?
    };
    let phase = pulse.packets & (C::JITTER_PERIOD - 1);
    let timed = express.clock != 0;
    let every = C::JITTER_PERIOD == 1;
    Some(Decided { due, stamp: timed && !every && phase == 0, sample: timed && (every || phase == 1) })
}

/// Rewrites the frame: addresses, ports, ToS, TTL - 1, checksums.
#[inline(always)]
pub fn rewrite<P: Packet + ?Sized>(packet: &mut P, ip: usize, plain: &Plain, express: &Express) {
    if !packet.holds(ip + IPV4_LEN + UDP_LEN) {
        return;
    }
    let mut addresses = Change::default();
    addresses.words(plain.ip[3], express.out_source_ip);
    addresses.words(plain.ip[4], express.out_dest_ip);
    let mut header = addresses;
    let [version, tos, high, low] = plain.ip[0].to_ne_bytes();
    let first = u32::from_ne_bytes([version, express.tos | (tos & 0x03), high, low]);
    header.words(plain.ip[0], first);
    let (ttl_protocol, check) = halves(plain.ip[2]);
    let [ttl, protocol] = ttl_protocol.to_ne_bytes();
    let fewer = u16::from_ne_bytes([ttl.wrapping_sub(1), protocol]);
    header.word(ttl_protocol, fewer);
    packet.put_u32(ip, first);
    packet.put_u32(ip + 8, joined(fewer, header.apply(check)));
    packet.put_u32(ip + 12, express.out_source_ip);
    packet.put_u32(ip + 16, express.out_dest_ip);
    let mut covered = addresses;
    covered.words(plain.udp[0], express.out_ports);
    packet.put_u32(ip + IPV4_LEN, express.out_ports);
    let (len, check) = halves(plain.udp[1]);
    if check != 0 {
        let new = covered.apply(check);
        packet.put_u32(ip + IPV4_LEN + 4, joined(len, if new == 0 { 0xffff } else { new }));
    }
}

/// Counts the packet. `counters` are needed for a sample only; without them it is left out.
#[inline(always)]
pub fn count<C: Clock>(
    plain: &Plain,
    express: &Express,
    decided: Decided,
    pulse: &mut Pulse,
    counters: Option<&mut FlowCounters>,
    now: C,
) {
    pulse.packets += 1;
    pulse.bytes_payload += u64::from(plain.payload_len);
    pulse.last_us = now.coarse_us();
    pulse.seq_window = (pulse.seq_window << 1) | 1;
    pulse.seq_highest = pulse.seq_highest.wrapping_add(1);
    pulse.policer_due = decided.due;
    if decided.stamp {
        pulse.jitter_at_us = now.exact_us().max(1);
        pulse.rtp_timestamp = u32::from_be(plain.rtp[1]);
    } else if decided.sample
        && let Some(counters) = counters
    {
        let timestamp = u32::from_be(plain.rtp[1]);
        counters.jitter_at_us = pulse.jitter_at_us;
        counters.rtp_timestamp = pulse.rtp_timestamp;
        jitter(counters, u32::from(express.clock) * CLOCK_STEP_HZ, timestamp, false, now);
        pulse.jitter_at_us = counters.jitter_at_us;
        pulse.rtp_timestamp = timestamp;
    }
}

/// Brings the counters up to what the pulse says: before the long way, and for every reader.
#[inline(always)]
pub fn pour(pulse: &Pulse, counters: &mut FlowCounters) {
    let packets = pulse.packets.wrapping_sub(counters.packets);
    let bytes = pulse.bytes_payload.wrapping_sub(counters.bytes_payload);
    // What the counters do not know of went the short way, with headers of known length.
    counters.bytes_wire = counters.bytes_wire.wrapping_add(bytes).wrapping_add(packets * u64::from(HEADERS));
    counters.packets = pulse.packets;
    counters.bytes_payload = pulse.bytes_payload;
    counters.last_us = pulse.last_us;
    counters.seq_window = pulse.seq_window;
    counters.seq_highest = pulse.seq_highest;
    counters.ssrc = u32::from_be(pulse.ssrc);
    counters.policer_due = pulse.policer_due;
    counters.jitter_at_us = pulse.jitter_at_us;
    counters.rtp_timestamp = pulse.rtp_timestamp;
}

/// Brings the pulse up to what the long way made of the counters, after it has counted the packet that begins with `head`.
///
/// The sums are added to, not copied: who takes them away in the meantime shall find one packet there, not all.
#[inline(always)]
pub fn take(pulse: &mut Pulse, counters: &mut FlowCounters, flow: &FlowValue, head: Head) {
    pulse.policer_due = counters.policer_due;
    if !matches!(head.class(), PacketClass::Rtp) {
        return;
    }
    pulse.packets += 1;
    pulse.bytes_payload += u64::from(head.len);
    counters.packets = pulse.packets;
    counters.bytes_payload = pulse.bytes_payload;
    pulse.last_us = counters.last_us;
    pulse.seq_window = counters.seq_window;
    pulse.seq_highest = counters.seq_highest;
    pulse.ssrc = head.words[2];
    pulse.jitter_at_us = counters.jitter_at_us;
    pulse.rtp_timestamp = counters.rtp_timestamp;
    let payload_type = head.rtp().payload_type;
    // With the marker bit, 64 to 95 look like RTCP.
    if payload_type != flow.dtmf_pt && !matches!(payload_type, 64..=95) {
        pulse.payload_type = payload_type | 0x80;
    }
}
