//! Audio of calls in both directions, each packet counted where it arrives.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::until;

/// Between two packets of a stream: half of what speech has, well below the policer's 200 a second.
pub(crate) const PTIME: Duration = Duration::from_millis(10);
/// Bytes of audio in a packet.
const AUDIO: usize = 80;
/// How long the last packets may be on their way; waited for only when one is missing.
const TAIL: Duration = Duration::from_secs(3);

/// Both parties of a call, with where each sends to.
pub(crate) type Ends = [(Arc<UdpSocket>, SocketAddr); 2];

/// The streams of some calls, all at one pace.
pub(crate) struct Talk {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    thread: JoinHandle<Vec<Heard>>,
}

/// What came of a call's streams: of each direction how many packets were sent and how many of them arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) sent: u32,
    pub(crate) arrived: [u32; 2],
}

impl Talk {
    /// Starts the streams of all `calls`, a packet each in every `pause`, spread over it.
    pub(crate) fn start(calls: Vec<Ends>, pause: Duration) -> Talk {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, count) = (stop.clone(), sent.clone());
        let thread = thread::spawn(move || {
            let mut calls: Vec<Call> = calls.into_iter().map(Call::new).collect();
            let step = pause / calls.len() as u32;
            let mut sequence = 0u16;
            let mut due = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                sequence = sequence.checked_add(1).expect("a test is shorter than 65,535 packets");
                for call in &mut calls {
                    call.send(sequence);
                    call.take();
                    due += step;
                    let now = Instant::now();
                    match due.checked_duration_since(now) {
                        Some(early) => thread::sleep(early),
                        // What was missed while others had the processor is not made up for in a burst.
                        None if now - due > pause => due = now,
                        None => {}
                    }
                }
                count.store(u32::from(sequence), Ordering::Relaxed);
            }
            let end = Instant::now() + TAIL;
            while calls.iter().any(|call| call.arrived() != [u32::from(sequence); 2]) && Instant::now() < end {
                calls.iter_mut().for_each(Call::take);
                thread::sleep(Duration::from_millis(1));
            }
            calls.iter().map(|call| Heard { sent: u32::from(sequence), arrived: call.arrived() }).collect()
        });
        Talk { stop, sent, thread }
    }

    /// Waits until another `packets` were sent in each direction of each call.
    #[track_caller]
    pub(crate) fn go_on(&self, packets: u32) {
        // The round that is under way may have passed a call already.
        let wanted = self.sent.load(Ordering::Relaxed) + 1 + packets;
        until("the streams go on", || (self.sent.load(Ordering::Relaxed) >= wanted).then_some(()));
    }

    /// Ends the streams of the only call.
    #[track_caller]
    pub(crate) fn stop(self) -> Heard {
        let heard = self.stop_all();
        assert_eq!(heard.len(), 1);
        heard[0]
    }

    /// Ends all streams; what came of each call, in the order of the start.
    #[track_caller]
    pub(crate) fn stop_all(self) -> Vec<Heard> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the streams")
    }
}

struct Call {
    ends: Ends,
    /// Sequence numbers of each direction that have arrived.
    seen: [Vec<bool>; 2],
}

impl Call {
    fn new(ends: Ends) -> Call {
        Call { ends, seen: [Vec::new(), Vec::new()] }
    }

    fn send(&self, sequence: u16) {
        for (n, (socket, to)) in self.ends.iter().enumerate() {
            socket.send_to(&packet(sequence, n as u8), to).expect("a packet is sent");
        }
    }

    /// Notes what has arrived: at end `n` the stream of the other end, each packet once.
    fn take(&mut self) {
        let mut buffer = [0; 512];
        for (n, (socket, from)) in self.ends.iter().enumerate() {
            while let Ok((len, source)) = socket.recv_from(&mut buffer) {
                assert_eq!((len, source), (12 + AUDIO, *from), "a packet of the switch");
                assert_eq!(buffer[11], 1 - n as u8, "the other end's stream");
                let sequence = usize::from(u16::from_be_bytes([buffer[2], buffer[3]]));
                let seen = &mut self.seen[1 - n];
                if seen.len() <= sequence {
                    seen.resize(sequence + 1, false);
                }
                assert!(!std::mem::replace(&mut seen[sequence], true), "packet {sequence} came twice");
            }
        }
    }

    fn arrived(&self) -> [u32; 2] {
        [0, 1].map(|n: usize| self.seen[n].iter().filter(|seen| **seen).count() as u32)
    }
}

/// RTP (RFC 3550 5.1), PCMA.
fn packet(sequence: u16, stream: u8) -> [u8; 12 + AUDIO] {
    let mut bytes = [0xd5; 12 + AUDIO];
    bytes[..2].copy_from_slice(&[0x80, 8]);
    bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
    bytes[4..8].copy_from_slice(&(u32::from(sequence) * AUDIO as u32).to_be_bytes());
    bytes[8..12].copy_from_slice(&[0, 0, 7, stream]);
    bytes
}
