//! The customer: places calls on time, answers what comes, hangs up, and sends again as RFC 3261 §17 asks.

use std::io::Write as _;
use std::net::SocketAddrV4;

use super::clock::{MILLISECOND, SECOND};
use super::message::{self, Message, Start};
use super::signalling::{Event, Signalling, T1, answer, sdp};

/// How long a call that was given up is remembered, to end what the target still makes of it.
const LINGER: u64 = 10 * SECOND;
/// Longest time between two sendings of BYE (RFC 3261 §17.1.2.1, T2).
const T2: u64 = 4 * SECOND;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Inviting,
    Up,
    Ending,
    GivenUp,
}

/// One call as the customer sees it.
pub(super) struct Call {
    state: State,
    /// Changes with the state: a timer of an earlier one does nothing.
    turn: u8,
    sends: u8,
    provisional: bool,
    rung: bool,
    /// From answer to BYE; `None` stays until released.
    hold: Option<u64>,
    /// When INVITE or BYE was to be sent, steady clock.
    due: u64,
    /// Request URI, Route lines and To of what follows the answer.
    target: Box<[u8]>,
    routes: Box<[u8]>,
    to: Box<[u8]>,
    /// Where the answer wants our RTP.
    pub(super) relay: Option<SocketAddrV4>,
}

impl Signalling {
    /// Starts a call that was to start at `due` (steady clock).
    pub(super) fn place(&mut self, due: u64, now: u64, hold: Option<u64>) {
        let n = self.next;
        self.next += 1;
        self.counts.offered += 1;
        self.counts.late.saturating_record(now.saturating_sub(due));
        self.busy += 1;
        let call = Call {
            state: State::Inviting,
            turn: 0,
            sends: 0,
            provisional: false,
            rung: false,
            hold,
            due,
            target: Box::default(),
            routes: Box::default(),
            to: Box::default(),
            relay: None,
        };
        self.calls.insert(n, call);
        self.send_invite(n);
        self.wheel.push(now + T1, Event::Again(n, 0));
    }

    /// Hangs up a call at `due` (steady clock); one that is not up is left alone.
    pub(super) fn hang_up(&mut self, n: u32, due: u64, now: u64) {
        let Some(call) = self.calls.get_mut(&n).filter(|call| call.state == State::Up) else { return };
        if call.hold.is_none() {
            // A held call was counted out when it was answered.
            self.busy += 1;
        }
        call.state = State::Ending;
        call.turn += 1;
        call.sends = 0;
        call.due = due;
        let turn = call.turn;
        self.counts.late.saturating_record(now.saturating_sub(due));
        self.send_bye(n);
        self.wheel.push(now + T1, Event::Again(n, turn));
    }

    /// A timer of a call's INVITE or BYE.
    pub(super) fn again(&mut self, n: u32, turn: u8, now: u64) {
        let Some(call) = self.calls.get_mut(&n).filter(|call| call.turn == turn) else { return };
        let inviting = call.state == State::Inviting;
        if now.saturating_sub(call.due) >= self.plan.patience {
            if inviting {
                self.send_cancel(n);
            }
            self.give_up(n, if inviting { "timeout of INVITE" } else { "timeout of BYE" }, now);
            return;
        }
        let last = call.due + self.plan.patience;
        // An INVITE that was heard is not sent again (§17.1.1.2); the timer goes on because patience has an end.
        let mut wait = SECOND;
        if !(inviting && call.provisional) {
            call.sends = call.sends.saturating_add(1);
            let doubled = T1 << call.sends.min(6);
            wait = if inviting { doubled } else { doubled.min(T2) };
            *self.counts.sent_again.entry(if inviting { "INVITE" } else { "BYE" }).or_default() += 1;
            if inviting {
                self.send_invite(n);
            } else {
                self.send_bye(n);
            }
        }
        self.wheel.push((now + wait).min(last), Event::Again(n, turn));
    }

