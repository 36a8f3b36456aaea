//! How long the switch takes: histograms of its own part of every call set-up.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use hdrhistogram::Histogram;
use tandem_leg::{LegId, Time};
use tandem_sip::method::Method;
use tandem_sip::{MessageKind, MessageSummary};

/// Marks of the calls being set up, and what came of the others.
pub(super) struct Latency {
    /// INVITE in to first 18x or 200 towards the caller, microseconds.
    pub(super) pdd_us: Histogram<u64>,
    /// INVITE in to INVITE out, microseconds.
    pub(super) routing_us: Histogram<u64>,
    /// Vendor's 200 in to 200 out, microseconds: journal included.
    pub(super) answer_us: Histogram<u64>,
    open: HashMap<LegId, Marks, RandomState>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    invite: Time,
    routed: bool,
    rang: bool,
    answered: Option<Time>,
}

fn histogram() -> Histogram<u64> {
    // 1 us to 10 minutes with three digits: bounds that hold by construction.
    Histogram::new_with_bounds(1, 600_000_000, 3).unwrap_or_else(|_| unreachable!("constant bounds are valid"))
}

impl Latency {
    pub(super) fn new() -> Latency {
        Latency { pdd_us: histogram(), routing_us: histogram(), answer_us: histogram(), open: HashMap::default() }
    }

    /// An INVITE opened a call.
    pub(super) fn begin(&mut self, now: Time, a_leg: LegId) {
        self.open.insert(a_leg, Marks { invite: now, ..Marks::default() });
    }

    /// The call's first INVITE goes out.
    pub(super) fn routed(&mut self, now: Time, a_leg: LegId) {
        if let Some(marks) = self.open.get_mut(&a_leg).filter(|marks| !marks.routed) {
            marks.routed = true;
            let _ = self.routing_us.record(now.since(marks.invite).max(1));
        }
    }

    /// The vendor's 200 is here.
    pub(super) fn answered(&mut self, now: Time, a_leg: LegId) {
        if let Some(marks) = self.open.get_mut(&a_leg) {
            marks.answered = Some(now);
        }
    }

    /// A message left on `leg`; answers to the caller's INVITE count.
    pub(super) fn sent(&mut self, now: Time, leg: LegId, summary: &MessageSummary) {
        let MessageKind::Response(status @ 180..=299) = summary.kind else {
            return;
        };
        let Some(marks) = self.open.get_mut(&leg) else {
            return;
        };
        if summary.retransmission || summary.cseq_method != Method::Invite {
            return;
        }
        if !marks.rang {
            marks.rang = true;
            let _ = self.pdd_us.record(now.since(marks.invite).max(1));
        }
        if let Some(answered) = marks.answered.take_if(|_| status >= 200) {
            let _ = self.answer_us.record(now.since(answered).max(1));
        }
    }

    /// The call is over.
    pub(super) fn forget(&mut self, a_leg: LegId) {
        self.open.remove(&a_leg);
    }
}
