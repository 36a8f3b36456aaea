//! Key and value of one flow: what arrives on one local port, and where it goes.

use core::mem::{align_of, offset_of, size_of};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// PT rewrite pairs one flow can hold (media.md 9).
pub const PT_REWRITES_MAX: usize = 8;

/// The other side does not want to receive: drop and count.
pub const FLAG_ON_HOLD: u16 = 1 << 0;
/// The call is not answered yet.
pub const FLAG_EARLY: u16 = 1 << 1;
/// Copy packets of [`FlowValue::dtmf_pt`] to user space, besides forwarding them.
pub const FLAG_DTMF_COPY: u16 = 1 << 2;
/// RTCP comes on its own port: RTCP on this one is a stray. Without this and [`FLAG_RTCP_DROP`]: mux (media.md M-D4).
pub const FLAG_RTCP_PAIR: u16 = 1 << 3;
/// RTCP is ignored.
pub const FLAG_RTCP_DROP: u16 = 1 << 4;
/// Only packets with [`FlowValue::ssrc_pin`] pass.
pub const FLAG_SSRC_PINNED: u16 = 1 << 5;
/// Packets from another source are punted as candidates: the window of media.md 4 rule 3 is open.
pub const FLAG_RELATCH_OPEN: u16 = 1 << 6;
/// The source never changes (strict latching, or frozen after too many changes): others are dropped at once.
pub const FLAG_SOURCE_FIXED: u16 = 1 << 7;

/// An IP address as four 32-bit words whose memory holds the bytes in wire order, so that packet words can be compared
/// and stored whole. IPv4 is kept IPv4-mapped (`::ffff:a.b.c.d`, RFC 4291 2.5.5.2): its wire word is the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct IpWords(pub [u32; 4]);

impl IpWords {
    /// No address.
    pub const UNSPECIFIED: IpWords = IpWords([0; 4]);
    /// Third word of every IPv4-mapped address.
    pub const V4_MARK: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

    /// From the 4 bytes of an IPv4 address, as one word read from the packet.
    pub const fn from_v4_word(word: u32) -> IpWords {
        IpWords([0, 0, Self::V4_MARK, word])
    }

    /// From the 16 bytes of an IPv6 (or IPv4-mapped) address.
    pub const fn from_bytes(b: [u8; 16]) -> IpWords {
        IpWords([
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ])
    }

    /// The 16 bytes in wire order.
    pub const fn to_bytes(self) -> [u8; 16] {
        let [a, b, c, d] = self.0;
        let (a, b) = (a.to_ne_bytes(), b.to_ne_bytes());
        let (c, d) = (c.to_ne_bytes(), d.to_ne_bytes());
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    }

    /// True for an IPv4-mapped address.
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == Self::V4_MARK
    }
}

impl From<IpAddr> for IpWords {
    fn from(ip: IpAddr) -> IpWords {
        match ip {
            IpAddr::V4(v4) => IpWords::from_v4_word(u32::from_ne_bytes(v4.octets())),
            IpAddr::V6(v6) => IpWords::from_bytes(v6.octets()),
        }
    }
}

impl From<IpWords> for IpAddr {
    fn from(words: IpWords) -> IpAddr {
        if words.is_v4() {
            IpAddr::V4(Ipv4Addr::from(words.0[3].to_ne_bytes()))
        } else {
            IpAddr::V6(Ipv6Addr::from(words.to_bytes()))
        }
    }
}

/// Address and UDP port of one end, as the fast path compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Endpoint {
    /// Address.
    pub ip: IpWords,
    /// UDP port.
    pub port: u16,
}

impl From<SocketAddr> for Endpoint {
    fn from(a: SocketAddr) -> Endpoint {
        Endpoint { ip: a.ip().into(), port: a.port() }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(e: Endpoint) -> SocketAddr {
        SocketAddr::new(e.ip.into(), e.port)
    }
}

/// Which flow a packet belongs to: the local media address it came to, and the local UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
#[repr(C)]
pub struct FlowKey {
    /// Number of the local media address (media IP slot).
    pub slot: u8,
    /// Always 0: named so that no byte of the key is undefined.
    pub reserved: u8,
    /// Local UDP port.
    pub port: u16,
}

impl FlowKey {
    /// Key of `port` on the media address number `slot`.
    pub const fn new(slot: u8, port: u16) -> FlowKey {
        FlowKey { slot, reserved: 0, port }
    }
}

/// One payload type number and what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct PtRewrite {
    /// As it arrives, 0-127.
    pub from: u8,
    /// As it leaves, 0-127.
    pub to: u8,
}

