//! Socket addresses between Rust and the kernel's layout.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of the larger address, `struct sockaddr_in6`.
pub(crate) const ADDRESS_BYTES: usize = size_of::<libc::sockaddr_in6>();

const ADDRESS_V4_BYTES: usize = size_of::<libc::sockaddr_in>();

const _: () = assert!(ADDRESS_BYTES == 28 && ADDRESS_V4_BYTES == 16);
const _: () = assert!(CONTROL_HEADER == 16 && CONTROL_ALIGN == 8);

/// Writes `address` as `sockaddr_in` or `sockaddr_in6` and says how many bytes of the array count.
pub(crate) fn encode(address: SocketAddr) -> ([u8; ADDRESS_BYTES], u32) {
    let mut raw = [0; ADDRESS_BYTES];
    raw[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            raw[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            raw[4..8].copy_from_slice(&v4.ip().octets());
            (raw, ADDRESS_V4_BYTES as u32)
        }
        SocketAddr::V6(v6) => {
            raw[0..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            // The kernel takes the flow label in network order; Rust keeps the field as the kernel has it.
            raw[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
            raw[8..24].copy_from_slice(&v6.ip().octets());
            raw[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            (raw, ADDRESS_BYTES as u32)
        }
    }
}

/// Reads what the kernel wrote; `None` when it is neither IPv4 nor IPv6 or too short.
///
/// An IPv4 peer of a dual-stack socket (`::ffff:192.0.2.1`) comes out as the IPv4 address it is, so that a gateway is
/// recognised by one address whichever socket it talks to.
pub(crate) fn decode(raw: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(raw.get(0..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(raw.get(2..4)?.try_into().ok()?);
    match family {
        libc::AF_INET => {
            let octets: [u8; 4] = raw.get(4..8)?.try_into().ok()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(octets), port).into())
        }
        libc::AF_INET6 => {
            let flow = u32::from_ne_bytes(raw.get(4..8)?.try_into().ok()?);
            let octets: [u8; 16] = raw.get(8..24)?.try_into().ok()?;
            let scope = u32::from_ne_bytes(raw.get(24..28)?.try_into().ok()?);
            match Ipv6Addr::from(octets).to_canonical() {
                IpAddr::V4(v4) => Some(SocketAddrV4::new(v4, port).into()),
                IpAddr::V6(v6) => Some(SocketAddrV6::new(v6, port, flow, scope).into()),
            }
        }
        _ => None,
    }
}

/// Bytes of control data in which the kernel tells where a datagram was sent: one header and the larger address, as
/// `CMSG_SPACE` rounds them.
pub(crate) const CONTROL_BYTES: usize = CONTROL_HEADER + ADDRESS_BYTES.next_multiple_of(CONTROL_ALIGN);
const CONTROL_HEADER: usize = size_of::<libc::cmsghdr>();
const CONTROL_ALIGN: usize = size_of::<usize>();

/// The address a datagram was sent to, out of its control data; `None` when the kernel was not asked for it.
pub(crate) fn destination(mut control: &[u8]) -> Option<SocketAddr> {
    // One after the other: `struct cmsghdr` (length with itself, level, type), the data, bytes to the next one's alignment.
    while let Some((header, _)) = control.split_at_checked(CONTROL_HEADER) {
        let len = usize::from_ne_bytes(header[0..8].try_into().ok()?);
        let level = i32::from_ne_bytes(header[8..12].try_into().ok()?);
        let kind = i32::from_ne_bytes(header[12..16].try_into().ok()?);
        let data = control.get(CONTROL_HEADER..len)?;
        if matches!(
            (level, kind),
            (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR) | (libc::IPPROTO_IPV6, libc::IPV6_ORIGDSTADDR)
        ) {
            return decode(data);
        }
        control = control.get(len.next_multiple_of(CONTROL_ALIGN)..)?;
    }
    None
}

/// The form in which a socket bound to `local` can address `to`; `None` when the families do not meet.
pub(crate) fn for_socket(local: SocketAddr, dual_stack: bool, to: SocketAddr) -> Option<SocketAddr> {
    match (local, to) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) | (SocketAddr::V6(_), SocketAddr::V6(_)) => Some(to),
        (SocketAddr::V6(_), SocketAddr::V4(v4)) if dual_stack => {
            Some(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into())
        }
        (SocketAddr::V6(_), SocketAddr::V4(_)) | (SocketAddr::V4(_), SocketAddr::V6(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_kernel_layout() {
        for text in ["192.0.2.7:5060", "[2001:db8::1]:5061", "[fe80::1%3]:65535", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().expect("test address");
            let (raw, len) = encode(address);
            assert_eq!(decode(&raw[..len as usize]), Some(address), "{text}");
        }
    }

    #[test]
    fn a_mapped_address_is_told_as_ipv4() {
        let (raw, len) = encode("[::ffff:192.0.2.7]:5060".parse().expect("test address"));
        assert_eq!(decode(&raw[..len as usize]), Some("192.0.2.7:5060".parse().expect("test address")));
    }

    #[test]
    fn a_destination_is_found_among_control_data_and_nothing_in_broken_ones() {
        let address: SocketAddr = "192.0.2.7:5060".parse().expect("test address");
        let (raw, len) = encode(address);
        let message = |len: usize, level: i32, kind: i32, data: &[u8]| {
            let mut bytes = len.to_ne_bytes().to_vec();
            bytes.extend(level.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes
        };
        let other = message(20, libc::IPPROTO_IP, libc::IP_TOS, &[0; 4]);
        let wanted = message(32, libc::IPPROTO_IP, libc::IP_ORIGDSTADDR, &raw[..len as usize]);
        assert_eq!(destination(&wanted), Some(address));
        assert_eq!(destination(&[&other[..], &wanted].concat()), Some(address));
        assert_eq!(destination(&other), None);
        for cut in 0..wanted.len() {
            assert_eq!(destination(&wanted[..cut]), None, "{cut}");
        }
        // Lengths that lead nowhere: into the header, far beyond.
        for len in [0, 8, 15, 4096, usize::MAX - 7] {
            assert_eq!(destination(&message(len, libc::IPPROTO_IP, libc::IP_TOS, &[0; 16])), None, "{len}");
        }
    }

    #[test]
    fn short_or_foreign_addresses_are_refused() {
        let (raw, _) = encode("[2001:db8::1]:5061".parse().expect("test address"));
        for len in 0..ADDRESS_BYTES {
            assert_eq!(decode(&raw[..len]), None, "{len} bytes");
        }
        assert_eq!(decode(&[1, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn families_meet_only_on_a_dual_stack_socket() {
        let v4: SocketAddr = "192.0.2.7:5060".parse().expect("test address");
        let v6: SocketAddr = "[2001:db8::1]:5061".parse().expect("test address");
        assert_eq!(for_socket(v4, false, v4), Some(v4));
        assert_eq!(for_socket(v4, true, v6), None);
        assert_eq!(for_socket(v6, false, v4), None);
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:5060".parse().expect("test address");
        assert_eq!(for_socket(v6, true, v4), Some(mapped));
    }
}
