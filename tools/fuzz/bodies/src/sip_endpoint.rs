//! A whole endpoint under a script of datagrams, orders of a call room and time steps.
//!
//! Whatever the script does, nothing panics, no leg speaks after it was forgotten, what we send can be read, and once the
//! call room has ended its legs and time has passed nothing is left: no leg, transaction, dialog, timer or key.
//!
//! # The script
//! Steps separated by the byte 0x1e. The first is a datagram from the customer, so that a bare SIP message is a script.
//! Of the others the first byte says what the rest is:
//!
//! | step | meaning |
//! |---|---|
//! | `a…` `b…` `x…` | a datagram from the customer, the vendor, a stranger; the bytes 1, 2, 3 in it stand for the last tag, branch and Call-ID that we sent |
//! | `r486…` | an answer with that status to our last request; what follows is headers and body |
//! | `t32000` | time passes, milliseconds |
//! | `oC0…` | an order to a leg: kind, number of the leg (0 is the newest), its text; see `order` |
//! | `i` | the network says that the vendor cannot be reached |

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tandem_leg::{
    Confirm, Connect, Disconnect, Fail, Identity, Info, LegEvent, LegId, ListenerId, Party, Reason, Redirect,
    RedirectTarget, Rel100, Ring, Time, Transport, Try, Update, UpdateFailed, UpdateMethod, Updated,
};
use tandem_sip::scan::{keep_alive, scan};
use tandem_sip::{Config, Counts, Endpoint, Limits, Listener, Outcome, Output};

const SEPARATOR: u8 = 0x1e;
/// Steps of one script; more only makes an input slow.
const STEPS_MAX: usize = 60;
/// One step of time, milliseconds: beyond 64*T1 nothing new can happen.
const STEP_MAX_MS: u64 = 40_000;
/// When everything must have faded after the call room ended all legs: three transactions, one after the other.
const FADE_MS: u64 = 200_000;
/// What one datagram may make us send at once. Above it a stranger would have an amplifier.
const SENDS_MAX: usize = 12;

/// One script.
pub fn run(script: &[u8]) {
    let mut play = Play::new();
    for (number, step) in script.split(|byte| *byte == SEPARATOR).take(STEPS_MAX).enumerate() {
        if number == 0 {
            play.datagram(play.customer, step);
        } else if let Some((&what, rest)) = step.split_first() {
            play.step(what, rest);
        }
    }
    play.end();
}

struct Play {
    endpoint: Endpoint,
    now: Time,
    customer: SocketAddr,
    vendor: SocketAddr,
    stranger: SocketAddr,
    /// Our last request and where it went.
    request: Option<(Vec<u8>, SocketAddr)>,
    tag: Vec<u8>,
    branch: Vec<u8>,
    call_id: Vec<u8>,
    legs: BTreeMap<LegId, bool>,
    forgotten: BTreeSet<LegId>,
    started: u64,
}

impl Play {
    fn new() -> Play {
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let us = address("203.0.113.1:5060");
        let (customer, vendor) = (address("198.51.100.10:5062"), address("192.0.2.10:5060"));
        let mut config = Config::new(vec![Listener { local: us, advertised: us }], [42; 32]);
        config.known = vec![customer.ip(), vendor.ip()];
        // Small enough that a script can reach them.
        config.limits = Limits { transactions_max: 24, dialogs_max: 12 };
        Play {
            endpoint: Endpoint::new(config),
            now: Time::ZERO,
            customer,
            vendor,
            stranger: address("10.9.8.7:5060"),
            request: None,
            tag: Vec::new(),
            branch: Vec::new(),
            call_id: Vec::new(),
            legs: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            started: 0,
        }
    }

    fn step(&mut self, what: u8, rest: &[u8]) {
        match what {
            b'a' => self.datagram(self.customer, rest),
            b'b' => self.datagram(self.vendor, rest),
            b'x' => self.datagram(self.stranger, rest),
            b'r' => self.answer(rest),
            b't' => self.wait(number(rest).min(STEP_MAX_MS)),
            b'o' => self.order(rest),
            b'i' => {
                self.endpoint.handle_unreachable(self.now, ListenerId(0), self.vendor);
                self.drain(true, usize::MAX);
            }
            _ => {}
        }
    }

