//! Numbers and addresses as text. The formatter of the standard library costs some 800 instructions for an address, and a
//! call writes forty of them.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Appends a number in decimal.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an address without brackets.
pub fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let [a, rest @ ..] = ip.octets();
            push_number(out, a.into());
            for octet in rest {
                out.push(b'.');
                push_number(out, octet.into());
            }
        }
        // A Vec takes everything.
        IpAddr::V6(ip) => _ = write!(out, "{ip}"),
    }
}

/// Appends an address as the host of a URI or a Via: IPv6 in brackets.
pub fn push_host(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(_) => push_ip(out, ip),
        IpAddr::V6(_) => {
            out.push(b'[');
            push_ip(out, ip);
            out.push(b']');
        }
    }
}

/// Appends host and port. Not as `SocketAddr` displays itself: that adds the scope of a link-local address, which means
/// nothing to the peer.
pub fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
    push_host(out, address.ip());
    out.push(b':');
    push_number(out, address.port().into());
}

/// Appends a number in hexadecimal, `digits` of them, lower case.
pub fn push_hex(out: &mut Vec<u8>, number: u128, digits: u32) {
    for n in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(number >> (4 * n) & 0xf) as usize]);
    }
}

/// Bytes that were put together from text.
pub fn into_string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// An address as text, without brackets.
pub fn ip(ip: IpAddr) -> String {
    let mut out = Vec::with_capacity(15);
    push_ip(&mut out, ip);
    into_string(out)
}

/// Host and port as text; see [`push_address`].
pub fn address(address: SocketAddr) -> String {
    let mut out = Vec::with_capacity(21);
    push_address(&mut out, address);
    into_string(out)
}

/// A number as text.
pub fn number(number: u64) -> String {
    itoa::Buffer::new().format(number).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_standard_library_writes_it() {
        for text in ["0.0.0.0:0", "192.0.2.1:5060", "255.255.255.255:65535", "[2001:db8::1]:5060", "[::ffff:1.2.3.4]:1"]
        {
            let address: SocketAddr = text.parse().unwrap();
            let mut out = b"x".to_vec();
            push_address(&mut out, address);
            assert_eq!(out, format!("x{text}").into_bytes());
        }
        let mut out = Vec::new();
        push_hex(&mut out, 0x0123_4567_89ab_cdef, 16);
        push_hex(&mut out, 0xa, 2);
        assert_eq!(out, b"0123456789abcdef0a");
    }
}
