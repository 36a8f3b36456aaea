//! More audio than the switch can relay, and then the usual amount again.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::books;
use crate::common::{Switch, until};
use crate::crash::{number, rich};
use crate::peer::{Peer, Stage};

/// Between two packets of a stream.
const PTIME: Duration = Duration::from_millis(20);
/// Bytes of audio in a packet.
const AUDIO: usize = 160;

/// One direction of one call.
struct Stream {
    name: String,
    from: Arc<UdpSocket>,
    /// The switch's port for it.
    to: SocketAddr,
    receiver: Arc<UdpSocket>,
    sequence: u16,
}

impl Stream {
    /// Sends a packet that carries `mark`.
    fn send(&mut self, mark: u32) {
        self.sequence = self.sequence.wrapping_add(1);
        let _ = self.from.send_to(&packet(self.sequence, self.to.port(), mark), self.to);
    }

    /// The marks of what has arrived.
    fn received(&self) -> Vec<u32> {
        let mut buffer = [0; 512];
        let mut marks = Vec::new();
        while let Ok(len) = self.receiver.recv(&mut buffer) {
            assert_eq!(len, 12 + AUDIO, "{}", self.name);
            marks.push(u32::from_be_bytes(buffer[12..16].try_into().unwrap()));
        }
        marks
    }
}

/// RTP (RFC 3550 5.1), PCMA.
fn packet(sequence: u16, ssrc: u16, mark: u32) -> [u8; 12 + AUDIO] {
    let mut bytes = [0xd5; 12 + AUDIO];
    bytes[..2].copy_from_slice(&[0x80, 8]);
    bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
    bytes[4..8].copy_from_slice(&(u32::from(sequence) * AUDIO as u32).to_be_bytes());
    bytes[8..12].copy_from_slice(&u32::from(ssrc).to_be_bytes());
    bytes[12..16].copy_from_slice(&mark.to_be_bytes());
    bytes
}

/// Both directions of some calls.
pub(crate) struct Streams {
    numbers: Vec<String>,
    streams: Vec<Stream>,
    /// Each phase has marks of its own.
    mark: u32,
}

impl Streams {
    /// Makes `calls` calls.
    #[track_caller]
    pub(crate) fn connect(customer: &Peer, vendor: &Peer, calls: usize) -> Streams {
        let numbers: Vec<String> = (0..calls).map(|n| format!("1212777{n:04}")).collect();
        numbers.iter().for_each(|number| customer.call(number));
        let mut streams = Vec::new();
        for number in &numbers {
            let a = customer.once(number, |dialog| dialog.stage == Stage::Talking);
            let b = vendor.once(number, |dialog| dialog.stage == Stage::Talking);
            for (way, from, to) in [("to vendor", &a, &b), ("to customer", &b, &a)] {
                streams.push(Stream {
                    name: format!("{number} {way}"),
                    from: from.rtp.clone(),
                    to: from.media.unwrap(),
                    receiver: to.rtp.clone(),
                    sequence: 0,
                });
            }
        }
        Streams { numbers, streams, mark: 0 }
    }

