//! Media ports that sockets of other programs hold.
//!
//! A port without a socket of ours is free for everybody, and leasing it would take the datagrams of whoever has bound it. So the
//! kernel's table is read before, at most every few seconds: a socket that was bound since is found the next time.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use crate::limits;

#[derive(Debug, Default)]
pub(super) struct Foreign {
    read: Option<Instant>,
    held: HashSet<(IpAddr, u16)>,
}

impl Foreign {
    /// Whether a socket is bound to the port, on this address or on all.
    pub(super) fn holds(&mut self, address: IpAddr, port: u16) -> bool {
        if self.read.is_none_or(|read| read.elapsed() >= limits::FOREIGN_PORTS_EVERY) {
            self.read = Some(Instant::now());
            self.held.clear();
            for table in ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"] {
                // A kernel without IPv6 has only one.
                let text = fs::read_to_string(table).unwrap_or_default();
                self.held.extend(text.lines().skip(1).filter_map(local));
            }
        }
        // The wildcard of IPv6 may take IPv4 as well.
        let all = [IpAddr::from([0, 0, 0, 0]), Ipv6Addr::UNSPECIFIED.into()];
        [address].iter().chain(&all).any(|ip| self.held.contains(&(*ip, port)))
    }
}

/// The local end in a line of the table: words of the wire as numbers of this machine, then the port.
fn local(line: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = line.split_ascii_whitespace().nth(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(8 * at..8 * at + 8)?, 16).ok()?.to_ne_bytes());
    if address.len() == 8 {
        return Some((IpAddr::from(word(0)?), port));
    }
    let mut octets = [0; 16];
    for (at, four) in octets.chunks_exact_mut(4).enumerate() {
        four.copy_from_slice(&word(at)?);
    }
    Some((IpAddr::from(octets), port))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        for (line, ip, port) in [
            (
                "  123: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 0 0",
                "127.0.0.1",
                8_080,
            ),
            (" 9: 00000000:0035 00000000:0000 07", "0.0.0.0", 53),
            (" 9: B80D0120000000000000000001000000:FFFF 0:0 07", "2001:db8::1", 65_535),
        ] {
            assert_eq!(local(line), Some((ip.parse().unwrap(), port)), "{line}");
        }
        for line in ["", "1: ", "1: 0100007F", "1: 0100007G:1F90", "1: 0100007F00:1F90", "1: 0100007F:1F901"] {
            assert_eq!(local(line), None, "{line}");
        }
    }

    #[test]
    fn a_bound_socket_holds_its_port_and_the_wildcard_all_addresses() {
        let [one, all] = ["127.0.0.1:0", "0.0.0.0:0"].map(|address| UdpSocket::bind(address).unwrap());
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let mut foreign = Foreign::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(foreign.holds(ip("127.0.0.1"), port(&one)));
        assert!(!foreign.holds(ip("127.93.7.2"), port(&one)));
        assert!(foreign.holds(ip("127.93.7.2"), port(&all)) && foreign.holds(ip("127.0.0.1"), port(&all)));
        let gone = port(&one);
        drop(one);
        // As when the list is too old.
        foreign.read = None;
        assert!(!foreign.holds(ip("127.0.0.1"), gone));
    }
}
