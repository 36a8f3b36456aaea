//! The journal: every record of money and configuration, in order, once; what is not in it did not happen.
//!
//! One thread appends. `append` encodes into memory, `flush` hands the bytes to the kernel (a killed process loses nothing
//! of it), and a [`SyncHandle`] on another thread makes them safe from a power cut, many at a time (group commit,
//! cdr.md 4.1). [`Positions`] tells everybody how far each step has come.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tandem_rating::record::Record;

use crate::disk::Disk;
use crate::error::JournalError;
use crate::frame::{self, Encoded, HEADER_LEN, Header};
use crate::segment::{self, Cursor, Segment, Step};

/// How a new segment's file becomes a [`Disk`].
pub type MakeDisk = Arc<dyn Fn(File) -> Arc<dyn Disk> + Send + Sync>;

/// How the journal is kept.
#[derive(Clone)]
pub struct JournalOptions {
    /// A segment that has reached this many bytes gets no further flush. Small ones mean many files and a sync each,
    /// large ones a slow start (the last is read whole) and coarse purging.
    pub segment_bytes: u64,
    /// Most bytes that wait in memory while the disk refuses; then `append` fails. 64 MiB is about 100,000 calls.
    pub buffer_max_bytes: usize,
    /// For tests and the simulator; files as they are by default.
    pub disk: MakeDisk,
}

impl Default for JournalOptions {
    fn default() -> Self {
        JournalOptions {
            segment_bytes: 64 << 20,
            buffer_max_bytes: 64 << 20,
            disk: Arc::new(|file: File| Arc::new(file) as Arc<dyn Disk>),
        }
    }
}

/// How far the records have come; sequences, 0 for none. Readable from every thread.
#[derive(Debug, Default)]
pub struct Positions {
    written: AtomicU64,
    synced: AtomicU64,
    applied: AtomicU64,
    cdrs_taken: AtomicU64,
    cdrs_applied: AtomicU64,
}

impl Positions {
    /// Last record handed to the kernel: safe from the death of the process.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Last record on the disk: safe from a power cut.
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Last record in the database.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// CDRs that were appended since the start and are not in the database.
    pub fn cdrs_pending(&self) -> u64 {
        let applied = self.cdrs_applied.load(Ordering::Acquire);
        self.cdrs_taken.load(Ordering::Acquire).saturating_sub(applied)
    }

    /// Says that so many more CDRs that were appended since the start are in the database.
    pub fn advance_cdrs_applied(&self, cdrs: u64) {
        self.cdrs_applied.fetch_add(cdrs, Ordering::AcqRel);
    }

    /// Says that the database has all records up to `seq`; never goes back.
    pub fn advance_applied(&self, seq: u64) {
        self.applied.fetch_max(seq, Ordering::AcqRel);
    }
}

/// What [`Journal::open`] found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Files.
    pub segments: usize,
    /// Last record; 0 when there is none.
    pub last_seq: u64,
    /// Bytes cut off the last segment.
    pub bytes_cut: u64,
    /// Where and why it was cut.
    pub cut: Option<Cut>,
}

/// A cut tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Segment.
    pub path: PathBuf,
    /// Byte offset of the first record that was not whole.
    pub offset: u64,
    /// What was wrong with it.
    pub cause: String,
    /// Whole records found behind it: more than 0 means that the disk damaged the file, not that a write was cut short.
    pub records_behind: u64,
    /// Copy of the cut bytes, kept when there were records behind.
    pub saved: Option<PathBuf>,
}

impl OpenReport {
    /// The report in sentences, for the log.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("journal: {} segments, last record {}", self.segments, self.last_seq)];
        if let Some(cut) = &self.cut {
            lines.push(format!(
                "journal: {} cut at byte {}, {} bytes gone: {}",
                cut.path.display(),
                cut.offset,
                self.bytes_cut,
                cut.cause
            ));
            if let Some(saved) = &cut.saved {
                lines.push(format!(
                    "journal: {} whole records stood behind the damage; check the disk; the bytes are kept in {}",
                    cut.records_behind,
                    saved.display()
                ));
            }
        }
        lines
    }
}

/// What a purge removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Files.
    pub segments: usize,
    /// Bytes.
    pub bytes: u64,
}

/// The writing end; one per folder on the machine.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    /// The open folder: holds the lock for as long as this lives, and is synced when a file is added.
    dir_file: File,
    options: Options,
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// Bytes of whole flushes in the current segment; the next write begins here, whatever an earlier one left behind.
    offset: u64,
    buffer: Vec<u8>,
    next_seq: u64,
    shared: Arc<Shared>,
}

