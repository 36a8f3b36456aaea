//! Start after a stop or a crash: bring the database up to the journal, and tell what was there.

use std::path::Path;

use serde::Deserialize;
use tandem_rating::money::Money;
use tandem_rating::usage::Usage;

use crate::changes::{self, StoredChange};
use crate::config::{self, StoredParam, StoredSite};
use crate::decks::{self, StoredDeck};
use crate::error::StoreError;
use crate::journal::Journal;
use crate::ledger;
use crate::package::{self, StoredOrder};
use crate::reader::Reader;
use crate::store::{BATCH, Projector, StoreOptions};

/// `end_direction` of a call that the server ended (cdr.md 2).
const END_BY_SERVER: u8 = 2;
/// End reason "System Restart" (endreasons.md).
const SYSTEM_RESTART: i32 = -40;
const SYSTEM_RESTART_TEXT: &str = "System Restart";

/// Everything the switch has to know before it takes a call.
#[derive(Debug)]
pub struct Recovered {
    /// The writer of the database, up to date with the journal.
    pub projector: Projector,
    /// Continues where the projector stands, bound to what is synced.
    pub reader: Reader,
    /// Every account and its balance, by name.
    pub balances: Vec<(String, Money)>,
    /// Calls that were answered and never settled, by flow number. Each goes on, or is settled with [`settle_recovered`].
    pub open_calls: Vec<OpenCall>,
    /// New flow numbers must be above this one.
    pub flow_floor: u64,
    /// The newest site configuration.
    pub site: Option<StoredSite>,
    /// Version of the newest change; 0 when there was none. Above that of `site` when only rates were changed since.
    pub version: u64,
    /// A change that nobody has confirmed yet: it is to be rolled back at its time.
    pub unconfirmed: Option<StoredChange>,
    /// Parameters that were ever set.
    pub params: Vec<StoredParam>,
    /// The newest version of each rate group, of deleted ones too: their versions go on when they are made again.
    pub decks: Vec<StoredDeck>,
    /// Every order of a package and fee of a phone, over or not.
    pub packages: Vec<StoredOrder>,
    /// What was done, in sentences, for the log.
    pub lines: Vec<String>,
}

/// A call that was answered and never settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCall {
    /// The call as it was at the answer.
    pub usage: Usage,
    /// How long it is known to have lasted, ms.
    pub held_ms: i64,
    /// Whether a heartbeat told of it: its caller had acknowledged the answer.
    pub acknowledged: bool,
    /// What its shard wrote down to go on with it; empty when it cannot go on.
    pub carry: Vec<u8>,
}

/// Opens the database in the folder of `journal`, replays what it has not got, and reads back the state.
///
/// The journal is opened first, and so the folder is locked and its torn tail cut. `now_ms` is only used to say how long
/// the switch was away.
///
/// # Errors
/// Journal or database damaged, of a newer version, or of another currency; the disk.
pub fn recover(journal: &mut Journal, options: &StoreOptions, now_ms: i64) -> Result<Recovered, StoreError> {
    let dir = journal.dir().to_owned();
    // Records appended before this call would be invisible to the replay.
    journal.flush()?;
    let mut projector = Projector::open(&dir, options)?;
    let mut lines = Vec::new();
    let skipped = journal.skip_to(projector.applied_seq())?;
    if skipped > 0 {
        lines.push(format!(
            "the database is {skipped} records ahead of the journal: the journal lost its end; the database keeps them, new \
             records begin at {}",
            journal.next_seq()
        ));
    }
    let from = projector.applied_seq() + 1;
    let mut reader = Reader::from_seq(&dir, from)?;
    let replayed = replay(&mut projector, &mut reader, &mut lines)?;
    let positions = journal.positions();
    positions.advance_applied(projector.applied_seq());

    let (connection, path) = projector.connection();
    let balances =
        ledger::accounts(connection, path)?.into_iter().map(|account| (account.name, account.balance)).collect();
    let site = config::site(connection, path, None)?;
    let changed = changes::newest(connection, path)?;
    let version = changed.max(site.as_ref().map_or(0, |site| site.version));
    let unconfirmed = changes::unconfirmed(connection, path)?;
    let params = config::params(connection, path)?;
    decks::sweep(connection, path)?;
    let decks = decks::newest(connection, path)?;
    let open_calls = open_calls(connection, path)?;
    let packages = package::orders(connection, path)?;
    lines.push(format!("replayed {replayed} records from {from}, {} calls to settle", open_calls.len()));
    if projector.alive_ms() > 0 {
        let away_ms = now_ms.saturating_sub(projector.alive_ms()).max(0);
        lines.push(format!("last heartbeat {away_ms} ms ago"));
    }
    Ok(Recovered {
        flow_floor: projector.flow_max(),
        reader: reader.bound_to(positions),
        projector,
        balances,
        open_calls,
        site,
        version,
        unconfirmed,
        params,
        decks,
        packages,
        lines,
    })
}

