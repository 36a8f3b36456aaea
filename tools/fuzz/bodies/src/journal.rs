//! The journal after damage: whatever the bytes, opening and reading never panics; what was whole before the damage is
//! read back, in order, and nothing that was not written is read.
//!
//! The input: a byte of how the segments are damaged, a byte of how many records were written before, two bytes of where,
//! and the bytes that do it.

use std::fs;
use std::path::{Path, PathBuf};

use tandem_rating::record::{LedgerKind, LedgerRow, Record};
use tandem_store::{Journal, JournalOptions, Reader, StoreOptions, recover};

/// Records written before the damage.
const RECORDS_MAX: u8 = 12;
/// Segments small enough that a few records need several.
const SEGMENT_BYTES: u64 = 400;
/// Records read back at most; more would mean that the reader goes round in circles.
const READS_MAX: usize = 4096;
/// Length, checksum and sequence before a record.
const FRAME_HEAD_LEN: usize = 16;
const HEADER_LEN: u64 = 32;

/// One journal and its fate.
pub fn run(bytes: &[u8]) {
    let [how, count, at_high, at_low, rest @ ..] = bytes else { return };
    let folder = folder();
    let dir = folder.path();
    let written: Vec<Record> = (0..count % RECORDS_MAX).map(record).collect();
    let ends = write(dir, &written);
    let at = u64::from(u16::from_be_bytes([*at_high, *at_low]));
    // Records that end before the damage stay readable.
    let whole = match how % 6 {
        // Bytes that are no journal, where one should be.
        0 => {
            fs::write(first(dir), rest).expect("a file can be written");
            0
        }
        // A tail that was being written.
        1 => {
            let path = last(dir);
            let mut text = fs::read(&path).expect("a segment can be read");
            text.extend_from_slice(rest);
            fs::write(&path, text).expect("a file can be written");
            written.len()
        }
        // A cut.
        2 => damage(dir, &ends, at, |text, at| text.truncate(at)),
        // Other bytes in the middle.
        3 => damage(dir, &ends, at, |text, at| {
            let end = text.len().min(at + rest.len());
            text[at..end].copy_from_slice(&rest[..end - at]);
        }),
        // A segment that is not there.
        4 => {
            let paths = segments(dir);
            let path = &paths[at as usize % paths.len()];
            fs::remove_file(path).expect("a file can be removed");
            ends.iter().take_while(|(segment, _)| segment < path).count()
        }
        // Records with a right checksum and anything inside: a newer or a mad writer.
        _ => {
            let path = last(dir);
            let mut text = fs::read(&path).expect("a segment can be read");
            for (payload, seq) in rest.split(|byte| *byte == 0x1e).zip(written.len() as u64 + 1..) {
                frame(&mut text, seq, payload);
            }
            fs::write(&path, text).expect("a file can be written");
            written.len()
        }
    };
    check(dir, &written, whole, how % 6 == 5);
}

/// In memory where the system has such a place: the disk is not what is tried here.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("tandem-fuzz-").tempdir_in(base).expect("a temporary folder")
}

fn options() -> JournalOptions {
    JournalOptions { segment_bytes: SEGMENT_BYTES, ..JournalOptions::default() }
}

fn record(n: u8) -> Record {
    if n.is_multiple_of(3) {
        return Record::Heartbeat {
            at_ms: i64::from(n),
            alive: vec![(u64::from(n), 5); usize::from(n)],
            unacknowledged: Vec::new(),
        };
    }
    Record::Ledger(LedgerRow {
        key: format!("pay-{n}"),
        account: "acme".to_owned(),
        kind: LedgerKind::Payment,
        amount: "1.00".parse().expect("money"),
        balance_after: "1.00".parse().expect("money"),
        at_ms: i64::from(n),
        flow_no: None,
        user: "root".to_owned(),
        memo: "m".repeat(usize::from(n)),
    })
}

