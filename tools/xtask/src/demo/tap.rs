//! Counts the audio that arrives at a party, without its help: SIPp's vendor does not count what it hears.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketType, ipproto, recv, socket};
use tandem_netns::{Lab, Place};

/// After this long without a packet an end that was asked for is the end.
const QUIET: Duration = Duration::from_millis(100);
/// Room for some seconds of a thousand calls, should the thread get no time.
const BUFFER: usize = 64 << 20;
/// Header of UDP.
const UDP: usize = 8;
/// Payload type of the tone, G.711 A-law (RFC 3551 6).
const PCMA: u8 = 8;

/// A raw socket in a namespace, read until it is asked for its count.
pub(super) struct Tap {
    end: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Tap {
    /// Counts the audio from `switch` that arrives in a namespace.
    ///
    /// # Errors
    /// When the socket or the thread cannot be made.
    pub(super) fn start(lab: &Lab, place: Place, switch: IpAddr) -> Result<Tap> {
        let socket = lab.at(place, open)?.context("cannot listen in a namespace")?;
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = thread::Builder::new()
            .name("tap".to_owned())
            .spawn(move || count(&socket, switch, &ended))
            .context("cannot start a thread")?;
        Ok(Tap { end, thread })
    }

    /// Packets so far, once no more come.
    ///
    /// # Errors
    /// When the thread has panicked.
    pub(super) fn finish(self) -> Result<u64> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the thread that counts audio panicked"))
    }
}

/// Every UDP datagram that arrives in this thread's namespace, with its IP header.
fn open() -> rustix::io::Result<OwnedFd> {
    let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::UDP))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(QUIET))?;
    set_socket_recv_buffer_size_force(&socket, BUFFER)?;
    Ok(socket)
}

fn count(socket: &OwnedFd, switch: IpAddr, end: &AtomicBool) -> u64 {
    let (mut packets, mut buffer) = (0, [0; 256]);
    loop {
        match recv(socket, &mut buffer, RecvFlags::empty()) {
            Ok((len, _)) => packets += u64::from(is_audio(&buffer[..len], switch)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if !end.load(Ordering::Relaxed) => {}
            Err(_) => return packets,
        }
    }
}

/// Whether an IPv4 packet has RTP of the tone and comes from `switch`.
fn is_audio(packet: &[u8], switch: IpAddr) -> bool {
    let Some(&first) = packet.first() else { return false };
    let from = packet.get(12..16).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from);
    let rtp = packet.get(usize::from(first & 0x0f) * 4 + UDP..).unwrap_or_default();
    from == Some(switch) && matches!(rtp, [version, kind, ..] if version >> 6 == 2 && kind & 0x7f == PCMA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_audio_of_the_switch_counts() {
        let switch = IpAddr::from([10, 99, 1, 1]);
        let packet = |from: [u8; 4], payload: &[u8]| {
            let mut bytes = vec![0x45; 20];
            bytes[12..16].copy_from_slice(&from);
            [&bytes, &[0; UDP][..], payload].concat()
        };
        assert!(is_audio(&packet([10, 99, 1, 1], &[0x80, 8]), switch));
        assert!(is_audio(&packet([10, 99, 1, 1], &[0x80, 0x88]), switch), "with the marker");
        assert!(!is_audio(&packet([10, 99, 1, 2], &[0x80, 8]), switch), "of somebody else");
        assert!(!is_audio(&packet([10, 99, 1, 1], b"SIP/2.0"), switch));
        assert!(!is_audio(&packet([10, 99, 1, 1], &[0x80, 200]), switch), "RTCP");
        assert!(!is_audio(&packet([10, 99, 1, 1], &[]), switch));
        assert!(!is_audio(&[], switch));
    }
}
