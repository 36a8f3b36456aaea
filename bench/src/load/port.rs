//! UDP in batches: one system call for up to [`BATCH`] datagrams each way, arrivals stamped by the kernel.
//!
//! Not through tandem-ring: that ring has no arrival stamps, and the generator should share no code with what it measures.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrIn, bind, recvmmsg,
    setsockopt, socket, sockopt,
};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use super::clock::SECOND;

/// Datagrams in one system call.
const BATCH: usize = 64;
/// Socket buffers, bytes: the generator must not be the one that drops.
const BUFFER: usize = 64 << 20;

/// A datagram that came in; its bytes are at [`Inlet::bytes`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    slot: usize,
    length: usize,
    /// Sender.
    pub(crate) from: SocketAddrV4,
    /// When the kernel took it, wall clock, ns; 0 when it did not say.
    pub(crate) wall: u64,
}

/// The receiving half of a socket.
pub(crate) struct Inlet {
    socket: Rc<OwnedFd>,
    size: usize,
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<u8>,
}

/// The sending half of a socket.
pub(crate) struct Outlet {
    socket: Rc<OwnedFd>,
    bytes: Vec<u8>,
    parts: Vec<(usize, usize, SocketAddrV4)>,
    /// Datagrams that the kernel refused.
    pub(crate) refused: u64,
}

/// Binds `address`, which must be a loopback address unless `anywhere`, for datagrams of up to `size` bytes.
///
/// # Errors
/// Another address, or what the kernel said.
pub(crate) fn open(address: SocketAddrV4, size: usize, anywhere: bool) -> Result<(Inlet, Outlet)> {
    ensure!(
        anywhere || address.ip().is_loopback(),
        "{address} is no loopback address; the generator stays on this machine"
    );
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None).context("cannot open a socket")?;
    // Past the system's maximum with CAP_NET_ADMIN, up to it without.
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &BUFFER).context("cannot size a socket buffer")?;
    }
    if setsockopt(&socket, sockopt::SndBufForce, &BUFFER).is_err() {
        setsockopt(&socket, sockopt::SndBuf, &BUFFER).context("cannot size a socket buffer")?;
    }
    // Before bind: every datagram has its stamp, so the room for control data stays the same.
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("cannot ask for arrival stamps")?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(address)).with_context(|| {
        format!("cannot bind UDP {address}: see who holds it with ss -lunp 'sport = :{}'", address.port())
    })?;
    let socket = Rc::new(socket);
    let headers = MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(nix::sys::time::TimeSpec)));
    let inlet = Inlet { socket: socket.clone(), size, headers, buffers: vec![0; BATCH * size] };
    Ok((inlet, Outlet { socket, bytes: Vec::new(), parts: Vec::new(), refused: 0 }))
}

impl Inlet {
    /// For polling.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes up to one batch of what is there into `arrivals`; true when there may be more.
    pub(crate) fn receive(&mut self, arrivals: &mut Vec<Arrival>) -> bool {
        arrivals.clear();
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers.chunks_mut(self.size).map(|chunk| [IoSliceMut::new(chunk)]).collect();
        let fd = self.socket.as_raw_fd();
        let Ok(taken) = recvmmsg(fd, &mut self.headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) else {
            return false;
        };
        for (slot, message) in taken.enumerate() {
            let Some(from) = message.address else { continue };
            let mut wall = 0;
            if let Ok(mut control) = message.cmsgs()
                && let Some(ControlMessageOwned::ScmTimestampns(stamp)) = control.next()
            {
                wall = stamp.tv_sec() as u64 * SECOND + stamp.tv_nsec() as u64;
            }
            arrivals.push(Arrival { slot, length: message.bytes, from: from.into(), wall });
        }
        arrivals.len() == BATCH
    }

    /// Bytes of an arrival of the last batch.
    pub(crate) fn bytes(&self, arrival: &Arrival) -> &[u8] {
        let at = arrival.slot * self.size;
        &self.buffers[at..at + arrival.length.min(self.size)]
    }
}

impl Outlet {
    /// Queues one datagram, written by `write`.
    pub(crate) fn send(&mut self, to: SocketAddrV4, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.bytes.len();
        write(&mut self.bytes);
        self.parts.push((from, self.bytes.len(), to));
        if self.parts.len() >= BATCH {
            self.flush();
        }
    }

    /// Queues a copy of `bytes`.
    pub(crate) fn send_copy(&mut self, to: SocketAddrV4, bytes: &[u8]) {
        self.send(to, |out| out.extend_from_slice(bytes));
    }

    /// Sends what is queued.
    pub(crate) fn flush(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        let addresses: Vec<_> = self.parts.iter().map(|(_, _, to)| SocketAddr::V4(*to).as_any()).collect();
        let slices: Vec<_> = self.parts.iter().map(|(from, to, _)| [IoSlice::new(&self.bytes[*from..*to])]).collect();
        let mut none: Vec<_> = self.parts.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<_> = (addresses.iter().zip(&slices).zip(&mut none))
            .map(|((address, slice), none)| MMsgHdr::new_with_addr(address, slice, none))
            .collect();
        let mut done = 0;
        while done < messages.len() {
            match sendmmsg(&*self.socket, &mut messages[done..], SendFlags::empty()) {
                Ok(sent) if sent > 0 => done += sent,
                Err(error) if error.raw_os_error() == Errno::EINTR as i32 => {}
                // The first one was refused: the others still go.
                _ => {
                    self.refused += 1;
                    done += 1;
                }
            }
        }
        drop(messages);
        self.parts.clear();
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_arrive_whole_in_order_and_stamped() {
        let (_, mut here) = open("127.0.0.1:0".parse().unwrap(), 64, false).unwrap();
        let (mut there, _) = open("127.0.0.1:0".parse().unwrap(), 64, false).unwrap();
        let to = match rustix::net::getsockname(&*there.socket).unwrap().try_into() {
            Ok(SocketAddr::V4(address)) => address,
            other => panic!("{other:?}"),
        };
        // Twice, because the room for control data must be there again for the second batch.
        for round in 0..2u8 {
            for n in 0..100u8 {
                here.send_copy(to, &[round, n]);
            }
            here.flush();
            let (mut arrivals, mut seen) = (Vec::new(), Vec::new());
            while seen.len() < 100 {
                there.receive(&mut arrivals);
                for arrival in &arrivals {
                    assert!(arrival.wall > 1_600_000_000 * SECOND, "stamped");
                    seen.push(there.bytes(arrival).to_vec());
                }
            }
            assert!(seen.iter().enumerate().all(|(n, bytes)| *bytes == [round, n as u8]), "{seen:?}");
        }
        assert_eq!(here.refused, 0);
    }

    #[test]
    fn other_than_loopback_is_refused() {
        assert!(open("192.0.2.1:5060".parse().unwrap(), 64, false).is_err());
        assert!(open("0.0.0.0:5060".parse().unwrap(), 64, false).is_err());
    }
}
