//! What happened on a call: messages of both legs and the switch's decisions, in order, and the ladder drawn from them.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;

use foldhash::fast::RandomState;
use tandem_call::trace::TraceEvent;
use tandem_leg::{LegId, Now, Time};
use tandem_sip::method::Method;
use tandem_sip::{MessageKind, MessageSummary};

use crate::limits;

/// One thing that happened. Twenty of them are kept of every call in progress and of thousands of finished ones, so they
/// are small: addresses are kept once a log.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, monotonic.
    pub at: Time,
    /// What.
    pub what: What,
}

/// Message or decision.
#[derive(Clone, Debug)]
pub enum What {
    /// A SIP message.
    Message(Message),
    /// A decision with its reason.
    Decision(Box<TraceEvent>),
}

/// A SIP message; [`Log::peer`] and [`Log::summary`] have its addresses.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Its leg.
    pub leg: LegId,
    kind: MessageKind,
    cseq_method: Method,
    /// From us.
    pub out: bool,
    retransmission: bool,
    peer: Place,
    sdp: Option<Place>,
}

/// Position in the addresses of a log.
type Place = u8;

/// Everything of one call.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Flow number; 0 until the call has one.
    pub flow_no: u64,
    /// The first event, by both clocks.
    pub start: Now,
    /// In order.
    pub events: Vec<Event>,
    /// Events beyond `TRACE_EVENTS_MAX`.
    pub dropped: u32,
    addresses: Vec<SocketAddr>,
}

impl Log {
    /// The far side of a message.
    pub fn peer(&self, message: &Message) -> Option<SocketAddr> {
        self.addresses.get(usize::from(message.peer)).copied()
    }

    /// What a message was.
    pub fn summary(&self, message: &Message) -> MessageSummary {
        MessageSummary {
            kind: message.kind,
            cseq_method: message.cseq_method,
            sdp: message.sdp.and_then(|place| self.addresses.get(usize::from(place)).copied()),
            retransmission: message.retransmission,
        }
    }

    /// Where `address` is kept. A call with more addresses than a place can name shares the last one.
    fn place(&mut self, address: SocketAddr) -> Place {
        let at = self.addresses.iter().position(|known| *known == address).unwrap_or_else(|| {
            if self.addresses.len() <= usize::from(Place::MAX) {
                self.addresses.push(address);
            }
            self.addresses.len() - 1
        });
        at as Place
    }

    fn push(&mut self, at: Now, what: What) {
        if self.events.is_empty() {
            self.start = at;
        }
        if self.events.len() < limits::TRACE_EVENTS_MAX {
            self.events.push(Event { at: at.mono, what });
        } else {
            self.dropped += 1;
        }
    }
}

/// Logs of one shard: of calls in progress by their a-leg, and of the last finished ones.
#[derive(Debug, Default)]
pub struct Traces {
    logs: HashMap<LegId, Log, RandomState>,
    a_leg_of: HashMap<LegId, LegId, RandomState>,
    by_flow: HashMap<u64, LegId, RandomState>,
    finished: VecDeque<LegId>,
}

impl Traces {
    /// A message on `leg`; the first one on an incoming leg opens its log.
    pub fn message(&mut self, at: Now, leg: LegId, out: bool, peer: SocketAddr, summary: MessageSummary) {
        let a_leg = self.a_leg_of.get(&leg).copied().unwrap_or(leg);
        if a_leg == leg && !leg.is_incoming() {
            return;
        }
        let log = self.logs.entry(a_leg).or_default();
        if log.events.len() == limits::TRACE_EVENTS_MAX {
            log.dropped += 1;
            return;
        }
        let message = Message {
            leg,
            kind: summary.kind,
            cseq_method: summary.cseq_method,
            out,
            retransmission: summary.retransmission,
            peer: log.place(peer),
            sdp: summary.sdp.map(|address| log.place(address)),
        };
        log.push(at, What::Message(message));
    }

    /// A decision on the call of `a_leg`.
    pub fn decision(&mut self, at: Now, a_leg: LegId, flow_no: u64, event: TraceEvent) {
        let log = self.logs.entry(a_leg).or_default();
        if log.flow_no == 0 {
            log.flow_no = flow_no;
            self.by_flow.insert(flow_no, a_leg);
        }
        log.push(at, What::Decision(Box::new(event)));
    }