    /// Talks until every stream is heard.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        let mut silent: Vec<usize> = (0..self.streams.len()).collect();
        until("every stream is heard", || {
            self.streams.iter_mut().for_each(|stream| stream.send(0));
            silent.retain(|n| self.streams[*n].received().is_empty());
            silent.is_empty().then_some(())
        });
    }

    /// Talks for `time` and does not listen.
    pub(crate) fn pace(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.streams.iter_mut().for_each(|stream| stream.send(0));
            thread::sleep(PTIME);
        }
    }

    /// Sends `packets` packets on every stream, 50 a second, and gives the streams of which none of them arrived. The
    /// packets are the clock: a machine that is busy with other things sends slower too.
    #[track_caller]
    pub(crate) fn dead_after(&mut self, packets: u32) -> Vec<String> {
        let first = self.first_heard(packets);
        let slowest = first.iter().flatten().max();
        eprintln!("{} streams, the last one is heard from packet {slowest:?} on", first.len());
        let dead = self.streams.iter().zip(&first).filter(|(_, first)| first.is_none());
        dead.map(|(stream, _)| stream.name.clone()).collect()
    }

    /// Sends so many packets on every stream; the first of each that arrived.
    fn first_heard(&mut self, packets: u32) -> Vec<Option<u32>> {
        self.mark += 1_000;
        let mark = self.mark;
        let mut first = vec![None; self.streams.len()];
        let mut listen = |streams: &[Stream]| {
            for (stream, first) in streams.iter().zip(&mut first) {
                let heard = stream.received().into_iter().find(|heard| *heard > mark);
                *first = first.or(heard.map(|heard| heard - mark));
            }
        };
        for n in 1..=packets {
            self.streams.iter_mut().for_each(|stream| stream.send(mark + n));
            thread::sleep(PTIME);
            listen(&self.streams);
        }
        // What is still on its way; a stream that is dead stays silent however long one listens.
        for _ in 0..packets {
            thread::sleep(PTIME);
            listen(&self.streams);
        }
        first
    }

    /// Sends `packets` packets on every stream and waits until all of them have arrived.
    #[track_caller]
    pub(crate) fn assert_nothing_is_lost(&mut self, packets: u32) {
        self.mark += 1_000;
        let mark = self.mark;
        for n in 1..=packets {
            self.streams.iter_mut().for_each(|stream| stream.send(mark + n));
            thread::sleep(PTIME);
        }
        let mut heard = vec![0; self.streams.len()];
        until("all packets of all streams", || {
            for (stream, heard) in self.streams.iter().zip(&mut heard) {
                *heard += stream.received().into_iter().filter(|heard| *heard > mark).count();
            }
            heard.iter().all(|heard| *heard == packets as usize).then_some(())
        });
    }

    /// Ends the calls.
    #[track_caller]
    pub(crate) fn hang_up(&self, customer: &Peer) {
        self.numbers.iter().for_each(|number| customer.hang_up(number));
        customer.all(Stage::Ended);
    }

    /// Sends on all streams as fast as two threads can, for `time`; how many packets.
    fn overload(&self, time: Duration) -> u64 {
        let stop = AtomicBool::new(false);
        let blast = || {
            let (mut sent, mut sequence) = (0, 1_000u16);
            while !stop.load(Ordering::Relaxed) {
                sequence = sequence.wrapping_add(1);
                for stream in &self.streams {
                    sent += u64::from(stream.from.send_to(&packet(sequence, stream.to.port(), 0), stream.to).is_ok());
                }
            }
            sent
        };
        thread::scope(|scope| {
            let threads = [scope.spawn(blast), scope.spawn(blast)];
            thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
            threads.map(|thread| thread.join().unwrap()).iter().sum()
        })
    }
}

/// `TANDEM_OVERLOAD_CALLS` says how many calls (20 by default).
#[test]
fn after_an_overload_of_media_every_stream_is_alive_within_a_second() {
    const OVERLOAD: Duration = Duration::from_secs(4);
    let calls = number("TANDEM_OVERLOAD_CALLS", 20);
    let switch = Switch::start(&rich());
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    let mut streams = Streams::connect(&customer, &vendor, calls as usize);
    streams.settle();
    let before = switch.json(&["status"]);
    let sent = streams.overload(OVERLOAD);
    // One second of 50 packets each. What is left of the overload in buffers is in front of them.
    let dead = streams.dead_after(50);
    let after = switch.json(&["status"]);
    let count = |status: &serde_json::Value, name: &str| status["counters"][name].as_u64().unwrap_or(0);
    let relayed = count(&after, "media_packets_relayed") - count(&before, "media_packets_relayed");
    eprintln!("{sent} packets sent in {OVERLOAD:?}, {relayed} relayed; {:#}", after["counters"]);
    assert!(relayed < sent / 2, "this was no overload: {relayed} of {sent} relayed");
    assert_eq!(dead, Vec::<String>::new());
    streams.assert_nothing_is_lost(50);
    // Calls can be made and ended as before.
    customer.connect("12125550000");
    customer.hang_up("12125550000");
    streams.hang_up(&customer);
    assert_eq!(books::audit(&switch).cdrs, calls + 1);
}
