//! The projector: turns journal records into rows, a batch per transaction, each record once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use foldhash::fast::RandomState;
use rusqlite::{CachedStatement, Connection};
use tandem_rating::record::{LedgerKind, LedgerRow, Record};

use crate::block_index::{self, Tail};
use crate::cdr_table::{self, Layout};
use crate::changes;
use crate::correction;
use crate::decks;
use crate::error::StoreError;
use crate::ledger::{Booked, CALL_ROWS_MAX, Ledger, LedgerWriter};
use crate::package;
use crate::payload::{self, Booking, FIELDS, Field, Payload, Settled, Started};
use crate::reader::Reader;
use crate::schema::{self, key};
use crate::tally::{Facts, Tallies};
use crate::verify;

/// Notes kept of one batch; the rest is counted. A batch of nothing but duplicates must not fill the memory.
const NOTES_MAX: usize = 20;

/// Records per transaction that [`Projector::run_once`] is meant to be called with: beyond it the cost per record hardly
/// falls, and the transaction (some 0.3 s) delays the reader of the newest calls.
pub const BATCH: usize = 20_000;

/// When a day has so many calls, the days before it are over: their last rows get their index, however few they are.
const DAY_IS_OVER: i64 = 1024;

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
    /// Records of settled calls that have a CDR, known ones too.
    pub cdr_records: usize,
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
#[derive(Debug)]
struct State {
    ledger: Ledger,
    applied_seq: u64,
    flow_max: u64,
    alive_ms: i64,
    /// The days that were written to.
    days: HashMap<i64, Day>,
    /// Calls in table `open_call`; whether they may be in `open_held` too.
    open: HashMap<u64, bool, RandomState>,
    /// The reports as far as they are known.
    reports: Tallies,
}

/// A day that has its table.
#[derive(Debug)]
struct Day {
    layout: Layout,
    tail: Tail,
}

impl State {
    fn load(connection: &Connection, path: &Path) -> Result<State, StoreError> {
        let open = connection
            .prepare_cached("SELECT flow_no FROM open_call")
            .and_then(|mut statement| {
                statement.query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, true)))?.collect()
            })
            .map_err(StoreError::sql(path, "read table open_call"))?;
        Ok(State {
            ledger: Ledger::load(connection, path)?,
            applied_seq: schema::meta_number(connection, path, key::APPLIED_SEQ)? as u64,
            flow_max: schema::meta_number(connection, path, key::FLOW_MAX)? as u64,
            alive_ms: schema::meta_number(connection, path, key::ALIVE_MS)?,
            days: HashMap::new(),
            open,
            reports: Tallies::default(),
        })
    }
}

impl Day {
    /// Makes its table, or reads back the rows that are in no block yet.
    fn open(connection: &Connection, path: &Path, day: i64) -> Result<Day, StoreError> {
        let layout = cdr_table::ensure(connection, path, day)?;
        let ends = || -> rusqlite::Result<(i64, i64)> {
            let cdrs = connection.query_row("SELECT cdrs FROM cdr_day WHERE day = ?1", [day], |row| row.get(0))?;
            Ok((block_index::last_id(connection, day)?, cdrs))
        };
        let (indexed, cdrs) = ends().map_err(StoreError::sql(path, "read table cdr_day"))?;
        let mut tail = Tail::new(indexed + 1, cdr_table::INDEX);
        let mut last_ms = 0;
        cdr_table::key_rows(connection, path, day, indexed + 1, cdrs, |id, end_ms, keys, numbers, sums| {
            tail.skip_to(id, end_ms);
            tail.push(end_ms, keys, &numbers);
            tail.add(sums);
            last_ms = end_ms;
        })?;
        tail.skip_to(cdrs + 1, last_ms);
        Ok(Day { layout, tail })
    }

