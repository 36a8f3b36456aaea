//! One leg: its dialog, where the call stands, and what is still owed to the far side.

use tandem_leg::{LegId, Reason, Time, TimerKey, Update, UpdateMethod};

use crate::config::ResendSchedule;
use crate::dialog::Dialog;
use crate::summary::MessageSummary;

/// Where a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// a-leg: INVITE received, no final response sent.
    Incoming,
    /// a-leg: 2xx sent, ACK awaited.
    Answered,
    /// b-leg: INVITE sent, no final response received (or none that counts).
    Outgoing,
    /// b-leg: 2xx with an offer received; the ACK waits for the answer.
    Unconfirmed,
    /// Both sides know that the call stands.
    Established,
    /// Our BYE is on its way.
    Ending,
    /// Nothing more will happen; transactions fade out.
    Ended,
}

/// A 2xx of ours to an INVITE that waits for its ACK (RFC 3261 13.3.1.4).
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) summary: MessageSummary,
    pub(crate) to: std::net::SocketAddr,
    pub(crate) cseq: u32,
    /// The offer was in this 2xx, so that the ACK carries the answer.
    pub(crate) offers: bool,
    pub(crate) schedule: ResendSchedule,
    pub(crate) resent: usize,
    pub(crate) resend: Option<TimerKey>,
    pub(crate) give_up: TimerKey,
}

/// An ACK of ours, kept as long as its 2xx may come again.
#[derive(Debug)]
pub(crate) struct Ack {
    pub(crate) cseq: u32,
    pub(crate) remote_tag: Vec<u8>,
    pub(crate) to: std::net::SocketAddr,
    pub(crate) bytes: Vec<u8>,
    pub(crate) summary: MessageSummary,
}

/// A change of the session that we ask.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) change: Update,
    /// Sends so far that were answered 491.
    pub(crate) glares: u8,
    pub(crate) state: OursState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OursState {
    /// Waits until their ACK lets us begin a transaction (RFC 3261 14.1).
    Queued,
    /// On its way.
    InFlight { transaction: u64 },
    /// Answered 491; sent again when the timer fires.
    Backoff { timer: TimerKey },
    /// A re-INVITE without offer was answered with one; our ACK waits for the answer.
    Unconfirmed { cseq: u32 },
}

/// A change of the session that they ask and the call room has not decided.
#[derive(Debug)]
pub(crate) struct Theirs {
    pub(crate) transaction: u64,
    pub(crate) method: UpdateMethod,
    pub(crate) cseq: u32,
    pub(crate) offered: bool,
    /// Their new Contact, taken when the change is accepted.
    pub(crate) target: Option<Vec<u8>>,
}

/// Timers of a leg that belong to no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LegTimer {
    /// Send the 2xx again.
    AnswerResend,
    /// The 2xx was never acknowledged.
    AnswerGiveUp,
    /// Try the change again after 491.
    Glare,
}

/// One leg.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) phase: Phase,
    /// Set once the call room ended the leg or was told of its end: no more news.
    pub(crate) muted: bool,
    pub(crate) dialog: Dialog,
    /// Transaction of the first INVITE.
    pub(crate) invite: u64,
    pub(crate) invite_cseq: u32,
    /// The first INVITE carried an offer.
    pub(crate) offered: bool,
    /// b-leg: a 100 was reported.
    pub(crate) proceeding: bool,
    /// b-leg: a CANCEL is owed, or was sent, with this reason.
    pub(crate) give_up: Option<Reason>,
    pub(crate) cancel_sent: bool,
    /// A BYE is owed as soon as the ACK came.
    pub(crate) hang_up: Option<Reason>,
    pub(crate) answer: Option<Answer>,
    pub(crate) acks: Vec<Ack>,
    pub(crate) ours: Option<Ours>,
    pub(crate) theirs: Option<Theirs>,
    /// The far side named UPDATE in an Allow.
    pub(crate) allows_update: bool,
    /// Living transactions of this leg.
    pub(crate) transactions: u32,
}

impl Leg {
    pub(crate) fn new(id: LegId, phase: Phase, dialog: Dialog, invite_cseq: u32, offered: bool) -> Box<Leg> {
        Box::new(Leg {
            id,
            phase,
            muted: false,
            dialog,
            invite: 0,
            invite_cseq,
            offered,
            proceeding: false,
            give_up: None,
            cancel_sent: false,
            hang_up: None,
            answer: None,
            acks: Vec::new(),
            ours: None,
            theirs: None,
            allows_update: false,
            transactions: 0,
        })
    }

    /// Whether the session stands, acknowledged or not.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Answered | Phase::Unconfirmed | Phase::Established)
    }

    /// Whether nothing of it is left.
    pub(crate) fn is_spent(&self) -> bool {
        self.phase == Phase::Ended && self.transactions == 0 && self.answer.is_none()
    }
}

/// When the next resend of a 2xx is due.
pub(crate) fn answer_resend_at(answer: &Answer, at: Time, now: Time) -> Option<Time> {
    answer.schedule.wait_ms(answer.resent).map(|wait| crate::timer::resend_at(at, now, wait.into()))
}
