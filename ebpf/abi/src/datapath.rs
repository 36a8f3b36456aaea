//! What the kernel program and its loader share besides flows: configuration, neighbours, devices, totals, events.

use core::mem::{align_of, offset_of, size_of};

use crate::counters::FlowCounters;
use crate::flow::{FlowValue, IpWords};
use crate::reason::{DROP_REASONS, PUNT_REASONS};

/// Layout of everything in this crate. Counted up with every change of it: pinned maps of another version are not used.
pub const ABI_VERSION: u32 = 4;
/// What an object file has before the five digits of its [`ABI_VERSION`].
pub const ABI_MARK: [u8; 19] = *b"tandem relay layout";
/// [`ABI_MARK`], a blank and the version: the object file carries it, so that a loader of another version can say so.
pub const ABI_TEXT: [u8; ABI_MARK.len() + 6] = abi_text();

const fn abi_text() -> [u8; ABI_MARK.len() + 6] {
    let mut text = [b' '; ABI_MARK.len() + 6];
    let mut at = 0;
    while at < ABI_MARK.len() {
        text[at] = ABI_MARK[at];
        at += 1;
    }
    let (mut at, mut rest) = (text.len(), ABI_VERSION);
    while at > ABI_MARK.len() + 1 {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}

/// Local media addresses one program can serve.
pub const SLOTS_MAX: usize = 8;
/// Bytes of a payload that an event carries at most; the rest is cut off.
pub const EVENT_PAYLOAD_MAX: usize = 512;
/// Places for drop reasons and for punt reasons in [`Totals`]. A power of two, so that a mask proves the index.
pub const TOTAL_SLOTS: usize = 32;

/// Whose a port is, as far as packets go to user space; entry `slot * ports + port - first_port` of the map `LEASES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Lease {
    /// 0 for nobody's, else the number of the shard and one. User space writes it.
    pub owner: u32,
    /// Span of time in the upper 24 bits, datagrams in it in the lower 8. The program writes it.
    pub seen: u32,
}

/// Datagrams that one port may give user space in a span of [`LEASE_SPAN_SHIFT`]: twice what [`FlowValue`](crate::FlowValue)'s
/// busiest codec sends and more, and little enough for a shard.
pub const LEASE_SEEN_MAX: u32 = 128;
/// A span is 2^26 ns, 67 ms.
pub const LEASE_SPAN_SHIFT: u32 = 26;

/// The local media addresses and their ports: constant while a program is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Locals {
    /// Addresses in use, the first ones of the lists.
    pub count: u32,
    /// First port of the range.
    pub first_port: u32,
    /// Ports in the range. A port is entry `slot * ports + place_of(port - first_port)` of the maps.
    pub ports: u32,
    /// Not 0: the UDP checksum of every packet to a flow is verified.
    pub verify_udp: u32,
    /// IPv4 addresses as words of the wire; 0 where the slot has an IPv6 address.
    pub v4: [u32; SLOTS_MAX],
    /// IPv6 addresses; unspecified where the slot has an IPv4 address.
    pub v6: [IpWords; SLOTS_MAX],
}

/// What the pinned maps were made for; entry 0 of the map `ABI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Layout {
    /// [`ABI_VERSION`].
    pub version: u32,
    /// [`Locals::count`].
    pub slots: u32,
    /// [`Locals::first_port`].
    pub first_port: u32,
    /// [`Locals::ports`].
    pub ports: u32,
    /// The addresses, in the order of the slots.
    pub addresses: [IpWords; SLOTS_MAX],
}

/// Where the packets of one flow leave, as the kernel's tables told when they were asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Hop {
    /// Version of the flow that was asked for; another one makes this entry void, as does 0.
    pub version: u32,
    /// When, in units of 2^30 ns (about a second) of the monotonic clock.
    pub asked: u32,
    /// Interface to send from.
    pub ifindex: u32,
    /// VLAN of the way out; 0 for none.
    pub vlan: u16,
    /// Largest IP packet of the way out, bytes; 0 when unknown.
    pub mtu: u16,
    /// First 12 bytes of the Ethernet header: destination, source.
    pub macs: [u32; 3],
    /// Always 0.
    pub reserved: u32,
}

/// All that is known of one port, but for what lies in [`crate::Hot`]: what the rarer packets need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C, align(64))]
pub struct Port {
    /// What to do. Written by user space, `version` last.
    pub flow: FlowValue,
    /// What was done, together with [`crate::Pulse`]. Written by the program, set to zero by user space before a new flow
    /// begins.
    pub counters: FlowCounters,
    /// Always 0.
    pub reserved: [u64; 4],
}

