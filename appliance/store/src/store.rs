//! The projector: turns journal records into rows, a batch per transaction, each record once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{CachedStatement, Connection};
use tandem_rating::cdr::Cdr;
use tandem_rating::record::Record;
use tandem_rating::usage::Usage;

use crate::cdr_table;
use crate::changes;
use crate::error::StoreError;
use crate::ledger::{Balances, Booked, LedgerWriter};
use crate::reader::Reader;
use crate::schema::{self, key};

/// Notes kept of one batch; the rest is counted. A batch of nothing but duplicates must not fill the memory.
const NOTES_MAX: usize = 20;

/// Records per transaction that [`Projector::run_once`] is meant to be called with: beyond it the cost per record hardly
/// falls, and the transaction delays the reader of the newest calls.
pub const BATCH: usize = 1000;

/// How the database is kept.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// ISO 4217 code of all money; fixed with the first start.
    pub currency: String,
    /// The server's zone: minutes east of UTC, for the day a call belongs to.
    pub zone_offset_min: i32,
}

impl StoreOptions {
    /// Money in `currency`, days in UTC.
    pub fn new(currency: &str) -> StoreOptions {
        StoreOptions { currency: currency.to_owned(), zone_offset_min: 0 }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Records that were new.
    pub records: usize,
    /// Records that were in the database already.
    pub skipped: usize,
    /// CDRs stored.
    pub cdrs: usize,
    /// Calls settled without a CDR (cdr.md 3).
    pub suppressed: usize,
    /// Ledger rows booked.
    pub ledger_rows: usize,
    /// Settled calls whose flow number, and ledger rows whose key, was known: not booked again.
    pub duplicates: usize,
    /// Ledger rows whose balance after is not the sum of the account's rows: somebody counted wrongly.
    pub disagreements: usize,
    /// Last record that is in the database now.
    pub applied_seq: u64,
    /// Duplicates and disagreements in sentences; the first few.
    pub notes: Vec<String>,
}

impl Applied {
    fn note(&mut self, note: impl FnOnce() -> String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note());
        }
    }
}

/// The one writer of the database.
#[derive(Debug)]
pub struct Projector {
    connection: Connection,
    path: PathBuf,
    zone_offset_ms: i64,
    state: State,
}

/// What the writer knows without asking; read anew when a batch was rolled back.
#[derive(Debug, Default)]
struct State {
    balances: Balances,
    applied_seq: u64,
    flow_max: u64,
    alive_ms: i64,
    /// Day -> row ids given out. A day that is here has its table.
    days: HashMap<i64, i64>,
}

impl State {
    fn load(connection: &Connection, path: &Path) -> Result<State, StoreError> {
        Ok(State {
            balances: Balances::load(connection, path)?,
            applied_seq: schema::meta_number(connection, path, key::APPLIED_SEQ)? as u64,
            flow_max: schema::meta_number(connection, path, key::FLOW_MAX)? as u64,
            alive_ms: schema::meta_number(connection, path, key::ALIVE_MS)?,
            days: HashMap::new(),
        })
    }
}