/// [`JournalOptions`] without what cannot be printed.
struct Options(JournalOptions);

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalOptions")
            .field("segment_bytes", &self.0.segment_bytes)
            .field("buffer_max_bytes", &self.0.buffer_max_bytes)
            .finish_non_exhaustive()
    }
}

/// What the writer and the sync thread both touch.
#[derive(Debug)]
struct Shared {
    positions: Arc<Positions>,
    /// The segment being written; swapped at a roll, after the old one is synced.
    current: Mutex<(PathBuf, Arc<dyn Disk>)>,
    /// A sync failed. The kernel drops pages it could not write and reports that once, so no later success counts.
    failed: AtomicBool,
}

impl Journal {
    /// Opens the journal in `dir`, which is made if it is missing, and locks the folder against a second writer.
    ///
    /// The last segment is read whole and cut behind its last whole record; earlier segments are not touched. Costs about
    /// 0.1 s for a segment of 64 MiB.
    ///
    /// # Errors
    /// [`JournalError::Locked`], a file that is no journal or of a newer version, and the disk.
    pub fn open(dir: &Path, options: JournalOptions) -> Result<(Journal, OpenReport), JournalError> {
        fs::create_dir_all(dir).map_err(JournalError::io(dir, "make the folder"))?;
        let dir_file = File::open(dir).map_err(JournalError::io(dir, "open the folder"))?;
        match dir_file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(JournalError::Locked { dir: dir.to_owned() }),
            Err(fs::TryLockError::Error(error)) => return Err(JournalError::io(dir, "lock the folder")(error)),
        }

        let mut report = OpenReport::default();
        let mut segments = segment::list(dir)?;
        // A segment without a whole header holds no record: its making was cut short.
        let mut first_seq = 1;
        while let Some(last) = segments.last() {
            if last.open()?.is_some() {
                break;
            }
            first_seq = last.first_seq;
            fs::remove_file(&last.path).map_err(JournalError::io(&last.path, "remove the unfinished segment"))?;
            segments.pop();
        }
        let (path, file, offset, next_seq) = match segments.last() {
            Some(last) => {
                let (offset, next_seq) = repair(last, &mut report)?;
                (last.path.clone(), open_for_write(&last.path)?, offset, next_seq)
            }
            None => {
                let header = Header { first_seq, previous_seq: first_seq - 1 };
                let plain: MakeDisk = Arc::new(|file: File| Arc::new(file) as Arc<dyn Disk>);
                let (path, _) = create(dir, &dir_file, header, &plain)?;
                let file = open_for_write(&path)?;
                (path, file, HEADER_LEN as u64, first_seq)
            }
        };
        // What a killed process left to the kernel must be on the disk before it counts as synced.
        for segment in &segments {
            let file = File::open(&segment.path).map_err(JournalError::io(&segment.path, "open"))?;
            file.sync_data().map_err(JournalError::io(&segment.path, "sync"))?;
        }
        file.sync_data().map_err(JournalError::io(&path, "sync"))?;
        dir_file.sync_all().map_err(JournalError::io(dir, "sync the folder"))?;

        report.segments = segments.len().max(1);
        report.last_seq = next_seq - 1;
        let positions = Arc::new(Positions::default());
        positions.written.store(report.last_seq, Ordering::Release);
        positions.synced.store(report.last_seq, Ordering::Release);
        let disk = (options.disk)(file);
        let shared = Arc::new(Shared {
            positions,
            current: Mutex::new((path.clone(), Arc::clone(&disk))),
            failed: AtomicBool::new(false),
        });
        let journal = Journal {
            dir: dir.to_owned(),
            dir_file,
            options: Options(options),
            path,
            disk,
            offset,
            buffer: Vec::new(),
            next_seq,
            shared,
        };
        Ok((journal, report))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How far the records have come.
    pub fn positions(&self) -> Arc<Positions> {
        Arc::clone(&self.shared.positions)
    }

    /// Sequence the next appended record will get.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Bytes that wait for [`Journal::flush`].
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Takes `record` into memory and gives its sequence. It is acknowledged to nobody before [`Journal::flush`].
    ///
    /// # Errors
    /// [`JournalError::Encode`] for a record above [`crate::PAYLOAD_MAX`], [`JournalError::BufferFull`] when the disk has
    /// refused for long; the record was not taken then.
    pub fn append(&mut self, record: &Record) -> Result<u64, JournalError> {
        let max = self.options.0.buffer_max_bytes;
        // A large batch is no fault of the disk: only when it takes nothing there is no more room.
        if self.buffer.len() >= max && self.flush().is_err() {
            return Err(JournalError::BufferFull { bytes: self.buffer.len(), max });
        }
        let seq = self.next_seq;
        frame::encode(&mut self.buffer, seq, record).map_err(|cause| JournalError::Encode { seq, cause })?;
        self.next_seq += 1;
        if matches!(record, Record::Settled { cdr: Some(_), .. }) {
            self.shared.positions.cdrs_taken.fetch_add(1, Ordering::AcqRel);
        }
        Ok(seq)
    }

