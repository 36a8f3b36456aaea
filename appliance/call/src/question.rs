//! What a shard asks the rating thread and what comes back; both are queued between threads as plain values.
//!
//! The rating thread alone owns balances, reservations, line counts and call rates across shards. A call asks at most one
//! question at a time; its last word is always [`Question::Settle`], so whatever was reserved is given back once.

use std::sync::Arc;

use tandem_leg::ServerReason;
use tandem_rating::fee::{BillingParams, RateTerms};
use tandem_rating::money::Money;
use tandem_rating::split::RateChange;
use tandem_rating::text::Text;
use tandem_rating::usage::{LegTerms, Usage};

use crate::snapshot::{AccountId, GatewayId};

/// Names one call on its shard; stale keys are harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey {
    /// The shard.
    pub shard: u8,
    /// Slot in the shard's table of calls.
    pub index: u32,
    /// Which tenant of the slot.
    pub generation: u32,
}

/// An account that must afford the call, with its price.
#[derive(Clone, Debug)]
pub struct Payer {
    /// Account.
    pub account: AccountId,
    /// Its row; `None` is a free leg.
    pub terms: Option<RateTerms>,
    /// Rows that take its place later, for rate groups that split sections.
    pub changes: Vec<RateChange>,
    /// The number that was looked up; gifts of packages are matched by it.
    pub number: Text,
    /// The phone that calls on this account; empty for none.
    pub phone: Text,
    /// What that phone may cost in a month.
    pub monthly_max: Option<Money>,
}

impl Payer {
    /// An account charged by one row.
    pub fn plain(account: AccountId, terms: Option<RateTerms>) -> Payer {
        let (changes, number, phone) = (Vec::new(), Text::default(), Text::default());
        Payer { account, terms, changes, number, phone, monthly_max: None }
    }

    /// An account charged as `leg` says.
    pub fn of(account: AccountId, leg: &LegTerms) -> Payer {
        let (changes, number) = (leg.changes.clone(), leg.number.clone());
        Payer { changes, number, ..Payer::plain(account, leg.terms.clone()) }
    }
}

/// One routing gateway the call may go to, best first.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Gateway whose line and call rate are taken.
    pub gateway: GatewayId,
    /// Clearing account.
    pub clearing: AccountId,
}

/// May this call start?
#[derive(Clone, Debug)]
pub struct Admit {
    /// Who asks.
    pub call: CallKey,
    /// Key under which the reservation is kept.
    pub flow_no: u64,
    /// Mapping gateway whose line and call rate are taken.
    pub mapping: GatewayId,
    /// Accounts that reserve: who pays, then the agents above, in the order of [`Usage::agents`].
    pub payers: Vec<Payer>,
    /// Billing parameters now; the call keeps them.
    pub params: Arc<BillingParams>,
    /// `SERVER_BILLING_PREVENT_OVERDRAFT_ADVANCE_TIME`, minutes.
    pub advance_min: u32,
    /// Where it may go, best first.
    pub candidates: Vec<Candidate>,
}

/// Shard to rating thread.
#[derive(Clone, Debug)]
pub enum Question {
    /// Admission: call rate and line of the mapping gateway, reservation, line of the first free candidate.
    Admit(Box<Admit>),
    /// The attempt failed: give back its line, take one of the first free candidate of what is left.
    NextLine {
        /// Who asks.
        call: CallKey,
        /// Its flow number.
        flow_no: u64,
        /// What is left, best first.
        candidates: Vec<Candidate>,
    },
    /// The call is answered: write its start record, then say so; the caller's 200 waits for it.
    Answered {
        /// Who asks.
        call: CallKey,
        /// The call so far; billed from this if the switch dies.
        usage: Box<Usage>,
        /// What the shard needs to go on with it after a restart ([`crate::carry`]), filled in on the way out of the shard.
        carry: Vec<u8>,
    },
    /// The grant runs out soon.
    Renew {
        /// Who asks.
        call: CallKey,
        /// Its flow number.
        flow_no: u64,
    },
    /// Answered calls that are alive: (flow number, held ms). At most every 10 s (billing.md 6.10).
    Heartbeat {
        /// Wall clock, ms.
        at_ms: i64,
        /// The calls.
        alive: Vec<(u64, i64)>,
        /// Those whose caller has not acknowledged the answer.
        unacknowledged: Vec<(u64, i64)>,
    },
    /// A routing gateway asked for a pause (503 with Retry-After).
    Pause {
        /// Gateway.
        gateway: GatewayId,
        /// UTC ms.
        until_ms: i64,
    },
    /// The call is over: rate it, write it, give back everything it held.
    Settle {
        /// Who ends.
        call: CallKey,
        /// What happened.
        usage: Box<Usage>,
        /// Somebody waits for the answer: a BYE is answered when the end is on record.
        awaited: bool,
    },
}

/// Why the rating thread passed over a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineSkip {
    /// All lines in use.
    Capacity,
    /// Call rate used up.
    Cps,
    /// `Retry-After` still runs.
    Paused,
    /// The clearing account has no money and is checked.
    ClearingExhausted,
}

impl LineSkip {
    /// Text for traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            LineSkip::Capacity => "no free line",
            LineSkip::Cps => "call rate limit",
            LineSkip::Paused => "Retry-After running",
            LineSkip::ClearingExhausted => "clearing account exhausted",
        }
    }
}

/// Rating thread to shard.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Admitted. `candidate` indexes the list that was asked; `None` when none had a free line.
    Granted {
        /// Who asked.
        call: CallKey,
        /// Held seconds the reservation covers; `None` unlimited.
        until_s: Option<i64>,
        /// Which candidate's line was taken.
        candidate: Option<usize>,
        /// Candidates passed over.
        skipped: Vec<(usize, LineSkip)>,
    },
    /// Not admitted.
    Refused {
        /// Who asked.
        call: CallKey,
        /// Why.
        reason: ServerReason,
    },
    /// Reply to [`Question::NextLine`].
    Line {
        /// Who asked.
        call: CallKey,
        /// Which candidate's line was taken.
        candidate: Option<usize>,
        /// Candidates passed over.
        skipped: Vec<(usize, LineSkip)>,
    },
    /// The start record is written; the caller may be told.
    Journaled {
        /// Who asked.
        call: CallKey,
        /// The price at the answer differs from that of the admission: held seconds the account can pay now, and whether
        /// that is all.
        regranted: Option<(Option<i64>, bool)>,
    },
    /// The reservation now covers this many held seconds.
    Renewed {
        /// Who asked.
        call: CallKey,
        /// Held seconds.
        until_s: Option<i64>,
        /// No more money: the call is cut there unless a later renewal says otherwise.
        last: bool,
    },
    /// The call is settled; its place in the queue is free again.
    Settled {
        /// Its flow number.
        flow_no: u64,
        /// As it was asked.
        awaited: bool,
    },
}
