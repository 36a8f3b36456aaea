//! The journal, and the database that is written from it.
//!
//! The journal is the truth: a charge, a payment or a configuration is done when its record is in it. The SQLite database
//! is its queryable projection, one transaction per batch, and can be written anew from the journal.
//!
//! It will not: rate calls, decide what a balance allows, own a thread or read a clock. The rating thread appends and
//! flushes, a disk thread syncs and projects, both owned by the caller.

#![forbid(unsafe_code)]

mod amount;
mod base;
mod block_index;
mod block_sums;
mod block_values;
mod cdr_table;
mod changes;
mod config;
mod correction;
mod decks;
mod disk;
mod error;
mod frame;
mod journal;
mod ledger;
mod msgpack;
mod package;
mod payload;
mod plan;
mod query;
mod reader;
mod rebuild;
mod recover;
mod report;
mod schema;
mod segment;
mod store;
mod tally;
mod verify;

pub use base::{BASE_FILE, Base, base, is_base_due, journal_bytes, make_base, purge};
pub use cdr_table::{day_of, day_start_ms};
pub use changes::{AuditFilter, StoredAudit, StoredChange};
pub use config::{StoredParam, StoredSite};
pub use correction::StoredCorrection;
pub use decks::{DECK_PART_BYTES, DeckCrc, DeckVersion, StoredDeck, deck_crc, deck_parts};
pub use disk::Disk;
pub use error::{JournalError, StoreError};
pub use frame::{Encoded, PAYLOAD_MAX};
pub use journal::{Cut, Journal, JournalOptions, MakeDisk, OpenReport, Positions, Purged, SyncHandle};
pub use ledger::StoredAccount;
pub use package::StoredOrder;
pub use query::{
    CdrFilter, CdrSort, CdrTotals, Counted, LIMIT_DEFAULT, LIMIT_MAX, LedgerFilter, NumberMatch, Queries,
    StoredLedgerRow,
};
pub use reader::Reader;
pub use rebuild::{Rebuilt, is_damage, mark_damaged, marked_damaged, recover_or_rebuild};
pub use recover::{OpenCall, Recovered, recover, settle_recovered};
pub use report::{ReportBy, ReportChecked, ReportRow, ReportSums};
pub use schema::DATABASE_FILE;
pub use store::{Applied, BATCH, Checkpointed, Checkpointer, Projector, StoreOptions};
pub use verify::Verified;
