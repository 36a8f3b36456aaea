//! One socket a family for all media ports of a shard, and a raw socket a media address to send by.
//!
//! A program of the kernel gives the datagrams of leased ports to the socket, and the kernel tells where each was sent. Opening
//! a port is a store to memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use tandem_datapath::Punts;
use tandem_ebpf_abi::FlowKey;
use tandem_ring::{Buffer, BufferGroup, RawOptions, Ring, SendError, SocketId, UdpOptions};

use super::foreign::Foreign;
use crate::limits;

/// What datagrams and failures on these sockets are told with: above all ports.
const TOKEN: u32 = 1 << 24;

pub(super) struct SharedSockets {
    punts: Arc<Punts>,
    shard: u8,
    /// By slot.
    addresses: Vec<IpAddr>,
    /// What sends, by slot.
    senders: Vec<SocketId>,
    /// What receives, by family.
    v4: Option<SocketId>,
    v6: Option<SocketId>,
    foreign: Foreign,
}

impl SharedSockets {
    /// Opens the sockets and has the program direct to them.
    ///
    /// # Errors
    /// What cannot be opened; nothing is left open then.
    pub(super) fn new(
        ring: &mut Ring,
        punts: Arc<Punts>,
        shard: u8,
        addresses: &[IpAddr],
        options: &UdpOptions,
    ) -> Result<SharedSockets> {
        let mut sockets = SharedSockets {
            punts,
            shard,
            addresses: addresses.to_vec(),
            senders: Vec::new(),
            v4: None,
            v6: None,
            foreign: Foreign::default(),
        };
        let opened = sockets.open_all(ring, options);
        if opened.is_err() {
            for socket in sockets.senders.iter().copied().chain(sockets.v4).chain(sockets.v6) {
                ring.close_udp(socket);
            }
        }
        opened.map(|()| sockets)
    }

    fn open_all(&mut self, ring: &mut Ring, options: &UdpOptions) -> Result<()> {
        for addr in &self.addresses {
            let (tos, free_bind) = (options.tos, options.free_bind);
            let raw = RawOptions { addr: *addr, tos, send_buffer: limits::MEDIA_SHARED_BUFFER_BYTES, free_bind };
            self.senders.push(ring.open_raw(TOKEN, &raw)?);
        }
        self.listen(ring)
    }

    /// Opens what receives, anew when it is there already.
    fn listen(&mut self, ring: &mut Ring) -> Result<()> {
        for (v6, loopback) in [(false, IpAddr::from(Ipv4Addr::LOCALHOST)), (true, IpAddr::from(Ipv6Addr::LOCALHOST))] {
            if !self.addresses.iter().any(|address| address.is_ipv6() == v6) {
                continue;
            }
            // Nothing comes to its own port: on loopback nobody else reaches that.
            let options = UdpOptions {
                recv_buffer: limits::MEDIA_SHARED_BUFFER_BYTES,
                tell_destination: true,
                ..UdpOptions::new(SocketAddr::new(loopback, 0))
            };
            let socket = ring.open_udp(TOKEN, &options, BufferGroup::Media)?;
            let place = if v6 { &mut self.v6 } else { &mut self.v4 };
            if let Some(old) = place.replace(socket) {
                ring.close_udp(old);
            }
            let descriptor = Some(ring.descriptor(socket).context("the socket was closed")?);
            let (v4, v6) = if v6 { (None, descriptor) } else { (descriptor, None) };
            self.punts.join(self.shard, v4, v6).map_err(|refusal| anyhow!("{refusal}; {}", refusal.cure()))?;
        }
        Ok(())
    }

    /// The port that a datagram was sent to; `None` when it is none of ours.
    pub(super) fn port_of(&self, token: u32, buffer: &Buffer) -> Option<FlowKey> {
        let destination = buffer.destination().filter(|_| token == TOKEN)?;
        let slot = self.addresses.iter().position(|ip| *ip == destination.ip())?;
        Some(FlowKey::new(slot as u8, destination.port()))
    }

    /// Has the datagrams of `port` come here; false when somebody else holds it.
    pub(super) fn open(&mut self, port: FlowKey) -> bool {
        let Some(ip) = self.addresses.get(usize::from(port.slot)) else { return false };
        !self.foreign.holds(*ip, port.port) && self.punts.lease(port, self.shard)
    }

    pub(super) fn close(&mut self, port: FlowKey) {
        self.punts.release(port);
    }

    pub(super) fn send(
        &self,
        ring: &mut Ring,
        from: SocketAddr,
        to: SocketAddr,
        buffer: Buffer,
    ) -> Result<(), SendError> {
        let slot = self.addresses.iter().position(|ip| *ip == from.ip());
        let Some(socket) = slot.and_then(|slot| self.senders.get(slot)) else { return Err(SendError::Closed) };
        ring.send_buffer_from(*socket, from.port(), to, buffer).map_err(|unsent| unsent.error)
    }

    /// A socket receives no more: all are opened anew.
    ///
    /// # Errors
    /// What cannot be opened; the old ones are gone then.
    pub(super) fn reopen(&mut self, ring: &mut Ring, token: u32) -> Result<()> {
        if token == TOKEN { self.listen(ring) } else { Ok(()) }
    }
}