    /// Hands everything appended to the kernel and gives the sequence of the last record that is there.
    ///
    /// # Errors
    /// The disk; nothing is lost: the records stay in memory and the next flush writes them again, at the same place, so
    /// that no half record ever stands between two whole ones.
    pub fn flush(&mut self) -> Result<u64, JournalError> {
        if self.shared.failed.load(Ordering::Acquire) {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        if self.buffer.is_empty() {
            return Ok(self.shared.positions.written());
        }
        if self.offset >= self.options.0.segment_bytes.max(HEADER_LEN as u64 + 1) {
            let first_seq = self.shared.positions.written() + 1;
            self.roll(Header { first_seq, previous_seq: first_seq - 1 })?;
        }
        if let Err(error) = write_all(&*self.disk, &self.buffer, self.offset) {
            // Gives the space back and leaves a clean end; should it fail, the next flush covers these bytes anyway and
            // a restart cuts them.
            let _ = self.disk.set_len(self.offset);
            return Err(JournalError::io(&self.path, "write")(error));
        }
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        // One large deck must not keep its memory for ever.
        self.buffer.shrink_to(1 << 20);
        let written = self.next_seq - 1;
        self.shared.positions.written.store(written, Ordering::Release);
        Ok(written)
    }

    /// Hands one record to the kernel at once, after everything appended before, or not at all: after an error it is
    /// never written later, as [`Journal::append`] would, so that whoever is told of the error can rely on it. A write
    /// that breaks off leaves less than the whole record, and less than a whole record is never read.
    ///
    /// # Errors
    /// As [`Journal::flush`]; what waited before stays and is tried again.
    pub fn write_whole(&mut self, record: &Encoded) -> Result<u64, JournalError> {
        self.flush()?;
        let seq = self.next_seq;
        frame::put(&mut self.buffer, seq, record);
        self.next_seq += 1;
        self.flush().inspect_err(|_| {
            self.buffer = Vec::new();
            self.next_seq = seq;
        })
    }

    /// A handle for the thread that syncs.
    pub fn sync_handle(&self) -> SyncHandle {
        SyncHandle { shared: Arc::clone(&self.shared) }
    }

    /// Makes sure that no sequence up to `applied_seq` is given out again, and tells how many were skipped.
    ///
    /// A database that is ahead of its journal (the journal was restored from a backup, or a damaged tail was cut) would
    /// take new records with old sequences for known ones and charge nothing. [`crate::recover`] calls this.
    ///
    /// # Errors
    /// The disk.
    pub fn skip_to(&mut self, applied_seq: u64) -> Result<u64, JournalError> {
        if applied_seq < self.next_seq {
            return Ok(0);
        }
        self.flush()?;
        let previous_seq = self.next_seq - 1;
        let skipped = applied_seq - previous_seq;
        self.roll(Header { first_seq: applied_seq + 1, previous_seq })?;
        self.next_seq = applied_seq + 1;
        self.shared.positions.written.store(applied_seq, Ordering::Release);
        self.shared.positions.synced.store(applied_seq, Ordering::Release);
        Ok(skipped)
    }

    /// Removes whole segments all of whose records are below `before_seq` and in the database; at least `keep` stay, and
    /// always the one being written.
    ///
    /// A journal that was purged cannot rebuild an empty database; [`crate::purge`] removes only what a base has.
    ///
    /// # Errors
    /// The disk; what was removed before the error stays removed.
    pub fn purge(&mut self, before_seq: u64, keep: usize) -> Result<Purged, JournalError> {
        let before_seq = before_seq.min(self.shared.positions.applied() + 1);
        segment::remove_oldest(&self.dir, before_seq, keep, 0)
    }

    /// Begins a new segment. The old one is synced first: records of a later segment must never outlive earlier ones.
    /// Nearly all of it is on the disk already, so the wait is that of one group commit, once per segment.
    fn roll(&mut self, header: Header) -> Result<(), JournalError> {
        let written = self.shared.positions.written();
        if let Err(error) = self.disk.sync() {
            self.shared.failed.store(true, Ordering::Release);
            return Err(JournalError::io(&self.path, "sync")(error));
        }
        self.shared.positions.synced.fetch_max(written, Ordering::AcqRel);
        let (path, disk) = create(&self.dir, &self.dir_file, header, &self.options.0.disk)?;
        self.disk = disk;
        self.offset = HEADER_LEN as u64;
        self.path.clone_from(&path);
        *self.shared.current.lock().unwrap_or_else(PoisonError::into_inner) = (path, Arc::clone(&self.disk));
        Ok(())
    }
}

/// Makes written records safe from a power cut; for a thread of its own, because the disk may take long.
#[derive(Clone, Debug)]
pub struct SyncHandle {
    shared: Arc<Shared>,
}

impl SyncHandle {
    /// Syncs what was written before the call and gives the sequence of the last record that is safe. Costs nothing when
    /// there is nothing new.
    ///
    /// # Errors
    /// The disk. The first failure is final ([`JournalError::Poisoned`] from then on, for `flush` too): restart.
    pub fn sync(&self) -> Result<u64, JournalError> {
        let positions = &self.shared.positions;
        // Taken before the segment: what was written earlier is in this segment, or in one that was synced at its end.
        let written = positions.written();
        let (path, disk) = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.shared.failed.load(Ordering::Acquire) {
            return Err(JournalError::Poisoned { path });
        }
        if positions.synced() < written {
            if let Err(error) = disk.sync() {
                self.shared.failed.store(true, Ordering::Release);
                return Err(JournalError::io(&path, "sync")(error));
            }
            positions.synced.fetch_max(written, Ordering::AcqRel);
        }
        Ok(positions.synced())
    }

