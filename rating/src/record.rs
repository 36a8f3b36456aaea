//! What the journal keeps of money: the few records from which every balance and CDR can be told again.
//!
//! Records are only ever appended and fields only ever added at the end with a serde default, so that a journal written
//! by an older version stays readable.

use serde::{Deserialize, Serialize};

use crate::cdr::Cdr;
use crate::money::Money;
use crate::usage::Usage;

/// Why money moved (spec accounts.md 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LedgerKind {
    /// Fee and tax of a call; links the flow number.
    Call,
    /// Money came in, or with a negative amount was taken off.
    Payment,
    /// First balance of a new account.
    Opening,
    /// Balance set to zero.
    MakeZero,
    /// Correction of an earlier row.
    Correction,
}

impl LedgerKind {
    /// The word stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            LedgerKind::Call => "call",
            LedgerKind::Payment => "payment",
            LedgerKind::Opening => "opening",
            LedgerKind::MakeZero => "make_zero",
            LedgerKind::Correction => "correction",
        }
    }
}

/// One movement of money of one account. The balance of an account is the sum of its rows, always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// A second row with the same key is the same row: it is not booked again.
    pub key: String,
    /// Account name.
    pub account: String,
    /// Why.
    pub kind: LedgerKind,
    /// Added to the balance; negative for a charge.
    pub amount: Money,
    /// Balance after this row.
    pub balance_after: Money,
    /// UTC ms.
    pub at_ms: i64,
    /// The call, for [`LedgerKind::Call`].
    pub flow_no: Option<u64>,
    /// Who asked for it; empty for the switch itself.
    pub user: String,
    /// Free text.
    pub memo: String,
}

/// One journal record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A call was answered. If no [`Record::Settled`] follows, it is billed to its last heartbeat.
    Start {
        /// The call as it was at the answer.
        usage: Box<Usage>,
    },
    /// Calls that were alive: (flow number, held ms).
    Heartbeat {
        /// UTC ms.
        at_ms: i64,
        /// The calls.
        alive: Vec<(u64, i64)>,
    },
    /// A call is over: its CDR and ledger rows are one step, keyed by the flow number.
    Settled {
        /// The call.
        flow_no: u64,
        /// Its record; `None` when a rule of cdr.md 3 suppresses it.
        cdr: Option<Box<Cdr>>,
        /// What it cost.
        ledger: Vec<LedgerRow>,
    },
    /// Money moved without a call.
    Ledger(LedgerRow),
    /// The site configuration was replaced.
    Site {
        /// Its version, rising.
        version: u64,
        /// UTC ms.
        at_ms: i64,
        /// Who.
        user: String,
        /// The declarative text (TOML), whole.
        text: String,
    },
    /// A system parameter was set.
    Param {
        /// UTC ms.
        at_ms: i64,
        /// Who.
        user: String,
        /// Its name, exactly as the spec has it.
        name: String,
        /// Its value.
        value: String,
    },
    /// A rate group was replaced by an import.
    Deck {
        /// Version of this group, rising.
        version: u64,
        /// UTC ms.
        at_ms: i64,
        /// Who.
        user: String,
        /// Rate group.
        group: String,
        /// All rows after the import, as exported CSV.
        csv: String,
    },
}