impl Projector {
    /// Opens the database in folder `dir` for writing; makes it when it is missing.
    ///
    /// # Errors
    /// A file that is damaged, of another program or of a newer version; another currency; the disk.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Projector, StoreError> {
        let path = dir.join(schema::DATABASE_FILE);
        let connection = schema::open_writer(&path, &options.currency)?;
        let state = State::load(&connection, &path)?;
        Ok(Projector { connection, path, zone_offset_ms: i64::from(options.zone_offset_min) * 60_000, state })
    }

    /// Last journal record that is in the database.
    pub fn applied_seq(&self) -> u64 {
        self.state.applied_seq
    }

    /// Largest flow number any record ever named.
    pub fn flow_max(&self) -> u64 {
        self.state.flow_max
    }

    /// Time of the last heartbeat, UTC ms; 0 when there was none.
    pub fn alive_ms(&self) -> i64 {
        self.state.alive_ms
    }

    pub(crate) fn connection(&self) -> (&Connection, &Path) {
        (&self.connection, &self.path)
    }

    /// Takes up to `limit` records from `reader` and applies them.
    ///
    /// # Errors
    /// Of the journal, or as [`Projector::apply_batch`]. The reader then stands where it stood: ask again.
    pub fn run_once(&mut self, reader: &mut Reader, limit: usize) -> Result<Applied, StoreError> {
        let batch = reader.next_batch(limit)?;
        let result = self.apply_batch(&batch);
        if let (Err(_), Some((first_seq, _))) = (&result, batch.first()) {
            reader.seek(*first_seq);
        }
        result
    }

    /// Applies `records` in one transaction, together with the advance of the applied sequence.
    ///
    /// A record that was applied before is skipped. A settled call whose flow number is known changes nothing, neither
    /// does a ledger row whose key is known; both are counted.
    ///
    /// # Errors
    /// The database, or an amount out of range. Nothing of the batch is applied then.
    pub fn apply_batch(&mut self, records: &[(u64, Record)]) -> Result<Applied, StoreError> {
        let skipped = records.iter().take_while(|(seq, _)| *seq <= self.state.applied_seq).count();
        let new = records.get(skipped..).unwrap_or_default();
        if new.is_empty() {
            return Ok(Applied { skipped, applied_seq: self.state.applied_seq, ..Applied::default() });
        }
        let begin = "begin a transaction";
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(StoreError::sql(&self.path, begin))?;
        let result =
            write_batch(&self.connection, &self.path, self.zone_offset_ms, &mut self.state, new).and_then(|applied| {
                self.connection.execute_batch("COMMIT").map_err(StoreError::sql(&self.path, "commit a transaction"))?;
                Ok(applied)
            });
        match result {
            Ok(applied) => Ok(Applied { skipped: skipped + applied.skipped, ..applied }),
            Err(error) => {
                // Some errors roll back by themselves; then this one fails and means nothing.
                let _ = self.connection.execute_batch("ROLLBACK");
                self.state = State::load(&self.connection, &self.path)?;
                Err(error)
            }
        }
    }
}

/// Writes the rows of a batch; the caller owns the transaction.
fn write_batch(
    connection: &Connection,
    path: &Path,
    zone_offset_ms: i64,
    state: &mut State,
    records: &[(u64, Record)],
) -> Result<Applied, StoreError> {
    let mut applied = Applied::default();
    let mut writer = Writer::new(connection, path, zone_offset_ms)?;
    for (seq, record) in records {
        if *seq <= state.applied_seq {
            applied.skipped += 1;
            continue;
        }
        writer.apply(state, &mut applied, *seq, record)?;
        applied.records += 1;
        state.applied_seq = *seq;
    }
    writer.finish(state)?;
    state.balances.store(connection, path)?;
    for (key, value) in [
        (key::APPLIED_SEQ, state.applied_seq as i64),
        (key::FLOW_MAX, state.flow_max as i64),
        (key::ALIVE_MS, state.alive_ms),
    ] {
        schema::set_meta(connection, path, key, &value.to_string())?;
    }
    applied.applied_seq = state.applied_seq;
    Ok(applied)
}

/// The prepared statements of one batch.
struct Writer<'c> {
    connection: &'c Connection,
    path: &'c Path,
    zone_offset_ms: i64,
    ledger: LedgerWriter<'c>,
    settle: CachedStatement<'c>,
    start: CachedStatement<'c>,
    alive: CachedStatement<'c>,
    close: CachedStatement<'c>,
    cdrs: HashMap<i64, CachedStatement<'c>>,
    text: String,
}

