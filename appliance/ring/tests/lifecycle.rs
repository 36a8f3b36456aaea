//! Opening, closing, waking, waiting and going away.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{STUCK, open, options, peer, ring, run, settle};
use tandem_ring::{BufferGroup, Completion, RingConfig, RingError, SendError, bind_exclusive_check};

#[test]
fn a_finished_send_does_not_end_a_wait() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (_sink, to) = peer("127.0.0.1:0");
    let (socket, _) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Signalling);
    // The first wait also arms the receive.
    ring.wait(Some(Duration::ZERO)).expect("poll");
    assert!(ring.next().is_none());
    let sleep = Duration::from_millis(50);
    for _ in 0..3 {
        ring.send(socket, to, b"x").expect("room");
        let begun = Instant::now();
        ring.wait(Some(sleep)).expect("wait");
        assert!(begun.elapsed() >= sleep, "the wait ended before its time although nothing came");
        assert!(ring.next().is_none());
    }
    assert_eq!(ring.stats().sent, 3);
}

#[test]
fn a_wait_returns_when_its_time_has_passed() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Signalling);
    let start = Instant::now();
    ring.wait(Some(Duration::ZERO)).expect("poll");
    assert!(ring.next().is_none());
    for ms in [1, 30] {
        let start = Instant::now();
        ring.wait(Some(Duration::from_millis(ms))).expect("wait");
        assert!(start.elapsed() >= Duration::from_millis(ms), "returned early");
        assert!(ring.next().is_none());
    }
    assert!(start.elapsed() < STUCK);
}

#[test]
fn another_thread_wakes_a_sleeping_ring_and_its_message_is_there() {
    let Some(mut ring) = ring(RingConfig::default()) else {
        return;
    };
    let waker = ring.waker();
    let (sender, inbox) = mpsc::channel();
    let thread = thread::spawn(move || {
        for n in 0..1000u32 {
            sender.send(n).expect("the test listens");
            waker.wake();
        }
        (sender, waker)
    });
    let mut next = 0;
    while next < 1000 {
        let start = Instant::now();
        ring.wait(Some(STUCK)).expect("wait");
        assert!(start.elapsed() < STUCK, "a wake was lost");
        while let Some(completion) = ring.next() {
            assert!(matches!(completion, Completion::Wake));
            while let Ok(n) = inbox.try_recv() {
                assert_eq!(n, next);
                next += 1;
            }
        }
    }
    let (sender, waker) = thread.join().expect("no panic");

    // One by one, so that each finds the ring asleep or about to be.
    let (answer, answered) = mpsc::channel();
    let last = thread::spawn(move || {
        for n in 0..100 {
            sender.send(n).expect("the test listens");
            waker.wake();
            answered.recv().expect("the test answers");
        }
    });
    for n in 0..100 {
        while inbox.try_recv() != Ok(n) {
            let start = Instant::now();
            ring.wait(Some(STUCK)).expect("wait");
            assert!(start.elapsed() < STUCK, "a wake was lost");
            while ring.next().is_some() {}
        }
        answer.send(()).expect("the other listens");
    }
    last.join().expect("no panic");
}

/// A ring that looks for a wake sees it, and its next wait delivers it; looking takes nothing away.
#[test]
fn a_wake_that_was_looked_for_is_delivered_by_the_next_wait() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (brief, waker) = (Duration::from_millis(1), ring.waker());
    let begun = Instant::now();
    assert!(!ring.look_for_wake(brief) && begun.elapsed() >= brief, "nobody wakes it");
    let (ask, asked) = mpsc::channel();
    let other = thread::spawn(move || {
        while asked.recv().is_ok() {
            waker.wake();
        }
    });
    for _ in 0..1_000 {
        ask.send(()).expect("the other listens");
        assert!(ring.look_for_wake(STUCK), "the wake did not come");
        assert!(ring.look_for_wake(Duration::ZERO), "it is still due");
        ring.wait(Some(STUCK)).expect("wait");
        assert!(matches!(ring.next(), Some(Completion::Wake)));
        assert!(ring.next().is_none());
        assert!(!ring.look_for_wake(Duration::ZERO), "it was delivered");
    }
    drop(ask);
    other.join().expect("no panic");
}

