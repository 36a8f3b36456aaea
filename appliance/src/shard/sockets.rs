//! The media sockets of a shard by port and address family.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use tandem_ring::{BufferGroup, Ring, SocketId, UdpOptions};

use super::TOKEN_MEDIA;

/// Both sockets of one port.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    v4: Option<SocketId>,
    v6: Option<SocketId>,
}

pub(super) struct MediaSockets {
    addresses: Vec<IpAddr>,
    options: UdpOptions,
    first: u16,
    open: Vec<Pair>,
}

impl MediaSockets {
    pub(super) fn new(addresses: Vec<IpAddr>, options: UdpOptions, ports: RangeInclusive<u16>) -> MediaSockets {
        let first = *ports.start();
        MediaSockets { addresses, options, first, open: vec![Pair::default(); ports.count()] }
    }

    fn pair(&mut self, port: u16) -> Option<&mut Pair> {
        self.open.get_mut(usize::from(port.checked_sub(self.first)?))
    }

    /// The socket of `port` that can reach `to`.
    pub(super) fn socket(&self, port: u16, to: SocketAddr) -> Option<SocketId> {
        let pair = self.open.get(usize::from(port.checked_sub(self.first)?))?;
        if to.is_ipv4() { pair.v4 } else { pair.v6 }
    }

    /// Binds `port` on every media address; false, with nothing open, when somebody else holds one of them.
    pub(super) fn open(&mut self, ring: &mut Ring, port: u16) -> bool {
        let mut pair = Pair::default();
        let mut ok = true;
        for ip in &self.addresses {
            let options = UdpOptions { addr: SocketAddr::new(*ip, port), ..self.options };
            let opened = ring.open_udp(TOKEN_MEDIA + u32::from(port), &options, BufferGroup::Media).ok();
            ok &= opened.is_some();
            if ip.is_ipv4() {
                pair.v4 = opened;
            } else {
                pair.v6 = opened;
            }
        }
        if let Some(place) = self.pair(port) {
            *place = pair;
        }
        if !ok {
            self.close(ring, port);
        }
        ok
    }

    pub(super) fn close(&mut self, ring: &mut Ring, port: u16) {
        let pair = self.pair(port).map(std::mem::take).unwrap_or_default();
        for socket in [pair.v4, pair.v6].into_iter().flatten() {
            ring.close_udp(socket);
        }
    }
}
