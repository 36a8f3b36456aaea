//! Peers that are not there: ICMP errors come back at once and hurt nobody else.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use common::{closed_port, open, peer, ring, run, settle};
use tandem_ring::{BufferGroup, Completion, RingConfig, SendError};

fn closed_peer_is_told(address: &str) {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (socket, here) = open(&mut ring, 9, address, BufferGroup::Signalling);
    let gone = closed_port(address);
    // Several rounds: the socket must go on receiving and sending after each.
    for _ in 0..20 {
        ring.send(socket, gone, b"anybody there?").expect("slot");
        run(&mut ring, |_, completion| {
            let Completion::Unreachable { token, socket: id, to, errno } = completion else {
                panic!("not unreachable: {completion:?}");
            };
            assert_eq!((token, id, to), (9, socket, gone));
            assert_eq!(errno, libc::ECONNREFUSED);
            true
        });
        ring.send(socket, here, b"myself").expect("slot");
        run(&mut ring, |_, completion| {
            let Completion::Datagram { buffer, .. } = completion else {
                panic!("not a datagram: {completion:?}");
            };
            assert_eq!(&buffer[..], b"myself");
            true
        });
    }
    assert_eq!(ring.stats().send_failed, 0);
}

#[test]
fn a_closed_port_is_told_over_ipv4() {
    closed_peer_is_told("127.0.0.1:0");
}

#[test]
fn a_closed_port_is_told_over_ipv6() {
    closed_peer_is_told("[::1]:0");
}

/// The kernel gives an ICMP error to whatever call comes next. A hundred live peers among a hundred dead ones must not
/// notice, in whatever order they are sent to, in one batch.
#[test]
fn sends_to_live_peers_survive_the_errors_of_dead_ones() {
    const PAIRS: u32 = 100;
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (socket, here) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Signalling);
    let (client, alive) = peer("127.0.0.1:0");
    let dead: Vec<_> = (0..PAIRS).map(|_| closed_port("127.0.0.1:0")).collect();
    for n in 0..PAIRS {
        ring.send(socket, dead[n as usize], b"to nobody").expect("slot");
        ring.send(socket, alive, &n.to_be_bytes()).expect("slot");
    }
    client.send_to(b"received as well", here).expect("send");

    let mut told = BTreeMap::new();
    let mut heard = false;
    // Ports of `dead` may repeat: the kernel hands freed ones out again.
    let wanted: BTreeSet<_> = dead.iter().copied().collect();
    run(&mut ring, |_, completion| {
        match completion {
            Completion::Unreachable { to, .. } => *told.entry(to).or_insert(0) += 1,
            Completion::Datagram { .. } => heard = true,
            other @ (Completion::Wake | Completion::SendFailed { .. } | Completion::SocketError { .. }) => {
                panic!("{other:?}")
            }
        }
        heard && told.len() == wanted.len()
    });
    settle(&mut ring, |ring| ring.stats().sent == u64::from(2 * PAIRS));
    let mut arrived: Vec<u32> = (0..PAIRS)
        .map(|_| {
            let mut bytes = [0; 4];
            client.recv(&mut bytes).expect("the live peer hears everything");
            u32::from_be_bytes(bytes)
        })
        .collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (0..PAIRS).collect::<Vec<_>>());
    assert!(ring.stats().send_repeated > 0, "the errors were meant to hit other sends");
    assert_eq!(ring.stats().send_failed, 0);
}

#[test]
fn a_peer_that_dies_between_receiving_and_arming_does_not_deafen_the_socket() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (socket, here) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Signalling);
    let gone = closed_port("127.0.0.1:0");
    // Sent before the first wait: the error is there before the receive is armed.
    ring.send(socket, gone, b"early").expect("slot");
    let (client, _) = peer("127.0.0.1:0");
    client.send_to(b"hello", here).expect("send");
    let (mut heard, mut told) = (false, false);
    run(&mut ring, |_, completion| {
        heard |= matches!(completion, Completion::Datagram { .. });
        told |= matches!(completion, Completion::Unreachable { to, .. } if to == gone);
        heard && told
    });
}

#[test]
fn media_sockets_do_not_hear_of_it_and_go_on() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (socket, here) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Media);
    let gone = closed_port("127.0.0.1:0");
    for _ in 0..50 {
        ring.send(socket, gone, b"rtp").expect("slot");
    }
    ring.send(socket, here, b"myself").expect("slot");
    run(&mut ring, |_, completion| {
        assert!(matches!(completion, Completion::Datagram { .. }), "{completion:?}");
        true
    });
    settle(&mut ring, |ring| ring.stats().sent == 51);
    assert_eq!(ring.stats().send_failed, 0);
}

/// A failure of the datagram itself is told once, is not taken for another's ICMP error, and leaves the socket working.
fn a_send_fails_by_itself(to: &str, len: usize, wanted: i32) {
    let Some(mut ring) = ring(RingConfig::default()) else {
        return;
    };
    let (socket, here) = open(&mut ring, 3, "127.0.0.1:0", BufferGroup::Signalling);
    let to: SocketAddr = to.parse().expect("test address");
    for _ in 0..3 {
        ring.send(socket, to, &vec![0; len]).expect("slot");
        ring.send(socket, here, b"in").expect("slot");
        let (mut failed, mut heard) = (0, false);
        run(&mut ring, |_, completion| {
            match completion {
                Completion::SendFailed { token, to: told, errno, .. } => {
                    assert_eq!((token, told, errno), (3, to, wanted));
                    failed += 1;
                }
                Completion::Datagram { .. } => heard = true,
                other @ (Completion::Wake | Completion::Unreachable { .. } | Completion::SocketError { .. }) => {
                    panic!("{other:?}")
                }
            }
            failed == 1 && heard
        });
    }
    assert_eq!(ring.stats().send_failed, 3);
    assert_eq!(ring.stats().send_repeated, 0, "tried again in vain");
}

#[test]
fn a_destination_without_a_route_fails_by_itself() {
    // Bound to loopback, the kernel refuses any destination outside of it. RFC 5737 documentation address.
    a_send_fails_by_itself("192.0.2.1:5060", 10, libc::EINVAL);
}

#[test]
fn a_datagram_too_long_for_ipv4_fails_by_itself() {
    // One byte more than 65,535 less both headers; this error passes through the error queue as a local one.
    a_send_fails_by_itself("127.0.0.1:9", 65_508, libc::EMSGSIZE);
}

#[test]
fn a_destination_of_the_other_family_is_refused() {
    let Some(mut ring) = ring(RingConfig::default()) else {
        return;
    };
    for (address, other) in [("127.0.0.1:0", "[::1]:9"), ("[::1]:0", "127.0.0.1:9")] {
        let (socket, _) = open(&mut ring, 1, address, BufferGroup::Signalling);
        let other = other.parse().expect("test address");
        assert_eq!(ring.send(socket, other, b"x"), Err(SendError::WrongFamily));
    }
}
