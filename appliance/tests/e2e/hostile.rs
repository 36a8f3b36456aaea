//! Bytes from strangers while calls go on: dropped or answered, and the switch goes on.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::{Customer, Plan, Sipp, Switch, sipp_is_there};

/// A small generator: the same garbage every time.
struct Garbage(u64);

impl Garbage {
    fn number(&mut self) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Noise, or an INVITE that something is wrong with.
    fn datagram(&mut self, n: u64) -> Vec<u8> {
        let invite = invite(n);
        match n % 8 {
            0 => (0..self.number() % 1400).map(|_| self.number() as u8).collect(),
            1 => invite.as_bytes()[..(self.number() as usize) % invite.len()].to_vec(),
            2 => invite.replace("Content-Length: ", "Content-Length: 9").into_bytes(),
            3 => invite.replace("Content-Length: ", "Content-Length: -").into_bytes(),
            4 => invite
                .replace("m=audio 6000", "m=audio 99999999999999999999")
                .replace("IN IP4 ", "IN IP4 999.")
                .into_bytes(),
            5 => invite.replace("CSeq: 1 INVITE", "CSeq: 99999999999 BYE").into_bytes(),
            6 => invite.replace("\r\nVia", "\nVia").replace("Call-ID", "Call-ID\0").into_bytes(),
            _ => {
                let mut bytes = invite.into_bytes();
                for _ in 0..1 + self.number() % 20 {
                    let at = self.number() as usize % bytes.len();
                    bytes[at] = self.number() as u8;
                }
                bytes
            }
        }
    }
}

fn invite(n: u64) -> String {
    let body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8\r\n";
    format!(
        "INVITE sip:99{n}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5999;branch=z9hG4bKg{n}\r\n\
         From: <sip:1@127.0.0.1>;tag=g{n}\r\nTo: <sip:99{n}@127.0.0.1>\r\nCall-ID: garbage{n}@x\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:1@127.0.0.1:5999>\r\nMax-Forwards: 70\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends garbage until told to stop; how many datagrams went.
fn flood(from: IpAddr, to: SocketAddr, stop: &AtomicBool) -> u64 {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    let mut garbage = Garbage(0x5eed_0000_0000_0001);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            // A full buffer is a drop, as on a real line.
            let _ = socket.send_to(&garbage.datagram(sent), to);
            sent += 1;
        }
        // A thousand a second or so: the receive buffer is shared with the calls, and it is they that are tested.
        thread::park_timeout(std::time::Duration::from_millis(20));
    }
    sent
}

#[test]
fn calls_go_on_under_a_flood_of_garbage() {
    if !sipp_is_there() {
        return;
    }
    let switch = Switch::start(&Plan::default());
    // No ringing: answers to garbage that nobody receives make the kernel repeat sends, and 180 may come behind 200.
    let _vendor = Sipp::vendor(&switch, 1, "vendor_answers", &[]);
    let stop = AtomicBool::new(false);
    let (known, unknown) = thread::scope(|scope| {
        let known = scope.spawn(|| flood(switch.net.customer(), switch.net.sip(), &stop));
        let unknown = scope.spawn(|| flood(switch.net.stranger(), switch.net.sip(), &stop));
        // On a thread of its own, so that a failure does not leave the floods running for ever.
        let calls =
            scope.spawn(|| Customer { calls: 100, rate: 25, hold_ms: 300, ..Default::default() }.run(&switch)).join();
        stop.store(true, Ordering::Relaxed);
        calls.unwrap();
        (known.join().unwrap(), unknown.join().unwrap())
    });
    assert!(known > 1000 && unknown > 1000, "{known} {unknown}");
    // The calls are all there; what of the garbage was an INVITE after all was refused.
    let answered = switch.json(&["cdr", "list", "--all", "--answered"]);
    assert_eq!(answered.as_array().map(Vec::len), Some(100));
    let status = switch.json(&["status"]);
    assert_eq!(status["state"], "running");
    // What was dropped is counted by its reason.
    let counters = status["counters"].as_object().unwrap();
    let malformed = counters.iter().filter(|(name, n)| name.starts_with("sip_malformed_") && n.as_u64() > Some(0));
    assert!(malformed.count() >= 2, "{status:#}");
    Customer::default().run(&switch);
}
