//! Datagrams of strangers, far more than calls: noise, broken SIP, OPTIONS and INVITE, from one address and from many.
//!
//! A build without optimisation on a machine that does other things too stands little; an optimised one is named with
//! `TANDEM_DAEMON`.
//!
//! | variable | default | |
//! |---|---|---|
//! | `TANDEM_FLOOD_PPS` | 2000 | datagrams a second beside the calls; ten times as many when alone |
//! | `TANDEM_FLOOD_S` | 4 | seconds of flood beside the calls, and again alone, twice |
//! | `TANDEM_FLOOD_CPS` | 25 | calls a second beside it |

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::books;
use crate::common::{Customer, Sipp, Switch, sipp_is_there};
use crate::crash::{number, rich};
use crate::machine::resident;

/// Bytes a datagram may leave behind at most, on average. One that is remembered costs a hundred and more.
const LEFT_PER_DATAGRAM: u64 = 16;
/// What the process may grow by whatever it does: the allocator's own, pages of the database kept in memory.
const SLACK: u64 = 6 << 20;
/// Without calls to lose, the flood may be faster than what the switch can take: more datagrams, and a leak of each is seen.
const FASTER: u64 = 10;
/// Sources of the flood from many.
const SOURCES: u8 = 64;

/// What is in a datagram where [`Flood`] writes a number that no other has.
const UNIQUE: &str = "##########";

fn requests(to: SocketAddr) -> Vec<Vec<u8>> {
    let head = |method: &str, length: &str| {
        format!(
            "{method} sip:12125550000@{to} SIP/2.0\r\nVia: SIP/2.0/UDP 127.9.9.9:5060;branch=z9hG4bK{UNIQUE}\r\n\
             From: <sip:1@127.9.9.9>;tag={UNIQUE}\r\nTo: <sip:12125550000@{to}>\r\nCall-ID: {UNIQUE}@flood\r\n\
             CSeq: 1 {method}\r\nContact: <sip:1@127.9.9.9>\r\nMax-Forwards: 70\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let body = "v=0\r\no=- 1 1 IN IP4 127.9.9.9\r\ns=-\r\nc=IN IP4 127.9.9.9\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8\r\n";
    let invite = head("INVITE", &body.len().to_string())
        .replace("Content-L", "Content-Type: application/sdp\r\nContent-L")
        + body;
    let cut = invite[..invite.len() / 2].to_owned();
    let list = [
        head("OPTIONS", "0"),
        invite.clone(),
        cut,
        head("INVITE", "99999999"),
        head("BYE", "0"),
        head("REGISTER", "0"),
        head("INVITE", "0").replace("CSeq: 1 INVITE", "CSeq: 99999999999 BYE"),
        invite.replace("\r\nVia", "\r\nVia\0"),
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {to};branch=z9hG4bK{UNIQUE}\r\nCall-ID: {UNIQUE}@flood\r\nCSeq: 1 INVITE\r\n\r\n"
        ),
    ];
    list.map(String::into_bytes).into()
}

/// One sender: some sockets, a pace, datagrams of all kinds in turn.
struct Flood {
    sockets: Vec<UdpSocket>,
    datagrams: Vec<Vec<u8>>,
    /// Where the unique numbers stand in each datagram.
    places: Vec<Vec<usize>>,
}

impl Flood {
    fn new(sources: impl Iterator<Item = IpAddr>, to: SocketAddr, seed: u64) -> Flood {
        let sockets = sources.map(|ip| {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(to).unwrap();
            socket
        });
        let mut rng = StdRng::seed_from_u64(seed);
        let mut datagrams = requests(to);
        // As much noise as SIP.
        for n in 0..datagrams.len() {
            let len = [1, 4, 12, 40, 160, 500, 1200, 1400, 2000][n % 9];
            datagrams.push((0..len).map(|_| rng.random()).collect());
        }
        let places = datagrams.iter().map(|bytes| {
            bytes
                .windows(UNIQUE.len())
                .enumerate()
                .filter(|(_, part)| *part == UNIQUE.as_bytes())
                .map(|(at, _)| at)
                .collect()
        });
        Flood { sockets: sockets.collect(), places: places.collect(), datagrams }
    }

    fn send(&mut self, n: u64) {
        // A multiplication spreads the kinds over the sources.
        let kind = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % self.datagrams.len();
        let bytes = &mut self.datagrams[kind];
        for at in &self.places[kind] {
            bytes[*at..*at + UNIQUE.len()].copy_from_slice(format!("{n:010}").as_bytes());
        }
        let socket = &self.sockets[n as usize % self.sockets.len()];
        // A full buffer is a drop, as on a real line.
        let _ = socket.send(bytes);
        // Answers are thrown away, as a stranger would.
        let _ = socket.recv(&mut [0; 16]);
    }

    /// Sends `rate` a second until told to stop. What a busy machine could not send in time is not made up for.
    fn run(mut self, rate: u64, sent: &AtomicU64, stop: &AtomicBool) {
        let begun = Instant::now();
        let (mut due, mut n) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let now = begun.elapsed().as_micros() as u64 * rate / 1_000_000;
            due = due.max(now.saturating_sub(rate / 50));
            for _ in due..now {
                n += 1;
                self.send(n);
            }
            sent.fetch_add(now - due, Ordering::Relaxed);
            due = now;
            thread::sleep(Duration::from_micros(500));
        }
    }
}

