//! The base: a copy of the database from which a journal without its beginning writes the database anew.
//!
//! The journal is the truth, and could be removed behind nothing: a damaged database is written from it. With a base that was
//! looked at, what stands in the journal before it is in two places again, and its segments may go. One base is kept. A new
//! one is made beside it and takes its name when it is whole, so that there is never a moment without.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::error::{JournalError, StoreError};
use crate::journal::{Positions, Purged};
use crate::rebuild;
use crate::schema::{self, DATABASE_FILE};
use crate::segment;

/// The base in the folder of the journal.
pub const BASE_FILE: &str = "tandem.db.base";
/// One that is being made, or was when the switch was killed.
const UNFINISHED_FILE: &str = "tandem.db.base-unfinished";
/// A database that is being made from the base.
const COPY_FILE: &str = "tandem.db.from-base";

/// Segments that stay whatever the base has: who reads the journal a little behind finds what he wants.
const SEGMENTS_KEPT: usize = 2;

/// A base that can be begun from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Last journal record that is in it.
    pub applied_seq: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// Makes a new base from the database in `dir`, as it is at this moment, and looks whether it is whole; then it takes the place of the
/// one before. Takes as long as reading and writing the database, and as much disk; the writer of the database does not wait,
/// but its log grows meanwhile. For a thread of its own.
///
/// # Errors
/// The disk, or a database that is damaged: the base before stays.
pub fn make_base(dir: &Path) -> Result<Base, StoreError> {
    let (path, unfinished) = (dir.join(DATABASE_FILE), dir.join(UNFINISHED_FILE));
    remove(&unfinished)?;
    let made = copy_of(&path, &unfinished).and_then(|()| looked_at(&unfinished)).and_then(|base| {
        sync(&unfinished)?;
        rename(&unfinished, &dir.join(BASE_FILE))?;
        Ok(base)
    });
    if made.is_err() {
        // Gives the space back; a start does it too.
        let _ = fs::remove_file(&unfinished);
    }
    made
}

/// The base in `dir`; `None` when there is none.
///
/// # Errors
/// A file that is no base of this version, or that cannot be read.
pub fn base(dir: &Path) -> Result<Option<Base>, StoreError> {
    let path = dir.join(BASE_FILE);
    match path.try_exists() {
        Ok(false) => Ok(None),
        Ok(true) => read(&path).map(Some),
        Err(error) => Err(JournalError::io(&path, "look at the base")(error).into()),
    }
}

/// Bytes of all segments of the journal in `dir`.
///
/// # Errors
/// The folder cannot be read.
pub fn journal_bytes(dir: &Path) -> Result<u64, JournalError> {
    let sizes = segment::list(dir)?.into_iter().map(|segment| fs::metadata(&segment.path).map_or(0, |meta| meta.len()));
    Ok(sizes.sum())
}

/// Removes the oldest segments of the journal in `dir` until it has at most `bytes_max`, as far as nobody needs them: all
/// their records are in the base, in the database, and at or before `left_seq`, the last record that has left as files and
/// reports. The newest segments stay. The order is from the oldest, so that whatever interrupts it leaves a journal without
/// gaps.
///
/// # Errors
/// The disk; what was removed before the error stays removed. A base that cannot be read: nothing is removed.
pub fn purge(dir: &Path, positions: &Positions, left_seq: u64, bytes_max: u64) -> Result<Purged, StoreError> {
    let Some(base) = base(dir)? else { return Ok(Purged::default()) };
    let needed_from = base.applied_seq.min(left_seq).min(positions.applied()).saturating_add(1);
    Ok(segment::remove_oldest(dir, needed_from, SEGMENTS_KEPT, bytes_max)?)
}

/// Whether a new base would let segments go that are over `bytes_max` and that the one there is does not: each base is then good
/// for about as many bytes of journal.
///
/// # Errors
/// The folder cannot be read.
pub fn is_base_due(dir: &Path, positions: &Positions, left_seq: u64, bytes_max: u64) -> Result<bool, StoreError> {
    if journal_bytes(dir)? <= bytes_max {
        return Ok(false);
    }
    let segments = segment::list(dir)?;
    let removable = segments.len().saturating_sub(SEGMENTS_KEPT);
    let Some(second) = segments.get(1).filter(|_| removable > 0) else { return Ok(false) };
    // One that cannot be read is as good as none.
    let has = base(dir).ok().flatten().map_or(0, |base| base.applied_seq);
    Ok(second.first_seq > has + 1 && second.first_seq <= left_seq.min(positions.applied()).saturating_add(1))
}

/// Whether the records from `first_seq` on and the base are everything.
pub(crate) fn reaches(dir: &Path, first_seq: u64) -> Result<bool, StoreError> {
    Ok(base(dir)?.is_some_and(|base| base.applied_seq + 1 >= first_seq))
}

/// Puts a copy of the base where the database was. Whatever interrupts it leaves no database, or a whole one.
pub(crate) fn restore(dir: &Path) -> Result<Base, StoreError> {
    let copy = dir.join(COPY_FILE);
    remove(&copy)?;
    fs::copy(dir.join(BASE_FILE), &copy).map_err(JournalError::io(&copy, "copy the base"))?;
    let base = looked_at(&copy)?;
    sync(&copy)?;
    rename(&copy, &dir.join(DATABASE_FILE))?;
    Ok(base)
}

/// Removes what a kill left half done.
pub(crate) fn sweep(dir: &Path) -> Result<(), StoreError> {
    remove(&dir.join(UNFINISHED_FILE))?;
    remove(&dir.join(COPY_FILE))
}

/// Writes a copy of the database at `path` as it is now, in one read transaction.
fn copy_of(path: &Path, to: &Path) -> Result<(), StoreError> {
    // VACUUM INTO attaches the new file with the rights of this connection; it never writes to the old one.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(StoreError::sql(path, "open the database"))?;
    let name = to.to_str().ok_or_else(|| {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8");
        StoreError::from(JournalError::io(to, "write the base")(error))
    })?;
    connection.execute("VACUUM INTO ?1", [name]).map(|_| ()).map_err(StoreError::sql(path, "copy the database"))
}

/// The base at `path`, when it is whole: its pages fit together and each balance is that of its rows.
fn looked_at(path: &Path) -> Result<Base, StoreError> {
    let base = read(path)?;
    match rebuild::check(path, base.bytes)? {
        None => Ok(base),
        Some(cause) => Err(StoreError::Damaged { path: path.to_owned(), cause }),
    }
}

fn read(path: &Path) -> Result<Base, StoreError> {
    let bytes = fs::metadata(path).map_err(JournalError::io(path, "look at the base"))?.len();
    let connection = schema::open_reader(path)?;
    let applied_seq = schema::meta_number(&connection, path, schema::key::APPLIED_SEQ)? as u64;
    Ok(Base { applied_seq, bytes })
}

fn sync(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    Ok(synced.map_err(JournalError::io(path, "sync"))?)
}

/// Gives a file its name, and makes that safe from a power cut.
fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(JournalError::io(from, "rename"))?;
    match to.parent() {
        Some(dir) => sync(dir),
        None => Ok(()),
    }
}

/// The file and what SQLite keeps beside it, if they are there.
fn remove(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let name = PathBuf::from(name);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(JournalError::io(&name, "remove")(error).into());
            }
            _ => {}
        }
    }
    Ok(())
}
