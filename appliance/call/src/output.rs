//! What the call room wants done, drained by the shard after every change.

use tandem_ebpf_abi::{FlowCounters, FlowKey};
use tandem_leg::{LegEvent, LegId, Now, Time};
use tandem_media::flow::FlowCommand;
use tandem_media::rtcp::Quality;
use tandem_media::{LegMedia, Side};
use tandem_rating::usage::{MediaUsage, Usage};

use crate::question::{CallKey, Question};
use crate::trace::TraceEvent;

/// One wish; drained to the end, in order.
#[derive(Debug)]
pub enum Output {
    /// An order for a leg.
    Leg {
        /// The leg; a new one when the event is `Try`.
        leg: LegId,
        /// The a-leg of the same call, so that traces of both legs come together.
        a_leg: LegId,
        /// The order.
        event: LegEvent,
    },
    /// A question for the rating thread.
    Ask(Question),
    /// An order for the fast path.
    Flow(FlowCommand),
    /// Say with `media_heard` when the fast path heard the caller and the vendor last.
    WhenHeard {
        /// The call.
        call: CallKey,
        /// Local media ports of the caller's and the vendor's side.
        ports: (FlowKey, FlowKey),
    },
    /// Open a socket on this media port and report with `port_opened`.
    OpenPort(FlowKey),
    /// The linger of this media port is over: close its socket.
    ClosePort(FlowKey),
    /// The call is over. Its flows were removed by the `Flow` outputs just before; the shard adds what the fast path
    /// counted and asks [`Question::Settle`].
    Finish(Box<Finish>),
    /// A decision was made.
    Trace {
        /// The a-leg of the call.
        a_leg: LegId,
        /// Its flow number.
        flow_no: u64,
        /// When.
        at: Now,
        /// What and why.
        event: TraceEvent,
    },
}

/// A finished call on its way to the rating thread.
#[derive(Debug)]
pub struct Finish {
    /// The call.
    pub call: CallKey,
    /// Its a-leg.
    pub a_leg: LegId,
    /// Local media ports of the caller's and the vendor's side, when media was relayed.
    pub ports: Option<(FlowKey, FlowKey)>,
    /// The call, with what user space saw of its media.
    pub usage: Box<Usage>,
    /// Counters of both sides, slow path first; [`Finish::add_counters`] adds those of the fast path.
    pub(crate) counters: [Vec<FlowCounters>; 2],
    /// What RTCP said.
    pub(crate) quality: [Quality; 2],
    /// When it ended: dates the first and the last packet.
    pub(crate) at: Now,
    /// When it was answered.
    pub(crate) answered: Option<Time>,
    /// RTP packets that user space forwarded of attempts that failed: no media of this call.
    pub unbilled_packets: u64,
}

impl Finish {
    /// Adds what the fast path counted for `side`: the counters of its removed flow. Not those of an attempt that
    /// failed (`RemoveReason::AttemptEnded`): that media was another vendor's.
    pub fn add_counters(&mut self, side: Side, counters: &FlowCounters) {
        self.counters[side as usize].push(*counters);
        self.sum_media(side);
    }

    pub(crate) fn sum_media(&mut self, side: Side) {
        let media = LegMedia::merge(&self.counters[side as usize], &self.quality[side as usize]);
        let usage = media_usage(&media, self.at);
        match side {
            Side::Caller => self.usage.caller_media = usage,
            Side::Callee => self.usage.callee_media = usage,
        }
        let held_ms = |answered: Time| (Time(media.last_us).since(answered) / 1_000) as i64;
        if let Some(held_ms) = self.answered.filter(|_| media.last_us != 0).map(held_ms) {
            self.usage.media_hold_ms = self.usage.media_hold_ms.max(Some(held_ms));
        }
    }
}

/// Statistics of a leg as a CDR keeps them. Only what is forwarded counts as received, so the two are one number.
pub fn media_usage(media: &LegMedia, at: Now) -> MediaUsage {
    let wall = |us: u64| (us != 0).then(|| at.wall_ms - (at.mono.micros().saturating_sub(us) / 1_000) as i64);
    MediaUsage {
        packets: media.packets,
        bytes: media.bytes,
        rtcp_packets: media.rtcp_packets,
        duration_us: media.duration_us,
        lost: media.lost,
        duplicates: media.duplicates,
        reordered: media.reordered,
        jitter_us: media.jitter_mean_us,
        jitter_max_us: media.jitter_max_us,
        dropped: media.dropped,
        relayed: media.packets,
        mos_x100: media.mos_hundredths,
        first_ms: wall(media.first_us),
        last_ms: wall(media.last_us),
    }
}