/// What an interface of the machine means to the fast path. Key: its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Device {
    /// Interface that frames leave by: itself, or the one a VLAN is on.
    pub ifindex: u32,
    /// VLAN; 0 for none.
    pub vlan: u32,
}

/// Sums over all flows, one set per CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Totals {
    /// RTP packets forwarded: apart from the flows' own counters, so that one can audit the other.
    pub rtp_packets: u64,
    /// Their UDP payload bytes.
    pub rtp_bytes: u64,
    /// How many of them went the short way.
    pub express: u64,
    /// Frames that left by another interface than they came.
    pub redirected: u64,
    /// The kernel's tick when the clock was read last: until the next one it stands still, and need not be asked.
    pub tick: u64,
    /// The coarse clock then, microseconds.
    pub clock_us: u64,
    /// The same in units of 2^30 ns.
    pub clock_second: u64,
    /// RTCP packets forwarded.
    pub rtcp_packets: u64,
    /// Their UDP payload bytes.
    pub rtcp_bytes: u64,
    /// Frames to other addresses or ports than ours: left to the stack, not looked into.
    pub passed: u64,
    /// Events for which the ring had no room.
    pub events_lost: u64,
    /// Questions to the kernel's route and neighbour tables.
    pub hop_lookups: u64,
    /// Second of the last sample of packets without a flow, and how many were reported in it.
    pub sampled: [u64; 2],
    /// Left to user space or the stack, by [`crate::PuntReason`].
    pub punts: [u64; TOTAL_SLOTS],
    /// Dropped, by [`crate::DropReason`], with a flow or without.
    pub drops: [u64; TOTAL_SLOTS],
}

/// [`Totals`] as plain words, the way the loader reads it.
pub const TOTALS_WORDS: usize = size_of::<Totals>() / 8;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// First RTP packet that the kernel forwarded on this flow.
    FirstRtp = 1,
    /// The SSRC differs from that of the packet before.
    SsrcChange = 2,
    /// The policer dropped: the first packet of a flow and every 1,024th after it.
    RateExceeded = 3,
    /// A sample of what comes to ports without a flow, at most 100 a second and CPU.
    NoFlow = 4,
    /// RTCP that was forwarded; its payload follows.
    RtcpCopy = 5,
    /// telephone-event that was forwarded; its payload follows.
    DtmfCopy = 6,
}

impl EventKind {
    /// The kind with this number.
    pub const fn from_u8(n: u8) -> Option<EventKind> {
        Some(match n {
            1 => EventKind::FirstRtp,
            2 => EventKind::SsrcChange,
            3 => EventKind::RateExceeded,
            4 => EventKind::NoFlow,
            5 => EventKind::RtcpCopy,
            6 => EventKind::DtmfCopy,
            _ => return None,
        })
    }
}

/// Every record of the ring begins with this; copies have up to [`EVENT_PAYLOAD_MAX`] bytes of payload behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct EventHead {
    /// When, microseconds of the monotonic clock.
    pub at_us: u64,
    /// Who sent the packet.
    pub source_ip: IpWords,
    /// Its port.
    pub source_port: u16,
    /// Local port it came to.
    pub port: u16,
    /// Media address slot it came to.
    pub slot: u8,
    /// [`EventKind`].
    pub kind: u8,
    /// Bytes of payload that follow, and are valid.
    pub len: u16,
    /// SSRC of RTP, 0 otherwise.
    pub ssrc: u32,
    /// Version of the flow, 0 without one.
    pub version: u32,
}

/// A record with a payload.
#[repr(C)]
pub struct EventCopy {
    /// What and where.
    pub head: EventHead,
    /// The first `head.len` bytes are the payload.
    pub payload: [u8; EVENT_PAYLOAD_MAX],
}

const _: () = {
    assert!(size_of::<Locals>() == 16 + 4 * SLOTS_MAX + 16 * SLOTS_MAX);
    assert!(size_of::<Layout>() == 16 + 16 * SLOTS_MAX);
    assert!(size_of::<Hop>() == 32 && offset_of!(Hop, macs) == 16);
    assert!(size_of::<Device>() == 8);
    assert!(size_of::<Port>() == 448 && offset_of!(Port, counters) == 128 && offset_of!(Port, reserved) == 416);
    assert!(TOTAL_SLOTS.is_power_of_two());
    assert!(PUNT_REASONS <= TOTAL_SLOTS && DROP_REASONS <= TOTAL_SLOTS);
    assert!(size_of::<Totals>() == 14 * 8 + 2 * 8 * TOTAL_SLOTS && align_of::<Totals>() == 8);
    assert!(size_of::<EventHead>() == 40 && offset_of!(EventHead, ssrc) == 32);
    assert!(size_of::<EventCopy>() == 40 + EVENT_PAYLOAD_MAX);
};