    /// How far the records have come.
    pub fn positions(&self) -> Arc<Positions> {
        Arc::clone(&self.shared.positions)
    }
}

/// Finds the end of the last segment and cuts what is behind it: (offset of the end, next sequence).
fn repair(segment: &Segment, report: &mut OpenReport) -> Result<(u64, u64), JournalError> {
    let path = &segment.path;
    let Some((file, header)) = segment.open()? else {
        return Err(JournalError::Damaged { path: path.clone(), offset: 0, cause: "the header is gone".to_owned() });
    };
    let mut cursor = Cursor::new(file, header.first_seq);
    let tear = loop {
        match cursor.step().map_err(JournalError::io(path, "read"))? {
            Step::Record(_) => {}
            Step::End => return Ok((cursor.offset(), cursor.next_seq())),
            Step::Torn(tear) => break tear,
        }
    };
    let offset = cursor.offset();
    let file = open_for_write(path)?;
    let len = file.metadata().map_err(JournalError::io(path, "read the size"))?.len();
    let records_behind =
        segment::records_after(&file, offset, cursor.next_seq()).map_err(JournalError::io(path, "read"))?;
    let saved = if records_behind > 0 { Some(save_tail(path, &file, offset)?) } else { None };
    file.set_len(offset).map_err(JournalError::io(path, "cut the torn tail"))?;
    report.bytes_cut = len.saturating_sub(offset);
    let cause = format!("record {}: {tear}", cursor.next_seq());
    report.cut = Some(Cut { path: path.clone(), offset, cause, records_behind, saved });
    Ok((offset, cursor.next_seq()))
}

/// Copies the bytes from `offset` on to a file beside the segment.
fn save_tail(path: &Path, file: &File, offset: u64) -> Result<PathBuf, JournalError> {
    let len = file.metadata().map_err(JournalError::io(path, "read the size"))?.len();
    let mut bytes = vec![0; usize::try_from(len.saturating_sub(offset)).unwrap_or(0)];
    let read = segment::read_full(file, &mut bytes, offset).map_err(JournalError::io(path, "read"))?;
    let saved = path.with_extension(format!("cut-{offset}"));
    fs::write(&saved, &bytes[..read]).map_err(JournalError::io(&saved, "save the damaged tail"))?;
    Ok(saved)
}

fn open_for_write(path: &Path) -> Result<File, JournalError> {
    File::options().read(true).write(true).open(path).map_err(JournalError::io(path, "open for writing"))
}

/// Makes a segment with its header. One that an earlier failed try left behind has no record yet and is written over.
///
/// The header is synced before the folder names the file for good: after a power cut a file system may know the length of
/// what was written last and not its bytes, and a segment whose header is zeros is damage that nobody but a person may
/// judge.
fn create(
    dir: &Path,
    dir_file: &File,
    header: Header,
    make: &MakeDisk,
) -> Result<(PathBuf, Arc<dyn Disk>), JournalError> {
    let path = Segment::new(dir, header.first_seq).path;
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .map_err(JournalError::io(&path, "make the segment"))?;
    let disk = make(file);
    let made = write_all(&*disk, &header.encode(), 0)
        .map_err(JournalError::io(&path, "write the header"))
        .and_then(|()| disk.sync().map_err(JournalError::io(&path, "sync the header")))
        .and_then(|()| dir_file.sync_all().map_err(JournalError::io(dir, "sync the folder")));
    if let Err(error) = made {
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    Ok((path, disk))
}

/// Writes all of `bytes` at `offset`.
fn write_all(disk: &dyn Disk, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match disk.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
