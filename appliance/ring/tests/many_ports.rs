//! One socket for many ports: told where a datagram was sent, and a raw socket that sends from any port.

mod common;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use common::{STUCK, open, options, peer, ring, run};
use tandem_ring::{BufferGroup, Completion, RawError, RawOptions, Ring, RingConfig, RingError, SendError, SocketId};

/// A raw socket, or `None` after saying what is missing.
fn raw(ring: &mut Ring, addr: IpAddr) -> Option<SocketId> {
    match ring.open_raw(9, &RawOptions { addr, tos: 0xb8, send_buffer: 1 << 20, free_bind: false }) {
        Err(RingError::Raw(RawError::NoCapability { .. })) => {
            let _ = writeln!(std::io::stdout(), "skipped: CAP_NET_RAW is missing");
            None
        }
        socket => Some(socket.expect("a raw socket on loopback")),
    }
}

#[test]
fn a_datagram_tells_where_it_was_sent_to_a_socket_that_asked() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    for (address, asked) in [("127.0.0.1:0", true), ("[::1]:0", true), ("127.0.0.1:0", false)] {
        let mut wanted = options(address);
        wanted.tell_destination = asked;
        let socket = ring.open_udp(1, &wanted, BufferGroup::Media).expect("socket on loopback");
        let here = ring.local_addr(socket).expect("open");
        let (client, _) = peer(address);
        for len in [0usize, 1, 172, 1_400] {
            client.send_to(&vec![7; len], here).expect("send");
            run(&mut ring, |_, completion| {
                let Completion::Datagram { buffer, truncated, .. } = completion else { panic!("{completion:?}") };
                assert_eq!((buffer.len(), truncated), (len, false), "the control data takes none of it");
                assert!(buffer.iter().all(|byte| *byte == 7));
                assert_eq!(buffer.destination(), asked.then_some(here));
                true
            });
        }
        ring.close_udp(socket);
    }
}

#[test]
fn a_raw_socket_sends_from_any_port_and_receivers_find_the_checksum_right() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut wanted = options(address);
        wanted.tell_destination = true;
        let socket = ring.open_udp(1, &wanted, BufferGroup::Media).expect("socket on loopback");
        let here = ring.local_addr(socket).expect("open");
        let Some(raw) = raw(&mut ring, here.ip()) else { return };
        let (client, client_address) = peer(address);
        for (n, len) in [0usize, 1, 2, 3, 12, 171, 172, 173, 1_200].into_iter().enumerate() {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 31 + n) as u8).collect();
            client.send_to(&bytes, here).expect("send");
            let port = 21_000 + n as u16;
            run(&mut ring, |ring, completion| {
                let Completion::Datagram { buffer, .. } = completion else { panic!("{completion:?}") };
                ring.send_buffer_from(raw, port, client_address, buffer).expect("queued");
                true
            });
            ring.wait(Some(std::time::Duration::ZERO)).expect("sent");
            // What a wrong checksum would have kept away.
            let mut back = [0; 2_048];
            let (got, source) = client.recv_from(&mut back).expect("an answer");
            assert_eq!((&back[..got], source), (&bytes[..], SocketAddr::new(here.ip(), port)), "{len} bytes");
        }
        // Buffers go back as from any send.
        run_until_settled(&mut ring);
        ring.close_udp(raw);
        ring.close_udp(socket);
    }
}

fn run_until_settled(ring: &mut Ring) {
    let all = u32::from(RingConfig::default().media.count);
    common::settle(ring, |ring| ring.buffers_available(BufferGroup::Media) == all);
}

#[test]
fn what_a_raw_socket_cannot_send_comes_back_unchanged() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let mut wanted = options("127.0.0.1:0");
    wanted.tell_destination = true;
    let told = ring.open_udp(1, &wanted, BufferGroup::Media).expect("socket on loopback");
    let (plain, _) = open(&mut ring, 2, "127.0.0.1:0", BufferGroup::Media);
    let Some(raw) = raw(&mut ring, "127.0.0.1".parse().expect("test")) else { return };
    let (client, client_address) = peer("127.0.0.1:0");
    let (other, closed): (SocketAddr, _) = ("[::1]:9".parse().expect("test"), SendError::Closed);
    for (socket, by, to, error) in [
        (told, raw, other, SendError::WrongFamily),
        (told, plain, client_address, closed),
        (told, told, client_address, closed),
    ] {
        let here = ring.local_addr(socket).expect("open");
        client.send_to(b"a packet", here).expect("send");
        run(&mut ring, |ring, completion| {
            let Completion::Datagram { buffer, .. } = completion else { panic!("{completion:?}") };
            let unsent = ring.send_buffer_from(by, 21_000, to, buffer).expect_err("not sent");
            assert_eq!((unsent.error, &unsent.buffer[..]), (error, &b"a packet"[..]));
            true
        });
    }
    // What the kernel does not take is told like that of any other send.
    client.send_to(b"a packet", ring.local_addr(told).expect("open")).expect("send");
    let nowhere: SocketAddr = "255.255.255.255:9".parse().expect("test");
    let start = std::time::Instant::now();
    run(&mut ring, |ring, completion| match completion {
        Completion::Datagram { buffer, .. } => {
            ring.send_buffer_from(raw, 21_000, nowhere, buffer).expect("queued");
            false
        }
        Completion::SendFailed { token, to, .. } => {
            assert_eq!((token, to), (9, nowhere));
            true
        }
        Completion::Wake | Completion::Unreachable { .. } | Completion::SocketError { .. } => start.elapsed() > STUCK,
    });
}

#[test]
fn a_buffer_without_a_send_slot_comes_back_without_our_headers() {
    let Some(mut ring) = ring(RingConfig { send_slots: 1, ..RingConfig::default() }) else { return };
    let mut wanted = options("127.0.0.1:0");
    wanted.tell_destination = true;
    let told = ring.open_udp(1, &wanted, BufferGroup::Media).expect("socket on loopback");
    let here = ring.local_addr(told).expect("open");
    let Some(raw) = raw(&mut ring, here.ip()) else { return };
    let (client, client_address) = peer("127.0.0.1:0");
    for _ in 0..2 {
        client.send_to(b"a packet", here).expect("send");
    }
    let mut first = true;
    run(&mut ring, |ring, completion| {
        let Completion::Datagram { buffer, .. } = completion else { panic!("{completion:?}") };
        if first {
            // Takes the only slot by way of an ordinary socket, until it is sent.
            ring.send(told, client_address, b"first").expect("queued");
            first = false;
        }
        let unsent = ring.send_buffer_from(raw, 21_000, client_address, buffer).expect_err("no slot");
        assert_eq!((unsent.error, &unsent.buffer[..]), (SendError::SlotsExhausted, &b"a packet"[..]));
        true
    });
}
