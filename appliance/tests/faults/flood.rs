//! Datagrams of strangers, far more than calls: noise, broken SIP, OPTIONS and INVITE, from one address and from many.
//!
//! A build without optimisation on a machine that does other things too stands little; an optimised one is named with
//! `TANDEM_DAEMON`.
//!
//! | variable | default | |
//! |---|---|---|
//! | `TANDEM_FLOOD_PPS` | 1000 | datagrams a second beside the calls |
//! | `TANDEM_FLOOD_S` | 4 | seconds of calls |
//! | `TANDEM_FLOOD_CPS` | 10 | calls a second beside it |

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::books;
use crate::common::{PATIENCE, Switch, until_within};
use crate::crash::{number, rich};
use crate::machine::resident;
use crate::peer::{Peer, Stage};

/// Bytes a datagram may leave behind at most, on average. One that is remembered costs a hundred and more.
const LEFT_PER_DATAGRAM: u64 = 16;
/// What the process may grow by whatever it does: the allocator's own, pages of the database kept in memory.
const SLACK: u64 = 6 << 20;
/// Without calls to lose, the flood may be faster than what the switch can take: more datagrams, and a leak of each is seen.
const FASTER: u64 = 40;
/// Floods after the first, until one leaves nothing: a pool that grows once is no leak, one that grows with each flood is.
const FLOODS: u32 = 3;
/// Datagrams heard in each: a hundred bytes left of each are more than the slack hides.
const HEARD: u64 = 80_000;
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

/// Floods, with no call beside, until the switch has heard so many; how many it heard.
#[track_caller]
fn flood_until(switch: &Switch, rate: u64, heard: u64) -> u64 {
    let count = || books::counter(switch, "sip_datagrams_received");
    let before = count();
    flood(switch, rate, || {
        until_within(PATIENCE * 5, "the flood is heard", || (count() >= before + heard).then_some(()));
    });
    books::settle(switch);
    count() - before
}

/// Makes calls at a pace, holds each for half a second, and hangs up: all must be answered, and their ends too. A scripted
/// peer, because a datagram may be lost for good calls too and SIPp takes a repeated 200 of an INVITE for that of its BYE.
#[track_caller]
fn calls_at(customer: &Peer, cps: u32, calls: u32) {
    let mut talking = VecDeque::new();
    for n in 0..calls {
        let number = format!("12128{n:06}");
        customer.call(&number);
        talking.push_back(number);
        if talking.len() > cps as usize / 2 {
            talking = hang_up(customer, talking);
        }
        thread::sleep(Duration::from_secs(1) / cps);
    }
    until_within(PATIENCE * 5, "all calls are answered", || {
        talking = hang_up(customer, std::mem::take(&mut talking));
        talking.is_empty().then_some(())
    });
    customer.all(Stage::Ended);
    let dialogs = customer.dialogs();
    let wrong: Vec<_> = dialogs.values().filter(|dialog| dialog.heard != ["200 INVITE", "200 BYE"]).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Hangs up the oldest calls, as far as they are answered; gives back the others.
fn hang_up(customer: &Peer, mut calls: VecDeque<String>) -> VecDeque<String> {
    while let Some(number) = calls.front()
        && customer.dialog(number).is_some_and(|dialog| dialog.status != 0)
    {
        customer.hang_up(number);
        calls.pop_front();
    }
    calls
}

#[test]
fn a_flood_of_strangers_costs_no_call_and_no_memory() {
    let (rate, seconds) = (number("TANDEM_FLOOD_PPS", 1_000), number("TANDEM_FLOOD_S", 4));
    let cps = number("TANDEM_FLOOD_CPS", 10) as u32;
    let switch = Switch::start(&rich());
    let (_vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    let calls = cps * seconds as u32;
    let at_start = resident(switch.pid());
    let (beside, ()) = flood(&switch, rate, || calls_at(&customer, cps, calls));
    let answered = switch.cdrs_of_answered_once(calls as usize);
    assert_eq!(answered.len(), calls as usize);
    assert!(answered.iter().all(|row| row["end_reason"] == 16));
    // Most pools have what they need by now.
    let warm_up = flood_until(&switch, rate * FASTER, HEARD);
    let mut floods = Vec::new();
    let flat = (0..FLOODS).any(|_| {
        let before = resident(switch.pid());
        let alone = flood_until(&switch, rate * FASTER, HEARD);
        let after = resident(switch.pid());
        floods.push((alone, before, after));
        after <= before + SLACK + alone * LEFT_PER_DATAGRAM
    });
    let status = switch.json(&["status"]);
    eprintln!(
        "{calls} calls at {cps}/s beside {beside} datagrams, then {warm_up} heard alone; resident: {at_start} at the start; then \
         floods (datagrams, resident before, after): {floods:?}\n{:#}",
        status["counters"]
    );
    assert_eq!(status["state"], "running");
    assert!(flat, "every flood of strangers left memory behind: {floods:?}");
    // Two legs a call, two transactions a leg, while they wait for repetitions; nothing for strangers.
    for (name, per_call) in [("sip_legs", 2), ("sip_transactions", 4)] {
        assert!(status["counters"][name].as_u64() <= Some(u64::from(calls) * per_call), "{name}: {status:#}");
    }
    // What was dropped is counted by its reason.
    let counters = status["counters"].as_object().unwrap();
    let reasons = counters.iter().filter(|(name, n)| name.starts_with("sip_malformed_") && n.as_u64() > Some(0));
    assert!(reasons.count() >= 2, "{status:#}");
    customer.connect("12125550000");
    customer.hang_up("12125550000");
    customer.all(Stage::Ended);
    books::audit(&switch);
}
