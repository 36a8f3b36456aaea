//! Reading the journal: replay at the start, projection and CDR files while it grows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tandem_rating::cdr::Cdr;
use tandem_rating::record::Record;

use crate::error::JournalError;
use crate::journal::Positions;
use crate::payload;
use crate::segment::{self, Cursor, Segment, Step};

/// Reads records in order, across segments; at the end of what is written it can be asked again later.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    /// Sequence of the next record to give out.
    next_seq: u64,
    /// Only as far as is safe on the disk, when set.
    bound: Option<Arc<Positions>>,
    open: Option<Open>,
    /// Where in its segment the record stands that was found last.
    found_at: u64,
}

#[derive(Debug)]
struct Open {
    segment: Segment,
    cursor: Cursor,
}

impl Reader {
    /// Reads from record `seq` on. A journal that has not come that far yet is waited for.
    ///
    /// # Errors
    /// [`JournalError::Missing`] when that record was purged; folder or segment not readable.
    pub fn from_seq(dir: &Path, seq: u64) -> Result<Reader, JournalError> {
        let segments = segment::list(dir)?;
        if let Some(first) = segments.first()
            && first.first_seq > seq.max(1)
        {
            return Err(JournalError::Missing { dir: dir.to_owned(), wanted: seq.max(1), first: first.first_seq });
        }
        Ok(Reader { dir: dir.to_owned(), next_seq: seq.max(1), bound: None, open: None, found_at: 0 })
    }

    /// Reads from the oldest record that is still there.
    ///
    /// # Errors
    /// Folder not readable.
    pub fn from_start(dir: &Path) -> Result<Reader, JournalError> {
        let first = segment::list(dir)?.first().map_or(1, |segment| segment.first_seq);
        Ok(Reader { dir: dir.to_owned(), next_seq: first, bound: None, open: None, found_at: 0 })
    }

    /// Gives out only records that are synced: what a projection wants, because it must never know more than the journal
    /// has after a power cut. It also makes asking at the end cost nothing.
    pub fn bound_to(mut self, positions: Arc<Positions>) -> Reader {
        self.bound = Some(positions);
        self
    }

    /// Sequence of the next record that will be given out.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Goes to record `seq`, which must be one that was given out: to take back what could not be used.
    pub(crate) fn seek(&mut self, seq: u64) {
        self.next_seq = seq;
        self.open = None;
    }

    /// The next record and its sequence; `None` at the end of what is written so far, or at a torn tail.
    ///
    /// # Errors
    /// Damage before the last segment's tail, a record of a newer version, or the disk. The same error comes again when
    /// asked again: nothing is skipped.
    pub fn next_record(&mut self) -> Result<Option<(u64, Record)>, JournalError> {
        let Some(seq) = self.find()? else { return Ok(None) };
        match rmp_serde::from_slice(self.payload()) {
            Ok(record) => Ok(Some((seq, record))),
            Err(error) => Err(self.not_understood(seq, &error.to_string())),
        }
    }

