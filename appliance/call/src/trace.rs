//! Every decision about a call as a typed value; its text is for people (`tandem trace`).

use std::fmt;
use std::net::SocketAddr;

use rust_decimal::Decimal;
use tandem_leg::{EndDirection, EndReason, ServerReason};
use tandem_media::{MediaEvent, Side};
use tandem_rating::text::Text;

use crate::failover::Decision;
use crate::question::LineSkip;

/// A timer of a call (spec signalling.md 7 and 10, accounts.md 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallTimer {
    /// `SS_SIP_TIMEOUT_INVITE`: no response at all.
    Invite,
    /// `SS_SIP_TIMEOUT_TRYING`: nothing after 100.
    Trying,
    /// `SS_SIP_TIMEOUT_SESSION_PROGRESS`: nothing after 183 without SDP.
    SessionProgress,
    /// `SS_SIP_TIMEOUT_SESSION_PROGRESS_SDP`: nothing after 183 with SDP.
    SessionProgressSdp,
    /// `SS_SIP_TIMEOUT_RINGING`: no answer after 180.
    Ringing,
    /// `timeoutCallProceeding` of the mapping gateway.
    CallProceeding,
    /// `Expires` of the caller.
    Expires,
    /// The start record of an answered call is late.
    StartRecord,
    /// Ask for more money soon.
    Renewal,
    /// The paid time is over.
    Deadline,
    /// The longest call allowed.
    MaxDuration,
    /// `SS_NOMEDIAHANGUPTIME`: look when media was heard last.
    Silence,
}

impl CallTimer {
    /// Name for traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            CallTimer::Invite => "invite",
            CallTimer::Trying => "trying",
            CallTimer::SessionProgress => "session_progress",
            CallTimer::SessionProgressSdp => "session_progress_sdp",
            CallTimer::Ringing => "ringing",
            CallTimer::CallProceeding => "call_proceeding",
            CallTimer::Expires => "expires",
            CallTimer::StartRecord => "start_record",
            CallTimer::Renewal => "renewal",
            CallTimer::Deadline => "deadline",
            CallTimer::MaxDuration => "max_duration",
            CallTimer::Silence => "silence",
        }
    }
}

