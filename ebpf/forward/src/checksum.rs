//! The UDP checksum of what arrives. The stack drops what is wrong before user space sees it; the fast path comes before
//! the stack and has to look itself.

use tandem_ebpf_abi::IpWords;

use crate::frame::{Frame, PROTOCOL_UDP, Version, fold};
use crate::packet::Packet;

/// Whether the UDP checksum of `frame` is right. Over IPv4, 0 means that there is none, and is right (RFC 768); over IPv6
/// it is not (RFC 8200 8.1). A frame that is too long to be summed is not right either: the stack looks at it.
#[inline(always)]
pub fn udp_is_right<P: Packet + ?Sized>(packet: &P, frame: &Frame) -> bool {
    let v4 = matches!(frame.version, Version::V4);
    if packet.u16(frame.udp + 6) == 0 {
        return v4;
    }
    let addresses = if v4 {
        u64::from(frame.source.ip.0[3]) + u64::from(frame.dest.ip.0[3])
    } else {
        words(frame.source.ip) + words(frame.dest.ip)
    };
    covers(packet, frame.udp, frame.payload_len as u32 + 8, addresses)
}

fn words(ip: IpWords) -> u64 {
    let [a, b, c, d] = ip.0;
    u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d)
}

/// Whether the datagram of `len` bytes at `at` sums up, together with the sum of both addresses.
#[inline(always)]
pub(crate) fn covers<P: Packet + ?Sized>(packet: &P, at: usize, len: u32, addresses: u64) -> bool {
    let Some(sum) = packet.sum(at, len) else {
        return false;
    };
    // The rest of the pseudo header: protocol and length.
    let rest = u64::from(u16::from(PROTOCOL_UDP).to_be()) + u64::from((len as u16).to_be());
    fold(u64::from(sum) + addresses + rest) == 0xffff
}
