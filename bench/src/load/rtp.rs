//! RTP of held calls: sent on schedule, each packet carrying who sent it when, counted and timed where it comes out.

use std::net::SocketAddrV4;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::clock::{Moment, SECOND};
use super::counts::{histogram, percentiles};
use super::port::{Inlet, Outlet};

/// A packet of G.711 with 20 ms: 12 bytes of header and 160 of sound.
pub(super) const PACKET: usize = 172;
/// Packets sent in one turn before arrivals are looked at.
const BURST: u64 = 64;
/// First bytes of our sound.
const MAGIC: [u8; 4] = *b"tdm1";
/// What a stream must have delivered after this long to count as alive, ns.
const ALIVE_WITHIN: u64 = SECOND;

/// One direction of one call.
#[derive(Clone, Debug)]
struct Stream {
    to: SocketAddrV4,
    sequence: u16,
    /// When its first packet of this step came, since the start of the step.
    first: Option<u64>,
    /// Last second of the step in which it delivered.
    second: u32,
    sent: u32,
    received: u32,
}

/// Sockets and streams of both sides.
pub(super) struct Media {
    /// Customer, vendor.
    pub(super) inlets: [Inlet; 2],
    outlets: [Outlet; 2],
    streams: Vec<Stream>,
    run: u32,
    step: u16,
    start: Moment,
    seconds: u32,
    rate: f64,
    sent: u64,
    /// When the last burst went, steady clock.
    last: u64,
    late: Histogram<u64>,
    from_sent: Histogram<u64>,
    from_intended: Histogram<u64>,
    alive_by_second: Vec<u32>,
    foreign: u64,
}

impl Media {
    /// No streams yet.
    pub(super) fn new(customer: (Inlet, Outlet), vendor: (Inlet, Outlet), run: u32) -> Media {
        Media {
            inlets: [customer.0, vendor.0],
            outlets: [customer.1, vendor.1],
            streams: Vec::new(),
            run,
            step: 0,
            start: Moment { steady: 0, wall: 0 },
            seconds: 0,
            rate: 0.0,
            sent: 0,
            last: 0,
            late: histogram(),
            from_sent: histogram(),
            from_intended: histogram(),
            alive_by_second: Vec::new(),
            foreign: 0,
        }
    }

    /// Starts a step: `relays` is where customer and vendor of each call send to.
    pub(super) fn begin(
        &mut self,
        relays: impl Iterator<Item = [SocketAddrV4; 2]>,
        pps: u32,
        seconds: u32,
        now: Moment,
    ) {
        let sequences: Vec<u16> = self.streams.iter().map(|stream| stream.sequence).collect();
        // Customer, vendor, customer, ...: the side of a stream is its number modulo 2.
        let streams = relays.flatten().enumerate().map(|(n, to)| {
            // Numbers go on where they were: a jump would look like loss or a new source to a relay.
            let sequence = sequences.get(n).copied().unwrap_or(n as u16);
            Stream { to, sequence, first: None, second: u32::MAX, sent: 0, received: 0 }
        });
        self.streams = streams.collect();
        self.step += 1;
        self.start = now;
        self.seconds = seconds;
        self.rate = self.streams.len() as f64 * f64::from(pps);
        self.sent = 0;
        self.foreign = 0;
        for histogram in [&mut self.late, &mut self.from_sent, &mut self.from_intended] {
            histogram.reset();
        }
        // A second more for what is still under way.
        self.alive_by_second = vec![0; seconds as usize + 1];
    }

    /// When the next packet is to go (steady clock), `None` after the last.
    pub(super) fn next(&self) -> Option<u64> {
        let total = (self.rate * f64::from(self.seconds)) as u64;
        (self.sent < total).then(|| self.due(self.sent))
    }

    fn due(&self, n: u64) -> u64 {
        self.start.steady + (n as f64 * SECOND as f64 / self.rate) as u64
    }

    /// Sends what is due, up to a burst.
    pub(super) fn send(&mut self, now: Moment) {
        let mut burst = 0;
        while let Some(due) = self.next().filter(|due| *due <= now.steady && burst < BURST) {
            let n = (self.sent % self.streams.len() as u64) as usize;
            let stream = &mut self.streams[n];
            let packet = Packet {
                sequence: stream.sequence,
                stream: n as u32,
                run: self.run,
                step: self.step,
                intended: now.wall_of(due),
                sent: now.wall,
            };
            stream.sequence = stream.sequence.wrapping_add(1);
            stream.sent += 1;
            self.outlets[n % 2].send(stream.to, |out| packet.write(out));
            self.late.saturating_record(now.steady - due);
            self.last = now.steady;
            self.sent += 1;
            burst += 1;
        }
        for outlet in &mut self.outlets {
            outlet.flush();
        }
    }

    /// A packet that arrived at `side` at `wall`.
    pub(super) fn on_packet(&mut self, side: usize, bytes: &[u8], wall: u64) {
        let packet = Packet::read(bytes).filter(|packet| packet.run == self.run);
        // What the customer sent, stream 0, 2, ..., comes out at the vendor, side 1.
        let packet = packet.filter(|packet| packet.stream as usize % 2 != side);
        let Some(packet) = packet else {
            self.foreign += 1;
            return;
        };
        let Some(stream) = self.streams.get_mut(packet.stream as usize).filter(|_| packet.step == self.step) else {
            // Late from an earlier step, which has been told already.
            return;
        };
        let since = wall.saturating_sub(self.start.wall);
        stream.received += 1;
        stream.first.get_or_insert(since);
        let second = (since / SECOND) as u32;
        if stream.second != second {
            stream.second = second;
            if let Some(alive) = self.alive_by_second.get_mut(second as usize) {
                *alive += 1;
            }
        }
        self.from_sent.saturating_record(wall.saturating_sub(packet.sent));
        self.from_intended.saturating_record(wall.saturating_sub(packet.intended));
    }