/// Writes them, and tells in which segment and where each ends.
fn write(dir: &Path, records: &[Record]) -> Vec<(PathBuf, u64)> {
    let (mut journal, _) = Journal::open(dir, options()).expect("an empty folder is a journal");
    let mut ends = Vec::new();
    for record in records {
        journal.append(record).expect("a record fits");
        journal.flush().expect("memory takes it");
        let path = last(dir);
        let len = fs::metadata(&path).expect("a segment is a file").len();
        ends.push((path, len));
    }
    ends
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .expect("the folder can be listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tj"))
        .collect();
    paths.sort();
    paths
}

fn first(dir: &Path) -> PathBuf {
    segments(dir).swap_remove(0)
}

fn last(dir: &Path) -> PathBuf {
    segments(dir).pop().expect("a journal has a segment")
}

/// Changes a segment at `at` (counted over all of them) and tells how many records end before that.
fn damage(dir: &Path, ends: &[(PathBuf, u64)], at: u64, change: impl Fn(&mut Vec<u8>, usize)) -> usize {
    let mut left = at;
    for path in segments(dir) {
        let mut text = fs::read(&path).expect("a segment can be read");
        let len = text.len() as u64;
        if left >= len {
            left -= len;
            continue;
        }
        change(&mut text, left as usize);
        fs::write(&path, text).expect("a file can be written");
        // A record counts when it lies in an earlier segment, or behind a whole header and before the damage.
        return ends
            .iter()
            .take_while(|(segment, end)| *segment < path || (*segment == path && left >= HEADER_LEN && *end <= left))
            .count();
    }
    ends.len()
}

fn frame(out: &mut Vec<u8>, seq: u64, payload: &[u8]) {
    let len = payload.len() as u32;
    let mut summed = len.to_le_bytes().to_vec();
    summed.extend_from_slice(&seq.to_le_bytes());
    summed.extend_from_slice(payload);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&summed).to_le_bytes());
    out.extend_from_slice(&summed[4..FRAME_HEAD_LEN - 4]);
    out.extend_from_slice(payload);
}

fn check(dir: &Path, written: &[Record], whole: usize, strangers: bool) {
    let read = read(dir);
    prefix(&read, written, whole, strangers);
    let Ok((mut journal, report)) = Journal::open(dir, options()) else { return };
    assert!(!report.lines().is_empty());
    // Opening cut the tail: what can be read now is what there is, and a new record comes right behind it.
    let (before, next) = (self::read(dir), journal.next_seq());
    let sound = before.last().map_or(report.last_seq == 0, |(seq, _)| *seq == report.last_seq);
    let fresh = record(200);
    assert_eq!(journal.append(&fresh).expect("an open journal takes a record"), next);
    journal.flush().expect("memory takes it");
    if sound {
        let after = self::read(dir);
        assert_eq!(after.len(), before.len() + 1, "a record behind a repaired tail is not read");
        assert_eq!(after.last(), Some(&(next, fresh)));
    }
    // The whole way back, with the database. A refusal in words is fine.
    let _ = recover(&mut journal, &StoreOptions::new("USD"), 1);
}

/// What can be read, up to the first error.
fn read(dir: &Path) -> Vec<(u64, Record)> {
    let Ok(mut reader) = Reader::from_start(dir) else { return Vec::new() };
    let mut records = Vec::new();
    while let Ok(Some(record)) = reader.next_record() {
        records.push(record);
        assert!(records.len() < READS_MAX, "the reader goes round in circles");
    }
    records
}

/// `read` is the beginning of `written`, at least `whole` records of it.
fn prefix(read: &[(u64, Record)], written: &[Record], whole: usize, strangers: bool) {
    let first = read.first().map_or(1, |(seq, _)| *seq);
    assert!(first != 1 || read.len() >= whole, "{} records were whole, {} were read", whole, read.len());
    for (expected, (seq, record)) in (first..).zip(read) {
        assert_eq!(*seq, expected, "a record was skipped");
        match written.get(*seq as usize - 1) {
            Some(original) => assert_eq!(record, original),
            None => assert!(strangers, "record {seq} was never written"),
        }
    }
}