    fn datagram(&mut self, source: SocketAddr, raw: &[u8]) {
        let mut bytes = Vec::with_capacity(raw.len());
        for &byte in raw {
            match byte {
                1 => bytes.extend_from_slice(&self.tag),
                2 => bytes.extend_from_slice(&self.branch),
                3 => bytes.extend_from_slice(&self.call_id),
                _ => bytes.push(byte),
            }
        }
        let received = self.endpoint.handle_datagram(self.now, ListenerId(0), source, &bytes);
        let good = scan(&bytes).is_ok();
        match received.outcome {
            Outcome::KeepAlive => assert!(keep_alive(&bytes).is_some()),
            Outcome::Malformed(error) => assert_eq!(scan(&bytes).err(), Some(error)),
            Outcome::NotMine { .. } => panic!("one shard owns everything"),
            _ => assert!(good && received.summary.is_some()),
        }
        self.drain(good, SENDS_MAX);
    }

    /// Answers our last request from where it was sent to.
    fn answer(&mut self, rest: &[u8]) {
        let Some((request, from)) = self.request.take() else { return };
        let status = number(rest.get(..3).unwrap_or(rest)).clamp(100, 699);
        let more = rest.get(3..).unwrap_or(b"");
        let mut answer = format!("SIP/2.0 {status} X\r\n").into_bytes();
        if let Ok(message) = scan(&request) {
            for header in message.headers() {
                let name = header.name.to_ascii_lowercase();
                if matches!(&name[..], b"via" | b"from" | b"to" | b"call-id" | b"cseq") {
                    answer.extend_from_slice(header.name);
                    answer.extend_from_slice(b": ");
                    answer.extend_from_slice(header.value);
                    if name == b"to" && message.to_tag.is_none() {
                        answer.extend_from_slice(b";tag=far");
                    }
                    answer.extend_from_slice(b"\r\n");
                }
            }
        }
        answer.extend_from_slice(if more.is_empty() { b"Content-Length: 0\r\n\r\n" } else { more });
        self.request = Some((request, from));
        self.datagram(from, &answer);
    }

    fn order(&mut self, rest: &[u8]) {
        let [kind, place, text @ ..] = rest else { return };
        let sdp = (!text.is_empty()).then(|| text.to_vec());
        let words = || String::from_utf8_lossy(text).into_owned();
        let status = number(text) as u16;
        let event = match kind {
            b'T' => return self.start(text),
            b'R' => LegEvent::Ring(Ring { status: 180 + status % 4, sdp, headers: Vec::new() }),
            b'C' => LegEvent::Connect(Connect { sdp, ..Connect::default() }),
            b'c' => LegEvent::Confirm(Confirm { sdp }),
            b'F' => LegEvent::Fail(Fail { reason: Reason::q850(17), ..Fail::status(status.clamp(400, 699)) }),
            b'D' => LegEvent::Disconnect(Disconnect::order(Reason { text: Some(words()), ..Reason::q850(16) })),
            b'U' => LegEvent::Update(Update { method: UpdateMethod::Invite, sdp }),
            b'V' => LegEvent::Update(Update { method: UpdateMethod::Update, sdp }),
            b'u' => LegEvent::Updated(Updated { sdp }),
            b'f' => LegEvent::UpdateFailed(UpdateFailed { status: status.clamp(400, 699), retry_after_s: Some(1) }),
            b'I' => LegEvent::Info(Info { content_type: words(), body: text.to_vec() }),
            b'M' => LegEvent::Redirect(Redirect {
                status: 302,
                contacts: vec![RedirectTarget { user: words(), host: "example.net".to_owned(), port: Some(status) }],
            }),
            _ => return,
        };
        let back = usize::from(place.wrapping_sub(b'0'));
        let Some(&leg) = self.legs.keys().rev().nth(back) else { return };
        // Refusing an order is fine; only what it does matters here.
        let _ = self.endpoint.handle_leg_event(self.now, leg, event);
        self.drain(true, usize::MAX);
    }

