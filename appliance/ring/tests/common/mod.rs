//! What the tests of the ring share: a ring or a reason to skip, plain peers, and waiting for one thing.

// Each test file uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use tandem_ring::{BufferGroup, Completion, ProbeError, Ring, RingConfig, RingError, SocketId, UdpOptions};

/// After this long something is stuck. Nothing here waits for it unless it fails.
pub const STUCK: Duration = Duration::from_secs(10);

/// A ring, or `None` after saying what is missing.
pub fn ring(config: RingConfig) -> Option<Ring> {
    match tandem_ring::probe() {
        Ok(_) => Some(made(config)),
        Err(missing) => {
            // Straight to the file: what `println!` writes is hidden for a test that passes.
            let _ = writeln!(std::io::stdout(), "skipped: {missing}");
            None
        }
    }
}

/// Rings of one user share his locked memory; those of other tests give theirs back.
fn made(config: RingConfig) -> Ring {
    let start = Instant::now();
    loop {
        match Ring::new(config) {
            Err(RingError::Kernel(ProbeError::Memory { .. })) if start.elapsed() < STUCK => std::thread::yield_now(),
            ring => return ring.expect("a ring on a kernel that passed the probe"),
        }
    }
}

pub fn options(address: &str) -> UdpOptions {
    UdpOptions::new(address.parse().expect("test address"))
}

pub fn open(ring: &mut Ring, token: u32, address: &str, group: BufferGroup) -> (SocketId, SocketAddr) {
    let socket = ring.open_udp(token, &options(address), group).expect("socket on loopback");
    let local = ring.local_addr(socket).expect("just opened");
    (socket, local)
}

/// A plain socket of the other side, which fails instead of hanging.
pub fn peer(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).expect("peer on loopback");
    socket.set_read_timeout(Some(STUCK)).expect("timeout");
    let local = socket.local_addr().expect("bound");
    (socket, local)
}

/// An address on which nobody listens.
pub fn closed_port(address: &str) -> SocketAddr {
    peer(address).1
}

/// Waits and hands completions to `handle` until it says that it has what it wanted.
#[track_caller]
pub fn run(ring: &mut Ring, mut handle: impl FnMut(&mut Ring, Completion) -> bool) {
    let start = Instant::now();
    loop {
        while let Some(completion) = ring.next() {
            if handle(ring, completion) {
                return;
            }
        }
        assert!(start.elapsed() < STUCK, "stuck: {:?}", ring.stats());
        ring.wait(Some(Duration::from_millis(200))).expect("wait");
    }
}

/// Waits until `done` holds, dropping completions.
#[track_caller]
pub fn settle(ring: &mut Ring, done: impl Fn(&Ring) -> bool) {
    let start = Instant::now();
    while !done(ring) {
        assert!(start.elapsed() < STUCK, "stuck: {:?}", ring.stats());
        ring.wait(Some(Duration::from_millis(20))).expect("wait");
        while ring.next().is_some() {}
    }
}
