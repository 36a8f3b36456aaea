//! Loopback addresses that no other test uses.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

/// Addresses 127.P.T.n: P by process, T by test. In a lab of `tools/netns` they are those of its namespaces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Net {
    process: u8,
    test: u8,
    lab: Option<Family>,
}

/// IP version of a lab's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Net {
    pub(crate) fn new() -> Net {
        static TESTS: AtomicU8 = AtomicU8::new(1);
        // 127.0 is left to the demo.
        Net { process: 64 + (std::process::id() % 128) as u8, test: TESTS.fetch_add(1, Ordering::Relaxed), lab: None }
    }

    /// The addresses of a lab: the switch between a customer and one vendor.
    pub(crate) fn of_lab(family: Family) -> Net {
        Net { lab: Some(family), ..Net::new() }
    }

    /// A name that no other test has.
    pub(crate) fn name(self) -> String {
        format!("{}.{}", self.process, self.test)
    }

    fn ip(self, n: u8) -> IpAddr {
        let (net, host) = match n {
            12 | 13 => (1, 1),
            20 => (1, 2),
            _ => (2, 2),
        };
        match self.lab {
            None => Ipv4Addr::new(127, self.process, self.test, n).into(),
            Some(Family::V4) => Ipv4Addr::new(10, 99, net, host).into(),
            Some(Family::V6) => Ipv6Addr::new(0xfd99, net.into(), 0, 0, 0, 0, 0, host.into()).into(),
        }
    }

    /// Where the switch listens.
    pub(crate) fn sip(self) -> SocketAddr {
        SocketAddr::new(self.ip(12), 5060)
    }

    /// Where it relays.
    pub(crate) fn media(self) -> IpAddr {
        self.ip(13)
    }

    /// Whom it knows.
    pub(crate) fn customer(self) -> IpAddr {
        self.ip(20)
    }

    /// Customers of a plan that has more of them, from 1.
    pub(crate) fn other_customer(self, n: u8) -> IpAddr {
        self.ip(100 + n)
    }

    /// Whom it does not know.
    pub(crate) fn stranger(self) -> IpAddr {
        self.ip(21)
    }

    /// Vendor `n`, from 1.
    pub(crate) fn vendor(self, n: u8) -> SocketAddr {
        SocketAddr::new(self.ip(30 + n), 5060)
    }
}

/// Whether a UDP socket is bound to `address`, as the network namespace of this thread knows it.
pub(crate) fn is_bound(address: SocketAddr) -> bool {
    let IpAddr::V4(ip) = address.ip() else { return false };
    let wanted = format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), address.port());
    let table = fs::read_to_string("/proc/thread-self/net/udp").unwrap_or_default();
    table.lines().any(|line| line.split_whitespace().nth(1) == Some(&wanted))
}
