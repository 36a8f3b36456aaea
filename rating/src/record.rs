//! What the journal keeps of money: the few records from which every balance and CDR can be told again.
//!
//! Records are only ever appended and fields only ever added at the end with a serde default, so that a journal written
//! by an older version stays readable.

use serde::{Deserialize, Serialize};

use crate::cdr::Cdr;
use crate::fee::BillingParams;
use crate::money::Money;
pub use crate::package::PackageEvent;
use crate::text::Text;
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
    /// Money was taken off by hand.
    Deduction,
    /// Takes back an earlier row, which stays.
    Reversal,
    /// Paid on to an account below: the other half is a payment there.
    Transfer,
    /// Rent of a package.
    PackageRent,
    /// Rent of a phone.
    PhoneRent,
    /// What was missing to the minimum of a phone.
    PhoneMinimum,
    /// What was missing to the minimum of a package.
    PackageMinimum,
    /// Gift time or money of a package that a call used; the amount is 0.
    Gift,
}

impl LedgerKind {
    /// Every kind, in the order of its number in old journals.
    pub const ALL: [LedgerKind; 13] = [
        LedgerKind::Call,
        LedgerKind::Payment,
        LedgerKind::Opening,
        LedgerKind::MakeZero,
        LedgerKind::Correction,
        LedgerKind::Deduction,
        LedgerKind::Reversal,
        LedgerKind::Transfer,
        LedgerKind::PackageRent,
        LedgerKind::PhoneRent,
        LedgerKind::PhoneMinimum,
        LedgerKind::PackageMinimum,
        LedgerKind::Gift,
    ];

    /// The word stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            LedgerKind::Call => "call",
            LedgerKind::Payment => "payment",
            LedgerKind::Opening => "opening",
            LedgerKind::MakeZero => "make_zero",
            LedgerKind::Correction => "correction",
            LedgerKind::Deduction => "deduction",
            LedgerKind::Reversal => "reversal",
            LedgerKind::Transfer => "transfer",
            LedgerKind::PackageRent => "package_rent",
            LedgerKind::PhoneRent => "phone_rent",
            LedgerKind::PhoneMinimum => "phone_minimum",
            LedgerKind::PackageMinimum => "package_minimum",
            LedgerKind::Gift => "gift",
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

/// Who asked: what the kernel says of the other end of the control socket. Without a uid it is the switch itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// User number.
    pub uid: Option<u32>,
    /// Login name; `uid N` when the system does not know it, a word for the switch's own doings.
    pub user: String,
    /// Process.
    pub pid: Option<i32>,
}

impl Actor {
    /// The switch itself, for the reason `word`.
    pub fn switch(word: &str) -> Actor {
        Actor { uid: None, user: word.to_owned(), pid: None }
    }
}

/// How a request to change something ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It was done.
    #[default]
    Done,
    /// It was not allowed; nothing was changed.
    Refused,
    /// It could not be done; nothing was changed.
    Failed,
}

impl Outcome {
    /// The word stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        }
    }
}

/// One row of the audit log: somebody changed something, or tried to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// UTC ms.
    pub at_ms: i64,
    /// Who.
    pub actor: Actor,
    /// What was asked for, in the words of the command line.
    pub command: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused or failed; empty when it was done.
    pub error: String,
    /// Version of the configuration it made.
    pub version: Option<u64>,
    /// Words of the operator.
    pub comment: String,
    /// Old -> new, one line a change; long lists are cut and say so.
    pub changes: Vec<String>,
}

/// A rate group as a change left it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeckText {
    /// Rate group.
    pub group: String,
    /// Version of this group, rising.
    pub version: u64,
    /// All rows, as exported CSV; empty when they are in parts.
    pub csv: String,
    /// The number of the [`Record::DeckPart`]s that have the rows.
    #[serde(default)]
    pub import: u64,
    /// How many they are; 0 when `csv` has the rows.
    #[serde(default)]
    pub parts: u32,
    /// CRC-32 of their texts, one behind the other.
    #[serde(default)]
    pub crc: u32,
    /// How many rows there are.
    #[serde(default)]
    pub rows: u64,
    /// Where they came from: file, template, exchange rate.
    #[serde(default)]
    pub source: String,
    /// The group is gone; its earlier versions stay in the history.
    #[serde(default)]
    pub deleted: bool,
}

/// The configuration was changed. One record is the whole change: it is in force when the record is written, and never
/// happened when it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Version of the configuration after it, rising.
    pub version: u64,
    /// `apply`, `set`, `param`, `import`, `commit`, `rollback`, `auto-rollback`, `bootstrap`, `start`.
    pub how: String,
    /// Its row of the audit log.
    pub audit: Audit,
    /// The site text (TOML), whole; `None` when it is that of the version before.
    pub text: Option<String>,
    /// Rate groups that are new.
    pub decks: Vec<DeckText>,
    /// Rolled back at this time, UTC ms, unless it is confirmed.
    pub confirm_until_ms: Option<i64>,
    /// The version it then falls back to.
    pub fallback: Option<u64>,
    /// The version that waited for a confirmation and waits no more, because this change takes it back.
    pub ends_confirm: Option<u64>,
}

/// A finished call is charged otherwise (cdr.md 7). The CDR keeps what it says; this is a revision of it, and with its ledger
/// rows one record: booked whole or never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// The call.
    pub flow_no: u64,
    /// 1 is the first correction of the call.
    pub revision: u32,
    /// Run it belongs to.
    pub run: String,
    /// UTC ms.
    pub at_ms: i64,
    /// Who.
    pub user: String,
    /// Words of the operator.
    pub memo: String,
    /// Billing parameters that are in force for the call from now on.
    pub params: BillingParams,
    /// What every leg was rated by and came to before, as [`crate::proof`] writes it.
    pub before: Text,
    /// The same from now on.
    pub after: Text,
    /// What the difference is to each account.
    pub ledger: Vec<LedgerRow>,
}

/// One journal record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A call was answered. If no [`Record::Settled`] follows, it is billed to its last heartbeat.
    Start {
        /// The call as it was at the answer.
        usage: Box<Usage>,
        /// What a shard needs to go on with the call after a restart, in its own words; empty when it cannot. A later record
        /// of the same call replaces this one.
        #[serde(default, with = "serde_bytes")]
        carry: Vec<u8>,
    },
    /// Calls that were alive: (flow number, held ms).
    Heartbeat {
        /// UTC ms.
        at_ms: i64,
        /// The calls.
        alive: Vec<(u64, i64)>,
        /// Those whose caller has not acknowledged the answer: they are billed the same, but cannot go on after a restart.
        #[serde(default)]
        unacknowledged: Vec<(u64, i64)>,
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
    /// A piece of the rows of a rate group. It means nothing before the [`Record::Change`] whose [`DeckText`] names it: a
    /// deck of a million rows is written between the records of calls and not before them.
    DeckPart {
        /// Rate group.
        group: String,
        /// Which import; no two have the same number.
        import: u64,
        /// Which piece, from 0.
        part: u32,
        /// Its text.
        text: String,
    },
    /// The configuration was changed, whole.
    Change(Box<Change>),
    /// A change that waited for a confirmation stays.
    Confirmed {
        /// Version that was made by it.
        version: u64,
        /// Who confirmed.
        audit: Box<Audit>,
    },
    /// Somebody changed, or tried to change, something that has no other record.
    Audit(Box<Audit>),
    /// A finished call is charged otherwise.
    Corrected(Box<Correction>),
    /// An order of a package, or the fee of a phone, was made, changed or charged.
    Package(Box<PackageEvent>),
}
