//! The media sockets of a shard: one for all its ports, or one for each open port of each media address.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use tandem_ebpf_abi::FlowKey;
use tandem_ring::{Buffer, BufferGroup, Ring, SendError, SocketId, UdpOptions};

use super::TOKEN_MEDIA;
use super::shared::SharedSockets;
use crate::one_socket::OneSocket;

/// What a datagram on the socket of `port` is told with.
fn token_of(port: FlowKey) -> u32 {
    TOKEN_MEDIA + (u32::from(port.slot) << 16) + u32::from(port.port)
}

/// The port whose socket has this token; `None` for a listener's.
fn port_of(token: u32) -> Option<FlowKey> {
    let token = token.checked_sub(TOKEN_MEDIA)?;
    Some(FlowKey::new((token >> 16) as u8, token as u16))
}

/// How ports are opened.
pub(super) enum MediaSockets {
    Each(PortSockets),
    Shared(SharedSockets),
}

impl MediaSockets {
    /// One socket for all if there can be, else one for each.
    pub(super) fn new(
        ring: &mut Ring,
        shard: u8,
        addresses: Vec<IpAddr>,
        options: UdpOptions,
        ports: RangeInclusive<u16>,
        one_socket: &OneSocket,
    ) -> MediaSockets {
        if let Some(punts) = one_socket.program() {
            match SharedSockets::new(ring, punts.clone(), shard, &addresses, &options) {
                Ok(shared) => return MediaSockets::Shared(shared),
                Err(error) => one_socket.refuse(shard, &format!("{error:#}")),
            }
        }
        MediaSockets::Each(PortSockets::new(addresses, options, ports))
    }

    /// The port that a datagram was sent to; `None` when it is none of ours.
    pub(super) fn port_of(&self, token: u32, buffer: &Buffer) -> Option<FlowKey> {
        match self {
            MediaSockets::Each(_) => port_of(token),
            MediaSockets::Shared(shared) => shared.port_of(token, buffer),
        }
    }

    /// Has the datagrams of `port` come here; false when somebody else holds it.
    pub(super) fn open(&mut self, ring: &mut Ring, port: FlowKey) -> bool {
        match self {
            MediaSockets::Each(each) => each.open(ring, port),
            MediaSockets::Shared(shared) => shared.open(port),
        }
    }

    pub(super) fn close(&mut self, ring: &mut Ring, port: FlowKey) {
        match self {
            MediaSockets::Each(each) => each.close(ring, port),
            MediaSockets::Shared(shared) => shared.close(port),
        }
    }

    /// Queues a datagram.
    ///
    /// # Errors
    /// Why it cannot be; it is lost.
    pub(super) fn send(
        &self,
        ring: &mut Ring,
        from: SocketAddr,
        to: SocketAddr,
        buffer: Buffer,
    ) -> Result<(), SendError> {
        match self {
            MediaSockets::Each(each) => {
                let socket = each.socket(from).ok_or(SendError::Closed)?;
                ring.send_buffer(socket, to, buffer).map_err(|unsent| unsent.error)
            }
            MediaSockets::Shared(shared) => shared.send(ring, from, to, buffer),
        }
    }

    /// The socket with this token receives no more: it is opened again.
    pub(super) fn reopen(&mut self, ring: &mut Ring, token: u32) {
        match self {
            MediaSockets::Each(each) => {
                if let Some(port) = port_of(token) {
                    each.close(ring, port);
                    each.open(ring, port);
                }
            }
            MediaSockets::Shared(shared) => {
                if let Err(error) = shared.reopen(ring, token) {
                    crate::log::error(&format!("media comes to user space no more: {error:#}"));
                }
            }
        }
    }
}

pub(super) struct PortSockets {
    /// By slot.
    addresses: Vec<IpAddr>,
    options: UdpOptions,
    first: u16,
    /// Sockets of the first port on all addresses, then those of the next one.
    open: Vec<Option<SocketId>>,
}

impl PortSockets {
    fn new(addresses: Vec<IpAddr>, options: UdpOptions, ports: RangeInclusive<u16>) -> PortSockets {
        let (first, count) = (*ports.start(), ports.count() * addresses.len());
        PortSockets { addresses, options, first, open: vec![None; count] }
    }

    fn place(&self, port: FlowKey) -> Option<usize> {
        let (slot, slots) = (usize::from(port.slot), self.addresses.len());
        let offset = usize::from(port.port.checked_sub(self.first)?);
        (slot < slots).then_some(offset * slots + slot)
    }

    /// The socket that is bound to `from`.
    fn socket(&self, from: SocketAddr) -> Option<SocketId> {
        let slot = self.addresses.iter().position(|ip| *ip == from.ip())?;
        *self.open.get(self.place(FlowKey::new(slot as u8, from.port()))?)?
    }

    /// Binds `port`; false when somebody else holds it.
    fn open(&mut self, ring: &mut Ring, port: FlowKey) -> bool {
        let Some((place, ip)) = self.place(port).zip(self.addresses.get(usize::from(port.slot))) else { return false };
        let options = UdpOptions { addr: SocketAddr::new(*ip, port.port), ..self.options };
        let opened = ring.open_udp(token_of(port), &options, BufferGroup::Media).ok();
        let Some(socket) = self.open.get_mut(place) else { return false };
        *socket = opened;
        opened.is_some()
    }

    fn close(&mut self, ring: &mut Ring, port: FlowKey) {
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