    fn close(&mut self, connection: &Connection, path: &Path, day: i64) -> Result<(), StoreError> {
        self.tail.close(connection, day, cdr_table::INDEX).map_err(StoreError::sql(path, "write table block_index"))
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
        let zone_offset_ms = i64::from(options.zone_offset_min) * 60_000;
        schema::set_meta(&connection, &path, key::ZONE_OFFSET_MS, &zone_offset_ms.to_string())?;
        Ok(Projector { connection, path, zone_offset_ms, state })
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

    /// Takes up to `limit` records from `reader` and applies them in one transaction, as [`Projector::apply_batch`] does.
    ///
    /// # Errors
    /// Of the journal, or as [`Projector::apply_batch`]. The reader then stands where it stood: ask again.
    pub fn run_once(&mut self, reader: &mut Reader, limit: usize) -> Result<Applied, StoreError> {
        let nothing = Applied { applied_seq: self.state.applied_seq, ..Applied::default() };
        if limit == 0 {
            return Ok(nothing);
        }
        let from = reader.next_seq();
        let Some(mut seq) = reader.find()? else { return Ok(nothing) };
        let first_seq = seq;
        let result = self.transaction(|writer, state, applied| {
            loop {
                if let Err(cause) = writer.take(state, applied, seq, reader.payload())? {
                    let error = reader.not_understood(seq, &cause);
                    // What came before it is applied; the error comes again with the next call.
                    return if seq == first_seq { Err(error.into()) } else { Ok(()) };
                }
                if applied.records + applied.skipped >= limit {
                    return Ok(());
                }
                match reader.find() {
                    Ok(Some(next)) => seq = next,
                    Ok(None) | Err(_) => return Ok(()),
                }
            }
        });
        if result.is_err() {
            reader.seek(from);
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
        let mut encoded = Vec::new();
        let applied = self.transaction(|writer, state, applied| {
            for (seq, record) in new {
                encoded.clear();
                let taken = match rmp_serde::encode::write(&mut encoded, record) {
                    Ok(()) => writer.take(state, applied, *seq, &encoded)?,
                    Err(error) => Err(error.to_string()),
                };
                taken.map_err(|cause| not_written(*seq, cause))?;
            }
            Ok(())
        })?;
        Ok(Applied { skipped: skipped + applied.skipped, ..applied })
    }

    /// Drops the tables of days before `day` (yyyymmdd); which were dropped. Reports, ledger and the numbers of settled calls
    /// stay. The space is used again for later days; the file does not shrink. Costs about as long as reading them.
    ///
    /// # Errors
    /// The database. Days that were dropped before the error stay dropped.
    pub fn drop_days_before(&mut self, day: i64) -> Result<Vec<i64>, StoreError> {
        let mut dropped = Vec::new();
        for (old, _) in verify::days(&self.connection, &self.path)?.into_iter().take_while(|(old, _)| *old < day) {
            let sql = format!(
                "BEGIN IMMEDIATE; DROP VIEW IF EXISTS {}; DROP TABLE IF EXISTS {}; {}
                 DELETE FROM cdr_day WHERE day = {old}; COMMIT;",
                cdr_table::view_name(old),
                cdr_table::table_name(old),
                block_index::forget_sql(old)
            );
            // A statement that is kept of a table that goes would hold it.
            self.connection.flush_prepared_statement_cache();
            if let Err(error) = self.connection.execute_batch(&sql) {
                let _ = self.connection.execute_batch("ROLLBACK");
                return Err(StoreError::sql(&self.path, "drop a day of CDRs")(error));
            }
            self.state.days.remove(&old);
            dropped.push(old);
        }
        Ok(dropped)
    }

    /// Runs `work` and keeps all of it, or nothing.
    fn transaction(
        &mut self,
        work: impl FnOnce(&mut Writer<'_>, &mut State, &mut Applied) -> Result<(), StoreError>,
    ) -> Result<Applied, StoreError> {
        let (connection, path, state) = (&self.connection, &self.path, &mut self.state);
        let begin = "begin a transaction";
        connection.execute_batch("BEGIN IMMEDIATE").map_err(StoreError::sql(path, begin))?;
        let run = || -> Result<Applied, StoreError> {
            let mut applied = Applied::default();
            let mut writer = Writer::new(connection, path, self.zone_offset_ms)?;
            work(&mut writer, state, &mut applied)?;
            writer.finish(state)?;
            state.ledger.store(connection, path)?;
            for (key, value) in [
                (key::APPLIED_SEQ, state.applied_seq as i64),
                (key::FLOW_MAX, state.flow_max as i64),
                (key::ALIVE_MS, state.alive_ms),
            ] {
                schema::set_meta(connection, path, key, &value.to_string())?;
            }
            connection.execute_batch("COMMIT").map_err(StoreError::sql(path, "commit a transaction"))?;
            applied.applied_seq = state.applied_seq;
            Ok(applied)
        };
        let result = run();
        if result.is_err() {
            // Some errors roll back by themselves; then this one fails and means nothing.
            let _ = self.connection.execute_batch("ROLLBACK");
            self.state = State::load(&self.connection, &self.path)?;
        }
        result
    }
}

fn not_written(seq: u64, cause: String) -> StoreError {
    StoreError::Row { table: "journal".to_owned(), row: seq.to_string(), column: "record".to_owned(), cause }
}

/// A call that was answered in this batch.
struct Answered {
    usage: Vec<u8>,
    held_ms: i64,
    /// No earlier batch wrote a row of it.
    is_first: bool,
}

/// The prepared statements of one batch, and what is written at its end.
struct Writer<'c> {
    connection: &'c Connection,
    path: &'c Path,
    zone_offset_ms: i64,
    ledger: LedgerWriter<'c>,
    settle: CachedStatement<'c>,
    held: CachedStatement<'c>,
    held_before: CachedStatement<'c>,
    close: CachedStatement<'c>,
    close_held: CachedStatement<'c>,
    cdrs: HashMap<i64, CachedStatement<'c>>,
    /// Calls that were answered in this batch: most that end in it too never go through the database.
    started: HashMap<u64, Answered, RandomState>,
    json: Vec<u8>,
}

impl<'c> Writer<'c> {
    fn new(connection: &'c Connection, path: &'c Path, zone_offset_ms: i64) -> Result<Writer<'c>, StoreError> {
        let prepare = || -> rusqlite::Result<Writer<'c>> {
            Ok(Writer {
                connection,
                path,
                zone_offset_ms,
                ledger: LedgerWriter::new(connection)?,
                settle: connection.prepare_cached(
                    "INSERT INTO settled (flow_no, day, cdr_id, ledger_id) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                )?,
                held: connection.prepare_cached(
                    "INSERT INTO open_held (flow_no, held_ms) VALUES (?1, ?2)
                     ON CONFLICT (flow_no) DO UPDATE SET held_ms = max(held_ms, ?2)",
                )?,
                held_before: connection
                    .prepare_cached("UPDATE open_call SET held_ms = max(held_ms, ?2) WHERE flow_no = ?1")?,
                close: connection.prepare_cached("DELETE FROM open_call WHERE flow_no = ?1")?,
                close_held: connection.prepare_cached("DELETE FROM open_held WHERE flow_no = ?1")?,
                cdrs: HashMap::new(),
                started: HashMap::default(),
                json: Vec::new(),
            })
        };
        prepare().map_err(StoreError::sql(path, "prepare a statement"))
    }

    /// Takes the next record. The inner error says in words that it is not understood; nothing was written then.
    fn take(
        &mut self,
        state: &mut State,
        applied: &mut Applied,
        seq: u64,
        encoded: &[u8],
    ) -> Result<Result<(), String>, StoreError> {
        if seq <= state.applied_seq {
            applied.skipped += 1;
            return Ok(Ok(()));
        }
        match payload::read(encoded) {
            Payload::Settled(settled) => self.settled(state, applied, seq, &settled)?,
            Payload::Started(started) => self.started(state, started),
            Payload::Other => {
                let record = match rmp_serde::from_slice::<Record>(encoded) {
                    Ok(record) => record,
                    Err(error) => return Ok(Err(error.to_string())),
                };
                if let Err(cause) = self.other(state, applied, seq, &record)? {
                    return Ok(Err(cause));
                }
            }
        }
        applied.records += 1;
        state.applied_seq = seq;
        Ok(Ok(()))
    }

    fn other(
        &mut self,
        state: &mut State,
        applied: &mut Applied,
        seq: u64,
        record: &Record,
    ) -> Result<Result<(), String>, StoreError> {
        match record {
            Record::Start { .. } | Record::Settled { .. } => {
                // Written by an older version, with fewer fields: as this version writes it, it has them all.
                let encoded = match rmp_serde::to_vec(record) {
                    Ok(encoded) => encoded,
                    Err(error) => return Ok(Err(error.to_string())),
                };
                match payload::read(&encoded) {
                    Payload::Settled(settled) => self.settled(state, applied, seq, &settled)?,
                    Payload::Started(started) => self.started(state, started),
                    Payload::Other => return Ok(Err("a call in a shape that cannot be stored".to_owned())),
                }
            }
            Record::Heartbeat { at_ms, alive, unacknowledged } => {
                state.alive_ms = state.alive_ms.max(*at_ms);
                for (flow_no, held_ms) in alive {
                    let Some(is_held) = state.open.get_mut(flow_no) else { continue };
                    *is_held = true;
                    self.held
                        .execute((*flow_no as i64, held_ms))
                        .map_err(StoreError::sql(self.path, "write table open_held"))?;
                }
                // Without a row in open_held a call was not acknowledged.
                for (flow_no, held_ms) in unacknowledged.iter().filter(|(flow_no, _)| state.open.contains_key(flow_no))
                {
                    if let Some(answered) = self.started.get_mut(flow_no) {
                        answered.held_ms = answered.held_ms.max(*held_ms);
                    } else {
                        self.held_before
                            .execute((*flow_no as i64, held_ms))
                            .map_err(StoreError::sql(self.path, "write table open_call"))?;
                    }
                }
            }
            Record::Ledger(row) => return self.book_all(state, applied, seq, std::slice::from_ref(row)),
            Record::Site { version, at_ms, user, text } => self
                .connection
                .prepare_cached(
                    "INSERT INTO site (version, at_ms, user, text) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (version) DO UPDATE SET at_ms = ?2, user = ?3, text = ?4",
                )
                .and_then(|mut statement| statement.execute((*version as i64, at_ms, user, text)))
                .map(|_| ())
                .map_err(StoreError::sql(self.path, "write table site"))?,
            Record::Param { at_ms, user, name, value } => self
                .connection
                .prepare_cached("INSERT INTO param_history (seq, name, value, at_ms, user) VALUES (?1, ?2, ?3, ?4, ?5)")
                .and_then(|mut statement| statement.execute((seq as i64, name, value, at_ms, user)))
                .map(|_| ())
                .map_err(StoreError::sql(self.path, "write table param_history"))?,
            Record::Deck { version, at_ms, user, group, csv } => {
                changes::deck(self.connection, self.path, (group, *version), (*at_ms, user), csv)?;
            }
            Record::DeckPart { group: _, import, part, text } => {
                decks::part(self.connection, self.path, (*import, *part), text)?;
            }
            Record::Change(change) => changes::change(self.connection, self.path, seq, change)?,
            Record::Confirmed { version, audit } => {
                changes::confirmed(self.connection, self.path, seq, *version, audit)?;
            }
            Record::Audit(audit) => changes::audit(self.connection, self.path, seq, audit)?,
            Record::Corrected(corrected) => {
                if !correction::insert(self.connection, self.path, corrected)? {
                    applied.duplicates += 1;
                    applied.note(|| {
                        let (call, revision) = (corrected.flow_no, corrected.revision);
                        format!("record {seq}: call {call} has revision {revision} already; not booked again")
                    });
                    return Ok(Ok(()));
                }
                return self.book_all(state, applied, seq, &corrected.ledger);
            }
            Record::Package(event) => {
                package::apply(self.connection, self.path, event)?;
                if let Some(audit) = &event.audit {
                    changes::audit(self.connection, self.path, seq, audit)?;
                }
                return self.book_all(state, applied, seq, &event.ledger);
            }
        }
        Ok(Ok(()))
    }

    /// Books rows that stand in a record that is no settlement.
    fn book_all(
        &mut self,
        state: &mut State,
        applied: &mut Applied,
        seq: u64,
        rows: &[LedgerRow],
    ) -> Result<Result<(), String>, StoreError> {
        for row in rows {
            let encoded = rmp_serde::to_vec(row).map_err(|error| not_written(seq, error.to_string()))?;
            match Booking::read(&encoded) {
                Some(row) => self.book(state, applied, seq, None, &row)?,
                None => return Ok(Err("a ledger row in a shape that cannot be stored".to_owned())),
            }
        }
        Ok(Ok(()))
    }

    fn started(&mut self, state: &mut State, started: Started<'_>) {
        state.flow_max = state.flow_max.max(started.flow_no);
        let is_first = match state.open.entry(started.flow_no) {
            Entry::Occupied(_) => self.started.get(&started.flow_no).is_some_and(|answered| answered.is_first),
            Entry::Vacant(vacant) => {
                vacant.insert(false);
                true
            }
        };
        let answered = Answered { usage: started.usage.to_vec(), held_ms: started.hold_ms, is_first };
        self.started.insert(started.flow_no, answered);
    }

    fn settled(
        &mut self,
        state: &mut State,
        applied: &mut Applied,
        seq: u64,
        settled: &Settled<'_>,
    ) -> Result<(), StoreError> {
        let flow_no = settled.flow_no;
        state.flow_max = state.flow_max.max(flow_no);
        let day = settled.cdr.as_ref().map_or(0, |cdr| cdr_table::day_of(cdr_table::end_ms(cdr), self.zone_offset_ms));
        let cdr_id = match &settled.cdr {
            // A call that comes again must not make a table for another day.
            Some(_) if !state.days.contains_key(&day) && self.is_settled(flow_no)? => 0,
            Some(_) => self.day(state, day)?.tail.next_id(),
            None => 0,
        };
        applied.cdr_records += usize::from(settled.cdr.is_some());
        let ledger_id = if settled.ledger.is_empty() { 0 } else { state.ledger.next_id() };
        let new = self
            .settle
            .execute((flow_no as i64, day, cdr_id, ledger_id))
            .map_err(StoreError::sql(self.path, "write table settled"))?;
        if new == 0 {
            applied.duplicates += 1;
            applied.note(|| format!("record {seq}: call {flow_no} was settled before; not booked again"));
            return Ok(());
        }
        if let Some(is_held) = state.open.remove(&flow_no) {
            self.close(flow_no, is_held).map_err(StoreError::sql(self.path, "write table open_call"))?;
        }
        match &settled.cdr {
            Some(cdr) => {
                self.cdr(state, day, flow_no, cdr)?;
                state.reports.add(day, self.zone_offset_ms, &Facts::of(cdr))?;
                applied.cdrs += 1;
            }
            None => applied.suppressed += 1,
        }
        for (index, row) in settled.ledger.iter().enumerate() {
            // Those that are found by the number of the call alone need no look-up of their key.
            let own = index < CALL_ROWS_MAX && settled.ledger.iter().take(index).all(|other| other.key != row.key);
            self.book(state, applied, seq, own.then_some(flow_no), row)?;
        }
        Ok(())
    }

    /// Forgets an answered call.
    fn close(&mut self, flow_no: u64, is_held: bool) -> rusqlite::Result<()> {
        let flow_no_key = flow_no as i64;
        // A call that was answered in this batch has no row yet, unless its start came twice; but perhaps a time.
        let is_new = self.started.remove(&flow_no).is_some_and(|started| started.is_first);
        if !is_new {
            self.close.raw_bind_parameter(1, flow_no_key)?;
            self.close.raw_execute()?;
        }
        if is_held {
            self.close_held.raw_bind_parameter(1, flow_no_key)?;
            self.close_held.raw_execute()?;
        }
        Ok(())
    }

    fn cdr(&mut self, state: &mut State, day: i64, flow_no: u64, cdr: &[Field<'_>; FIELDS]) -> Result<(), StoreError> {
        if cdr.first() != Some(&Field::Int(flow_no as i64)) {
            return Err(StoreError::Row {
                table: cdr_table::table_name(day),
                row: flow_no.to_string(),
                column: "flow_no".to_owned(),
                cause: format!("the journal settles call {flow_no} with the CDR of another, {:?}", cdr.first()),
            });
        }
        let (connection, path) = (self.connection, self.path);
        let Some(Day { layout, tail }) = state.days.get_mut(&day) else { return Ok(()) };
        let statement = match self.cdrs.entry(day) {
            Entry::Occupied(occupied) => occupied.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(
                connection
                    .prepare_cached(&layout.insert_sql(day))
                    .map_err(StoreError::sql(path, "prepare a CDR day table"))?,
            ),
        };
        cdr_table::insert(statement, layout, cdr, tail.next_id(), &mut self.json)
            .map_err(StoreError::sql(path, "write a CDR day table"))?;
        let numbers = cdr_table::numbers(cdr);
        tail.push(cdr_table::end_ms(cdr), cdr_table::keys(cdr), &numbers);
        tail.add(cdr_table::sums(cdr, numbers[2] != 0));
        let (cdrs, full) = (tail.next_id() - 1, tail.is_full());
        if full {
            self.day(state, day)?.close(connection, path, day)?;
        }
        if cdrs == DAY_IS_OVER {
            self.close_before(state, day)?;
        }
        Ok(())
    }

    fn is_settled(&self, flow_no: u64) -> Result<bool, StoreError> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM settled WHERE flow_no = ?1)")
            .and_then(|mut statement| statement.query_row([flow_no as i64], |row| row.get(0)))
            .map_err(StoreError::sql(self.path, "read table settled"))
    }