/// What to do with packets that arrive on one local port.
///
/// The first cache line is all that an RTP packet without a PT rewrite needs; RTCP, rewrites and policer are in the
/// second. [`FlowValue::version`] is written last: a reader that sees a new one sees the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C, align(64))]
pub struct FlowValue {
    /// Expected source address.
    pub source_ip: IpWords,
    /// Our address on the other side: source of what leaves.
    pub out_source_ip: IpWords,
    /// Destination of RTP.
    pub out_dest_ip: IpWords,
    /// Expected source port; 0 while unlatched.
    pub source_port: u16,
    /// Our port on the other side. Also the key of the opposite flow.
    pub out_source_port: u16,
    /// Destination port of RTP; 0 while unknown.
    pub out_dest_port: u16,
    /// 4 or 6 when both sides speak that version, 0 when they differ (user space only).
    pub family: u8,
    /// ToS byte or traffic class of what leaves; the two ECN bits are ignored (signalling.md S-D18).
    pub tos: u8,
    /// `FLAG_*`.
    pub flags: u16,
    /// Entries of [`FlowValue::pt`] in use.
    pub pt_count: u8,
    /// Payload type of telephone-event, as it arrives; 255 for none.
    pub dtmf_pt: u8,
    /// RTP clock of the audio codec in Hz, for the jitter; 0 when unknown.
    pub clock_hz: u32,

    /// Expected source address of RTCP, when it is not that of RTP.
    pub rtcp_source_ip: IpWords,
    /// Destination of RTCP.
    pub rtcp_dest_ip: IpWords,
    /// Expected source port of RTCP; 0 while none but the RTP source is known.
    pub rtcp_source_port: u16,
    /// Destination port of RTCP; 0 while unknown.
    pub rtcp_dest_port: u16,
    /// Payload type rewrites, the first `pt_count` of them.
    pub pt: [PtRewrite; PT_REWRITES_MAX],
    /// The only SSRC that passes when [`FLAG_SSRC_PINNED`] is set.
    pub ssrc_pin: u32,
    /// Packets per second the flow may carry; 0 for no limit.
    pub policer_pps: u16,
    /// Packets that may come at once.
    pub policer_burst: u16,
    /// Number of this state, counted up by its owner with every install; 0 marks an empty entry. Written last.
    pub version: u32,
}

impl FlowValue {
    /// The latched source, or `None` while unlatched.
    pub fn source(&self) -> Option<Endpoint> {
        (self.source_port != 0).then_some(Endpoint { ip: self.source_ip, port: self.source_port })
    }

    /// Source of what leaves: our port on the other side.
    pub fn out_source(&self) -> Endpoint {
        Endpoint { ip: self.out_source_ip, port: self.out_source_port }
    }

    /// Where a packet goes, RTP or RTCP; `None` while unknown.
    pub fn out_dest(&self, rtcp: bool) -> Option<Endpoint> {
        let (ip, port) =
            if rtcp { (self.rtcp_dest_ip, self.rtcp_dest_port) } else { (self.out_dest_ip, self.out_dest_port) };
        (port != 0).then_some(Endpoint { ip, port })
    }

    /// True when `flag` is set.
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

const _: () = {
    assert!(size_of::<FlowKey>() == 4 && align_of::<FlowKey>() == 2);
    assert!(offset_of!(FlowKey, port) == 2);
    assert!(size_of::<IpWords>() == 16 && align_of::<IpWords>() == 4);
    assert!(size_of::<PtRewrite>() == 2);
    // Two cache lines, and every byte belongs to a field: the offsets add up.
    assert!(size_of::<FlowValue>() == 128 && align_of::<FlowValue>() == 64);
    assert!(offset_of!(FlowValue, source_port) == 48);
    assert!(offset_of!(FlowValue, family) == 54);
    assert!(offset_of!(FlowValue, flags) == 56);
    assert!(offset_of!(FlowValue, clock_hz) == 60);
    assert!(offset_of!(FlowValue, rtcp_source_ip) == 64);
    assert!(offset_of!(FlowValue, rtcp_source_port) == 96);
    assert!(offset_of!(FlowValue, pt) == 100);
    assert!(offset_of!(FlowValue, ssrc_pin) == 116);
    assert!(offset_of!(FlowValue, policer_pps) == 120);
    assert!(offset_of!(FlowValue, version) == 124);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.1:4000", "[2001:db8::1]:65535", "[::]:1"] {
            let there: SocketAddr = text.parse().unwrap();
            let back: SocketAddr = Endpoint::from(there).into();
            assert_eq!(there, back);
        }
    }

    #[test]
    fn an_ipv4_address_keeps_its_wire_bytes_in_the_last_word() {
        let ip = IpWords::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        assert!(ip.is_v4());
        assert_eq!(ip.to_bytes()[12..], [192, 0, 2, 1]);
    }
}