impl<'c> Writer<'c> {
    fn new(connection: &'c Connection, path: &'c Path, zone_offset_ms: i64) -> Result<Writer<'c>, StoreError> {
        let prepare = || -> rusqlite::Result<Writer<'c>> {
            Ok(Writer {
                connection,
                path,
                zone_offset_ms,
                ledger: LedgerWriter::new(connection)?,
                settle: connection
                    .prepare_cached("INSERT INTO settled (flow_no, day) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?,
                start: connection.prepare_cached(
                    "INSERT INTO open_call (flow_no, usage, held_ms)
                     SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM settled WHERE flow_no = ?1)
                     ON CONFLICT (flow_no) DO UPDATE SET usage = excluded.usage",
                )?,
                alive: connection
                    .prepare_cached("UPDATE open_call SET held_ms = max(held_ms, ?2) WHERE flow_no = ?1")?,
                close: connection.prepare_cached("DELETE FROM open_call WHERE flow_no = ?1")?,
                cdrs: HashMap::new(),
                text: String::new(),
            })
        };
        prepare().map_err(StoreError::sql(path, "prepare a statement"))
    }

    fn apply(&mut self, state: &mut State, applied: &mut Applied, seq: u64, record: &Record) -> Result<(), StoreError> {
        match record {
            Record::Start { usage } => self.start(state, usage),
            Record::Heartbeat { at_ms, alive } => {
                state.alive_ms = state.alive_ms.max(*at_ms);
                for (flow_no, held_ms) in alive {
                    self.alive
                        .execute((*flow_no as i64, held_ms))
                        .map_err(StoreError::sql(self.path, "write table open_call"))?;
                }
                Ok(())
            }
            Record::Settled { flow_no, cdr, ledger } => {
                state.flow_max = state.flow_max.max(*flow_no);
                let day = cdr.as_ref().map_or(0, |cdr| cdr_table::day_of(cdr.end_ms, self.zone_offset_ms));
                let new = self
                    .settle
                    .execute((*flow_no as i64, day))
                    .map_err(StoreError::sql(self.path, "write table settled"))?;
                if new == 0 {
                    applied.duplicates += 1;
                    applied.note(|| format!("record {seq}: call {flow_no} was settled before; not booked again"));
                    return Ok(());
                }
                self.close.execute([*flow_no as i64]).map_err(StoreError::sql(self.path, "write table open_call"))?;
                match cdr {
                    Some(cdr) => {
                        self.cdr(state, day, *flow_no, cdr)?;
                        applied.cdrs += 1;
                    }
                    None => applied.suppressed += 1,
                }
                for row in ledger {
                    self.book(state, applied, seq, row)?;
                }
                Ok(())
            }
            Record::Ledger(row) => self.book(state, applied, seq, row),
            Record::Site { version, at_ms, user, text } => self
                .connection
                .prepare_cached(
                    "INSERT INTO site (version, at_ms, user, text) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (version) DO UPDATE SET at_ms = ?2, user = ?3, text = ?4",
                )
                .and_then(|mut statement| statement.execute((*version as i64, at_ms, user, text)))
                .map(|_| ())
                .map_err(StoreError::sql(self.path, "write table site")),
            Record::Param { at_ms, user, name, value } => self
                .connection
                .prepare_cached("INSERT INTO param_history (seq, name, value, at_ms, user) VALUES (?1, ?2, ?3, ?4, ?5)")
                .and_then(|mut statement| statement.execute((seq as i64, name, value, at_ms, user)))
                .map(|_| ())
                .map_err(StoreError::sql(self.path, "write table param_history")),
            Record::Deck { version, at_ms, user, group, csv } => {
                changes::deck(self.connection, self.path, (group, *version), (*at_ms, user), csv)
            }
            Record::Change(change) => changes::change(self.connection, self.path, seq, change),
            Record::Confirmed { version, audit } => {
                changes::confirmed(self.connection, self.path, seq, *version, audit)
            }
            Record::Audit(audit) => changes::audit(self.connection, self.path, seq, audit),
        }
    }

    fn start(&mut self, state: &mut State, usage: &Usage) -> Result<(), StoreError> {
        state.flow_max = state.flow_max.max(usage.flow_no);
        let blob = rmp_serde::to_vec(usage).map_err(|error| StoreError::Row {
            table: "open_call".to_owned(),
            row: usage.flow_no.to_string(),
            column: "usage".to_owned(),
            cause: error.to_string(),
        })?;
        self.start
            .execute((usage.flow_no as i64, blob, usage.hold_ms))
            .map_err(StoreError::sql(self.path, "write table open_call"))?;
        Ok(())
    }

    fn cdr(&mut self, state: &mut State, day: i64, flow_no: u64, cdr: &Cdr) -> Result<(), StoreError> {
        if cdr.flow_no != flow_no {
            return Err(StoreError::Row {
                table: cdr_table::table_name(day),
                row: flow_no.to_string(),
                column: "flow_no".to_owned(),
                cause: format!("the journal settles call {flow_no} with the CDR of call {}", cdr.flow_no),
            });
        }
        if let std::collections::hash_map::Entry::Vacant(vacant) = state.days.entry(day) {
            cdr_table::ensure(self.connection, self.path, day)?;
            let cdrs = self
                .connection
                .query_row("SELECT cdrs FROM cdr_day WHERE day = ?1", [day], |row| row.get(0))
                .map_err(StoreError::sql(self.path, "read table cdr_day"))?;
            vacant.insert(cdrs);
        }
        if !self.cdrs.contains_key(&day) {
            let statement = self
                .connection
                .prepare_cached(&cdr_table::insert_sql(day))
                .map_err(StoreError::sql(self.path, "prepare a CDR day table"))?;
            self.cdrs.insert(day, statement);
        }
        let (Some(id), Some(statement)) = (state.days.get_mut(&day), self.cdrs.get_mut(&day)) else {
            return Ok(());
        };
        *id += 1;
        cdr_table::insert(statement, cdr, *id, &mut self.text)
            .map_err(StoreError::sql(self.path, "write a CDR day table"))
    }

    fn book(
        &mut self,
        state: &mut State,
        applied: &mut Applied,
        seq: u64,
        row: &tandem_rating::record::LedgerRow,
    ) -> Result<(), StoreError> {
        if let Some(flow_no) = row.flow_no {
            state.flow_max = state.flow_max.max(flow_no);
        }
        match self.ledger.book(&mut state.balances, self.path, row)? {
            Booked::New => applied.ledger_rows += 1,
            Booked::Disagrees { sum } => {
                applied.ledger_rows += 1;
                applied.disagreements += 1;
                applied.note(|| {
                    format!(
                        "record {seq}: row {} of account {} says balance {}, its rows sum to {sum}",
                        row.key, row.account, row.balance_after
                    )
                });
            }
            Booked::Duplicate => {
                applied.duplicates += 1;
                applied.note(|| format!("record {seq}: ledger row {} was booked before; not booked again", row.key));
            }
        }
        Ok(())
    }

    /// Writes how many CDRs each day has now.
    fn finish(self, state: &State) -> Result<(), StoreError> {
        for day in self.cdrs.keys() {
            let cdrs = state.days.get(day).copied().unwrap_or(0);
            self.connection
                .prepare_cached("UPDATE cdr_day SET cdrs = ?2 WHERE day = ?1")
                .and_then(|mut statement| statement.execute([*day, cdrs]))
                .map_err(StoreError::sql(self.path, "write table cdr_day"))?;
        }
        Ok(())
    }
}

