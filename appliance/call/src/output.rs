//! What the call room wants done, drained by the shard after every change.

use tandem_leg::{LegEvent, LegId, Now};
use tandem_media::flow::FlowCommand;
use tandem_rating::usage::Usage;

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
    /// Open a socket on this media port and report with `port_opened`.
    OpenPort(u16),
    /// The linger of this media port is over: close its socket.
    ClosePort(u16),
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
    pub ports: Option<(u16, u16)>,
    /// The call, with what user space saw of its media.
    pub usage: Box<Usage>,
}