    /// `b_leg` belongs to the call of `a_leg`.
    pub fn attach(&mut self, b_leg: LegId, a_leg: LegId) {
        self.a_leg_of.insert(b_leg, a_leg);
    }

    /// The call of `a_leg` is over; the oldest finished log goes when there are too many.
    pub fn finish(&mut self, a_leg: LegId) {
        if let Some(log) = self.logs.get_mut(&a_leg) {
            // Little comes after the end; the room for growth is not kept for thousands of calls.
            log.events.shrink_to_fit();
            log.addresses.shrink_to_fit();
        }
        self.finished.push_back(a_leg);
        if self.finished.len() > limits::TRACES_MAX
            && let Some(log) = self.finished.pop_front().and_then(|oldest| self.logs.remove(&oldest))
        {
            self.by_flow.remove(&log.flow_no);
        }
    }

    /// Nothing of `leg` is left in the SIP room. A log that never became a call goes with it.
    pub fn forget(&mut self, leg: LegId) {
        self.a_leg_of.remove(&leg);
        if self.logs.get(&leg).is_some_and(|log| log.flow_no == 0) {
            self.logs.remove(&leg);
        }
    }

    /// The log of a call.
    pub fn of_flow(&self, flow_no: u64) -> Option<&Log> {
        self.by_flow.get(&flow_no).and_then(|leg| self.logs.get(leg))
    }
}

/// Columns of the ladder: time, then the caller's lane and the vendor's lane around our own line.
const LANE: usize = 40;

impl Log {
    /// The ladder as text: arrows of both legs with time from the first event, decisions on lines of their own.
    pub fn ladder(&self) -> String {
        let mut text = String::new();
        let Some(first) = self.events.first() else {
            return text;
        };
        let start = first.at;
        let peer = |incoming: bool| {
            self.events.iter().find_map(|e| match &e.what {
                What::Message(message) if message.leg.is_incoming() == incoming => {
                    self.peer(message).map(|peer| peer.to_string())
                }
                _ => None,
            })
        };
        let (a, b) = (peer(true).unwrap_or_default(), peer(false).unwrap_or_else(|| "(no vendor)".to_owned()));
        let _ = writeln!(text, "call {}", self.flow_no);
        let _ = writeln!(text, "{:>10}  {a:<LANE$}tandem{b:>LANE$}", "seconds");
        for event in &self.events {
            let us = event.at.since(start);
            let _ = write!(text, "{:>3}.{:06}  ", us / 1_000_000, us % 1_000_000);
            match &event.what {
                What::Message(message) => {
                    let mut label = label(&self.summary(message));
                    // A second vendor of one call shares the lane; its address says which one it is.
                    let lane = if message.leg.is_incoming() { &a } else { &b };
                    if let Some(peer) = self.peer(message).map(|peer| peer.to_string()).filter(|peer| peer != lane) {
                        let _ = write!(label, " [{peer}]");
                    }
                    // Towards the caller is to the left, towards the vendor to the right.
                    if message.leg.is_incoming() {
                        let _ = writeln!(text, "|{}|", arrow(&label, message.out));
                    } else {
                        let _ = writeln!(text, "|{:LANE$}|{}|", "", arrow(&label, !message.out));
                    }
                }
                What::Decision(decision) => {
                    let _ = writeln!(text, "|{:LANE$}* {decision}", "");
                }
            }
        }
        if self.dropped > 0 {
            let _ = writeln!(text, "({} more events were not kept)", self.dropped);
        }
        text
    }
}

/// One message in a few words.
pub fn label(summary: &MessageSummary) -> String {
    let mut label = match summary.kind {
        MessageKind::Request(method) => method.as_str().to_owned(),
        MessageKind::Response(status) => format!("{status} ({})", summary.cseq_method.as_str()),
    };
    if let Some(sdp) = summary.sdp {
        let _ = write!(label, " SDP {sdp}");
    }
    if summary.retransmission {
        label.push_str(" again");
    }
    label
}

fn arrow(label: &str, left: bool) -> String {
    let dashes = LANE.saturating_sub(label.chars().count() + 5);
    if left { format!("<- {label} {}", "-".repeat(dashes + 1)) } else { format!("-- {label} {}>", "-".repeat(dashes)) }
}