/// How a checkpoint went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpointed {
    /// A reader stood in the way of finishing.
    pub busy: bool,
    /// Pages in the write-ahead log.
    pub log_pages: i64,
    /// Of these, pages that are in the database file.
    pub done_pages: i64,
}

/// Moves pages from the write-ahead log into the database, from a connection of its own so that the writer never waits
/// for it. Call it every second or so; until then the log only grows.
#[derive(Debug)]
pub struct Checkpointer {
    connection: Connection,
    path: PathBuf,
}

impl Checkpointer {
    /// Opens a connection to the database in folder `dir`, which must exist.
    ///
    /// # Errors
    /// The file.
    pub fn open(dir: &Path) -> Result<Checkpointer, StoreError> {
        let path = dir.join(schema::DATABASE_FILE);
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)
            .and_then(|connection| {
                // The sync of the database file is what makes a checkpoint safe; FULL is the default and stays.
                connection.pragma_update(None, "wal_autocheckpoint", 0)?;
                Ok(connection)
            })
            .map_err(StoreError::sql(&path, "open the database for checkpoints"))?;
        Ok(Checkpointer { connection, path })
    }

    /// Copies what it can without making anybody wait.
    ///
    /// # Errors
    /// The disk.
    pub fn run(&self) -> Result<Checkpointed, StoreError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                Ok(Checkpointed { busy: row.get::<_, i64>(0)? != 0, log_pages: row.get(1)?, done_pages: row.get(2)? })
            })
            .map_err(StoreError::sql(&self.path, "checkpoint"))
    }
}