    /// The day, with its table.
    fn day<'s>(&self, state: &'s mut State, day: i64) -> Result<&'s mut Day, StoreError> {
        match state.days.entry(day) {
            Entry::Occupied(occupied) => Ok(occupied.into_mut()),
            Entry::Vacant(vacant) => Ok(vacant.insert(Day::open(self.connection, self.path, day)?)),
        }
    }

    /// Writes the index of the last rows of the days before `day`.
    fn close_before(&self, state: &mut State, day: i64) -> Result<(), StoreError> {
        for (earlier, cdrs) in verify::days(self.connection, self.path)? {
            let indexed = block_index::last_id(self.connection, earlier)
                .map_err(StoreError::sql(self.path, "read table block"))?;
            if earlier < day && (indexed < cdrs || state.days.contains_key(&earlier)) {
                let earlier_day = self.day(state, earlier)?;
                if !earlier_day.tail.is_empty() {
                    earlier_day.close(self.connection, self.path, earlier)?;
                }
            }
        }
        Ok(())
    }

    /// Books a row; `settles` is the call that is settled with it for the first time.
    fn book(
        &mut self,
        state: &mut State,
        applied: &mut Applied,
        seq: u64,
        settles: Option<u64>,
        row: &Booking<'_>,
    ) -> Result<(), StoreError> {
        if let Some(flow_no) = row.flow_no {
            state.flow_max = state.flow_max.max(flow_no);
        }
        let booked = match settles {
            Some(flow_no) => self.ledger.book_call(&mut state.ledger, self.path, flow_no, row)?,
            None => self.ledger.book(&mut state.ledger, self.path, row)?,
        };
        if booked != Booked::Duplicate && row.kind == LedgerKind::Gift.as_str() {
            package::used(self.connection, self.path, row.memo)?;
        }
        match booked {
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

    /// Writes the calls that are still open, and how many CDRs each day has now.
    fn finish(self, state: &mut State) -> Result<(), StoreError> {
        let Writer { connection, path, started, cdrs, .. } = self;
        let open = || -> rusqlite::Result<()> {
            let mut start = connection.prepare_cached(
                "INSERT INTO open_call (flow_no, usage, held_ms)
                 SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM settled WHERE flow_no = ?1)
                 ON CONFLICT (flow_no) DO UPDATE SET usage = excluded.usage",
            )?;
            // In order, so that they go to the end of the table.
            let mut started: Vec<_> = started.into_iter().collect();
            started.sort_unstable_by_key(|(flow_no, _)| *flow_no);
            for (flow_no, Answered { usage, held_ms, .. }) in started {
                if start.execute((flow_no as i64, usage, held_ms))? == 0 {
                    state.open.remove(&flow_no);
                    connection.prepare_cached("DELETE FROM open_held WHERE flow_no = ?1")?.execute([flow_no as i64])?;
                }
            }
            Ok(())
        };
        open().map_err(StoreError::sql(path, "write table open_call"))?;
        state.reports.store(connection, path)?;
        for day in cdrs.keys() {
            let cdrs = state.days.get(day).map_or(0, |day| day.tail.next_id() - 1);
            connection
                .prepare_cached("UPDATE cdr_day SET cdrs = ?2 WHERE day = ?1")
                .and_then(|mut statement| statement.execute([*day, cdrs]))
                .map_err(StoreError::sql(path, "write table cdr_day"))?;
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