/// Floods from one stranger and from many, while `meanwhile` runs; how many datagrams went.
fn flood<T>(switch: &Switch, rate: u64, meanwhile: impl FnOnce() -> T) -> (u64, T) {
    let to = switch.net.sip();
    let IpAddr::V4(stranger) = switch.net.stranger() else { panic!("IPv4") };
    let [a, b, c, _] = stranger.octets();
    let one = Flood::new(std::iter::once(stranger.into()), to, 1);
    let many = Flood::new((0..SOURCES).map(|n| Ipv4Addr::new(a, b, c, 100 + n).into()), to, 2);
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sent, stop) = (&sent, &stop);
    let result = thread::scope(|scope| {
        for flood in [one, many] {
            scope.spawn(move || flood.run(rate / 2, sent, stop));
        }
        // A failure must not leave the floods running for ever.
        let result = catch_unwind(AssertUnwindSafe(meanwhile));
        stop.store(true, Ordering::Relaxed);
        result
    });
    (sent.load(Ordering::Relaxed), result.unwrap_or_else(|cause| resume_unwind(cause)))
}

/// Floods for some seconds with nothing beside.
fn flood_of(switch: &Switch, rate: u64, seconds: u64) -> u64 {
    flood(switch, rate, || thread::sleep(Duration::from_secs(seconds))).0
}

#[test]
fn a_flood_of_strangers_costs_no_call_and_no_memory() {
    if !sipp_is_there() {
        return;
    }
    let (rate, seconds) = (number("TANDEM_FLOOD_PPS", 2_000), number("TANDEM_FLOOD_S", 4));
    let cps = number("TANDEM_FLOOD_CPS", 25) as u32;
    let switch = Switch::start(&rich());
    let _vendor = Sipp::vendor(&switch, 1, "vendor_answers", &[]);
    let calls = cps * seconds as u32;
    let at_start = resident(switch.pid());
    let (beside, ()) =
        flood(&switch, rate, || Customer { calls, rate: cps, hold_ms: 500, ..Default::default() }.run(&switch));
    let answered = switch.cdrs_of_answered_once(calls as usize);
    assert_eq!(answered.len(), calls as usize);
    assert!(answered.iter().all(|row| row["end_reason"] == 16));
    // Every pool has what it needs by now; a second and a third flood find everything there.
    let warm_up = flood_of(&switch, rate * FASTER, seconds);
    books::settle(&switch);
    let (before, heard) = (resident(switch.pid()), books::counter(&switch, "sip_datagrams_received"));
    let alone = flood_of(&switch, rate * FASTER, seconds);
    let status = books::settle(&switch);
    let after = resident(switch.pid());
    let heard = status["counters"]["sip_datagrams_received"].as_u64().unwrap() - heard;
    eprintln!(
        "{calls} calls at {cps}/s beside {beside} datagrams, then {warm_up} and {alone} alone, {heard} of the last ones heard; \
         resident: {at_start} at the start, {before} before the last flood, {after} after\n{:#}",
        status["counters"]
    );
    assert_eq!(status["state"], "running");
    assert!(
        after <= before + SLACK + heard * LEFT_PER_DATAGRAM,
        "{before} bytes resident, {after} after {heard} datagrams of strangers"
    );
    // Two legs a call, two transactions a leg, while they wait for repetitions; nothing for strangers.
    for (name, per_call) in [("sip_legs", 2), ("sip_transactions", 4)] {
        assert!(status["counters"][name].as_u64() <= Some(u64::from(calls) * per_call), "{name}: {status:#}");
    }
    // What was dropped is counted by its reason.
    let counters = status["counters"].as_object().unwrap();
    let reasons = counters.iter().filter(|(name, n)| name.starts_with("sip_malformed_") && n.as_u64() > Some(0));
    assert!(reasons.count() >= 2, "{status:#}");
    Customer::default().run(&switch);
    books::audit(&switch);
}
