//! Datagrams in and out, in both families, with few buffers, too long, and in place.

mod common;

use std::net::SocketAddr;

use common::{open, options, peer, ring, run, settle};
use tandem_ring::{BufferGroup, Completion, GroupConfig, RingConfig, SendError};

/// The ring answers every datagram by changing it in place; the peer sends windows of 32 and counts the answers.
fn echo(address: &str, group: BufferGroup) {
    const ROUNDS: u32 = 200;
    const WINDOW: u32 = 32;
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (_, here) = open(&mut ring, 42, address, group);
    let (client, client_address) = peer(address);
    for round in 0..ROUNDS {
        for n in 0..WINDOW {
            let text = format!("?{:08}", round * WINDOW + n);
            client.send_to(text.as_bytes(), here).expect("send");
        }
        let mut answered = 0;
        run(&mut ring, |ring, completion| {
            let Completion::Datagram { token, socket, source, mut buffer, truncated } = completion else {
                panic!("not a datagram: {completion:?}");
            };
            assert_eq!((token, source, truncated), (42, client_address, false));
            assert_eq!(buffer[0], b'?');
            buffer[0] = b'!';
            if answered % 2 == 0 {
                ring.send_buffer(socket, source, buffer).expect("slot");
            } else {
                ring.send(socket, source, &buffer).expect("slot");
            }
            answered += 1;
            answered == WINDOW
        });
        settle(&mut ring, |ring| ring.stats().sent == u64::from((round + 1) * WINDOW));
        let mut seen = vec![false; WINDOW as usize];
        let mut bytes = [0; 64];
        for _ in 0..WINDOW {
            let (len, from) = client.recv_from(&mut bytes).expect("answer");
            assert_eq!(from, here);
            let text = std::str::from_utf8(&bytes[..len]).expect("digits");
            let number: u32 = text.strip_prefix('!').expect("changed in place").parse().expect("digits");
            assert_eq!(number / WINDOW, round);
            assert!(!std::mem::replace(&mut seen[(number % WINDOW) as usize], true), "twice: {number}");
        }
    }
    assert_eq!(ring.stats().received, u64::from(ROUNDS * WINDOW));
    let total = RingConfig::default();
    assert_eq!(ring.buffers_available(BufferGroup::Signalling), u32::from(total.signalling.count));
    assert_eq!(ring.buffers_available(BufferGroup::Media), u32::from(total.media.count));
}

#[test]
fn every_datagram_is_answered_over_ipv4() {
    echo("127.0.0.1:0", BufferGroup::Signalling);
}

#[test]
fn every_datagram_is_answered_over_ipv6() {
    echo("[::1]:0", BufferGroup::Signalling);
}

#[test]
fn every_media_packet_is_answered() {
    echo("127.0.0.1:0", BufferGroup::Media);
}

#[test]
fn a_dual_stack_socket_shows_ipv4_peers_as_ipv4_and_answers_them() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let mut both = options("[::]:0");
    both.v6_only = false;
    let socket = ring.open_udp(1, &both, BufferGroup::Signalling).expect("open");
    let port = ring.local_addr(socket).expect("open").port();
    let (client, client_address) = peer("127.0.0.1:0");
    client.send_to(b"four", ("127.0.0.1", port)).expect("send");
    run(&mut ring, |ring, completion| {
        let Completion::Datagram { socket, source, buffer, .. } = completion else {
            panic!("not a datagram: {completion:?}");
        };
        assert_eq!(source, client_address);
        ring.send_buffer(socket, source, buffer).expect("slot");
        true
    });
    ring.wait(Some(std::time::Duration::ZERO)).expect("wait");
    let mut bytes = [0; 8];
    assert_eq!(client.recv(&mut bytes).expect("answer"), 4);
}

#[test]
fn a_burst_larger_than_the_buffers_gets_through() {
    const BURST: u32 = 200;
    let config = RingConfig { signalling: GroupConfig { count: 8, bytes: 2048 }, ..RingConfig::default() };
    let Some(mut ring) = ring(config) else { return };
    let (_, here) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Signalling);
    let (client, _) = peer("127.0.0.1:0");
    // Three times, so that re-arming works more than once.
    for _ in 0..3 {
        for n in 0..BURST {
            client.send_to(&n.to_be_bytes(), here).expect("send");
        }
        let mut expected = 0;
        run(&mut ring, |_, completion| {
            let Completion::Datagram { buffer, .. } = completion else {
                panic!("not a datagram: {completion:?}");
            };
            assert_eq!(&buffer[..], u32::to_be_bytes(expected), "in order, none lost");
            expected += 1;
            expected == BURST
        });
    }
    assert!(ring.stats().starved > 0, "the burst was meant to use up the buffers");
}

#[test]
fn a_caller_that_keeps_all_buffers_does_not_make_the_ring_spin_and_can_go_on() {
    let config = RingConfig { signalling: GroupConfig { count: 4, bytes: 2048 }, ..RingConfig::default() };
    let Some(mut ring) = ring(config) else { return };
    let (_, here) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Signalling);
    let (client, _) = peer("127.0.0.1:0");
    for n in 0..10u8 {
        client.send_to(&[n], here).expect("send");
    }
    let mut kept = Vec::new();
    run(&mut ring, |_, completion| {
        if let Completion::Datagram { buffer, .. } = completion {
            kept.push(buffer);
        }
        kept.len() == 4
    });
    assert_eq!(ring.buffers_available(BufferGroup::Signalling), 0);
    for _ in 0..20 {
        ring.wait(Some(std::time::Duration::from_millis(1))).expect("wait");
        assert!(ring.next().is_none(), "there is no buffer to receive into");
    }
    assert!(ring.stats().starved <= 2, "armed in vain: {:?}", ring.stats());
    kept.clear();
    let mut next = 4;
    run(&mut ring, |_, completion| {
        if let Completion::Datagram { buffer, .. } = completion {
            assert_eq!(buffer[0], next);
            next += 1;
        }
        next == 10
    });
}

