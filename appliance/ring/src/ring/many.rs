//! Sending from ports that have no socket of their own.

use std::net::SocketAddr;

use super::{Ring, RingError};
use crate::buffers::Buffer;
use crate::config::BufferGroup;
use crate::raw::{self, RawOptions};
use crate::sends::{SendError, Unsent};
use crate::sockets::{Entry, Role, SocketId};

impl Ring {
    /// Opens a socket that sends from any UDP port of one address: [`Ring::send_buffer_from`]. It receives nothing.
    ///
    /// # Errors
    ///
    /// [`RingError::Raw`] with cause and cure, or [`RingError::SocketsExhausted`].
    pub fn open_raw(&mut self, token: u32, options: &RawOptions) -> Result<SocketId, RingError> {
        if self.sockets.is_full() {
            return Err(RingError::SocketsExhausted { max: self.sockets_max });
        }
        let socket = raw::open(options)?;
        Ok(self.sockets.insert(Entry {
            socket: Some(socket),
            token,
            group: BufferGroup::Media,
            local: SocketAddr::new(options.addr, 0),
            dual_stack: false,
            role: Role::Raw { tos: options.tos },
            open: true,
            armed: false,
            starved: false,
            in_flight: 0,
            failures: 0,
            reports: 0,
        }))
    }

    /// As [`Ring::send_buffer`], by a socket of [`Ring::open_raw`], from a UDP port of its address.
    ///
    /// # Errors
    ///
    /// [`Unsent`] gives the buffer back with the reason; [`SendError::TooLong`] also when there is no room for headers in
    /// front of the datagram, which sockets that are told the destination have.
    pub fn send_buffer_from(
        &mut self,
        socket: SocketId,
        port: u16,
        to: SocketAddr,
        mut buffer: Buffer,
    ) -> Result<(), Unsent> {
        let Some((from, tos)) = self.sender(socket, port) else {
            return Err(Unsent { buffer, error: SendError::Closed });
        };
        let Some((headers, len)) = raw::headers(from, to, tos, &buffer) else {
            let mixed = from.is_ipv4() != to.is_ipv4();
            let error = if mixed { SendError::WrongFamily } else { SendError::TooLong };
            return Err(Unsent { buffer, error });
        };
        if !buffer.prepend(&headers[raw::HEADERS_MAX - len..]) {
            return Err(Unsent { buffer, error: SendError::TooLong });
        }
        self.send_buffer(socket, to, buffer).map_err(|mut unsent| {
            unsent.buffer.strip(len);
            unsent
        })
    }

    /// The address that a raw socket sends from, with the port, and the traffic class.
    fn sender(&self, socket: SocketId, port: u16) -> Option<(SocketAddr, u8)> {
        let entry = self.sockets.peek(socket)?;
        let Role::Raw { tos } = entry.role else { return None };
        Some((SocketAddr::new(entry.local.ip(), port), tos))
    }
}
