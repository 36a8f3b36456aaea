//! The vendor: rings at once, answers after the ringing time, and is hung up on.

use std::net::SocketAddrV4;

use super::message::{self, Message, Start};
use super::signalling::{Event, Signalling, T1, answer, sdp};

/// How often a 200 is sent again before the vendor gives up (RFC 3261 §13.3.1.4 allows 64 x T1).
const SENDS_MAX: u8 = 7;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ringing,
    Answered,
    Confirmed,
}

/// One call as the vendor sees it.
pub(super) struct Leg {
    state: State,
    sends: u8,
    call_id: Box<[u8]>,
    peer: SocketAddrV4,
    ringing: Vec<u8>,
    ok: Vec<u8>,
    /// Where the offer wants our RTP.
    pub(super) relay: Option<SocketAddrV4>,
}

impl Signalling {
    /// A datagram for the vendor.
    pub(super) fn on_vendor(&mut self, bytes: &[u8], from: SocketAddrV4, now: u64) {
        let message = Message::scan(bytes);
        let Some((message, Start::Request(method, uri))) = message.map(|message| (message, message.start)) else {
            self.counts.other += 1;
            return;
        };
        let tag = message::tag(message.to);
        // In a dialog our own tag names the call: `v` and its number.
        let known = tag.and_then(|tag| tag.strip_prefix(b"v")).and_then(message::number);
        match (method, tag) {
            (b"INVITE", None) => self.on_invite(&message, uri, from, now),
            (b"ACK", _) => {
                if let Some(leg) = known.and_then(|n| self.legs.get_mut(&n)) {
                    leg.state = State::Confirmed;
                    // Nothing of a confirmed call is sent again.
                    leg.ringing = Vec::new();
                    leg.ok = Vec::new();
                }
            }
            (b"CANCEL", _) => {
                self.vendor.send(from, |out| answer(out, &message, "200 OK", None, None, b""));
                let leg = message::last_seven(uri).and_then(|n| self.legs.remove(&n));
                if let Some(leg) = leg.filter(|leg| leg.state == State::Ringing) {
                    let text = String::from_utf8_lossy(&leg.ringing);
                    let refused = text.replacen("180 Ringing", "487 Request Terminated", 1);
                    self.vendor.send_copy(leg.peer, refused.as_bytes());
                }
            }
            (b"BYE", _) => {
                let body: &[u8] = b"";
                self.vendor.send(from, |out| answer(out, &message, "200 OK", None, None, body));
                if known.and_then(|n| self.legs.remove(&n)).is_none() {
                    *self.counts.heard_again.entry("BYE").or_default() += 1;
                }
            }
            _ => {
                self.counts.other += 1;
                let contact = Some(self.plan.vendor);
                let body = if method == b"INVITE" { sdp(self.plan.vendor_media) } else { Vec::new() };
                self.vendor.send(from, |out| answer(out, &message, "200 OK", None, contact, &body));
            }
        }
    }

    fn on_invite(&mut self, message: &Message<'_>, uri: &[u8], from: SocketAddrV4, now: u64) {
        let Some(n) = message::last_seven(uri).filter(|n| *n < self.next) else {
            self.counts.other += 1;
            self.vendor.send(from, |out| answer(out, message, "404 Not Found", Some("v"), None, b""));
            return;
        };
        if let Some(leg) = self.legs.get(&n)
            && *leg.call_id == *message.call_id
        {
            *self.counts.heard_again.entry("INVITE").or_default() += 1;
            let text = if leg.state == State::Ringing { &leg.ringing } else { &leg.ok };
            self.vendor.send_copy(leg.peer, text);
            return;
        }
        let tag = format!("v{n}x{:x}", self.plan.run);
        let contact = Some(self.plan.vendor);
        let (mut ringing, mut ok) = (Vec::with_capacity(768), Vec::with_capacity(1_024));
        answer(&mut ringing, message, "180 Ringing", Some(&tag), contact, b"");
        answer(&mut ok, message, "200 OK", Some(&tag), contact, &sdp(self.plan.vendor_media));
        self.vendor.send_copy(from, &ringing);
        let leg = Leg {
            state: State::Ringing,
            sends: 0,
            call_id: message.call_id.into(),
            peer: from,
            ringing,
            ok,
            relay: message::audio(message.body),
        };
        self.legs.insert(n, leg);
        self.wheel.push(now + self.plan.ring, Event::Answer(n));
    }

    /// The ringing time is over, or the answer was not acknowledged.
    pub(super) fn answer_call(&mut self, n: u32, now: u64) {
        let Some(leg) = self.legs.get_mut(&n) else { return };
        match leg.state {
            State::Ringing => leg.state = State::Answered,
            State::Answered if leg.sends < SENDS_MAX => {
                leg.sends += 1;
                *self.counts.sent_again.entry("200 of INVITE").or_default() += 1;
            }
            State::Answered | State::Confirmed => return,
        }
        self.vendor.send_copy(leg.peer, &leg.ok);
        self.wheel.push(now + (T1 << leg.sends.min(3)), Event::Answer(n));
    }
}