/// Each side sleeps until the other has answered: one lost wake and both sleep for ever.
#[test]
fn no_wake_is_lost_between_two_rings() {
    const TURNS: u64 = 20_000;
    let Some(mut first) = ring(RingConfig::default()) else { return };
    let turn = Arc::new(AtomicU64::new(0));
    let (to_first, seen) = (first.waker(), Arc::clone(&turn));
    let (hand, take) = mpsc::channel();
    let other = thread::spawn(move || {
        let Some(mut second) = ring(RingConfig::default()) else { return };
        hand.send(second.waker()).expect("the test listens");
        play(&mut second, 1, &seen, &to_first);
    });
    let to_second = take.recv().expect("a waker");
    play(&mut first, 0, &turn, &to_second);
    other.join().expect("no panic");
    assert_eq!(turn.load(Ordering::Relaxed), TURNS);

    fn play(ring: &mut tandem_ring::Ring, parity: u64, turn: &AtomicU64, other: &tandem_ring::Waker) {
        loop {
            // Relaxed on purpose: the wake itself must make the turn visible.
            let now = turn.load(Ordering::Relaxed);
            if now == TURNS {
                other.wake();
                return;
            }
            if now % 2 == parity {
                turn.store(now + 1, Ordering::Relaxed);
                other.wake();
                continue;
            }
            let start = Instant::now();
            ring.wait(Some(STUCK)).expect("wait");
            assert!(start.elapsed() < STUCK, "a wake was lost at turn {now}");
            while ring.next().is_some() {}
        }
    }
}

#[test]
fn many_wakes_before_a_wait_are_one() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let waker = ring.waker();
    for _ in 0..100 {
        waker.wake();
    }
    let start = Instant::now();
    ring.wait(Some(STUCK)).expect("wait");
    assert!(start.elapsed() < STUCK, "slept on a wake that was due");
    assert!(matches!(ring.next(), Some(Completion::Wake)));
    assert!(ring.next().is_none());
    ring.wait(Some(Duration::ZERO)).expect("wait");
    assert!(ring.next().is_none());
    assert_eq!(ring.stats().wakes, 1);
    drop(ring);
    waker.wake();
}

#[test]
fn a_port_closed_while_receiving_can_be_opened_again_at_once() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (mut socket, here) = open(&mut ring, 0, "127.0.0.1:0", BufferGroup::Signalling);
    let (client, _) = peer("127.0.0.1:0");
    ring.wait(Some(Duration::ZERO)).expect("armed");
    for token in 1..100u32 {
        // Some datagrams are in the kernel's hands when the socket closes, some are completed and not taken.
        client.send_to(b"to the old one", here).expect("send");
        if token % 2 == 0 {
            ring.wait(Some(STUCK)).expect("wait");
        }
        ring.close_udp(socket);
        ring.close_udp(socket);
        assert_eq!(ring.local_addr(socket), None);
        assert_eq!(ring.send(socket, here, b"x"), Err(SendError::Closed));

        socket =
            ring.open_udp(token, &options(&here.to_string()), BufferGroup::Signalling).expect("the port is free again");
        client.send_to(&token.to_be_bytes(), here).expect("send");
        run(&mut ring, |_, completion| {
            let Completion::Datagram { token: told, socket: id, buffer, .. } = completion else {
                panic!("not a datagram: {completion:?}");
            };
            assert_eq!((told, id), (token, socket), "of the new socket only");
            assert_eq!(&buffer[..], token.to_be_bytes());
            true
        });
    }
    settle(&mut ring, |ring| ring.sockets() == 1);
}

#[test]
fn a_closed_port_is_free_for_others_after_the_next_wait() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (socket, here) = open(&mut ring, 0, "127.0.0.1:0", BufferGroup::Media);
    ring.wait(Some(Duration::ZERO)).expect("armed");
    ring.close_udp(socket);
    settle(&mut ring, |ring| ring.sockets() == 0);
    bind_exclusive_check(here).expect("free");
}

#[test]
fn what_was_sent_before_closing_goes_out() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (client, to) = peer("127.0.0.1:0");
    let (socket, _) = open(&mut ring, 0, "127.0.0.1:0", BufferGroup::Signalling);
    ring.send(socket, to, b"last words").expect("slot");
    ring.close_udp(socket);
    settle(&mut ring, |ring| ring.sockets() == 0);
    let mut bytes = [0; 32];
    let len = client.recv(&mut bytes).expect("sent");
    assert_eq!(&bytes[..len], b"last words");
}

#[test]
fn many_sockets_open_receive_and_close() {
    const COUNT: u32 = 300;
    let Some(mut ring) = ring(RingConfig { sockets_max: COUNT, ..RingConfig::default() }) else { return };
    let (client, _) = peer("127.0.0.1:0");
    for round in 0..3 {
        let sockets: Vec<_> = (0..COUNT).map(|n| open(&mut ring, n, "127.0.0.1:0", BufferGroup::Media)).collect();
        let full = ring.open_udp(0, &options("127.0.0.1:0"), BufferGroup::Media);
        assert!(matches!(full, Err(RingError::SocketsExhausted { max: COUNT })));
        for (n, (_, here)) in sockets.iter().enumerate() {
            client.send_to(&(n as u32).to_be_bytes(), here).expect("send");
        }
        let mut heard = vec![false; COUNT as usize];
        let mut left = COUNT;
        run(&mut ring, |_, completion| {
            let Completion::Datagram { token, buffer, .. } = completion else {
                panic!("not a datagram: {completion:?}");
            };
            assert_eq!(&buffer[..], token.to_be_bytes());
            assert!(!std::mem::replace(&mut heard[token as usize], true));
            left -= 1;
            left == 0
        });
        for (socket, _) in sockets {
            ring.close_udp(socket);
        }
        settle(&mut ring, |ring| ring.sockets() == 0);
        assert_eq!(ring.stats().received, u64::from(COUNT * (round + 1)));
    }
}

