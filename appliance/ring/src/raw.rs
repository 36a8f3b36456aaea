//! Sending from ports that have no socket: one raw socket of each media address, and IP and UDP headers of our own.
//!
//! The kernel still routes, marks and filters, and fills in the IPv4 checksum; the UDP checksum it leaves to us.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::udp::set_option;

/// Bytes of the longest pair of headers.
pub(crate) const HEADERS_MAX: usize = 48;
const UDP_BYTES: usize = 8;
const UDP: u8 = 17;
/// "Don't fragment": a UDP socket sets it as well (`IP_PMTUDISC_WANT`).
const DONT_FRAGMENT: u16 = 0x4000;
/// What a host sends by default (RFC 1700), Linux among them.
const HOP_LIMIT: u8 = 64;

/// How to open a raw socket that sends from any UDP port of one address.
#[derive(Clone, Copy, Debug)]
pub struct RawOptions {
    /// The address it sends from, which must be one of this host.
    pub addr: IpAddr,
    /// The whole TOS or traffic-class byte of what is sent.
    pub tos: u8,
    /// Send buffer in bytes, 0 for the system's default.
    pub send_buffer: usize,
    /// Bind an address no interface has yet.
    pub free_bind: bool,
}

/// Why a raw socket could not be opened, with the likely cause and a cure.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// Without the capability.
    #[error(
        "cannot open a raw socket on {addr}: the capability CAP_NET_RAW is missing; add it to the service \
         (AmbientCapabilities=) or `setcap cap_net_raw=+ep tandemd`"
    )]
    NoCapability {
        /// What was asked for.
        addr: IpAddr,
    },
    /// Anything else, with the step that failed.
    #[error("cannot open a raw socket on {addr}: {step}: {source}")]
    Other {
        /// What was asked for.
        addr: IpAddr,
        /// The option or call.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Opens and binds.
pub(crate) fn open(options: &RawOptions) -> Result<Socket, RawError> {
    let addr = options.addr;
    let fail = |step| {
        move |source: io::Error| match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => RawError::NoCapability { addr },
            _ => RawError::Other { addr, step, source },
        }
    };
    let here = SocketAddr::new(addr, 0);
    // Receives nothing: no datagram is of that protocol.
    let kind = Protocol::from(libc::IPPROTO_RAW);
    let socket = Socket::new(Domain::for_address(here), Type::RAW, Some(kind)).map_err(fail("socket"))?;
    if addr.is_ipv6() {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_HDRINCL, 1).map_err(fail("IPV6_HDRINCL"))?;
    } else {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_HDRINCL, 1).map_err(fail("IP_HDRINCL"))?;
    }
    if options.send_buffer != 0 && !crate::udp::force_buffer(&socket, libc::SO_SNDBUFFORCE, options.send_buffer) {
        socket.set_send_buffer_size(options.send_buffer).map_err(fail("SO_SNDBUF"))?;
    }
    if options.free_bind {
        let set = if addr.is_ipv6() { socket.set_freebind_v6(true) } else { socket.set_freebind_v4(true) };
        set.map_err(fail("IP_FREEBIND"))?;
    }
    // Routes that depend on the sender's address are found by it.
    socket.bind(&here.into()).map_err(fail("bind"))?;
    Ok(socket)
}

/// IP and UDP headers of one datagram, in the last bytes of the array, and how many they are; `None` when the families
/// differ or it is too long.
pub(crate) fn headers(from: SocketAddr, to: SocketAddr, tos: u8, payload: &[u8]) -> Option<([u8; HEADERS_MAX], usize)> {
    let mut bytes = [0; HEADERS_MAX];
    let udp_len = u16::try_from(UDP_BYTES + payload.len()).ok()?;
    let (ip, udp) = bytes.split_at_mut(HEADERS_MAX - UDP_BYTES);
    udp[0..2].copy_from_slice(&from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    // The pseudo header's words, the UDP header's and the payload's (RFC 768, RFC 8200 8.1).
    let mut sum = u64::from(UDP) + 2 * u64::from(udp_len) + u64::from(from.port()) + u64::from(to.port());
    let ip_len = match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(dest)) => {
            let ip = &mut ip[20..];
            ip[0] = 0x45;
            ip[1] = tos;
            ip[2..4].copy_from_slice(&udp_len.checked_add(20)?.to_be_bytes());
            ip[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
            ip[8] = HOP_LIMIT;
            ip[9] = UDP;
            ip[12..16].copy_from_slice(&source.octets());
            ip[16..20].copy_from_slice(&dest.octets());
            sum += words(&ip[12..20]);
            20
        }
        (IpAddr::V6(source), IpAddr::V6(dest)) => {
            ip[0] = 0x60 | tos >> 4;
            ip[1] = tos << 4;
            ip[4..6].copy_from_slice(&udp_len.to_be_bytes());
            ip[6] = UDP;
            ip[7] = HOP_LIMIT;
            ip[8..24].copy_from_slice(&source.octets());
            ip[24..40].copy_from_slice(&dest.octets());
            sum += words(&ip[8..40]);
            40
        }
        _ => return None,
    };
    sum += words(payload);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let check = match !(sum as u16) {
        // Zero would say that there is none.
        0 => 0xffff,
        check => check,
    };
    udp[6..8].copy_from_slice(&check.to_be_bytes());
    Some((bytes, ip_len + UDP_BYTES))
}

/// Sum of the 16-bit words, not folded; an odd last byte is the upper half of a word.
fn words(bytes: &[u8]) -> u64 {
    // Four bytes at a time: 2^32 = 1 modulo 2^16 - 1, so the halves may be folded at the end.
    let mut chunks = bytes.chunks_exact(4);
    let mut sum: u64 = 0;
    for chunk in &mut chunks {
        sum += u64::from(u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]));
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_be_bytes(last));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(mut sum: u64) -> u16 {
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn what_a_receiver_sums_is_all_ones() {
        for (from, to) in
            [("192.0.2.1:10000", "198.51.100.7:40001"), ("[2001:db8::1]:10000", "[2001:db8:ffff::7]:40001")]
        {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().expect("test"), to.parse().expect("test"));
            for len in 0..200usize {
                let payload: Vec<u8> = (0..len).map(|n| (n * 37 + len) as u8).collect();
                let (bytes, all) = headers(from, to, 0xb8, &payload).expect("short");
                let mut wire = bytes[HEADERS_MAX - all..].to_vec();
                wire.extend(&payload);
                let addresses = if from.is_ipv4() { &wire[12..20] } else { &wire[8..40] };
                let udp = &wire[all - UDP_BYTES..];
                let sum = words(addresses) + u64::from(UDP) + udp.len() as u64;
                // Padded by hand, word by word: not with the function that is tested.
                let plain: u64 =
                    udp.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum();
                assert_eq!(folded(sum + plain), 0xffff, "{from} {len}");
                assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), len + UDP_BYTES);
            }
        }
    }

    #[test]
    fn families_do_not_mix_and_nothing_is_longer_than_ip_can_say() {
        let v4: SocketAddr = "192.0.2.1:1".parse().expect("test");
        let v6: SocketAddr = "[2001:db8::1]:1".parse().expect("test");
        assert!(headers(v4, v6, 0, b"").is_none());
        assert!(headers(v4, v4, 0, &vec![0; 65_507]).is_some());
        assert!(headers(v4, v4, 0, &vec![0; 65_508]).is_none());
    }
}
