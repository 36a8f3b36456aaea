//! What can go wrong with the journal and the database: each sentence names the file, the place, the cause and a cure.

use std::io;
use std::path::{Path, PathBuf};

/// Why the journal could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("{path}: cannot {doing}: {source}{cure}", path = path.display(), cure = cure(source))]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// Another process writes this journal.
    #[error(
        "{dir}: the journal is in use by another process; stop the other tandemd first (`fuser -v {dir}` names it)",
        dir = dir.display()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// Bytes before the tail of the journal are not what was written.
    #[error(
        "{path}, offset {offset}: {cause}; the disk or a person changed the file: restore it from a backup, or move it and \
         all later segments away to go on without their records",
        path = path.display()
    )]
    Damaged {
        /// Segment.
        path: PathBuf,
        /// Byte offset in it.
        offset: u64,
        /// What was found.
        cause: String,
    },
    /// Written by a newer version of the switch.
    #[error("{path}, offset {offset}: {cause}; start the version that wrote it, or a newer one", path = path.display())]
    TooNew {
        /// Segment.
        path: PathBuf,
        /// Byte offset in it.
        offset: u64,
        /// What is not known.
        cause: String,
    },
    /// Records that were asked for are not there any more.
    #[error(
        "{dir}: record {wanted} was asked for, but the journal begins at {first}: earlier segments were purged; restore \
         them, or the database that holds them, from a backup",
        dir = dir.display()
    )]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// Asked for.
        wanted: u64,
        /// First there is.
        first: u64,
    },
    /// A record that cannot be written.
    #[error("journal record {seq} cannot be encoded: {cause}")]
    Encode {
        /// The sequence it would have had.
        seq: u64,
        /// Why.
        cause: String,
    },
    /// The disk has refused for so long that no more records can be kept in memory.
    #[error(
        "{bytes} bytes of journal wait for the disk, at most {max} are kept; free space on the disk of the journal"
    )]
    BufferFull {
        /// Waiting.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// An earlier sync failed: what the kernel still holds may be lost, so nothing more is acknowledged.
    #[error(
        "{path}: an earlier write-back to disk failed, so later ones prove nothing; check the disk (`dmesg`) and restart \
         tandemd: it reads back what is really there",
        path = path.display()
    )]
    Poisoned {
        /// Segment.
        path: PathBuf,
    },
}

impl JournalError {
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> JournalError {
        move |source| JournalError::Io { path: path.to_owned(), doing, source }
    }

    /// Whether space on the disk is what is missing; trying again later can succeed.
    pub fn is_disk_full(&self) -> bool {
        match self {
            JournalError::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            JournalError::BufferFull { .. } => true,
            _ => false,
        }
    }
}

/// The likely remedy for what the operating system said.
fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space there: nothing is lost, the write is repeated"
        }
        io::ErrorKind::PermissionDenied => "; the user of tandemd must own this path",
        io::ErrorKind::ReadOnlyFilesystem => "; mount the disk writable",
        io::ErrorKind::NotFound => "; make the folder or correct the data path in tandemd.toml",
        _ => "",
    }
}

/// Why the database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("{path}: cannot {doing}: {source}", path = path.display())]
    Sql {
        /// The database.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Its answer.
        source: rusqlite::Error,
    },
    /// No database, or a broken one.
    #[error(
        "{path}: {cause}; the next start of tandemd puts it aside and writes it anew from the journal",
        path = path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// A broken database, and a journal that cannot write it anew.
    #[error(
        "{path}: {cause}; the journal begins with record {first}, so the database cannot be written anew from it: restore the \
         earlier segments, or the database, from a backup",
        path = path.display()
    )]
    NoWayBack {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
        /// First record there is.
        first: u64,
    },
    /// Made by a newer version.
    #[error(
        "{path}: schema version {found}, this tandemd knows up to {known}; start the version that wrote it, or a newer one",
        path = path.display()
    )]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Newest known.
        known: i64,
    },
    /// Amounts of two currencies must not be added.
    #[error("{path}: money is kept in {stored}, {asked} was asked for; the currency is fixed with the first start", path = path.display())]
    Currency {
        /// The database.
        path: PathBuf,
        /// Of the database.
        stored: String,
        /// Of the configuration.
        asked: String,
    },
    /// An amount that cannot be booked or read.
    #[error("account {account:?}, {what}: {cause}")]
    Money {
        /// Whose.
        account: String,
        /// Which amount.
        what: String,
        /// Why.
        cause: String,
    },
    /// A stored row that does not read back.
    #[error("{table}, row {row}: column {column} is not readable: {cause}")]
    Row {
        /// Table.
        table: String,
        /// Its key.
        row: String,
        /// Column.
        column: String,
        /// Why.
        cause: String,
    },
    /// A question that cannot be asked.
    #[error("{field} {value}: {range}")]
    Refused {
        /// Part of the question.
        field: &'static str,
        /// As given.
        value: String,
        /// What is allowed.
        range: String,
    },
    /// The journal underneath.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl StoreError {
    /// Turns an answer of SQLite into an error, telling a broken file from a refused statement.
    pub(crate) fn sql(path: &Path, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                StoreError::Damaged { path: path.to_owned(), cause: format!("cannot {doing}: {source}") }
            }
            _ => StoreError::Sql { path: path.to_owned(), doing, source },
        }
    }
}