    /// What the step came to.
    pub(super) fn json(&self) -> Value {
        let received: u64 = self.streams.iter().map(|stream| u64::from(stream.received)).sum();
        let lost: u64 = self.streams.iter().map(|s| u64::from(s.sent.saturating_sub(s.received))).sum();
        let first = self.streams.iter().filter_map(|stream| stream.first);
        let seconds = self.last.saturating_sub(self.start.steady).max(1) as f64 / SECOND as f64;
        json!({
            "streams": self.streams.len(),
            "sent": self.sent,
            "received": received,
            "lost": lost,
            "foreign": self.foreign,
            "refused": self.outlets.iter().map(|outlet| outlet.refused).sum::<u64>(),
            "sent_pps": (self.sent as f64 / seconds).round(),
            "streams_alive_within_1s": self.streams.iter().filter(|s| s.first.is_some_and(|at| at <= ALIVE_WITHIN)).count(),
            "streams_never_alive": self.streams.iter().filter(|stream| stream.first.is_none()).count(),
            "last_alive_after_ms": first.max().map(|at| at / 1_000_000),
            "streams_alive_by_second": self.alive_by_second,
            "relay_us": percentiles(&self.from_sent, 1e3),
            "relay_from_intended_us": percentiles(&self.from_intended, 1e3),
            "late_us": percentiles(&self.late, 1e3),
        })
    }
}

/// Header and the part of the sound that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet {
    sequence: u16,
    stream: u32,
    run: u32,
    step: u16,
    /// When it was to go and when it went, wall clock.
    intended: u64,
    sent: u64,
}

impl Packet {
    fn write(&self, out: &mut Vec<u8>) {
        let end = out.len() + PACKET;
        out.extend_from_slice(&[0x80, 8]);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&(u32::from(self.sequence) * 160).to_be_bytes());
        out.extend_from_slice(&(self.run.rotate_left(16) ^ self.stream).to_be_bytes());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.extend_from_slice(&self.run.to_be_bytes());
        out.extend_from_slice(&self.step.to_be_bytes());
        out.extend_from_slice(&self.intended.to_be_bytes());
        out.extend_from_slice(&self.sent.to_be_bytes());
        // Silence in A-law.
        out.resize(end, 0xd5);
    }

    fn read(bytes: &[u8]) -> Option<Packet> {
        let (header, sound) = bytes.split_at_checked(12)?;
        let mut rest = sound.strip_prefix(&MAGIC).filter(|_| bytes.len() == PACKET)?;
        let mut take = |len: usize| -> Option<u64> {
            let (value, tail) = rest.split_at_checked(len)?;
            rest = tail;
            Some(value.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        };
        Some(Packet {
            sequence: u16::from_be_bytes([header[2], header[3]]),
            stream: take(4)? as u32,
            run: take(4)? as u32,
            step: take(2)? as u16,
            intended: take(8)?,
            sent: take(8)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::port;

    #[test]
    fn a_packet_is_read_back_and_nothing_else_is() {
        let packet = Packet { sequence: 65_000, stream: 77, run: 9, step: 3, intended: 1 << 60, sent: 1 << 61 };
        let mut bytes = Vec::new();
        packet.write(&mut bytes);
        assert_eq!(bytes.len(), PACKET);
        assert_eq!(Packet::read(&bytes), Some(packet));
        assert_eq!(Packet::read(&bytes[..PACKET - 1]), None);
        bytes[12] ^= 1;
        assert_eq!(Packet::read(&bytes), None);
    }

    #[test]
    fn loss_and_life_are_counted_by_stream() {
        let loopback = || port::open("127.0.0.1:0".parse().unwrap(), 256, false).unwrap();
        let mut media = Media::new(loopback(), loopback(), 5);
        let nobody: SocketAddrV4 = "127.0.0.1:9".parse().unwrap();
        let start = Moment { steady: 0, wall: 1_000 * SECOND };
        media.begin([[nobody; 2]; 2].into_iter(), 1, 3, start);
        // 4 streams, a packet a second, 3 seconds.
        for second in 0..3 {
            media.send(Moment { steady: (second + 1) * SECOND, wall: start.wall + (second + 1) * SECOND });
        }
        assert_eq!((media.sent, media.next()), (12, None));
        let mut packet = |stream: u32, after: u64, step: u16| {
            let mut bytes = Vec::new();
            let sent = start.wall + after - 1_000_000;
            Packet { sequence: 0, stream, run: 5, step, intended: sent, sent }.write(&mut bytes);
            media.on_packet(1 - stream as usize % 2, &bytes, start.wall + after);
        };
        // All packets of streams 0 and 1, one late one of stream 2, none of stream 3.
        for second in 0..3 {
            packet(0, second * SECOND + SECOND / 2, 1);
            packet(1, second * SECOND + SECOND / 2, 1);
        }
        packet(2, 2 * SECOND + SECOND / 2, 1);
        packet(3, SECOND, 0);
        media.on_packet(0, b"something else", start.wall);
        let json = media.json();
        assert_eq!(
            (json["sent"].as_u64(), json["received"].as_u64(), json["lost"].as_u64()),
            (Some(12), Some(7), Some(5))
        );
        assert_eq!(json["streams_alive_within_1s"], 2);
        assert_eq!(json["streams_never_alive"], 1);
        assert_eq!(json["streams_alive_by_second"], json!([2, 2, 3, 0]));
        assert_eq!(json["foreign"], 1);
        assert!((json["relay_us"]["p50"].as_f64().unwrap() - 1_000.0).abs() < 2.0, "{json}");
    }
}