    /// A b-leg: the call room calls the vendor.
    fn start(&mut self, text: &[u8]) {
        self.started += 1;
        let words = String::from_utf8_lossy(text).into_owned();
        let order = Try {
            remote: self.vendor,
            listener: ListenerId(0),
            transport: Transport::Udp,
            call_id: String::new(),
            caller: Party { user: words.clone(), display: words.clone(), host: String::new() },
            callee: Party { user: "442079460123".to_owned(), ..Party::default() },
            dialled: "442079460123".to_owned(),
            identity: Identity::default(),
            headers: vec![("Subject".to_owned(), words)],
            max_forwards: 69,
            hop: Some("n1;1".to_owned()),
            user_agent: String::new(),
            expires_s: None,
            rel100: Rel100::Unsupported,
            sdp: (!text.is_empty()).then(|| text.to_vec()),
        };
        let leg = LegId::outgoing(self.started);
        if self.endpoint.handle_leg_event(self.now, leg, LegEvent::Try(Box::new(order))).is_ok() {
            self.legs.insert(leg, true);
        }
        self.drain(true, usize::MAX);
    }

    fn wait(&mut self, ms: u64) {
        let end = Time::from_millis(self.now.millis() + ms);
        let mut last = None;
        let mut same = 0;
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= end) {
            same = if last == Some(due) { same + 1 } else { 0 };
            assert!(same < 10_000, "time stands still at {due:?}");
            last = Some(due);
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            self.drain(true, usize::MAX);
        }
        self.now = end;
        self.endpoint.handle_timeout(self.now);
        self.drain(true, usize::MAX);
    }

    /// `good`: what caused the outputs was no broken message, whose parts an answer has to copy.
    fn drain(&mut self, good: bool, sends_max: usize) {
        let mut sends = 0;
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Send { to, bytes, leg, .. } => {
                    sends += 1;
                    assert!(leg.is_none_or(|leg| !self.forgotten.contains(&leg)), "a forgotten leg sends");
                    self.sent(to, &bytes, good);
                    self.endpoint.recycle(bytes);
                }
                Output::Event { leg, event } => {
                    assert!(!self.forgotten.contains(&leg), "a forgotten leg speaks: {event:?}");
                    if self.endpoint.has_leg(leg) {
                        self.legs.insert(leg, true);
                    }
                }
                Output::Forgotten { leg } => {
                    assert!(self.forgotten.insert(leg), "forgotten twice");
                    self.legs.remove(&leg);
                }
            }
        }
        assert!(sends <= sends_max, "{sends} datagrams for one");
    }

    fn sent(&mut self, to: SocketAddr, bytes: &[u8], good: bool) {
        if bytes == b"\r\n" {
            return;
        }
        let message = match scan(bytes) {
            Ok(message) => message,
            Err(error) => {
                assert!(!good, "we sent what cannot be read: {error}\n{}", bytes.escape_ascii());
                return;
            }
        };
        if message.is_request() {
            self.tag = message.from_tag.unwrap_or_default().to_vec();
            self.branch = message.via.branch.unwrap_or_default().to_vec();
            self.call_id = message.call_id.to_vec();
            self.request = Some((bytes.to_vec(), to));
        } else if let Some(tag) = message.to_tag {
            self.tag = tag.to_vec();
        }
    }

    /// The call room goes home: everything ends, and fades.
    fn end(mut self) {
        let legs: Vec<LegId> = self.legs.keys().copied().collect();
        for leg in legs {
            if self.endpoint.has_leg(leg) {
                let order = LegEvent::Disconnect(Disconnect::order(Reason::default()));
                let _ = self.endpoint.handle_leg_event(self.now, leg, order);
                self.drain(true, usize::MAX);
            }
        }
        self.wait(FADE_MS);
        assert_eq!(self.endpoint.unfinished(), 0, "a far side never heard the end");
        assert_eq!(self.endpoint.counts(), Counts::default(), "something is left");
        assert_eq!(self.endpoint.poll_timeout(), None, "a timer runs for nobody");
        assert!(self.legs.is_empty(), "a leg was never forgotten");
    }
}

/// Leading decimal digits.
fn number(text: &[u8]) -> u64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).take(9).fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'))
}
