//! How far a way has come, in a file that is replaced whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tandem_rating::cdr::Cdr;
use tandem_store::{JournalError, Positions, Reader};

use crate::log;

/// Journal records looked at in one turn, so that a thread can be stopped while it catches up.
const RECORDS_A_TURN: usize = 20_000;

/// A file with what a way must know after a crash.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
}

impl Kept {
    pub(super) fn new(folder: &Path, name: &str) -> Kept {
        Kept { path: folder.join(name) }
    }

    /// What was kept last; the default when there is nothing.
    pub(super) fn read<T: DeserializeOwned + Default>(&self) -> T {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return T::default(),
            Err(error) => {
                log::error(&format!(
                    "{} cannot be read, CDRs leave from the start again: {error}",
                    self.path.display()
                ));
                return T::default();
            }
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            log::error(&format!("{} is damaged, CDRs leave from the start again: {error}", self.path.display()));
            T::default()
        })
    }

    /// Keeps `state`: the old one or the new one is there whatever happens, and after it returns the new one.
    pub(super) fn write<T: Serialize>(&self, state: &T) -> io::Result<()> {
        let next = self.path.with_extension("next");
        let mut file = File::create(&next)?;
        file.write_all(&serde_json::to_vec(state)?)?;
        file.sync_all()?;
        fs::rename(&next, &self.path)?;
        sync_folder(&self.path)
    }
}

/// Makes a new or renamed file safe from a power cut.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The CDRs of the journal from a place on.
#[derive(Debug)]
pub(super) struct Source {
    dir: PathBuf,
    positions: Arc<Positions>,
    reader: Option<Reader>,
    /// Last record that is done with.
    done_seq: u64,
}

impl Source {
    /// Behind record `done_seq`. A place that the journal has not come to belongs to another journal: all of this one leaves.
    pub(super) fn new(dir: &Path, positions: &Arc<Positions>, done_seq: u64) -> Source {
        let written = positions.written();
        let foreign = done_seq > written;
        if foreign {
            log::warning(&format!(
                "CDRs had left up to journal record {done_seq}, but the journal ends at {written}: all of it leaves"
            ));
        }
        let done_seq = if foreign { 0 } else { done_seq };
        Source { dir: dir.to_owned(), positions: positions.clone(), reader: None, done_seq }
    }

    pub(super) fn done_seq(&self) -> u64 {
        self.done_seq
    }

    /// Last record that can leave.
    pub(super) fn synced(&self) -> u64 {
        self.positions.synced()
    }

    /// Goes to another place, or back to the last one when what was read could not be used.
    pub(super) fn go_to(&mut self, done_seq: u64) {
        self.done_seq = done_seq;
        self.reader = None;
    }

    /// Everything that was read is done with.
    pub(super) fn done(&mut self) {
        if let Some(reader) = &self.reader {
            self.done_seq = reader.next_seq() - 1;
        }
    }

    /// Last record that was read.
    pub(super) fn read_seq(&self) -> u64 {
        self.reader.as_ref().map_or(self.done_seq, |reader| reader.next_seq() - 1)
    }

    /// Up to `cdrs` more; empty when a turn's records have none, or there are no more.
    pub(super) fn next(&mut self, cdrs: usize) -> Result<Vec<(u64, Box<Cdr>)>, JournalError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let reader = match Reader::from_seq(&self.dir, self.done_seq + 1) {
                    Err(JournalError::Missing { wanted, first, .. }) => {
                        log::error(&format!(
                            "journal records {wanted} to {} are gone, CDRs in them do not leave",
                            first - 1
                        ));
                        Reader::from_seq(&self.dir, first)?
                    }
                    reader => reader?,
                };
                self.reader.insert(reader.bound_to(self.positions.clone()))
            }
        };
        reader.next_cdrs(RECORDS_A_TURN, cdrs)
    }
}