/// One decision, or one fact that decisions rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// A call came in.
    Received {
        /// From where.
        source: SocketAddr,
        /// Caller as written.
        caller: Text,
        /// Number in the request target.
        dialled: Text,
    },
    /// Whose call it is.
    Identified {
        /// Mapping gateway.
        gateway: Text,
        /// Account that pays.
        account: Text,
    },
    /// The numbers after the rules of the mapping gateway.
    Rewritten {
        /// Caller before and after.
        caller: (Text, Text),
        /// Rule that was applied, from 1.
        caller_rule: Option<usize>,
        /// Callee before and after.
        callee: (Text, Text),
        /// Rule that was applied, from 1.
        callee_rule: Option<usize>,
    },
    /// Refused before routing.
    Rejected {
        /// Why.
        reason: ServerReason,
        /// The rule in words.
        detail: Text,
    },
    /// What the customer pays.
    Rate {
        /// Matched prefix.
        prefix: Text,
        /// Price of a minute.
        rate_per_min: Decimal,
        /// Row.
        rate_id: u64,
        /// Rate type.
        level: u8,
    },
    /// The number is free of charge.
    Free {
        /// Entry of the list.
        pattern: Text,
        /// Without a record too.
        no_cdr: bool,
    },
    /// A gateway that may be tried.
    Candidate {
        /// Place in the order, from 1.
        place: usize,
        /// Routing gateway.
        gateway: Text,
        /// Length of the matching prefix.
        prefix_len: usize,
        /// Its price of a minute.
        rate_per_min: Option<Decimal>,
    },
    /// A gateway that may not.
    Skipped {
        /// Routing gateway.
        gateway: Text,
        /// Why.
        reason: Text,
    },
    /// The rating thread was asked to admit the call.
    Reserve {
        /// Candidates it was given.
        candidates: usize,
    },
    /// It did.
    Granted {
        /// Held seconds that are covered.
        until_s: Option<i64>,
        /// Gateway whose line was taken.
        gateway: Option<Text>,
    },
    /// It did not.
    Refused {
        /// Why.
        reason: ServerReason,
    },
    /// It passed over a candidate.
    PassedOver {
        /// Routing gateway.
        gateway: Text,
        /// Why.
        why: LineSkip,
    },
    /// Relay or direct.
    Media {
        /// Deciding step.
        step: u8,
        /// Relayed.
        relay: bool,
        /// The step in words.
        why: &'static str,
    },
    /// An INVITE goes to a vendor.
    Attempt {
        /// Routing gateway.
        gateway: Text,
        /// Where.
        remote: SocketAddr,
        /// Caller sent.
        caller: Text,
        /// Callee sent.
        callee: Text,
    },
    /// A redirect is followed.
    Redirected {
        /// Where to.
        to: SocketAddr,
    },
    /// The attempt failed.
    AttemptFailed {
        /// Routing gateway.
        gateway: Text,
        /// How.
        reason: EndReason,
        /// The row of the failover table.
        decision: Decision,
    },
    /// A vendor's media said something.
    Heard(MediaEvent),
    /// The vendor answered.
    Answered {
        /// Routing gateway.
        gateway: Text,
    },
    /// The start record is written; the caller is told.
    Journaled,
    /// The switch was started anew, and goes on with the call.
    Adopted,
    /// The reservation was renewed.
    Renewed {
        /// Held seconds.
        until_s: Option<i64>,
        /// There is no more money.
        last: bool,
    },
    /// A change of the session was asked.
    Change {
        /// By whom.
        from: Side,
        /// What became of it: `relayed`, `answered here`, or a status.
        outcome: Text,
    },
    /// A timer fired.
    Timer(CallTimer),
    /// An order to a leg was not carried out.
    OrderFailed {
        /// Whose leg.
        side: Side,
    },
    /// The call is over.
    End {
        /// Who.
        direction: EndDirection,
        /// Why.
        reason: EndReason,
        /// Final status sent to the caller; 0 when none.
        status: u16,
        /// Held, ms.
        hold_ms: i64,
    },
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = |r: &Option<usize>| r.map_or("no rule".to_owned(), |n| format!("rule {n}"));
        match self {
            TraceEvent::Received { source, caller, dialled } => write!(f, "call from {source}: {caller} -> {dialled}"),
            TraceEvent::Identified { gateway, account } => write!(f, "mapping gateway {gateway}, account {account}"),
            TraceEvent::Rewritten { caller, caller_rule, callee, callee_rule } => write!(
                f,
                "caller {} -> {} ({}), callee {} -> {} ({})",
                caller.0,
                caller.1,
                rule(caller_rule),
                callee.0,
                callee.1,
                rule(callee_rule)
            ),
            TraceEvent::Rejected { reason, detail } => write!(f, "rejected, {}: {detail}", reason.name()),
            TraceEvent::Rate { prefix, rate_per_min, rate_id, level } => {
                write!(f, "rate {rate_per_min}/min, prefix {prefix:?}, row {rate_id}, level {level}")
            }
            TraceEvent::Free { pattern, no_cdr } => {
                write!(f, "free number by {pattern:?}{}", if *no_cdr { ", without a record" } else { "" })
            }
            TraceEvent::Candidate { place, gateway, prefix_len, rate_per_min } => {
                write!(f, "candidate {place}: {gateway}, prefix of {prefix_len}")?;
                match rate_per_min {
                    Some(rate) => write!(f, ", {rate}/min"),
                    None => f.write_str(", no rate"),
                }
            }
            TraceEvent::Skipped { gateway, reason } => write!(f, "not {gateway}: {reason}"),
            TraceEvent::Reserve { candidates } => write!(f, "reserve, {candidates} candidates"),
            TraceEvent::Granted { until_s, gateway } => {
                let until = until_s.map_or("without limit".to_owned(), |s| format!("for {s} s"));
                write!(f, "granted {until}, line of {}", gateway.as_deref().unwrap_or("nobody"))
            }
            TraceEvent::Refused { reason } => write!(f, "refused: {}", reason.name()),
            TraceEvent::PassedOver { gateway, why } => write!(f, "not {gateway} now: {}", why.as_str()),
            TraceEvent::Media { step, relay, why } => {
                write!(f, "media {} by step {step}: {why}", if *relay { "relayed" } else { "direct" })
            }
            TraceEvent::Attempt { gateway, remote, caller, callee } => {
                write!(f, "try {gateway} at {remote}: {caller} -> {callee}")
            }
            TraceEvent::Redirected { to } => write!(f, "redirect followed to {to}"),
            TraceEvent::AttemptFailed { gateway, reason, decision } => {
                write!(f, "{gateway} failed, {}; {decision}", reason.text())
            }
            TraceEvent::Heard(MediaEvent::FirstRtp { side, early }) => {
                write!(f, "first media of the {}{}", name_of(*side), if *early { ", early" } else { "" })
            }
            TraceEvent::Heard(MediaEvent::Relatched { side, from, to }) => {
                write!(f, "media of the {} moved from {from} to {to}", name_of(*side))
            }
            TraceEvent::Heard(MediaEvent::HijackSuspect { side, source }) => {
                write!(f, "hijack suspect: {source} claims the media of the {}", name_of(*side))
            }
            TraceEvent::Answered { gateway } => write!(f, "answered by {gateway}"),
            TraceEvent::Adopted => f.write_str("the switch was started anew and goes on with the call"),
            TraceEvent::Journaled => f.write_str("start record written"),
            TraceEvent::Renewed { until_s, last } => {
                let until = until_s.map_or("without limit".to_owned(), |s| format!("to {s} s"));
                write!(f, "renewed {until}{}", if *last { ", the last" } else { "" })
            }
            TraceEvent::Change { from, outcome } => write!(f, "change by the {}: {outcome}", name_of(*from)),
            TraceEvent::Timer(timer) => write!(f, "timer {}", timer.as_str()),
            TraceEvent::OrderFailed { side } => write!(f, "order to the {} could not be carried out", name_of(*side)),
            TraceEvent::End { direction, reason, status, hold_ms } => {
                write!(f, "end by {}, {}, status {status}, held {hold_ms} ms", direction.as_str(), reason.text())
            }
        }
    }
}

fn name_of(side: Side) -> &'static str {
    match side {
        Side::Caller => "caller",
        Side::Callee => "callee",
    }
}
