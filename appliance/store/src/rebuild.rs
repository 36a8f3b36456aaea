//! A database that cannot be trusted is put aside and written anew from the journal; the journal is the truth.
//!
//! What is noticed: a file that is missing, empty, cut short or of another program; pages that do not fit together (SQLite's
//! `quick_check`); rows the switch starts from that do not read back; a balance that is not the sum of its ledger rows; and
//! whatever was noticed while the switch ran ([`mark_damaged`]). What is not: a flipped bit inside a text of an old record,
//! which only the whole audit ([`crate::Queries::verify`]) can find.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tandem_rating::money::Money;

use crate::base;
use crate::error::{JournalError, StoreError};
use crate::journal::Journal;
use crate::ledger;
use crate::query::add;
use crate::recover::{Recovered, recover};
use crate::schema::DATABASE_FILE;
use crate::segment;
use crate::store::StoreOptions;

/// Left in the data folder when damage is noticed while the switch runs; holds the cause.
const MARK_FILE: &str = "tandem.db.damaged";

/// Files that belong to the database beside its own.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// Up to this size the whole file is checked at a start, about 0.2 s when it is not in memory. A larger one is checked in
/// [`TABLES_OF_START`] only: a start must not take a minute for records that nobody may ever ask for.
const CHECK_WHOLE_BYTES: u64 = 64 << 20;

/// What the switch starts from. Small, whatever the number of calls; the ledger is read at its ends only.
const TABLES_OF_START: [&str; 8] =
    ["meta", "account", "open_call", "site", "deck", "deck_change", "deck_part", "param_history"];

/// What was done about a database that could not be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// What was wrong with it.
    pub cause: String,
    /// The old file, when there was one; its `-wal` and `-shm` files beside it.
    pub aside: Option<PathBuf>,
    /// The new one began from the base, which has the records up to this one; `None`: from the first record.
    pub from_base: Option<u64>,
    /// Records that only the old database had: the journal lost them before (see [`Journal::skip_to`]). First and last of
    /// each run.
    pub lost: Vec<(u64, u64)>,
}

impl Rebuilt {
    /// The report in sentences, for the log.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("the database was not used: {}", self.cause)];
        if let Some(aside) = &self.aside {
            lines.push(format!(
                "the old database is kept as {} for a person to look at; it can be removed",
                aside.display()
            ));
        }
        lines.push(match self.from_base {
            None => "the database was written anew from the whole journal".to_owned(),
            Some(seq) => {
                format!("the database was written anew from its base, and from the journal behind record {seq}")
            }
        });
        for (first, last) in &self.lost {
            lines.push(format!(
                "records {first} to {last} are not in the journal: what they booked is in the old database only"
            ));
        }
        lines
    }
}

/// [`recover`], but a database that cannot be trusted is put aside and written anew from the journal.
///
/// # Errors
/// As [`recover`], for anything but damage; [`StoreError::NoWayBack`] when the database is damaged and the journal does not
/// begin with its first record; the disk. Nothing is moved then.
pub fn recover_or_rebuild(
    journal: &mut Journal,
    options: &StoreOptions,
    now_ms: i64,
) -> Result<(Recovered, Option<Rebuilt>), StoreError> {
    let dir = journal.dir().to_owned();
    let path = dir.join(DATABASE_FILE);
    base::sweep(&dir)?;
    let cause = match doubt(&dir, &path, journal)? {
        Some(cause) => cause,
        None => match recover(journal, options, now_ms) {
            Ok(recovered) => return Ok((recovered, None)),
            // A power cut may take the last transactions of the database, and the journal may have been purged up to its base.
            Err(error @ StoreError::Journal(JournalError::Missing { .. })) => error.to_string(),
            Err(error) if is_damage(&error) => error.to_string(),
            Err(error) => return Err(error),
        },
    };
    let Gaps { is_cut, runs: lost } = gaps(&dir, &path, &cause)?;
    let aside = put_aside(&path, now_ms).map_err(JournalError::io(&path, "put the damaged database aside"))?;
    // From here on a start that is cut short finds no database, or a whole one that is behind the journal.
    match fs::remove_file(dir.join(MARK_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(JournalError::io(&dir.join(MARK_FILE), "remove")(error).into());
        }
        _ => {}
    }
    let from_base = if is_cut { Some(base::restore(&dir)?.applied_seq) } else { None };
    let recovered = recover(journal, options, now_ms)?;
    Ok((recovered, Some(Rebuilt { cause, aside, from_base, lost })))
}

/// Notes that the database in `dir` is damaged, so that the next start writes it anew, whatever it looks like then.
///
/// # Errors
/// The disk.
pub fn mark_damaged(dir: &Path, cause: &str) -> io::Result<()> {
    fs::write(dir.join(MARK_FILE), cause)
}

/// The cause that was noted with [`mark_damaged`] since the last start.
pub fn marked_damaged(dir: &Path) -> Option<String> {
    fs::read_to_string(dir.join(MARK_FILE)).ok()
}

/// Whether `error` says that the database is not what was written to it. A full or busy disk, a missing permission and
/// another version or currency are not damage: a new file would meet the same.
pub fn is_damage(error: &StoreError) -> bool {
    match error {
        StoreError::Damaged { .. } | StoreError::Row { .. } | StoreError::Money { .. } => true,
        StoreError::Sql { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure),
        StoreError::TooNew { .. }
        | StoreError::Currency { .. }
        | StoreError::Refused { .. }
        | StoreError::NoWayBack { .. }
        | StoreError::Journal(_) => false,
    }
}