#[test]
fn a_port_in_use_is_told_with_address_and_cure() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let (_holder, held) = peer("127.0.0.1:0");
    let error = ring.open_udp(1, &options(&held.to_string()), BufferGroup::Signalling).expect_err("held");
    let sentence = error.to_string();
    for word in [&held.to_string(), "in use", "ss -lunp"] {
        assert!(sentence.contains(word), "{word} in: {sentence}");
    }
    assert_eq!(ring.sockets(), 0);
}

#[test]
fn a_shared_port_is_seen_by_the_exclusive_check() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    let mut shared = options("127.0.0.1:0");
    shared.reuse_port = true;
    let first = ring.open_udp(1, &shared, BufferGroup::Signalling).expect("first");
    shared.addr = ring.local_addr(first).expect("open");
    ring.open_udp(2, &shared, BufferGroup::Signalling).expect("a second one shares silently");
    assert!(bind_exclusive_check(shared.addr).expect_err("held").is_in_use());
}

#[test]
fn an_address_of_another_host_is_told_with_its_cure() {
    let Some(mut ring) = ring(RingConfig::default()) else { return };
    // RFC 5737 documentation address: on no interface.
    let mut foreign = options("192.0.2.77:5060");
    let sentence = ring.open_udp(1, &foreign, BufferGroup::Signalling).expect_err("not ours").to_string();
    for word in ["192.0.2.77", "no interface", "ip address add 192.0.2.77/32"] {
        assert!(sentence.contains(word), "{word} in: {sentence}");
    }
    foreign.free_bind = true;
    ring.open_udp(1, &foreign, BufferGroup::Signalling).expect("bound ahead of the address");
}

#[test]
fn a_ring_goes_away_with_everything_in_flight_and_buffers_outlive_it() {
    for _ in 0..20 {
        let Some(mut ring) = ring(RingConfig::default()) else { return };
        let (socket, here) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Signalling);
        open(&mut ring, 2, "[::1]:0", BufferGroup::Media);
        let (client, _) = peer("127.0.0.1:0");
        client.send_to(b"kept", here).expect("send");
        client.send_to(b"never taken", here).expect("send");
        let mut kept = None;
        run(&mut ring, |_, completion| {
            if let Completion::Datagram { buffer, .. } = completion {
                kept = Some(buffer);
            }
            true
        });
        ring.send(socket, here, b"queued and never submitted").expect("slot");
        let start = Instant::now();
        drop(ring);
        assert!(start.elapsed() < Duration::from_secs(1), "the kernel did not let go");
        let mut kept = kept.expect("a datagram");
        kept[0] = b'K';
        assert_eq!(&kept[..], b"Kept");
        drop(kept);
        bind_exclusive_check(here).expect("the port is free");
    }
}

#[test]
fn sizes_that_make_no_sense_are_named() {
    let base = RingConfig::default();
    let cases = [
        (RingConfig { send_slots: 0, ..base }, "0 send slots"),
        (RingConfig { sockets_max: 0, ..base }, "sockets_max 0"),
        (
            RingConfig { media: tandem_ring::GroupConfig { count: 1000, bytes: 2048 }, ..base },
            "Media buffer count 1000",
        ),
        (
            RingConfig { signalling: tandem_ring::GroupConfig { count: 8, bytes: 3 }, ..base },
            "Signalling buffer size 3",
        ),
    ];
    for (config, words) in cases {
        let Err(error) = tandem_ring::Ring::new(config) else { panic!("accepted: {words}") };
        assert!(error.to_string().contains(words), "{words} in: {error}");
    }
}

/// Processor time of this thread.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, which lives here.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "the clock of a thread is always there");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Processor time of ending a ring that receives on `sockets` sockets; the least of three, since others run here too.
fn end_ns(sockets: u32) -> Option<u64> {
    let mut least = u64::MAX;
    for _ in 0..3 {
        let mut ring = ring(RingConfig::default())?;
        for token in 0..sockets {
            open(&mut ring, token, "127.0.0.1:0", BufferGroup::Media);
        }
        ring.wait(Some(Duration::ZERO)).expect("poll");
        let begun = cpu_ns();
        drop(ring);
        least = least.min(cpu_ns() - begun);
    }
    Some(least)
}

#[test]
fn ending_with_many_sockets_takes_time_in_proportion() {
    let (few, many) = (60, 600);
    let Some((few_ns, many_ns)) = end_ns(few).zip(end_ns(many)) else { return };
    // Ten times as many sockets: 10 times the work, or 100 times when each cancellation looks at all of them.
    assert!(many_ns < 25 * few_ns, "{few} sockets: {few_ns} ns, {many} sockets: {many_ns} ns");
}