#[test]
fn a_datagram_longer_than_its_buffer_is_marked_and_the_next_is_whole() {
    let config = RingConfig { signalling: GroupConfig { count: 8, bytes: 512 }, ..RingConfig::default() };
    let Some(mut ring) = ring(config) else { return };
    let (_, here) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Signalling);
    let (client, _) = peer("127.0.0.1:0");
    // 512 less the kernel's 44 is what fits.
    let told = [(469, true), (468, false), (5000, true), (1, false)];
    for (len, _) in told {
        client.send_to(&vec![7; len], here).expect("send");
    }
    let mut at = 0;
    run(&mut ring, |_, completion| {
        let Completion::Datagram { buffer, truncated, .. } = completion else {
            panic!("not a datagram: {completion:?}");
        };
        let (len, cut) = told[at];
        assert_eq!((buffer.len(), truncated), (len.min(468), cut));
        assert!(buffer.iter().all(|&byte| byte == 7));
        at += 1;
        at == told.len()
    });
    assert_eq!(ring.stats().truncated, 2);
}

#[test]
fn the_largest_datagram_of_udp_passes_whole_both_ways() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (socket, here) = open(&mut ring, 1, address, BufferGroup::Signalling);
        // The length field of UDP counts its header; IPv4 has its own header within the same 65,535.
        let largest = if here.is_ipv4() { 65_507 } else { 65_527 };
        let bytes: Vec<u8> = (0..largest).map(|n| n as u8).collect();
        ring.send(socket, here, &bytes).expect("fits a slot");
        run(&mut ring, |_, completion| {
            let Completion::Datagram { buffer, truncated, .. } = completion else {
                panic!("not a datagram: {completion:?}");
            };
            assert!(!truncated);
            assert!(buffer[..] == bytes[..]);
            true
        });
        assert_eq!(ring.send(socket, here, &[0; 65_528]), Err(SendError::TooLong));
    }
}

#[test]
fn empty_datagrams_are_delivered_and_do_not_stop_the_socket() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (_, here) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Signalling);
    let (client, client_address) = peer("127.0.0.1:0");
    for text in ["", "", "after", "", "end"] {
        client.send_to(text.as_bytes(), here).expect("send");
    }
    let mut heard = Vec::new();
    run(&mut ring, |_, completion| {
        if let Completion::Datagram { buffer, source, .. } = completion {
            assert_eq!(source, client_address);
            heard.push(String::from_utf8(buffer.to_vec()).expect("text"));
        }
        heard.len() == 5
    });
    assert_eq!(heard, ["", "", "after", "", "end"]);
}

#[test]
fn send_slots_run_out_with_an_error_and_come_back() {
    let config = RingConfig { send_slots: 4, ..RingConfig::default() };
    let Some(mut ring) = ring(config) else { return };
    let (socket, _) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Signalling);
    let (client, to) = peer("127.0.0.1:0");
    for round in 0..10u8 {
        for n in 0..4 {
            ring.send(socket, to, &[round, n]).expect("a free slot");
        }
        assert_eq!(ring.send(socket, to, b"one too many"), Err(SendError::SlotsExhausted));
        settle(&mut ring, |ring| ring.stats().sent == (u64::from(round) + 1) * 4);
        for n in 0..4 {
            let mut bytes = [0; 16];
            let len = client.recv(&mut bytes).expect("sent");
            assert_eq!(bytes[..len], [round, n]);
        }
    }
}

#[test]
fn more_sends_than_the_submission_queue_holds_go_out_in_one_wait() {
    // As many as the system's default receive buffer holds, well above the 8 entries of the queue.
    const COUNT: u32 = 200;
    let config = RingConfig { submission_entries: 8, ..RingConfig::default() };
    let Some(mut ring) = ring(config) else { return };
    let (socket, here) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Media);
    let to: SocketAddr = here;
    for n in 0..COUNT {
        ring.send(socket, to, &n.to_be_bytes()).expect("a free slot");
    }
    let mut heard = 0;
    run(&mut ring, |_, completion| {
        if let Completion::Datagram { buffer, .. } = completion {
            assert_eq!(&buffer[..], u32::to_be_bytes(heard));
            heard += 1;
        }
        heard == COUNT
    });
}

#[test]
fn completions_beyond_the_queue_are_not_lost() {
    const COUNT: u32 = 200;
    let config = RingConfig { submission_entries: 8, completion_entries: 16, ..RingConfig::default() };
    let Some(mut ring) = ring(config) else { return };
    let (socket, here) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Media);
    let (mut sent, mut heard, mut refused) = (0, 0, 0);
    let start = std::time::Instant::now();
    while heard < COUNT {
        while sent < COUNT {
            match ring.send(socket, here, &sent.to_be_bytes()) {
                Ok(()) => sent += 1,
                Err(SendError::QueueFull) => {
                    refused += 1;
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(refused < 10 * COUNT && start.elapsed() < common::STUCK, "stuck: {:?}", ring.stats());
        ring.wait(Some(std::time::Duration::from_millis(200))).expect("wait");
        while let Some(completion) = ring.next() {
            let Completion::Datagram { buffer, .. } = completion else {
                panic!("not a datagram: {completion:?}");
            };
            assert_eq!(&buffer[..], u32::to_be_bytes(heard));
            heard += 1;
        }
    }
    settle(&mut ring, |ring| ring.stats().sent == u64::from(COUNT));
}