/// Why the database should not be used, if there is a reason.
fn doubt(dir: &Path, path: &Path, journal: &Journal) -> Result<Option<String>, StoreError> {
    if let Some(cause) = marked_damaged(dir) {
        return Ok(Some(format!("while the switch ran, {cause}")));
    }
    let len = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(JournalError::io(path, "look at the database")(error).into()),
    };
    if len == 0 {
        let is_new = journal.positions().written() == 0;
        return Ok((!is_new).then(|| format!("{} is missing or empty", path.display())));
    }
    match check(path, len) {
        Ok(problem) => Ok(problem),
        Err(error) if is_damage(&error) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Looks for damage; only reads.
pub(crate) fn check(path: &Path, len: u64) -> Result<Option<String>, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(StoreError::sql(path, "open the database"))?;
    let tables = if len <= CHECK_WHOLE_BYTES { &[""] } else { &TABLES_OF_START[..] };
    for table in tables {
        if table.starts_with("deck_") && !has_table(&connection, path, table)? {
            // A database of before these tables gets them when it is opened.
            continue;
        }
        let argument = if table.is_empty() { "(1)".to_owned() } else { format!("({table})") };
        let result: String = connection
            .query_row(&format!("PRAGMA quick_check{argument}"), [], |row| row.get(0))
            .map_err(StoreError::sql(path, "check the database"))?;
        if result != "ok" {
            return Ok(Some(format!("{}: {result}", path.display())));
        }
    }
    balances(&connection, path)
}

fn has_table(connection: &Connection, path: &Path, table: &str) -> Result<bool, StoreError> {
    connection
        .query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)", [table], |row| row.get(0))
        .map_err(StoreError::sql(path, "read the list of tables"))
}

/// An account whose balance is neither that after its last row nor the sum of its rows. A flipped digit in a balance would
/// be money made of nothing. Costs one look-up an account; the rows are summed only when that does not agree.
fn balances(connection: &Connection, path: &Path) -> Result<Option<String>, StoreError> {
    let failed = || StoreError::sql(path, "read table ledger");
    for account in ledger::accounts(connection, path)? {
        let last: Option<String> = connection
            .prepare_cached(
                "SELECT balance_after FROM account JOIN ledger_row ON ledger_row.id = account.last_id WHERE name = ?1",
            )
            .and_then(|mut statement| statement.query_row([&account.name], |row| row.get(0)).optional())
            .map_err(failed())?;
        let last = match last {
            None => Money::ZERO,
            Some(text) => ledger::money(&account.name, "balance after", &text)?,
        };
        if last == account.balance {
            continue;
        }
        let mut sum = Money::ZERO;
        let mut statement =
            connection.prepare_cached("SELECT amount FROM ledger_row WHERE account = ?1").map_err(failed())?;
        let mut rows = statement.query([&account.name]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            let amount: String = row.get(0).map_err(failed())?;
            sum = add(sum, &amount, "ledger")?;
        }
        if sum != account.balance {
            return Ok(Some(format!(
                "{}: account {} has balance {}, its rows come to {sum}",
                path.display(),
                account.name,
                account.balance
            )));
        }
    }
    Ok(None)
}

/// What the journal does not have.
struct Gaps {
    /// Its beginning, which the base has.
    is_cut: bool,
    /// Runs of records behind that.
    runs: Vec<(u64, u64)>,
}

/// Records that the journal does not have.
///
/// # Errors
/// [`StoreError::NoWayBack`] when its beginning is among them and no base has it: the balances would be wrong.
fn gaps(dir: &Path, path: &Path, cause: &str) -> Result<Gaps, StoreError> {
    let mut gaps = Gaps { is_cut: false, runs: Vec::new() };
    for (n, segment) in segment::list(dir)?.iter().enumerate() {
        let Some((_, header)) = segment.open()? else { continue };
        if n == 0 && header.first_seq > 1 {
            gaps.is_cut = base::reaches(dir, header.first_seq)?;
        }
        if n == 0 && header.first_seq > 1 && !gaps.is_cut {
            let (path, cause) = (path.to_owned(), cause.to_owned());
            return Err(StoreError::NoWayBack { path, cause, first: header.first_seq });
        }
        if header.previous_seq + 1 < header.first_seq && n > 0 {
            gaps.runs.push((header.previous_seq + 1, header.first_seq - 1));
        }
    }
    Ok(gaps)
}

/// Renames the database and its companions to a name that is free; the new name, if there was a file.
fn put_aside(path: &Path, now_ms: i64) -> io::Result<Option<PathBuf>> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let suffix = (now_ms..).map(|at_ms| format!(".aside-{at_ms}")).find(|suffix| !beside(suffix).exists());
    let suffix = suffix.unwrap_or_default();
    // The file itself last: as long as it is there, the next start finds the damage again.
    for companion in COMPANIONS {
        rename(&beside(companion), &beside(&format!("{suffix}{companion}")))?;
    }
    Ok(rename(path, &beside(&suffix))?.then(|| beside(&suffix)))
}

/// False when there is no such file.
fn rename(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