    fn give_up(&mut self, n: u32, reason: &str, now: u64) {
        let Some(call) = self.calls.get_mut(&n) else { return };
        let held = call.hold.is_none() && call.state == State::Up;
        if !held {
            self.busy -= 1;
        }
        call.state = State::GivenUp;
        call.turn += 1;
        self.counts.fail(reason);
        self.wheel.push(now + LINGER, Event::Forget(n));
    }

    /// A datagram for the customer, which arrived at `at` (steady clock).
    pub(super) fn on_customer(&mut self, bytes: &[u8], from: SocketAddrV4, at: u64, now: u64) {
        let Some(message) = Message::scan(bytes) else {
            self.counts.other += 1;
            return;
        };
        let n = message::number(message.call_id).filter(|_| message.call_id.ends_with(&self.call_id_tail));
        let status = match message.start {
            Start::Request(method, _) => {
                self.on_request(method, &message, from, n, now);
                return;
            }
            Start::Response(status) => status,
        };
        // Whatever belongs to no call of ours is late: its call was forgotten.
        let Some(n) = n.filter(|n| self.calls.contains_key(n)) else { return };
        match message.method() {
            b"INVITE" if status < 200 => self.on_progress(n, status, at),
            b"INVITE" if status < 300 => self.on_answer(n, &message, at, now),
            b"INVITE" => {
                self.send_ack_of_refusal(n, message.to);
                if self.calls.get(&n).is_some_and(|call| call.state == State::Inviting) {
                    self.give_up(n, &status.to_string(), now);
                }
            }
            b"BYE" if status >= 200 => {
                let Some(call) = self.calls.get(&n).filter(|call| call.state == State::Ending) else { return };
                self.counts.bye.saturating_record(at.saturating_sub(call.due));
                if status < 300 {
                    self.counts.completed += 1;
                } else {
                    self.counts.fail(&format!("{status} to BYE"));
                }
                self.busy -= 1;
                self.calls.remove(&n);
            }
            _ => {}
        }
    }

    fn on_progress(&mut self, n: u32, status: u16, at: u64) {
        let Some(call) = self.calls.get_mut(&n) else { return };
        call.provisional = true;
        if status > 100 && !call.rung && call.state == State::Inviting {
            call.rung = true;
            self.counts.ringing.saturating_record(at.saturating_sub(call.due));
        }
    }

    fn on_answer(&mut self, n: u32, message: &Message<'_>, at: u64, now: u64) {
        let Some(call) = self.calls.get_mut(&n) else { return };
        if call.to.is_empty() {
            call.target = message::uri(message.contact).into();
            call.to = message.to.into();
            // §12.1.2: the route set is Record-Route in reverse order.
            let set: Vec<&[u8]> =
                message.values(b"record-route").flat_map(|value| value.split(|byte| *byte == b',')).collect();
            let lines = set.iter().rev().flat_map(|uri| [b"Route: ", uri.trim_ascii(), b"\r\n"].concat());
            call.routes = lines.collect();
            call.relay = message::audio(message.body);
        } else {
            *self.counts.heard_again.entry("200 of INVITE").or_default() += 1;
        }
        match call.state {
            State::Inviting => {
                call.state = State::Up;
                call.turn += 1;
                self.counts.answered += 1;
                self.counts.answer.saturating_record(at.saturating_sub(call.due));
                match call.hold {
                    Some(hold) => {
                        self.wheel.push(at + hold, Event::HangUp(n));
                    }
                    None => {
                        self.held.push(n);
                        self.busy -= 1;
                    }
                }
                self.send_ack(n);
            }
            State::Up | State::Ending => self.send_ack(n),
            // Answered after we gave up: taken and ended.
            State::GivenUp => {
                self.send_ack(n);
                self.send_bye(n);
            }
        }
        let _ = now;
    }

    fn on_request(&mut self, method: &[u8], message: &Message<'_>, from: SocketAddrV4, n: Option<u32>, now: u64) {
        if method == b"ACK" {
            return;
        }
        self.counts.other += 1;
        let body = if method == b"INVITE" { sdp(self.plan.customer_media) } else { Vec::new() };
        let contact = self.plan.customer;
        self.customer.send(from, |out| answer(out, message, "200 OK", None, Some(contact), &body));
        if let Some(n) = n.filter(|n| method == b"BYE" && self.calls.get(n).is_some_and(|call| call.state == State::Up))
        {
            self.give_up(n, "ended by the target", now);
        }
    }

