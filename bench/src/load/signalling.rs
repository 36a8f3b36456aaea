//! Both ends of every call and what they share: plan, timers, counts, and the writing of answers.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddrV4;

use foldhash::fast::RandomState;

use super::calls::Call;
use super::clock::MILLISECOND;
use super::counts::Counts;
use super::message::Message;
use super::port::Outlet;
use super::vendor::Leg;
use super::wheel::Wheel;

/// First time between two sendings (RFC 3261 §17.1.1.1, T1).
pub(super) const T1: u64 = 500 * MILLISECOND;

/// Addresses and names of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where calls go.
    pub(crate) target: SocketAddrV4,
    /// Where calls come from.
    pub(crate) customer: SocketAddrV4,
    /// Where the target sends them.
    pub(crate) vendor: SocketAddrV4,
    /// Where the customer takes RTP.
    pub(crate) customer_media: SocketAddrV4,
    /// Where the vendor takes RTP.
    pub(crate) vendor_media: SocketAddrV4,
    /// Namespaces of customer and vendor; both here without.
    pub(crate) namespaces: Option<(String, String)>,
    /// What called numbers begin with; seven digits follow.
    pub(crate) prefix: String,
    /// From 180 to 200, ns.
    pub(crate) ring: u64,
    /// A transaction without an end after this long has failed, ns. Shorter than the 32 s of RFC 3261, so that a run ends;
    /// longer than any answer of a target that is not overloaded.
    pub(crate) patience: u64,
    /// Tells this run's messages from those of another.
    pub(crate) run: u32,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// Send INVITE or BYE of this call again, in this turn of its state.
    Again(u32, u8),
    /// Hang this call up.
    HangUp(u32),
    /// Answer it, or answer again.
    Answer(u32),
    /// Forget a call that was given up.
    Forget(u32),
}

/// All calls.
pub(crate) struct Signalling {
    pub(super) plan: Plan,
    pub(super) customer: Outlet,
    pub(super) vendor: Outlet,
    pub(super) wheel: Wheel<Event>,
    pub(super) calls: HashMap<u32, Call, RandomState>,
    pub(super) legs: HashMap<u32, Leg, RandomState>,
    /// Answered calls that stay, in the order of their answers.
    pub(super) held: Vec<u32>,
    /// Calls that will end by themselves.
    pub(super) busy: usize,
    pub(super) counts: Counts,
    /// Number of the next call.
    pub(super) next: u32,
    pub(super) call_id_tail: Vec<u8>,
    due: Vec<(u64, Event)>,
}

impl Signalling {
    /// No calls yet.
    pub(super) fn new(plan: Plan, customer: Outlet, vendor: Outlet, now: u64) -> Signalling {
        let call_id_tail = format!("-{:x}@load", plan.run).into_bytes();
        Signalling {
            plan,
            customer,
            vendor,
            wheel: Wheel::new(now),
            calls: HashMap::default(),
            legs: HashMap::default(),
            held: Vec::new(),
            busy: 0,
            counts: Counts::default(),
            next: 0,
            call_id_tail,
            due: Vec::new(),
        }
    }

    /// Does what is due at `now` (steady clock).
    pub(super) fn timers(&mut self, now: u64) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.due(now, &mut due);
        for (at, event) in due.drain(..) {
            match event {
                Event::Again(n, turn) => self.again(n, turn, now),
                Event::HangUp(n) => self.hang_up(n, at, now),
                Event::Answer(n) => self.answer_call(n, now),
                Event::Forget(n) => {
                    self.calls.remove(&n);
                    self.legs.remove(&(n % 10_000_000));
                }
            }
        }
        self.due = due;
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self) {
        self.customer.flush();
        self.vendor.flush();
    }
}

/// An answer to `request` (RFC 3261 §8.2.6): its Via, From, To, Call-ID and CSeq, Record-Route where it makes a dialog.
pub(super) fn answer(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    status: &str,
    tag: Option<&str>,
    contact: Option<SocketAddrV4>,
    body: &[u8],
) {
    // Writing to memory cannot fail.
    let _ = write!(out, "SIP/2.0 {status}\r\n");
    let mut line = |name: &str, value: &[u8], rest: &str| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
        out.extend_from_slice(rest.as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    for via in request.vias() {
        line("Via: ", via, "");
    }
    if contact.is_some() {
        for route in request.values(b"record-route") {
            line("Record-Route: ", route, "");
        }
    }
    line("From: ", request.from, "");
    line("To: ", request.to, &tag.map_or(String::new(), |tag| format!(";tag={tag}")));
    line("Call-ID: ", request.call_id, "");
    line("CSeq: ", request.cseq, "");
    if let Some(contact) = contact {
        let _ = write!(out, "Contact: <sip:{contact}>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE\r\n");
    }
    if !body.is_empty() {
        out.extend_from_slice(b"Content-Type: application/sdp\r\n");
    }
    let _ = write!(out, "Content-Length: {}\r\n\r\n", body.len());
    out.extend_from_slice(body);
}

/// G.711 and telephone events, as gateways offer them.
pub(super) fn sdp(media: SocketAddrV4) -> Vec<u8> {
    let (ip, port) = (media.ip(), media.port());
    format!(
        "v=0\r\no=load 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 0 101\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
         a=ptime:20\r\na=sendrecv\r\n"
    )
    .into_bytes()
}