    /// Goes to the next record and gives its sequence; [`Reader::payload`] has it then. Otherwise as
    /// [`Reader::next_record`].
    pub(crate) fn find(&mut self) -> Result<Option<u64>, JournalError> {
        if self.bound.as_ref().is_some_and(|positions| self.next_seq > positions.synced()) {
            return Ok(None);
        }
        loop {
            if self.open.is_none() && !self.open_first()? {
                return Ok(None);
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            let offset = open.cursor.offset();
            let step = open.cursor.step().map_err(JournalError::io(&open.segment.path, "read"))?;
            match step {
                Step::Record(seq) if seq < self.next_seq => {}
                Step::Record(seq) => {
                    self.found_at = offset;
                    self.next_seq = seq + 1;
                    return Ok(Some(seq));
                }
                Step::End | Step::Torn(_) => {
                    if !self.open_next(&step)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The record found last, encoded.
    pub(crate) fn payload(&self) -> &[u8] {
        self.open.as_ref().map_or(&[], |open| open.cursor.payload())
    }

    /// Goes back to record `seq`, which was found last, and tells that it is in words not known here: its checksum was
    /// right, so this is what was written.
    pub(crate) fn not_understood(&mut self, seq: u64, cause: &str) -> JournalError {
        let path = self.open.as_ref().map_or_else(|| self.dir.clone(), |open| open.segment.path.clone());
        self.seek(seq);
        let cause = format!("record {seq} is not understood: {cause}");
        JournalError::TooNew { path, offset: self.found_at, cause }
    }

    /// Up to `limit` records.
    ///
    /// # Errors
    /// As [`Reader::next_record`]; what was read before the error is given out first, the error at the next call.
    pub fn next_batch(&mut self, limit: usize) -> Result<Vec<(u64, Record)>, JournalError> {
        let mut batch = Vec::new();
        while batch.len() < limit {
            match self.next_record() {
                Ok(Some(record)) => batch.push(record),
                Ok(None) => break,
                Err(error) if batch.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    /// The CDRs among the next records: looks at `records` of them at most, and stops after `cdrs`. Each with the sequence of
    /// its record; [`Reader::next_seq`] tells how far it came.
    ///
    /// # Errors
    /// As [`Reader::next_batch`].
    pub fn next_cdrs(&mut self, records: usize, cdrs: usize) -> Result<Vec<(u64, Box<Cdr>)>, JournalError> {
        let mut batch = Vec::new();
        for _ in 0..records {
            let found = self.find().and_then(|found| match found {
                // Most records are of calls in progress: serde makes values only of those that may have a CDR.
                Some(seq) if payload::may_settle(self.payload()) => match rmp_serde::from_slice(self.payload()) {
                    Ok(record) => Ok(Some((seq, Some(record)))),
                    Err(error) => Err(self.not_understood(seq, &error.to_string())),
                },
                other => Ok(other.map(|seq| (seq, None))),
            });
            match found {
                Ok(Some((seq, Some(Record::Settled { cdr: Some(cdr), .. })))) => batch.push((seq, cdr)),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if batch.is_empty() => return Err(error),
                Err(_) => break,
            }
            if batch.len() >= cdrs {
                break;
            }
        }
        Ok(batch)
    }

    /// Opens the segment that holds the next record.
    fn open_first(&mut self) -> Result<bool, JournalError> {
        let segments = segment::list(&self.dir)?;
        let Some(segment) = segments.iter().rev().find(|segment| segment.first_seq <= self.next_seq) else {
            return match segments.first() {
                Some(first) => {
                    Err(JournalError::Missing { dir: self.dir.clone(), wanted: self.next_seq, first: first.first_seq })
                }
                None => Ok(false),
            };
        };
        let Some((file, header)) = segment.open()? else { return Ok(false) };
        self.open = Some(Open { segment: segment.clone(), cursor: Cursor::new(file, header.first_seq) });
        Ok(true)
    }

    /// Goes on to the segment after the one that ended with `step`; false when there is none yet.
    fn open_next(&mut self, step: &Step) -> Result<bool, JournalError> {
        let Some(open) = &mut self.open else { return Ok(false) };
        let segments = segment::list(&self.dir)?;
        let Some(next) = segments.into_iter().find(|segment| segment.first_seq > open.segment.first_seq) else {
            return Ok(false);
        };
        // The writer may have added records here before it began the next segment: a header that is whole says that
        // nothing more comes.
        let Some((file, header)) = next.open()? else { return Ok(false) };
        if header.previous_seq >= open.cursor.next_seq() {
            let again = open.cursor.step().map_err(JournalError::io(&open.segment.path, "read"))?;
            if let Step::Record(_) = again {
                // Read once more from its place, through the one path that gives records out.
                self.open = None;
                return Ok(true);
            }
            let cause = match (&again, step) {
                (Step::Torn(tear), _) | (_, Step::Torn(tear)) => format!("record {}: {tear}", open.cursor.next_seq()),
                _ => format!("records {} to {} are missing", open.cursor.next_seq(), header.previous_seq),
            };
            return Err(JournalError::Damaged { path: open.segment.path.clone(), offset: open.cursor.offset(), cause });
        }
        if header.previous_seq + 1 < open.cursor.next_seq() {
            return Err(JournalError::Damaged {
                path: next.path,
                offset: 24,
                cause: format!(
                    "it follows record {}, but {} was written before it",
                    header.previous_seq,
                    open.cursor.next_seq() - 1
                ),
            });
        }
        self.open = Some(Open { segment: next, cursor: Cursor::new(file, header.first_seq) });
        Ok(true)
    }
}