    fn send_invite(&mut self, n: u32) {
        let plan = &self.plan;
        let (target, customer, prefix, tail) = (plan.target, plan.customer, &plan.prefix, plan.run);
        let body = sdp(plan.customer_media);
        let number = n % 10_000_000;
        self.customer.send(target, |out| {
            // Writing to memory cannot fail, here and below.
            let _ = write!(
                out,
                "INVITE sip:{prefix}{number:07}@{target} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {customer};branch=z9hG4bKi{n}x{tail:x};rport\r\nMax-Forwards: 70\r\n\
                 From: <sip:49301{number:07}@{customer}>;tag=c{n}x{tail:x}\r\nTo: <sip:{prefix}{number:07}@{target}>\r\n\
                 Call-ID: {n}-{tail:x}@load\r\nCSeq: 1 INVITE\r\nContact: <sip:load@{customer}>\r\n\
                 Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE\r\nSupported: timer\r\nUser-Agent: load\r\n\
                 Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            out.extend_from_slice(&body);
        });
    }

    fn send_ack(&mut self, n: u32) {
        self.send_in_dialog(n, "ACK", 1, 'a');
    }

    fn send_bye(&mut self, n: u32) {
        self.send_in_dialog(n, "BYE", 2, 'b');
    }

    fn send_in_dialog(&mut self, n: u32, method: &str, cseq: u32, kind: char) {
        let Some(call) = self.calls.get(&n) else { return };
        let (target, customer, tail) = (self.plan.target, self.plan.customer, self.plan.run);
        let number = n % 10_000_000;
        // The whole way is one machine: the next hop is the target, whatever the route set says.
        self.customer.send(target, |out| {
            let _ = write!(out, "{method} ");
            out.extend_from_slice(&call.target);
            let _ = write!(
                out,
                " SIP/2.0\r\nVia: SIP/2.0/UDP {customer};branch=z9hG4bK{kind}{n}x{tail:x};rport\r\nMax-Forwards: 70\r\n"
            );
            out.extend_from_slice(&call.routes);
            let _ = write!(out, "From: <sip:49301{number:07}@{customer}>;tag=c{n}x{tail:x}\r\nTo: ");
            out.extend_from_slice(&call.to);
            let _ = write!(out, "\r\nCall-ID: {n}-{tail:x}@load\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n");
        });
    }

    /// Of the INVITE's own transaction (§17.1.1.3).
    fn send_ack_of_refusal(&mut self, n: u32, to: &[u8]) {
        self.send_in_transaction(n, "ACK", Some(to));
    }

    fn send_cancel(&mut self, n: u32) {
        self.send_in_transaction(n, "CANCEL", None);
    }

    fn send_in_transaction(&mut self, n: u32, method: &str, to: Option<&[u8]>) {
        let plan = &self.plan;
        let (target, customer, prefix, tail) = (plan.target, plan.customer, &plan.prefix, plan.run);
        let number = n % 10_000_000;
        self.customer.send(target, |out| {
            let _ = write!(
                out,
                "{method} sip:{prefix}{number:07}@{target} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {customer};branch=z9hG4bKi{n}x{tail:x};rport\r\nMax-Forwards: 70\r\n\
                 From: <sip:49301{number:07}@{customer}>;tag=c{n}x{tail:x}\r\nTo: "
            );
            match to {
                Some(to) => out.extend_from_slice(to),
                None => {
                    let _ = write!(out, "<sip:{prefix}{number:07}@{target}>");
                }
            }
            let _ = write!(out, "\r\nCall-ID: {n}-{tail:x}@load\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n");
        });
    }
}

/// `hold_ms` as the engine counts.
pub(super) fn hold_of(ms: u32) -> u64 {
    u64::from(ms) * MILLISECOND
}