/// Applies everything the journal has.
fn replay(projector: &mut Projector, reader: &mut Reader, lines: &mut Vec<String>) -> Result<u64, StoreError> {
    let mut replayed = 0;
    loop {
        let applied = projector.run_once(reader, BATCH)?;
        if applied.records + applied.skipped == 0 {
            return Ok(replayed);
        }
        replayed += applied.records as u64;
        lines.extend(applied.notes);
    }
}

/// Reads the call of a row: its usage, and behind it what a shard wrote, which older versions do not have.
pub(crate) fn open_call(
    encoded: &[u8],
    held_ms: i64,
    acknowledged: bool,
) -> Result<OpenCall, rmp_serde::decode::Error> {
    let mut values = rmp_serde::Deserializer::from_read_ref(encoded);
    let usage = Usage::deserialize(&mut values)?;
    let carry = serde_bytes::ByteBuf::deserialize(&mut values).map(serde_bytes::ByteBuf::into_vec).unwrap_or_default();
    Ok(OpenCall { usage, held_ms, acknowledged, carry })
}

fn open_calls(connection: &rusqlite::Connection, path: &Path) -> Result<Vec<OpenCall>, StoreError> {
    let rows: Vec<(i64, Vec<u8>, i64, bool)> = connection
        .prepare_cached(
            "SELECT flow_no, usage, max(open_call.held_ms, ifnull(open_held.held_ms, 0)), open_held.held_ms IS NOT NULL
             FROM open_call LEFT JOIN open_held USING (flow_no) ORDER BY flow_no",
        )
        .and_then(|mut statement| {
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
        })
        .map_err(StoreError::sql(path, "read table open_call"))?;
    rows.into_iter()
        .map(|(flow_no, blob, held_ms, acknowledged)| match open_call(&blob, held_ms, acknowledged) {
            Ok(call) => Ok(call),
            Err(error) => Err(StoreError::Row {
                table: "open_call".to_owned(),
                row: (flow_no as u64).to_string(),
                column: "usage".to_owned(),
                cause: error.to_string(),
            }),
        })
        .collect()
}

/// The call as it is billed after a crash: up to its last heartbeat, ended by the server, marked as recovered
/// (billing.md 6.10). `held_ms` below 0 counts as 0.
pub fn settle_recovered(usage: Usage, held_ms: i64) -> Usage {
    let hold_ms = held_ms.max(0);
    let end_ms = usage.connect_ms.unwrap_or(usage.setup_ms).saturating_add(hold_ms);
    let mut usage = Usage {
        hold_ms,
        end_ms,
        end_direction: END_BY_SERVER,
        end_reason: SYSTEM_RESTART,
        end_reason_text: SYSTEM_RESTART_TEXT.into(),
        ..usage
    };
    usage.flags.recovered = true;
    usage
}
