//! The media sockets of a shard: one for each open port of each media address.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use tandem_ebpf_abi::FlowKey;
use tandem_ring::{BufferGroup, Ring, SocketId, UdpOptions};

use super::TOKEN_MEDIA;

/// What a datagram on the socket of `port` is told with.
fn token_of(port: FlowKey) -> u32 {
    TOKEN_MEDIA + (u32::from(port.slot) << 16) + u32::from(port.port)
}

/// The port whose socket has this token; `None` for a listener's.
pub(super) fn port_of(token: u32) -> Option<FlowKey> {
    let token = token.checked_sub(TOKEN_MEDIA)?;
    Some(FlowKey::new((token >> 16) as u8, token as u16))
}

pub(super) struct MediaSockets {
    /// By slot.
    addresses: Vec<IpAddr>,
    options: UdpOptions,
    first: u16,
    /// Sockets of the first port on all addresses, then those of the next one.
    open: Vec<Option<SocketId>>,
}

impl MediaSockets {
    pub(super) fn new(addresses: Vec<IpAddr>, options: UdpOptions, ports: RangeInclusive<u16>) -> MediaSockets {
        let (first, count) = (*ports.start(), ports.count() * addresses.len());
        MediaSockets { addresses, options, first, open: vec![None; count] }
    }

    fn place(&self, port: FlowKey) -> Option<usize> {
        let (slot, slots) = (usize::from(port.slot), self.addresses.len());
        let offset = usize::from(port.port.checked_sub(self.first)?);
        (slot < slots).then_some(offset * slots + slot)
    }

    /// The socket that is bound to `from`.
    pub(super) fn socket(&self, from: SocketAddr) -> Option<SocketId> {
        let slot = self.addresses.iter().position(|ip| *ip == from.ip())?;
        *self.open.get(self.place(FlowKey::new(slot as u8, from.port()))?)?
    }

    /// Binds `port`; false when somebody else holds it.
    pub(super) fn open(&mut self, ring: &mut Ring, port: FlowKey) -> bool {
        let Some((place, ip)) = self.place(port).zip(self.addresses.get(usize::from(port.slot))) else { return false };
        let options = UdpOptions { addr: SocketAddr::new(*ip, port.port), ..self.options };
        let opened = ring.open_udp(token_of(port), &options, BufferGroup::Media).ok();
        let Some(socket) = self.open.get_mut(place) else { return false };
        *socket = opened;
        opened.is_some()
    }

    pub(super) fn close(&mut self, ring: &mut Ring, port: FlowKey) {
        let place = self.place(port);
        if let Some(socket) = place.and_then(|place| self.open.get_mut(place)).and_then(Option::take) {
            ring.close_udp(socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_port_and_no_listener() {
        for port in [FlowKey::new(0, 0), FlowKey::new(0, 10_000), FlowKey::new(7, 39_999), FlowKey::new(1, u16::MAX)] {
            assert_eq!(port_of(token_of(port)), Some(port));
        }
        assert_eq!([port_of(0), port_of(TOKEN_MEDIA - 1)], [None, None]);
    }
}
