//! The database file: how it is opened, what its fixed tables are, and the few values it keeps of itself.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::block_index;
use crate::block_sums;
use crate::block_values;
use crate::decks;
use crate::error::StoreError;
use crate::package;
use crate::report;

/// Name of the database in the data folder.
pub const DATABASE_FILE: &str = "tandem.db";

/// "TNDM": tells our file from another SQLite database.
const APPLICATION_ID: i64 = 0x544e_444d;

/// Version of the tables below. Day tables grow columns by themselves and do not count.
pub(crate) const SCHEMA_VERSION: i64 = 4;

/// How long a statement waits for another connection's lock. Readers never block the writer in WAL mode; only an operator
/// who writes with `sqlite3` does.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a page of a new database. The row of a call is 1.6 KiB: of the 4 KiB that SQLite takes by itself two rows leave a
/// fifth unused, and every second row begins a page.
const PAGE_BYTES: i64 = 8_192;

/// Statements kept prepared: about twenty, and one per day that is written to or asked about.
const STATEMENTS_KEPT: usize = 128;

/// Money and other decimals are text, so that SQLite never makes floats of them. Times are UTC milliseconds.
const TABLES: &str = "
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    balance TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    last_id INTEGER NOT NULL
) STRICT;
CREATE TABLE ledger_row (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount TEXT NOT NULL,
    balance_after TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    flow_no INTEGER,
    leg TEXT,
    key TEXT,
    user TEXT NOT NULL,
    memo TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX ledger_key ON ledger_row (key) WHERE key IS NOT NULL;
CREATE INDEX ledger_flow_no ON ledger_row (flow_no) WHERE key IS NOT NULL AND flow_no IS NOT NULL;
CREATE VIEW ledger AS
    SELECT id, coalesce(key, 'call:' || flow_no || ':' || leg) AS key, account, kind, amount, balance_after, at_ms,
        flow_no, user, memo FROM ledger_row;
CREATE TABLE settled (
    flow_no INTEGER PRIMARY KEY,
    day INTEGER NOT NULL,
    cdr_id INTEGER NOT NULL,
    ledger_id INTEGER NOT NULL
) STRICT;
CREATE TABLE cdr_day (
    day INTEGER PRIMARY KEY,
    cdrs INTEGER NOT NULL
) STRICT;
CREATE TABLE open_call (
    flow_no INTEGER PRIMARY KEY,
    usage BLOB NOT NULL,
    held_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE open_held (
    flow_no INTEGER PRIMARY KEY,
    held_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE site (
    version INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    user TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE param_history (
    seq INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    user TEXT NOT NULL
) STRICT;
CREATE INDEX param_history_name ON param_history (name);
CREATE VIEW param AS
    SELECT name, value, at_ms, user FROM param_history
    WHERE seq IN (SELECT max(seq) FROM param_history GROUP BY name);
CREATE TABLE deck (
    rate_group TEXT NOT NULL,
    version INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    user TEXT NOT NULL,
    csv TEXT NOT NULL,
    PRIMARY KEY (rate_group, version)
) STRICT;
";

/// Tables that came after the first release of the others: made whenever they are missing, so that no version of the schema
/// is needed for them.
const TABLES_ADDED: &str = "
CREATE TABLE IF NOT EXISTS site_change (
    version INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    uid INTEGER,
    user TEXT NOT NULL,
    pid INTEGER,
    how TEXT NOT NULL,
    comment TEXT NOT NULL,
    changes TEXT NOT NULL,
    fallback INTEGER,
    confirm_until_ms INTEGER,
    confirm_state TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS correction (
    flow_no INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    run TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    user TEXT NOT NULL,
    memo TEXT NOT NULL,
    params TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    PRIMARY KEY (flow_no, revision)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    uid INTEGER,
    user TEXT NOT NULL,
    pid INTEGER,
    command TEXT NOT NULL,
    outcome TEXT NOT NULL,
    error TEXT NOT NULL,
    version INTEGER,
    comment TEXT NOT NULL,
    changes TEXT NOT NULL
) STRICT;
";

/// Keys of table `meta`.
pub(crate) mod key {
    /// Last journal record that is in the database.
    pub(crate) const APPLIED_SEQ: &str = "applied_seq";
    /// ISO 4217 code of every amount.
    pub(crate) const CURRENCY: &str = "currency";
    /// Largest flow number ever seen.
    pub(crate) const FLOW_MAX: &str = "flow_max";
    /// Time of the last heartbeat, UTC ms.
    pub(crate) const ALIVE_MS: &str = "alive_ms";
    /// The zone of days and hours, ms east of UTC.
    pub(crate) const ZONE_OFFSET_MS: &str = "zone_offset_ms";
}

/// Opens the database for its one writer; makes it when the file is missing or empty.
pub(crate) fn open_writer(path: &Path, currency: &str) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(StoreError::sql(path, "open the database"))?;
    let set_up = |connection: &Connection| -> rusqlite::Result<()> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        stable_plans(connection)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        // Of a new file only; one that is there keeps its own.
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        // NORMAL: a power cut may take the last transactions, never a part of one. Each has the place in the journal it
        // goes up to, so the next start writes them again. The checkpoint syncs, and is not the writer's work: see
        // Checkpointer.
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        // 64 MiB of pages: rows are added at the end of their tables, so the writer touches few that are older.
        connection.pragma_update(None, "cache_size", -65_536)
    };
    set_up(&connection).map_err(StoreError::sql(path, "set up the database"))?;
    if version(&connection, path)? == 0 {
        let statements = format!(
            "BEGIN IMMEDIATE; {TABLES} {} {} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;",
            block_index::TABLES,
            report::TABLES
        );
        connection.execute_batch(&statements).map_err(StoreError::sql(path, "make the tables"))?;
    }
    connection
        .execute_batch(
            &[TABLES_ADDED, block_values::TABLES, block_sums::TABLES, decks::TABLES, package::TABLES].concat(),
        )
        .map_err(StoreError::sql(path, "make the tables of changes"))?;
    match meta(&connection, path, key::CURRENCY)? {
        None => set_meta(&connection, path, key::CURRENCY, currency)?,
        Some(stored) if stored == currency => {}
        Some(stored) => {
            return Err(StoreError::Currency { path: path.to_owned(), stored, asked: currency.to_owned() });
        }
    }
    Ok(connection)
}

/// A plan does not depend on what is asked for. Else a statement over a table with a partial index is planned anew for every
/// value it is asked with, which takes longer than to answer it.
fn stable_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(|_| ())
}

/// Opens the database for questions only; it must exist.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(StoreError::sql(path, "open the database for reading"))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(StoreError::sql(path, "set up the database"))?;
    stable_plans(&connection).map_err(StoreError::sql(path, "set up the database"))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    if version(&connection, path)? == 0 {
        return Err(StoreError::Damaged { path: path.to_owned(), cause: "it has no tables".to_owned() });
    }
    Ok(connection)
}

/// Checks that the file is ours and not newer; gives its schema version, 0 for an empty file.
fn version(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, found) = pragma("application_id")
        .and_then(|application| Ok((application, pragma("user_version")?)))
        .map_err(StoreError::sql(path, "read the database header"))?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(StoreError::sql(path, "read the list of tables"))?;
    if tables == 0 && found == 0 {
        return Ok(0);
    }
    if application != APPLICATION_ID {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            cause: "it is a database of another program".to_owned(),
        });
    }
    if found > SCHEMA_VERSION {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    if found < SCHEMA_VERSION {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            cause: format!("its tables are of version {found}, this tandemd writes version {SCHEMA_VERSION}"),
        });
    }
    Ok(found)
}

/// A value the database keeps of itself.
pub(crate) fn meta(connection: &Connection, path: &Path, key: &str) -> Result<Option<String>, StoreError> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
        .map_err(StoreError::sql(path, "read table meta"))
}

/// The same as a number; 0 when it was never set.
pub(crate) fn meta_number(connection: &Connection, path: &Path, key: &str) -> Result<i64, StoreError> {
    let Some(text) = meta(connection, path, key)? else { return Ok(0) };
    text.parse().map_err(|_| StoreError::Row {
        table: "meta".to_owned(),
        row: key.to_owned(),
        column: "value".to_owned(),
        cause: format!("{text:?} is no number"),
    })
}

/// Sets a value the database keeps of itself.
pub(crate) fn set_meta(connection: &Connection, path: &Path, key: &str, value: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2")
        .and_then(|mut statement| statement.execute([key, value]))
        .map_err(StoreError::sql(path, "write table meta"))?;
    Ok(())
}
